//! What senders know: which bodies they sent how often, and which were acknowledged.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hasher},
    sync::{Condvar, Mutex},
    time::Duration,
};

use super::random::{DEADLINE, now};

/// What became of everything that was sent.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    book: Mutex<Book>,
    changed: Condvar,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Book {
    /// By the hash of its bytes.
    pub(crate) bodies: BTreeMap<u64, Sent>,
    pub(crate) acknowledged: u64,
    pub(crate) samples_acknowledged: u64,
    pub(crate) logs_acknowledged: u64,
    /// Answers that asked to come again.
    pub(crate) turned_away: u64,
    /// Requests without an answer.
    pub(crate) unanswered: u64,
    /// Samples that the engine said it had not taken: the machine was so slow that they came too late.
    pub(crate) late: u64,
}

/// A body.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sent {
    pub(crate) attempts: u64,
    pub(crate) is_acknowledged: bool,
    pub(crate) samples: u64,
    pub(crate) logs: u64,
}

impl Ledger {
    /// Notes that a body is about to be sent.
    pub(crate) fn send(&self, body: &[u8], samples: u64, logs: u64) {
        let mut book = self.book.lock().unwrap();
        let sent = book.bodies.entry(hash(body)).or_default();
        sent.attempts += 1;
        (sent.samples, sent.logs) = (samples, logs);
    }

    /// Notes that a body was answered with success.
    pub(crate) fn acknowledge(&self, body: &[u8]) {
        let mut book = self.book.lock().unwrap();
        let sent = book.bodies.get_mut(&hash(body)).unwrap();
        assert!(!sent.is_acknowledged, "a sender stops at the first success");
        sent.is_acknowledged = true;
        let (samples, logs) = (sent.samples, sent.logs);
        book.acknowledged += 1;
        book.samples_acknowledged += samples;
        book.logs_acknowledged += logs;
        self.changed.notify_all();
    }

    pub(crate) fn turn_away(&self) {
        self.book.lock().unwrap().turned_away += 1;
        self.changed.notify_all();
    }

    pub(crate) fn miss_answer(&self) {
        self.book.lock().unwrap().unanswered += 1;
    }

    pub(crate) fn come_late(&self, samples: u64) {
        self.book.lock().unwrap().late += samples;
    }

    /// Blocks until the book says so.
    pub(crate) fn wait(&self, what: &str, until: impl Fn(&Book) -> bool) {
        assert!(self.wait_at_most(DEADLINE, until), "in time: {what}");
    }

    /// Blocks until the book says so, but at most so long; says whether it did.
    pub(crate) fn wait_at_most(&self, limit: Duration, until: impl Fn(&Book) -> bool) -> bool {
        let end = now() + limit;
        let mut book = self.book.lock().unwrap();
        while !until(&book) {
            let left = end.saturating_duration_since(now());
            if left.is_zero() {
                return false;
            }
            (book, _) = self.changed.wait_timeout(book, left).unwrap();
        }
        true
    }

    pub(crate) fn book(&self) -> Book {
        self.book.lock().unwrap().clone()
    }
}

/// Stands for the bytes of a body.
pub(crate) fn hash(body: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(body);
    hasher.finish()
}
