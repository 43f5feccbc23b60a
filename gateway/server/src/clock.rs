//! The control plane's clocks.

use base::{Moment, Wall};
use platform::Clock;

/// Now, on the clock of the shards' drivers.
pub(crate) fn moment() -> Moment {
    Moment(Clock::system().stamp().0)
}

/// Now, in nanoseconds since the epoch.
pub(crate) fn epoch_ns() -> u64 {
    u64::try_from(since_epoch().as_nanos()).unwrap_or(u64::MAX)
}

/// Now, on the wall.
pub(crate) fn wall() -> Wall {
    Wall(u64::try_from(since_epoch().as_millis()).unwrap_or(u64::MAX))
}

#[allow(clippy::disallowed_methods)] // the control plane's one reading of the wall clock
fn since_epoch() -> std::time::Duration {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap_or_default()
}
