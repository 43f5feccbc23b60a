//! Ids as newtypes, so that an index of one table cannot be used in another.

use std::fmt;

/// A shard: one pinned thread with its own driver, connections and front cache. Dense from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

/// A listening socket of a shard, in the order in which the driver was given them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerId(pub u8);

/// A configured route; dense from 0 in configuration order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(pub u16);

/// A configured upstream; dense from 0 in configuration order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UpstreamId(pub u16);

/// A connection of a driver. The index is dense and reused; the generation tells a reused index from its past, so a
/// stale id is refused instead of reaching somebody else's connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SocketId {
    /// Slot in the driver's table; a caller may keep its own table of the same shape.
    pub index: u32,
    /// Count of the slot's reuses (wraps at 2^24).
    pub generation: u32,
}

impl fmt::Debug for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "socket {}.{}", self.index, self.generation)
    }
}
