//! Many hosts with a past: the change of the one-box against the same change of each fleet host.
//!
//! A look fails the one-box if its change is significant at the alpha of the look (`t` over hosts,
//! against no change at all) and larger than what is accepted, larger than any group of as many fleet
//! hosts shows and than what hosts go through by themselves ([`farthest`]), not that of a single host
//! ([`alone`]), and confirmed by the latest minutes. What is
//! accepted is not subtracted before the test: that would hide a harm of twice the tolerance behind
//! the noise of a one-box of one host. The spread of values is judged likewise.
//! Below [`ENOUGH_HOSTS`] the spread is shrunk towards the variance of changes in the past, since so
//! few hosts alone would need effects of five to ten standard errors.

mod alone;
mod farthest;
mod known;
mod rising;
mod rival;
mod rules;
mod scarce;
mod showing;
mod still;
mod suspicion;

use alone::Alone;
pub(super) use alone::{SHARED, SHARED_TAIL};
pub(super) use farthest::{Farthest, Together, usual};
pub(super) use rules::Rules;
use serde::{Deserialize, Serialize};
pub(super) use suspicion::RISING;
use suspicion::{SUSPECT, Suspicion};

use super::{
    contrast::{Change, Contrast, FleetFit, Noise},
    looks::{Due, Looks, SPREAD_WINDOW, TRAILING_COUNT},
    outcome::{Outcome, Scale},
    reading::{HostPast, Reader, Role},
    scale::Working,
    slot::{self, Clip, Number, Placebo, Slot, Sums, Trend},
    terms::Sides,
};
use crate::{
    detect::{
        Basis, CheckState, Extent, Group, Unsound,
        state::possible,
        stats::{mean, median},
    },
    event::Timestamp,
};

/// Share of the usual number of samples that a host must have in a window to take part as a whole.
const PRESENT_MIN: f64 = 0.8;
/// The same for a one-box host that takes part as the share that it has: fleet hosts can be spared,
/// the one-box cannot.
const PRESENT_LEAST: f64 = 0.2;
/// Tail at which the trailing window must confirm what another window found.
const CONFIRM_TAIL: f64 = 0.05;
/// Spread that is accepted: half as much again, as a logarithm.
const SPREAD_TOLERANCE: f64 = 0.405;
/// Smallest standard deviation of the logarithm of a spread that is believed.
const SPREAD_SIGMA_MIN: f64 = 0.05;

/// Fleet hosts below which their past helps to tell how much they vary.
pub(super) const ENOUGH_HOSTS: usize = 16;
/// Its weight, in degrees of freedom.
const PAST_FREEDOM: f64 = 6.0;

/// The comparison of one metric over many hosts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct HostsTest {
    rules: Rules,
    clip: Clip,
    looks: Looks,
    placebo: Placebo,
    /// The same of the spread of values.
    spread_placebo: Placebo,
    farthest: Farthest,
    /// The one-box first, then the fleet.
    slots: Vec<Slot>,
    one_box_count: usize,
    suspicion: Option<Suspicion>,
    /// A harm that one host of several shows.
    alone: Option<Alone>,
    /// The slot of a fleet host that is as far out as the one-box, and alone is why that is no breach.
    rival: Option<usize>,
    outcome: Outcome,
    /// Room to work in; empty between two buckets.
    #[serde(skip)]
    scratch: Vec<f64>,
}

/// The changes of the hosts in a window.
struct Changes {
    /// Of the one-box, with the indices of their slots.
    one_box: Vec<Change>,
    slots: Vec<usize>,
    fit: FleetFit,
    fleet: Fleet,
    /// How many values there are of a one-box host.
    samples: f64,
    /// How many values hosts of the fleet have in the window.
    window: f64,
    /// How much of the level of the one-box the clipping of single values took away.
    clipped_away: f64,
}

/// The changes of the fleet's hosts, with the indices of their slots, and what is known of their noise.
struct Fleet {
    changes: Vec<Change>,
    slots: Vec<usize>,
    noise: Noise,
}

/// What a window is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Channel {
    Level,
    Spread,
}

impl HostsTest {
    /// Reads the past of the hosts. `one_box` and `fleet` hold those that have a past.
    pub(super) fn new(
        rules: Rules,
        one_box: Vec<HostPast>,
        fleet: Vec<HostPast>,
        looks: Looks,
    ) -> Self {
        let one_box_count = one_box.len();
        let basis = if fleet.len() < ENOUGH_HOSTS {
            Basis::Model
        } else {
            Basis::GaussianHosts
        };
        let pasts: Vec<HostPast> = one_box.into_iter().chain(fleet).collect();
        let working = rules.working;
        let slot::Learned {
            slots,
            mut clip,
            placebos: [placebo, spread_placebo],
            farthest,
        } = slot::learn(&working, rules.tolerance, &pasts, one_box_count);
        let [up, down] = rules.allowance;
        clip.level += up.max(down);
        Self {
            rules,
            clip,
            looks,
            placebo,
            spread_placebo,
            farthest,
            slots,
            one_box_count,
            suspicion: None,
            alone: None,
            rival: None,
            outcome: Outcome::warming(basis, working.scale()),
            scratch: Vec::new(),
        }
    }

    /// Refuses a saved test that would not go on.
    pub(super) fn check(&self, extent: Extent) -> Result<(), Unsound> {
        extent.hosts(self.slots.iter().map(|slot| &slot.host))?;
        possible("number of hosts", self.one_box_count <= self.slots.len())?;
        let alone = self.alone.as_ref().map_or(0, Alone::slot);
        possible("host", alone < self.slots.len().max(1))?;
        possible("host", self.rival.unwrap_or(0) < self.slots.len().max(1))?;
        self.looks.check()
    }

    /// What it says now.
    pub(super) fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// Takes the bucket that has just closed.
    pub(super) fn observe(&mut self, reader: &Reader<'_>, group: &Group) {
        let readings: Vec<_> = self
            .slots
            .iter()
            .enumerate()
            .map(|(index, slot)| {
                let role = if index < self.one_box_count {
                    Role::OneBox
                } else {
                    Role::Fleet
                };
                reader.read(group, slot.host, role)
            })
            .collect();
        for (slot, reading) in self.slots.iter().zip(&readings).skip(self.one_box_count) {
            let reading = reading.or_else(|| reader.held(group, slot.host));
            let number = reading.map_or(f64::NAN, |reading| self.rules.working.of(reading));
            if number.is_finite() {
                self.scratch.push(number);
            }
        }
        let middle = median(&mut self.scratch).unwrap_or(f64::NAN);
        self.scratch.clear();
        let time = self.looks.count() as f64;
        for (index, reading) in readings.iter().enumerate() {
            let Some(reading) = reading else { continue };
            let number = Number {
                value: reading.value,
                exposure: reading.exposure,
                scaled: self.rules.working.of(*reading),
            };
            self.slots[index].take(&self.rules.working, self.clip, number, middle, time);
        }
        let due = self.looks.step(reader.is_last());
        self.look((reader, group), due);
        self.confirm((reader, group));
        self.confirm_alone(reader);
        self.look_for_rival(reader);
        for (window, ended) in due.half.into_iter().enumerate() {
            if ended {
                for slot in &mut self.slots {
                    slot.halves[window] = [slot.halves[window][1], Sums::default()];
                }
            }
        }
    }

    fn look(&mut self, (reader, group): (&Reader<'_>, &Group), due: Due) {
        let (end, width) = (reader.view.bucket.end, reader.terms.resolution);
        let from = end - width.times(self.looks.count() as i64);
        if let Some(alpha) = due.since {
            if let Some(changes) = self.changes(Channel::Level, |slot| slot.since) {
                self.suspect(reader, &changes, alpha, Channel::Level, from);
                if let Some(contrast) = changes.contrast() {
                    self.describe(&contrast);
                }
            } else if self.outcome.state != CheckState::Breach {
                // Too few events, or too few samples or hosts: that was no look.
                self.outcome.state = if self.is_quiet(|slot| slot.since) {
                    CheckState::Undecided
                } else {
                    CheckState::Warming
                };
            }
        }
        if let Some(alpha) = due.spread.filter(|_| self.rules.has_noise)
            && let Some(changes) = self.changes(Channel::Spread, |slot| slot.since)
        {
            self.suspect(reader, &changes, alpha, Channel::Spread, from);
        }
        if let Some(alpha) = due.trend {
            self.look_at_trend((reader, group), alpha, from);
        }
        for window in (0..TRAILING_COUNT).filter(|window| due.trailing[*window]) {
            let whole = |slot: &Slot| slot.trailing(window);
            let from = end - width.times(2 * self.looks.halves[window] as i64);
            if let Some(changes) = self.changes(Channel::Level, whole) {
                let alpha = self.looks.alpha_trailing[window];
                self.suspect(reader, &changes, alpha, Channel::Level, from);
            }
            if let Some(alpha) = due
                .spread_latest
                .filter(|_| window == SPREAD_WINDOW && self.rules.has_noise)
                && let Some(changes) = self.changes(Channel::Spread, whole)
            {
                self.suspect(reader, &changes, alpha, Channel::Spread, from);
            }
        }
    }

    /// Compares over a window.
    fn contrast(&self, channel: Channel, window: impl Fn(&Slot) -> Sums) -> Option<Contrast> {
        self.changes(channel, window)?.contrast()
    }

    /// How hosts changed from the past to a window.
    fn changes(&self, channel: Channel, window: impl Fn(&Slot) -> Sums) -> Option<Changes> {
        self.changes_beyond(channel, window, self.sigma_min(channel))
    }

    /// The same, with the smallest standard deviation that is believed.
    fn changes_beyond(
        &self,
        channel: Channel,
        window: impl Fn(&Slot) -> Sums,
        sigma_min: f64,
    ) -> Option<Changes> {
        let (one_box, fleet) = self.slots.split_at(self.one_box_count);
        let mut counts: Vec<f64> = fleet.iter().map(|slot| window(slot).count).collect();
        let usual = median(&mut counts)?;
        if self.is_quiet(&window) {
            return None;
        }
        let change = |slot: &Slot, least: f64| {
            let sums = window(slot);
            let weight = present(sums.count, usual, least)?;
            let change = Change {
                before: self.level(channel, &slot.before)?,
                after: self.level(channel, &sums)?,
                weight,
            };
            (change.before.is_finite() && change.after.is_finite()).then_some(change)
        };
        let own = one_box.iter().enumerate();
        let own = own.filter_map(|(index, slot)| {
            Some((change(slot, PRESENT_LEAST)?.of_part(self.rules.part), index))
        });
        let (one_box, slots): (Vec<Change>, Vec<usize>) = own.unzip();
        let others = fleet.iter().zip(self.one_box_count..);
        let others = others.filter_map(|(slot, index)| Some((change(slot, PRESENT_MIN)?, index)));
        let (changes, fleet_slots): (Vec<Change>, Vec<usize>) = others.unzip();
        let placebo = match channel {
            Channel::Level => &self.placebo,
            Channel::Spread => &self.spread_placebo,
        };
        let is_few = fleet.len() < ENOUGH_HOSTS;
        let expected = placebo.change(usual).filter(|_| is_few);
        let mut noise = Noise {
            sigma_min,
            expected: expected.map(|variance| (variance, PAST_FREEDOM)),
        };
        // In a short window all of a fleet may hold nothing but zeros, and differ in nothing.
        if self.rules.working.is_ratio()
            && let Some(variance) = placebo.change_within(usual)
        {
            noise.sigma_min = noise.sigma_min.max(variance.sqrt());
        }
        let fit = FleetFit::new(&changes, noise)?;
        let weights = one_box.iter().map(|change| change.weight);
        Some(Changes {
            samples: usual * mean(weights).unwrap_or(0.0),
            window: usual,
            clipped_away: match channel {
                Channel::Level => self.clipped_away(0..self.one_box_count, &window),
                Channel::Spread => 0.0,
            },
            one_box,
            slots,
            fit,
            fleet: Fleet {
                changes,
                slots: fleet_slots,
                noise,
            },
        })
    }

    /// What is harm on this side, as far as another share of the traffic does not explain it.
    fn harm(&self, contrast: &Contrast, side: f64) -> f64 {
        contrast.effect * side - self.rules.allowance[usize::from(side < 0.0)]
    }

    fn level(&self, channel: Channel, sums: &Sums) -> Option<f64> {
        if sums.count == 0.0 {
            return None;
        }
        match channel {
            Channel::Level if self.rules.working.is_ratio() => {
                Some(self.rules.working.of_sums(sums.sum, sums.plain))
            }
            Channel::Level => Some(sums.sum / sums.count),
            Channel::Spread if sums.wiggle > 0.0 && !self.rules.working.is_ratio() => {
                Some((sums.wiggle / sums.count).ln())
            }
            Channel::Spread => None,
        }
    }

    /// Notes what a look found, if it is beyond what its alpha allows.
    fn suspect(
        &mut self,
        reader: &Reader<'_>,
        changes: &Changes,
        alpha: f64,
        channel: Channel,
        from: Timestamp,
    ) {
        let end = reader.view.bucket.end;
        let least = self.least(channel);
        let sides: &[f64] = match channel {
            Channel::Level => self.rules.sides.signs(),
            Channel::Spread => &[1.0],
        };
        for side in sides {
            let Some(contrast) = changes.contrast() else {
                return;
            };
            let harm = self.harm_in(channel, &contrast, *side);
            let is_certain = least < harm && contrast.critical(alpha) < harm;
            let is_certain = is_certain && contrast.exceeds_placebo(*side);
            let is_level = channel == Channel::Level;
            let is_certain = is_certain && (!is_level || !self.is_usual(changes, &contrast, *side));
            if is_level && self.is_one_value(changes, harm) && !reader.is_last() {
                continue;
            }
            if is_certain && changes.rest_shows(&contrast, *side) {
                self.raise(Suspicion {
                    side: *side,
                    is_spread: channel == Channel::Spread,
                    is_trend: false,
                    least: 0.5 * least,
                    sigma_min: self.sigma_min(channel),
                    raised_at: end,
                    from,
                    contrast,
                    confirmed: false,
                });
            } else if is_level {
                self.suspect_alone(changes, alpha, *side, is_certain, (from, end));
            }
        }
    }

    /// The smallest standard deviation that is believed.
    fn sigma_min(&self, channel: Channel) -> f64 {
        match channel {
            Channel::Level => self.rules.sigma_min,
            Channel::Spread => SPREAD_SIGMA_MIN,
        }
    }

    /// The smallest difference that is harm.
    fn least(&self, channel: Channel) -> f64 {
        match channel {
            Channel::Level => self.rules.least,
            Channel::Spread => SPREAD_TOLERANCE,
        }
    }

    fn harm_in(&self, channel: Channel, contrast: &Contrast, side: f64) -> f64 {
        match channel {
            Channel::Level => self.harm(contrast, side),
            Channel::Spread => contrast.effect * side,
        }
    }
}

impl Changes {
    /// All of the one-box against the fleet.
    fn contrast(&self) -> Option<Contrast> {
        self.fit.against(&self.one_box)
    }
}

/// What a host with so many samples counts for, where so many are usual; `None`: it takes no part.
fn present(count: f64, usual: f64, least: f64) -> Option<f64> {
    if count < (least * usual).max(1.0) {
        None
    } else if count < PRESENT_MIN * usual {
        Some(count / usual)
    } else {
        Some(1.0)
    }
}
