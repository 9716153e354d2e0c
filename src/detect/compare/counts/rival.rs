//! A host of the fleet with as many events as the one-box.
//!
//! Hosts fall ill by themselves, those of the fleet too. The events of one of few that did are most of what the
//! fleet counts, and the one-box may then have as many times its usual as it likes. So when the bake is over
//! and nothing was found, the same is asked without the fleet host that has most events for its exposure, if
//! that is as far out as the one-box. What is harm then is no PASS: nobody knows which of the two is ill by
//! itself. The rounds are read anew from what the panel remembers, as long as the bake is not longer than that.

use super::{
    BLOCKS, Bar, CONFIRM, Clipped, Count, CountsTest, Evidence, HOSTS_MIN, LATE, Member, Noise,
    Reader, SHARE_LAST, Side, Speakers, Tallies, Tally, dispersion, round, variation,
};
use crate::{
    detect::{
        Group, HostId,
        compare::{
            pasts::{past_buckets, past_share},
            reading::{HostPast, past},
        },
    },
    event::Timestamp,
};

/// Share of the one-box's distance that a host must have to be as far out, as a logarithm of rates.
const NEAR: f64 = 0.7;

/// What hosts counted, round by round.
struct Rounds(Vec<Vec<Count>>);

impl Rounds {
    fn read(
        (reader, group): (&Reader<'_>, &Group),
        hosts: &[Member],
        (to, buckets): (Timestamp, usize),
        (round, weight): (usize, f64),
    ) -> Self {
        let terms = reader.terms;
        let of = |member: &Member| {
            let values = past(terms, group.track(member.host), to, buckets);
            let host = member.host;
            let mut counts = round::past(terms, &HostPast { host, values }, round);
            for count in &mut counts {
                count.exposure *= weight;
            }
            counts
        };
        Self(hosts.iter().map(of).collect())
    }

    fn len(&self) -> usize {
        self.0.first().map_or(0, Vec::len)
    }

    fn at(&self, index: usize) -> Vec<Count> {
        self.0.iter().map(|counts| counts[index]).collect()
    }

    /// Events and exposure of a host.
    fn sum(&self, host: usize) -> (f64, f64) {
        let counts = self.0[host].iter();
        counts.fold((0.0, 0.0), |(events, exposure), count| {
            (events + count.events, exposure + count.exposure)
        })
    }

    /// Events by exposure of each host that has any.
    fn rates(&self) -> Vec<f64> {
        let sums = (0..self.0.len()).map(|host| self.sum(host));
        let there = sums.filter(|(_, exposure)| 0.0 < *exposure);
        there.map(|(events, exposure)| events / exposure).collect()
    }

    /// Events and exposure of all hosts but one.
    fn sum_without(&self, left_out: usize) -> (f64, f64) {
        let hosts = (0..self.0.len()).filter(|host| *host != left_out);
        hosts.map(|host| self.sum(host)).fold((0.0, 0.0), add)
    }

    fn without(mut self, host: usize) -> Self {
        self.0.remove(host);
        self
    }
}

fn add(a: (f64, f64), b: (f64, f64)) -> (f64, f64) {
    (a.0 + b.0, a.1 + b.1)
}

/// The logarithm of a ratio of rates, kept finite by half an event on each side.
fn distance(own: (f64, f64), others: (f64, f64)) -> f64 {
    let rate = |(events, exposure): (f64, f64)| (events + 0.5) / exposure.max(f64::MIN_POSITIVE);
    (rate(own) / rate(others)).ln()
}

impl CountsTest {
    /// Whether a host of the fleet is why a harm is no breach, now that the bake is over.
    pub(in crate::detect::compare) fn is_rivalled(&self) -> bool {
        self.rival.is_some()
    }

    /// The host of the fleet without which the one-box would be harmed on a side.
    pub(super) fn find_rival(
        &self,
        (reader, group): (&Reader<'_>, &Group),
        side: &Side,
        alpha: f64,
    ) -> Option<HostId> {
        let terms = reader.terms;
        if self.fleet.len() < HOSTS_MIN {
            return None;
        }
        let depth = past_buckets(self.one_box.len() + self.fleet.len());
        let end = reader.view.bucket.end;
        let since = (end, terms.buckets(end - terms.grace_until).min(depth));
        let before = (terms.past_until, depth);
        let read = |hosts: &[Member], when, weight| {
            Rounds::read((reader, group), hosts, when, (self.round, weight))
        };
        let weight = if terms.has_per { 1.0 } else { self.weight };
        let own = read(&self.one_box, since, weight);
        let fleet = read(&self.fleet, since, 1.0);
        let out = |host: usize| distance(fleet.sum(host), fleet.sum_without(host)) * side.sign;
        let hosts = 0..self.fleet.len();
        let rival = hosts.max_by(|a, b| out(*a).total_cmp(&out(*b)))?;
        let whole = (0..self.one_box.len()).map(|host| own.sum(host));
        let others = fleet.sum_without(rival);
        let own_distance = distance(whole.fold((0.0, 0.0), add), others) * side.sign;
        if own_distance <= self.tolerance.ln_1p() || out(rival) < NEAR * own_distance {
            return None;
        }
        let fleet_past = read(&self.fleet, before, 1.0);
        let own_rates = read(&self.one_box, before, 1.0).rates();
        let past_weight = past_share(own_rates, fleet_past.rates(), weight);
        let pasts = [
            read(&self.one_box, before, past_weight),
            fleet_past.without(rival),
        ];
        let is_harm =
            self.is_harm_beside(&pasts, &[own, fleet.without(rival)], side, (alpha, reader));
        is_harm.then(|| self.fleet[rival].host)
    }

    /// Whether the one-box is harmed beside these hosts alone.
    fn is_harm_beside(
        &self,
        [own_past, fleet_past]: &[Rounds; 2],
        [own, fleet]: &[Rounds; 2],
        side: &Side,
        (alpha, reader): (f64, &Reader<'_>),
    ) -> bool {
        let blocks = BLOCKS.map(|block| reader.terms.buckets(block).div_ceil(self.round));
        let noise = Noise {
            variation: variation(&fleet_past.0),
            units: dispersion::units([&own_past.0, &fleet_past.0], &blocks),
        };
        let past: Vec<Clipped> = (0..own_past.len())
            .map(|index| Clipped::new(&own_past.at(index), &fleet_past.at(index)))
            .collect();
        let speakers = (Speakers::All, 0);
        let mut evidence = Evidence::new(side.sign, &noise, &past, speakers, self.one_box.len());
        let mut tallies = Tallies::default();
        let rounds = own.len();
        let late = LATE.map(|share| (share * rounds as f64) as usize);
        let half = (reader.terms.buckets(CONFIRM).div_ceil(self.round) / 2).max(1);
        for index in 0..rounds {
            if 0 < index && late.contains(&index) {
                evidence.begin_late();
                tallies.late.push(Tally::default());
            }
            if index == rounds.saturating_sub(2 * half) || index == rounds.saturating_sub(half) {
                tallies.halves = [tallies.halves[1], Tally::default()];
            }
            let (own, others) = (own.at(index), fleet.at(index));
            let tally = Tally {
                one_box: own.iter().map(|count| count.events).sum(),
                one_box_exposure: own.iter().map(|count| count.exposure).sum(),
                fleet: others.iter().map(|count| count.events).sum(),
                fleet_exposure: others.iter().map(|count| count.exposure).sum(),
            };
            if tally.one_box_exposure <= 0.0 || tally.fleet_exposure <= 0.0 {
                continue;
            }
            tallies.add(&tally);
            if 0.0 < tally.one_box + tally.fleet {
                evidence.observe(&Clipped::new(&own, &others), Speakers::All, 0);
            }
        }
        let bar = Bar::new(alpha, SHARE_LAST, true);
        self.harmed_in(&evidence, &tallies, side.sign, bar)
            .is_some()
    }
}
