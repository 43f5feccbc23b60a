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
        // None before: it came to be worth it this moment, on another shard.
        let few = lends.then(|| message.before_lendable()).flatten();
        let few = few.filter(|count| *count > 0);
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

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use base::{ExtentWriter, Memory, Part};

    use super::*;
    use crate::Epoll;
    use crate::memory::{HUGE_PAGE_BYTES, PageWish, Region};

    /// Another shard counted meanwhile.
    #[test]
    fn what_has_come_to_be_worth_lending_is_copied_where_it_was_not_when_looked_at() {
        const BYTES: usize = 64 << 10;
        let region = Arc::new(Region::take(HUGE_PAGE_BYTES, PageWish::Plain, None).unwrap());
        let slab = Slab::over(vec![(region, 0, HUGE_PAGE_BYTES)], true);
        let mut writer = slab.reserve(BYTES).unwrap();
        writer.append(&[1; BYTES]);
        let pin = Slab::pin(&writer.extent());
        pin.count(8 * BYTES);
        let mut message = Message::<Epoll>::new();
        message.load(&mut vec![
            Part::Pinned(pin, 0..BYTES as u32),
            Part::Static(b"behind"),
        ]);
        assert_eq!(message.before_lendable(), Some(0));
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let sent = copy(ours.as_raw_fd(), &message, true).unwrap();
        let mut bytes = vec![0; sent];
        theirs.read_exact(&mut bytes).unwrap();
        assert!(sent > 0 && bytes.iter().take(BYTES).all(|byte| *byte == 1));
    }
}
