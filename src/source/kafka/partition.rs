//! How far one partition is read, and what a survey says about it.

use std::{
    collections::VecDeque,
    ops::Range,
    time::{Duration, Instant},
};

use super::{LostReason, Partition, PartitionStatus};

/// Most marks that are remembered: at the usual pace the last twenty minutes.
const MARKS_MAX: usize = 128;

/// How far one partition is read.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) partition: Partition,
    /// Offset of the next message that is wanted.
    pub(super) next: i64,
    /// When a message was taken last, or reading began.
    pub(super) taken_at: Instant,
    /// Messages taken.
    pub(super) messages: u64,
    /// Bytes of their values.
    pub(super) bytes: u64,
    /// Messages that came again although they were taken before, and were left out.
    pub(super) repeated: u64,
    /// Offsets that were lost; where the numbering began anew, one.
    pub(super) lost: u64,
    /// Whether a survey has it end before `next`. One survey can be mistaken: a new leader does not
    /// know at once how far its followers are.
    suspected_at: Option<Instant>,
    /// Where the client has come that fetches ahead, once everything before was taken: behind the
    /// last message there may be offsets that hold none.
    fetched: i64,
    /// The end of the partition at times past, for those ends that are not reached yet; both rise.
    marks: VecDeque<(i64, Instant)>,
    /// The end as far as it is known.
    end: Option<i64>,
}

/// What a survey says about the position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// It is there.
    InRange,
    /// It is not: reading goes on elsewhere.
    Lost { until: i64, reason: LostReason },
    /// It may not be there: another survey has to say so.
    Suspected,
}

impl Progress {
    pub(super) fn new(partition: Partition, next: i64, now: Instant) -> Self {
        Self {
            partition,
            next,
            taken_at: now,
            messages: 0,
            bytes: 0,
            repeated: 0,
            lost: 0,
            suspected_at: None,
            fetched: next,
            marks: VecDeque::new(),
            end: None,
        }
    }

    /// Takes a message, unless it was taken before.
    pub(super) fn take(&mut self, offset: i64, bytes: usize, now: Instant) -> bool {
        if offset < self.next {
            self.repeated += 1;
            return false;
        }
        self.next = offset + 1;
        self.taken_at = now;
        self.messages += 1;
        self.bytes += bytes as u64;
        self.suspected_at = None;
        true
    }

    /// Learns where the partition ended at a time.
    pub(super) fn mark(&mut self, end: i64, at: Instant) {
        self.end = Some(end);
        self.forget_reached();
        let is_news = self.marks.back().is_none_or(|(last, _)| *last < end);
        if is_news && end > self.reached() && self.marks.len() < MARKS_MAX {
            self.marks.push_back((end, at));
        }
    }

    /// Learns that the client has come this far and has nothing more in hand.
    pub(super) fn fetched(&mut self, offset: i64) {
        self.fetched = offset;
        self.forget_reached();
    }

    /// For how long at least the next message has been there.
    pub(super) fn behind(&mut self, now: Instant) -> Duration {
        self.forget_reached();
        self.marks
            .front()
            .map_or(Duration::ZERO, |(_, at)| now.saturating_duration_since(*at))
    }

    /// How many offsets are there and not taken, as far as is known.
    pub(super) fn lag(&self) -> u64 {
        self.end
            .map_or(0, |end| end.saturating_sub(self.reached()).max(0) as u64)
    }

    /// Whether there was more to read and nothing came for this long.
    pub(super) fn is_stalled(&mut self, now: Instant, patience: Duration) -> bool {
        self.behind(now) >= patience && now.saturating_duration_since(self.taken_at) >= patience
    }

    /// Whether the position is not among these offsets and nothing came for this long.
    pub(super) fn is_outside(
        &self,
        offsets: &Range<i64>,
        now: Instant,
        patience: Duration,
    ) -> bool {
        (self.next < offsets.start || self.next > offsets.end)
            && now.saturating_duration_since(self.taken_at) >= patience
    }

    /// How it is doing.
    pub(super) fn status(&mut self, now: Instant) -> PartitionStatus {
        PartitionStatus {
            next: self.next,
            messages: self.messages,
            bytes: self.bytes,
            repeated: self.repeated,
            lag: self.lag(),
            behind: self.behind(now),
            lost: self.lost,
        }
    }

    /// What offsets that the brokers have, asked for at `asked_at`, say about the position.
    pub(super) fn judge(&mut self, offsets: &Range<i64>, asked_at: Instant) -> Finding {
        if self.taken_at >= asked_at {
            return Finding::InRange;
        }
        if self.next < offsets.start {
            return Finding::Lost {
                until: offsets.start,
                reason: LostReason::Removed,
            };
        }
        if self.next <= offsets.end {
            self.suspected_at = None;
            return Finding::InRange;
        }
        if self.suspected_at.is_some_and(|at| at < asked_at) {
            return Finding::Lost {
                until: offsets.end,
                reason: LostReason::WentBack,
            };
        }
        self.suspected_at.get_or_insert(asked_at);
        Finding::Suspected
    }

    /// Goes on elsewhere.
    pub(super) fn jump(&mut self, until: i64, now: Instant) {
        self.lost += u64::try_from(until - self.next).unwrap_or(1);
        self.next = until;
        self.fetched = until;
        self.taken_at = now;
        self.suspected_at = None;
        self.marks.clear();
        self.end = None;
    }

    fn reached(&self) -> i64 {
        self.next.max(self.fetched)
    }

    fn forget_reached(&mut self) {
        let reached = self.reached();
        while self
            .marks
            .pop_front_if(|(end, _)| *end <= reached)
            .is_some()
        {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::kafka::client::now;

    const SECOND: Duration = Duration::from_secs(1);

    fn progress(next: i64, at: Instant) -> Progress {
        let partition = Partition {
            topic: "t".into(),
            number: 0,
        };
        Progress::new(partition, next, at)
    }

    #[test]
    fn each_message_is_taken_once_and_gaps_are_allowed() {
        let at = now();
        let mut progress = progress(5, at);
        let taken: Vec<bool> = [4, 5, 5, 9, 7, 10]
            .map(|offset| progress.take(offset, 3, at))
            .to_vec();
        assert_eq!(taken, [false, true, false, true, false, true]);
        assert_eq!(
            (
                progress.next,
                progress.messages,
                progress.bytes,
                progress.repeated
            ),
            (11, 3, 9, 3)
        );
    }

    #[test]
    fn being_behind_is_counted_from_when_the_next_message_was_there() {
        let at = now();
        let mut progress = progress(0, at);
        progress.mark(10, at);
        progress.mark(20, at + SECOND);
        progress.mark(20, at + SECOND * 2);
        assert_eq!(
            (progress.behind(at + SECOND * 5), progress.lag()),
            (SECOND * 5, 20)
        );
        progress.take(9, 0, at);
        assert_eq!(
            (progress.behind(at + SECOND * 5), progress.lag()),
            (SECOND * 4, 10)
        );
        progress.take(17, 0, at);
        assert!(progress.is_stalled(at + SECOND * 5, SECOND * 4));
        assert!(!progress.is_stalled(at + SECOND * 5, SECOND * 5));
        // Offsets 18 and 19 hold no messages: the client went over them.
        progress.fetched(20);
        assert_eq!(
            (progress.behind(at + SECOND * 5), progress.lag()),
            (Duration::ZERO, 0)
        );
    }

    #[test]
    fn marks_are_bounded_and_the_oldest_counts() {
        let at = now();
        let mut progress = progress(0, at);
        for step in 1..10_000 {
            progress.mark(i64::from(step), at + SECOND * step);
        }
        assert_eq!(progress.marks.len(), MARKS_MAX);
        assert_eq!(progress.behind(at + SECOND * 10_000), SECOND * 9_999);
    }

    #[test]
    fn a_position_before_the_oldest_offset_is_lost_up_to_it() {
        let at = now();
        let mut progress = progress(5, at);
        let found = progress.judge(&(8..20), at + SECOND);
        let lost = Finding::Lost {
            until: 8,
            reason: LostReason::Removed,
        };
        assert_eq!(found, lost);
        progress.jump(8, at + SECOND);
        assert_eq!((progress.next, progress.lost), (8, 3));
        assert_eq!(progress.judge(&(8..20), at + SECOND * 2), Finding::InRange);
        assert_eq!(progress.judge(&(8..8), at + SECOND * 2), Finding::InRange);
    }

    #[test]
    fn a_position_behind_the_end_is_lost_when_a_second_survey_says_so() {
        let at = now();
        let mut progress = progress(50, at);
        let (first, second) = (at + SECOND, at + SECOND * 2);
        assert_eq!(progress.judge(&(0..20), first), Finding::Suspected);
        assert_eq!(progress.judge(&(0..20), first), Finding::Suspected);
        // It comes back: a new leader had not known better.
        assert_eq!(progress.judge(&(0..50), second), Finding::InRange);
        assert_eq!(progress.judge(&(0..20), second), Finding::Suspected);
        let found = progress.judge(&(0..21), second + SECOND);
        let lost = Finding::Lost {
            until: 21,
            reason: LostReason::WentBack,
        };
        assert_eq!(found, lost);
        progress.jump(21, second + SECOND);
        assert_eq!((progress.next, progress.lost), (21, 1));
    }

    #[test]
    fn a_position_outside_is_noticed_without_the_clients_word() {
        let at = now();
        let progress = progress(5, at);
        let is_outside = |offsets: Range<i64>, seconds| {
            progress.is_outside(&offsets, at + SECOND * seconds, SECOND * 3)
        };
        for there in [0..5, 5..5, 5..9] {
            assert!(!is_outside(there, 9));
        }
        for gone in [0..4, 6..9] {
            assert!(!is_outside(gone.clone(), 2));
            assert!(is_outside(gone, 3));
        }
    }

    #[test]
    fn a_survey_from_before_the_last_message_says_nothing() {
        let at = now();
        let mut progress = progress(5, at);
        progress.take(30, 0, at + SECOND * 2);
        assert_eq!(progress.judge(&(0..20), at + SECOND), Finding::InRange);
        assert_eq!(progress.judge(&(40..50), at + SECOND), Finding::InRange);
    }
}
