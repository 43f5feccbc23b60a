//! The epoll descriptor: edge-triggered, every socket added once and never changed.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use base::SocketId;

use crate::net;

/// Events of one wait.
const EVENTS: usize = 256;

/// Whom an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Bell,
    Listener(u8),
    Socket(SocketId),
}

/// What changed, since an event was last read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) source: Source,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// The peer ended its direction, or the connection broke: reading leads to the end.
    pub(super) ends: bool,
}

pub(super) struct Poller {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
    full: bool,
    /// The kernel has `epoll_pwait2` (5.11) and lets us use it; without it waits are rounded up to milliseconds.
    fine: bool,
    waits: u64,
}

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: the call has no memory arguments.
        let fd = net::owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        Ok(Self {
            fd,
            events: Vec::with_capacity(EVENTS),
            full: false,
            fine: true,
            waits: 0,
        })
    }

    /// Watches a descriptor; closing it ends that.
    pub(super) fn add(&self, fd: RawFd, source: Source) -> io::Result<()> {
        let input = libc::EPOLLIN | libc::EPOLLET;
        let interest = match source {
            Source::Socket(_) => input | libc::EPOLLOUT | libc::EPOLLRDHUP,
            Source::Bell | Source::Listener(_) => input,
        };
        let mut event = libc::epoll_event {
            events: interest.cast_unsigned(),
            u64: source.encode(),
        };
        // SAFETY: the event is read during the call.
        let status = unsafe {
            libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event)
        };
        if status == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Waits at most `ns` for events, which replace those of the last wait; tells whether there are any.
    pub(super) fn wait(&mut self, ns: u64) -> io::Result<bool> {
        self.events.clear();
        self.events.reserve(EVENTS);
        self.full = false;
        self.waits += 1;
        let count = if self.fine && ns > 0 {
            self.wait_fine(ns)
        } else {
            self.wait_coarse(ns)
        };
        let Ok(count) = usize::try_from(count) else {
            return match net::errno() {
                // A process that was stopped and goes on has not looked yet at what came meanwhile.
                libc::EINTR if ns > 0 => self.wait(0),
                libc::EINTR => Ok(false),
                libc::ENOSYS | libc::EPERM if self.fine && ns > 0 => {
                    self.fine = false;
                    self.wait(ns)
                }
                errno => Err(io::Error::from_raw_os_error(errno)),
            };
        };
        // SAFETY: the kernel wrote `count` events, at most the capacity that it was told.
        unsafe { self.events.set_len(count.min(EVENTS)) };
        self.full = count >= EVENTS;
        Ok(count > 0)
    }

    /// Whether the last wait brought as many events as it could.
    #[inline]
    pub(super) fn was_full(&self) -> bool {
        self.full
    }

    /// The events of the last wait, to be handed back with [`put_events`](Self::put_events).
    pub(super) fn take_events(&mut self) -> Vec<libc::epoll_event> {
        std::mem::take(&mut self.events)
    }

    /// Keeps the vector for the next wait.
    pub(super) fn put_events(&mut self, events: Vec<libc::epoll_event>) {
        self.events = events;
    }

    pub(super) fn waits(&self) -> u64 {
        self.waits
    }

    fn wait_fine(&mut self, ns: u64) -> libc::c_int {
        let time = libc::timespec {
            tv_sec: i64::try_from(ns / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(ns % 1_000_000_000).unwrap_or(0),
        };
        // SAFETY: the vector has room for `EVENTS` events and nobody reads it during the call; no signal mask.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.fd.as_raw_fd(),
                self.events.as_mut_ptr(),
                EVENTS,
                &raw const time,
                std::ptr::null::<libc::sigset_t>(),
                0,
            )
        };
        libc::c_int::try_from(count).unwrap_or(-1)
    }

    fn wait_coarse(&mut self, ns: u64) -> libc::c_int {
        let ms = i32::try_from(ns.div_ceil(1_000_000)).unwrap_or(i32::MAX);
        let room = i32::try_from(EVENTS).unwrap_or(0);
        // SAFETY: the vector has room for `EVENTS` events and nobody reads it during the call.
        unsafe { libc::epoll_wait(self.fd.as_raw_fd(), self.events.as_mut_ptr(), room, ms) }
    }
}

impl Event {
    pub(super) fn of(raw: libc::epoll_event) -> Self {
        let has = |flags: libc::c_int| raw.events & flags.cast_unsigned() != 0;
        let broken = has(libc::EPOLLERR | libc::EPOLLHUP);
        Self {
            source: Source::decode(raw.u64),
            readable: has(libc::EPOLLIN | libc::EPOLLRDHUP) || broken,
            writable: has(libc::EPOLLOUT) || broken,
            ends: has(libc::EPOLLRDHUP) || broken,
        }
    }
}

/// Above every generation, which has 24 bits.
const LISTENER: u32 = 1 << 30;
const BELL: u32 = 1 << 31;

impl Source {
    fn encode(self) -> u64 {
        let (high, low) = match self {
            Self::Bell => (BELL, 0),
            Self::Listener(index) => (LISTENER, u32::from(index)),
            Self::Socket(id) => (id.generation, id.index),
        };
        u64::from(high) << 32 | u64::from(low)
    }

    fn decode(data: u64) -> Self {
        let [a, b, c, d, e, f, g, h] = data.to_le_bytes();
        let (low, high) = (
            u32::from_le_bytes([a, b, c, d]),
            u32::from_le_bytes([e, f, g, h]),
        );
        match high {
            BELL => Self::Bell,
            LISTENER => Self::Listener(a),
            generation => Self::Socket(SocketId {
                index: low,
                generation,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_survive_the_kernels_64_bits() {
        let id = SocketId {
            index: u32::MAX,
            generation: (1 << 24) - 1,
        };
        for source in [Source::Bell, Source::Listener(255), Source::Socket(id)] {
            assert_eq!(Source::decode(source.encode()), source);
        }
    }
}
