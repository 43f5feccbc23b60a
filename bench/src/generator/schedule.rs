//! When requests are due: a pure function of rate, spacing and seed. Nothing is queued: a backlog is the distance between
//! the next due time and now.

use super::random::Random;

/// The spacing of due times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrivals {
    /// The same time between any two.
    Constant,
    /// Exponentially distributed times between them, from this seed.
    Poisson(u64),
}

/// The due times of one thread, in nanoseconds after the start.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    next_ns: u64,
    end_ns: u64,
    step: Step,
}

#[derive(Clone, Debug)]
enum Step {
    /// `whole` and `part / rate` nanoseconds; `carry` of the parts is not in `next_ns` yet.
    Constant {
        whole: u64,
        part: u64,
        rate: u64,
        carry: u64,
    },
    /// The exact time, and the mean time to the next.
    Poisson {
        at_ns: f64,
        mean_ns: f64,
        random: Random,
    },
}

impl Schedule {
    /// Thread `thread` of `threads`, which send `rate` requests a second together, until `end_ns`.
    pub(crate) fn new(
        arrivals: Arrivals,
        rate: u64,
        (thread, threads): (u32, u32),
        end_ns: u64,
    ) -> Self {
        let (rate, threads) = (rate.max(1), u64::from(threads.max(1)));
        let interval = 1_000_000_000 * threads;
        let offset = 1_000_000_000 * u64::from(thread);
        let mut schedule = match arrivals {
            Arrivals::Constant => Self {
                next_ns: offset / rate,
                end_ns,
                step: Step::Constant {
                    whole: interval / rate,
                    part: interval % rate,
                    rate,
                    carry: offset % rate,
                },
            },
            Arrivals::Poisson(seed) => Self {
                next_ns: 0,
                end_ns,
                step: Step::Poisson {
                    at_ns: 0.0,
                    mean_ns: interval as f64 / rate as f64,
                    random: Random::new(seed ^ (u64::from(thread) << 32)),
                },
            },
        };
        if let Arrivals::Poisson(_) = arrivals {
            schedule.advance();
        }
        schedule
    }

    /// When the next request is due; `None` once the time is over.
    #[inline]
    pub(crate) fn next(&self) -> Option<u64> {
        (self.next_ns < self.end_ns).then_some(self.next_ns)
    }

    /// Requests that are still due: of Poisson arrivals their expected count.
    pub(crate) fn left(&self) -> u64 {
        let span = self.end_ns.saturating_sub(self.next_ns);
        if span == 0 {
            return 0;
        }
        match &self.step {
            Step::Constant {
                whole,
                part,
                rate,
                carry,
            } => {
                // Request k from here is due by the largest integer up to (carry + k * step) / rate after the next.
                let step = u128::from(*whole) * u128::from(*rate) + u128::from(*part);
                let bound = u128::from(span) * u128::from(*rate) - u128::from(*carry);
                u64::try_from(bound.div_ceil(step.max(1))).unwrap_or(u64::MAX)
            }
            Step::Poisson { mean_ns, .. } => 1 + (span as f64 / mean_ns) as u64,
        }
    }

    /// Nothing is due from `end_ns` on.
    pub(crate) fn cut(&mut self, end_ns: u64) {
        self.end_ns = self.end_ns.min(end_ns);
    }

    /// The next request was sent, or given up.
    #[inline]
    pub(crate) fn advance(&mut self) {
        match &mut self.step {
            Step::Constant {
                whole,
                part,
                rate,
                carry,
            } => {
                *carry += *part;
                let full = u64::from(*carry >= *rate);
                *carry -= full * *rate;
                self.next_ns += *whole + full;
            }
            Step::Poisson {
                at_ns,
                mean_ns,
                random,
            } => {
                *at_ns -= random.unit().ln() * *mean_ns;
                self.next_ns = *at_ns as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn times(mut schedule: Schedule) -> Vec<u64> {
        std::iter::from_fn(|| {
            let next = schedule.next();
            schedule.advance();
            next
        })
        .collect()
    }

    #[test]
    fn a_constant_rate_is_exact_whatever_it_is() {
        for rate in [1, 3, 7, 1_000, 99_991, 2_000_000] {
            let times = times(Schedule::new(Arrivals::Constant, rate, (0, 1), SECOND));
            assert_eq!(times.len() as u64, rate);
            for (index, time) in times.iter().enumerate() {
                let exact = index as u128 * u128::from(SECOND) / u128::from(rate);
                assert_eq!(u128::from(*time), exact, "{index} of {rate}");
            }
        }
    }

    #[test]
    fn what_is_left_is_what_comes() {
        for rate in [1, 3, 7, 999, 1_000, 99_991] {
            let mut schedule = Schedule::new(Arrivals::Constant, rate, (1, 3), SECOND);
            let mut left = times(schedule.clone()).len() as u64;
            while schedule.next().is_some() {
                assert_eq!(schedule.left(), left, "of {rate}");
                schedule.advance();
                left -= 1;
            }
            assert_eq!((schedule.left(), left), (0, 0));
        }
        let schedule = Schedule::new(Arrivals::Poisson(3), 10_000, (0, 1), 10 * SECOND);
        let (left, come) = (schedule.left(), times(schedule).len() as u64);
        assert!(left.abs_diff(come) < 2_000, "{left} {come}");
    }

    #[test]
    fn threads_share_a_rate_without_sending_at_once() {
        let rate = 1_003;
        let mut all: Vec<u64> = (0..4)
            .flat_map(|thread| times(Schedule::new(Arrivals::Constant, rate, (thread, 4), SECOND)))
            .collect();
        all.sort_unstable();
        assert_eq!(
            all,
            times(Schedule::new(Arrivals::Constant, rate, (0, 1), SECOND))
        );
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_spread() {
        let times = times(Schedule::new(
            Arrivals::Poisson(1),
            100_000,
            (0, 1),
            10 * SECOND,
        ));
        let gaps: Vec<f64> = times
            .windows(2)
            .map(|two| (two[1] - two[0]) as f64)
            .collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean - 10_000.0).abs() < 100.0, "{mean}");
        // The deviation of an exponential distribution is its mean; a share of 1/e is longer than it.
        assert!(
            (variance.sqrt() / mean - 1.0).abs() < 0.02,
            "{}",
            variance.sqrt()
        );
        let longer = gaps.iter().filter(|gap| **gap > mean).count() as f64 / gaps.len() as f64;
        assert!((longer - (-1.0_f64).exp()).abs() < 0.01, "{longer}");
    }

    #[test]
    fn a_seed_gives_the_same_times_and_threads_differ() {
        let poisson = |seed, thread| {
            times(Schedule::new(
                Arrivals::Poisson(seed),
                1_000,
                (thread, 2),
                SECOND,
            ))
        };
        assert_eq!(poisson(7, 0), poisson(7, 0));
        assert_ne!(poisson(7, 0), poisson(8, 0));
        assert_ne!(poisson(7, 0), poisson(7, 1));
    }
}
