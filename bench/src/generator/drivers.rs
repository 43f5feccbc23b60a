//! From a plan to a thread with a driver.

use std::fmt;
use std::io;
use std::time::Duration;

use base::limits::{EXTENT_BYTES_MAX, RECEIVE_SMALL_BYTES};
use base::{Room, ShardId};
use platform::host::pin::pin;
use platform::memory::{MemoryPlan, NodeMemory, PageWish, ShardMemory, ShardSizes};
use platform::{DriverConfig, Epoll, StartError, Uring};

use super::arguments::Backend;
use super::plan::{Plan, Shared};
use super::tally::Tally;
use super::worker::Worker;

/// Small receive buffers of a thread at least and at most; between them, one a connection: no more answers are on their way,
/// and few buffers stay in the cache.
const SMALL_BUFFERS: (usize, usize) = (64, 4096);
/// Large receive buffers, where bodies are large.
const LARGE_BUFFERS: u16 = 64;

/// Why a thread could not run.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn failure(error: impl fmt::Display) -> Failure {
    Failure(error.to_string())
}

/// A thread is ready to send.
pub(crate) struct Ready {
    pub(crate) backend: platform::Backend,
    /// Why it is not `io_uring`, where that was wished for.
    pub(crate) refused: Option<String>,
    /// Connections that stand.
    pub(crate) connections: usize,
}

/// Room for a run's answers.
pub(crate) fn room(answer_bytes: usize) -> Room {
    if answer_bytes <= RECEIVE_SMALL_BYTES {
        Room::Small
    } else {
        Room::Large
    }
}

/// Runs one thread of the plan on the calling thread.
pub(crate) fn run(
    plan: &Plan,
    shared: &Shared,
    thread: u32,
    ready: impl FnOnce(Ready),
) -> Result<Tally, Failure> {
    if let Some(cpu) = plan.cpu_of(thread) {
        pin(cpu).map_err(|refused| {
            Failure(format!(
                "CPU {cpu} is refused, threads may run on {}",
                refused.found
            ))
        })?;
    }
    let memory = memory(plan, thread)?;
    let mut refused = None;
    if plan.backend != Backend::Epoll {
        match Uring::new(config(plan, thread, &memory)?) {
            Ok(driver) => {
                let backend = platform::Backend::IoUring;
                let worker = Worker::new(driver, plan, shared, thread);
                return worker
                    .run(|connections| {
                        ready(Ready {
                            backend,
                            refused,
                            connections,
                        })
                    })
                    .map_err(failure);
            }
            Err(StartError::Refused(refusal)) if plan.backend == Backend::Auto => {
                refused = Some(refusal.to_string());
            }
            Err(error) => return Err(failure(error)),
        }
    }
    let backend = platform::Backend::Epoll;
    let driver = Epoll::new(config(plan, thread, &memory)?).map_err(failure)?;
    Worker::new(driver, plan, shared, thread)
        .run(|connections| {
            ready(Ready {
                backend,
                refused,
                connections,
            })
        })
        .map_err(failure)
}

fn config(plan: &Plan, thread: u32, memory: &NodeMemory) -> Result<DriverConfig, Failure> {
    let taken = || Failure("the receive buffers are still in use".to_owned());
    Ok(DriverConfig {
        listeners: Vec::new(),
        sockets_max: plan.sockets_of(thread),
        // The worker spins itself: it sees the gaps between its looks.
        busy_poll: Duration::ZERO,
        memory: memory.shard(ShardId(0)).ok_or_else(taken)?,
        slab: memory.slab().clone(),
    })
}

fn memory(plan: &Plan, thread: u32) -> Result<NodeMemory, Failure> {
    let (least, most) = SMALL_BUFFERS;
    let small = (plan.connections_of(thread) * 2)
        .next_power_of_two()
        .clamp(least, most);
    let sizes = ShardSizes {
        small_buffers: u16::try_from(small).unwrap_or(u16::MAX),
        large_buffers: if plan.room == Room::Large {
            LARGE_BUFFERS
        } else {
            1
        },
        scratch_buffers: 1,
    };
    NodeMemory::take(&MemoryPlan {
        bytes: ShardMemory::bytes_needed(sizes) + EXTENT_BYTES_MAX,
        pages: PageWish::Transparent,
        lend: false,
        shards: vec![None],
        sizes,
    })
    .map_err(failure)
}

/// Raises the limit of open files as far as it goes, and says whether the connections fit.
pub(crate) fn descriptors(connections: u32) -> io::Result<()> {
    /// Descriptors that are not connections.
    const SPARE: u64 = 64;
    let found = platform::host::limits::raise_descriptors()?;
    let most = found.now.saturating_sub(SPARE);
    if most < u64::from(connections) {
        return Err(io::Error::other(format!(
            "the hard limit of descriptors allows {most} connections: `ulimit -Hn`"
        )));
    }
    Ok(())
}
