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

/// Nanoseconds of Unix time.
pub(crate) fn unix_ns() -> u64 {
    let time = clock_gettime(ClockId::Realtime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// Seconds of Unix time as a date and a time of day.
pub(crate) fn moment(at: u64) -> String {
    let (hour, minute) = (at / 3_600 % 24, at / 60 % 60);
    format!("{} {hour:02}:{minute:02} UTC", date(at))
}

/// Their day.
pub(crate) fn date(at: u64) -> String {
    let (year, month, day) = base::civil(at / 86_400);
    format!("{year:04}-{month:02}-{day:02}")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_dates() {
        assert_eq!(moment(0), "1970-01-01 00:00 UTC");
        assert_eq!(moment(951_782_399), "2000-02-28 23:59 UTC");
        assert_eq!(moment(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(moment(1_735_689_599), "2024-12-31 23:59 UTC");
        assert!(moment(u64::MAX).ends_with("UTC"));
    }
}
