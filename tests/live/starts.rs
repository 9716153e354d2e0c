//! An engine that is started under another configuration: what it judges anew then is what it says from
//! then on, over every start, and what whoever reads its journal later says.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use sluice::{
    event::Timestamp,
    journal::{DataDir, Entry, Limits, Reader},
    plan::Plan,
    source::files,
};
use tempfile::TempDir;

use super::{
    payloads::{busy, cpu_series, write_request},
    support::{CONFIGURATION, Rig, start},
};

/// A configuration under which a CPU may be that busy, and a bake takes that long.
fn text(max: &str, bake: &str, snapshots: &str) -> String {
    let text = CONFIGURATION.replace("max: 0.9}", &format!("max: {max}}}"));
    let text = text.replace("bake: 1m", &format!("bake: {bake}"));
    format!("journal: {{snapshot_every: {snapshots}}}\n{text}")
}

fn digest(text: &str) -> String {
    Plan::parse(text).unwrap().digest
}

/// A data directory with the file of its configuration, and the time that goes on over its engines.
struct Site {
    directory: TempDir,
    now: Timestamp,
    deployments: Vec<String>,
}

impl Site {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            now: start(),
            deployments: Vec::new(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Writes the file.
    fn configure(&self, text: &str) -> PathBuf {
        let file = self.path("live.yaml");
        fs::write(&file, text).unwrap();
        file
    }

    async fn start(&self, text: &str) -> Rig {
        Rig::reading_from(self.configure(text), self.data(), self.now).await
    }

    async fn reload(&self, rig: &Rig, text: &str) {
        self.configure(text);
        assert!(
            rig.server
                .reloader()
                .reload("a test")
                .await
                .unwrap()
                .is_other
        );
    }

    async fn begin(&mut self, rig: &Rig, id: &str, place: &str) {
        let begin = format!(
            r#"{{"deployment": "{id}", "service": "checkout", {place}, "version": "{id}"}}"#
        );
        let answer = rig.post_json("/api/v1/deployments", &begin).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        self.deployments.push(id.to_owned());
    }

    /// Lets so many buckets pass, with hosts that are busy by half.
    async fn run(&mut self, rig: &Rig, buckets: usize) {
        for _ in 0..buckets {
            let series = ["h1", "h2"].map(|host| cpu_series(host, busy(self.now), self.now));
            let request = write_request(series.to_vec());
            assert_eq!(rig.remote_write(&[], &request).await.status, 204);
            rig.pass(10).await;
            self.now = rig.now();
        }
    }

    /// What is said of every deployment.
    async fn said(&self, rig: &Rig) -> Vec<Value> {
        let mut said = Vec::new();
        for id in &self.deployments {
            let path = format!("/api/v1/deployments/{id}/verdict");
            let mut document = rig.get(&path).await.json();
            document.as_object_mut().unwrap().remove("progress");
            said.push(document);
        }
        said
    }

    fn replay(config: Option<&Path>, path: &Path) -> Told {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
        command.args(["replay", "--output", "json"]).arg(path);
        if let Some(config) = config {
            command.arg("--config").arg(config);
        }
        Told::of(&mut command)
    }

    /// Makes a recording; gives its path and what was warned of.
    fn make(&self, what: &str, config: &str, name: &str) -> (PathBuf, String) {
        let (out, file) = (self.path(name), self.path(&format!("{name}.yaml")));
        fs::write(&file, config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
        command.arg(what).arg("--data-dir").arg(self.data());
        command.arg("--config").arg(&file).arg("--out").arg(&out);
        let output = command.output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{error}");
        (out, error)
    }
}

/// What a replay said.
#[derive(Debug)]
struct Told {
    changes: Vec<String>,
    finals: Vec<Value>,
    error: String,
}

impl Told {
    fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        let (mut changes, mut finals) = (Vec::new(), Vec::new());
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            let mut document: Value = serde_json::from_str(line).unwrap();
            match document.as_object_mut().unwrap().remove("type") {
                Some(kind) if kind == "final" => finals.push(document),
                _ => changes.push(line.to_owned()),
            }
        }
        let error = String::from_utf8(output.stderr).unwrap();
        Self {
            changes,
            finals,
            error,
        }
    }
}

/// All records of the history.
async fn history(rig: &Rig) -> Vec<Value> {
    let page = rig.get("/api/v1/history?page_size=1000").await.json();
    page["records"].as_array().unwrap().clone()
}

/// By which configurations verdicts were said in records, and what took force.
fn told(records: &[Value]) -> (Vec<String>, Vec<[String; 3]>) {
    let word = |record: &Value, key: &str| record["body"][key].as_str().unwrap().to_owned();
    let of_kind = |kind: &'static str| records.iter().filter(move |record| record["kind"] == kind);
    let mut by: Vec<String> = of_kind("verdict")
        .map(|record| word(record, "config_digest"))
        .collect();
    by.dedup();
    let changes = of_kind("reload");
    let changes = changes.map(|record| ["by", "before", "after"].map(|key| word(record, key)));
    (by, changes.collect())
}

fn verdicts(said: &[Value]) -> Vec<(&str, &str)> {
    said.iter()
        .map(|said| {
            let word = |key: &str| said[key].as_str().unwrap();
            (word("verdict"), word("config_digest"))
        })
        .collect()
}

/// Starts under the same configuration as before: nothing is said otherwise, and nothing noted.
async fn start_again(site: &Site, text: &str, said: &[Value], noted: &[Value]) -> Rig {
    for _ in 0..2 {
        let rig = site.start(text).await;
        assert_eq!(site.said(&rig).await, said);
        assert_eq!(history(&rig).await, noted);
        rig.stop().await;
    }
    site.start(text).await
}

const EU: &str = r#""stage": "prod", "region": "eu""#;
const US: &str = r#""stage": "prod", "region": "us""#;
const BETA: &str = r#""stage": "beta""#;

/// A, changed to A2, started under B, started again, started under C, changed to C2, started again.
#[expect(clippy::too_many_lines, reason = "one way through many starts")]
async fn check(snapshots: &str) {
    let of = |max, bake| text(max, bake, snapshots);
    let [a, a2, b, c, c2] = [
        of("0.9", "1m"),
        of("0.8", "1m"),
        of("0.7", "5m"),
        of("0.4", "5m"),
        of("0.45", "5m"),
    ];
    let [of_a, of_a2, of_b, of_c, of_c2] = [&a, &a2, &b, &c, &c2].map(|text| digest(text));
    let mut site = Site::new();
    let rig = site.start(&a).await;
    site.begin(&rig, "d1", EU).await;
    site.run(&rig, 3).await;
    site.reload(&rig, &a2).await;
    site.begin(&rig, "d2", US).await;
    site.run(&rig, 8).await;
    let said = site.said(&rig).await;
    let passed = [("PASS", &*of_a), ("PASS", &*of_a2)];
    assert_eq!(verdicts(&said), passed, "{said:?}");
    let before = history(&rig).await;
    rig.stop().await;

    // The bakes are longer now, and d3 would pass by A2 before the next start.
    let mut rig = site.start(&b).await;
    let noted = history(&rig).await;
    assert_eq!(noted[..before.len()], before);
    let start_of_b = ["start".to_owned(), of_a2.clone(), of_b.clone()];
    let (by, changes) = told(&noted[before.len()..]);
    assert_eq!((by, changes), (vec![of_b.clone()], vec![start_of_b]));
    rig.lines();
    site.begin(&rig, "d3", BETA).await;
    let step = r#"{"step": "smoke", "outcome": "passed"}"#;
    let path = "/api/v1/deployments/d3/steps";
    assert_eq!(rig.post_json(path, step).await.status, 200);
    site.run(&rig, 9).await;
    let lines_of_b = rig.lines();
    assert!(!lines_of_b.is_empty());
    let said = site.said(&rig).await;
    assert_eq!(verdicts(&said), [("PENDING", &*of_b); 3]);
    let noted = history(&rig).await;
    rig.stop().await;
    let rig = start_again(&site, &b, &said, &noted).await;
    rig.stop().await;

    // The journal says what the live engine said, under whatever configuration it is recorded.
    let journal = site.data().join(DataDir::JOURNAL);
    let of_journal = Site::replay(Some(&site.configure(&b)), &journal);
    assert_eq!(of_journal.finals, said);
    assert_eq!(of_journal.error, "");
    assert!(of_journal.changes.ends_with(&lines_of_b), "{of_journal:?}");
    for (name, config) in [("b", &b), ("b-by-a2", &a2)] {
        let (recording, warned) = site.make("record", config, name);
        let replayed = Site::replay(None, &recording);
        assert_eq!(replayed.changes, of_journal.changes);
        assert_eq!((replayed.finals, &*replayed.error), (said.clone(), ""));
        assert_eq!(
            warned.contains("last started under"),
            name == "b-by-a2",
            "{warned}"
        );
        assert_eq!(warned.contains(&of_b), name == "b-by-a2", "{warned}");
        assert_eq!(warned.contains("sluice replay --config"), name == "b-by-a2");
    }
    let (exported, warned) = site.make("export", &a2, "export");
    assert!(
        warned.contains("last started under") && !warned.contains("times"),
        "{warned}"
    );
    let config = files::text(&exported.join("sluice.yaml")).unwrap();
    assert_eq!(digest(&config), of_b);
    // Whoever replays it under another one means that, and is told.
    let by_a = Site::replay(Some(&site.configure(&a)), &journal);
    assert!(
        by_a.error.contains(&of_b) && by_a.error.contains(&of_a),
        "{}",
        by_a.error
    );
    let by_a = verdicts(&by_a.finals);
    assert!(by_a.iter().all(|(_, by)| *by == of_a), "{by_a:?}");

    let rig = site.start(&c).await;
    let noted_by_c = history(&rig).await;
    assert_eq!(noted_by_c[..noted.len()], noted);
    let start_of_c = ["start".to_owned(), of_b.clone(), of_c.clone()];
    let (by, changes) = told(&noted_by_c[noted.len()..]);
    assert_eq!((by, changes), (vec![of_c.clone()], vec![start_of_c]));
    site.run(&rig, 2).await;
    let (said, noted) = (site.said(&rig).await, history(&rig).await);
    assert_eq!(verdicts(&said), [("FAIL", &*of_c); 3]);
    rig.stop().await;
    let rig = start_again(&site, &c, &said, &noted).await;

    // A change behind the start is gone on with.
    site.reload(&rig, &c2).await;
    site.begin(&rig, "d4", US).await;
    site.run(&rig, 2).await;
    let (said, noted) = (site.said(&rig).await, history(&rig).await);
    assert_eq!(verdicts(&said)[3].1, of_c2);
    rig.stop().await;
    let rig = start_again(&site, &c2, &said, &noted).await;
    rig.stop().await;
    let of_journal = Site::replay(Some(&site.configure(&c)), &journal);
    assert_eq!((of_journal.finals, &*of_journal.error), (said.clone(), ""));
    let (recording, warned) = site.make("record", &c2, "c2");
    assert!(
        warned.contains("in force when it begins") && warned.contains(&of_c),
        "{warned}"
    );
    assert!(warned.contains("goes on to the later ones"), "{warned}");
    assert_eq!(Site::replay(None, &recording).finals, said);
    let verified = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(["journal", "verify"])
        .arg(&journal)
        .output()
        .unwrap();
    let verified = String::from_utf8(verified.stdout).unwrap();
    assert!(
        verified.contains("starts     2 that judged all before anew"),
        "{verified}"
    );
    assert!(verified.contains("changes    2 of"), "{verified}");
}

#[tokio::test]
async fn a_start_under_another_configuration_is_said_alike_by_all_that_reads_the_journal() {
    check("5m").await;
}

#[tokio::test]
async fn so_it_is_where_states_are_saved_meanwhile() {
    check("20s").await;
}

/// Leaves a journal as versions did that recorded no starts.
fn without_starts(data: &Path) {
    let journal = data.join(DataDir::JOURNAL);
    let entries = Reader::open(&journal)
        .unwrap()
        .map(|entry| entry.unwrap().1);
    let is_kept = |entry: &Entry| !matches!(entry, Entry::Start(_));
    let kept: Vec<Entry> = entries.filter(is_kept).collect();
    for path in [&journal, &data.join(DataDir::SNAPSHOTS)] {
        fs::remove_dir_all(path).unwrap();
    }
    let data = DataDir::open(data).unwrap();
    data.writer(Limits::default())
        .unwrap()
        .0
        .commit(&kept)
        .unwrap();
}

#[tokio::test]
async fn a_journal_that_tells_of_no_start_goes_by_its_changes_and_is_judged_anew_by_the_next() {
    let of = |max| text(max, "1m", "5m");
    let (a, a2, b) = (of("0.9"), of("0.8"), of("0.4"));
    let mut site = Site::new();
    let rig = site.start(&a).await;
    site.begin(&rig, "d1", EU).await;
    site.run(&rig, 3).await;
    site.reload(&rig, &a2).await;
    site.run(&rig, 6).await;
    rig.stop().await;
    let rig = site.start(&b).await;
    site.begin(&rig, "d2", US).await;
    site.run(&rig, 8).await;
    let said = site.said(&rig).await;
    assert_eq!(verdicts(&said), [("FAIL", &*digest(&b)); 2]);
    rig.stop().await;
    without_starts(&site.data());

    let journal = site.data().join(DataDir::JOURNAL);
    let replayed = Site::replay(Some(&site.configure(&a)), &journal);
    let by_its_changes = [("PASS", &*digest(&a)), ("PASS", &*digest(&a2))];
    assert_eq!(verdicts(&replayed.finals), by_its_changes);
    let rig = site.start(&b).await;
    assert_eq!(site.said(&rig).await, said);
    let noted = history(&rig).await;
    rig.stop().await;
    let rig = start_again(&site, &b, &said, &noted).await;
    rig.stop().await;
    assert_eq!(
        Site::replay(Some(&site.configure(&b)), &journal).finals,
        said
    );
}
