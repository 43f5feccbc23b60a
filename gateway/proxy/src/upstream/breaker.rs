//! Whether an upstream is asked at all: while nearly everything fails, asking more makes clients wait for nothing and keeps
//! the origin down.

use base::{Moment, Span};

/// The ratio is that of the last so long, in two halves.
const HALF: Span = Span::from_secs(5);

/// When an upstream is not asked any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerRules {
    /// Percent of failures; 0: never.
    pub percent: u32,
    /// Requests there must be for that.
    pub requests_min: u32,
    /// How long nobody asks; twice that the next time.
    pub span: Span,
    /// How long at most.
    pub span_max: Span,
}

impl Default for BreakerRules {
    fn default() -> Self {
        Self {
            percent: 90,
            requests_min: 20,
            span: Span::from_secs(1),
            span_max: Span::from_secs(4),
        }
    }
}

/// The breaker of one upstream on one shard.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    /// This half's successes and failures, and the half's before.
    counts: [[u32; 2]; 2],
    since: Moment,
    open: Option<Open>,
    /// Times it opened since it was well.
    opened: u32,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    until: Moment,
    /// When the next request may find out.
    next_trial: Moment,
}

impl Breaker {
    /// Whether a request may be sent now; else how long it is better not.
    pub(crate) fn admit(&mut self, now: Moment) -> Result<(), Span> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        if now < open.until {
            return Err(open.until - now);
        }
        if now < open.next_trial {
            return Err(open.next_trial - now);
        }
        // One request finds out; should nobody hear of it, the next one in a second.
        open.next_trial = now + Span::from_secs(1);
        Ok(())
    }

    /// Whether it is open.
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// A request came to its end. True where that opens it.
    pub(crate) fn ended(&mut self, well: bool, now: Moment, rules: &BreakerRules) -> bool {
        if rules.percent == 0 {
            return false;
        }
        if let Some(open) = self.open {
            if now < open.until {
                return false;
            }
            if well {
                self.open = None;
                (self.counts, self.since) = (Default::default(), now);
            } else {
                self.trip(now, rules);
            }
            return false;
        }
        let [current, _] = self.halves(now);
        let count = if well {
            &mut current[0]
        } else {
            &mut current[1]
        };
        *count = count.saturating_add(1);
        let [[good, bad], [good_before, bad_before]] = self.counts;
        let (good, bad) = (u64::from(good + good_before), u64::from(bad + bad_before));
        let is_bad = good + bad >= u64::from(rules.requests_min)
            && bad * 100 >= (good + bad) * u64::from(rules.percent);
        if is_bad && !well {
            self.trip(now, rules);
        } else if well && good > u64::from(rules.requests_min) {
            self.opened = 0;
        }
        is_bad && !well
    }

    fn trip(&mut self, now: Moment, rules: &BreakerRules) {
        let span = rules.span.0.saturating_mul(1 << self.opened.min(16));
        let until = now + Span(span.min(rules.span_max.0));
        self.opened = self.opened.saturating_add(1);
        self.open = Some(Open {
            until,
            next_trial: until,
        });
    }

    fn halves(&mut self, now: Moment) -> &mut [[u32; 2]; 2] {
        let age = now - self.since;
        if age > HALF {
            let before = if age.0 > 2 * HALF.0 {
                [0; 2]
            } else {
                self.counts[0]
            };
            (self.counts, self.since) = ([[0; 2], before], now);
        }
        &mut self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment(1_000_000_000_000 + ms * 1_000_000)
    }

    #[test]
    fn it_opens_when_nearly_all_fails_and_closes_with_one_success() {
        let (mut breaker, rules) = (Breaker::default(), BreakerRules::default());
        for ms in 0..19 {
            assert!(!breaker.ended(false, at(ms), &rules));
        }
        assert!(breaker.admit(at(19)).is_ok());
        assert!(breaker.ended(false, at(19), &rules));
        assert_eq!(breaker.admit(at(519)), Err(Span::from_millis(500)));
        assert!(breaker.admit(at(1_019)).is_ok());
        assert!(breaker.admit(at(1_020)).is_err());
        breaker.ended(false, at(1_021), &rules);
        assert!(breaker.admit(at(3_020)).is_err());
        assert!(breaker.admit(at(3_021)).is_ok());
        breaker.ended(true, at(3_022), &rules);
        assert!(!breaker.is_open() && breaker.admit(at(3_023)).is_ok());
    }

    #[test]
    fn successes_keep_it_closed_and_old_failures_are_forgotten() {
        let (mut breaker, rules) = (Breaker::default(), BreakerRules::default());
        for ms in 0..1_000 {
            breaker.ended(ms % 5 == 0, at(ms), &rules);
        }
        assert!(!breaker.is_open());
        let mut breaker = Breaker::default();
        for ms in 0..19 {
            breaker.ended(false, at(ms), &rules);
        }
        breaker.ended(false, at(20_000), &rules);
        assert!(!breaker.is_open());
    }

    #[test]
    fn without_a_ratio_it_never_opens() {
        let mut breaker = Breaker::default();
        let rules = BreakerRules {
            percent: 0,
            ..BreakerRules::default()
        };
        assert!((0..1_000).all(|ms| !breaker.ended(false, at(ms), &rules)));
    }
}
