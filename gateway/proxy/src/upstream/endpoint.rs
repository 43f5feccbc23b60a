//! One endpoint: what checks and requests found, in atomics that every shard and the control plane read and write. Every
//! mark stands alone: a reader that sees one of two writes steers a request a moment too early or too late, no more.

use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

use base::{Moment, Span};

/// One request at a time may try an endpoint whose ejection is over, and another after so long.
const TRIAL: Span = Span::from_secs(1);
/// The ratio of failures is that of windows so long, longer where there are too few answers, and at most ten times that.
const WINDOW: Span = Span::from_secs(1);
const WINDOW_MAX: Span = Span::from_secs(10);
/// After so long without an ejection the next one is as short as the first.
const FORGIVEN: Span = Span::from_secs(60);

/// When an endpoint is left out for what requests met with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// Failures in a row; 0: never.
    pub failures: u32,
    /// Percent of failures in a window; 0: never.
    pub percent: u32,
    /// Answers a window must have to be judged.
    pub answers_min: u32,
    /// How many times the mean latency of the other endpoints' median its own may be; 0: any.
    pub latency_factor: u32,
    /// How long the first time; twice that the next.
    pub span: Span,
    /// How long at most.
    pub span_max: Span,
}

/// Whether requests go to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// They do.
    Usable,
    /// Checks failed.
    Down,
    /// Requests failed.
    Ejected,
    /// Its ejection is over: single requests find out.
    OnTrial,
}

/// An endpoint of an upstream.
#[derive(Debug)]
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    weight: AtomicU32,
    down: AtomicBool,
    /// Failures in a row.
    failures: AtomicU32,
    /// Until when it is left out; past: it is on trial; 0: neither.
    ejected_until: AtomicU64,
    /// Ejections since it was well for long.
    ejections: AtomicU32,
    /// Ejections ever.
    ejections_total: AtomicU64,
    /// When the next request may try it.
    next_trial: AtomicU64,
    /// Since when it is usable again; 0: it always was.
    recovered: AtomicU64,
    window: Window,
}

/// What a short time brought.
#[derive(Debug, Default)]
struct Window {
    since: AtomicU64,
    answers: AtomicU32,
    failures: AtomicU32,
    latency_us: AtomicU64,
    /// Mean latency of the window before, in microseconds; 0: not known.
    mean_us: AtomicU64,
}

impl Endpoint {
    /// A usable one; `now` is when it became one, 0 when it was there from the start.
    #[must_use]
    pub fn new(address: SocketAddr, now: Moment) -> Self {
        Self {
            address,
            weight: AtomicU32::new(1),
            down: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            ejections: AtomicU32::new(0),
            ejections_total: AtomicU64::new(0),
            next_trial: AtomicU64::new(0),
            recovered: AtomicU64::new(now.0),
            window: Window::default(),
        }
    }

    /// Its share beside the others'.
    #[must_use]
    pub fn weight(&self) -> u32 {
        self.weight.load(Relaxed)
    }

    pub(crate) fn set_weight(&self, weight: u32) {
        self.weight.store(weight.max(1), Relaxed);
    }

    /// What active checks say. One that comes up begins slowly, and what requests met with before is forgotten.
    pub fn set_down(&self, down: bool, now: Moment) {
        if self.down.swap(down, Relaxed) && !down {
            self.ejected_until.store(0, Relaxed);
            self.failures.store(0, Relaxed);
            self.recovered.store(now.0, Relaxed);
        }
    }

    /// Whether requests go to it.
    #[must_use]
    pub fn state(&self, now: Moment) -> State {
        if self.down.load(Relaxed) {
            return State::Down;
        }
        match self.ejected_until.load(Relaxed) {
            0 => State::Usable,
            until if Moment(until) > now => State::Ejected,
            _ => State::OnTrial,
        }
    }

    /// How often it was left out.
    #[must_use]
    pub fn ejections(&self) -> u64 {
        self.ejections_total.load(Relaxed)
    }

    /// Failures in a row.
    #[must_use]
    pub fn failures_in_a_row(&self) -> u32 {
        self.failures.load(Relaxed)
    }

    /// Takes the next trial, if there is one to be had.
    pub(crate) fn try_it(&self, now: Moment) -> bool {
        let next = self.next_trial.load(Relaxed);
        let after = (now + TRIAL).0;
        next <= now.0
            && self
                .next_trial
                .compare_exchange(next, after, Relaxed, Relaxed)
                .is_ok()
    }

    /// Weight in thousandths: of one that came back it grows from a tenth to all of it within `slow_start`.
    pub(crate) fn weight_at(&self, now: Moment, slow_start: Span) -> u64 {
        let whole = u64::from(self.weight()) * 1_000;
        let recovered = self.recovered.load(Relaxed);
        let since = (now - Moment(recovered)).0;
        if recovered == 0 || since >= slow_start.0 {
            return whole;
        }
        let grown = u128::from(whole) * u128::from(since) / u128::from(slow_start.0.max(1));
        (whole / 10).max(u64::try_from(grown).unwrap_or(whole))
    }

    /// It answered; true where that ended its ejection.
    pub(crate) fn answered(&self, latency: Span, now: Moment, rules: &Ejection) -> bool {
        self.window.answers.fetch_add(1, Relaxed);
        self.window.latency_us.fetch_add(latency.0 / 1_000, Relaxed);
        self.roll(now, rules);
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
        let until = self.ejected_until.load(Relaxed);
        if until != 0 && Moment(until) <= now {
            self.recovered.store(now.0, Relaxed);
            self.ejected_until.store(0, Relaxed);
            return true;
        }
        let well = now - Moment(self.recovered.load(Relaxed));
        if self.ejections.load(Relaxed) != 0 && until == 0 && well > FORGIVEN {
            self.ejections.store(0, Relaxed);
        }
        false
    }

    /// A request to it failed; true where it is left out for that.
    pub(crate) fn failed(&self, now: Moment, rules: &Ejection) -> bool {
        self.window.failures.fetch_add(1, Relaxed);
        let in_a_row = self.failures.fetch_add(1, Relaxed).saturating_add(1);
        let too_many = rules.failures != 0 && in_a_row >= rules.failures;
        let bad = too_many || self.window.is_bad(rules);
        self.roll(now, rules);
        let until = self.ejected_until.load(Relaxed);
        match until {
            0 if bad => self.eject(until, now, rules),
            0 => false,
            // What was under way when it was ejected says nothing new; a failed trial does.
            until if Moment(until) > now => false,
            until => self.eject(until, now, rules),
        }
    }

    /// Its latency stands out.
    pub(crate) fn too_slow(&self, now: Moment, rules: &Ejection) -> bool {
        let until = self.ejected_until.load(Relaxed);
        until == 0 && self.eject(until, now, rules)
    }

    fn eject(&self, seen: u64, now: Moment, rules: &Ejection) -> bool {
        let before = self.ejections.load(Relaxed);
        let span = rules.span.0.saturating_mul(1 << before.min(16));
        let until = now + Span(span.min(rules.span_max.0));
        let ejected = self
            .ejected_until
            .compare_exchange(seen, until.0.max(1), Relaxed, Relaxed)
            .is_ok();
        if ejected {
            self.ejections.store(before.saturating_add(1), Relaxed);
            self.ejections_total.fetch_add(1, Relaxed);
            self.failures.store(0, Relaxed);
            self.window.clear(now);
        }
        ejected
    }

    fn roll(&self, now: Moment, rules: &Ejection) {
        let since = self.window.since.load(Relaxed);
        let age = now - Moment(since);
        let all = self.window.answers.load(Relaxed) + self.window.failures.load(Relaxed);
        let over = age > WINDOW && (all >= rules.answers_min || age > WINDOW_MAX);
        if over {
            self.window.close(now, rules);
        }
    }

    /// Mean latency of the last window with enough answers, in microseconds; 0: not known.
    pub(crate) fn mean_us(&self) -> u64 {
        self.window.mean_us.load(Relaxed)
    }
}

impl Window {
    fn is_bad(&self, rules: &Ejection) -> bool {
        let failures = self.failures.load(Relaxed);
        let all = failures.saturating_add(self.answers.load(Relaxed));
        rules.percent != 0
            && all >= rules.answers_min
            && u64::from(failures) * 100 >= u64::from(all) * u64::from(rules.percent)
    }

    fn close(&self, now: Moment, rules: &Ejection) {
        let answers = self.answers.load(Relaxed);
        let mean = self.latency_us.load(Relaxed) / u64::from(answers.max(1));
        let known = answers >= rules.answers_min.max(1);
        self.mean_us
            .store(if known { mean.max(1) } else { 0 }, Relaxed);
        self.clear(now);
    }

    fn clear(&self, now: Moment) {
        self.since.store(now.0, Relaxed);
        self.answers.store(0, Relaxed);
        self.failures.store(0, Relaxed);
        self.latency_us.store(0, Relaxed);
    }
}

impl Default for Ejection {
    fn default() -> Self {
        Self {
            failures: 5,
            percent: 50,
            answers_min: 20,
            latency_factor: 0,
            span: Span::from_secs(1),
            span_max: Span::from_secs(4),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATENCY: Span = Span::from_millis(1);

    fn endpoint() -> Endpoint {
        Endpoint::new(SocketAddr::from(([127, 0, 0, 1], 1)), Moment(0))
    }

    fn at(ms: u64) -> Moment {
        Moment(1_000_000_000_000 + ms * 1_000_000)
    }

    #[test]
    fn failures_in_a_row_eject_and_one_success_on_trial_brings_it_back() {
        let (it, rules) = (endpoint(), Ejection::default());
        for ms in 0..4 {
            assert!(!it.failed(at(ms), &rules));
        }
        assert!(!it.answered(LATENCY, at(4), &rules));
        for ms in 5..9 {
            assert!(!it.failed(at(ms), &rules));
        }
        assert!(it.failed(at(9), &rules));
        assert_eq!(it.state(at(9)), State::Ejected);
        // What was under way then.
        assert!(!it.failed(at(10), &rules));
        assert!(!it.answered(LATENCY, at(11), &rules));
        assert_eq!(it.state(at(1_008)), State::Ejected);
        assert_eq!(it.state(at(1_009)), State::OnTrial);
        assert!(it.try_it(at(1_009)));
        assert!(!it.try_it(at(1_010)));
        assert!(it.failed(at(1_011), &rules));
        assert_eq!(it.state(at(3_010)), State::Ejected);
        assert_eq!(it.state(at(3_011)), State::OnTrial);
        assert!(it.try_it(at(3_011)));
        assert!(it.answered(LATENCY, at(3_012), &rules));
        assert_eq!(it.state(at(3_012)), State::Usable);
        assert_eq!(it.ejections(), 2);
    }

    #[test]
    fn ejections_grow_to_a_bound_and_are_forgiven() {
        let (it, rules) = (endpoint(), Ejection::default());
        let mut now = at(0);
        let mut spans = Vec::new();
        for _ in 0..5 {
            while !it.failed(now, &rules) {}
            let until = it.ejected_until.load(Relaxed);
            spans.push((Moment(until) - now).as_secs());
            now = Moment(until);
        }
        assert_eq!(spans, [1, 2, 4, 4, 4]);
        assert!(it.answered(LATENCY, now, &rules));
        now = now + Span::from_secs(61);
        assert!(!it.answered(LATENCY, now, &rules));
        while !it.failed(now, &rules) {}
        let until = it.ejected_until.load(Relaxed);
        assert_eq!(Moment(until) - now, rules.span);
    }

    #[test]
    fn a_ratio_ejects_where_no_row_does() {
        let (it, rules) = (endpoint(), Ejection::default());
        let ejected = (0..40).any(|ms| {
            it.answered(LATENCY, at(ms), &rules);
            it.failed(at(ms), &rules)
        });
        assert!(ejected);
        let (it, mut now) = (endpoint(), 0);
        let quarter = (0..400).any(|_| {
            now += 1;
            for _ in 0..3 {
                it.answered(LATENCY, at(now), &rules);
            }
            it.failed(at(now), &rules)
        });
        assert!(!quarter);
    }

    #[test]
    fn one_that_comes_back_gets_its_weight_back_slowly() {
        let (it, slow) = (endpoint(), Span::from_secs(10));
        it.set_weight(3);
        assert_eq!(it.weight_at(at(0), slow), 3_000);
        it.set_down(true, at(0));
        assert_eq!(it.state(at(1)), State::Down);
        it.set_down(false, at(1_000));
        let weights = [1_000, 2_000, 6_000, 11_000].map(|ms| it.weight_at(at(ms), slow));
        assert_eq!(weights, [300, 300, 1_500, 3_000]);
        assert_eq!(it.weight_at(at(1_000), Span::ZERO), 3_000);
    }
}
