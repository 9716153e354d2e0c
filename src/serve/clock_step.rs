//! Notices when the system's clock was set, so that an operator finds it in the log beside what followed.

use std::time::Duration;

use tracing::warn;

use crate::event::{Span, Timestamp};

/// What a clock may be off between two looks without having been set: a process that was held up between
/// its two readings, a clock that is being slewed.
const STEP_MIN: Span = Span::from_seconds(5);

/// Compares the system's clock with one that nobody sets.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ClockSteps {
    /// What both said last.
    last: Option<(Timestamp, Duration)>,
}

impl ClockSteps {
    /// Looks at both clocks: the system's, and how long the engine has run by one that nobody sets. Gives by
    /// how much the first was set since the last look.
    pub(super) fn look(&mut self, now: Timestamp, running: Duration) -> Option<Span> {
        let (before, ran) = self.last.replace((now, running))?;
        let passed = i64::try_from(running.saturating_sub(ran).as_nanos()).unwrap_or(i64::MAX);
        let step = now - (before + Span::from_nanos(passed));
        (STEP_MIN.nanos() <= step.nanos().saturating_abs()).then_some(step)
    }
}

/// Tells what a step means for verdicts.
pub(super) fn tell(step: Span) {
    let by = Span::from_nanos(step.nanos().saturating_abs()).whole_seconds();
    if step < Span::ZERO {
        warn!(
            %by,
            "the system's clock was set back: event time stands still until it has come as far again, so that \
             no verdict moves, data are turned away (503) if they would count as late, and deployments that \
             begin meanwhile are stamped with the time that was reached"
        );
    } else {
        warn!(
            %by,
            "the system's clock went forward by itself, or the machine slept: what senders stamp with the time \
             before counts as late, and hosts that nothing came from in that time count as silent"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is noticed of a clock that shows these milliseconds, looked at each second.
    fn steps(shown: &[i64]) -> Vec<Option<i64>> {
        let mut steps = ClockSteps::default();
        let looks = (0..).zip(shown).map(|(second, millis)| {
            let step = steps.look(Timestamp::from_millis(*millis), Duration::from_secs(second));
            step.map(|step| step.nanos() / 1_000_000)
        });
        looks.collect()
    }

    #[test]
    fn a_clock_that_goes_is_not_noticed() {
        assert_eq!(steps(&[0, 1_000, 2_010, 2_990, 8_900]), [None; 5]);
    }

    #[test]
    fn a_step_is_noticed_once_in_both_directions() {
        assert_eq!(
            steps(&[0, 1_000, 602_000, 603_000, 4_000, 5_000]),
            [None, None, Some(600_000), None, Some(-600_000), None]
        );
    }
}
