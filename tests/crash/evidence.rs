//! What is left behind: the journal, what the engine said and logged, and what a replay says.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use serde_json::Value;
use sluice::{
    engine::{Engine, Input, Output},
    event::DeploymentEvent,
    gate::Gate,
    journal::{self, DataDir},
    ledger::{Entry, FILE, Filter, History, Kind},
    plan::Plan,
    source::files,
};

use super::{
    engine::{Addresses, Site, wait_for},
    http,
    ledger::{Book, hash},
    load::Load,
};

/// What has to come of a deployment.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) deployment: String,
    /// `None`: it depends on when an attempt was taken that was not answered.
    verdict: Option<&'static str>,
}

impl Expected {
    pub(crate) fn new(deployment: &str, verdict: Option<&'static str>) -> Self {
        Self {
            deployment: deployment.to_owned(),
            verdict,
        }
    }
}

/// Bodies of a journal.
#[derive(Debug)]
pub(crate) struct Journal {
    /// How often each stands there, by the hash of its bytes.
    bodies: BTreeMap<u64, u64>,
}

impl Journal {
    /// Reads all of it.
    pub(crate) fn read(data: &Path) -> Self {
        let mut bodies = BTreeMap::new();
        for entry in DataDir::open(data).unwrap().read_all().unwrap() {
            if let journal::Entry::Batch(body) = entry.unwrap().1 {
                *bodies.entry(hash(&body.bytes)).or_default() += 1;
            }
        }
        Self { bodies }
    }

    /// Every body that was acknowledged stands in it, and none more often than it was sent.
    pub(crate) fn holds_what_was_acknowledged(&self, book: &Book) {
        assert_eq!(self.lost(book), 0, "samples and log records are lost");
        for (body, count) in &self.bodies {
            let sent = book.bodies.get(body).expect("nothing stands there unsent");
            assert!(*count <= sent.attempts, "{count} times, {sent:?}");
        }
    }

    /// Acknowledged samples and log records that do not stand in it.
    pub(crate) fn lost(&self, book: &Book) -> u64 {
        let lost = book
            .bodies
            .iter()
            .filter(|(body, sent)| sent.is_acknowledged && !self.bodies.contains_key(body));
        lost.map(|(_, sent)| sent.samples + sent.logs).sum()
    }

    /// Bodies that stand in it more than once.
    pub(crate) fn repeated(&self) -> u64 {
        self.bodies.values().map(|count| count - 1).sum()
    }

    /// Samples in it, each once.
    pub(crate) fn samples_once(&self, book: &Book) -> u64 {
        let samples = |body: &u64| book.bodies[body].samples;
        self.bodies.keys().map(samples).sum()
    }
}

/// Samples that an engine has counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) accepted: u64,
    pub(crate) duplicates: u64,
}

/// Counts all samples of a journal with an engine that starts without a saved state, until what came
/// twice is counted out: buckets close with the ticks of the clock, and only that finds it.
pub(crate) fn count_anew(site: &Arc<Site>, journal: &Journal, once: u64) -> Counts {
    assert!(!journal.bodies.is_empty());
    fs::remove_dir_all(site.seen.join(DataDir::SNAPSHOTS)).unwrap();
    let engine = site.start_ready();
    let at = site.at();
    let [accepted, duplicates] =
        ["accepted", "duplicate"].map(|what| format!("sluice_{what}_samples_total "));
    let mut counts = Counts::default();
    let what = format!("all but {once} samples are counted out");
    wait_for(&what, || {
        // Of one moment, and none if it cannot be asked.
        let text = http::get(at.http, "/metrics").unwrap().text();
        let count = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap().trim().parse::<f64>().unwrap() as u64
        };
        counts = Counts {
            accepted: count(&accepted),
            duplicates: count(&duplicates),
        };
        0 < counts.accepted && counts.accepted - counts.duplicates <= once
    });
    drop(engine);
    counts
}

/// Everything that is said of all deployments, without what depends on the moment.
pub(crate) fn verdicts(at: Addresses) -> io::Result<Vec<Value>> {
    let mut document = http::get(at.http, "/api/v1/deployments")?.json();
    let Some(verdicts) = document["deployments"].as_array_mut() else {
        return Err(io::ErrorKind::Other.into());
    };
    Ok(std::mem::take(verdicts))
}

/// Looks at all verdicts again and again while the engine is killed.
pub(crate) struct Observer {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<BTreeSet<Seen>>,
}

/// A verdict as somebody saw it: deployment, verdict, since when.
pub(crate) type Seen = (String, String, String);

impl Observer {
    pub(crate) fn start(site: &Arc<Site>, load: &Arc<Load>) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (site, load, over) = (Arc::clone(site), Arc::clone(load), Arc::clone(&is_over));
        let thread = thread::spawn(move || {
            let mut seen = BTreeSet::new();
            while !over.load(Ordering::Acquire) {
                let tick = Duration::from_millis(50);
                load.ledger.wait_at_most(tick, |_| false);
                let at = site.reached(tick);
                // It may be killed meanwhile.
                if let Some(Ok(verdicts)) = at.map(verdicts) {
                    seen.extend(verdicts.iter().map(brief));
                }
            }
            seen
        });
        Self { is_over, thread }
    }

    pub(crate) fn stop(self) -> BTreeSet<Seen> {
        self.is_over.store(true, Ordering::Release);
        self.thread.join().unwrap()
    }
}

fn brief(verdict: &Value) -> Seen {
    let text = |key: &str| verdict[key].as_str().unwrap().to_owned();
    (text("deployment"), text("verdict"), text("since"))
}

/// The lines of a replay of the whole journal: changes, and the last word on each deployment.
fn replay(site: &Site) -> (Vec<Value>, BTreeMap<String, Value>) {
    let printed = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(["replay", "--output", "json", "--config"])
        .arg(site.config())
        .arg(site.seen.join(DataDir::JOURNAL))
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&printed.stderr);
    let mut changes = Vec::new();
    let mut last = BTreeMap::new();
    for line in printed.stdout.lines() {
        let mut line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let kind = line.as_object_mut().unwrap().remove("type").unwrap();
        if kind == "final" {
            last.insert(line["deployment"].as_str().unwrap().to_owned(), line);
        } else {
            changes.push(line);
        }
    }
    assert!(!last.is_empty(), "{error}");
    (changes, last)
}

/// Everything in the history, whose chain has to be whole.
pub(crate) fn history(site: &Site) -> Vec<Entry> {
    // SQLite does not find its way through /proc, where a file system of its own is looked into.
    let copy = tempfile::tempdir().unwrap();
    for end in ["", "-wal"] {
        let name = format!("{FILE}{end}");
        let copied = fs::copy(site.seen.join(&name), copy.path().join(&name));
        assert!(copied.is_ok() || end == "-wal", "{copied:?}");
    }
    let history = History::at(copy.path().join(FILE));
    history.verify(None).unwrap();
    let (mut records, mut next) = (Vec::new(), Some(0));
    while let Some(from) = next {
        let page = history.records(&Filter::all(), from, 1_000).unwrap();
        records.extend(page.records);
        next = page.next;
    }
    records
}

/// What deployers told, as the history has to have it: kind, deployment and time of each event that the
/// engine takes when it is told everything that stands in the journal, and of each reload.
fn told(site: &Site) -> Vec<(Kind, String, String)> {
    let text = files::text(&site.config()).unwrap();
    let plan = Plan::parse(&text).unwrap_or_else(|faults| panic!("{faults}"));
    let mut engine = Engine::new(Arc::new(plan));
    let (mut told, mut outputs) = (Vec::new(), Vec::new());
    for entry in DataDir::open(&site.seen).unwrap().read_all().unwrap() {
        let event = match entry.unwrap().1 {
            journal::Entry::Deployment(event) => event,
            journal::Entry::Plan(change) | journal::Entry::Start(change) => {
                let reload = change.reload.expect("whoever had it read");
                told.push((Kind::Reload, String::new(), reload.at.to_string()));
                continue;
            }
            _ => continue,
        };
        let id = event.deployment().to_owned();
        let known = engine.gate(&id).map(Gate::is_ended);
        engine.step(Input::Deployment(event.clone()), &mut outputs);
        if outputs
            .drain(..)
            .any(|output| matches!(output, Output::Refused(_)))
        {
            continue;
        }
        let kind = match (&event, known) {
            // Whoever asks again changes nothing.
            (DeploymentEvent::Begin(_), Some(_)) | (DeploymentEvent::End(_), Some(true)) => {
                continue;
            }
            (DeploymentEvent::Begin(_), None) => Kind::Begin,
            (DeploymentEvent::Step(_), _) => Kind::Step,
            (DeploymentEvent::Bypass(_), _) => Kind::Bypass,
            (DeploymentEvent::End(_), _) => Kind::End,
        };
        told.push((kind, id, event.at().to_string()));
    }
    told
}

/// Compares what the engine said with a replay, and both with what has to come of each deployment.
pub(crate) fn check_verdicts(
    site: &Site,
    said: &[Value],
    observed: &BTreeSet<Seen>,
    expected: &[Expected],
    book: &Book,
) {
    let (changes, last) = replay(site);
    let history = history(site);
    let of_verdicts = history.iter().filter(|entry| entry.kind == Kind::Verdict);
    let verdicts: Vec<Value> = of_verdicts
        .map(|entry| serde_json::from_str(entry.body.get()).unwrap())
        .collect();
    assert_eq!(verdicts, changes, "the history is what a replay says");
    let others = history.iter().filter(|entry| entry.kind != Kind::Verdict);
    let others: Vec<(Kind, String, String)> = others
        .map(|entry| (entry.kind, entry.deployment.clone(), entry.at.to_string()))
        .collect();
    assert_eq!(others, told(site), "and what deployers told");
    assert_eq!(said.len(), last.len());
    for verdict in said {
        let mut verdict = verdict.clone();
        verdict.as_object_mut().unwrap().remove("progress");
        let deployment = verdict["deployment"].as_str().unwrap();
        assert_eq!(verdict, last[deployment], "{deployment}");
    }
    let known: BTreeSet<Seen> = changes.iter().map(brief).collect();
    for seen in observed {
        assert!(
            seen.1 == "PENDING" || known.contains(seen),
            "{seen:?} was seen, but is said in no replay"
        );
    }
    check_log(&site.log(), &changes);
    let mut checked = BTreeMap::new();
    for Expected {
        deployment,
        verdict,
    } in expected
    {
        // A machine that was so slow that samples came too late proves nothing of means.
        let Some(verdict) = verdict.filter(|_| book.late == 0) else {
            continue;
        };
        let said = &last[deployment];
        assert_eq!(said["verdict"], verdict, "{said:#}");
        *checked.entry(verdict).or_insert(0) += 1;
    }
    if book.late == 0 {
        assert_eq!(checked.len(), 2, "both kinds of verdicts: {checked:?}");
    }
    println!(
        "{} changes of verdicts, {} seen meanwhile, as expected {checked:?}",
        changes.len(),
        observed.len()
    );
}

/// Every change that an engine logged is one of the replay, none came twice, and they came in order.
fn check_log(log: &PathBuf, changes: &[Value]) {
    let mut rest = changes.iter().map(|change| {
        let (deployment, verdict, _) = brief(change);
        (
            deployment,
            verdict,
            change["at"].as_str().unwrap().to_owned(),
        )
    });
    let (mut logged, mut loaded) = (0, 0);
    let log = fs::OpenOptions::new().read(true).open(log).unwrap();
    for line in BufReader::new(log).lines() {
        let line = line.unwrap();
        loaded += u64::from(line.contains("state loaded"));
        if !line.contains("verdict changed") {
            continue;
        }
        let field = |name: &str| {
            let (_, after) = line.split_once(name).unwrap();
            after.split(' ').next().unwrap().to_owned()
        };
        let change = (field(" deployment="), field(" verdict="), field(" at="));
        assert!(
            rest.any(|said| said == change),
            "{change:?} was announced, but is not said next in the replay"
        );
        logged += 1;
    }
    assert!(0 < loaded, "no start began with a saved state");
    assert!(
        changes.len() / 2 < logged,
        "{logged} of {} changes were announced",
        changes.len()
    );
    println!("{loaded} starts with a saved state, {logged} changes announced");
}
