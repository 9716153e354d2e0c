//! Senders and an observer around engines, and what is checked when they have ended.

use std::{collections::BTreeSet, sync::Arc, thread::JoinHandle};

use serde_json::Value;

use super::{
    engine::Site,
    evidence::{self, Expected, Journal, Observer, Seen},
    kill::Deployer,
    ledger::Book,
    load::Load,
};

/// Senders and an observer.
pub(crate) struct Run {
    site: Arc<Site>,
    pub(crate) load: Arc<Load>,
    senders: Vec<JoinHandle<()>>,
    observer: Observer,
}

/// What is left when they have ended.
pub(crate) struct Left {
    /// What was said in the end of each deployment.
    pub(crate) said: Vec<Value>,
    /// What was seen meanwhile.
    observed: BTreeSet<Seen>,
    told: Vec<Expected>,
    pub(crate) book: Book,
}

impl Run {
    pub(crate) fn start(site: &Arc<Site>) -> Self {
        let (load, senders) = Load::start(site);
        Self {
            observer: Observer::start(site, &load),
            site: Arc::clone(site),
            load,
            senders,
        }
    }

    /// Ends with whole buckets, and waits for the verdicts. An engine has to live.
    pub(crate) fn finish(self, deployer: &Deployer) -> Left {
        self.load.finish();
        for sender in self.senders {
            sender.join().unwrap();
        }
        Left {
            said: deployer.end_all(self.site.at()),
            observed: self.observer.stop(),
            told: deployer.told.clone(),
            book: self.load.ledger.book(),
        }
    }
}

impl Left {
    /// Holds everything against each other. No engine may live there.
    pub(crate) fn check(&self, site: &Arc<Site>) {
        self.comes_again(site);
        let book = &self.book;
        let journal = Journal::read(&site.seen);
        journal.holds_what_was_acknowledged(book);
        evidence::check_verdicts(site, &self.said, &self.observed, &self.told, book);
        let once = journal.samples_once(book);
        let counts = evidence::count_anew(site, &journal, once);
        // Of every series and time one sample counts, unless the sender was told that it came too late.
        let counted = counts.accepted - counts.duplicates;
        let possible = once.saturating_sub(book.late)..=once;
        assert!(possible.contains(&counted), "{counts:?}, {possible:?}");
        println!(
            "{} requests with {} samples and {} log records acknowledged: {} lost, {} counted twice. \
             {} went without an answer, {} were asked to come again, {} of these stood in the journal \
             already. {} samples late. {} deployments.",
            book.acknowledged,
            book.samples_acknowledged,
            book.logs_acknowledged,
            journal.lost(book),
            counted - counted.min(once),
            book.unanswered,
            book.turned_away,
            journal.repeated(),
            book.late,
            self.told.len(),
        );
    }

    /// What an engine knows once more from the disk is the same.
    fn comes_again(&self, site: &Arc<Site>) {
        let by_name = |verdicts: &[Value]| {
            let mut verdicts = verdicts.to_vec();
            verdicts.sort_by_key(|verdict| verdict["deployment"].to_string());
            verdicts
        };
        let engine = site.start_ready();
        let again = evidence::verdicts(site.at()).unwrap();
        assert_eq!(by_name(&again), by_name(&self.said));
        // What was read again is not taken for something that came too late.
        let lost = site.at().metrics("sluice_lost_samples_total");
        let is_nothing = |line: &String| line.ends_with(" 0");
        assert!(!lost.is_empty(), "the counter is there from the start");
        assert!(
            lost.iter().all(is_nothing) || 0 < self.book.late,
            "{lost:?}"
        );
        drop(engine);
    }
}
