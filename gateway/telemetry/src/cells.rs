//! The cells of one shard.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use base::{Moment, RouteId, ShardId, Span, UpstreamId};

use crate::Histogram;
use crate::access::Handover;
use crate::buckets::{BucketCells, Buckets};
use crate::duration::{Durations, Row};
use crate::edges::{CLASSIC, classic_of};
use crate::recorder::Recorder;
use crate::series::{Key, RequestSeries};
use crate::stages::{Spent, Stages};
use crate::words::{self, Words};

/// A count that only grows. One writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

/// A value that goes up and down. One writer.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Counter {
    /// Adds `count`. The owning shard only.
    #[inline]
    pub fn add(&self, count: u64) {
        self.0
            .store(self.0.load(Relaxed).wrapping_add(count), Relaxed);
    }

    /// Takes over a count kept elsewhere by the owning shard.
    #[inline]
    pub fn set(&self, count: u64) {
        self.0.store(count, std::sync::atomic::Ordering::Relaxed);
    }

    /// The count.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Gauge {
    /// Adds `delta`. The owning shard only.
    #[inline]
    pub fn add(&self, delta: i64) {
        self.0
            .store(self.0.load(Relaxed).wrapping_add(delta), Relaxed);
    }

    /// Sets the value. The owning shard only.
    #[inline]
    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    /// The value.
    #[must_use]
    pub fn read(&self) -> i64 {
        self.0.load(Relaxed)
    }

    /// A gauge that nobody has set yet, so that a value nobody measures is not exported as zero.
    const fn unset() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }

    /// The value of a gauge that began [`unset`](Self::unset).
    pub(crate) fn measured(&self) -> Option<i64> {
        Some(self.read()).filter(|value| *value != i64::MIN)
    }
}

// A label with a fixed set of values.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        #[allow(missing_docs)]
        pub enum $name { $($variant),* }

        impl $name {
            /// Every value, in the order of the discriminants.
            pub const ALL: [Self; Self::COUNT] = [$(Self::$variant),*];
            /// How many values there are.
            pub const COUNT: usize = [$($text),*].len();

            /// The value as exported.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }
    };
}

label! {
    /// The label `method`: the known set, else `_OTHER`.
    MethodLabel {
        Get = "GET",
        Head = "HEAD",
        Post = "POST",
        Put = "PUT",
        Delete = "DELETE",
        Patch = "PATCH",
        Options = "OPTIONS",
        Trace = "TRACE",
        Connect = "CONNECT",
        Other = "_OTHER",
    }
}

label! {
    /// The label `cache`: how the answer was come by.
    CacheLabel {
        Hit = "hit",
        Stale = "stale",
        Revalidated = "revalidated",
        Miss = "miss",
        Collapsed = "collapsed",
        Bypass = "bypass",
        None = "none",
    }
}

label! {
    /// The label `stage`: where a request's time goes, in the order in which most requests pass.
    Stage {
        Wait = "wait",
        Parse = "parse",
        Lookup = "lookup",
        CollapseWait = "collapse_wait",
        UpstreamConnect = "upstream_connect",
        UpstreamFirstByte = "upstream_first_byte",
        UpstreamBody = "upstream_body",
        Encode = "encode",
        Send = "send",
    }
}

label! {
    /// The label `stage` of what an upstream does.
    UpstreamStage {
        Connect = "connect",
        FirstByte = "first_byte",
        Body = "body",
    }
}

label! {
    /// The label `site` of the lock families: where threads meet.
    LockSite {
        Store = "store",
        Slab = "slab",
        Mailbox = "mailbox",
    }
}

/// The label `route`: a configured name, `_internal`, `_none` or `_invalid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteLabel {
    /// A configured route.
    Route(RouteId),
    /// The built-in paths.
    Internal,
    /// No route matched.
    NoMatch,
    /// The request could not be read.
    Invalid,
}

impl RouteLabel {
    /// Label values beside the configured routes.
    pub(crate) const BUILT_IN: [&'static str; 3] = ["_internal", "_none", "_invalid"];

    /// Dense: the built-in values, then the routes.
    #[inline]
    pub(crate) fn index(self) -> usize {
        match self {
            Self::Internal => 0,
            Self::NoMatch => 1,
            Self::Invalid => 2,
            Self::Route(RouteId(id)) => Self::BUILT_IN.len() + usize::from(id),
        }
    }
}

/// One answered (or given up) request.
#[derive(Clone, Copy, Debug)]
pub struct RequestRecord {
    /// Its method.
    pub method: MethodLabel,
    /// The status sent; 499 when the client gave up first.
    pub status: u16,
    /// Its route.
    pub route: RouteLabel,
    /// How the cache took part.
    pub cache: CacheLabel,
    /// From when its first bytes could have been seen to when the kernel took the last byte of the answer.
    pub duration: Span,
}

/// Upper edges of `ring_batch_size`, inclusive.
pub(crate) const BATCH_EDGES: [u64; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];
const BATCH_BUCKETS: usize = BATCH_EDGES.len() + 1;

/// Everything one shard counts. Fixed in size at construction (about 1 MiB, most of it the recorder's, and 1.9 KiB for
/// each pair of route and cache label); its cache lines are its own.
#[derive(Debug)]
#[repr(align(128))]
pub struct ShardCells {
    /// Which shard.
    pub shard: ShardId,
    /// Client connections open.
    pub clients: Gauge,
    /// Upstream connections open (idle ones included).
    pub upstreams: Gauge,
    /// Client connections accepted.
    pub accepted: Counter,
    /// Client connections refused at the bound with 503.
    pub refused: Counter,
    /// Hits answered from the front.
    pub front_hits: Counter,
    /// Hits found in the node-wide index.
    pub index_hits: Counter,
    /// Misses that went to an origin.
    pub misses: Counter,
    /// Objects dropped from the front.
    pub front_evictions: Counter,
    /// Answers streamed uncached because the slab was full.
    pub uncached_slab_full: Counter,
    /// Answers streamed uncached because their body is larger than `cache.max_object`.
    pub uncached_max_object: Counter,
    /// Whole answers not kept because too many waited for the index.
    pub uncached_index_behind: Counter,
    /// Requests that an origin was asked for, by why.
    pub forwards: Words,
    /// Answers passed on without being stored, by why.
    pub not_stored: Words,
    /// Answers served stale, by why that is allowed.
    pub served_stale: Words,
    /// Connections ended for want of a good PROXY header, by why.
    pub proxy_protocol_refused: Words,
    /// Turns of the loop.
    pub turns: Counter,
    /// Nanoseconds of CPU that the loop's thread used for work (from the driver).
    pub busy_ns: Counter,
    /// Stretches of more than 200 us in which the shard's CPU ran something else.
    pub taken: Counter,
    /// Their nanoseconds.
    pub taken_ns: Counter,
    /// Times the shard was rebuilt after a panic.
    pub restarts: Counter,
    /// Monotonic nanoseconds at the end of the last turn (the shard's heartbeat).
    pub heartbeat_ns: Gauge,
    /// Requests to origins that failed, by any cause.
    pub upstream_errors: Counter,
    /// Connections made to origins.
    pub upstream_connects: Counter,
    /// Times a full pool of scratch buffers made a connection wait.
    pub scratch_starvation: Counter,
    /// Times receiving stopped for want of a buffer (from the driver).
    pub buffer_starvation: Counter,
    /// Buffers that hold something (from the driver).
    pub buffers_used: Gauge,
    /// Completion-queue overflows (from the driver).
    pub cq_overflow: Counter,
    /// Submission queue found full (from the driver).
    pub sq_full: Counter,
    /// Accepts that failed for want of descriptors.
    pub accept_no_descriptor: Counter,
    /// Accepts that failed otherwise: the table of connections is full, or the kernel is short of memory.
    pub accept_no_resource: Counter,
    /// Answers cut off in the middle, visibly: the origin broke off, or the client did not take them.
    pub cut_answers: Counter,
    /// Clients that ran out of time (head, body, taking an answer, or in a silent tunnel).
    pub client_timeouts: Counter,
    /// Completions the last turn handed out (`queue_depth{queue="ready"}`); not exported until set.
    pub ready: Gauge,
    /// Messages found in the mailbox at the last look (`queue_depth{queue="mailbox"}`); not exported until set.
    pub mailbox: Gauge,
    /// Requests that took long, failed or were drawn; turns that took long.
    pub recorder: Recorder,
    /// Lines of the access log on their way.
    pub log: Handover,
    pools: Box<[PoolCells]>,
    locks: Locks,
    pub(crate) index_turns: Row,
    pub(crate) batches: BucketCells<BATCH_BUCKETS>,
    routes: usize,
    last: Last,
    pub(crate) latency: Histogram,
    pub(crate) durations: Durations,
    pub(crate) stages: Stages,
    pub(crate) series: RequestSeries,
}

/// Where the requests with the labels of the last one are counted. The owning shard's alone: most have the same.
#[derive(Debug, Default)]
struct Last {
    /// The labels; 0: there was none.
    labels: AtomicU64,
    /// Entry of the series, and row of durations; whether one of them is shared with others.
    places: AtomicU64,
}

impl Last {
    const NO_ENTRY: u64 = 0xffff;
    const FOLDED: u64 = 1 << 32;

    #[inline]
    fn is(&self, labels: Key) -> bool {
        self.labels.load(Relaxed) == labels.word()
    }

    fn set(&self, labels: Key, entry: Option<u16>, row: u16, has_own_row: bool) {
        let is_folded = entry.is_none() || !has_own_row;
        let entry = entry.map_or(Self::NO_ENTRY, u64::from);
        let folded = if is_folded { Self::FOLDED } else { 0 };
        let places = entry | u64::from(row) << 16 | folded;
        self.labels.store(labels.word(), Relaxed);
        self.places.store(places, Relaxed);
    }

    #[inline]
    fn places(&self) -> Places {
        let places = self.places.load(Relaxed);
        Places {
            entry: places as u16,
            row: (places >> 16) as u16,
            folded: places >= Self::FOLDED,
        }
    }
}

struct Places {
    entry: u16,
    row: u16,
    folded: bool,
}

/// Why an upstream's answer did not come, or not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamError {
    /// There was no connection to be had.
    Acquire,
    /// It was not asked, for nearly everything failed there.
    Breaker,
    /// A connection could not be made.
    Connect,
    /// It took too long.
    Timeout(UpstreamStage),
    /// It ended or reset the connection.
    Reset,
    /// What it sent is no answer.
    Protocol,
}

/// One shard's connections to one upstream (`connection_pool_*`), and what came over them (`upstream_*`).
#[derive(Debug)]
pub struct PoolCells {
    /// Connections that carry an exchange.
    pub active: Gauge,
    /// Connections kept for the next one.
    pub idle: Gauge,
    /// Requests that wait for a connection (also `queue_depth{queue="upstream"}`).
    pub waiting: Gauge,
    /// Times the pool was at its bound when a connection was wanted.
    pub exhausted: Counter,
    /// Requests that went out on a connection that idled.
    pub reused: Counter,
    /// Idle connections that turned out closed when they were used; the request went out on another.
    pub stale_connections: Counter,
    /// Requests sent again to another endpoint.
    pub retries: Counter,
    /// Requests sent to a second endpoint for the first one's slowness.
    pub hedges: Counter,
    /// Those that it answered first.
    pub hedges_won: Counter,
    /// Requests that others waiting for a connection had to go for, and were refused.
    pub shed: Counter,
    /// Endpoints left out for what requests met with.
    pub ejections: Counter,
    /// Times this shard stopped asking.
    pub breaks: Counter,
    /// Whether it does not ask now.
    pub broken: Gauge,
    /// When the one that waits longest began to; 0: none waits.
    waiting_since: Counter,
    waits: Counter,
    wait_ns: Counter,
    acquire_errors: Counter,
    breaker_errors: Counter,
    connect_errors: Counter,
    timeouts: [Counter; UpstreamStage::COUNT],
    resets: Counter,
    protocol_errors: Counter,
    stages: [BucketCells<CLASSIC>; UpstreamStage::COUNT],
}

impl PoolCells {
    fn new() -> Self {
        Self {
            active: Gauge::default(),
            idle: Gauge::default(),
            waiting: Gauge::default(),
            exhausted: Counter::default(),
            reused: Counter::default(),
            stale_connections: Counter::default(),
            retries: Counter::default(),
            hedges: Counter::default(),
            hedges_won: Counter::default(),
            shed: Counter::default(),
            ejections: Counter::default(),
            breaks: Counter::default(),
            broken: Gauge::default(),
            breaker_errors: Counter::default(),
            waiting_since: Counter::default(),
            waits: Counter::default(),
            wait_ns: Counter::default(),
            acquire_errors: Counter::default(),
            connect_errors: Counter::default(),
            timeouts: Default::default(),
            resets: Counter::default(),
            protocol_errors: Counter::default(),
            stages: std::array::from_fn(|_| BucketCells::new()),
        }
    }

    /// Records how long the upstream took for a stage. The owning shard only.
    #[inline]
    pub fn took(&self, stage: UpstreamStage, span: Span) {
        if let Some(cells) = self.stages.get(stage as usize) {
            cells.add(classic_of(span.0), 1, span);
        }
    }

    /// Counts a failure. The owning shard only.
    #[inline]
    pub fn failed(&self, error: UpstreamError) {
        if let Some(counter) = self.errors(error) {
            counter.add(1);
        }
    }

    /// Failures, by any cause.
    #[must_use]
    pub fn failures(&self) -> u64 {
        let timeouts = self.timeouts.iter().map(Counter::read);
        let others = [
            &self.acquire_errors,
            &self.breaker_errors,
            &self.connect_errors,
            &self.resets,
            &self.protocol_errors,
        ];
        timeouts.chain(others.map(Counter::read)).sum()
    }

    /// How often the upstream completed a stage.
    #[must_use]
    pub fn completed(&self, stage: UpstreamStage) -> u64 {
        self.stage(stage).count()
    }

    pub(crate) fn errors(&self, error: UpstreamError) -> Option<&Counter> {
        match error {
            UpstreamError::Acquire => Some(&self.acquire_errors),
            UpstreamError::Breaker => Some(&self.breaker_errors),
            UpstreamError::Connect => Some(&self.connect_errors),
            UpstreamError::Timeout(stage) => self.timeouts.get(stage as usize),
            UpstreamError::Reset => Some(&self.resets),
            UpstreamError::Protocol => Some(&self.protocol_errors),
        }
    }

    pub(crate) fn stage(&self, stage: UpstreamStage) -> Buckets<CLASSIC> {
        let cells = self.stages.get(stage as usize);
        cells.map(BucketCells::read).unwrap_or_default()
    }

    /// Records how long a request waited for a connection that it then got.
    #[inline]
    pub fn waited(&self, wait: Span) {
        self.waits.add(1);
        self.wait_ns.add(wait.0);
    }

    /// Notes since when the request that waits longest for a connection does. The owning shard only, whenever that changes: the
    /// wait goes on while the shard's loop stands still.
    #[inline]
    pub fn waiting_since(&self, longest: Option<Moment>) {
        self.waiting_since
            .set(longest.map_or(0, |since| since.0.max(1)));
    }

    /// How long the request that waits longest has been waiting.
    pub(crate) fn oldest_wait(&self, now: Moment) -> Span {
        match self.waiting_since.read() {
            0 => Span::ZERO,
            since => now - Moment(since),
        }
    }

    /// Waits recorded and their sum.
    pub(crate) fn waits(&self) -> (u64, Span) {
        (self.waits.read(), Span(self.wait_ns.read()))
    }
}

/// What one shard lost at one [`LockSite`]. But for the index, not exported until a passage was measured there.
#[derive(Debug, Default)]
pub(crate) struct LockCells {
    pub(crate) passed: Counter,
    pub(crate) contended: Counter,
    pub(crate) wait_ns: Counter,
}

#[derive(Debug, Default)]
struct Locks {
    store: LockCells,
    slab: LockCells,
    mailbox: LockCells,
}

impl ShardCells {
    /// Cells for a shard with so many configured routes, and no upstreams.
    #[must_use]
    pub fn new(shard: ShardId, routes: usize) -> Self {
        let routes = RouteLabel::BUILT_IN.len() + routes;
        Self {
            shard,
            clients: Gauge::default(),
            upstreams: Gauge::default(),
            accepted: Counter::default(),
            refused: Counter::default(),
            front_hits: Counter::default(),
            index_hits: Counter::default(),
            misses: Counter::default(),
            front_evictions: Counter::default(),
            uncached_slab_full: Counter::default(),
            uncached_max_object: Counter::default(),
            uncached_index_behind: Counter::default(),
            forwards: Words::new(words::FORWARDS),
            not_stored: Words::new(words::NOT_STORED),
            served_stale: Words::new(words::SERVED_STALE),
            proxy_protocol_refused: Words::new(words::PROXY_PROTOCOL),
            turns: Counter::default(),
            busy_ns: Counter::default(),
            taken: Counter::default(),
            taken_ns: Counter::default(),
            restarts: Counter::default(),
            heartbeat_ns: Gauge::default(),
            upstream_errors: Counter::default(),
            upstream_connects: Counter::default(),
            scratch_starvation: Counter::default(),
            buffer_starvation: Counter::default(),
            buffers_used: Gauge::default(),
            cq_overflow: Counter::default(),
            sq_full: Counter::default(),
            accept_no_descriptor: Counter::default(),
            accept_no_resource: Counter::default(),
            cut_answers: Counter::default(),
            client_timeouts: Counter::default(),
            ready: Gauge::unset(),
            mailbox: Gauge::unset(),
            recorder: Recorder::new(),
            log: Handover::default(),
            pools: Box::default(),
            locks: Locks::default(),
            index_turns: Row::new(),
            batches: BucketCells::new(),
            routes,
            last: Last::default(),
            latency: Histogram::new(),
            durations: Durations::new(routes),
            stages: Stages::new(),
            series: RequestSeries::new(),
        }
    }

    /// The same with cells for so many upstreams.
    #[must_use]
    pub fn with_pools(mut self, upstreams: usize) -> Self {
        self.pools = (0..upstreams).map(|_| PoolCells::new()).collect();
        self
    }

    /// The same with room for lines of the access log.
    #[must_use]
    pub fn with_access_log(mut self) -> Self {
        self.log = Handover::with_room();
        self
    }

    /// Records what one turn of the loop spent on the node-wide index. The owning shard only.
    #[inline]
    pub fn index_turn(&self, spent: Span) {
        self.index_turns.record(spent);
    }

    /// Records `count` alike requests that were answered at once, with the nanoseconds that they spent together in wait, parse,
    /// lookup and encode; what is left of their durations was send. The owning shard only.
    #[inline]
    pub fn requests_at_once(&self, record: &RequestRecord, count: u32, before: [u64; 4]) {
        if cfg!(feature = "off") {
            return;
        }
        let all = Span(record.duration.0.wrapping_mul(u64::from(count)));
        self.stages.record_at_once(before, all, u64::from(count));
        self.alike(record, count);
    }

    /// Records a request, with what it spent in its stages. The owning shard only.
    pub fn request_of(&self, record: &RequestRecord, spent: &Spent) {
        if cfg!(feature = "off") {
            return;
        }
        self.stages.record(spent);
        self.request(record);
    }

    /// Records how many completions one turn of the loop found. The owning shard only.
    #[inline]
    pub fn batch(&self, completions: usize) {
        let all = completions as u64;
        // The power of two that is not less.
        let bucket = (u64::BITS - all.saturating_sub(1).leading_zeros()) as usize;
        // The cells sum up plain numbers as they do nanoseconds.
        self.batches
            .add(bucket.min(BATCH_BUCKETS - 1), 1, Span(all));
    }

    /// Records a request of which nobody knows the stages. The owning shard only.
    pub fn request(&self, record: &RequestRecord) {
        self.alike(record, 1);
    }

    #[inline]
    fn alike(&self, record: &RequestRecord, count: u32) {
        let (duration, alike) = (record.duration, u64::from(count));
        self.latency.record_alike(duration, count);
        let labels = Key::new(
            record.route.index(),
            record.status,
            record.method,
            record.cache,
        );
        if !self.last.is(labels) {
            self.find(labels, record);
        }
        let places = self.last.places();
        self.series.add_to(places.entry, alike);
        self.durations.record_in(places.row, duration, alike);
        if places.folded {
            self.fold(labels, alike);
        }
    }

    /// Looks up where requests with these labels are counted.
    #[cold]
    fn find(&self, labels: Key, record: &RequestRecord) {
        let key = self.known(labels);
        let entry = self.series.entry(key);
        let (row, has_own) = self.durations.row(key.route(), record.cache);
        self.last.set(labels, entry, row, has_own);
    }

    #[cold]
    fn fold(&self, labels: Key, count: u64) {
        let key = self.known(labels);
        if self.series.entry(key).is_none() {
            self.series.fold(key, count);
        }
        let (_, has_own) = self.durations.row(key.route(), key.cache());
        if !has_own {
            self.durations.folded.add(count);
        }
    }

    /// A route that was not announced at construction has no label; it is counted as unrouted.
    fn known(&self, labels: Key) -> Key {
        if labels.route() < self.routes {
            return labels;
        }
        let route = RouteLabel::NoMatch.index();
        Key::new(route, labels.status(), labels.method(), labels.cache())
    }

    /// How many requests were in a stage, and for how long together.
    #[must_use]
    pub fn stage(&self, stage: Stage) -> (u64, Span) {
        let read = self.stages.read(stage);
        (read.count(), read.sum)
    }

    /// How long all requests together took.
    #[must_use]
    pub fn latency_sum(&self) -> Span {
        self.durations.sum()
    }

    /// Requests recorded since start.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.series.count()
    }

    /// The cells of an upstream's connections, if it was announced to [`with_pools`](Self::with_pools).
    #[inline]
    #[must_use]
    pub fn pool(&self, upstream: UpstreamId) -> Option<&PoolCells> {
        self.pools.get(usize::from(upstream.0))
    }

    /// Records one passage through a place where threads meet: how long it took, and whether somebody was there. Who
    /// measures one passage in N lets it stand for N.
    #[inline]
    pub fn lock(&self, site: LockSite, wait: Span, contended: bool, stands_for: u64) {
        let cells = self.lock_cells(site);
        cells.passed.add(stands_for);
        cells.contended.add(if contended { stands_for } else { 0 });
        cells.wait_ns.add(wait.0.saturating_mul(stands_for));
    }

    pub(crate) fn pools(&self) -> &[PoolCells] {
        &self.pools
    }

    pub(crate) fn lock_cells(&self, site: LockSite) -> &LockCells {
        match site {
            LockSite::Store => &self.locks.store,
            LockSite::Slab => &self.locks.slab,
            LockSite::Mailbox => &self.locks.mailbox,
        }
    }
}
