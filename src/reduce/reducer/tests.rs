//! What the reducer makes of single cases.

mod counters;
mod forgetting;
mod keys;
mod kinds;
mod logs;
mod metadata;
mod order;

use std::collections::BTreeSet;

use crate::{
    event::{
        Histogram, Kind, LogRecord, METRIC_NAME, Point, SeriesBlock, SeriesMeta, Severity,
        Temporality, Value,
    },
    reduce::{
        GaugePartial, HistogramPartial, Partial, Reading, Registration, StreamClasses, Turned,
    },
};

use super::*;

/// Selects by the first word of the metric's name, or by the kind that is told of what is `any`, and streams
/// that have an `app`.
#[derive(Debug)]
struct ByName(BTreeSet<String>);

/// Remembers nothing but how it was asked.
#[derive(Debug, Default)]
struct Asked {
    host_known_since: Option<Timestamp>,
    bound: Vec<String>,
    refused: Vec<String>,
}

/// A reducer with its clock.
struct World {
    reducer: Reducer,
    asked: Asked,
    now: Option<Timestamp>,
}

impl Select for ByName {
    fn series(&self, labels: &Labels, meta: SeriesMeta) -> Option<Kind> {
        match labels.metric().split('_').next() {
            Some("counter") => Some(Kind::Counter),
            Some("gauge") => Some(Kind::Gauge),
            Some("histogram") => Some(Kind::Histogram),
            Some("any") if meta.kind == Kind::Unknown => Some(Kind::Gauge),
            Some("any") => Some(meta.kind),
            _ => None,
        }
    }

    /// One looker for each character of the name.
    fn lookers(&self, labels: &Labels, _: Kind) -> Lookers {
        Lookers(labels.to_string().chars().map(u32::from).collect())
    }

    fn stream_labels(&self) -> &BTreeSet<String> {
        &self.0
    }

    fn stream_lookers(&self, _: &StreamClasses) -> Lookers {
        Lookers("a stream".chars().map(u32::from).collect())
    }

    fn stream(&self, attributes: &Labels) -> Option<StreamClasses> {
        attributes.get("app").map(|_| StreamClasses::default())
    }

    fn classify(
        &self,
        _: &StreamClasses,
        severity: Option<Severity>,
        _: Option<&str>,
        classes: &mut Vec<u32>,
    ) {
        if severity.is_none_or(|severity| Severity::ERROR <= severity) {
            classes.push(7);
        }
    }
}

impl Directory for Asked {
    fn bind_series(
        &mut self,
        _: SeriesId,
        labels: &Labels,
        _: (SeriesMeta, Kind),
        kind: Kind,
    ) -> Option<Registration> {
        self.bound.push(labels.to_string());
        Some(Registration {
            kind,
            host_known_since: self.host_known_since.into(),
        })
    }

    fn refuse_series(&mut self, _: SeriesId, labels: &Labels, _: Kind) {
        panic!("{labels} is taken");
    }

    fn refuse(&mut self, lookers: &Lookers, _: Timestamp) {
        let characters = lookers.0.iter().copied().filter_map(char::from_u32);
        self.refused.push(characters.collect());
    }

    fn reread(&mut self, turned: &[Turned], reading: &dyn Fn(SeriesId) -> Reading) {
        for turned in turned {
            let Reading {
                labels, meta, kind, ..
            } = reading(turned.series);
            let other = if turned.is_other { ", another one" } else { "" };
            let said = format!("{labels} as {kind:?} in {:?}{other}", meta.unit);
            self.bound.push(said);
        }
    }

    fn bind_stream(&mut self, _: StreamId, attributes: &Labels) {
        self.bound.push(attributes.to_string());
    }
}

fn by_name() -> ByName {
    ByName(["app", "stream"].map(str::to_owned).into())
}

impl World {
    fn new(limits: ReducerLimits) -> Self {
        Self {
            reducer: Reducer::new(
                Span::from_seconds(10),
                limits,
                KeyHash::new(0),
                Arc::new(by_name()),
            ),
            asked: Asked::default(),
            now: None,
        }
    }

    fn ingest(&mut self, batch: &Batch) -> Put {
        self.reducer.put(batch, by_name().stream_labels())
    }

    /// Moves the watermark without closing anything.
    fn advance(&mut self, watermark: Timestamp) {
        let before = self.reducer.epoch();
        let epoch = Epoch {
            now: self.now,
            ..before.after(watermark, Span::ZERO, Span::from_seconds(10))
        };
        self.reducer.advance(epoch, &mut self.asked);
    }
}

const LIMITS: ReducerLimits = ReducerLimits {
    series: 100,
    samples_per_bucket: 100,
    templates: 100,
    future: Span::from_minutes(5),
    labels: 8,
    label_bytes: 100,
};

/// A batch as a decoder leaves it that knows what the shards remember of keys.
fn recognised(shards: &Shards, mut batch: RawBatch) -> RawBatch {
    {
        let cache = shards.key_cache().read().unwrap();
        batch.edition = Some(cache.edition().clone());
        let raw = Raw::new(&[], &batch);
        let series = raw.batch.series.iter();
        let places = series.map(|series| {
            let is_plain = series.meta == SeriesMeta::default();
            let find = || cache.expect().find(series.hash, raw.key(series)[0]);
            is_plain.then(find).flatten()
        });
        let places: Vec<_> = places.collect();
        for (series, place) in batch.series.iter_mut().zip(places) {
            series.place = place;
        }
    }
    batch
}

/// Seconds after a day that is no multiple of anything.
fn at(seconds: f64) -> Timestamp {
    Timestamp::from_seconds(1_772_000_000) + Span::from_nanos((seconds * 1e9) as i64)
}

fn named(name: &str) -> Labels {
    Labels::new([(METRIC_NAME, name)])
}

fn point(seconds: f64, start: Option<f64>, value: Value) -> Point {
    Point {
        at: at(seconds),
        start: start.map(at),
        value,
    }
}

fn block(name: &str, temporality: Temporality, points: Vec<Point>) -> Batch {
    Batch {
        series: vec![SeriesBlock {
            labels: named(name),
            meta: SeriesMeta {
                temporality,
                ..SeriesMeta::default()
            },
            points,
        }],
        ..Batch::default()
    }
}

fn numbers(name: &str, points: &[(f64, f64)]) -> Batch {
    let points = points
        .iter()
        .map(|(seconds, value)| point(*seconds, None, Value::Number(*value)));
    block(name, Temporality::Cumulative, points.collect())
}

fn record(app: &str, seconds: f64, severity: Severity, body: &str) -> LogRecord {
    LogRecord {
        at: at(seconds),
        severity,
        body: body.to_owned(),
        attributes: Labels::new([("app", app), ("stream", "stdout")]),
        count: 1,
    }
}

fn close_all(world: &mut World, watermark: f64) -> Vec<ClosedBucket> {
    world.advance(at(watermark));
    std::iter::from_fn(|| world.reducer.close_next()).collect()
}

/// The single partial of each bucket that has one, with the bucket's start in seconds.
fn partials(closed: &[ClosedBucket]) -> Vec<(f64, Partial)> {
    let with_data = closed.iter().filter(|bucket| !bucket.series.is_empty());
    with_data
        .map(|bucket| {
            assert_eq!(bucket.series.len(), 1);
            let start = (bucket.interval.start - at(0.0)).seconds_f64();
            (start, bucket.series[0].partial.clone())
        })
        .collect()
}

fn losses(closed: &[ClosedBucket]) -> Vec<(LossReason, u64)> {
    let marks = closed.iter().flat_map(|bucket| &bucket.losses);
    marks.map(|mark| (mark.reason, mark.count)).collect()
}

#[test]
fn gauges_are_summarised() {
    let mut world = World::new(LIMITS);
    let batch = numbers("gauge", &[(8.0, 1.0), (3.0, -2.0), (5.0, 4.0), (11.0, 7.0)]);
    world.ingest(&batch);
    let gauge = |count, sum, min, max, last| {
        Partial::Gauge(GaugePartial {
            count,
            sum,
            min,
            max,
            last,
        })
    };
    assert_eq!(
        partials(&close_all(&mut world, 20.0)),
        [
            (0.0, gauge(3, 3.0, -2.0, 4.0, 1.0)),
            (10.0, gauge(1, 7.0, 7.0, 7.0, 7.0)),
        ]
    );
}

#[test]
fn what_is_no_number_is_no_data_but_a_loss() {
    let mut world = World::new(LIMITS);
    let points = vec![
        point(1.0, None, Value::Number(f64::NAN)),
        point(2.0, None, Value::Number(f64::INFINITY)),
        point(3.0, None, Value::Stale),
    ];
    for name in ["gauge", "counter"] {
        let batch = block(name, Temporality::Cumulative, points.clone());
        world.ingest(&batch);
    }
    world.ingest(&numbers("histogram", &[(1.0, 1.0)]));
    world.ingest(&numbers("gauge_b", &[(11.0, 1.0)]));
    let closed = close_all(&mut world, 20.0);
    assert_eq!(partials(&closed).len(), 1);
    assert_eq!(
        losses(&closed),
        [
            (LossReason::NotFinite, 2),
            (LossReason::Stale, 1),
            (LossReason::NotFinite, 2),
            (LossReason::Stale, 1),
            (LossReason::Incompatible, 1)
        ]
    );
    assert_eq!(world.reducer.counters().losses[&LossReason::NotFinite], 4);
}

#[test]
fn late_and_future_samples_are_losses() {
    let mut world = World::new(LIMITS);
    world.ingest(&numbers("gauge", &[(15.0, 1.0), (9_000.0, 9.0)]));
    world.now = Some(at(20.0));
    assert_eq!(close_all(&mut world, 20.0).len(), 1);
    let batch = numbers(
        "gauge",
        &[(19.9, 1.0), (20.0, 2.0), (320.0, 3.0), (320.1, 4.0)],
    );
    world.ingest(&batch);
    world.ingest(&Batch {
        logs: vec![LogRecord {
            count: 5,
            ..record("a", 1.0, Severity::INFO, "late")
        }],
        ..Batch::default()
    });
    let closed = close_all(&mut world, 30.0);
    assert_eq!(partials(&closed).len(), 1);
    assert_eq!(
        losses(&closed),
        [
            (LossReason::Late, 1),
            (LossReason::Future, 1),
            (LossReason::Late, 5)
        ]
    );
    assert_eq!(losses(&close_all(&mut world, 40.0)), []);
}

#[test]
fn a_time_has_one_value_and_equal_deliveries_are_no_loss() {
    let mut world = World::new(LIMITS);
    let batch = numbers("gauge", &[(1.0, 5.0), (1.0, 5.0), (2.0, 3.0), (2.0, 8.0)]);
    world.ingest(&batch);
    let closed = close_all(&mut world, 10.0);
    let [(_, Partial::Gauge(gauge))] = partials(&closed)[..] else {
        panic!("one gauge")
    };
    assert_eq!((gauge.count, gauge.sum), (2, 13.0));
    assert_eq!(losses(&closed), [(LossReason::Duplicate, 1)]);
    assert_eq!(world.reducer.counters().samples_duplicate, 1);
}

#[test]
fn over_the_limit_the_earliest_samples_stay() {
    let limits = ReducerLimits {
        samples_per_bucket: 2,
        ..LIMITS
    };
    let mut world = World::new(limits);
    let batch = numbers("gauge", &[(4.0, 4.0), (1.0, 1.0), (3.0, 3.0), (2.0, 2.0)]);
    world.ingest(&batch);
    let closed = close_all(&mut world, 10.0);
    let [(_, Partial::Gauge(gauge))] = partials(&closed)[..] else {
        panic!("one gauge")
    };
    assert_eq!((gauge.sum, gauge.last), (3.0, 2.0));
    assert_eq!(losses(&closed), [(LossReason::OverLimit, 2)]);
    assert!(closed[0].series[0].is_cut);
}

#[test]
fn a_flood_of_one_series_is_bounded_before_the_bucket_closes() {
    let limits = ReducerLimits {
        samples_per_bucket: 5,
        ..LIMITS
    };
    let mut world = World::new(limits);
    for chunk in (0..30).rev() {
        let points: Vec<(f64, f64)> = (0..10_000)
            .map(|index| (f64::from(chunk * 10_000 + index) * 1e-5, f64::from(index)))
            .collect();
        world.ingest(&numbers("gauge", &points));
    }
    assert!(world.reducer.counters().losses[&LossReason::OverLimit] > 200_000);
    let closed = close_all(&mut world, 10.0);
    let [(_, Partial::Gauge(gauge))] = partials(&closed)[..] else {
        panic!("one gauge")
    };
    assert_eq!((gauge.count, gauge.sum), (5, 10.0));
    assert_eq!(
        world.reducer.counters().losses[&LossReason::OverLimit],
        300_000 - 5
    );
}

#[test]
fn what_is_over_the_limit_is_lost_in_its_own_bucket_whenever_that_is_noticed() {
    let limits = ReducerLimits {
        samples_per_bucket: 5,
        ..LIMITS
    };
    let mut world = World::new(limits);
    let flood: Vec<(f64, f64)> = (0..20_000)
        .map(|index| (10.0 + f64::from(index) * 1e-4, 1.0))
        .collect();
    world.ingest(&numbers("gauge", &[(1.0, 1.0)]));
    world.ingest(&numbers("gauge", &flood));
    // A tick that closes only what was before.
    let before = close_all(&mut world, 10.0);
    assert_eq!(losses(&before), []);
    assert!(!before[0].series[0].is_cut);
    // What a flood left behind at the limit is cut, too.
    let closed = close_all(&mut world, 20.0);
    assert_eq!(losses(&closed), [(LossReason::OverLimit, 20_000 - 5)]);
    assert!(closed[0].series[0].is_cut);
    let counters = world.reducer.counters();
    assert_eq!(counters.losses[&LossReason::OverLimit], 20_000 - 5);
}

#[test]
fn who_looks_at_what_a_limit_refuses_is_told_at_every_tick() {
    let limits = ReducerLimits {
        series: 2,
        labels: 2,
        ..LIMITS
    };
    let mut world = World::new(limits);
    let labels = |name: &'static str| Labels::new([(METRIC_NAME, name), ("a", "1"), ("b", "2")]);
    let many = [labels("gauge_many"), labels("unselected_many")];
    for tick in 1..=3 {
        let seconds = f64::from(tick) * 10.0;
        let mut batch = Batch::default();
        for name in ["gauge_a", "gauge_b", "gauge_c"] {
            batch.series.extend(numbers(name, &[(seconds, 1.0)]).series);
        }
        for labels in &many {
            let mut block = numbers("gauge", &[(seconds, 1.0)]).series;
            block[0].labels = labels.clone();
            batch.series.extend(block);
        }
        let put = world.ingest(&batch);
        // What is beyond the limit of series is decided at the tick.
        assert_eq!(put.rejects.sample_count(), if tick == 1 { 2 } else { 3 });
        world.asked.refused.clear();
        close_all(&mut world, seconds);
        let mut refused = world.asked.refused.clone();
        refused.sort();
        let many = many[0].to_string();
        assert_eq!(refused, ["gauge_c".to_owned(), many]);
    }
    // Each was decided about once.
    assert_eq!(world.reducer.counters().refused_series, 3);
}

#[test]
fn who_looks_at_a_log_stream_that_a_limit_refuses_is_told() {
    let limits = ReducerLimits {
        series: 1,
        ..LIMITS
    };
    let mut world = World::new(limits);
    for tick in 1..=2 {
        let seconds = f64::from(tick) * 10.0;
        let mut batch = Batch::default();
        for app in ["a", "b"] {
            batch.logs.push(LogRecord {
                at: at(seconds),
                severity: Severity::ERROR,
                body: String::new(),
                attributes: Labels::new([("app", app)]),
                count: 1,
            });
        }
        let put = world.ingest(&batch);
        assert_eq!(put.rejects.log_count(), 1);
        world.asked.refused.clear();
        close_all(&mut world, seconds);
        assert_eq!(world.asked.refused, ["a stream"]);
    }
}

#[test]
fn buckets_close_in_order_empty_ones_too() {
    let mut world = World::new(LIMITS);
    assert_eq!(world.reducer.next_bucket(), None);
    world.ingest(&numbers("gauge", &[(35.0, 1.0), (5.0, 1.0)]));
    assert_eq!(close_all(&mut world, 9.9).len(), 0);
    let starts: Vec<Timestamp> = close_all(&mut world, 25.0)
        .iter()
        .map(|bucket| bucket.interval.start)
        .collect();
    assert_eq!(starts, [at(0.0), at(10.0)]);
    // Data at 30 keeps that bucket; behind it the jump is free.
    world.advance(at(1_100.0));
    world.reducer.skip_idle(at(1_000.0));
    assert_eq!(world.reducer.next_bucket(), Some(at(30.0)));
    assert!(world.reducer.close_next().is_some());
    world.reducer.skip_idle(at(1_001.0));
    assert_eq!(world.reducer.next_bucket(), Some(at(1_010.0)));
    world.reducer.skip_idle(at(500.0));
    assert_eq!(world.reducer.next_bucket(), Some(at(1_010.0)));
}

#[test]
fn without_data_the_first_bucket_is_that_of_the_watermark() {
    let mut idle = World::new(LIMITS);
    assert_eq!(close_all(&mut idle, 17.0), []);
    assert_eq!(idle.reducer.next_bucket(), Some(at(10.0)));
    assert_eq!(close_all(&mut idle, 30.0).len(), 2);
    let mut skipped = World::new(LIMITS);
    skipped.reducer.skip_idle(at(50.0));
    assert_eq!(skipped.reducer.next_bucket(), Some(at(50.0)));
}

#[test]
fn times_at_both_ends_of_the_range_do_no_harm() {
    let mut world = World::new(LIMITS);
    let extreme = |at| Point {
        at,
        start: Some(Timestamp::MIN),
        value: Value::Number(1.0),
    };
    let points = vec![extreme(Timestamp::MIN), extreme(Timestamp::MAX)];
    let batch = block("counter", Temporality::Cumulative, points);
    world.ingest(&batch);
    world.advance(Timestamp::MAX);
    assert!(world.reducer.close_next().is_some());
    world.reducer.skip_idle(Timestamp::MAX);
    assert!((0..5).filter_map(|_| world.reducer.close_next()).count() < 5);
    assert!(close_all(&mut world, 1e9).len() < 5);
}

#[test]
fn limits_refuse_new_series_and_leave_the_others_alone() {
    let limits = ReducerLimits {
        series: 2,
        labels: 2,
        label_bytes: 20,
        ..LIMITS
    };
    let mut world = World::new(limits);
    let mut refused = Vec::new();
    for name in ["gauge_of_a_very_long_name", "gauge_c", "other", "gauge_b"] {
        let put = world.ingest(&numbers(name, &[(1.0, 1.0)]));
        refused.push(put.rejects.sample_count());
    }
    let many = Labels::new([(METRIC_NAME, "g"), ("a", "1"), ("b", "2")]);
    let mut batch = numbers("g", &[(1.0, 1.0)]);
    batch.series[0].labels = many;
    refused.push(world.ingest(&batch).rejects.sample_count());
    assert_eq!(refused, [1, 0, 0, 0, 1]);
    // Who came last is not who is refused.
    world.ingest(&numbers("gauge_a", &[(1.0, 1.0)]));
    assert_eq!(close_all(&mut world, 10.0)[0].series.len(), 2);
    assert_eq!(world.asked.bound, ["gauge_a", "gauge_b"]);
    assert_eq!(
        world.asked.refused,
        ["gauge_of_a_very_long_name", "gauge_c"]
    );
    for name in ["gauge_a", "gauge_b", "gauge_c"] {
        let put = world.ingest(&numbers(name, &[(11.0, 1.0)]));
        assert_eq!(put.rejects.is_empty(), name != "gauge_c", "{name}");
        for reject in put.rejects.samples.values() {
            assert_eq!(reject.example, "gauge_c is a series beyond limits.series");
        }
    }
    let counters = world.reducer.counters();
    assert_eq!(
        (
            counters.series,
            counters.selected_series,
            counters.refused_series,
            counters.samples_accepted,
            counters.samples_unselected,
            counters.samples_refused,
        ),
        (3, 2, 3, 4, 1, 4)
    );
    assert_eq!(world.reducer.labels(SeriesId(0)), named("gauge_a"));
}

#[test]
fn what_stands_behind_a_tick_may_be_put_before_it() {
    let mut world = World::new(LIMITS);
    world.ingest(&numbers("gauge_a", &[(1.0, 1.0)]));
    let epoch = world
        .reducer
        .epoch()
        .after(at(10.0), Span::ZERO, Span::from_seconds(10));
    let behind = numbers("gauge_b", &[(2.0, 1.0), (12.0, 1.0)]);
    let mut raw = RawBatch::new(KeyHash::new(0), canonical::read);
    raw.take(&behind, |name| by_name().stream_labels().contains(name));
    let raw = Raw::new(&[], &raw);
    let shards = Arc::clone(world.reducer.shards());
    let put = shards.put(raw, epoch, &mut PutScratch::default());
    assert_eq!(put.lost, [(LossReason::Late, 1)].into());
    // The tick sees nothing of it: neither the series nor the loss.
    let closed = close_all(&mut world, 10.0);
    assert_eq!((closed.len(), losses(&closed)), (1, vec![]));
    assert_eq!(world.asked.bound, ["gauge_a"]);
    let closed = close_all(&mut world, 20.0);
    assert_eq!(closed[0].series.len(), 1);
    assert_eq!(losses(&closed), [(LossReason::Late, 1)]);
    assert_eq!(world.asked.bound, ["gauge_a", "gauge_b"]);
}

#[test]
fn a_series_with_several_keys_is_one() {
    let mut world = World::new(LIMITS);
    let labels = |order: [&str; 2]| {
        let mut key = Vec::new();
        for name in order {
            let value = if name == METRIC_NAME { "gauge" } else { "x" };
            canonical::write_pair(name.as_bytes(), value.as_bytes(), &mut key);
        }
        key
    };
    for (seconds, order) in [(1.0, [METRIC_NAME, "a"]), (2.0, ["a", METRIC_NAME])] {
        let mut raw = RawBatch::new(KeyHash::new(0), canonical::read);
        let (key, ()) = raw.write(|out| out.extend(&labels(order)));
        let hash = raw.keys().single(raw.bytes(&[], key));
        let none = crate::event::Piece::default();
        raw.start_series(hash, [key, none, none], SeriesMeta::default());
        raw.point(at(seconds), Timestamp::MIN, 1.0);
        world.reducer.put_raw(Raw::new(&[], &raw));
    }
    let closed = close_all(&mut world, 10.0);
    let [(_, Partial::Gauge(gauge))] = partials(&closed)[..] else {
        panic!("one gauge")
    };
    assert_eq!((gauge.count, world.asked.bound.len()), (2, 1));
}

fn histogram(counts: &[f64]) -> Value {
    Value::Histogram(Box::new(Histogram::Explicit {
        bounds: vec![1.0, 2.0][..counts.len() - 1].to_vec(),
        counts: counts.to_vec(),
        sum: Some(1.0),
    }))
}

#[test]
fn distributions_become_what_was_added() {
    let mut world = World::new(LIMITS);
    let points = [
        (5.0, histogram(&[1.0, 1.0, 1.0])),
        (15.0, histogram(&[2.0, 1.0, 4.0])),
        (25.0, histogram(&[2.0, 0.0, 5.0])),
        (28.0, histogram(&[2.0, 1.0, 5.0])),
        (35.0, histogram(&[9.0, 9.0])),
        (36.0, histogram(&[9.0, 9.0, f64::NAN])),
        (37.0, Value::Number(3.0)),
    ];
    let points = points.map(|(seconds, value)| point(seconds, None, value));
    // A distribution is taken as one whatever the kind says.
    let batch = block("gauge", Temporality::Cumulative, points.to_vec());
    world.ingest(&batch);
    let closed = close_all(&mut world, 100.0);
    let got: Vec<(f64, Vec<f64>, f64, u32)> = partials(&closed)
        .into_iter()
        .map(|(start, partial)| match partial {
            Partial::Histogram(HistogramPartial {
                histogram: Histogram::Explicit { counts, .. },
                seconds,
                resets,
                life: _,
            }) => (start, counts, seconds, resets),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        got,
        [
            (10.0, vec![1.0, 0.0, 3.0], 10.0, 0),
            (20.0, vec![2.0, 1.0, 5.0], 13.0, 1),
            (30.0, vec![9.0, 9.0], 7.0, 1),
        ]
    );
    assert_eq!(
        losses(&closed),
        [(LossReason::NotFinite, 1), (LossReason::Incompatible, 1)]
    );
}
