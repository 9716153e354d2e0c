//! What the false-alarm rate is where the truth is known, and how fast harm is found: the nulls and
//! the goals of the statistics, through the real detectors, looked at in every bucket.
//!
//! `cargo bench --bench simulate` runs the long form, half an hour on two cores: at least 2,000
//! healthy deployments for each null, and 60 for each effect. `-- --check` runs a few of each, as a
//! check that all of it works; `--only TEXT`, `--runs N` (of the nulls) and `--threads N` choose. Rows
//! are Markdown. A null whose false alarms are certainly more than alpha makes it exit with 1.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

mod simulations;

use std::{
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use simulations::{
    HOUR, MINUTE, Scene, Seen, Watched, World, compare,
    worlds::{Counts, Effect, Gauge, Memory, Nature, Nuisance, Requests},
};
use sluice::{
    event::{Span, Unit},
    plan::{DetectorPlan, Direction},
    source::backtest::Rate,
};

type Build = Box<dyn Fn(u64) -> Box<dyn World> + Sync>;

/// One row: a scene, worlds by their seeds, and what is known of it.
struct Row {
    name: String,
    scene: Scene,
    build: Build,
    asks: Asks,
}

/// What a row is about.
enum Asks {
    /// Healthy deployments are failed at most as often as alpha says.
    Null,
    /// The same, without a promise: the basis is a model.
    Unpromised,
    /// How long after its onset (a bucket) harm is found; the goal and the oracle's median, in
    /// minutes.
    Delay {
        onset: i64,
        goal: &'static str,
        oracle: &'static str,
    },
    /// The same, of a one-box of several hosts of which one is ill: how often that costs the PASS at the
    /// end; goal.
    Sick { goal: &'static str },
    /// How often, and when, the gate could pass; goal.
    Pass { goal: &'static str },
}

struct Size {
    nulls: u64,
    effects: u64,
    threads: usize,
    only: String,
}

fn main() -> ExitCode {
    let size = size();
    println!(
        "| simulation | n | failed, 95 % interval | median delay (90 %) | goal | oracle | detectable |"
    );
    println!("|---|---|---|---|---|---|---|");
    let mut all_hold = true;
    for row in rows() {
        if row.name.contains(&size.only) {
            all_hold &= row.run(&size);
        }
    }
    if all_hold {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn size() -> Size {
    let arguments: Vec<String> = std::env::args().collect();
    let after = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let is_check = arguments
        .iter()
        .any(|argument| argument == "--check" || argument == "--test");
    let number = |name: &str| after(name)?.parse().ok();
    let usual = thread::available_parallelism().map_or(1, usize::from);
    Size {
        nulls: number("--runs").unwrap_or(if is_check { 4 } else { 2_000 }),
        effects: if is_check { 2 } else { 60 },
        threads: number("--threads").map_or(usual, |threads| threads as usize),
        only: after("--only").unwrap_or_default(),
    }
}

impl Row {
    fn run(&self, size: &Size) -> bool {
        let runs = match self.asks {
            Asks::Null | Asks::Unpromised | Asks::Sick { .. } => size.nulls,
            Asks::Delay { .. } => size.effects,
            Asks::Pass { .. } => size.effects.max(size.nulls / 10),
        };
        let seen = self.seen(runs, size.threads);
        let mut failed = Rate::default();
        for run in &seen {
            failed.count(run.breach.is_some());
        }
        let minutes = |bucket: f64| format!("{:.1} min", bucket / MINUTE as f64);
        let quantiles = |mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            let at = |share: f64| {
                let rank = (share * runs as f64).ceil() as usize;
                values
                    .get(rank.max(1) - 1)
                    .map_or("never".to_owned(), |value| minutes(*value))
            };
            format!("{} ({})", at(0.5), at(0.9))
        };
        let (low, high) = failed.interval();
        let percent = |share: f64| format!("{:.2}", 100.0 * share);
        let told = format!(
            "{} = {} % ({} to {})",
            failed.hits,
            percent(failed.share().unwrap_or(0.0)),
            percent(low),
            percent(high)
        );
        let mut detectable: Vec<f64> = seen.iter().filter_map(|run| run.detectable).collect();
        detectable.sort_by(f64::total_cmp);
        let detectable = detectable
            .get(detectable.len() / 2)
            .map_or("-".to_owned(), |value| format!("{:.1} %", 100.0 * value));
        let (delay, goal, oracle) = match self.asks {
            Asks::Null => ("-".to_owned(), "≤ 1 %", "-"),
            Asks::Unpromised => ("-".to_owned(), "-", "-"),
            Asks::Delay {
                onset,
                goal,
                oracle,
            } => {
                let delays = seen.iter().filter_map(|run| run.breach);
                let delays = delays
                    .filter(|at| onset < *at)
                    .map(|at| (at - onset) as f64);
                (quantiles(delays.collect()), goal, oracle)
            }
            Asks::Sick { goal } => {
                let withheld = seen.iter().filter(|run| run.is_withheld).count();
                (format!("no data at the end: {withheld}"), goal, "-")
            }
            Asks::Pass { goal } => {
                let passes: Vec<f64> = seen
                    .iter()
                    .filter_map(|run| Some(run.pass? as f64))
                    .collect();
                let count = passes.len();
                (format!("passed {count}: {}", quantiles(passes)), goal, "-")
            }
        };
        println!(
            "| {} | {runs} | {told} | {delay} | {goal} | {oracle} | {detectable} |",
            self.name
        );
        !(matches!(self.asks, Asks::Null) && self.scene.alpha < low)
    }

    /// What was seen, by seed: the same whatever the number of threads.
    fn seen(&self, runs: u64, threads: usize) -> Vec<Seen> {
        let next = AtomicU64::new(0);
        let work = || {
            let mut seen = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if runs <= seed {
                    return seen;
                }
                seen.push((seed, self.scene.run(&mut *(self.build)(seed))));
            }
        };
        let mut seen: Vec<(u64, Seen)> = thread::scope(|scope| {
            let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
            let joined = workers.into_iter().map(thread::ScopedJoinHandle::join);
            joined
                .flat_map(|seen| seen.expect("a simulation does not panic"))
                .collect()
        });
        seen.sort_by_key(|(seed, _)| *seed);
        seen.into_iter().map(|(_, seen)| seen).collect()
    }
}

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    gauges(&mut rows);
    effects(&mut rows);
    forgiven(&mut rows);
    counts(&mut rows);
    requests(&mut rows);
    memory(&mut rows);
    few(&mut rows);
    sick(&mut rows);
    rows
}

/// The nulls of table A by name, with their one-boxes of 50 hosts.
const GAUGES: [(&str, usize, Nature); 5] = [
    ("A i iid", 5, Nature::IID),
    ("A ii ar1", 5, Nature::CORRELATED),
    ("A iii heavy", 5, Nature::HEAVY),
    ("A v unequal 2of50", 2, Nature::UNEQUAL),
    ("A vi diurnal 24h", 5, Nature::SEASONAL),
];

fn gauge(name: String, one_box: usize, nature: Nature, effect: Effect, asks: Asks) -> Row {
    let mut scene = Scene::strict(one_box, 50 - one_box);
    if nature.is_seasonal {
        scene.after = 24 * HOUR;
    }
    Row {
        name,
        scene,
        build: Box::new(move |seed| Box::new(Gauge::new(seed, 50, one_box, nature, effect))),
        asks,
    }
}

/// Goals, and the oracle's delays, in the order of the nulls.
type Told = [(&'static str, &'static str); 5];

/// Effects by name, with the tolerance under which they are looked for. The goals are of tests without
/// any: a hundredth is as near as one would configure.
const EFFECTS: [(&str, Effect, Option<f64>, Told); 7] = [
    ("2x", Effect::Level(2.0, 0), None, [("≤ 0.2", "0.2"); 5]),
    (
        "+20 %, tolerance 1 %",
        Effect::Level(1.2, 0),
        Some(0.01),
        [
            ("≤ 0.3", "0.2"),
            ("≤ 0.3", "0.2"),
            ("≤ 0.3", "0.2"),
            ("≤ 12", "1.7"),
            ("≤ 0.3", "0.2"),
        ],
    ),
    (
        "+20 %, default tolerance",
        Effect::Level(1.2, 0),
        None,
        [
            ("-", "0.2"),
            ("-", "0.2"),
            ("-", "0.2"),
            ("-", "1.7"),
            ("-", "0.2"),
        ],
    ),
    (
        "+20 % after 1 h, tolerance 1 %",
        Effect::Level(1.2, HOUR),
        Some(0.01),
        [
            ("≤ 2.5", "0.2"),
            ("≤ 5", "0.2"),
            ("≤ 2.5", "0.2"),
            ("≤ 35", "0.8"),
            ("-", "0.2"),
        ],
    ),
    (
        "+20 % after 1 h, default tolerance",
        Effect::Level(1.2, HOUR),
        None,
        [
            ("-", "0.2"),
            ("-", "0.2"),
            ("-", "0.2"),
            ("-", "0.8"),
            ("-", "0.2"),
        ],
    ),
    (
        "+5 %, tolerance 1 %",
        Effect::Level(1.05, 0),
        Some(0.01),
        [
            ("≤ 3", "1.2"),
            ("≤ 75", "35.4"),
            ("≤ 2", "0.7"),
            ("print", "94.8"),
            ("-", "36.8"),
        ],
    ),
    (
        "noise 2x",
        Effect::Spread,
        None,
        [
            ("≤ 15", "-"),
            ("≤ 15", "-"),
            ("≤ 15", "-"),
            ("≤ 45", "-"),
            ("≤ 45", "-"),
        ],
    ),
];

fn gauges(rows: &mut Vec<Row>) {
    for (name, one_box, nature) in GAUGES {
        rows.push(gauge(
            format!("null {name}"),
            one_box,
            nature,
            Effect::Nothing,
            Asks::Null,
        ));
    }
}

fn effects(rows: &mut Vec<Row>) {
    for (effect_name, effect, tolerance, told) in EFFECTS {
        for ((name, one_box, nature), (goal, oracle)) in GAUGES.into_iter().zip(told) {
            let onset = if let Effect::Level(_, from) = effect {
                from
            } else {
                0
            };
            let asks = Asks::Delay {
                onset,
                goal,
                oracle,
            };
            let mut row = gauge(
                format!("{effect_name} {name}"),
                one_box,
                nature,
                effect,
                asks,
            );
            // As one configures what only harms upwards.
            row.scene.detector = compare(tolerance, Direction::Up);
            row.scene.after = row.scene.after.min(6 * HOUR);
            rows.push(row);
        }
    }
}

/// What heals within the grace, and what may pass early.
fn forgiven(rows: &mut Vec<Row>) {
    for (name, one_box, nature) in GAUGES {
        let asks = Asks::Unpromised;
        let mut row = gauge(
            format!("heals (goal ≤ 2 %) {name}"),
            one_box,
            nature,
            Effect::Bump,
            asks,
        );
        row.scene.detector = compare(None, Direction::Up);
        row.scene.grace = 10 * MINUTE;
        row.scene.after = 6 * HOUR;
        rows.push(row);
    }
    let passes = [
        (0, "10 min"),
        (1, "10 min, 97 % in 60"),
        (3, "51 min, 81 % in 6 h"),
    ];
    for (index, goal) in passes {
        let (name, one_box, nature) = GAUGES[index];
        for (what, effect, goal) in [
            ("healthy", Effect::Nothing, goal),
            ("at the tolerance", Effect::Level(1.1, -1), "passed ≤ 5 %"),
        ] {
            let name = format!("pass {what} {name}");
            let mut row = gauge(name, one_box, nature, effect, Asks::Pass { goal });
            row.scene.detector = compare(Some(0.1), Direction::Up);
            rows.push(row);
        }
    }
}

fn counts(rows: &mut Vec<Row>) {
    let kinds = [
        ("poisson", Nuisance::Poisson),
        ("unequal", Nuisance::Unequal),
        ("burst", Nuisance::Burst),
        ("sticky", Nuisance::Sticky),
        ("all", Nuisance::All),
    ];
    let row = |name: String, rate: f64, nuisance: Nuisance, factor: f64, asks: Asks| {
        let mut scene = Scene::strict(5, 45);
        scene.watched = Watched::Records;
        scene.detector = compare(None, Direction::Up);
        Row {
            name,
            scene,
            build: Box::new(move |seed| {
                Box::new(Counts::new(seed, (5, 45), rate, nuisance, factor))
            }),
            asks,
        }
    };
    for rate in [0.36, 3.6, 36.0] {
        for (name, nuisance) in kinds {
            rows.push(row(
                format!("null B {name} {rate}/h"),
                rate,
                nuisance,
                1.0,
                Asks::Null,
            ));
        }
    }
    for (rate, factor, kind, goal, oracle) in [
        (3.6, 5.0, 0, "≤ 18", "4.9"),
        (3.6, 20.0, 0, "≤ 1.5", "0.7"),
        (0.36, 20.0, 0, "≤ 17", "7.0"),
        (3.6, 5.0, 4, "≤ 71", "-"),
        (3.6, 20.0, 4, "≤ 7", "-"),
    ] {
        let (name, nuisance) = kinds[kind];
        let asks = Asks::Delay {
            onset: 0,
            goal,
            oracle,
        };
        rows.push(row(
            format!("x{factor} B {name} {rate}/h"),
            rate,
            nuisance,
            factor,
            asks,
        ));
    }
}

fn requests(rows: &mut Vec<Row>) {
    let kinds = [
        ("iid", (0.0, 1.0)),
        ("unequal 5 %", (0.05, 1.0)),
        ("ar1 5 %", (0.05, 0.95)),
    ];
    for (name, hosts) in kinds {
        let row = |name: String, effect: Effect, tolerance: f64, asks: Asks| {
            let mut scene = Scene::strict(5, 45);
            scene.after = 2 * HOUR;
            scene.watched = Watched::Quantiles;
            let direction = if effect == Effect::Nothing {
                Direction::Both
            } else {
                Direction::Up
            };
            scene.detector = compare(Some(tolerance), direction);
            Row {
                name,
                scene,
                build: Box::new(move |seed| Box::new(Requests::new(seed, (5, 45), hosts, effect))),
                asks,
            }
        };
        rows.push(row(
            format!("null C {name}"),
            Effect::Nothing,
            0.0,
            Asks::Null,
        ));
        let goal = if name == "ar1 5 %" { "-" } else { "≤ 3" };
        let asks = Asks::Delay {
            onset: 0,
            goal,
            oracle: "-",
        };
        rows.push(row(
            format!("+5 % C {name}"),
            Effect::Level(1.05, 0),
            0.01,
            asks,
        ));
        let goal = if name == "ar1 5 %" { "≤ 4" } else { "≤ 2" };
        let asks = Asks::Delay {
            onset: 0,
            goal,
            oracle: "-",
        };
        rows.push(row(
            format!("5 % of requests 3x C {name}"),
            Effect::SlowFew,
            0.01,
            asks,
        ));
    }
}

fn memory(rows: &mut Vec<Row>) {
    let derivative = DetectorPlan::Derivative {
        max: None,
        min: None,
        // Longer than the saw-teeth.
        over: Span::from_hours(2),
    };
    let by = [
        ("compare", compare(None, Direction::Up)),
        ("derivative", derivative),
    ];
    for (name, detector) in by {
        let row = |name: String, effect: Effect, asks: Asks| {
            let mut scene = Scene::strict(2, 48);
            scene.grace = 2 * HOUR;
            scene.after = 22 * HOUR;
            scene.watched = Watched::Gauge("process_resident_memory_bytes", Unit::Bytes);
            scene.detector = detector.clone();
            Row {
                name,
                scene,
                build: Box::new(move |seed| Box::new(Memory::new(seed, (2, 48), effect))),
                asks,
            }
        };
        rows.push(row(
            format!("null D restart, {name}"),
            Effect::Nothing,
            Asks::Null,
        ));
        for (share, goal) in [
            (0.003, "≤ 1200"),
            (0.01, "≤ 330"),
            (0.03, "≤ 180"),
            (0.1, "≤ 180"),
        ] {
            let asks = Asks::Delay {
                onset: 0,
                goal,
                oracle: "-",
            };
            let percent = 100.0 * share;
            rows.push(row(
                format!("leak {percent} %/h D, {name}"),
                Effect::Leak(share),
                asks,
            ));
        }
    }
}

/// How hosts behave where one of several falls ill, and where all of few do.
const SICK: [(&str, Nature); 3] = [
    ("ar1", Nature::CORRELATED),
    ("unequal", Nature::UNEQUAL),
    ("iid", Nature::IID),
];

/// Until when the one host is ill.
const LENGTHS: [(&str, i64); 2] = [("", 45 * MINUTE), (" for good", i64::MAX)];

/// One host of several falls ill by itself: that is not the version's fault, but nobody knows it.
fn sick(rows: &mut Vec<Row>) {
    for (name, one_box, fleet) in [
        ("2of50", 2, 48),
        ("3of20", 3, 17),
        ("2of6", 2, 4),
        ("3of8", 3, 5),
    ] {
        let (mut lengths, mut natures) = (&LENGTHS[..], &SICK[..]);
        if 6 <= fleet {
            // What takes long to simulate, only as it ever was.
            (lengths, natures) = (&LENGTHS[..1], &SICK[..2]);
        }
        for (what, until) in lengths.iter().copied() {
            for (kind, nature) in natures.iter().copied() {
                let asks = Asks::Sick { goal: "≤ 2 %" };
                let name = format!("sick host {name} {kind}{what}, default tolerance");
                rows.push(default(
                    name,
                    (one_box, fleet),
                    nature,
                    Effect::Sick(until),
                    asks,
                ));
            }
        }
    }
}

/// A deployment that is judged as one that configures nothing, for two hours.
fn default(
    name: String,
    (one_box, fleet): (usize, usize),
    nature: Nature,
    effect: Effect,
    asks: Asks,
) -> Row {
    let mut scene = Scene::strict(one_box, fleet);
    scene.detector = compare(None, Direction::Up);
    scene.after = 2 * HOUR;
    let hosts = one_box + fleet;
    Row {
        name,
        scene,
        build: Box::new(move |seed| Box::new(Gauge::new(seed, hosts, one_box, nature, effect))),
        asks,
    }
}

/// Few hosts: no promise, but a measured rate.
fn few(rows: &mut Vec<Row>) {
    for (name, one_box, fleet, nature) in [
        ("few 1of4 iid", 1, 3, Nature::IID),
        ("few 1of4 ar1", 1, 3, Nature::CORRELATED),
        ("few 1of6 unequal", 1, 5, Nature::UNEQUAL),
        ("few 1of8 ar1", 1, 7, Nature::CORRELATED),
        ("few 2of12 unequal", 2, 10, Nature::UNEQUAL),
    ] {
        let mut scene = Scene::strict(one_box, fleet);
        scene.detector = compare(None, Direction::Both);
        scene.after = 2 * HOUR;
        let hosts = one_box + fleet;
        rows.push(Row {
            name: format!("null {name}, default tolerance"),
            scene,
            build: Box::new(move |seed| {
                Box::new(Gauge::new(seed, hosts, one_box, nature, Effect::Nothing))
            }),
            asks: Asks::Unpromised,
        });
    }
    for (name, one_box, fleet) in [("2of6", 2, 4), ("3of8", 3, 5)] {
        for (kind, nature) in SICK {
            let name = format!("few {name} {kind}, default tolerance");
            let (row, hosts) = (default, (one_box, fleet));
            let null = format!("null {name}");
            rows.push(row(null, hosts, nature, Effect::Nothing, Asks::Unpromised));
            for (what, factor) in [("x1.5", 1.5), ("x1.3", 1.3)] {
                let effect = Effect::Level(factor, 30 * MINUTE);
                let asks = Asks::Delay {
                    onset: 30 * MINUTE,
                    goal: "-",
                    oracle: "-",
                };
                rows.push(row(format!("{what} {name}"), hosts, nature, effect, asks));
            }
        }
    }
}
