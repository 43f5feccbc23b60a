//! What one thread counted, and the sum of all threads.

use hdrhistogram::Histogram;

use super::gaps::Sum;
use super::histogram::{self, Latencies};
use super::windows::Clean;

/// Ways in which a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The connection was refused, or did not come in time.
    Connect,
    /// The connection broke or ended while an answer was awaited.
    Read,
    /// The connection broke while the request was sent.
    Write,
    /// The answer did not come in time.
    Timeout,
    /// The answer's status was not the expected one.
    Status,
    /// The answer's body was not the expected one.
    Body,
    /// What came was no answer.
    Malformed,
}

/// All of them, with their names in the reports.
pub(crate) const KINDS: [(Kind, &str); 7] = [
    (Kind::Connect, "connect"),
    (Kind::Read, "read"),
    (Kind::Write, "write"),
    (Kind::Timeout, "timeout"),
    (Kind::Status, "status"),
    (Kind::Body, "body"),
    (Kind::Malformed, "malformed"),
];

/// Errors by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Errors([u64; KINDS.len()]);

impl Errors {
    pub(crate) fn add(&mut self, kind: Kind) {
        self.0[kind as usize] += 1;
    }

    pub(crate) fn of(&self, kind: Kind) -> u64 {
        self.0[kind as usize]
    }

    pub(crate) fn sum(&self) -> u64 {
        self.0.iter().sum()
    }

    fn merge(&mut self, other: &Self) {
        for (own, other) in self.0.iter_mut().zip(other.0) {
            *own += other;
        }
    }
}

/// Requests that left later than they were due with a connection free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Late {
    /// Because the loop was busy.
    pub(crate) own: u64,
    /// Because the CPU was taken.
    pub(crate) taken: u64,
}

/// Where a thread's time went, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Times {
    /// From the start to the last answer, or the end.
    pub(crate) wall: u64,
    /// CPU time, in the kernel too.
    pub(crate) cpu: u64,
    /// CPU time spun in which nothing was found.
    pub(crate) spun: u64,
    /// CPU time in which a hypervisor had the CPU.
    pub(crate) hidden: u64,
    /// Asleep until something came or was due.
    pub(crate) asleep: u64,
    /// Ready to run, but the kernel ran something else.
    pub(crate) waiting: u64,
}

impl Times {
    /// CPU time that requests cost.
    pub(crate) fn worked(&self) -> u64 {
        self.cpu.saturating_sub(self.spun + self.hidden)
    }

    fn merge(&mut self, other: &Self) {
        self.wall += other.wall;
        self.cpu += other.cpu;
        self.spun += other.spun;
        self.hidden += other.hidden;
        self.asleep += other.asleep;
        self.waiting += other.waiting;
    }
}

/// What was counted, of one thread or of all.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub(crate) threads: u64,
    /// The longest of the threads' runs.
    pub(crate) elapsed_ns: u64,
    /// Requests that were due (open loop) or sent (closed loop).
    pub(crate) due: u64,
    /// Those that were given up at the end without having been sent.
    pub(crate) unsent: u64,
    /// Those that found every connection busy.
    pub(crate) queued: u64,
    /// Whole answers, right and wrong.
    pub(crate) answers: u64,
    /// Bytes received.
    pub(crate) bytes: u64,
    pub(crate) errors: Errors,
    /// Connections that the server closed in order and that were opened anew.
    pub(crate) reopened: u64,
    pub(crate) latencies: Latencies,
    pub(crate) late: Late,
    /// How late requests left by the generator's doing, its own or the host's.
    pub(crate) lateness: Histogram<u64>,
    /// Answers a second of one thread, in every tenth of a second.
    pub(crate) rates: Histogram<u64>,
    pub(crate) own_gaps: Sum,
    pub(crate) taken_gaps: Sum,
    /// Times in which answers were awaited and none came, though the generator looked.
    pub(crate) silences: Sum,
    pub(crate) times: Times,
    /// The busiest thread's share.
    pub(crate) busiest_permille: u64,
    pub(crate) clean: Option<Clean>,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            threads: 0,
            elapsed_ns: 0,
            due: 0,
            unsent: 0,
            queued: 0,
            answers: 0,
            bytes: 0,
            errors: Errors::default(),
            reopened: 0,
            latencies: Latencies::new(),
            late: Late::default(),
            lateness: histogram::of_times(),
            rates: histogram::of_counts(),
            own_gaps: Sum::default(),
            taken_gaps: Sum::default(),
            silences: Sum::default(),
            times: Times::default(),
            busiest_permille: 0,
            clean: None,
        }
    }

    /// Adds a thread's.
    pub(crate) fn merge(&mut self, other: Self) {
        self.threads += other.threads;
        self.elapsed_ns = self.elapsed_ns.max(other.elapsed_ns);
        self.due += other.due;
        self.unsent += other.unsent;
        self.queued += other.queued;
        self.answers += other.answers;
        self.bytes += other.bytes;
        self.errors.merge(&other.errors);
        self.reopened += other.reopened;
        self.latencies.merge(&other.latencies);
        self.late.own += other.late.own;
        self.late.taken += other.late.taken;
        histogram::merge(&mut self.lateness, &other.lateness);
        histogram::merge(&mut self.rates, &other.rates);
        self.own_gaps.merge(&other.own_gaps);
        self.taken_gaps.merge(&other.taken_gaps);
        self.silences.merge(&other.silences);
        self.times.merge(&other.times);
        self.busiest_permille = self.busiest_permille.max(other.busiest_permille);
        self.clean = match (self.clean.take(), other.clean) {
            (Some(mut own), Some(other)) => {
                own.merge(other);
                Some(own)
            }
            (own, other) => own.or(other),
        };
    }

    /// The share of its own time in which a thread neither slept nor spun, in parts of a thousand.
    pub(crate) fn busy_permille(&self) -> u64 {
        let (gaps, waiting) = (self.taken_gaps.total_ns, self.times.waiting);
        let own = self.times.wall.saturating_sub(gaps.max(waiting));
        // Waiting for the CPU outside of gaps was waiting behind a sleep, and part of it.
        let asleep = self
            .times
            .asleep
            .saturating_sub(waiting.saturating_sub(gaps));
        let busy = own.saturating_sub(asleep + self.times.spun);
        busy * 1_000 / own.max(1)
    }

    /// Fills in the corrected latencies of a closed loop.
    pub(crate) fn correct(&mut self, connections: u32) {
        let each = self.answers / u64::from(connections.max(1));
        if let Some(interval) = self.elapsed_ns.checked_div(each) {
            self.latencies.correct(interval);
        } else {
            self.latencies.corrected = self.latencies.actual.clone();
        }
    }

    /// Answers a second.
    pub(crate) fn rate(&self) -> f64 {
        per_second(self.answers, self.elapsed_ns)
    }
}

/// A count over a time, by the second.
pub(crate) fn per_second(count: u64, ns: u64) -> f64 {
    count as f64 * 1e9 / ns.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_count_and_name() {
        let mut errors = Errors::default();
        for (count, (kind, _)) in (1..).zip(KINDS) {
            (0..count).for_each(|_| errors.add(kind));
        }
        for (count, (kind, name)) in (1..).zip(KINDS) {
            assert_eq!(errors.of(kind), count, "{name}");
        }
        assert_eq!(errors.sum(), 28);
    }

    #[test]
    fn a_thread_is_busy_when_it_neither_sleeps_nor_spins() {
        let busy = |wall, asleep, spun, waiting, taken| {
            let mut tally = Tally::new();
            tally.times = Times {
                wall,
                asleep,
                spun,
                waiting,
                ..Times::default()
            };
            tally.taken_gaps.total_ns = taken;
            tally.busy_permille()
        };
        assert_eq!(busy(1_000, 0, 0, 0, 0), 1_000);
        assert_eq!(busy(1_000, 300, 200, 0, 0), 500);
        // A hypervisor took half, unseen by the kernel.
        assert_eq!(busy(1_000, 0, 250, 0, 500), 500);
        // Another thread did: 100 in gaps, 400 at the end of sleeps.
        assert_eq!(busy(1_000, 650, 0, 500, 100), 500);
        assert_eq!(busy(0, 0, 0, 0, 0), 0);
    }

    #[test]
    fn threads_add_up_and_their_times_do_not() {
        let one = || {
            let mut tally = Tally::new();
            (tally.threads, tally.elapsed_ns, tally.answers) = (1, 2_000_000_000, 10);
            tally.latencies.record(5, 4);
            tally
        };
        let mut all = Tally::new();
        all.merge(one());
        all.merge(one());
        assert_eq!(
            (all.threads, all.answers, all.elapsed_ns),
            (2, 20, 2_000_000_000)
        );
        assert!((all.rate() - 10.0).abs() < 1e-9);
        assert_eq!(all.latencies.corrected.len(), 2);
    }
}
