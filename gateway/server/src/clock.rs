//! The control plane's clocks.

use base::{Moment, Wall};
use platform::Clock;

/// Now, on the clock of the shards' drivers.
pub(crate) fn moment() -> Moment {
    Moment(Clock::system().stamp().0)
}

/// Now, on the wall.
#[allow(clippy::disallowed_methods)] // the control plane's one reading of the wall clock
pub(crate) fn wall() -> Wall {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Wall(since_epoch.map_or(0, |since| since.as_secs()))
}
