//! What chance says of a new template.

use std::cmp::Ordering;

use super::{Found, NewTemplate};
use crate::detect::{
    Basis, CheckState, Evidence, View,
    wording::{host_list, number, quote},
};

/// Without a fleet: cells and records that a breach needs.
const LONE_COUNT_MIN: usize = 3;
/// How many times its share of alpha the chance of a template may be for it to be likely that the new version writes
/// it, though that is not certain.
const LIKELY_TIMES: f64 = 5.0;

/// How a template looks against chance.
pub(super) struct Weighed {
    pub(super) is_breach: bool,
    /// It would be one, but a single one of several judged hosts writes it.
    pub(super) is_one_host: bool,
    /// It nearly is one.
    pub(super) is_likely: bool,
    chance: f64,
    allowed: f64,
    basis: Basis,
}

impl Weighed {
    /// The worst first: what blocks, what keeps from passing, what is least likely chance.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        let [ours, theirs] =
            [self, other].map(|of| (!of.is_breach, !of.is_one_host, !of.is_likely));
        let by_chance = self.chance.total_cmp(&other.chance);
        ours.cmp(&theirs).then(by_chance)
    }
}

impl NewTemplate {
    /// Holds a template against chance.
    pub(super) fn weigh(&self, view: &View<'_>, found: &Found, has_past: bool) -> Weighed {
        let judged = view.one_box.len();
        let fleet = Self::fleet_alive(view);
        let cells = found.cells.len();
        if fleet == 0 {
            let enough = LONE_COUNT_MIN <= cells && LONE_COUNT_MIN as u64 <= found.count;
            return Weighed {
                is_breach: has_past && enough,
                is_one_host: false,
                is_likely: false,
                chance: 1.0,
                allowed: 0.0,
                basis: Basis::Model,
            };
        }
        let place = f64::from(found.place);
        let allowed = self.alpha / (place * (place + 1.0)) / 2.0;
        let weight = judged as f64 * self.weight;
        let share = weight / (weight + fleet as f64);
        let many = if 2 <= cells {
            share.powi(cells as i32)
        } else {
            1.0
        };
        let is_one_host = found.hosts.len() < judged.min(2);
        let by_cells = if is_one_host { 1.0 } else { many };
        let by_hosts = draw_chance(judged, judged + fleet, found.hosts.len());
        let chance = by_cells.min(by_hosts);
        let is_breach = chance <= allowed;
        Weighed {
            is_breach,
            is_one_host: is_one_host && many <= allowed && !is_breach,
            is_likely: chance <= LIKELY_TIMES * allowed && !is_breach,
            chance,
            allowed,
            basis: Basis::Exchangeable,
        }
    }
}

/// The chance that `drawn` of `all` hosts, drawn at random, are all among the `judged`. Hosts that are
/// judged no longer may have been drawn: they count no further.
pub(super) fn draw_chance(judged: usize, all: usize, drawn: usize) -> f64 {
    (0..drawn.min(judged))
        .map(|index| judged.saturating_sub(index) as f64 / all.saturating_sub(index).max(1) as f64)
        .product()
}

/// What a person is told of it.
pub(super) fn evidence(view: &View<'_>, text: &str, found: &Found, weighed: &Weighed) -> Evidence {
    let (state, advice) = if weighed.is_breach {
        (CheckState::Breach, "")
    } else if weighed.is_one_host {
        let advice = "; one host alone writes it: replace it, and look again";
        (CheckState::NoData, advice)
    } else if weighed.is_likely {
        (
            CheckState::NoData,
            "; likely of the new version, though not certain",
        )
    } else {
        (CheckState::Undecided, "")
    };
    let hosts = view.hosts.names(found.hosts.iter().copied());
    let elsewhere = match weighed.basis {
        Basis::Model => "never before".to_owned(),
        Basis::Exchangeable | Basis::GaussianHosts | Basis::Slo => format!(
            "never before and not on the fleet (chance {}, {} allowed)",
            number(weighed.chance),
            number(weighed.allowed)
        ),
    };
    let note = format!(
        "new template {}, {} times on {}, {elsewhere}{advice}",
        quote(text),
        found.count,
        host_list(&hosts)
    );
    let mut evidence = Evidence::bare(text, state, weighed.basis, note);
    evidence.observed = Some(found.count as f64);
    evidence.expected = Some(0.0);
    evidence.first_breach = found.first;
    evidence.hosts = hosts;
    evidence
}
