//! Ctrl-C for programs that finish what they are at: the first is noted, the second ends the process.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// From now on the first SIGINT only makes this true.
///
/// # Errors
/// The kernel's refusal to take the handler.
pub fn watch() -> io::Result<&'static AtomicBool> {
    // SAFETY: all fields of the structure are valid as zeroes, and the handler only stores to an atomic.
    let set = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = note as extern "C" fn(libc::c_int) as libc::sighandler_t;
        action.sa_flags = libc::SA_RESTART | libc::SA_RESETHAND;
        libc::sigaction(libc::SIGINT, &raw const action, std::ptr::null_mut())
    };
    match set {
        0 => Ok(&INTERRUPTED),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_noted() {
        let interrupted = watch().unwrap();
        // SAFETY: the handler is there.
        assert_eq!(unsafe { libc::raise(libc::SIGINT) }, 0);
        assert!(interrupted.load(Ordering::Relaxed));
    }
}
