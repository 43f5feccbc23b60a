//! The ground every other crate stands on: ids as newtypes, limits with unit and reason, and the three seams through
//! which the outside reaches a shard — time ([`Now`], [`Stamp`]), input and output ([`Driver`]), memory ([`Memory`]).
//!
//! Deliberately absent: any clock read, socket, thread or allocation of its own.

mod driver;
mod ids;
pub mod limits;
mod memory;
mod network;
mod time;

pub use driver::{
    Closing, Completion, Doorbell, Driver, DriverCounters, Fault, Full, Part, Room, Scratch, Taken,
};
pub use ids::{ListenerId, RouteId, ShardId, SocketId, UpstreamId};
pub use memory::{Extent, ExtentWriter, Memory, MemoryUsage};
pub use network::{Network, NoNetwork};
pub use time::{Moment, Now, Span, Stamp, Wall, civil};
