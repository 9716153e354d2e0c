//! Reasons: what decides, in words for the person who is woken by it.

use super::{Beside, Blocker, Gate, GateCheck};
use crate::{
    detect::{CheckState, Evidence, Finding},
    event::{Span, Timestamp},
    plan::Mode,
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

/// What an undecided check waits for.
pub(super) fn undecided(check: &GateCheck, finding: &Finding) -> String {
    match &finding.awaiting {
        Some(awaiting) => format!("{}: undecided, waits for {awaiting}", check.name),
        None => not_excluded(check, finding),
    }
}

/// What an undecided check saw, and could not exclude.
pub(super) fn not_excluded(check: &GateCheck, finding: &Finding) -> String {
    match (finding.evidence.first(), &finding.awaiting) {
        (Some(evidence), _) => format!("{}: undecided, {}", check.name, phrase(evidence)),
        (None, Some(awaiting)) => format!("{}: {}", check.name, waited_in_vain(awaiting)),
        (None, None) => format!("{}: undecided", check.name),
    }
}

fn waited_in_vain(awaiting: &str) -> String {
    match awaiting.strip_prefix("nothing more: ") {
        Some(why) => format!("undecided: {why}"),
        None => format!("undecided, waited for {awaiting}"),
    }
}

/// What is out of range in spite of the PASS: checks and metrics that inform only.
pub(super) fn advisory(gate: &Gate) -> Vec<String> {
    let mut told = Vec::new();
    for check in &gate.checks {
        let Some(finding) = &check.finding else {
            continue;
        };
        if check.mode == Mode::Advisory && finding.state == CheckState::Breach {
            told.extend(breach(check, finding));
        }
        // Of what is undecided the first is told as such.
        let own = usize::from(finding.state == CheckState::Undecided);
        let informing = finding.evidence.iter().skip(own);
        let informing = informing.filter(|evidence| evidence.informs_only());
        told.extend(
            informing
                .take(METRICS_MAX)
                .map(|evidence| format!("{}: {}", check.name, phrase(evidence))),
        );
    }
    told.iter()
        .map(|breach| format!("passes; advisory: {breach}"))
        .collect()
}

/// How far the bake has come.
pub(super) fn bake(gate: &Gate, now: Timestamp, until: Timestamp) -> String {
    let (done, whole) = (now - gate.begin.at, until - gate.begin.at);
    let done = Span::from_seconds((done.nanos() / 1_000_000_000).max(0));
    format!(
        "bake: {done} of {whole}, until {}",
        until.next_whole_second()
    )
}

/// What keeps a gate from PASS whatever its checks say.
pub(super) fn held(blocker: &Blocker) -> String {
    format!("held: {blocker}")
}

/// That another deployment is open on the same hosts.
pub(super) fn beside(beside: &Beside) -> String {
    let Beside {
        deployment,
        version,
        hosts,
    } = beside;
    let shows = if hosts.len() == 1 {
        "it shows"
    } else {
        "they show"
    };
    format!(
        "also under deployment {deployment} ({version}): {}; what {shows} may be of either",
        few_hosts(hosts)
    )
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

/// That nothing is awaited any more.
pub(super) fn ended(at: Timestamp) -> String {
    let at = at.whole_seconds();
    format!("the deployment ended at {at} before its gate could decide; until then:")
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
        .map(|evidence| {
            let phrase = phrase(evidence);
            // A check that is called as its metric need not be named twice.
            let is_told =
                evidence.metric == check.name && phrase.starts_with(&format!("{}: ", check.name));
            if is_told {
                phrase
            } else {
                format!("{}: {phrase}", check.name)
            }
        })
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
        // What is missing is a sentence of its own; a number goes on from the name of its metric.
        phrase.push_str(match evidence.state {
            CheckState::NoData => ": ",
            CheckState::Ok | CheckState::Undecided | CheckState::Warming | CheckState::Breach => {
                " "
            }
        });
    }
    phrase.push_str(&evidence.note);
    if let Some(hosts) = unnamed_hosts(&evidence.note, &evidence.hosts) {
        phrase.push_str(", on ");
        phrase.push_str(&hosts);
    }
    if let Some(since) = evidence.first_breach {
        phrase.push_str(", since ");
        phrase.push_str(&since.whole_seconds().to_string());
    }
    phrase
}

/// The hosts that a phrase is about, a few by name, unless it names them itself.
pub fn unnamed_hosts(phrase: &str, hosts: &[String]) -> Option<String> {
    (!hosts.is_empty() && !is_naming(phrase, hosts)).then(|| few_hosts(hosts))
}

/// What stands before and behind the hosts of a note, in the words of the detectors.
const NAMING: [(&str, &[&str]); 5] = [
    (" on ", &["", ",", ";", ":", " and ", " ("]),
    (" of ", &[", which came after "]),
    ("; ", &[" alone is the reason"]),
    (" the quietest, ", &[", silent for "]),
    // A space is put before the phrase: these begin it.
    (" ", &[" silent for ", " alone is the reason"]),
];

/// Whether a phrase names these hosts: all of them, in their order, where its words say that hosts are named. A name
/// such as `a`, `1` or `api` may be a part of any sentence or metric.
fn is_naming(phrase: &str, hosts: &[String]) -> bool {
    let first: Vec<&str> = hosts.iter().take(HOSTS_MAX).map(String::as_str).collect();
    let list = first.join(", ");
    let phrase = format!(" {phrase}");
    phrase.match_indices(&list).any(|(start, _)| {
        let (before, behind) = (&phrase[..start], &phrase[start + list.len()..]);
        NAMING.iter().any(|(opening, closings)| {
            let is_closed = |closing: &&str| match *closing {
                "" => behind.is_empty(),
                closing => behind.starts_with(closing),
            };
            before.ends_with(opening) && closings.iter().any(is_closed)
        })
    })
}

/// A few hosts, and how many more there are.
pub(crate) fn few_hosts(hosts: &[String]) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_waited_for_is_not_told_as_waited_for() {
        for (awaiting, told) in [
            (
                "the series to move",
                "undecided, waited for the series to move",
            ),
            ("nothing more: without a past", "undecided: without a past"),
        ] {
            assert_eq!(waited_in_vain(awaiting), told);
        }
    }

    #[test]
    fn hosts_are_left_out_only_where_the_phrase_names_them() {
        let many = ["a", "b", "c", "d", "e", "f", "g"];
        for (phrase, hosts, is_named) in [
            (
                "+101 % above the fleet (+86 … +118 %)",
                &["a", "b"][..],
                false,
            ),
            ("+101 % above the fleet (+86 … +118 %)", &["1"], false),
            ("1 above the limit of 0.5", &["1"], false),
            ("p99 of api_latency on apis", &["api"], false),
            ("slope +1 %/h on a host", &["a"], false),
            (
                "silent for 3m on h1, while others speak",
                &["h1", "h2"],
                false,
            ),
            ("restarted once in 5m; never on 1 fleet host", &["1"], false),
            ("silent for 3m on a, while others speak", &["a"], true),
            (
                "no data since the deployment began on a, b",
                &["a", "b"],
                true,
            ),
            ("on a, b, c, d, e and 2 more", &many, true),
            (
                "no history of its own on new-0, nor of 1 other series",
                &["new-0"],
                true,
            ),
            ("of a, which came after the others", &["a"], true),
            ("a silent for 3m, longer than usual", &["a"], true),
            ("the quietest, a, silent for 3m", &["a"], true),
            (
                "×9 the fleet's rate; a alone is the reason, which",
                &["a"],
                true,
            ),
            ("a alone is the reason, which may be its own", &["a"], true),
            ("no fleet with data to compare with", &[], true),
        ] {
            let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
            let told = unnamed_hosts(phrase, &hosts);
            assert_eq!(told.is_none(), is_named, "{phrase}: {told:?}");
        }
        let hosts = ["a", "b"].map(str::to_owned);
        let told = unnamed_hosts("+101 % above the fleet", &hosts);
        assert_eq!(told.as_deref(), Some("a, b"));
    }
}
