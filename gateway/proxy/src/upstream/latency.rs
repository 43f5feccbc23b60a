//! The latency of an endpoint as one shard sees it: a mean that jumps up with every peak and sinks slowly (peak EWMA).

use base::{Moment, Span};

/// In so long a peak sinks to a third.
const DECAY: Span = Span::from_secs(10);
/// What one that was never heard costs while it has not answered, in nanoseconds: tried once, then no more until it answers.
const UNHEARD_NS: f64 = 1e9;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Latency {
    ns: f64,
    at: Moment,
}

impl Latency {
    pub(crate) fn observe(&mut self, latency: Span, now: Moment) {
        let ns = latency.0 as f64;
        let kept = self.sunk(now);
        self.ns = if ns > kept {
            ns
        } else {
            let old = (-((now - self.at).0 as f64) / DECAY.0 as f64).exp();
            ns * (1.0 - old) + self.ns * old
        };
        self.at = now;
    }

    /// What a request that joins `busy` others costs, weighted.
    pub(crate) fn cost(&self, busy: u32, weight: u64, now: Moment) -> f64 {
        let before = f64::from(busy) * 1_000.0 / weight.max(1) as f64;
        match self.sunk(now) {
            ns if ns > 0.0 => ns * (1.0 + before),
            _ if busy > 0 => UNHEARD_NS * before,
            _ => 0.0,
        }
    }

    fn sunk(&self, now: Moment) -> f64 {
        self.ns * (-((now - self.at).0 as f64) / DECAY.0 as f64).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Span {
        Span::from_millis(ms)
    }

    #[test]
    fn a_peak_counts_at_once_and_sinks() {
        let mut latency = Latency::default();
        let start = Moment(1);
        assert_eq!(latency.cost(0, 1_000, start).to_bits(), 0f64.to_bits());
        latency.observe(ms(1), start);
        let calm = latency.cost(0, 1_000, start);
        latency.observe(ms(100), start);
        let peak = latency.cost(0, 1_000, start);
        assert!(peak > calm * 99.0);
        let mut now = start;
        for _ in 0..20 {
            now = now + Span::from_secs(1);
            latency.observe(ms(1), now);
        }
        assert!(latency.cost(0, 1_000, now) < peak / 5.0);
        assert!(latency.cost(0, 1_000, now) >= calm * 0.9);
    }

    #[test]
    fn work_under_way_costs_by_weight() {
        let mut latency = Latency::default();
        latency.observe(ms(1), Moment(1));
        let light = latency.cost(4, 1_000, Moment(1));
        let heavy = latency.cost(4, 4_000, Moment(1));
        assert!(light > heavy * 2.0);
        assert!(Latency::default().cost(1, 1_000, Moment(1)) > light);
    }
}
