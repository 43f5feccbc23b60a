//! How many requests an upstream takes at once, found from its latency (a gradient, after Netflix's and Envoy's adaptive
//! concurrency): while answers are slower than they are with little to do the bound sinks, while they are not it grows. What
//! little to do means is found again and again by allowing only a part for a moment, or the bound would creep up with the queue
//! it makes.

use base::Span;

const FIRST: f64 = 20.0;
const LEAST: f64 = 2.0;
/// Answers slower than so many times the base make the bound sink.
const TOLERANCE: f64 = 1.5;
/// How much of a step is taken.
const SMOOTHING: f64 = 0.2;
/// Answers that a mean is made of.
const SAMPLE: u32 = 32;
/// Means between two looks at the base.
const EPOCH: u32 = 200;
/// Means that a look takes: the first is of what was under way before.
const LOOK: u32 = 2;
/// What of the bound is allowed meanwhile.
const LOOK_SHARE: f64 = 0.25;

/// A bound on requests under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Concurrency {
    limit: f64,
    /// Mean latency with little to do; 0: not known.
    base_ns: f64,
    sum_ns: f64,
    count: u32,
    /// The most under way while the mean was gathered.
    peak: u32,
    /// Means since the last look at the base began.
    means: u32,
}

impl Concurrency {
    pub(crate) fn new() -> Self {
        Self {
            limit: FIRST,
            base_ns: 0.0,
            sum_ns: 0.0,
            count: 0,
            peak: 0,
            means: 0,
        }
    }

    /// Requests that may be under way.
    pub(crate) fn limit(&self) -> usize {
        let limit = if self.means < LOOK {
            (self.limit * LOOK_SHARE).max(LEAST.min(self.limit))
        } else {
            self.limit
        };
        limit as usize
    }

    /// An answer's head came after `latency` with `busy` requests under way; `max` is the most the bound may become.
    pub(crate) fn observe(&mut self, latency: Span, busy: usize, max: usize) {
        self.sum_ns += latency.0 as f64;
        self.count += 1;
        self.peak = self.peak.max(u32::try_from(busy).unwrap_or(u32::MAX));
        if self.count < SAMPLE {
            return;
        }
        let mean = (self.sum_ns / f64::from(self.count)).max(1.0);
        let peak = f64::from(self.peak);
        (self.sum_ns, self.count, self.peak) = (0.0, 0, 0);
        self.means += 1;
        if self.means <= LOOK {
            if self.means == LOOK {
                self.base_ns = mean;
            }
            return;
        }
        if self.means >= EPOCH {
            self.means = 0;
        }
        self.base_ns = self.base_ns.min(mean);
        let gradient = (TOLERANCE * self.base_ns / mean).clamp(0.5, 1.0);
        if gradient >= 1.0 && peak * 2.0 < self.limit {
            return; // nothing is known of a bound that is not approached
        }
        let wanted = self.limit * gradient + self.limit.sqrt();
        let next = self.limit * (1.0 - SMOOTHING) + wanted * SMOOTHING;
        let most = u32::try_from(max).map_or(f64::MAX, f64::from);
        self.limit = next.clamp(LEAST.min(most), most.max(1.0));
    }

    /// A request timed out: there was too much.
    pub(crate) fn timed_out(&mut self) {
        self.limit = (self.limit * 0.9).max(LEAST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An origin that serves so many at once in 10 ms each; more wait.
    fn settle(capacity: usize, rounds: usize) -> usize {
        let mut bound = Concurrency::new();
        for _ in 0..rounds {
            let busy = bound.limit();
            let ms = 10 * busy.div_ceil(capacity) as u64;
            bound.observe(Span::from_millis(ms), busy, 1_024);
        }
        bound.limit()
    }

    #[test]
    fn the_bound_finds_what_the_origin_serves() {
        for capacity in [10, 100, 400] {
            let found = settle(capacity, 40_000);
            assert!(
                found > capacity / 2 && found < capacity * 3,
                "{capacity}: {found}"
            );
        }
    }

    #[test]
    fn it_does_not_grow_unasked_nor_beyond_the_pool() {
        let mut idle = Concurrency::new();
        for _ in 0..10_000 {
            idle.observe(Span::from_millis(1), 2, 1_024);
        }
        assert_eq!(idle.limit.to_bits(), FIRST.to_bits());
        let mut small = Concurrency::new();
        for _ in 0..10_000 {
            small.observe(Span::from_millis(1), small.limit(), 8);
        }
        assert_eq!(small.limit.to_bits(), 8f64.to_bits());
        for _ in 0..1_000 {
            small.timed_out();
        }
        assert_eq!(small.limit(), 2);
    }
}
