//! Bodies of log records that come twice: a sender whose answer was lost sends the same bytes again.
//!
//! A sample that is delivered again is known by series and time; log records may well be equal, so that nothing
//! tells one that came twice from two. Equal bodies tell it: each record in them has its time.

use std::{
    collections::VecDeque,
    hash::BuildHasher,
    sync::{Mutex, PoisonError},
};

use foldhash::quality::RandomState;
use hashbrown::HashMap;

use super::intake::Taken;
use crate::journal::{Body, Format};

/// How many bodies are remembered: some minutes of many senders.
const REMEMBERED_MAX: usize = 16_384;

/// What was taken lately, by the bodies that brought it.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    /// Chosen anew by each process: nobody can make two bodies that meet.
    seeds: [RandomState; 2],
    recent: Mutex<Recent>,
}

#[derive(Debug, Default)]
struct Recent {
    taken: HashMap<u128, Taken>,
    /// The oldest first.
    order: VecDeque<u128>,
}

/// A body that may come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark(u128);

impl Repeats {
    /// The mark of a body; `None`: what it brings is told from what comes again by itself.
    pub(super) fn mark(&self, body: &Body) -> Option<Mark> {
        match body.format {
            Format::OtlpLogs | Format::OtlpLogsJson | Format::LokiPush | Format::LokiPushJson => {}
            Format::RemoteWrite1
            | Format::RemoteWrite2
            | Format::OtlpMetrics
            | Format::OtlpMetricsJson => return None,
        }
        let halves = self
            .seeds
            .each_ref()
            .map(|seed| seed.hash_one(&*body.bytes));
        let [low, high] = halves.map(u128::from);
        Some(Mark(high << 64 | low))
    }

    /// What was taken of an equal body before.
    pub(super) fn taken(&self, mark: Mark) -> Option<Taken> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.taken.get(&mark.0).cloned()
    }

    /// Remembers what was taken.
    pub(super) fn note(&self, mark: Mark, taken: &Taken) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.taken.insert(mark.0, taken.clone()).is_some() {
            return;
        }
        recent.order.push_back(mark.0);
        if REMEMBERED_MAX < recent.order.len()
            && let Some(oldest) = recent.order.pop_front()
        {
            recent.taken.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::journal::Encoding;

    fn body(format: Format, text: &str) -> Body {
        Body {
            format,
            encoding: Encoding::Identity,
            bytes: Bytes::copy_from_slice(text.as_bytes()),
        }
    }

    #[test]
    fn a_body_is_known_again_until_many_others_came() {
        let repeats = Repeats::default();
        let mark = |text: &str| repeats.mark(&body(Format::LokiPush, text)).unwrap();
        let taken = Taken {
            sent: 3,
            ..Taken::default()
        };
        assert_eq!(repeats.taken(mark("a")), None);
        repeats.note(mark("a"), &taken);
        repeats.note(mark("a"), &taken);
        assert_eq!(repeats.taken(mark("a")), Some(taken.clone()));
        assert_eq!(repeats.taken(mark("b")), None);
        for number in 1..REMEMBERED_MAX {
            repeats.note(mark(&number.to_string()), &taken);
        }
        assert_eq!(repeats.taken(mark("a")), Some(taken.clone()));
        repeats.note(mark("one more"), &taken);
        assert_eq!(repeats.taken(mark("a")), None);
        let recent = repeats.recent.lock().unwrap();
        assert_eq!(
            (recent.order.len(), recent.taken.len()),
            (REMEMBERED_MAX, REMEMBERED_MAX)
        );
    }

    #[test]
    fn samples_have_no_mark() {
        let repeats = Repeats::default();
        assert_eq!(repeats.mark(&body(Format::RemoteWrite1, "a")), None);
        assert_eq!(repeats.mark(&body(Format::OtlpMetrics, "a")), None);
    }
}
