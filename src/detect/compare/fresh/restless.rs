//! Whether fresh hosts are restless: their values jump about farther than those of the fleet, around the same level.
//!
//! How restless a host is, is one more level of it: the mean distance of two successive values, as a logarithm. So it
//! is held against the fleet's as any level of fresh hosts is, with a tolerance of its own: fresh hosts have less
//! traffic at first, and of fewer requests a quantile is less certain.

use super::{
    FreshTest, Levels, Reader, Said, Spread,
    history::{History, Stretch, wiggles},
    over::Bar,
};
use crate::detect::{
    HostId,
    compare::outcome::{Outcome, Scale},
    stats::{mean, median},
};

/// What fresh hosts may be more restless by: twice as wide.
const TOLERANCE: f64 = std::f64::consts::LN_2;
/// Standard deviation between healthy fresh hosts, before anything is known of these.
const SIGMA: f64 = 0.35;
/// Above this it is likely harm however little is known of hosts: three times as wide.
const GROSS: f64 = 1.098_612_288_668_109_8;
/// Distances beyond so many usual ones are clipped: single outliers are no restlessness.
const CLIP: f64 = 8.0;
/// Fewest distances of a host.
const WIGGLES_MIN: usize = 30;

/// How restless hosts are over all of the time, and over its latter half.
struct Restless {
    whole: Vec<f64>,
    late: Vec<(f64, HostId)>,
}

impl FreshTest {
    /// What the restlessness of the hosts says when the bake ends, if it is harm: certain at this alpha, or likely.
    pub(super) fn restless(
        &self,
        reader: &Reader<'_>,
        history: &History,
        alpha: f64,
    ) -> Option<Outcome> {
        let levels = self.restlessness(history)?;
        let traffic = reader.terms.weight.ln().abs();
        let tolerance = TOLERANCE + 0.5 * traffic;
        let bar = Bar {
            tolerance,
            noise: levels.usual(self.likely_tail(), GROSS) - tolerance,
            allowance: 0.0,
            alpha,
        };
        let outcome = self.over(reader, history, &levels, (1.0, &bar))?;
        Some(Outcome {
            scale: Scale::Spread,
            observed: None,
            expected: None,
            ..outcome
        })
    }

    /// How restless the hosts are, where that is more than every host of the fleet is, and large enough to matter.
    fn restlessness(&self, history: &History) -> Option<Levels> {
        let fleet = history.fleet.hosts.iter();
        let all = fleet.flat_map(|(_, said)| wiggles(said));
        let usual = median(&mut all.collect::<Vec<f64>>()).filter(|usual| 0.0 < *usual)?;
        let (own, fleet) = (
            restless(&history.one_box, usual)?,
            restless(&history.fleet, usual)?,
        );
        let middle = |late: &[(f64, HostId)]| mean(late.iter().map(|(level, _)| *level));
        let (level, whole) = (middle(&own.late)?, mean(own.whole.iter().copied())?);
        let (of_fleet, fleet_whole) = (middle(&fleet.late)?, mean(fleet.whole.iter().copied())?);
        let farthest = fleet.whole.iter().copied().fold(f64::MIN, f64::max);
        let is_small = whole.exp() < self.accepted;
        if is_small || whole <= farthest {
            return None;
        }
        let freedom = (fleet.whole.len() - 1) as f64;
        let variance = |levels: &[f64]| {
            let middle = mean(levels.iter().copied()).unwrap_or(0.0);
            let squares = levels.iter().map(|level| (level - middle).powi(2));
            squares.sum::<f64>() / freedom
        };
        let late: Vec<f64> = fleet.late.iter().map(|(level, _)| *level).collect();
        Some(Levels {
            own: level,
            rest: [level; 2],
            fleet: of_fleet,
            since: [whole - fleet_whole + of_fleet; 2],
            each: own.late,
            fleet_hosts: fleet.whole.len() as f64,
            spread: Spread {
                prior: SIGMA * SIGMA,
                between: variance(&fleet.whole).max(variance(&late)),
                freedom,
            },
        })
    }
}

/// How restless hosts are, each of which must have enough to tell.
fn restless(stretch: &Stretch, usual: f64) -> Option<Restless> {
    let level = |said: &[Said], least: usize| {
        let clipped = wiggles(said).map(|wiggle| wiggle.min(CLIP * usual));
        let clipped: Vec<f64> = clipped.collect();
        if clipped.len() < least {
            return None;
        }
        // One that stands still would make all others look alike.
        mean(clipped).map(|size| size.max(usual / CLIP).ln())
    };
    let mut all = Restless {
        whole: Vec::new(),
        late: Vec::new(),
    };
    for (host, said) in &stretch.hosts {
        let half = &said[said.len() / 2..];
        all.whole.push(level(said, WIGGLES_MIN)?);
        all.late.push((level(half, WIGGLES_MIN / 2)?, *host));
    }
    Some(all)
}
