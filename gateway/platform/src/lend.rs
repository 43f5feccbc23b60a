//! Pages of large cached bodies, lent to a socket instead of copied: `vmsplice` puts references to them into a pipe, `splice`
//! moves those on to the socket.
//!
//! The kernel says nothing when the peer has read them. So nothing is ever written to a lent page: when its block goes, the
//! slab exchanges it for another (`memory::slab`), and the socket keeps the old one for as long as it likes.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, PipeReader, PipeWriter};
use std::os::fd::{AsRawFd, RawFd};

/// Bytes in a row of a message from which on lending them costs less than copying them (docs/decisions/0008-lent-pages.md).
pub(crate) const LEND_BYTES_MIN: usize = 48 << 10;
/// Bytes lent at once. What a socket does not take of them was looked up in vain.
pub(crate) const LEND_BYTES_MAX: usize = 128 << 10;

/// A shard's pipe. Empty between calls.
pub(crate) struct Lender {
    pipe: Option<Pipe>,
    /// Sockets wait for room, unless told not to.
    sockets_block: bool,
}

struct Pipe {
    exit: PipeReader,
    entrance: PipeWriter,
    /// Swallows what a socket did not take.
    sink: File,
}

/// Why pages were not lent.
pub(crate) enum Refused {
    /// The socket takes no more for now.
    Full,
    /// The connection broke, with this error.
    Broken(i32),
    /// The kernel does not lend, which will not change: to be copied.
    Never,
}

impl Lender {
    /// Unless `lend`, or where descriptors are out, everything is copied.
    pub(crate) fn new(lend: bool, sockets_block: bool) -> Self {
        Self {
            pipe: lend.then(Pipe::new).and_then(Result::ok),
            sockets_block,
        }
    }

    pub(crate) fn lends(&self) -> bool {
        self.pipe.is_some()
    }

    /// Lends some of `pages` to a socket, at least a byte; `more` follows after them. The slab has been told.
    pub(crate) fn lend(
        &mut self,
        socket: RawFd,
        pages: &[IoSlice<'_>],
        more: bool,
    ) -> Result<usize, Refused> {
        let Some((pipe, held)) = self.pipe.as_ref().and_then(|pipe| pipe.fill(pages)) else {
            self.pipe = None;
            return Err(Refused::Never);
        };
        // A broken connection's SIGPIPE is ignored, by std. `SPLICE_F_NONBLOCK` speaks of pipes alone. No operation is
        // prepared for the ring meanwhile.
        let impatient = self.sockets_block.then(|| Impatient::new(socket));
        let (taken, errno) = pipe.flow(socket, held, more);
        drop(impatient);
        let never = taken == 0 && matches!(errno, libc::EINVAL | libc::ENOSYS | libc::EPERM);
        // From a pipe that keeps bytes the next peer would get them.
        if !pipe.swallow(held - taken) || never {
            self.pipe = None;
        }
        match errno {
            _ if taken > 0 => Ok(taken),
            _ if never => Err(Refused::Never),
            libc::EAGAIN => Err(Refused::Full),
            errno => Err(Refused::Broken(errno)),
        }
    }
}

impl Pipe {
    fn new() -> io::Result<Self> {
        let (exit, entrance) = io::pipe()?;
        // SAFETY: a call on an own descriptor. Refused (EPERM: the user's limit), the pipe holds less at once.
        unsafe { libc::fcntl(entrance.as_raw_fd(), libc::F_SETPIPE_SZ, LEND_BYTES_MAX) };
        let sink = OpenOptions::new().write(true).open("/dev/null")?;
        Ok(Self {
            exit,
            entrance,
            sink,
        })
    }

    /// Moves what the pipe holds on to a socket; tells how much that took, and the error that ended it.
    fn flow(&self, socket: RawFd, held: usize, more: bool) -> (usize, i32) {
        let mut taken = 0;
        while taken < held {
            match splice(self.exit.as_raw_fd(), socket, held - taken, more) {
                Ok(0) => return (taken, libc::EPIPE),
                Ok(count) => taken += count,
                Err(libc::EINTR) => {}
                Err(errno) => return (taken, errno),
            }
        }
        (taken, 0)
    }

    /// Empties the pipe of what a socket did not take.
    fn swallow(&self, bytes: usize) -> bool {
        let mut left = bytes;
        while left > 0 {
            match splice(self.exit.as_raw_fd(), self.sink.as_raw_fd(), left, false) {
                Ok(count) if count > 0 => left -= count,
                Err(libc::EINTR) => {}
                _ => return false,
            }
        }
        true
    }

    /// Puts references to pages into the empty pipe; tells how many bytes of them it holds.
    fn fill(&self, pages: &[IoSlice<'_>]) -> Option<(&Self, usize)> {
        // An IoSlice is an iovec, by std's promise; the kernel only reads it.
        let slices = pages.as_ptr().cast::<libc::iovec>();
        let entrance = self.entrance.as_raw_fd();
        // SAFETY: the bytes are readable; the kernel holds their pages from now on and never writes to them, and neither does
        // the slab, which was told that they are lent.
        let count =
            unsafe { libc::vmsplice(entrance, slices, pages.len(), libc::SPLICE_F_NONBLOCK) };
        usize::try_from(count).ok().map(|held| (self, held))
    }
}

/// A socket that does not wait while this lives.
struct Impatient(RawFd);

impl Impatient {
    fn new(socket: RawFd) -> Self {
        set_nonblocking(socket, 1);
        Self(socket)
    }
}

impl Drop for Impatient {
    fn drop(&mut self) {
        set_nonblocking(self.0, 0);
    }
}

fn set_nonblocking(socket: RawFd, on: libc::c_int) {
    // SAFETY: the number is read during the call. An open socket does not refuse.
    unsafe { libc::ioctl(socket, libc::FIONBIO, &raw const on) };
}

fn splice(from: RawFd, to: RawFd, bytes: usize, more: bool) -> Result<usize, i32> {
    let flags = libc::SPLICE_F_NONBLOCK | if more { libc::SPLICE_F_MORE } else { 0 };
    let none = std::ptr::null_mut();
    // SAFETY: descriptors and no memory.
    let count = unsafe { libc::splice(from, none, to, none, bytes, flags) };
    usize::try_from(count).map_err(|_| crate::net::errno())
}
