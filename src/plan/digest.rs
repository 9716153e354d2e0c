//! The digest of a plan's meaning.

use std::fmt::Write as _;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    Check, DetectorPlan, LabelMatcher, OffPeak, Plan, Selection, SeriesSelector, ServicePlan,
    Skippable, Slope, StagePlan,
};
use crate::event::{Severity, Span};

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
        let labels = &self.labels;
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
            [labels.host, labels.service, labels.region, labels.version],
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
        } => {
            json!(["bounds", min, max, for_at_least.nanos()])
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
        [
            stage.policies.one_region_at_a_time,
            stage.policies.start_blockers
        ],
        off_peak,
        skips,
    ])
}
