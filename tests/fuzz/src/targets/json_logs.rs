//! Log records as flat JSON, as messages in Kafka have them.

use crate::{common, decode::json_logs, event::Timestamp};

/// Takes one input.
pub fn run(bytes: &[u8]) {
    let batches = [None, Some(Timestamp::from_seconds(7))]
        .map(|written_at| common::bounded(|| json_logs::decode(bytes, written_at)));
    let [without, with] = batches;
    for record in &with.logs {
        assert!(0 < record.count, "a record stands for one at least");
    }
    // The time of the message helps, and changes nothing else.
    assert!(without.logs.len() <= with.logs.len());
}
