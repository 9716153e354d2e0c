//! Back-tests and `check --against`, as commands: what they print of recordings in `fixtures/`.
//!
//! `UPDATE_EXPECT=1 cargo test --test backtest` rewrites `fixtures/backtests`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

const MANY: [&str; 5] = [
    "nezha_recommendation",
    "asd_server",
    "nab_database",
    "two_regions",
    "a_leak",
];

#[test]
fn a_back_test_of_many_recordings_is_summed_up_for_a_person() {
    let placebos = ["--placebo=30", "--seed=7"];
    let run = replay(&[&MANY, &placebos[..]].concat());
    assert_eq!(
        run.status.code(),
        Some(0),
        "it is a report, whatever it says"
    );
    let told = String::from_utf8_lossy(&run.stdout);
    let sums = told.find("\nDeployments\n").expect("the sums come last");
    expect("many.txt", &told[sums..]);
}

#[test]
fn a_back_test_of_many_recordings_is_summed_up_for_a_program() {
    let arguments = ["--output=json", "--placebo=30", "--seed=7"];
    let told = lines(&replay(&[&MANY, &arguments[..]].concat()));
    let is_sum = |line: &&Value| line["type"] == "backtest";
    let first = told
        .iter()
        .position(|line| is_sum(&line))
        .expect("there are sums");
    assert!(
        told[first..].iter().all(|line| is_sum(&line)),
        "they come last"
    );
    assert!(
        told[..first]
            .iter()
            .all(|line| MANY.contains(&line["recording"].as_str().unwrap()))
    );
    let sums: Vec<String> = told[first..].iter().map(ToString::to_string).collect();
    let sums = format!("{}\n", sums.join("\n"));
    expect("many.jsonl", &sums);
}

#[test]
fn placebos_are_the_same_for_a_seed_and_others_for_another() {
    let of = |seed: &str| {
        let run = replay(&["asd_server", "--output=json", "--placebo=20", seed]);
        String::from_utf8_lossy(&run.stdout).into_owned()
    };
    assert_eq!(of("--seed=1"), of("--seed=1"));
    assert_ne!(of("--seed=1"), of("--seed=2"));
}

#[test]
fn placebos_change_nothing_that_is_said_of_real_deployments() {
    for name in ["nezha_recommendation", "asd_server", "a_late_partition"] {
        let plain = lines(&replay(&[name, "--output=json"]));
        let tested = lines(&replay(&[name, "--output=json", "--placebo=10"]));
        assert!(
            plain.iter().all(|line| line["type"] != "backtest"),
            "only when it is asked for"
        );
        let real = tested.into_iter().filter(|line| line["type"] != "backtest");
        assert_eq!(real.collect::<Vec<_>>(), plain, "{name}");
    }
}

#[test]
fn many_recordings_without_a_back_test_say_what_each_says_alone() {
    let names = ["a_leak", "two_regions", "a_good_deploy"];
    let together = replay(&[&names[..], &["--output=json"]].concat());
    assert_eq!(together.status.code(), Some(1), "the worst of them fails");
    let mut expected = Vec::new();
    for name in names {
        for mut line in lines(&replay(&[name, "--output=json"])) {
            line["recording"] = name.into();
            expected.push(line);
        }
    }
    assert_eq!(lines(&together), expected);
}

#[test]
fn a_check_that_cries_wolf_is_told_by_its_false_alarms() {
    let folder = scratch(
        "asd_server",
        "resolution: 5m\nlateness: 0s\n\
         checks:\n  wolf: {metric: m05, bounds: {max: 1e-9}}\n  calm: {metric: m05, bounds: {max: 1e9}}\n\
         services: {web: {match: {}, stages: [{name: onebox, bake: 1h, checks: [wolf, calm]}]}}\n",
        Some(""),
    );
    let told = lines(&replay(&[
        folder.path().to_str().unwrap(),
        "--output=json",
        "--placebo=25",
    ]));
    let of = |check: Option<&str>| {
        let found = told.iter().find(|line| line["check"].as_str() == check);
        found.unwrap_or_else(|| panic!("nothing of {check:?} in {told:?}"))
    };
    assert_eq!(of(None)["of"], "placebos", "nothing real happened");
    assert_eq!(
        (&of(None)["failed"], &of(None)["trials"]),
        (&25.into(), &25.into())
    );
    assert_eq!(of(Some("wolf"))["rate"], 1.0);
    assert_eq!(of(Some("calm"))["failed"], 0);
    // Exact: 1 - 0.025^(1/25).
    assert_eq!(of(Some("calm"))["interval"][1], 0.137_185);
}

#[test]
fn placebos_keep_away_from_deployments() {
    // One deployment in the middle; a bake of nine hours fits nowhere beside it.
    let plan = |bake: &str| {
        format!(
            "resolution: 5m\nlateness: 0s\nchecks: {{c: {{metric: m05, bounds: {{max: 1e9}}}}}}\n\
             services: {{web: {{match: {{}}, stages: [{{name: onebox, bake: {bake}, checks: [c]}}]}}}}\n"
        )
    };
    let begin = "{\"at\": \"2020-01-05T11:00:00Z\", \"event\": \"begin\", \"deployment\": \"d\", \
                 \"service\": \"web\", \"stage\": \"onebox\", \"version\": \"v2\", \"one_box\": [\"omi-2\"]}\n";
    for (bake, made) in [("9h", 0), ("1h", 10)] {
        let folder = scratch("asd_server", &plan(bake), Some(begin));
        let run = replay(&[
            folder.path().to_str().unwrap(),
            "--output=json",
            "--placebo=10",
        ]);
        let placebos: u64 = lines(&run)
            .iter()
            .filter(|line| line["of"] == "placebos" && line["check"].is_null())
            .map(|line| line["trials"].as_u64().unwrap())
            .sum();
        assert_eq!(placebos, made, "{bake}");
        let warned = String::from_utf8_lossy(&run.stderr);
        assert_eq!(
            warned.contains("10 placebos could not be made"),
            made == 0,
            "{warned}"
        );
    }
}

#[test]
fn a_configuration_that_does_not_fit_a_recording_is_told_why() {
    let folder = tempfile::tempdir().unwrap();
    // Samples come each 30 s.
    let plan = "\
resolution: 10s
lateness: 0s
labels: {host: [host]}
checks:
  typo:     {metric: http_latency_p99_second, compare: {direction: up}}
  quantile: {metric: http_latency_p99_seconds, quantile: 0.99, bounds: {max: 1}}
  calm:     {metric: http_latency_p99_seconds, bounds: {max: 100}}
  percent:  {metric: cpu_busy_ratio, bounds: {max: 90, for: 5m}}
  always:   {metric: cpu_busy_ratio, bounds: {max: 0.01}}
  hasty:    {metric: cpu_busy_ratio, absent: 10s}
  lively:   {metric: cpu_busy_ratio, absent: 5m}
  logs:     {logs: {severity: ERROR}, bounds: {max: 5/m}}
  nothing:  {metric: http_errors_total, per: http_request_total, compare: {}}
  latency:  {metric: http_latency_p99_seconds, unit: seconds, compare: {direction: up}}
  regex:    {metric: '{__name__=~\"cpu.*_idle\"}', bounds: {max: 1}}
  labels:   {metric: '{__name__=~\"cpu.*\",mode=\"idle\"}', bounds: {max: 1}}
  rate:     {metric: http_requests_total, bounds: {max: 1e6/m}}
services:
  shop:
    stages:
      - name: onebox
        bake: 1h
        grace: 5m
        checks: [typo, quantile, calm, percent, always, hasty, lively, logs, nothing, latency, regex, labels, rate]
";
    let file = folder.path().join("sluice.yaml");
    fs::write(&file, plan).unwrap();
    let run = sluice(&["check", file.to_str().unwrap(), "--against", "a_bad_deploy"]);
    assert_eq!(run.status.code(), Some(2));
    let told = String::from_utf8_lossy(&run.stdout);
    assert!(
        told.contains("checks: 13"),
        "the configuration itself is fine: {told}"
    );
    let told = told.lines().skip(1).collect::<Vec<_>>().join("\n");
    expect(
        "misfit.txt",
        &format!("{told}\n\n{}", String::from_utf8_lossy(&run.stderr)),
    );
    let fitting = recordings().join("nezha_recommendation/sluice.yaml");
    let run = sluice(&[
        "check",
        fitting.to_str().unwrap(),
        "--against",
        "nezha_recommendation",
    ]);
    assert_eq!(
        run.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
}

/// A limit that is the same on all hosts, beside something that moves.
#[test]
fn a_comparison_of_what_never_changes_can_pass() {
    let plan = "\
resolution: 10s
labels: {host: [host]}
checks:
  limit: {metric: connections_max, compare: {}}
  moves: {metric: requests, bounds: {max: 9.5, for: 5m}}
services: {shop: {match: {}, stages: [{name: onebox, bake: 10m, grace: 2m, checks: [limit, moves]}]}}
";
    let begin = r#"{"at": "2026-03-01T10:40:00Z", "event": "begin", "deployment": "d1", "service": "shop", "stage": "onebox", "version": "v2", "one_box": ["h1"]}"#;
    let rows: Vec<String> = (0..60)
        .flat_map(|minute| {
            (1..5).flat_map(move |host| {
                let at = format!("2026-03-01T10:{minute:02}:00Z");
                let moving = (minute * 7 + host * 3) % 11;
                let fixed = format!("{at},connections_max,h{host},100");
                [fixed, format!("{at},requests,h{host},{moving}")]
            })
        })
        .collect();
    let folder = folder(plan, begin, &rows);
    let place = folder.path().to_str().unwrap();
    let config = format!("{place}/sluice.yaml");
    let run = sluice(&["check", &config, "--against", place]);
    let told = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(0), "{told}");
    let wanted = "services.shop: checks.limit: never breached: every value of every host is 100: ";
    assert!(told.contains(wanted), "{told}");
    let run = sluice(&["replay", place]);
    let told = String::from_utf8_lossy(&run.stdout);
    assert_eq!(run.status.code(), Some(0), "{told}");
}

/// As with `up`, which is 1 as long as a host lives: such a value is no sign of life.
#[test]
fn a_bound_that_is_never_judged_can_never_pass() {
    let plan = "\
resolution: 10s
labels: {host: [host]}
checks: {alive: {metric: up, bounds: {min: 1}}}
services: {shop: {match: {}, stages: [{name: onebox, bake: 10m, checks: [alive]}]}}
";
    let begin = r#"{"at": "2026-03-01T10:20:00Z", "event": "begin", "deployment": "d1", "service": "shop", "stage": "onebox", "version": "v2", "one_box": ["h1"]}"#;
    let rows: Vec<String> = (0..60)
        .flat_map(|minute| {
            ["h1", "h2", "h3"].map(|host| format!("2026-03-01T10:{minute:02}:00Z,up,{host},1"))
        })
        .collect();
    let folder = folder(plan, begin, &rows);
    let place = folder.path().to_str().unwrap();
    let config = format!("{place}/sluice.yaml");
    let run = sluice(&["check", &config, "--against", place]);
    let told = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(2), "{told}");
    let wanted = "services.shop: checks.alive: can never pass: without data at the end of all ";
    assert!(told.contains(wanted), "{told}");
}

/// Eight hosts, of which one gets a version that changes the value of a label, and from 10 min later on shows
/// so many times the load.
fn relabelled(labels: &str, metric: &str, label: &str, sick: f64) -> tempfile::TempDir {
    let plan = format!(
        "\
resolution: 30s
lateness: 0s
labels: {{host: [host]{labels}}}
checks: {{load: {{metric: {metric}, compare: {{direction: up}}}}}}
services: {{shop: {{match: {{}}, stages: [{{name: onebox, bake: 30m, grace: 2m, checks: [load]}}]}}}}
"
    );
    let begin = r#"{"at": "2026-03-01T11:00:00Z", "event": "begin", "deployment": "d1", "service": "shop", "stage": "onebox", "version": "v2", "one_box": ["h1"]}"#;
    let mut state = 7_u64;
    let mut noise = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / f64::from(1 << 24)
    };
    let mut rows = Vec::new();
    for step in 0..190 {
        let (minute, second) = (step / 2, step % 2 * 30);
        let at = format!(
            "2026-03-01T{}:{:02}:{second:02}Z",
            10 + minute / 60,
            minute % 60
        );
        for host in 1..=8 {
            let is_new = host == 1 && 60 <= minute;
            let value = 10.0 + noise() + noise();
            let value = if is_new && 70 <= minute {
                sick * value
            } else {
                value
            };
            let told = if is_new { "b" } else { "a" };
            rows.push(format!("{at},{metric},h{host},{told},{value:.4}"));
        }
    }
    folder_of(
        &format!("timestamp,metric,host,{label},value"),
        &plan,
        begin,
        &rows,
    )
}

#[test]
fn a_label_that_changes_with_the_version_makes_no_other_metric() {
    for (labels, metric, label) in [
        ("", "container_load", "image"),
        ("", "load", "pod_template_hash"),
        (", ignore: [path]", "load", "path"),
    ] {
        for (sick, code) in [(1.0, 0), (3.0, 1)] {
            let folder = relabelled(labels, metric, label, sick);
            let run = sluice(&["replay", folder.path().to_str().unwrap()]);
            let told = String::from_utf8_lossy(&run.stdout);
            assert_eq!(run.status.code(), Some(code), "{label}: {told}");
        }
    }
}

#[test]
fn a_label_that_may_tell_metrics_apart_is_named_where_it_keeps_them_from_meeting() {
    for (labels, label) in [
        ("", "path"),
        ("", "code"),
        (", keep: [revision]", "revision"),
    ] {
        let folder = relabelled(labels, "load", label, 1.0);
        let place = folder.path().to_str().unwrap();
        let wanted = format!(
            "the one-box tells {label}=b, the fleet {label}=a: what only tells versions or containers apart is \
             left out with labels.ignore"
        );
        let run = sluice(&["replay", place]);
        let told = String::from_utf8_lossy(&run.stdout);
        assert_eq!(run.status.code(), Some(4), "{told}");
        assert!(told.contains(&wanted), "{told}");
        let config = format!("{place}/sluice.yaml");
        let run = sluice(&["check", &config, "--against", place]);
        let told = String::from_utf8_lossy(&run.stderr);
        assert_eq!(run.status.code(), Some(2), "{told}");
        assert!(told.contains(&wanted), "{told}");
    }
}

/// As pods of one name in two regions are: the mean of both would be in range.
#[test]
fn hosts_of_one_name_in_two_regions_are_two_hosts() {
    let plan = "\
resolution: 10s
lateness: 0s
checks: {queue: {metric: queue_depth, bounds: {max: 50, for: 30s}}}
services: {shop: {match: {}, stages: [{name: prod, regions: [eu, us], bake: 5m, grace: 0s, checks: [queue]}]}}
";
    let mut rows = Vec::new();
    for step in 0..72 {
        let at = format!("2026-03-01T10:{:02}:{:02}Z", step / 6, step % 6 * 10);
        for (region, host) in [("eu", 0), ("eu", 1), ("us", 0), ("us", 1)] {
            let is_sick = (region, host) == ("eu", 1) && 42 <= step;
            let value = 20 + (step * 7 + host * 3) % 11 + if is_sick { 35 } else { 0 };
            rows.push(format!("{at},queue_depth,web-{host},{region},{value}"));
        }
    }
    for (region, code, wanted) in [
        ("eu", 1, "on web-1 (eu)"),
        ("us", 0, "covered and in range: queue"),
    ] {
        let begin = format!(
            r#"{{"at": "2026-03-01T10:05:00Z", "event": "begin", "deployment": "d1", "service": "shop", "stage": "prod", "region": "{region}", "version": "v2"}}"#
        );
        let columns = "timestamp,metric,host,region,value";
        let folder = folder_of(columns, plan, &begin, &rows);
        let run = sluice(&["replay", folder.path().to_str().unwrap()]);
        let told = String::from_utf8_lossy(&run.stdout);
        assert_eq!(run.status.code(), Some(code), "{region}: {told}");
        assert!(told.contains(wanted), "{region}: {told}");
    }
}

#[test]
fn hosts_without_a_label_cannot_be_compared() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sluice.yaml");
    let plan = fs_text(&recordings().join("a_bad_deploy/sluice.yaml"));
    fs::write(&file, format!("labels: {{host: [machine]}}\n{plan}")).unwrap();
    let run = sluice(&["check", file.to_str().unwrap(), "--against", "a_bad_deploy"]);
    let told = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(2));
    let wanted = "services.shop: checks.latency: can never pass: no host label";
    assert!(told.contains(wanted), "{told}");
}

/// The data of a recording under another configuration and with other deployments.
fn scratch(name: &str, plan: &str, deployments: Option<&str>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a scratch directory can be filled");
    for entry in fs::read_dir(recordings().join(name)).expect("a scratch directory can be filled") {
        let path = entry.expect("a scratch directory can be filled").path();
        if path.to_string_lossy().ends_with(".csv.gz") {
            fs::copy(
                &path,
                folder
                    .path()
                    .join(path.file_name().expect("a scratch directory can be filled")),
            )
            .expect("a scratch directory can be filled");
        }
    }
    fs::write(folder.path().join("sluice.yaml"), plan).expect("a scratch directory can be filled");
    if let Some(deployments) = deployments.filter(|text| !text.is_empty()) {
        fs::write(folder.path().join("deployments.jsonl"), deployments)
            .expect("a scratch directory can be filled");
    }
    folder
}

fn expect(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/backtests")
        .join(name);
    if env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, found).expect("the expected file can be written");
    }
    assert_eq!(
        found,
        fs_text(&path),
        "if this is right, run again with UPDATE_EXPECT=1"
    );
}

fn replay(arguments: &[&str]) -> Output {
    sluice(&[&["replay"], arguments].concat())
}

/// A recording of metrics: what is configured, how a deployment begins, and samples by time, metric and host.
fn folder(plan: &str, begin: &str, rows: &[String]) -> tempfile::TempDir {
    folder_of("timestamp,metric,host,value", plan, begin, rows)
}

/// The same with samples in other columns.
fn folder_of(columns: &str, plan: &str, begin: &str, rows: &[String]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let samples = format!("{columns}\n{}\n", rows.join("\n"));
    for (name, text) in [
        ("sluice.yaml", plan),
        ("deployments.jsonl", begin),
        ("m.csv", &samples),
    ] {
        fs::write(folder.path().join(name), text).expect("a file can be written");
    }
    folder
}

fn sluice(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(arguments)
        .current_dir(recordings())
        .output()
        .expect("the command runs")
}

fn lines(run: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&run.stdout);
    let parse = |line: &str| serde_json::from_str(line).expect("every line is a JSON object");
    text.lines().map(parse).collect()
}

fn recordings() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/recordings")
}

#[expect(clippy::disallowed_methods, reason = "a test that reads its fixtures")]
fn fs_text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
