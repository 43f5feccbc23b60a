//! How many requests may be sent again: a share of those that are sent, so that retries never become the outage.

use base::Moment;

/// So many a second are always allowed: a share of little traffic would be none.
const FLOOR_A_SECOND: u64 = 10;
/// Saved up at most: what is under way when an endpoint dies is sent again at once.
const SAVED_MAX: u64 = 1_000 * WHOLE;
/// At the start.
const SAVED_FIRST: u64 = 10 * WHOLE;
const WHOLE: u64 = 100_000;

/// A bucket of retries, in hundred-thousandths of one. Each request brings its share, each retry takes a whole one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    saved: u64,
    at: Moment,
}

impl Budget {
    pub(crate) fn new(now: Moment) -> Self {
        Self {
            saved: SAVED_FIRST,
            at: now,
        }
    }

    /// A request is sent for the first time; `percent` is the share of retries.
    pub(crate) fn sent(&mut self, percent: u32, now: Moment) {
        self.refill(now);
        let share = u64::from(percent) * (WHOLE / 100);
        self.saved = (self.saved + share).min(SAVED_MAX);
    }

    /// Whether one more retry is allowed; it is counted then.
    pub(crate) fn take(&mut self, now: Moment) -> bool {
        self.refill(now);
        let left = self.saved.checked_sub(WHOLE);
        self.saved = left.unwrap_or(self.saved);
        left.is_some()
    }

    fn refill(&mut self, now: Moment) {
        let ms = (now - self.at).0 / 1_000_000;
        self.at = Moment(self.at.0 + ms * 1_000_000);
        let earned = ms.saturating_mul(FLOOR_A_SECOND * WHOLE / 1_000);
        self.saved = self.saved.saturating_add(earned).min(SAVED_MAX);
    }
}

#[cfg(test)]
mod tests {
    use base::Span;

    use super::*;

    #[test]
    fn retries_are_a_share_of_requests_and_never_none() {
        let mut now = Moment(0);
        let mut budget = Budget::new(now);
        let mut again = 0;
        // A thousand requests a second for ten seconds, all of which fail.
        for _ in 0..10_000 {
            now = now + Span::from_millis(1);
            budget.sent(20, now);
            again += u32::from(budget.take(now));
        }
        assert!((2_000..2_200).contains(&again), "{again}");
        // One request a second.
        let mut few = 0;
        for _ in 0..100 {
            now = now + Span::from_secs(1);
            budget.sent(20, now);
            few += u32::from(budget.take(now));
        }
        assert_eq!(few, 100);
        while budget.take(now) {}
        assert!(!budget.take(now));
    }
}
