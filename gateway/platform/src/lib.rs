//! Everything Linux, and all of the gateway's `unsafe`: the io_uring and epoll drivers ([`Uring`], [`Epoll`]), the node's
//! memory ([`memory`]), the clock, and the probe that says which driver can be had ([`probe`]).
//!
//! Deliberately absent: HTTP, caching, configuration, and any thread of its own.

mod arrival;
mod clock;
mod config;
mod doorbell;
mod epoll;
pub mod floor;
pub mod group;
pub mod host;
mod lend;
pub mod listen;
pub mod memory;
mod message;
mod net;
mod pace;
mod pool;
pub mod probe;
mod table;
mod transmit;
mod uring;

pub use clock::Clock;
pub use config::{DriverConfig, StartError};
pub use epoll::Epoll;
pub use memory::Slab;
pub use pool::{PoolLevels, Received, ScratchBuffer};
pub use probe::Backend;
pub use uring::Uring;
