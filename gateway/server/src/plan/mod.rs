//! The configuration as meant: what it comes to on this host, with every `auto` decided and every bound split among the
//! shards. Nothing is taken from the host here; what cannot work is refused before anything is.

mod checks;
mod resources;
mod rewrite;
mod token;
mod upstream;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use base::Span;
use telemetry::Labels;

use crate::config::{
    Backend, Drain, Fault, Faults, ForwardedFields, LogFormat, LogShape, Priority, ProxyProtocol,
    RangeMisses, Route, SetCookie, Settings, Sheet, Source, Telemetry,
};
use crate::host::Host;

pub(crate) use resources::{Memory, ShardPlan};
pub(crate) use token::Token;

/// Everything that starting needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Addresses.
    pub(crate) listen: Listen,
    /// One entry a shard, by `ShardId`.
    pub(crate) shards: Vec<ShardPlan>,
    /// Why there are as many.
    pub(crate) shards_reason: String,
    /// A CPU without a shard, for the control thread.
    pub(crate) spare_cpu: Option<usize>,
    /// The pool and its parts.
    pub(crate) memory: Memory,
    /// The driver that is wanted.
    pub(crate) backend: Backend,
    /// How long a shard spins before it sleeps.
    pub(crate) busy_poll: Span,
    pub(crate) defer_accept: bool,
    pub(crate) zero_copy: bool,
    /// Client connections, all shards together.
    pub(crate) clients: usize,
    /// Why as many.
    pub(crate) clients_reason: String,
    /// Objects in the cache, all shards together.
    pub(crate) capacity: u64,
    /// How to end.
    pub(crate) drain: Drain,
    /// The bearer token of `/admin/*` beyond loopback.
    pub(crate) token: Option<Token>,
    /// Events.
    pub(crate) log: Log,
    /// Requests, where they are logged.
    pub(crate) access_log: Option<AccessLog>,
    /// Upstreams, by `UpstreamId`; their names are still to be looked up.
    pub(crate) upstreams: Vec<UpstreamPlan>,
    /// What the data plane is told; its upstreams' endpoints are filled in from `upstreams` when names are looked up.
    pub(crate) proxy: proxy::Settings,
    /// Names of routes, by `RouteId`.
    pub(crate) route_names: Vec<String>,
}

/// Where to listen.
#[derive(Clone, Debug)]
pub(crate) struct Listen {
    pub(crate) data: Vec<SocketAddr>,
    pub(crate) operator: Vec<SocketAddr>,
    pub(crate) metrics: Vec<SocketAddr>,
    /// Data addresses may be shared with another instance.
    pub(crate) share_port: bool,
}

/// How events are written.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    pub(crate) level: String,
    pub(crate) format: LogFormat,
}

/// How and where requests are logged.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AccessLog {
    pub(crate) shape: LogShape,
    /// `None`: standard output.
    pub(crate) path: Option<PathBuf>,
}

impl AccessLog {
    fn of(settings: &Telemetry) -> Option<Self> {
        let path = settings.access_log_path.as_str();
        (settings.access_log != LogShape::Off).then(|| Self {
            shape: settings.access_log,
            path: (!matches!(path, "stdout" | "")).then(|| PathBuf::from(path)),
        })
    }

    /// Where it goes, in words.
    pub(crate) fn place(&self) -> String {
        let path = self.path.as_ref();
        path.map_or_else(|| "stdout".to_owned(), |path| path.display().to_string())
    }
}

/// An upstream whose endpoints are still text.
#[derive(Clone, Debug)]
pub(crate) struct UpstreamPlan {
    /// Its name.
    pub(crate) name: String,
    /// `host:port` each.
    pub(crate) endpoints: Vec<String>,
    /// Where they were said.
    pub(crate) source: Source,
}

impl Plan {
    /// What a configuration comes to on a host.
    ///
    /// # Errors
    /// Everything in it that cannot work, with its place.
    pub(crate) fn resolve(sheet: &Sheet, host: &Host) -> Result<Self, Faults> {
        let settings = Settings::of(sheet)
            .map_err(|error| Fault::new(&Source::Default, format!("the table of keys: {error}")))?;
        let mut faults = Vec::new();
        checks::listeners(&settings, sheet, &mut faults);
        checks::names(&settings, sheet, &mut faults);
        checks::routes(&settings, sheet, &mut faults);
        checks::own_address(&settings, sheet, &mut faults);
        let token = token::read(&settings.admin.token_file, sheet, &mut faults);
        let resources = resources::resolve(&settings, sheet, host, &mut faults);
        Faults::none_of(faults)?;
        Ok(Self::put_together(settings, sheet, resources, token))
    }

    /// What dense ids are called.
    pub(crate) fn labels(&self) -> Labels {
        let upstreams = self.upstreams.iter();
        Labels {
            routes: self.route_names.clone(),
            upstreams: upstreams.map(|upstream| upstream.name.clone()).collect(),
        }
    }

    fn put_together(
        settings: Settings,
        sheet: &Sheet,
        resources: resources::Resources,
        token: Option<Token>,
    ) -> Self {
        let sources = sheet.of("upstream").map(|item| item.source_of("endpoints"));
        let upstreams = settings.upstream.iter().zip(sources);
        Self {
            proxy: data_plane(&settings, &resources),
            upstreams: upstreams
                .map(|(upstream, source)| UpstreamPlan {
                    name: upstream.name.clone(),
                    endpoints: upstream.endpoints.clone(),
                    source,
                })
                .collect(),
            route_names: settings.route.iter().map(|r| r.name.clone()).collect(),
            listen: Listen {
                data: settings.listen.data,
                operator: settings.listen.operator,
                metrics: settings.listen.metrics,
                share_port: settings.listen.share_port,
            },
            shards: resources.shards,
            shards_reason: resources.shards_reason,
            spare_cpu: resources.spare_cpu,
            memory: resources.memory,
            backend: settings.io.backend,
            busy_poll: settings.io.busy_poll,
            defer_accept: settings.io.defer_accept,
            zero_copy: settings.io.zero_copy,
            clients: resources.clients,
            clients_reason: resources.clients_reason,
            capacity: settings.cache.capacity,
            drain: settings.drain,
            token,
            access_log: AccessLog::of(&settings.telemetry),
            log: Log {
                level: settings.telemetry.log_level,
                format: settings.telemetry.log_format,
            },
        }
    }
}

/// What every shard's proxy is told. Bounds of the whole are split evenly, rounded up.
fn data_plane(settings: &Settings, resources: &resources::Resources) -> proxy::Settings {
    let shards = resources.shards.len().max(1);
    let upstreams = settings.upstream.iter();
    let upstreams = upstreams.map(|upstream| upstream::data_plane(upstream, shards));
    let mut data = proxy::Settings::new(routes(settings), upstreams.collect());
    data.limits = limits(settings, resources.clients.div_ceil(shards));
    data.health_path = settings.api_gateway.health_path.clone().into_bytes();
    data.status_path = settings.api_gateway.status_path.clone().into_bytes();
    data.default_host = settings
        .listen
        .data
        .first()
        .map(ToString::to_string)
        .unwrap_or_default()
        .into_bytes();
    data.front_objects = resources.front_objects;
    data.object_bytes_max = settings.cache.max_object;
    data.slow_threshold = settings.telemetry.slow_threshold.value().map(base::Span);
    let one_in = settings.telemetry.sample_one_in.value();
    data.log_one_in = NonZeroU32::new(settings.telemetry.access_log_one_in);
    data.proxy_protocol = settings.listen.proxy_protocol == ProxyProtocol::Require;
    data.forwarding = proxy::Forwarding {
        trusted: settings.forwarded.trusted_proxies.clone(),
        fields: match settings.forwarded.fields {
            ForwardedFields::XForwarded => proxy::ForwardedFields::XForwarded,
            ForwardedFields::Forwarded => proxy::ForwardedFields::Forwarded,
            ForwardedFields::Off => proxy::ForwardedFields::Off,
        },
    };
    data.sample_one_in = one_in.map(|count| u32::try_from(count).unwrap_or(u32::MAX));
    data
}

fn routes(settings: &Settings) -> Vec<proxy::Route> {
    let routes = (0u16..).zip(&settings.route);
    routes
        .filter_map(|(id, route)| {
            let mut upstreams = (0u16..).zip(&settings.upstream);
            let (upstream, _) = upstreams.find(|(_, upstream)| upstream.name == route.upstream)?;
            let host = Some(route.host.to_ascii_lowercase()).filter(|host| !host.is_empty());
            Some(proxy::Route {
                id: base::RouteId(id),
                host: host.map(String::into_bytes),
                prefix: route.path.clone().into_bytes(),
                upstream: base::UpstreamId(upstream),
                cache: route.cache,
                rules: rules(route),
                slow_threshold: route.slow_threshold.value().map(base::Span),
                priority: match route.priority {
                    Priority::Low => proxy::Priority::Low,
                    Priority::Normal => proxy::Priority::Normal,
                    Priority::High => proxy::Priority::High,
                },
                rewrite: rewrite::of(route, settings),
            })
        })
        .collect()
}

fn rules(route: &Route) -> cache::policy::Rules {
    cache::policy::Rules {
        obey_requests: route.client_directives,
        targeted: route.cdn_cache_control,
        heuristic_percent: route.heuristic_percent,
        heuristic_max: route.heuristic_max.as_secs(),
        negative_ttl: route.negative_ttl.as_secs(),
        stale_grace: route.stale_grace.as_secs(),
        set_cookie: match route.set_cookie {
            SetCookie::Store => cache::policy::SetCookie::Store,
            SetCookie::Strip => cache::policy::SetCookie::Strip,
            SetCookie::Refuse => cache::policy::SetCookie::Refuse,
        },
        fetch_whole: route.range_misses == RangeMisses::Whole,
    }
}

fn limits(settings: &Settings, clients_max: usize) -> proxy::Limits {
    let limits = &settings.limits;
    proxy::Limits {
        head: http::HeadLimits {
            head_bytes: limits.max_head,
            target_bytes: limits.max_target,
            fields: limits.max_fields,
        },
        header_timeout: limits.header_timeout,
        idle_timeout: limits.idle_timeout,
        tunnel_idle_timeout: limits.tunnel_idle_timeout.value().map(base::Span),
        body_bytes_max: limits.max_body.value(),
        body_min_rate: limits.body_min_rate,
        send_min_rate: limits.send_min_rate,
        clients_max,
        drain_idle: settings.drain.idle,
        ..proxy::Limits::default()
    }
}

#[cfg(test)]
mod tests;
