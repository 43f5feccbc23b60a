//! Clean windows: 5 ms in which, and in the 2 ms before which, no gap was suffered. An answer belongs to the window in
//! which it came, so a fast one lies in a clean stretch from its beginning to its end.

use super::histogram::Latencies;

/// Nanoseconds of a window.
pub(crate) const WINDOW_NS: u64 = 5_000_000;
/// A gap spoils what begins within this time behind it.
const SETTLE_NS: u64 = 2_000_000;

/// The windows of one thread, in nanoseconds after the start. Looks, gaps and answers come in order of time.
#[derive(Debug)]
pub(crate) struct Windows {
    /// The window that is open.
    index: u64,
    /// Windows that are judged: all whole ones before the end.
    count: u64,
    spoilt: bool,
    /// Everything that begins before this is spoilt.
    spoilt_until: u64,
    /// The open window's answers, as (corrected, actual).
    open: Vec<(u64, u64)>,
    clean: u64,
    latencies: Latencies,
}

/// What the windows came to.
#[derive(Clone, Debug)]
pub(crate) struct Clean {
    pub(crate) windows: u64,
    pub(crate) of: u64,
    pub(crate) latencies: Latencies,
}

impl Windows {
    /// For a run of this length.
    pub(crate) fn new(length_ns: u64) -> Self {
        Self {
            index: 0,
            count: length_ns / WINDOW_NS,
            spoilt: false,
            spoilt_until: 0,
            open: Vec::new(),
            clean: 0,
            latencies: Latencies::new(),
        }
    }

    /// The run ends here already.
    pub(crate) fn cut(&mut self, length_ns: u64) {
        self.count = self.count.min(length_ns / WINDOW_NS);
    }

    /// Time has come to `at`; `gap_from` when there was a gap from then on. Comes before the answers seen at `at`.
    #[inline]
    pub(crate) fn look(&mut self, at: u64, gap_from: Option<u64>) {
        if let Some(from) = gap_from {
            self.spoil(from, at);
        }
        if at / WINDOW_NS > self.index {
            self.advance(at / WINDOW_NS);
        }
    }

    /// An answer came at the last look.
    #[inline]
    pub(crate) fn answer(&mut self, corrected: u64, actual: u64) {
        if !self.spoilt && self.index < self.count {
            self.open.push((corrected, actual));
        }
    }

    /// The run is over.
    pub(crate) fn finish(mut self) -> Clean {
        self.advance(self.count.max(self.index));
        Clean {
            windows: self.clean,
            of: self.count,
            latencies: self.latencies,
        }
    }

    fn spoil(&mut self, from: u64, until: u64) {
        // The open window may lie before the gap as a whole.
        self.advance(from / WINDOW_NS);
        self.spoilt = true;
        self.spoilt_until = self.spoilt_until.max(until + SETTLE_NS);
    }

    #[cold]
    fn advance(&mut self, to: u64) {
        while self.index < to {
            if !self.spoilt && self.index < self.count {
                self.clean += 1;
                for (corrected, actual) in &self.open {
                    self.latencies.record(*corrected, *actual);
                }
            }
            self.open.clear();
            self.index += 1;
            self.spoilt = self.index * WINDOW_NS < self.spoilt_until;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn counts(clean: &Clean) -> (u64, u64, u64) {
        (clean.windows, clean.of, clean.latencies.actual.len())
    }

    #[test]
    fn without_gaps_every_whole_window_is_clean() {
        let mut windows = Windows::new(23 * MS);
        for ms in 0..23 {
            windows.look(ms * MS, None);
            windows.answer(2, 1);
        }
        assert_eq!(counts(&windows.finish()), (4, 4, 20));
        assert_eq!(counts(&Windows::new(10 * MS).finish()), (2, 2, 0));
    }

    #[test]
    fn a_gap_spoils_its_windows_and_what_begins_within_two_milliseconds() {
        for (from, at, clean) in [
            // Inside of the second window.
            (6, 7, 9),
            // At its end: the third begins within two milliseconds.
            (8, 9, 8),
            // Across three.
            (8, 16, 7),
            // Over exactly two milliseconds before the third begins.
            (7, 8, 9),
        ] {
            let mut windows = Windows::new(50 * MS);
            windows.look(from * MS, None);
            windows.answer(1, 1);
            windows.look(at * MS, Some(from * MS));
            windows.answer(2, 2);
            assert_eq!(counts(&windows.finish()), (clean, 10, 0), "{from} to {at}");
        }
    }

    #[test]
    fn a_gap_spares_the_windows_before_it() {
        let mut windows = Windows::new(50 * MS);
        windows.look(MS, None);
        windows.answer(1, 1);
        windows.look(12 * MS, Some(11 * MS));
        assert_eq!(counts(&windows.finish()), (9, 10, 1));
    }

    #[test]
    fn what_comes_after_the_end_is_not_in_a_window() {
        let mut windows = Windows::new(10 * MS);
        windows.look(12 * MS, None);
        windows.answer(1, 1);
        windows.look(30 * MS, Some(20 * MS));
        assert_eq!(counts(&windows.finish()), (2, 2, 0));
    }
}
