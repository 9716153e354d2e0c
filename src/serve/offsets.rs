//! How far each partition of Kafka is recorded.

use std::collections::BTreeMap;

use crate::journal::{OffsetRange, SnapshotHead};

/// The next offset of each partition, by topic and number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Offsets(pub(super) BTreeMap<(String, i32), i64>);

impl Offsets {
    /// What a saved state has seen.
    pub(super) fn of(head: &SnapshotHead) -> Self {
        Self(head.kafka.clone())
    }

    /// Goes to the end of a range that was taken or lost. The end may stand before the beginning: the
    /// numbering began anew.
    pub(super) fn advance(&mut self, range: &OffsetRange) {
        // A topic that is not seen has no partition.
        if range.partition < 0 {
            return;
        }
        let partition = (range.topic.clone(), range.partition);
        self.0.insert(partition, range.until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(partition: i32, from: i64, until: i64) -> OffsetRange {
        OffsetRange {
            topic: "t".to_owned(),
            partition,
            from,
            until,
        }
    }

    #[test]
    fn the_last_range_tells_where_reading_goes_on() {
        let mut offsets = Offsets::default();
        for range in [
            range(0, 5, 5),
            range(1, 0, 7),
            range(0, 5, 9),
            // The topic was made anew.
            range(1, 7, 2),
            OffsetRange::unseen("t"),
        ] {
            offsets.advance(&range);
        }
        let expected = [(("t".to_owned(), 0), 9), (("t".to_owned(), 1), 2)];
        assert_eq!(offsets.0, expected.into());
    }
}
