//! What runs: the handles through which the control plane sees and steers the shards.

use std::net::SocketAddr;
use std::sync::Arc;

use base::MemoryUsage;
use cache::StoreStats;
use platform::memory::{Backing, MemoryReport};
use proxy::{Mail, Pages};
use shard::Mailboxes;
use telemetry::ShardCells;
use tokio::sync::watch;

use crate::access::AccessLog;
use crate::handover::Place;
use crate::host::Host;
use crate::listen::{AcceptQueues, Listening};
use crate::plan::{Memory, Plan};

/// Running shards, and what the control plane sees and says of them.
pub(crate) struct Running {
    /// What was started.
    pub(crate) plan: Plan,
    /// What it was started on.
    pub(crate) host: Host,
    /// Each shard's cells, by [`ShardId`].
    pub(crate) cells: Vec<Arc<ShardCells>>,
    /// The driver in use.
    pub(crate) backend: BackendInUse,
    /// The memory taken.
    pub(crate) memory: MemoryInUse,
    /// Every address listened on, of shards and of the control plane.
    pub(crate) listeners: Vec<Listening>,
    /// Connections that wait to be accepted.
    pub(crate) accept_queues: AcceptQueues,
    /// Where our sockets stood among those of others on each data address when they began to listen.
    pub(crate) data_places: Vec<(SocketAddr, Place)>,
    /// Counts of the node-wide index.
    pub(crate) store_stats: Box<dyn Fn() -> StoreStats + Send + Sync>,
    /// Bytes of the slab.
    pub(crate) pool_usage: Box<dyn Fn() -> MemoryUsage + Send + Sync>,
    /// The shards' mailboxes.
    pub(crate) mailboxes: Arc<Mailboxes>,
    /// The endpoints of upstreams.
    #[expect(dead_code)]
    pub(crate) origins: Arc<proxy::Origins>,
    /// The hand on the access log.
    pub(crate) access_log: Option<AccessLog>,
    /// How many shards have ended.
    pub(crate) tally: watch::Receiver<Tally>,
}

/// A driver, and why it is not another.
#[derive(Clone, Debug)]
pub(crate) struct BackendInUse {
    pub(crate) name: &'static str,
    /// Why io_uring was not taken, and what lifts that; `None` where the driver is the one that was wanted.
    pub(crate) reason: Option<String>,
}

/// The memory taken, in bytes.
#[derive(Clone, Debug)]
pub(crate) struct MemoryInUse {
    pub(crate) pool_bytes: u64,
    /// Receive and scratch buffers of all shards.
    pub(crate) buffer_bytes: u64,
    pub(crate) bookkeeping_bytes: u64,
    /// Bytes in explicit huge pages.
    pub(crate) huge_bytes: u64,
    /// Why the pages are not better ones, and what lifts that.
    pub(crate) fallback: Option<String>,
    /// What it is used for, in words.
    pub(crate) parts: String,
}

impl Running {
    /// Lines of the access log that were lost.
    pub(crate) fn lost_lines(&self) -> u64 {
        let unwritten = self
            .access_log
            .as_ref()
            .map(|log| log.tally().failed.read());
        self.dropped_lines() + unwritten.unwrap_or_default()
    }

    /// Lines of the access log that shards had no room for.
    pub(crate) fn dropped_lines(&self) -> u64 {
        self.cells
            .iter()
            .map(|cells| cells.log.dropped.read())
            .sum()
    }

    /// Gives every shard new built-in pages.
    pub(crate) fn publish(&self, pages: Pages) {
        self.mailboxes.post_all(&Mail::Pages(Arc::new(pages)));
    }

    /// Has every shard tell its clients to leave; new ones are still taken.
    pub(crate) fn drain(&self) {
        self.mailboxes.drain();
    }

    /// Has every shard that drains close its listeners, finish what is under way, and end.
    pub(crate) fn close(&self) {
        self.accept_queues.give_up();
        self.mailboxes.close();
    }

    /// Has every shard cut what is under way, and end.
    pub(crate) fn stop(&self) {
        self.accept_queues.give_up();
        self.mailboxes.stop();
    }

    /// The ends of shards, from now on.
    pub(crate) fn ends(&self) -> Ends {
        Ends {
            tally: self.tally.clone(),
            shards: self.cells.len(),
        }
    }

    /// Comes when every shard has ended.
    pub(crate) async fn all_ended(&self) {
        let shards = self.cells.len();
        // An error means that every thread has gone, and that is an end too.
        let _ = self
            .tally
            .clone()
            .wait_for(|tally| tally.ended == shards)
            .await;
    }
}

/// How many shards have ended, and why one that should not have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) ended: usize,
    pub(crate) lost: Option<String>,
}

/// See [`Running::ends`].
pub(crate) struct Ends {
    tally: watch::Receiver<Tally>,
    shards: usize,
}

/// What the shards' ends come to.
pub(crate) enum End {
    /// All of them ended as they were told.
    AllEnded,
    /// One ended by a fault.
    Lost(String),
}

impl Ends {
    /// Comes when all have ended, or one was lost.
    pub(crate) async fn next(&mut self) -> End {
        let shards = self.shards;
        let over = |tally: &Tally| tally.lost.is_some() || tally.ended == shards;
        match self.tally.wait_for(over).await {
            Ok(tally) => tally.lost.clone().map_or(End::AllEnded, End::Lost),
            Err(_) => End::AllEnded,
        }
    }
}

impl MemoryInUse {
    pub(crate) fn of(report: &MemoryReport, plan: &Memory) -> Self {
        let mut reasons = report.regions.iter().flat_map(|region| &region.fallbacks);
        let reason = reasons.next().map(|fallback| {
            let backing = report.backing();
            format!(
                "{backing}: no {}: {}; {}",
                fallback.wanted, fallback.reason, fallback.fix
            )
        });
        Self {
            pool_bytes: plan.pool_bytes,
            buffer_bytes: (report.receive_bytes + report.scratch_bytes) as u64,
            bookkeeping_bytes: report.bookkeeping_bytes as u64,
            huge_bytes: report.huge_bytes() as u64,
            parts: report.to_string(),
            fallback: reason.filter(|_| report.backing() != Backing::Huge),
        }
    }
}
