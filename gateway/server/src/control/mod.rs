//! The control plane: one thread with everything that is not a request. It observes once a second, answers operators and
//! Prometheus, listens to signals, and leads the process to its end. It never waits for a shard, nor a shard for it.

mod board;
mod ending;
mod lead;
mod operator;
mod probes;
mod scrape;
mod server;
mod signals;
mod slow;

use std::cell::Cell;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use base::{Moment, Span};
use platform::host::pin::pin;
use telemetry::health::Report;
use telemetry::{Format, Labels, Reader, ShardCells};
use tokio::sync::mpsc;

use crate::clock;
use crate::events::{self, log};
use crate::failure::{Failure, StartFailure};
use crate::handover::Handover;
use crate::plan::Plan;
use crate::running::Running;
use crate::sources::Sources;

use board::{Observer, Origins, Own, Watched};
use ending::Ending;
use lead::Lead;
use operator::Access;
use probes::Check;
use scrape::ConfigState;
use server::Places;
use signals::Signals;

/// The second's tick.
const TICK: Duration = Duration::from_secs(1);
/// Rest between looks for the shards' first turns.
const FIRST_LOOK: Duration = Duration::from_millis(1);
/// How long the reading of shards' cells may keep a shard from its CPU.
const SLICE: Span = Span::from_micros(200);
/// How long it then leaves the CPU to it.
const REST: Duration = Duration::from_millis(1);
/// Orders that wait; more are the same orders again and are dropped.
const ORDERS_MAX: usize = 8;

/// What the control thread is started with.
pub(crate) struct Parts {
    /// The shards.
    pub(crate) running: Running,
    /// The operator's listeners.
    pub(crate) operator: Vec<TcpListener>,
    /// Prometheus's listeners.
    pub(crate) metrics: Vec<TcpListener>,
    /// The demo's origin, if there is one.
    pub(crate) demo: Option<TcpListener>,
    /// Where the configuration came from, for HUP.
    pub(crate) sources: Sources,
    /// What is in force, to tell its digest.
    pub(crate) in_force: String,
}

/// What an operator may order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Drain, as TERM does.
    Drain,
}

/// The state that handlers share. Everything happens on one thread, so no lock is ever waited for.
pub(crate) struct Control {
    running: Running,
    started: Moment,
    /// Of the listeners of this plane, by their names.
    places: Vec<(String, Places)>,
    state: Mutex<State>,
    orders: mpsc::Sender<Order>,
}

struct State {
    reader: Reader,
    observer: Observer,
    ending: Ending,
    config: ConfigState,
    /// The longest exposition since the last tick.
    exposition: Span,
    /// Requests to `/admin/` on the data port that were told of.
    forbidden: u64,
}

/// What is said once every address is served and signals are heeded.
pub(crate) type Ready = Box<dyn FnOnce() -> Result<(), Failure> + Send>;

/// Starts the control thread; it ends when the process should.
///
/// # Errors
/// When the thread cannot be made.
pub(crate) fn spawn(
    parts: Parts,
    spare_cpu: Option<usize>,
    ready: Ready,
) -> Result<JoinHandle<Result<(), Failure>>, StartFailure> {
    let thread = std::thread::Builder::new().name("control".to_owned());
    let body = move || {
        // Where shards leave a CPU free; elsewhere the kernel places it.
        if let Some(Err(why)) = spare_cpu.map(pin) {
            log!(ControlNotPinned, %why, "the control thread runs unpinned");
        }
        run(parts, ready)
    };
    thread.spawn(body).map_err(|error| StartFailure {
        what: "the control thread did not start".to_owned(),
        cause: error.to_string(),
        fix: "raise the limit on threads (ulimit -u, pids.max of the cgroup)".to_owned(),
        demanded: false,
    })
}

fn run(parts: Parts, ready: Ready) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Run(format!("the control runtime did not start: {error}")))?;
    let result = runtime.block_on(live(parts, ready));
    runtime.shutdown_background();
    result
}

async fn live(parts: Parts, ready: Ready) -> Result<(), Failure> {
    let signals = Signals::listen()
        .map_err(|error| Failure::Run(format!("signals cannot be listened to: {error}")))?;
    let (orders, ordered) = mpsc::channel(ORDERS_MAX);
    let watched = watched(&parts.running.plan);
    let origins = Origins::unseen(&watched);
    let config = ConfigState {
        hash: digest(&parts.in_force),
        loaded: clock::wall().as_secs(),
        good: true,
    };
    let control = Arc::new(Control::new(parts.running, origins.clone(), config, orders));
    control.first_turns().await;
    control.tick();
    tokio::spawn(origins.watch(watched));
    serve(&control, parts.operator, parts.metrics, parts.demo)?;
    ready()?;
    Lead {
        handover: Handover::new(&control.running),
        control,
        signals,
        ordered,
        sources: parts.sources,
    }
    .lead()
    .await
}

fn watched(plan: &Plan) -> Vec<Watched> {
    let upstreams = plan.proxy.upstreams.iter();
    upstreams
        .map(|upstream| Watched {
            name: upstream.name.clone(),
            endpoints: upstream.endpoints.iter().map(|it| it.address).collect(),
            connect_timeout: Duration::from_nanos(upstream.connect_timeout.0),
        })
        .collect()
}

fn serve(
    control: &Arc<Control>,
    operator: Vec<TcpListener>,
    metrics: Vec<TcpListener>,
    demo: Option<TcpListener>,
) -> Result<(), Failure> {
    let token = control.running.plan.token.clone();
    // Operators' and Prometheus's in the order of the listeners given here; the demo's origin is none of them.
    let mut places = control.places.iter().map(|(_, places)| places.clone());
    let mut places = || places.next().unwrap_or_else(Places::new);
    for listener in operator {
        let access = match address(&listener)?.ip().is_loopback() {
            true => Access::Loopback,
            false => Access::Bearer(token.clone()),
        };
        let router = operator::router(Arc::clone(control), access);
        tokio::spawn(server::serve(listener, router, places()));
    }
    for listener in metrics {
        let router = scrape::router(Arc::clone(control));
        tokio::spawn(server::serve(listener, router, places()));
    }
    if let Some(listener) = demo {
        tokio::spawn(server::serve(listener, crate::demo::pages(), Places::new()));
    }
    Ok(())
}

fn address(listener: &TcpListener) -> Result<SocketAddr, Failure> {
    let failed = |error| Failure::Run(format!("a listener has no address: {error}"));
    listener.local_addr().map_err(failed)
}

/// FNV-1a in 64 bits: tells configurations apart, hides nothing.
fn digest(text: &str) -> String {
    let start: u64 = 0xcbf2_9ce4_8422_2325;
    let hash = text.bytes().fold(start, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// Rests between slices of its work, where a shard has the same CPU.
fn reader(running: &Running, labels: Labels) -> Reader {
    let reader = Reader::new(running.cells.clone(), labels);
    if running.plan.spare_cpu.is_some() {
        return reader;
    }
    let began = Cell::new(clock::moment());
    reader.resting(move || {
        if clock::moment() - began.get() > SLICE {
            #[allow(clippy::disallowed_methods)] // for the time, not for a condition
            std::thread::sleep(REST);
            began.set(clock::moment());
        }
    })
}

impl Control {
    fn new(
        running: Running,
        origins: Origins,
        config: ConfigState,
        orders: mpsc::Sender<Order>,
    ) -> Self {
        let labels = running.plan.labels();
        let state = State {
            reader: reader(&running, labels),
            observer: Observer::new(origins, running.plan.upstreams.len()),
            ending: Ending::No,
            config,
            exposition: Span::ZERO,
            forbidden: 0,
        };
        let own = running
            .listeners
            .iter()
            .filter(|listener| !listener.is_for_clients());
        let places = own.map(|listener| (listener.name.clone(), Places::new()));
        Self {
            places: places.collect(),
            running,
            started: clock::moment(),
            state: Mutex::new(state),
            orders,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn uptime(&self) -> Span {
        clock::moment() - self.started
    }

    /// Comes when every shard's loop has turned, or has had the time to; so that the first look finds them well.
    async fn first_turns(&self) {
        let turned = async {
            let cold = |check: &Check| check.fault.is_some();
            while probes::started(self.shards()).iter().any(cold) {
                tokio::time::sleep(FIRST_LOOK).await;
            }
        };
        let _ = tokio::time::timeout(TICK, turned).await;
    }

    /// The second's work: sample, observe, and give the shards their pages.
    fn tick(&self) {
        let State {
            reader,
            observer,
            exposition,
            forbidden,
            ..
        } = &mut *self.state();
        reader.tick(clock::moment());
        let refused = reader.forbidden();
        if refused > *forbidden {
            let requests = refused - std::mem::replace(forbidden, refused);
            log!(
                Forbidden,
                port = "data",
                requests,
                "/admin/ is served on the operator port alone"
            );
        }
        events::tell_suppressed();
        let own = Own {
            folded: reader.dropped(),
            exposition: std::mem::take(exposition),
            places: &self.places,
        };
        observer.observe(&self.running, &own);
        let report = observer
            .board()
            .report(crate::build::VERSION, self.uptime());
        let pages = proxy::Pages {
            status: report.status().code(),
            health: report.short_json().into_bytes(),
            summary: reader.status_json(&report).into_bytes(),
        };
        self.running.publish(pages);
    }

    /// What `/health` answers.
    pub(crate) fn report(&self) -> Report {
        let state = self.state();
        state
            .observer
            .board()
            .report(crate::build::VERSION, self.uptime())
    }

    /// What `/admin/stats` answers.
    pub(crate) fn summary(&self) -> String {
        let report = self.report();
        self.state().reader.status_json(&report)
    }

    /// What `/metrics` answers.
    pub(crate) fn exposition(&self, format: Format) -> Vec<u8> {
        let State {
            reader,
            config,
            exposition,
            ..
        } = &mut *self.state();
        let began = clock::moment();
        let rendered = scrape::render(&self.running, reader, config, format);
        *exposition = (*exposition).max(clock::moment() - began);
        rendered
    }

    /// Whether the end has begun.
    pub(crate) fn is_ending(&self) -> bool {
        self.state().ending.has_begun()
    }

    /// The shards' cells.
    pub(crate) fn shards(&self) -> &[Arc<ShardCells>] {
        &self.running.cells
    }

    /// Gives an order to the control loop.
    pub(crate) fn order(&self, order: Order) {
        // A full queue holds this very order already.
        let _ = self.orders.try_send(order);
    }
}
