//! A log-linear histogram with one writer, readable at any time.
//!
//! Below 1,024 ns a cell is one nanosecond wide; above, every power of two is split into 512 cells. A value is reported
//! as the middle of its cell, so it is off by at most 1/1024 of itself (0.098 %): three significant digits. Durations
//! from 2^40 ns (18 minutes) on count in the last cell. Memory: 64 KiB.
//!
//! The cells are 32 bits wide and wrap: what happened between two readings is right as long as fewer than 2^32 values
//! fell into one cell meanwhile.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use base::Span;

/// Cells per power of two, as a power of two.
const SPLIT_BITS: u32 = 9;
const SPLIT: usize = 1 << SPLIT_BITS;
/// Values have at most so many bits; longer ones count as the longest.
const VALUE_BITS: u32 = 40;
const VALUE_MAX: u64 = (1 << VALUE_BITS) - 1;
/// Cells of a histogram; their indices fit 16 bits.
pub(crate) const CELLS: usize = (VALUE_BITS - SPLIT_BITS + 1) as usize * SPLIT;

const _: () = assert!(CELLS - 1 <= u16::MAX as usize);

/// Nanosecond durations. One writer, any number of readers.
pub struct Histogram {
    cells: Box<[AtomicU32]>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl Histogram {
    /// An empty histogram. Allocates all it will ever need.
    #[must_use]
    pub fn new() -> Self {
        Self {
            cells: (0..CELLS).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    /// Records one duration. The owning thread only.
    #[inline]
    pub fn record(&self, duration: Span) {
        self.record_alike(duration, 1);
    }

    /// Records `count` equal durations. The owning thread only.
    #[inline]
    pub(crate) fn record_alike(&self, duration: Span, count: u32) {
        if let Some(cell) = self.cells.get(cell_of(duration.0)) {
            cell.store(cell.load(Relaxed).wrapping_add(count), Relaxed);
        }
    }

    /// The cells as they stand.
    #[must_use]
    pub fn snapshot(&self) -> HistogramSnapshot {
        let mut snapshot = HistogramSnapshot::default();
        for (index, cell) in self.cells.iter().enumerate() {
            snapshot.add(index, u64::from(cell.load(Relaxed)));
        }
        snapshot
    }

    /// Adds the cells onto `sums`, wrapping like the cells do, so that sums over several writers wrap consistently too.
    pub(crate) fn sum_into(&self, sums: &mut [u32]) {
        for (cell, sum) in self.cells.iter().zip(sums) {
            *sum = sum.wrapping_add(cell.load(Relaxed));
        }
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histogram").finish_non_exhaustive()
    }
}

/// Counts by cell on the reading side: a copy of a histogram, or what happened within a window.
#[derive(Clone)]
pub struct HistogramSnapshot {
    counts: Box<[u64]>,
    count: u64,
}

impl Default for HistogramSnapshot {
    fn default() -> Self {
        Self {
            counts: vec![0; CELLS].into_boxed_slice(),
            count: 0,
        }
    }
}

impl HistogramSnapshot {
    /// Durations in it.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The smallest duration that at least the share `quantile` (0 to 1) of all durations do not exceed, within 0.1 %;
    /// `None` when there are none.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<Span> {
        let [value] = self.quantiles([quantile]);
        value
    }

    /// Several quantiles, in ascending order, in one pass.
    #[must_use]
    pub fn quantiles<const N: usize>(&self, ascending: [f64; N]) -> [Option<Span>; N] {
        let mut cells = self.counts.iter().enumerate();
        let (mut passed, mut value) = (0, None);
        ascending.map(|quantile| {
            let rank = self.rank(quantile)?;
            while passed < rank {
                let (index, count) = cells.next()?;
                passed += count;
                value = Some(Span(middle(index)));
            }
            value
        })
    }

    /// Counts `count` more in a cell.
    pub(crate) fn add(&mut self, cell: usize, count: u64) {
        if let Some(sum) = self.counts.get_mut(cell) {
            *sum += count;
            self.count += count;
        }
    }

    /// Takes back what [`add`](Self::add) counted.
    pub(crate) fn remove(&mut self, cell: usize, count: u64) {
        if let Some(sum) = self.counts.get_mut(cell) {
            *sum = sum.saturating_sub(count);
            self.count = self.count.saturating_sub(count);
        }
    }

    /// How many durations the quantile covers, at least one; `None` when there are none.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss
    )]
    fn rank(&self, quantile: f64) -> Option<u64> {
        let rank = (quantile.clamp(0.0, 1.0) * self.count as f64).ceil() as u64;
        (self.count > 0).then(|| rank.clamp(1, self.count))
    }
}

impl fmt::Debug for HistogramSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [median, most] = self.quantiles([0.5, 0.99]);
        f.debug_struct("HistogramSnapshot")
            .field("count", &self.count)
            .field("p50", &median)
            .field("p99", &most)
            .finish_non_exhaustive()
    }
}

/// The cell of a value: its `SPLIT_BITS + 1` leading bits, behind all cells of the shorter values.
#[inline]
fn cell_of(ns: u64) -> usize {
    let ns = ns.min(VALUE_MAX);
    let shift = (63 - SPLIT_BITS) - (ns | SPLIT as u64).leading_zeros();
    shift as usize * SPLIT + (ns >> shift) as usize
}

/// The middle of a cell.
fn middle(cell: usize) -> u64 {
    let shift = (cell / SPLIT).saturating_sub(1);
    let leading = (cell - shift * SPLIT) as u64;
    (leading << shift) + ((1 << shift) >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_value_is_reported_within_a_thousandth(ns in 0..=VALUE_MAX, bits in 0..VALUE_BITS) {
            let ns = ns >> bits;
            let reported = middle(cell_of(ns));
            prop_assert!(reported.abs_diff(ns) <= ns / 1024, "{ns} reported as {reported}");
        }

        #[test]
        fn quantiles_agree_with_a_sorted_list(mut values in prop::collection::vec(0u64..100_000_000, 1..300), q in 0.0f64..=1.0) {
            let histogram = Histogram::new();
            for value in &values {
                histogram.record(Span(*value));
            }
            values.sort_unstable();
            let rank = ((q * values.len() as f64).ceil() as usize).max(1);
            let expected = values[rank - 1];
            let found = histogram.snapshot().quantile(q).unwrap().0;
            prop_assert!(found.abs_diff(expected) <= expected / 1024);
        }
    }

    #[test]
    fn cells_are_in_the_order_of_their_values() {
        let mut last = 0;
        for cell in 1..CELLS {
            assert!(middle(cell) > last);
            assert_eq!(cell_of(middle(cell)), cell);
            last = middle(cell);
        }
        assert_eq!(cell_of(u64::MAX), CELLS - 1);
    }

    #[test]
    fn an_empty_histogram_has_no_quantile() {
        assert_eq!(Histogram::new().snapshot().quantile(0.5), None);
    }
}
