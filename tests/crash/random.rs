//! Choices that one number repeats, and the clocks of a test.

use std::{
    env,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Nothing that a test waits for takes longer.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// Chooses.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Chooses as `SLUICE_CRASH_SEED` says, or else anew.
    pub(crate) fn of_the_run() -> Self {
        let given = env::var("SLUICE_CRASH_SEED").ok();
        let seed = given.map_or_else(
            || unix_millis().cast_unsigned(),
            |seed| seed.parse().expect("SLUICE_CRASH_SEED is a number"),
        );
        println!("SLUICE_CRASH_SEED={seed}");
        Self(seed)
    }

    /// One that chooses otherwise.
    pub(crate) fn another(&mut self) -> Self {
        Self(self.below(u64::MAX))
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % end
    }
}

/// The time of a steady clock, for deadlines.
#[expect(clippy::disallowed_methods, reason = "a deadline needs a clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The time of samples: the engine that is tested lives by the system's clock.
#[expect(clippy::disallowed_methods, reason = "samples are of the present")]
pub(crate) fn unix_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_millis() as i64
}
