//! The command line around the journal: look through it, cut it off, make a recording of it.
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail with the test"
)]

#[path = "common/noise.rs"]
mod noise;
#[path = "common/partition.rs"]
mod partition;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use sluice::{
    event::{DeploymentEvent, Step, StepOutcome, Timestamp},
    journal::{
        DataDir, Entry, Limits, OffsetRange, PlanChange, Position, Reader, Reload, SnapshotHead,
        segment_name,
    },
    plan::Plan,
    source::files,
};
use tempfile::TempDir;

/// Segments of this size: the journal of the tests has several.
const SEGMENT_BYTES: u64 = 20_000;

/// Runs the command; gives its exit code, stdout and stderr.
fn sluice(arguments: &[&str]) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/recordings/a_late_partition")
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What a live run took in while a rack was cut off.
fn entries(scratch: &Path) -> Vec<Entry> {
    let file = scratch.join("inputs.journal");
    fs::write(&file, partition::journal()).unwrap();
    let open = |path: &Path| -> std::io::Result<Box<dyn std::io::Read + Send>> {
        Ok(Box::new(fs::File::options().read(true).open(path)?))
    };
    let reader = Reader::of_files(&[file], open).unwrap();
    reader.map(|entry| entry.unwrap().1).collect()
}

/// A data directory with the journal of that run, and where each entry stands.
fn data() -> (TempDir, PathBuf, Vec<Position>) {
    data_of(|entry| vec![entry])
}

/// The same, with something in the place of each entry.
fn data_of(change: impl Fn(Entry) -> Vec<Entry>) -> (TempDir, PathBuf, Vec<Position>) {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().join("data");
    let limits = Limits {
        segment_bytes: SEGMENT_BYTES,
        ..Limits::default()
    };
    let data = DataDir::open(&root).unwrap();
    let (mut writer, _) = data.writer(limits).unwrap();
    let mut positions = Vec::new();
    let entries: Vec<Entry> = entries(scratch.path())
        .into_iter()
        .flat_map(change)
        .collect();
    for group in entries.chunks(3) {
        positions.extend(writer.commit(group).unwrap());
    }
    assert!(writer.end().segment > 3, "too few segments");
    (scratch, root, positions)
}

fn segment(root: &Path, number: u64) -> PathBuf {
    root.join(DataDir::JOURNAL).join(segment_name(number))
}

fn spoil(path: &Path, offset: u64) {
    let mut bytes = Vec::new();
    let mut file = fs::File::options().read(true).open(path).unwrap();
    std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
    bytes[offset as usize] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn field(summary: &str, name: &str) -> String {
    let line = summary.lines().find(|line| line.trim().starts_with(name));
    let line = line.unwrap_or_else(|| panic!("no {name} in {summary}"));
    line.trim().strip_prefix(name).unwrap().trim().to_owned()
}

#[test]
fn a_whole_journal_is_told_whole_wherever_it_is_named() {
    let (_scratch, root, positions) = data();
    let journal = root.join(DataDir::JOURNAL);
    // An engine runs: nothing is refused, nothing is changed.
    let _engine = DataDir::open(&root).unwrap();
    for path in [&root, &journal] {
        let (code, out, error) = sluice(&["journal", "verify", text(path)]);
        assert_eq!((code, error.as_str()), (0, ""));
        assert_eq!(field(&out, "state"), "whole");
        assert_eq!(field(&out, "entries"), positions.len().to_string());
        assert_eq!(field(&out, "ticks"), "110");
        assert_eq!(field(&out, "deployment"), "1 events");
        assert!(field(&out, "time").contains(" to 2026-03-03T"), "{out}");
    }
    let file = segment(&root, 2);
    let (code, out, _) = sluice(&["journal", "verify", text(&file)]);
    assert_eq!((code, field(&out, "segments").as_str()), (0, "1"));
    let old = fixture().join("inputs.journal");
    let (code, out, _) = sluice(&["journal", "verify", text(&old)]);
    assert_eq!(
        (code, field(&out, "entries")),
        (0, positions.len().to_string())
    );
}

#[test]
fn what_cannot_be_read_is_no_journal() {
    let scratch = tempfile::tempdir().unwrap();
    let (code, _, error) = sluice(&["journal", "verify", text(scratch.path())]);
    assert_eq!(code, 2, "{error}");
    let nowhere = scratch.path().join("nowhere");
    let (code, _, error) = sluice(&["journal", "verify", text(&nowhere)]);
    assert_eq!(code, 2);
    assert!(error.contains("nowhere"), "{error}");
}

#[test]
fn a_write_that_was_cut_off_is_no_damage() {
    let (_scratch, root, positions) = data();
    let last = positions.last().unwrap();
    let path = segment(&root, last.segment);
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_len(last.offset + 5).unwrap();
    let (code, out, error) = sluice(&["journal", "verify", text(&root)]);
    assert_eq!((code, error.as_str()), (0, ""));
    assert!(field(&out, "cut off").contains(&last.to_string()), "{out}");
    assert_eq!(field(&out, "entries"), (positions.len() - 1).to_string());
}

#[test]
fn damage_is_found_and_cut_off_where_it_is() {
    let (_scratch, root, positions) = data();
    let damaged = positions
        .iter()
        .position(|place| place.segment == 2)
        .unwrap()
        + 4;
    let at = positions[damaged];
    spoil(&segment(&root, 2), at.offset + 20);
    let (code, out, error) = sluice(&["journal", "verify", text(&root)]);
    assert_eq!((code, field(&out, "state").as_str()), (1, "damaged"));
    assert!(error.contains(&format!("damaged at {at}:")), "{error}");
    let in_segment = positions.iter().filter(|place| place.segment == 2);
    let behind = in_segment.filter(|place| at < **place).count();
    assert!(
        error.contains(&format!("{behind} whole entries stand behind")),
        "{error}"
    );

    let journal = root.join(DataDir::JOURNAL);
    let config = fixture().join("sluice.yaml");
    let replay = ["replay", "--config", text(&config), text(&journal)];
    let (code, _, error) = sluice(&replay);
    assert_eq!(code, 2);
    assert!(
        error.contains(&format!("is damaged at byte {}", at.offset)),
        "{error}"
    );

    let place = at.to_string();
    let truncate = ["journal", "truncate", text(&root), "--at", &place];
    let engine = DataDir::open(&root).unwrap();
    let (code, _, error) = sluice(&truncate);
    assert_eq!(code, 2);
    assert!(
        error.contains("another engine runs with this directory; stop it"),
        "{error}"
    );
    drop(engine);
    let (code, out, error) = sluice(&truncate);
    assert_eq!((code, error.as_str()), (0, ""));
    let lost = positions.len() - damaged - 1;
    assert!(
        out.contains(&format!("{lost} whole entries are given up")),
        "{out}"
    );
    let kept = journal.join(format!("{}.cut", segment_name(2)));
    assert!(out.contains(text(&kept)) && kept.exists(), "{out}");

    let (code, out, _) = sluice(&["journal", "verify", text(&root)]);
    assert_eq!((code, field(&out, "entries")), (0, damaged.to_string()));
    let (mut writer, torn) = DataDir::open(&root)
        .unwrap()
        .writer(Limits::default())
        .unwrap();
    assert_eq!(torn, None);
    writer
        .commit(&entries(root.parent().unwrap())[..1])
        .unwrap();
    let (code, out, _) = sluice(&["journal", "verify", text(&root)]);
    assert_eq!(
        (code, field(&out, "entries")),
        (0, (damaged + 1).to_string())
    );
}

#[test]
fn a_missing_segment_is_named_and_what_follows_can_be_cut_off() {
    let (_scratch, root, positions) = data();
    fs::remove_file(segment(&root, 2)).unwrap();
    let (code, _, error) = sluice(&["journal", "verify", text(&root)]);
    assert_eq!(code, 1);
    assert!(
        error.contains("damaged at 2:0: the segment is missing"),
        "{error}"
    );
    let (code, _, error) = sluice(&["journal", "truncate", text(&root), "--at", "2:0"]);
    assert_eq!(code, 0, "{error}");
    let left = positions.iter().filter(|place| place.segment == 1).count();
    let (code, out, _) = sluice(&["journal", "verify", text(&root)]);
    assert_eq!((code, field(&out, "entries")), (0, left.to_string()));
}

#[test]
fn a_journal_is_not_cut_off_where_it_would_do_harm() {
    let (_scratch, root, positions) = data();
    let cut = |path: &Path, at: &str| {
        let (code, _, error) = sluice(&["journal", "truncate", text(path), "--at", at]);
        assert_eq!(code, 2, "{error}");
        error
    };
    let at = positions[5];
    let between = format!("{}:{}", at.segment, at.offset + 1);
    assert!(cut(&root, &between).contains("no entry starts there"));
    assert!(cut(&root, "1:99999999").contains("the segment ends at byte"));
    assert!(cut(&root, "99:8").contains("there is no such segment"));
    assert!(cut(&root, "here").contains("SEGMENT:OFFSET"));
    let nowhere = root.join("nowhere");
    assert!(cut(&nowhere, "1:8").contains("is no data directory"));
    assert!(!nowhere.exists());

    // Two snapshots: one that a cut would leave behind, one that makes it useless.
    let data = DataDir::open(&root).unwrap();
    let mut snapshots = data.load().unwrap().0;
    let head = |resume_from: usize, taken_at: usize| SnapshotHead {
        resume_from: positions[resume_from],
        taken_at: positions[taken_at],
        ..SnapshotHead::default()
    };
    snapshots.write(&head(2, 4), b"early").unwrap();
    snapshots.write(&head(10, 20), b"late").unwrap();
    drop((data, snapshots));
    let place = at.to_string();
    assert!(cut(&root, &place).contains("needs nothing before"));
    let place = positions[15].to_string();
    let (code, out, error) = sluice(&["journal", "truncate", text(&root), "--at", &place]);
    assert_eq!(code, 0, "{error}");
    assert!(
        out.contains("snapshot-00000000000000000002.sluice.cut"),
        "{out}"
    );
    let (_, newest, _) = DataDir::open(&root).unwrap().load().unwrap();
    assert_eq!(newest.unwrap().state, b"early");
}

/// Where a recording comes from, and where it goes.
fn from_to<'a>(root: &'a Path, config: &'a Path, out: &'a Path) -> [&'a str; 6] {
    let [root, config, out] = [root, config, out].map(text);
    ["--data-dir", root, "--config", config, "--out", out]
}

#[test]
fn a_recording_of_everything_says_what_the_run_said() {
    let (scratch, root, positions) = data();
    let config = fixture().join("sluice.yaml");
    let out = scratch.path().join("recording");
    let record = [&["record"], &from_to(&root, &config, &out)[..]].concat();
    let (code, told, error) = sluice(&record);
    assert_eq!((code, error.as_str()), (0, ""));
    assert!(
        told.starts_with(&format!("recorded {} entries", positions.len())),
        "{told}"
    );
    let replay = |path: &Path| sluice(&["replay", "--output", "json", text(path)]);
    let expected = replay(&fixture());
    assert!(expected.1.lines().count() > 2, "{}", expected.1);
    assert_eq!(replay(&out), expected);

    // Any damage to what was recorded is one, also where a live run would have been cut off.
    let damaged = scratch.path().join("damaged");
    fs::create_dir(&damaged).unwrap();
    for entry in fs::read_dir(&out).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, damaged.join(path.file_name().unwrap())).unwrap();
    }
    spoil(&damaged.join(segment_name(1)), 2_000);
    let (code, told, error) = sluice(&["journal", "verify", text(&damaged)]);
    assert_eq!((code, &*field(&told, "state")), (1, "damaged"), "{error}");
    let (code, _, error) = replay(&damaged);
    assert_eq!(code, 2);
    assert!(error.contains("is damaged at byte"), "{error}");

    // The segments themselves are a recording too.
    let journal = root.join(DataDir::JOURNAL);
    let replay = ["replay", "--output", "json", "--config", text(&config)];
    assert_eq!(sluice(&[&replay[..], &[text(&journal)]].concat()), expected);

    let (code, _, error) = sluice(&record);
    assert_eq!(code, 2);
    assert!(error.contains("is not empty"), "{error}");

    let missing = segment_name(2);
    fs::remove_file(journal.join(&missing)).unwrap();
    let (code, _, error) = sluice(&[&replay[..], &[text(&journal)]].concat());
    assert_eq!(code, 2);
    assert!(error.contains(&format!("{missing} is missing")), "{error}");
    let both = [text(&out), text(&fixture().join("inputs.journal"))].map(str::to_owned);
    let (code, _, error) = sluice(&[&replay[..], &[&both[0], &both[1]]].concat());
    assert_eq!(code, 2);
    assert!(error.contains("a journal is replayed alone"), "{error}");
}

#[test]
fn an_export_holds_the_data_in_open_formats() {
    let (scratch, root, positions) = data();
    let config = fixture().join("sluice.yaml");
    let out = scratch.path().join("exported");
    let export = [&["export"], &from_to(&root, &config, &out)[..]].concat();
    let (code, told, error) = sluice(&export);
    assert_eq!((code, error.as_str()), (0, ""));
    let start = format!("exported {} entries", positions.len());
    assert!(told.starts_with(&start), "{told}");
    let mut names: Vec<String> = fs::read_dir(&out)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let expected = ["deployments.jsonl", "sluice.yaml", "told.metrics.jsonl"];
    assert_eq!(names, expected);

    // When data arrived is not in these files, so the rack that was cut off is not: what it sent later
    // lies where it belongs.
    let (code, said, error) = sluice(&["replay", "--output", "json", text(&out)]);
    assert_eq!((code, error.as_str()), (0, ""), "{said}");
    assert!(said.contains(r#""verdict":"PASS""#), "{said}");

    let (code, _, error) = sluice(&export);
    assert_eq!(code, 2);
    assert!(error.contains("is not empty"), "{error}");
}

#[test]
fn what_a_live_engine_refused_is_no_part_of_an_export() {
    let at = "2026-03-03T10:06:00Z".parse().unwrap();
    let step = |deployment: &str, step: &str| {
        Entry::Deployment(DeploymentEvent::Step(Step {
            at,
            deployment: deployment.to_owned(),
            step: step.to_owned(),
            outcome: StepOutcome::Passed,
        }))
    };
    let (scratch, root, _) = data_of(|entry| match entry {
        Entry::Deployment(_) => vec![entry, step("d1", "smoke-tset"), step("d2", "smoke-tests")],
        other => vec![other],
    });
    let config = fixture().join("sluice.yaml");
    let out = scratch.path().join("exported");
    let export = [&["export"], &from_to(&root, &config, &out)[..]].concat();
    let (code, _, error) = sluice(&export);
    assert_eq!(code, 0, "{error}");
    assert!(
        error.contains("2 deployment events are left out, which the engine refused"),
        "{error}"
    );
    let (code, said, error) = sluice(&["replay", "--output", "json", text(&out)]);
    assert_eq!((code, error.as_str()), (0, ""), "{said}");
}

/// `/dev/full` refuses every byte, as a full disk does.
#[cfg(target_os = "linux")]
#[test]
fn an_answer_that_nobody_gets_is_an_error() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let good = fixtures.join("recordings/a_good_deploy");
    let config = good.join("sluice.yaml");
    let (_scratch, root, _) = data();
    for arguments in [
        &["replay", text(&good)][..],
        &["check", text(&config)],
        &["check", text(&config), "--against", text(&good)],
        &["journal", "verify", text(&root)],
        &["schema"],
        &["man"],
    ] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let run = Command::new(env!("CARGO_BIN_EXE_sluice"))
            .args(arguments)
            .stdout(full)
            .output()
            .unwrap();
        assert_eq!(run.status.code(), Some(2), "{arguments:?}");
        let told = String::from_utf8(run.stderr).unwrap();
        assert!(told.contains("stdout cannot be written"), "{told}");
    }
}

#[test]
fn a_replay_without_what_stayed_in_kafka_says_so_and_passes_nothing() {
    let stayed = OffsetRange {
        topic: "metrics".to_owned(),
        partition: 0,
        from: 40,
        until: 47,
    };
    let (_scratch, root, _) = data_of(|entry| match entry {
        Entry::Tick(_) => vec![Entry::Consumed(stayed.clone()), entry],
        other => vec![other],
    });
    let config = fixture().join("sluice.yaml");
    let journal = root.join(DataDir::JOURNAL);
    let (code, said, told) = sluice(&[
        "replay",
        "--output",
        "json",
        "--config",
        text(&config),
        text(&journal),
    ]);
    assert!(told.contains("messages stayed in Kafka"), "{told}");
    assert!(said.contains("lost_in_kafka"), "{said}");
    assert!(!said.contains(r#""verdict":"PASS""#), "{said}");
    assert_ne!(code, 0);
}

#[test]
fn a_stretch_begins_with_the_deployments_that_were_open() {
    let (scratch, root, _) = data();
    let config = fixture().join("sluice.yaml");
    let out = scratch.path().join("recording");
    let record = |from: &str, until: &str| {
        let stretch = ["--from", from, "--until", until];
        sluice(&[&["record"], &from_to(&root, &config, &out)[..], &stretch].concat())
    };
    let (code, _, error) = record("2026-03-03T10:30:00Z", "2026-03-03T10:10:00Z");
    assert_eq!(code, 2);
    assert!(error.contains("--until"), "{error}");
    let (code, _, error) = record("2027-01-01T00:00:00Z", "2027-01-02T00:00:00Z");
    assert_eq!(code, 2);
    assert!(error.contains("nothing was recorded"), "{error}");
    assert!(!out.exists(), "it is in the way of the next try");

    let (code, told, error) = record("2026-03-03T10:05:00Z", "2026-03-03T10:10:00Z");
    assert_eq!((code, error.as_str()), (0, ""));
    assert!(
        told.contains("2026-03-03T10:05:00Z to 2026-03-03T10:09:30Z"),
        "{told}"
    );
    let recorded: Vec<Entry> = Reader::open(&out)
        .unwrap()
        .map(|entry| entry.unwrap().1)
        .collect();
    assert!(matches!(recorded[0], Entry::Deployment(_)));
    let ticks = recorded
        .iter()
        .filter(|entry| matches!(entry, Entry::Tick(_)));
    assert_eq!(ticks.count(), 10);
    let (code, out, error) = sluice(&["replay", text(&out)]);
    // What went before the stretch was not seen: no proof can come of the rest of the bake alone.
    assert_eq!(code, 4, "{error} {out}");
    assert!(out.contains("of the bake has data"), "{out}");
}

#[test]
fn a_stretch_begins_under_the_configuration_that_was_in_force() {
    let text_of = files::text(&fixture().join("sluice.yaml")).unwrap();
    let [before, after, third] = ["90%", "95%", "99%"].map(|max| text_of.replace("90%", max));
    let [from, to] = [&before, &after].map(|text| Plan::parse(text).unwrap());
    let reload = Reload {
        at: Timestamp::from_seconds(1),
        by: "a test".to_owned(),
    };
    let change = PlanChange::new(&from, &to, reload);
    let (scratch, root, _) = data_of(|entry| match entry {
        entry @ Entry::Deployment(_) => vec![entry, Entry::Plan(change.clone())],
        entry => vec![entry],
    });
    for (number, (config, expected)) in [
        // The engine may have refused it: whoever knows says so.
        (&before, &before),
        (&after, &after),
        (&third, &after),
    ]
    .into_iter()
    .enumerate()
    {
        let file = scratch.path().join(format!("{number}.yaml"));
        fs::write(&file, config).unwrap();
        let out = scratch.path().join(format!("recording-{number}"));
        let stretch = ["--from", "2026-03-03T10:05:00Z"];
        let record = [&["record"], &from_to(&root, &file, &out)[..], &stretch].concat();
        let (code, _, warned) = sluice(&record);
        assert_eq!(code, 0, "{warned}");
        assert_eq!(warned.is_empty(), config == expected, "{warned}");
        let recorded = files::text(&out.join("sluice.yaml")).unwrap();
        let digest = |text: &str| Plan::parse(text).unwrap().digest;
        assert_eq!(digest(&recorded), digest(expected), "{number}");
    }
}
