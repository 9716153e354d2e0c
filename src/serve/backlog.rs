//! Records on their way to the ledger: a bounded queue between the core and the thread that writes.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{event::Timestamp, ledger::Record};

/// Most records that wait, and most bytes of them. Acts that somebody answers for may take as much again:
/// they are few, and the last that is given up.
const WAITING_MAX: usize = 20_000;
const WAITING_BYTES_MAX: usize = 32 << 20;
/// Records that are written together.
const GROUP: usize = 512;
/// Bytes of a record beside its texts, about.
const RECORD_BYTES: usize = 256;
/// How long what could not be written is left alone, unless somebody asks.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a core that reads its journal waits for records to be written, at a time.
const ROOM_PATIENCE: Duration = Duration::from_secs(10);

/// Records on their way to the ledger. Whoever adds never waits for the disk.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    state: Mutex<State>,
    /// There is something to do.
    due: Condvar,
    /// A round is over.
    done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Oldest first; those that are being written are still here.
    waiting: VecDeque<Arc<Record>>,
    bytes: usize,
    /// Records that were added, and how many of those are durable.
    added: u64,
    written: u64,
    /// How often somebody asked for a round; the last asked for that succeeded, and that failed.
    asked: u64,
    succeeded: u64,
    failed: u64,
    /// Whether the last round failed.
    is_failing: bool,
    /// What is older than the ledger keeps at this time is to be removed.
    prune_at: Option<Timestamp>,
    is_closed: bool,
    /// Whether the thread that writes has ended.
    is_abandoned: bool,
}

/// What is to be written at once.
#[derive(Debug)]
pub(super) struct Round {
    /// Records, oldest first.
    pub(super) records: Vec<Arc<Record>>,
    /// Whether to prove that the ledger can be written even if nothing is.
    pub(super) proves: bool,
    /// Removes what is older than the ledger keeps at this time.
    pub(super) prune_at: Option<Timestamp>,
    /// The last that had asked when it began.
    number: u64,
    /// Whether it is all that waited then.
    is_whole: bool,
}

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// What was added before is durable.
    Written,
    /// That, and the disk has just taken something.
    Proven,
}

impl Backlog {
    /// Adds a record; says whether there was room.
    pub(super) fn add(&self, record: Arc<Record>) -> bool {
        let mut state = self.lock();
        let share = if record.is_privileged { 2 } else { 1 };
        let bytes = size(&record);
        if state.waiting.len() >= share * WAITING_MAX
            || state.bytes + bytes > share * WAITING_BYTES_MAX
        {
            return false;
        }
        state.bytes += bytes;
        state.added += 1;
        state.waiting.push_back(record);
        self.due.notify_one();
        true
    }

    /// Asks to remove what is older than the ledger keeps.
    pub(super) fn prune(&self, now: Timestamp) {
        self.lock().prune_at = Some(now);
        self.due.notify_one();
    }

    /// Waits for something to write. `None`: no more comes, or what is left cannot be written.
    pub(super) fn next(&self) -> Option<Round> {
        let mut state = self.lock();
        loop {
            let is_asked = state.succeeded.max(state.failed) < state.asked;
            let is_due = !state.waiting.is_empty() || state.prune_at.is_some();
            if is_asked || (is_due && !state.is_failing) {
                break;
            }
            if state.is_closed {
                return None;
            }
            if is_due {
                let waited = self.due.wait_timeout(state, PAUSE);
                let (after, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                state = after;
                if timeout.timed_out() {
                    break;
                }
            } else {
                let waited = self.due.wait(state);
                state = waited.unwrap_or_else(PoisonError::into_inner);
            }
        }
        let records: Vec<_> = state.waiting.iter().take(GROUP).map(Arc::clone).collect();
        let is_whole = records.len() == state.waiting.len();
        Some(Round {
            records,
            proves: state.succeeded < state.asked,
            prune_at: state.prune_at.take(),
            number: state.asked,
            is_whole,
        })
    }

    /// A round is durable.
    pub(super) fn succeed(&self, round: &Round) {
        let mut state = self.lock();
        for _ in &round.records {
            if let Some(record) = state.waiting.pop_front() {
                state.bytes -= size(&record);
            }
        }
        state.written += round.records.len() as u64;
        if round.is_whole {
            state.succeeded = round.number;
        }
        state.is_failing = false;
        self.done.notify_all();
    }

    /// A round could not be written; its records wait for the next.
    pub(super) fn fail(&self, round: &Round) {
        let mut state = self.lock();
        state.failed = round.number;
        state.is_failing = true;
        state.prune_at = state.prune_at.or(round.prune_at);
        self.done.notify_all();
    }

    /// Waits, at most so long, until everything that was added before is durable. Says whether it is.
    pub(super) fn settle(&self, until: Until, patience: Duration) -> bool {
        let mut state = self.lock();
        let added = state.added;
        if until == Until::Written && added <= state.written {
            return true;
        }
        state.asked += 1;
        let asked = state.asked;
        self.due.notify_one();
        let is_settled = |state: &State| {
            added <= state.written && (until == Until::Written || asked <= state.succeeded)
        };
        let waits =
            |state: &mut State| !is_settled(state) && state.failed < asked && !state.is_abandoned;
        let waited = self.done.wait_timeout_while(state, patience, waits);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        is_settled(&state)
    }

    /// Waits until there is room for many records again, unless the ledger cannot be written: for a core
    /// that reads its journal as fast as it can.
    pub(super) fn make_room(&self) {
        let state = self.lock();
        let is_full = |state: &mut State| {
            (WAITING_MAX / 2 < state.waiting.len() || WAITING_BYTES_MAX / 2 < state.bytes)
                && !state.is_failing
                && !state.is_abandoned
        };
        drop(
            self.done
                .wait_timeout_while(state, ROOM_PATIENCE, is_full)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    /// What is not known to be durable, oldest first.
    pub(super) fn waiting(&self) -> Vec<Arc<Record>> {
        self.lock().waiting.iter().map(Arc::clone).collect()
    }

    /// How many records wait, and how many bytes they take.
    pub(super) fn size(&self) -> (usize, usize) {
        let state = self.lock();
        (state.waiting.len(), state.bytes)
    }

    /// Takes no more, and waits, at most so long, until what waits is written. Says whether it is.
    pub(super) fn close(&self, patience: Duration) -> bool {
        let mut state = self.lock();
        state.is_closed = true;
        self.due.notify_one();
        let waits = |state: &mut State| !state.is_abandoned;
        let waited = self.done.wait_timeout_while(state, patience, waits);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.waiting.is_empty()
    }

    /// The thread that writes has ended.
    pub(super) fn abandon(&self) {
        self.lock().is_abandoned = true;
        self.done.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can be left half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn size(record: &Record) -> usize {
    RECORD_BYTES + record.body.len() + record.key.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Kind;

    fn record(number: usize, is_privileged: bool, body: usize) -> Arc<Record> {
        Arc::new(Record {
            kind: Kind::Step,
            at: Timestamp::MIN,
            deployment: "d1".to_owned(),
            service: "shop".to_owned(),
            stage: "prod".to_owned(),
            region: String::new(),
            version: "v2".to_owned(),
            verdict: None,
            is_privileged,
            key: number.to_string(),
            body: "x".repeat(body),
        })
    }

    fn keys(records: &[Arc<Record>]) -> Vec<&str> {
        records.iter().map(|record| record.key.as_str()).collect()
    }

    #[test]
    fn what_waits_is_bounded_and_an_act_is_given_up_last() {
        for (body, max) in [(0, WAITING_MAX), (1 << 20, 31)] {
            let backlog = Backlog::default();
            let mut taken = 0;
            while backlog.add(record(taken, false, body)) {
                taken += 1;
            }
            assert_eq!(taken, max);
            assert!(backlog.size().1 <= WAITING_BYTES_MAX);
            assert!(
                backlog.add(record(taken, true, body)),
                "there is room for acts"
            );
            assert!(!backlog.add(record(taken, false, body)));
            while backlog.add(record(taken, true, body)) {
                taken += 1;
            }
            assert!(backlog.size().1 <= 2 * WAITING_BYTES_MAX);
        }
    }

    #[test]
    fn a_round_that_failed_is_tried_again_and_nothing_is_left_out() {
        let backlog = Backlog::default();
        for number in 0..GROUP + 2 {
            assert!(backlog.add(record(number, false, 0)));
        }
        let first = backlog.next().unwrap();
        assert_eq!(first.records.len(), GROUP);
        backlog.fail(&first);
        assert_eq!(
            backlog.waiting().len(),
            GROUP + 2,
            "what is not durable waits"
        );
        // After a pause, without anybody who asks.
        let again = backlog.next().unwrap();
        assert_eq!(keys(&again.records), keys(&first.records));
        backlog.succeed(&again);
        let rest = backlog.next().unwrap();
        assert_eq!(
            keys(&rest.records),
            [GROUP.to_string(), (GROUP + 1).to_string()]
        );
        backlog.succeed(&rest);
        assert_eq!((backlog.size(), backlog.waiting().len()), ((0, 0), 0));
    }

    #[test]
    fn whoever_waits_hears_of_a_round_that_began_after_it_asked() {
        let instant = Duration::from_mins(1);
        let backlog = Arc::new(Backlog::default());
        assert!(
            backlog.settle(Until::Written, instant),
            "there is nothing to write"
        );
        assert!(backlog.add(record(0, false, 0)));
        // Nobody writes: this is given up.
        assert!(!backlog.settle(Until::Written, Duration::ZERO));
        // A round is under way when somebody asks, and fails: it says nothing of the disk after that.
        let under_way = backlog.next().unwrap();
        let asking = {
            let backlog = Arc::clone(&backlog);
            std::thread::spawn(move || backlog.settle(Until::Proven, instant))
        };
        while backlog.lock().asked < 2 {
            std::thread::yield_now();
        }
        backlog.fail(&under_way);
        let next = backlog.next().unwrap();
        assert!(next.proves, "the disk has to take something");
        backlog.succeed(&next);
        assert!(asking.join().unwrap());
        // And one that fails after that is the answer.
        let asking = {
            let backlog = Arc::clone(&backlog);
            std::thread::spawn(move || backlog.settle(Until::Proven, instant))
        };
        let next = backlog.next().unwrap();
        assert!(next.proves && next.records.is_empty());
        backlog.fail(&next);
        assert!(!asking.join().unwrap());
        // The end waits for nobody who cannot write.
        assert!(backlog.add(record(1, false, 0)));
        assert!(!backlog.close(Duration::ZERO));
        assert!(backlog.next().is_none());
    }
}
