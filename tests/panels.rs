//! The judge half over a restart: what is restored goes on like what was never interrupted.

#[path = "common/noise.rs"]
mod noise;

use std::sync::Arc;

use noise::Noise;
use sluice::{
    detect::{Before, Unsound},
    engine::{Directory, DirectoryState},
    event::{Begin, Histogram, Interval, Kind, Labels, SeriesMeta, Severity, Span, Timestamp},
    gate::Gate,
    plan::Plan,
    reduce::{
        ClosedBucket, GaugePartial, HistogramPartial, IncreasePartial, Life, LogCount, LossMark,
        LossReason, LossSource, Partial, Select, SeriesId, SeriesPartial, StreamClasses, StreamId,
    },
};

const RESOLUTION: Span = Span::from_seconds(10);
const BEGAN: Timestamp = Timestamp::from_seconds(1_772_359_200);
const HOSTS: usize = 12;

const CONFIGURATION: &str = "
resolution: 10s
lateness: 0s
checks:
  everything: {metric: '*', compare: {}}
  cpu:        {metric: cpu, bounds: {max: 1000}}
  trend:      {metric: cpu, derivative: {}}
  history:    {metric: cpu, sigma: {}}
  present:    {metric: cpu, absent: 5m}
  slow:       {metric: wait, quantile: 0.99, bounds: {max: 1000}}
  ratio:      {metric: failed_total, per: asked_total, bounds: {max: 1000}}
  errors:     {logs: {severity: ERROR}, compare: {}}
  silent:     {logs: {}, absent: 5m}
  new:        {logs: {new: true}}
services:
  app:
    stages:
      - name: onebox
        bake: 30m
        grace: 1m
        match: {version: v2}
        checks: [everything, cpu, trend, history, present, slow, ratio, errors, silent, new]
  other:
    stages:
      - {name: prod, bake: 30m, checks: [cpu, errors]}
";

/// What is bound to the directory, in the order of the numbers.
#[derive(Clone, Default)]
struct Bound {
    series: Vec<(Labels, SeriesMeta, Kind)>,
    streams: Vec<(Labels, StreamClasses)>,
}

struct World {
    bound: Bound,
    noise: Noise,
}

fn labels(metric: &str, host: usize, more: &[(&str, &str)]) -> Labels {
    let host = format!("h{host:02}");
    let version = if host.as_str() < "h03" { "v2" } else { "v1" };
    let own = [
        ("__name__", metric),
        ("service", "app"),
        ("host", &host),
        ("version", version),
    ];
    Labels::new(own.into_iter().chain(more.iter().copied()))
}

impl World {
    fn series(&mut self, directory: &mut Directory, labels: Labels, kind: Kind) -> SeriesId {
        let known = self.bound.series.iter().position(|known| known.0 == labels);
        if let Some(index) = known {
            return SeriesId(index as u32);
        }
        let meta = SeriesMeta {
            kind,
            ..SeriesMeta::default()
        };
        let id = SeriesId(self.bound.series.len() as u32);
        let kind = directory.selector().series(&labels, meta);
        let kind = kind.expect("a check selects every series");
        directory.bind_series(id, &labels, meta, kind);
        self.bound.series.push((labels, meta, kind));
        id
    }

    fn stream(&mut self, directory: &mut Directory, host: usize) -> (StreamId, StreamClasses) {
        let labels = labels("", host, &[]);
        let known = self.bound.streams.iter();
        let mut known = known.zip(0..).filter(|(known, _)| known.0 == labels);
        if let Some(((_, classes), index)) = known.next() {
            return (StreamId(index), classes.clone());
        }
        let id = StreamId(self.bound.streams.len() as u32);
        let classes = directory.selector().stream(&labels);
        let classes = classes.expect("the service owns its logs");
        directory.bind_stream(id, &labels);
        self.bound.streams.push((labels, classes.clone()));
        (id, classes)
    }

    /// A bucket with new hosts now and then, gaps and losses.
    fn bucket(&mut self, number: i64, directory: &mut Directory) -> ClosedBucket {
        let start = BEGAN + RESOLUTION.times(number);
        let mut bucket = ClosedBucket {
            interval: Interval {
                start,
                end: start + RESOLUTION,
            },
            ..ClosedBucket::default()
        };
        let hosts = HOSTS.min(6 + (number + 200) as usize / 40);
        for host in 0..hosts {
            if self.noise.uniform() < 0.05 {
                continue;
            }
            for (metric, more) in [
                ("cpu", [("core", "0")]),
                ("asked_total", [("code", "200")]),
                ("asked_total", [("code", "500")]),
                ("failed_total", [("code", "500")]),
                ("wait", [("path", "/")]),
                ("answer_bucket", [("le", "1")]),
                ("answer_bucket", [("le", "2")]),
                ("answer_bucket", [("le", "+Inf")]),
            ] {
                let labels = labels(metric, host, &more);
                let kind = if metric == "wait" {
                    Kind::Histogram
                } else {
                    Kind::Unknown
                };
                let series = self.series(directory, labels, kind);
                let partial = self.partial(metric, more[0].1);
                bucket.series.push(SeriesPartial {
                    series,
                    partial,
                    is_cut: false,
                });
            }
            let (stream, classes) = self.stream(directory, host);
            for (severity, template) in [
                (Severity::INFO, "served <*>"),
                (Severity::ERROR, "could not reach <*>"),
            ] {
                let mut of_record = Vec::new();
                let selector = directory.selector();
                selector.classify(&classes, Some(severity), Some(template), &mut of_record);
                bucket.logs.push(LogCount {
                    stream,
                    severity,
                    template: Arc::from(template),
                    classes: of_record,
                    count: 1 + u64::from(self.noise.uniform() < 0.3),
                });
            }
        }
        bucket.series.sort_by_key(|partial| partial.series);
        if self.noise.uniform() < 0.2 {
            bucket.losses.push(LossMark {
                source: LossSource::Series(SeriesId(0)),
                reason: LossReason::NotFinite,
                count: 1,
            });
        }
        bucket
    }

    fn partial(&mut self, metric: &str, le: &str) -> Partial {
        let value = 50.0 + self.noise.normal();
        match metric {
            "cpu" => Partial::Gauge(GaugePartial {
                count: 1,
                sum: value,
                min: value,
                max: value,
                last: value,
            }),
            "wait" => Partial::Histogram(HistogramPartial {
                histogram: Histogram::Explicit {
                    bounds: vec![1.0, 2.0],
                    counts: vec![value.floor(), 3.0, 1.0],
                    sum: None,
                },
                seconds: 10.0,
                resets: 0,
                life: Life::Unknown,
            }),
            _ => Partial::Increase(IncreasePartial {
                increase: match le {
                    "1" => 10.0,
                    "2" => 20.0,
                    "+Inf" => 21.0,
                    _ => value,
                },
                seconds: 10.0,
                resets: 0,
                life: Life::Unknown,
            }),
        }
    }
}

fn plan() -> Arc<Plan> {
    Arc::new(Plan::parse(CONFIGURATION).expect("the plan is valid"))
}

fn bytes(directory: &Directory) -> Vec<u8> {
    postcard::to_allocvec(&directory.snapshot()).expect("a state can be written")
}

/// Takes apart and puts together again; the series and streams are bound as they were.
fn restart(directory: &Directory, bound: &Bound) -> Directory {
    let bytes = bytes(directory);
    let state: DirectoryState<'_> = postcard::from_bytes(&bytes).expect("and read");
    let mut restored = Directory::restore(plan(), state).expect("what was saved is sound");
    for ((labels, meta, kind), id) in bound.series.iter().zip(0..) {
        restored.bind_series(SeriesId(id), labels, *meta, *kind);
    }
    for ((labels, _), id) in bound.streams.iter().zip(0..) {
        restored.bind_stream(StreamId(id), labels);
    }
    assert!(self::bytes(&restored) == bytes, "binding again changed it");
    restored
}

fn gate(plan: &Plan, directory: &mut Directory) -> Gate {
    let service = &plan.services["app"];
    let begin = Begin {
        at: BEGAN,
        deployment: "d1".to_owned(),
        service: "app".to_owned(),
        stage: "onebox".to_owned(),
        region: None,
        version: "v2".to_owned(),
        one_box: Vec::new(),
        fleet: Vec::new(),
        weight: 1.0,
        hotfix: None,
    };
    directory.expect_hosts(&begin);
    let check = |name: &str| &plan.checks[name];
    Gate::open(
        begin,
        Before::until(BEGAN),
        service,
        &service.stages[0],
        RESOLUTION,
        &plan.digest,
        check,
    )
}

#[test]
fn a_restored_half_goes_on_like_one_that_was_never_interrupted() {
    let plan = plan();
    let mut whole = Directory::new(Arc::clone(&plan));
    let mut world = World {
        bound: Bound::default(),
        noise: Noise::new(11),
    };
    for number in -200..0 {
        let bucket = world.bucket(number, &mut whole);
        whole.spread(&bucket);
    }
    let mut gate_of_whole = gate(&plan, &mut whole);
    let mut gate_of_parts = gate_of_whole.clone();
    let mut parts = restart(&whole, &world.bound);
    let mut states = Vec::new();
    for number in 0..120 {
        let known = world.bound.clone();
        let bucket = world.bucket(number, &mut whole);
        for (index, (labels, meta, kind)) in world.bound.series.iter().enumerate() {
            if known.series.len() <= index {
                parts.bind_series(SeriesId(index as u32), labels, *meta, *kind);
            }
        }
        for (index, (labels, _)) in world.bound.streams.iter().enumerate() {
            if known.streams.len() <= index {
                parts.bind_stream(StreamId(index as u32), labels);
            }
        }
        for (directory, gate) in [
            (&mut whole, &mut gate_of_whole),
            (&mut parts, &mut gate_of_parts),
        ] {
            directory.spread(&bucket);
            directory.judge(gate, bucket.interval);
        }
        assert_eq!(gate_of_whole.verdict(), gate_of_parts.verdict(), "{number}");
        if number % 7 == 3 {
            assert!(bytes(&whole) == bytes(&parts), "bucket {number}");
            parts = restart(&parts, &world.bound);
        }
        for check in &gate_of_whole.checks {
            states.extend(check.finding.as_ref().map(|found| found.state));
        }
    }
    // Else nothing was compared.
    states.sort();
    states.dedup();
    assert!(1 < states.len(), "{states:?}");
    assert!(HOSTS * 8 <= world.bound.series.len());
}

#[test]
fn a_state_that_contradicts_itself_is_refused() {
    let mut directory = Directory::new(plan());
    let mut world = World {
        bound: Bound::default(),
        noise: Noise::new(12),
    };
    for number in 0..3 {
        let bucket = world.bucket(number, &mut directory);
        directory.spread(&bucket);
    }
    let whole = bytes(&directory);
    let (mut refused, mut unreadable, mut taken) = (0, 0, 0);
    for index in (0..whole.len()).step_by(whole.len() / 1_000 + 1) {
        let mut broken = whole.clone();
        broken[index] ^= 0x41;
        let Ok(state) = postcard::from_bytes::<DirectoryState<'_>>(&broken) else {
            unreadable += 1;
            continue;
        };
        // Whatever is taken can be gone on with.
        match Directory::restore(plan(), state) {
            Err(Unsound::OtherKind | Unsound::Group { .. }) => panic!("not of a directory"),
            Err(Unsound::Host { .. } | Unsound::Impossible { .. }) => refused += 1,
            Ok(mut directory) => {
                taken += 1;
                for ((labels, meta, kind), id) in world.bound.series.iter().zip(0..) {
                    directory.bind_series(SeriesId(id), labels, *meta, *kind);
                }
                for ((labels, _), id) in world.bound.streams.iter().zip(0..) {
                    directory.bind_stream(StreamId(id), labels);
                }
                let mut noise = World {
                    bound: world.bound.clone(),
                    noise: Noise::new(13),
                };
                let bucket = noise.bucket(3, &mut directory);
                directory.spread(&bucket);
            }
        }
    }
    assert!(
        0 < refused && 0 < unreadable && 0 < taken,
        "{refused} {unreadable} {taken}"
    );
}
