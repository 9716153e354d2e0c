//! How much more counts vary than chance alone makes them: what a single event is worth as evidence.
//!
//! Where events come in bursts, one of them says little more than that there was a burst. Counted in
//! units of the cap, a bucket of a host is worth at most one event, which is safe whatever bursts are
//! like, and wastes most of the evidence where events come singly. The past tells which it is: by blocks of
//! several lengths, since rates that wander for a while look like chance in short ones. That of the one-box, too:
//! it was on the old version then, and beside one fleet host it is the only other.

use super::{
    counts::Count,
    grid::{CAPS, CAPS_COUNT},
};

/// Events of the past that weigh as much as the caution that knows nothing of it.
const CAUTION_EVENTS: f64 = 100.0;

/// The events and exposures of the hosts in blocks of time.
struct Table {
    /// By host, then by block.
    events: Vec<Vec<f64>>,
    exposures: Vec<Vec<f64>>,
}

/// For each cap, how many capped events are worth one that comes alone: between 1 and the cap.
/// `pasts` are those of one-box and fleet, `blocks` the lengths of blocks of time, in rounds.
pub(super) fn units(pasts: [&[Vec<Count>]; 2], blocks: &[usize]) -> [f64; CAPS_COUNT] {
    CAPS.map(|cap| {
        let tables = blocks.iter().map(|block| Table::new(pasts, *block, cap));
        let found = tables.filter_map(|table| table.dispersion());
        let most = found.max_by(|(_, a), (_, b)| a.total_cmp(b));
        let Some((events, dispersion)) = most else {
            return cap;
        };
        let mixed = (events * dispersion + CAUTION_EVENTS * cap) / (events + CAUTION_EVENTS);
        mixed.clamp(1.0, cap)
    })
}

impl Table {
    fn new(pasts: [&[Vec<Count>]; 2], block: usize, cap: f64) -> Self {
        let blocks = |of: &dyn Fn(&Count) -> f64| -> Vec<Vec<f64>> {
            // Blocks end where the past ends, so that those of all hosts are the same time.
            let sums = |rounds: &Vec<Count>| {
                let chunks = rounds.rchunks(block.max(1));
                chunks.map(|chunk| chunk.iter().map(of).sum()).collect()
            };
            pasts.into_iter().flatten().map(sums).collect()
        };
        Self {
            events: blocks(&|count| count.events.clamp(0.0, cap)),
            exposures: blocks(&|count| count.exposure),
        }
    }

    /// The number of events, and Pearson's statistic over its degrees of freedom, where each host has
    /// a rate of its own and each block a factor that all hosts share: 1 by chance alone. Of a single host that
    /// has any that factor cannot be told from bursts, and counts as such. `None` without a host that has any, or
    /// with fewer than two such blocks.
    fn dispersion(&self) -> Option<(f64, f64)> {
        let sum = |values: &Vec<f64>| values.iter().sum::<f64>();
        let rates: Vec<f64> = self
            .events
            .iter()
            .zip(&self.exposures)
            .map(|(events, exposures)| sum(events) / sum(exposures).max(f64::MIN_POSITIVE))
            .collect();
        let hosts = rates.iter().filter(|rate| 0.0 < **rate).count();
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
            let factor = if hosts < 2 { 1.0 } else { seen / usual };
            if factor <= 0.0 || usual <= 0.0 {
                continue;
            }
            let distances = cells().filter(|(_, usual)| 0.0 < *usual);
            squares += distances
                .map(|(seen, usual)| (seen - factor * usual).powi(2) / (factor * usual))
                .sum::<f64>();
            (events, blocks) = (events + seen, blocks + 1.0);
        }
        let free = if hosts < 2 { hosts } else { hosts - 1 };
        let freedom = free as f64 * (blocks - 1.0);
        (0.0 < freedom).then(|| (events, squares / freedom))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::test_support::noise;

    /// Hosts with so many events in each of 360 rounds.
    fn fleet(hosts: u32, events: impl Fn(u32, i64) -> f64) -> Vec<Vec<Count>> {
        let count = |host, at| Count {
            events: events(host, at),
            exposure: 10.0,
        };
        let rounds = |host| (0..360).map(|at| count(host, at)).collect();
        (0..hosts).map(rounds).collect()
    }

    /// The worth of an event by the past of the fleet alone.
    fn beside(fleet: &[Vec<Count>], blocks: &[usize]) -> [f64; CAPS_COUNT] {
        units([&[], fleet], blocks)
    }

    /// How many of so many coins show an event, each with a chance of one in a hundred.
    fn coins(host: u32, at: i64, count: u64) -> f64 {
        let coin = |number| noise(u64::from(host) * 1_000 + number, "coin", at) > 2.326;
        (0..count).filter(|number| coin(*number)).count() as f64
    }

    #[test]
    fn events_that_come_singly_count_as_one_where_there_are_many_of_them() {
        let many = beside(&fleet(40, |host, at| coins(host, at, 10)), &[30]);
        assert!(many[1] < 1.6 && many[2] < 3.5, "{many:?}");
        let few = beside(&fleet(2, |host, at| coins(host, at, 1)), &[30]);
        assert!(few[1] > 3.0 && few[2] > 13.0, "{few:?}");
        assert_eq!((many[0], few[0]), (1.0, 1.0));
    }

    #[test]
    fn bursts_count_as_little_as_their_size_says() {
        let bursts = fleet(40, |host, at| 12.0 * coins(host, at, 1));
        let found = beside(&bursts, &[30]);
        assert!(found[1] > 3.0 && found[2] > 9.0, "{found:?}");
    }

    #[test]
    fn rates_that_wander_are_seen_in_long_blocks() {
        // Twenty minutes of twice as many, then twenty as usual, each host in a turn of its own.
        let count = |host: u32, at: i64| {
            let is_up = (at + 60 * i64::from(host % 4)).rem_euclid(240) < 120;
            coins(host, at, if is_up { 14 } else { 7 })
        };
        let wandering = fleet(40, count);
        let short = beside(&wandering, &[30]);
        let long = beside(&wandering, &[30, 120]);
        assert!(1.2 * short[1] < long[1], "{short:?} {long:?}");
        let steady = fleet(40, |host, at| coins(host, at, 10));
        let long = beside(&steady, &[30, 120]);
        assert!(long[1] < 1.6, "{long:?}");
    }

    #[test]
    fn what_all_hosts_share_or_keep_is_no_dispersion() {
        // Unequal hosts, and ten minutes in which everyone has three times as many.
        let count = |host: u32, at: i64| {
            let of_host = if host.is_multiple_of(2) { 6 } else { 2 };
            if at < 60 { 3 * of_host } else { of_host }
        };
        let shared = fleet(40, |host, at| coins(host, at, count(host, at)));
        let found = beside(&shared, &[30]);
        assert!(found[1] < 2.0 && found[2] < 4.5, "{found:?}");
    }

    #[test]
    fn the_past_of_the_one_box_tells_as_much_as_that_of_a_fleet_host() {
        let both = fleet(2, |host, at| coins(host, at, 40));
        let (own, other) = both.split_at(1);
        let found = units([own, other], &[30]);
        assert_eq!(found, beside(&both, &[30]));
        assert!(found[1] < 2.5 && found[2] < 7.5, "{found:?}");
    }

    #[test]
    fn what_a_single_host_does_by_the_load_counts_as_bursts() {
        let steady = beside(&fleet(1, |host, at| coins(host, at, 80)), &[30]);
        assert!(steady[1] < 2.5 && steady[2] < 7.5, "{steady:?}");
        let count = |at| if at < 120 { 200 } else { 20 };
        let loaded = beside(&fleet(1, |host, at| coins(host, at, count(at))), &[30]);
        assert!(loaded[1] > 3.5 && loaded[2] > 10.0, "{loaded:?}");
        // Half of the time there was nothing.
        let idle = fleet(1, |host, at| {
            coins(host, at, if at < 180 { 160 } else { 0 })
        });
        let idle = beside(&idle, &[30]);
        assert!(idle[1] > 3.5 && idle[2] > 10.0, "{idle:?}");
    }

    #[test]
    fn an_empty_past_leaves_the_caution() {
        assert_eq!(beside(&[], &[30]), CAPS);
        assert_eq!(beside(&fleet(5, |_, _| 0.0), &[30]), CAPS);
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
