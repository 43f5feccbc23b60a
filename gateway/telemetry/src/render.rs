//! Cells to expositions.

use std::collections::BTreeMap;

use base::{Moment, ShardId, Span};

use crate::buckets::Buckets;
use crate::cells::{BATCH_EDGES, PoolCells};
use crate::edges::{self, CLASSIC_NS};
use crate::exemplar;
use crate::exposition::Exposition;
use crate::health::heartbeat_age;
use crate::names::{self, Family};
use crate::reader::{OTHER, Reader, Supplement};
use crate::stages;
use crate::{
    CacheLabel, Counter, LockSite, MethodLabel, ShardCells, Stage, UpstreamError, UpstreamStage,
    Words,
};

/// One of a pool's counters.
type CounterOf = fn(&PoolCells) -> &Counter;

/// The quantiles of `request_latency_seconds`.
const QUANTILES: [f64; 7] = [0.5, 0.9, 0.95, 0.99, 0.999, 0.9999, 1.0];
/// The targets of `slo_latency_target_seconds`.
const TARGETS: [(f64, Option<Span>); 2] = [
    (0.5, Some(Span::from_micros(500))),
    (0.99, Some(Span::from_micros(1_000))),
];

impl Reader {
    /// Writes every family that the cells know. `now` is on the clock of the shards' drivers.
    pub fn render(&mut self, now: Moment, more: &Supplement<'_>, out: &mut Exposition) {
        self.requests.collect(&self.shards, &self.rest);
        self.durations.collect(&self.shards, &self.rest);
        self.render_requests(out);
        self.render_durations(more, out);
        self.rest.take();
        self.render_stages(out);
        self.rest.take();
        self.render_latency(out);
        self.render_rates(out);
        self.rest.take();
        self.render_connections(out);
        self.rest.take();
        self.render_shards(now, out);
        self.rest.take();
        self.render_queues(now, more, out);
        self.rest.take();
        self.render_cache(more, out);
        self.rest.take();
        self.render_upstreams(out);
        self.rest.take();
        self.render_index_turns(out);
        self.rest.take();
        self.render_locks(out);
        out.value(&names::DPDK_PORT_ENABLED, false);
    }

    fn render_requests(&self, out: &mut Exposition) {
        let mut samples = out.family(&names::HTTP_REQUESTS);
        let mut status = StatusText::default();
        for (key, count) in &self.requests.counts {
            let status = status.of(key.status());
            let route = self.labels.route(key.route());
            let labels = [key.method().as_str(), status, route, key.cache().as_str()];
            samples.sample(labels, *count);
        }
        const CLASSES: [&str; 6] = ["other", "1xx", "2xx", "3xx", "4xx", "5xx"];
        for (class, counts) in CLASSES.iter().zip(&self.requests.folded) {
            for (cache, count) in CacheLabel::ALL.iter().zip(counts) {
                if *count > 0 {
                    let method = MethodLabel::Other.as_str();
                    samples.sample([method, class, OTHER, cache.as_str()], *count);
                }
            }
        }
        let errors = self.requests.totals().server_errors;
        out.value(&names::HTTP_REQUEST_ERRORS, errors);
        out.value(&names::SERIES_DROPPED, self.dropped());
    }

    fn render_durations(&self, more: &Supplement<'_>, out: &mut Exposition) {
        let exemplars = exemplar::by_row(more.exemplars, &self.durations);
        let mut samples = out.family(&names::HTTP_REQUEST_DURATION);
        let touched = self.durations.rows.iter().filter(|(_, b)| b.count() > 0);
        for (row, buckets) in touched {
            self.rest.take();
            let (route, cache) = row;
            let route = route.map_or(OTHER, |route| self.labels.route(route));
            let cache = CacheLabel::ALL.get(usize::from(*cache));
            let labels = [route, cache.map_or(OTHER, |cache| cache.as_str())];
            samples.durations(labels, buckets, exemplars.get(row));
        }
    }

    fn render_stages(&self, out: &mut Exposition) {
        let mut samples = out.family(&names::REQUEST_STAGE_DURATION);
        for stage in Stage::ALL {
            let mut all = stages::Buckets::default();
            for cells in &self.shards {
                all.merge(&cells.stages.read(stage));
            }
            if all.count() > 0 {
                samples.histogram([stage.as_str()], &stages::EDGES_NS, &all.counts, all.sum);
            }
        }
    }

    fn render_latency(&self, out: &mut Exposition) {
        let values = self.window.latency().quantiles(QUANTILES);
        let count = self.shards.iter().map(|cells| cells.requests()).sum();
        let sum = self.shards.iter().map(|cells| cells.latency_sum().0).sum();
        let quantiles: Vec<_> = QUANTILES.into_iter().zip(values).collect();
        out.family(&names::REQUEST_LATENCY)
            .summary([], &quantiles, Span(sum), count);
        out.family(&names::SLO_LATENCY_TARGET)
            .quantiles([], &TARGETS);
    }

    fn render_rates(&self, out: &mut Exposition) {
        let window = &self.window;
        out.value(&names::REQUESTS_PER_SECOND, window.requests_per_second());
        out.value(&names::ERROR_RATE, window.error_rate());
        out.value(&names::CACHE_HIT_RATE, window.cache_hit_rate());
    }

    fn render_connections(&self, out: &mut Exposition) {
        let (clients, upstreams) = self.connections();
        out.family(&names::ACTIVE_CONNECTIONS)
            .sample(["client"], clients)
            .sample(["upstream"], upstreams);
        self.by_shard(out, &names::CONNECTIONS_ACCEPTED, |cells| &cells.accepted);
        let mut errors = out.family(&names::ACCEPT_ERRORS);
        for cells in &self.shards {
            let shard = label(cells);
            errors.sample([&shard, "descriptors"], cells.accept_no_descriptor.read());
            errors.sample([&shard, "resources"], cells.accept_no_resource.read());
        }
        self.by_shard(out, &names::ANSWERS_CUT, |cells| &cells.cut_answers);
        self.by_shard(out, &names::CLIENT_TIMEOUTS, |cells| &cells.client_timeouts);
        self.by_shard(out, &names::CONNECTIONS_REFUSED, |cells| &cells.refused);
    }

    fn render_shards(&self, now: Moment, out: &mut Exposition) {
        let mut requests = out.family(&names::SHARD_REQUESTS);
        for cells in &self.shards {
            requests.sample([&label(cells)], cells.requests());
        }
        let mut shares = out.family(&names::REQUEST_DISTRIBUTION);
        for (at, cells) in self.shards.iter().enumerate() {
            shares.sample([&label(cells)], self.window.request_share(at));
        }
        let mut busy = out.family(&names::SHARD_BUSY_RATIO);
        for (at, cells) in self.shards.iter().enumerate() {
            busy.sample([&label(cells)], self.window.busy_ratio(at));
        }
        let mut ages = out.family(&names::SHARD_HEARTBEAT_AGE);
        for cells in &self.shards {
            if let Some(age) = heartbeat_age(cells, now) {
                ages.sample([&label(cells)], age);
            }
        }
        self.by_shard(out, &names::SHARD_TURNS, |cells| &cells.turns);
        self.by_shard(out, &names::SHARD_TAKEN, |cells| &cells.taken);
        let mut taken = out.family(&names::SHARD_TAKEN_SECONDS);
        for cells in &self.shards {
            taken.sample([&label(cells)], Span(cells.taken_ns.read()));
        }
        self.by_shard(out, &names::SHARD_RESTARTS, |cells| &cells.restarts);
        let mut batches = out.family(&names::RING_BATCH_SIZE);
        for cells in &self.shards {
            let read = cells.batches.read();
            if read.count() > 0 {
                let shard = label(cells);
                batches.histogram_of_counts([&shard], &BATCH_EDGES, &read.counts, read.sum.0);
            }
        }
        self.by_shard(out, &names::RING_CQ_OVERFLOW, |cells| &cells.cq_overflow);
        self.by_shard(out, &names::RING_SQ_FULL, |cells| &cells.sq_full);
        self.by_shard(out, &names::BUFFER_STARVATION, |cells| {
            &cells.buffer_starvation
        });
        self.by_shard(out, &names::SCRATCH_STARVATION, |cells| {
            &cells.scratch_starvation
        });
        let mut buffers = out.family(&names::BUFFERS_IN_USE);
        for cells in &self.shards {
            buffers.sample([&label(cells)], cells.buffers_used.read());
        }
    }

    fn render_queues(&self, now: Moment, more: &Supplement<'_>, out: &mut Exposition) {
        let mut depths = out.family(&names::QUEUE_DEPTH);
        for cells in &self.shards {
            let shard = label(cells);
            for (queue, gauge) in [("ready", &cells.ready), ("mailbox", &cells.mailbox)] {
                if let Some(depth) = gauge.measured() {
                    depths.sample([queue, &shard], depth);
                }
            }
            if !cells.pools().is_empty() {
                let waiting: i64 = cells.pools().iter().map(|pool| pool.waiting.read()).sum();
                depths.sample(["upstream", &shard], waiting);
            }
            if cells.log.is_on() {
                depths.sample(["log", &shard], cells.log.waiting());
            }
        }
        for (queue, ShardId(shard), depth) in more.queues {
            depths.sample([queue, &shard.to_string()], *depth);
        }
        let mut ages = out.family(&names::QUEUE_OLDEST_AGE);
        for cells in &self.shards {
            let waits = cells.pools().iter().map(|pool| pool.oldest_wait(now));
            if let Some(longest) = waits.max() {
                ages.sample(["upstream", &label(cells)], longest);
            }
        }
    }

    fn render_cache(&self, more: &Supplement<'_>, out: &mut Exposition) {
        let front = self.sum(|cells| &cells.front_hits);
        let index = self.sum(|cells| &cells.index_hits);
        out.value(&names::CACHE_HITS, front + index);
        out.value(&names::CACHE_FRONT_HITS, front);
        out.value(&names::CACHE_INDEX_HITS, index);
        out.value(&names::CACHE_MISSES, self.sum(|cells| &cells.misses));
        let mut uncached = out.family(&names::CACHE_STREAM_UNCACHED);
        uncached.sample(["slab_full"], self.sum(|cells| &cells.uncached_slab_full));
        uncached.sample(["max_object"], self.sum(|cells| &cells.uncached_max_object));
        let behind = self.sum(|cells| &cells.uncached_index_behind);
        uncached.sample(["index_behind"], behind);
        self.by_word(out, &names::CACHE_FORWARDS, |cells| &cells.forwards);
        self.by_word(out, &names::CACHE_NOT_STORED, |cells| &cells.not_stored);
        self.by_word(out, &names::CACHE_SERVED_STALE, |cells| &cells.served_stale);
        self.by_word(out, &names::PROXY_PROTOCOL_ERRORS, |cells| {
            &cells.proxy_protocol_refused
        });
        let mut evictions = out.family(&names::CACHE_EVICTIONS);
        evictions.sample(["front"], self.sum(|cells| &cells.front_evictions));
        for (reason, count) in more.evictions {
            evictions.sample([reason], *count);
        }
        out.value(&names::CACHE_GC_RUNS, 0u64);
        out.value(&names::CACHE_WARMING_IN_PROGRESS, false);
    }

    fn render_upstreams(&self, out: &mut Exposition) {
        let errors = self.sum(|cells| &cells.upstream_errors);
        out.value(&names::UPSTREAM_ERRORS, errors);
        self.render_upstream_errors(out);
        self.render_upstream_durations(out);
        let connects = self.sum(|cells| &cells.upstream_connects);
        out.value(&names::UPSTREAM_CONNECTS, connects);
        self.by_upstream(out, &names::CONNECTION_POOL_ACTIVE, |pool| {
            pool.active.read()
        });
        self.by_upstream(out, &names::CONNECTION_POOL_IDLE, |pool| pool.idle.read());
        self.by_upstream(out, &names::CONNECTION_POOL_WAITING, |pool| {
            pool.waiting.read()
        });
        self.by_upstream(out, &names::UPSTREAM_BREAKER_OPEN, |pool| {
            pool.broken.read()
        });
        let counters: [(_, CounterOf); 9] = [
            (&names::CONNECTION_POOL_EXHAUSTED, |pool| &pool.exhausted),
            (&names::CONNECTION_POOL_REUSED, |pool| &pool.reused),
            (&names::CONNECTION_POOL_STALE, |pool| {
                &pool.stale_connections
            }),
            (&names::UPSTREAM_RETRIES, |pool| &pool.retries),
            (&names::UPSTREAM_HEDGES, |pool| &pool.hedges),
            (&names::UPSTREAM_HEDGES_WON, |pool| &pool.hedges_won),
            (&names::UPSTREAM_SHED, |pool| &pool.shed),
            (&names::UPSTREAM_EJECTIONS, |pool| &pool.ejections),
            (&names::UPSTREAM_BREAKS, |pool| &pool.breaks),
        ];
        for (family, counter) in counters {
            let mut samples = out.family(family);
            for (upstream, pools) in self.pools() {
                let count: u64 = pools.map(|pool| counter(pool).read()).sum();
                samples.sample([upstream], count);
            }
        }
        let mut waits = out.family(&names::CONNECTION_POOL_WAIT);
        for (upstream, pools) in self.pools() {
            let (count, sum) = pools
                .map(PoolCells::waits)
                .fold((0, 0), |(n, ns), (m, s)| (n + m, ns + s.0));
            waits.summary([upstream], &[], Span(sum), count);
        }
    }

    fn render_upstream_errors(&self, out: &mut Exposition) {
        let causes = [
            (&names::UPSTREAM_ACQUIRE_ERRORS, UpstreamError::Acquire),
            (&names::UPSTREAM_BREAKER_ERRORS, UpstreamError::Breaker),
            (&names::UPSTREAM_CONNECT_ERRORS, UpstreamError::Connect),
            (&names::UPSTREAM_RESET_ERRORS, UpstreamError::Reset),
            (&names::UPSTREAM_PROTOCOL_ERRORS, UpstreamError::Protocol),
        ];
        for (family, error) in causes {
            let mut samples = out.family(family);
            for (upstream, pools) in self.pools() {
                samples.sample([upstream], errors(pools, error));
            }
        }
        let mut samples = out.family(&names::UPSTREAM_TIMEOUT_ERRORS);
        for stage in UpstreamStage::ALL {
            for (upstream, pools) in self.pools() {
                let count = errors(pools, UpstreamError::Timeout(stage));
                samples.sample([upstream, stage.as_str()], count);
            }
        }
    }

    fn render_upstream_durations(&self, out: &mut Exposition) {
        let mut samples = out.family(&names::UPSTREAM_REQUEST_DURATION);
        for stage in UpstreamStage::ALL {
            for (upstream, pools) in self.pools() {
                let mut all = Buckets::default();
                pools.for_each(|pool| all.merge(&pool.stage(stage)));
                if all.count() > 0 {
                    let labels = [upstream, stage.as_str()];
                    samples.histogram(labels, &CLASSIC_NS, &all.counts, all.sum);
                }
            }
        }
    }

    fn render_index_turns(&self, out: &mut Exposition) {
        let turns = self.shards.iter().map(|cells| cells.index_turns.read());
        let touched: Vec<_> = self
            .shards
            .iter()
            .zip(turns)
            .filter(|(_, turns)| turns.count() > 0)
            .collect();
        let mut samples = out.family(&names::INDEX_TURN);
        for (cells, turns) in &touched {
            let counts = edges::classic(&turns.counts);
            samples.histogram([&label(cells)], &CLASSIC_NS, &counts, turns.sum);
        }
    }

    fn render_locks(&self, out: &mut Exposition) {
        let sites = LockSite::ALL.map(|site| {
            let cells = self.shards.iter().map(|cells| cells.lock_cells(site));
            cells.fold((0, 0, 0), |(passed, contended, ns), cells| {
                (
                    passed + cells.passed.read(),
                    contended + cells.contended.read(),
                    ns + cells.wait_ns.read(),
                )
            })
        });
        // The index is measured from the start; of the others none that nobody measures.
        let measured: Vec<_> = LockSite::ALL
            .iter()
            .zip(sites)
            .filter(|(site, (passed, ..))| **site == LockSite::Store || *passed > 0)
            .collect();
        let mut waits = out.family(&names::LOCK_WAIT);
        for (site, (_, _, ns)) in &measured {
            waits.sample([site.as_str()], Span(*ns));
        }
        let mut contended = out.family(&names::LOCK_CONTENDED);
        for (site, (_, count, _)) in &measured {
            contended.sample([site.as_str()], *count);
        }
        let mut passed = out.family(&names::LOCK_PASSED);
        for (site, (count, ..)) in &measured {
            passed.sample([site.as_str()], *count);
        }
    }

    fn by_shard(
        &self,
        out: &mut Exposition,
        family: &'static Family<1>,
        counter: impl Fn(&ShardCells) -> &Counter,
    ) {
        let mut samples = out.family(family);
        for cells in &self.shards {
            samples.sample([&label(cells)], counter(cells).read());
        }
    }

    fn by_word(
        &self,
        out: &mut Exposition,
        family: &'static Family<1>,
        words: impl Fn(&ShardCells) -> &Words,
    ) {
        let mut sums = BTreeMap::new();
        for (word, count) in self.shards.iter().flat_map(|cells| words(cells).read()) {
            *sums.entry(word).or_insert(0) += count;
        }
        let mut samples = out.family(family);
        for (word, count) in sums {
            samples.sample([word], count);
        }
    }

    fn by_upstream(
        &self,
        out: &mut Exposition,
        family: &'static Family<1>,
        gauge: impl Fn(&PoolCells) -> i64,
    ) {
        let mut samples = out.family(family);
        for (upstream, pools) in self.pools() {
            samples.sample([upstream], pools.map(&gauge).sum::<i64>());
        }
    }

    /// Each upstream's cells on all shards that have some.
    fn pools(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = &PoolCells>)> {
        let known = self.shards.iter().map(|cells| cells.pools().len()).max();
        let names = self.labels.upstreams.iter().take(known.unwrap_or(0));
        names.enumerate().map(|(at, name)| {
            let pools = self
                .shards
                .iter()
                .filter_map(move |cells| cells.pools().get(at));
            (name.as_str(), pools)
        })
    }

    fn sum(&self, counter: impl Fn(&ShardCells) -> &Counter) -> u64 {
        self.shards.iter().map(|cells| counter(cells).read()).sum()
    }
}

fn errors<'a>(pools: impl Iterator<Item = &'a PoolCells>, error: UpstreamError) -> u64 {
    pools
        .filter_map(|pool| pool.errors(error))
        .map(Counter::read)
        .sum()
}

fn label(cells: &ShardCells) -> String {
    let ShardId(shard) = cells.shard;
    shard.to_string()
}

/// The text of the status last asked for: keys come sorted, so most follow their like.
#[derive(Default)]
struct StatusText(u16, String);

impl StatusText {
    fn of(&mut self, status: u16) -> &str {
        if self.0 != status || self.1.is_empty() {
            *self = Self(status, status.to_string());
        }
        &self.1
    }
}
