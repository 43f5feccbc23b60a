//! The cache: RFC 9111 as pure functions that return a reason ([`policy`]), keys ([`Key`]), stored objects whose bodies
//! lie in slabs and may be read while they grow ([`Object`]), each shard's [`Front`], the node-wide [`NodeStore`] behind
//! all of them, and collapsing of concurrent misses ([`Flights`]).
//!
//! Deliberately absent: clocks, sockets, random sources. Time comes in as [`base::Now`], seeds at construction.

mod body;
mod flight;
mod front;
#[cfg(any(test, feature = "heap-memory"))]
mod heap;
mod index;
mod key;
mod layout;
mod object;
pub mod policy;
mod store;
mod striped_store;

pub use body::{Body, BodyState, BodyWriter, Short};
pub use flight::{Failure, Flight, FlightId, FlightState, Flights, Joined, Leader, Notify};
pub use front::{Front, Resident};
#[cfg(any(test, feature = "heap-memory"))]
pub use heap::{HeapExtent, HeapMemory, HeapPin, HeapWriter};
pub use key::{Key, KeyHash, KeyHasher, KeyView};
pub use object::{Head, Object};
pub use store::{NodeStore, StoreLimits, StoreStats};
pub use striped_store::StripedStore;

const _: () = assert!(usize::BITS >= 64, "offsets of bodies are cast to usize");
