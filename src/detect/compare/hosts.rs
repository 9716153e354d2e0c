//! Many hosts with a past: the change of the one-box against the same change of each fleet host.
//!
//! A look fails the one-box if its change is significant at the alpha of the look (`t` over hosts,
//! against no change at all) and larger than the tolerance, larger than any group of as many fleet
//! hosts shows, and confirmed by the latest minutes. The tolerance is not subtracted before the
//! test: that would hide a harm of twice the tolerance behind the noise of a one-box of one host.
//! Below [`ENOUGH_HOSTS`] the spread is shrunk towards the variance of changes in the past, since so
//! few hosts alone would need effects of five to ten standard errors.

mod rising;
mod rules;
mod showing;

pub(super) use rules::Rules;
use serde::{Deserialize, Serialize};

use super::{
    contrast::{Change, Contrast, Noise},
    looks::{Due, Looks, TRAILING_COUNT},
    outcome::{Outcome, Scale},
    reading::{HostPast, Reader, Role},
    scale::Working,
    slot::{self, Number, Placebo, Slot, Sums},
    terms::Sides,
};
use crate::{
    detect::{
        Basis, CheckState, Extent, Group, Unsound,
        state::possible,
        stats::{median, student_quantile},
    },
    event::{Span, Timestamp},
};

/// Share of the usual number of samples that a host must have in a window to take part as a whole.
const PRESENT_MIN: f64 = 0.8;
/// The same for a one-box host that takes part as the share that it has: fleet hosts can be spared,
/// the one-box cannot.
const PRESENT_LEAST: f64 = 0.2;
/// Tail at which the trailing window must confirm what another window found.
const CONFIRM_TAIL: f64 = 0.05;
/// Buckets before a confirmation means something.
const CONFIRM_BUCKETS_MIN: usize = 2;
/// How long a look that was not confirmed stays suspect.
const SUSPECT: Span = Span::from_minutes(30);
/// Spread that is accepted: half as much again, as a logarithm.
const SPREAD_TOLERANCE: f64 = 0.405;
/// Smallest standard deviation of the logarithm of a spread that is believed.
const SPREAD_SIGMA_MIN: f64 = 0.1;

/// Fleet hosts below which their past helps to tell how much they vary.
const ENOUGH_HOSTS: usize = 16;
/// Its weight, in degrees of freedom.
const PAST_FREEDOM: f64 = 6.0;
/// What a person should know of a breach that a trend found.
const RISING: &str = "it moves away from the fleet all the time";
/// Events of a host, of the one-box or of the fleet, that a window must hold before ratios of events
/// are compared.
const EVENTS_MIN: f64 = 20.0;

/// The comparison of one metric over many hosts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct HostsTest {
    rules: Rules,
    clip: f64,
    looks: Looks,
    placebo: Placebo,
    /// The one-box first, then the fleet.
    slots: Vec<Slot>,
    one_box_count: usize,
    suspicion: Option<Suspicion>,
    outcome: Outcome,
    /// Room to work in; empty between two buckets.
    #[serde(skip)]
    scratch: Vec<f64>,
}

/// A look that found something.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Suspicion {
    side: f64,
    is_spread: bool,
    is_trend: bool,
    raised_at: Timestamp,
    /// Start of the window that found it.
    from: Timestamp,
    confirmed: bool,
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
        let (slots, clip, placebo) = slot::learn(&working, rules.tolerance, &pasts, one_box_count);
        let [up, down] = rules.allowance;
        Self {
            rules,
            clip: clip + up.max(down),
            looks,
            placebo,
            slots,
            one_box_count,
            suspicion: None,
            outcome: Outcome::warming(basis, working.scale()),
            scratch: Vec::new(),
        }
    }

    /// Refuses a saved test that would not go on.
    pub(super) fn check(&self, extent: Extent) -> Result<(), Unsound> {
        extent.hosts(self.slots.iter().map(|slot| &slot.host))?;
        possible("number of hosts", self.one_box_count <= self.slots.len())?;
        self.looks.check()
    }

    /// Whether, at the end, there is nothing to compare, or a look found something and the latest minutes
    /// hold too little to confirm it or to say that it healed.
    pub(super) fn is_blind(&self) -> bool {
        let is_open = self.suspicion.is_some_and(|found| !found.confirmed);
        let latest = |slot: &Slot| slot.trailing(0);
        self.outcome.state == CheckState::Warming
            || (is_open && self.contrast(Channel::Level, latest).is_none())
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
        let due = self.looks.step();
        self.look(reader, due);
        self.confirm(reader);
        for (window, ended) in due.half.into_iter().enumerate() {
            if ended {
                for slot in &mut self.slots {
                    slot.halves[window] = [slot.halves[window][1], Sums::default()];
                }
            }
        }
    }

    fn look(&mut self, reader: &Reader<'_>, due: Due) {
        let (end, width) = (reader.view.bucket.end, reader.terms.resolution);
        if due.since {
            let from = end - width.times(self.looks.count() as i64);
            if let Some(contrast) = self.contrast(Channel::Level, |slot| slot.since) {
                self.suspect(&contrast, self.looks.alpha_since, Channel::Level, from, end);
                self.describe(&contrast);
            } else if self.outcome.state != CheckState::Breach {
                // Too few events, or too few samples or hosts: that was no look.
                self.outcome.state = if self.is_quiet(|slot| slot.since) {
                    CheckState::Undecided
                } else {
                    CheckState::Warming
                };
            }
            if due.spread
                && let Some(contrast) = self.contrast(Channel::Spread, |slot| slot.since)
            {
                self.suspect(
                    &contrast,
                    self.looks.alpha_spread,
                    Channel::Spread,
                    from,
                    end,
                );
            }
        }
        if due.trend {
            let from = end - width.times(self.looks.count() as i64);
            self.look_at_trend(from, end);
        }
        for window in (0..TRAILING_COUNT).filter(|window| due.trailing[*window]) {
            let whole = |slot: &Slot| slot.trailing(window);
            if let Some(contrast) = self.contrast(Channel::Level, whole) {
                let from = end - width.times(2 * self.looks.halves[window] as i64);
                let alpha = self.looks.alpha_trailing[window];
                self.suspect(&contrast, alpha, Channel::Level, from, end);
            }
        }
    }

    /// Whether events are compared, and neither the fleet nor the one-box had enough of them in a
    /// window that hosts of both were heard in.
    fn is_quiet(&self, window: impl Fn(&Slot) -> Sums) -> bool {
        let Some(events) = self.rules.events_per_rate else {
            return false;
        };
        let (one_box, fleet) = self.slots.split_at(self.one_box_count);
        let usual = |slots: &[Slot]| {
            let heard = slots.iter().map(&window).filter(|sums| sums.count > 0.0);
            median(&mut heard.map(|sums| sums.sum * events).collect::<Vec<_>>())
        };
        let counts = usual(one_box).zip(usual(fleet));
        counts.is_some_and(|(one_box, fleet)| one_box.max(fleet) < EVENTS_MIN)
    }

    /// Compares over a window.
    fn contrast(&self, channel: Channel, window: impl Fn(&Slot) -> Sums) -> Option<Contrast> {
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
        let own = one_box.iter();
        let one_box: Vec<Change> = own.filter_map(|slot| change(slot, PRESENT_LEAST)).collect();
        let others = fleet.iter();
        let fleet: Vec<Change> = others
            .filter_map(|slot| change(slot, PRESENT_MIN))
            .collect();
        let mut expected = || {
            if self.slots.len() - self.one_box_count >= ENOUGH_HOSTS {
                return None;
            }
            let buckets = median(&mut counts)?;
            Some((self.placebo.change(buckets)?, PAST_FREEDOM))
        };
        let noise = match channel {
            Channel::Level => Noise {
                sigma_min: self.rules.sigma_min,
                expected: expected(),
            },
            Channel::Spread => Noise {
                sigma_min: SPREAD_SIGMA_MIN,
                expected: None,
            },
        };
        Contrast::new(&one_box, &fleet, noise)
    }

    /// What is harm on this side, as far as another share of the traffic does not explain it.
    fn harm(&self, contrast: &Contrast, side: f64) -> f64 {
        contrast.effect * side - self.rules.allowance[usize::from(side < 0.0)]
    }

    fn raise(
        &mut self,
        side: f64,
        (is_spread, is_trend): (bool, bool),
        from: Timestamp,
        end: Timestamp,
    ) {
        let stands = self.suspicion.is_some_and(|suspicion| {
            suspicion.confirmed && suspicion.side == side && suspicion.is_spread == is_spread
        });
        match &mut self.suspicion {
            // The breach that stands keeps its start.
            Some(suspicion) if stands => suspicion.raised_at = end,
            suspicion => {
                *suspicion = Some(Suspicion {
                    side,
                    is_spread,
                    is_trend,
                    raised_at: end,
                    from,
                    confirmed: false,
                });
            }
        }
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
        contrast: &Contrast,
        alpha: f64,
        channel: Channel,
        from: Timestamp,
        end: Timestamp,
    ) {
        let critical = student_quantile(alpha, contrast.freedom) * contrast.error;
        let (tolerance, sides): (f64, &[f64]) = match channel {
            Channel::Level => (self.rules.tolerance, self.rules.sides.signs()),
            Channel::Spread => (SPREAD_TOLERANCE, &[1.0]),
        };
        for side in sides {
            let harm = match channel {
                Channel::Level => self.harm(contrast, *side),
                // The spread has to be out of tolerance beyond doubt: healthy hosts differ in it.
                Channel::Spread => contrast.effect * side - tolerance,
            };
            let is_beyond = channel == Channel::Spread || harm > tolerance;
            if is_beyond && harm > critical && contrast.exceeds_placebo(*side) {
                self.raise(*side, (channel == Channel::Spread, false), from, end);
            }
        }
    }

    /// A breach stands only while the latest minutes show it: what heals is forgiven.
    fn confirm(&mut self, reader: &Reader<'_>) {
        let Some(mut suspicion) = self.suspicion else {
            return;
        };
        let end = reader.view.bucket.end;
        if end - suspicion.raised_at > SUSPECT && !suspicion.confirmed {
            self.suspicion = None;
            return;
        }
        let channel = if suspicion.is_spread {
            Channel::Spread
        } else {
            Channel::Level
        };
        let tolerance = match channel {
            Channel::Level if suspicion.is_trend => 2.0 * rising::LEVEL * self.rules.tolerance,
            Channel::Level => self.rules.tolerance,
            Channel::Spread => SPREAD_TOLERANCE,
        };
        let latest = |slot: &Slot| slot.trailing(0);
        let contrast = self.contrast(channel, latest);
        let stands = self.looks.count() >= CONFIRM_BUCKETS_MIN
            && contrast.is_some_and(|contrast| {
                let critical = student_quantile(CONFIRM_TAIL, contrast.freedom) * contrast.error;
                let harm = match channel {
                    Channel::Level => self.harm(&contrast, suspicion.side),
                    Channel::Spread => contrast.effect * suspicion.side,
                };
                harm > 0.5 * tolerance && harm > critical
            });
        if stands {
            suspicion.confirmed = true;
            self.suspicion = Some(suspicion);
            if self.outcome.state != CheckState::Breach {
                self.outcome.first_breach = Some(suspicion.from);
            }
            self.outcome.state = CheckState::Breach;
            if let Some(contrast) = contrast {
                self.show(&contrast, channel, suspicion.side);
            }
            self.outcome.remark = suspicion.is_trend.then(|| RISING.to_owned());
        } else if self.outcome.state == CheckState::Breach || suspicion.confirmed {
            self.suspicion = None;
            self.outcome.state = CheckState::Undecided;
            self.outcome.first_breach = None;
            self.outcome.remark = None;
        } else {
            self.outcome.state = CheckState::Undecided;
        }
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
