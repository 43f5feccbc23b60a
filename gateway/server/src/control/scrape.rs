//! The exposition: the shards' cells, and what the control plane alone knows.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base::{ShardId, Stamp};
use platform::host::HostRoot;
use platform::host::cgroup::Cgroups;
use platform::host::memory::MemoryFacts;
use platform::host::network::{Device, Network};
use platform::host::process::Process;
use telemetry::{Exposition, Format, Reader, Supplement, names};

use super::Control;
use crate::access::Tally;
use crate::events::Code;
use crate::running::Running;
use crate::{build, clock, events};

/// The routes of the metrics port: `GET /metrics`, in the format that `Accept` prefers.
pub(crate) fn router(control: Arc<Control>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .fallback(|| async { (StatusCode::NOT_FOUND, "there is /metrics\n") })
        .with_state(control)
}

async fn metrics(State(control): State<Arc<Control>>, fields: HeaderMap) -> Response {
    let accepted = fields.get_all(header::ACCEPT).iter();
    let accepted: Vec<_> = accepted.filter_map(|line| line.to_str().ok()).collect();
    let format = Format::preferred(&accepted.join(","));
    let fields = [
        (header::CONTENT_TYPE, format.content_type()),
        (header::VARY, "Accept"),
    ];
    (fields, control.exposition(format)).into_response()
}

/// Renders everything.
pub(super) fn render(
    running: &Running,
    reader: &mut Reader,
    config: &ConfigState,
    format: Format,
) -> Vec<u8> {
    let began = clock::moment();
    let mut out = Exposition::of(format);
    let stats = (running.store_stats)();
    let evictions = [
        ("capacity", stats.evicted_capacity),
        ("replaced", stats.replaced),
        ("removed", stats.removed),
    ];
    let accepting = running.accept_queues.depths().into_iter();
    let accepting: Vec<_> = accepting
        .map(|(shard, depth)| ("accept", shard, depth))
        .collect();
    // The classic text has no place for them.
    let exemplars = match format {
        Format::Text => Vec::new(),
        Format::OpenMetrics | Format::Protobuf => {
            reader.exemplars(Stamp(began.0), clock::epoch_ns())
        }
    };
    let more = Supplement {
        evictions: &evictions,
        queues: &accepting,
        exemplars: &exemplars,
    };
    reader.render(began, &more, &mut out);
    out.value(&names::CACHE_ENTRIES, stats.objects);
    out.value(&names::CACHE_BYTES, stats.bytes);
    render_shards(running, &mut out);
    if let Some(log) = &running.access_log {
        render_log(log.tally(), running.dropped_lines(), &mut out);
    }
    render_memory(running, &mut out);
    render_process(&running.host.root, &mut out);
    render_network(&Network::read(&running.host.root), &mut out);
    render_build(running, config, &mut out);
    out.encode(clock::moment() - began)
}

/// The configuration in force.
pub(crate) struct ConfigState {
    /// A digest of the effective configuration.
    pub(crate) hash: String,
    /// Seconds since the epoch at which it was loaded.
    pub(crate) loaded: u64,
    /// Whether the last check of the file found it good.
    pub(crate) good: bool,
}

fn render_shards(running: &Running, out: &mut Exposition) {
    let mut info = out.family(&names::SHARD_INFO);
    for (cells, place) in running.cells.iter().zip(&running.plan.shards) {
        let ShardId(shard) = cells.shard;
        let node = place.node.unwrap_or(0);
        info.sample(
            [
                &shard.to_string(),
                &place.cpu.to_string(),
                &node.to_string(),
            ],
            true,
        );
    }
    let mut bounds = out.family(&names::CONNECTION_POOL_MAX);
    for upstream in &running.plan.proxy.upstreams {
        bounds.sample([&upstream.name], upstream.connections_max as u64);
    }
}

fn render_log(tally: &Tally, unheld: u64, out: &mut Exposition) {
    out.value(&names::ACCESS_LOG_LINES, tally.written.read());
    let mut dropped = out.family(&names::ACCESS_LOG_DROPPED);
    dropped.sample(["queue_full"], unheld);
    dropped.sample(["write"], tally.failed.read());
}

fn render_memory(running: &Running, out: &mut Exposition) {
    let taken = &running.memory;
    let usage = (running.pool_usage)();
    let mut used = out.family(&names::MEMORY_USAGE);
    if let Some(process) = Process::read(&running.host.root) {
        used.sample(["rss"], process.resident_bytes);
    }
    used.sample(["pool"], taken.buffer_bytes + usage.used_bytes);
    used.sample(["cache"], (running.store_stats)().bytes);
    used.sample(["metadata"], taken.bookkeeping_bytes);
    out.value(&names::MEMORY_LIMIT, running.host.memory_limit());
    out.value(&names::MEMORY_POOL, taken.pool_bytes);
    out.value(&names::POOL_HUGEPAGE, taken.huge_bytes);
    let now = MemoryFacts::read(&running.host.root);
    out.value(&names::MEMORY_AVAILABLE, now.available_bytes);
    let size = now.hugepages.page_bytes.to_string();
    let pages = [
        (&names::HUGEPAGES_CONFIGURED, now.hugepages.configured),
        (&names::HUGEPAGES_FREE, now.hugepages.free),
        (&names::HUGEPAGES_RESERVED, now.hugepages.reserved),
    ];
    for (family, count) in pages {
        out.family(family).sample([&size], count);
    }
}

fn render_process(root: &HostRoot, out: &mut Exposition) {
    if let Some(process) = Process::read(root) {
        out.value(&names::PROCESS_CPU, process.cpu);
        out.value(&names::PROCESS_RSS, process.resident_bytes);
        out.value(&names::PROCESS_VIRTUAL, process.virtual_bytes);
        out.value(&names::PROCESS_OPEN_FDS, process.open_fds);
        out.value(&names::PROCESS_THREADS, process.threads);
        out.value(&names::PROCESS_START_TIME, process.started.as_secs());
        if let Some(bound) = process.max_fds {
            out.value(&names::PROCESS_MAX_FDS, bound);
        }
    }
    if let Some(throttling) = Cgroups::of_self(root).throttling() {
        out.value(&names::CPU_THROTTLED_SECONDS, throttling.throttled);
        out.value(&names::CPU_THROTTLED_PERIODS, throttling.throttled_periods);
        out.value(&names::CPU_PERIODS, throttling.periods);
    }
}

fn render_network(network: &Network, out: &mut Exposition) {
    let counts = [
        (&names::NETWORK_LISTEN_OVERFLOWS, network.listen_overflows),
        (&names::NETWORK_LISTEN_DROPS, network.listen_drops),
        (&names::NETWORK_RETRANSMITS, network.retransmitted),
        (
            &names::NETWORK_RECEIVE_QUEUE_DROPS,
            network.receive_queue_drops,
        ),
        (&names::NETWORK_BACKLOG_DROPS, network.backlog_drops),
        (
            &names::NETWORK_SOFTNET_DROPPED,
            network.softnet.map(|softnet| softnet.dropped),
        ),
        (
            &names::NETWORK_SOFTNET_SQUEEZED,
            network.softnet.map(|softnet| softnet.squeezed),
        ),
    ];
    for (family, count) in counts {
        if let Some(count) = count {
            out.value(family, count);
        }
    }
    type Count = fn(&Device) -> u64;
    let counts: [(_, Count); 4] = [
        (&names::NETWORK_RECEIVE_ERRORS, |device| {
            device.receive_errors
        }),
        (&names::NETWORK_RECEIVE_DROP, |device| device.receive_drops),
        (&names::NETWORK_TRANSMIT_ERRORS, |device| {
            device.transmit_errors
        }),
        (&names::NETWORK_TRANSMIT_DROP, |device| {
            device.transmit_drops
        }),
    ];
    for (family, count) in counts {
        let mut samples = out.family(family);
        for device in &network.devices {
            samples.sample([&device.name], count(device));
        }
    }
}

fn render_build(running: &Running, config: &ConfigState, out: &mut Exposition) {
    let reason = running.backend.reason.as_deref().unwrap_or_default();
    out.family(&names::IO_BACKEND_INFO)
        .sample([running.backend.name, reason], true);
    let fact = |name| {
        let found = build::FACTS.iter().find(|(known, _)| *known == name);
        found.map_or("", |(_, value)| value)
    };
    let labels = names::BUILD_INFO.labels.map(fact);
    out.family(&names::BUILD_INFO).sample(labels, true);
    out.family(&names::CONFIG_INFO).sample([&config.hash], true);
    out.value(&names::CONFIG_RELOAD_SUCCESSFUL, config.good);
    out.value(&names::CONFIG_RELOAD_TIME, config.loaded);
    let mut said = out.family(&names::LOG_EVENTS);
    for code in Code::ALL {
        let level = code.level().as_str().to_ascii_lowercase();
        said.sample([code.as_str(), &level], code.count());
    }
    out.value(&names::LOG_EVENTS_SUPPRESSED, events::suppressed());
}
