//! Whole configurations: what loads, what is refused, and why.

use proptest::prelude::*;

use super::*;
use crate::event::METRIC_NAME;

const EXAMPLE: &str = include_str!("../../fixtures/config/example.yaml");
const FAULTS: &str = include_str!("../../fixtures/config/faults.txt");

/// A configuration around a check `c` and a stage, both given as flow maps.
fn around(check: &str, stage: &str) -> String {
    format!(
        "checks:\n  c: {check}\n  ok: {{metric: up, absent: 1m}}\nservices:\n  s:\n    stages:\n      - {stage}\n"
    )
}

fn with_check(check: &str) -> String {
    around(check, "{name: prod, checks: [c]}")
}

fn with_stage(stage: &str) -> String {
    around("{metric: x, bounds: {max: 1}}", stage)
}

/// A configuration of a service with this alpha.
fn with_alpha(alpha: &str) -> String {
    format!("checks: {{}}\nservices: {{s: {{alpha: {alpha}, stages: [{{name: a, steps: [t]}}]}}}}")
}

/// A valid configuration with a line before it.
fn with_line(line: &str) -> String {
    format!("{line}\n{}", with_stage("{name: prod, checks: [ok]}"))
}

fn parsed(text: &str) -> Plan {
    Plan::parse(text).unwrap_or_else(|faults| panic!("{faults}\n---\n{text}"))
}

fn faults(text: &str) -> Vec<String> {
    match Plan::parse(text) {
        Ok(_) => panic!("loads, but should not:\n{text}"),
        Err(faults) => faults.to_string().lines().map(str::to_owned).collect(),
    }
}

fn check(snippet: &str) -> Check {
    parsed(&with_check(snippet)).checks["c"].clone()
}

fn stage(snippet: &str) -> StagePlan {
    parsed(&with_stage(snippet)).services["s"].stages[0].clone()
}

#[test]
fn the_documented_example_loads_as_it_stands() {
    let plan = parsed(EXAMPLE);
    assert_eq!(plan.listen, Listen::default());
    assert_eq!(
        (plan.resolution, plan.lateness),
        (Span::from_seconds(10), Span::from_seconds(20))
    );
    assert_eq!(plan.labels, LabelRoles::default());
    assert_eq!(plan.limits, Limits::default());
    assert_eq!((plan.checks.len(), plan.sinks.len()), (12, 3));
    let service = &plan.services["checkout"];
    assert_eq!(
        service.matchers,
        Some(vec![LabelMatcher::equal("service", "checkout")])
    );
    assert_eq!(service.alpha, 0.01);
    let names: Vec<&str> = service
        .stages
        .iter()
        .map(|stage| stage.name.as_str())
        .collect();
    assert_eq!(names, ["alpha", "beta", "gamma", "onebox", "prod"]);
    let onebox = &service.stages[3];
    assert_eq!(
        onebox.bake,
        Bake {
            min: Span::from_hours(1),
            max: Span::from_hours(24)
        }
    );
    assert_eq!(onebox.grace, Span::from_minutes(5));
    assert_eq!(onebox.regions, ["eu-west-1", "us-east-1"]);
    assert_eq!(
        onebox.checks[5],
        StageCheck {
            check: "leak".to_owned(),
            mode: Mode::Advisory,
            weight: 1
        }
    );
    assert_eq!(
        onebox.policies,
        Policies {
            one_region_at_a_time: true,
            off_peak: Some(OffPeak::Windows {
                zone: "Europe/Warsaw".to_owned(),
                windows: vec![(22 * 60, 6 * 60)],
            }),
            hotfix_skips: vec![Skippable::Bake],
            start_blockers: StartBlockers::WhenTold,
            open_on_new_version: false,
        }
    );
    let kinds: Vec<&str> = plan.checks.values().map(Check::kind).collect();
    let expected = "bounds bounds logs.rate compare compare logs.absent sigma derivative load \
                    logs.rate logs.new absent";
    assert_eq!(kinds.join(" "), expected);
    let warnings: Vec<String> = plan.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        ["checks.scrape: no stage uses the check; name it in the checks of a stage, or remove it"]
    );
}

#[test]
fn the_embedded_configuration_loads_and_is_free_of_warnings() {
    let plan = Plan::embedded();
    assert_eq!(plan.services["default"].matchers, Some(vec![]));
    assert_eq!(plan.warnings(), []);
}

#[test]
fn configurations_of_recordings_load() {
    for (text, checks) in [
        (
            include_str!("../../fixtures/config/recordings/everything.yaml"),
            2,
        ),
        (
            include_str!("../../fixtures/config/recordings/shop.yaml"),
            7,
        ),
        (
            include_str!("../../fixtures/config/recordings/history.yaml"),
            3,
        ),
        (
            include_str!("../../fixtures/config/recordings/generated.yaml"),
            13,
        ),
    ] {
        let plan = parsed(text);
        assert_eq!(plan.checks.len(), checks, "{text}");
        assert_eq!(plan.labels.host, ["host"]);
        assert_eq!(plan.labels.service, LabelRoles::default().service);
        assert_eq!(plan.services["app"].matchers, Some(vec![]));
        assert_eq!(plan.services["app"].stages[0].checks.len(), checks);
        assert_eq!(plan.lateness, Span::ZERO);
        assert_eq!(plan.warnings(), [], "{text}");
    }
}

#[test]
fn checks_get_their_defaults_and_units() {
    let detector = |snippet: &str| check(snippet).detector;
    let minutes = Span::from_minutes;
    assert_eq!(
        detector("{metric: x, unit: percent, bounds: {min: 1, max: 90%, for: 5m}}"),
        DetectorPlan::Bounds {
            min: Some(Limit::new(1.0)),
            max: Some(Limit::new(90.0)),
            for_at_least: minutes(5),
            within: Span::ZERO
        }
    );
    assert_eq!(
        detector("{metric: x, derivative: {}}"),
        DetectorPlan::Derivative {
            max: None,
            min: None,
            over: minutes(30)
        }
    );
    assert!(check("{metric: x, derivative: {}}").is_statistical());
    assert!(!check("{metric: x, derivative: {max: 1%/h}}").is_statistical());
    assert_eq!(
        detector("{metric: x, derivative: {max: 1MB/s, min: -1%/h, over: 2h}}"),
        DetectorPlan::Derivative {
            max: Some(Slope::Absolute(1e6)),
            min: Some(Slope::Relative(-0.01 / 3600.0)),
            over: minutes(120)
        }
    );
    assert_eq!(
        detector("{metric: x, sigma: {}}"),
        DetectorPlan::Sigma {
            k: 4.0,
            direction: Direction::Both
        }
    );
    assert_eq!(
        detector("{metric: x, compare: {}}"),
        DetectorPlan::Compare {
            tolerance: None,
            direction: Direction::Both
        }
    );
    assert_eq!(
        detector("{metric: x, absent: 15m}"),
        DetectorPlan::Absent { after: minutes(15) }
    );
    assert_eq!(
        detector("{metric: x, load: {of: prod, factor: 120%}}"),
        DetectorPlan::Load {
            factor: 1.2,
            of: "prod".to_owned()
        }
    );
    let logs = "{logs: {severity: warn, body: 'a.b', attributes: {z: '1', a: x}, new: true}}";
    let Selection::Logs(logs) = check(logs).selection else {
        panic!("it looks at logs")
    };
    assert_eq!(logs.severity, Some(Severity::WARN));
    assert!(logs.body.is_some_and(|body| body.0.is_match("xxaxbxx")));
    let attributes = vec![LabelMatcher::equal("a", "x"), LabelMatcher::equal("z", "1")];
    assert_eq!(logs.attributes, attributes);
}

#[test]
fn a_limit_on_log_records_is_for_the_time_that_its_unit_says() {
    for (limit, max, seconds, within) in [
        ("6/m", 0.1, 60.0, Span::from_minutes(1)),
        ("0.1/s", 0.1, 1.0, Span::from_minutes(1)),
        ("5/s", 5.0, 1.0, Span::from_seconds(1)),
        ("360/h", 0.1, 3_600.0, Span::from_minutes(60)),
        ("0.5/m", 0.5 / 60.0, 60.0, Span::from_minutes(60)),
        ("1/h", 1.0 / 3_600.0, 3_600.0, Span::from_minutes(60)),
        ("0.1/h", 0.1 / 3_600.0, 3_600.0, Span::from_hours(24)),
        ("0/m", 0.0, 60.0, Span::ZERO),
        ("0", 0.0, 0.0, Span::ZERO),
    ] {
        assert_eq!(
            check(&format!("{{logs: {{}}, bounds: {{max: {limit}}}}}")).detector,
            DetectorPlan::Bounds {
                min: None,
                max: Some(Limit::new(max).written_for(seconds)),
                for_at_least: Span::ZERO,
                within
            },
            "{limit}"
        );
    }
}

#[test]
fn a_coarse_resolution_lengthens_the_default_window() {
    let plan = parsed(&format!(
        "resolution: 5m\n{}",
        around("{metric: x, derivative: {}}", "{name: prod, checks: [c]}")
            .replace("absent: 1m", "absent: 10m")
    ));
    let over = Span::from_minutes(50);
    assert_eq!(
        plan.checks["c"].detector,
        DetectorPlan::Derivative {
            max: None,
            min: None,
            over
        }
    );
}

#[test]
fn stages_get_their_defaults() {
    let plain = stage("{name: a, checks: [ok]}");
    assert_eq!(plain.bake, Bake::default());
    assert_eq!(plain.policies.start_blockers, StartBlockers::WhenTold);
    let full = stage(
        "{name: a, match: {env: dev}, steps: [t], bake: {max: 1h}, checks: [{check: ok, weight: 3}], \
         policies: {start_blockers: false, off_peak: learned}}",
    );
    assert_eq!(full.matchers, [LabelMatcher::equal("env", "dev")]);
    assert_eq!(
        full.bake,
        Bake {
            min: Span::ZERO,
            max: Span::from_hours(1)
        }
    );
    let hour = Span::from_hours(1);
    let only_min = stage("{name: a, checks: [ok], bake: {min: 1h}}").bake;
    assert_eq!((only_min.min, only_min.max), (hour, hour));
    assert_eq!(full.checks[0].weight, 3);
    assert_eq!(full.policies.off_peak, Some(OffPeak::Learned));
    assert_eq!(full.policies.start_blockers, StartBlockers::Off);
}

#[test]
fn other_keys_are_read() {
    let plan = parsed(&with_line(
        "limits: {request_bytes: 1MiB, series: 1_000, labels: 1e2, future: 1m}\n\
         log_patterns: [{pattern: '^(?<time>\\S+) (?<body>.*)$', time_format: '%d/%b/%Y:%H:%M:%S %z', zone: europe/warsaw}]\n\
         listen: {grpc: '[::1]:0', http: '[::1]:0'}",
    ));
    assert_eq!(
        (plan.limits.request_bytes, plan.limits.series),
        (1 << 20, 1_000)
    );
    assert_eq!(plan.limits.labels, 100);
    assert_eq!(plan.limits.future, Span::from_minutes(1));
    assert_eq!(plan.limits.templates, Limits::default().templates);
    assert_eq!(plan.log_patterns.len(), 1);
    assert_eq!(plan.log_patterns[0].zone, "Europe/Warsaw");
    assert_eq!(plan.listen.grpc.port(), 0);
    assert!(parsed(EXAMPLE).log_patterns.len() > 3);
    let metric = SeriesSelector::parse("up").unwrap();
    assert_eq!(metric.matchers, [LabelMatcher::equal(METRIC_NAME, "up")]);
}

#[test]
fn every_kind_of_fault_says_what_would_be_right() {
    let mut wrap: fn(&str) -> String = str::to_owned;
    let mut checked = 0;
    let mut lines = FAULTS.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(section) = line.strip_prefix("## ") {
            wrap = match section {
                "check" => with_check,
                "stage" => with_stage,
                "line" => with_line,
                "alpha" => with_alpha,
                "whole" => str::to_owned,
                other => panic!("no such section: {other}"),
            };
        } else if !line.is_empty() && !line.starts_with('#') {
            let mut expected = Vec::new();
            while let Some(fault) = lines.next_if(|line| line.starts_with("    ")) {
                expected.push(fault.trim_start().to_owned());
            }
            let snippet = if line == "(empty)" {
                String::new()
            } else {
                line.replace("\\n", "\n")
            };
            assert_eq!(faults(&wrap(&snippet)), expected, "{snippet}");
            checked += 1;
        }
    }
    assert!(checked > 100, "the fixture is read to its end");
}

#[test]
fn a_name_that_is_none_hides_no_other_fault() {
    let text = |check: &str, service: &str, stage: &str| {
        format!(
            "checks: {{{check}: {{metric: x, bounds: {{max: 5 parsecs}}}}, up: {{metric: up, absent: 1m}}}}\n\
             services: {{{service}: {{alpha: 2, stages: [\
             {{{stage}bake: 1x, grace: 5, checks: [nope, up], policies: {{hotfix_skips: [steps]}}}}]}}}}\n"
        )
    };
    let faults_of = |text: &str| {
        let found = Plan::parse(text).unwrap_err().0;
        found.into_iter().map(|fault| fault.problem).collect()
    };
    let mut good: Vec<String> = faults_of(&text("cpu", "shop", "name: one, "));
    good.sort();
    assert_eq!(good.len(), 6, "{good:?}");
    for (check, service, stage, problem) in [
        ("''", "shop", "name: one, ", "the key is empty"),
        ("cpu", "''", "name: one, ", "the key is empty"),
        ("cpu", "shop", "name: '', ", "the text is empty"),
        ("cpu", "shop", "", "name is missing"),
        (
            "a/b",
            "shop",
            "name: one, ",
            "the name contains / or a control character",
        ),
        (
            "cpu",
            "' a'",
            "name: one, ",
            "the name begins or ends with a space",
        ),
        (
            "cpu",
            "shop",
            "name: a/b, ",
            "the name contains / or a control character",
        ),
    ] {
        let mut found: Vec<String> = faults_of(&text(check, service, stage));
        let named = found.iter().position(|found| found == problem);
        found.remove(named.unwrap_or_else(|| panic!("{problem}: {found:?}")));
        found.sort();
        assert_eq!(found, good, "{check} {service} {stage}");
    }
}

#[test]
fn all_mistakes_are_reported_at_once_in_the_order_of_their_lines() {
    let text = "\
resolutoin: 10s
listen: {http: nowhere}
checks:
  cpu: {metric: cpu, bounds: {max: 5 parsecs, for: 5}}
  leak: {logs: {}, derivative: {}}
  latency:
    metric: 'x{'
    sigma: {k: -1}
services:
  shop:
    alpha: 2
    stages:
      - {name: one, checks: [cpuu, leak, leak], bake: {min: 2h, max: 1h}}
      - {name: two}
sinks: [{pager: {}}]
";
    let found = Plan::parse(text).unwrap_err();
    let lines: Vec<(Option<u32>, &str)> = found
        .0
        .iter()
        .map(|fault| (fault.line, fault.path.as_str()))
        .collect();
    assert_eq!(
        lines,
        [
            (Some(1), "resolutoin"),
            (Some(2), "listen.http"),
            (Some(4), "checks.cpu.bounds.max"),
            (Some(4), "checks.cpu.bounds.for"),
            (Some(5), "checks.leak.derivative"),
            (Some(7), "checks.latency.metric"),
            (Some(8), "checks.latency.sigma.k"),
            (Some(11), "services.shop.alpha"),
            (Some(13), "services.shop.stages[0].checks[0]"),
            (Some(13), "services.shop.stages[0].checks[2]"),
            (Some(13), "services.shop.stages[0].bake.min"),
            (Some(14), "services.shop.stages[1]"),
            (Some(15), "sinks[0].pager"),
        ]
    );
    assert_eq!(found.to_string().lines().count(), 13);
}

/// Where a configuration is warned about.
fn warnings(text: &str) -> Vec<String> {
    let warnings = parsed(text).warnings();
    warnings.into_iter().map(|warning| warning.path).collect()
}

#[test]
fn bounds_in_the_other_unit_of_shares_are_warned_about() {
    let odd = |check: &str| warnings(&around(check, "{name: a, checks: [c, ok]}"));
    let beyond = odd("{metric: x, unit: ratio, bounds: {min: 0.5, max: 90}}");
    assert_eq!(beyond, ["checks.c.bounds.max"]);
    let below = odd("{metric: x, unit: percent, bounds: {min: 0.99}}");
    assert_eq!(below, ["checks.c.bounds.min"]);
    let none: [&str; 0] = [];
    assert_eq!(odd("{metric: x, unit: ratio, bounds: {max: 90%}}"), none);
}

#[test]
fn odd_configurations_are_warned_about() {
    for (check, stage, paths) in [
        (
            "{metric: x, bounds: {min: 1, max: 1}}",
            "{name: a, checks: [c, ok]}",
            vec!["checks.c.bounds"],
        ),
        (
            "{metric: x, bounds: {min: 5/m}}",
            "{name: a, checks: [c, ok]}",
            vec!["checks.c.bounds"],
        ),
        (
            "{metric: x, kind: counter, bounds: {min: 5/m, max: 300/m}}",
            "{name: a, checks: [c, ok]}",
            vec![],
        ),
        (
            "{metric: x_total, bounds: {min: 5/m}}",
            "{name: a, checks: [c, ok]}",
            vec![],
        ),
        (
            "{metric: x, absent: 1m}",
            "{name: a, checks: [c]}",
            vec!["checks.ok"],
        ),
        (
            "{metric: x, absent: 1m}",
            "{name: a, steps: [t], checks: [{check: c, mode: advisory}, {check: ok, mode: advisory}]}",
            vec!["services.s.stages[0].checks"],
        ),
        (
            "{metric: x, load: {of: a}}",
            "{name: a, checks: [c, ok], policies: {one_region_at_a_time: true, hotfix_skips: [bake]}}",
            vec![
                "services.s.stages[0].policies.one_region_at_a_time",
                "services.s.stages[0].policies.hotfix_skips",
                "services.s.stages[0].checks[0]",
            ],
        ),
        (
            "{metric: x, compare: {}}",
            "{name: a, checks: [c, ok]}",
            vec!["services.s.stages[0].checks[0]"],
        ),
        (
            "{metric: x, absent: 1h}",
            "{name: a, bake: 1h, grace: 5m, checks: [c, {check: ok, weight: 2}]}",
            vec![
                "services.s.stages[0].checks[0]",
                "services.s.stages[0].checks[1].weight",
            ],
        ),
    ] {
        assert_eq!(warnings(&around(check, stage)), paths, "{check} {stage}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_text_makes_the_parser_panic(text in "[a-z0-9:{}\\[\\]&*!\"'%,.# \n/-]{0,200}") {
        if let Err(faults) = Plan::parse(&text) {
            prop_assert!(!faults.0.is_empty());
        }
    }

    #[test]
    fn a_damaged_configuration_is_refused_or_read_but_never_panics(
        at in 0..EXAMPLE.len(),
        length in 0usize..40,
        piece in "[a-z0-9:{}\\[\\]\"'%,. \n-]{0,12}",
    ) {
        let end = (at + length).min(EXAMPLE.len());
        prop_assume!(EXAMPLE.is_char_boundary(at) && EXAMPLE.is_char_boundary(end));
        let text = format!("{}{piece}{}", &EXAMPLE[..at], &EXAMPLE[end..]);
        if let Err(faults) = Plan::parse(&text) {
            for fault in faults.0 {
                prop_assert!(!fault.to_string().contains('\n'), "{fault:?}");
                prop_assert!(!fault.problem.is_empty() && !fault.remedy.is_empty());
            }
        }
    }
}

#[test]
fn a_limit_for_longer_than_the_bake_is_odd() {
    for (limit, bake, is_odd) in [
        ("60/m", "8s", true),
        ("60/m", "2m", false),
        ("1/s", "8s", false),
        ("0", "8s", false),
    ] {
        let text = format!(
            "resolution: 1s\nchecks: {{e: {{logs: {{}}, bounds: {{max: {limit}}}}}}}\n\
             services: {{s: {{stages: [{{name: a, bake: {bake}, grace: 0s, checks: [e]}}]}}}}\n"
        );
        let plan = Plan::parse(&text).unwrap_or_else(|faults| panic!("{faults}"));
        let warnings: Vec<String> = plan.warnings().iter().map(ToString::to_string).collect();
        let told = warnings.iter().any(|warning| {
            warning.contains("counts the records of any 1m, but only 8s are watched")
        });
        assert_eq!(told, is_odd, "{limit} {bake}: {warnings:?}");
    }
}
