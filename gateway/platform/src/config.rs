//! What a driver is made from, and why it may not start.

use std::fmt;
use std::io;
use std::net::TcpListener;
use std::time::Duration;

use crate::memory::{ShardMemory, Slab};
use crate::probe::Refusal;

/// What a shard's driver is made from.
pub struct DriverConfig {
    /// The shard's listening sockets, bound, listening, with `TCP_NODELAY` set (accepted sockets inherit it). Their order
    /// gives the [`ListenerId`](base::ListenerId)s.
    pub listeners: Vec<TcpListener>,
    /// Connections at most, accepted and connected together.
    pub sockets_max: u32,
    /// How long to spin before a sleep.
    pub busy_poll: Duration,
    /// The shard's own buffers.
    pub memory: ShardMemory,
    /// The slab whose extents are sent. The driver keeps its regions mapped for as long as the kernel may read them.
    pub slab: Slab,
}

/// Why a driver did not start.
#[derive(Debug)]
pub enum StartError {
    /// The kernel refuses io_uring, or what is needed of it.
    Refused(Refusal),
    /// A system call failed.
    System {
        /// What was attempted.
        what: &'static str,
        /// The kernel's answer.
        error: io::Error,
        /// What to do about it.
        fix: &'static str,
    },
}

impl StartError {
    pub(crate) fn system(what: &'static str, fix: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::System { what, error, fix }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::System { what, error, fix } => write!(f, "{what}: {error}; {fix}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused(_) => None,
            Self::System { error, .. } => Some(error),
        }
    }
}
