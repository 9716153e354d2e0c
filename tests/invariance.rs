//! Laws of the comparison as a whole, through the engine: what must not change a verdict, and what must
//! never make one better.
//!
//! Worlds are of four kinds: many hosts with a past, few hosts with a past, a fresh one-box without one,
//! and events. What does not hold exactly, and why, stands at the law that is nearest to it.

#[allow(dead_code, reason = "log records are no part of these worlds")]
mod common;

use std::sync::{Arc, LazyLock};

use common::{Driver, batch, begin, block, noise::Noise, plan, point};
use proptest::prelude::*;
use sluice::{
    engine::Input,
    event::{Batch, DeploymentEvent, Kind, SeriesBlock, Span, Timestamp, Value},
    gate::VerdictState,
    plan::Plan,
};

const RESOLUTION: Span = Span::from_seconds(60);
const BEGAN: i64 = 1_772_532_000;
const PAST: i64 = 60;
const BAKE: i64 = 40;

static PLAN: LazyLock<Arc<Plan>> = LazyLock::new(|| {
    plan(
        "
resolution: 60s
lateness: 0s
labels: {host: [host]}
checks:
  latency: {metric: latency, compare: {direction: up}}
  memory:  {metric: memory, compare: {direction: up}}
  share:   {metric: busy, unit: ratio, compare: {}}
  errors:  {metric: errors_total, per: requests_total, compare: {direction: up}}
  events:  {metric: restarts_total, compare: {direction: up}}
services:
  app:
    stages:
      - {name: canary, bake: 40m, grace: 2m, checks: [latency, memory, share, errors, events]}
",
    )
});

#[derive(Clone, Copy, Debug, PartialEq)]
enum Cast {
    Many,
    Few,
    Fresh,
}

/// A deployment and the numbers that its hosts show.
#[derive(Clone, Copy, Debug)]
struct World {
    seed: u64,
    cast: Cast,
    one_box: usize,
    fleet: usize,
    /// What the version multiplies latency and memory by, and errors and restarts.
    harm: f64,
    errors: f64,
}

/// What is done to a world.
#[derive(Clone, Copy, Debug)]
struct Twist {
    /// Latency and memory of every host at all times.
    scale: f64,
    /// Of every host from the deployment on.
    surge: f64,
    /// Added to the latency and memory of every host, and to the share.
    load: f64,
    share: f64,
    /// Swaps the names of hosts, within one-box and fleet.
    swap: u64,
    /// A further fault of the one-box, from a bucket on.
    fault: f64,
    fault_from: i64,
    /// Share of samples that are lost, in percent, of all or of a single host, from a bucket on.
    lost: u64,
    lost_of: Option<usize>,
    lost_from: i64,
}

const NOTHING: Twist = Twist {
    scale: 1.0,
    surge: 1.0,
    load: 0.0,
    share: 0.0,
    swap: 0,
    fault: 1.0,
    fault_from: 0,
    lost: 0,
    lost_of: None,
    lost_from: -PAST,
};

fn worlds(casts: &'static [Cast]) -> impl Strategy<Value = World> {
    let effects = prop_oneof![Just(1.0), 1.0..1.3, 1.3..4.0];
    let errors = prop_oneof![Just(1.0), 1.0..30.0];
    (
        any::<u64>(),
        prop::sample::select(casts),
        1..4usize,
        0..10usize,
        effects,
        errors,
    )
        .prop_map(|(seed, cast, one_box, more, harm, errors)| {
            let (one_box, fleet) = match cast {
                Cast::Many => (one_box, 10 + more),
                Cast::Few => (1, 2 + more % 3),
                Cast::Fresh => (1 + one_box % 2, 3 + more % 4),
            };
            World {
                seed,
                cast,
                one_box,
                fleet,
                harm,
                errors,
            }
        })
}

const ALL: &[Cast] = &[Cast::Many, Cast::Few, Cast::Fresh];

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(60))]

    /// Powers of two: other factors round, and a verdict on the edge may fall to either side. Shares
    /// have no unit to scale.
    #[test]
    fn the_unit_of_a_metric_does_not_matter(world in worlds(ALL), power in -12..12i32) {
        let twisted = Twist { scale: 2.0_f64.powi(power), ..NOTHING };
        prop_assert_eq!(world.run(NOTHING), world.run(twisted));
    }

    /// Many hosts: the contrast does not see it, but for the 2 % of the usual level that are added before a
    /// logarithm is taken, so that a harm at the edge of the tolerance may fall to either side. Few hosts
    /// scale a load that they never saw down to what they know, and their margins are absolute: there it is
    /// no law.
    #[test]
    fn a_surge_that_all_hosts_have_is_not_charged_to_the_deployment(
        world in worlds(&[Cast::Many]),
        power in -3..3i32,
    ) {
        let harm = if world.harm < 1.3 { 1.0 } else { world.harm.max(2.0) };
        let world = World { harm, ..world };
        let twisted = Twist { surge: 2.0_f64.powi(power), ..NOTHING };
        prop_assert_eq!(world.run(NOTHING).last, world.run(twisted).last);
    }

    /// What is relative gets smaller with a load that all hosts carry: a harm of 30 % of 100 ms is one of
    /// 15 % of 200 ms, and may then be within the tolerance. So it never makes a verdict worse, but is
    /// exact only where differences are in points (shares).
    #[test]
    fn a_constant_load_on_all_hosts_never_fails_a_deployment(
        world in worlds(&[Cast::Many]),
        load in 0.0..2.0f64,
        share in 0..20u32,
    ) {
        let calm = World { harm: 1.0, ..world };
        let twisted = Twist { load, share: f64::from(share) / 64.0, ..NOTHING };
        if calm.run(NOTHING).last != VerdictState::Fail {
            prop_assert_ne!(calm.run(twisted).last, VerdictState::Fail);
        }
    }

    /// A one-box of one or two hosts among few, or of one among many. Where several are held against
    /// groups of as many of the fleet, the groups follow the names: see the next law.
    #[test]
    fn which_host_has_which_name_does_not_matter(world in worlds(ALL), swap in 1..u64::MAX) {
        let world = World { one_box: if world.cast == Cast::Many { 1 } else { world.one_box }, ..world };
        prop_assert_eq!(world.run(NOTHING), world.run(Twist { swap, ..NOTHING }));
    }

    /// Groups of the fleet as large as the one-box are cut by name, so that a swap may move a look at the
    /// edge; a harm that nobody in the fleet comes near is failed under any names, and health is not.
    #[test]
    fn names_do_not_decide_over_a_group(world in worlds(&[Cast::Many]), swap in 1..u64::MAX) {
        for (harm, errors, state) in [(3.0, 1.0, VerdictState::Fail), (1.0, 1.0, VerdictState::Pass)] {
            let world = World { harm, errors, ..world };
            let (plain, swapped) = (world.run(NOTHING), world.run(Twist { swap, ..NOTHING }));
            // A false alarm of a healthy world is one under any names, or its groups are at the edge.
            if plain.last == state {
                prop_assert_eq!(swapped.last, state);
            }
        }
    }

    #[test]
    fn a_further_fault_never_turns_fail_into_pass(
        world in worlds(ALL),
        fault in 1.0..10.0f64,
        fault_from in 0..BAKE,
    ) {
        let plain = world.run(NOTHING);
        let twisted = world.run(Twist { fault, fault_from, ..NOTHING });
        if plain.last != VerdictState::Pass {
            prop_assert_ne!(twisted.last, VerdictState::Pass, "{:?} before", plain.last);
        }
    }

    /// A gross fault is failed or missed for want of data, whoever loses whatever part of the samples, and from
    /// when on: of some hosts, of all, of the past too. No check says that it is in range, or passes undecided.
    ///
    /// For small faults it is no law: half of the data finds what is half as large again at best, and what
    /// stands at the edge of the tolerance may fall to either side. Nor where more than three quarters of
    /// everything are lost, before the deployment too: that is the cadence then, and so few hosts may be left
    /// in a look that nothing in it is certain; of worlds with up to 99 % one in a thousand passes.
    #[test]
    fn lost_data_never_passes_a_gross_fault(
        world in worlds(ALL),
        lost in 1..76u64,
        of in prop::option::of(0..20usize),
        lost_from in -PAST..BAKE,
    ) {
        let world = World { harm: 12.0, errors: 40.0, ..world };
        let plain = world.run(NOTHING);
        prop_assert_eq!(plain.last, VerdictState::Fail);
        let twisted = world.run(Twist { lost, lost_of: of, lost_from, ..NOTHING });
        prop_assert_ne!(twisted.last, VerdictState::Pass, "{:?}", twisted);
        let well = |said: &Said, check: &str| said.checks.contains(&(check.to_owned(), "ok".to_owned()));
        for (check, state) in &plain.checks {
            prop_assert!(state != "breach" || !well(&twisted, check), "{} in {:?}", check, twisted);
        }
    }

    /// Whoever loses most of what the one-box sends since the deployment began, however short each gap is, does
    /// not pass it. A one-box without a past has no cadence that would promise more.
    #[test]
    fn a_one_box_that_is_mostly_lost_never_passes(
        world in worlds(&[Cast::Many, Cast::Few]),
        lost in 80..100u64,
    ) {
        let twists: Vec<Twist> = (0..world.one_box)
            .map(|host| Twist { lost, lost_of: Some(host), lost_from: 0, ..NOTHING })
            .collect();
        prop_assert_ne!(world.run_twists(&twists).last, VerdictState::Pass);
    }

    /// Whoever hears nothing at all of the one-box, or of the fleet, does not pass it.
    #[test]
    fn silence_of_a_side_never_passes(world in worlds(ALL), of_fleet: bool, from in -PAST..BAKE / 2) {
        let sides = if of_fleet { world.one_box..world.hosts() } else { 0..world.one_box };
        let twists: Vec<Twist> = sides
            .map(|host| Twist { lost: 100, lost_of: Some(host), lost_from: from, ..NOTHING })
            .collect();
        prop_assert_ne!(world.run_twists(&twists).last, VerdictState::Pass);
    }
}

#[test]
fn the_worlds_reach_every_test_and_both_answers() {
    let (mut failed, mut passed) = ([0; 3], [0; 3]);
    for seed in 0..30 {
        for (index, cast) in ALL.iter().enumerate() {
            for harm in [1.0, 6.0] {
                let world = World {
                    seed,
                    cast: *cast,
                    one_box: 1,
                    fleet: if *cast == Cast::Many { 14 } else { 4 },
                    harm,
                    errors: harm,
                };
                match world.run(NOTHING).last {
                    VerdictState::Fail => failed[index] += 1,
                    VerdictState::Pass => passed[index] += 1,
                    VerdictState::Pending | VerdictState::NoData | VerdictState::Bypassed => {}
                }
            }
        }
    }
    assert!(
        failed.iter().chain(&passed).all(|count| 25 <= *count),
        "{failed:?} {passed:?}"
    );
}

/// What was said of the deployment: its verdicts with their times, and the states of its checks.
#[derive(Debug, PartialEq)]
struct Said {
    last: VerdictState,
    changes: Vec<(Timestamp, VerdictState)>,
    checks: Vec<(String, String)>,
}

impl World {
    fn hosts(&self) -> usize {
        self.one_box + self.fleet
    }

    fn run(&self, twist: Twist) -> Said {
        self.run_twists(&[twist])
    }

    /// All twists lose data; the first also does everything else.
    fn run_twists(&self, twists: &[Twist]) -> Said {
        let twist = twists[0];
        let names = self.names(twist.swap);
        let mut hosts: Vec<Host> = (0..self.hosts())
            .map(|host| Host::new(self.seed, host))
            .collect();
        let mut noise = Noise::new(self.seed ^ 0x51ed);
        let mut driver = Driver::new(&PLAN);
        for bucket in -PAST..=BAKE {
            let at = Timestamp::from_seconds(BEGAN) + RESOLUTION.times(bucket);
            driver.step(Input::Tick(at));
            if bucket == 0 {
                let mut began = begin(at, "d1");
                began.one_box = names[..self.one_box].to_vec();
                driver.step(Input::Deployment(DeploymentEvent::Begin(began)));
            }
            let mut series = Vec::new();
            for (index, host) in hosts.iter_mut().enumerate() {
                let is_new = index < self.one_box;
                let values = host.values(self, twist, bucket, is_new);
                let is_lost = twists.iter().any(|twist| {
                    let is_meant = twist
                        .lost_of
                        .is_none_or(|host| host % self.hosts() == index);
                    let chance = noise.next() % 100;
                    is_meant && twist.lost_from <= bucket && chance < twist.lost
                });
                if !(is_lost || (is_new && self.cast == Cast::Fresh && bucket < 0)) {
                    series.extend(blocks(&names[index], at, values));
                }
            }
            let data: Batch = batch(series, Vec::new());
            driver.step(Input::Batch(&data));
        }
        let end = Timestamp::from_seconds(BEGAN) + RESOLUTION.times(BAKE + 2);
        driver.step(Input::Tick(end));
        let verdict = driver.engine.verdict("d1").expect("it began");
        Said {
            last: verdict.verdict,
            changes: driver
                .verdicts()
                .map(|verdict| (verdict.at, verdict.verdict))
                .collect(),
            checks: verdict
                .checks
                .iter()
                .map(|check| (check.check.clone(), check.state.name().to_owned()))
                .collect(),
        }
    }

    /// Names by host; swapped within one-box and fleet by a seed that is not 0.
    fn names(&self, swap: u64) -> Vec<String> {
        let mut names: Vec<String> = (0..self.hosts())
            .map(|host| format!("h{host:02}"))
            .collect();
        if swap != 0 {
            let mut noise = Noise::new(swap);
            let (one_box, fleet) = names.split_at_mut(self.one_box);
            for group in [one_box, fleet] {
                for last in (1..group.len()).rev() {
                    group.swap(last, (noise.next() % (last as u64 + 1)) as usize);
                }
            }
        }
        names
    }
}

/// A host that is the same whatever it is called and whatever happens to others.
struct Host {
    noise: Noise,
    offset: f64,
    state: f64,
    counts: [f64; 3],
}

impl Host {
    fn new(seed: u64, host: usize) -> Self {
        let mut noise = Noise::new(seed.wrapping_mul(31).wrapping_add(host as u64 * 1_000_003));
        let offset = 0.1 * noise.normal();
        Self {
            state: noise.normal(),
            noise,
            offset,
            counts: [0.0; 3],
        }
    }

    /// Latency, memory, share; requests, errors and restarts as counters.
    fn values(&mut self, world: &World, twist: Twist, bucket: i64, is_new: bool) -> [f64; 6] {
        let mut normal = || self.noise.normal();
        let (shock, memory, busy) = (normal(), normal(), normal());
        let (luck, fall) = (self.noise.uniform(), self.noise.uniform());
        self.state = 0.6 * self.state + 0.8 * shock;
        let (mut harm, mut errors) = (1.0, 1.0);
        if is_new && 0 <= bucket {
            (harm, errors) = (world.harm, world.errors);
            if twist.fault_from <= bucket {
                harm *= twist.fault;
                errors *= twist.fault;
            }
        }
        let surge = if 0 <= bucket { twist.surge } else { 1.0 };
        let relative = twist.scale * surge;
        let requests = 600.0;
        self.counts[0] += requests;
        self.counts[1] += (requests * 0.01 * errors * 2.0 * luck)
            .round()
            .min(requests);
        self.counts[2] += f64::from(u8::from(fall < 0.002 * errors));
        [
            relative * (0.2 * harm * (self.offset + 0.04 * self.state).exp() + twist.load),
            relative * (4.0 * harm * (self.offset + 0.01 * memory).exp() + twist.load),
            0.3 + 0.02 * self.offset + 0.01 * busy + twist.share,
            self.counts[0],
            self.counts[1],
            self.counts[2],
        ]
    }
}

fn blocks(host: &str, at: Timestamp, values: [f64; 6]) -> Vec<SeriesBlock> {
    let names = [
        ("latency", Kind::Gauge),
        ("memory", Kind::Gauge),
        ("busy", Kind::Gauge),
        ("requests_total", Kind::Counter),
        ("errors_total", Kind::Counter),
        ("restarts_total", Kind::Counter),
    ];
    let of = |((name, kind), value): ((&str, Kind), f64)| {
        block(
            name,
            &[("host", host)],
            kind,
            vec![point(at, Value::Number(value))],
        )
    };
    names.into_iter().zip(values).map(of).collect()
}
