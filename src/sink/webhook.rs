//! Alerts as Grafana's webhook contact point sends them.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    alert::Alert,
    alerts::{Dialect, Notice},
    conversation::{Letter, Told},
};
use crate::event::Timestamp;

/// The version of the form of a message, as Grafana gives it.
const VERSION: &str = "1";
/// Grafana's organisation; receivers expect a number.
const ORG_ID: u64 = 1;
/// What stands for the end of an alert that fires.
const NO_END: &str = "0001-01-01T00:00:00Z";

/// Writes for a receiver of Grafana's webhook contact point. Alerts of one service go into one message:
/// all that fire and those that are newly resolved, as Grafana does with a group.
#[derive(Clone, Debug)]
pub(super) struct Webhook {
    pub url: String,
    /// The name under which the receiver knows us: that of the sink.
    pub receiver: String,
    /// Most alerts of a message; 0: no limit.
    pub alerts_max: usize,
    pub external_url: String,
}

impl Webhook {
    fn message(&self, notices: &[Notice<'_>]) -> Value {
        let shown_max = if self.alerts_max == 0 {
            notices.len()
        } else {
            self.alerts_max
        };
        let (shown, cut) = notices.split_at(shown_max.min(notices.len()));
        let firing = notices.iter().filter(|one| one.ended_at.is_none()).count();
        let resolved = notices.len() - firing;
        let (status, state) = if firing > 0 {
            ("firing", "alerting")
        } else {
            ("resolved", "ok")
        };
        let service = notices.first().map_or("", |one| self.group(one.alert));
        let group_labels = BTreeMap::from([("service", service)]);
        let common_labels = common(notices, |alert| &alert.labels);
        json!({
            "receiver": self.receiver,
            "status": status,
            "orgId": ORG_ID,
            "alerts": shown.iter().map(alert).collect::<Vec<_>>(),
            "groupLabels": group_labels,
            "commonLabels": common_labels,
            "commonAnnotations": common(notices, |alert| &alert.annotations),
            "externalURL": self.external_url,
            "version": VERSION,
            "groupKey": format!("{{}}:{{service={service:?}}}"),
            "truncatedAlerts": cut.len(),
            "title": title(firing, resolved, &common_labels),
            "state": state,
            "message": message(shown, cut.len()),
        })
    }

    /// Equal for a message with the same news.
    fn key(&self, notices: &[Notice<'_>]) -> String {
        let mut hash = Sha256::new();
        hash.update(self.receiver.as_bytes());
        for notice in notices {
            let what = match notice.news().told {
                Told::Begun => "begun",
                Told::Again => continue,
                Told::Over => "over",
            };
            hash.update(format!(
                "\n{} {what} {}",
                notice.fingerprint, notice.alert.starts_at
            ));
        }
        hash.finalize()
            .iter()
            .take(16)
            .fold(String::new(), |mut key, byte| {
                write!(key, "{byte:02x}").expect("a string takes any text");
                key
            })
    }
}

impl Dialect for Webhook {
    /// A message tells of a change.
    fn resend(&self) -> Option<Duration> {
        None
    }

    fn write(&self, notices: &[Notice<'_>], _now: Timestamp) -> Letter {
        Letter {
            method: http::Method::POST,
            url: self.url.clone(),
            body: self.message(notices).to_string().into_bytes(),
            key: Some(self.key(notices)),
            news: notices.iter().map(Notice::news).collect(),
        }
    }

    fn group<'a>(&self, alert: &'a Alert) -> &'a str {
        alert.labels.get("service").map_or("", String::as_str)
    }
}

fn alert(notice: &Notice<'_>) -> Value {
    let Alert {
        labels,
        annotations,
        values,
        starts_at,
        link,
    } = notice.alert;
    let (status, ends_at) = match notice.ended_at {
        None => ("firing", NO_END.to_owned()),
        Some(ended_at) => ("resolved", ended_at.max(*starts_at).to_string()),
    };
    json!({
        "status": status,
        "labels": labels,
        "annotations": annotations,
        "startsAt": starts_at,
        "endsAt": ends_at,
        // Grafana has no values either where it had no data.
        "values": (!values.is_empty()).then_some(values),
        "generatorURL": link,
        "fingerprint": notice.fingerprint,
        // There is nothing to silence by a link, and no dashboard: Grafana leaves them empty then.
        "silenceURL": "",
        "dashboardURL": "",
        "panelURL": "",
        "imageURL": "",
    })
}

/// What all alerts have in common.
fn common<'a>(
    notices: &[Notice<'a>],
    of: impl Fn(&'a Alert) -> &'a BTreeMap<String, String>,
) -> BTreeMap<&'a str, &'a str> {
    let mut maps = notices.iter().map(|notice| of(notice.alert));
    let Some(first) = maps.next() else {
        return BTreeMap::new();
    };
    let mut common: BTreeMap<&str, &str> = first
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    for map in maps {
        common.retain(|name, value| map.get(*name).is_some_and(|other| other == value));
    }
    common
}

/// `[FIRING:1, RESOLVED:2] checkout (SluiceDeploymentFailed onebox)`.
fn title(firing: usize, resolved: usize, common: &BTreeMap<&str, &str>) -> String {
    let counts = match (firing, resolved) {
        (_, 0) => format!("FIRING:{firing}"),
        (0, _) => format!("RESOLVED:{resolved}"),
        (_, _) => format!("FIRING:{firing}, RESOLVED:{resolved}"),
    };
    let service = common.get("service").copied().unwrap_or_default();
    let others: Vec<&str> = common
        .iter()
        .filter(|(name, _)| **name != "service")
        .map(|(_, value)| *value)
        .collect();
    if others.is_empty() {
        return format!("[{counts}] {service}");
    }
    format!("[{counts}] {service} ({})", others.join(" "))
}

/// For a person: each alert with what is said of it.
fn message(shown: &[Notice<'_>], cut: usize) -> String {
    let mut text = String::new();
    for (heading, is_firing) in [("**Firing**", true), ("**Resolved**", false)] {
        let mut of_heading = shown
            .iter()
            .filter(|notice| notice.ended_at.is_none() == is_firing)
            .peekable();
        if of_heading.peek().is_none() {
            continue;
        }
        text.push_str(heading);
        text.push('\n');
        for notice in of_heading {
            let annotation = |name: &str| {
                let annotations = &notice.alert.annotations;
                annotations.get(name).map_or("", String::as_str)
            };
            write!(
                text,
                "\n{}\n{}\n{}\n",
                annotation("summary"),
                annotation("description"),
                notice.alert.link
            )
            .expect("a string takes any text");
        }
        text.push('\n');
    }
    if cut > 0 {
        writeln!(text, "and {cut} more").expect("a string takes any text");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{gate::VerdictState, sink::test_support};

    const SCHEMA: &str = include_str!("../../fixtures/schemas/grafana-webhook.json");

    fn webhook(alerts_max: usize) -> Webhook {
        Webhook {
            url: "http://oncall.example/hook".to_owned(),
            receiver: "oncall".to_owned(),
            alerts_max,
            external_url: "https://sluice.example".to_owned(),
        }
    }

    fn notice(alert: &Alert, ended_at: Option<i64>) -> Notice<'_> {
        Notice {
            fingerprint: "00112233aabbccdd",
            alert,
            ended_at: ended_at.map(Timestamp::from_seconds),
            is_known: false,
        }
    }

    fn written(webhook: &Webhook, notices: &[Notice<'_>]) -> Value {
        let letter = webhook.write(notices, Timestamp::MIN);
        let body: Value = serde_json::from_slice(&letter.body).unwrap();
        let schema: Value = serde_json::from_str(SCHEMA).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let faults: Vec<String> = validator
            .iter_errors(&body)
            .map(|fault| format!("{}: {fault}", fault.instance_path()))
            .collect();
        assert_eq!(faults, [""; 0], "{body:#}");
        body
    }

    #[test]
    fn every_field_is_as_grafana_sends_it() {
        let alert = test_support::alert("d1", VerdictState::Fail);
        let body = written(&webhook(0), &[notice(&alert, None)]);
        let labels = json!({
            "alertname": "SluiceDeploymentFailed",
            "deployment": "d1",
            "region": "eu",
            "service": "checkout",
            "severity": "critical",
            "stage": "onebox",
            "version": "v42"
        });
        let annotations = json!({
            "summary": "v42 of checkout onebox in eu must not go on",
            "description": "latency: one-box p99 +38 % above the fleet\nerrors: 7 %",
            "verdict": "FAIL"
        });
        let wanted = json!({
            "receiver": "oncall",
            "status": "firing",
            "orgId": 1,
            "alerts": [{
                "status": "firing",
                "labels": labels,
                "annotations": annotations,
                "startsAt": "2026-03-01T10:14:20Z",
                "endsAt": "0001-01-01T00:00:00Z",
                "values": {"latency": 0.412},
                "generatorURL": "https://sluice.example/#d1",
                "fingerprint": "00112233aabbccdd",
                "silenceURL": "",
                "dashboardURL": "",
                "panelURL": "",
                "imageURL": ""
            }],
            "groupLabels": {"service": "checkout"},
            "commonLabels": labels,
            "commonAnnotations": annotations,
            "externalURL": "https://sluice.example",
            "version": "1",
            "groupKey": "{}:{service=\"checkout\"}",
            "truncatedAlerts": 0,
            "title": "[FIRING:1] checkout (SluiceDeploymentFailed d1 eu critical onebox v42)",
            "state": "alerting",
            "message": "**Firing**\n\nv42 of checkout onebox in eu must not go on\nlatency: one-box p99 +38 % above the fleet\nerrors: 7 %\nhttps://sluice.example/#d1\n\n"
        });
        for (field, value) in wanted.as_object().unwrap() {
            assert_eq!(&body[field], value, "{field}");
        }
        assert_eq!(body, wanted);
    }

    #[test]
    fn a_resolved_message_says_ok_and_when_it_ended() {
        let alert = test_support::alert("d1", VerdictState::NoData);
        let body = written(&webhook(0), &[notice(&alert, Some(1_772_360_400))]);
        assert_eq!(
            (&body["status"], &body["state"]),
            (&json!("resolved"), &json!("ok"))
        );
        assert_eq!(body["alerts"][0]["status"], "resolved");
        assert_eq!(body["alerts"][0]["endsAt"], "2026-03-01T10:20:00Z");
        assert_eq!(body["alerts"][0]["labels"]["severity"], "warning");
        assert!(body["title"].as_str().unwrap().starts_with("[RESOLVED:1]"));
        assert!(
            body["message"]
                .as_str()
                .unwrap()
                .starts_with("**Resolved**")
        );
    }

    #[test]
    fn a_group_has_only_in_common_what_all_have_and_is_cut_at_its_limit() {
        let first = test_support::alert("d1", VerdictState::Fail);
        let second = test_support::alert("d2", VerdictState::Fail);
        let third = test_support::alert("d3", VerdictState::NoData);
        let notices = [
            notice(&first, None),
            notice(&second, None),
            notice(&third, Some(1_772_360_400)),
        ];
        let body = written(&webhook(2), &notices);
        assert_eq!(body["alerts"].as_array().unwrap().len(), 2);
        assert_eq!(body["truncatedAlerts"], 1);
        assert_eq!(body["status"], "firing");
        assert_eq!(
            body["commonLabels"],
            json!({"region": "eu", "service": "checkout", "stage": "onebox", "version": "v42"})
        );
        assert_eq!(
            body["commonAnnotations"],
            json!({"description": "latency: one-box p99 +38 % above the fleet\nerrors: 7 %"})
        );
        assert_eq!(
            body["title"],
            "[FIRING:2, RESOLVED:1] checkout (eu onebox v42)"
        );
        assert!(body["message"].as_str().unwrap().ends_with("and 1 more\n"));
    }

    #[test]
    fn a_message_without_values_has_none() {
        let mut alert = test_support::alert("d1", VerdictState::NoData);
        alert.values.clear();
        let body = written(&webhook(0), &[notice(&alert, None)]);
        assert_eq!(body["alerts"][0]["values"], Value::Null);
    }

    #[test]
    fn the_schema_refuses_what_grafana_would_not_send() {
        let alert = test_support::alert("d1", VerdictState::Fail);
        let body = written(&webhook(0), &[notice(&alert, None)]);
        let schema: Value = serde_json::from_str(SCHEMA).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        for field in body.as_object().unwrap().keys() {
            let mut without = body.clone();
            without.as_object_mut().unwrap().remove(field);
            assert!(!validator.is_valid(&without), "without {field}");
        }
        for (path, value) in [
            ("/status", json!("pending")),
            ("/state", json!("firing")),
            ("/version", json!(4)),
            ("/orgId", json!("1")),
            ("/alerts/0/endsAt", json!("never")),
            ("/alerts/0/fingerprint", json!("xyz")),
            ("/alerts/0/values", json!({"a": "b"})),
            ("/alerts/0/labels", json!({"a": 1})),
            ("/truncatedAlerts", json!(-1)),
        ] {
            let mut odd = body.clone();
            *odd.pointer_mut(path).unwrap() = value;
            assert!(!validator.is_valid(&odd), "{path}");
        }
    }

    #[test]
    fn a_message_with_the_same_news_has_the_same_key() {
        let alert = test_support::alert("d1", VerdictState::Fail);
        let key = |ended_at| {
            webhook(0)
                .write(&[notice(&alert, ended_at)], Timestamp::MIN)
                .key
        };
        assert_eq!(key(None), key(None));
        assert_ne!(key(None), key(Some(1_772_360_400)));
    }
}
