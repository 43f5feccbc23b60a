//! CPUs, memory and connections: what is asked for against what the host has.

use base::limits::{EXTENT_BYTES_MAX, RECEIVE_LARGE_BYTES, RECEIVE_SMALL_BYTES, SCRATCH_BYTES};

use platform::host::Finding;
use platform::host::memory::{Budget, PoolSize};
use platform::host::topology::{Assignment, Place};

use crate::config::{Fault, Settings, Sheet, size};
use crate::host::Host;

/// Descriptors beside connections: listeners, rings, timers, logs, the control plane's own connections.
const FILES_BESIDE: u64 = 256;
/// The same for each shard.
const FILES_BESIDE_SHARD: u64 = 16;
/// Shards' buffers grow with this much of their share of the pool.
const BUFFER_STEP_BYTES: u64 = 16 << 20;
/// And no further than this many times.
const BUFFER_STEPS_MAX: u64 = 8;
/// Bytes that a shard's share of the pool holds at least: its buffers, and some slab.
const SHARE_BYTES_MIN: u64 = 8 << 20;
/// Objects of a shard's front at most; each costs some 100 bytes outside of the pool.
const FRONT_OBJECTS_MAX: u64 = 262_144;

/// What the configuration comes to.
#[derive(Clone, Debug)]
pub(crate) struct Resources {
    pub(crate) shards: Vec<ShardPlan>,
    pub(crate) shards_reason: String,
    /// A CPU without a shard, for the control thread.
    pub(crate) spare_cpu: Option<usize>,
    pub(crate) memory: Memory,
    pub(crate) clients: usize,
    pub(crate) clients_reason: String,
    pub(crate) front_objects: usize,
}

/// A shard's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShardPlan {
    /// The CPU it is pinned to.
    pub(crate) cpu: usize,
    /// The NUMA node of that CPU.
    pub(crate) node: Option<u16>,
}

/// The pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Bytes, all shards together.
    pub(crate) pool_bytes: u64,
    /// Why as many.
    pub(crate) reason: String,
    /// What is worth telling of it, none of it a refusal.
    pub(crate) findings: Vec<Finding>,
    /// Receive buffers of [`RECEIVE_SMALL_BYTES`], each shard.
    pub(crate) small_buffers: u16,
    /// Receive buffers of [`RECEIVE_LARGE_BYTES`], each shard.
    pub(crate) large_buffers: u16,
    /// Scratch buffers of [`SCRATCH_BYTES`], each shard.
    pub(crate) scratch_buffers: u16,
}

/// Decides all of it; faults name what the host cannot give.
pub(super) fn resolve(
    settings: &Settings,
    sheet: &Sheet,
    host: &Host,
    faults: &mut Vec<Fault>,
) -> Resources {
    let (assignment, shards_reason) = shards(settings, sheet, host, faults);
    let places = assignment.shards.iter();
    let shards: Vec<ShardPlan> = places.map(ShardPlan::of).collect();
    let memory = memory(settings, sheet, host, shards.len() as u64, faults);
    let files = Files::of(settings, shards.len() as u64, host);
    let (clients, clients_reason) = clients(settings, sheet, &files, faults);
    let front = settings.cache.capacity.div_ceil(10).min(FRONT_OBJECTS_MAX);
    Resources {
        shards,
        shards_reason,
        spare_cpu: assignment.spare.first().copied(),
        memory,
        clients,
        clients_reason,
        front_objects: usize::try_from(front).unwrap_or(usize::MAX),
    }
}

impl ShardPlan {
    fn of(place: &Place) -> Self {
        Self {
            cpu: place.cpu,
            node: u16::try_from(place.node).ok(),
        }
    }
}

fn shards(
    settings: &Settings,
    sheet: &Sheet,
    host: &Host,
    faults: &mut Vec<Fault>,
) -> (Assignment, String) {
    let threads = settings.api_gateway.worker_threads.value();
    let list = settings.api_gateway.cpu_affinity.value();
    let (wanted, reason) = match (threads, &list) {
        (Some(threads), _) => (threads, "api_gateway.worker_threads".to_owned()),
        (None, Some(list)) => (
            list.len(),
            "the length of api_gateway.cpu_affinity".to_owned(),
        ),
        (None, None) => (host.cpus.count, host.cpus.reason.clone()),
    };
    let wanted = wanted.max(1);
    let listed = list.map(|list| listed(&list, wanted, sheet, host, faults));
    let usable = &host.cpus.usable;
    let chosen = || Assignment::choose(host.topology.as_ref(), usable, wanted);
    (listed.flatten().unwrap_or_else(chosen), reason)
}

/// The CPUs of an explicit list, if nothing is wrong with it.
fn listed(
    list: &[usize],
    wanted: usize,
    sheet: &Sheet,
    host: &Host,
    faults: &mut Vec<Fault>,
) -> Option<Assignment> {
    let mut wrong = Vec::new();
    if list.len() != wanted {
        let count = list.len();
        wrong.push(format!(
            "names {count} CPUs for {wanted} worker_threads: one CPU a shard"
        ));
    }
    let twice = (1..list.len()).find(|at| list[..*at].contains(&list[*at]));
    if let Some(at) = twice {
        wrong.push(format!("names CPU {} twice", list[at]));
    }
    let usable = &host.cpus.usable;
    let assignment = Assignment::listed(host.topology.as_ref(), usable, list);
    if let Err(cpu) = &assignment {
        wrong.push(format!(
            "names CPU {cpu}, and this process may use {usable} only"
        ));
    }
    let source = sheet.source("api_gateway", "cpu_affinity");
    faults.extend(
        wrong
            .into_iter()
            .map(|why| Fault::new(&source, format!("api_gateway.cpu_affinity {why}"))),
    );
    assignment.ok()
}

fn memory(
    settings: &Settings,
    sheet: &Sheet,
    host: &Host,
    shards: u64,
    faults: &mut Vec<Fault>,
) -> Memory {
    let asked = settings.api_gateway.memory_pool_size.value();
    let needed = shards.saturating_mul(SHARE_BYTES_MIN);
    let source = sheet.source("api_gateway", "memory_pool_size");
    if let Some(bytes) = asked.filter(|bytes| *bytes < needed) {
        let message = format!(
            "api_gateway.memory_pool_size: {} does not do for {shards} shards, which need {} at least",
            size(bytes),
            size(needed),
        );
        faults.push(Fault::new(&source, message));
    }
    let wanted = asked.map_or(PoolSize::Auto, PoolSize::Bytes);
    let decided = Budget::decide(&host.memory, wanted).and_then(|budget| match budget.bytes {
        bytes if bytes < needed => Budget::decide(&host.memory, PoolSize::Bytes(needed)),
        _ => Ok(budget),
    });
    match decided {
        Ok(budget) => sized(budget, shards),
        Err(refusal) => {
            let message = format!("api_gateway.memory_pool_size: {refusal}");
            faults.push(Fault::new(&source, message));
            Memory::default()
        }
    }
}

/// The parts of a pool: buffers take about a fifth of a small one, less of a large one.
fn sized(budget: Budget, shards: u64) -> Memory {
    let share = budget.bytes / shards.max(1);
    let steps = (share / BUFFER_STEP_BYTES).clamp(1, BUFFER_STEPS_MAX);
    // Buffer rings have lengths of powers of two.
    let steps = 1u16 << steps.ilog2();
    Memory {
        pool_bytes: budget.bytes,
        reason: budget.reason,
        findings: budget.findings,
        small_buffers: 256 * steps,
        large_buffers: 16 * steps,
        scratch_buffers: 64 * steps,
    }
}

const _: () = assert!(
    256 * RECEIVE_SMALL_BYTES + 16 * RECEIVE_LARGE_BYTES + 64 * SCRATCH_BYTES + EXTENT_BYTES_MAX
        <= SHARE_BYTES_MIN as usize
);

/// The limit on open files and what must fit below it.
struct Files {
    limit: u64,
    beside: u64,
    upstreams: u64,
}

impl Files {
    fn of(settings: &Settings, shards: u64, host: &Host) -> Self {
        let upstreams = settings.upstream.iter();
        Self {
            limit: host.open_files,
            beside: FILES_BESIDE + FILES_BESIDE_SHARD * shards,
            upstreams: upstreams
                .map(|upstream| upstream.max_connections as u64)
                .sum(),
        }
    }

    fn needed(&self, clients: u64) -> u64 {
        clients + self.beside + self.upstreams.min(self.limit / 4)
    }

    /// What the limit leaves for clients; upstreams keep at most a quarter of it.
    fn left(&self) -> u64 {
        self.limit.saturating_sub(self.needed(0))
    }
}

fn clients(
    settings: &Settings,
    sheet: &Sheet,
    files: &Files,
    faults: &mut Vec<Fault>,
) -> (usize, String) {
    /// Connections that `auto` does not go beyond: their table entries are taken at start.
    const AUTOMATIC_MAX: u64 = 262_144;
    let left = files.left();
    let Some(wanted) = settings.limits.max_connections.value() else {
        if left == 0 {
            let source = sheet.source("limits", "max_connections");
            faults.push(Fault::new(&source, too_few(files, 1)));
        }
        let clients = left.min(AUTOMATIC_MAX);
        let reason = format!("what a limit of {} open files leaves", files.limit);
        return (usize::try_from(clients).unwrap_or(usize::MAX), reason);
    };
    if wanted as u64 > left {
        let source = sheet.source("limits", "max_connections");
        faults.push(Fault::new(&source, too_few(files, wanted as u64)));
    }
    (wanted, "limits.max_connections".to_owned())
}

fn too_few(files: &Files, wanted: u64) -> String {
    format!(
        "limits.max_connections: {wanted} connections need {} open files and the limit is {}: raise it with \
         `ulimit -n {}` or LimitNOFILE= in the unit",
        files.needed(wanted),
        files.limit,
        files.needed(wanted),
    )
}
