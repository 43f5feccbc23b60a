//! From a plan to running shards: the one place where drivers, memory, store and proxies meet. A [`Plan`] comes in, a
//! [`Running`] goes out, or the first thing that failed with its likely cause and what mends it.

use std::net::TcpListener;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use base::{Driver, Memory as _, ShardId, Span};
use cache::{Flights, KeyHasher, NodeStore, StoreLimits, StripedStore};
use platform::host::pin::pin;
use platform::memory::{MemoryPlan, NodeMemory, PageWish, ShardMemory, ShardSizes};
use platform::{DriverConfig, Epoll, Slab, StartError, Uring, probe};
use proxy::{Origins, Pages, Parts};
use shard::{Mailboxes, Shard};
use telemetry::ShardCells;
use telemetry::health::Board;
use tokio::sync::watch;

use crate::access::AccessLog;
use crate::build;
use crate::config::Backend;
use crate::events::log;
use crate::failure::StartFailure;
use crate::handover;
use crate::host::Host;
use crate::listen::{AcceptQueues, Bound};
use crate::plan::{Plan, ShardPlan};
use crate::running::{BackendInUse, MemoryInUse, Running, Tally};

/// The node-wide index.
type Store = StripedStore<Slab>;

/// Connections beyond the bound that a shard's driver still takes, to answer them with 503.
const SOCKETS_BESIDE: usize = 64;

/// Starts the shards.
///
/// # Errors
/// What failed, its likely cause and what mends it; nothing is left running.
pub(crate) fn start(plan: Plan, host: Host, bound: Bound) -> Result<Started, StartFailure> {
    let backend = choose(plan.backend)?;
    let memory = take_memory(&plan)?;
    let Bound {
        data,
        operator,
        metrics,
        addresses,
        data_places,
    } = bound;
    let (tally, seen) = watch::channel(Tally::default());
    let shared = Arc::new(Shared::new(&plan, memory.slab().clone(), tally)?);
    let (told, answers) = channel();
    let accept_queues = AcceptQueues::of(&data);
    let ids = (0u16..).map(ShardId).take(plan.shards.len());
    let cells: Vec<_> = ids.map(|shard| Arc::new(cells_of(shard, &plan))).collect();
    let wanted = plan.access_log.as_ref();
    let log =
        wanted.map(|wanted| AccessLog::start(wanted, cells.clone(), plan.labels(), plan.spare_cpu));
    let access_log = log.transpose()?;
    for ((cells, place), listeners) in cells.iter().zip(&plan.shards).zip(data) {
        let shard = cells.shard;
        let part = Part {
            place: *place,
            backend: backend.kind,
            busy_poll: Duration::from_nanos(plan.busy_poll.0),
            sockets_max: sockets_max(&plan.proxy),
            listeners,
            memory: lease(&memory, shard)?,
            cells: Arc::clone(cells),
            shared: Arc::clone(&shared),
        };
        spawn(shard, part, told.clone())?;
    }
    drop(told);
    await_all(&answers, cells.len(), &shared.mailboxes)?;
    if plan.listen.share_port {
        handover::come_in(&accept_queues, &data_places);
    }
    let (store, slab) = (Arc::clone(&shared.store), memory.slab().clone());
    let running = Running {
        memory: MemoryInUse::of(memory.report(), &plan.memory),
        store_stats: Box::new(move || store.stats()),
        pool_usage: Box::new(move || slab.usage()),
        mailboxes: Arc::clone(&shared.mailboxes),
        origins: Arc::clone(&shared.origins),
        backend: backend.in_use,
        listeners: addresses,
        accept_queues,
        data_places,
        access_log,
        tally: seen,
        cells,
        plan,
        host,
    };
    Ok(Started {
        running,
        operator,
        metrics,
    })
}

fn cells_of(shard: ShardId, plan: &Plan) -> ShardCells {
    let cells = ShardCells::new(shard, plan.route_names.len()).with_pools(plan.upstreams.len());
    match plan.access_log {
        Some(_) => cells.with_access_log(),
        None => cells,
    }
}

/// What starting gives.
pub(crate) struct Started {
    pub(crate) running: Running,
    /// The operator's listeners, for the control plane to serve.
    pub(crate) operator: Vec<TcpListener>,
    /// Prometheus's.
    pub(crate) metrics: Vec<TcpListener>,
}

/// The driver chosen.
struct Chosen {
    kind: probe::Backend,
    in_use: BackendInUse,
}

/// io_uring where it is wanted and works, else epoll; refused where it is demanded and does not.
fn choose(wanted: Backend) -> Result<Chosen, StartFailure> {
    let refusal = match wanted {
        Backend::Epoll => None,
        Backend::Auto | Backend::IoUring => match probe::io_uring() {
            Ok(()) => return Ok(Chosen::new(probe::Backend::IoUring, None)),
            Err(refusal) => Some(refusal),
        },
    };
    match (wanted, refusal) {
        (Backend::IoUring, Some(refusal)) => Err(StartFailure {
            what: "io.backend = \"io_uring\" demands io_uring, and this host refuses it".to_owned(),
            cause: refusal.message,
            fix: refusal.fix,
            demanded: true,
        }),
        (_, refusal) => {
            let reason = refusal.map(|refusal| refusal.to_string());
            Ok(Chosen::new(probe::Backend::Epoll, reason))
        }
    }
}

impl Chosen {
    fn new(kind: probe::Backend, reason: Option<String>) -> Self {
        let name = kind.name();
        Self {
            kind,
            in_use: BackendInUse { name, reason },
        }
    }
}

fn take_memory(plan: &Plan) -> Result<NodeMemory, StartFailure> {
    let bytes = usize::try_from(plan.memory.pool_bytes).unwrap_or(usize::MAX);
    let wish = MemoryPlan {
        bytes,
        pages: PageWish::Huge,
        lend: plan.zero_copy,
        shards: plan.shards.iter().map(|shard| shard.node).collect(),
        sizes: ShardSizes {
            small_buffers: plan.memory.small_buffers,
            large_buffers: plan.memory.large_buffers,
            scratch_buffers: plan.memory.scratch_buffers,
        },
    };
    NodeMemory::take(&wish).map_err(|error| StartFailure {
        what: format!("the memory pool of {bytes} bytes could not be taken"),
        cause: error.to_string(),
        fix: "--set api_gateway.memory_pool_size=256MiB".to_owned(),
        demanded: false,
    })
}

/// What all shards share.
struct Shared {
    settings: Arc<proxy::Settings>,
    origins: Arc<Origins>,
    slab: Slab,
    store: Arc<Store>,
    flights: Arc<Flights<Slab>>,
    hasher: KeyHasher,
    pages: Arc<Pages>,
    mailboxes: Arc<Mailboxes>,
    tally: watch::Sender<Tally>,
}

impl Shared {
    fn new(plan: &Plan, slab: Slab, tally: watch::Sender<Tally>) -> Result<Self, StartFailure> {
        let mailboxes = Mailboxes::new(plan.shards.len());
        let store = StripedStore::new(StoreLimits {
            objects: plan.capacity,
            bytes: slab.usage().total_bytes,
        });
        Ok(Self {
            settings: Arc::new(plan.proxy.clone()),
            origins: Origins::new(&plan.proxy, plan.shards.len()),
            store: Arc::new(store),
            flights: Arc::new(Flights::new(Arc::clone(&mailboxes) as _)),
            hasher: KeyHasher::new([random()?, random()?]),
            pages: Arc::new(first_pages()),
            mailboxes,
            slab,
            tally,
        })
    }
}

/// What the built-in paths answer until the control plane has looked at anything: that a shard answers.
fn first_pages() -> Pages {
    let report = Board::default().report(build::VERSION, Span::ZERO);
    let text = report.short_json().into_bytes();
    Pages {
        status: report.status().code(),
        health: text.clone(),
        summary: text,
    }
}

fn random() -> Result<u64, StartFailure> {
    getrandom::u64().map_err(|error| StartFailure {
        what: "no random numbers".to_owned(),
        cause: format!("getrandom: {error}"),
        fix: "allow the system call getrandom in the seccomp profile".to_owned(),
        demanded: false,
    })
}

/// What one shard's thread is given.
struct Part {
    place: ShardPlan,
    backend: probe::Backend,
    busy_poll: Duration,
    sockets_max: u32,
    listeners: Vec<TcpListener>,
    memory: ShardMemory,
    cells: Arc<ShardCells>,
    shared: Arc<Shared>,
}

/// Connections a shard's driver holds at most: clients, upstreams, and those it refuses.
fn sockets_max(settings: &proxy::Settings) -> u32 {
    let upstreams = settings.upstreams.iter();
    let upstreams: usize = upstreams.map(|upstream| upstream.connections_max).sum();
    let all = settings.limits.clients_max.saturating_add(upstreams);
    u32::try_from(all.saturating_add(SOCKETS_BESIDE)).unwrap_or(u32::MAX)
}

fn lease(memory: &NodeMemory, shard: ShardId) -> Result<ShardMemory, StartFailure> {
    memory.shard(shard).ok_or_else(|| StartFailure {
        what: format!("shard {} has no memory", shard.0),
        cause: "its part of the pool is held by somebody else, which is a bug".to_owned(),
        fix: "report it with the lines above".to_owned(),
        demanded: false,
    })
}

fn spawn(
    shard: ShardId,
    part: Part,
    told: Sender<Result<(), StartFailure>>,
) -> Result<(), StartFailure> {
    let thread = thread::Builder::new().name(format!("shard-{}", shard.0));
    let body = move || {
        let tally = part.shared.tally.clone();
        let ran = panic::catch_unwind(AssertUnwindSafe(|| live(shard, part, &told)));
        let lost = match ran {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("the driver of shard {} broke: {error}", shard.0)),
            Err(_) => Some(format!("shard {} panicked outside of a turn", shard.0)),
        };
        tally.send_modify(|tally| {
            tally.ended += 1;
            tally.lost = tally.lost.take().or(lost);
        });
    };
    thread.spawn(body).map(drop).map_err(|error| StartFailure {
        what: format!("the thread of shard {} did not start", shard.0),
        cause: error.to_string(),
        fix: "raise the limit on threads (ulimit -u, pids.max of the cgroup)".to_owned(),
        demanded: false,
    })
}

/// The life of a shard, on its own thread: pinned first, so that what it touches lies near.
fn live(
    shard: ShardId,
    part: Part,
    told: &Sender<Result<(), StartFailure>>,
) -> std::io::Result<()> {
    if let Err(why) = pin(part.place.cpu) {
        log!(ShardNotPinned, shard = shard.0, %why, "the shard runs unpinned");
    }
    match part.backend {
        probe::Backend::IoUring => live_on(Uring::new, shard, part, told),
        probe::Backend::Epoll => live_on(Epoll::new, shard, part, told),
    }
}

fn live_on<D: Driver<Memory = Slab>>(
    make: impl FnOnce(DriverConfig) -> Result<D, StartError>,
    id: ShardId,
    part: Part,
    told: &Sender<Result<(), StartFailure>>,
) -> std::io::Result<()> {
    let Part {
        shared,
        cells,
        listeners,
        memory,
        ..
    } = part;
    let count = u8::try_from(listeners.len()).unwrap_or(u8::MAX);
    let made = make(DriverConfig {
        listeners,
        sockets_max: part.sockets_max,
        busy_poll: part.busy_poll,
        memory,
        slab: shared.slab.clone(),
    });
    let (driver, seed) = match (made, random()) {
        (Ok(driver), Ok(seed)) => (driver, seed),
        (Err(error), _) => return refuse(told, driver_failure(id, error)),
        (_, Err(failure)) => return refuse(told, failure),
    };
    let parts = Parts {
        shard: id,
        settings: Arc::clone(&shared.settings),
        cells,
        memory: shared.slab.clone(),
        store: Arc::clone(&shared.store),
        flights: Arc::clone(&shared.flights),
        hasher: shared.hasher.clone(),
        seed,
        pages: Arc::clone(&shared.pages),
        origins: Arc::clone(&shared.origins),
        post: Arc::clone(&shared.mailboxes) as _,
    };
    let mut shard = Shard::new(driver, count, parts, Arc::clone(&shared.mailboxes));
    // Nobody listens any more only when the start was given up, and then the mailboxes say stop.
    let _ = told.send(Ok(()));
    let ended = shard.run()?;
    log!(ShardEnded, shard = id.0, ?ended, "a shard ended");
    Ok(())
}

/// Ends a thread that did not come to run.
fn refuse(told: &Sender<Result<(), StartFailure>>, failure: StartFailure) -> std::io::Result<()> {
    let _ = told.send(Err(failure));
    Ok(())
}

fn driver_failure(shard: ShardId, error: StartError) -> StartFailure {
    let what = format!("the driver of shard {} did not start", shard.0);
    let (cause, fix) = match error {
        StartError::Refused(refusal) => (refusal.message, refusal.fix),
        StartError::System { what, error, fix } => (format!("{what}: {error}"), fix.to_owned()),
    };
    StartFailure {
        what,
        cause,
        fix,
        demanded: false,
    }
}

/// Waits until every shard stands; has all of them stop when one does not.
fn await_all(
    answers: &Receiver<Result<(), StartFailure>>,
    shards: usize,
    mailboxes: &Mailboxes,
) -> Result<(), StartFailure> {
    for _ in 0..shards {
        let answer = answers.recv().unwrap_or_else(|_| {
            Err(StartFailure {
                what: "a shard ended before it stood".to_owned(),
                cause: "a panic, which is a bug; the lines above say where".to_owned(),
                fix: "report it with them".to_owned(),
                demanded: false,
            })
        });
        if answer.is_err() {
            mailboxes.stop();
            return answer;
        }
    }
    Ok(())
}
