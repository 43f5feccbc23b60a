//! A shard's own map of hot objects. It answers hits without an atomic write, a lock or an allocation, and repeats
//! handles, never bytes.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use base::{Memory, Moment, Span};

use crate::index::Index;
use crate::{BodyState, Entry, KeyHash, KeyView, Object};

/// An object as one shard holds it: the shared object and shard-local pins of its extents.
///
/// Whoever holds one keeps its extents: an object that left the front, or was retired, lives on until the last send of
/// it is reaped.
pub struct Resident<M: Memory> {
    /// The object.
    pub object: Arc<Object<M>>,
    /// The pin of the first extent, which is the only one of most objects.
    first: OnceCell<M::Pin>,
    /// The pins of the others, by index less one.
    others: RefCell<Vec<Option<M::Pin>>>,
    /// The length of a complete body in one extent, once seen to be one.
    whole: Cell<Option<u32>>,
    /// The part of an answer's head that is the same for every hit.
    prefix: OnceCell<Box<[u8]>>,
}

/// An entry as one shard holds it.
pub struct Held<M: Memory> {
    entry: Arc<Entry<M>>,
    first: Rc<Resident<M>>,
    /// Of the variants behind the first, those that were asked for.
    others: Box<[OnceCell<Rc<Resident<M>>>]>,
    /// The second of the last touch.
    touched: Cell<u64>,
}

/// A bounded map from key to entry; evicts by recency and frequency (S3-FIFO).
pub struct Front<M: Memory> {
    index: Index<Held<M>>,
}

const NEVER: u64 = u64::MAX;

impl<M: Memory> Resident<M> {
    /// A resident outside the front, for an object that is served but not kept.
    #[must_use]
    pub fn new(object: Arc<Object<M>>) -> Rc<Self> {
        Rc::new(Self {
            object,
            first: OnceCell::new(),
            others: RefCell::new(Vec::new()),
            whole: Cell::new(None),
            prefix: OnceCell::new(),
        })
    }

    /// The pin of the extent at `index`, taken from the object the first time; `None` while that extent does not exist.
    #[must_use]
    pub fn pin(&self, index: usize) -> Option<M::Pin> {
        let Some(other) = index.checked_sub(1) else {
            return self.first_pin().cloned();
        };
        if let Some(Some(pin)) = self.others.borrow().get(other) {
            return Some(pin.clone());
        }
        let pin = M::pin(self.object.body.extent(index)?);
        let mut others = self.others.borrow_mut();
        let count = others.len().max(index);
        others.resize(count, None);
        if let Some(slot) = others.get_mut(other) {
            *slot = Some(pin.clone());
        }
        Some(pin)
    }

    /// The bytes published from `offset` on that lie in one extent: the extent's pin, and the start and end within it.
    /// `None` when nothing is published beyond `offset`.
    #[must_use]
    pub fn piece(&self, offset: u64) -> Option<(M::Pin, u32, u32)> {
        let piece = self.object.body.piece(offset)?;
        Some((self.pin(piece.index)?, piece.start, piece.end))
    }

    /// The whole body when it is complete and lies in one extent; for the copy behind a small answer's head.
    #[must_use]
    #[inline]
    pub fn whole(&self) -> Option<&[u8]> {
        let length = match self.whole.get() {
            Some(length) => length,
            None => self.see_whole()?,
        };
        match length {
            0 => Some(&[]),
            length => self.first.get()?.get(..length as usize),
        }
    }

    /// The beginning of an answer's head that is the same for every hit, made at the first.
    #[inline]
    pub fn prefix(&self, make: impl FnOnce() -> Vec<u8>) -> &[u8] {
        self.prefix.get_or_init(|| make().into_boxed_slice())
    }

    fn first_pin(&self) -> Option<&M::Pin> {
        if self.first.get().is_none() {
            let pin = M::pin(self.object.body.extent(0)?);
            return Some(self.first.get_or_init(|| pin));
        }
        self.first.get()
    }

    #[cold]
    fn see_whole(&self) -> Option<u32> {
        let body = &self.object.body;
        if body.state() != BodyState::Complete {
            return None;
        }
        let length = u32::try_from(body.published()).ok()?;
        if length > 0 {
            let piece = body.piece(0)?;
            (piece.start == 0 && piece.end == length).then_some(())?;
            self.first_pin()?;
        }
        self.whole.set(Some(length));
        Some(length)
    }
}

impl<M: Memory> Held<M> {
    fn new(entry: Arc<Entry<M>>) -> Self {
        let objects = entry.objects();
        let others = objects.iter().skip(1).map(|_| OnceCell::new()).collect();
        Self {
            // There is one at least.
            first: Resident::new(Arc::clone(&objects[0])),
            others,
            entry,
            touched: Cell::new(NEVER),
        }
    }

    /// The entry.
    #[must_use]
    #[inline]
    pub fn entry(&self) -> &Arc<Entry<M>> {
        &self.entry
    }

    /// The answer at a place of [`Entry::objects`].
    #[must_use]
    #[inline]
    pub fn resident(&self, at: usize) -> &Rc<Resident<M>> {
        match self.others.get(at.wrapping_sub(1)) {
            None => &self.first,
            Some(other) => {
                other.get_or_init(|| Resident::new(Arc::clone(&self.entry.objects()[at])))
            }
        }
    }

    /// Whether the index behind the front should hear of this entry's use again: true once a second at most. The
    /// first call only starts the clock, for what was just admitted has just been in the index.
    #[must_use]
    pub fn due_touch(&self, now: Moment) -> bool {
        let second = now.0 / Span::from_secs(1).0;
        let last = self.touched.get();
        if second == last {
            return false;
        }
        self.touched.set(second);
        last != NEVER
    }
}

impl<M: Memory> Front<M> {
    /// A front of at most `capacity` objects; the table is allocated now.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            index: Index::new(capacity),
        }
    }

    /// The live entry under a key. A dead one is dropped and not returned. Freshness is the caller's question.
    #[must_use]
    #[inline]
    pub fn find(&mut self, hash: KeyHash, key: &KeyView<'_>) -> Option<&Held<M>> {
        let slot = self
            .index
            .find(hash, |held| held.first.object.key.is(key))?;
        if !self.index.value(slot)?.entry.is_live() {
            self.index.remove(slot);
            return None;
        }
        self.index.hit(slot);
        self.index.value(slot)
    }

    /// Takes an entry in, over an older one of its key, evicting another at the bound.
    pub fn admit(&mut self, entry: Arc<Entry<M>>) -> Option<&Held<M>> {
        let hash = entry.key().hash();
        let held = self
            .index
            .find(hash, |held| held.first.object.key == *entry.key());
        let same = held.and_then(|slot| self.index.value(slot));
        let slot = match held {
            Some(slot) if same.is_some_and(|held| Arc::ptr_eq(&held.entry, &entry)) => slot,
            Some(slot) => {
                self.index.replace(slot, Held::new(entry), 1);
                slot
            }
            None => {
                let held = Held::new(entry);
                let first = Rc::clone(&held.first);
                self.index.insert(hash, held, 1);
                self.index
                    .find(hash, |held| Rc::ptr_eq(&held.first, &first))?
            }
        };
        self.index.value(slot)
    }

    /// Lets go of an entry that left the index, and with it of its memory; whether it was held.
    pub fn forget(&mut self, entry: &Arc<Entry<M>>) -> bool {
        let is = |held: &Held<M>| Arc::ptr_eq(&held.entry, entry);
        let slot = self.index.find(entry.key().hash(), is);
        slot.is_some_and(|slot| self.index.remove(slot).is_some())
    }

    /// Looks at the next `count` entries in turn and drops the dead ones, so that memory of objects nobody asks for
    /// returns. Returns how many it dropped.
    pub fn sweep(&mut self, count: usize) -> usize {
        let before = self.index.len();
        self.index.sweep(count, |held| held.entry.is_live(), drop);
        before - self.index.len()
    }

    /// Entries held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
