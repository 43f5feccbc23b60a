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
    clean: Clean,
    keeps: bool,
}

/// What the windows came to.
#[derive(Clone, Debug)]
pub(crate) struct Clean {
    pub(crate) windows: u64,
    pub(crate) of: u64,
    pub(crate) latencies: Latencies,
    /// First and last of clean windows in a row, in windows after the start.
    pub(crate) stretches: Vec<(u64, u64)>,
    /// Where they are kept: clean windows and their answers, as (corrected, actual).
    pub(crate) kept: Vec<(u64, Vec<(u64, u64)>)>,
}

impl Clean {
    pub(crate) fn new(of: u64) -> Self {
        Self {
            windows: 0,
            of,
            latencies: Latencies::new(),
            stretches: Vec::new(),
            kept: Vec::new(),
        }
    }

    fn add(&mut self, index: u64, answers: &[(u64, u64)]) {
        self.windows += 1;
        for (corrected, actual) in answers {
            self.latencies.record(*corrected, *actual);
        }
        match self.stretches.last_mut() {
            Some((_, last)) if *last + 1 == index => *last = index,
            _ => self.stretches.push((index, index)),
        }
    }

    /// The kept windows that are clean of these gaps, too: beginnings and ends in nanoseconds after the start, in order.
    pub(crate) fn without(&self, gaps: &[(u64, u64)]) -> Self {
        let mut clean = Self::new(self.of);
        for (index, answers) in &self.kept {
            let (begin, end) = (index * WINDOW_NS, (index + 1) * WINDOW_NS);
            let spoils = |(from, until): &(u64, u64)| *from < end && *until + SETTLE_NS > begin;
            if !gaps.iter().any(spoils) {
                clean.add(*index, answers);
            }
        }
        clean
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.windows += other.windows;
        self.of += other.of;
        self.latencies.merge(&other.latencies);
        self.stretches.extend(other.stretches);
        self.kept.extend(other.kept);
    }
}

impl Windows {
    /// For a run of this length; `keeps` what was answered in clean windows.
    pub(crate) fn new(length_ns: u64, keeps: bool) -> Self {
        let count = length_ns / WINDOW_NS;
        Self {
            index: 0,
            count,
            spoilt: false,
            spoilt_until: 0,
            open: Vec::new(),
            clean: Clean::new(count),
            keeps,
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
        self.clean.of = self.count;
        self.clean
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
                self.clean.add(self.index, &self.open);
                if self.keeps {
                    self.clean
                        .kept
                        .push((self.index, std::mem::take(&mut self.open)));
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
        let mut windows = Windows::new(23 * MS, false);
        for ms in 0..23 {
            windows.look(ms * MS, None);
            windows.answer(2, 1);
        }
        assert_eq!(counts(&windows.finish()), (4, 4, 20));
        assert_eq!(counts(&Windows::new(10 * MS, false).finish()), (2, 2, 0));
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
            let mut windows = Windows::new(50 * MS, false);
            windows.look(from * MS, None);
            windows.answer(1, 1);
            windows.look(at * MS, Some(from * MS));
            windows.answer(2, 2);
            assert_eq!(counts(&windows.finish()), (clean, 10, 0), "{from} to {at}");
        }
    }

    #[test]
    fn a_gap_spares_the_windows_before_it() {
        let mut windows = Windows::new(50 * MS, false);
        windows.look(MS, None);
        windows.answer(1, 1);
        windows.look(12 * MS, Some(11 * MS));
        assert_eq!(counts(&windows.finish()), (9, 10, 1));
    }

    #[test]
    fn what_comes_after_the_end_is_not_in_a_window() {
        let mut windows = Windows::new(10 * MS, false);
        windows.look(12 * MS, None);
        windows.answer(1, 1);
        windows.look(30 * MS, Some(20 * MS));
        assert_eq!(counts(&windows.finish()), (2, 2, 0));
    }

    #[test]
    fn gaps_of_the_other_side_spoil_kept_windows_alike() {
        let mut windows = Windows::new(50 * MS, true);
        for ms in 0..50 {
            windows.look(ms * MS, (ms == 21).then_some(20 * MS));
            windows.answer(ms, ms);
        }
        let clean = windows.finish();
        assert_eq!(
            (counts(&clean), &clean.stretches[..]),
            ((9, 10, 45), &[(0, 3), (5, 9)][..])
        );
        let both = clean
            .clone()
            .without(&[(6 * MS, 7 * MS), (43 * MS, 44 * MS)]);
        // The second, the ninth, and the last, which begins a millisecond behind a gap.
        assert_eq!(
            (counts(&both), &both.stretches[..]),
            ((6, 10, 30), &[(0, 0), (2, 3), (5, 7)][..])
        );
        assert_eq!(counts(&clean.without(&[])), counts(&clean));
    }
}
