//! The one table of keys. Parsing, refusals, `config/gateway.toml`, `docs/configuration.md` and `-T` come from it.

use base::limits;

use super::fields::{Act, Side};
use super::kind::Kind;
use super::upstream_keys;

/// A table of the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Section {
    /// Its name in brackets.
    pub(crate) name: &'static str,
    /// Whether it stands in double brackets, once for each item.
    pub(crate) repeated: bool,
    /// What it is about, for the pages that tests render.
    #[cfg_attr(not(test), expect(dead_code))]
    pub(crate) doc: &'static str,
    /// Its keys, in the order of the reference.
    pub(crate) keys: &'static [Key],
}

/// A key of a section.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it takes.
    pub(crate) kind: Kind,
    /// Its default as it would stand in a flag; `None` where the key must be given.
    pub(crate) default: Option<&'static str>,
    /// What it decides, for the pages that tests render.
    #[cfg_attr(not(test), expect(dead_code))]
    pub(crate) doc: &'static str,
    /// When a change acts.
    pub(crate) change: Change,
}

/// When a changed value acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// At the next start, in every version.
    Restart,
    /// At the next start until reloading exists, then on HUP.
    Reload,
    /// Not yet: only the default is accepted, anything else is reserved for a later version.
    Reserved,
}

/// Every section, in the order of the reference.
pub(crate) const SECTIONS: &[Section] = &[
    Section {
        name: "listen",
        repeated: false,
        doc: "Where the gateway listens. Each key takes one address or a list of them.",
        keys: LISTEN,
    },
    Section {
        name: "api_gateway",
        repeated: false,
        doc: "Shards (one pinned thread each), their memory, and the built-in paths.",
        keys: API_GATEWAY,
    },
    Section {
        name: "io",
        repeated: false,
        doc: "How shards talk to the kernel.",
        keys: IO,
    },
    Section {
        name: "limits",
        repeated: false,
        doc: "Bounds towards clients. What passes one is answered with the status named, never buffered.",
        keys: LIMITS,
    },
    Section {
        name: "drain",
        repeated: false,
        doc: "What TERM and QUIT do: readiness fails, the delay passes, new connections are turned away, what is under way \
              finishes. See [deploys](deploys.md).",
        keys: DRAIN,
    },
    Section {
        name: "telemetry",
        repeated: false,
        doc: "Logs and traces. Metrics are always on.",
        keys: TELEMETRY,
    },
    Section {
        name: "admin",
        repeated: false,
        doc: "The operator's paths under /admin/.",
        keys: ADMIN,
    },
    Section {
        name: "cache",
        repeated: false,
        doc: "The cache that all shards share. Its bytes are those of `api_gateway.memory_pool_size`.",
        keys: CACHE,
    },
    Section {
        name: "upstream",
        repeated: true,
        doc: "An origin: one or more endpoints that serve the same thing. Repeat the section for each.",
        keys: upstream_keys::UPSTREAM,
    },
    Section {
        name: "route",
        repeated: true,
        doc: "Which requests go to which upstream: of all routes whose host and path match, the longest path wins; of \
              equal ones the one with a host, then the first. Repeat the section for each.",
        keys: ROUTE,
    },
    Section {
        name: "forwarded",
        repeated: false,
        doc: "Whom requests come from: which proxies in front are believed, and what origins are told.",
        keys: FORWARDED,
    },
];

const KIB: u64 = 1 << 10;
pub(super) const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;
pub(super) const MS: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1_000_000_000;
pub(super) const DAY: u64 = 86_400 * SECOND;

pub(super) const fn key(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    doc: &'static str,
) -> Key {
    Key {
        name,
        kind,
        default: Some(default),
        doc,
        change: Change::Reload,
    }
}

pub(super) const fn must(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key {
        name,
        kind,
        default: None,
        doc,
        change: Change::Reload,
    }
}

const fn fixed(key: Key) -> Key {
    Key {
        change: Change::Restart,
        ..key
    }
}

const fn reserved(key: Key) -> Key {
    Key {
        change: Change::Reserved,
        ..key
    }
}

const LISTEN: &[Key] = &[
    fixed(key(
        "data",
        Kind::Addresses,
        "0.0.0.0:8080",
        "Clients. Every shard listens on every one of these.",
    )),
    fixed(key(
        "operator",
        Kind::Addresses,
        "127.0.0.1:8081",
        "Operators: /health, /livez, /readyz, /startupz, /admin/*. Beyond loopback, /admin/* asks for the token of \
         `admin.token_file`.",
    )),
    fixed(key(
        "metrics",
        Kind::Addresses,
        "127.0.0.1:9090",
        "Prometheus: /metrics.",
    )),
    fixed(key(
        "share_port",
        Kind::Flag,
        "false",
        "Whether to listen on data addresses beside another process of the same user that does so already, and to share new \
         connections with it: for a second instance that is to take over. false: a taken port is an error. The addresses of \
         operators and Prometheus are never shared.",
    )),
    fixed(key(
        "proxy_protocol",
        Kind::Choice(&["off", "require"], &[]),
        "off",
        "\"require\": every connection to `data` begins with a PROXY header, version 1 or 2, from one of \
         `forwarded.trusted_proxies` where there are any; else it is closed without an answer.",
    )),
];

const API_GATEWAY: &[Key] = &[
    fixed(key(
        "worker_threads",
        Kind::Or("auto", &Kind::Count(1, 1024)),
        "auto",
        "Shards. auto: as many as the CPUs this process may use (affinity, cpuset, cgroup quota).",
    )),
    fixed(key(
        "memory_pool_size",
        Kind::Or("auto", &Kind::Bytes(16 * MIB, 64 * TIB)),
        "auto",
        "Memory of buffers and cached bodies, all shards together, in hugepages where there are any. auto: a quarter \
         of the cgroup's limit or of RAM, 64 MiB at least, 4 GiB at most.",
    )),
    fixed(key(
        "cpu_affinity",
        Kind::Or("auto", &Kind::Cpus),
        "auto",
        "The CPU of each shard, as a list of as many as there are shards: [0, 2, 4]. auto: spread over the CPUs that \
         may be used, cores before hyperthreads.",
    )),
    key(
        "health_path",
        Kind::RequestPath,
        "/health",
        "Where the data port answers with its health, for any Host, before routing. \"\" switches it off.",
    ),
    key(
        "status_path",
        Kind::RequestPath,
        "/api/v1/status",
        "Where the data port answers with a summary, for any Host, before routing. \"\" switches it off.",
    ),
];

const IO: &[Key] = &[
    fixed(key(
        "backend",
        Kind::Choice(&["auto", "io_uring", "epoll"], &["poll-mode"]),
        "auto",
        "auto: io_uring, or epoll where the kernel or a seccomp profile refuses io_uring (the log says why). \
         \"io_uring\": exit with 78 instead of falling back.",
    )),
    fixed(key(
        "busy_poll",
        Kind::Span(0, SECOND),
        "0us",
        "How long a shard looks for work before it sleeps. Buys latency with CPU time.",
    )),
    fixed(key(
        "defer_accept",
        Kind::Flag,
        "true",
        "Have the kernel hand a client over with its first bytes (TCP_DEFER_ACCEPT): one wake-up a connection instead of \
         two. A client that sends nothing is seen a second late.",
    )),
    fixed(key(
        "zero_copy",
        Kind::Flag,
        "true",
        "Lend the pages of large cached bodies (48 KiB and more at once) to sockets instead of copying them. Not done with \
         explicit huge pages, which cannot be exchanged one by one.",
    )),
];

const LIMITS: &[Key] = &[
    key(
        "max_head",
        Kind::Bytes(8 * KIB, 256 * KIB),
        "32KiB",
        "Bytes of a request's head, or of an origin's answer's; more: 431 (502 from an origin).",
    ),
    key(
        "max_fields",
        Kind::Count(16, limits::FIELDS_MAX as u64),
        "128",
        "Fields of a head; more: 431 (502 from an origin).",
    ),
    key(
        "max_target",
        Kind::Bytes(KIB, limits::TARGET_BYTES_MAX as u64),
        "16KiB",
        "Bytes of a request's target (path and query); more: 414.",
    ),
    key(
        "max_body",
        Kind::Or("unlimited", &Kind::Bytes(1, 64 * TIB)),
        "unlimited",
        "Bytes of a request's body; more: 413. Bodies are streamed, so their size costs no memory.",
    ),
    fixed(key(
        "max_connections",
        Kind::Or("auto", &Kind::Count(1, 16_000_000)),
        "auto",
        "Client connections, all shards together; more: 503 and closed. auto: what the limit on open files leaves.",
    )),
    key(
        "header_timeout",
        Kind::Span(MS, DAY),
        "10s",
        "From the first byte of a request's head to its last; longer: 408.",
    ),
    key(
        "body_min_rate",
        Kind::Rate,
        "1KiB/s",
        "What a request's body must bring on average, after ten seconds; slower: 408.",
    ),
    key(
        "send_min_rate",
        Kind::Rate,
        "1KiB/s",
        "What a client must take of an answer on average, after ten seconds; slower: the connection is closed.",
    ),
    key(
        "idle_timeout",
        Kind::Span(MS, DAY),
        "75s",
        "How long a client's connection may be kept without a request.",
    ),
    key(
        "tunnel_idle_timeout",
        Kind::Or("off", &Kind::Span(MS, DAY)),
        "1h",
        "How long a tunnel (WebSocket and the like, after 101) may stay without a byte either way; longer: both sides are \
         closed. Once the client has ended its direction, the upstream's `read_timeout` bounds the origin's silence too.",
    ),
];

const DRAIN: &[Key] = &[
    key(
        "delay",
        Kind::Span(0, DAY),
        "0s",
        "From failing readiness to turning new connections away, so that load balancers look elsewhere first.",
    ),
    key(
        "timeout",
        Kind::Span(0, DAY),
        "30s",
        "How long requests under way may take from then on; the rest is cut.",
    ),
    key(
        "idle",
        Kind::Span(0, DAY),
        "5s",
        "From then on a connection without a request is closed once it has idled for so long; one that asks sooner is \
         answered, with Connection: close. The shorter, the likelier it is that a client is asking just as it is closed.",
    ),
];

const TELEMETRY: &[Key] = &[
    fixed(key(
        "log_level",
        Kind::Choice(&["error", "warn", "info", "debug", "trace"], &[]),
        "info",
        "The least severe event that is logged. The flag -v asks for debug.",
    )),
    fixed(key(
        "log_format",
        Kind::Choice(&["plain", "json"], &[]),
        "plain",
        "One line an event on standard error, as text or as a JSON object.",
    )),
    fixed(key(
        "slow_threshold",
        Kind::Or("off", &Kind::Span(1_000, DAY)),
        "1ms",
        "From which duration a request that no origin had a part in is kept for /admin/slow, with its stages. The others: \
         `slow_threshold` of their route.",
    )),
    fixed(key(
        "sample_one_in",
        Kind::Or("off", &Kind::Count(1, 1_000_000_000)),
        "10000",
        "Of how many requests one is kept for /admin/slow whatever its duration, to compare the slow ones with.",
    )),
    fixed(key(
        "access_log",
        Kind::Choice(&["off", "json", "combined"], &[]),
        "off",
        "A line for every request, as a JSON object or as Apache and nginx write it. Shards never wait for it: what its thread \
         does not keep up with is dropped and counted (`access_log_dropped_total`).",
    )),
    fixed(key(
        "access_log_path",
        Kind::File,
        "stdout",
        "The file to append to, or \"stdout\". USR1 has it opened anew, for those who rotate it.",
    )),
    fixed(key(
        "access_log_one_in",
        Kind::Count(1, 1_000_000_000),
        "1",
        "Of how many requests one gets a line. Those answered 499 and above and those cut off get theirs always.",
    )),
];

const ADMIN: &[Key] = &[
    reserved(key(
        "on_data_port",
        Kind::Flag,
        "false",
        "Whether the data port serves /admin/ too. It never forwards it to an origin.",
    )),
    fixed(key(
        "token_file",
        Kind::File,
        "",
        "A file whose one line is the bearer token that /admin/* asks for where the operator's port is not on \
         loopback. Without it, /admin/* refuses everybody there.",
    )),
];

const CACHE: &[Key] = &[
    fixed(key(
        "capacity",
        Kind::Count(1, 1 << 32),
        "2000000",
        "Objects in the cache, all shards together.",
    )),
    key(
        "max_object",
        Kind::Bytes(1, 16 * TIB),
        "64MiB",
        "Bytes of the largest body that is stored. Larger ones pass through.",
    ),
    reserved(key(
        "enable_preloading",
        Kind::Flag,
        "false",
        "Whether the cache is filled at start from what it held before.",
    )),
];

const ROUTE: &[Key] = &[
    must("name", Kind::Name, "What metrics call it."),
    key(
        "path",
        Kind::RequestPath,
        "/",
        "The start of the paths it takes, byte for byte.",
    ),
    key(
        "host",
        Kind::Host,
        "",
        "The host it is narrowed to, with a port or for any port. \"\": any host.",
    ),
    must("upstream", Kind::Name, "The upstream they go to."),
    key(
        "cache",
        Kind::Flag,
        "true",
        "Whether answers may be stored and served from the store.",
    ),
    key(
        "client_directives",
        Kind::Flag,
        "true",
        "Whether Cache-Control and Pragma of requests are honoured (no-cache, max-age, max-stale, min-fresh, no-store, \
         only-if-cached). false: clients cannot reach past the cache.",
    ),
    key(
        "cdn_cache_control",
        Kind::Flag,
        "true",
        "Whether an answer's CDN-Cache-Control, where it is valid, stands for its Cache-Control and Expires here.",
    ),
    key(
        "heuristic_percent",
        Kind::Count(0, 100),
        "10",
        "An answer with a Last-Modified and no lifetime is fresh for so much of the time that it had not changed. 0: \
         it is not stored.",
    ),
    key(
        "heuristic_max",
        Kind::Span(0, 365 * DAY),
        "1d",
        "The longest lifetime found in that way.",
    ),
    key(
        "negative_ttl",
        Kind::Span(0, 365 * DAY),
        "0s",
        "How long a 404, 405, 410, 414 or 501 that brings no lifetime is fresh.",
    ),
    key(
        "stale_grace",
        Kind::Span(0, 365 * DAY),
        "1h",
        "How long past its lifetime an answer is served while the origin cannot be reached, where the answer does not \
         forbid it.",
    ),
    key(
        "set_cookie",
        Kind::Choice(&["store", "strip", "refuse"], &[]),
        "store",
        "An answer with Set-Cookie and an explicit lifetime is stored as it is (everybody gets that cookie), stored \
         without the field (which only the client gets whose request was answered), or not stored. Without an explicit lifetime it is never stored with the field.",
    ),
    key(
        "slow_threshold",
        Kind::Or("off", &Kind::Span(1_000, DAY)),
        "100ms",
        "From which duration a request that the origin had a part in is kept for /admin/slow. The others: \
         `[telemetry] slow_threshold`.",
    ),
    key(
        "range_misses",
        Kind::Choice(&["as_asked", "whole"], &[]),
        "as_asked",
        "What is fetched for a range of what is not stored: that range, which is stored and put together with others of \
         the same strong ETag, or the whole, once for all who wait.",
    ),
    key(
        "priority",
        Kind::Choice(&["low", "normal", "high"], &[]),
        "normal",
        "Which requests get a connection first, and are let go of last, when the upstream has more to do than it can.",
    ),
    key(
        "origin_host",
        Kind::Host,
        "client",
        "The Host that the origin is asked for: \"client\", the one the client asked for; \"upstream\", the upstream's first \
         endpoint as it is written there; or this host. The cache's key has the client's in any case.",
    ),
    key(
        "prefix_rewrite",
        Kind::RequestPath,
        "",
        "What stands for the route's `path` at the start of the path that the origin is asked for: \"/\" strips it. \"\": it \
         goes as the client wrote it.",
    ),
    key(
        "request_set",
        Kind::Fields(Side::Request, Act::Set),
        "[]",
        "Fields of requests to the origin, in place of those of their names: [\"X-Real-IP: {client_address}\"]. Variables are \
         {client_address} and {request_id}.",
    ),
    key(
        "request_add",
        Kind::Fields(Side::Request, Act::Add),
        "[]",
        "The same beside those of their names.",
    ),
    key(
        "request_remove",
        Kind::Fields(Side::Request, Act::Remove),
        "[]",
        "Names of fields that the origin does not get.",
    ),
    key(
        "response_set",
        Kind::Fields(Side::Response, Act::Set),
        "[]",
        "Fields of the origin's answers as clients get them, stored or not, in place of those of their names. What is stored \
         and how long is decided by the origin's own.",
    ),
    key(
        "response_add",
        Kind::Fields(Side::Response, Act::Add),
        "[]",
        "The same beside those of their names.",
    ),
    key(
        "response_remove",
        Kind::Fields(Side::Response, Act::Remove),
        "[]",
        "Names of fields that clients do not get.",
    ),
];

const FORWARDED: &[Key] = &[
    key(
        "trusted_proxies",
        Kind::Networks,
        "[]",
        "Addresses and networks of proxies in front whose word counts: who the client is (logs and limits go by that), and \
         whether it asked under TLS (which is in the key of the cache). Trust only proxies that do not pass on what clients \
         write in these fields.",
    ),
    key(
        "fields",
        Kind::Choice(&["x-forwarded", "forwarded", "off"], &[]),
        "x-forwarded",
        "What is read from trusted proxies and written towards origins: X-Forwarded-For, -Proto and -Host; Forwarded \
         (RFC 7239); or nothing. What others say in any of these fields is removed.",
    ),
];

/// The section of a name.
pub(crate) fn section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name)
}

impl Section {
    /// The key of a name.
    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::super::kind::{Raw, Value};
    use super::*;

    #[test]
    fn every_default_is_accepted_by_its_own_kind() {
        for (section, key) in SECTIONS
            .iter()
            .flat_map(|s| s.keys.iter().map(move |k| (s, k)))
        {
            let Some(default) = key.default else { continue };
            let read = key.kind.read(&Raw::Bare(default.to_owned()));
            assert!(read.is_ok(), "{}.{}: {read:?}", section.name, key.name);
        }
    }

    #[test]
    fn defaults_that_base_states_too_are_the_same() {
        let read = |section_name: &str, name: &str| {
            let key = section(section_name)
                .and_then(|s| s.key(name))
                .expect("key");
            let raw = Raw::Bare(key.default.expect("default").to_owned());
            key.kind.read(&raw).expect("valid")
        };
        let bytes = |n: usize| Value::Bytes(n as u64);
        assert_eq!(
            read("limits", "max_head"),
            bytes(limits::HEAD_BYTES_DEFAULT)
        );
        assert_eq!(
            read("limits", "max_target"),
            bytes(limits::TARGET_BYTES_MAX)
        );
        assert_eq!(
            read("limits", "max_fields"),
            Value::Count(limits::FIELDS_MAX as u64)
        );
        assert_eq!(
            read("cache", "max_object"),
            Value::Bytes(limits::OBJECT_BYTES_DEFAULT)
        );
    }
}
