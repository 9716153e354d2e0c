//! The judge half of the core alone: closed buckets → panels → the verdicts of gates.
//!
//! Each time stands beside a probe measured in the same run (one indexed write of a cell for each
//! partial), so that the ratio can be compared between machines; what it computed is checked. Bytes
//! are those asked of the allocator.
//!
//! `cargo bench --bench judge` measures; `cargo bench --bench judge -- --check` runs all of it, small.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use peak_alloc::PeakAlloc;
use sluice::{
    detect::Before,
    engine::Directory,
    event::{Begin, Interval, Labels, SeriesMeta, Severity, Span, Timestamp},
    gate::Gate,
    plan::Plan,
    reduce::{
        ClosedBucket, GaugePartial, IncreasePartial, Life, LogCount, Partial, Select, SeriesId,
        SeriesPartial, StreamId,
    },
};

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

const RESOLUTION: Span = Span::from_seconds(10);
const FIRST: Timestamp = Timestamp::from_seconds(1_772_359_200);

/// How much is run.
#[derive(Clone, Copy)]
struct Size {
    /// Series that are spread, in each of the runs.
    spread: &'static [usize],
    /// Series whose memory is counted.
    counted: usize,
    /// Hosts and metrics that are judged.
    hosts: usize,
    metrics: usize,
    /// Buckets before the deployments begin, and after.
    past: usize,
    judged: usize,
    rounds: usize,
}

fn main() {
    let is_check = std::env::args().any(|argument| argument == "--check" || argument == "--test");
    let size = if is_check {
        Size {
            spread: &[1_000],
            counted: 100,
            hosts: 40,
            metrics: 4,
            past: 100,
            judged: 60,
            rounds: 2,
        }
    } else {
        Size {
            spread: &[100_000, 1_000_000],
            counted: 10_000,
            hosts: 1_000,
            metrics: 100,
            past: 360,
            judged: 120,
            rounds: 12,
        }
    };
    for series in size.spread {
        spread_all(*series, size.rounds);
    }
    memory_all(size.counted);
    a_day(if is_check { 20 } else { 500 });
    judge(size);
}

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn now() -> Instant {
    Instant::now()
}

/// A plan with one check for one service; the other keys as in the documentation.
fn plan(check: &str) -> Arc<Plan> {
    let text = format!(
        "
resolution: 10s
lateness: 0s
checks:
  only: {check}
services:
  app:
    stages:
      - {{name: onebox, bake: 2h, checks: [only]}}
"
    );
    Arc::new(Plan::parse(&text).expect("the configuration of the bench is valid"))
}

fn name(metric: usize) -> String {
    if metric % 2 == 1 {
        format!("requests_{metric:03}_total")
    } else {
        format!("gauge_{metric:03}")
    }
}

/// The labels of a series, in the order in which they are bound: metric by metric, ascending by host.
fn labels(host: usize, metric: usize, code: Option<usize>) -> Labels {
    let mut pairs = vec![
        ("__name__", name(metric)),
        ("service", "app".to_owned()),
        ("host", format!("h{host:05}")),
        ("region", "eu-west-1".to_owned()),
        ("version", "v1".to_owned()),
    ];
    if let Some(code) = code {
        // A label that tells the stages apart is no part of the identity: these share a cell.
        pairs.push(("pod", format!("c{code}")));
    }
    Labels::new(pairs)
}

fn bucket(number: usize) -> Interval {
    let start = FIRST + RESOLUTION.times(number as i64);
    Interval {
        start,
        end: start + RESOLUTION,
    }
}

struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f64 / f64::from(1u32 << 24)
    }
}

/// A gauge or a counter, as its number says.
fn partial(metric: usize, value: f64) -> Partial {
    if metric % 2 == 1 {
        Partial::Increase(IncreasePartial {
            increase: value * 10.0,
            seconds: 10.0,
            resets: 0,
            life: Life::GoesOn,
        })
    } else {
        Partial::Gauge(GaugePartial {
            count: 1,
            sum: value,
            min: value,
            max: value,
            last: value,
        })
    }
}

/// Hosts times metrics, bound in the order of their labels.
struct World {
    directory: Directory,
    closed: ClosedBucket,
    metrics_of: Vec<usize>,
    bound_in: Duration,
    /// Bytes in use before the first series was bound, and by what is not the directory's.
    bytes_of_others: usize,
}

impl World {
    fn new(plan: Arc<Plan>, hosts: usize, metrics: usize, parts: usize) -> Self {
        let mut directory = Directory::new(plan);
        let selector = Arc::clone(directory.selector());
        let mut metrics_of = Vec::with_capacity(hosts * metrics * parts);
        let mut bound_in = Duration::ZERO;
        let mut series = Vec::with_capacity(hosts * metrics * parts);
        let bytes_of_others = ALLOCATED.current_usage();
        for metric in 0..metrics {
            for host in 0..hosts {
                for part in 0..parts {
                    let labels = labels(host, metric, (1 < parts).then_some(part));
                    let meta = SeriesMeta::default();
                    let id = SeriesId(metrics_of.len() as u32);
                    let start = now();
                    let kind = selector.series(&labels, meta);
                    let kind = kind.expect("the check selects every series");
                    directory.bind_series(id, &labels, meta, kind);
                    bound_in += start.elapsed();
                    metrics_of.push(metric);
                    series.push(SeriesPartial {
                        series: id,
                        partial: partial(metric, 0.0),
                        is_cut: false,
                    });
                }
            }
        }
        Self {
            directory,
            closed: ClosedBucket {
                series,
                ..ClosedBucket::default()
            },
            metrics_of,
            bound_in,
            bytes_of_others,
        }
    }

    fn fill(&mut self, number: usize, noise: &mut Noise) {
        self.closed.interval = bucket(number);
        for (series, metric) in self.closed.series.iter_mut().zip(&self.metrics_of) {
            let jitter = noise.next() + noise.next() - 1.0;
            series.partial = partial(*metric, 50.0 + 5.0 * jitter);
        }
    }

    fn spread(&mut self) -> Duration {
        let start = now();
        self.directory.spread(&self.closed);
        start.elapsed()
    }
}

fn spread_all(series: usize, rounds: usize) {
    let hosts = (series / 100).max(1);
    println!("\nspread: {series} series ({hosts} hosts), nanoseconds for each in a bucket");
    let probe = spread_probe(series, rounds);
    let report = |what: &str, took: Duration, bound: Option<Duration>| {
        let each = |took: Duration| took.as_secs_f64() * 1e9 / series as f64;
        let bound = bound.map_or(String::new(), |bound| {
            format!("  bound in {:.0} ns each, once", each(bound))
        });
        println!(
            "{what:<44} {:>7.1} ns  {:>5.1} x probe{bound}",
            each(took),
            took.as_secs_f64() / probe.as_secs_f64()
        );
    };
    report("probe: one indexed write of a cell", probe, None);
    for (what, check, parts) in [
        ("bounds on *", "{metric: '*', bounds: {max: 1000}}", 1),
        ("compare on *", "{metric: '*', compare: {}}", 1),
        (
            "bounds on *, two series in each cell",
            "{metric: '*', bounds: {max: 1000}}",
            2,
        ),
    ] {
        let mut world = World::new(plan(check), hosts, 100 / parts, parts);
        assert_eq!(world.closed.series.len(), hosts * (100 / parts) * parts);
        let mut noise = Noise(7);
        let mut times = Vec::new();
        for number in 0..rounds {
            world.fill(number, &mut noise);
            times.push(world.spread());
        }
        times.sort();
        report(what, times[times.len() / 2], Some(world.bound_in));
    }
}

/// What it costs at least: each partial is read, and the cell of its series written.
fn spread_probe(series: usize, rounds: usize) -> Duration {
    let partials: Vec<SeriesPartial> = (0..series)
        .map(|index| SeriesPartial {
            series: SeriesId(index as u32),
            partial: partial(0, index as f64),
            is_cut: false,
        })
        .collect();
    let mut cells = vec![[0.0; 5]; series];
    let took = (0..rounds).map(|_| {
        let start = now();
        for SeriesPartial {
            series, partial, ..
        } in &partials
        {
            if let Partial::Gauge(gauge) = partial {
                let mean = gauge.sum / f64::from(gauge.count);
                cells[series.0 as usize] = [mean, gauge.min, gauge.max, 0.0, 1.0];
            }
        }
        let took = start.elapsed();
        assert_eq!(black_box(&cells)[series - 1][0], (series - 1) as f64);
        took
    });
    took.min().expect("there is at least one round")
}

fn memory_all(series: usize) {
    let hosts = (series / 100).max(1);
    println!("\nmemory: bytes for each of {} series", hosts * 100);
    for (what, check) in [
        ("bounds on *", "{metric: '*', bounds: {max: 1000}}"),
        ("absent on *", "{metric: '*', absent: 5m}"),
        ("load on *", "{metric: '*', load: {of: onebox}}"),
        ("compare on *", "{metric: '*', compare: {}}"),
    ] {
        let mut world = World::new(plan(check), hosts, 100, 1);
        let each = |world: &World| {
            let bytes = ALLOCATED.current_usage() - world.bytes_of_others;
            bytes as f64 / world.closed.series.len() as f64
        };
        let mut noise = Noise(7);
        print!("{what:<44}");
        let mut number = 0;
        for until in [10, 2_160] {
            while number < until {
                world.fill(number, &mut noise);
                world.spread();
                number += 1;
            }
            print!("  after {until} buckets: {:.0} B", each(&world));
        }
        println!();
    }
}

/// Series that stay: once the past is filled, a day costs no more memory than a bucket.
fn a_day(series: usize) {
    let mut world = World::new(plan("{metric: '*', compare: {}}"), series / 10, 10, 1);
    let mut noise = Noise(7);
    let mut filled = 0;
    for number in 0..2_200 + 8_640 {
        world.fill(number, &mut noise);
        world.spread();
        if number == 2_200 {
            filled = ALLOCATED.current_usage();
        }
    }
    let after = ALLOCATED.current_usage();
    println!("\na day of {series} series with a filled past: {filled} B before, {after} B after");
    assert!(after <= filled, "{filled} grew to {after}");
}

#[expect(
    clippy::too_many_lines,
    reason = "one measurement, told from start to end"
)]
fn judge(size: Size) {
    let plan = Arc::new(Plan::parse(CONFIGURATION).expect("the configuration is valid"));
    let mut world = World::new(Arc::clone(&plan), size.hosts, size.metrics, 1);
    println!(
        "\njudge: {} hosts x {} metrics, {} buckets of past",
        size.hosts, size.metrics, size.past
    );
    let stream = |host: usize| {
        Labels::new([
            ("service", "app".to_owned()),
            ("host", format!("h{host:05}")),
            ("version", "v1".to_owned()),
        ])
    };
    let mut classes = Vec::new();
    for host in 0..size.hosts {
        let attributes = stream(host);
        let candidates = world.directory.selector().stream(&attributes);
        let candidates = candidates.expect("the service owns its logs");
        world
            .directory
            .bind_stream(StreamId(host as u32), &attributes);
        let of_all = (Severity::ERROR, "x");
        classes.clear();
        let selector = world.directory.selector();
        selector.classify(&candidates, Some(of_all.0), Some(of_all.1), &mut classes);
    }
    let logs: Vec<LogCount> = (0..size.hosts)
        .map(|host| LogCount {
            stream: StreamId(host as u32),
            severity: Severity::ERROR,
            template: Arc::from("could not reach <*>"),
            classes: classes.clone(),
            count: 1,
        })
        .collect();
    let mut noise = Noise(11);
    for number in 0..size.past {
        world.fill(number, &mut noise);
        world.closed.logs.clone_from(&logs);
        world.spread();
    }
    let service = &plan.services["app"];
    let began_at = bucket(size.past).start;
    let one_box = size.hosts / 20;
    let mut gates: Vec<Gate> = service
        .stages
        .iter()
        .map(|stage| {
            let begin = Begin {
                at: began_at,
                deployment: stage.name.clone(),
                service: "app".to_owned(),
                stage: stage.name.clone(),
                region: None,
                version: "v2".to_owned(),
                one_box: (0..one_box).map(|host| format!("h{host:05}")).collect(),
                fleet: Vec::new(),
                weight: 1.0,
                hotfix: None,
            };
            world.directory.expect_hosts(&begin);
            let check = |name: &str| &plan.checks[name];
            let before = Before::until(begin.at);
            Gate::open(
                begin,
                before,
                service,
                stage,
                RESOLUTION,
                &plan.digest,
                check,
            )
        })
        .collect();
    let mut spreads = Vec::new();
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); gates.len()];
    for number in size.past..size.past + size.judged {
        world.fill(number, &mut noise);
        world.closed.logs.clone_from(&logs);
        spreads.push(world.spread());
        for (gate, times) in gates.iter_mut().zip(&mut times) {
            let start = now();
            world.directory.judge(gate, world.closed.interval);
            times.push(start.elapsed());
        }
    }
    report_bucket("spread, panels of all checks", &spreads);
    for (gate, times) in gates.iter().zip(&times) {
        let state = gate.checks[0].finding.as_ref().map(|found| found.state);
        let what = format!("{} ({state:?})", gate.begin.stage);
        report_bucket(&what, times);
        assert!(!gate.is_final(), "{:#?}", gate.verdict());
        for check in &gate.checks {
            assert!(check.finding.is_some(), "{} was never judged", check.name);
        }
    }
}

fn report_bucket(what: &str, times: &[Duration]) {
    let mut sorted = times.to_vec();
    sorted.sort();
    let share = |took: Duration| 100.0 * took.as_secs_f64() / RESOLUTION.seconds_f64();
    let middle = sorted[sorted.len() / 2];
    let worst = *sorted.last().expect("at least one bucket was judged");
    println!(
        "{what:<44} median {:>8.2} ms ({:>5.2} % of a bucket)  worst {:>8.2} ms ({:>5.2} %)",
        middle.as_secs_f64() * 1e3,
        share(middle),
        worst.as_secs_f64() * 1e3,
        share(worst)
    );
}

const CONFIGURATION: &str = "
resolution: 10s
lateness: 0s
checks:
  everything: {metric: '*', compare: {}}
  bounds:     {metric: '*', bounds: {max: 1000}}
  trend:      {metric: '*', derivative: {}}
  limited:    {metric: '*', derivative: {max: 1000000/h}}
  history:    {metric: '*', sigma: {}}
  present:    {metric: '*', absent: 5m}
  load:       {metric: requests_001_total, load: {of: a-everything}}
  ratio:      {metric: requests_001_total, per: requests_003_total, bounds: {max: 10}}
  errors:     {logs: {severity: ERROR}, bounds: {max: 60/m}}
  more:       {logs: {severity: ERROR}, compare: {}}
  silent:     {logs: {}, absent: 5m}
  new:        {logs: {new: true}}
services:
  app:
    stages:
      - {name: a-everything, bake: 2h, checks: [everything]}
      - {name: b-bounds, bake: 2h, checks: [bounds]}
      - {name: c-trend, bake: 2h, checks: [trend]}
      - {name: d-limited, bake: 2h, checks: [limited]}
      - {name: e-history, bake: 2h, checks: [history]}
      - {name: f-present, bake: 2h, checks: [present]}
      - {name: g-load, bake: 2h, checks: [load]}
      - {name: h-ratio, bake: 2h, checks: [ratio]}
      - {name: i-errors, bake: 2h, checks: [errors]}
      - {name: j-more, bake: 2h, checks: [more]}
      - {name: k-silent, bake: 2h, checks: [silent]}
      - {name: l-new, bake: 2h, checks: [new]}
      - {name: m-all, bake: 2h, checks: [everything, bounds, trend, limited, history, present, load, ratio, errors, more, silent, new]}
";
