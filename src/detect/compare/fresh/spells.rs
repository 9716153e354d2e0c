//! What came and went since the grace: spells in which fresh hosts were far above (below) the fleet and themselves.
//!
//! A level over all of the bake hides what lasts for a part of it. So each minute is asked whether the host is farther
//! from the middle of the fleet than hosts of the fleet ever are in one of two hundred minutes, beyond the tolerance
//! of fresh hosts, and farther than it is for most of the time itself. The same is asked of each fleet host, now and
//! before the deployment.
//!
//! One spell may be chance: it proves nothing, however long it is. Spells that come again and again are counted as
//! events are: by chance the one-box has its share of all that it and the fleet had, were it half as restless again
//! as they are. And where most of a one-box was out for long, and no fleet host for a third of that, harm is likely.

use statrs::function::beta::beta_reg;

use super::{
    CheckState, FreshTest, Reader, UNPROVEN,
    history::{History, Stretch},
};
use crate::{
    detect::{
        HostId,
        compare::outcome::Outcome,
        stats::{mean, median, quantile},
    },
    event::Span,
};

/// How far out a minute is: farther than all but this share of the minutes of the fleet.
const FAR: f64 = 0.995;
/// Share of the time in which a host is less far out than where it usually is: harm may last for more than half of it.
const USUAL: f64 = 0.25;
/// Minutes between two spells; what is closer is one.
const APART: Span = Span::from_minutes(3);
/// Spells from which on they come again and again.
const AGAIN: f64 = 3.0;
/// How many times as often as every fleet host, and how much more restless than they are a healthy one may be.
const OFTEN: f64 = 1.5;
/// How many times as long as every fleet host.
const LONG: f64 = 3.0;
/// Time that is long, and such a part of all, where that is more.
const LONG_LEAST: Span = Span::from_minutes(10);
const LONG_PART: f64 = 1.0 / 6.0;
/// What is said of spells, before how many they are.
pub(in crate::detect::compare) const SPELLS: &str = "it came and went";

/// The spells of one host in a stretch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Spells {
    count: f64,
    /// Columns that were out.
    columns: f64,
    /// The first of them.
    first: usize,
    /// How far out they were from the middle of the fleet, in the middle.
    size: f64,
}

/// How far out the columns of a host are: from the middle of the fleet, and from where it usually is, too.
struct Line {
    distances: Vec<f64>,
    beyond: Vec<f64>,
}

impl Line {
    fn new(distances: &[f64], side: f64) -> Self {
        let distances: Vec<f64> = distances.iter().map(|distance| distance * side).collect();
        let known = distances
            .iter()
            .copied()
            .filter(|number| number.is_finite());
        let usual = quantile(&mut known.collect::<Vec<f64>>(), USUAL).unwrap_or(0.0);
        let beyond = distances.iter().map(|distance| distance - usual.max(0.0));
        Self {
            beyond: beyond.collect(),
            distances,
        }
    }

    /// The spells beyond `least`; of a host that has just started not the one that it starts with.
    fn spells(&self, least: f64, apart: usize, is_new: bool) -> Spells {
        let mut spells = Spells::default();
        let mut last: Option<usize> = None;
        let mut is_start = false;
        let mut sizes = Vec::new();
        let out = self.beyond.iter().enumerate();
        for (index, _) in out.filter(|(_, beyond)| least < **beyond) {
            let goes_on = last.is_some_and(|last| index - last <= apart);
            last = Some(index);
            if !goes_on {
                is_start = is_new && index < apart;
            }
            if is_start {
                continue;
            }
            if !goes_on {
                spells.count += 1.0;
            }
            if sizes.is_empty() {
                spells.first = index;
            }
            spells.columns += 1.0;
            sizes.push(self.distances[index]);
        }
        spells.size = median(&mut sizes).unwrap_or(0.0);
        spells
    }
}

/// The spells of all hosts on one side.
struct Found {
    one_box: Vec<Spells>,
    fleet: Vec<Spells>,
}

impl FreshTest {
    /// What the spells since the grace say when the bake ends, if they are harm: certain at this alpha, or likely.
    pub(super) fn spells(
        &self,
        reader: &Reader<'_>,
        history: &History,
        alpha: f64,
    ) -> Option<Outcome> {
        let sides = self.sides.signs().iter();
        let each = sides.filter_map(|side| self.spells_of(reader, history, *side, alpha));
        each.max_by_key(|outcome| outcome.state == CheckState::Breach)
    }

    fn spells_of(
        &self,
        reader: &Reader<'_>,
        history: &History,
        side: f64,
        alpha: f64,
    ) -> Option<Outcome> {
        let width = reader.terms.resolution.times(history.column as i64);
        let found = self.found(history, side, APART.div_ceil(width).max(1))?;
        let own = found.own()?;
        let whole = history.fleet.hosts[0].1.len().div_ceil(history.column) as f64;
        let most = found.fleet.iter().map(|spells| spells.columns);
        let most = LONG * most.fold(0.0, f64::max);
        let least = LONG_LEAST.div_ceil(width) as f64;
        let is_long = least.max(LONG_PART * whole).max(most) <= own.columns;
        let chance = found.chance(own.count);
        let is_again = |alpha: f64| AGAIN <= own.count && chance < alpha;
        let is_certain = is_again(alpha / self.sides.signs().len() as f64);
        let is_likely = is_long || is_again(self.likely_tail());
        if !is_certain && !is_likely {
            return None;
        }
        let most = found.fleet.iter().map(|spells| spells.count);
        let most = most.fold(0.0, f64::max);
        let minutes = width.times(own.columns as i64).seconds_f64() / 60.0;
        let told = match own.count {
            count if count < 2.0 => format!("{SPELLS}: once, {minutes:.0} min"),
            count => format!("{SPELLS}: {count} times, {minutes:.0} min in all"),
        };
        let told = format!("{told}; fleet hosts at most {most} times in as long");
        let effect = own.size * side;
        Some(Outcome {
            state: if is_certain {
                CheckState::Breach
            } else {
                CheckState::NoData
            },
            effect: Some(effect),
            interval: None,
            detectable: None,
            observed: None,
            expected: None,
            first_breach: is_certain.then(|| history.from + width.times(own.first as i64)),
            severity: own.size / self.tolerance,
            remark: Some(if is_certain {
                told
            } else {
                format!("{told}; {UNPROVEN}")
            }),
            ..self.outcome.clone()
        })
    }

    /// The spells on one side; `None` where the one-box has none.
    fn found(&self, history: &History, side: f64, apart: usize) -> Option<Found> {
        let lines = |stretch: &Stretch, fleet: &Stretch| -> Vec<Line> {
            let distances = stretch.distances(fleet, history.column).into_iter();
            let lines = distances.map(|(_, distances): (HostId, _)| Line::new(&distances, side));
            lines.collect()
        };
        let stretches = history.before.iter().chain([&history.fleet]);
        let fleet: Vec<Line> = stretches.flat_map(|fleet| lines(fleet, fleet)).collect();
        let all = fleet.iter().flat_map(|line| &line.beyond).copied();
        let mut all: Vec<f64> = all.filter(|beyond| beyond.is_finite()).collect();
        let allowance = self.allowance[usize::from(side < 0.0)];
        let least = quantile(&mut all, FAR)?.max(self.tolerance + allowance);
        let one_box = lines(&history.one_box, &history.fleet).into_iter();
        let one_box: Vec<Spells> = one_box
            .map(|line| line.spells(least, apart, true))
            .collect();
        let is_any = one_box.iter().any(|spells| 0.0 < spells.count);
        is_any.then(|| Found {
            one_box,
            fleet: fleet
                .iter()
                .map(|line| line.spells(least, apart, false))
                .collect(),
        })
    }
}

impl Found {
    /// What more than half of the one-box's hosts show, so that one of several is not enough.
    fn own(&self) -> Option<Spells> {
        let middle = |part: fn(&Spells) -> f64| {
            let mut parts: Vec<f64> = self.one_box.iter().map(part).collect();
            parts.sort_unstable_by(f64::total_cmp);
            parts.get((parts.len().max(1) - 1) / 2).copied()
        };
        let any = || self.one_box.iter().filter(|spells| 0.0 < spells.count);
        let own = Spells {
            count: middle(|spells| spells.count)?,
            columns: middle(|spells| spells.columns)?,
            first: any().map(|spells| spells.first).min()?,
            size: mean(any().map(|spells| spells.size))?,
        };
        (0.0 < own.count).then_some(own)
    }

    /// The chance that a healthy host has so many spells, or more, of all that it and the fleet had. Where they come to
    /// some hosts more than to others, they count for less.
    fn chance(&self, own: f64) -> f64 {
        let counts = || self.fleet.iter().map(|spells| spells.count);
        let hosts = self.fleet.len() as f64;
        let all: f64 = counts().sum();
        let middle = all / hosts;
        let squares: f64 = counts().map(|count| (count - middle).powi(2)).sum();
        let dispersion = if 0.0 < all {
            (squares / (hosts - 1.0) / middle).max(1.0)
        } else {
            1.0
        };
        let most = counts().fold(0.0, f64::max);
        if own <= OFTEN * most {
            return 1.0;
        }
        let share = OFTEN / (OFTEN + hosts);
        beta_reg(own / dispersion, all / dispersion + 1.0, share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tail of a binomial: computed by `scipy.stats.binom`.
    #[test]
    fn the_chance_of_spells_agrees_with_scipy() {
        let found = |own: f64, counts: &[f64]| {
            let fleet = counts.iter().map(|count| Spells {
                count: *count,
                ..Spells::default()
            });
            let found = Found {
                one_box: Vec::new(),
                fleet: fleet.collect(),
            };
            found.chance(own)
        };
        for (own, counts, expected) in [
            (6.0, vec![0.0; 8], CHANCES[0]),
            (
                4.0,
                vec![1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0],
                CHANCES[1],
            ),
        ] {
            let chance = found(own, &counts);
            assert!((chance / expected - 1.0).abs() < 1e-9, "{own}: {chance:e}");
        }
        // As often as half as often again as one fleet host is no sign; and what comes to some hosts only says less.
        assert_eq!(found(3.0, &[2.0, 0.0, 0.0, 0.0, 0.0, 0.0]), 1.0);
        let even = found(8.0, &[2.0, 2.0, 2.0, 2.0, 2.0, 2.0]);
        let uneven = found(8.0, &[5.0, 5.0, 2.0, 0.0, 0.0, 0.0]);
        assert!(even < 0.3 * uneven, "{even} {uneven}");
    }

    const CHANCES: [f64; 2] = [1.549_551_171_121_654e-5, 0.025_485_786_224_897_72];

    #[test]
    fn what_is_close_together_is_one_spell_and_what_a_host_starts_with_none() {
        let mut distances = vec![0.0; 40];
        for index in [1, 2, 4, 10, 12, 30] {
            distances[index] = 1.0;
        }
        distances[31] = f64::NAN;
        let line = Line::new(&distances, 1.0);
        let spells = |is_new| {
            let spells = line.spells(0.5, 3, is_new);
            (spells.count, spells.columns, spells.first)
        };
        assert_eq!(spells(false), (3.0, 6.0, 1));
        assert_eq!(spells(true), (2.0, 3.0, 10));
        assert_eq!(Line::new(&distances, -1.0).spells(0.5, 3, true).count, 0.0);
    }

    #[test]
    fn what_a_host_rises_to_the_fleet_by_is_no_spell() {
        let mut distances = vec![-1.0; 40];
        distances[30..].fill(0.2);
        let line = Line::new(&distances, 1.0);
        assert_eq!(line.spells(0.5, 3, true), Spells::default());
        // What it is above the fleet for most of the time is no spell either.
        let mut distances = vec![0.6; 40];
        distances[30..].fill(0.8);
        let line = Line::new(&distances, 1.0);
        assert_eq!(line.spells(0.5, 3, true), Spells::default());
    }
}
