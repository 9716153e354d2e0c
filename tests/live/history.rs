//! What is remembered of deployments: over HTTP, by the command line, over a restart.

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;
use sluice::{
    ledger::FILE,
    serve::pb::{self, ListVerdictsRequest, VerdictState},
};

use super::support::{CONFIGURATION, Rig, plan};

/// Begins a deployment, reports a step that failed, ends it, and ends it again.
async fn fail_one(rig: &Rig, id: &str) {
    let begin = format!(
        r#"{{"deployment": "{id}", "service": "checkout", "stage": "beta", "version": "v2"}}"#
    );
    assert_eq!(
        rig.post_json("/api/v1/deployments", &begin).await.status,
        200
    );
    // A caller that did not hear the answer asks again.
    assert_eq!(
        rig.post_json("/api/v1/deployments", &begin).await.status,
        200
    );
    rig.pass(10).await;
    let step = r#"{"step": "smoke", "outcome": "failed"}"#;
    let path = |what: &str| format!("/api/v1/deployments/{id}/{what}");
    assert_eq!(rig.post_json(&path("steps"), step).await.status, 200);
    let unknown = r#"{"step": "dance", "outcome": "passed"}"#;
    assert_eq!(rig.post_json(&path("steps"), unknown).await.status, 400);
    rig.pass(10).await;
    for _ in 0..2 {
        assert_eq!(rig.post_json(&path("end"), "{}").await.status, 200);
    }
    // What has ended does not speak for what begins now.
    assert_eq!(
        rig.post_json("/api/v1/deployments", &begin).await.status,
        409
    );
}

async fn history(rig: &Rig, query: &str) -> Value {
    let answer = rig.get(&format!("/api/v1/history{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn kinds(page: &Value) -> Vec<String> {
    let records = page["records"].as_array().unwrap().iter();
    records
        .map(|record| {
            let verdict = record["body"]["verdict"].as_str().unwrap_or_default();
            let words = [&record["deployment"], &record["kind"]].map(|word| word.as_str().unwrap());
            format!("{} {verdict}", words.join(" "))
                .trim_end()
                .to_owned()
        })
        .collect()
}

async fn sluice(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
    // Set for other commands: a data directory that is named goes before it.
    command.env("SLUICE_URL", "http://127.0.0.1:9");
    command.arg("history").args(arguments);
    let Output {
        status,
        stdout,
        stderr,
    } = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

const LIFE: [&str; 5] = [
    "d1 begin",
    "d1 verdict PENDING",
    "d1 step",
    "d1 verdict FAIL",
    "d1 end",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_is_remembered_as_it_went() {
    let rig = Rig::new().await;
    fail_one(&rig, "d1").await;
    assert_eq!(kinds(&history(&rig, "").await), LIFE);
    fail_one(&rig, "d2").await;
    for (query, count) in [
        ("?deployment=d2", 5),
        ("?kind=verdict", 4),
        ("?kind=verdict&deployment=d1", 2),
        ("?service=cart", 0),
        ("?from=2026-03-01T10:00:15Z", 6),
        ("?to=2026-03-01T10:00:15Z", 4),
    ] {
        assert_eq!(kinds(&history(&rig, query).await).len(), count, "{query}");
    }
    let first = history(&rig, "?page_size=7").await;
    let next = first["next_page_token"].as_str().unwrap();
    let second = history(&rig, &format!("?page_size=7&page_token={next}")).await;
    assert_eq!((kinds(&first).len(), kinds(&second).len()), (7, 3));
    assert_eq!(second["next_page_token"], "");
    for odd in [
        "?kind=dance",
        "?from=yesterday",
        "?page_token=x",
        "?colour=red",
    ] {
        let answer = rig.get(&format!("/api/v1/history{odd}")).await;
        assert_eq!(answer.status, 400, "{odd}");
        assert!(answer.json()["error"].is_string());
    }
    let records = rig.metric("sluice_ledger_records").await;
    assert_eq!(records, Some(10.0));

    let url = format!("http://{}", rig.at.http);
    let (code, out, error) = sluice(&["--url", &url, "--deployment", "d1"]).await;
    assert_eq!((code, error.as_str()), (0, ""));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 5, "{out}");
    assert!(lines[2].contains("step: smoke  outcome: failed"), "{out}");
    assert!(
        lines[3].contains("FAIL") && lines[3].contains("d1 checkout/beta v2"),
        "{out}"
    );
    let (_, out, _) = sluice(&["--url", &url, "--kind", "end", "--output", "json"]).await;
    let record: Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&record["deployment"], &record["kind"]),
        (&"d1".into(), &"end".into())
    );
    rig.stop().await;
    let (code, _, error) = sluice(&["--url", &url]).await;
    assert_eq!(code, 2);
    assert!(error.contains(&url), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_history_nobody_is_let_past_a_gate() {
    let directory = tempfile::tempdir().unwrap();
    let rig = Rig::with(plan(), Some(directory.path().to_owned())).await;
    let hotfix = r#"{"deployment": "h1", "service": "checkout", "stage": "beta", "version": "v3",
        "hotfix": {"by": "ana", "reason": "outage", "ticket": "OPS-1", "expires": "2026-03-02T10:00:00Z"}}"#;
    let held = rusqlite::Connection::open(directory.path().join(FILE)).unwrap();
    held.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(
        rig.post_json("/api/v1/deployments", hotfix).await.status,
        503,
        "the first that comes after it broke is refused too"
    );
    fail_one(&rig, "d1").await;
    assert_eq!(
        kinds(&history(&rig, "").await),
        [""; 0],
        "it could not be written"
    );
    assert!(rig.metric("sluice_ledger_failures_total").await.unwrap() > 0.0);
    assert_eq!(
        rig.post_json("/api/v1/deployments", hotfix).await.status,
        503
    );

    held.execute_batch("ROLLBACK").unwrap();
    rig.pass(10).await;
    assert_eq!(
        kinds(&history(&rig, "").await),
        LIFE,
        "nothing was lost meanwhile"
    );
    assert_eq!(
        rig.post_json("/api/v1/deployments", hotfix).await.status,
        200
    );
    let acts = "SELECT group_concat(kind || ' ' || coalesce(who, '-'), ', ') FROM acts";
    let acts: String = held.query_row(acts, [], |row| row.get(0)).unwrap();
    assert_eq!(acts, "end -, begin ana");
    rig.stop().await;
}

/// Everything in a folder, as a crash would leave it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (entry, to) = (entry.unwrap(), to.to_owned());
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_history_lacks_rides_in_the_saved_state() {
    let directory = tempfile::tempdir().unwrap();
    let text = format!("{CONFIGURATION}journal: {{snapshot_every: 10s, commit_delay: 0s}}\n");
    let plan = || sluice::plan::Plan::parse(&text).unwrap();
    let rig = Rig::with(plan(), Some(directory.path().to_owned())).await;
    let held = rusqlite::Connection::open(directory.path().join(FILE)).unwrap();
    held.execute_batch("BEGIN IMMEDIATE").unwrap();
    fail_one(&rig, "d1").await;
    let written = || rig.metric("sluice_snapshots_written_total");
    let mut ticks = 0;
    while written().await < Some(3.0) {
        rig.pass(10).await;
        ticks += 1;
        assert!(
            ticks < 1_000,
            "the state is saved although the history cannot be written"
        );
    }
    let ready = rig.get("/-/ready").await;
    assert_eq!(ready.status, 200, "verdicts do not wait for the history");
    assert!(
        ready.text().contains("history cannot be written"),
        "{}",
        ready.text()
    );
    assert_eq!(rig.metric("sluice_ledger_waiting_records").await, Some(5.0));
    // It dies here, and loses what is before its last states: they are all that is left.
    let left = tempfile::tempdir().unwrap();
    copy(directory.path(), left.path());
    held.execute_batch("ROLLBACK").unwrap();
    rig.stop().await;
    let rig = Rig::with(plan(), Some(left.path().to_owned())).await;
    assert_eq!(kinds(&history(&rig, "").await), LIFE);
    rig.stop().await;
    // The next start has it in the state and in the history: it is there once.
    let rig = Rig::with(plan(), Some(left.path().to_owned())).await;
    assert_eq!(kinds(&history(&rig, "").await), LIFE);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_outlasts_a_restart_and_tells_of_changes() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().to_owned();
    let rig = Rig::with(plan(), Some(data_dir.clone())).await;
    fail_one(&rig, "d1").await;
    let before = history(&rig, "").await;
    rig.stop().await;
    let rig = Rig::with(plan(), Some(data_dir.clone())).await;
    assert_eq!(
        history(&rig, "").await,
        before,
        "nothing is lost, nothing comes twice"
    );
    let mut gates = rig.gates().await;
    let listed = gates.list_verdicts(ListVerdictsRequest::default()).await;
    let listed = listed.unwrap().into_inner().verdicts;
    let states: Vec<VerdictState> = listed.iter().map(pb::Verdict::verdict).collect();
    assert_eq!(states, [VerdictState::Pending, VerdictState::Fail]);

    let place = data_dir.to_str().unwrap();
    let (code, out, error) = sluice(&["verify", "--data-dir", place]).await;
    assert_eq!(code, 0, "{error}");
    let head = out.trim().rsplit(' ').next().unwrap().to_owned();
    assert!(out.starts_with("5 records are whole"), "{out}");
    let (code, out, _) = sluice(&["--data-dir", place]).await;
    assert_eq!((code, out.lines().count()), (0, 5));
    let (code, _, error) = sluice(&["verify", "--data-dir", place, "--head", ""]).await;
    assert_eq!(code, 2, "no hash is none that was told before: {error}");
    rig.stop().await;

    // A history that lost its end, or all of it, gets it again from the journal.
    std::fs::remove_file(data_dir.join(FILE)).unwrap();
    let rig = Rig::with(plan(), Some(data_dir.clone())).await;
    assert_eq!(history(&rig, "").await, before);
    rig.stop().await;

    let raw = rusqlite::Connection::open(data_dir.join(FILE)).unwrap();
    raw.execute_batch("DROP TRIGGER records_are_not_changed")
        .unwrap();
    raw.execute(
        "UPDATE records SET body = replace(body, 'failed', 'passed') WHERE kind = 'step'",
        [],
    )
    .unwrap();
    let (code, _, error) = sluice(&["verify", "--data-dir", place]).await;
    assert_eq!(code, 1);
    assert!(error.contains("record 3"), "{error}");
    let (code, _, _) = sluice(&["verify", "--data-dir", place, "--head", &head]).await;
    assert_eq!(code, 1);
    let (code, _, _) = sluice(&["verify", "--data-dir", "/nowhere"]).await;
    assert_eq!(code, 2);
}
