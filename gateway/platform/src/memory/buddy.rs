//! A buddy allocator of numbers: it hands out ranges of units and never sees the bytes behind them, so that it is plain
//! safe code with an oracle to test against, and its bookkeeping never shares a page with what it manages.
//!
//! Free blocks of an order are the set bits of one [`Bits`], lowest address first: two bits a unit in all. A range need
//! not be a power of two: what a block has beyond the wish goes back at once, in smaller blocks.

use super::bits::Bits;

/// Orders of blocks: 2^0 to 2^12 units, with 256-byte units 256 B to 1 MiB.
pub(super) const ORDERS: usize = 13;

/// Free and taken units of one arena.
pub(super) struct Buddy {
    free: [Bits; ORDERS],
    units: usize,
    free_units: usize,
}

impl Buddy {
    /// All of `units` free.
    pub(super) fn new(units: usize) -> Self {
        let mut buddy = Self {
            free: std::array::from_fn(|order| Bits::new((units >> order) + 1)),
            units,
            free_units: 0,
        };
        buddy.give(0, units);
        buddy
    }

    /// Takes `count` adjoining units and returns the first, or `None` when no block is large enough.
    pub(super) fn take(&mut self, count: usize) -> Option<usize> {
        let order = order_of(count)?;
        let (from, start) = self.smallest(order)?;
        self.remove(from, start);
        for half in (order..from).rev() {
            self.insert(half, start + (1 << half));
        }
        self.give(start + count, (1 << order) - count);
        Some(start)
    }

    /// Gives back `count` units from `start` on: any part of what was taken, in any pieces.
    pub(super) fn give(&mut self, mut start: usize, mut count: usize) {
        debug_assert!(start + count <= self.units);
        while count > 0 {
            let aligned = start.trailing_zeros() as usize;
            let order = aligned.min(count.ilog2() as usize).min(ORDERS - 1);
            self.coalesce(start, order);
            start += 1 << order;
            count -= 1 << order;
        }
    }

    /// Units that are not taken.
    pub(super) fn free_units(&self) -> usize {
        self.free_units
    }

    /// Bytes of bookkeeping.
    pub(super) fn overhead_bytes(&self) -> usize {
        self.free.iter().map(Bits::bytes).sum()
    }

    fn smallest(&self, least: usize) -> Option<(usize, usize)> {
        (least..ORDERS).find_map(|order| Some((order, self.free[order].first()? << order)))
    }

    /// Puts a block back, joined with its buddy for as long as that is free too.
    fn coalesce(&mut self, mut start: usize, mut order: usize) {
        while order < ORDERS - 1 {
            let buddy = start ^ (1 << order);
            if !self.free[order].holds(buddy >> order) {
                break;
            }
            self.remove(order, buddy);
            start &= !(1 << order);
            order += 1;
        }
        self.insert(order, start);
    }

    fn insert(&mut self, order: usize, start: usize) {
        debug_assert!(
            !self.free[order].holds(start >> order),
            "a block came back twice"
        );
        self.free[order].insert(start >> order);
        self.free_units += 1 << order;
    }

    fn remove(&mut self, order: usize, start: usize) {
        self.free[order].remove(start >> order);
        self.free_units -= 1 << order;
    }
}

/// The order of the smallest block that holds `count` units.
fn order_of(count: usize) -> Option<usize> {
    let order = count.checked_next_power_of_two()?.trailing_zeros() as usize;
    (count > 0 && order < ORDERS).then_some(order)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UNITS: usize = (3 << 12) + 77;

    #[derive(Clone, Debug)]
    enum Step {
        Take(usize),
        Give(usize),
        Trim(usize, usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (1_usize..=4096).prop_map(Step::Take),
            (1_usize..=8).prop_map(Step::Take),
            any::<usize>().prop_map(Step::Give),
            (any::<usize>(), any::<usize>()).prop_map(|(a, b)| Step::Trim(a, b)),
        ]
    }

    /// The oracle: one flag a unit.
    fn mark(oracle: &mut [bool], start: usize, count: usize, taken: bool) {
        for unit in &mut oracle[start..start + count] {
            assert_ne!(*unit, taken, "a unit was handed out or came back twice");
            *unit = taken;
        }
    }

    proptest! {
        #[test]
        fn ranges_never_overlap_and_all_units_come_back_whole(steps in prop::collection::vec(step(), 1..300)) {
            let mut buddy = Buddy::new(UNITS);
            let mut oracle = vec![false; UNITS];
            let mut held: Vec<(usize, usize)> = Vec::new();
            for step in steps {
                match step {
                    Step::Take(count) => {
                        if let Some(start) = buddy.take(count) {
                            mark(&mut oracle, start, count, true);
                            held.push((start, count));
                        }
                    }
                    Step::Give(pick) if !held.is_empty() => {
                        let (start, count) = held.swap_remove(pick % held.len());
                        mark(&mut oracle, start, count, false);
                        buddy.give(start, count);
                    }
                    Step::Trim(pick, keep) if !held.is_empty() => {
                        let at = pick % held.len();
                        let (start, count) = held[at];
                        let keep = 1 + keep % count;
                        mark(&mut oracle, start + keep, count - keep, false);
                        buddy.give(start + keep, count - keep);
                        held[at].1 = keep;
                    }
                    Step::Give(_) | Step::Trim(..) => {}
                }
                prop_assert_eq!(buddy.free_units(), oracle.iter().filter(|taken| !**taken).count());
            }
            for (start, count) in held {
                buddy.give(start, count);
            }
            prop_assert_eq!(buddy.free_units(), UNITS);
            for block in 0..3 {
                prop_assert_eq!(buddy.take(1 << 12), Some(block << 12), "free blocks did not join");
            }
            for (count, at) in [(64, 0), (8, 64), (4, 72), (1, 76)] {
                prop_assert_eq!(buddy.take(count), Some((3 << 12) + at));
            }
            prop_assert_eq!(buddy.take(1), None);
        }
    }

    #[test]
    fn nothing_and_too_much_are_refused() {
        let mut buddy = Buddy::new(2 << 12);
        assert_eq!(buddy.take(0), None);
        assert_eq!(buddy.take((1 << 12) + 1), None);
        assert_eq!(buddy.take(usize::MAX), None);
        assert_eq!(buddy.free_units(), 2 << 12);
    }

    #[test]
    fn a_trimmed_tail_is_there_for_others() {
        let mut buddy = Buddy::new(1 << 12);
        assert_eq!(buddy.take(1 << 12), Some(0));
        assert_eq!(buddy.take(1), None);
        buddy.give(5, (1 << 12) - 5);
        assert_eq!(buddy.take(1 << 11), Some(1 << 11));
        assert_eq!(buddy.take(3), Some(8));
        assert_eq!(buddy.take(3), Some(12));
        assert_eq!(buddy.take(1), Some(5));
    }
}
