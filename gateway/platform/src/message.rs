//! A message being sent: its parts, and how far the kernel has taken them.

use std::io::IoSlice;

use base::limits::PARTS_MAX;
use base::{Driver, Part};

use crate::lend::LEND_BYTES_MIN;
use crate::memory::Slab;

/// Parts in order and a position in them. The parts are released when the last byte is taken or the message is cleared.
pub(crate) struct Message<D: Driver> {
    parts: Vec<Part<D>>,
    /// The part that the next byte is in.
    part: usize,
    /// Where in that part.
    offset: usize,
}

impl<D: Driver> Message<D> {
    pub(crate) fn new() -> Self {
        Self {
            parts: Vec::with_capacity(PARTS_MAX),
            part: 0,
            offset: 0,
        }
    }

    /// Takes the caller's parts and leaves it an empty vector that has a capacity.
    #[inline]
    pub(crate) fn load(&mut self, parts: &mut Vec<Part<D>>) {
        debug_assert!(self.parts.is_empty());
        std::mem::swap(&mut self.parts, parts);
        (self.part, self.offset) = (0, 0);
    }

    /// The rest of the current part, and whether it is the last one.
    #[inline]
    pub(crate) fn head(&self) -> (&[u8], bool) {
        let rest = self.parts.get(self.part).map_or(&b""[..], Part::bytes);
        let rest = rest.get(self.offset..).unwrap_or_default();
        (rest, self.part + 1 >= self.parts.len())
    }

    /// The rest of the message, as many slices of it as go into one call.
    pub(crate) fn slices(&self) -> impl Iterator<Item = IoSlice<'_>> {
        let (head, _) = self.head();
        let rest = self.parts.get(self.part + 1..).unwrap_or_default();
        std::iter::once(head)
            .chain(rest.iter().map(Part::bytes))
            .take(PARTS_MAX)
            .map(IoSlice::new)
    }

    /// Counts `taken` bytes as sent; tells whether that was all.
    #[inline]
    pub(crate) fn advance(&mut self, taken: usize) -> bool {
        let mut left = taken;
        while let Some(part) = self.parts.get(self.part) {
            let rest = part.bytes().len() - self.offset;
            if left < rest {
                self.offset += left;
                return false;
            }
            left -= rest;
            self.part += 1;
            self.offset = 0;
        }
        true
    }

    /// Releases the parts.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.parts.clear();
    }
}

impl<D: Driver<Memory = Slab>> Message<D> {
    /// Counts the sending of what may be worth lending another time. To be called once, before anything is asked about that.
    #[inline]
    pub(crate) fn count(&self) {
        for part in &self.parts {
            if let Part::Pinned(pin, range) = part {
                pin.count(range.len());
            }
        }
    }

    /// Parts from the current one on before bytes that are worth lending, where there are such.
    pub(crate) fn before_lendable(&self) -> Option<usize> {
        let count = self.parts.len() - self.part;
        (0..count).find(|before| self.lendable_from(self.part + before).is_some())
    }

    /// Bytes that are worth lending at the current position.
    pub(crate) fn lendable(&self) -> Option<impl Iterator<Item = &[u8]>> {
        self.lendable_from(self.part)
    }

    fn lendable_from(&self, part: usize) -> Option<impl Iterator<Item = &[u8]>> {
        let mut bytes = 0;
        let enough = |slice: &[u8]| {
            bytes += slice.len();
            bytes >= LEND_BYTES_MIN
        };
        self.pages(part).any(enough).then(|| self.pages(part))
    }

    /// Whole pages of pinned extents that may be lent, from a part on to the first byte that is in none.
    fn pages(&self, part: usize) -> impl Iterator<Item = &[u8]> {
        let mut offset = if part == self.part { self.offset } else { 0 };
        let mut ended = false;
        let rest = self.parts.get(part..).unwrap_or_default();
        rest.iter().map_while(move |part| {
            let Part::Pinned(pin, range) = part else {
                return None;
            };
            let start = range.start as usize + std::mem::take(&mut offset);
            let end = range.end as usize;
            let count = pin.lendable(start, end);
            if std::mem::replace(&mut ended, start + count < end) || count == 0 {
                return None;
            }
            pin.get(start..start + count)
        })
    }

    /// Tells the slab that pages of the next `bytes` are lent.
    pub(crate) fn lend(&self, bytes: usize) {
        let mut left = bytes + self.offset;
        for part in self.parts.iter().skip(self.part) {
            if let Part::Pinned(pin, _) = part
                && left > 0
            {
                pin.lend();
            }
            left = left.saturating_sub(part.bytes().len());
        }
    }

    /// Whether more than the next `bytes` are left.
    pub(crate) fn goes_on_after(&self, bytes: usize) -> bool {
        let rest = self.parts.iter().skip(self.part);
        rest.map(|part| part.bytes().len()).sum::<usize>() > self.offset + bytes
    }
}

/// Messages in flight, in slots that are reused last in, first out.
pub(crate) struct Messages<M> {
    slots: Vec<Box<M>>,
    free: Vec<u32>,
}

impl<M> Messages<M> {
    /// Room for `count` messages from the start; more are made as they are first needed.
    pub(crate) fn new(count: u32, make: impl Fn() -> M) -> Self {
        Self {
            slots: (0..count).map(|_| Box::new(make())).collect(),
            free: (0..count).rev().collect(),
        }
    }

    #[inline]
    pub(crate) fn take(&mut self, make: impl Fn() -> M) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.slots.push(Box::new(make()));
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        })
    }

    #[inline]
    pub(crate) fn give(&mut self, slot: u32) {
        self.free.push(slot);
    }

    #[inline]
    pub(crate) fn at(&mut self, slot: u32) -> Option<&mut M> {
        self.slots.get_mut(slot as usize).map(Box::as_mut)
    }
}
