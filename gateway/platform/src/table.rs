//! A driver's connections: dense slots with generations, grown as they are first used.

use base::SocketId;

const GENERATION_MASK: u32 = (1 << 24) - 1;
const NONE: u32 = u32::MAX;
const TAKEN: u32 = u32::MAX - 1;

/// Slots of `S`, reused last in, first out.
pub(crate) struct Table<S> {
    /// Reserved at its bound from the start, so that it never moves; slots never used cost no resident memory.
    slots: Vec<Slot<S>>,
    free: u32,
    taken: u32,
    bound: u32,
}

struct Slot<S> {
    generation: u32,
    /// The next free slot, `NONE` at the list's end, `TAKEN` while in use.
    next: u32,
    state: S,
}

impl<S: Default> Table<S> {
    /// At most `bound` slots.
    pub(crate) fn new(bound: u32) -> Self {
        let bound = bound.min(TAKEN);
        Self {
            slots: Vec::with_capacity(bound as usize),
            free: NONE,
            taken: 0,
            bound,
        }
    }

    /// Takes a slot, or gives the state back at the bound.
    pub(crate) fn insert(&mut self, state: S) -> Result<SocketId, S> {
        let index = self.free;
        if let Some(slot) = self.slots.get_mut(index as usize) {
            self.free = slot.next;
            slot.next = TAKEN;
            slot.state = state;
        } else if let Some(index) = self.unused() {
            self.slots.push(Slot {
                generation: 0,
                next: TAKEN,
                state,
            });
            self.taken += 1;
            return Ok(self.id(index));
        } else {
            return Err(state);
        }
        self.taken += 1;
        Ok(self.id(index))
    }

    /// Frees a slot; its ids are stale from here on.
    pub(crate) fn remove(&mut self, index: u32) -> Option<S> {
        let free = self.free;
        let slot = self.slots.get_mut(index as usize)?;
        if slot.next != TAKEN {
            return None;
        }
        slot.next = free;
        slot.generation = (slot.generation + 1) & GENERATION_MASK;
        self.free = index;
        self.taken -= 1;
        Some(std::mem::take(&mut slot.state))
    }

    #[inline]
    pub(crate) fn get(&self, id: SocketId) -> Option<&S> {
        let slot = self.slots.get(id.index as usize)?;
        (slot.next == TAKEN && slot.generation == id.generation).then_some(&slot.state)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: SocketId) -> Option<&mut S> {
        let slot = self.slots.get_mut(id.index as usize)?;
        (slot.next == TAKEN && slot.generation == id.generation).then_some(&mut slot.state)
    }

    /// The id of a slot as it is now.
    #[inline]
    pub(crate) fn id(&self, index: u32) -> SocketId {
        let slot = self.slots.get(index as usize);
        SocketId {
            index,
            generation: slot.map_or(0, |slot| slot.generation),
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.taken == self.bound
    }

    pub(crate) fn len(&self) -> usize {
        self.taken as usize
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.taken == 0
    }

    /// The ids in use, by walking all slots.
    pub(crate) fn ids(&self) -> impl Iterator<Item = SocketId> {
        (0..)
            .zip(&self.slots)
            .filter_map(|(index, slot): (u32, _)| {
                let generation = slot.generation;
                (slot.next == TAKEN).then_some(SocketId { index, generation })
            })
    }

    fn unused(&self) -> Option<u32> {
        let next = u32::try_from(self.slots.len()).ok()?;
        (next < self.bound).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_slot_refuses_its_former_ids() {
        let mut table = Table::new(2);
        let first = table.insert('a').unwrap();
        assert_eq!(table.remove(first.index), Some('a'));
        let second = table.insert('b').unwrap();
        assert_eq!(second.index, first.index);
        assert_eq!((table.get(first), table.get(second)), (None, Some(&'b')));
        assert_eq!(table.remove(7), None);
    }

    #[test]
    fn the_bound_gives_the_state_back() {
        let mut table = Table::new(1);
        let id = table.insert('a').unwrap();
        assert!(table.is_full());
        assert_eq!(table.insert('b'), Err('b'));
        table.remove(id.index);
        assert_eq!(table.remove(id.index), None);
        assert!(table.is_empty() && table.insert('c').is_ok());
    }

    #[test]
    fn generations_wrap_where_the_id_says() {
        let mut table = Table::new(1);
        for _ in 0..=GENERATION_MASK {
            let id = table.insert(0).unwrap();
            table.remove(id.index);
        }
        assert_eq!(table.insert(0).unwrap().generation, 0);
    }
}
