//! `sluice export`: makes a recording of a stretch of the journal in formats that other programs read.

mod open_files;

use std::sync::Arc;

use crate::{
    decode::{DecodeLimits, Decoder},
    engine::{Engine, Input, Output, Refusal, Refused, is_sighted_id},
    event::{BODY_BYTES_MAX, Batch, DeploymentEvent, KeyHash, Kind, Timestamp},
    journal::{Entry, Reader, decode_limits},
    plan::Plan,
    reduce::Metadata,
    source::files,
};

use super::{
    journal::segments,
    record::{self, Arguments, Failure, Recorded},
};
use open_files::OpenFiles;

pub(super) const EXAMPLE: &str = "\
The stretch is that of `sluice record`. What it holds is written as
  deployments.jsonl     deployment events
  told.metrics.jsonl    metrics of which the sender told the kind, as OTLP/JSON
  untold.prom           samples of which it did not, as Prometheus text with times
  all.logs.jsonl        log records, as OTLP/JSON
  counted.log.jsonl     log records that stand for several equal ones
In these data lie by their own times: when they arrived is left out, so that a replay takes in time what \
came late. For the same verdicts at the same times use `sluice record`.

Example:
  sluice export --data-dir /var/lib/sluice --config sluice.yaml --out incident \\
      --from 2026-03-01T10:00:00Z --until 2026-03-01T14:00:00Z
  sluice replay incident";

pub(super) fn run(arguments: &Arguments) -> u8 {
    record::finish(export(arguments), "exported", &arguments.out)
}

fn export(arguments: &Arguments) -> Result<Recorded, Failure> {
    let mut decoder = Decoder::of_all_attributes(KeyHash::new(0));
    let metadata = metadata(arguments)?;
    let mut files = None;
    let (mut unread, mut later) = (0_u64, 0_u64);
    // Up to when the engine takes data, by its clock.
    let mut latest = None;
    let mut events = Vec::new();
    let mut recorded = record::copy(arguments, "exporting", |plan, entries| {
        let files = files.get_or_insert_with(|| OpenFiles::new(&arguments.out));
        let limits = decode_limits(&plan.limits);
        for entry in entries {
            match entry {
                Entry::Batch(body) => {
                    match decoder.read(body.format, body.encoding, &body.bytes, limits) {
                        Ok(()) => {
                            let mut batch = decoder.batch(&body.bytes);
                            tell_kinds(&mut batch, &metadata);
                            later += leave_out_later(&mut batch, latest);
                            files.batch(&batch)?;
                        }
                        Err(_) => unread += 1,
                    }
                }
                Entry::Deployment(event) => events.push(event.clone()),
                Entry::Tick(now) => latest = Some(*now + plan.limits.future),
                Entry::Consumed(_)
                | Entry::Lost(_)
                | Entry::Plan(_)
                | Entry::Start(_)
                | Entry::OverLimit(_) => {}
            }
        }
        Ok(files.bytes())
    })?;
    if let Some(mut files) = files {
        let plan =
            files::plan(&recorded.wording).map_err(|faults| Failure::Told(faults.to_string()))?;
        let (taken, refused) = taken(plan, events);
        for event in &taken {
            files.deployment(event)?;
        }
        recorded.bytes = files.bytes();
        recorded.left_out.extend(told(&refused));
        recorded.left_out.extend(files.finish()?);
    }
    if 0 < recorded.changes {
        recorded.left_out.push(format!(
            "the configuration was changed {}: the recording has the one that was in force at its begin, \
             and a replay judges everything by that",
            match recorded.changes {
                1 => "once".to_owned(),
                changes => format!("{changes} times"),
            }
        ));
    }
    recorded
        .left_out
        .extend(not_exported(recorded.over_limit, later, unread));
    Ok(recorded)
}

/// What of the journal is not in the data, and why: marks of refused requests, what was ahead of the clock, and
/// requests that cannot be read.
fn not_exported(over_limit: u64, later: u64, unread: u64) -> Vec<String> {
    let mut left_out = Vec::new();
    if 0 < over_limit {
        left_out.push(
            "limits refused whole requests, which only the journal tells: a replay of these data does not know \
             that something is missing; `sluice record` keeps it"
                .to_owned(),
        );
    }
    if 0 < later {
        left_out.push(format!(
            "{later} samples and log records are left out: they were farther ahead of the clock than \
             limits.future allows, and had been refused"
        ));
    }
    if 0 < unread {
        left_out.push(format!(
            "{unread} requests are left out: under the limits of this configuration they cannot be read"
        ));
    }
    left_out
}

/// What senders told anywhere in the journal of metrics by their names alone. It may stand behind the samples, and
/// what is told of a series only later would contradict what was not told before.
fn metadata(arguments: &Arguments) -> Result<Metadata, Failure> {
    let mut decoder = Decoder::of_all_attributes(KeyHash::new(0));
    let mut metadata = Metadata::default();
    let limits = DecodeLimits {
        decompressed_bytes: BODY_BYTES_MAX,
        samples_per_request: usize::MAX,
    };
    // What is damaged tells itself where it is exported.
    for (_, entry) in Reader::open(&segments(&arguments.data_dir))?.map_while(Result::ok) {
        if let Entry::Batch(body) = entry
            && body.begins_with_metadata()
            && decoder
                .read(body.format, body.encoding, &body.bytes, limits)
                .is_ok()
        {
            metadata.note(&decoder.batch(&body.bytes).metadata);
        }
    }
    Ok(metadata)
}

/// Tells of each series what is told of its metric, if it is told what that is.
fn tell_kinds(batch: &mut Batch, metadata: &Metadata) {
    for block in &mut batch.series {
        let told = metadata.read(block.labels.metric(), block.meta);
        if told.kind != Kind::Unknown {
            block.meta = told;
        }
    }
}

/// Takes out of a batch what is later than the engine took; says how many samples and records that are.
fn leave_out_later(batch: &mut Batch, latest: Option<Timestamp>) -> u64 {
    let Some(latest) = latest else {
        return 0;
    };
    let count = |batch: &Batch| batch.sample_count() + batch.log_count();
    let before = count(batch);
    for block in &mut batch.series {
        block.points.retain(|point| point.at <= latest);
    }
    batch.series.retain(|block| !block.points.is_empty());
    batch.logs.retain(|record| record.at <= latest);
    before - count(batch)
}

/// Parts deployment events into those that a replay takes, and why the others were refused. A refusal was
/// answered when it was made; in a recording of data files it would be a fault. Which events are refused
/// follows from the configuration and from each other.
fn taken(plan: Plan, mut events: Vec<DeploymentEvent>) -> (Vec<DeploymentEvent>, Vec<Refused>) {
    let resolution = plan.resolution;
    let mut engine = Engine::new(Arc::new(plan));
    let mut outputs = Vec::new();
    let (mut taken, mut refusals) = (Vec::new(), Vec::new());
    events.sort_by_key(DeploymentEvent::at);
    for event in events {
        let tick = Input::Tick(event.at().floor(resolution));
        engine.step(tick, &mut outputs);
        outputs.clear();
        engine.step(Input::Deployment(event.clone()), &mut outputs);
        let refused = outputs.drain(..).find_map(|output| match output {
            Output::Refused(refused) => Some(*refused),
            Output::Verdict(_) | Output::Shadow(_) | Output::Ended(_) | Output::Forgotten(_) => {
                None
            }
        });
        match refused {
            // What labels tell of is not known here: its data is in the export.
            Some(Refused {
                refusal: Refusal::UnknownDeployment { deployment },
                ..
            }) if is_sighted_id(engine.plan(), &deployment) => taken.push(event),
            Some(refused) => refusals.push(refused),
            None => taken.push(event),
        }
    }
    (taken, refusals)
}

fn told(refused: &[Refused]) -> Option<String> {
    let first = refused.first()?;
    Some(format!(
        "{} deployment events are left out, which the engine refused; the first: {first}",
        refused.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{
        Labels, LogRecord, METRIC_NAME, MetricMeta, Point, SeriesBlock, SeriesMeta, Severity, Unit,
        Value,
    };

    #[test]
    fn what_is_told_of_a_metric_by_its_name_is_told_of_its_series() {
        let mut metadata = Metadata::default();
        let told = |metric: &str, kind| MetricMeta {
            metric: metric.to_owned(),
            kind,
            unit: Unit::Unknown,
        };
        metadata.note(&[told("jobs", Kind::Counter), told("lat", Kind::Histogram)]);
        let block = |name: &str| SeriesBlock {
            labels: Labels::new([(METRIC_NAME, name)]),
            meta: SeriesMeta::default(),
            points: Vec::new(),
        };
        let mut batch = Batch {
            series: vec![block("jobs"), block("lat_count"), block("up")],
            ..Batch::default()
        };
        tell_kinds(&mut batch, &metadata);
        let kinds: Vec<Kind> = batch.series.iter().map(|block| block.meta.kind).collect();
        assert_eq!(kinds, [Kind::Counter, Kind::Unknown, Kind::Unknown]);
    }

    #[test]
    fn what_the_engine_refused_as_of_the_future_is_left_out() {
        let second = Timestamp::from_seconds;
        let block = |name: &str, times: &[i64]| SeriesBlock {
            labels: Labels::new([(METRIC_NAME, name)]),
            meta: SeriesMeta::default(),
            points: times
                .iter()
                .map(|at| Point {
                    at: second(*at),
                    start: None,
                    value: Value::Number(1.0),
                })
                .collect(),
        };
        let record = |at: i64| LogRecord {
            at: second(at),
            severity: Severity::INFO,
            body: String::new(),
            attributes: Labels::default(),
            count: 3,
        };
        let mut batch = Batch {
            series: vec![block("a", &[1, 9]), block("b", &[8])],
            logs: vec![record(7), record(5)],
            ..Batch::default()
        };
        let all = batch.clone();
        assert_eq!(leave_out_later(&mut batch, None), 0);
        assert_eq!(batch, all);
        assert_eq!(leave_out_later(&mut batch, Some(second(7))), 2);
        assert_eq!(batch.series, [block("a", &[1])]);
        assert_eq!(leave_out_later(&mut batch, Some(second(6))), 3);
        assert_eq!(batch.logs, [record(5)]);
    }
}
