//! What is appended is there, once, in a chain that tells of every change.

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::{
    event::{Begin, Bypass, End, Hotfix, Span, Step, StepOutcome, Timestamp},
    gate::{Verdict, VerdictState},
};

const DAY: i64 = 86_400;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(1_772_359_200 + seconds)
}

fn begin(id: &str, seconds: i64) -> Begin {
    Begin {
        at: at(seconds),
        deployment: id.to_owned(),
        service: "checkout".to_owned(),
        stage: "onebox".to_owned(),
        region: Some("eu".to_owned()),
        version: "v42".to_owned(),
        one_box: vec!["h3".to_owned()],
        fleet: Vec::new(),
        weight: 1.0,
        hotfix: None,
    }
}

fn verdict(begin: &Begin, seconds: i64, state: VerdictState) -> Record {
    let verdict = Verdict {
        at: at(seconds),
        deployment: begin.deployment.clone(),
        service: begin.service.clone(),
        stage: begin.stage.clone(),
        region: begin.region.clone(),
        version: begin.version.clone(),
        verdict: state,
        since: at(seconds),
        watermark: at(seconds),
        config_digest: "0123456789abcdef".to_owned(),
        is_final: false,
        reasons: vec!["because".to_owned()],
        checks: Vec::new(),
        shadow: None,
    };
    Record::verdict(begin, &verdict)
}

/// A deployment's life: begin, PENDING, a step, FAIL, BYPASSED, end.
fn life(id: &str, start: i64) -> Vec<Record> {
    let begin = begin(id, start);
    let step = Step {
        at: at(start + 10),
        deployment: id.to_owned(),
        step: "smoke".to_owned(),
        outcome: StepOutcome::Passed,
    };
    let bypass = Bypass {
        at: at(start + 30),
        deployment: id.to_owned(),
        by: "ana".to_owned(),
        reason: "known".to_owned(),
        ticket: "OPS-1".to_owned(),
    };
    let end = End {
        at: at(start + 40),
        deployment: id.to_owned(),
    };
    vec![
        Record::begin(&begin),
        verdict(&begin, start, VerdictState::Pending),
        Record::step(&begin, &step),
        verdict(&begin, start + 20, VerdictState::Fail),
        Record::bypass(&begin, &bypass),
        verdict(&begin, start + 30, VerdictState::Bypassed),
        Record::end(&begin, &end),
    ]
}

fn reload(seconds: i64) -> Reload {
    Reload {
        at: at(seconds),
        by: "SIGHUP".to_owned(),
        before: "0a".to_owned(),
        after: "0b".to_owned(),
    }
}

fn opened(directory: &TempDir) -> Ledger {
    Ledger::open(directory.path(), Span::from_hours(24 * 90)).unwrap()
}

fn kinds(history: &History, filter: &Filter) -> Vec<String> {
    let page = history.records(filter, 0, 0).unwrap();
    let records = page.records.iter();
    records
        .map(|entry| format!("{} {}", entry.deployment, entry.kind.name()))
        .collect()
}

#[test]
fn what_is_derived_again_is_appended_once_and_the_rest_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let all = life("d1", 0);
    let whole = {
        let directory = tempfile::tempdir().unwrap();
        let mut ledger = opened(&directory);
        assert_eq!(ledger.append(&all).unwrap(), all.len());
        ledger.head().clone()
    };
    // A crash after each number of records, then a recovery that derives everything again.
    for cut in 0..=all.len() {
        let directory = tempfile::tempdir().unwrap();
        opened(&directory).append(&all[..cut]).unwrap();
        let mut ledger = opened(&directory);
        assert_eq!(ledger.append(&all).unwrap(), all.len() - cut);
        assert_eq!(*ledger.head(), whole, "cut at {cut}");
        assert_eq!(ledger.append(&all).unwrap(), 0);
    }
    let mut ledger = opened(&directory);
    ledger.append(&all).unwrap();
    assert_eq!(
        kinds(&ledger.history(), &Filter::all()),
        [
            "d1 begin",
            "d1 verdict",
            "d1 step",
            "d1 verdict",
            "d1 bypass",
            "d1 verdict",
            "d1 end"
        ]
    );
}

#[test]
fn records_are_found_by_each_of_their_columns_page_by_page() {
    let directory = tempfile::tempdir().unwrap();
    for mut ledger in [
        opened(&directory),
        Ledger::in_memory(Span::from_hours(1)).unwrap(),
    ] {
        ledger.append(&life("d1", 0)).unwrap();
        let mut other = begin("d2", 100);
        other.stage = "prod".to_owned();
        other.region = None;
        other.version = "v43".to_owned();
        other.service = "cart".to_owned();
        ledger
            .append(&[
                Record::begin(&other),
                verdict(&other, 100, VerdictState::Pending),
            ])
            .unwrap();
        let history = ledger.history();
        let d2 = ["d2 begin", "d2 verdict"];
        let all = Filter::all;
        for filter in [
            Filter {
                service: "cart".to_owned(),
                ..all()
            },
            Filter {
                stage: "prod".to_owned(),
                ..all()
            },
            Filter {
                version: "v43".to_owned(),
                ..all()
            },
            Filter {
                deployment: "d2".to_owned(),
                ..all()
            },
            Filter {
                from: at(100),
                ..all()
            },
        ] {
            assert_eq!(kinds(&history, &filter), d2, "{filter:?}");
        }
        let eu = Filter {
            region: "eu".to_owned(),
            to: at(1),
            ..all()
        };
        assert_eq!(kinds(&history, &eu), ["d1 begin", "d1 verdict"]);
        let steps = Filter {
            kind: Some(Kind::Step),
            ..all()
        };
        assert_eq!(kinds(&history, &steps), ["d1 step"]);

        let mut seen = Vec::new();
        let mut from = Some(0);
        while let Some(start) = from {
            let page = history.verdicts(&all(), start, 1).unwrap();
            seen.extend(page.verdicts.iter().map(|verdict| verdict.verdict.name()));
            from = page.next;
        }
        assert_eq!(seen, ["PENDING", "FAIL", "BYPASSED", "PENDING"]);
    }
}

#[test]
fn every_change_afterwards_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = opened(&directory);
    ledger.append(&life("d1", 0)).unwrap();
    ledger.append(&life("d2", 100)).unwrap();
    let history = ledger.history();
    let head = ledger.head().hash.clone();
    let whole = history.verify(Some(&head)).unwrap();
    assert_eq!((whole.records, whole.holds), (14, Some(true)));

    let raw = Connection::open(directory.path().join(FILE)).unwrap();
    for refused in [
        "UPDATE records SET body = '{}' WHERE seq = 5",
        "DELETE FROM records WHERE seq = 5",
    ] {
        let error = raw.execute(refused, []).unwrap_err().to_string();
        assert!(error.contains("append-only"), "{error}");
    }
    // Whoever may write the file can drop the triggers too: then the chain tells.
    raw.execute_batch(
        "DROP TRIGGER records_are_not_changed; DROP TRIGGER records_are_removed_by_retention_only;",
    )
    .unwrap();
    let texts = [
        "kind",
        "deployment",
        "service",
        "stage",
        "region",
        "version",
        "verdict",
        "key",
        "body",
        "hash",
    ];
    let texts = texts.map(|column| {
        (
            format!("UPDATE records SET {column} = 'x' WHERE seq = 5"),
            5,
        )
    });
    let others = [
        ("UPDATE records SET at = at + 1 WHERE seq = 5", 5),
        ("UPDATE records SET privileged = 0 WHERE seq = 5", 5),
        ("DELETE FROM records WHERE seq = 5", 6),
        ("DELETE FROM records WHERE seq = 1", 2),
        ("UPDATE records SET seq = 15 WHERE seq = 14", 15),
        ("UPDATE pruned SET hash = 'x'", 1),
    ];
    let others = others.map(|(statement, first)| (statement.to_owned(), first));
    for (statement, first_wrong) in texts.into_iter().chain(others) {
        let copy = tempfile::tempdir().unwrap();
        let path = copy.path().join(FILE);
        raw.execute("VACUUM INTO ?1", [path.to_str().unwrap()])
            .unwrap();
        Connection::open(&path)
            .unwrap()
            .execute(&statement, [])
            .unwrap();
        let broken = History::at(path).verify(None).unwrap_err();
        assert!(
            matches!(broken, Broken::At { seq } if seq == first_wrong),
            "{statement}: {broken}"
        );
    }
}

#[test]
fn an_end_that_is_cut_off_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = opened(&directory);
    ledger.append(&life("d1", 0)).unwrap();
    ledger.append(&life("d2", 100)).unwrap();
    let (history, head) = (ledger.history(), ledger.head().hash.clone());
    let raw = Connection::open(directory.path().join(FILE)).unwrap();
    raw.execute_batch("DROP TRIGGER records_are_removed_by_retention_only;")
        .unwrap();
    // What is left is a whole chain; the database counts what was written.
    raw.execute("DELETE FROM records WHERE seq > 10", [])
        .unwrap();
    let broken = history.verify(None).unwrap_err();
    let is_told = matches!(
        broken,
        Broken::CutOff {
            last: 10,
            written: 14
        }
    );
    assert!(is_told, "{broken}");
    // Whoever makes it forget that is found by the hash that was told.
    let forget = "UPDATE sqlite_sequence SET seq = 10 WHERE name = 'records'";
    raw.execute(forget, []).unwrap();
    assert_eq!(history.verify(Some(&head)).unwrap().holds, Some(false));
}

#[test]
fn retention_removes_the_oldest_and_keeps_the_chain() {
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(directory.path(), Span::from_hours(24)).unwrap();
    for day in 0..3 {
        ledger.append(&life(&format!("d{day}"), day * DAY)).unwrap();
    }
    let head = ledger.head().clone();
    assert_eq!(ledger.prune(at(DAY)).unwrap(), 0);
    assert_eq!(ledger.prune(at(2 * DAY)).unwrap(), 7);
    assert_eq!(ledger.prune(at(2 * DAY)).unwrap(), 0);
    let verified = ledger.history().verify(Some(&head.hash)).unwrap();
    assert_eq!(
        (verified.records, verified.pruned, verified.holds),
        (14, 7, Some(true))
    );
    assert_eq!(ledger.prune(at(100 * DAY)).unwrap(), 14);
    assert_eq!(*ledger.head(), head);
    // Numbers and the chain go on, over a restart too.
    drop(ledger);
    let mut ledger = Ledger::open(directory.path(), Span::from_hours(24)).unwrap();
    assert_eq!(*ledger.head(), head);
    ledger.append(&life("d9", 200 * DAY)).unwrap();
    assert_eq!(ledger.head().seq, 28);
    assert_eq!(
        ledger.history().verify(Some(&head.hash)).unwrap().holds,
        Some(true)
    );
}

#[test]
fn what_is_kept_in_memory_is_bounded() {
    let mut ledger = Ledger::in_memory(Span::from_hours(24 * 90)).unwrap();
    let records: Vec<Record> = (0..10_100)
        .map(|second| verdict(&begin("d1", 0), second, VerdictState::Pending))
        .collect();
    ledger.append(&records).unwrap();
    assert_eq!(ledger.prune(at(20_000)).unwrap(), 100);
    let verified = ledger.history().verify(None).unwrap();
    assert_eq!((verified.records, verified.pruned), (10_000, 100));
}

#[test]
fn plain_sql_reads_who_did_what() {
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = opened(&directory);
    let mut hotfix = begin("d1", 0);
    hotfix.hotfix = Some(Hotfix {
        by: "bo".to_owned(),
        reason: "outage".to_owned(),
        ticket: "OPS-2".to_owned(),
        expires: at(3_600),
    });
    ledger.append(&[Record::begin(&hotfix)]).unwrap();
    ledger.append(&life("d2", 100)).unwrap();
    ledger.append(&[Record::reload(&reload(200))]).unwrap();
    let raw = Connection::open(directory.path().join(FILE)).unwrap();
    let mut acts = raw
        .prepare("SELECT kind, coalesce(who, '-'), coalesce(why, '-') FROM acts ORDER BY seq")
        .unwrap();
    let acts: Vec<String> = acts
        .query_map([], |row| {
            let parts: [String; 3] = [row.get(0)?, row.get(1)?, row.get(2)?];
            Ok(parts.join(" "))
        })
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        acts,
        [
            "begin bo outage",
            "bypass ana known",
            "end - -",
            "reload SIGHUP -"
        ]
    );
    let one = |sql: &str| {
        raw.query_row(sql, [], |row| row.get::<_, String>(0))
            .unwrap()
    };
    assert_eq!(
        one("SELECT began_at FROM deployments WHERE deployment = 'd2'"),
        "2026-03-01T10:01:40Z"
    );
    assert_eq!(
        one("SELECT reason FROM verdicts WHERE verdict = 'FAIL'"),
        "because"
    );
    assert_eq!(one("SELECT outcome FROM steps"), "passed");
    assert_eq!(
        one("SELECT who || ' ' || digest_before || ' ' || digest_after FROM reloads"),
        "SIGHUP 0a 0b"
    );
}

#[test]
fn what_is_no_ledger_of_this_version_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(opened(&directory));
    let raw = Connection::open(directory.path().join(FILE)).unwrap();
    raw.pragma_update(None, "user_version", 99).unwrap();
    let keep = Span::from_hours(1);
    let error = Ledger::open(directory.path(), keep).unwrap_err();
    assert!(
        matches!(error, LedgerError::Version { found: 99 }),
        "{error}"
    );

    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(FILE), vec![7_u8; 8_192]).unwrap();
    assert!(Ledger::open(directory.path(), keep).is_err());
}

#[test]
fn what_is_asked_for_is_found_by_an_index_and_never_sorted() {
    let directory = tempfile::tempdir().unwrap();
    drop(opened(&directory));
    let raw = Connection::open(directory.path().join(FILE)).unwrap();
    let text = |text: &str| text.to_owned();
    let all = Filter::all;
    let service = || Filter {
        service: text("shop"),
        ..all()
    };
    let place = Filter {
        stage: text("prod"),
        region: text("eu"),
        from: at(0),
        to: at(DAY),
        ..service()
    };
    let verdicts = |filter: &Filter| Filter {
        kind: Some(Kind::Verdict),
        ..filter.clone()
    };
    let stage = Filter {
        stage: text("prod"),
        ..service()
    };
    let version = Filter {
        version: text("v2"),
        ..all()
    };
    let deployment = Filter {
        deployment: text("d1"),
        ..all()
    };
    let times = Filter {
        from: at(0),
        to: at(DAY),
        ..all()
    };
    for (filter, expected) in [
        (all(), "USING INTEGER PRIMARY KEY (rowid>?)"),
        (times, "USING INTEGER PRIMARY KEY (rowid>?)"),
        (verdicts(&all()), "USING INDEX records_kind (kind=?"),
        (deployment, "USING INDEX records_deployment (deployment=?"),
        (verdicts(&version), "USING INDEX records_version (version=?"),
        (
            verdicts(&service()),
            "USING INDEX records_service (service=?",
        ),
        (stage, "USING INDEX records_stage (service=? AND stage=?"),
        (
            verdicts(&place),
            "USING INDEX records_place (service=? AND stage=? AND region=?",
        ),
    ] {
        let (select, values) = filter.select(17, 100);
        let mut plan = raw
            .prepare(&format!("EXPLAIN QUERY PLAN {select}"))
            .unwrap();
        let rows = plan
            .query_map(rusqlite::params_from_iter(values), |row| {
                row.get::<_, String>(3)
            })
            .unwrap();
        let steps: Vec<String> = rows.map(Result::unwrap).collect();
        assert_eq!(steps.len(), 1, "{steps:?}");
        assert!(
            steps[0].starts_with("SEARCH records ") && steps[0].contains(expected),
            "{steps:?}"
        );
    }
}

#[test]
fn a_verdict_that_cannot_be_read_is_told_of() {
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = opened(&directory);
    let mut odd = verdict(&begin("d1", 0), 10, VerdictState::Fail);
    odd.body = r#"{"verdict": "SPLENDID"}"#.to_owned();
    let whole = verdict(&begin("d1", 0), 20, VerdictState::Fail);
    ledger
        .append(&[Record::begin(&begin("d1", 0)), odd, whole])
        .unwrap();
    let page = ledger.history().verdicts(&Filter::all(), 0, 0).unwrap();
    assert_eq!((page.verdicts.len(), page.unreadable), (1, vec![2]));
}

#[test]
fn a_ledger_of_an_earlier_version_is_gone_on_with() {
    let schema = |directory: &TempDir| {
        let raw = Connection::open(directory.path().join(FILE)).unwrap();
        let all =
            "SELECT group_concat(sql, ';') FROM (SELECT sql FROM sqlite_schema ORDER BY name)";
        raw.query_row(all, [], |row| row.get::<_, String>(0))
            .unwrap()
    };
    let fresh = tempfile::tempdir().unwrap();
    drop(opened(&fresh));
    let as_version_2 = "DROP VIEW reloads; PRAGMA user_version = 2;";
    let as_version_1 = "DROP INDEX records_kind; DROP INDEX records_version;
         DROP INDEX records_service; DROP INDEX records_stage; DROP INDEX records_place;
         DROP VIEW shadows; DROP TABLE proofs;
         CREATE INDEX records_place ON records (service, stage, region, at);
         PRAGMA user_version = 1;";
    for earlier in [vec![as_version_2], vec![as_version_2, as_version_1]] {
        let directory = tempfile::tempdir().unwrap();
        opened(&directory).append(&life("d1", 0)).unwrap();
        let raw = Connection::open(directory.path().join(FILE)).unwrap();
        raw.execute_batch(&earlier.concat()).unwrap();
        drop(raw);
        assert_ne!(schema(&directory), schema(&fresh));
        let mut ledger = opened(&directory);
        assert_eq!(ledger.append(&life("d1", 0)).unwrap(), 0);
        assert_eq!(ledger.append(&life("d2", 100)).unwrap(), 7);
        assert_eq!(ledger.append(&[Record::reload(&reload(200))]).unwrap(), 1);
        assert_eq!(ledger.history().verify(None).unwrap().records, 15);
        assert_eq!(schema(&directory), schema(&fresh), "{earlier:?}");
    }
}

#[test]
fn that_it_can_be_written_is_proven_on_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = opened(&directory);
    ledger.append(&life("d1", 0)).unwrap();
    let other = Connection::open(directory.path().join(FILE)).unwrap();
    let proofs = || {
        let count = "SELECT count FROM proofs";
        other
            .query_row(count, [], |row| row.get::<_, i64>(0))
            .unwrap()
    };
    assert_eq!(proofs(), 0);
    ledger.prove().unwrap();
    assert_eq!(proofs(), 1, "others see that something was written");
    assert_eq!(ledger.history().verify(None).unwrap().records, 7);
    let held = Connection::open(directory.path().join(FILE)).unwrap();
    held.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(ledger.prove().unwrap_err().may_pass());
}
