//! What stands between a fetch and an origin: which endpoint, over which connection, when at all, and when again.

mod balance;
mod breaker;
mod budget;
mod concurrency;
mod endpoint;
mod latency;
mod members;
mod permits;
mod pool;
mod waiting;

pub use balance::Balance;
pub use breaker::BreakerRules;
pub use endpoint::{Ejection, Endpoint, State};
pub use members::{Member, Members, Origins};
pub use waiting::Priority;

pub(crate) use balance::mix;
pub(crate) use pool::{Ask, Pool, Slot};
pub(crate) use waiting::Waiter;
