//! Zipf's popularity: the key of rank k is asked for with a weight of k to the power of -s. Drawn by rejection-inversion
//! (Hörmann, Derflinger: Rejection-inversion to generate variates from monotone discrete distributions, 1996): no table,
//! and little more than one draw for each key.

use super::random::Random;

/// The distribution over the ranks 1 to `count`.
#[derive(Clone, Debug)]
pub(crate) struct Zipf {
    count: f64,
    exponent: f64,
    /// The integral below the first rank and up to the last.
    first: f64,
    last: f64,
    /// Ranks this close to the point that was drawn need no second look.
    near: f64,
}

impl Zipf {
    pub(crate) fn new(count: u64, exponent: f64) -> Self {
        let mut zipf = Self {
            count: count as f64,
            exponent,
            first: 0.0,
            last: 0.0,
            near: 0.0,
        };
        zipf.first = zipf.integral(1.5) - 1.0;
        zipf.last = zipf.integral(zipf.count + 0.5);
        zipf.near = 2.0 - zipf.inverse(zipf.integral(2.5) - zipf.weight(2.0));
        zipf
    }

    #[inline]
    pub(crate) fn draw(&self, random: &mut Random) -> u64 {
        loop {
            let point = self.last + random.unit() * (self.first - self.last);
            let at = self.inverse(point);
            let rank = (at + 0.5).floor().clamp(1.0, self.count);
            if rank - at <= self.near || point >= self.integral(rank + 0.5) - self.weight(rank) {
                return rank as u64;
            }
        }
    }

    fn weight(&self, x: f64) -> f64 {
        (-self.exponent * x.ln()).exp()
    }

    /// Of the weight, from 1 to `x`; exact around an exponent of 1 too.
    fn integral(&self, x: f64) -> f64 {
        let log = x.ln();
        let part = (1.0 - self.exponent) * log;
        let factor = match part.abs() {
            ..1e-8 => 1.0 + part / 2.0,
            _ => part.exp_m1() / part,
        };
        factor * log
    }

    fn inverse(&self, area: f64) -> f64 {
        let part = (area * (1.0 - self.exponent)).max(-1.0);
        let factor = match part.abs() {
            ..1e-8 => 1.0 - part / 2.0,
            _ => part.ln_1p() / part,
        };
        (factor * area).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_come_as_often_as_their_weight_says() {
        for exponent in [0.5, 0.99, 1.0, 1.2, 2.0] {
            let zipf = Zipf::new(1_000, exponent);
            let mut random = Random::new(3);
            let mut counts = [0_u32; 1_001];
            for _ in 0..200_000 {
                counts[zipf.draw(&mut random) as usize] += 1;
            }
            let weight = |rank: usize| (rank as f64).powf(-exponent);
            let all: f64 = (1..=1_000).map(weight).sum();
            for ranks in [1..2, 2..3, 3..10, 10..100, 100..1_001] {
                let seen: u32 = counts[ranks.clone()].iter().sum();
                let expected = ranks.clone().map(weight).sum::<f64>() / all * 200_000.0;
                let off = (f64::from(seen) - expected).abs();
                assert!(
                    off < 5.0 * expected.sqrt() + 1.0,
                    "{exponent} {ranks:?}: {seen}"
                );
            }
            assert_eq!(counts[0], 0);
        }
    }

    #[test]
    fn one_key_is_always_the_same() {
        let zipf = Zipf::new(1, 1.0);
        let mut random = Random::new(1);
        assert!((0..100).all(|_| zipf.draw(&mut random) == 1));
    }
}
