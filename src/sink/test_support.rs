//! Deployments for the tests of sinks.

use std::sync::Arc;

use super::alert::{Alert, Links, firing};
use crate::{
    detect::{Basis, CheckState},
    event::{Begin, Timestamp},
    gate::{CheckReport, Verdict, VerdictState},
    plan::{AlertRules, Mode},
    serve::Deployment,
};

/// A deployment that began at a second, and has the verdict since then.
pub(super) fn deployment(id: &str, began_at: i64, state: VerdictState) -> Deployment {
    let at = Timestamp::from_seconds(began_at);
    let report = CheckReport::bare(
        "latency",
        "compare",
        Mode::Blocking,
        CheckState::Breach,
        String::new(),
    );
    Deployment {
        begin: Begin {
            at,
            deployment: id.to_owned(),
            service: "checkout".to_owned(),
            stage: "onebox".to_owned(),
            region: Some("eu".to_owned()),
            version: "v42".to_owned(),
            one_box: Vec::new(),
            fleet: Vec::new(),
            weight: 1.0,
            hotfix: None,
        },
        verdict: Verdict {
            at,
            deployment: id.to_owned(),
            service: "checkout".to_owned(),
            stage: "onebox".to_owned(),
            region: Some("eu".to_owned()),
            version: "v42".to_owned(),
            verdict: state,
            since: at,
            watermark: at,
            config_digest: "0123456789abcdef".to_owned(),
            shadow: None,
            is_final: matches!(
                state,
                VerdictState::Fail | VerdictState::Pass | VerdictState::Bypassed
            ),
            reasons: vec![
                "latency: one-box p99 +38 % above the fleet".to_owned(),
                "errors: 7 %".to_owned(),
            ],
            checks: vec![CheckReport {
                metric: "p99".to_owned(),
                observed: Some(0.412),
                basis: Some(Basis::Exchangeable),
                ..report
            }],
        },
        bake_until: at,
        is_ended: false,
    }
}

/// The alert about a deployment that has its verdict since 10:14:20.
pub(super) fn alert(id: &str, state: VerdictState) -> Alert {
    let since: Timestamp = "2026-03-01T10:14:20Z".parse().unwrap();
    let one = Arc::new(deployment(id, since.nanos() / 1_000_000_000, state));
    let links = Links::new("https://sluice.example");
    let fires = firing(&[one], since, AlertRules::default(), &links);
    fires.into_values().next().expect("it fires")
}
