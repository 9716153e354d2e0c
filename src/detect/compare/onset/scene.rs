//! What hosts showed from their past on until now, and what the fleet led one to expect of them.

use super::fit::{Law, Point};
use crate::detect::{
    Group, HostId,
    compare::{
        class::Class,
        pasts::{past_buckets, past_share},
        reading::{HOLD_MAX, Reader, hold, past},
        scale::Working,
    },
    stats::{mean, median},
};
use crate::event::{Span, Timestamp};

/// Values before the deployment that tell where a host usually is.
const USUAL_MIN: usize = 6;
/// How many events the fleet's usual rate is worth beside those of one bucket, and beside those of one host:
/// of fewer nobody can tell what they say of the rate.
const RATE_EVENTS: f64 = 10.0;

/// One host, bucket by bucket; NaN where it said nothing.
pub(super) struct Row {
    host: HostId,
    /// Values or events, and what they are to be divided by.
    pub(super) seen: Vec<f64>,
    pub(super) exposure: Vec<f64>,
    /// Where it usually is on the working scale, or its usual rate; `None`: not known.
    usual: Option<f64>,
}

/// On which scale distances are measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Aspect {
    /// Logarithms of values.
    Log,
    /// Ratios of sums: of events, and of values that can be zero.
    Ratio,
    /// Differences, in parts of the value that means everything or of the usual size.
    Difference { full: f64 },
}

/// All hosts.
pub(super) struct Scene {
    pub(super) aspect: Aspect,
    /// Whether values are events.
    is_counted: bool,
    one_box: Vec<Row>,
    fleet: Vec<Row>,
    /// How far all of the fleet is from what is usual: a distance, or a factor of rates.
    load: Vec<f64>,
    /// The first buckets after the past, and after the grace.
    pub(super) begun: usize,
    pub(super) judged: usize,
    start: Timestamp,
}

/// Which of the hosts are meant.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part<'a> {
    /// These of the one-box.
    OneBox(&'a [usize]),
    /// This one of the fleet.
    Fleet(usize),
}

impl Row {
    pub(super) fn value(&self, bucket: usize) -> Option<f64> {
        let value = self.seen[bucket] / self.exposure[bucket];
        (0.0 < self.exposure[bucket] && value.is_finite()).then_some(value)
    }

    pub(super) fn values(&self, until: usize) -> impl Iterator<Item = f64> {
        (0..until).filter_map(|bucket| self.value(bucket))
    }

    /// The mean of its values.
    fn rate(&self, until: usize) -> Option<f64> {
        mean(self.values(until))
    }

    /// For how many buckets a value stands.
    fn stands(&self) -> usize {
        let is_there = |bucket: &usize| self.value(*bucket).is_some();
        let all = 0..self.seen.len();
        let (first, last) = (all.clone().find(is_there), all.clone().rfind(is_there));
        let samples = all.filter(is_there).count();
        let (first, last) = (first.unwrap_or(0), last.unwrap_or(0));
        hold(last - first, samples.saturating_sub(1))
    }
}

impl Aspect {
    fn of(working: &Working, rows: &[&[Row]]) -> Self {
        match working {
            Working::Share { full } => Self::Difference { full: *full },
            Working::Linear { unit } => Self::Difference { full: *unit },
            Working::Log { .. } | Working::LogRatio { .. } => {
                let rows = rows.iter().flat_map(|rows| rows.iter());
                let mut values = rows.flat_map(|row| row.values(row.seen.len()));
                if values.any(|value| value <= 0.0) {
                    Self::Ratio
                } else {
                    Self::Log
                }
            }
        }
    }

    /// A value as it is compared; not of rates.
    fn scaled(self, value: f64) -> f64 {
        match self {
            Self::Log => value.ln(),
            Self::Ratio => value,
            Self::Difference { full } => value / full,
        }
    }
}

impl Scene {
    /// Reads these hosts of the one-box, and the fleet. What is `counted` are events.
    pub(super) fn read(
        (reader, group): (&Reader<'_>, &Group),
        one_box: &[HostId],
        class: &Class,
        counted: bool,
    ) -> Self {
        let (terms, view) = (reader.terms, reader.view);
        let end = view.bucket.end;
        let width = terms.resolution;
        let count = past_buckets(one_box.len() + view.fleet.len());
        let before = |at: Timestamp| count.saturating_sub((end - at).div_ceil(width));
        let begun = before(terms.past_until);
        let began = before(terms.began_at);
        let divisor = terms.divisor(group.kind, terms.has_per);
        let row = |host: &HostId, divisor: f64| {
            let known = past(terms, group.track(*host), end, count);
            let mut last = None;
            let (mut seen, mut exposure) = (Vec::with_capacity(count), Vec::with_capacity(count));
            for (bucket, (value, of)) in known.into_iter().enumerate() {
                let (value, of) = (f64::from(value), f64::from(of));
                let mut stretch = 1.0;
                if counted && value.is_finite() {
                    let since = last.replace(bucket).map_or(1, |last: usize| bucket - last);
                    let since = if terms.is_log { 1 } else { since.min(HOLD_MAX) };
                    stretch = since as f64 * width.seconds_f64();
                }
                let share = if began <= bucket { divisor } else { 1.0 };
                seen.push(value * stretch);
                exposure.push(of * stretch * share);
            }
            Row {
                host: *host,
                seen,
                exposure,
                usual: None,
            }
        };
        let mut one_box: Vec<Row> = one_box.iter().map(|host| row(host, divisor)).collect();
        let fleet: Vec<Row> = view.fleet.iter().map(|host| row(host, 1.0)).collect();
        let rates = |rows: &[Row]| rows.iter().filter_map(|row| row.rate(begun)).collect();
        let share = past_share(rates(&one_box), rates(&fleet), divisor);
        for exposure in one_box
            .iter_mut()
            .flat_map(|row| &mut row.exposure[..began])
        {
            *exposure *= share;
        }
        let mut values: Vec<f64> = fleet.iter().flat_map(|row| row.values(count)).collect();
        let working = Working::choose(class, &mut values, (terms.has_per, false));
        Self {
            aspect: Aspect::of(&working, &[&one_box, &fleet]),
            is_counted: counted,
            one_box,
            fleet,
            load: Vec::new(),
            begun,
            judged: before(terms.grace_until).max(begun),
            start: end - width.times(count as i64),
        }
        .learned()
    }

    /// Learns what is usual.
    fn learned(mut self) -> Self {
        let (one_box, fleet) = (&mut self.one_box, &mut self.fleet);
        match self.aspect {
            Aspect::Ratio => rates(one_box, fleet, self.begun),
            Aspect::Log | Aspect::Difference { .. } => {
                places(one_box, fleet, self.aspect, self.begun);
            }
        }
        self.load = load(&self.fleet, self.aspect);
        self
    }

    /// The same of how far values lie from those before them.
    pub(super) fn of_spreads(mut self) -> Self {
        for row in self.one_box.iter_mut().chain(&mut self.fleet) {
            let mut last = f64::NAN;
            for bucket in 0..row.seen.len() {
                let value = row.value(bucket).map(|value| self.aspect.scaled(value));
                let distance = value.map_or(f64::NAN, |value| (value - last).abs());
                last = value.unwrap_or(last);
                row.seen[bucket] = distance;
                row.exposure[bucket] = 1.0;
            }
        }
        (self.aspect, self.is_counted) = (Aspect::Ratio, false);
        self.learned()
    }

    /// How distances are distributed.
    pub(super) fn law(&self) -> Law {
        match self.aspect {
            Aspect::Log | Aspect::Difference { .. } => Law::Normal,
            Aspect::Ratio if self.is_counted => Law::Events,
            Aspect::Ratio => Law::Ratios,
        }
    }

    /// When a bucket began, given the width of one.
    pub(super) fn time(&self, bucket: usize, width: Span) -> Timestamp {
        self.start + width.times(bucket as i64)
    }

    pub(super) fn buckets(&self) -> usize {
        self.load.len()
    }

    pub(super) fn fleet(&self) -> &[Row] {
        &self.fleet
    }

    pub(super) fn row(&self, host: usize) -> &Row {
        &self.one_box[host]
    }

    pub(super) fn fleet_len(&self) -> usize {
        self.fleet.len()
    }

    pub(super) fn one_box_len(&self) -> usize {
        self.one_box.len()
    }

    pub(super) fn host(&self, index: usize) -> HostId {
        self.one_box[index].host
    }

    /// What all hosts of the fleet showed from a bucket on: values or events.
    pub(super) fn of_fleet(&self, from: usize) -> f64 {
        let rows = self.fleet.iter();
        let seen = rows.flat_map(|row| row.seen[from..].iter().copied());
        seen.filter(|seen| seen.is_finite()).sum()
    }

    /// What some hosts showed beside what was expected of them, where they said anything.
    pub(super) fn points(&self, part: Part<'_>) -> Vec<Point> {
        let rows: Vec<&Row> = match part {
            Part::OneBox(hosts) => hosts.iter().map(|host| &self.one_box[*host]).collect(),
            Part::Fleet(host) => vec![&self.fleet[host]],
        };
        let buckets = 0..self.load.len();
        let point = |bucket: usize| {
            let mut point = Point {
                bucket,
                seen: 0.0,
                expected: 0.0,
                exposure: 0.0,
                distance: 0.0,
            };
            let mut hosts = 0.0;
            for row in &rows {
                let Some(value) = row.value(bucket) else {
                    continue;
                };
                let place = row.usual? + self.load[bucket];
                let (exposure, usual) = (row.exposure[bucket], row.usual?);
                hosts += 1.0;
                point.seen += row.seen[bucket];
                point.exposure += exposure;
                match self.aspect {
                    Aspect::Ratio => point.expected += exposure * usual * self.load[bucket],
                    Aspect::Log => {
                        point.expected += exposure * place.exp();
                        point.distance += value.ln() - place;
                    }
                    Aspect::Difference { full } => {
                        point.expected += exposure * place * full;
                        point.distance += value / full - place;
                    }
                }
            }
            point.distance /= hosts;
            (0.0 < hosts && point.distance.is_finite() && point.expected.is_finite())
                .then_some(point)
        };
        buckets.filter_map(point).collect()
    }
}

/// Where hosts usually are on the working scale. Where most of the fleet has no past either, nobody is anywhere
/// in particular, and the fleet of now is all there is to expect.
fn places(one_box: &mut [Row], fleet: &mut [Row], aspect: Aspect, begun: usize) {
    let place = |row: &Row| {
        let scaled = row.values(begun).map(|value| aspect.scaled(value));
        let mut scaled: Vec<f64> = scaled.collect();
        if scaled.len() < USUAL_MIN {
            return None;
        }
        match aspect {
            Aspect::Log => median(&mut scaled),
            // Small shares are lumps: most values of a healthy host may be 0.
            Aspect::Ratio | Aspect::Difference { .. } => mean(scaled),
        }
    };
    for row in one_box.iter_mut().chain(&mut *fleet) {
        row.usual = place(row);
    }
    let known: Vec<f64> = fleet.iter().filter_map(|row| row.usual).collect();
    if known.len() * 2 < fleet.len() {
        for row in one_box.iter_mut().chain(fleet) {
            row.usual = Some(0.0);
        }
        return;
    }
    // Who came later is taken for any other.
    let common = mean(known);
    for row in one_box.iter_mut().chain(fleet) {
        row.usual = row.usual.or(common);
    }
}

/// The usual rates of hosts, as far as what they counted tells, or else that of the fleet.
fn rates(one_box: &mut [Row], fleet: &mut [Row], begun: usize) {
    let sums = |row: &Row, until: usize| {
        let there = (0..until).filter(|bucket| row.value(*bucket).is_some());
        there.fold((0.0, 0.0), |(seen, exposure), bucket| {
            (seen + row.seen[bucket], exposure + row.exposure[bucket])
        })
    };
    let lump = lump(fleet);
    let whole = |until: usize| {
        let sums = fleet.iter().map(|row| sums(row, until));
        sums.fold((0.0, 0.0), |(a, b), (seen, exposure)| {
            (a + seen, b + exposure)
        })
    };
    let len = fleet.first().map_or(0, |row| row.seen.len());
    let (seen, exposure) = Some(whole(begun))
        .filter(|(_, exposure)| 0.0 < *exposure)
        .unwrap_or_else(|| whole(len));
    let rate = (seen + 0.5 * lump) / exposure.max(f64::MIN_POSITIVE);
    for row in one_box.iter_mut().chain(fleet) {
        let (seen, exposure) = sums(row, begun);
        let prior = RATE_EVENTS * lump;
        row.usual = Some((seen + prior) / (exposure + prior / rate));
    }
}

/// How much comes at once: the variance of what the fleet shows between two buckets by its mean; 1 of events
/// that come alone.
fn lump(fleet: &[Row]) -> f64 {
    let (mut squares, mut sum, mut pairs) = (0.0, 0.0, 0.0);
    for row in fleet {
        let mut last = None;
        let there = (0..row.seen.len()).filter(|bucket| row.value(*bucket).is_some());
        for seen in there.map(|bucket| row.seen[bucket]) {
            if let Some(last) = last.replace(seen) {
                squares += 0.5 * (seen - last) * (seen - last);
                sum += seen;
                pairs += 1.0;
            }
        }
    }
    let lump: f64 = squares / sum;
    if pairs > 0.0 && lump.is_finite() && lump > 0.0 {
        lump
    } else {
        1.0
    }
}

/// How far all of the fleet is from what is usual, bucket by bucket: of what each host said in it, or before for
/// as long as that stands.
fn load(fleet: &[Row], aspect: Aspect) -> Vec<f64> {
    let count = fleet.first().map_or(0, |row| row.seen.len());
    let stands: Vec<usize> = fleet.iter().map(Row::stands).collect();
    let mut latest: Vec<Option<usize>> = vec![None; fleet.len()];
    let prior = RATE_EVENTS * lump(fleet);
    let mut distances = Vec::with_capacity(fleet.len());
    (0..count)
        .map(|bucket| {
            distances.clear();
            let (mut seen, mut expected) = (prior, prior);
            for ((row, stands), latest) in fleet.iter().zip(&stands).zip(&mut latest) {
                if row.value(bucket).is_some() {
                    *latest = Some(bucket);
                }
                let Some(at) = latest.filter(|at| bucket - at < *stands) else {
                    continue;
                };
                let Some((value, usual)) = row.value(at).zip(row.usual) else {
                    continue;
                };
                distances.push(aspect.scaled(value) - usual);
                seen += row.seen[at];
                expected += row.exposure[at] * usual;
            }
            match aspect {
                Aspect::Ratio => seen / expected,
                Aspect::Log | Aspect::Difference { .. } => {
                    median(&mut distances).unwrap_or(f64::NAN)
                }
            }
        })
        .collect()
}
