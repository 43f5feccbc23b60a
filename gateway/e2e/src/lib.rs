//! Black-box stories: the built `ultragate` between an origin that does what a story needs and clients that read
//! strictly. Nothing of the workspace is imported (but by one test the list of the cache's reasons): what is said here is
//! what a user could see.
//!
//! The binary is `$ULTRAGATE_BIN`, else the `ultragate` beside the tests' own target directory; build it first with
//! `cargo build -p ultragate`. `ULTRAGATE_E2E_BACKENDS=epoll` leaves the other driver out where the host has none.

pub mod chaos;
mod client;
mod clock;
mod drivers;
mod gateway;
mod message;
mod origin;
mod response;
mod setup;
mod watch;

pub use client::{Client, Ending};
pub use clock::{Deadline, Gate, PATIENCE, Stopwatch, becomes, eventually};
pub use drivers::{Backend, story};
pub use gateway::{Ended, Gateway, binary, installed};
pub use message::{answer, ask_with, chunked, get, get_with, ok};
pub use origin::{Next, Origin, Request, Wire};
pub use response::{Broken, Framing, Response};
pub use rustix::process::Signal;
pub use setup::Setup;
pub use watch::{Watch, sample};
