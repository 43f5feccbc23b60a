//! The cache: RFC 9111 as pure functions that return a reason ([`policy`]), keys ([`Key`]), stored objects whose bodies
//! lie in slabs and may be read while they grow ([`Object`]), the entries they make ([`Entry`], [`Variant`]), each shard's [`Front`], the node-wide [`NodeStore`] behind
//! all of them, and collapsing of concurrent misses ([`Flights`]).
//!
//! Deliberately absent: clocks, sockets, random sources. Time comes in as [`base::Now`], seeds at construction.

mod body;
mod entry;
mod flight;
mod front;
#[cfg(any(test, feature = "heap-memory"))]
mod heap;
mod index;
mod joined;
mod key;
mod layout;
mod object;
mod part;
pub mod policy;
mod store;
mod striped_store;
mod variant;

pub use body::{Body, BodyState, BodyWriter, Short};
pub use entry::Entry;
pub use flight::{
    Brought, Failure, Flight, FlightId, FlightState, Flights, Joined, Leader, Notify,
};
pub use front::{Front, Held, Resident};
#[cfg(any(test, feature = "heap-memory"))]
pub use heap::{HeapExtent, HeapMemory, HeapPin, HeapWriter};
pub use key::{Key, KeyHash, KeyHasher, KeyView};
pub use object::{Head, Object};
pub use part::Part;
pub use store::{NodeStore, StoreLimits, StoreStats};
pub use striped_store::StripedStore;
pub use variant::Variant;

const _: () = assert!(usize::BITS >= 64, "offsets of bodies are cast to usize");
