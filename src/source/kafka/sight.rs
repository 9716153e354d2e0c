//! Whether a topic is seen, or for how long it has not been.

use std::time::{Duration, Instant};

use super::Blindness;

/// Whether a topic is seen. It is not until the brokers have shown it once.
#[derive(Debug, Default)]
pub(super) struct Sight {
    said: Option<Said>,
    trouble_since: Option<Instant>,
}

#[derive(Debug)]
enum Said {
    Up,
    Down(Blindness),
}

/// What is to be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Up,
    Down(Blindness),
}

impl Sight {
    /// Takes what is wrong now, if anything is, and gives what has changed for those who are told.
    /// Trouble has to last; being behind has lasted already when it is noticed.
    pub(super) fn look(
        &mut self,
        trouble: Option<Blindness>,
        now: Instant,
        patience: Duration,
    ) -> Option<Change> {
        let Some(trouble) = trouble else {
            self.trouble_since = None;
            if matches!(self.said, Some(Said::Up)) {
                return None;
            }
            self.said = Some(Said::Up);
            return Some(Change::Up);
        };
        let since = *self.trouble_since.get_or_insert(now);
        let is_down = match &trouble {
            Blindness::Behind { by, .. } => *by >= patience,
            Blindness::Unreachable { .. }
            | Blindness::NoTopic { .. }
            | Blindness::Leaderless { .. } => now.saturating_duration_since(since) >= patience,
        };
        let is_said = matches!(&self.said, Some(Said::Down(said)) if is_same(said, &trouble));
        if !is_down || is_said {
            return None;
        }
        self.said = Some(Said::Down(trouble.clone()));
        Some(Change::Down(trouble))
    }

    /// Why it is down, if it is.
    pub(super) fn blindness(&self) -> Option<&Blindness> {
        match &self.said {
            Some(Said::Down(blindness)) => Some(blindness),
            Some(Said::Up) | None => None,
        }
    }

    /// Whether it was said to be up last.
    pub(super) fn is_up(&self) -> bool {
        matches!(self.said, Some(Said::Up))
    }
}

/// Whether two reasons are one for those who are told: numbers and words may differ.
fn is_same(a: &Blindness, b: &Blindness) -> bool {
    match (a, b) {
        (Blindness::Leaderless { partition: a }, Blindness::Leaderless { partition: b })
        | (Blindness::Behind { partition: a, .. }, Blindness::Behind { partition: b, .. }) => {
            a == b
        }
        (
            Blindness::Unreachable { .. }
            | Blindness::NoTopic { .. }
            | Blindness::Leaderless { .. }
            | Blindness::Behind { .. },
            _,
        ) => std::mem::discriminant(a) == std::mem::discriminant(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::kafka::client::now;

    const SECOND: Duration = Duration::from_secs(1);
    const PATIENCE: Duration = Duration::from_secs(10);

    fn leaderless(partition: i32) -> Blindness {
        Blindness::Leaderless { partition }
    }

    #[test]
    fn trouble_has_to_last_before_it_is_said_and_its_end_is_said_at_once() {
        let start = now();
        let mut sight = Sight::default();
        let mut look = |trouble, second: u32| {
            let seen = sight.look(trouble, start + SECOND * second, PATIENCE);
            (seen, sight.is_up(), sight.blindness().is_some())
        };
        assert_eq!(look(Some(leaderless(0)), 0), (None, false, false));
        assert_eq!(look(None, 1), (Some(Change::Up), true, false));
        assert_eq!(look(Some(leaderless(0)), 2), (None, true, false));
        assert_eq!(look(None, 11), (None, true, false));
        assert_eq!(look(Some(leaderless(0)), 12), (None, true, false));
        assert_eq!(look(Some(leaderless(1)), 21), (None, true, false));
        let down = Some(Change::Down(leaderless(1)));
        assert_eq!(look(Some(leaderless(1)), 22), (down, false, true));
        assert_eq!(look(Some(leaderless(1)), 23), (None, false, true));
        let down = Some(Change::Down(leaderless(2)));
        assert_eq!(look(Some(leaderless(2)), 24), (down, false, true));
        assert_eq!(look(None, 25), (Some(Change::Up), true, false));
    }

    #[test]
    fn what_was_never_seen_goes_down_too() {
        let start = now();
        let mut sight = Sight::default();
        let unreachable = |detail: &str| {
            Some(Blindness::Unreachable {
                detail: detail.to_owned(),
            })
        };
        assert_eq!(sight.look(unreachable("a"), start, PATIENCE), None);
        let seen = sight.look(unreachable("b"), start + PATIENCE, PATIENCE);
        assert_eq!(seen, unreachable("b").map(Change::Down));
        assert_eq!(
            sight.look(unreachable("c"), start + PATIENCE, PATIENCE),
            None
        );
    }

    #[test]
    fn being_behind_is_said_at_once_and_only_once() {
        let start = now();
        let mut sight = Sight::default();
        let behind = |seconds: u32| {
            Some(Blindness::Behind {
                partition: 1,
                by: SECOND * seconds,
            })
        };
        assert_eq!(sight.look(behind(9), start, PATIENCE), None);
        let seen = sight.look(behind(10), start, PATIENCE);
        assert_eq!(seen, behind(10).map(Change::Down));
        assert_eq!(sight.look(behind(11), start, PATIENCE), None);
    }
}
