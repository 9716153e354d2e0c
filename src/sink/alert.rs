//! From deployments to alerts.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    event::Timestamp,
    gate::{Verdict, VerdictState},
    plan::AlertRules,
    serve::{Deployment, url::percent_encode},
};

/// An alert about a deployment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Alert {
    /// What it is: alerts with equal labels are the same.
    pub labels: BTreeMap<String, String>,
    /// What is said of it.
    pub annotations: BTreeMap<String, String>,
    /// What was observed, by check.
    pub values: BTreeMap<String, f64>,
    /// Since when it fires, in event time.
    pub starts_at: Timestamp,
    /// Where a person looks.
    pub link: String,
}

/// Links to the engine's page.
#[derive(Clone, Debug)]
pub(super) struct Links(String);

/// Longest text of an annotation, in characters: receivers have limits.
const TEXT_CHARS_MAX: usize = 4_000;

impl Links {
    pub(super) fn new(external_url: &str) -> Self {
        Self(external_url.trim_end_matches('/').to_owned())
    }

    pub(super) fn external_url(&self) -> &str {
        &self.0
    }

    /// The place of a deployment on the page.
    pub(super) fn deployment(&self, id: &str) -> String {
        format!("{}/#{}", self.0, percent_encode(id))
    }
}

impl Alert {
    /// The alert about a deployment, if its verdict is one to tell people of.
    fn of(deployment: &Deployment, rules: AlertRules, links: &Links) -> Option<Self> {
        let verdict = &deployment.verdict;
        let (name, severity, what) = match verdict.verdict {
            VerdictState::Fail => ("SluiceDeploymentFailed", "critical", "must not go on"),
            VerdictState::NoData if rules.no_data => (
                "SluiceDeploymentNoData",
                "warning",
                "cannot be judged, data is missing",
            ),
            VerdictState::NoData
            | VerdictState::Pending
            | VerdictState::Pass
            | VerdictState::Bypassed => return None,
        };
        let mut labels: BTreeMap<String, String> = [
            ("alertname", name),
            ("severity", severity),
            ("service", &verdict.service),
            ("stage", &verdict.stage),
            ("deployment", &verdict.deployment),
            ("version", &verdict.version),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        if let Some(region) = &verdict.region {
            labels.insert("region".to_owned(), region.clone());
        }
        let place = place(verdict);
        let annotations = [
            ("summary", format!("{} of {place} {what}", verdict.version)),
            ("description", shortened(&verdict.reasons.join("\n"))),
            ("verdict", verdict.verdict.name().to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value));
        Some(Self {
            labels,
            annotations: annotations.into(),
            values: values(verdict),
            starts_at: verdict.since,
            link: links.deployment(&verdict.deployment),
        })
    }

    /// Sixteen hex digits that are equal for equal labels, as Prometheus computes them (FNV-1a).
    pub(super) fn fingerprint(&self) -> String {
        const OFFSET: u64 = 14_695_981_039_346_656_037;
        const PRIME: u64 = 1_099_511_628_211;
        const SEPARATOR: &[u8] = &[255];
        let bytes = self.labels.iter().flat_map(|(name, value)| {
            [name.as_bytes(), SEPARATOR, value.as_bytes(), SEPARATOR]
                .into_iter()
                .flatten()
        });
        let hash = bytes.fold(OFFSET, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(PRIME)
        });
        format!("{hash:016x}")
    }
}

/// The alerts that fire at `now`, by fingerprint. What was decided of a deployment before the newest into the
/// same stage and region of the service began is history; what is decided of it later, while it is open, fires
/// too. The newest fires on for a while when it has ended, since a deployer that ends a failed deployment at
/// once has not repaired anything.
pub(super) fn firing(
    deployments: &[Arc<Deployment>],
    now: Timestamp,
    rules: AlertRules,
    links: &Links,
) -> BTreeMap<String, Alert> {
    let mut newest: BTreeMap<_, &Deployment> = BTreeMap::new();
    for deployment in deployments {
        let begin = &deployment.begin;
        let place = (&begin.service, &begin.stage, &begin.region);
        let age =
            |deployment: &Deployment| (deployment.begin.at, deployment.begin.deployment.clone());
        let known = newest.entry(place).or_insert(deployment);
        if age(known) < age(deployment) {
            *known = deployment;
        }
    }
    let can_fire = |deployment: &&Deployment| {
        let begin = &deployment.begin;
        let newest = newest[&(&begin.service, &begin.stage, &begin.region)];
        if newest.begin.deployment == begin.deployment {
            !deployment.is_ended || now < deployment.verdict.at + rules.resolve_after
        } else {
            !deployment.is_ended && newest.begin.at < deployment.verdict.since
        }
    };
    deployments
        .iter()
        .map(|deployment| &**deployment)
        .filter(can_fire)
        .filter_map(|deployment| Alert::of(deployment, rules, links))
        .map(|alert| (alert.fingerprint(), alert))
        .collect()
}

/// `checkout onebox in eu-west-1`.
pub(super) fn place(verdict: &Verdict) -> String {
    let region = verdict.region.as_ref();
    let region = region.map_or_else(String::new, |region| format!(" in {region}"));
    format!("{} {}{region}", verdict.service, verdict.stage)
}

/// Text of a length that receivers take.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// What each check has observed; of a check over many metrics the one that comes first.
fn values(verdict: &Verdict) -> BTreeMap<String, f64> {
    let mut values = BTreeMap::new();
    for report in &verdict.checks {
        if let Some(observed) = report.observed {
            values.entry(report.check.clone()).or_insert(observed);
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::Span, sink::test_support::deployment};

    fn rules() -> AlertRules {
        AlertRules::default()
    }

    fn names(deployments: &[Deployment], now: Timestamp, rules: AlertRules) -> Vec<String> {
        let shared: Vec<_> = deployments.iter().cloned().map(Arc::new).collect();
        let fire = firing(&shared, now, rules, &Links::new("http://s"));
        let mut names: Vec<String> = fire
            .values()
            .map(|alert| {
                format!(
                    "{} {}",
                    alert.labels["deployment"], alert.labels["severity"]
                )
            })
            .collect();
        names.sort();
        names
    }

    #[test]
    fn fail_and_no_data_fire_and_nothing_else_does() {
        let now = Timestamp::from_seconds(100);
        for (state, fires, without_no_data) in [
            (
                VerdictState::Fail,
                &["d1 critical"][..],
                &["d1 critical"][..],
            ),
            (VerdictState::NoData, &["d1 warning"], &[]),
            (VerdictState::Pending, &[], &[]),
            (VerdictState::Pass, &[], &[]),
            (VerdictState::Bypassed, &[], &[]),
        ] {
            let one = [deployment("d1", 10, state)];
            assert_eq!(names(&one, now, rules()), fires, "{state}");
            let quiet = AlertRules {
                no_data: false,
                ..rules()
            };
            assert_eq!(names(&one, now, quiet), without_no_data, "{state}");
        }
    }

    #[test]
    fn only_the_newest_in_its_place_fires() {
        let now = Timestamp::from_seconds(100);
        let old = deployment("d1", 10, VerdictState::Fail);
        let new = deployment("d2", 20, VerdictState::Pending);
        let mut elsewhere = deployment("d3", 5, VerdictState::Fail);
        elsewhere.begin.region = Some("us".to_owned());
        elsewhere.verdict.region = Some("us".to_owned());
        assert_eq!(
            names(&[old.clone(), new, elsewhere], now, rules()),
            ["d3 critical"]
        );
        assert_eq!(names(&[old], now, rules()), ["d1 critical"]);
    }

    #[test]
    fn an_open_one_that_fails_after_a_newer_one_began_fires_too() {
        let now = Timestamp::from_seconds(100);
        let mut old = deployment("d1", 10, VerdictState::Fail);
        old.verdict.since = Timestamp::from_seconds(30);
        let new = deployment("d2", 20, VerdictState::Pending);
        assert_eq!(
            names(&[old.clone(), new.clone()], now, rules()),
            ["d1 critical"]
        );
        let newer = deployment("d3", 40, VerdictState::Pending);
        assert!(names(&[old.clone(), new.clone(), newer], now, rules()).is_empty());
        old.is_ended = true;
        assert!(names(&[old, new], now, rules()).is_empty());
    }

    #[test]
    fn one_that_has_ended_fires_for_a_while() {
        let mut ended = deployment("d1", 10, VerdictState::Fail);
        ended.is_ended = true;
        ended.verdict.at = Timestamp::from_seconds(60);
        let after = |span: Span| ended.verdict.at + span;
        let hour = Span::from_hours(1);
        let second = Span::from_seconds(1);
        let fires = |now| !names(&[ended.clone()], now, rules()).is_empty();
        assert!(fires(after(hour - second)));
        assert!(!fires(after(hour)));
        let at_once = AlertRules {
            resolve_after: Span::ZERO,
            ..rules()
        };
        assert!(names(&[ended.clone()], ended.verdict.at, at_once).is_empty());
    }

    #[test]
    fn a_fingerprint_is_that_of_prometheus() {
        // The values stand in the tests of prometheus/common.
        let of = |labels: &[(&str, &str)]| {
            let labels = labels.iter();
            let alert = Alert {
                labels: labels
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect(),
                annotations: BTreeMap::new(),
                values: BTreeMap::new(),
                starts_at: Timestamp::MIN,
                link: String::new(),
            };
            u64::from_str_radix(&alert.fingerprint(), 16).unwrap()
        };
        assert_eq!(of(&[]), 14_695_981_039_346_656_037);
        let words = [("name", "garland, briggs"), ("fear", "love is not enough")];
        assert_eq!(of(&words), 5_799_056_148_416_392_346);
    }

    #[test]
    fn a_link_leads_to_the_place_on_the_page() {
        let links = Links::new("https://sluice.example/");
        assert_eq!(
            links.deployment("d 1/é"),
            "https://sluice.example/#d%201%2F%C3%A9"
        );
    }
}
