//! Which alerts a sink was told of, and which it has to be told of or from.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    alert::{Alert, Links, firing},
    conversation::{Conversation, Letter, News, Told},
};
use crate::{event::Timestamp, plan::AlertRules, serve::Deployment};

/// How alerts are written to one kind of receiver.
pub(super) trait Dialect: Send {
    /// How long after a request firing alerts are to be sent again.
    fn resend(&self) -> Option<Duration>;

    /// Writes one request. There is at least one notice.
    fn write(&self, notices: &[Notice<'_>], now: Timestamp) -> Letter;

    /// Which notices go into one request together: those with an equal name. What waits decides which
    /// request is next, and brings along all that fires under the same name.
    fn group<'a>(&self, alert: &'a Alert) -> &'a str;
}

/// An alert as a request tells it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Notice<'a> {
    pub fingerprint: &'a str,
    pub alert: &'a Alert,
    /// When it ended; `None`: it fires.
    pub ended_at: Option<Timestamp>,
    /// Whether the receiver was told the same before.
    pub is_known: bool,
}

/// The alerts of a sink.
#[derive(Debug)]
pub(super) struct Alerts<D> {
    rules: AlertRules,
    links: Links,
    waiting_max: usize,
    dialect: D,
    /// What fires.
    wanted: BTreeMap<String, Alert>,
    /// What the receiver believes to fire.
    told: BTreeMap<String, Alert>,
    /// What waits to be told as firing, in the order in which it began.
    to_fire: BTreeSet<(Timestamp, String)>,
    /// What waits to be told as resolved, and when it was.
    to_resolve: BTreeMap<String, Timestamp>,
    /// What fires and the receiver will not take.
    refused: BTreeSet<String>,
    /// Whether what waits is told one by one, since the receiver refused a request about several.
    is_one_by_one: bool,
}

/// What is remembered.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    firing: BTreeMap<String, Alert>,
}

impl<D: Dialect> Alerts<D> {
    pub(super) fn new(rules: AlertRules, links: Links, waiting_max: usize, dialect: D) -> Self {
        Self {
            rules,
            links,
            waiting_max,
            dialect,
            wanted: BTreeMap::new(),
            told: BTreeMap::new(),
            to_fire: BTreeSet::new(),
            to_resolve: BTreeMap::new(),
            refused: BTreeSet::new(),
            is_one_by_one: false,
        }
    }

    fn notice<'a>(&'a self, fingerprint: &'a str) -> Option<Notice<'a>> {
        let is_told = self.told.contains_key(fingerprint);
        if let Some(ended_at) = self.to_resolve.get(fingerprint) {
            return self.told.get(fingerprint).map(|alert| Notice {
                fingerprint,
                alert,
                ended_at: Some(*ended_at),
                is_known: false,
            });
        }
        self.wanted.get(fingerprint).map(|alert| Notice {
            fingerprint,
            alert,
            ended_at: None,
            is_known: is_told,
        })
    }

    /// Everything of a group: what fires by what began first, then what is resolved.
    fn group(&self, name: &str) -> Vec<Notice<'_>> {
        let firing = self
            .wanted
            .keys()
            .filter(|fingerprint| !self.refused.contains(*fingerprint));
        let mut notices: Vec<Notice<'_>> = firing
            .chain(self.to_resolve.keys())
            .filter_map(|fingerprint| self.notice(fingerprint))
            .filter(|notice| self.dialect.group(notice.alert) == name)
            .collect();
        notices.sort_by_key(|notice| {
            (
                notice.ended_at.is_some(),
                notice.alert.starts_at,
                notice.fingerprint,
            )
        });
        notices
    }
}

impl<D: Dialect> Conversation for Alerts<D> {
    fn look(&mut self, deployments: &[Arc<Deployment>], now: Timestamp) -> usize {
        self.wanted = firing(deployments, now, self.rules, &self.links);
        let wanted = &self.wanted;
        self.refused
            .retain(|fingerprint| wanted.contains_key(fingerprint));
        let before = self.to_fire.len() + self.to_resolve.len();
        self.to_fire
            .retain(|(_, fingerprint)| wanted.contains_key(fingerprint));
        self.to_resolve
            .retain(|fingerprint, _| !wanted.contains_key(fingerprint));
        let superseded = before - self.to_fire.len() - self.to_resolve.len();
        for fingerprint in self.told.keys() {
            let has_room = self.to_fire.len() + self.to_resolve.len() < self.waiting_max;
            if has_room && !wanted.contains_key(fingerprint) {
                self.to_resolve.entry(fingerprint.clone()).or_insert(now);
            }
        }
        for (fingerprint, alert) in wanted {
            let has_room = self.to_fire.len() + self.to_resolve.len() < self.waiting_max;
            let is_news =
                !self.told.contains_key(fingerprint) && !self.refused.contains(fingerprint);
            let waits = || {
                let mut waiting = self.to_fire.iter();
                waiting.any(|(_, other)| other == fingerprint)
            };
            if is_news && has_room && !waits() {
                self.to_fire.insert((alert.starts_at, fingerprint.clone()));
            }
        }
        superseded
    }

    fn waiting(&self) -> usize {
        self.to_fire.len() + self.to_resolve.len()
    }

    fn resend(&self) -> Option<Duration> {
        self.dialect.resend()
    }

    fn next(&self, now: Timestamp, is_due: bool) -> Option<Letter> {
        let first = self.to_resolve.keys().next();
        let first = first.or_else(|| self.to_fire.first().map(|(_, fingerprint)| fingerprint));
        // While a start reads its journal nothing is wanted yet: what was told goes on.
        let first = first.or_else(|| {
            let mut told = self.told.keys();
            told.next().filter(|_| is_due)
        })?;
        let alert = self.told.get(first).or_else(|| self.wanted.get(first))?;
        let mut notices = self.group(self.dialect.group(alert));
        if self.is_one_by_one {
            notices.retain(|notice| notice.fingerprint == first);
        }
        if notices.is_empty() {
            let told = self.told.iter();
            notices = told
                .map(|(fingerprint, alert)| Notice {
                    fingerprint,
                    alert,
                    ended_at: None,
                    is_known: true,
                })
                .collect();
        }
        (!notices.is_empty()).then(|| self.dialect.write(&notices, now))
    }

    fn taken(&mut self, letter: &Letter, _reply: &[u8]) -> bool {
        let before = self.told.clone();
        for news in &letter.news {
            match news.told {
                Told::Begun | Told::Again => {
                    self.to_fire
                        .retain(|(_, fingerprint)| *fingerprint != news.subject);
                    if let Some(alert) = self.wanted.get(&news.subject) {
                        self.told.insert(news.subject.clone(), alert.clone());
                    }
                }
                Told::Over => {
                    self.to_resolve.remove(&news.subject);
                    self.told.remove(&news.subject);
                }
            }
        }
        self.is_one_by_one &= self.waiting() > 0;
        self.told != before
    }

    fn refused(&mut self, letter: &Letter, _status: u16) -> usize {
        self.is_one_by_one = letter.news.len() > 1 && self.waiting() > 0;
        if self.is_one_by_one {
            return 0;
        }
        let mut dropped = 0;
        for news in &letter.news {
            match news.told {
                Told::Begun => {
                    dropped += 1;
                    self.to_fire
                        .retain(|(_, fingerprint)| *fingerprint != news.subject);
                    self.refused.insert(news.subject.clone());
                }
                Told::Again => {}
                Told::Over => {
                    dropped += 1;
                    self.to_resolve.remove(&news.subject);
                    self.told.remove(&news.subject);
                }
            }
        }
        dropped
    }

    fn save(&self) -> Value {
        let saved = Saved {
            firing: self.told.clone(),
        };
        serde_json::to_value(saved).expect("alerts have a form")
    }

    fn restore(&mut self, saved: Value) -> Result<(), serde_json::Error> {
        let Saved { firing } = serde_json::from_value(saved)?;
        self.told = firing;
        Ok(())
    }
}

impl Notice<'_> {
    /// What a receiver that takes this was told.
    pub(super) fn news(&self) -> News {
        News {
            subject: self.fingerprint.to_owned(),
            told: match (self.ended_at, self.is_known) {
                (Some(_), _) => Told::Over,
                (None, true) => Told::Again,
                (None, false) => Told::Begun,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{gate::VerdictState, sink::test_support::deployment};

    /// A dialect that only says what it tells.
    struct Plain;

    impl Dialect for Plain {
        fn resend(&self) -> Option<Duration> {
            Some(Duration::from_mins(1))
        }

        fn write(&self, notices: &[Notice<'_>], _now: Timestamp) -> Letter {
            let said: Vec<String> = notices
                .iter()
                .map(|notice| {
                    let what = match notice.news().told {
                        Told::Begun => "fires",
                        Told::Again => "fires on",
                        Told::Over => "resolved",
                    };
                    let labels = &notice.alert.labels;
                    format!("{} {} {what}", labels["deployment"], labels["severity"])
                })
                .collect();
            Letter {
                method: http::Method::POST,
                url: String::new(),
                body: said.join(", ").into_bytes(),
                key: None,
                news: notices.iter().map(Notice::news).collect(),
            }
        }

        fn group<'a>(&self, alert: &'a Alert) -> &'a str {
            &alert.labels["service"]
        }
    }

    struct Told_ {
        alerts: Alerts<Plain>,
    }

    impl Told_ {
        fn new(waiting_max: usize) -> Self {
            let links = Links::new("http://s");
            Self {
                alerts: Alerts::new(AlertRules::default(), links, waiting_max, Plain),
            }
        }

        fn look(&mut self, stands: &[(&str, i64, VerdictState)]) -> usize {
            let deployments: Vec<_> = stands
                .iter()
                .map(|(id, at, state)| Arc::new(deployment(id, *at, *state)))
                .collect();
            self.alerts.look(&deployments, Timestamp::from_seconds(100))
        }

        fn next(&self, is_due: bool) -> Option<(String, Letter)> {
            let letter = self.alerts.next(Timestamp::from_seconds(100), is_due)?;
            Some((String::from_utf8(letter.body.clone()).unwrap(), letter))
        }

        /// Delivers until there is nothing to tell.
        fn deliver(&mut self) -> Vec<String> {
            let mut said = Vec::new();
            while let Some((text, letter)) = self.next(false) {
                said.push(text);
                self.alerts.taken(&letter, b"");
            }
            said
        }
    }

    use VerdictState::{Bypassed, Fail, NoData, Pending};

    #[test]
    fn an_alert_is_told_once_sent_again_when_due_and_resolved() {
        let mut sink = Told_::new(10);
        sink.look(&[("d1", 10, Pending)]);
        assert_eq!(sink.deliver(), [""; 0]);
        sink.look(&[("d1", 10, Fail)]);
        assert_eq!(sink.deliver(), ["d1 critical fires"]);
        sink.look(&[("d1", 10, Fail)]);
        assert_eq!(sink.deliver(), [""; 0]);
        assert_eq!(sink.next(true).unwrap().0, "d1 critical fires on");
        sink.look(&[("d1", 10, Bypassed)]);
        assert_eq!(sink.deliver(), ["d1 critical resolved"]);
        assert!(sink.next(true).is_none());
    }

    #[test]
    fn another_severity_is_another_alert() {
        let mut sink = Told_::new(10);
        sink.look(&[("d1", 10, NoData)]);
        assert_eq!(sink.deliver(), ["d1 warning fires"]);
        sink.look(&[("d1", 10, Fail)]);
        assert_eq!(sink.deliver(), ["d1 critical fires, d1 warning resolved"]);
    }

    #[test]
    fn a_new_deployment_resolves_what_the_one_before_it_fired() {
        let mut sink = Told_::new(10);
        sink.look(&[("d1", 10, Fail)]);
        sink.deliver();
        sink.look(&[("d1", 10, Fail), ("d2", 20, Pending)]);
        assert_eq!(sink.deliver(), ["d1 critical resolved"]);
    }

    #[test]
    fn what_is_over_before_it_was_told_is_not_told_but_counted() {
        let mut sink = Told_::new(10);
        assert_eq!(sink.look(&[("d1", 10, NoData)]), 0);
        assert_eq!(sink.alerts.waiting(), 1);
        assert_eq!(sink.look(&[("d1", 10, Pending)]), 1);
        assert_eq!(sink.deliver(), [""; 0]);
    }

    #[test]
    fn a_request_that_failed_is_built_anew_from_what_stands() {
        let mut sink = Told_::new(10);
        sink.look(&[("d1", 10, NoData)]);
        assert_eq!(sink.next(false).unwrap().0, "d1 warning fires");
        sink.look(&[("d1", 10, Fail)]);
        assert_eq!(sink.next(false).unwrap().0, "d1 critical fires");
    }

    #[test]
    fn what_was_told_outlasts_a_restart() {
        let mut before = Told_::new(10);
        before.look(&[("d1", 10, Fail)]);
        before.deliver();
        let saved = before.alerts.save();

        let mut after = Told_::new(10);
        after.alerts.restore(saved.clone()).unwrap();
        // Until the journal is read, what was told goes on.
        assert_eq!(after.next(true).unwrap().0, "d1 critical fires on");
        after.look(&[("d1", 10, Fail)]);
        assert_eq!(after.deliver(), [""; 0]);

        // What nobody knows any more is resolved.
        let mut forgetful = Told_::new(10);
        forgetful.alerts.restore(saved).unwrap();
        forgetful.look(&[]);
        assert_eq!(forgetful.deliver(), ["d1 critical resolved"]);
        assert!(forgetful.alerts.restore(Value::Null).is_err());
    }

    #[test]
    fn what_the_receiver_refuses_is_not_told_again_while_it_stands() {
        let mut sink = Told_::new(10);
        sink.look(&[("d1", 10, Fail)]);
        let (_, letter) = sink.next(false).unwrap();
        assert_eq!(sink.alerts.refused(&letter, 400), 1);
        sink.look(&[("d1", 10, Fail)]);
        assert_eq!(sink.deliver(), [""; 0]);
        sink.look(&[]);
        sink.look(&[("d1", 10, Fail)]);
        assert_eq!(sink.deliver(), ["d1 critical fires"]);
    }

    #[test]
    fn a_request_about_several_that_is_refused_is_told_one_by_one() {
        let mut sink = Told_::new(10);
        let mut other = deployment("d2", 20, Fail);
        other.begin.stage = "prod".to_owned();
        other.verdict.stage = "prod".to_owned();
        let both = [Arc::new(deployment("d1", 10, Fail)), Arc::new(other)];
        sink.alerts.look(&both, Timestamp::from_seconds(100));
        let (text, letter) = sink.next(false).unwrap();
        assert_eq!(text, "d1 critical fires, d2 critical fires");
        assert_eq!(sink.alerts.refused(&letter, 400), 0);
        let (text, letter) = sink.next(false).unwrap();
        assert_eq!(text, "d1 critical fires");
        assert_eq!(sink.alerts.refused(&letter, 400), 1);
        assert_eq!(sink.deliver(), ["d2 critical fires"]);
        sink.alerts.look(&both, Timestamp::from_seconds(101));
        assert_eq!(sink.next(true).unwrap().0, "d2 critical fires on");
    }

    #[test]
    fn what_does_not_fit_into_the_queue_is_told_later() {
        let mut sink = Told_::new(2);
        let many: Vec<_> = (0..5)
            .map(|number| {
                let mut one = deployment(&format!("d{number}"), 10 + number, Fail);
                one.begin.stage = format!("s{number}");
                one.verdict.stage.clone_from(&one.begin.stage);
                Arc::new(one)
            })
            .collect();
        let mut told = BTreeSet::new();
        for _ in 0..5 {
            sink.alerts.look(&many, Timestamp::from_seconds(100));
            assert!(sink.alerts.waiting() <= 2);
            while let Some((_, letter)) = sink.next(false) {
                told.extend(letter.news.iter().map(|news| news.subject.clone()));
                sink.alerts.taken(&letter, b"");
            }
        }
        assert_eq!(told.len(), 5);
    }
}
