//! The clocks that benches read: wall time, time since the epoch, CPU time of this thread.

use std::{
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{Failure, process::read_proc};

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Milliseconds since the Unix epoch, as remote write counts.
#[expect(clippy::disallowed_methods, reason = "samples carry the time of day")]
pub(crate) fn epoch_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}

/// Waits for a while.
#[expect(
    clippy::disallowed_methods,
    reason = "a paced load waits for its next round"
)]
pub(crate) fn rest(duration: Duration) {
    thread::sleep(duration);
}

/// Waits until the clock shows a time; at once if it has passed.
pub(crate) fn rest_until(at_ms: i64) {
    let left = at_ms - epoch_ms();
    if 0 < left {
        rest(Duration::from_millis(left as u64));
    }
}

/// CPU time that this thread has used, in nanoseconds.
///
/// # Errors
/// The kernel does not tell.
pub(crate) fn thread_cpu_ns() -> Result<u64, Failure> {
    // The kernel brings the figure of a running thread up to date when it yields.
    thread::yield_now();
    let text = read_proc("/proc/thread-self/schedstat")?;
    let first = text.split(' ').next().and_then(|text| text.parse().ok());
    first.ok_or_else(|| Failure::new("/proc/thread-self/schedstat has no CPU time"))
}
