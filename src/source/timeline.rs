//! The contents of a recording, put in order of time.

use std::collections::{BTreeMap, BTreeSet};

use super::backtest::{History, Placebos};
use crate::{
    engine::{Engine, Input, Output},
    event::{
        Batch, DeploymentEvent, Interval, Labels, LogRecord, Point, Rejects, SeriesBlock,
        SeriesMeta, Span, Timestamp, UnreadLog,
    },
    plan::LabelRoles,
};

/// Samples, log records and deployment events of a recording by bucket of time.
///
/// Order within a bucket does not matter to the engine, so that the files of a recording need not
/// be sorted, neither in themselves nor against each other.
#[derive(Debug)]
pub struct Timeline {
    resolution: Span,
    series: Vec<(Labels, SeriesMeta)>,
    index: BTreeMap<(Labels, SeriesMeta), u32>,
    moments: BTreeMap<Timestamp, Moment>,
    data_end: Option<Timestamp>,
}

/// What happens in one bucket, ready for an engine.
#[derive(Clone, Debug)]
pub struct Step {
    /// The bucket.
    pub bucket: Interval,
    /// Deployment events, in order of time.
    pub events: Vec<DeploymentEvent>,
    /// Samples and log records.
    pub batch: Batch,
}

/// What happens in one bucket, as it was read.
#[derive(Debug, Default)]
struct Moment {
    points: Vec<(u32, Point)>,
    logs: Vec<LogRecord>,
    unread: Vec<UnreadLog>,
    events: Vec<DeploymentEvent>,
}

impl Timeline {
    /// An empty timeline with buckets of the given width.
    pub fn new(resolution: Span) -> Self {
        Self {
            resolution,
            series: Vec::new(),
            index: BTreeMap::new(),
            moments: BTreeMap::new(),
            data_end: None,
        }
    }

    /// Adds what was read from a file.
    pub fn add(&mut self, batch: Batch) {
        for block in batch.series {
            let key = (block.labels, block.meta);
            let id = if let Some(id) = self.index.get(&key) {
                *id
            } else {
                let id = u32::try_from(self.series.len()).expect("a recording has fewer series");
                self.series.push(key.clone());
                self.index.insert(key, id);
                id
            };
            for point in block.points {
                self.moment(point.at).points.push((id, point));
            }
        }
        for record in batch.logs {
            self.moment(record.at).logs.push(record);
        }
        for unread in batch.unread {
            // Without a time nobody knows for what bucket it is missing.
            if let Some(at) = unread.at {
                self.moment(at).unread.push(unread);
            }
        }
    }

    /// Adds a deployment event.
    pub fn add_event(&mut self, event: DeploymentEvent) {
        let start = event.at().floor(self.resolution);
        self.moments.entry(start).or_default().events.push(event);
    }

    /// How many buckets hold anything.
    pub fn len(&self) -> usize {
        self.moments.len()
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.moments.is_empty()
    }

    /// What happens, bucket by bucket, in order of time.
    pub fn into_steps(self) -> impl Iterator<Item = Step> {
        let Self {
            resolution,
            series,
            moments,
            ..
        } = self;
        moments.into_iter().map(move |(start, moment)| {
            let events = in_order(moment.events);
            let batch = Batch {
                series: into_blocks(&series, moment.points),
                logs: moment.logs,
                unread: moment.unread,
                metadata: Vec::new(),
                rejects: Rejects::default(),
            };
            Step {
                bucket: Interval {
                    start,
                    end: start + resolution,
                },
                events,
                batch,
            }
        })
    }

    /// Runs everything through the engine, bucket by bucket, and on to the end of the data or of the
    /// last bake, whichever is later: silence counts. `said` gets what the engine says, and how many
    /// buckets of the timeline are done.
    pub fn play(self, engine: &mut Engine, mut said: impl FnMut(&mut Vec<Output>, usize)) {
        self.play_beside(engine, None, |_, outputs, done| said(outputs, done));
    }

    /// Like [`Timeline::play`]; the data runs through placebos as well, and `said` also sees the
    /// engine.
    pub fn play_beside(
        self,
        engine: &mut Engine,
        mut beside: Option<&mut Placebos>,
        mut said: impl FnMut(&Engine, &mut Vec<Output>, usize),
    ) {
        let mut outputs = Vec::new();
        let mut end = self.data_end.unwrap_or(Timestamp::MIN);
        let len = self.len();
        for (done, step) in self.into_steps().enumerate() {
            if let Some(placebos) = beside.as_deref_mut() {
                placebos.tick(step.bucket.start);
                placebos.take(Input::Batch(&step.batch));
                placebos.tick(step.bucket.end);
            }
            engine.step(Input::Tick(step.bucket.start), &mut outputs);
            for event in step.events {
                end = end.max(event.at());
                engine.step(Input::Deployment(event), &mut outputs);
            }
            engine.step(Input::Batch(&step.batch), &mut outputs);
            engine.step(Input::Tick(step.bucket.end), &mut outputs);
            said(engine, &mut outputs, done + 1);
        }
        if end > Timestamp::MIN {
            let until = engine.replay_until(end);
            engine.step(Input::Tick(until), &mut outputs);
        }
        said(engine, &mut outputs, len);
    }

    /// The names of the metrics in it.
    pub fn metrics(&self) -> BTreeSet<String> {
        let names = self.series.iter().map(|(labels, _)| labels.metric());
        names.map(str::to_owned).collect()
    }

    /// What happens in it, as far as placebos must know before they are drawn.
    pub fn history(&self, roles: &LabelRoles) -> History {
        let has_data = |moment: &&Moment| !moment.points.is_empty() || !moment.logs.is_empty();
        let first = self.moments.iter().find(|(_, moment)| has_data(moment));
        let data = first
            .zip(self.data_end)
            .map(|((start, _), end)| Interval { start: *start, end });
        let mut hosts_by_version: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let told = |labels: &Labels, names: &[String]| {
            let value = names.iter().find_map(|name| labels.get(name));
            value.map(str::to_owned)
        };
        for (labels, _) in &self.series {
            if let Some(version) = told(labels, &roles.version) {
                let host = told(labels, &roles.host).unwrap_or_default();
                hosts_by_version.entry(version).or_default().insert(host);
            }
        }
        let moments = self.moments.values();
        History {
            data,
            events: moments.flat_map(|moment| moment.events.clone()).collect(),
            hosts_by_version,
        }
    }

    fn moment(&mut self, at: Timestamp) -> &mut Moment {
        let start = at.floor(self.resolution);
        let end = start + self.resolution;
        self.data_end = Some(self.data_end.map_or(end, |known| known.max(end)));
        self.moments.entry(start).or_default()
    }
}

/// Groups points by series again.
fn into_blocks(series: &[(Labels, SeriesMeta)], mut points: Vec<(u32, Point)>) -> Vec<SeriesBlock> {
    points.sort_by_key(|(id, _)| *id);
    let mut blocks: Vec<SeriesBlock> = Vec::new();
    let mut last = None;
    for (id, point) in points {
        if last != Some(id) {
            let (labels, meta) = series[id as usize].clone();
            blocks.push(SeriesBlock {
                labels,
                meta,
                points: Vec::new(),
            });
            last = Some(id);
        }
        blocks
            .last_mut()
            .expect("a block was pushed for the series")
            .points
            .push(point);
    }
    blocks
}

/// By time. What is told of one deployment at one instant is told in the order in which it can happen: its begin,
/// steps and bypasses, its end; the deployments of an instant stay in the order in which they are met.
fn in_order(events: Vec<DeploymentEvent>) -> Vec<DeploymentEvent> {
    let mut met: BTreeMap<(Timestamp, String), usize> = BTreeMap::new();
    let placed = events.into_iter().map(|event| {
        let place = met.len();
        let key = (event.at(), event.deployment().to_owned());
        let met = *met.entry(key).or_insert(place);
        let turn = match &event {
            DeploymentEvent::Begin(_) => 0,
            DeploymentEvent::Step(_) | DeploymentEvent::Bypass(_) => 1,
            DeploymentEvent::End(_) => 2,
        };
        (event.at(), met, turn, event)
    });
    let mut placed: Vec<_> = placed.collect();
    placed.sort_by_key(|(at, met, turn, _)| (*at, *met, *turn));
    placed.into_iter().map(|(.., event)| event).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::deployments;

    #[test]
    fn events_of_one_instant_are_in_the_order_in_which_they_can_happen() {
        let begin = |id: &str, at: u32| {
            format!(
                r#"{{"at": {at}, "event": "begin", "deployment": "{id}", "service": "web", "stage": "all", "version": "v2"}}"#
            )
        };
        let end =
            |id: &str, at: u32| format!(r#"{{"at": {at}, "event": "end", "deployment": "{id}"}}"#);
        let step = |name: &str, at: u32| {
            format!(
                r#"{{"at": {at}, "event": "step", "deployment": "b", "step": "{name}", "outcome": "passed"}}"#
            )
        };
        let lines = [
            end("a", 105),
            end("b", 105),
            step("later", 106),
            step("one", 105),
            step("two", 105),
            begin("b", 105),
            begin("c", 104),
        ];
        let mut timeline = Timeline::new(Span::from_seconds(60));
        for event in deployments::decode(lines.join("\n").as_bytes()).unwrap() {
            timeline.add_event(event);
        }
        let events = timeline.into_steps().flat_map(|step| step.events);
        let told: Vec<String> = events
            .map(|event| match event {
                DeploymentEvent::Begin(begin) => format!("begin {}", begin.deployment),
                DeploymentEvent::Step(step) => step.step,
                DeploymentEvent::Bypass(bypass) => format!("bypass {}", bypass.deployment),
                DeploymentEvent::End(end) => format!("end {}", end.deployment),
            })
            .collect();
        let expected = [
            "begin c", "end a", "begin b", "one", "two", "end b", "later",
        ];
        assert_eq!(told, expected);
    }
}
