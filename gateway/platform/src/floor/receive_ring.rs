//! The provided-buffer ring: where multishot receives put their bytes.

use std::io;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

/// The only buffer group of a floor's ring.
pub(super) const GROUP: u16 = 0;
/// Buffers of the group; a power of two, as the kernel asks.
const BUFFERS: u16 = 1024;
/// Bytes of one buffer.
const BUFFER_BYTES: usize = 4096;

/// An anonymous mapping, zeroed, page-aligned, unmapped on drop.
struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
}

impl Mapping {
    fn new(bytes: usize) -> io::Result<Mapping> {
        let (protection, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no memory in use.
        let start = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start =
            NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at address zero"))?;
        Ok(Mapping { start, bytes })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the range that `new` mapped; the owner lends nothing that outlives it.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

/// The ring of buffers and the buffers themselves.
///
/// Invariant: a buffer is either the kernel's (it stands in the ring) or ours (a completion named it and `give_back`
/// has not been called for it since). Only ours are read. While a ring that registered this is alive, this must be:
/// the owner keeps it in a field declared after the ring, or unregisters first.
pub(super) struct ReceiveRing {
    entries: Mapping,
    buffers: Mapping,
    tail: u16,
}

impl ReceiveRing {
    pub(super) fn new() -> io::Result<ReceiveRing> {
        let mut ring = ReceiveRing {
            entries: Mapping::new(usize::from(BUFFERS) * size_of::<BufRingEntry>())?,
            buffers: Mapping::new(usize::from(BUFFERS) * BUFFER_BYTES)?,
            tail: 0,
        };
        for id in 0..BUFFERS {
            ring.give_back(id);
        }
        ring.publish();
        Ok(ring)
    }

    /// Registers the ring with the kernel.
    ///
    /// # Safety
    /// `self` must stay alive until [`ReceiveRing::unregister`] or the end of the `io_uring` behind `submitter`.
    pub(super) unsafe fn register(&self, submitter: &Submitter<'_>) -> io::Result<()> {
        let address = self.entries.start.as_ptr().expose_provenance() as u64;
        // SAFETY: the mapping holds BUFFERS entries and, by this function's contract, outlives the registration.
        unsafe { submitter.register_buf_ring_with_flags(address, BUFFERS, GROUP, 0) }
    }

    /// Takes the ring back from the kernel; no receive may be in flight.
    pub(super) fn unregister(&self, submitter: &Submitter<'_>) -> io::Result<()> {
        submitter.unregister_buf_ring(GROUP)
    }

    /// The first `length` bytes of a buffer that a completion named.
    pub(super) fn received(&self, id: u16, length: usize) -> &[u8] {
        assert!(
            id < BUFFERS && length <= BUFFER_BYTES,
            "a buffer that was never provided"
        );
        // SAFETY: inside the mapping by the check above; ours by the type's invariant, so the kernel does not write.
        unsafe { slice::from_raw_parts(self.buffer(id), length) }
    }

    /// Puts a buffer back; the kernel sees it after [`ReceiveRing::publish`].
    pub(super) fn give_back(&mut self, id: u16) {
        assert!(id < BUFFERS, "a buffer that was never provided");
        let slot = usize::from(self.tail & (BUFFERS - 1));
        let address = self.buffer(id).expose_provenance() as u64;
        // SAFETY: `slot` is inside the mapping; slots at and beyond the published tail are not read by the kernel,
        // and there are as many slots as buffers, so this one's last entry has been consumed.
        let entry = unsafe { &mut *self.entries.start.as_ptr().cast::<BufRingEntry>().add(slot) };
        entry.set_addr(address);
        entry.set_len(u32::try_from(BUFFER_BYTES).unwrap_or(u32::MAX));
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows the kernel everything given back.
    pub(super) fn publish(&mut self) {
        let first = self.entries.start.as_ptr().cast::<BufRingEntry>();
        // SAFETY: `first` is the address of the ring's first entry, valid and page-aligned.
        let tail = unsafe { BufRingEntry::tail(first) }.cast_mut();
        // SAFETY: the tail is an aligned u16 inside the mapping; we write it atomically, the kernel only reads it.
        let tail = unsafe { AtomicU16::from_ptr(tail) };
        // Release: the entries are written before the kernel can see the tail that covers them.
        tail.store(self.tail, Ordering::Release);
    }

    fn buffer(&self, id: u16) -> *mut u8 {
        // SAFETY: callers check `id < BUFFERS`, so the offset stays inside the mapping.
        unsafe {
            self.buffers
                .start
                .as_ptr()
                .add(usize::from(id) * BUFFER_BYTES)
        }
    }
}
