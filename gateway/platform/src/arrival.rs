//! When the kernel took a packet in: asked of one in a few sockets, because the answer comes as control data, which costs
//! another tenth of a microsecond a receive in the ring and a third by system call (decision 10).

use std::mem::{offset_of, size_of};
use std::os::fd::RawFd;

use crate::net;

/// One in so many of the connections accepted tells when its bytes came. What comes is told in the order in which it came,
/// so the others lie between two of these.
pub(crate) const STAMPED_ONE_IN: u32 = 8;
/// Bytes of the control data that carry a stamp: `struct cmsghdr` and `struct timespec`.
pub(crate) const CONTROL_BYTES: usize = size_of::<Control>();
/// Bytes before those received in a buffer of a multishot receive with control data: `struct io_uring_recvmsg_out` and the
/// control data.
pub(crate) const BEFORE_BYTES: u8 = (size_of::<Out>() + CONTROL_BYTES) as u8;

/// `struct io_uring_recvmsg_out`.
#[repr(C)]
struct Out {
    name: u32,
    control: u32,
    payload: u32,
    flags: u32,
}

/// The control message of a stamp.
#[repr(C)]
struct Control {
    header: libc::cmsghdr,
    time: libc::timespec,
}

/// Has the sockets accepted from a listener keep the times at which their packets came.
pub(crate) fn keep_stamps(listener: RawFd) {
    // Refused nowhere known; without it times are estimated for all as they are between stamps.
    let _ = net::set(listener, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &1_i32);
}

/// Whether the connection in a slot is one that tells.
pub(crate) fn tells(index: u32) -> bool {
    index.is_multiple_of(STAMPED_ONE_IN)
}

/// When the last of the bytes came, in nanoseconds of the wall clock, out of what stands before them in a buffer.
#[inline]
pub(crate) fn before(bytes: &[u8]) -> Option<u64> {
    let control = number::<4>(bytes, offset_of!(Out, control)).map(u32::from_ne_bytes)?;
    let bytes = bytes.get(size_of::<Out>()..)?;
    told(bytes, control as usize)
}

/// The same out of `length` bytes of control data.
#[inline]
pub(crate) fn told(control: &[u8], length: usize) -> Option<u64> {
    let integer = |at| number::<4>(control, at).map(i32::from_ne_bytes);
    let long = |at| {
        let value = number::<8>(control, offset_of!(Control, time) + at).map(i64::from_ne_bytes)?;
        u64::try_from(value).ok()
    };
    let level = integer(offset_of!(libc::cmsghdr, cmsg_level))?;
    let kind = integer(offset_of!(libc::cmsghdr, cmsg_type))?;
    if length < CONTROL_BYTES || (level, kind) != (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) {
        return None;
    }
    let seconds = long(offset_of!(libc::timespec, tv_sec))?;
    let nanos = long(offset_of!(libc::timespec, tv_nsec))?;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
}

#[inline]
fn number<const BYTES: usize>(bytes: &[u8], at: usize) -> Option<[u8; BYTES]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(kind: libc::c_int) -> Vec<u8> {
        let mut bytes = Vec::from(CONTROL_BYTES.to_ne_bytes());
        bytes.extend(libc::SOL_SOCKET.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(7_i64.to_ne_bytes());
        bytes.extend(9_i64.to_ne_bytes());
        bytes
    }

    #[test]
    fn a_stamp_is_read_and_anything_else_is_none() {
        let stamp = control(libc::SCM_TIMESTAMPNS);
        assert_eq!(told(&stamp, stamp.len()), Some(7_000_000_009));
        assert_eq!(told(&stamp, 0), None);
        assert_eq!(told(&stamp[..20], CONTROL_BYTES), None);
        let other = control(libc::SCM_RIGHTS);
        assert_eq!(told(&other, other.len()), None);
    }

    #[test]
    fn a_stamp_stands_between_the_rings_head_and_the_bytes() {
        let head = [0, CONTROL_BYTES as u32, 3, 0];
        let mut bytes: Vec<u8> = head.iter().flat_map(|word| word.to_ne_bytes()).collect();
        bytes.extend(control(libc::SCM_TIMESTAMPNS));
        assert_eq!(bytes.len(), usize::from(BEFORE_BYTES));
        bytes.extend(b"abc");
        assert_eq!(before(&bytes), Some(7_000_000_009));
        bytes[4] = 0;
        assert_eq!(before(&bytes), None);
    }
}
