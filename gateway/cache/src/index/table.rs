//! From hash to slot.

use crate::KeyHash;

/// Entries of the largest map: its table of twice as many places is numbered by 32 bits.
pub(super) const ENTRIES_MAX: usize = 1 << 30;

/// From tag to slot: open addressing at half load at most, a tag's home being its low bits. Removal closes the gap, so
/// there are no tombstones, and with them no rehash in the middle of a turn.
pub(super) struct Table {
    /// Tag in the high half, slot + 1 in the low one; zero is an empty place.
    places: Box<[u64]>,
    mask: u32,
}

impl Table {
    /// An empty table for `capacity` slots.
    pub(super) fn new(capacity: usize) -> Self {
        let count = (2 * capacity).next_power_of_two();
        Self {
            places: vec![0; count].into(),
            mask: (count - 1) as u32,
        }
    }

    /// The slot under a hash that `is` the one meant.
    #[inline]
    pub(super) fn find(&self, hash: KeyHash, is: impl Fn(u32) -> bool) -> Option<u32> {
        self.at(tag(hash), is).map(|(_, slot)| slot)
    }

    /// Where the slot of a tag stands, and the slot.
    #[inline]
    fn at(&self, tag: u32, is: impl Fn(u32) -> bool) -> Option<(u32, u32)> {
        let mut at = tag & self.mask;
        loop {
            let word = self.places[at as usize];
            if word == 0 {
                return None;
            }
            let slot = (word as u32).wrapping_sub(1);
            if (word >> 32) as u32 == tag && is(slot) {
                return Some((at, slot));
            }
            at = (at + 1) & self.mask;
        }
    }

    /// Puts a slot in, which must not be in.
    pub(super) fn insert(&mut self, hash: KeyHash, slot: u32) {
        let tag = tag(hash);
        let mut at = tag & self.mask;
        while self.places[at as usize] != 0 {
            at = (at + 1) & self.mask;
        }
        self.places[at as usize] = u64::from(tag) << 32 | u64::from(slot + 1);
    }

    /// Takes a slot out and closes the gap.
    pub(super) fn remove(&mut self, hash: KeyHash, slot: u32) {
        let Some((mut gap, _)) = self.at(tag(hash), |found| found == slot) else {
            return;
        };
        let mut at = gap;
        loop {
            at = (at + 1) & self.mask;
            let word = self.places[at as usize];
            if word == 0 {
                break;
            }
            // What stands behind the gap may move into it if that is not before its home.
            let home = (word >> 32) as u32 & self.mask;
            let from_home = at.wrapping_sub(home) & self.mask;
            let from_gap = at.wrapping_sub(gap) & self.mask;
            if from_home >= from_gap {
                self.places[gap as usize] = word;
                gap = at;
            }
        }
        self.places[gap as usize] = 0;
    }
}

/// What the table keeps of a hash.
#[inline]
fn tag(hash: KeyHash) -> u32 {
    hash.place() as u32
}
