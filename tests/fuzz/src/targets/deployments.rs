//! Deployment events, and what a journal makes of them.

use crate::{common, decode::deployments, journal};

/// Takes one input.
pub fn run(bytes: &[u8]) {
    let Ok(events) = common::bounded(|| deployments::decode(bytes)) else {
        return;
    };
    for event in events {
        // What the journal gives back stays as it is.
        let Ok(once) = journal::recorded(&event) else {
            continue;
        };
        assert_eq!(journal::recorded(&once).as_ref(), Ok(&once));
    }
}
