//! What every shard is told of an upstream.

use base::Span;
use http::proxy_protocol::Version;

use crate::config::{Balance, Concurrency, SendProxyProtocol, Upstream};

/// Below so many answers no ratio is judged.
const ANSWERS_MIN: u32 = 20;

/// Bounds of the whole are split evenly among the shards, rounded up, but for the one on connections, which they share. The
/// endpoints are still to be looked up.
pub(super) fn data_plane(upstream: &Upstream, shards: usize) -> proxy::Upstream {
    let hash_field = Some(upstream.hash_on.as_str()).filter(|on| *on != "target");
    proxy::Upstream {
        name: upstream.name.clone(),
        endpoints: Vec::new(),
        balance: match upstream.balance {
            Balance::PeakEwma => proxy::Balance::PeakEwma,
            Balance::LeastOutstanding => proxy::Balance::LeastOutstanding,
            Balance::RoundRobin => proxy::Balance::RoundRobin,
            Balance::Hash => proxy::Balance::Hash,
        },
        hash_field: hash_field.map(Into::into),
        slow_start: upstream.slow_start,
        panic_percent: upstream.panic_threshold,
        ejection: proxy::Ejection {
            failures: upstream.eject_failures,
            percent: upstream.eject_ratio,
            answers_min: ANSWERS_MIN,
            latency_factor: upstream.eject_latency,
            span: upstream.eject_time,
            span_max: upstream.eject_time_max,
        },
        breaker: proxy::BreakerRules {
            percent: upstream.breaker_ratio,
            requests_min: ANSWERS_MIN,
            ..proxy::BreakerRules::default()
        },
        connect_timeout: upstream.connection_timeout,
        first_byte_timeout: upstream.first_byte_timeout,
        read_timeout: upstream.read_timeout,
        pool_idle_timeout: upstream.idle_timeout,
        max_lifetime: upstream.max_lifetime,
        acquire_timeout: upstream.acquire_timeout,
        connections_max: upstream.max_connections,
        connections_min: upstream.min_connections.div_ceil(shards),
        waiting_max: upstream.max_waiting.div_ceil(shards),
        adaptive: upstream.concurrency == Concurrency::Adaptive,
        total_timeout: upstream.total_timeout.value().map(Span),
        retries: upstream.retries,
        retry_percent: upstream.retry_budget,
        retry_body_max: upstream.retry_body,
        retry_statuses: upstream.retry_statuses.value().unwrap_or_default(),
        hedge_after: upstream.hedge_after.value().map(Span),
        send_proxy_protocol: match upstream.send_proxy_protocol {
            SendProxyProtocol::Off => None,
            SendProxyProtocol::V1 => Some(Version::V1),
            SendProxyProtocol::V2 => Some(Version::V2),
        },
    }
}
