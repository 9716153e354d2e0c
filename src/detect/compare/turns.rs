//! How many metrics may read their past in one bucket.
//!
//! When the grace ends, all metrics are ready at once, and to read the past of a thousand hosts takes
//! milliseconds for each metric. A small comparison still begins as a whole; a large one takes turns,
//! in the order of its metrics, so that no bucket stalls the others.

use super::{ARRIVAL, pasts, reading::Reader};
use crate::event::Span;

/// Values of the past that may be read in one bucket: a tenth of a second.
const VALUES_PER_BUCKET: usize = 4_000_000;
/// Buckets over which metrics are spread that come late.
const LATE_BUCKETS: usize = 5;

/// How many of the metrics that are ready may begin now. All have had their turn long before
/// judging must have begun.
pub(super) fn turns(reader: &Reader<'_>, ready: usize) -> usize {
    let terms = reader.terms;
    let hosts = reader.view.one_box.len() + reader.view.fleet.len();
    let values = hosts.max(1) * pasts::past_buckets(hosts);
    let patience = ARRIVAL.max(terms.resolution.times(10));
    let until = terms.grace_until + Span::from_nanos(patience.nanos() / 2);
    let buckets = (until - reader.view.bucket.start).div_ceil(terms.resolution);
    let in_time = ready.div_ceil(buckets.max(LATE_BUCKETS));
    in_time.max(VALUES_PER_BUCKET / values).max(1)
}
