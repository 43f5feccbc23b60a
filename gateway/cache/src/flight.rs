//! Collapsing: of concurrent misses of one key, on whichever shards, one goes to the origin and the others wait for what
//! it brings (RFC 9211 `collapsed`).
//!
//! Two kinds of lock, both held for a few instructions and never on the hit path: a stripe's, over the table of open
//! flights, and a flight's, over its state and followers. The stripe's comes first where both are held.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::{Memory, ShardId, Wall, limits};
use hashbrown::HashTable;

use crate::{Key, KeyHash, Object};

/// Names a flight for as long as the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlightId(pub u64);

/// Tells a shard that a flight it follows has something new. Coalesced: after a notice no second one follows until the
/// shard has looked at the flight ([`Flight::look`]).
pub trait Notify: Send + Sync {
    /// Called on the leader's thread, under no lock, for each subscribed shard but the leader's own, whose followers
    /// the leader tells itself. One exception: a leader that is dropped without a verdict notifies its own shard as
    /// well, because nobody there may be left to know of it. May run while a panic unwinds: must not panic.
    fn flight(&self, shard: ShardId, flight: FlightId);
}

/// All flights of the node.
pub struct Flights<M: Memory> {
    shared: Arc<Shared<M>>,
}

/// What joining a key's flight came to.
pub enum Joined<M: Memory> {
    /// Nobody fetches it: you do.
    Lead(Leader<M>),
    /// Somebody does: follow. The shard is subscribed.
    Follow(Arc<Flight<M>>),
}

/// A fetch that others may follow.
pub struct Flight<M: Memory> {
    id: FlightId,
    key: Key,
    /// Of the key's variants the one asked for ([`Variant::signature`](crate::Variant::signature)); empty while nobody knows
    /// that they vary.
    variant: Box<[u8]>,
    leader: ShardId,
    /// The key's purges when it began.
    purges: u32,
    inner: Mutex<Inner<M>>,
}

/// How a flight stands, for its followers.
pub enum FlightState<M: Memory> {
    /// No answer yet.
    Waiting,
    /// The answer may be shared, and is here or (still) arriving: serve from it.
    Streaming(Arc<Object<M>>, Brought),
    /// The answer was for the leader alone (not storable): fetch for yourself.
    Passed,
    /// No answer could be had.
    Failed(Failure),
    /// The leader went away without a verdict: join again.
    Abandoned,
}

/// What an answer shared by a flight is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Brought {
    /// A new one, on its way into the store.
    Stored,
    /// A stored part with what it lacked, on its way into the store.
    Completed,
    /// The stored one, which the origin confirmed.
    Revalidated,
    /// The same, for whose request confirmed it alone, and stored no more: why, for `Cache-Status`.
    Withdrawn(&'static str),
    /// The stored one, stale, because the origin has nothing better.
    Stale {
        /// Why that is allowed, for `Cache-Status`.
        why: &'static str,
        /// The leader's own request alone allows it.
        by_request: bool,
    },
}

/// Why there was no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The status to answer with: 502, 503 or 504.
    pub status: u16,
    /// Its reason, one of a fixed set.
    pub reason: &'static str,
}

/// The right and duty to fetch a key. Dropping it without a verdict abandons the flight; either way the key is free for
/// the next flight then.
pub struct Leader<M: Memory> {
    shared: Arc<Shared<M>>,
    flight: Arc<Flight<M>>,
    /// Whether a verdict was given.
    ended: bool,
}

struct Shared<M: Memory> {
    stripes: Box<[Stripe<M>]>,
    open: AtomicUsize,
    last_id: AtomicU64,
    /// How often keys with a hash in this place were purged.
    purges: Box<[AtomicU32]>,
    /// Keys whose answers are not stored: the hash's upper half, and the second until which that is taken for granted.
    passing: Box<[AtomicU64]>,
    notify: Arc<dyn Notify>,
}

type Open<M> = HashTable<Arc<Flight<M>>>;

/// On lines of its own, so that shards in different stripes do not meet.
#[repr(align(128))]
struct Stripe<M: Memory> {
    open: Mutex<Open<M>>,
}

struct Inner<M: Memory> {
    state: FlightState<M>,
    followers: Followers,
}

/// Following shards, 64 a word.
#[derive(Default)]
struct Followers {
    words: Vec<Word>,
}

#[derive(Clone, Copy, Default)]
struct Word {
    /// Shards that follow.
    subscribed: u64,
    /// Those among them that have a notice they have not looked at.
    noticed: u64,
}

/// Whom to notify.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Audience {
    Others,
    Everybody,
}

/// Of a mark in `passing`, the bits of the time: seconds fit until the year 36,812.
const PASSING_SECONDS: u64 = (1 << 40) - 1;

/// Stripes of the table: with one flight at a time on each of a hundred shards, two seldom meet.
const STRIPES: usize = 64;

impl<M: Memory> Flights<M> {
    /// No flights; `notify` reaches the shards.
    #[must_use]
    pub fn new(notify: Arc<dyn Notify>) -> Self {
        let stripe = |_| Stripe {
            open: Mutex::new(HashTable::new()),
        };
        let shared = Shared {
            stripes: (0..STRIPES).map(stripe).collect(),
            open: AtomicUsize::new(0),
            last_id: AtomicU64::new(0),
            purges: (0..limits::KEY_MARKS).map(|_| AtomicU32::new(0)).collect(),
            passing: (0..limits::KEY_MARKS).map(|_| AtomicU64::new(0)).collect(),
            notify,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Joins the flight of a key's variant, or opens one.
    pub fn join(&self, key: &Key, variant: &[u8], shard: ShardId) -> Joined<M> {
        let mut open = self.shared.stripe(key.hash());
        if let Some(flight) = find(&open, key, variant) {
            flight.lock().followers.subscribe(shard);
            return Joined::Follow(Arc::clone(flight));
        }
        Joined::Lead(self.open(&mut open, key, variant, shard))
    }

    /// Opens the flight of a key's variant, unless there is one.
    #[must_use]
    pub fn lead(&self, key: &Key, variant: &[u8], shard: ShardId) -> Option<Leader<M>> {
        let mut open = self.shared.stripe(key.hash());
        match find(&open, key, variant) {
            Some(_) => None,
            None => Some(self.open(&mut open, key, variant, shard)),
        }
    }

    /// A flight that nobody can join: what it brings is kept or not like any other's.
    #[must_use]
    pub fn alone(&self, key: &Key, shard: ShardId) -> Leader<M> {
        self.leader(Arc::new(self.flight(key, b"", shard)))
    }

    /// Likewise, counting purges from when another began.
    #[must_use]
    pub fn alone_since(&self, key: &Key, shard: ShardId, purges: u32) -> Leader<M> {
        let mut flight = self.flight(key, b"", shard);
        flight.purges = purges;
        self.leader(Arc::new(flight))
    }

    /// A key's purges so far.
    #[must_use]
    pub fn purges(&self, hash: KeyHash) -> u32 {
        self.shared.purges(hash).load(Ordering::SeqCst)
    }

    fn open(&self, open: &mut Open<M>, key: &Key, variant: &[u8], shard: ShardId) -> Leader<M> {
        let flight = Arc::new(self.flight(key, variant, shard));
        open.insert_unique(key.hash().mark(), Arc::clone(&flight), |flight| {
            flight.key.hash().mark()
        });
        self.shared.open.fetch_add(1, Ordering::Relaxed);
        self.leader(flight)
    }

    fn flight(&self, key: &Key, variant: &[u8], shard: ShardId) -> Flight<M> {
        let inner = Inner {
            state: FlightState::Waiting,
            followers: Followers::default(),
        };
        Flight {
            id: self.shared.next_id(),
            key: key.clone(),
            variant: variant.into(),
            leader: shard,
            purges: self.shared.purges(key.hash()).load(Ordering::SeqCst),
            inner: Mutex::new(inner),
        }
    }

    fn leader(&self, flight: Arc<Flight<M>>) -> Leader<M> {
        Leader {
            shared: Arc::clone(&self.shared),
            flight,
            ended: false,
        }
    }

    /// Whatever is being fetched for a key was asked for too early to be stored: those who wait for it get it, nobody who
    /// asks later does. To be called before the key is removed from the index; the leader asks
    /// [`is_outdated`](Leader::is_outdated) after it put its object there, so that one of the two removes it.
    pub fn outdate(&self, key: &Key) {
        self.shared
            .purges(key.hash())
            .fetch_add(1, Ordering::SeqCst);
        let mut open = self.shared.stripe(key.hash());
        let mark = key.hash().mark();
        while let Ok(entry) = open.find_entry(mark, |flight| flight.key == *key) {
            entry.remove();
            self.shared.open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Takes for granted until a time that a key's answers are not stored, so that nobody waits for them (hit-for-miss).
    pub fn pass_until(&self, hash: KeyHash, until: Wall) {
        let second = until.as_secs() & PASSING_SECONDS;
        self.shared
            .passing(hash)
            .store(passing_tag(hash) | second, Ordering::Relaxed);
    }

    /// A key's answer was stored after all.
    pub fn forget_passing(&self, hash: KeyHash) {
        let place = self.shared.passing(hash);
        if place.load(Ordering::Relaxed) & !PASSING_SECONDS == passing_tag(hash) {
            place.store(0, Ordering::Relaxed);
        }
    }

    /// Whether a key's answers are known not to be stored.
    #[must_use]
    pub fn is_passing(&self, hash: KeyHash, now: Wall) -> bool {
        let mark = self.shared.passing(hash).load(Ordering::Relaxed);
        mark & !PASSING_SECONDS == passing_tag(hash) && mark & PASSING_SECONDS > now.as_secs()
    }

    /// Flights now open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<M: Memory> Flight<M> {
    /// Its name.
    #[must_use]
    pub fn id(&self) -> FlightId {
        self.id
    }

    /// Whether clients of other shards joined it, be they gone since.
    #[must_use]
    pub fn has_other_shards(&self, shard: ShardId) -> bool {
        self.lock().followers.has_others(shard)
    }

    /// How it stands now. For looking without having had a notice; after one, [`look`](Self::look), or a further notice
    /// may come that tells nothing new.
    #[must_use]
    pub fn state(&self) -> FlightState<M> {
        let mut inner = self.lock();
        inner.followers.forget_notices();
        inner.state.clone()
    }

    /// How it stands now, for a follower's shard, which will be notified of what comes later than this. A follower that
    /// reads on in an object it already holds looks here first all the same.
    #[must_use]
    pub fn look(&self, shard: ShardId) -> FlightState<M> {
        let mut inner = self.lock();
        inner.followers.forget_notice(shard);
        inner.state.clone()
    }

    /// No code that can panic runs under this lock, so a poisoned one is whole.
    fn lock(&self) -> MutexGuard<'_, Inner<M>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: Memory> Leader<M> {
    /// The flight, for followers on the leader's own shard.
    #[must_use]
    pub fn flight(&self) -> &Arc<Flight<M>> {
        &self.flight
    }

    /// The key's hash.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        self.flight.key.hash()
    }

    /// Whether the key was purged since this fetch began: what it brings must not stay in the index.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        let purges = self.shared.purges(self.hash()).load(Ordering::SeqCst);
        purges != self.flight.purges
    }

    /// There is an answer to share: followers serve from this object, while it grows where it does.
    pub fn publish(&self, object: Arc<Object<M>>, brought: Brought) {
        self.flight.lock().state = FlightState::Streaming(object, brought);
        self.notify(Audience::Others);
    }

    /// The object grew, completed or failed: tells the subscribed shards.
    pub fn progress(&self) {
        self.notify(Audience::Others);
    }

    /// The answer is the leader's alone. Ends the flight.
    pub fn pass(self) {
        self.end(Some(FlightState::Passed), Audience::Others);
    }

    /// There is no answer. Ends the flight.
    pub fn fail(self, failure: Failure) {
        self.end(Some(FlightState::Failed(failure)), Audience::Others);
    }

    /// The published object is complete (or failed, which its body says). Ends the flight.
    pub fn land(self) {
        self.end(None, Audience::Others);
    }

    /// With a verdict the state becomes that; without, it stays.
    fn end(mut self, verdict: Option<FlightState<M>>, audience: Audience) {
        self.ended = true;
        self.close(verdict, audience);
    }

    /// Frees the key, then gives the verdict, then tells: a follower that hears of it and joins again opens a new
    /// flight, and one that joined before the key was free is among those told.
    fn close(&self, verdict: Option<FlightState<M>>, audience: Audience) {
        self.shared.free(&self.flight);
        if let Some(state) = verdict {
            self.flight.lock().state = state;
        }
        self.notify(audience);
    }

    fn notify(&self, audience: Audience) {
        let flight = &self.flight;
        let mut index = 0;
        loop {
            let pending = flight
                .lock()
                .followers
                .notice(index, flight.leader, audience);
            let Some(pending) = pending else { break };
            for shard in shards(index, pending) {
                self.shared.notify.flight(shard, flight.id);
            }
            index += 1;
        }
    }
}

impl<M: Memory> Drop for Leader<M> {
    fn drop(&mut self) {
        if !self.ended {
            self.close(Some(FlightState::Abandoned), Audience::Everybody);
        }
    }
}

impl<M: Memory> Shared<M> {
    fn next_id(&self) -> FlightId {
        FlightId(self.last_id.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn purges(&self, hash: KeyHash) -> &AtomicU32 {
        &self.purges[hash.place() as usize % limits::KEY_MARKS]
    }

    fn passing(&self, hash: KeyHash) -> &AtomicU64 {
        &self.passing[hash.place() as usize % limits::KEY_MARKS]
    }

    /// No code that can panic runs under this lock but the allocator's, which leaves the table whole.
    fn stripe(&self, hash: KeyHash) -> MutexGuard<'_, Open<M>> {
        let at = hash.place() as usize % STRIPES;
        self.stripes[at]
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn free(&self, flight: &Arc<Flight<M>>) {
        let hash = flight.key.hash();
        let mut open = self.stripe(hash);
        if let Ok(entry) = open.find_entry(hash.mark(), |held| Arc::ptr_eq(held, flight)) {
            entry.remove();
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl<M: Memory> Clone for FlightState<M> {
    fn clone(&self) -> Self {
        match self {
            Self::Waiting => Self::Waiting,
            Self::Streaming(object, brought) => Self::Streaming(Arc::clone(object), *brought),
            Self::Passed => Self::Passed,
            Self::Failed(failure) => Self::Failed(*failure),
            Self::Abandoned => Self::Abandoned,
        }
    }
}

impl Followers {
    fn subscribe(&mut self, shard: ShardId) {
        let (index, bit) = place(shard);
        if self.words.len() <= index {
            self.words.resize(index + 1, Word::default());
        }
        if let Some(word) = self.words.get_mut(index) {
            word.subscribed |= bit;
            // It is about to look at the state for the first time; what comes after that must reach it.
            word.noticed &= !bit;
        }
    }

    fn has_others(&self, shard: ShardId) -> bool {
        let (own, bit) = place(shard);
        let mut words = self.words.iter().enumerate();
        words.any(|(index, word)| {
            let own = if index == own { bit } else { 0 };
            word.subscribed & !own != 0
        })
    }

    fn forget_notice(&mut self, shard: ShardId) {
        let (index, bit) = place(shard);
        if let Some(word) = self.words.get_mut(index) {
            word.noticed &= !bit;
        }
    }

    fn forget_notices(&mut self) {
        for word in &mut self.words {
            word.noticed = 0;
        }
    }

    /// Marks the shards of a word that are to be told now, and returns them; `None` behind the last word.
    fn notice(&mut self, index: usize, leader: ShardId, audience: Audience) -> Option<u64> {
        let word = self.words.get_mut(index)?;
        let mut pending = word.subscribed & !word.noticed;
        if audience == Audience::Others && place(leader).0 == index {
            pending &= !place(leader).1;
        }
        word.noticed |= pending;
        Some(pending)
    }
}

fn find<'a, M: Memory>(open: &'a Open<M>, key: &Key, variant: &[u8]) -> Option<&'a Arc<Flight<M>>> {
    open.find(key.hash().mark(), |flight| {
        *flight.variant == *variant && flight.key == *key
    })
}

fn passing_tag(hash: KeyHash) -> u64 {
    hash.mark() & !PASSING_SECONDS
}

fn place(shard: ShardId) -> (usize, u64) {
    (usize::from(shard.0 / 64), 1 << (shard.0 % 64))
}

/// The shards of a word's bits.
fn shards(index: usize, bits: u64) -> impl Iterator<Item = ShardId> {
    (0..64_u16)
        .filter(move |bit| bits & 1 << bit != 0)
        .filter_map(move |bit| Some(ShardId(u16::try_from(index).ok()? * 64 + bit)))
}
