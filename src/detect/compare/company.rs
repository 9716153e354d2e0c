//! The one-box among a few hosts: when it strays farther than it, and they, ever did.

mod wander;

use serde::{Deserialize, Serialize};
use wander::Wander;

use super::follower::{Follower, OWN_PAST_WINDOWS, Window};
use crate::detect::{Unsound, state::counted, stats::mean};

/// How the largest of many null medians grows with their number, by length of the window, for a
/// step and for a level: exponents of a Pareto tail, fitted to recordings.
const EXPONENTS: [(f64, f64); 4] = [(0.20, 0.22), (0.13, 0.20), (0.13, 0.20), (0.13, 0.20)];
/// What the number of looks is divided by. With it and at an alpha of 1 %, of 800 deployments that
/// never happened (one host of three to five of real recordings, at random times, all metrics
/// judged) 0.3 to 3.5 % are flagged, by kind of recording, and 4 % of simulated ones with every
/// nuisance. Few hosts with a day of history or less carry no more.
const LOOKS_SCALE: f64 = 11.0;
/// The largest alpha of a side that the fit speaks of: there each metric had a small share of it. What
/// follows from it at a larger one is too little. A check that has 1 % for itself would fail 5 % of healthy
/// deployments of one host in four whose samples resemble their neighbours, for an hour of past; so, 1 %.
const ALPHA_FITTED: f64 = 0.001;
/// Smallest factor by which the past must be exceeded.
const MARGIN_MIN: f64 = 1.25;
/// The largest of few windows is a poor guide to what is usual, the more so where neighbouring
/// samples resemble each other. Below a number of independent samples margins grow in proportion to
/// its inverse, but not beyond what so few samples at all call for: a past of an hour needs no more.
/// In simulated correlated noise with half an hour of past this takes false alarms from 7 to 4 %.
const SHORT_PAST: f64 = 0.75;
const SHORT_INDEPENDENT: f64 = 20.0;
const SHORT_SAMPLES: f64 = 60.0;
const SHORT_FROM: f64 = 1.0 / 3.0;
/// Samples below which a series tells nothing of its correlation.
const SERIES_MIN: usize = 8;
/// No fleet host may come this close at the same moment: a share of the one-box's distance, plain
/// and in what is usual for each.
const FLEET_SHARE: f64 = 0.7;
/// Chance that a healthy deployment is withheld as likely harmed, as a multiple of the chance that it is failed: it
/// costs a look, not a roll-back.
pub(super) const LIKELY_TIMES: f64 = 5.0;
/// The window that what is asked once must last in.
const CONFIRMING: usize = 1;
/// Fleet hosts of which one that is out is told from the others.
const RIVAL_HOSTS_MIN: usize = 3;

/// The differences of the one-box to the fleet, and of each fleet host to the others.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Company {
    pub(super) own: Follower,
    others: Vec<Follower>,
    /// Number of past samples.
    samples: usize,
    /// How many of them are worth one independent one; at least 1.
    memory: f64,
    wander: Wander,
    /// Accepted difference.
    tolerance: f64,
}

/// What the margins depend on besides the past.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Stakes {
    /// How many samples are expected to be judged.
    pub(super) planned: f64,
    /// Alpha of one side.
    pub(super) alpha: f64,
    /// Samples since the deployment began.
    pub(super) judged: usize,
}

impl Stakes {
    /// Those of what is asked once.
    fn once(&self) -> Self {
        Self {
            planned: 1.0,
            ..*self
        }
    }

    /// Those of what is asked once, and withheld if it is likely.
    fn likely(&self) -> Self {
        Self {
            alpha: LIKELY_TIMES * self.alpha,
            ..self.once()
        }
    }
}

impl Company {
    /// Learns from the past of the one-box and of each fleet host, where there are so many samples in a `day`.
    pub(super) fn new(
        own: &[f64],
        others: &[Vec<f64>],
        (tolerance, floor): (f64, f64),
        day: f64,
    ) -> Self {
        Self {
            own: Follower::new(own, floor),
            others: others
                .iter()
                .map(|past| Follower::new(past, floor))
                .collect(),
            samples: own.iter().filter(|value| value.is_finite()).count(),
            memory: memory(others.iter().map(Vec::as_slice).chain([own])),
            wander: Wander::new(own, others, day),
            tolerance,
        }
    }

    /// Refuses a saved company that would not go on.
    pub(super) fn check(&self) -> Result<(), Unsound> {
        counted("number of samples", self.samples as u64)?;
        self.wander.check()?;
        let mut followers = [&self.own].into_iter().chain(&self.others);
        followers.try_for_each(Follower::check)
    }

    /// The accepted difference.
    pub(super) fn tolerance(&self) -> f64 {
        self.tolerance
    }

    /// Takes the next differences; NaN: there is none.
    pub(super) fn push(&mut self, own: f64, others: &[f64]) {
        self.own.push(own);
        for (other, value) in self.others.iter_mut().zip(others) {
            other.push(*value);
        }
    }

    /// Whether the medians over one window are out of all proportion on this side, and those of no host of the
    /// fleet are nearly as far out.
    pub(super) fn strays(&self, index: usize, side: f64, stakes: &Stakes) -> bool {
        self.is_out(index, side, stakes) && self.rivals(index, 0.0).next().is_none()
    }

    /// The host of the fleet without which they would be: it alone is nearly as far out. Of two there would be
    /// nobody left to tell who is ill. It blocks nothing before the end, where it `is_last` asked.
    pub(super) fn rival(
        &self,
        index: usize,
        side: f64,
        (stakes, is_last): (&Stakes, bool),
    ) -> Option<usize> {
        let was_out =
            || self.was_out(index, side, stakes) && self.is_beyond_wander(index, &stakes.likely());
        let is_out = self.is_out(index, side, stakes) || (is_last && was_out());
        if self.others.len() < RIVAL_HOSTS_MIN || !is_out {
            return None;
        }
        let mut rivals: Vec<usize> = self.rivals(index, 0.0).collect();
        if rivals.len() > 1 && self.others.len() == RIVAL_HOSTS_MIN {
            // Each of three is held against the middle of two: half of what one of them strays by is what both
            // others seem to, on the other side.
            let level = |host: usize| self.others.get(host)?.windows.get(index)?.level();
            let of_rival = |host: &usize| level(*host).map_or(0.0, |level| level * side);
            let farthest = rivals.iter().copied();
            let farthest = farthest.max_by(|a, b| of_rival(a).total_cmp(&of_rival(b)))?;
            let shift = 0.5 * level(farthest)?;
            rivals = self
                .rivals(index, shift)
                .filter(|host| *host != farthest)
                .collect();
            rivals.push(farthest);
        }
        match rivals[..] {
            [rival] => Some(rival),
            _ => None,
        }
    }

    /// How much of a harm one of two fleet hosts may hide that went apart farther than they ever were: their middle
    /// moves by half of that. 0 where there are others.
    pub(super) fn hidden_by_one_of_two(&self, index: usize) -> f64 {
        let [first, _] = &self.others[..] else {
            return 0.0;
        };
        let apart = first.windows.get(index).and_then(|window| {
            let level = window.level()?.abs();
            (window.level_max < level).then_some(level)
        });
        0.5 * apart.unwrap_or(0.0)
    }

    /// Whether it strays when it is asked once, at the end, however far it may wander by itself: that proves nothing.
    pub(super) fn seems_to_have_strayed(&self, index: usize, side: f64, stakes: &Stakes) -> bool {
        self.was_out(index, side, stakes) && self.rivals(index, 0.0).next().is_none()
    }

    /// The same where it is likely that it does not wander so far.
    pub(super) fn may_have_strayed(&self, index: usize, side: f64, stakes: &Stakes) -> bool {
        self.seems_to_have_strayed(index, side, stakes)
            && self.is_beyond_wander(index, &stakes.likely())
    }

    /// The same where, besides, its past alone would tell of a breach.
    pub(super) fn is_likely_to_have_strayed(
        &self,
        index: usize,
        side: f64,
        stakes: &Stakes,
    ) -> bool {
        self.may_have_strayed(index, side, stakes) && self.is_far(index, side, stakes)
    }

    /// Whether the medians over one window are out of all proportion on this side, whatever the fleet does.
    fn is_out(&self, index: usize, side: f64, stakes: &Stakes) -> bool {
        let window = self.own.windows.get(index);
        let level = window.and_then(Window::level);
        // What heals is forgiven.
        let lasts = level.zip(self.own.latest());
        lasts.is_some_and(|(level, latest)| 0.5 * level * side <= latest * side)
            && self.is_far(index, side, stakes)
            && self.is_beyond_wander(index, stakes)
    }

    /// Whether they are farther out than they may wander to by themselves.
    fn is_beyond_wander(&self, index: usize, stakes: &Stakes) -> bool {
        let window = self.own.windows.get(index);
        let level = window.and_then(|window| Some((window.len, window.level()?)));
        level.is_some_and(|(len, level)| self.wandered(len, stakes) < level.abs())
    }

    /// Whether they are out of proportion when it is asked once, at the end. The latest of them would be a toss of a
    /// coin there, so at least half of it must be in the second window as well.
    fn was_out(&self, index: usize, side: f64, stakes: &Stakes) -> bool {
        let level = |index: usize| Some(self.own.windows.get(index)?.level()? * side);
        let confirming = level(CONFIRMING).or_else(|| level(0));
        let lasts = level(index).zip(confirming);
        lasts.is_some_and(|(level, latest)| 0.5 * level <= latest)
            && self.is_far(index, side, &stakes.once())
    }

    /// Whether they are, lasting or not.
    fn is_far(&self, index: usize, side: f64, stakes: &Stakes) -> bool {
        let Some(window) = self.own.windows.get(index) else {
            return false;
        };
        // Only what lies wholly after the deployment speaks of it.
        if stakes.judged < window.len {
            return false;
        }
        let Some(level) = window.level() else {
            return false;
        };
        if level * side <= self.tolerance {
            return false;
        }
        let (level_max, step_max) = self.past_max(index);
        let (step_margin, level_margin) = self.margins(index, stakes);
        let by_level = level.abs() / level_max;
        let is_step = window.step().is_some_and(|step| {
            step * side > 0.0 && by_level.min(step.abs() / step_max) > step_margin
        });
        is_step || by_level > level_margin
    }

    /// How far a level must be from the usual to be found, whatever the steps.
    pub(super) fn reach(&self, index: usize, stakes: &Stakes) -> f64 {
        let by_past = self.past_max(index).0 * self.margins(index, stakes).1;
        by_past.max(self.wandered(self.own.windows[index].len, stakes))
    }

    /// How far a level over so many samples may wander by itself.
    pub(super) fn wandered(&self, len: usize, stakes: &Stakes) -> f64 {
        self.wander.reach(len, self.samples, stakes)
    }

    /// The farthest that medians of this length ever were: of the one-box, and where its past is
    /// short, of the fleet.
    fn past_max(&self, index: usize) -> (f64, f64) {
        let window = &self.own.windows[index];
        let own = (window.level_max, window.step_max);
        if !self.borrows(window) {
            return own;
        }
        let others = self
            .others
            .iter()
            .filter_map(|other| other.windows.get(index));
        others.fold(own, |(level, step), other| {
            (level.max(other.level_max), step.max(other.step_max))
        })
    }

    fn borrows(&self, window: &Window) -> bool {
        self.samples < OWN_PAST_WINDOWS * window.len && !self.others.is_empty()
    }

    /// The factors by which a step and a level must exceed the past.
    fn margins(&self, index: usize, stakes: &Stakes) -> (f64, f64) {
        let window = &self.own.windows[index];
        let borrows = self.borrows(window);
        let hosts = if borrows { 1 + self.others.len() } else { 1 };
        let past = (self.samples * hosts).max(1) as f64;
        let alpha = stakes.alpha.min(ALPHA_FITTED);
        let looks = stakes.planned / (past * alpha * LOOKS_SCALE);
        let exponent = EXPONENTS[index.min(EXPONENTS.len() - 1)];
        let samples = self.samples.max(1) as f64;
        let shortness = (SHORT_INDEPENDENT * self.memory / samples).min(SHORT_SAMPLES / samples);
        let factor = 1.0 + SHORT_PAST * (shortness - SHORT_FROM).max(0.0);
        let margin = |exponent: f64| MARGIN_MIN.max(looks.powf(exponent)) * factor;
        (margin(exponent.0), margin(exponent.1))
    }

    /// The fleet hosts that stray nearly as far at the same moment, plain or in what is usual for each, where all
    /// of them seem to stray by so much the less.
    fn rivals(&self, index: usize, shift: f64) -> impl Iterator<Item = usize> {
        let own = self.own.windows.get(index);
        let own = own.and_then(|window| Some((window.level()?, window.level_sigma)));
        let others = self.others.iter().enumerate();
        others.filter_map(move |(host, other)| {
            let (level, sigma) = own?;
            let window = other.windows.get(index)?;
            let of_other = (window.level()? + shift).abs();
            let limit = FLEET_SHARE * level.abs();
            let is_near = of_other < limit && of_other / window.level_sigma < limit / sigma;
            (!is_near).then_some(host)
        })
    }
}

/// How many samples are worth one independent sample, from the correlation of neighbours over all
/// of these series.
fn memory<'a>(series: impl Iterator<Item = &'a [f64]>) -> f64 {
    let (mut products, mut squares, mut longest) = (0.0, 0.0, 0);
    for values in series {
        let finite: Vec<f64> = values
            .iter()
            .copied()
            .filter(|value| value.is_finite())
            .collect();
        let Some(middle) = mean(finite.iter().copied()).filter(|_| finite.len() >= SERIES_MIN)
        else {
            continue;
        };
        longest = longest.max(finite.len());
        squares += finite
            .iter()
            .map(|value| (value - middle).powi(2))
            .sum::<f64>();
        let pairs = finite.windows(2);
        products += pairs
            .map(|pair| (pair[0] - middle) * (pair[1] - middle))
            .sum::<f64>();
    }
    if squares <= 0.0 {
        return 1.0;
    }
    // Short pasts make the correlation look smaller than it is (Kendall 1954).
    let raw = products / squares;
    let correlation = (raw + (1.0 + 3.0 * raw) / longest as f64).clamp(0.0, 0.95);
    (1.0 + correlation) / (1.0 - correlation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::test_support::noise;

    #[test]
    fn what_resembles_its_neighbours_has_a_memory() {
        let white: Vec<f64> = (0..2_000).map(|step| noise(1, "white", step)).collect();
        let mut level = 0.0;
        let half: Vec<f64> = white
            .iter()
            .map(|fresh| {
                level = 0.5 * level + fresh;
                level
            })
            .collect();
        let of = |series: &[f64]| memory([series].into_iter());
        assert!((of(&white) - 1.0).abs() < 0.15, "{}", of(&white));
        assert!((of(&half) - 3.0).abs() < 0.4, "{}", of(&half));
        assert_eq!(of(&[1.0; 40]), 1.0);
    }

    /// Memory, and by length of the window how far a level must be and the margin of a step: computed by
    /// numpy from the same formulas, written down once more.
    #[test]
    #[expect(
        clippy::unreadable_literal,
        reason = "a table of numbers, not of words"
    )]
    fn margins_and_reach_agree_with_numpy() {
        let past = |host: f64| -> Vec<f64> {
            let at = |time: i32| {
                let time = f64::from(time);
                (0.9 * time + host).sin() + 0.3 * (0.31 * time * (host + 1.0)).cos()
            };
            (0..60).map(at).collect()
        };
        let others = [past(1.0), past(2.0), past(3.0)];
        let company = Company::new(&past(0.0), &others, (0.1, 0.01), 1_440.0);
        let stakes = Stakes {
            planned: 90.0,
            alpha: 0.004,
            judged: 60,
        };
        let near = |found: f64, expected: f64| (found - expected).abs() < 1e-9;
        assert!(
            near(company.memory, 4.978266691133472),
            "{}",
            company.memory
        );
        for (index, reach, margin) in [
            (0, 3.390740282573623, 4.008953084174999),
            (1, 1.9512792180187253, 2.3731996454870874),
            (2, 1.3797627670494244, 2.3731996454870874),
        ] {
            let found = (
                company.reach(index, &stakes),
                company.margins(index, &stakes).0,
            );
            assert!(
                near(found.0, reach) && near(found.1, margin),
                "{index}: {found:?}"
            );
        }
    }
}
