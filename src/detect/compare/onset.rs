//! What a breach looks like: since when, how large, and on which hosts.
//!
//! Whether there is a harm is decided by the tests, over windows that may begin long before it. That a window
//! shows a harm says neither when it began nor how large it is since then, nor which of several hosts carry
//! it. So once a test has decided, the series itself is asked, from the past of the hosts on until now: for the
//! most likely single change since the deployment began ([`fit`]), for its size since then with an interval, and
//! for the hosts whose own change is beyond chance and beyond what fleet hosts do by themselves. This changes no
//! verdict but for one: where the fleet is what changed ([`fleet`]), a breach is withheld, and is no data when the
//! bake ends.
//!
//! The grace takes no part in the fit, since restarts and cold caches are not the harm; but what is there when
//! it ends, and was in it too, began there.

mod fit;
mod fleet;
mod scene;

use fit::{Change, Point, Shape, Size};
use scene::{Aspect, Part, Scene};
use serde::{Deserialize, Serialize};

use super::{
    class::Class,
    fresh::SPELLS,
    hosts::RISING,
    outcome::{Outcome, Scale},
    own_past::STILL,
    reading::Reader,
    report,
    terms::Sides,
};
use crate::{
    detect::{CheckState, Extent, Group, HostId, Unsound, stats::mean, wording::host_list},
    event::{Span, Timestamp},
};

/// Standard errors by which a host must have changed to be named.
const CARRIES_ERRORS: f64 = 2.5;
/// Share of the largest change of a host that it must show.
const CARRIES_SHARE: f64 = 0.25;
/// Share of what those show that are certain by themselves from which on a host is one of them, too.
const CARRIES_ALIKE: f64 = 0.5;
/// Fleet hosts from which on the farthest of them is left out: one may be ill by itself.
const SPARED_FROM: usize = 4;
/// Factor above which a size is told as a difference: "5000 %" tells nobody anything.
const FACTOR_MAX: f64 = 100.0;
/// How often a change of the fleet is looked at anew: the one-box may get worse beside it.
const RECHECKED: Span = Span::from_minutes(1);
/// What is said of what does not begin at once. Whether it goes on is another question.
const CREPT: &str = "it moved away from the fleet by and by";
/// Latest points that tell where something is that moves away.
const LATEST: usize = 5;

/// A breach as the series tell it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename = "CompareOnset")]
pub(super) struct Onset {
    /// Start of the first bad bucket.
    pub(super) at: Timestamp,
    /// The hosts that carry it, ascending by name.
    pub(super) hosts: Vec<HostId>,
    /// How the numbers are shown.
    scale: Scale,
    effect: Option<f64>,
    interval: Option<(f64, f64)>,
    observed: Option<f64>,
    expected: Option<f64>,
    /// What a person should know beside the numbers.
    remark: Option<String>,
    /// Whether the fleet is what changed.
    is_of_fleet: bool,
    /// When it was looked for.
    told_at: Timestamp,
}

/// A change of some hosts.
struct Found {
    /// The bucket in which it began.
    bucket: usize,
    points: Vec<Point>,
    change: Change,
    size: Size,
}

impl Onset {
    /// Looks for the change that a breach is. What is `counted` are events.
    pub(super) fn find(
        (reader, group): (&Reader<'_>, &Group),
        judged: &[HostId],
        (class, outcome): (&Class, &Outcome),
        counted: bool,
    ) -> Option<Self> {
        // A change that stays is not what it is.
        let remark = outcome.remark.as_deref().unwrap_or_default();
        if remark == STILL || remark.starts_with(SPELLS) {
            return None;
        }
        let is_spread = outcome.scale == Scale::Spread;
        let sides = if is_spread {
            Sides::Up
        } else {
            class.sides(reader.terms.sides)
        };
        let sides = sides.signs();
        let mut scene = Scene::read((reader, group), judged, class, counted);
        if is_spread {
            scene = scene.of_spreads();
        }
        let all: Vec<usize> = (0..scene.one_box_len()).collect();
        let found = scene.change(&all, sides)?;
        let carriers = scene.carriers(&all, &found);
        let (hosts, found) = if carriers.len() < all.len() {
            let own = scene.change(&carriers, sides)?;
            (carriers, own)
        } else {
            (all, found)
        };
        let told = (reader, &scene, &hosts[..]);
        let mut onset = found.told(told, outcome, counted);
        let settled = found.bucket.max(scene.judged);
        onset.is_of_fleet = !is_spread
            && 0.0 < found.size.effect
            && (scene.is_change_of_fleet(&hosts, settled)
                || scene.goes_along((reader, judged), &hosts, (found.bucket, settled)));
        Some(onset)
    }

    /// Whether there is so much more to go by that it is to be looked for anew.
    pub(super) fn is_old(&self, reader: &Reader<'_>) -> bool {
        let end = reader.view.bucket.end;
        let (since, more) = (self.told_at - self.at, end - self.told_at);
        since.nanos() / 4 <= more.nanos() || (self.is_of_fleet && RECHECKED <= more)
    }

    /// The numbers of a breach, in place of those of the window that found it. Where there is too little since
    /// the change to say that it is no chance, those stay.
    pub(super) fn tell(&self, outcome: &Outcome) -> Outcome {
        let is_certain = |(low, high)| 0.0 < low || high < 0.0;
        let keeps_size = self.interval.is_none()
            && self.scale == outcome.scale
            && outcome.interval.is_some_and(is_certain);
        let mut told = outcome.clone();
        told.first_breach = Some(self.at);
        // Of a leak how fast it is comes first.
        let pace = outcome.remark.as_ref();
        let pace = pace.filter(|remark| remark.starts_with(RISING));
        let remark = pace.or(self.remark.as_ref());
        told.remark = remark.or(outcome.remark.as_ref()).cloned();
        if !keeps_size {
            told.scale = self.scale;
            told.effect = self.effect;
            told.interval = self.interval;
            told.observed = self.observed;
            told.expected = self.expected;
            told.detectable = outcome.detectable.filter(|_| self.scale != Scale::Absolute);
        }
        told
    }

    /// What is said where the fleet is what changed, and not the one-box: that is no proof of harm, nor of health
    /// when the bake ends.
    pub(super) fn withheld(&self, outcome: &Outcome, is_last: bool) -> Option<Outcome> {
        self.is_of_fleet.then(|| Outcome {
            state: if is_last {
                CheckState::NoData
            } else {
                CheckState::Undecided
            },
            first_breach: None,
            remark: Some(report::FLEET_FELL.to_owned()),
            ..self.tell(outcome)
        })
    }

    /// Refuses a saved one that would not go on.
    pub(super) fn check(&self, extent: Extent) -> Result<(), Unsound> {
        extent.hosts(&self.hosts)
    }
}

impl Scene {
    /// The most likely change of these hosts of the one-box to one of these sides.
    fn change(&self, hosts: &[usize], sides: &[f64]) -> Option<Found> {
        let law = self.law();
        let all = self.points(Part::OneBox(hosts));
        let is_settled = |point: &&Point| point.bucket < self.begun || self.judged <= point.bucket;
        let points: Vec<Point> = all.iter().filter(is_settled).copied().collect();
        let from = points.partition_point(|point| point.bucket < self.begun);
        let change = fit::find(&points, from, sides, law)?;
        let first = points[change.first].bucket;
        let since = all.partition_point(|point| point.bucket < self.begun);
        let until = all.partition_point(|point| point.bucket < first);
        let earlier = &all[since..until];
        let reach = match change.shape {
            Shape::Step => fit::reaching_back(earlier, &change, law),
            Shape::Bend => 0,
        };
        let bucket = earlier[earlier.len() - reach..]
            .first()
            .map_or(first, |point| point.bucket);
        // What began within the grace was all there when that ended.
        let change = if reach > 0 {
            fit::levels(&points, from, from, law)
        } else {
            change
        };
        let size = fit::size(&points, &change, law);
        Some(Found {
            bucket,
            points,
            change,
            size,
        })
    }

    /// How much one host changed since a bucket: by what it said since the grace, or else in it.
    fn change_since(&self, part: Part<'_>, bucket: usize) -> Option<Size> {
        let law = self.law();
        let all = self.points(part);
        let change_from = |settled: usize| {
            let is_settled = |point: &&Point| point.bucket < self.begun || settled <= point.bucket;
            let points: Vec<Point> = all.iter().filter(is_settled).copied().collect();
            let past = points.partition_point(|point| point.bucket < self.begun);
            let first = points.partition_point(|point| point.bucket < bucket.max(settled));
            let change = (first < points.len()).then(|| fit::levels(&points, past, first, law))?;
            Some(fit::size(&points, &change, law))
        };
        change_from(self.judged).or_else(|| change_from(self.begun))
    }

    /// The hosts of the one-box that carry a change: each of them changed beyond chance, and beyond what fleet
    /// hosts do by themselves. All of them, if none can be told from the others.
    fn carriers(&self, all: &[usize], found: &Found) -> Vec<usize> {
        let side = found.size.effect.signum();
        let fleet = 0..self.fleet_len();
        let fleet = fleet.filter_map(|host| self.change_since(Part::Fleet(host), found.bucket));
        let mut usual: Vec<f64> = fleet.map(|size| size.effect * side).collect();
        usual.sort_unstable_by(|a, b| b.total_cmp(a));
        let spared = usize::from(SPARED_FROM <= usual.len());
        let usual = usual.get(spared).copied().unwrap_or(0.0);
        let each = all.iter().filter_map(|host| {
            let part = Part::OneBox(std::slice::from_ref(host));
            Some((*host, self.change_since(part, found.bucket)?))
        });
        let each: Vec<(usize, Size)> = each.collect();
        let largest = each.iter().map(|(_, size)| size.effect * side);
        let least = largest.fold(0.0, f64::max) * CARRIES_SHARE;
        let is_certain = |size: &Size| {
            let effect = size.effect * side;
            usual.max(least) < effect && CARRIES_ERRORS * size.error < effect
        };
        let certain = each.iter().filter(|(_, size)| is_certain(size));
        let Some(common) = mean(certain.map(|(_, size)| size.effect * side)) else {
            return all.to_vec();
        };
        // Of few values a host is not certain by itself, but nearer to those that are than to nothing.
        let carries = |(_, size): &&(usize, Size)| {
            let effect = size.effect * side;
            is_certain(size) || usual.max(CARRIES_ALIKE * common) < effect
        };
        each.iter().filter(carries).map(|(host, _)| *host).collect()
    }
}

impl Found {
    /// The numbers, as they are told.
    fn told(
        &self,
        (reader, scene, hosts): (&Reader<'_>, &Scene, &[usize]),
        outcome: &Outcome,
        counted: bool,
    ) -> Onset {
        let width = reader.terms.resolution;
        let ids: Vec<HostId> = hosts.iter().map(|host| scene.host(*host)).collect();
        let (before, after) = self.points.split_at(self.change.first);
        let shown = match self.change.shape {
            Shape::Step => after,
            Shape::Bend => &after[after.len().saturating_sub(LATEST)..],
        };
        let sum = |points: &[Point], part: fn(&Point) -> f64| points.iter().map(part).sum::<f64>();
        let observed = sum(shown, |point| point.seen) / sum(shown, |point| point.exposure);
        let effect = self.size.effect;
        let expected = match scene.aspect {
            Aspect::Log | Aspect::Ratio => observed / effect.exp(),
            Aspect::Difference { full } => observed - effect * full,
        };
        let of_fleet = scene.of_fleet(self.bucket);
        let is_new = sum(before, |point| point.seen) == 0.0 && of_fleet == 0.0;
        let is_new = is_new && scene.aspect == Aspect::Ratio;
        let expected = if is_new { 0.0 } else { expected };
        let is_absurd = is_new || FACTOR_MAX.ln() < effect;
        let scale = match scene.aspect {
            Aspect::Difference { .. } => outcome.scale.of_differences(),
            Aspect::Log | Aspect::Ratio
                if matches!(outcome.scale, Scale::Times | Scale::Spread) =>
            {
                outcome.scale
            }
            Aspect::Log | Aspect::Ratio if is_absurd => Scale::Absolute,
            Aspect::Log | Aspect::Ratio => Scale::Relative,
        };
        let is_countless = scale == Scale::Times && is_new;
        let (effect, interval) = if scale == Scale::Absolute {
            let (low, high) = self.size.of_level();
            let times = |by: f64| observed * by.exp() - expected;
            (observed - expected, (times(low), times(high)))
        } else {
            (effect, self.size.interval())
        };
        let is_certain = 0.0 < interval.0 || interval.1 < 0.0;
        let remark = match self.change.shape {
            Shape::Bend => Some(CREPT.to_owned()),
            Shape::Step => (counted && scale == Scale::Times).then(|| {
                let events = sum(after, |point| point.seen).round();
                let who = if hosts.len() < scene.one_box_len() {
                    host_list(&reader.view.hosts.names(ids.iter().copied()))
                } else {
                    "the one-box".to_owned()
                };
                let of_fleet = of_fleet.round();
                format!("{events} events on {who}, {of_fleet} on the fleet")
            }),
        };
        Onset {
            at: scene.time(self.bucket, width),
            hosts: ids,
            scale,
            effect: (!is_countless).then_some(effect),
            interval: (is_certain && !is_countless).then_some(interval),
            observed: (scale != Scale::Spread).then_some(observed),
            expected: (scale != Scale::Spread).then_some(expected),
            remark,
            is_of_fleet: false,
            told_at: reader.view.bucket.end,
        }
    }
}
