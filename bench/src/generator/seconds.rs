//! A run by the second: threads add up what they saw, and the one that waits for them makes the series of it.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::histogram;
use crate::record::Second;

/// Nanoseconds of one.
pub(crate) const SECOND_NS: u64 = 1_000_000_000;

/// What was seen of one second, by one thread or by several.
pub(crate) struct Seen {
    /// Corrected ones of an open loop, actual ones of a closed loop; two digits.
    pub(crate) latencies: Histogram<u32>,
    pub(crate) answers: u64,
    pub(crate) errors: u64,
    /// CPU time without what was spun in vain.
    pub(crate) worked_ns: u64,
}

impl Seen {
    pub(crate) fn new() -> Self {
        Self {
            latencies: histogram::coarse(),
            answers: 0,
            errors: 0,
            worked_ns: 0,
        }
    }

    /// Adds what another thread saw of the same second.
    pub(crate) fn merge(&mut self, other: &Self) {
        let added = self.latencies.add(&other.latencies);
        debug_assert!(added.is_ok(), "all have the same bounds");
        self.answers += other.answers;
        self.errors += other.errors;
        self.worked_ns += other.worked_ns;
    }
}

/// The series as it grows.
pub(crate) struct Series<'w> {
    pub(crate) seconds: Vec<Second>,
    /// Of a closed loop, whose latencies are corrected by what a connection's mean interval was.
    closed: Option<u32>,
    /// CPU time of the server since it was started, in microseconds; none where it is out of sight.
    watch: &'w dyn Fn() -> Option<u64>,
    /// What it was at the beginning, and when it was read last.
    begun: Option<u64>,
    read: (u64, Option<u64>),
    /// Seconds whose server time is known.
    watched: usize,
}

impl<'w> Series<'w> {
    pub(crate) fn new(closed: Option<u32>, watch: &'w dyn Fn() -> Option<u64>) -> Self {
        Self {
            seconds: Vec::new(),
            closed,
            watch,
            begun: None,
            read: (0, None),
            watched: 0,
        }
    }

    /// The run begins at `now`.
    pub(crate) fn begin(&mut self, now: u64) {
        self.begun = (self.watch)();
        self.read = (now, self.begun);
    }

    /// CPU time of the server from the beginning to the last look, in microseconds.
    pub(crate) fn server_cpu_us(&self) -> Option<u64> {
        let (begun, last) = self.begun.zip(self.read.1)?;
        Some(last.saturating_sub(begun))
    }

    /// Takes what was seen of seconds that are over. A thread that was late for its second adds to it, and of both 99th
    /// percentiles the larger one stays.
    pub(crate) fn take(&mut self, seen: BTreeMap<u64, Seen>, now: u64) {
        for (index, seen) in seen {
            let index = usize::try_from(index).unwrap_or(usize::MAX);
            if self.seconds.len() <= index {
                self.seconds.resize_with(index + 1, Second::default);
            }
            let p99_us = self.p99_us(&seen);
            if let Some(second) = self.seconds.get_mut(index) {
                second.requests += seen.answers;
                second.errors += seen.errors;
                second.generator_cpu += seen.worked_ns as f64 / SECOND_NS as f64;
                second.p99_us = second.p99_us.max(p99_us);
            }
        }
        self.read_server(now);
    }

    fn read_server(&mut self, now: u64) {
        let cpu = (self.watch)();
        let (at, before) = std::mem::replace(&mut self.read, (now, cpu));
        let passed = now.saturating_sub(at).max(1) as f64 / 1e3;
        let share = before
            .zip(cpu)
            .map(|(before, cpu)| cpu.saturating_sub(before) as f64 / passed);
        for second in self.seconds.iter_mut().skip(self.watched) {
            second.server_cpu = share;
        }
        self.watched = self.seconds.len();
    }

    fn p99_us(&self, seen: &Seen) -> f64 {
        let each = self
            .closed
            .and_then(|connections| seen.answers.checked_div(u64::from(connections)));
        let ns = match each.and_then(|each| SECOND_NS.checked_div(each)) {
            Some(interval) => seen
                .latencies
                .clone_correct(interval)
                .value_at_quantile(0.99),
            None => seen.latencies.value_at_quantile(0.99),
        };
        ns as f64 / 1e3
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn seen(answers: u64, ns: u64) -> Seen {
        let mut seen = Seen::new();
        seen.answers = answers;
        seen.worked_ns = SECOND_NS / 4;
        (0..answers).for_each(|_| seen.latencies.saturating_record(ns));
        seen
    }

    #[test]
    fn seconds_come_in_order_and_late_threads_add_up() {
        let cpu = Cell::new(0);
        let watch = || Some(cpu.get());
        let mut series = Series::new(None, &watch);
        series.begin(0);
        cpu.set(500_000);
        series.take(BTreeMap::from([(0, seen(10, 1_000))]), SECOND_NS);
        cpu.set(600_000);
        let both = BTreeMap::from([(0, seen(5, 2_000)), (1, seen(7, 3_000))]);
        series.take(both, 2 * SECOND_NS);
        let [first, second] = &series.seconds[..] else {
            panic!("two seconds: {:?}", series.seconds)
        };
        assert_eq!((first.requests, second.requests), (15, 7));
        assert_eq!(
            (first.server_cpu, second.server_cpu),
            (Some(0.5), Some(0.1))
        );
        assert!((first.generator_cpu - 0.5).abs() < 1e-9);
        assert!((first.p99_us - 2.0).abs() < 0.1 && (second.p99_us - 3.0).abs() < 0.1);
    }

    #[test]
    fn a_second_without_answers_is_there() {
        let mut series = Series::new(Some(8), &|| None);
        series.begin(0);
        series.take(BTreeMap::from([(1, seen(1, 5))]), 2 * SECOND_NS);
        assert_eq!(series.seconds.len(), 2);
        assert_eq!(series.seconds[0], Second::default());
    }
}
