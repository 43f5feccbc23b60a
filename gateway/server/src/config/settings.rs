//! The configuration as typed structs. The table of keys and these must name the same: a test reads one into the other.

use std::net::SocketAddr;

use base::{Network, Span};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::sheet::{Item, Sheet};

/// Every section.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) listen: Listen,
    pub(crate) api_gateway: ApiGateway,
    pub(crate) io: Io,
    pub(crate) limits: Limits,
    pub(crate) drain: Drain,
    pub(crate) telemetry: Telemetry,
    pub(crate) admin: Admin,
    pub(crate) cache: Cache,
    pub(crate) upstream: Vec<Upstream>,
    pub(crate) route: Vec<Route>,
    pub(crate) forwarded: Forwarded,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listen {
    pub(crate) data: Vec<SocketAddr>,
    pub(crate) operator: Vec<SocketAddr>,
    pub(crate) metrics: Vec<SocketAddr>,
    pub(crate) share_port: bool,
    pub(crate) proxy_protocol: ProxyProtocol,
}

/// Whether clients' connections begin with a PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ProxyProtocol {
    /// None does.
    Off,
    /// All must.
    Require,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApiGateway {
    pub(crate) worker_threads: WordOr<usize>,
    pub(crate) memory_pool_size: WordOr<u64>,
    pub(crate) cpu_affinity: WordOr<Vec<usize>>,
    pub(crate) health_path: String,
    pub(crate) status_path: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Io {
    pub(crate) backend: Backend,
    #[serde(deserialize_with = "span")]
    pub(crate) busy_poll: Span,
    pub(crate) defer_accept: bool,
    pub(crate) zero_copy: bool,
}

/// Which driver is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Backend {
    /// io_uring, or epoll where it is refused.
    Auto,
    /// io_uring or no start.
    IoUring,
    /// epoll.
    Epoll,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    pub(crate) max_head: usize,
    pub(crate) max_fields: usize,
    pub(crate) max_target: usize,
    pub(crate) max_body: WordOr<u64>,
    pub(crate) max_connections: WordOr<usize>,
    #[serde(deserialize_with = "span")]
    pub(crate) header_timeout: Span,
    pub(crate) body_min_rate: u64,
    pub(crate) send_min_rate: u64,
    #[serde(deserialize_with = "span")]
    pub(crate) idle_timeout: Span,
    pub(crate) tunnel_idle_timeout: WordOr<u64>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Drain {
    #[serde(deserialize_with = "span")]
    pub(crate) delay: Span,
    #[serde(deserialize_with = "span")]
    pub(crate) timeout: Span,
    #[serde(deserialize_with = "span")]
    pub(crate) idle: Span,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Telemetry {
    pub(crate) log_level: String,
    pub(crate) log_format: LogFormat,
    pub(crate) slow_threshold: WordOr<u64>,
    pub(crate) sample_one_in: WordOr<u64>,
    pub(crate) access_log: LogShape,
    pub(crate) access_log_path: String,
    pub(crate) access_log_one_in: u32,
}

/// How the access log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogShape {
    /// Not at all.
    Off,
    /// As JSON objects.
    Json,
    /// As Apache and nginx write it.
    Combined,
}

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    /// As text.
    Plain,
    /// As JSON objects.
    Json,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Admin {
    #[serde(rename = "on_data_port")]
    _on_data_port: bool,
    pub(crate) token_file: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cache {
    pub(crate) capacity: u64,
    pub(crate) max_object: u64,
    #[serde(rename = "enable_preloading")]
    _enable_preloading: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Upstream {
    pub(crate) name: String,
    pub(crate) endpoints: Vec<String>,
    pub(crate) max_connections: usize,
    pub(crate) min_connections: usize,
    #[serde(deserialize_with = "span")]
    pub(crate) connection_timeout: Span,
    #[serde(deserialize_with = "span")]
    pub(crate) first_byte_timeout: Span,
    #[serde(deserialize_with = "span")]
    pub(crate) read_timeout: Span,
    #[serde(deserialize_with = "span")]
    pub(crate) idle_timeout: Span,
    #[serde(deserialize_with = "span")]
    pub(crate) max_lifetime: Span,
    #[serde(deserialize_with = "span")]
    pub(crate) acquire_timeout: Span,
    pub(crate) max_waiting: usize,
    pub(crate) balance: Balance,
    pub(crate) hash_on: String,
    #[serde(deserialize_with = "span")]
    pub(crate) slow_start: Span,
    pub(crate) concurrency: Concurrency,
    pub(crate) total_timeout: WordOr<u64>,
    pub(crate) retries: u32,
    pub(crate) retry_budget: u32,
    pub(crate) retry_body: usize,
    pub(crate) retry_statuses: WordOr<Vec<u16>>,
    pub(crate) hedge_after: WordOr<u64>,
    pub(crate) eject_failures: u32,
    pub(crate) eject_ratio: u32,
    pub(crate) eject_latency: u32,
    #[serde(deserialize_with = "span")]
    pub(crate) eject_time: Span,
    #[serde(deserialize_with = "span")]
    pub(crate) eject_time_max: Span,
    pub(crate) panic_threshold: u32,
    pub(crate) breaker_ratio: u32,
    pub(crate) send_proxy_protocol: SendProxyProtocol,
}

/// How requests are spread over endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Balance {
    PeakEwma,
    LeastOutstanding,
    RoundRobin,
    Hash,
}

/// What bounds requests under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Concurrency {
    Fixed,
    Adaptive,
}

/// Whether connections to an upstream begin with a PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SendProxyProtocol {
    /// None does.
    Off,
    /// With one of version 1.
    V1,
    /// With one of version 2.
    V2,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) host: String,
    pub(crate) upstream: String,
    pub(crate) cache: bool,
    pub(crate) client_directives: bool,
    pub(crate) cdn_cache_control: bool,
    pub(crate) heuristic_percent: u64,
    #[serde(deserialize_with = "span")]
    pub(crate) heuristic_max: Span,
    #[serde(deserialize_with = "span")]
    pub(crate) negative_ttl: Span,
    #[serde(deserialize_with = "span")]
    pub(crate) stale_grace: Span,
    pub(crate) set_cookie: SetCookie,
    pub(crate) range_misses: RangeMisses,
    pub(crate) slow_threshold: WordOr<u64>,
    pub(crate) priority: Priority,
    pub(crate) origin_host: String,
    pub(crate) prefix_rewrite: String,
    pub(crate) request_set: Vec<String>,
    pub(crate) request_add: Vec<String>,
    pub(crate) request_remove: Vec<String>,
    pub(crate) response_set: Vec<String>,
    pub(crate) response_add: Vec<String>,
    pub(crate) response_remove: Vec<String>,
}

/// What is let go of last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Priority {
    Low,
    Normal,
    High,
}

/// What is fetched for a range of what is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RangeMisses {
    /// The range.
    AsAsked,
    /// The whole.
    Whole,
}

/// What becomes of an answer with Set-Cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SetCookie {
    /// It is stored as it is.
    Store,
    /// It is stored without the field.
    Strip,
    /// It is not stored.
    Refuse,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Forwarded {
    #[serde(deserialize_with = "networks")]
    pub(crate) trusted_proxies: Vec<Network>,
    pub(crate) fields: ForwardedFields,
}

/// The fields that tell whom a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ForwardedFields {
    /// X-Forwarded-For and its like.
    XForwarded,
    /// Forwarded.
    Forwarded,
    /// None.
    Off,
}

/// A value, or the key's word (`auto`, `unlimited`, `off`) instead of one.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum WordOr<T> {
    /// A value.
    Value(T),
    /// The word; which one, the key's kind has checked.
    Word(#[serde(deserialize_with = "word")] ()),
}

impl<T: Clone> WordOr<T> {
    /// The value, if it is one.
    pub(crate) fn value(&self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value.clone()),
            Self::Word(_) => None,
        }
    }
}

impl Settings {
    /// The typed form of a sheet.
    ///
    /// # Errors
    /// Never for a sheet that was read without faults; kept as an error, so that a table of keys that disagrees with
    /// these structs is a message and a failing test, not a panic.
    pub(crate) fn of(sheet: &Sheet) -> Result<Self, toml::de::Error> {
        let mut root = toml::Table::new();
        for name in ["upstream", "route"] {
            let items = sheet.of(name).map(|item| toml::Value::Table(plain(item)));
            root.insert(name.to_owned(), toml::Value::Array(items.collect()));
        }
        for item in sheet.items().filter(|item| !item.section.repeated) {
            root.insert(
                item.section.name.to_owned(),
                toml::Value::Table(plain(item)),
            );
        }
        Self::deserialize(toml::Value::Table(root))
    }
}

fn plain(item: &Item) -> toml::Table {
    let values = item.values.iter();
    values
        .map(|placed| (placed.key.name.to_owned(), placed.value.plain()))
        .collect()
}

fn word<'de, D: Deserializer<'de>>(from: D) -> Result<(), D::Error> {
    String::deserialize(from).map(drop)
}

fn span<'de, D: Deserializer<'de>>(from: D) -> Result<Span, D::Error> {
    u64::deserialize(from).map(Span)
}

fn networks<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Network>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    let networks = texts.iter().map(|text| text.parse::<Network>());
    networks
        .map(|network| network.map_err(D::Error::custom))
        .collect()
}
