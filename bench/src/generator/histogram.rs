//! Latencies in nanoseconds, as HDR histograms of three digits.

use hdrhistogram::Histogram;

/// Longer is recorded as this: no time-out is that long.
const LATENCY_NS_MAX: u64 = 4_000_000_000_000;
/// Significant digits.
const DIGITS: u8 = 3;

/// An empty histogram of times in nanoseconds.
pub(crate) fn of_times() -> Histogram<u64> {
    let Ok(histogram) = Histogram::new_with_bounds(1, LATENCY_NS_MAX, DIGITS) else {
        unreachable!("the bounds are constants")
    };
    histogram
}

/// An empty histogram of counts.
pub(crate) fn of_counts() -> Histogram<u64> {
    of_times()
}

/// An empty histogram of times, of two digits: small enough to be made and merged in passing.
pub(crate) fn coarse() -> Histogram<u32> {
    let Ok(histogram) = Histogram::new_with_bounds(1, LATENCY_NS_MAX, DIGITS - 1) else {
        unreachable!("the bounds are constants")
    };
    histogram
}

/// Adds what another histogram of this module holds.
pub(crate) fn merge(into: &mut Histogram<u64>, other: &Histogram<u64>) {
    let added = into.add(other);
    debug_assert!(added.is_ok(), "all histograms have the same bounds");
}

/// Latencies from the time a request was due, and from the time it was sent.
#[derive(Clone, Debug)]
pub(crate) struct Latencies {
    /// From the intended send.
    pub(crate) corrected: Histogram<u64>,
    /// From the actual one.
    pub(crate) actual: Histogram<u64>,
}

impl Latencies {
    pub(crate) fn new() -> Self {
        Self {
            corrected: of_times(),
            actual: of_times(),
        }
    }

    #[inline]
    pub(crate) fn record(&mut self, corrected_ns: u64, actual_ns: u64) {
        self.corrected.saturating_record(corrected_ns);
        self.actual.saturating_record(actual_ns);
    }

    /// Corrects what a closed loop saw as wrk does: a connection would have sent once in every `interval_ns`, and an answer
    /// that took longer stands for those it held up.
    pub(crate) fn correct(&mut self, interval_ns: u64) {
        self.corrected = self.actual.clone_correct(interval_ns);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        merge(&mut self.corrected, &other.corrected);
        merge(&mut self.actual, &other.actual);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_from_a_nanosecond_to_the_longest_time() {
        let mut latencies = Latencies::new();
        for ns in [1, 1_234, 5_678_901, 2_000_000_000, u64::MAX] {
            latencies.record(ns, ns);
        }
        let values: Vec<u64> = latencies
            .corrected
            .iter_recorded()
            .map(|value| value.value_iterated_to())
            .collect();
        for (value, ns) in values
            .iter()
            .zip([1, 1_234, 5_678_901, 2_000_000_000, LATENCY_NS_MAX])
        {
            assert!(value.abs_diff(ns) * 1_000 <= ns, "{value} for {ns}");
        }
        latencies.correct(500_000_000);
        assert!(latencies.corrected.len() > 5 && latencies.actual.len() == 5);
        let mut both = latencies.clone();
        both.merge(&latencies);
        assert_eq!(both.actual.len(), 10);
    }
}
