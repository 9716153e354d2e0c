//! What makes a trend too steep: the owner's limit, the fleet, or the host's own past.

use serde::{Deserialize, Serialize};

use super::trend::Trend;
use crate::{
    detect::{Basis, HostId, Track, robust::student_t, wording::number},
    event::{Interval, Span, Timestamp, Unit},
    plan::Slope,
};

/// One-sided confidence that a slope beyond a limit is not noise.
pub(super) const LIMIT_TAIL: f64 = 0.01;
/// Fleet hosts that a comparison of slopes needs.
pub(super) const FLEET_MIN: usize = 4;
/// Windows of the past that a host needs without a fleet, of its own or of all hosts: three lie within the first
/// and the last, so that it is nearly two windows long.
pub(super) const PAST_WINDOWS_MIN: usize = 4;
/// Windows of its own past that are looked at, the latest.
const PAST_WINDOWS_MAX: usize = 32;
/// Rise over the window, as a share of the level, below which nobody needs to know: against the
/// fleet, and against the past alone.
const RISE_MIN: f64 = 0.02;
const RISE_ALONE_MIN: f64 = 0.05;
/// Rise over the window, likewise, that must be excluded before a trend is in range.
const RISE_MAX: f64 = 0.1;
/// Extrapolates the steepest of `n` windows to the steepest of more: the tail of real metrics falls
/// with about this power.
const TAIL_POWER: f64 = 0.2;
/// How much steeper than its own past a host must be at least, and how much more where no fleet
/// tells whether the world changed.
const MARGIN_MIN: f64 = 1.5;
const MARGIN_ALONE: f64 = 1.4;
const SECONDS_PER_HOUR: f64 = 3_600.0;

/// One trend against what is allowed.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Reading {
    /// Whose trend; `None`: all judged hosts together.
    pub(super) host: Option<HostId>,
    /// Slope per hour: a share of the level, or in units of the metric.
    pub(super) observed: f64,
    /// What is allowed, likewise.
    pub(super) allowed: f64,
    /// Half of the confidence interval of `observed`.
    pub(super) margin: f64,
    /// Whether the slopes are shares of the level.
    pub(super) is_relative: bool,
    /// Level of the window.
    pub(super) level: f64,
    /// Too steep in this look.
    pub(super) exceeds: bool,
    /// Not so certainly, but far beyond what the past had: without a fleet.
    pub(super) is_likely: bool,
    /// Too steep, but of something that a process gathers anew, and no more of it than before: beside a fleet.
    pub(super) is_refilling: bool,
    /// A slope beyond what is allowed is excluded.
    pub(super) is_excluded: bool,
    /// What it was held against.
    pub(super) basis: Basis,
}

/// What the looks of a check share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    /// Chance of a false alarm of one look at one group.
    pub(super) alpha: f64,
    /// How many windows of this length the bake and all groups hold, over `alpha` of the check.
    pub(super) windows_over_alpha: f64,
}

/// Holds the trend of one host against the limits; the worse side is told. `None` where a relative
/// slope has no level.
pub(super) fn against_limits(
    host: HostId,
    trend: &Trend,
    max: Option<Slope>,
    min: Option<Slope>,
) -> Option<Reading> {
    let rise = max.and_then(|limit| against_limit(host, trend, limit));
    let fall = min.and_then(|limit| {
        let limit = match limit {
            Slope::Absolute(slope) => Slope::Absolute(-slope),
            Slope::Relative(slope) => Slope::Relative(-slope),
        };
        let reading = against_limit(host, &trend.flipped(), limit)?;
        Some(Reading {
            observed: -reading.observed,
            allowed: -reading.allowed,
            level: -reading.level,
            ..reading
        })
    });
    match (rise, fall) {
        (Some(rise), Some(fall)) if fall.steepness() > rise.steepness() => Some(fall),
        (Some(rise), _) => Some(rise),
        (None, fall) => fall,
    }
}

fn against_limit(host: HostId, trend: &Trend, limit: Slope) -> Option<Reading> {
    let (scale, limit, is_relative) = match limit {
        Slope::Absolute(slope) => (1.0, slope, false),
        Slope::Relative(slope) => (trend.level.abs(), slope, true),
    };
    if scale <= 0.0 {
        return None;
    }
    let margin = student_t(trend.freedom.floor(), LIMIT_TAIL) * trend.error;
    let limit_absolute = limit * scale;
    Some(Reading {
        host: Some(host),
        observed: trend.slope / scale * SECONDS_PER_HOUR,
        allowed: limit * SECONDS_PER_HOUR,
        margin: margin / scale * SECONDS_PER_HOUR,
        is_relative,
        level: trend.level,
        exceeds: limit_absolute < trend.slope - margin && trend.is_sustained_rise(limit_absolute),
        is_likely: false,
        is_refilling: false,
        is_excluded: trend.slope + margin <= limit_absolute,
        basis: Basis::Slo,
    })
}

/// Holds the judged hosts' trends against the fleet's at the same time. `None` with too few hosts.
pub(super) fn against_fleet(
    judged: &[Trend],
    fleet: &[Trend],
    window: Span,
    budget: Budget,
) -> Option<Reading> {
    if judged.is_empty() || fleet.len() < FLEET_MIN {
        return None;
    }
    let all_positive = judged
        .iter()
        .chain(fleet)
        .all(|trend| 0.0 < trend.thirds[0] && 0.0 < trend.level);
    let scaled = |trend: &Trend, value: f64| {
        if all_positive {
            value / trend.level
        } else {
            value
        }
    };
    let values = |trends: &[Trend], of: fn(&Trend) -> f64| -> Vec<f64> {
        trends
            .iter()
            .map(|trend| scaled(trend, of(trend)))
            .collect()
    };
    let slopes = Contrast::of(
        &values(judged, |trend| trend.slope),
        &values(fleet, |trend| trend.slope),
    );
    let levels = Contrast::of(
        &values(judged, |trend| trend.thirds[2] - trend.thirds[0]),
        &values(fleet, |trend| trend.thirds[2] - trend.thirds[0]),
    );
    let late = Contrast::of(
        &values(judged, |trend| trend.late),
        &values(fleet, |trend| trend.late),
    );
    let freedom = fleet.len() as f64 - 1.0;
    let quantile = student_t(freedom, budget.alpha / 2.0);
    let side = slopes.difference.signum();
    let level = judged.iter().map(|trend| trend.level).sum::<f64>() / judged.len() as f64;
    let rise = slopes.difference.abs() * window.seconds_f64();
    let unit = if all_positive { 1.0 } else { level.abs() };
    let floor = RISE_MIN * unit;
    let largest = (slopes.difference.abs() + quantile * slopes.error) * window.seconds_f64();
    let exceeds = quantile * slopes.error < slopes.difference.abs()
        && floor < rise
        && slopes.is_beyond_fleet
        && student_t(freedom, 0.01) * levels.error < side * levels.difference
        && slopes.difference.abs() / 2.0 <= side * late.difference;
    Some(Reading {
        host: None,
        observed: slopes.judged * SECONDS_PER_HOUR,
        allowed: slopes.fleet * SECONDS_PER_HOUR,
        margin: quantile * slopes.error * SECONDS_PER_HOUR,
        is_relative: all_positive,
        level,
        exceeds,
        is_likely: false,
        is_refilling: false,
        is_excluded: largest <= RISE_MAX * unit,
        basis: Basis::GaussianHosts,
    })
}

/// A difference of means between judged hosts and fleet.
pub(super) struct Contrast {
    judged: f64,
    fleet: f64,
    pub(super) difference: f64,
    /// Standard error of the difference, from the spread of the fleet.
    pub(super) error: f64,
    /// Whether the difference is larger than that of any disjoint group of the fleet of the same
    /// size.
    is_beyond_fleet: bool,
}

impl Contrast {
    pub(super) fn of(judged: &[f64], fleet: &[f64]) -> Self {
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let (judged_mean, fleet_mean) = (mean(judged), mean(fleet));
        let squares: f64 = fleet.iter().map(|value| (value - fleet_mean).powi(2)).sum();
        let deviation = (squares / (fleet.len() as f64 - 1.0)).sqrt();
        let difference = judged_mean - fleet_mean;
        let side = difference.signum();
        Self {
            judged: judged_mean,
            fleet: fleet_mean,
            difference,
            error: deviation * (1.0 / judged.len() as f64 + 1.0 / fleet.len() as f64).sqrt(),
            is_beyond_fleet: fleet
                .chunks_exact(judged.len().min(fleet.len()))
                .all(|group| side * (mean(group) - fleet_mean) < difference.abs()),
        }
    }
}

/// What trends hosts had before the deployment: in windows, and in stretches of several as one, as long as the past
/// holds. Per second; or as shares of the levels, where they are of several hosts.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Past {
    /// In the windows, and in the stretches.
    steepest: [Steepest; 2],
    /// From the lowest to the highest value.
    range: f64,
    /// The level, until it is made relative.
    level: f64,
    is_relative: bool,
    /// Of how many hosts it is.
    hosts: usize,
}

/// The steepest rise and fall of stretches of one length, and how many there were.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Steepest {
    rise: f64,
    fall: f64,
    count: usize,
}

impl Past {
    /// Looks at windows, and at longer stretches if the past holds them. `None` of a host without a whole window
    /// of data.
    pub(super) fn of(
        track: &Track,
        resolution: Span,
        [window, long]: [Span; 2],
        before: Timestamp,
    ) -> Option<Self> {
        let long = long.min(before - track.first_seen).max(window);
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for (value, exposure) in track.weighted(resolution, Timestamp::MIN, before) {
            let value = f64::from(value) / f64::from(exposure);
            if value.is_finite() {
                (low, high) = (low.min(value), high.max(value));
            }
        }
        let (windows, level) = Steepest::of(track, resolution, window, before)?;
        let stretches = Steepest::of(track, resolution, long, before);
        let stretches = stretches.map_or(Steepest::NONE, |(stretches, _)| stretches);
        Some(Self {
            steepest: [windows, stretches],
            range: high - low,
            level,
            is_relative: false,
            hosts: 1,
        })
    }

    /// Whether it holds enough windows to tell what is steep.
    pub(super) fn is_enough(&self) -> bool {
        PAST_WINDOWS_MIN <= self.steepest[0].count
    }

    /// The same as shares of its level; `None` of one that is not positive.
    pub(super) fn relative(self) -> Option<Self> {
        (0.0 < self.level).then(|| Self {
            level: 1.0,
            is_relative: true,
            ..self.times(1.0 / self.level)
        })
    }

    /// What two hosts did, both as shares of their levels.
    pub(super) fn and(mut self, other: &Self) -> Self {
        for (one, other) in self.steepest.iter_mut().zip(&other.steepest) {
            *one = Steepest {
                rise: one.rise.max(other.rise),
                fall: one.fall.max(other.fall),
                count: one.count + other.count,
            };
        }
        self.range = self.range.max(other.range);
        self.hosts += other.hosts;
        self
    }

    fn times(mut self, factor: f64) -> Self {
        for steepest in &mut self.steepest {
            steepest.rise *= factor;
            steepest.fall *= factor;
        }
        self.range *= factor;
        self
    }
}

impl Steepest {
    const NONE: Self = Self {
        rise: 0.0,
        fall: 0.0,
        count: 0,
    };

    /// Of stretches of this length that end before a time, a quarter of it apart, and the median of the latest.
    fn of(track: &Track, resolution: Span, length: Span, before: Timestamp) -> Option<(Self, f64)> {
        let step = Span::from_nanos(length.nanos() / 4);
        let mut level = None;
        let mut steepest = Self::NONE;
        for index in 0..PAST_WINDOWS_MAX {
            let end = before - step.times(index as i64);
            let window = Interval {
                start: end - length,
                end,
            };
            if window.start < track.first_seen {
                break;
            }
            if let Some(trend) = Trend::of(track, resolution, window) {
                level = level.or(Some(trend.level));
                steepest.count += 1;
                steepest.rise = steepest.rise.max(trend.slope);
                steepest.fall = steepest.fall.max(-trend.slope);
            }
        }
        Some((steepest, level?))
    }
}

/// Holds the trend of one host, over a window or over a longer stretch, against the past.
pub(super) fn against_past(
    host: HostId,
    trend: &Trend,
    past: &Past,
    (is_long, budget): (bool, Budget),
) -> Reading {
    let past = if past.is_relative {
        past.times(trend.level.abs())
    } else {
        *past
    };
    let is_fall = trend.slope < 0.0;
    let steepest = past.steepest[usize::from(is_long)];
    let (rise, known) = if is_fall {
        (trend.flipped(), steepest.fall)
    } else {
        (*trend, steepest.rise)
    };
    // What stays in a range rises by no more than that, however long it takes.
    let by_range = if is_long {
        past.range / trend.seconds
    } else {
        0.0
    };
    // Windows overlap by three quarters.
    let independent = (steepest.count as f64 / 4.0).max(0.25);
    let margin = (2.0 * budget.windows_over_alpha / independent)
        .powf(TAIL_POWER)
        .max(MARGIN_MIN);
    let floor = RISE_ALONE_MIN * trend.level.abs() / trend.seconds;
    let usual = MARGIN_ALONE * known.max(by_range);
    let allowed = (usual * margin).max(floor);
    let likely = (usual * MARGIN_MIN).max(2.0 * floor);
    let is_relative = 0.0 < trend.level;
    let scale = if is_relative { trend.level } else { 1.0 };
    let side = if is_fall { -1.0 } else { 1.0 };
    let is_steeper = |limit: f64| limit < rise.slope && rise.is_sustained_rise(limit);
    Reading {
        host: Some(host),
        observed: trend.slope / scale * SECONDS_PER_HOUR,
        allowed: side * allowed / scale * SECONDS_PER_HOUR,
        margin: 0.0,
        is_relative,
        level: trend.level,
        exceeds: is_steeper(allowed),
        is_likely: is_steeper(likely),
        is_refilling: false,
        is_excluded: rise.slope <= allowed
            && rise.slope * trend.seconds <= RISE_MAX * trend.level.abs(),
        basis: Basis::Model,
    }
}

impl Reading {
    /// How close to what is allowed, for the order of the evidence; above 1: beyond it.
    pub(super) fn steepness(&self) -> f64 {
        match self.basis {
            Basis::GaussianHosts => {
                (self.observed - self.allowed).abs() / self.margin.max(f64::MIN_POSITIVE)
            }
            Basis::Slo | Basis::Model | Basis::Exchangeable => {
                let side = if self.allowed < 0.0 { -1.0 } else { 1.0 };
                side * self.observed / self.allowed.abs().max(f64::MIN_POSITIVE)
            }
        }
    }

    /// When a share is full, or something is used up, if the trend goes on.
    pub(super) fn exhaustion(&self, unit: Unit) -> Option<String> {
        let pace = if self.is_relative {
            self.observed * self.level.abs()
        } else {
            self.observed
        };
        let full = match unit {
            Unit::Percent => Some(100.0),
            Unit::Ratio => Some(1.0),
            Unit::Unknown
            | Unit::Seconds
            | Unit::Milliseconds
            | Unit::Microseconds
            | Unit::Nanoseconds
            | Unit::Bytes
            | Unit::Count => None,
        };
        if 0.0 < pace {
            let hours = (full? - self.level) / pace;
            (0.0 <= hours).then(|| format!("full in about {} h", number(hours)))
        } else if pace < 0.0 && 0.0 < self.level {
            Some(format!("used up in about {} h", number(self.level / -pace)))
        } else {
            None
        }
    }
}
