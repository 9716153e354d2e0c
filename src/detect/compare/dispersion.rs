//! How much more counts vary than chance alone makes them: what a single event is worth as evidence.
//!
//! Where events come in bursts, one of them says little more than that there was a burst. Counted in
//! units of the cap, a bucket of a host is worth at most one event, which is safe whatever bursts are
//! like, and wastes most of the evidence where events come singly. The fleet's past tells which it is.

use super::{
    grid::{CAPS, CAPS_COUNT},
    reading::HostPast,
};

/// Events of the fleet's past that weigh as much as the caution that knows nothing of it.
const CAUTION_EVENTS: f64 = 100.0;

/// The events and exposures of the hosts in blocks of time.
struct Table {
    /// By host, then by block.
    events: Vec<Vec<f64>>,
    exposures: Vec<Vec<f64>>,
}

/// For each cap, how many capped events are worth one that comes alone: between 1 and the cap.
/// `block` is the length of a block of time in buckets, `width` that of a bucket in seconds.
pub(super) fn units(
    fleet: &[HostPast],
    has_exposure: bool,
    width: f64,
    block: usize,
) -> [f64; CAPS_COUNT] {
    CAPS.map(|cap| {
        let table = Table::new(fleet, has_exposure, width, block, cap);
        let Some((events, dispersion)) = table.dispersion() else {
            return cap;
        };
        let mixed = (events * dispersion + CAUTION_EVENTS * cap) / (events + CAUTION_EVENTS);
        mixed.clamp(1.0, cap)
    })
}

impl Table {
    fn new(fleet: &[HostPast], has_exposure: bool, width: f64, block: usize, cap: f64) -> Self {
        let blocks = |past: &HostPast, number: &dyn Fn(f64, f64) -> f64| -> Vec<f64> {
            // Blocks end where the past ends, so that those of all hosts are the same time.
            let chunks = past.values.rchunks(block.max(1));
            let sum = |chunk: &[(f32, f32)]| {
                let known = chunk.iter().map(|(value, exposure)| {
                    let (value, exposure) = (f64::from(*value), f64::from(*exposure));
                    let is_known = value.is_finite() && exposure.is_finite();
                    is_known.then(|| number(value, exposure))
                });
                known.flatten().sum::<f64>()
            };
            chunks.map(sum).collect()
        };
        let capped = |value: f64, _: f64| (value * width).round().clamp(0.0, cap);
        let exposed = |_: f64, exposure: f64| if has_exposure { exposure } else { 1.0 };
        Self {
            events: fleet.iter().map(|past| blocks(past, &capped)).collect(),
            exposures: fleet.iter().map(|past| blocks(past, &exposed)).collect(),
        }
    }

    /// The number of events, and Pearson's statistic over its degrees of freedom, where each host has
    /// a rate of its own and each block a factor that all hosts share: 1 by chance alone. `None`
    /// with fewer than two hosts or blocks that have any.
    fn dispersion(&self) -> Option<(f64, f64)> {
        let sum = |values: &Vec<f64>| values.iter().sum::<f64>();
        let rates: Vec<f64> = self
            .events
            .iter()
            .zip(&self.exposures)
            .map(|(events, exposures)| sum(events) / sum(exposures).max(f64::MIN_POSITIVE))
            .collect();
        let (mut squares, mut events, mut blocks) = (0.0, 0.0, 0.0);
        for block in 0..self.events.first().map_or(0, Vec::len) {
            let cells = || {
                let hosts = self.events.iter().zip(&self.exposures).zip(&rates);
                hosts.filter_map(|((events, exposures), rate)| {
                    Some((*events.get(block)?, rate * exposures.get(block)?))
                })
            };
            let (seen, usual) = cells().fold((0.0, 0.0), |(seen, usual), cell| {
                (seen + cell.0, usual + cell.1)
            });
            if seen <= 0.0 || usual <= 0.0 {
                continue;
            }
            let factor = seen / usual;
            let distances = cells().filter(|(_, usual)| 0.0 < *usual);
            squares += distances
                .map(|(seen, usual)| (seen - factor * usual).powi(2) / (factor * usual))
                .sum::<f64>();
            (events, blocks) = (events + seen, blocks + 1.0);
        }
        let hosts = rates.iter().filter(|rate| 0.0 < **rate).count() as f64;
        let freedom = (hosts - 1.0) * (blocks - 1.0);
        (0.0 < freedom).then(|| (events, squares / freedom))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{HostId, test_support::noise};

    const WIDTH: f64 = 10.0;

    /// Hosts with so many events in each of 360 buckets.
    fn fleet(hosts: u32, events: impl Fn(u32, i64) -> f64) -> Vec<HostPast> {
        let values = |host: u32| (0..360).map(move |at| (host, i64::from(at)));
        let cell = |(host, at): (u32, i64)| ((events(host, at) / WIDTH) as f32, 1.0_f32);
        (0..hosts)
            .map(|host| HostPast {
                host: HostId(host),
                values: values(host).map(cell).collect(),
            })
            .collect()
    }

    /// How many of so many coins show an event, each with a chance of one in a hundred.
    fn coins(host: u32, at: i64, count: u64) -> f64 {
        let coin = |number| noise(u64::from(host) * 1_000 + number, "coin", at) > 2.326;
        (0..count).filter(|number| coin(*number)).count() as f64
    }

    #[test]
    fn events_that_come_singly_count_as_one_where_there_are_many_of_them() {
        let many = units(&fleet(40, |host, at| coins(host, at, 10)), false, WIDTH, 30);
        assert!(many[1] < 1.6 && many[2] < 3.5, "{many:?}");
        let few = units(&fleet(2, |host, at| coins(host, at, 1)), false, WIDTH, 30);
        assert!(few[1] > 3.0 && few[2] > 13.0, "{few:?}");
        assert_eq!((many[0], few[0]), (1.0, 1.0));
    }

    #[test]
    fn bursts_count_as_little_as_their_size_says() {
        let bursts = fleet(40, |host, at| 12.0 * coins(host, at, 1));
        let found = units(&bursts, false, WIDTH, 30);
        assert!(found[1] > 3.0 && found[2] > 9.0, "{found:?}");
    }

    #[test]
    fn what_all_hosts_share_or_keep_is_no_dispersion() {
        // Unequal hosts, and ten minutes in which everyone has three times as many.
        let count = |host: u32, at: i64| {
            let of_host = if host.is_multiple_of(2) { 6 } else { 2 };
            if at < 60 { 3 * of_host } else { of_host }
        };
        let shared = fleet(40, |host, at| coins(host, at, count(host, at)));
        let found = units(&shared, false, WIDTH, 30);
        assert!(found[1] < 2.0 && found[2] < 4.5, "{found:?}");
    }

    #[test]
    fn an_empty_past_leaves_the_caution() {
        assert_eq!(units(&[], false, WIDTH, 30), CAPS);
        assert_eq!(units(&fleet(5, |_, _| 0.0), false, WIDTH, 30), CAPS);
    }

    /// Pearson's statistic of a table with margins in proportion: computed by
    /// `scipy.stats.chi2_contingency`.
    #[test]
    fn the_dispersion_agrees_with_scipy() {
        let events = vec![vec![3.0, 7.0, 2.0], vec![5.0, 1.0, 4.0]];
        let exposures = vec![vec![1.0; 3]; 2];
        let (events, dispersion) = Table { events, exposures }.dispersion().unwrap();
        assert_eq!(events, 22.0);
        assert!((2.0 * dispersion - CHI2).abs() < 1e-9, "{dispersion}");
    }

    const CHI2: f64 = 5.530_555_555_555_557;
}
