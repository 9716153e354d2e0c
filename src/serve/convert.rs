//! Between the engine's types and those of the protocol.

use prost_types::Timestamp as PbTimestamp;

use super::pb;
use crate::{
    detect::{Basis, CheckState},
    event::{Begin, StepOutcome, Timestamp},
    gate::{CheckReport, Shadow, Verdict, VerdictState},
};

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// An instant as the protocol has it.
pub fn timestamp_to_pb(at: Timestamp) -> PbTimestamp {
    PbTimestamp {
        seconds: at.nanos().div_euclid(NANOS_PER_SECOND),
        nanos: at.nanos().rem_euclid(NANOS_PER_SECOND) as i32,
    }
}

/// Whether an instant of a caller is one that the protocol can hold: in the years 1 to 9999.
pub fn is_instant(at: &PbTimestamp) -> bool {
    (-62_135_596_800..=253_402_300_799).contains(&at.seconds)
        && (0..NANOS_PER_SECOND).contains(&i64::from(at.nanos))
}

/// An instant of the protocol; what is out of range becomes the nearest end.
pub fn timestamp_from_pb(at: &PbTimestamp) -> Timestamp {
    let nanos = at
        .seconds
        .saturating_mul(NANOS_PER_SECOND)
        .saturating_add(i64::from(at.nanos));
    Timestamp::from_nanos(nanos)
}

/// The begin of a deployment as the protocol has it; when it begins the engine decides.
pub fn begin_to_pb(begin: Begin) -> pb::BeginRequest {
    pb::BeginRequest {
        deployment: begin.deployment,
        service: begin.service,
        stage: begin.stage,
        region: begin.region.unwrap_or_default(),
        version: begin.version,
        one_box: begin.one_box,
        fleet: begin.fleet,
        weight: begin.weight,
        hotfix: begin.hotfix.map(|hotfix| pb::Hotfix {
            by: hotfix.by,
            reason: hotfix.reason,
            ticket: hotfix.ticket,
            expires: Some(timestamp_to_pb(hotfix.expires)),
        }),
    }
}

/// A verdict as the protocol has it.
pub fn verdict_to_pb(verdict: &Verdict) -> pb::Verdict {
    pb::Verdict {
        deployment: verdict.deployment.clone(),
        service: verdict.service.clone(),
        stage: verdict.stage.clone(),
        region: verdict.region.clone().unwrap_or_default(),
        version: verdict.version.clone(),
        verdict: state_to_pb(verdict.verdict).into(),
        at: Some(timestamp_to_pb(verdict.at)),
        since: Some(timestamp_to_pb(verdict.since)),
        watermark: Some(timestamp_to_pb(verdict.watermark)),
        config_digest: verdict.config_digest.clone(),
        reasons: verdict.reasons.clone(),
        checks: verdict.checks.iter().map(check_to_pb).collect(),
        r#final: verdict.is_final,
        shadow: verdict.shadow.as_ref().map(|shadow| pb::Shadow {
            verdict: state_to_pb(shadow.verdict).into(),
            since: Some(timestamp_to_pb(shadow.since)),
            reasons: shadow.reasons.clone(),
        }),
    }
}

fn state_to_pb(state: VerdictState) -> pb::VerdictState {
    match state {
        VerdictState::Pending => pb::VerdictState::Pending,
        VerdictState::Pass => pb::VerdictState::Pass,
        VerdictState::Bypassed => pb::VerdictState::Bypassed,
        VerdictState::NoData => pb::VerdictState::NoData,
        VerdictState::Fail => pb::VerdictState::Fail,
    }
}

fn state_from_pb(state: i32) -> Result<VerdictState, String> {
    match pb::VerdictState::try_from(state) {
        Ok(pb::VerdictState::Pending) => Ok(VerdictState::Pending),
        Ok(pb::VerdictState::Pass) => Ok(VerdictState::Pass),
        Ok(pb::VerdictState::Bypassed) => Ok(VerdictState::Bypassed),
        Ok(pb::VerdictState::NoData) => Ok(VerdictState::NoData),
        Ok(pb::VerdictState::Fail) => Ok(VerdictState::Fail),
        Ok(pb::VerdictState::Unspecified) | Err(_) => Err(format!(
            "the server answers with the unknown verdict {state}"
        )),
    }
}

/// A verdict of the protocol.
///
/// # Errors
/// The verdict, or the state of a check, is none that this version knows: it must not be taken for
/// anything.
pub fn verdict_from_pb(verdict: pb::Verdict) -> Result<Verdict, String> {
    let state = state_from_pb(verdict.verdict)?;
    let instant = |at: &Option<PbTimestamp>| at.as_ref().map_or(Timestamp::MIN, timestamp_from_pb);
    let shadow = verdict.shadow.map(|shadow| {
        Ok::<_, String>(Shadow {
            verdict: state_from_pb(shadow.verdict)?,
            since: instant(&shadow.since),
            reasons: shadow.reasons,
        })
    });
    Ok(Verdict {
        at: instant(&verdict.at),
        since: instant(&verdict.since),
        watermark: instant(&verdict.watermark),
        deployment: verdict.deployment,
        service: verdict.service,
        stage: verdict.stage,
        region: Some(verdict.region).filter(|region| !region.is_empty()),
        version: verdict.version,
        verdict: state,
        config_digest: verdict.config_digest,
        is_final: verdict.r#final,
        reasons: verdict.reasons,
        checks: verdict
            .checks
            .into_iter()
            .map(check_from_pb)
            .collect::<Result<_, _>>()?,
        shadow: shadow.transpose()?,
    })
}

/// The outcome of a step, if the protocol names one.
pub fn outcome_from_pb(outcome: pb::StepOutcome) -> Option<StepOutcome> {
    match outcome {
        pb::StepOutcome::Passed => Some(StepOutcome::Passed),
        pb::StepOutcome::Failed => Some(StepOutcome::Failed),
        pb::StepOutcome::Unspecified => None,
    }
}

fn check_to_pb(report: &CheckReport) -> pb::CheckEvidence {
    let state = match report.state {
        CheckState::Ok => pb::CheckState::Ok,
        CheckState::Breach => pb::CheckState::Breach,
        CheckState::Warming => pb::CheckState::Warming,
        CheckState::Undecided => pb::CheckState::Undecided,
        CheckState::NoData => pb::CheckState::NoData,
    };
    pb::CheckEvidence {
        check: report.check.clone(),
        kind: report.kind.clone(),
        metric: report.metric.clone(),
        mode: report.mode.clone(),
        state: state.into(),
        observed: report.observed,
        expected: report.expected,
        effect: report.effect,
        interval_low: report.interval.map(|[low, _]| low),
        interval_high: report.interval.map(|[_, high]| high),
        detectable: report.detectable,
        hosts: report.hosts.clone(),
        first_breach: report.first_breach.map(timestamp_to_pb),
        basis: report.basis.map_or("", basis_name).to_owned(),
        note: report.note.clone(),
    }
}

fn check_from_pb(report: pb::CheckEvidence) -> Result<CheckReport, String> {
    let state = match report.state() {
        pb::CheckState::Ok => CheckState::Ok,
        pb::CheckState::Breach => CheckState::Breach,
        pb::CheckState::Warming => CheckState::Warming,
        pb::CheckState::Undecided => CheckState::Undecided,
        pb::CheckState::NoData => CheckState::NoData,
        pb::CheckState::Unspecified => {
            return Err(format!(
                "the server answers with the unknown state {} of check {:?}",
                report.state, report.check
            ));
        }
    };
    Ok(CheckReport {
        check: report.check,
        kind: report.kind,
        metric: report.metric,
        mode: report.mode,
        state,
        observed: report.observed,
        expected: report.expected,
        effect: report.effect,
        interval: report
            .interval_low
            .zip(report.interval_high)
            .map(|(low, high)| [low, high]),
        detectable: report.detectable,
        hosts: report.hosts,
        first_breach: report.first_breach.as_ref().map(timestamp_from_pb),
        basis: basis_from_name(&report.basis),
        note: report.note,
    })
}

fn basis_name(basis: Basis) -> &'static str {
    match basis {
        Basis::Exchangeable => "exchangeable",
        Basis::GaussianHosts => "gaussian-hosts",
        Basis::Model => "model",
        Basis::Slo => "slo",
    }
}

fn basis_from_name(name: &str) -> Option<Basis> {
    [
        Basis::Exchangeable,
        Basis::GaussianHosts,
        Basis::Model,
        Basis::Slo,
    ]
    .into_iter()
    .find(|basis| basis_name(*basis) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict() -> Verdict {
        let report = CheckReport {
            check: "latency".to_owned(),
            kind: "compare".to_owned(),
            metric: "p99".to_owned(),
            mode: "blocking".to_owned(),
            state: CheckState::Breach,
            observed: Some(0.412),
            expected: Some(0.298),
            effect: Some(0.38),
            interval: Some([0.31, 0.45]),
            detectable: None,
            hosts: vec!["h3".to_owned()],
            first_breach: Some(Timestamp::from_millis(-1_500)),
            basis: Some(Basis::GaussianHosts),
            note: "above the fleet".to_owned(),
        };
        Verdict {
            at: Timestamp::from_nanos(1_772_359_200_123_456_789),
            deployment: "d1".to_owned(),
            service: "checkout".to_owned(),
            stage: "onebox".to_owned(),
            region: None,
            version: "v42".to_owned(),
            verdict: VerdictState::Fail,
            since: Timestamp::from_seconds(5),
            watermark: Timestamp::from_nanos(-1),
            shadow: Some(Shadow {
                verdict: VerdictState::Fail,
                since: Timestamp::from_seconds(7),
                reasons: vec!["slow".to_owned()],
            }),
            config_digest: "abc".to_owned(),
            is_final: true,
            reasons: vec!["because".to_owned()],
            checks: vec![
                report.clone(),
                CheckReport {
                    basis: None,
                    interval: None,
                    first_breach: None,
                    ..report
                },
            ],
        }
    }

    #[test]
    fn a_verdict_survives_the_protocol() {
        for state in [
            VerdictState::Pending,
            VerdictState::Pass,
            VerdictState::Bypassed,
            VerdictState::NoData,
            VerdictState::Fail,
        ] {
            let verdict = Verdict {
                verdict: state,
                ..verdict()
            };
            assert_eq!(verdict_from_pb(verdict_to_pb(&verdict)), Ok(verdict));
        }
    }

    #[test]
    fn basis_has_the_same_name_in_every_protocol() {
        for basis in [
            Basis::Exchangeable,
            Basis::GaussianHosts,
            Basis::Model,
            Basis::Slo,
        ] {
            let json = serde_json::to_string(&basis).unwrap();
            assert_eq!(json, format!("{:?}", basis_name(basis)));
        }
    }

    #[test]
    fn an_unknown_verdict_is_no_verdict() {
        for state in [0, 99] {
            let unknown = pb::Verdict {
                verdict: state,
                ..verdict_to_pb(&verdict())
            };
            assert!(verdict_from_pb(unknown).is_err());
        }
    }
}
