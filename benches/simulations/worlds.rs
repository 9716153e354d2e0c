//! Healthy hosts, and what can be wrong with them: the nulls of the tables and the effects on them.

use std::f64::consts::TAU;

use sluice::detect::Cell;

use super::{HOUR, MINUTE, World};

/// Numbers from a seed, the same on every machine.
#[derive(Clone)]
pub(crate) struct Noise {
    state: u64,
    spare: Option<f64>,
}

impl Noise {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            state: seed.wrapping_mul(0xd134_2543_de82_ef95) ^ 0x1234_5678_9abc_def1,
            spare: None,
        }
    }

    /// Splitmix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// In (0, 1).
    pub(crate) fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    pub(crate) fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        let (sin, cos) = (TAU * self.uniform()).sin_cos();
        self.spare = Some(radius * sin);
        radius * cos
    }

    /// Student's t with 3 degrees of freedom, scaled to a standard deviation of 1.
    fn heavy(&mut self) -> f64 {
        let squares: f64 = (0..3).map(|_| self.normal().powi(2)).sum();
        self.normal() / squares.sqrt()
    }

    fn poisson(&mut self, mean: f64) -> f64 {
        let limit = (-mean).exp();
        let (mut count, mut product) = (0.0, self.uniform());
        while product > limit {
            count += 1.0;
            product *= self.uniform();
        }
        count
    }
}

/// What the deployment does to the one-box.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Effect {
    Nothing,
    /// The level changes by the factor, so many buckets after the deployment.
    Level(f64, i64),
    /// The level is twice as high for the first five minutes.
    Bump,
    /// The noise is twice as large.
    Spread,
    /// It grows by such a share of its level in an hour.
    Leak(f64),
    /// One host of the one-box falls ill by itself, half an hour after the deployment and until a bucket:
    /// its level is half as high again.
    Sick(i64),
    /// One request in twenty takes three times as long.
    SlowFew,
}

/// How hosts behave over time.
#[derive(Clone, Copy)]
pub(crate) struct Nature {
    /// Standard deviation of the hosts' levels, and of the noise, of logarithms.
    pub(crate) offset: f64,
    pub(crate) sigma: f64,
    /// Correlation of neighbouring samples.
    pub(crate) persistence: f64,
    pub(crate) is_heavy: bool,
    /// Slow drift of each host, with a time constant of two hours.
    pub(crate) drift: f64,
    /// A day of ±40 % that hosts follow by ±15 %, and an edge of a weekend.
    pub(crate) is_seasonal: bool,
}

impl Nature {
    pub(crate) const IID: Self = Self {
        offset: 0.0,
        sigma: 0.1,
        persistence: 0.0,
        is_heavy: false,
        drift: 0.0,
        is_seasonal: false,
    };
    pub(crate) const CORRELATED: Self = Self {
        persistence: 0.95,
        ..Self::IID
    };
    pub(crate) const HEAVY: Self = Self {
        offset: 0.05,
        is_heavy: true,
        ..Self::IID
    };
    pub(crate) const UNEQUAL: Self = Self {
        offset: 0.15,
        drift: 0.03,
        ..Self::CORRELATED
    };
    pub(crate) const SEASONAL: Self = Self {
        is_seasonal: true,
        ..Self::UNEQUAL
    };
}

/// A gauge of many hosts.
pub(crate) struct Gauge {
    noise: Noise,
    nature: Nature,
    effect: Effect,
    one_box: usize,
    hosts: Vec<Host>,
    /// When in its day the world begins, and when its weekend does.
    phase: f64,
    edge: i64,
}

struct Host {
    offset: f64,
    amplitude: f64,
    state: f64,
    drift: f64,
}

impl Gauge {
    pub(crate) fn new(
        seed: u64,
        hosts: usize,
        one_box: usize,
        nature: Nature,
        effect: Effect,
    ) -> Self {
        let mut noise = Noise::new(seed);
        let hosts = (0..hosts)
            .map(|_| Host {
                offset: nature.offset * noise.normal(),
                amplitude: 1.0 + 0.15 * noise.normal(),
                state: noise.normal(),
                drift: nature.drift * noise.normal(),
            })
            .collect();
        let (phase, edge) = (
            noise.uniform(),
            (24.0 * HOUR as f64 * noise.uniform()) as i64,
        );
        Self {
            noise,
            nature,
            effect,
            one_box,
            hosts,
            phase,
            edge,
        }
    }
}

/// What an effect multiplies the level by, and the noise.
fn factors(effect: Effect, bucket: i64) -> (f64, f64) {
    match effect {
        _ if bucket < 0 => (1.0, 1.0),
        Effect::Level(factor, from) if from <= bucket => (factor, 1.0),
        Effect::Bump if bucket < 5 * MINUTE => (2.0, 1.0),
        Effect::Spread => (1.0, 2.0),
        Effect::Leak(share) => (1.0 + share * bucket as f64 / HOUR as f64, 1.0),
        Effect::Nothing | Effect::Level(..) | Effect::Bump | Effect::Sick(_) | Effect::SlowFew => {
            (1.0, 1.0)
        }
    }
}

impl World for Gauge {
    fn fill(&mut self, bucket: i64, cells: &mut [Option<Cell>]) {
        let Self {
            noise,
            nature,
            effect,
            one_box,
            hosts,
            phase,
            edge,
        } = self;
        let fresh = (1.0 - nature.persistence.powi(2)).sqrt();
        let day = bucket as f64 / (24 * HOUR) as f64;
        let season = if nature.is_seasonal {
            let weekend = if *edge <= bucket { -0.3 } else { 0.0 };
            0.4 * (TAU * (day + *phase)).sin() + weekend
        } else {
            0.0
        };
        // Drift moves once a minute.
        let kept = (-1.0 / 120.0_f64).exp();
        for (index, (host, cell)) in hosts.iter_mut().zip(cells).enumerate() {
            let shock = if nature.is_heavy {
                noise.heavy()
            } else {
                noise.normal()
            };
            host.state = nature.persistence * host.state + fresh * shock;
            if nature.drift > 0.0 && bucket % MINUTE == 0 {
                let shock = (1.0 - kept * kept).sqrt() * noise.normal();
                host.drift = kept * host.drift + nature.drift * shock;
            }
            let is_ill = if let Effect::Sick(until) = effect {
                (30 * MINUTE..*until).contains(&bucket)
            } else {
                false
            };
            let (level, spread) = match index {
                0 if is_ill => (1.5, 1.0),
                index if index < *one_box => factors(*effect, bucket),
                _ => (1.0, 1.0),
            };
            let log = host.offset
                + season * host.amplitude
                + host.drift
                + spread * nature.sigma * host.state;
            *cell = Some(gauge(0.1 * level * log.exp()));
        }
    }
}

/// What spoils counts of errors.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Nuisance {
    Poisson,
    /// Hosts have unequal rates, with a coefficient of variation of one half.
    Unequal,
    /// Errors come in groups of five on average.
    Burst,
    /// One host, whichever it is, falls ill and has twenty times as many.
    Sticky,
    All,
}

/// Log records of many hosts.
pub(crate) struct Counts {
    noise: Noise,
    rates: Vec<f64>,
    is_burst: bool,
    /// Who falls ill, and when.
    ill: Option<(usize, i64)>,
    factor: f64,
    one_box: usize,
}

/// Mean size of a burst.
const BURST: f64 = 5.0;
const ILL: f64 = 20.0;

impl Counts {
    /// `rate`: errors in an hour of a host; `factor`: how many times more the one-box has.
    pub(crate) fn new(
        seed: u64,
        (one_box, fleet): (usize, usize),
        rate: f64,
        nuisance: Nuisance,
        factor: f64,
    ) -> Self {
        let mut noise = Noise::new(seed);
        let all = nuisance == Nuisance::All;
        let hosts = one_box + fleet;
        let sigma = (1.0 + 0.25_f64).ln().sqrt();
        let rates = (0..hosts)
            .map(|_| {
                let share = if all || nuisance == Nuisance::Unequal {
                    (sigma * noise.normal() - 0.5 * sigma * sigma).exp()
                } else {
                    1.0
                };
                rate / HOUR as f64 * share
            })
            .collect();
        let ill = (all || nuisance == Nuisance::Sticky).then(|| {
            let host = (noise.uniform() * hosts as f64) as usize;
            (host, (6.0 * HOUR as f64 * noise.uniform()) as i64)
        });
        Self {
            noise,
            rates,
            is_burst: all || nuisance == Nuisance::Burst,
            ill,
            factor,
            one_box,
        }
    }
}

impl World for Counts {
    fn fill(&mut self, bucket: i64, cells: &mut [Option<Cell>]) {
        for (index, (rate, cell)) in self.rates.iter().zip(cells).enumerate() {
            let mut mean = *rate;
            if index < self.one_box && 0 <= bucket {
                mean *= self.factor;
            }
            if self
                .ill
                .is_some_and(|(host, from)| host == index && from <= bucket)
            {
                mean *= ILL;
            }
            let events = if self.is_burst {
                let bursts = self.noise.poisson(mean / BURST) as i64;
                (0..bursts)
                    .map(|_| 1.0 + (self.noise.uniform().ln() / (1.0 - 1.0 / BURST).ln()).floor())
                    .sum()
            } else {
                self.noise.poisson(mean)
            };
            let value = events / 10.0;
            *cell = Some(Cell {
                value,
                min: value,
                max: value,
                events,
                exposure: None,
            });
        }
    }
}

/// Latencies of single requests, of which p50, p90 and p99 of each bucket are seen.
pub(crate) struct Requests {
    noise: Noise,
    states: Vec<f64>,
    /// Standard deviation between hosts, of logarithms; and how long it lasts: 1 for ever.
    spread: f64,
    persistence: f64,
    effect: Effect,
    one_box: usize,
    durations: Vec<f64>,
}

/// Requests of a host in a bucket.
const REQUESTS: usize = 100;

impl Requests {
    pub(crate) fn new(
        seed: u64,
        (one_box, fleet): (usize, usize),
        (spread, persistence): (f64, f64),
        effect: Effect,
    ) -> Self {
        let mut noise = Noise::new(seed);
        let states = (0..one_box + fleet).map(|_| noise.normal()).collect();
        Self {
            noise,
            states,
            spread,
            persistence,
            effect,
            one_box,
            durations: Vec::new(),
        }
    }
}

impl World for Requests {
    fn fill(&mut self, bucket: i64, cells: &mut [Option<Cell>]) {
        let hosts = self.states.len();
        let fresh = (1.0 - self.persistence.powi(2)).max(0.0).sqrt();
        for host in 0..hosts {
            if fresh > 0.0 {
                let state = self.persistence * self.states[host] + fresh * self.noise.normal();
                self.states[host] = state;
            }
            let is_new = host < self.one_box && 0 <= bucket;
            let level = if is_new {
                factors(self.effect, bucket).0
            } else {
                1.0
            };
            let center = 0.1 * level * (self.spread * self.states[host]).exp();
            self.durations.clear();
            for _ in 0..REQUESTS {
                let mut duration = center * (0.5 * self.noise.normal()).exp();
                if is_new && self.effect == Effect::SlowFew && self.noise.uniform() < 0.05 {
                    duration *= 3.0;
                }
                self.durations.push(duration);
            }
            self.durations.sort_unstable_by(f64::total_cmp);
            for (metric, rank) in [50, 90, 99].into_iter().enumerate() {
                cells[metric * hosts + host] = Some(Cell {
                    events: REQUESTS as f64,
                    ..gauge(self.durations[rank - 1])
                });
            }
        }
    }
}

/// Memory that is refilled after the restart of the one-box, with a collector's saw-teeth.
pub(crate) struct Memory {
    noise: Noise,
    hosts: Vec<Heap>,
    effect: Effect,
    one_box: usize,
}

struct Heap {
    base: f64,
    period: f64,
    phase: f64,
    state: f64,
}

impl Memory {
    pub(crate) fn new(seed: u64, (one_box, fleet): (usize, usize), effect: Effect) -> Self {
        let mut noise = Noise::new(seed);
        let hosts = (0..one_box + fleet)
            .map(|_| Heap {
                base: 4e9 * (0.05 * noise.normal()).exp(),
                period: (20.0 + 30.0 * noise.uniform()) * MINUTE as f64,
                phase: noise.uniform(),
                state: noise.normal(),
            })
            .collect();
        Self {
            noise,
            hosts,
            effect,
            one_box,
        }
    }
}

impl World for Memory {
    fn fill(&mut self, bucket: i64, cells: &mut [Option<Cell>]) {
        // Ten minutes of memory in the noise.
        let kept = (-1.0 / 60.0_f64).exp();
        let fresh = (1.0 - kept * kept).sqrt();
        for (index, (heap, cell)) in self.hosts.iter_mut().zip(cells).enumerate() {
            heap.state = kept * heap.state + fresh * self.noise.normal();
            let saw = 0.05 * (bucket as f64 / heap.period + heap.phase).rem_euclid(1.0);
            let is_new = index < self.one_box && 0 <= bucket;
            let (level, _) = if is_new {
                factors(self.effect, bucket)
            } else {
                (1.0, 1.0)
            };
            // What a restart emptied fills up again with a time constant of twenty minutes.
            let refill = if is_new {
                0.4 * (-(bucket as f64) / (20 * MINUTE) as f64).exp()
            } else {
                0.0
            };
            let value = heap.base * (level - refill + saw + 0.01 * heap.state);
            *cell = Some(gauge(value));
        }
    }
}

fn gauge(value: f64) -> Cell {
    Cell {
        value,
        min: value,
        max: value,
        events: 0.0,
        exposure: None,
    }
}
