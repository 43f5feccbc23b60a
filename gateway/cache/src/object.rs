//! A stored answer: its head, its lifetime, and a body that every shard may read while one writer appends to it.

use std::sync::atomic::{AtomicBool, Ordering};

use base::Memory;

use crate::body::{Body, BodyWriter};
use crate::{Key, policy::Lifetime};

/// Bytes of a store's index for one object: an entry of 48, two to four places of 8 in the table, a ghost.
const INDEX_BYTES: usize = 96;

/// A stored answer. Immutable but for the growing body and the `live` flag.
pub struct Object<M: Memory> {
    /// The key it is stored under.
    pub key: Key,
    /// Status and fields.
    pub head: Head,
    /// When it is fresh.
    pub lifetime: Lifetime,
    /// The body.
    pub body: Body<M>,
    pub(crate) live: AtomicBool,
}

/// Status and fields as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The status.
    pub status: u16,
    /// The field lines to replay, `Name: value\r\n` each, without hop-by-hop fields, framing fields, `Age`,
    /// and with a `Date` (RFC 9111 §3.1); [`policy::head_fields`](crate::policy::head_fields) makes them.
    pub fields: Box<[u8]>,
}

impl<M: Memory> Object<M> {
    /// An object and the writer of its body. With a `length` known, all extents are reserved now; `None` is returned
    /// when the slab cannot hold them or the length is beyond `bytes_max`. Without, they are reserved as it grows, up to
    /// `bytes_max`.
    #[must_use]
    pub fn new(
        memory: &M,
        key: Key,
        head: Head,
        lifetime: Lifetime,
        length: Option<u64>,
        bytes_max: u64,
    ) -> Option<(Self, BodyWriter<M>)> {
        let (body, writer) = Body::new(memory, length, bytes_max)?;
        let object = Self {
            key,
            head,
            lifetime,
            body,
            live: AtomicBool::new(true),
        };
        Some((object, writer))
    }

    /// Whether it may still be served: not replaced, purged or evicted. One relaxed-cost load.
    #[must_use]
    #[inline]
    pub fn is_live(&self) -> bool {
        self.live.load(Ordering::Acquire)
    }

    /// Ends its use: when this returns, no front serves it to a request that arrives later.
    pub fn retire(&self) {
        // Sequentially consistent, so that the store has left this core before the purge is acknowledged.
        self.live.store(false, Ordering::SeqCst);
    }

    /// True bytes this object holds: extents' capacity, head, key, its own size and its share of the index. For the
    /// store's weigher.
    #[must_use]
    pub fn cost_bytes(&self) -> u64 {
        let itself = size_of::<Self>() + self.key.heap_bytes() + self.head.fields.len();
        self.body.cost_bytes() + (itself + INDEX_BYTES) as u64
    }
}
