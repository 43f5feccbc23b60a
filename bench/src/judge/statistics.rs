//! How sure a difference is. Figures are compared as logarithms of ratios: 5 % more and 5 % less weigh the same, and noise
//! that multiplies, as a neighbour's does, becomes noise that adds.
//!
//! The middle is the mean without the lowest and the highest fifth, and its interval a symmetric bootstrap-t on that mean's
//! winsorised error (Yuen 1974; Wilcox, Introduction to Robust Estimation, §4.4): a few stalled runs move neither, and the
//! share of intervals that miss the truth stays near the nominal one from ten figures on, which intervals from the
//! percentiles of resampled medians do not.

/// What is cut off at each end.
const TRIMMED: f64 = 0.2;
/// The 0.2 % beyond the widest interval in use are still 20 of them.
const RESAMPLES: usize = 10_000;

/// A middle and what it may as well be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Interval {
    pub(crate) low: f64,
    pub(crate) middle: f64,
    pub(crate) high: f64,
}

impl Interval {
    fn new(middle: f64, reach: f64) -> Interval {
        Interval {
            low: middle - reach,
            middle,
            high: middle + reach,
        }
    }

    /// From logarithms to ratios.
    pub(crate) fn exp(self) -> Interval {
        Interval {
            low: self.low.exp(),
            middle: self.middle.exp(),
            high: self.high.exp(),
        }
    }
}

/// Pseudo-random numbers: SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Below `bound`, which is at least 1. Biased by less than 2^-40 for the bounds in use.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let wide = u128::from(self.next()) * bound as u128;
        usize::try_from(wide >> 64).unwrap_or(0)
    }
}

/// The trimmed mean and its standard error.
#[derive(Clone, Copy)]
struct Estimate {
    mean: f64,
    error: f64,
}

impl Estimate {
    /// Reorders the values, of which there is at least one.
    fn of(values: &mut [f64]) -> Estimate {
        let count = values.len();
        let cut = (count as f64 * TRIMMED) as usize;
        let first = *values.select_nth_unstable_by(cut, f64::total_cmp).1;
        values[cut..].select_nth_unstable_by(count - 2 * cut - 1, f64::total_cmp);
        let kept = &values[cut..count - cut];
        let mean = kept.iter().sum::<f64>() / kept.len() as f64;
        let ends = cut as f64;
        let last = kept[kept.len() - 1];
        let winsorised = (kept.iter().sum::<f64>() + ends * (first + last)) / count as f64;
        let square = |value: f64| (value - winsorised).powi(2);
        let squares =
            kept.iter().copied().map(square).sum::<f64>() + ends * (square(first) + square(last));
        // One value tells nothing of its error.
        let variance = squares / (count as f64 - 1.0).max(1.0);
        let kept_share = kept.len() as f64 / count as f64;
        Estimate {
            mean,
            error: (variance / count as f64).sqrt() / kept_share,
        }
    }
}

/// Draws samples from a sample, always the same ones.
pub(crate) struct Bootstrap {
    random: Random,
    resamples: usize,
}

impl Bootstrap {
    pub(crate) fn new() -> Bootstrap {
        Bootstrap {
            random: Random(1),
            resamples: RESAMPLES,
        }
    }

    /// The middle of `differences` and its interval of confidence `level`; `None` of fewer than three.
    pub(crate) fn paired(&mut self, differences: &[f64], level: f64) -> Option<Interval> {
        self.compared(differences, &[], level)
    }

    /// How far the middle of `these` lies above the middle of `those`, where nothing pairs them; `None` where either are
    /// fewer than three.
    pub(crate) fn unpaired(
        &mut self,
        these: &[f64],
        those: &[f64],
        level: f64,
    ) -> Option<Interval> {
        if those.len() < 3 {
            return None;
        }
        self.compared(these, those, level)
    }

    /// Where `those` are empty, they count as an exact zero.
    fn compared(&mut self, these: &[f64], those: &[f64], level: f64) -> Option<Interval> {
        let mut values = these.iter().chain(those);
        if these.len() < 3 || !values.all(|value| value.is_finite()) {
            return None;
        }
        let mut room = (these.to_vec(), those.to_vec());
        let (middle, error) = difference(&mut room.0, &mut room.1);
        if error == 0.0 {
            return Some(Interval::new(middle, 0.0));
        }
        let mut distances: Vec<f64> = (0..self.resamples)
            .map(|_| {
                resample(these, &mut room.0, &mut self.random);
                resample(those, &mut room.1, &mut self.random);
                let (resampled, error) = difference(&mut room.0, &mut room.1);
                distance(resampled - middle, error)
            })
            .collect();
        distances.sort_unstable_by(f64::total_cmp);
        let at = (level * self.resamples as f64).ceil() as usize;
        let reach = distances[at.clamp(1, self.resamples) - 1] * error;
        Some(Interval::new(middle, reach))
    }
}

fn difference(these: &mut [f64], those: &mut [f64]) -> (f64, f64) {
    let one = Estimate::of(these);
    if those.is_empty() {
        return (one.mean, one.error);
    }
    let other = Estimate::of(those);
    (one.mean - other.mean, one.error.hypot(other.error))
}

/// In errors, without a sign. A resample of equal values has no error and lies as far away as can be, unless it is right.
fn distance(from: f64, error: f64) -> f64 {
    match (from == 0.0, error == 0.0) {
        (true, _) => 0.0,
        (false, true) => f64::INFINITY,
        (false, false) => (from / error).abs(),
    }
}

fn resample(values: &[f64], into: &mut [f64], random: &mut Random) {
    for slot in into {
        *slot = values[random.below(values.len())];
    }
}

/// The middle value; of an even number the mean of the two. `None` of none.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    match sorted.len() % 2 {
        1 => Some(upper),
        _ => Some((sorted[sorted.len() / 2 - 1] + upper) / 2.0),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    impl Bootstrap {
        /// One in less of a hurry to be exact.
        pub(crate) fn with(resamples: usize) -> Bootstrap {
            Bootstrap {
                resamples,
                ..Bootstrap::new()
            }
        }
    }

    impl Random {
        /// Between 0 and 1, neither of them.
        fn part(&mut self) -> f64 {
            ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
        }

        /// A standard normal deviate (Box and Muller 1958).
        pub(crate) fn normal(&mut self) -> f64 {
            (-2.0 * self.part().ln()).sqrt() * (std::f64::consts::TAU * self.part()).cos()
        }
    }

    /// Noise of standard deviation 1, but for its tails.
    #[derive(Clone, Copy, Debug)]
    enum Noise {
        Normal,
        /// Student's t with three degrees of freedom.
        Heavy,
        /// One in ten is eight times as far away.
        Stalls,
        /// One in ten is a stall, and stalls only make slower.
        Lopsided,
    }

    impl Noise {
        fn draw(self, random: &mut Random) -> f64 {
            let normal = random.normal();
            let stalled = random.below(10) == 0;
            match self {
                Noise::Heavy => {
                    let chi: f64 = (0..3).map(|_| random.normal().powi(2)).sum();
                    normal / (chi / 3.0).sqrt()
                }
                Noise::Stalls if stalled => 8.0 * normal,
                Noise::Lopsided if stalled => 8.0 * normal.abs(),
                _ => normal,
            }
        }

        /// The difference of two runs' logarithms.
        fn pair(self, random: &mut Random) -> f64 {
            self.draw(random) - self.draw(random)
        }
    }

    const ALL: [Noise; 4] = [Noise::Normal, Noise::Heavy, Noise::Stalls, Noise::Lopsided];

    /// The share of 400 intervals that miss the truth, which is zero; the share's own deviation is 1.1 %.
    fn missed(draw: impl Fn(&mut Bootstrap, &mut Random) -> Option<Interval>) -> f64 {
        let mut random = Random(7);
        let mut bootstrap = Bootstrap::with(1_000);
        let missed = (0..400).filter(|_| {
            let interval = draw(&mut bootstrap, &mut random).unwrap();
            interval.low > 0.0 || interval.high < 0.0
        });
        missed.count() as f64 / 400.0
    }

    #[test]
    fn intervals_of_pairs_miss_the_truth_as_seldom_as_they_say() {
        for noise in ALL {
            for count in [10, 20, 50] {
                let missed = missed(|bootstrap, random| {
                    let pairs: Vec<f64> = (0..count).map(|_| noise.pair(random)).collect();
                    bootstrap.paired(&pairs, 0.95)
                });
                assert!(missed < 0.085, "{noise:?}, {count} pairs: {missed}");
            }
        }
    }

    #[test]
    fn so_do_intervals_of_runs_that_nothing_pairs() {
        for noise in ALL {
            let missed = missed(|bootstrap, random| {
                let mut runs = || -> Vec<f64> { (0..10).map(|_| noise.draw(random)).collect() };
                bootstrap.unpaired(&runs(), &runs(), 0.95)
            });
            assert!(missed < 0.085, "{noise:?}: {missed}");
        }
    }

    #[test]
    fn a_difference_is_found_where_it_is() {
        let mut random = Random(3);
        let pairs: Vec<f64> = (0..50)
            .map(|_| 1.05_f64.ln() + 0.02 * random.normal())
            .collect();
        let interval = Bootstrap::new().paired(&pairs, 0.95).unwrap().exp();
        assert!((interval.middle - 1.05).abs() < 0.01, "{interval:?}");
        assert!(interval.low > 1.03 && interval.high < 1.07, "{interval:?}");
    }

    #[test]
    fn what_has_no_spread_has_no_interval_to_speak_of() {
        let equal = [0.5; 10];
        let mut bootstrap = Bootstrap::new();
        let interval = bootstrap.paired(&equal, 0.95).unwrap();
        assert_eq!((interval.low, interval.high), (0.5, 0.5));
        assert_eq!(
            bootstrap.unpaired(&equal, &equal, 0.95).unwrap().middle,
            0.0
        );
        assert_eq!(bootstrap.paired(&[0.1, 0.2], 0.95), None);
        assert_eq!(bootstrap.paired(&[0.1, 0.2, f64::NAN], 0.95), None);
        // Resamples may be all of one value.
        let pair = bootstrap.paired(&[0.0, 0.0, 1.0], 0.95).unwrap();
        assert!(pair.low <= 0.0 && pair.high >= 1.0, "{pair:?}");
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }
}
