//! What all threads share: what to do, when to begin, and how it goes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use base::Room;
use hdrhistogram::Histogram;

use super::arguments::Backend;
use super::histogram;
use super::reader::Expected;
use super::schedule::{Arrivals, Schedule};

/// Sockets that are closing while others are opened in their place.
const CLOSING_SOCKETS: u32 = 256;

/// What to do.
pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    pub(crate) request: &'static [u8],
    pub(crate) expected: Expected,
    /// Size of the receive buffers.
    pub(crate) room: Room,
    pub(crate) threads: u32,
    pub(crate) connections: u32,
    /// Requests a second of all threads; none in a closed loop.
    pub(crate) rate: Option<u64>,
    pub(crate) arrivals: Arrivals,
    pub(crate) duration_ns: u64,
    pub(crate) timeout_ns: u64,
    pub(crate) spins: bool,
    pub(crate) backend: Backend,
    pub(crate) cpus: Vec<usize>,
    /// Whether threads report every second.
    pub(crate) progress: bool,
}

impl Plan {
    /// Connections of one thread.
    pub(crate) fn connections_of(&self, thread: u32) -> usize {
        let more = u32::from(thread < self.connections % self.threads);
        (self.connections / self.threads + more) as usize
    }

    /// Sockets of one thread at most, those that are closing included.
    pub(crate) fn sockets_of(&self, thread: u32) -> u32 {
        let connections = u32::try_from(self.connections_of(thread)).unwrap_or(u32::MAX);
        connections * 2 + CLOSING_SOCKETS
    }

    /// When a thread's requests are due; none in a closed loop.
    pub(crate) fn schedule(&self, thread: u32) -> Option<Schedule> {
        let places = (thread, self.threads);
        self.rate
            .map(|rate| Schedule::new(self.arrivals, rate, places, self.duration_ns))
    }

    /// The CPU of a thread, where CPUs were named.
    pub(crate) fn cpu_of(&self, thread: u32) -> Option<usize> {
        let count = self.cpus.len().max(1);
        self.cpus.get(thread as usize % count).copied()
    }
}

/// How it goes. Written by the threads, read by the one that waits for them.
pub(crate) struct Shared {
    /// The stamp of the start; 0 before it is known.
    start: AtomicU64,
    given_up: AtomicBool,
    recent: Mutex<Recent>,
}

/// What was seen since it was last asked for.
pub(crate) struct Recent {
    pub(crate) latencies: Histogram<u64>,
    pub(crate) errors: u64,
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self {
            start: AtomicU64::new(0),
            given_up: AtomicBool::new(false),
            recent: Mutex::new(Recent::new()),
        }
    }

    pub(crate) fn start(&self) -> Option<u64> {
        Some(self.start.load(Ordering::Acquire)).filter(|start| *start > 0)
    }

    pub(crate) fn start_at(&self, stamp: u64) {
        self.start.store(stamp, Ordering::Release);
    }

    pub(crate) fn given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }

    pub(crate) fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    /// Adds what a thread saw; left out when the reader is just reading.
    pub(crate) fn report(&self, latencies: &Histogram<u64>, errors: u64) {
        if let Ok(mut recent) = self.recent.try_lock() {
            histogram::merge(&mut recent.latencies, latencies);
            recent.errors += errors;
        }
    }

    /// Takes what was seen since the last time.
    pub(crate) fn take_recent(&self) -> Recent {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *recent, Recent::new())
    }
}

impl Recent {
    pub(crate) fn new() -> Self {
        Self {
            latencies: histogram::of_times(),
            errors: 0,
        }
    }
}
