//! Counts by bucket, and their cells.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use base::Span;

use crate::Counter;

/// One bucket histogram: counts by bucket (not cumulative) and the sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Buckets<const N: usize> {
    pub(crate) counts: [u64; N],
    pub(crate) sum: Span,
}

/// One bucket histogram's cells. One writer.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct BucketCells<const N: usize> {
    counts: [AtomicU64; N],
    sum_ns: Counter,
}

impl<const N: usize> Default for Buckets<N> {
    fn default() -> Self {
        Self {
            counts: [0; N],
            sum: Span::ZERO,
        }
    }
}

impl<const N: usize> Buckets<N> {
    /// Adds another's counts.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (sum, count) in self.counts.iter_mut().zip(other.counts) {
            *sum += count;
        }
        self.sum = Span(self.sum.0.wrapping_add(other.sum.0));
    }

    /// Durations in all buckets.
    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

impl<const N: usize> BucketCells<N> {
    pub(crate) fn new() -> Self {
        Self {
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
            sum_ns: Counter::default(),
        }
    }

    /// Adds `count` durations that lie in one bucket and take `sum` together. The owning shard only.
    #[inline]
    pub(crate) fn add(&self, bucket: usize, count: u64, sum: Span) {
        if let Some(cell) = self.counts.get(bucket) {
            cell.store(cell.load(Relaxed).wrapping_add(count), Relaxed);
        }
        self.sum_ns.add(sum.0);
    }

    pub(crate) fn sum(&self) -> Span {
        Span(self.sum_ns.read())
    }

    /// Adds the counts and the sum onto another's, in one pass: there are many cells of many shards.
    pub(crate) fn merge_into(&self, all: &mut Buckets<N>) {
        for (sum, count) in all.counts.iter_mut().zip(&self.counts) {
            *sum += count.load(Relaxed);
        }
        all.sum = Span(all.sum.0.wrapping_add(self.sum().0));
    }

    pub(crate) fn read(&self) -> Buckets<N> {
        Buckets {
            counts: self.counts.each_ref().map(|count| count.load(Relaxed)),
            sum: self.sum(),
        }
    }
}
