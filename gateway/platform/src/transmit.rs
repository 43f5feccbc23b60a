//! Sending with system calls of its own: all that the epoll driver sends, and messages with pages to lend.

use std::io::IoSlice;
use std::os::fd::RawFd;

use base::Driver;
use base::limits::PARTS_MAX;

use crate::lend::{LEND_BYTES_MAX, Lender, Refused};
use crate::memory::Slab;
use crate::message::Message;
use crate::net;

/// What a try to send came to.
pub(crate) enum Outcome {
    /// The whole message is taken.
    Whole,
    /// The socket takes no more for now.
    Full,
    /// This error.
    Broken(i32),
}

/// Sends until the message or the socket's room is at its end. Never waits.
pub(crate) fn transmit<D: Driver<Memory = Slab>>(
    socket: RawFd,
    message: &mut Message<D>,
    lender: &mut Lender,
) -> Outcome {
    loop {
        let sent = match lend(socket, message, lender) {
            Some(Err(Refused::Full)) => return Outcome::Full,
            Some(Err(Refused::Broken(errno))) => Err(errno),
            Some(Ok(count)) => Ok(count),
            Some(Err(Refused::Never)) | None => copy(socket, message, lender.lends()),
        };
        match sent {
            Ok(count) if message.advance(count) => return Outcome::Whole,
            Ok(0) => return Outcome::Broken(libc::EPIPE),
            Ok(_) | Err(libc::EINTR) => {}
            Err(libc::EAGAIN) => return Outcome::Full,
            Err(errno) => return Outcome::Broken(errno),
        }
    }
}

/// Lends what comes next, if it is worth it.
fn lend<D: Driver<Memory = Slab>>(
    socket: RawFd,
    message: &Message<D>,
    lender: &mut Lender,
) -> Option<Result<usize, Refused>> {
    let pages = lender.lends().then(|| message.lendable())??;
    let mut slices = [IoSlice::new(&[]); PARTS_MAX];
    let (mut count, mut bytes) = (0, 0);
    for (slot, slice) in slices.iter_mut().zip(pages) {
        let few = slice.get(..LEND_BYTES_MAX - bytes).unwrap_or(slice);
        *slot = IoSlice::new(few);
        count += 1;
        bytes += few.len();
        if bytes == LEND_BYTES_MAX {
            break;
        }
    }
    message.lend(bytes);
    let slices = slices.get(..count).unwrap_or_default();
    Some(lender.lend(socket, slices, message.goes_on_after(bytes)))
}

/// Sends what comes before the next pages to lend.
fn copy<D: Driver<Memory = Slab>>(
    socket: RawFd,
    message: &Message<D>,
    lends: bool,
) -> Result<usize, i32> {
    let mut flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    let (head, only) = message.head();
    let sent = if only {
        // SAFETY: the bytes are readable for their length.
        unsafe { libc::send(socket, head.as_ptr().cast(), head.len(), flags) }
    } else {
        let mut slices = [IoSlice::new(&[]); PARTS_MAX];
        let few = lends.then(|| message.before_lendable()).flatten();
        let mut count = 0;
        let copied = message.slices().take(few.unwrap_or(PARTS_MAX));
        for (slot, slice) in slices.iter_mut().zip(copied) {
            *slot = slice;
            count += 1;
        }
        if few.is_some() {
            flags |= libc::MSG_MORE;
        }
        // SAFETY: all zeroes are a valid, empty header.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        // An IoSlice is an iovec, by std's promise; the kernel only reads it.
        header.msg_iov = slices.as_mut_ptr().cast();
        header.msg_iovlen = count;
        // SAFETY: the header's slices and their bytes are readable during the call.
        unsafe { libc::sendmsg(socket, &raw const header, flags) }
    };
    usize::try_from(sent).map_err(|_| net::errno())
}
