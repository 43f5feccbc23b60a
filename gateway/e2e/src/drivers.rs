//! Every story runs on both drivers.

use std::env;

/// The driver that the gateway is told to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// `[io] backend = "io_uring"`.
    IoUring,
    /// `[io] backend = "epoll"`.
    Epoll,
}

impl Backend {
    /// As the configuration spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Backend::IoUring => "io_uring",
            Backend::Epoll => "epoll",
        }
    }
}

/// Runs a story unless `ULTRAGATE_E2E_BACKENDS` leaves its driver out, which is printed.
pub fn story(backend: Backend, run: fn(Backend)) {
    let wanted = env::var("ULTRAGATE_E2E_BACKENDS").unwrap_or_else(|_| "io_uring,epoll".to_owned());
    if wanted.split(',').any(|name| name.trim() == backend.name()) {
        run(backend);
    } else {
        eprintln!(
            "skipped: ULTRAGATE_E2E_BACKENDS leaves {} out",
            backend.name()
        );
    }
}

/// Makes two tests of each named story, `fn story(backend: Backend)`: `story::io_uring` and `story::epoll`.
#[macro_export]
macro_rules! both_drivers {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[test]
            fn io_uring() {
                $crate::story($crate::Backend::IoUring, super::$name);
            }

            #[test]
            fn epoll() {
                $crate::story($crate::Backend::Epoll, super::$name);
            }
        }
    )+};
}
