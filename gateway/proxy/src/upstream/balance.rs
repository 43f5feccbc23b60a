//! Which of the endpoints that may be asked is.

use base::Moment;

use super::pool::{Place, Slot};

/// How requests are spread over the endpoints of an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// Of two at random the one that is faster and has less to do (power of two choices, peak EWMA).
    #[default]
    PeakEwma,
    /// The one with the least requests under way for its weight.
    LeastOutstanding,
    /// In turn, by weight, interleaved.
    RoundRobin,
    /// The same one for the same key: weighted rendezvous hashing, so that only the share of one that is gone moves.
    Hash,
}

/// One that may be asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice {
    pub(crate) slot: Slot,
    /// In thousandths.
    pub(crate) weight: u64,
}

/// Chooses among `choices`; none where there are none. `hash` is that of what [`Balance::Hash`] goes by.
pub(crate) fn choose(
    balance: Balance,
    choices: &[Choice],
    places: &mut [Place],
    hash: u64,
    random: &mut u64,
    now: Moment,
) -> Option<Slot> {
    match (balance, choices) {
        (_, []) => None,
        (_, [only]) => Some(only.slot),
        (Balance::PeakEwma, _) => {
            let [one, two] = [drawn(choices, random)?, drawn(choices, random)?];
            let cost = |choice: Choice| {
                places.get(choice.slot.index()).map_or(f64::MAX, |place| {
                    place.latency.cost(place.busy, choice.weight, now)
                })
            };
            Some(if cost(two) < cost(one) { two } else { one }.slot)
        }
        (Balance::LeastOutstanding, _) => {
            let begin = usize::try_from(next(random) % choices.len() as u64).unwrap_or(0);
            let (after, before) = choices.split_at(begin);
            let load = |choice: &&Choice| {
                let busy = places
                    .get(choice.slot.index())
                    .map_or(u32::MAX, |place| place.busy);
                // One more than now, or an idle light one would be as good as an idle heavy one.
                (u64::from(busy) + 1) * 1_000_000 / choice.weight.max(1)
            };
            let least = before.iter().chain(after).rev().min_by_key(load)?;
            Some(least.slot)
        }
        (Balance::RoundRobin, _) => in_turn(choices, places),
        (Balance::Hash, _) => {
            let score = |choice: &&Choice| {
                let address = places.get(choice.slot.index())?.hash;
                // The logarithm of a number evenly spread over (0, 1], by weight.
                let even = ((mix(hash ^ address) >> 11) as f64 + 1.0) / (1u64 << 53) as f64;
                Some(even.ln() / choice.weight.max(1) as f64)
            };
            let best = choices.iter().max_by(|one, two| {
                score(one)
                    .unwrap_or(f64::MIN)
                    .total_cmp(&score(two).unwrap_or(f64::MIN))
            })?;
            Some(best.slot)
        }
    }
}

/// Smooth weighted round robin: everybody earns its weight, the richest is chosen and pays what all earned.
fn in_turn(choices: &[Choice], places: &mut [Place]) -> Option<Slot> {
    let mut sum = 0;
    let mut best: Option<(i64, Slot)> = None;
    for choice in choices {
        let weight = i64::try_from(choice.weight).unwrap_or(i64::MAX / 1_024);
        let place = places.get_mut(choice.slot.index())?;
        place.credit += weight;
        sum += weight;
        if best.is_none_or(|(credit, _)| place.credit > credit) {
            best = Some((place.credit, choice.slot));
        }
    }
    let (_, slot) = best?;
    places.get_mut(slot.index())?.credit -= sum;
    Some(slot)
}

/// One at random, by weight.
fn drawn(choices: &[Choice], random: &mut u64) -> Option<Choice> {
    let all: u64 = choices.iter().map(|choice| choice.weight).sum();
    let mut at = next(random) % all.max(1);
    for choice in choices {
        match at.checked_sub(choice.weight) {
            Some(rest) => at = rest,
            None => return Some(*choice),
        }
    }
    choices.last().copied()
}

/// The next number of a sequence (SplitMix64).
pub(crate) fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mix(*state)
}

/// A bijection of 64 bits that spreads a counter (the finaliser of SplitMix64).
pub(crate) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use base::Span;

    use super::*;
    use crate::upstream::endpoint::Endpoint;

    const NOW: Moment = Moment(1_000_000_000);

    struct Stage {
        places: Vec<Place>,
        choices: Vec<Choice>,
        random: u64,
    }

    impl Stage {
        fn of(weights: &[u64]) -> Self {
            let place = |port| {
                let address = SocketAddr::from(([127, 0, 0, 1], port));
                Place::new(Arc::new(Endpoint::new(address, Moment(0))))
            };
            let slots = (0u16..).zip(weights);
            Self {
                places: (1..).map(place).take(weights.len()).collect(),
                choices: slots
                    .map(|(slot, weight)| Choice {
                        slot: Slot(slot),
                        weight: weight * 1_000,
                    })
                    .collect(),
                random: 1,
            }
        }

        fn choose(&mut self, balance: Balance, hash: u64) -> usize {
            let random = &mut self.random;
            let chosen = choose(balance, &self.choices, &mut self.places, hash, random, NOW);
            chosen.expect("one").index()
        }

        /// How often each of the first three is chosen by a thousand requests that are over at once.
        fn shares(&mut self, balance: Balance) -> [u32; 3] {
            let mut shares = [0; 3];
            for hash in 0..1_000 {
                shares[self.choose(balance, mix(hash))] += 1;
            }
            shares
        }
    }

    #[test]
    fn turns_are_interleaved_by_weight() {
        let mut stage = Stage::of(&[5, 1, 1]);
        let turns: Vec<_> = (0..7)
            .map(|_| stage.choose(Balance::RoundRobin, 0))
            .collect();
        assert_eq!(turns, [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn the_least_busy_for_its_weight_is_chosen() {
        let mut stage = Stage::of(&[1, 2, 1]);
        for (place, busy) in stage.places.iter_mut().zip([3, 5, 4]) {
            place.busy = busy;
        }
        assert_eq!(stage.choose(Balance::LeastOutstanding, 0), 1);
        stage.places[1].busy = 9;
        assert_eq!(stage.choose(Balance::LeastOutstanding, 0), 0);
        let mut even = Stage::of(&[1, 1, 1]);
        let shares = even.shares(Balance::LeastOutstanding);
        assert!(shares.iter().all(|share| *share > 200), "{shares:?}");
    }

    #[test]
    fn of_two_the_faster_is_chosen_and_nobody_is_forgotten() {
        let mut stage = Stage::of(&[1, 1, 1]);
        for (place, ms) in stage.places.iter_mut().zip([1, 1, 50]) {
            place.latency.observe(Span::from_millis(ms), NOW);
        }
        let [one, two, slow] = stage.shares(Balance::PeakEwma);
        assert!(
            one.min(two) > 350 && slow > 50 && slow < 200,
            "{one} {two} {slow}"
        );
    }

    #[test]
    fn of_equals_the_heavier_is_chosen_more_often() {
        let mut stage = Stage::of(&[1, 3, 1]);
        for place in &mut stage.places {
            place.latency.observe(Span::from_millis(1), NOW);
        }
        let [one, heavy, other] = stage.shares(Balance::PeakEwma);
        assert!(heavy > 500 && heavy < 700 && one > 120 && other > 120);
    }

    #[test]
    fn a_key_keeps_its_endpoint_when_another_goes() {
        let mut stage = Stage::of(&[1, 1, 2]);
        let shares = stage.shares(Balance::Hash);
        assert!(
            shares[0].min(shares[1]) > 190 && shares[2] > 420,
            "{shares:?}"
        );
        let before: Vec<_> = (0..1_000)
            .map(|key| stage.choose(Balance::Hash, mix(key)))
            .collect();
        stage.choices.remove(1);
        for (key, was) in (0..).zip(before) {
            let is = stage.choose(Balance::Hash, mix(key));
            assert!(is == was || was == 1, "{key} moved from {was} to {is}");
        }
    }
}
