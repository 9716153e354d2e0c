//! Many threads put samples while another takes ticks: nothing is lost, nothing stands twice.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use sluice::{
    event::{
        Batch, KeyHash, Kind, Labels, LogRecord, METRIC_NAME, Point, Raw, RawBatch, SeriesBlock,
        SeriesMeta, Severity, Span, Timestamp, Value, canonical,
    },
    reduce::{
        Directory, Epoch, Lookers, Partial, PutScratch, Reading, Reducer, ReducerLimits,
        Registration, Select, SeriesId, StreamClasses, StreamId, Turned,
    },
};

const THREADS: usize = 4;
const BATCHES: usize = 50;
const SERIES: usize = 20;
const RESOLUTION: Span = Span::from_seconds(10);

/// Selects everything as gauges.
#[derive(Debug, Default)]
struct Everything {
    labels: BTreeSet<String>,
    bound: usize,
}

impl Select for Everything {
    fn series(&self, _: &Labels, _: SeriesMeta) -> Option<Kind> {
        Some(Kind::Gauge)
    }

    fn lookers(&self, _: &Labels, _: Kind) -> Lookers {
        Lookers::default()
    }

    fn stream_labels(&self) -> &BTreeSet<String> {
        &self.labels
    }

    fn stream_lookers(&self, _: &StreamClasses) -> Lookers {
        Lookers::default()
    }

    fn stream(&self, _: &Labels) -> Option<StreamClasses> {
        Some(StreamClasses::default())
    }

    fn classify(&self, _: &StreamClasses, _: Option<Severity>, _: Option<&str>, _: &mut Vec<u32>) {}
}

impl Directory for Everything {
    fn bind_series(
        &mut self,
        _: SeriesId,
        _: &Labels,
        _: (SeriesMeta, Kind),
        kind: Kind,
    ) -> Option<Registration> {
        self.bound += 1;
        Some(Registration {
            kind,
            host_known_since: None.into(),
        })
    }

    fn refuse_series(&mut self, _: SeriesId, labels: &Labels, _: Kind) {
        panic!("there is room for {labels}");
    }

    fn refuse(&mut self, _: &Lookers, _: Timestamp) {
        panic!("there is room");
    }

    fn reread(&mut self, _: &[Turned], _: &dyn Fn(SeriesId) -> Reading) {
        panic!("nothing is told by name");
    }

    fn bind_stream(&mut self, _: StreamId, _: &Labels) {
        self.bound += 1;
    }
}

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_seconds(1_772_000_000) + Span::from_nanos((seconds * 1e9) as i64)
}

/// A batch of series of which a part is new, all at one time that no other batch has.
fn batch(thread: usize, index: usize) -> Batch {
    let number = thread * BATCHES + index;
    let time = at(number as f64 * 0.01);
    let series = (0..SERIES).map(|series| SeriesBlock {
        labels: Labels::new([(METRIC_NAME, format!("gauge_{}", index * 7 + series))]),
        meta: SeriesMeta::default(),
        points: vec![Point {
            at: time,
            start: None,
            value: Value::Number(1.0),
        }],
    });
    Batch {
        series: series.collect(),
        logs: vec![LogRecord {
            at: time,
            severity: Severity::INFO,
            body: "x".to_owned(),
            attributes: Labels::default(),
            count: 1,
        }],
        ..Batch::default()
    }
}

#[test]
fn what_is_put_while_a_tick_is_taken_is_not_lost() {
    let limits = ReducerLimits {
        series: 10_000,
        samples_per_bucket: 10_000,
        templates: 100,
        future: Span::from_minutes(5),
        labels: 8,
        label_bytes: 100,
    };
    let select = Arc::new(Everything::default());
    let mut reducer = Reducer::new(RESOLUTION, limits, KeyHash::new(3), select);
    let mut directory = Everything::default();
    let running = Arc::new(AtomicUsize::new(THREADS));
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (shards, running) = (Arc::clone(reducer.shards()), Arc::clone(&running));
            scope.spawn(move || {
                let mut scratch = PutScratch::default();
                let mut raw = RawBatch::new(shards.keys(), canonical::read);
                for index in 0..BATCHES {
                    raw.take(&batch(thread, index), |_| false);
                    let raw = Raw::new(&[], &raw);
                    if index % 2 == 0 {
                        shards.resolve(raw, &mut scratch);
                    }
                    let put = shards.put(raw, Epoch::default(), &mut scratch);
                    assert_eq!((put.samples, put.logs), (SERIES as u64, 1));
                }
                running.fetch_sub(1, Ordering::AcqRel);
            });
        }
        while 0 < running.load(Ordering::Acquire) {
            reducer.advance(Epoch::default(), &mut directory);
        }
    });
    let epoch = Epoch::default().after(at(20.0), Span::ZERO, RESOLUTION);
    reducer.advance(epoch, &mut directory);
    let closed = reducer.close_next().expect("the bucket is over");
    let samples: u32 = closed
        .series
        .iter()
        .map(|series| match &series.partial {
            Partial::Gauge(gauge) => gauge.count,
            other => panic!("{other:?}"),
        })
        .sum();
    assert_eq!(samples as usize, THREADS * BATCHES * SERIES);
    assert_eq!(closed.series.len(), (BATCHES - 1) * 7 + SERIES);
    assert_eq!(directory.bound, closed.series.len() + 1);
    assert_eq!(closed.logs[0].count as usize, THREADS * BATCHES);
}
