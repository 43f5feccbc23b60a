//! A bounded map from key hash to value that evicts by S3-FIFO (Yang et al., SOSP 2023): new entries queue in a small
//! FIFO, those asked for again move to the main one, and a ghost of what was evicted lets its return skip the trial.
//! The front of a shard and the stripes of the node-wide store are both made of it.
//!
//! Everything is allocated at construction, and no call does work in proportion to the number of entries: the table
//! has no tombstones and never rehashes, and one eviction looks at [`STEPS_MAX`] entries at most.

mod ghosts;
mod table;

use crate::KeyHash;
use ghosts::Ghosts;
use table::{ENTRIES_MAX, Table};

/// Entries that one eviction may pass over because they were asked for; then the next in line goes regardless.
const STEPS_MAX: u32 = 32;
/// Uses counted of an entry: more of them do not keep it longer.
const USES_MAX: u8 = 3;
/// Uses in the small queue that an entry needs to move to the main one.
const PROMOTION_USES: u8 = 2;
/// The small queue's share of the whole weight, as one part in so many.
const SMALL_SHARE: u64 = 10;

/// An entry's place in the slab; valid until that entry is removed or evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(u32);

/// The map.
pub(crate) struct Index<V> {
    table: Table,
    entries: Vec<Entry<V>>,
    capacity: usize,
    /// Unused entries, linked by `older`.
    free: u32,
    len: usize,
    small: Queue,
    main: Queue,
    ghosts: Ghosts,
    swept: u32,
}

struct Entry<V> {
    hash: KeyHash,
    value: Option<V>,
    weight: u64,
    newer: u32,
    older: u32,
    uses: u8,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Free,
    Small,
    Main,
}

/// A FIFO through the entries' links.
#[derive(Clone, Copy, Debug)]
struct Queue {
    newest: u32,
    oldest: u32,
    weight: u64,
}

const NONE: u32 = u32::MAX;

impl<V> Index<V> {
    /// An empty map of at most `capacity` entries (one at least).
    pub(crate) fn new(capacity: usize) -> Self {
        let capacity = capacity.clamp(1, ENTRIES_MAX);
        Self {
            table: Table::new(capacity),
            entries: Vec::with_capacity(capacity),
            capacity,
            free: NONE,
            len: 0,
            small: Queue::EMPTY,
            main: Queue::EMPTY,
            ghosts: Ghosts::new(capacity),
            swept: 0,
        }
    }

    /// Entries held.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Their weight.
    #[cfg(test)]
    pub(crate) fn weight(&self) -> u64 {
        self.small.weight + self.main.weight
    }

    /// The entry of a hash whose value `is` the one meant.
    #[inline]
    pub(crate) fn find(&self, hash: KeyHash, is: impl Fn(&V) -> bool) -> Option<Slot> {
        let found = self.table.find(hash, |slot| {
            let entry = self.entry(slot);
            entry.hash == hash && entry.value.as_ref().is_some_and(&is)
        });
        found.map(Slot)
    }

    /// Counts a use.
    #[inline]
    pub(crate) fn hit(&mut self, slot: Slot) {
        let entry = self.entry_mut(slot.0);
        if entry.uses < USES_MAX {
            entry.uses += 1;
        }
    }

    /// The value.
    #[inline]
    pub(crate) fn value(&self, slot: Slot) -> Option<&V> {
        self.entry(slot.0).value.as_ref()
    }

    /// Puts a value in under a hash that has no such entry, and returns the one that had to go, if the map was full.
    pub(crate) fn insert(&mut self, hash: KeyHash, value: V, weight: u64) -> Option<(V, u64)> {
        let evicted = if self.len >= self.capacity {
            self.evict()
        } else {
            None
        };
        let place = match self.ghosts.take(hash) {
            true => Place::Main,
            false => Place::Small,
        };
        let entry = Entry {
            hash,
            value: Some(value),
            weight,
            newer: NONE,
            older: NONE,
            uses: 0,
            place: Place::Free,
        };
        let slot = self.occupy(entry);
        self.table.insert(hash, slot);
        self.len += 1;
        self.enqueue(slot, place);
        evicted
    }

    /// Puts another value in an entry's place; its history stays. Returns the old value and weight.
    pub(crate) fn replace(&mut self, slot: Slot, value: V, weight: u64) -> Option<(V, u64)> {
        let place = self.entry(slot.0).place;
        let entry = self.entry_mut(slot.0);
        let old = entry.value.replace(value).map(|old| (old, entry.weight));
        let before = std::mem::replace(&mut entry.weight, weight);
        let queue = self.queue_mut(place);
        queue.weight = queue.weight - before + weight;
        old
    }

    /// Takes an entry out.
    pub(crate) fn remove(&mut self, slot: Slot) -> Option<(V, u64)> {
        self.unlink(slot.0);
        self.release(slot.0)
    }

    /// Takes out what is worth least.
    pub(crate) fn evict(&mut self) -> Option<(V, u64)> {
        for _ in 0..STEPS_MAX {
            let slot = self.candidate()?;
            let entry = self.entry(slot);
            match (entry.place, entry.uses) {
                (Place::Small, uses) if uses >= PROMOTION_USES => self.requeue(slot, 0),
                (Place::Main, uses) if uses > 0 => self.requeue(slot, uses - 1),
                _ => return self.expel(slot),
            }
        }
        let slot = self.candidate()?;
        self.expel(slot)
    }

    /// Looks at the next `count` places in turn and takes out the entries that are not worth keeping, handing each to
    /// `gone`.
    pub(crate) fn sweep(
        &mut self,
        count: usize,
        keep: impl Fn(&V) -> bool,
        mut gone: impl FnMut(V),
    ) {
        for _ in 0..count.min(self.entries.len()) {
            let at = self.swept;
            self.swept = (at + 1) % self.entries.len() as u32;
            let stale = self
                .entry(at)
                .value
                .as_ref()
                .is_some_and(|value| !keep(value));
            if let Some((value, _)) = stale.then(|| self.remove(Slot(at))).flatten() {
                gone(value);
            }
        }
    }

    /// The next in line: of the small queue while it is over its share, else of the main one.
    fn candidate(&self) -> Option<u32> {
        let share = (self.small.weight + self.main.weight) / SMALL_SHARE;
        let small_first = self.small.weight > share;
        let (first, second) = match small_first {
            true => (self.small.oldest, self.main.oldest),
            false => (self.main.oldest, self.small.oldest),
        };
        [first, second].into_iter().find(|slot| *slot != NONE)
    }

    /// To the main queue's newer end.
    fn requeue(&mut self, slot: u32, uses: u8) {
        self.unlink(slot);
        self.entry_mut(slot).uses = uses;
        self.enqueue(slot, Place::Main);
    }

    fn expel(&mut self, slot: u32) -> Option<(V, u64)> {
        let entry = self.entry(slot);
        if entry.place == Place::Small {
            self.ghosts.leave(entry.hash);
        }
        self.remove(Slot(slot))
    }

    fn enqueue(&mut self, slot: u32, place: Place) {
        let queue = *self.queue_mut(place);
        let entry = self.entry_mut(slot);
        (entry.place, entry.older, entry.newer) = (place, queue.newest, NONE);
        let weight = entry.weight;
        match queue.newest {
            NONE => self.queue_mut(place).oldest = slot,
            newest => self.entry_mut(newest).newer = slot,
        }
        let queue = self.queue_mut(place);
        queue.newest = slot;
        queue.weight += weight;
    }

    fn unlink(&mut self, slot: u32) {
        let entry = self.entry(slot);
        let (older, newer) = (entry.older, entry.newer);
        let (place, weight) = (entry.place, entry.weight);
        match older {
            NONE => self.queue_mut(place).oldest = newer,
            older => self.entry_mut(older).newer = newer,
        }
        match newer {
            NONE => self.queue_mut(place).newest = older,
            newer => self.entry_mut(newer).older = older,
        }
        self.queue_mut(place).weight -= weight;
    }

    fn occupy(&mut self, entry: Entry<V>) -> u32 {
        if self.free == NONE {
            self.entries.push(entry);
            return self.entries.len() as u32 - 1;
        }
        let slot = self.free;
        self.free = self.entry(slot).older;
        *self.entry_mut(slot) = entry;
        slot
    }

    fn release(&mut self, slot: u32) -> Option<(V, u64)> {
        let free = std::mem::replace(&mut self.free, slot);
        let entry = self.entry_mut(slot);
        (entry.older, entry.place) = (free, Place::Free);
        let (hash, weight) = (entry.hash, entry.weight);
        let value = entry.value.take();
        self.table.remove(hash, slot);
        self.len -= 1;
        value.map(|value| (value, weight))
    }

    fn queue_mut(&mut self, place: Place) -> &mut Queue {
        match place {
            Place::Main => &mut self.main,
            _ => &mut self.small,
        }
    }

    /// Slots come from the table and the links, which hold places of this slab only.
    #[inline]
    fn entry(&self, slot: u32) -> &Entry<V> {
        &self.entries[slot as usize]
    }

    #[inline]
    fn entry_mut(&mut self, slot: u32) -> &mut Entry<V> {
        &mut self.entries[slot as usize]
    }
}

impl Queue {
    const EMPTY: Self = Self {
        newest: NONE,
        oldest: NONE,
        weight: 0,
    };
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn hash(n: u64) -> KeyHash {
        // Few places, so that probes run into each other and around the end.
        KeyHash(u128::from(n % 7 * 0x9e37) << 64 | u128::from(n))
    }

    fn find(index: &Index<u64>, n: u64) -> Option<Slot> {
        index.find(hash(n), |value| value >> 32 == n)
    }

    fn check(index: &Index<u64>, model: &HashMap<u64, (u64, u64)>) {
        assert_eq!(index.len(), model.len());
        assert_eq!(
            index.weight(),
            model.values().map(|(_, weight)| weight).sum::<u64>()
        );
        for (n, (value, _)) in model {
            let slot = find(index, *n).unwrap();
            assert_eq!(index.value(slot), Some(value));
        }
    }

    proptest! {
        #[test]
        fn it_is_a_map_that_forgets_only_what_it_hands_back(
            steps in prop::collection::vec((0..5_u8, 0..40_u64, 0..100_u64), 1..300),
        ) {
            let mut index = Index::new(16);
            let mut model: HashMap<u64, (u64, u64)> = HashMap::new();
            for (stamp, (step, n, weight)) in steps.into_iter().enumerate() {
                let value = n << 32 | stamp as u64;
                let gone = match (step, find(&index, n)) {
                    (0 | 1, None) => {
                        let gone = index.insert(hash(n), value, weight);
                        prop_assert_eq!(gone.is_some(), model.len() == 16);
                        model.insert(n, (value, weight));
                        gone
                    }
                    (0 | 1, Some(slot)) => {
                        let old = index.replace(slot, value, weight);
                        prop_assert_eq!(old, model.insert(n, (value, weight)));
                        None
                    }
                    (2, Some(slot)) => index.remove(slot),
                    (3, Some(slot)) => {
                        index.hit(slot);
                        None
                    }
                    (4, _) => index.evict(),
                    _ => None,
                };
                if let Some((value, weight)) = gone {
                    prop_assert_eq!(model.remove(&(value >> 32)), Some((value, weight)));
                }
                check(&index, &model);
            }
            while index.evict().is_some() {}
            prop_assert_eq!((index.len(), index.weight()), (0, 0));
        }
    }

    /// `Object::cost_bytes` counts on it.
    #[test]
    fn an_entry_is_small() {
        assert_eq!(size_of::<Entry<std::sync::Arc<u64>>>(), 48);
    }

    #[test]
    fn what_is_asked_for_outlives_what_is_not() {
        let mut index = Index::new(100);
        for n in 0..10_000 {
            index.insert(hash(n), n << 32, 1);
            for hot in 0..10 {
                if let Some(slot) = find(&index, hot) {
                    index.hit(slot);
                }
            }
        }
        assert_eq!(index.len(), 100);
        assert!((0..10).all(|hot| find(&index, hot).is_some()));
    }

    #[test]
    fn what_returns_soon_after_its_eviction_skips_the_trial() {
        let mut index = Index::new(10);
        for n in 0..11 {
            index.insert(hash(n), n << 32, 1);
        }
        assert!(find(&index, 0).is_none());
        index.insert(hash(0), 0, 1);
        for n in 11..19 {
            index.insert(hash(n), n << 32, 1);
        }
        assert!(find(&index, 0).is_some());
    }

    #[test]
    fn a_sweep_takes_out_what_is_not_kept_and_comes_around() {
        let mut index = Index::new(10);
        for n in 0..10 {
            index.insert(hash(n), n << 32, 1);
        }
        let mut gone = Vec::new();
        for _ in 0..3 {
            index.sweep(4, |value| value >> 32 != 7, |value| gone.push(value >> 32));
        }
        assert_eq!(gone, [7]);
        assert_eq!(index.len(), 9);
        index.sweep(100, |_| false, |_| ());
        assert_eq!(index.len(), 0);
        index.sweep(100, |_| false, |_| unreachable!());
    }
}
