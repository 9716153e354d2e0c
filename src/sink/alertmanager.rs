//! Alerts as Alertmanager's API v2 takes them.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    alert::Alert,
    alerts::{Dialect, Notice},
    conversation::{Letter, under},
};
use crate::event::{Span, Timestamp};

/// A firing alert ends by itself this many times the interval after it was last sent.
const RESENDS_MISSED: i64 = 4;

/// Writes for Alertmanager.
#[derive(Clone, Debug)]
pub(super) struct Alertmanager {
    url: String,
    resend: Span,
}

impl Alertmanager {
    pub(super) fn new(base: &str, resend: Span) -> Self {
        Self {
            url: under(base, "/api/v2/alerts"),
            resend,
        }
    }

    fn alert(&self, notice: &Notice<'_>, now: Timestamp) -> Value {
        let Alert {
            labels,
            annotations,
            values: _,
            starts_at,
            link,
        } = notice.alert;
        // Alertmanager refuses an alert that ends before it starts, and event time may be ahead.
        let ends_at = match notice.ended_at {
            None => now.max(*starts_at) + self.resend.times(RESENDS_MISSED),
            Some(ended_at) => ended_at.max(*starts_at),
        };
        json!({
            "labels": labels,
            "annotations": annotations,
            "startsAt": starts_at,
            "endsAt": ends_at,
            "generatorURL": link,
        })
    }
}

impl Dialect for Alertmanager {
    fn resend(&self) -> Option<Duration> {
        Some(Duration::from_nanos(self.resend.nanos().max(0) as u64))
    }

    fn write(&self, notices: &[Notice<'_>], now: Timestamp) -> Letter {
        let alerts: Vec<Value> = notices
            .iter()
            .map(|notice| self.alert(notice, now))
            .collect();
        Letter {
            method: http::Method::POST,
            url: self.url.clone(),
            body: Value::from(alerts).to_string().into_bytes(),
            // It knows equal alerts by their labels.
            key: None,
            news: notices.iter().map(Notice::news).collect(),
        }
    }

    /// Alertmanager groups by its own rules: everything goes together.
    fn group<'a>(&self, _alert: &'a Alert) -> &'a str {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        gate::VerdictState,
        sink::{alerts::Notice, test_support::alert},
    };

    fn written(ended_at: Option<i64>) -> (Letter, Value) {
        let alert = alert("d1", VerdictState::Fail);
        let notice = Notice {
            fingerprint: "f",
            alert: &alert,
            ended_at: ended_at.map(Timestamp::from_seconds),
            is_known: false,
        };
        let sink = Alertmanager::new("http://am:9093/", Span::from_minutes(1));
        let now = "2026-03-01T10:20:00Z".parse().unwrap();
        let letter = sink.write(&[notice], now);
        let body = serde_json::from_slice(&letter.body).unwrap();
        (letter, body)
    }

    #[test]
    fn every_field_is_as_alertmanager_reads_it() {
        let (letter, body) = written(None);
        assert_eq!(letter.method, http::Method::POST);
        assert_eq!(letter.url, "http://am:9093/api/v2/alerts");
        assert_eq!(
            body,
            json!([{
                "labels": {
                    "alertname": "SluiceDeploymentFailed",
                    "deployment": "d1",
                    "region": "eu",
                    "service": "checkout",
                    "severity": "critical",
                    "stage": "onebox",
                    "version": "v42"
                },
                "annotations": {
                    "summary": "v42 of checkout onebox in eu must not go on",
                    "description": "latency: one-box p99 +38 % above the fleet\nerrors: 7 %",
                    "verdict": "FAIL"
                },
                "startsAt": "2026-03-01T10:14:20Z",
                "endsAt": "2026-03-01T10:24:00Z",
                "generatorURL": "https://sluice.example/#d1"
            }])
        );
    }

    #[test]
    fn what_is_resolved_has_ended_and_never_before_it_began() {
        let (_, body) = written(Some(1_772_360_400));
        assert_eq!(body[0]["endsAt"], "2026-03-01T10:20:00Z");
        let (_, body) = written(Some(0));
        assert_eq!(body[0]["endsAt"], body[0]["startsAt"]);
    }
}
