//! The keys of an upstream.

use super::keys::{DAY, Key, MIB, MS, SECOND, key, must};
use super::kind::Kind;

pub(super) const UPSTREAM: &[Key] = &[
    must(
        "name",
        Kind::Name,
        "What routes, metrics and /health call it.",
    ),
    must(
        "endpoints",
        Kind::Endpoints,
        "Its addresses, used in turn. A host name is looked up once, at start, and each of its addresses is an \
         endpoint (the IPv4 ones where it has both kinds).",
    ),
    key(
        "max_connections",
        Kind::Count(1, 1_000_000),
        "1024",
        "Connections to it, all shards together; a request that finds none free waits.",
    ),
    key(
        "min_connections",
        Kind::Count(0, 1_000_000),
        "0",
        "Connections that are kept open without being asked for, all shards together (each keeps its part, rounded up).",
    ),
    key(
        "connection_timeout",
        Kind::Span(MS, DAY),
        "1s",
        "From connecting to being connected; longer: the next endpoint, or 504.",
    ),
    key(
        "first_byte_timeout",
        Kind::Span(MS, DAY),
        "30s",
        "From the request to the first byte of the answer; longer: 504.",
    ),
    key(
        "read_timeout",
        Kind::Span(MS, DAY),
        "30s",
        "Between two bytes of an answer; longer: the answer is cut, visibly.",
    ),
    key(
        "idle_timeout",
        Kind::Span(MS, DAY),
        "30s",
        "How long an unused connection is kept. Stay below the origin's own.",
    ),
    key(
        "max_lifetime",
        Kind::Span(SECOND, 365 * DAY),
        "1h",
        "How long a connection is used again after it was made.",
    ),
    key(
        "acquire_timeout",
        Kind::Span(0, DAY),
        "1s",
        "How long a request waits for a connection while all are busy; longer: 503.",
    ),
    key(
        "max_waiting",
        Kind::Count(0, 1_000_000),
        "16384",
        "Requests that wait for a connection, all shards together; beyond them the last one of the lowest priority is \
         answered 503.",
    ),
    key(
        "balance",
        Kind::Choice(
            &["peak_ewma", "least_outstanding", "round_robin", "hash"],
            &[],
        ),
        "peak_ewma",
        "How requests are spread over the endpoints: the better of two at random by latency and requests under way, the \
         one with the fewest under way, in turn, or the same one for the same hash_on.",
    ),
    key(
        "hash_on",
        Kind::FieldName,
        "target",
        "What balance = \"hash\" goes by: \"target\" (host, path and query) or a field of the request (requests without \
         it: the target).",
    ),
    key(
        "slow_start",
        Kind::Span(0, DAY),
        "10s",
        "Within this an endpoint that comes back, or is added, grows from a tenth of its share to all of it.",
    ),
    key(
        "concurrency",
        Kind::Choice(&["fixed", "adaptive"], &[]),
        "fixed",
        "adaptive: the bound on requests under way, of each shard, is found from the origin's latency, within \
         max_connections: it sinks while answers become slower.",
    ),
    key(
        "total_timeout",
        Kind::Or("off", &Kind::Span(MS, DAY)),
        "off",
        "From the beginning of a fetch to the last byte of its answer, tries and waits included; longer: 504, or the answer \
         is cut, visibly.",
    ),
    key(
        "retries",
        Kind::Count(0, 10),
        "2",
        "How often a request is sent again, each time to another endpoint: when no connection could be made, or no byte of \
         an answer came and its method is idempotent.",
    ),
    key(
        "retry_budget",
        Kind::Count(0, 1_000),
        "20",
        "Retries and hedges for so many percent of requests (and ten a second in any case), so that they never become the \
         outage.",
    ),
    key(
        "retry_body",
        Kind::Bytes(0, 16 * MIB),
        "64KiB",
        "So much of a request's body is kept to be sent again.",
    ),
    key(
        "retry_statuses",
        Kind::Or("none", &Kind::Statuses),
        "none",
        "Answers with these statuses count as none: an idempotent request goes to another endpoint.",
    ),
    key(
        "hedge_after",
        Kind::Or("off", &Kind::Span(MS, DAY)),
        "off",
        "A GET that has no answer after this is sent to a second endpoint, too, within retry_budget; the first answer counts.",
    ),
    key(
        "eject_failures",
        Kind::Count(0, 1_000_000),
        "5",
        "After so many failures in a row (no connection, no answer in time, a reset, 502, 503 or 504) an endpoint is left \
         out. 0: never.",
    ),
    key(
        "eject_ratio",
        Kind::Count(0, 100),
        "50",
        "Likewise with so many percent of failures in a second (with at least 20 requests). 0: never.",
    ),
    key(
        "eject_latency",
        Kind::Count(0, 1_000),
        "0",
        "Likewise with a mean latency of so many times the median of the other endpoints. 0: never.",
    ),
    key(
        "eject_time",
        Kind::Span(MS, DAY),
        "1s",
        "How long an endpoint is left out; twice as long each time until it was well for a minute. Then one request a second \
         finds out.",
    ),
    key(
        "eject_time_max",
        Kind::Span(MS, DAY),
        "4s",
        "The longest eject_time.",
    ),
    key(
        "panic_threshold",
        Kind::Count(0, 100),
        "10",
        "With fewer percent of usable endpoints all are asked, whatever is known of them.",
    ),
    key(
        "breaker_ratio",
        Kind::Count(0, 100),
        "90",
        "With no answer to so many percent of the last seconds' requests (at least 20) a shard asks this upstream no more: \
         503, or what is stored (stale_grace), for a second, up to four; then single requests find out. 0: never.",
    ),
    key(
        "send_proxy_protocol",
        Kind::Choice(&["off", "v1", "v2"], &[]),
        "off",
        "Whether each connection to it begins with a PROXY header that tells of the client. Such a connection carries one \
         request: connections are not kept.",
    ),
];
