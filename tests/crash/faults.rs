//! The write path fails, and comes back.
//!
//! While it fails, everything is turned away and whoever asks is told; what was acknowledged before stays;
//! and when the disk takes bytes again the engine goes on by itself.

use std::{
    env,
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use bytes::Bytes;
use sluice::serve::codec::BytesCodec;
use tonic::{Code, Request, transport::Endpoint};
use tonic_types::StatusExt;

use super::{
    engine::{Addresses, Engine, Site, wait_for},
    http,
    kill::Deployer,
    load::Load,
    random::Random,
    run::Run,
};

/// Set where the faults that need `strace` and `unshare` have to be tested.
const REQUIRED: &str = "SLUICE_CRASH_FAULTS";

/// System calls of a thread of an engine that fail until this is dropped.
#[derive(Debug)]
struct Fault(Child);

impl Fault {
    /// Each injection names system calls, and how they fail. `None`: processes cannot be traced here.
    fn inject(engine: &Engine, thread: &str, injections: &[&str]) -> Option<Self> {
        let calls: Vec<&str> = injections
            .iter()
            .filter_map(|injection| injection.split(':').next())
            .collect();
        let mut command = Command::new("strace");
        command
            .arg(format!("--attach={}", thread_id(engine, thread)))
            .arg(format!("--trace={}", calls.join(",")))
            .args(injections.iter().map(|one| format!("--inject={one}")))
            .args(["--output=/dev/null"])
            .stderr(Stdio::piped());
        let mut process = command.spawn().ok()?;
        let mut line = String::new();
        let stderr = process.stderr.take().unwrap();
        BufReader::new(stderr).read_line(&mut line).unwrap();
        if line.contains("attached") {
            return Some(Self(process));
        }
        process.wait().unwrap();
        None
    }
}

impl Drop for Fault {
    /// Lets go of the thread.
    fn drop(&mut self) {
        let id = self.0.id().to_string();
        let told = Command::new("kill").args(["-INT", &id]).status();
        assert!(told.unwrap().success());
        self.0.wait().unwrap();
    }
}

/// The thread of an engine with this name.
fn thread_id(engine: &Engine, name: &str) -> String {
    let tasks = fs::read_dir(format!("/proc/{}/task", engine.id())).unwrap();
    let mut tasks = tasks.map(|task| task.unwrap().path());
    let task = tasks.find(|task| {
        let comm = BufReader::new(open(&task.join("comm"))).lines().next();
        comm.unwrap().unwrap() == name
    });
    let task = task.expect("the engine has such a thread");
    task.file_name().unwrap().to_str().unwrap().to_owned()
}

fn open(path: &Path) -> File {
    OpenOptions::new().read(true).open(path).unwrap()
}

/// Says that a test was not run; fails where it has to be.
fn pass_over(what: &str) {
    assert!(env::var_os(REQUIRED).is_none(), "{what}");
    println!("passed over: {what}");
}

/// Senders are turned away, and whoever asks is told why. Small inputs may still find room.
fn check_refusing(run: &Run, at: Addresses, open_gate: &str) {
    const TOLD: &str = "journal cannot be written";
    let ledger = &run.load.ledger;
    let before = ledger.book().turned_away;
    ledger.wait("senders are turned away", |book| {
        before + 5 <= book.turned_away
    });
    wait_for("the engine is not ready", || {
        let answer = http::get(at.http, "/-/ready").unwrap();
        answer.status == 503 && answer.text().contains(TOLD)
    });
    let path = format!("/api/v1/deployments/{open_gate}/verdict");
    wait_for("an open gate says why it stands still", || {
        let verdict = http::get(at.http, &path).unwrap().json();
        assert_eq!(verdict["verdict"], "PENDING", "{verdict:#}");
        verdict["reasons"][0].as_str().unwrap().contains(TOLD)
    });
    assert!(0.0 < at.metric("sluice_journal_errors_total").unwrap());
    assert_eq!(http::get(at.http, "/-/healthy").unwrap().status, 200);
}

/// Nothing at all is taken, through no door.
fn check_taking_nothing(run: &Run, at: Addresses) {
    let ledger = &run.load.ledger;
    let before = ledger.book();
    ledger.wait("senders are turned away", |book| {
        before.turned_away + 5 <= book.turned_away
    });
    assert_eq!(ledger.book().acknowledged, before.acknowledged);
    let begin = br#"{"deployment": "x", "service": "web", "stage": "bad", "version": "v3"}"#;
    let json = "application/json";
    let answer = http::post(at.http, "/api/v1/deployments", json, begin).unwrap();
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.head.contains("retry-after: "), "{answer:?}");
    check_grpc(at);
}

/// OTLP over gRPC is told to come again.
fn check_grpc(at: Addresses) {
    let export = async {
        let endpoint = Endpoint::from_shared(format!("http://{}", at.otlp_grpc)).unwrap();
        let mut client = tonic::client::Grpc::new(endpoint.connect().await.unwrap());
        client.ready().await.unwrap();
        let path = http_path();
        let body = Bytes::from(super::payloads::error_logs(&[("h9", &[1])]));
        client.unary(Request::new(body), path, BytesCodec).await
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let status = runtime.block_on(export).unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    let details = status.get_error_details();
    assert!(details.retry_info().is_some(), "{status:?}");
}

fn http_path() -> ::http::uri::PathAndQuery {
    ::http::uri::PathAndQuery::from_static(
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    )
}

/// It goes on without being started anew.
fn check_going_on(load: &Load, at: Addresses) {
    let before = load.ledger.book().acknowledged;
    load.ledger
        .wait("acknowledgements", |book| before + 30 <= book.acknowledged);
    at.wait_ready();
}

/// What fails, how, and whether all of it does.
const FAULTS: [(&[&str], bool); 9] = [
    (&["fdatasync:error=EIO"], true),
    (&["writev:error=ENOSPC"], true),
    (&["writev:error=EIO", "ftruncate:error=EIO"], true),
    (&["fdatasync:error=EIO", "openat:error=ENOSPC"], true),
    (&["fdatasync:error=EIO", "unlink:error=EIO"], true),
    (&["fdatasync:error=EIO:when=2+3"], false),
    (
        &["writev:error=EIO:when=1+2", "ftruncate:error=EIO:when=2+2"],
        false,
    ),
    (
        &["fdatasync:error=EIO:when=3+4", "fsync:error=EIO:when=1+2"],
        false,
    ),
    (
        &["fdatasync:error=EIO:when=2+4", "openat:error=EIO:when=1+3"],
        false,
    ),
];

#[test]
fn system_calls_that_fail_lose_nothing_and_are_recovered_from() {
    let site = Site::new();
    let mut random = Random::of_the_run();
    let mut engine = site.start_ready();
    let run = Run::start(&site);
    let mut deployer = Deployer::new(&site, &run.load);
    let ledger = Arc::clone(&run.load.ledger);
    for (number, (injections, is_total)) in (0..).zip(FAULTS) {
        println!("{injections:?}");
        check_going_on(&run.load, site.at());
        deployer.begin_pair(number, random.below(1_500) as i64);
        let Some(fault) = Fault::inject(&engine, "recorder", injections) else {
            return pass_over("strace cannot trace an engine: install it, and allow ptrace");
        };
        let before = ledger.book();
        if is_total {
            check_refusing(&run, site.at(), &format!("good-{number}"));
            check_taking_nothing(&run, site.at());
        } else {
            ledger.wait("some are turned away, some taken", |book| {
                before.turned_away + 10 <= book.turned_away
                    && before.acknowledged + 10 <= book.acknowledged
            });
        }
        if number % 3 == 2 {
            // It dies of it; the next one finds what was left.
            drop(engine);
            drop(fault);
            engine = site.start_ready();
        } else {
            drop(fault);
        }
        check_going_on(&run.load, site.at());
        assert!(engine.lives());
    }
    let left = run.finish(&deployer);
    drop(engine);
    left.check(&site);
}

/// Each: what of saving a state fails.
const SNAPSHOT_FAULTS: [&str; 4] = [
    "rename:error=EIO",
    "fdatasync:error=EIO",
    "writev:error=ENOSPC",
    "fsync:error=EIO",
];

#[test]
fn a_state_that_cannot_be_saved_is_saved_later() {
    let site = Site::new();
    let mut engine = site.start_ready();
    let run = Run::start(&site);
    let mut deployer = Deployer::new(&site, &run.load);
    for (number, injection) in (0..).zip(SNAPSHOT_FAULTS) {
        let at = site.at();
        deployer.begin_pair(number, 500);
        let failed = || at.metric("sluice_snapshots_failed_total").unwrap_or(0.0);
        let written = || at.metric("sluice_snapshots_written_total").unwrap_or(0.0);
        let before = failed();
        let Some(fault) = Fault::inject(&engine, "snapshots", &[injection]) else {
            return pass_over("strace cannot trace an engine: install it, and allow ptrace");
        };
        wait_for("a state cannot be saved", || before < failed());
        // Nobody who sends hears of it.
        check_going_on(&run.load, at);
        assert_eq!(run.load.ledger.book().turned_away, 0);
        if number % 2 == 1 {
            drop(engine);
            drop(fault);
            engine = site.start_ready();
        } else {
            drop(fault);
            let before = written();
            wait_for("a state is saved", || before < written());
        }
    }
    let left = run.finish(&deployer);
    drop(engine);
    left.check(&site);
}

#[test]
fn files_that_may_not_grow_are_waited_for() {
    let ignored = ["sh", "-c", r#"trap "" XFSZ; exec "$0" "$@""#];
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let wrapper = ignored.map(str::to_owned).to_vec();
    let site = Site::with(folder, data.clone(), data, wrapper);
    let mut engine = site.start_ready();
    let run = Run::start(&site);
    let mut deployer = Deployer::new(&site, &run.load);
    for number in 0..3 {
        check_going_on(&run.load, site.at());
        deployer.begin_pair(number, 500);
        // With some room, a group is cut off in the middle.
        let len = last_segment_len(&site.seen.join("journal"));
        let room = [0, 2_000, 10_000][number as usize];
        limit_file_bytes(&engine, &(len + room).to_string());
        check_refusing(&run, site.at(), &format!("good-{number}"));
        if room == 0 {
            check_taking_nothing(&run, site.at());
        }
        if number == 1 {
            drop(engine);
            engine = site.start_ready();
        } else {
            limit_file_bytes(&engine, "unlimited");
        }
        check_going_on(&run.load, site.at());
    }
    assert!(engine.lives());
    let left = run.finish(&deployer);
    drop(engine);
    left.check(&site);
}

/// The length of the segment that is written.
fn last_segment_len(journal: &Path) -> u64 {
    let files = fs::read_dir(journal).unwrap().map(|file| file.unwrap());
    let last = files.max_by_key(fs::DirEntry::file_name).unwrap();
    last.metadata().unwrap().len()
}

/// Bounds the length of the files that an engine writes.
fn limit_file_bytes(engine: &Engine, bytes: &str) {
    let status = Command::new("prlimit")
        .arg(format!("--pid={}", engine.id()))
        .arg(format!("--fsize={bytes}:unlimited"))
        .status();
    assert!(status.unwrap().success());
}

/// A small file system that only engines see, and we through the process that holds it.
#[derive(Debug)]
struct SmallDisk {
    holder: Child,
    mounted: PathBuf,
}

impl SmallDisk {
    /// `None`: the system lets us mount nothing.
    fn new(mounted: &Path) -> Option<Self> {
        fs::create_dir(mounted).unwrap();
        let script = r#"mount -t tmpfs -o size=64m tmpfs "$0" && echo mounted && exec cat"#;
        let mut holder = Command::new("unshare")
            .args(["--map-root-user", "--mount", "sh", "-c", script])
            .arg(mounted)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut line = String::new();
        let stdout = holder.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        if line.is_empty() {
            holder.wait().unwrap();
            return None;
        }
        let mounted = mounted.to_owned();
        Some(Self { holder, mounted })
    }

    /// Runs a command where it is mounted.
    fn wrapper(&self) -> Vec<String> {
        let target = format!("--target={}", self.holder.id());
        let words = [
            "nsenter",
            &target,
            "--user",
            "--mount",
            "--preserve-credentials",
        ];
        words.map(str::to_owned).to_vec()
    }

    /// Where we see it.
    fn seen(&self) -> PathBuf {
        let root = format!("/proc/{}/root", self.holder.id());
        Path::new(&root).join(self.mounted.strip_prefix("/").unwrap())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        self.holder.kill().unwrap();
        self.holder.wait().unwrap();
    }
}

#[test]
fn a_full_disk_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let mounted = folder.path().join("disk");
    let Some(disk) = SmallDisk::new(&mounted) else {
        return pass_over("unshare cannot mount a file system of its own: allow user namespaces");
    };
    let (data, seen) = (mounted.join("data"), disk.seen().join("data"));
    let site = Site::with(folder, data, seen, disk.wrapper());
    let mut engine = site.start_ready();
    let run = Run::start(&site);
    let mut deployer = Deployer::new(&site, &run.load);
    for number in 0..5 {
        check_going_on(&run.load, site.at());
        deployer.begin_pair(number, 500);
        let ballast = disk.seen().join("ballast");
        fill(&ballast);
        let gate = format!("good-{number}");
        check_refusing(&run, site.at(), &gate);
        if number % 2 == 1 {
            // There is no room for the next one either, which says so too.
            drop(engine);
            engine = site.start();
            site.at();
            check_refusing(&run, site.at(), &gate);
        }
        fs::remove_file(&ballast).unwrap();
        check_going_on(&run.load, site.at());
        assert!(engine.lives());
    }
    let left = run.finish(&deployer);
    drop(engine);
    left.check(&site);
}

/// Takes all the room that there is.
fn fill(ballast: &Path) {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(ballast)
        .unwrap();
    let block = vec![0; 1 << 16];
    while file.write_all(&block).is_ok() {}
}

#[test]
fn a_history_whose_disk_hangs_holds_no_verdict_up() {
    let site = Site::new();
    let mut engine = site.start_ready();
    let run = Run::start(&site);
    let mut deployer = Deployer::new(&site, &run.load);
    deployer.begin_pair(0, 500);
    // Whatever is written there takes longer than anybody waits.
    let hangs = ["fsync", "fdatasync"].map(|call| format!("{call}:delay_enter=120000000"));
    let hangs = hangs.each_ref().map(String::as_str);
    let Some(fault) = Fault::inject(&engine, "ledger", &hangs) else {
        return pass_over("strace cannot trace an engine: install it, and allow ptrace");
    };
    let at = site.at();
    let written = at.metric("sluice_snapshots_written_total").unwrap();
    deployer.begin_pair(1, 500);
    wait_for("a verdict changes", || {
        let verdict = http::get(at.http, "/api/v1/deployments/bad-1/verdict").unwrap();
        verdict.json()["verdict"] == "FAIL"
    });
    wait_for("the state is saved", || {
        written + 2.0 <= at.metric("sluice_snapshots_written_total").unwrap()
    });
    let waiting = at.metric("sluice_ledger_waiting_records").unwrap();
    assert!(4.0 <= waiting, "{waiting}");
    // Nobody is let past a gate without a history of it.
    let bypass = br#"{"by": "ana", "reason": "why", "ticket": "OPS-1"}"#;
    let path = "/api/v1/deployments/bad-1/bypass";
    let answer = http::post(at.http, path, "application/json", bypass).unwrap();
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(
        run.load.ledger.book().turned_away,
        0,
        "nobody who sends hears of it"
    );
    drop(engine);
    drop(fault);
    engine = site.start_ready();
    check_going_on(&run.load, site.at());
    let left = run.finish(&deployer);
    drop(engine);
    left.check(&site);
}
