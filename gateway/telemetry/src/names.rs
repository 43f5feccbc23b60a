//! Every metric family of the gateway, declared once: name, type, unit, labels and help. The reference in
//! `docs/metrics.md` is [`reference_markdown`].
//!
//! Deliberate exceptions to Prometheus' naming rules, because the runbooks grep for these names: the convenience gauges
//! `requests_per_second`, `error_rate` and `cache_hit_rate`. No rule of ours uses them.

use std::fmt::Write;

/// What a family's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; the name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by upper edge (the label `le`), with a sum.
    Histogram,
    /// Quantiles (the label `quantile`), with a sum where it means something.
    Summary,
}

/// The unit of a family's values, always the base unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Seconds since the Unix epoch.
    Timestamp,
    /// Bytes.
    Bytes,
    /// A share of one.
    Ratio,
    /// Per second.
    Rate,
    /// A plain number of things.
    Count,
    /// 0 or 1.
    Flag,
    /// Always 1; the labels tell.
    Info,
}

/// A declared family whose samples carry exactly `N` labels.
#[derive(Debug)]
pub struct Family<const N: usize> {
    /// The name as exported.
    pub name: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// Their unit.
    pub unit: Unit,
    /// Label names, in the order in which samples give the values.
    pub labels: [&'static str; N],
    /// One sentence for whoever reads the exposition.
    pub help: &'static str,
}

/// A family without its number of labels in the type.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The name as exported.
    pub name: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// Their unit.
    pub unit: Unit,
    /// Label names.
    pub labels: &'static [&'static str],
    /// One sentence.
    pub help: &'static str,
}

impl<const N: usize> Family<N> {
    pub(crate) const fn entry(&'static self) -> Entry {
        Entry {
            name: self.name,
            kind: self.kind,
            unit: self.unit,
            labels: &self.labels,
            help: self.help,
        }
    }
}

impl Entry {
    /// The name without what says the type.
    pub(crate) fn stem(&self) -> &'static str {
        match self.kind {
            Kind::Counter => self.name.strip_suffix("_total").unwrap_or(self.name),
            _ => self.name,
        }
    }

    /// The unit, where the name ends in it.
    pub(crate) fn unit_suffix(&self) -> Option<&'static str> {
        let unit = match self.unit {
            Unit::Seconds | Unit::Timestamp => "seconds",
            Unit::Bytes => "bytes",
            Unit::Ratio => "ratio",
            Unit::Rate | Unit::Count | Unit::Flag | Unit::Info => return None,
        };
        let rest = self.stem().strip_suffix(unit)?;
        rest.ends_with('_').then_some(unit)
    }
}

impl Kind {
    /// The word of the exposition format.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
        }
    }
}

impl Unit {
    /// The word of the reference.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Timestamp => "seconds since the epoch",
            Self::Bytes => "bytes",
            Self::Ratio => "0 to 1",
            Self::Rate => "per second",
            Self::Count => "",
            Self::Flag => "0 or 1",
            Self::Info => "always 1",
        }
    }
}

/// What a reader of any family has to know of the formats.
const FORMATS: &str = include_str!("formats.md");

/// The reference: the formats, and all families as a Markdown table.
#[must_use]
pub fn reference_markdown() -> String {
    let mut text = String::from(FORMATS);
    text.push_str("| family | type | unit | labels | meaning |\n|---|---|---|---|---|\n");
    for entry in ALL {
        let labels = entry.labels.iter().map(|label| format!("`{label}`"));
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} | {} |",
            entry.name,
            entry.kind.as_str(),
            entry.unit.as_str(),
            labels.collect::<Vec<_>>().join(", "),
            entry.help.replace('|', "\\|"),
        );
    }
    text
}

macro_rules! families {
    ($($id:ident: $kind:ident $unit:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = concat!("`", $name, "`: ", $help)]
            pub static $id: Family<{ <[&str]>::len(&[$($label),*]) }> = Family {
                name: $name,
                kind: Kind::$kind,
                unit: Unit::$unit,
                labels: [$($label),*],
                help: $help,
            };
        )*
        /// Every family, in the order of the reference.
        pub static ALL: &[Entry] = &[$($id.entry()),*];
    };
}

families! {
    HTTP_REQUESTS: Counter Count "http_requests_total" ["method", "status", "route", "cache"]
        "Requests whose first byte arrived, by method, full status code (499: the client gave up), route and the cache's part in the answer.";
    HTTP_REQUEST_ERRORS: Counter Count "http_request_errors_total" []
        "Of all requests, those answered 5xx. There from the start, so that rate() sees the first.";
    HTTP_REQUEST_DURATION: Histogram Seconds "http_request_duration_seconds" ["route", "cache"]
        "From when a request's first bytes could have been seen until the kernel took the last byte of its answer.";
    REQUEST_STAGE_DURATION: Histogram Seconds "request_stage_duration_seconds" ["stage"]
        "Where requests spent their time: waiting for the loop, being read, looked up, waiting for another's fetch, connecting to the origin, waiting for its first byte and for its body, being encoded, being sent. Stages of a request add up to its duration.";
    REQUEST_LATENCY: Summary Seconds "request_latency_seconds" []
        "Duration of all requests of the last 60 s, within 0.1 %; sum and count since start.";
    SLO_LATENCY_TARGET: Summary Seconds "slo_latency_target_seconds" []
        "What the quantiles of request_latency_seconds should stay below for cached requests.";
    REQUESTS_PER_SECOND: Gauge Rate "requests_per_second" []
        "Requests answered per second over the last 10 s (convenience; rate() of http_requests_total is exact).";
    ERROR_RATE: Gauge Ratio "error_rate" []
        "Share of 5xx among the requests of the last 10 s; 0 without requests.";
    SERIES_DROPPED: Counter Count "series_dropped_total" []
        "Records counted under the route other because series of their own would have been over the bound.";

    ACCESS_LOG_LINES: Counter Count "access_log_lines_total" []
        "Lines written to the access log.";
    ACCESS_LOG_DROPPED: Counter Count "access_log_dropped_total" ["reason"]
        "Lines that the access log lost: queue_full (its thread was behind), write (the file or the reader of standard output did not take them).";

    PROXY_PROTOCOL_ERRORS: Counter Count "proxy_protocol_errors_total" ["reason"]
        "Connections ended without an answer because their PROXY header is missing, malformed, too_long, from an untrusted address, late, or cut_off.";

    ACTIVE_CONNECTIONS: Gauge Count "active_connections" ["side"]
        "Open connections to clients and to upstreams, idle ones included.";
    CONNECTIONS_ACCEPTED: Counter Count "connections_accepted_total" ["shard"]
        "Client connections accepted.";
    ACCEPT_ERRORS: Counter Count "accept_errors_total" ["shard", "reason"]
        "Accepts that failed for want of descriptors or of other resources (places for connections, memory); the connections wait in the kernel's queue.";
    ANSWERS_CUT: Counter Count "answers_cut_total" ["shard"]
        "Answers ended in the middle, visibly: the origin broke off, or the client did not take them.";
    CLIENT_TIMEOUTS: Counter Count "client_timeouts_total" ["shard"]
        "Clients that ran out of time: for a head, a body, taking an answer, or in a silent tunnel.";
    CONNECTIONS_REFUSED: Counter Count "connections_refused_total" ["shard"]
        "Client connections answered 503 because the shard was at its bound.";

    SHARD_INFO: Gauge Info "shard_info" ["shard", "cpu", "numa"]
        "Where each shard runs.";
    SHARD_REQUESTS: Counter Count "shard_requests_total" ["shard"]
        "Requests answered by each shard.";
    REQUEST_DISTRIBUTION: Gauge Ratio "request_distribution" ["shard"]
        "Each shard's share of the requests of the last 10 s; 0 without requests.";
    SHARD_BUSY_RATIO: Gauge Ratio "shard_busy_ratio" ["shard"]
        "Share of the last 10 s in which the shard's thread worked: its CPU time, in the kernel too, without what busy polling spun in vain.";
    SHARD_TURNS: Counter Count "shard_turns_total" ["shard"]
        "Turns of the shard's loop.";
    SHARD_TAKEN: Counter Count "shard_cpu_taken_total" ["shard"]
        "Times the shard's CPU ran something else for more than 200 us, another process or another guest, as far as its loop could see: in a turn that took much longer than its work, while it polled, at the end of a sleep.";
    SHARD_TAKEN_SECONDS: Counter Seconds "shard_cpu_taken_seconds_total" ["shard"]
        "How long in all.";
    SHARD_HEARTBEAT_AGE: Gauge Seconds "shard_heartbeat_age_seconds" ["shard"]
        "Time since the shard's loop last turned; it turns at least once a second.";
    SHARD_RESTARTS: Counter Count "shard_restarts_total" ["shard"]
        "Times a shard was rebuilt after a panic.";
    QUEUE_DEPTH: Gauge Count "queue_depth" ["queue", "shard"]
        "Waiting in a queue: accept (connections that the kernel has set up and the shard has not taken), ready (completions of the last turn), mailbox (messages), upstream (requests), log (lines of the access log).";
    QUEUE_OLDEST_AGE: Gauge Seconds "queue_oldest_age_seconds" ["queue", "shard"]
        "How long the longest has been waiting in a queue; 0 while it is empty: upstream (requests that wait for a connection to an origin).";
    RING_BATCH_SIZE: Histogram Count "ring_batch_size" ["shard"]
        "Completions that one turn of the shard's loop found; turns that found none are not counted.";
    RING_CQ_OVERFLOW: Counter Count "ring_cq_overflow_total" ["shard"]
        "Completion-queue overflows of the shard's ring.";
    RING_SQ_FULL: Counter Count "ring_sq_full_total" ["shard"]
        "Times the submission queue was full and had to be flushed early.";
    BUFFER_STARVATION: Counter Count "buffer_starvation_total" ["shard"]
        "Times receiving stopped for want of a receive buffer.";
    SCRATCH_STARVATION: Counter Count "scratch_starvation_total" ["shard"]
        "Times a connection waited for a buffer to encode into.";
    BUFFERS_IN_USE: Gauge Count "buffers_in_use" ["shard"]
        "Buffers of the shard that hold something, received or to be sent; read every 64 turns, and in turns that find nothing.";

    CACHE_HIT_RATE: Gauge Ratio "cache_hit_rate" []
        "(hit + stale) / (hit + stale + revalidated + miss + collapsed) over the last 10 s; NaN without any of them.";
    CACHE_HITS: Counter Count "cache_hits_total" []
        "Lookups answered from the cache.";
    CACHE_FRONT_HITS: Counter Count "cache_front_hits_total" []
        "Of cache_hits_total, those found in the shard's own front.";
    CACHE_INDEX_HITS: Counter Count "cache_index_hits_total" []
        "Of cache_hits_total, those found in the node-wide index.";
    CACHE_MISSES: Counter Count "cache_misses_total" []
        "Lookups that went to an origin.";
    CACHE_FORWARDS: Counter Count "cache_forwards_total" ["reason"]
        "Requests that an origin was asked for, by the fwd of their Cache-Status.";
    CACHE_NOT_STORED: Counter Count "cache_not_stored_total" ["reason"]
        "Answers of origins passed on without being stored, by the detail of their Cache-Status.";
    CACHE_SERVED_STALE: Counter Count "cache_served_stale_total" ["reason"]
        "Answers served past their lifetime, by the detail of their Cache-Status.";
    CACHE_EVICTIONS: Counter Count "cache_evictions_total" ["reason"]
        "Objects dropped: front (from a shard's front; the node-wide index still has them) or why the index let them go.";
    CACHE_ENTRIES: Gauge Count "cache_entries" []
        "Objects in the node-wide index.";
    CACHE_BYTES: Gauge Bytes "cache_bytes" []
        "Bytes the objects of the node-wide index take.";
    CACHE_STREAM_UNCACHED: Counter Count "cache_stream_uncached_total" ["reason"]
        "Answers that may be stored and were streamed without, by reason: slab_full (the pool had no room), max_object (larger than cache.max_object), index_behind (too many waited for the index).";
    CACHE_GC_RUNS: Counter Count "cache_gc_runs_total" []
        "Sweeps of the cache on request.";
    CACHE_WARMING_IN_PROGRESS: Gauge Flag "cache_warming_in_progress" []
        "Whether the cache is being warmed.";

    UPSTREAM_ERRORS: Counter Count "upstream_request_errors_total" []
        "Requests to origins that failed, by any cause; causes by upstream: the other upstream_*_errors_total.";
    UPSTREAM_ACQUIRE_ERRORS: Counter Count "upstream_acquire_errors_total" ["upstream"]
        "Requests that got no connection to an upstream: all were busy for acquire_timeout, too many waited already, or no descriptor was left.";
    UPSTREAM_BREAKER_ERRORS: Counter Count "upstream_breaker_errors_total" ["upstream"]
        "Requests for which an upstream was not asked, because nearly all before them failed (breaker_ratio).";
    UPSTREAM_CONNECT_ERRORS: Counter Count "upstream_connect_errors_total" ["upstream"]
        "Connections to an upstream that could not be made, timeouts apart; the request goes on to the next endpoint where there is one.";
    UPSTREAM_TIMEOUT_ERRORS: Counter Count "upstream_timeout_errors_total" ["upstream", "stage"]
        "Times an upstream took too long: connect (a connection, as in upstream_connect_errors_total), first_byte (the head of the answer) or body (its next bytes).";
    UPSTREAM_RESET_ERRORS: Counter Count "upstream_reset_errors_total" ["upstream"]
        "Requests whose connection the upstream ended or reset before the answer was whole, and that were not sent again.";
    UPSTREAM_PROTOCOL_ERRORS: Counter Count "upstream_protocol_errors_total" ["upstream"]
        "Answers of an upstream that are not HTTP/1.1, or not an answer to what was asked.";
    UPSTREAM_REQUEST_DURATION: Histogram Seconds "upstream_request_duration_seconds" ["upstream", "stage"]
        "How long an upstream took: connect (a new connection), first_byte (from sending the request until the final head was here), body (from there until the answer was whole, as fast as who wants it takes it). Of stages that were completed, whether a client waited or not.";
    UPSTREAM_RETRIES: Counter Count "upstream_retries_total" ["upstream"]
        "Requests sent again to another endpoint of an upstream, within retry_budget.";
    UPSTREAM_HEDGES: Counter Count "upstream_hedges_total" ["upstream"]
        "Requests sent to a second endpoint because the first had not answered after hedge_after.";
    UPSTREAM_HEDGES_WON: Counter Count "upstream_hedges_won_total" ["upstream"]
        "Of those, the ones that the second endpoint answered first.";
    UPSTREAM_SHED: Counter Count "upstream_shed_total" ["upstream"]
        "Requests refused because too many waited for a connection to an upstream (max_waiting), the least important first.";
    UPSTREAM_EJECTIONS: Counter Count "upstream_ejections_total" ["upstream"]
        "Times an endpoint of an upstream was left out for what requests met with there.";
    UPSTREAM_BREAKS: Counter Count "upstream_breaker_trips_total" ["upstream"]
        "Times a shard stopped asking an upstream because nearly all requests failed.";
    UPSTREAM_BREAKER_OPEN: Gauge Count "upstream_breaker_open" ["upstream"]
        "Shards that do not ask an upstream now.";
    UPSTREAM_CONNECTS: Counter Count "upstream_connects_total" []
        "Connections made to origins.";
    CONNECTION_POOL_ACTIVE: Gauge Count "connection_pool_active" ["upstream"]
        "Connections to an upstream that carry an exchange.";
    CONNECTION_POOL_IDLE: Gauge Count "connection_pool_idle" ["upstream"]
        "Connections to an upstream kept for the next exchange.";
    CONNECTION_POOL_WAITING: Gauge Count "connection_pool_waiting" ["upstream"]
        "Requests that wait for a connection to an upstream.";
    CONNECTION_POOL_MAX: Gauge Count "connection_pool_max" ["upstream"]
        "The bound on connections to an upstream.";
    CONNECTION_POOL_EXHAUSTED: Counter Count "connection_pool_exhausted_total" ["upstream"]
        "Times a connection was wanted while the pool was at its bound.";
    CONNECTION_POOL_REUSED: Counter Count "connection_pool_reused_total" ["upstream"]
        "Requests that went to an upstream on a connection that had idled.";
    CONNECTION_POOL_STALE: Counter Count "connection_pool_stale_total" ["upstream"]
        "Idle connections that the upstream had closed when they were used; the request went out on another.";
    CONNECTION_POOL_WAIT: Summary Seconds "connection_pool_wait_seconds" ["upstream"]
        "How long requests waited for a connection to an upstream.";

    LOCK_WAIT: Counter Seconds "lock_wait_seconds_total" ["site"]
        "Time shards spent where threads meet (store: calls of the node-wide index, sampled).";
    INDEX_TURN: Histogram Seconds "index_turn_duration_seconds" ["shard"]
        "Time one turn of the loop spent in calls of the node-wide index; turns without one are not counted.";
    LOCK_CONTENDED: Counter Count "lock_contended_total" ["site"]
        "Passages of shards that found somebody else there.";
    LOCK_PASSED: Counter Count "lock_passed_total" ["site"]
        "Passages of shards through a place where threads meet.";

    MEMORY_USAGE: Gauge Bytes "memory_usage_bytes" ["kind"]
        "Memory in use: rss (the process), pool (blocks taken in the pool), cache (stored bodies), metadata (index and handles).";
    MEMORY_LIMIT: Gauge Bytes "memory_limit_bytes" []
        "The cgroup's memory limit, or the machine's memory.";
    MEMORY_AVAILABLE: Gauge Bytes "memory_available_bytes" []
        "Memory the machine could hand out without swapping (MemAvailable).";
    MEMORY_POOL: Gauge Bytes "memory_pool_bytes" []
        "Size of the pool that memory_pool_size decided.";
    POOL_HUGEPAGE: Gauge Bytes "pool_hugepage_bytes" []
        "Bytes of the pool backed by explicit hugepages.";
    HUGEPAGES_CONFIGURED: Gauge Count "hugepages_configured" ["size"]
        "Hugepages the machine has, by size in bytes (HugePages_Total).";
    HUGEPAGES_FREE: Gauge Count "hugepages_free" ["size"]
        "Hugepages nobody has taken (HugePages_Free).";
    HUGEPAGES_RESERVED: Gauge Count "hugepages_reserved" ["size"]
        "Of hugepages_free, those promised to somebody (HugePages_Rsvd).";

    IO_BACKEND_INFO: Gauge Info "io_backend_info" ["backend", "reason"]
        "The driver in use and why it is not another.";
    DPDK_PORT_ENABLED: Gauge Flag "dpdk_port_enabled" []
        "Whether packets are polled in user space.";
    BUILD_INFO: Gauge Info "build_info" ["version", "revision", "rustc", "target_cpu", "pgo", "lto", "features"]
        "What was built.";
    CONFIG_INFO: Gauge Info "config_info" ["hash"]
        "The configuration in force.";
    CONFIG_RELOAD_SUCCESSFUL: Gauge Flag "config_last_reload_successful" []
        "Whether the last load of the configuration succeeded.";
    CONFIG_RELOAD_TIME: Gauge Timestamp "config_last_reload_success_timestamp_seconds" []
        "When the configuration in force was loaded.";
    CPU_THROTTLED_SECONDS: Counter Seconds "cpu_throttled_seconds_total" []
        "Time the cgroup's quota kept the process from running.";
    CPU_THROTTLED_PERIODS: Counter Count "cpu_throttled_periods_total" []
        "Periods in which the cgroup's quota was used up.";
    CPU_PERIODS: Counter Count "cpu_quota_periods_total" []
        "Periods of the cgroup's quota.";

    LOG_EVENTS: Counter Count "log_events_total" ["event", "level"]
        "Events of the gateway's own log by code (docs/events.md), those left out included; every code from the start.";
    LOG_EVENTS_SUPPRESSED: Counter Count "log_events_suppressed_total" []
        "Events left out of the log because more than ten of one code came in one second.";

    PROCESS_CPU: Counter Seconds "process_cpu_seconds_total" []
        "User and system time of the process.";
    PROCESS_RSS: Gauge Bytes "process_resident_memory_bytes" []
        "Resident memory of the process.";
    PROCESS_VIRTUAL: Gauge Bytes "process_virtual_memory_bytes" []
        "Virtual memory of the process.";
    PROCESS_OPEN_FDS: Gauge Count "process_open_fds" []
        "Open file descriptors.";
    PROCESS_MAX_FDS: Gauge Count "process_max_fds" []
        "The bound on open file descriptors.";
    PROCESS_THREADS: Gauge Count "process_threads" []
        "Threads of the process.";
    PROCESS_START_TIME: Gauge Timestamp "process_start_time_seconds" []
        "When the process started.";

    NETWORK_LISTEN_OVERFLOWS: Counter Count "network_listen_overflows_total" []
        "Connections the kernel dropped because a listener's accept queue was full, in the process's network namespace (ListenOverflows).";
    NETWORK_LISTEN_DROPS: Counter Count "network_listen_drops_total" []
        "Connections the kernel dropped at listeners for any reason, network_listen_overflows_total included (ListenDrops).";
    NETWORK_RETRANSMITS: Counter Count "network_retransmitted_segments_total" []
        "TCP segments sent again, in the process's network namespace (RetransSegs).";
    NETWORK_RECEIVE_QUEUE_DROPS: Counter Count "network_receive_queue_drops_total" []
        "TCP segments dropped because their socket's receive buffer was full (TCPRcvQDrop).";
    NETWORK_BACKLOG_DROPS: Counter Count "network_backlog_drops_total" []
        "TCP segments dropped because their socket's backlog was full (TCPBacklogDrop).";
    NETWORK_SOFTNET_DROPPED: Counter Count "network_softnet_dropped_total" []
        "Packets dropped because a CPU's backlog was full, all CPUs of the machine together (softnet_stat).";
    NETWORK_SOFTNET_SQUEEZED: Counter Count "network_softnet_squeezed_total" []
        "Times a CPU stopped taking packets with some left because its budget was used up, all CPUs of the machine together (softnet_stat).";
    NETWORK_RECEIVE_ERRORS: Counter Count "network_receive_errors_total" ["device"]
        "Packets a network device received with errors; at most 16 devices, without lo and veth*.";
    NETWORK_RECEIVE_DROP: Counter Count "network_receive_drop_total" ["device"]
        "Packets a network device received and dropped.";
    NETWORK_TRANSMIT_ERRORS: Counter Count "network_transmit_errors_total" ["device"]
        "Packets a network device did not send for errors.";
    NETWORK_TRANSMIT_DROP: Counter Count "network_transmit_drop_total" ["device"]
        "Packets dropped instead of sent by a network device.";

    METRICS_SCRAPE_DURATION: Gauge Seconds "metrics_scrape_duration_seconds" []
        "How long rendering this exposition took.";
    METRICS_SERIES: Gauge Count "metrics_series" []
        "Series in this exposition, this one included.";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_say_their_type_and_unit() {
        for entry in ALL {
            let name = entry.name;
            assert_eq!(
                entry.kind == Kind::Counter,
                name.ends_with("_total"),
                "{name}"
            );
            let stem = name.strip_suffix("_total").unwrap_or(name);
            let suffix = match entry.unit {
                Unit::Seconds => "_seconds",
                Unit::Timestamp => "_timestamp_seconds",
                Unit::Bytes => "_bytes",
                Unit::Info => "_info",
                Unit::Ratio | Unit::Rate | Unit::Count | Unit::Flag => "",
            };
            let start_time = name == PROCESS_START_TIME.name; // The name every client library uses.
            assert!(stem.ends_with(suffix) || start_time, "{name}");
        }
    }

    /// To OpenMetrics a family is its stem, and no sample may have another family's name.
    #[test]
    fn no_sample_is_named_like_another_family() {
        let suffixes = |kind| match kind {
            Kind::Counter => &["", "_total", "_created"][..],
            Kind::Gauge => &[""],
            Kind::Histogram => &["", "_bucket", "_sum", "_count", "_created"],
            Kind::Summary => &["", "_sum", "_count", "_created"],
        };
        let mut taken = BTreeSet::new();
        for entry in ALL {
            for suffix in suffixes(entry.kind) {
                let name = format!("{}{suffix}", entry.stem());
                assert!(taken.insert(name.clone()), "{name}");
            }
        }
    }

    #[test]
    fn a_name_is_declared_once_and_explained() {
        let names: BTreeSet<_> = ALL.iter().map(|entry| entry.name).collect();
        assert_eq!(names.len(), ALL.len());
        assert!(
            ALL.iter()
                .all(|entry| entry.help.ends_with('.') && entry.help.len() > 8)
        );
    }

    #[test]
    fn the_reference_has_a_line_for_every_family() {
        let text = reference_markdown();
        let formats = FORMATS.lines().count();
        assert_eq!(text.lines().count(), formats + ALL.len() + 2);
        assert!(text.contains(
            "| `queue_depth` | gauge |  | `queue`, `shard` | Waiting in a queue: accept"
        ));
    }
}
