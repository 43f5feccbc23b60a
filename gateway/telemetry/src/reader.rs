//! The one reader of all shards' cells, on the control thread.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base::limits::{DURATION_SERIES_MAX, REQUEST_SERIES_MAX};
use base::{Moment, ShardId};

use crate::cells::RouteLabel;
use crate::duration::{Buckets, Row};
use crate::health::Report;
use crate::json::Object;
use crate::series::{Folded, Key, class_of};
use crate::window::Totals;
use crate::{CacheLabel, Exemplar, MethodLabel, Noted, ShardCells, Window};

/// What dense ids are called in labels.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    /// Names of the configured routes, by `RouteId`.
    pub routes: Vec<String>,
    /// Names of the upstreams, by `UpstreamId`.
    pub upstreams: Vec<String>,
}

impl Labels {
    /// The label of a dense route index.
    pub(crate) fn route(&self, index: usize) -> &str {
        let built_in = &RouteLabel::BUILT_IN;
        let name = match index.checked_sub(built_in.len()) {
            None => built_in.get(index).copied(),
            Some(route) => self.routes.get(route).map(String::as_str),
        };
        name.unwrap_or(OTHER)
    }

    /// The name of the upstream that a request had to do with.
    pub(crate) fn upstream(&self, noted: &Noted) -> Option<&str> {
        let name = self.upstreams.get(usize::from(noted.upstream?));
        name.map(String::as_str)
    }
}

/// What others than the shards count in families that [`Reader::render`] writes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Supplement<'a> {
    /// `cache_evictions_total` of the node-wide index: reason and count.
    pub evictions: &'a [(&'a str, u64)],
    /// `queue_depth` of further queues: queue, shard, depth.
    pub queues: &'a [(&'a str, ShardId, u64)],
    /// Requests that stand for buckets of `http_request_duration_seconds`; the latest of a bucket is exported.
    pub exemplars: &'a [Exemplar],
}

/// Reads the cells of all shards: samples the window each second and renders expositions.
#[derive(Debug)]
pub struct Reader {
    pub(crate) shards: Vec<Arc<ShardCells>>,
    pub(crate) labels: Labels,
    pub(crate) window: Window,
    pub(crate) requests: RequestLedger,
    pub(crate) durations: DurationLedger,
    pub(crate) rest: Rest,
}

/// What the reader does between two pieces of its work.
pub(crate) struct Rest(Box<dyn Fn() + Send>);

impl Rest {
    pub(crate) fn take(&self) {
        (self.0)();
    }
}

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rest")
    }
}

impl Reader {
    /// A reader of these shards, in the order of their ids.
    #[must_use]
    pub fn new(shards: Vec<Arc<ShardCells>>, labels: Labels) -> Self {
        Self {
            shards,
            labels,
            window: Window::default(),
            requests: RequestLedger::default(),
            durations: DurationLedger::default(),
            rest: Rest(Box::new(|| {})),
        }
    }

    /// Has `rest` called between pieces of some ten microseconds, so that who shares the reader's CPU need not wait for the whole.
    #[must_use]
    pub fn resting(mut self, rest: impl Fn() + Send + 'static) -> Self {
        self.rest = Rest(Box::new(rest));
        self
    }

    /// Takes the second's sample. `now` is on the clock of the shards' drivers.
    pub fn tick(&mut self, now: Moment) {
        self.requests.collect(&self.shards, &self.rest);
        let totals = self.requests.totals();
        self.window.tick(now, totals, &self.shards, &self.rest);
    }

    /// The last minute.
    #[must_use]
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// Records without a series of their own (`series_dropped_total`), as of the last tick or exposition.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.requests.dropped() + self.durations.dropped
    }

    /// Requests to built-in paths that were refused with 403, as of the last tick: to `/admin/` where it is not served.
    #[must_use]
    pub fn forbidden(&self) -> u64 {
        let counts = self.requests.counts.iter();
        let forbidden = counts
            .filter(|(key, _)| key.route() == RouteLabel::Internal.index() && key.status() == 403);
        forbidden.map(|(_, count)| count).sum()
    }

    /// Client and upstream connections open on all shards.
    #[must_use]
    pub fn connections(&self) -> (i64, i64) {
        let clients = self.shards.iter().map(|cells| cells.clients.read());
        let upstreams = self.shards.iter().map(|cells| cells.upstreams.read());
        (clients.sum(), upstreams.sum())
    }

    /// The body of `/api/v1/status`: the health in short, and the convenience figures.
    #[must_use]
    pub fn status_json(&self, report: &Report) -> String {
        let mut text = String::with_capacity(512);
        let mut json = Object::open(&mut text);
        report.write_head(&mut json);
        json.count("shards", self.shards.len() as u64);
        let requests = self.shards.iter().map(|cells| cells.requests());
        json.count("requests_total", requests.sum());
        json.real("requests_per_second", self.window.requests_per_second());
        json.real("error_rate", self.window.error_rate());
        json.real("cache_hit_rate", self.window.cache_hit_rate());
        self.write_connections(json.object("active_connections"));
        self.write_latency(json.object("latency_seconds"));
        json.close();
        text
    }

    fn write_connections(&self, mut json: Object<'_>) {
        let (clients, upstreams) = self.connections();
        json.signed("client", clients);
        json.signed("upstream", upstreams);
        json.close();
    }

    fn write_latency(&self, mut json: Object<'_>) {
        let quantiles = self.window.latency().quantiles([0.5, 0.9, 0.99, 0.999]);
        for (name, value) in ["p50", "p90", "p99", "p999"].iter().zip(quantiles) {
            json.span(name, value);
        }
        json.close();
    }
}

/// The label of what has no series of its own.
pub(crate) const OTHER: &str = "other";

/// The shards' request series put together. A series once admitted stays, and one once refused stays refused, so no
/// exported count ever shrinks.
#[derive(Debug)]
pub(crate) struct RequestLedger {
    pub(crate) counts: BTreeMap<Key, u64>,
    pub(crate) folded: Folded<u64>,
}

impl Default for RequestLedger {
    /// What the gateway's own paths may answer is there before anybody asks, so that who looks for requests, and for failed
    /// ones, finds the name with 0.
    fn default() -> Self {
        let own = |status| {
            let (route, none) = (RouteLabel::Internal.index(), CacheLabel::None);
            (Key::new(route, status, MethodLabel::Get, none), 0)
        };
        Self {
            counts: BTreeMap::from([own(200), own(503)]),
            folded: Folded::default(),
        }
    }
}

impl RequestLedger {
    pub(crate) fn collect(&mut self, shards: &[Arc<ShardCells>], rest: &Rest) {
        self.counts.values_mut().for_each(|count| *count = 0);
        self.folded = Folded::default();
        for cells in shards {
            rest.take();
            cells.series.read(|key, count| self.add(key, count));
            let folded = cells.series.folded();
            let sums = self.folded.iter_mut().flatten();
            sums.zip(folded.iter().flatten())
                .for_each(|(sum, count)| *sum += count);
        }
    }

    fn add(&mut self, key: Key, count: u64) {
        let full = self.counts.len() >= REQUEST_SERIES_MAX;
        if !full || self.counts.contains_key(&key) {
            *self.counts.entry(key).or_default() += count;
        } else if let Some(class) = self.folded.get_mut(class_of(key.status())) {
            let sum = class.get_mut(key.cache() as usize);
            sum.into_iter().for_each(|sum| *sum += count);
        }
    }

    /// Requests without a series of their own.
    pub(crate) fn dropped(&self) -> u64 {
        self.folded.iter().flatten().sum()
    }

    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for (key, count) in &self.counts {
            totals.add(class_of(key.status()), key.cache(), *count);
        }
        for (class, counts) in self.folded.iter().enumerate() {
            for (cache, count) in CacheLabel::ALL.into_iter().zip(counts) {
                totals.add(class, cache, *count);
            }
        }
        totals
    }
}

impl Totals {
    fn add(&mut self, class: usize, cache: CacheLabel, count: u64) {
        self.requests += count;
        if class == 5 {
            self.server_errors += count;
        }
        if let Some(sum) = self.cache.get_mut(cache as usize) {
            *sum += count;
        }
    }
}

/// The shards' duration histograms put together, by dense route index (`None` is `other`) and cache label.
#[derive(Debug, Default)]
pub(crate) struct DurationLedger {
    pub(crate) rows: BTreeMap<(Option<usize>, u8), Buckets>,
    pub(crate) dropped: u64,
}

impl DurationLedger {
    pub(crate) fn collect(&mut self, shards: &[Arc<ShardCells>], rest: &Rest) {
        let empty = Buckets::default();
        self.rows.values_mut().for_each(|row| *row = empty);
        self.dropped = 0;
        for cells in shards {
            rest.take();
            self.dropped += cells.durations.folded.read();
            cells
                .durations
                .read(|route, cache, row| self.add(route, cache, row));
        }
    }

    fn add(&mut self, route: Option<usize>, cache: CacheLabel, row: &Row) {
        let shared = CacheLabel::COUNT;
        let full = self.rows.len() >= DURATION_SERIES_MAX + shared;
        let key = (route, cache as u8);
        if !full || self.rows.contains_key(&key) {
            row.merge_into(self.rows.entry(key).or_default());
            return;
        }
        self.dropped += row.read().count();
        if let Some(shared) = self.rows.get_mut(&(None, cache as u8)) {
            row.merge_into(shared);
        }
    }
}
