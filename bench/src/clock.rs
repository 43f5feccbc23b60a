//! The one place that reads the clock and waits.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

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

/// Seconds of Unix time.
pub(crate) fn unix_seconds() -> u64 {
    let time = clock_gettime(ClockId::Realtime);
    u64::try_from(time.tv_sec).unwrap_or(0)
}

/// CPU time of the calling thread, in the kernel too. A system call.
pub(crate) fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
        + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// Time in which the calling thread could have run and another did, where the kernel counts it (`CONFIG_SCHED_INFO`).
pub(crate) fn thread_waiting_ns() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let waiting = text.split_whitespace().nth(1);
    waiting.and_then(|ns| ns.parse().ok()).unwrap_or(0)
}

#[allow(clippy::disallowed_methods)] // The benchmark's own clock: it is no part of a gateway.
fn now() -> Instant {
    Instant::now()
}
