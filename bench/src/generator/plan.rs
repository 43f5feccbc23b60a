//! What all threads share: what to do, when to begin, and how it goes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use base::Room;

use super::arguments::Backend;
use super::reader::Expected;
use super::requests::Requests;
use super::schedule::{Arrivals, Schedule};
use super::seconds::{SECOND_NS, Seen};

/// Sockets that are closing while others are opened in their place.
const CLOSING_SOCKETS: u32 = 256;

/// What to do.
pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    pub(crate) requests: Requests,
    /// Requests that a connection may have on their way.
    pub(crate) pipeline: u32,
    /// Each connection is for one request.
    pub(crate) close: bool,
    /// Answers have no body, whatever their heads say.
    pub(crate) bodiless: bool,
    pub(crate) expected: Expected,
    /// Size of the receive buffers.
    pub(crate) room: Room,
    pub(crate) threads: u32,
    pub(crate) connections: u32,
    /// Requests a second of all threads; none in a closed loop.
    pub(crate) rate: Option<u64>,
    pub(crate) arrivals: Arrivals,
    pub(crate) seed: u64,
    pub(crate) duration_ns: u64,
    pub(crate) timeout_ns: u64,
    pub(crate) spins: bool,
    pub(crate) backend: Backend,
    pub(crate) cpus: Vec<usize>,
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

    /// Most requests on their way with which a connection takes more: an open loop fills it up, a closed one sends the next
    /// together when all are answered.
    pub(crate) fn pending_max(&self) -> u32 {
        match self.rate {
            Some(_) => self.pipeline - 1,
            None => 0,
        }
    }

    /// The last second of the run, counted from 0.
    pub(crate) fn last_second(&self) -> u64 {
        self.duration_ns.div_ceil(SECOND_NS).saturating_sub(1)
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
    /// The run ends before its time.
    stopped: AtomicBool,
    /// By second, those that were not taken.
    seconds: Mutex<BTreeMap<u64, Seen>>,
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self {
            start: AtomicU64::new(0),
            given_up: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            seconds: Mutex::new(BTreeMap::new()),
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

    pub(crate) fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Adds what a thread saw of a second, and leaves it nothing of it.
    pub(crate) fn report(&self, second: u64, seen: &mut Seen) {
        let seen = std::mem::replace(seen, Seen::new());
        let mut seconds = self.seconds();
        match seconds.get_mut(&second) {
            Some(others) => others.merge(&seen),
            None => drop(seconds.insert(second, seen)),
        }
    }

    /// Takes what was seen of the seconds before `end`.
    pub(crate) fn take_seconds(&self, end: u64) -> BTreeMap<u64, Seen> {
        let mut seconds = self.seconds();
        let later = seconds.split_off(&end);
        std::mem::replace(&mut seconds, later)
    }

    fn seconds(&self) -> MutexGuard<'_, BTreeMap<u64, Seen>> {
        self.seconds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
