//! A metric that always moves and stands still: a sensor, a thread or an exporter hangs.
//!
//! How long a healthy host may stand is told by the past, and by what the fleet does in the same time: with little
//! load, at night, what counts requests or errors stands still now and then on any host.

use serde::{Deserialize, Serialize};

use super::{Unsound, state::counted, stats::median};

/// Shortest run of equal values that means anything.
const RUN_MIN: usize = 8;
/// The same in longest runs of the past.
const PAST_RUNS: f64 = 2.0;
/// Change rate from which on a short past is enough.
const LIVELY: f64 = 0.9;
/// The same where no other host tells whether standing still is news.
const LIVELY_ALONE: f64 = 0.95;
/// Samples of a past that is long enough for any change rate.
const SAMPLES_LONG: usize = 120;
/// Samples below which a past tells nothing.
const SAMPLES_MIN: usize = 12;
/// Range over a run's length, as a share of the level, below which standing still is no news.
const RANGE_MIN: f64 = 0.1;

/// How many times more seldom than the fleet a healthy host may move, or more often stand.
const SLOWER: f64 = 2.0;

/// The watch over runs of equal values.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Flat {
    /// Equal values in a row that no healthy host shows.
    needed: usize,
    /// Logarithm of the looks that are worth one false alarm.
    stakes: f64,
    /// Of the one-box's hosts that usually move.
    one_box: Vec<Run>,
    fleet: Vec<Run>,
}

/// The run of equal values that a host is in.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename = "FlatRun")]
struct Run {
    value: f64,
    length: usize,
    /// Values of the fleet since it began, and those of them that differ from the one before.
    beside: usize,
    moved: usize,
    /// Whether it counts.
    is_lively: bool,
}

impl Run {
    fn new(is_lively: bool) -> Self {
        Self {
            value: f64::NAN,
            length: 0,
            beside: 0,
            moved: 0,
            is_lively,
        }
    }

    /// Takes a value; says whether it differs from the one before, if there is one.
    fn take(&mut self, value: f64) -> Option<bool> {
        if !value.is_finite() {
            return None;
        }
        let differs = self.value.is_finite().then_some(value != self.value);
        if value == self.value {
            self.length += 1;
        } else {
            (self.length, self.beside, self.moved) = (1, 0, 0);
        }
        self.value = value;
        differs
    }
}

/// Equal values in a row that are no chance where values change at this rate: a run of n takes n - 1 that do not, at
/// any of the looks.
fn by_chance(stakes: f64, change_rate: f64) -> f64 {
    stakes / -(-change_rate.min(0.999)).ln_1p()
}

/// What a host's past tells of its runs.
struct Habit {
    samples: usize,
    longest: usize,
    /// Share of samples that differ from the one before.
    change_rate: f64,
}

impl Habit {
    fn of(values: &[f64]) -> Option<Self> {
        if values.len() < SAMPLES_MIN {
            return None;
        }
        let (mut length, mut longest, mut changes) = (1, 1, 0_u32);
        for pair in values.windows(2) {
            if pair[0] == pair[1] {
                length += 1;
                longest = longest.max(length);
            } else {
                length = 1;
                changes += 1;
            }
        }
        Some(Self {
            samples: values.len(),
            longest,
            change_rate: f64::from(changes) / (values.len() - 1) as f64,
        })
    }
}

impl Flat {
    /// Learns how still the hosts' values ever stood; `None` where standing still would be no news.
    /// `looks` is how many samples will be judged, `alpha` the chance that a healthy host is
    /// flagged in any.
    pub(super) fn learn(
        one_box: &[Vec<f64>],
        fleet: &[Vec<f64>],
        level: f64,
        looks: f64,
        alpha: f64,
    ) -> Option<Self> {
        let finite = |past: &Vec<f64>| -> Vec<f64> {
            let values = past.iter().copied();
            values.filter(|value| value.is_finite()).collect()
        };
        let own: Vec<Vec<f64>> = one_box.iter().map(finite).collect();
        let others: Vec<Vec<f64>> = fleet.iter().map(finite).collect();
        let habits: Option<Vec<Habit>> = own
            .iter()
            .chain(&others)
            .map(|values| Habit::of(values))
            .collect();
        let habits = habits?;
        let samples = habits.iter().map(|habit| habit.samples).max()?;
        let longest = habits.iter().map(|habit| habit.longest).max()? as f64;
        let rates = habits.iter().map(|habit| habit.change_rate);
        let change_rate = rates.fold(1.0, f64::min);
        let is_dull = if fleet.is_empty() {
            change_rate <= LIVELY_ALONE
        } else {
            samples < SAMPLES_LONG && change_rate <= LIVELY
        };
        if change_rate <= 0.0 || is_dull {
            return None;
        }
        let stakes = (looks / alpha).ln();
        let needed = (RUN_MIN as f64).max(PAST_RUNS * longest);
        let needed = needed.max(by_chance(stakes, change_rate)).ceil() as usize;
        let flat = Self {
            needed,
            stakes,
            one_box: own
                .iter()
                .map(|values| Run::new(usual_range(values, needed) > RANGE_MIN * level))
                .collect(),
            fleet: others.iter().map(|_| Run::new(true)).collect(),
        };
        flat.one_box.iter().any(|run| run.is_lively).then_some(flat)
    }

    /// Refuses a saved watch that would not go on.
    pub(super) fn check(&self) -> Result<(), Unsound> {
        let mut runs = self.one_box.iter().chain(&self.fleet);
        runs.try_for_each(|run| {
            let numbers = [run.length, run.beside, run.moved];
            let mut numbers = numbers.into_iter();
            numbers.try_for_each(|number| counted("number of samples", number as u64))
        })
    }

    /// Takes the values of a bucket, NaN where there was none.
    pub(super) fn take(&mut self, own: &[f64], fleet: &[f64]) {
        let others = self.fleet.iter_mut().zip(fleet);
        let others: Vec<bool> = others.filter_map(|(run, value)| run.take(*value)).collect();
        let moved = others.iter().filter(|moved| **moved).count();
        for (run, value) in self.one_box.iter_mut().zip(own) {
            if run.take(*value) == Some(false) {
                run.beside += others.len();
                run.moved += moved;
            }
        }
    }

    /// Whether a host stands at one value for longer than any did, and than hosts do that move as the fleet does
    /// meanwhile.
    fn is_long(&self, run: &Run) -> bool {
        if run.length < self.needed {
            return false;
        }
        if run.beside == 0 {
            return self.fleet.is_empty();
        }
        let rate = run.moved as f64 / run.beside as f64;
        // Half as often, or standing twice as often, whichever is less of a difference.
        let rate = (rate / SLOWER).max(1.0 - SLOWER * (1.0 - rate));
        0.0 < rate && by_chance(self.stakes, rate) <= run.length as f64
    }

    /// Ends the run of a one-box host: what it says now is no harm, and standing there is none either.
    pub(super) fn excuse(&mut self, host: usize) {
        if let Some(run) = self.one_box.get_mut(host) {
            (run.value, run.length) = (f64::NAN, 0);
        }
    }

    /// How many equal values a one-box host stands at, where that is out of all proportion and no
    /// fleet host stands still too; of several hosts, where more than one does.
    pub(super) fn stands_still(&self) -> Option<usize> {
        if self.fleet_stands() {
            return None;
        }
        let lively = self.one_box.iter().filter(|run| run.is_lively);
        let standing = lively.filter(|run| self.is_long(run));
        let standing: Vec<usize> = standing.map(|run| run.length).collect();
        // One of several may hang by its own fault.
        let least = self.one_box.len().min(2);
        let longest = standing.iter().copied().max();
        longest.filter(|_| least <= standing.len())
    }

    /// The host of a one-box of several that alone stands still.
    pub(super) fn alone(&self) -> Option<usize> {
        let hosts = self.one_box.iter().enumerate();
        let mut standing = hosts.filter(|(_, run)| run.is_lively && self.is_long(run));
        let (host, _) = standing.next()?;
        let is_one = 1 < self.one_box.len() && standing.next().is_none();
        (is_one && !self.fleet_stands()).then_some(host)
    }

    /// Whether a host of the fleet stands still, too.
    fn fleet_stands(&self) -> bool {
        self.fleet.iter().any(|run| self.needed <= run.length)
    }
}

/// The usual distance between the smallest and the largest of so many values in a row.
fn usual_range(values: &[f64], length: usize) -> f64 {
    if values.len() <= length {
        return 0.0;
    }
    let mut ranges: Vec<f64> = values
        .windows(length)
        .map(|window| {
            let low = window.iter().copied().fold(f64::INFINITY, f64::min);
            let high = window.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            high - low
        })
        .collect();
    median(&mut ranges).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    fn moving() -> Vec<f64> {
        (0..150)
            .map(|step| 10.0 + f64::from(step * 7 % 11))
            .collect()
    }

    #[test]
    fn a_lively_metric_that_stands_still_is_told() {
        let (own, fleet) = ([moving()], [moving(), moving()]);
        let mut flat = Flat::learn(&own, &fleet, 15.0, 100.0, 0.001).unwrap();
        for step in 0..7 {
            flat.take(&[12.0], &[f64::from(step), 3.0 + f64::from(step)]);
            assert_eq!(flat.stands_still(), None, "{step}");
        }
        flat.take(&[f64::NAN], &[8.0, 9.0]);
        flat.take(&[12.0], &[9.0, 1.0]);
        assert_eq!(flat.stands_still(), Some(8));
        flat.take(&[12.5], &[8.0, 9.0]);
        assert_eq!(flat.stands_still(), None);
    }

    #[test]
    fn one_host_of_several_that_stands_still_is_told_by_itself() {
        let (own, fleet) = ([moving(), moving()], [moving(), moving()]);
        let mut flat = Flat::learn(&own, &fleet, 15.0, 100.0, 0.001).unwrap();
        for step in 0..8 {
            assert_eq!(flat.alone(), None, "{step}");
            let moves = f64::from(step);
            flat.take(&[moves, 12.0], &[moves, 3.0 + moves]);
        }
        assert_eq!((flat.stands_still(), flat.alone()), (None, Some(1)));
        for step in 0..8 {
            let moves = f64::from(step);
            flat.take(&[7.0, 12.0], &[moves, 3.0 + moves]);
        }
        assert_eq!((flat.stands_still(), flat.alone()), (Some(16), None));
    }

    #[test]
    fn a_fleet_that_stands_still_too_is_no_news_of_the_one_box() {
        let (own, fleet) = ([moving()], [moving(), moving()]);
        let mut flat = Flat::learn(&own, &fleet, 15.0, 100.0, 0.001).unwrap();
        for step in 0..20 {
            flat.take(&[12.0], &[f64::from(step), 5.0]);
        }
        assert_eq!(flat.stands_still(), None);
    }

    /// With the load of the day gone, all hosts move in one sample of five.
    #[test]
    fn what_moves_as_seldom_as_the_fleet_does_meanwhile_does_not_stand_still() {
        let (own, fleet) = ([moving()], [moving(), moving()]);
        let mut flat = Flat::learn(&own, &fleet, 15.0, 100.0, 0.001).unwrap();
        let seldom = |step: i32, host: i32| f64::from((step + 2 * host) / 5);
        for step in 0..108 {
            flat.take(&[12.0], &[seldom(step, 1), seldom(step, 2)]);
            assert_eq!(flat.stands_still(), None, "{step}");
        }
        for step in 108..112 {
            flat.take(&[12.0], &[seldom(step, 1), seldom(step, 2)]);
        }
        assert_eq!(flat.stands_still(), Some(112));
    }

    #[test]
    fn a_metric_that_often_stands_still_or_hardly_moves_is_left_alone() {
        let learn = |past: Vec<f64>, level| {
            let hosts = std::slice::from_ref(&past);
            Flat::learn(hosts, hosts, level, 100.0, 0.001)
        };
        assert!(learn(vec![4.0; 150], 4.0).is_none());
        let tiny = (0..150).map(|step| 10.0 + f64::from(step % 2) * 0.1);
        assert!(learn(tiny.collect(), 10.0).is_none());
        let short = (0..11).map(f64::from);
        assert!(learn(short.collect(), 4.0).is_none());
    }

    #[test]
    fn a_lone_host_that_ever_repeats_itself_is_left_alone() {
        let learn = |past: Vec<f64>| Flat::learn(&[past], &[], 15.0, 100.0, 0.001);
        assert!(learn(moving()).is_some());
        let mut dull = moving();
        for step in (0..150).step_by(10) {
            dull[step + 1] = dull[step];
        }
        assert!(learn(dull).is_none());
    }

    #[test]
    fn a_rarely_changing_metric_needs_a_long_run() {
        let slow: Vec<f64> = (0..300).map(|step| f64::from(step / 4 % 9)).collect();
        let hosts = std::slice::from_ref(&slow);
        let flat = Flat::learn(hosts, hosts, 5.0, 100.0, 0.001).unwrap();
        assert!(flat.needed > 30, "{}", flat.needed);
    }
}
