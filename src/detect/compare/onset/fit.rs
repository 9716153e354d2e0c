//! One change in a series: where it lies, and how large it is.
//!
//! A step is found by maximum likelihood for one change point (Hinkley 1970, *Inference about the change-point
//! in a sequence of random variables*, Biometrika 57): the split that leaves the smallest sum of squares of
//! normal values, or, of counts, the one with the largest likelihood of two Poisson rates, `N1 ln(N1/X1) +
//! N2 ln(N2/X2)` of `N` events where `X` were expected. What drifts away is a line that bends (a broken line,
//! Hinkley 1969), and is taken for one only where that is far more likely. Of values that resemble their
//! neighbours as in an AR(1) process a mean is worth `n (1 - r) / (1 + r)` independent ones (Bartlett 1946).

use crate::detect::stats::{mean, student_quantile};

/// Chance that the true size is beyond the interval, on each side.
const TAIL: f64 = 0.01;
/// Points before the deployment which make a level of their own; where there are fewer, what is expected is the
/// level.
const PAST_MIN: usize = 6;
/// Points after a change that tell how much they vary.
const AFTER_NOISE_MIN: usize = 3;
/// Fewest points of a change.
const AFTER_MIN: usize = 2;
/// Fewest points after a bend: of fewer a step looks like one.
const BEND_MIN: usize = 12;
/// Twice the logarithm of how much more likely a bend must be than a step: very strong evidence (Kass and
/// Raftery 1995).
const BEND_EVIDENCE: f64 = 10.0;
/// Blocks as long as the change that tell how means over as long a time vary.
const BLOCKS_MIN: usize = 4;
/// What stands for no event at all where a logarithm is taken.
const PART: f64 = 0.5;
/// Largest correlation of neighbours that is believed.
const CORRELATION_MAX: f64 = 0.95;

/// What hosts showed in a bucket, and what was expected of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    /// Number of the bucket.
    pub(super) bucket: usize,
    /// Sum of values, or events.
    pub(super) seen: f64,
    /// The same as the fleet leads one to expect it.
    pub(super) expected: f64,
    /// What both are divided by to give a value.
    pub(super) exposure: f64,
    /// How far it is from what was expected, on the scale that is fitted.
    pub(super) distance: f64,
}

/// How distances are distributed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Law {
    /// Normal.
    Normal,
    /// Counts of events: their variance is their mean, or in proportion to it.
    Events,
    /// Ratios of other sums, whose variance is in proportion to their mean, too.
    Ratios,
}

/// What a change looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Step,
    Bend,
}

/// A change: of distances, or of the logarithms of ratios of counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Change {
    /// The first of the points that shows it.
    pub(super) first: usize,
    /// The levels before and after; after a bend, that at the end.
    pub(super) before: f64,
    pub(super) after: f64,
    pub(super) shape: Shape,
    /// Whether the level before is that of the hosts, not what is expected of any host.
    has_level: bool,
}

/// The size of a change, and its standard error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Size {
    pub(super) effect: f64,
    pub(super) error: f64,
    /// The part of it that is of the level after the change.
    own_error: f64,
    /// Degrees of freedom of the error.
    freedom: f64,
}

impl Size {
    /// The interval of the true size.
    pub(super) fn interval(&self) -> (f64, f64) {
        let width = student_quantile(TAIL, self.freedom) * self.error;
        (self.effect - width, self.effect + width)
    }

    /// How far the level after the change may be from what it seems to be.
    pub(super) fn of_level(&self) -> (f64, f64) {
        let width = student_quantile(TAIL, self.freedom) * self.own_error;
        (-width, width)
    }
}

/// Sums of counts, with a part of an event where there are none.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    seen: f64,
    expected: f64,
}

impl Counted {
    fn of(points: &[Point]) -> Self {
        let sum = |part: fn(&Point) -> f64| points.iter().map(part).sum();
        Self {
            seen: sum(|point| point.seen),
            expected: sum(|point| point.expected),
        }
    }

    fn take(&mut self, point: &Point) {
        self.seen += point.seen;
        self.expected += point.expected;
    }

    fn less(mut self, other: Self) -> Self {
        self.seen -= other.seen;
        self.expected -= other.expected;
        self
    }

    /// The logarithm of seen to expected.
    fn level(&self) -> f64 {
        (self.seen.max(PART) / self.expected.max(f64::MIN_POSITIVE)).ln()
    }

    fn likelihood(&self) -> f64 {
        if self.seen > 0.0 {
            self.seen * (self.seen / self.expected.max(f64::MIN_POSITIVE)).ln() - self.seen
        } else {
            0.0
        }
    }
}

/// The most likely change of `points` that begins with one from `from` on and leads to one of these sides;
/// `None` where there is none.
pub(super) fn find(points: &[Point], from: usize, sides: &[f64], law: Law) -> Option<Change> {
    let is_harm = |change: &Change| {
        let rise = change.after - change.before;
        rise.is_finite() && sides.iter().any(|side| 0.0 < rise * side)
    };
    match law {
        Law::Events | Law::Ratios => counted_step(points, from, is_harm),
        Law::Normal => {
            let (step, step_squares) = step(points, from, is_harm)?;
            let Some((bend, bend_squares)) = bend(points, from, is_harm) else {
                return Some(step);
            };
            let evidence = points.len() as f64 * (step_squares / bend_squares).ln();
            Some(if BEND_EVIDENCE < evidence { bend } else { step })
        }
    }
}

/// The end of the points with which a change may begin: the last ones do not tell one from an outlier, unless they
/// are all there is.
fn candidates_end(points: &[Point], from: usize) -> usize {
    let end = (points.len() + 1).saturating_sub(AFTER_MIN);
    end.max(from + 1).min(points.len())
}

/// The points with which a change may begin.
fn candidates(points: &[Point], from: usize) -> impl Iterator<Item = (usize, &Point)> {
    let end = candidates_end(points, from);
    points[..end].iter().enumerate().skip(from)
}

/// The step with the smallest sum of squares around both levels, and that sum.
fn step(points: &[Point], from: usize, is_harm: impl Fn(&Change) -> bool) -> Option<(Change, f64)> {
    let whole: f64 = points.iter().map(|point| point.distance).sum();
    let squares: f64 = points.iter().map(|point| point.distance.powi(2)).sum();
    let mut best: Option<(Change, f64)> = None;
    let mut sum: f64 = points[..from].iter().map(|point| point.distance).sum();
    for (first, point) in candidates(points, from) {
        let (count, rest) = (first as f64, (points.len() - first) as f64);
        let has_level = PAST_MIN <= from;
        let before = if has_level { sum / count } else { 0.0 };
        let after = (whole - sum) / rest;
        let explained = if has_level { before * sum } else { 0.0 } + after * (whole - sum);
        let change = Change {
            first,
            before,
            after,
            shape: Shape::Step,
            has_level,
        };
        let left = (squares - explained).max(0.0);
        if is_harm(&change) && best.is_none_or(|(_, least)| left < least) {
            best = Some((change, left));
        }
        sum += point.distance;
    }
    best
}

/// The line that bends away from the level of the past with the smallest sum of squares, and that sum. What fills
/// up again after a start lies below that level, and must not lower it.
fn bend(points: &[Point], from: usize, is_harm: impl Fn(&Change) -> bool) -> Option<(Change, f64)> {
    let has_level = PAST_MIN <= from;
    let past = mean(points[..from].iter().map(|point| point.distance));
    let before = past.filter(|_| has_level).unwrap_or(0.0);
    let distance = |point: &Point| point.distance - before;
    let squares: f64 = points.iter().map(|point| distance(point).powi(2)).sum();
    let end = points.last()?.bucket as f64;
    // Of the points from one on: times before the end, their squares, distances, and products of both.
    let [mut times, mut moments, mut sum, mut products, mut number] = [0.0; 5];
    let mut best: Option<(Change, f64)> = None;
    for first in (from.max(1)..points.len()).rev() {
        let time = end - points[first].bucket as f64;
        number += 1.0;
        times += time;
        moments += time * time;
        sum += distance(&points[first]);
        products += time * distance(&points[first]);
        if number < BEND_MIN as f64 {
            continue;
        }
        // Times since the bend, which lies at the point before.
        let length = end - points[first - 1].bucket as f64;
        let ramp_squares = number * length * length - 2.0 * length * times + moments;
        let ramp_products = length * sum - products;
        let slope = ramp_products / ramp_squares;
        let left = (squares - slope * ramp_products).max(f64::MIN_POSITIVE);
        let change = Change {
            first,
            before,
            after: before + slope * length,
            shape: Shape::Bend,
            has_level,
        };
        if is_harm(&change) && best.is_none_or(|(_, least)| left < least) {
            best = Some((change, left));
        }
    }
    best
}

/// The step with the largest likelihood of counts.
fn counted_step(
    points: &[Point],
    from: usize,
    is_harm: impl Fn(&Change) -> bool,
) -> Option<Change> {
    let whole = Counted::of(points);
    let mut sums = Counted::of(&points[..from]);
    let mut best: Option<(Change, f64)> = None;
    for (first, point) in candidates(points, from) {
        let rest = whole.less(sums);
        let has_level = PAST_MIN <= from;
        let likelihood = rest.likelihood()
            + if has_level {
                sums.likelihood()
            } else {
                -sums.expected
            };
        let change = Change {
            first,
            before: if has_level { sums.level() } else { 0.0 },
            after: rest.level(),
            shape: Shape::Step,
            has_level,
        };
        if is_harm(&change) && best.is_none_or(|(_, most)| most < likelihood) {
            best = Some((change, likelihood));
        }
        sums.take(point);
    }
    best.map(|(change, _)| change)
}

/// The step that begins with this point, where the first `past` of them are of the past.
pub(super) fn levels(points: &[Point], past: usize, first: usize, law: Law) -> Change {
    let (before, after) = points.split_at(first.min(points.len()));
    let level = |points: &[Point]| match law {
        Law::Normal => mean(points.iter().map(|point| point.distance)).unwrap_or(0.0),
        Law::Events | Law::Ratios => Counted::of(points).level(),
    };
    let has_level = PAST_MIN <= past;
    Change {
        first: before.len(),
        before: if has_level { level(before) } else { 0.0 },
        after: level(after),
        shape: Shape::Step,
        has_level,
    }
}

/// How many of these last points before a change belong to it as well, its levels being known.
pub(super) fn reaching_back(points: &[Point], change: &Change, law: Law) -> usize {
    let (before, after) = (change.before, change.after);
    let gain = |point: &Point| match law {
        Law::Normal => (point.distance - before).powi(2) - (point.distance - after).powi(2),
        Law::Events | Law::Ratios => {
            point.seen * (after - before) - point.expected * (after.exp() - before.exp())
        }
    };
    let (mut best, mut most, mut sum) = (0, 0.0, 0.0);
    for (index, point) in points.iter().rev().enumerate() {
        sum += gain(point);
        if most < sum {
            (best, most) = (index + 1, sum);
        }
    }
    best
}

/// The change that begins at a point, and its size.
pub(super) fn size(points: &[Point], change: &Change, law: Law) -> Size {
    let least = match law {
        // What chance alone makes of events.
        Law::Events => 1.0,
        Law::Normal | Law::Ratios => 0.0,
    };
    let Some((before, after)) = points.split_at_checked(change.first) else {
        return Size {
            effect: 0.0,
            error: f64::INFINITY,
            own_error: f64::INFINITY,
            freedom: 1.0,
        };
    };
    let residuals = residuals(points, change, law);
    let (variance, memory) = noise(&residuals);
    // A harm may bring noise of its own.
    let (own_variance, _) = noise(&residuals[change.first..]);
    let is_noisier = AFTER_NOISE_MIN <= after.len() && variance < own_variance;
    let own_variance = if is_noisier { own_variance } else { variance };
    let worth = |count: usize| (count as f64 / memory).max(1.0);
    let telling = if is_noisier { after } else { points };
    let freedom = (worth(telling.len()) - 2.0).max(2.0);
    let (effect, own, other) = match law {
        Law::Normal => {
            let own = (own_variance / worth(after.len()))
                .max(between_blocks(&residuals[..before.len()], after.len()));
            let slopes = if change.shape == Shape::Bend {
                3.0
            } else {
                1.0
            };
            let other = if change.has_level {
                variance / worth(before.len())
            } else {
                0.0
            };
            (change.after - change.before, slopes * own, other)
        }
        Law::Events | Law::Ratios => {
            let [old, new] = [before, after].map(Counted::of);
            let of = |counted: Counted, variance: f64| {
                variance.max(least) * memory / counted.seen.max(PART)
            };
            let other = if change.has_level {
                of(old, variance)
            } else {
                0.0
            };
            let effect = change.after - change.before;
            (effect, of(new, own_variance), other)
        }
    };
    Size {
        effect,
        error: (own + other).sqrt(),
        own_error: own.sqrt(),
        freedom,
    }
}

/// What points are from a change; of counts by the root of what they are expected to vary.
fn residuals(points: &[Point], change: &Change, law: Law) -> Vec<f64> {
    let fitted = |index: usize, point: &Point| {
        if index < change.first {
            change.before
        } else if change.shape == Shape::Step {
            change.after
        } else {
            let bend = points[change.first.saturating_sub(1)].bucket as f64;
            let end = points.last().map_or(bend, |last| last.bucket as f64);
            let way = (point.bucket as f64 - bend) / (end - bend).max(1.0);
            change.before + (change.after - change.before) * way
        }
    };
    let residual = |(index, point): (usize, &Point)| match law {
        Law::Normal => point.distance - fitted(index, point),
        Law::Events | Law::Ratios => {
            let rate = point.expected * fitted(index, point).exp();
            (point.seen - rate) / rate.max(f64::MIN_POSITIVE).sqrt()
        }
    };
    points.iter().enumerate().map(residual).collect()
}

/// Variance of residuals, and how many of them are worth one independent one; at least 1.
fn noise(residuals: &[f64]) -> (f64, f64) {
    let squares: f64 = residuals.iter().map(|residual| residual.powi(2)).sum();
    let count = residuals.len() as f64;
    if squares <= 0.0 || residuals.len() < 4 {
        return (squares / count.max(1.0), 1.0);
    }
    let pairs = residuals.windows(2);
    let products: f64 = pairs.map(|pair| pair[0] * pair[1]).sum();
    let raw = products / squares;
    // Of short series it seems smaller than it is (Kendall 1954).
    let correlation = (raw + (1.0 + 3.0 * raw) / count).clamp(0.0, CORRELATION_MAX);
    let variance = squares / (count - 2.0).max(1.0);
    (variance, (1.0 + correlation) / (1.0 - correlation))
}

/// The variance of means over blocks of so many residuals; 0 where too few fit.
fn between_blocks(residuals: &[f64], length: usize) -> f64 {
    let blocks = residuals.rchunks_exact(length.max(1));
    let count = blocks.len();
    if count < BLOCKS_MIN {
        return 0.0;
    }
    let means = blocks.filter_map(|block| mean(block.iter().copied()));
    means.map(|mean| mean * mean).sum::<f64>() / (count - 1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: usize = 48;
    /// The first point that may show a change.
    const FROM: usize = 20;

    fn points(of: impl Fn(f64) -> (f64, f64, f64)) -> Vec<Point> {
        let point = |bucket: usize| {
            let (seen, expected, distance) = of(bucket as f64);
            Point {
                bucket,
                seen,
                expected,
                exposure: 1.0,
                distance,
            }
        };
        (0..COUNT).map(point).collect()
    }

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found}, not {expected}");
    }

    /// Split, levels and standard error: found by trying every split with numpy.
    #[test]
    fn a_step_is_the_best_of_all_splits() {
        let of = |time: f64| {
            let wave = 0.1 * (1.7 * time).sin() + 0.05 * (0.4 * time * time).cos();
            wave + if time < 33.0 { 0.0 } else { 0.6 }
        };
        let points = points(|time| (0.0, 0.0, of(time)));
        let step = find(&points, FROM, &[1.0], Law::Normal).unwrap();
        assert_eq!((step.first, step.shape), (33, Shape::Step));
        near(step.before, 0.001_634_780_798_552_081_2);
        near(step.after, 0.604_025_332_161_07);
        let size = size(&points, &step, Law::Normal);
        near(size.error, 0.029_172_742_600_599_61);
        let (low, high) = size.interval();
        near(f64::midpoint(low, high), step.after - step.before);
        // Two degrees less than there are points after it, since those vary more.
        let width = 2.650_308_837_912_191_5 * size.error;
        assert!(((high - low) / 2.0 - width).abs() < 1e-6, "{low} {high}");
        assert_eq!(
            find(&points[..33], FROM, &[-1.0], Law::Normal).map(|step| step.after < 0.0),
            Some(true)
        );
    }

    /// The bend, and the levels before it and at the end: found by trying every bend with numpy.
    #[test]
    fn what_drifts_away_is_a_line_that_bends() {
        let of = |time: f64| 0.05 * (1.7 * time).sin() + 0.04 * (time - 29.0).max(0.0);
        let points = points(|time| (0.0, 0.0, of(time)));
        let bend = find(&points, FROM, &[1.0, -1.0], Law::Normal).unwrap();
        assert_eq!((bend.first, bend.shape), (30, Shape::Bend));
        near(bend.before, 0.001_368_556_541_826_827_7);
        near(bend.after, 0.716_291_337_027_016);
    }

    #[test]
    fn a_step_of_counts_has_the_largest_likelihood() {
        let of = |time: f64| {
            let seen = (7.0 * time % 5.0) % 3.0 + if time < 36.0 { 0.0 } else { 4.0 };
            (seen, 1.0 + 0.2 * (time % 3.0), 0.0)
        };
        let points = points(of);
        let law = Law::Events;
        let step = find(&points, FROM, &[1.0], law).unwrap();
        assert_eq!(step.first, 36);
        near(step.before, -0.433_635_985_074_860_73);
        near(step.after, 1.410_309_237_323_764_5);
        near(size(&points, &step, law).error, 0.229_485_159_120_712_18);
        assert_eq!(find(&points[..30], FROM, &[], law), None, "no side is harm");
    }

    /// A host without a past is held against what is expected of any host.
    #[test]
    fn without_a_past_a_harm_from_the_begin_on_is_not_taken_for_usual() {
        let points = points(|time| (0.0, 0.0, -20.0 + 0.1 * (1.7 * time).sin()));
        let step = find(&points, 0, &[-1.0], Law::Normal).unwrap();
        assert_eq!((step.first, step.before), (0, 0.0));
        assert!((step.after + 20.0).abs() < 0.1, "{step:?}");
    }

    #[test]
    fn what_began_before_the_fit_is_found_by_its_levels() {
        let law = Law::Normal;
        let points = points(|time| (0.0, 0.0, if time < 12.0 { 0.1 } else { 0.9 }));
        let change = levels(&points, FROM, FROM, law);
        assert_eq!(reaching_back(&points[..FROM], &change, law), FROM - 12);
        let healthy = &points[..12];
        assert_eq!(reaching_back(healthy, &change, law), 0);
    }

    /// One value is all there is at the first look.
    #[test]
    fn the_only_value_after_the_grace_is_the_change() {
        let points = points(|time| (0.0, 0.0, if time < 47.0 { 0.0 } else { 1.0 }));
        let step = find(&points, COUNT - 1, &[1.0], Law::Normal).unwrap();
        assert_eq!(step.first, COUNT - 1);
        assert_eq!(find(&points, COUNT, &[1.0], Law::Normal), None);
    }
}
