//! The digest of a plan's meaning.

use std::fmt::Write as _;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    Check, DetectorPlan, IgnoredLabel, LabelMatcher, LabelRoles, Limit, OffPeak, Plan, Selection,
    SeriesSelector, ServicePlan, Skippable, Slope, StagePlan, StartBlockers, units,
};
use crate::event::{Severity, Span, Unit};

/// Bytes of the hash that the digest shows.
const DIGEST_BYTES: usize = 8;

impl Plan {
    /// The first 16 hex digits of SHA-256 over the canonical rendering. Where the engine listens
    /// and where alerts go is left out: it changes no verdict.
    pub(super) fn compute_digest(&self) -> String {
        let hash = Sha256::digest(self.canonical().to_string().as_bytes());
        hash.iter()
            .take(DIGEST_BYTES)
            .fold(String::new(), |mut digest, byte| {
                write!(digest, "{byte:02x}").expect("a string takes every write");
                digest
            })
    }

    /// Everything that can change a verdict, in a fixed order. A change of this rendering changes
    /// every digest, so its version stands in it.
    fn canonical(&self) -> Value {
        let limits = &self.limits;
        let patterns: Vec<Value> = self
            .log_patterns
            .iter()
            .map(|one| json!([one.pattern.0.as_str(), one.time_format, one.zone]))
            .collect();
        json!([
            "sluice-plan-1",
            self.resolution.nanos(),
            self.lateness.nanos(),
            roles(&self.labels),
            self.checks.values().map(check).collect::<Vec<_>>(),
            self.services.values().map(service).collect::<Vec<_>>(),
            patterns,
            [
                limits.request_bytes,
                limits.decompressed_bytes,
                limits.labels,
                limits.label_bytes,
                limits.series_per_service,
                limits.series,
                limits.samples_per_bucket,
                limits.templates,
                limits.open_gates,
            ],
            limits.future.nanos(),
        ])
    }
}

fn roles(labels: &LabelRoles) -> Value {
    let LabelRoles {
        host,
        service,
        region,
        version,
        ignore,
    } = labels;
    let mut told = vec![json!(host), json!(service), json!(region), json!(version)];
    // What came later stands only where it says something, so that older digests keep their meaning.
    if *ignore != IgnoredLabel::usual() {
        let one = |ignored: &IgnoredLabel| json!([ignored.label, selector(&ignored.of)]);
        let mut ignored: Vec<Value> = ignore.iter().map(one).collect();
        ignored.sort_by_cached_key(Value::to_string);
        told.push(Value::from(ignored));
    }
    Value::from(told)
}

fn check(check: &Check) -> Value {
    let selection = match &check.selection {
        Selection::Series(series) => json!([
            "series",
            selector(&series.selector),
            series.kind,
            series.per.as_ref().map(selector),
            series.quantile,
            series.unit,
        ]),
        Selection::Logs(logs) => json!([
            "logs",
            logs.severity.map(Severity::number),
            logs.body.as_ref().map(|body| body.0.as_str()),
            matchers(&logs.attributes),
        ]),
    };
    let detector = match &check.detector {
        DetectorPlan::Bounds {
            min,
            max,
            for_at_least,
            within,
        } => {
            let plain = |limit: &Option<Limit>| limit.map(|limit| limit.of(Unit::Unknown));
            let mut told = vec![
                json!("bounds"),
                json!(plain(min)),
                json!(plain(max)),
                json!(for_at_least.nanos()),
            ];
            // What follows from the limits is no meaning of its own.
            let limits = plain(min).into_iter().chain(plain(max));
            let usual = limits.map(units::shortest_within).max();
            let is_share = |limit: &Option<Limit>| limit.is_some_and(Limit::is_share);
            if is_share(min) || is_share(max) {
                told.push(json!([is_share(min), is_share(max)]));
            }
            if *within != Span::ZERO && Some(*within) != usual {
                told.push(json!(within.nanos()));
            }
            Value::from(told)
        }
        DetectorPlan::Derivative { max, min, over } => {
            json!(["derivative", max.map(slope), min.map(slope), over.nanos()])
        }
        DetectorPlan::Sigma { k, direction } => json!(["sigma", k, direction]),
        DetectorPlan::Compare {
            tolerance,
            direction,
        } => json!(["compare", tolerance, direction]),
        DetectorPlan::Absent { after } => json!(["absent", after.nanos()]),
        DetectorPlan::NewTemplate => json!(["new"]),
        DetectorPlan::Load { factor, of } => json!(["load", factor, of]),
    };
    json!([check.name, selection, detector])
}

fn selector(selector: &SeriesSelector) -> Value {
    matchers(&selector.matchers)
}

/// All conditions must hold, so their order means nothing.
fn matchers(matchers: &[LabelMatcher]) -> Value {
    let mut written: Vec<String> = matchers.iter().map(ToString::to_string).collect();
    written.sort_unstable();
    json!(written)
}

fn slope(slope: Slope) -> Value {
    match slope {
        Slope::Absolute(per_second) => json!(["absolute", per_second]),
        Slope::Relative(per_second) => json!(["relative", per_second]),
    }
}

fn service(service: &ServicePlan) -> Value {
    json!([
        service.name,
        service.matchers.as_deref().map(matchers),
        service.alpha,
        service.stages.iter().map(stage).collect::<Vec<_>>(),
    ])
}

fn stage(stage: &StagePlan) -> Value {
    let checks: Vec<Value> = stage
        .checks
        .iter()
        .map(|one| json!([one.check, one.mode, one.weight]))
        .collect();
    let off_peak = match &stage.policies.off_peak {
        None => Value::Null,
        Some(OffPeak::Learned) => json!(["learned"]),
        Some(OffPeak::Windows { zone, windows }) => json!(["windows", zone, windows]),
    };
    let skips: Vec<&str> = stage
        .policies
        .hotfix_skips
        .iter()
        .map(|skip| match skip {
            Skippable::Bake => "bake",
        })
        .collect();
    let span = |span: Span| span.nanos();
    let mut policies = vec![
        json!(stage.policies.one_region_at_a_time),
        match stage.policies.start_blockers {
            StartBlockers::Off => json!(false),
            StartBlockers::WhenTold => json!(true),
            StartBlockers::Always => json!("always"),
        },
    ];
    // What came later stands only where it says something, so that older digests keep their meaning.
    if stage.policies.open_on_new_version {
        policies.push(json!("open_on_new_version"));
    }
    json!([
        stage.name,
        matchers(&stage.matchers),
        stage.regions,
        stage.steps,
        checks,
        [
            span(stage.bake.min),
            span(stage.bake.max),
            span(stage.grace)
        ],
        policies,
        off_peak,
        skips,
    ])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const EXAMPLE: &str = include_str!("../../fixtures/config/example.yaml");

    fn parsed(text: &str) -> Plan {
        Plan::parse(text).unwrap_or_else(|faults| panic!("{faults}\n---\n{text}"))
    }

    /// Changes of the example that change its meaning.
    const CHANGES: &[(&str, &str)] = &[
        ("max: 90%", "max: 91%"),
        ("for: 5m", "for: 6m"),
        ("min: 1e9", "min: 1e8"),
        ("1%/h", "2%/h"),
        ("over: 2h", "over: 3h"),
        ("quantile: 0.99", "quantile: 0.9"),
        ("k: 4", "k: 5"),
        ("5..", "4.."),
        ("per: http_requests_total, ", ""),
        ("tolerance: 10%", "tolerance: 11%"),
        (
            "tolerance: 10%, direction: up",
            "tolerance: 10%, direction: down",
        ),
        ("max: 5/m", "max: 5/s"),
        (
            "{severity: ERROR, new: true}",
            "{severity: WARN, new: true}",
        ),
        ("body: \"heartbeat\"", "body: \"heartbeats\""),
        ("absent: 2m", "absent: 3m"),
        ("factor: 1.0", "factor: 1.1"),
        ("of: prod", "of: beta"),
        ("metric: up", "metric: up, unit: ratio"),
        ("metric: up", "metric: up, kind: gauge"),
        ("alpha: 1%", "alpha: 2%"),
        ("match: {service: checkout}", "match: {}"),
        ("    match: {service: checkout}", "    #"),
        ("bake: 12h", "bake: 13h"),
        ("min: 1h, max: 24h", "min: 2h, max: 24h"),
        ("grace: 5m", "grace: 6m"),
        ("mode: advisory", "weight: 2"),
        ("mode: advisory", "mode: blocking"),
        ("one_region_at_a_time: true", "one_region_at_a_time: false"),
        ("one_region_at_a_time: true", "start_blockers: false"),
        (
            "one_region_at_a_time: true",
            "one_region_at_a_time: true\n          start_blockers: true",
        ),
        (
            "one_region_at_a_time: true",
            "one_region_at_a_time: true\n          open_on_new_version: true",
        ),
        ("Europe/Warsaw", "Europe/Berlin"),
        ("22:00-06:00\"]}", "22:00-06:01\"]}"),
        ("hotfix_skips: [bake]", "hotfix_skips: []"),
        ("steps: [smoke-tests]", "steps: [smoke]"),
        ("{name: gamma, ", "{name: gamma, match: {a: b}, "),
        (
            "regions: [eu-west-1, us-east-1], bake: 2h",
            "regions: [eu-west-1], bake: 2h",
        ),
        ("resolution: 10s", "resolution: 20s"),
        ("lateness: 20s", "lateness: 30s"),
        ("cloud.region", "region.cloud"),
        ("labels:", "labels:\n  ignore: [path]"),
        (
            "labels:",
            "labels:\n  ignore: [{label: path, metric: http_requests_total}]",
        ),
        ("labels:", "labels:\n  keep: [revision]"),
        ("sinks:", "limits: {series: 7}\nsinks:"),
        ("sinks:", "log_patterns: [{pattern: '(?<time>x)'}]\nsinks:"),
    ];

    #[test]
    fn the_digest_holds_the_meaning_and_nothing_else() {
        let digest = |text: &str| parsed(text).digest;
        let same = [
            "checks:\n  a: {metric: 'x{p=\"1\",q=\"2\"}', compare: {tolerance: 10%, direction: up}}\n  b: {metric: up, absent: 90s}\nservices:\n  s: {match: {k: v, l: w}, stages: [{name: one, bake: 1h, checks: [a, b]}]}\n",
            "# The same in another layout, with defaults written out.\nservices:\n  s:\n    stages:\n    - checks: [a, {check: b, mode: blocking, weight: 1}]\n      bake: {min: 60m, max: 1h}\n      name: one\n    match: {l: w, k: v}\n    alpha: 0.01\nresolution: 10s\nchecks:\n  b: {absent: 1m30s, metric: up}\n  a: {compare: {direction: up, tolerance: 0.1}, metric: 'x{q=\"2\", p=\"1\"}'}\nlisten: {grpc: '127.0.0.1:1'}\nsinks: [{alertmanager: {url: 'http://a'}}]\n",
        ];
        assert_eq!(digest(same[0]), digest(same[1]));
        // A change of the digest of an unchanged configuration makes every recorded verdict look as if
        // it were of another one: it needs a new version of the canonical rendering.
        assert_eq!(digest(same[0]), "de69d23b650dd409");
        assert_eq!(digest(same[0]).len(), 16);
        let mut digests = BTreeSet::from([digest(EXAMPLE)]);
        for (from, to) in CHANGES {
            let changed = EXAMPLE.replacen(from, to, 1);
            assert_ne!(changed, EXAMPLE, "{from}");
            assert!(
                digests.insert(digest(&changed)),
                "{from} -> {to} does not change the digest"
            );
        }
        for (from, to) in [
            ("7070", "7080"),
            ("oncall.example", "other.example"),
            ("# which", "# What"),
        ] {
            let changed = EXAMPLE.replacen(from, to, 1);
            assert_eq!(digest(&changed), digest(EXAMPLE), "{from} -> {to}");
        }
    }
}
