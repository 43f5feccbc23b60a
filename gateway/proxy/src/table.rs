//! Tables that follow the driver's: a slot per socket index, an entry only for its own generation.

use base::SocketId;

/// A value per socket. Grows to the highest index seen, which the driver's table bounds.
pub(crate) struct Table<T> {
    slots: Vec<Option<(u32, T)>>,
    len: usize,
}

impl<T> Table<T> {
    pub(crate) fn new() -> Self {
        Self {
            slots: Vec::new(),
            len: 0,
        }
    }

    #[inline]
    pub(crate) fn at(&mut self, socket: SocketId) -> Option<&mut T> {
        match self.slots.get_mut(socket.index as usize) {
            Some(Some((generation, value))) if *generation == socket.generation => Some(value),
            _ => None,
        }
    }

    pub(crate) fn insert(&mut self, socket: SocketId, value: T) {
        let index = socket.index as usize;
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        if let Some(slot) = self.slots.get_mut(index) {
            self.len += usize::from(slot.is_none());
            *slot = Some((socket.generation, value));
        }
    }

    pub(crate) fn remove(&mut self, socket: SocketId) -> Option<T> {
        self.at(socket)?;
        self.len -= 1;
        let slot = self.slots.get_mut(socket.index as usize)?;
        slot.take().map(|(_, value)| value)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn sockets(&self) -> impl Iterator<Item = SocketId> + '_ {
        (0u32..).zip(&self.slots).filter_map(|(index, slot)| {
            slot.as_ref().map(|(generation, _)| SocketId {
                index,
                generation: *generation,
            })
        })
    }
}

/// Names an entry of an [`Arena`]; a stale one finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ticket {
    index: u32,
    generation: u32,
}

impl Ticket {
    /// Names nothing.
    pub(crate) const NONE: Self = Self {
        index: u32::MAX,
        generation: 0,
    };
}

/// Values with names that are not reused soon.
pub(crate) struct Arena<T> {
    slots: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Arena<T> {
    pub(crate) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(crate) fn insert(&mut self, value: T) -> Ticket {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            // The number of connections bounds this far below.
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let mut generation = 0;
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.1 = Some(value);
            generation = slot.0;
        }
        Ticket { index, generation }
    }

    pub(crate) fn at(&mut self, ticket: Ticket) -> Option<&mut T> {
        let slot = self.slots.get_mut(ticket.index as usize)?;
        if slot.0 == ticket.generation {
            slot.1.as_mut()
        } else {
            None
        }
    }

    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<T> {
        self.at(ticket)?;
        let slot = self.slots.get_mut(ticket.index as usize)?;
        slot.0 = slot.0.wrapping_add(1);
        self.free.push(ticket.index);
        slot.1.take()
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_generation_finds_nothing() {
        let mut table = Table::new();
        let old = SocketId {
            index: 3,
            generation: 1,
        };
        let new = SocketId {
            index: 3,
            generation: 2,
        };
        table.insert(old, "old");
        assert_eq!(table.remove(old), Some("old"));
        table.insert(new, "new");
        assert!(table.at(old).is_none());
        assert!(table.remove(old).is_none());
        assert_eq!(table.at(new), Some(&mut "new"));
        assert_eq!(table.len(), 1);
        assert_eq!(table.sockets().collect::<Vec<_>>(), [new]);
    }
}
