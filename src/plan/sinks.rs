//! The key `sinks` of a configuration: where alerts go.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use super::{
    tree::{Tree, quoted},
    units::{self, Complaint},
    verdict_topics::{self, VerdictTopicPlan},
    walk::{Entries, Place, suggestion},
};
use crate::event::Span;

/// Where alerts go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkPlan {
    /// Its name, unique among the sinks: in `/metrics`, in the log, and of the file that remembers what
    /// it was told. Default the kind, with a number from the second one of a kind on.
    pub name: String,
    /// Base URL of the server; of a webhook, the whole URL.
    pub url: SinkUrl,
    /// File that holds a bearer token, read anew for every request; `None`: no token is sent.
    pub token_file: Option<String>,
    /// File with the certificates that an https server is checked against; `None`: those of the system.
    pub ca_file: Option<String>,
    /// How long an answer may take. Default 10 s.
    pub timeout: Span,
    /// Most notifications that wait for the sink. Default 1,000; over it the oldest are dropped.
    pub queue: usize,
    /// What is spoken there.
    pub kind: SinkKind,
}

/// What is spoken at a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkKind {
    /// Alertmanager, API v2.
    Alertmanager {
        /// How often a firing alert is sent again. Default 1 min. It resolves by itself when it was not
        /// sent for four times as long.
        resend: Span,
        /// What fires, and until when.
        alerts: AlertRules,
    },
    /// A receiver of Grafana's webhook contact point.
    GrafanaWebhook {
        /// Most alerts of a message; the others are only counted in it. Default 0: no limit.
        max_alerts: usize,
        /// What fires, and until when.
        alerts: AlertRules,
    },
    /// Grafana's annotations API.
    GrafanaAnnotations {
        /// Tags beside those of the deployment.
        tags: Vec<String>,
    },
}

/// What fires, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlertRules {
    /// Whether `NO_DATA` fires, as a warning. FAIL always does. Default true.
    pub no_data: bool,
    /// How long after the end of a deployment its alert goes on firing, unless a new deployment begins
    /// in its place before. Default 1 h; 0: it resolves with the end.
    pub resolve_after: Span,
}

/// A URL whose path and query are not printed: they may hold a secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkUrl(pub String);

const KINDS: [&str; 4] = [
    "alertmanager",
    "grafana_webhook",
    "grafana_annotations",
    "kafka",
];
const QUEUE: usize = 1_000;
const TIMEOUT: Span = Span::from_seconds(10);
const RESEND: Span = Span::from_minutes(1);

impl Default for AlertRules {
    fn default() -> Self {
        Self {
            no_data: true,
            resolve_after: Span::from_hours(1),
        }
    }
}

impl SinkUrl {
    /// Scheme, host and port.
    pub fn origin(&self) -> &str {
        let host_at = self.0.find("://").map_or(0, |at| at + 3);
        let host_len = self.0[host_at..].find(['/', '?', '#']);
        &self.0[..host_len.map_or(self.0.len(), |len| host_at + len)]
    }
}

/// Scheme, host and port only.
impl fmt::Debug for SinkUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.origin(), f)
    }
}

/// All that is told of verdicts.
#[derive(Debug, Default)]
pub(super) struct AllSinks {
    /// Over HTTP.
    pub(super) sinks: Vec<SinkPlan>,
    /// Topics of Kafka.
    pub(super) verdict_topics: Vec<VerdictTopicPlan>,
}

/// What an item of `sinks` names.
enum OneSink {
    Web(SinkPlan),
    Topic(VerdictTopicPlan),
}

/// Reads `sinks`.
pub(super) fn sinks(place: &Place<'_>) -> AllSinks {
    let mut names = BTreeSet::new();
    let mut all = AllSinks::default();
    for item in place.list() {
        match sink(&item, &mut names) {
            Some(OneSink::Web(sink)) => all.sinks.push(sink),
            Some(OneSink::Topic(topic)) => all.verdict_topics.push(topic),
            None => {}
        }
    }
    all
}

fn sink(place: &Place<'_>, names: &mut BTreeSet<String>) -> Option<OneSink> {
    let kinds = place.free_map();
    let [(kind, keys)] = kinds.as_slice() else {
        if matches!(place.node.value, Tree::Map(_)) {
            place.fault(
                format!("a sink has one kind, not {}", kinds.len()),
                "write one of alertmanager, grafana_webhook, grafana_annotations, kafka for each item",
            );
        }
        return None;
    };
    let common = |known: &[&'static str]| -> Vec<&'static str> {
        [&["url", "name", "ca_file", "timeout", "queue"], known].concat()
    };
    let sink = match *kind {
        "alertmanager" => {
            let known = common(&["bearer_file", "resend", "no_data", "resolve_after"]);
            let keys = keys.map(&known)?;
            let kind = SinkKind::Alertmanager {
                resend: keys
                    .read("resend", |value| {
                        between(value, Span::from_seconds(1), Span::from_hours(1))
                    })
                    .unwrap_or(RESEND),
                alerts: alerts(&keys),
            };
            finish(&keys, "alertmanager", "bearer_file", kind, names)
        }
        "grafana_webhook" => {
            let known = common(&["bearer_file", "max_alerts", "no_data", "resolve_after"]);
            let keys = keys.map(&known)?;
            let kind = SinkKind::GrafanaWebhook {
                max_alerts: keys.read("max_alerts", count_or_zero).unwrap_or(0),
                alerts: alerts(&keys),
            };
            finish(&keys, "grafana_webhook", "bearer_file", kind, names)
        }
        "grafana_annotations" => {
            let keys = keys.map(&common(&["token_file", "tags"]))?;
            let kind = SinkKind::GrafanaAnnotations {
                tags: keys.get("tags").map(Place::names).unwrap_or_default(),
            };
            finish(&keys, "grafana_annotations", "token_file", kind, names)
        }
        "kafka" => {
            return verdict_topics::verdict_topic(keys, |keys| unique(keys, "kafka", names))
                .map(OneSink::Topic);
        }
        other => {
            keys.fault(
                "unknown kind of sink",
                suggestion(other, KINDS.into_iter(), "kinds"),
            );
            None
        }
    };
    sink.map(OneSink::Web)
}

fn finish(
    keys: &Entries<'_>,
    kind_name: &str,
    token_key: &str,
    kind: SinkKind,
    names: &mut BTreeSet<String>,
) -> Option<SinkPlan> {
    let file = |key: &str| keys.get(key).and_then(Place::text).map(str::to_owned);
    let url = url(keys);
    let name = unique(keys, kind_name, names)?;
    let second = Span::from_seconds(1);
    let timeout = keys.read("timeout", |value| {
        between(value, second, Span::from_minutes(1))
    });
    Some(SinkPlan {
        name,
        url: SinkUrl(url?),
        token_file: file(token_key),
        ca_file: file("ca_file"),
        timeout: timeout.unwrap_or(TIMEOUT),
        queue: keys.read("queue", units::count).unwrap_or(QUEUE),
        kind,
    })
}

/// The name of a sink, which no other has.
fn unique(keys: &Entries<'_>, kind_name: &str, names: &mut BTreeSet<String>) -> Option<String> {
    let name = match keys.get("name") {
        None => numbered(kind_name, names),
        Some(place) => {
            let name = name(place)?;
            if names.contains(&name) {
                place.fault("another sink has this name", "give each its own");
                return None;
            }
            name
        }
    };
    names.insert(name.clone());
    Some(name)
}

fn numbered(kind: &str, names: &BTreeSet<String>) -> String {
    let mut name = kind.to_owned();
    for number in 2.. {
        if !names.contains(&name) {
            break;
        }
        name = format!("{kind}-{number}");
    }
    name
}

/// A name that can be part of the name of a file.
fn name(place: &Place<'_>) -> Option<String> {
    let text = place.name()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if text.chars().all(plain) {
        return Some(text.to_owned());
    }
    place.fault(
        format!("{} is no name of a sink", quoted(text)),
        "write a word of the characters a-z, A-Z, 0-9, '_' and '-'",
    );
    None
}

fn alerts(keys: &Entries<'_>) -> AlertRules {
    let default = AlertRules::default();
    AlertRules {
        no_data: keys
            .get("no_data")
            .and_then(Place::flag)
            .unwrap_or(default.no_data),
        resolve_after: keys
            .read("resolve_after", |value| {
                between(value, Span::ZERO, Span::from_hours(24 * 30))
            })
            .unwrap_or(default.resolve_after),
    }
}

fn count_or_zero(value: &Tree) -> Result<usize, Complaint> {
    match value {
        Tree::Integer(0) => Ok(0),
        other => units::count(other),
    }
}

fn between(value: &Tree, min: Span, max: Span) -> Result<Span, Complaint> {
    let span = units::span(value)?;
    if (min..=max).contains(&span) {
        return Ok(span);
    }
    Err(Complaint::new(
        format!("{span} is not between {min} and {max}"),
        format!("write {min} to {max}"),
    ))
}

fn url(keys: &Entries<'_>) -> Option<String> {
    let place = keys.require("url", "add url: \"http://…\"")?;
    web_address(place)
}

/// Reads the URL of a server.
pub(super) fn web_address(place: &Place<'_>) -> Option<String> {
    let text = place.text()?;
    let rest = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"));
    let host = rest
        .and_then(|rest| rest.split(['/', '?', '#']).next())
        .unwrap_or_default();
    if host.contains('@') {
        // Not quoted: it is a secret.
        place.fault(
            "a password does not belong into a URL",
            "write the name of a file with a token: bearer_file, or token_file",
        );
        return None;
    }
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || !c.is_ascii();
    if host.is_empty() || text.contains(is_odd) {
        place.fault(
            format!("{} is no URL of a server", quoted(text)),
            "write one that begins with http:// or https://",
        );
        return None;
    }
    if text.parse::<http::Uri>().is_err() {
        place.fault(
            format!("{} is no URL of a server", quoted(text)),
            "write one like http://host:port/path",
        );
        return None;
    }
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use crate::plan::Plan;

    use super::*;

    fn parsed(sinks: &str) -> Vec<SinkPlan> {
        let text = format!(
            "checks: {{c: {{metric: x, bounds: {{max: 1}}}}}}\nservices: {{s: {{stages: [{{name: a, checks: [c]}}]}}}}\nsinks: {sinks}\n"
        );
        Plan::parse(&text)
            .unwrap_or_else(|faults| panic!("{faults}"))
            .sinks
    }

    #[test]
    fn what_is_not_written_has_its_default() {
        let sinks =
            parsed("[{alertmanager: {url: 'http://a'}}, {alertmanager: {url: 'http://b'}}]");
        assert_eq!(
            sinks[0],
            SinkPlan {
                name: "alertmanager".to_owned(),
                url: SinkUrl("http://a".to_owned()),
                token_file: None,
                ca_file: None,
                timeout: Span::from_seconds(10),
                queue: 1_000,
                kind: SinkKind::Alertmanager {
                    resend: Span::from_minutes(1),
                    alerts: AlertRules {
                        no_data: true,
                        resolve_after: Span::from_hours(1),
                    },
                },
            }
        );
        assert_eq!(sinks[1].name, "alertmanager-2");
    }

    #[test]
    fn every_key_is_read() {
        let sinks = parsed(
            "[{grafana_webhook: {url: 'https://h/x?token=s3cret', name: oncall, bearer_file: /t, ca_file: /c, timeout: 3s, queue: 7, max_alerts: 5, no_data: false, resolve_after: 0s}}, {grafana_annotations: {url: 'http://g', token_file: /g, tags: [team-a]}}]",
        );
        let oncall = &sinks[0];
        assert_eq!(
            (oncall.name.as_str(), oncall.queue, oncall.timeout),
            ("oncall", 7, Span::from_seconds(3))
        );
        assert_eq!(oncall.token_file.as_deref(), Some("/t"));
        assert_eq!(oncall.ca_file.as_deref(), Some("/c"));
        assert_eq!(
            oncall.kind,
            SinkKind::GrafanaWebhook {
                max_alerts: 5,
                alerts: AlertRules {
                    no_data: false,
                    resolve_after: Span::ZERO,
                },
            }
        );
        assert_eq!(
            sinks[1].kind,
            SinkKind::GrafanaAnnotations {
                tags: vec!["team-a".to_owned()],
            }
        );
        assert_eq!(sinks[1].token_file.as_deref(), Some("/g"));
        assert!(!format!("{sinks:?}").contains("s3cret"));
    }
}
