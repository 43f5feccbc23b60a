//! The one place that reads the clock and waits.

use std::thread;
use std::time::{Duration, Instant};

/// Between two looks at a condition.
const TICK: Duration = Duration::from_millis(5);

/// Waits until `done` or the time is over; true when it was done.
pub(crate) fn wait(within: Duration, mut done: impl FnMut() -> bool) -> bool {
    let start = now();
    while !done() {
        if start.elapsed() > within {
            return false;
        }
        thread::park_timeout(TICK);
    }
    true
}

/// Lets a time pass.
pub(crate) fn pass(time: Duration) {
    wait(time, || false);
}

#[allow(clippy::disallowed_methods)] // The benchmark's own clock: it is no part of a gateway.
fn now() -> Instant {
    Instant::now()
}
