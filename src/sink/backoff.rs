//! How long to wait before a sink is tried again.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

const FIRST: Duration = Duration::from_secs(1);
const MAX: Duration = Duration::from_secs(30);
/// Longest that a sink may ask for.
const ASKED_MAX: Duration = Duration::from_mins(5);

/// Counts failures in a row.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The sink has answered.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// How long to wait after one more failure: twice as long as after the one before, up to half a
    /// minute, of which up to a half is left to chance, so that many engines do not come at once; at
    /// least as long as the sink asked for.
    pub(super) fn after_failure(&mut self, asked: Option<Duration>) -> Duration {
        let whole = FIRST
            .saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX))
            .min(MAX);
        self.failures = self.failures.saturating_add(1);
        let chance = RandomState::new().hash_one(self.failures) as f64 / u64::MAX as f64;
        let waited = whole.mul_f64(0.5 + chance / 2.0);
        waited.max(asked.unwrap_or_default().min(ASKED_MAX))
    }

    /// How many failures there were in a row.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_doubles_up_to_its_bound_with_chance_in_it() {
        let mut backoff = Backoff::default();
        for whole in [1, 2, 4, 8, 16, 30, 30, 30] {
            let waited = backoff.after_failure(None);
            let whole = Duration::from_secs(whole);
            assert!(
                whole / 2 <= waited && waited <= whole,
                "{waited:?} of {whole:?}"
            );
        }
        for _ in 0..100 {
            assert!(backoff.after_failure(None) <= MAX);
        }
        backoff.reset();
        assert!(backoff.after_failure(None) <= FIRST);
    }

    #[test]
    fn what_a_sink_asks_for_is_kept_within_reason() {
        let mut backoff = Backoff::default();
        let asked = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(backoff.after_failure(asked(120)), Duration::from_mins(2));
        assert_eq!(backoff.after_failure(asked(1_000_000)), ASKED_MAX);
    }
}
