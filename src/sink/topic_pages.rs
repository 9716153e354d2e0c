//! What a topic was told of the history, and what of it comes next.

use serde::{Deserialize, Serialize};

use crate::ledger::{Behind, Entry, Filter, Head, History, Kind, LedgerError};

/// Most records that are under way at once.
const PAGE: usize = 100;

/// The last record that the topic has, or need not have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Told {
    pub seq: u64,
    /// Tells whether the history is still the same.
    pub hash: String,
}

/// What is to be told next.
#[derive(Debug)]
pub(super) struct Page {
    pub records: Vec<Entry>,
    /// Changes of verdicts that wait, those of the page too.
    pub waiting: u64,
    /// Records that retention removed before they could be told.
    pub removed: Option<Head>,
}

impl Told {
    pub(super) fn of(head: &Head) -> Self {
        Self {
            seq: head.seq,
            hash: head.hash.clone(),
        }
    }

    /// Passes over what stands up to there: it is not for the topic. If retention removes it later, nothing
    /// was missed.
    pub(super) fn pass(&mut self, end: &Head) {
        if self.seq < end.seq {
            *self = Self::of(end);
        }
    }
}

/// Whether it is the history that a topic was told so far.
pub(super) fn is_of(history: &History, told: &Told, end: &Head) -> Result<bool, LedgerError> {
    if told.seq == 0 || (told.seq == end.seq && told.hash == end.hash) {
        return Ok(true);
    }
    if end.seq < told.seq {
        return Ok(false);
    }
    let page = history.records(&Filter::all(), told.seq, 1)?;
    Ok(match page.records.first() {
        Some(record) if record.seq == told.seq => record.hash == told.hash,
        // Retention has removed it.
        Some(_) | None => told.seq <= history.pruned()?.seq,
    })
}

/// Reads what is to be told behind a record.
pub(super) fn page(history: &History, seq: u64) -> Result<Page, LedgerError> {
    let Behind {
        records,
        count,
        pruned,
    } = history.behind(Kind::Verdict, seq, PAGE)?;
    Ok(Page {
        records,
        waiting: count,
        removed: (seq < pruned.seq).then_some(pruned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Span, Timestamp},
        ledger::{FILE, Ledger, Record},
    };

    fn record(number: i64, kind: Kind) -> Record {
        Record {
            kind,
            at: Timestamp::from_seconds(number),
            deployment: "d1".to_owned(),
            service: "shop".to_owned(),
            stage: "prod".to_owned(),
            region: String::new(),
            version: "v2".to_owned(),
            verdict: None,
            is_privileged: false,
            key: number.to_string(),
            body: "{}".to_owned(),
        }
    }

    /// A ledger with changes of verdicts at odd seconds.
    fn ledger(folder: &std::path::Path, seconds: std::ops::Range<i64>) -> (Ledger, History) {
        let mut ledger = Ledger::open(folder, Span::from_seconds(100)).unwrap();
        let kind = |number| [Kind::Step, Kind::Verdict][usize::from(number % 2 == 1)];
        let records: Vec<Record> = seconds.map(|number| record(number, kind(number))).collect();
        ledger.append(records.iter()).unwrap();
        (ledger, History::at(folder.join(FILE)))
    }

    #[test]
    fn a_page_holds_what_stands_behind_and_says_what_waits_and_what_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let (mut ledger, history) = ledger(folder.path(), 0..1_000);
        let first = page(&history, 0).unwrap();
        assert_eq!((first.records.len(), first.waiting), (PAGE, 500));
        assert!(
            first
                .records
                .iter()
                .all(|entry| entry.kind == Kind::Verdict)
        );
        let last = first.records.last().unwrap().seq;
        let second = page(&history, last).unwrap();
        assert_eq!((second.records[0].seq, second.waiting), (last + 2, 400));
        let end = page(&history, 1_000).unwrap();
        assert_eq!((end.records.len(), end.waiting, end.removed), (0, 0, None));
        ledger.prune(Timestamp::from_seconds(700)).unwrap();
        let pruned = history.pruned().unwrap();
        assert!(100 < pruned.seq, "{pruned:?}");
        let gap = page(&history, last).unwrap();
        assert!(pruned.seq < gap.records[0].seq);
        assert_eq!(gap.removed, Some(pruned.clone()));
        assert_eq!(page(&history, pruned.seq).unwrap().removed, None);
    }

    #[test]
    fn what_is_not_for_the_topic_is_missed_by_nobody_once_it_is_passed() {
        let folder = tempfile::tempdir().unwrap();
        let (mut ledger, history) = ledger(folder.path(), 0..10);
        let verdicts = page(&history, 0).unwrap();
        let last = verdicts.records.last().unwrap();
        let mut told = Told {
            seq: last.seq,
            hash: last.hash.clone(),
        };
        let steps: Vec<Record> = (10..300).map(|number| record(number, Kind::Step)).collect();
        ledger.append(steps.iter()).unwrap();
        let end = ledger.head().clone();
        let nothing = page(&history, told.seq).unwrap();
        assert!(nothing.records.is_empty());
        told.pass(&end);
        ledger.append([record(300, Kind::Verdict)].iter()).unwrap();
        ledger.prune(Timestamp::from_seconds(390)).unwrap();
        assert!(10 < history.pruned().unwrap().seq);
        let next = page(&history, told.seq).unwrap();
        assert_eq!(
            (next.records.len(), next.waiting, next.removed),
            (1, 1, None)
        );
        // It never goes back.
        told.pass(&Head::default());
        assert_eq!(told, Told::of(&end));
    }

    #[test]
    fn another_history_is_told_from_its_beginning() {
        let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let (mut one, history) = ledger(folders[0].path(), 0..500);
        let (other, _) = ledger(folders[1].path(), 7..400);
        let at = |seq| {
            let page = history.records(&Filter::all(), seq, 1).unwrap();
            let hash = page.records[0].hash.clone();
            Told { seq, hash }
        };
        let is_same = |told: &Told, end: &Head| is_of(&history, told, end).unwrap();
        let (early, late) = (at(3), at(450));
        for told in [&early, &late, &Told::of(one.head()), &Told::default()] {
            assert!(is_same(told, one.head()), "{told:?}");
        }
        for told in [
            Told::of(other.head()),
            Told {
                hash: late.hash.clone(),
                ..early.clone()
            },
            Told {
                seq: 501,
                ..late.clone()
            },
        ] {
            assert!(!is_same(&told, one.head()), "{told:?}");
        }
        // What retention has removed may have been told.
        one.prune(Timestamp::from_seconds(300)).unwrap();
        assert!(is_same(&early, one.head()));
    }
}
