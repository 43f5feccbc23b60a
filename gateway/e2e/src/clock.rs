//! The one place that reads the clock: deadlines, and waiting for a condition.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take before a story fails: long, because a busy machine is no failure.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Between two looks at a condition.
const TICK: Duration = Duration::from_millis(2);

/// A moment after which a story has failed.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// `time` from now.
    #[must_use]
    pub fn after(time: Duration) -> Deadline {
        Deadline(now() + time)
    }

    /// What is left, never zero; `None` once it has passed.
    #[must_use]
    pub fn left(self) -> Option<Duration> {
        self.0
            .checked_duration_since(now())
            .filter(|left| !left.is_zero())
    }
}

/// What something took.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// From now.
    #[must_use]
    pub fn start() -> Stopwatch {
        Stopwatch(now())
    }

    /// Since then.
    #[must_use]
    pub fn microseconds(self) -> u64 {
        let took = now().saturating_duration_since(self.0);
        u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
    }
}

/// Looks until `condition` holds; false if it did not `within` the time.
pub fn becomes(within: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Deadline::after(within);
    while !condition() {
        if deadline.left().is_none() {
            return false;
        }
        thread::park_timeout(TICK);
    }
    true
}

/// Waits for `condition`.
///
/// # Panics
/// With `what` when patience runs out.
pub fn eventually(what: &str, condition: impl FnMut() -> bool) {
    assert!(becomes(PATIENCE, condition), "it never happened: {what}");
}

/// Holds an origin back until the story lets it go on.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// A closed gate.
    #[must_use]
    pub fn new() -> Gate {
        Gate::default()
    }

    /// Lets everyone through, now and later.
    pub fn open(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_all();
    }

    /// Waits until it is open; goes on after patience has run out, so that a failed story ends.
    pub fn pass(&self) {
        let closed = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.0.1.wait_timeout_while(closed, PATIENCE, |open| !*open));
    }
}

#[allow(clippy::disallowed_methods)] // The stories' own clock: they run outside the gateway.
fn now() -> Instant {
    Instant::now()
}
