//! Deployments as annotations of Grafana: a region from begin to verdict.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    alert::{Links, place, shortened},
    conversation::{Conversation, Letter, News, Told, under},
};
use crate::{
    event::{Span, Timestamp},
    gate::VerdictState,
    serve::Deployment,
};

/// How long after its end a deployment is still told of, if Grafana was away.
const MEMORY: Span = Span::from_hours(24);

/// What Grafana answers when an annotation is gone, or was never there.
const GONE: u16 = 404;

/// The annotations of a sink.
#[derive(Debug)]
pub(super) struct Annotations {
    url: String,
    tags: Vec<String>,
    links: Links,
    waiting_max: usize,
    /// Deployments that Grafana has to know, by id.
    wanted: BTreeMap<String, Mark>,
    /// What Grafana knows, by deployment.
    told: BTreeMap<String, Marked>,
    /// What waits to be told, oldest first.
    waiting: BTreeSet<(Timestamp, String)>,
    /// What Grafana will not take.
    refused: BTreeMap<String, Mark>,
}

/// What an annotation says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Mark {
    starts_at: Timestamp,
    /// When the verdict came; `None`: it is awaited.
    ends_at: Option<Timestamp>,
    tags: Vec<String>,
    text: String,
}

/// An annotation that Grafana has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Marked {
    /// Its id there; `None`: the answer did not tell, so that it cannot be changed any more.
    id: Option<i64>,
    mark: Mark,
}

/// What is remembered.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    annotations: BTreeMap<String, Marked>,
}

/// The part of an answer that counts.
#[derive(Deserialize)]
struct Created {
    id: i64,
}

impl Annotations {
    pub(super) fn new(base: &str, tags: Vec<String>, links: Links, waiting_max: usize) -> Self {
        Self {
            url: under(base, "/api/annotations"),
            tags,
            links,
            waiting_max,
            wanted: BTreeMap::new(),
            told: BTreeMap::new(),
            waiting: BTreeSet::new(),
            refused: BTreeMap::new(),
        }
    }

    fn mark(&self, deployment: &Deployment) -> Mark {
        let (begin, verdict) = (&deployment.begin, &deployment.verdict);
        let is_over = verdict.is_final || deployment.is_ended;
        let state = if is_over {
            verdict.verdict
        } else {
            VerdictState::Pending
        };
        let mut tags = vec![
            "sluice".to_owned(),
            format!("service:{}", begin.service),
            format!("stage:{}", begin.stage),
        ];
        tags.extend(
            begin
                .region
                .as_ref()
                .map(|region| format!("region:{region}")),
        );
        tags.extend([
            format!("version:{}", begin.version),
            format!("deployment:{}", begin.deployment),
            format!("verdict:{state}"),
        ]);
        tags.extend(self.tags.iter().cloned());
        let what = format!("{} into {}", begin.version, place(verdict));
        let link = self.links.deployment(&begin.deployment);
        let text = if is_over {
            let reasons = verdict.reasons.join("\n");
            format!("{what}: {state}\n{}\n{link}", shortened(&reasons))
        } else {
            format!("{what}\n{link}")
        };
        Mark {
            starts_at: begin.at,
            // Not before it began: Grafana would refuse the region.
            ends_at: is_over.then(|| verdict.since.max(begin.at)),
            tags,
            text,
        }
    }
}

impl Conversation for Annotations {
    fn look(&mut self, deployments: &[Arc<Deployment>], now: Timestamp) -> usize {
        self.wanted = deployments
            .iter()
            .filter(|deployment| !deployment.is_ended || now < deployment.verdict.at + MEMORY)
            .map(|deployment| (deployment.begin.deployment.clone(), self.mark(deployment)))
            .collect();
        let wanted = &self.wanted;
        self.told.retain(|id, _| wanted.contains_key(id));
        self.refused
            .retain(|id, mark| wanted.get(id).is_some_and(|wanted| wanted == mark));
        let before = self.waiting.len();
        self.waiting.retain(|(_, id)| wanted.contains_key(id));
        let forgotten = before - self.waiting.len();
        for (id, mark) in wanted {
            let is_known = self
                .told
                .get(id)
                .is_some_and(|marked| marked.mark == *mark || marked.id.is_none());
            let entry = (mark.starts_at, id.clone());
            if is_known || self.refused.contains_key(id) {
                self.waiting.remove(&entry);
            } else if self.waiting.len() < self.waiting_max {
                self.waiting.insert(entry);
            }
        }
        forgotten
    }

    fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn resend(&self) -> Option<Duration> {
        None
    }

    fn next(&self, _now: Timestamp, _is_due: bool) -> Option<Letter> {
        let (_, id) = self.waiting.first()?;
        let mark = self.wanted.get(id)?;
        let known = self.told.get(id).and_then(|marked| marked.id);
        let mut body = json!({
            "time": mark.starts_at.millis(),
            "tags": mark.tags,
            "text": mark.text,
        });
        if let Some(ends_at) = mark.ends_at {
            body["timeEnd"] = json!(ends_at.millis());
        }
        let (method, url) = match known {
            None => (http::Method::POST, self.url.clone()),
            Some(number) => (http::Method::PATCH, format!("{}/{number}", self.url)),
        };
        Some(Letter {
            method,
            url,
            body: body.to_string().into_bytes(),
            key: None,
            news: vec![News {
                subject: id.clone(),
                told: match mark.ends_at {
                    None => Told::Begun,
                    Some(_) => Told::Over,
                },
            }],
        })
    }

    fn taken(&mut self, letter: &Letter, reply: &[u8]) -> bool {
        for news in &letter.news {
            let Some(mark) = self.wanted.get(&news.subject) else {
                continue;
            };
            self.waiting.remove(&(mark.starts_at, news.subject.clone()));
            let known = self.told.get(&news.subject).and_then(|marked| marked.id);
            let created = || serde_json::from_slice::<Created>(reply).ok();
            let marked = Marked {
                id: known.or_else(|| created().map(|created| created.id)),
                mark: mark.clone(),
            };
            self.told.insert(news.subject.clone(), marked);
        }
        true
    }

    fn refused(&mut self, letter: &Letter, status: u16) -> usize {
        let mut dropped = 0;
        for news in &letter.news {
            if status == GONE && letter.method == http::Method::PATCH {
                // Somebody removed it: the whole region is written again.
                self.told.remove(&news.subject);
                continue;
            }
            let Some(mark) = self.wanted.get(&news.subject) else {
                continue;
            };
            dropped += 1;
            self.waiting.remove(&(mark.starts_at, news.subject.clone()));
            self.refused.insert(news.subject.clone(), mark.clone());
        }
        dropped
    }

    fn save(&self) -> Value {
        let saved = Saved {
            annotations: self.told.clone(),
        };
        serde_json::to_value(saved).expect("annotations have a form")
    }

    fn restore(&mut self, saved: Value) -> Result<(), serde_json::Error> {
        let Saved { annotations } = serde_json::from_value(saved)?;
        self.told = annotations;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::test_support::deployment;

    fn annotations() -> Annotations {
        Annotations::new(
            "http://g/",
            vec!["team-a".to_owned()],
            Links::new("http://s"),
            10,
        )
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn one(state: VerdictState, since: i64) -> Vec<Arc<Deployment>> {
        let mut one = deployment("d1", 100, state);
        one.verdict.since = at(since);
        one.verdict.reasons = vec!["because".to_owned()];
        vec![Arc::new(one)]
    }

    fn next(sink: &Annotations) -> (Letter, Value) {
        let letter = sink.next(at(0), false).expect("there is something to tell");
        let body = serde_json::from_slice(&letter.body).unwrap();
        (letter, body)
    }

    #[test]
    fn a_region_opens_with_the_deployment_and_closes_with_its_verdict() {
        let mut sink = annotations();
        sink.look(&one(VerdictState::Pending, 100), at(101));
        let (letter, body) = next(&sink);
        assert_eq!(
            (letter.method.as_str(), letter.url.as_str()),
            ("POST", "http://g/api/annotations")
        );
        assert_eq!(
            body,
            json!({
                "time": 100_000,
                "tags": ["sluice", "service:checkout", "stage:onebox", "region:eu", "version:v42",
                         "deployment:d1", "verdict:PENDING", "team-a"],
                "text": "v42 into checkout onebox in eu\nhttp://s/#d1",
            })
        );
        assert!(sink.taken(&letter, br#"{"message": "Annotation added", "id": 17}"#));
        sink.look(&one(VerdictState::NoData, 150), at(151));
        assert!(sink.next(at(151), false).is_none(), "it is not final");

        sink.look(&one(VerdictState::Fail, 160), at(161));
        let (letter, body) = next(&sink);
        assert_eq!(
            (letter.method.as_str(), letter.url.as_str()),
            ("PATCH", "http://g/api/annotations/17")
        );
        assert_eq!(
            (&body["time"], &body["timeEnd"]),
            (&json!(100_000), &json!(160_000))
        );
        assert_eq!(body["tags"][6], "verdict:FAIL");
        assert_eq!(
            body["text"],
            "v42 into checkout onebox in eu: FAIL\nbecause\nhttp://s/#d1"
        );
        sink.taken(&letter, b"{}");
        assert!(sink.next(at(161), false).is_none());

        sink.look(&one(VerdictState::Bypassed, 200), at(201));
        assert_eq!(next(&sink).1["tags"][6], "verdict:BYPASSED");
    }

    #[test]
    fn what_came_and_went_while_grafana_was_away_is_one_request() {
        let mut sink = annotations();
        sink.look(&one(VerdictState::Pending, 100), at(101));
        sink.look(&one(VerdictState::Pass, 160), at(161));
        let (letter, body) = next(&sink);
        assert_eq!(letter.method, http::Method::POST);
        assert_eq!(body["timeEnd"], 160_000);
    }

    #[test]
    fn an_annotation_that_was_removed_is_written_again() {
        let mut sink = annotations();
        sink.look(&one(VerdictState::Pending, 100), at(101));
        let (letter, _) = next(&sink);
        sink.taken(&letter, br#"{"id": 17}"#);
        sink.look(&one(VerdictState::Pass, 160), at(161));
        let (letter, _) = next(&sink);
        assert_eq!(sink.refused(&letter, 404), 0);
        assert_eq!(next(&sink).0.method, http::Method::POST);
    }

    #[test]
    fn what_grafana_knows_outlasts_a_restart() {
        let mut before = annotations();
        before.look(&one(VerdictState::Pending, 100), at(101));
        let (letter, _) = next(&before);
        before.taken(&letter, br#"{"id": 17}"#);
        let mut after = annotations();
        after.restore(before.save()).unwrap();
        after.look(&one(VerdictState::Pending, 100), at(102));
        assert!(after.next(at(102), false).is_none());
        after.look(&one(VerdictState::Pass, 160), at(161));
        assert_eq!(next(&after).0.method, http::Method::PATCH);
    }

    #[test]
    fn what_is_refused_and_what_is_long_over_is_not_told() {
        let mut sink = annotations();
        sink.look(&one(VerdictState::Pending, 100), at(101));
        let (letter, _) = next(&sink);
        assert_eq!(sink.refused(&letter, 400), 1);
        sink.look(&one(VerdictState::Pending, 100), at(102));
        assert!(sink.next(at(102), false).is_none());

        let mut ended = deployment("d1", 100, VerdictState::Pass);
        ended.is_ended = true;
        let mut sink = annotations();
        sink.look(&[Arc::new(ended)], at(100) + MEMORY);
        assert_eq!(sink.waiting(), 0);
    }
}
