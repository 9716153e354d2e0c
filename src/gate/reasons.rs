//! Reasons: what decides, in words for the person who is woken by it.

use super::{Blocker, Gate, GateCheck};
use crate::{
    detect::{CheckState, Evidence, Finding},
    event::{Span, Timestamp},
};

/// Most hosts that a reason names.
const HOSTS_MAX: usize = 5;
/// Most metrics of one check that get a reason of their own.
const METRICS_MAX: usize = 5;

/// One reason for each metric that breached, worst first.
pub(super) fn breach(check: &GateCheck, finding: &Finding) -> Vec<String> {
    of_evidence(check, finding, CheckState::Breach)
        .unwrap_or_else(|| vec![format!("{}: breach", check.name)])
}

/// One reason for each metric without data, or one for the check.
pub(super) fn no_data(check: &GateCheck, finding: &Finding) -> Vec<String> {
    of_evidence(check, finding, CheckState::NoData).unwrap_or_else(|| {
        let cause = finding
            .cause
            .as_ref()
            .map_or_else(|| "no data".to_owned(), ToString::to_string);
        vec![format!("{}: {cause}", check.name)]
    })
}

/// What a warming check waits for.
pub(super) fn warming(check: &GateCheck, finding: &Finding) -> String {
    let awaiting = finding.awaiting.as_deref().unwrap_or("more data");
    format!("{}: warming up, waits for {awaiting}", check.name)
}

/// What an undecided check could not exclude.
pub(super) fn undecided(check: &GateCheck, finding: &Finding) -> String {
    match (&finding.awaiting, finding.evidence.first()) {
        (Some(awaiting), _) => format!("{}: undecided, {awaiting}", check.name),
        (None, Some(evidence)) => format!("{}: undecided, {}", check.name, phrase(evidence)),
        (None, None) => format!("{}: undecided", check.name),
    }
}

/// How far the bake has come.
pub(super) fn bake(gate: &Gate, now: Timestamp, until: Timestamp) -> String {
    let (done, whole) = (now - gate.begin.at, until - gate.begin.at);
    let done = Span::from_seconds((done.nanos() / 1_000_000_000).max(0));
    format!("bake: {done} of {whole}, until {until}")
}

/// What keeps a gate from PASS whatever its checks say.
pub(super) fn held(blocker: &Blocker) -> String {
    format!("held: {blocker}")
}

/// That the deployment is a hotfix, and what that did.
pub(super) fn hotfix(gate: &Gate, now: Timestamp, skips_bake: bool) -> Option<String> {
    let hotfix = gate.begin.hotfix.as_ref()?;
    let (by, reason, ticket) = (&hotfix.by, &hotfix.reason, &hotfix.ticket);
    let what = if skips_bake {
        format!("skipped {}", bake(gate, now, gate.bake_until))
    } else {
        "nothing was skipped".to_owned()
    };
    Some(format!("hotfix by {by}: {reason} ({ticket}); {what}"))
}

/// Why a stage without requirements cannot be passed.
pub(super) fn nothing_required(gate: &Gate) -> String {
    format!(
        "nothing is required: stage {:?} has neither a step nor a blocking check, so nothing can be proven",
        gate.stage.name
    )
}

fn of_evidence(check: &GateCheck, finding: &Finding, state: CheckState) -> Option<Vec<String>> {
    let mut metrics = finding
        .evidence
        .iter()
        .filter(|evidence| evidence.state == state);
    let mut reasons: Vec<String> = metrics
        .by_ref()
        .take(METRICS_MAX)
        .map(|evidence| format!("{}: {}", check.name, phrase(evidence)))
        .collect();
    let more = metrics.count();
    if more > 0 {
        reasons.push(format!("{}: and {more} more metrics", check.name));
    }
    (!reasons.is_empty()).then_some(reasons)
}

fn phrase(evidence: &Evidence) -> String {
    let mut phrase = evidence.metric.clone();
    if !phrase.is_empty() && !evidence.note.is_empty() {
        phrase.push(' ');
    }
    phrase.push_str(&evidence.note);
    let names_them = evidence
        .hosts
        .iter()
        .take(HOSTS_MAX)
        .all(|host| evidence.note.contains(host.as_str()));
    if !names_them {
        phrase.push_str(", on ");
        phrase.push_str(&hosts(&evidence.hosts));
    }
    if let Some(since) = evidence.first_breach {
        phrase.push_str(", since ");
        phrase.push_str(&since.to_string());
    }
    phrase
}

fn hosts(hosts: &[String]) -> String {
    let named = hosts
        .iter()
        .take(HOSTS_MAX)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    match hosts.len().saturating_sub(HOSTS_MAX) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}
