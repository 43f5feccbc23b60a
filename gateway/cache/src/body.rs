//! A body in extents: one writer appends, every shard may read what is published.

use std::ops::Range;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use base::{Extent, ExtentWriter, Memory, limits};

use crate::joined::Joined;
use crate::layout::Layout;

/// A body in extents, appended to by one [`BodyWriter`] and read by any shard; or several such in a row.
pub struct Body<M: Memory> {
    kind: Kind<M>,
}

impl<M: Memory> Clone for Body<M> {
    /// Another handle of the same bytes.
    fn clone(&self) -> Self {
        let kind = match &self.kind {
            Kind::Filled(filled) => Kind::Filled(filled.clone()),
            Kind::Joined(joined) => Kind::Joined(Arc::clone(joined)),
        };
        Self { kind }
    }
}

enum Kind<M: Memory> {
    Filled(Filled<M>),
    Joined(Arc<Joined<M>>),
}

/// What one writer fills.
pub(crate) struct Filled<M: Memory> {
    shared: Arc<Shared<M::Extent>>,
}

impl<M: Memory> Clone for Filled<M> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

/// How far a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyState {
    /// Growing.
    Filling,
    /// All there.
    Complete,
    /// It will never be whole: nobody may take what is there for the answer.
    Failed,
}

/// The one writer of a body. Dropping it unfinished fails the body.
pub struct BodyWriter<M: Memory> {
    shared: Arc<Shared<M::Extent>>,
    memory: M,
    /// Reserved extents that are still empty, the next one last.
    ahead: Vec<M::Writer>,
    /// The extent being filled, and how many more bytes of the body belong there.
    current: Option<(M::Writer, u64)>,
    written: u64,
    /// The last append came short: without the rest of it the body is not whole.
    short: bool,
}

/// The slab had no room, or the body outgrew its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short {
    /// Bytes of the append that were taken.
    pub taken: usize,
    /// Bytes that the slab was asked for and did not have; none where the body is at its announced length or bound.
    pub wanted: Option<u64>,
}

/// Where published bytes lie: in which extent, from where to where.
pub(crate) struct Piece {
    pub(crate) index: usize,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

struct Shared<E> {
    layout: Layout,
    /// Stored with `Release` after the bytes and their extent's slot; whoever loads it with `Acquire` finds both.
    published: AtomicU64,
    /// A [`BodyState`]; stored after the last `published`.
    state: AtomicU8,
    /// Bytes that the reserved extents cost the slab.
    reserved: AtomicU64,
    slots: Slots<E>,
}

const FILLING: u8 = 0;
const COMPLETE: u8 = 1;
const FAILED: u8 = 2;

/// Slots of the second tier.
const FEW: usize = 7;

/// The extents, in tiers that are allocated when first reached: a body in one extent needs none beside this.
struct Slots<E> {
    count: usize,
    one: OnceLock<E>,
    few: OnceLock<Box<[OnceLock<E>]>>,
    rest: OnceLock<Box<[OnceLock<E>]>>,
}

impl<M: Memory> Body<M> {
    /// A body and its writer. With a `length` known, all its extents are reserved now; `None` when the slab cannot hold them
    /// or the length is beyond `bytes_max`. Without, they are reserved as it grows, up to `bytes_max`.
    #[must_use]
    pub fn new(memory: &M, length: Option<u64>, bytes_max: u64) -> Option<(Self, BodyWriter<M>)> {
        let layout = match length {
            Some(length) if length > bytes_max => return None,
            Some(length) => Layout::Known { length },
            None => Layout::Growing { bytes_max },
        };
        let shared = Arc::new(Shared::new(layout));
        let mut writer = BodyWriter {
            shared: Arc::clone(&shared),
            memory: memory.clone(),
            ahead: Vec::new(),
            current: None,
            written: 0,
            short: false,
        };
        if length.is_some() {
            writer.reserve_all()?;
        }
        let kind = Kind::Filled(Filled { shared });
        Some((Self { kind }, writer))
    }

    /// Ranges of bodies in a row, sharing their bytes; each of known length. `None` where that takes more than
    /// [`JOINED_BODIES_MAX`](limits::JOINED_BODIES_MAX) of them.
    #[must_use]
    pub fn joined<'a>(ranges: impl IntoIterator<Item = (&'a Self, Range<u64>)>) -> Option<Self>
    where
        M: 'a,
    {
        let joined = Joined::of(ranges);
        (joined.count() <= limits::JOINED_BODIES_MAX).then(|| Self {
            kind: Kind::Joined(Arc::new(joined)),
        })
    }

    /// The state; `Complete` and `Failed` are final. Look here before [`published`](Self::published): what is complete
    /// is published.
    #[must_use]
    pub fn state(&self) -> BodyState {
        match &self.kind {
            Kind::Filled(filled) => filled.state(),
            Kind::Joined(joined) => joined.state(),
        }
    }

    /// Bytes published so far, from the first on.
    #[must_use]
    pub fn published(&self) -> u64 {
        match &self.kind {
            Kind::Filled(filled) => filled.published(),
            Kind::Joined(joined) => joined.published(),
        }
    }

    /// The whole length, where it is known: announced, or complete.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        match &self.kind {
            Kind::Filled(filled) => filled.length(),
            Kind::Joined(joined) => Some(joined.length()),
        }
    }

    /// The extents reserved so far, in order.
    pub fn extents(&self) -> impl Iterator<Item = &M::Extent> {
        (0..).map_while(|index| self.extent(index))
    }

    /// The extent at `index`, once it is reserved.
    pub(crate) fn extent(&self, index: usize) -> Option<&M::Extent> {
        match &self.kind {
            Kind::Filled(filled) => filled.extent(index),
            Kind::Joined(joined) => joined.extent(index),
        }
    }

    /// The published bytes from `offset` on that lie in one extent.
    pub(crate) fn piece(&self, offset: u64) -> Option<Piece> {
        match &self.kind {
            Kind::Filled(filled) => filled.piece(offset),
            Kind::Joined(joined) => joined.piece(offset),
        }
    }

    /// What of `range` lies where.
    pub(crate) fn members(&self, range: Range<u64>) -> Vec<(Filled<M>, Range<u64>)> {
        match &self.kind {
            Kind::Filled(filled) => vec![(filled.clone(), range)],
            Kind::Joined(joined) => joined.members(range),
        }
    }

    /// Bytes this body costs: blocks of the slab, slots and itself.
    pub(crate) fn cost_bytes(&self) -> u64 {
        match &self.kind {
            Kind::Filled(filled) => filled.cost_bytes(),
            Kind::Joined(joined) => joined.cost_bytes(),
        }
    }
}

impl<M: Memory> Filled<M> {
    pub(crate) fn state(&self) -> BodyState {
        match self.shared.state.load(Ordering::Acquire) {
            FILLING => BodyState::Filling,
            COMPLETE => BodyState::Complete,
            _ => BodyState::Failed,
        }
    }

    pub(crate) fn published(&self) -> u64 {
        self.shared.published.load(Ordering::Acquire)
    }

    fn length(&self) -> Option<u64> {
        match self.shared.layout {
            Layout::Known { length } => Some(length),
            Layout::Growing { .. } => {
                (self.state() == BodyState::Complete).then(|| self.published())
            }
        }
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Extents that there may be.
    pub(crate) fn extents_max(&self) -> usize {
        self.shared.slots.count
    }

    pub(crate) fn extent(&self, index: usize) -> Option<&M::Extent> {
        self.shared.slots.get(index)
    }

    pub(crate) fn piece(&self, offset: u64) -> Option<Piece> {
        let published = self.published();
        if offset >= published {
            return None;
        }
        let place = self.shared.layout.place(offset);
        let end = (published - place.start).min(place.size);
        Some(Piece {
            index: place.index,
            start: u32::try_from(offset - place.start).ok()?,
            end: u32::try_from(end).ok()?,
        })
    }

    pub(crate) fn cost_bytes(&self) -> u64 {
        let itself = size_of::<Shared<M::Extent>>() + self.shared.slots.heap_bytes();
        self.shared.reserved.load(Ordering::Relaxed) + itself as u64
    }
}

impl<M: Memory> BodyWriter<M> {
    /// Appends and publishes.
    ///
    /// # Errors
    /// [`Short`] when the slab, the announced length or the bound had no room for all of it. What comes next is the rest,
    /// once the slab has room, or [`fail`](Self::fail).
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Short> {
        let mut taken = 0;
        while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
            match self.append_some(rest) {
                0 => {
                    self.short = true;
                    let wanted = self.wanted();
                    return Err(Short { taken, wanted });
                }
                count => taken += count,
            }
            self.short = false;
        }
        Ok(())
    }

    /// Ends the body as complete; `false` (and failed) when fewer bytes came than were announced.
    #[must_use]
    pub fn finish(self) -> bool {
        let whole = match self.shared.layout {
            Layout::Known { length } => self.written == length,
            Layout::Growing { .. } => true,
        };
        let complete = whole && !self.short;
        if complete {
            self.shared.state.store(COMPLETE, Ordering::Release);
        }
        complete
    }

    /// Ends the body as failed.
    pub fn fail(self) {
        drop(self);
    }

    /// Appends what fits into the current extent; nothing when there is no room at all.
    fn append_some(&mut self, bytes: &[u8]) -> usize {
        if self.written >= self.shared.layout.limit() {
            return 0;
        }
        if self.current.as_ref().is_none_or(|(_, left)| *left == 0) {
            self.current = self.next_extent();
        }
        let Some((extent, left)) = &mut self.current else {
            return 0;
        };
        let room = (*left).min(self.shared.layout.limit() - self.written);
        let fits = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
        let count = extent.append(bytes.get(..fits).unwrap_or_default());
        *left -= count as u64;
        self.written += count as u64;
        self.shared.published.store(self.written, Ordering::Release);
        count
    }

    /// Bytes of the next extent; none at the body's bound.
    fn wanted(&self) -> Option<u64> {
        let layout = self.shared.layout;
        (self.written < layout.limit()).then(|| layout.place(self.written).size)
    }

    fn next_extent(&mut self) -> Option<(M::Writer, u64)> {
        let place = self.shared.layout.place(self.written);
        let extent = match self.ahead.pop() {
            Some(extent) => extent,
            None => self.reserve(place.index, place.size)?,
        };
        Some((extent, place.size))
    }

    fn reserve_all(&mut self) -> Option<()> {
        let layout = self.shared.layout;
        let mut offset = 0;
        while offset < layout.limit() {
            let place = layout.place(offset);
            let extent = self.reserve(place.index, place.size)?;
            self.ahead.push(extent);
            offset = place.start + place.size;
        }
        self.ahead.reverse();
        Some(())
    }

    fn reserve(&self, index: usize, size: u64) -> Option<M::Writer> {
        let writer = self.memory.reserve(usize::try_from(size).ok()?)?;
        let extent = writer.extent();
        let capacity = extent.capacity() as u64;
        self.shared.slots.set(index, extent);
        self.shared.reserved.fetch_add(capacity, Ordering::Relaxed);
        Some(writer)
    }
}

impl<M: Memory> Drop for BodyWriter<M> {
    fn drop(&mut self) {
        let state = &self.shared.state;
        // This writer alone stores here, so nothing can come between the two.
        if state.load(Ordering::Relaxed) == FILLING {
            state.store(FAILED, Ordering::Release);
        }
    }
}

impl<E> Shared<E> {
    fn new(layout: Layout) -> Self {
        Self {
            layout,
            published: AtomicU64::new(0),
            state: AtomicU8::new(FILLING),
            reserved: AtomicU64::new(0),
            slots: Slots {
                count: layout.count(),
                one: OnceLock::new(),
                few: OnceLock::new(),
                rest: OnceLock::new(),
            },
        }
    }
}

impl<E> Slots<E> {
    fn get(&self, index: usize) -> Option<&E> {
        let slot = match index {
            0 => &self.one,
            1..=FEW => self.few.get()?.get(index - 1)?,
            _ => self.rest.get()?.get(index - 1 - FEW)?,
        };
        slot.get()
    }

    fn set(&self, index: usize, extent: E) {
        let behind = self.count.saturating_sub(1);
        let slot = match index {
            0 => Some(&self.one),
            1..=FEW => self
                .few
                .get_or_init(|| empty(behind.min(FEW)))
                .get(index - 1),
            _ => {
                let rest = self.rest.get_or_init(|| empty(behind.saturating_sub(FEW)));
                rest.get(index - 1 - FEW)
            }
        };
        let taken = slot.is_some_and(|slot| slot.set(extent).is_ok());
        debug_assert!(taken, "slot {index} of {} is set once", self.count);
    }

    fn heap_bytes(&self) -> usize {
        let tiers = [self.few.get(), self.rest.get()];
        let slots: usize = tiers.iter().flatten().map(|tier| tier.len()).sum();
        slots * size_of::<OnceLock<E>>()
    }
}

fn empty<E>(count: usize) -> Box<[OnceLock<E>]> {
    (0..count).map(|_| OnceLock::new()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::HeapMemory;

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|n| (n % 251) as u8).collect()
    }

    /// Everything published, read piece by piece as a sender does.
    fn read(body: &Body<HeapMemory>) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(piece) = body.piece(all.len() as u64) {
            let extent = body.extent(piece.index).unwrap();
            all.extend_from_slice(&extent.bytes()[piece.start as usize..piece.end as usize]);
        }
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_was_appended_is_what_is_read(
            cuts in prop::collection::vec(1..200_000_usize, 1..30),
            announced: bool,
        ) {
            let memory = HeapMemory::new(1 << 30);
            let all = bytes(cuts.iter().sum());
            let length = announced.then_some(all.len() as u64);
            let (body, mut writer) = Body::new(&memory, length, 1 << 30).unwrap();
            let mut at = 0;
            for cut in cuts {
                writer.append(&all[at..at + cut]).unwrap();
                at += cut;
                prop_assert_eq!(body.published(), at as u64);
                prop_assert_eq!(body.length(), length);
            }
            prop_assert_eq!(body.state(), BodyState::Filling);
            prop_assert!(writer.finish());
            prop_assert_eq!(body.state(), BodyState::Complete);
            prop_assert_eq!(body.length(), Some(all.len() as u64));
            prop_assert!(read(&body) == all);
            prop_assert!(body.cost_bytes() >= memory.usage().used_bytes);
            drop(body);
            prop_assert_eq!(memory.usage().used_bytes, 0);
        }
    }

    fn filled(memory: &HeapMemory, bytes: &[u8]) -> Body<HeapMemory> {
        let length = Some(bytes.len() as u64);
        let (body, mut writer) = Body::new(memory, length, 1 << 30).unwrap();
        writer.append(bytes).unwrap();
        assert!(writer.finish());
        body
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_joined_reads_as_its_members_in_a_row(
            cuts in prop::collection::vec((1..300_000_usize, 0..100_usize, 0..100_usize), 1..6),
            outer in (0..1_000_u64, 0..1_000_u64),
        ) {
            let memory = HeapMemory::new(1 << 30);
            let mut all = Vec::new();
            let mut members = Vec::new();
            for (length, before, after) in cuts {
                let whole = bytes(length);
                let range = length * before / 200..length - length * after / 200;
                all.extend_from_slice(&whole[range.clone()]);
                members.push((filled(&memory, &whole), range.start as u64..range.end as u64));
            }
            let ranges = || members.iter().map(|(body, range)| (body, range.clone()));
            let joined = Body::joined(ranges()).unwrap();
            prop_assert_eq!(joined.state(), BodyState::Complete);
            prop_assert_eq!((joined.length(), joined.published()), (Some(all.len() as u64), all.len() as u64));
            prop_assert!(read(&joined) == all);
            // Of a joined body a part, with another before it.
            let from = all.len() as u64 * outer.0 / 2_000;
            let to = all.len() as u64 - all.len() as u64 * outer.1 / 2_000;
            let first = filled(&memory, b"first");
            let again = Body::joined([(&first, 1..3), (&joined, from..to)]).unwrap();
            let expected = [b"ir", &all[from as usize..to as usize]].concat();
            prop_assert!(read(&again) == expected);
            drop((again, joined, first, members));
            prop_assert_eq!(memory.usage().used_bytes, 0);
        }
    }

    #[test]
    fn a_joined_body_grows_where_its_member_does() {
        let memory = HeapMemory::new(1 << 20);
        let (before, behind) = (filled(&memory, b"ab"), filled(&memory, b"efg"));
        let (middle, mut writer) = Body::new(&memory, Some(2), 10).unwrap();
        let joined = Body::joined([(&before, 0..2), (&middle, 0..2), (&behind, 1..3)]).unwrap();
        assert_eq!(
            (joined.state(), joined.published()),
            (BodyState::Filling, 2)
        );
        writer.append(b"c").unwrap();
        assert_eq!((joined.published(), read(&joined)), (3, b"abc".to_vec()));
        writer.append(b"d").unwrap();
        assert_eq!(read(&joined), b"abcdfg");
        assert!(writer.finish());
        assert_eq!(
            (joined.state(), joined.published()),
            (BodyState::Complete, 6)
        );
        let (failing, writer) = Body::new(&memory, Some(2), 10).unwrap();
        let joined = Body::joined([(&before, 0..2), (&failing, 0..2)]).unwrap();
        drop(writer);
        assert_eq!(joined.state(), BodyState::Failed);
    }

    #[test]
    fn too_many_are_not_joined() {
        let memory = HeapMemory::new(1 << 20);
        let body = filled(&memory, b"a");
        let joined = |count| Body::joined((0..count).map(|_| (&body, 0..1)));
        assert!(joined(limits::JOINED_BODIES_MAX).is_some());
        assert!(joined(limits::JOINED_BODIES_MAX + 1).is_none());
    }

    #[test]
    fn an_announced_length_reserves_all_or_nothing() {
        let memory = HeapMemory::new(3 << 20);
        let (body, writer) = Body::new(&memory, Some(3 << 20), 1 << 30).unwrap();
        assert_eq!(body.extents().count(), 3);
        assert!(Body::new(&memory, Some(1), 1 << 30).is_none());
        drop((body, writer));
        assert!(Body::new(&memory, Some((3 << 20) + 1), 1 << 30).is_none());
        assert_eq!(memory.usage().used_bytes, 0);
        assert!(Body::new(&memory, Some(101), 100).is_none());
    }

    #[test]
    fn a_body_shorter_than_announced_fails() {
        let memory = HeapMemory::new(1 << 20);
        let (body, mut writer) = Body::new(&memory, Some(10), 100).unwrap();
        writer.append(b"123456789").unwrap();
        assert!(!writer.finish());
        assert_eq!(body.state(), BodyState::Failed);
    }

    #[test]
    fn a_body_longer_than_announced_or_allowed_comes_short_and_fails() {
        let memory = HeapMemory::new(1 << 20);
        for length in [Some(4), None] {
            let (body, mut writer) = Body::new(&memory, length, 4).unwrap();
            writer.append(b"12").unwrap();
            let short = |taken| Short {
                taken,
                wanted: None,
            };
            assert_eq!(writer.append(b"345"), Err(short(2)));
            assert_eq!(writer.append(b"6"), Err(short(0)));
            assert_eq!(writer.append(b""), Ok(()));
            assert!(!writer.finish());
            assert_eq!((body.state(), body.published()), (BodyState::Failed, 4));
        }
    }

    #[test]
    fn a_full_slab_ends_a_growing_body() {
        let memory = HeapMemory::new(12 << 10);
        let (body, mut writer) = Body::new(&memory, None, 1 << 30).unwrap();
        let short = Short {
            taken: 12 << 10,
            wanted: Some(16 << 10),
        };
        assert_eq!(writer.append(&bytes(20 << 10)), Err(short));
        assert!(!writer.finish());
        assert_eq!(body.state(), BodyState::Failed);
    }

    #[test]
    fn a_growing_body_goes_on_once_the_slab_has_room() {
        let memory = HeapMemory::new(28 << 10);
        let (other, _) = Body::new(&memory, Some(16 << 10), 1 << 30).unwrap();
        let (body, mut writer) = Body::new(&memory, None, 1 << 30).unwrap();
        let all = bytes(20 << 10);
        let short = writer.append(&all).unwrap_err();
        drop(other);
        writer.append(&all[short.taken..]).unwrap();
        assert!(writer.finish());
        assert_eq!(body.length(), Some(20 << 10));
        assert!(read(&body) == all);
    }

    #[test]
    fn dropping_the_writer_fails_the_body() {
        let memory = HeapMemory::new(1 << 20);
        let (body, writer) = Body::new(&memory, Some(1), 100).unwrap();
        drop(writer);
        assert_eq!(body.state(), BodyState::Failed);
    }

    #[test]
    fn an_empty_body_holds_nothing() {
        let memory = HeapMemory::new(0);
        let (body, writer) = Body::new(&memory, Some(0), 100).unwrap();
        assert!(writer.finish());
        assert_eq!((body.length(), body.extents().count()), (Some(0), 0));
        assert!(body.piece(0).is_none());
    }

    #[test]
    fn readers_on_other_threads_never_see_unwritten_bytes() {
        let memory = HeapMemory::new(1 << 30);
        let all = bytes(300_000);
        let (body, mut writer) = Body::new(&memory, None, 1 << 20).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while body.state() == BodyState::Filling {
                        let seen = read(&body);
                        assert!(seen == all[..seen.len()]);
                    }
                    assert!(read(&body) == all);
                });
            }
            for chunk in all.chunks(7_001) {
                writer.append(chunk).unwrap();
            }
            assert!(writer.finish());
        });
    }
}
