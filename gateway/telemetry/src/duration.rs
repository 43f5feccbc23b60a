//! The bucket histograms behind `http_request_duration_seconds`, one row for every touched pair of route and cache label.

use std::fmt;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

use base::Span;
use base::limits::DURATION_SERIES_MAX;

use crate::buckets::{self, BucketCells};
use crate::edges::{CELLS, cell_of};
use crate::{CacheLabel, Counter};

/// What one row counts.
pub(crate) type Buckets = buckets::Buckets<CELLS>;

/// One row. One writer.
#[derive(Debug)]
pub(crate) struct Row(BucketCells<CELLS>);

/// Twenty routes take 315 KiB a shard; at the bound it is 463 KiB.
const ROWS_MAX: usize = CacheLabel::COUNT + DURATION_SERIES_MAX;
const _: () = assert!(ROWS_MAX * size_of::<Row>() <= 512 << 10);

/// All rows of a shard. A row is taken at the first touch; when all are taken, further pairs share one row for each
/// cache label, which is exported with the route `other`.
pub(crate) struct Durations {
    /// The row of each pair, 0 when untouched: the first [`CacheLabel::COUNT`] rows are the shared ones.
    index: Box<[AtomicU16]>,
    rows: Box<[Row]>,
    taken: AtomicU16,
    /// Requests that went into a shared row.
    pub(crate) folded: Counter,
}

impl Durations {
    /// Rows for so many routes (the built-in ones included), bounded by [`DURATION_SERIES_MAX`].
    pub(crate) fn new(routes: usize) -> Self {
        let pairs = routes * CacheLabel::COUNT;
        let rows = ROWS_MAX.min(CacheLabel::COUNT + pairs);
        Self {
            index: (0..pairs).map(|_| AtomicU16::new(0)).collect(),
            rows: (0..rows).map(|_| Row::new()).collect(),
            taken: AtomicU16::new(CacheLabel::COUNT as u16),
            folded: Counter::default(),
        }
    }

    /// The row of a pair, taken if there is one; else its label's shared one, and `false`. The owning shard only.
    pub(crate) fn row(&self, route: usize, cache: CacheLabel) -> (u16, bool) {
        let pair = route * CacheLabel::COUNT + cache as usize;
        let row = match self.index.get(pair).map_or(0, |row| row.load(Relaxed)) {
            0 => self.take(pair, cache),
            row => row,
        };
        (row, usize::from(row) >= CacheLabel::COUNT)
    }

    /// Records requests of one duration in a row.
    #[inline]
    pub(crate) fn record_in(&self, row: u16, duration: Span, count: u64) {
        if let Some(row) = self.rows.get(usize::from(row)) {
            row.record_alike(duration, count);
        }
    }

    /// All durations together.
    pub(crate) fn sum(&self) -> Span {
        let taken = usize::from(self.taken.load(Relaxed));
        let rows = self.rows.iter().take(taken);
        Span(rows.fold(0, |sum, row| sum.wrapping_add(row.0.sum().0)))
    }

    /// Hands every touched pair to `each`; route `None` is `other`.
    pub(crate) fn read(&self, mut each: impl FnMut(Option<usize>, CacheLabel, &Row)) {
        for (cache, row) in CacheLabel::ALL.iter().zip(&self.rows) {
            each(None, *cache, row);
        }
        for (pair, row) in self.index.iter().enumerate() {
            let row = usize::from(row.load(Relaxed));
            let cache = CacheLabel::ALL.get(pair % CacheLabel::COUNT);
            if let (1.., Some(row), Some(cache)) = (row, self.rows.get(row), cache) {
                each(Some(pair / CacheLabel::COUNT), *cache, row);
            }
        }
    }

    /// The row of a pair seen for the first time.
    #[cold]
    fn take(&self, pair: usize, cache: CacheLabel) -> u16 {
        let row = self.taken.load(Relaxed);
        let Some(place) = self
            .index
            .get(pair)
            .filter(|_| usize::from(row) < self.rows.len())
        else {
            return cache as u16;
        };
        self.taken.store(row + 1, Relaxed);
        place.store(row, Relaxed);
        row
    }
}

impl fmt::Debug for Durations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Durations")
            .field("rows_taken", &self.taken)
            .finish_non_exhaustive()
    }
}

impl Row {
    pub(crate) fn new() -> Self {
        Self(BucketCells::new())
    }

    #[inline]
    pub(crate) fn record(&self, duration: Span) {
        self.record_alike(duration, 1);
    }

    /// Records requests of one duration.
    #[inline]
    fn record_alike(&self, duration: Span, count: u64) {
        let sum = Span(duration.0.wrapping_mul(count));
        self.0.add(cell_of(duration.0), count, sum);
    }

    pub(crate) fn read(&self) -> Buckets {
        self.0.read()
    }

    pub(crate) fn merge_into(&self, all: &mut Buckets) {
        self.0.merge_into(all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(durations: &Durations, route: usize, cache: CacheLabel) {
        let (row, is_own) = durations.row(route, cache);
        durations.record_in(row, Span(1), 1);
        durations.folded.add(u64::from(!is_own));
    }

    #[test]
    fn pairs_beyond_the_rows_share_the_row_other() {
        let durations = Durations::new(1_000);
        for route in 0..1_000 {
            count(&durations, route, CacheLabel::Miss);
        }
        count(&durations, 5_000, CacheLabel::Hit);
        let (mut own, mut shared) = (0, 0);
        durations.read(|route, _, row| match route {
            Some(_) => own += row.read().count(),
            None => shared += row.read().count(),
        });
        assert_eq!(own, DURATION_SERIES_MAX as u64);
        assert_eq!(shared, 1_001 - own);
        assert_eq!(durations.folded.read(), shared);
    }
}
