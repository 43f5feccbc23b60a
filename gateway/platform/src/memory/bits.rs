//! A set of small numbers that finds its least member in a handful of steps: words of 64 bits under summaries of words.

/// The set. Level 0 holds the members; bit `w` of level `n + 1` says that word `w` of level `n` is not empty.
pub(super) struct Bits {
    levels: Vec<Vec<u64>>,
}

impl Bits {
    /// An empty set for members below `bound`. Untouched words cost no resident memory.
    pub(super) fn new(bound: usize) -> Self {
        let mut levels = Vec::new();
        let mut words = bound.div_ceil(64).max(1);
        loop {
            levels.push(vec![0; words]);
            if words == 1 {
                return Self { levels };
            }
            words = words.div_ceil(64);
        }
    }

    pub(super) fn insert(&mut self, member: usize) {
        let mut at = member;
        for level in &mut self.levels {
            let word = &mut level[at / 64];
            let summarised = *word != 0;
            *word |= 1 << (at % 64);
            if summarised {
                return;
            }
            at /= 64;
        }
    }

    pub(super) fn remove(&mut self, member: usize) {
        let mut at = member;
        for level in &mut self.levels {
            let word = &mut level[at / 64];
            *word &= !(1 << (at % 64));
            if *word != 0 {
                return;
            }
            at /= 64;
        }
    }

    /// False for numbers beyond the bound.
    pub(super) fn holds(&self, member: usize) -> bool {
        let word = self.levels[0].get(member / 64).copied().unwrap_or(0);
        word >> (member % 64) & 1 == 1
    }

    /// The least member.
    pub(super) fn first(&self) -> Option<usize> {
        let mut at = 0;
        for level in self.levels.iter().rev() {
            let word = level[at];
            if word == 0 {
                return None;
            }
            at = at * 64 + word.trailing_zeros() as usize;
        }
        Some(at)
    }

    pub(super) fn bytes(&self) -> usize {
        self.levels.iter().map(|level| level.len() * 8).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_an_ordered_set(steps in prop::collection::vec((any::<bool>(), 0_usize..9000), 1..400)) {
            let mut bits = Bits::new(9000);
            let mut oracle = BTreeSet::new();
            for (insert, member) in steps {
                if insert {
                    bits.insert(member);
                    oracle.insert(member);
                } else {
                    bits.remove(member);
                    oracle.remove(&member);
                }
                prop_assert_eq!(bits.first(), oracle.first().copied());
                prop_assert_eq!(bits.holds(member), oracle.contains(&member));
            }
        }
    }

    #[test]
    fn numbers_beyond_the_bound_are_no_members() {
        assert!(!Bits::new(10).holds(1 << 40));
    }
}
