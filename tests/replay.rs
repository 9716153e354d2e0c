//! Runs every recording below `fixtures/recordings` and holds what is said against what is expected.
//!
//! `UPDATE_EXPECT=1 cargo test --test replay` rewrites the expected files; the verdicts stand in a
//! table here, so that a flip is never rewritten by accident.

#[path = "common/noise.rs"]
mod noise;
#[path = "common/partition.rs"]
mod partition;

use std::{
    collections::BTreeSet,
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
};

use VerdictState::{Bypassed, Fail, NoData, Pass, Pending};
use sluice::{
    detect::CheckState,
    engine::{self, Engine},
    gate::{CheckReport, Gate, Line, LineKind, VerdictState},
    plan::Plan,
    source::recording::Recording,
};

/// The final verdict of each deployment of each recording.
const VERDICTS: &[(&str, &[(&str, VerdictState)])] = &[
    ("a_bad_deploy", &[("d1", Fail)]),
    ("a_bypass", &[("d1", Bypassed)]),
    ("a_counter_reset", &[("d1", Pass)]),
    ("a_crash_loop", &[("d1", Fail)]),
    ("a_crash_loop_that_hides", &[("d1", NoData)]),
    ("a_failed_step", &[("d1", Fail)]),
    (
        "a_failed_step_that_is_bypassed",
        &[("d1-beta", Bypassed), ("d2-gamma", Pass)],
    ),
    (
        "a_failure_that_holds_the_others",
        &[("d-eu", Fail), ("d-us", Pending)],
    ),
    ("a_fleet_that_idles", &[("d1", NoData)]),
    ("a_fleet_that_is_replaced", &[("d1", Fail)]),
    ("a_fleet_wide_incident", &[("d1", Pass)]),
    ("a_good_deploy", &[("d1", Pass)]),
    ("a_hotfix", &[("d1", Pass), ("d2", Fail), ("d3", Fail)]),
    ("a_late_partition", &[("d1", NoData)]),
    ("a_leak", &[("d1", Fail)]),
    ("a_leak_beside_two", &[("d1", NoData)]),
    ("a_load_test_too_small", &[("d1", Fail), ("d2", Pass)]),
    ("a_log_storm", &[("d1", Fail)]),
    ("a_missing_step", &[("d1", Pending)]),
    ("a_new_error", &[("d1", Fail)]),
    (
        "a_pipeline",
        &[
            ("d1-alpha", Pass),
            ("d2-beta", Pass),
            ("d3-gamma", Pass),
            ("d4-onebox-eu", Pass),
            ("d5-onebox-us", Pass),
            ("d6-prod-eu", Pass),
            ("d7-prod-us", Pass),
        ],
    ),
    ("a_sick_host_of_the_fleet", &[("d1", NoData)]),
    ("a_sick_host_of_two", &[("d1", NoData), ("d2", Pass)]),
    ("a_silent_host", &[("d1", Fail)]),
    ("a_spike_that_heals", &[("d1", Pass)]),
    (
        "a_start_beside_another_region",
        &[("d-eu", Pass), ("d-us", Pass)],
    ),
    ("a_start_by_day", &[("d1", Pass)]),
    ("a_start_on_a_sick_target", &[("d1", Pass)]),
    ("a_step_of_its_own", &[("d1", Fail)]),
    ("a_trend_without_a_past", &[("d1", NoData), ("d2", Pass)]),
    ("a_version_from_labels", &[("shop:onebox::v2", Fail)]),
    ("asd_server", &[("d-broken", Fail), ("d-quiet", Pass)]),
    ("dead_exporters", &[("d1", NoData)]),
    ("errors_not_shown_yet", &[("d1", Pass), ("d2", Fail)]),
    ("nab_database", &[("d-loud", Fail), ("d-quiet", Pass)]),
    ("nezha_basic_service", &[("basic-v2", Fail)]),
    (
        "nezha_recommendation",
        &[("recommendation-v2", Fail), ("recommendation-v3", Pass)],
    ),
    ("no_logs_at_all", &[("d1", NoData)]),
    ("restarts_without_harm", &[("d1", Pass)]),
    (
        "the_example",
        &[
            ("d1-alpha", Pass),
            ("d2-beta", Pass),
            ("d3-gamma", Pass),
            ("d4-onebox-eu", Pass),
            ("d5-onebox-us", Pass),
            ("d6-prod-eu", Pass),
            ("d7-prod-us", Pass),
        ],
    ),
    ("two_bad_hosts_of_four", &[("d1", Fail)]),
    ("two_regions", &[("d-eu", Fail), ("d-us", Pass)]),
];

/// Largest recording and all recordings together, in bytes; the example has a day of a whole pipeline.
const RECORDING_BYTES_MAX: u64 = 150_000;
const EXAMPLE_BYTES_MAX: u64 = 450_000;
const RECORDINGS_BYTES_MAX: u64 = 1_500_000;

#[test]
fn every_recording_gives_its_verdicts() {
    let mut faults = Vec::new();
    for (name, expected) in VERDICTS {
        let finals: Vec<(String, VerdictState)> = replay(name)
            .into_iter()
            .filter(|line| line.kind == LineKind::Final)
            .map(|line| (line.verdict.deployment, line.verdict.verdict))
            .collect();
        let found: Vec<(&str, VerdictState)> =
            finals.iter().map(|(id, state)| (&**id, *state)).collect();
        if found != *expected {
            faults.push(format!("{name}: {found:?} instead of {expected:?}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_recording_says_what_is_expected() {
    let update = env::var_os("UPDATE_EXPECT").is_some();
    let mut faults = Vec::new();
    for (name, _) in VERDICTS {
        let found = json(&replay(name));
        let path = recordings().join(name).join("expected.jsonl");
        if update {
            fs::write(&path, &found).expect("the expected file can be written");
            continue;
        }
        let expected = text(&path);
        if let Some(fault) = first_difference(&expected, &found) {
            faults.push(format!("{name}: {fault}"));
        }
    }
    assert!(
        faults.is_empty(),
        "{}\nif this is right, run again with UPDATE_EXPECT=1",
        faults.join("\n")
    );
}

#[test]
fn two_runs_of_a_recording_say_the_same_bytes() {
    for (name, _) in VERDICTS {
        assert_eq!(json(&replay(name)), json(&replay(name)), "{name}");
    }
}

#[test]
fn before_its_verdict_no_recording_says_pass() {
    for (name, expected) in VERDICTS {
        for line in replay(name) {
            let (_, last) = expected
                .iter()
                .find(|(id, _)| *id == line.verdict.deployment)
                .expect("the table names every deployment");
            assert!(
                line.verdict.verdict != Pass || *last == Pass,
                "{name}: {} said PASS at {}",
                line.verdict.deployment,
                line.verdict.at
            );
        }
    }
}

#[test]
fn the_table_names_every_recording_and_each_is_complete_and_small() {
    let folders: BTreeSet<String> = entries(&recordings())
        .filter(|path| path.is_dir())
        .map(|path| name_of(&path))
        .collect();
    let named: BTreeSet<String> = VERDICTS
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    assert_eq!(folders, named);
    let mut all = 0;
    for folder in &folders {
        let files: Vec<PathBuf> = entries(&recordings().join(folder)).collect();
        for needed in ["README.md", "sluice.yaml", "expected.jsonl"] {
            let has = files.iter().any(|path| name_of(path) == needed);
            assert!(has, "{folder} has no {needed}");
        }
        let bytes: u64 = files.iter().map(|path| bytes(path)).sum();
        let most = match folder.as_str() {
            "the_example" => EXAMPLE_BYTES_MAX,
            _ => RECORDING_BYTES_MAX,
        };
        assert!(bytes < most, "{folder} has {bytes} bytes");
        all += bytes;
    }
    assert!(
        all < RECORDINGS_BYTES_MAX,
        "the recordings have {all} bytes"
    );
}

#[test]
fn the_recordings_use_every_format_and_every_kind_of_check() {
    let mut formats = BTreeSet::new();
    let mut kinds = BTreeSet::new();
    for (name, _) in VERDICTS {
        let folder = recordings().join(name);
        for path in entries(&folder) {
            let file = name_of(&path);
            formats.extend(FORMATS.iter().filter(|end| file.ends_with(**end)));
        }
        let text = text(&folder.join("sluice.yaml"));
        let plan = Plan::parse(&text).expect("a recording's plan has no faults");
        kinds.extend(plan.checks.values().map(sluice::plan::Check::kind));
    }
    assert_eq!(formats, FORMATS.iter().collect());
    assert_eq!(kinds, KINDS.into_iter().collect());
}

#[test]
fn the_recording_of_the_example_has_the_example_to_the_letter() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/config/example.yaml");
    assert_eq!(
        text(&recordings().join("the_example/sluice.yaml")),
        text(&example)
    );
    // Every check that a stage of it asks for is answered, by data.
    let plan = Plan::parse(&text(&example)).unwrap();
    let finals = replay("the_example");
    let finals = finals.iter().filter(|line| line.kind == LineKind::Final);
    for line in finals {
        let stages = &plan.services["checkout"].stages;
        let stage = stages.iter().find(|stage| stage.name == line.verdict.stage);
        for used in &stage.unwrap().checks {
            let mut reports = line.verdict.checks.iter();
            let report = reports.find(|report| report.check == used.check);
            // A leak asks for half of two hours: longer than a one-box needs to pass.
            let is_early = |report: &CheckReport| {
                report.mode == "advisory" && report.state == CheckState::Warming
            };
            assert!(
                report.is_some_and(|report| report.basis.is_some() || is_early(report)),
                "{}: {}: {report:?}",
                line.verdict.deployment,
                used.check
            );
        }
    }
}

const FORMATS: [&str; 10] = [
    ".csv",
    ".csv.gz",
    ".metrics.jsonl.zst",
    ".logs.jsonl.gz",
    ".om.gz",
    ".prom.gz",
    ".log.jsonl.gz",
    ".log",
    ".log.zst",
    ".journal",
];

const KINDS: [&str; 9] = [
    "absent",
    "bounds",
    "compare",
    "derivative",
    "load",
    "logs.absent",
    "logs.new",
    "logs.rate",
    "sigma",
];

#[test]
fn the_command_prints_what_the_library_says() {
    for (name, expected) in VERDICTS {
        let run = sluice(&recordings(), &["replay", name, "--output", "json"]);
        assert_eq!(
            String::from_utf8_lossy(&run.stdout),
            json(&replay(name)),
            "{name}"
        );
        assert_eq!(String::from_utf8_lossy(&run.stderr), "", "{name}");
        let worst = expected
            .iter()
            .map(|(_, state)| *state)
            .max_by_key(|state| RANKS.iter().position(|(ranked, _)| ranked == state));
        let code = RANKS
            .iter()
            .find(|(state, _)| Some(*state) == worst)
            .map(|(_, code)| *code);
        assert_eq!(run.status.code(), code, "{name}");
    }
}

/// From best to worst, as CONTRACTS ranks them, with the exit code of each.
const RANKS: [(VerdictState, i32); 5] = [
    (Pass, 0),
    (Pending, 3),
    (Bypassed, 5),
    (NoData, 4),
    (Fail, 1),
];

#[test]
fn a_bypass_can_be_accepted() {
    let run = sluice(&recordings(), &["replay", "a_bypass", "--accept-bypass"]);
    assert_eq!(run.status.code(), Some(0));
}

#[test]
fn a_person_reads_the_changes_and_then_the_verdict_with_its_evidence() {
    let run = sluice(&recordings(), &["replay", "a_failed_step"]);
    assert_eq!(run.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&run.stderr), "");
    let path = recordings().join("a_failed_step/expected.txt");
    let found = String::from_utf8_lossy(&run.stdout);
    if env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, &*found).expect("the expected file can be written");
    }
    assert_eq!(found, text(&path));
}

#[test]
fn the_report_is_one_page_with_all_that_was_said() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    for name in ["a_hotfix", "two_regions"] {
        let plain = sluice(&recordings(), &["replay", name]);
        let path = folder.path().join(format!("{name}.html"));
        let report = path.to_str().expect("the path is a text");
        let run = sluice(&recordings(), &["replay", name, "--report", report]);
        assert_eq!(run, plain, "{name}: only a file is added");
        let found = text(&path);
        let expected = recordings().join(name).join("expected.html");
        if env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(&expected, &found).expect("the expected file can be written");
        }
        assert_eq!(first_difference(&text(&expected), &found), None, "{name}");
        for line in replay(name) {
            let verdict = line.verdict;
            for said in [&verdict.deployment, &verdict.config_digest] {
                assert!(found.contains(said.as_str()), "{name}: {said}");
            }
            if line.kind == LineKind::Final {
                let since = format!("<dd>{} (", verdict.since);
                let word = format!("<span class=\"verdict\">{}</span>", verdict.verdict);
                assert!(found.contains(&since) && found.contains(&word), "{name}");
                let notes = verdict.checks.iter().map(|check| &check.note);
                for note in notes.chain(&verdict.reasons) {
                    assert!(found.contains(note.as_str()), "{name}: {note}");
                }
            }
        }
        for foreign in ["<script", "http://", "https://", "src=", "@import", "url("] {
            assert!(!found.contains(foreign), "{name}: {foreign}");
        }
    }
}

#[test]
fn the_report_tells_what_was_refused_and_no_name_becomes_markup() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let begin = BEGIN.replace("\"v2\"", "\"<script>alert(1)</script>\"");
    let step = r#"{"at": "2026-03-01T10:01:00Z", "event": "step", "deployment": "d1", "step": "<b>", "outcome": "passed"}"#;
    let rows = format!("{DATA}2026-03-01T10:00:01Z,cpu,<img>,shop,high\n");
    for (name, text) in [
        ("sluice.yaml", PLAN),
        ("deployments.jsonl", &format!("{begin}\n{step}\n")),
        ("cpu.csv", &rows),
    ] {
        fs::write(folder.path().join(name), text).expect("a file can be written");
    }
    let run = sluice(folder.path(), &["replay", ".", "--report", "out.html"]);
    assert_eq!(run.status.code(), Some(2));
    let found = text(&folder.path().join("out.html"));
    assert!(found.contains("shop/beta &lt;script&gt;alert(1)&lt;/script&gt;"));
    assert!(
        found.contains(
            "error: at 2026-03-01T10:01:00Z: deployment &quot;d1&quot;: step &quot;&lt;b&gt;&quot; is not asked for"
        )
    );
    assert!(found.contains("<li class=\"warning\">warning: ./cpu.csv: 1 sample"));
    for markup in ["<script", "<img", "<b>"] {
        assert!(!found.contains(markup), "{markup}");
    }
    // A recording that cannot be replayed leaves no report of an earlier one behind.
    fs::write(folder.path().join("sluice.yaml"), "checks: {}\n").expect("a file can be written");
    let run = sluice(folder.path(), &["replay", ".", "--report", "out.html"]);
    assert_eq!(run.status.code(), Some(2));
    let found = text(&folder.path().join("out.html"));
    assert!(found.contains("No deployment was judged"), "{found}");
}

#[test]
fn a_report_that_cannot_be_written_is_told_before_the_replay() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("nowhere/out.html");
    let report = path.to_str().expect("the path is a text");
    let run = sluice(
        &recordings(),
        &["replay", "a_good_deploy", "--report", report],
    );
    assert_eq!(run.status.code(), Some(2));
    assert_eq!(String::from_utf8_lossy(&run.stdout), "");
    let told = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(told.starts_with("error: --report "), "{told}");
    assert!(told.contains("nothing can be written into "), "{told}");
}

const BEGIN: &str = r#"{"at": "2026-03-01T10:00:00Z", "event": "begin", "deployment": "d1", "service": "shop", "stage": "beta", "version": "v2"}"#;
const PLAN: &str = "checks: {cpu: {metric: cpu, bounds: {max: 1}}}\n\
                    services: {shop: {stages: [{name: beta, steps: [smoke-tests], checks: [cpu]}]}}\n";
const DATA: &str = "timestamp,metric,host,service,value\n2026-03-01T09:59:00Z,cpu,h1,shop,0.5\n";

/// A recording that is broken in one way, and what is said of it.
struct Broken {
    files: &'static [(&'static str, &'static str)],
    arguments: &'static [&'static str],
    stderr: &'static str,
}

const BROKEN: &[Broken] = &[
    Broken {
        files: &[
            (
                "sluice.yaml",
                "checks: {cpu: {metric: cpu, bound: {max: 1}}}\nservices: {shop: {stages: [{name: a, checks: [cpu, ram]}]}}\n",
            ),
            ("deployments.jsonl", BEGIN),
        ],
        arguments: &["."],
        stderr: "error: ./sluice.yaml: checks.cpu.bound: unknown key; did you mean \"bounds\"?\n\
                 error: ./sluice.yaml: checks.cpu: the check has no detector; add one of bounds, \
                 derivative, sigma, compare, absent, load or logs: {new: true}\n\
                 error: ./sluice.yaml: services.shop.stages[0].checks[1]: there is no check \"ram\"; \
                 known checks: cpu\n",
    },
    Broken {
        files: &[
            ("sluice.yaml", PLAN),
            ("deployments.jsonl", BEGIN),
            ("cpu.csv", "time,metric,value\n1772359200,cpu,1\n"),
        ],
        arguments: &["."],
        stderr: "error: ./cpu.csv: csv header lacks the column \"timestamp\": add it, found \
                 \"time,metric,value\"\n",
    },
    Broken {
        files: &[
            ("sluice.yaml", PLAN),
            (
                "deployments.jsonl",
                r#"{"at": "2026-03-01T10:00:00Z", "event": "begin", "deployment": "d1", "service": "shp", "stage": "beta", "version": "v2"}"#,
            ),
            ("cpu.csv", DATA),
        ],
        arguments: &["."],
        stderr: "error: at 2026-03-01T10:00:00Z: deployment \"d1\": service \"shp\" is not configured: services has shop\n\
                 error: 1 deployment event was refused, see above\n",
    },
    Broken {
        files: &[
            ("sluice.yaml", PLAN),
            (
                "deployments.jsonl",
                "{\"at\": \"2026-03-01T10:00:00Z\", \"event\": \"begin\", \"deployment\": \"d1\", \"service\": \"shop\", \"stage\": \"beta\", \"version\": \"v2\"}\n\
                 {\"at\": \"2026-03-01T10:01:00Z\", \"event\": \"step\", \"deployment\": \"d1\", \"step\": \"smoke-test\", \"outcome\": \"passed\"}\n",
            ),
            ("cpu.csv", DATA),
        ],
        arguments: &["."],
        stderr: "error: at 2026-03-01T10:01:00Z: deployment \"d1\": step \"smoke-test\" is not asked for: the stage has \
                 \"smoke-tests\"\n\
                 error: 1 deployment event was refused, see above\n",
    },
    Broken {
        files: &[("sluice.yaml", PLAN), ("cpu.csv", DATA)],
        arguments: &["."],
        stderr: "error: the recording has no deployment: add a begin event to deployments.jsonl\n",
    },
    Broken {
        files: &[
            ("sluice.yaml", PLAN),
            ("deployments.jsonl", BEGIN),
            ("cpu.csv.gz", "no gzip"),
        ],
        arguments: &["."],
        stderr: "error: ./cpu.csv.gz: it is not compressed with gzip: rename it if it is not compressed at all\n",
    },
    Broken {
        files: &[("cpu.csv", DATA)],
        arguments: &["."],
        stderr: "error: no configuration: put a sluice.yaml into the directory, or name one with \
                 --config\n",
    },
    Broken {
        files: &[("sluice.yaml", PLAN)],
        arguments: &["."],
        stderr: "error: .: nothing to replay: add data files (*.csv, *.metrics.jsonl, *.logs.jsonl, \
                 *.om, *.prom, *.log.jsonl, *.log, *.journal) or deployments.jsonl\n",
    },
    Broken {
        files: &[("sluice.yaml", PLAN)],
        arguments: &["cpu.csv", "--config", "sluice.yaml"],
        stderr: "error: cpu.csv: there is no such file or directory\n",
    },
    Broken {
        files: &[("sluice.yaml", PLAN)],
        arguments: &["recording", "--config", "sluice.yaml"],
        stderr: "error: recording: there is no such file or directory\n",
    },
    Broken {
        files: &[("sluice.yaml", PLAN), ("cpu.tsv", DATA)],
        arguments: &["cpu.tsv", "--config", "sluice.yaml"],
        stderr: "error: cpu.tsv: the name tells no format: use *.csv, *.metrics.jsonl, *.logs.jsonl, \
                 *.om, *.prom, *.log.jsonl, *.log or *.journal, each also with .gz or .zst\n",
    },
];

#[test]
fn what_cannot_be_replayed_is_told_with_what_to_change() {
    for (index, broken) in BROKEN.iter().enumerate() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        for (name, text) in broken.files {
            fs::write(folder.path().join(name), text).expect("a file can be written");
        }
        let arguments: Vec<&str> = ["replay", "--output", "json"]
            .iter()
            .chain(broken.arguments)
            .copied()
            .collect();
        let run = sluice(folder.path(), &arguments);
        assert_eq!(
            String::from_utf8_lossy(&run.stderr),
            broken.stderr,
            "{index}"
        );
        assert_eq!(run.status.code(), Some(2), "{index}");
    }
}

#[test]
fn one_bad_row_is_a_warning_and_costs_only_itself() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let rows = format!(
        "{DATA}2026-03-01T10:00:01Z,cpu,h1,shop,high\n2026-03-01T10:00:02Z,cpu,h1,shop,0.4\n"
    );
    for (name, text) in [
        ("sluice.yaml", PLAN),
        ("deployments.jsonl", BEGIN),
        ("cpu.csv", &rows),
    ] {
        fs::write(folder.path().join(name), text).expect("a file can be written");
    }
    let run = sluice(folder.path(), &["replay", "."]);
    assert_eq!(
        String::from_utf8_lossy(&run.stderr),
        "warning: ./cpu.csv: 1 sample rejected: no_value (1, e.g. line 3: value \"high\" is no number)\n"
    );
    assert_eq!(run.status.code(), Some(3));
}

#[test]
fn what_has_no_effect_is_a_warning() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    for name in ["one", "two"] {
        fs::create_dir(folder.path().join(name)).expect("a folder can be made");
    }
    for (name, text) in [
        ("one/sluice.yaml", PLAN),
        ("one/deployments.jsonl", BEGIN),
        ("one/sluice.yml", PLAN),
        ("one/cpu.metrics.json", "{}"),
        ("one/README.md", "what it is"),
        ("two/sluice.yaml", PLAN),
        ("two/expected.jsonl", ""),
        // A space behind a comma is no part of a name.
        (
            "cpu.csv",
            "timestamp, metric, host, service, value\n2026-03-01T10:00:05Z, cpu, h1, shop, 0.5\n\
             2026-03-01T10:01:05Z, cpu, h1, shop, 0.6\n",
        ),
    ] {
        fs::write(folder.path().join(name), text).expect("a file can be written");
    }
    let run = sluice(folder.path(), &["replay", "one", "two", "cpu.csv"]);
    let told = String::from_utf8_lossy(&run.stderr);
    let begins = [
        "warning: one/cpu.metrics.json: left out",
        "warning: one/sluice.yml: left out",
        "warning: two/sluice.yaml is the configuration of all that is named, one/sluice.yaml is not",
    ];
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), begins.len(), "{told}");
    for (line, begin) in lines.iter().zip(begins) {
        assert!(line.starts_with(begin), "{told}");
    }
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(said.contains("cpu    ok "), "{said}");
}

#[test]
fn what_a_limit_refuses_is_a_warning() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    for (name, text) in [
        (
            "sluice.yaml",
            &*format!("{PLAN}limits: {{label_bytes: 40}}\n"),
        ),
        ("deployments.jsonl", BEGIN),
        ("cpu.csv", &DATA.replace("h1", &"h".repeat(100))),
    ] {
        fs::write(folder.path().join(name), text).expect("a file can be written");
    }
    let run = sluice(folder.path(), &["replay", "."]);
    let told = String::from_utf8_lossy(&run.stderr);
    assert!(
        told.starts_with("warning: 1 sample left out, beyond limits.series"),
        "{told}"
    );
}

#[test]
fn a_gate_that_was_left_undecided_waits_for_nothing() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let end = r#"{"at": "2026-03-01T10:05:00Z", "event": "end", "deployment": "d1"}"#;
    for (name, text) in [
        ("sluice.yaml", PLAN),
        ("deployments.jsonl", &*format!("{BEGIN}\n{end}\n")),
        ("cpu.csv", DATA),
    ] {
        fs::write(folder.path().join(name), text).expect("a file can be written");
    }
    let run = sluice(folder.path(), &["replay", "."]);
    let said = String::from_utf8_lossy(&run.stdout);
    let told = "  - the deployment ended at 2026-03-01T10:05:00Z before its gate could decide; until then:";
    assert!(said.contains(told), "{said}");
}

#[test]
fn a_comparison_without_a_one_box_or_a_fleet_says_how_to_name_one() {
    let rows: Vec<String> = (0..60)
        .flat_map(|minute| {
            ["h1", "h2"]
                .map(|host| format!("2026-03-01T10:{minute:02}:00Z,cpu,{host},shop,0.{minute:02}"))
        })
        .collect();
    let plan = "checks: {cpu: {metric: cpu, compare: {}}}\n\
                services: {shop: {stages: [{name: beta, bake: 10m, checks: [cpu]}]}}\n";
    let all_fleet = BEGIN.replace('}', r#", "fleet": ["h1", "h2"]}"#);
    for (begin, why) in [
        (BEGIN, "cpu: no fleet to compare with"),
        (&*all_fleet, "cpu: no one-box to judge"),
    ] {
        let folder = tempfile::tempdir().expect("a folder can be made");
        for (name, text) in [
            ("sluice.yaml", plan),
            ("deployments.jsonl", begin),
            (
                "cpu.csv",
                &*format!("timestamp,metric,host,service,value\n{}\n", rows.join("\n")),
            ),
        ] {
            fs::write(folder.path().join(name), text).expect("a file can be written");
        }
        let run = sluice(folder.path(), &["replay", "."]);
        let said = String::from_utf8_lossy(&run.stdout);
        assert_eq!(run.status.code(), Some(4), "{said}");
        assert!(said.contains(why) && said.contains("in one_box"), "{said}");
    }
}

/// Buckets end at 10 s, and from the fifth minute on each request takes longer.
#[test]
fn a_quantile_beyond_the_highest_bound_is_never_in_range_by_that() {
    let mut rows = String::from("timestamp,metric,le,host,service,value\n");
    for tick in 0..240_i64 {
        let (minute, second) = (tick / 6, tick % 6 * 10);
        let slow = (tick - 120).max(0) * 20;
        for (le, count) in [("1", 0), ("10", 0), ("+Inf", slow)] {
            let count = (tick - 120).min(0) * 20 + 2_400 + count;
            let at = format!(
                "2026-03-01T{:02}:{:02}:{second:02}Z",
                9 + (minute + 45) / 60,
                (minute + 45) % 60
            );
            writeln!(rows, "{at},took_seconds_bucket,{le},h1,shop,{count}")
                .expect("a string takes any text");
        }
    }
    for (max, code, told) in [
        (5, 1, "above the limit of 5"),
        (10, 1, "above the limit of 10"),
        (15, 4, "what came could not be used (beyond_buckets)"),
    ] {
        let plan = format!(
            "checks: {{slow: {{metric: took_seconds, quantile: 0.99, bounds: {{max: {max}}}}}}}\n\
             services: {{shop: {{stages: [{{name: beta, bake: 20m, grace: 1m, checks: [slow]}}]}}}}\n"
        );
        let folder = tempfile::tempdir().expect("a folder can be made");
        for (name, text) in [
            ("sluice.yaml", &*plan),
            ("deployments.jsonl", BEGIN),
            ("took.csv", &*rows),
        ] {
            fs::write(folder.path().join(name), text).expect("a file can be written");
        }
        let run = sluice(folder.path(), &["replay", "."]);
        let said = String::from_utf8_lossy(&run.stdout);
        assert_eq!(run.status.code(), Some(code), "{said}");
        assert!(said.contains(told), "{said}");
    }
}

/// A journal cannot be written by a script: this is where it comes from.
#[test]
fn the_journal_of_the_late_partition_is_what_its_story_says() {
    let written = partition::journal();
    let path = recordings().join("a_late_partition/inputs.journal");
    if env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, &written).expect("the journal can be written");
    }
    assert!(
        written == binary(&path),
        "the journal is not what the test writes"
    );
}

/// What the command would print of a recording, by way of the library.
fn replay(name: &str) -> Vec<Line> {
    let recording = Recording::open(&[recordings().join(name)], None, None)
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut engine = Engine::new(Arc::clone(&recording.plan));
    let (mut lines, mut forgotten) = (Vec::new(), Vec::new());
    let played = recording.inputs.play(&mut engine, |outputs, _| {
        for output in outputs.drain(..) {
            match output {
                engine::Output::Verdict(verdict) => lines.push(Line {
                    kind: LineKind::Verdict,
                    verdict: *verdict,
                }),
                engine::Output::Shadow(verdict) => lines.push(Line {
                    kind: LineKind::Shadow,
                    verdict: *verdict,
                }),
                engine::Output::Ended(_) => {}
                engine::Output::Forgotten(gate) => forgotten.push(*gate),
                engine::Output::Refused(refusal) => panic!("{name}: {refusal}"),
            }
        }
    });
    played.unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut gates: Vec<&Gate> = engine.gates().chain(&forgotten).collect();
    gates.sort_by_key(|gate| (&gate.begin.deployment, gate.begin.at));
    lines.extend(gates.into_iter().map(|gate| Line {
        kind: LineKind::Final,
        verdict: gate.verdict(),
    }));
    lines
}

fn json(lines: &[Line]) -> String {
    lines
        .iter()
        .map(|line| serde_json::to_string(line).expect("a verdict is plain data") + "\n")
        .collect()
}

fn first_difference(expected: &str, found: &str) -> Option<String> {
    if expected == found {
        return None;
    }
    let pairs = expected.lines().zip(found.lines());
    let at = pairs
        .take_while(|(expected, found)| expected == found)
        .count();
    Some(format!(
        "line {}\n  expected: {}\n  found:    {}",
        at + 1,
        expected.lines().nth(at).unwrap_or("(nothing)"),
        found.lines().nth(at).unwrap_or("(nothing)")
    ))
}

fn sluice(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("the command runs")
}

fn recordings() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/recordings")
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the folder can be read")
        .map(|entry| entry.expect("the folder can be read").path())
        .collect();
    paths.sort();
    paths.into_iter()
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().expect("an entry has a name");
    name.to_string_lossy().into_owned()
}

fn bytes(path: &Path) -> u64 {
    fs::metadata(path).expect("the file exists").len()
}

#[expect(clippy::disallowed_methods, reason = "a test that reads its fixtures")]
fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[expect(clippy::disallowed_methods, reason = "a test that reads its fixtures")]
fn binary(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
