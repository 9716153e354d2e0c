//! Samples as flat JSON, as messages in Kafka have them.

use crate::{common, decode::json_samples, event::Timestamp};

/// Takes one input.
pub fn run(bytes: &[u8]) {
    let batches = [None, Some(Timestamp::from_seconds(7))]
        .map(|written_at| common::bounded(|| json_samples::decode(bytes, written_at)));
    let [without, with] = batches;
    for batch in [&without, &with] {
        for block in &batch.series {
            assert!(!block.labels.metric().is_empty(), "a series has a name");
            assert!(!block.points.is_empty(), "a series has points");
        }
    }
    // The time of the message helps, and changes nothing else.
    assert!(without.sample_count() <= with.sample_count());
    assert_eq!(
        without.sample_count() + without.rejects.sample_count(),
        with.sample_count() + with.rejects.sample_count(),
    );
}
