//! What configuration decides for the data plane, resolved: no names to look up, no text to parse.

use std::num::NonZeroU32;

use base::{RouteId, Span, UpstreamId, limits};
use cache::policy::Rules;
use http::proxy_protocol::Version;
use http::{HeadLimits, Request};
use telemetry::RouteLabel;

use crate::forwarding::Forwarding;
use crate::rewrite::{FieldEdits, Rewrite};
use crate::upstream::{Balance, BreakerRules, Ejection, Member, Priority, mix};

/// Everything a shard's proxy is told at start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bounds towards clients.
    pub limits: Limits,
    /// Routes, in the order in which they are tried; [`Settings::new`] sorts them.
    routes: Vec<Route>,
    /// One of them changes answers.
    edits_answers: bool,
    /// Upstreams, by [`UpstreamId`].
    pub upstreams: Vec<Upstream>,
    /// Where the short health answer is served; empty: nowhere.
    pub health_path: Vec<u8>,
    /// Where the status answer is served; empty: nowhere.
    pub status_path: Vec<u8>,
    /// The host a request without one is keyed under: the listener's name.
    pub default_host: Vec<u8>,
    /// Objects the front of this shard holds.
    pub front_objects: usize,
    /// Bytes of the largest body stored.
    pub object_bytes_max: u64,
    /// From which duration a request answered without an origin is written down as slow. `None`: none is.
    pub slow_threshold: Option<Span>,
    /// Of how many requests one is written down, slow or not. `None`: none is.
    pub sample_one_in: Option<u32>,
    /// Of how many requests the access log gets one, failed ones aside, where the shard's cells have room for it; none: there is no log.
    pub log_one_in: Option<NonZeroU32>,
    /// Whom requests come from: who is believed, and what origins are told.
    pub forwarding: Forwarding,
    /// Every client's connection must begin with a PROXY header.
    pub proxy_protocol: bool,
}

/// Bounds towards clients.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of request and response heads.
    pub head: HeadLimits,
    /// From the first byte of a head (or the accept) to its last; then 408 or close.
    pub header_timeout: Span,
    /// A connection without a request under way; then close.
    pub idle_timeout: Span,
    /// A tunnel without a byte in either direction; then both sides are closed. `None`: no bound.
    pub tunnel_idle_timeout: Option<Span>,
    /// Bytes of a request body; beyond: 413. `None`: no bound, bodies are streamed.
    pub body_bytes_max: Option<u64>,
    /// Bytes a second that a request body must bring on average after [`Limits::rate_grace`]; then 408.
    pub body_min_rate: u64,
    /// Bytes a second that a client must take on average after [`Limits::rate_grace`]; then close.
    pub send_min_rate: u64,
    /// How long a rate may be missed at first.
    pub rate_grace: Span,
    /// Client connections of this shard; beyond: 503 and close.
    pub clients_max: usize,
    /// Likewise [`Limits::idle_timeout`], during a drain, where that is longer.
    pub drain_idle: Span,
}

/// A route as configured.
#[derive(Clone, Debug)]
pub struct Route {
    /// Its id: the place in the configuration, which labels metrics.
    pub id: RouteId,
    /// The host it is narrowed to, in lower case, with its port if configured with one.
    pub host: Option<Vec<u8>>,
    /// The prefix of the path.
    pub prefix: Vec<u8>,
    /// Where it leads.
    pub upstream: UpstreamId,
    /// Whether answers may be stored and served from the store.
    pub cache: bool,
    /// How the cache treats them.
    pub rules: Rules,
    /// From which duration a request that an origin had a part in is written down as slow. `None`: none is.
    pub slow_threshold: Option<Span>,
    /// What is let go of first when its upstream has more to do than it can.
    pub priority: Priority,
    /// What it changes in requests and answers.
    pub rewrite: Rewrite,
}

/// An upstream as configured.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Its name, for reasons.
    pub name: String,
    /// Its endpoints at start; later ones come through [`Members`](crate::Members).
    pub endpoints: Vec<Member>,
    /// How requests are spread over them.
    pub balance: Balance,
    /// What [`Balance::Hash`] goes by: a field of the request, else host and target.
    pub hash_field: Option<Box<str>>,
    /// Within this one that comes back gets its whole share again.
    pub slow_start: Span,
    /// Percent of the endpoints that must be usable; with fewer all are asked, whatever is known of them.
    pub panic_percent: u32,
    /// When one is left out for what requests met with.
    pub ejection: Ejection,
    /// When none is asked any more.
    pub breaker: BreakerRules,
    /// From the start of a connection to its standing; then the next endpoint or 504.
    pub connect_timeout: Span,
    /// From the request sent to the first byte of the answer; then 504.
    pub first_byte_timeout: Span,
    /// Between bytes of an answer; then the answer is cut.
    pub read_timeout: Span,
    /// A pooled connection without use; then it is closed.
    pub pool_idle_timeout: Span,
    /// A connection's life; older ones are not reused.
    pub max_lifetime: Span,
    /// A wait for a connection when all are busy; then 503.
    pub acquire_timeout: Span,
    /// Connections of all shards together; beyond them a fetch waits.
    pub connections_max: usize,
    /// Connections that this shard keeps open without being asked for.
    pub connections_min: usize,
    /// Fetches of this shard that wait for a connection; beyond them the least important goes, with 503.
    pub waiting_max: usize,
    /// Whether the bound on requests under way is found from latency, within the one on connections.
    pub adaptive: bool,
    /// From the request's being sent on to the last byte of the answer. `None`: no bound.
    pub total_timeout: Option<Span>,
    /// How often a request is sent again that may be.
    pub retries: u32,
    /// Retries for so many percent of requests.
    pub retry_percent: u32,
    /// Bytes of a request body that are kept to be sent again.
    pub retry_body_max: usize,
    /// Statuses that count as a failure to answer: sent again where that is allowed.
    pub retry_statuses: Vec<u16>,
    /// A request that has no answer after so long is sent to a second endpoint, too, where that is safe. `None`: never.
    pub hedge_after: Option<Span>,
    /// Each connection begins with a PROXY header of this version and carries one request.
    pub send_proxy_protocol: Option<Version>,
}

impl Route {
    /// A route for all hosts that changes nothing and stores what may be.
    #[must_use]
    pub fn new(id: RouteId, prefix: &str, upstream: UpstreamId) -> Self {
        Self {
            id,
            host: None,
            prefix: prefix.as_bytes().to_vec(),
            upstream,
            cache: true,
            rules: Rules::default(),
            slow_threshold: None,
            priority: Priority::default(),
            rewrite: Rewrite::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: HeadLimits {
                head_bytes: limits::HEAD_BYTES_DEFAULT,
                target_bytes: limits::TARGET_BYTES_MAX,
                fields: limits::FIELDS_MAX,
            },
            header_timeout: Span::from_secs(10),
            idle_timeout: Span::from_secs(75),
            tunnel_idle_timeout: Some(Span::from_secs(3600)),
            body_bytes_max: None,
            body_min_rate: 1 << 10,
            send_min_rate: 1 << 10,
            rate_grace: Span::from_secs(10),
            clients_max: 65_536,
            drain_idle: Span::from_secs(5),
        }
    }
}

impl Upstream {
    /// An upstream with the default times and bounds.
    #[must_use]
    pub fn new(name: &str, endpoints: Vec<Member>) -> Self {
        Self {
            name: name.to_owned(),
            endpoints,
            balance: Balance::default(),
            hash_field: None,
            slow_start: Span::from_secs(10),
            panic_percent: 10,
            ejection: Ejection::default(),
            breaker: BreakerRules::default(),
            connect_timeout: Span::from_secs(1),
            first_byte_timeout: Span::from_secs(30),
            read_timeout: Span::from_secs(30),
            pool_idle_timeout: Span::from_secs(30),
            max_lifetime: Span::from_secs(3600),
            acquire_timeout: Span::from_secs(1),
            connections_max: 1024,
            connections_min: 0,
            waiting_max: 16_384,
            adaptive: false,
            total_timeout: None,
            retries: 2,
            retry_percent: 20,
            retry_body_max: 64 << 10,
            retry_statuses: Vec::new(),
            hedge_after: None,
            send_proxy_protocol: None,
        }
    }
}

impl Upstream {
    /// What a request is balanced by, where it is by what it asks for: the same on every shard and in every process.
    pub(crate) fn hash(&self, request: &Request<'_>, host: &[u8]) -> u64 {
        if self.balance != Balance::Hash {
            return 0;
        }
        let field = self.hash_field.as_deref();
        let field = field.and_then(|wanted| {
            let named = |written: &[u8]| written.eq_ignore_ascii_case(wanted.as_bytes());
            let mut fields = request.fields.iter();
            fields
                .find(|(_, written, _)| named(written))
                .map(|(_, _, value)| value)
        });
        match field {
            Some(value) => hash(&[value]),
            None => hash(&[&host.to_ascii_lowercase(), request.path_and_query]),
        }
    }
}

/// FNV-1a, spread.
fn hash(parts: &[&[u8]]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.iter());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mix(hash)
}

impl Settings {
    /// Settings with defaults around routes and upstreams. Routes are put into matching order: the longest prefix first,
    /// of equal ones those with a host first, then as configured.
    #[must_use]
    pub fn new(mut routes: Vec<Route>, upstreams: Vec<Upstream>) -> Self {
        routes.sort_by_key(|route| {
            (
                std::cmp::Reverse(route.prefix.len()),
                route.host.is_none(),
                route.id,
            )
        });
        Self {
            limits: Limits::default(),
            edits_answers: routes
                .iter()
                .any(|route| !route.rewrite.response.is_empty()),
            routes,
            upstreams,
            health_path: b"/health".to_vec(),
            status_path: b"/api/v1/status".to_vec(),
            default_host: Vec::new(),
            front_objects: 65_536,
            object_bytes_max: limits::OBJECT_BYTES_DEFAULT,
            slow_threshold: Some(Span::from_millis(1)),
            sample_one_in: None,
            log_one_in: None,
            forwarding: Forwarding::default(),
            proxy_protocol: false,
        }
    }

    /// The routes' slow thresholds, by [`RouteId`].
    pub(crate) fn slow_thresholds(&self) -> impl Iterator<Item = Option<Span>> {
        let ids = 0..self.routes.len();
        ids.map(|id| {
            let mut routes = self.routes.iter();
            let route = routes.find(|route| usize::from(route.id.0) == id);
            route.and_then(|route| route.slow_threshold)
        })
    }

    /// The route of a request; `host` in lower case.
    #[inline]
    pub(crate) fn route(&self, host: &[u8], target: &[u8]) -> Option<&Route> {
        self.routes.iter().find(|route| {
            target.starts_with(&route.prefix)
                && route
                    .host
                    .as_ref()
                    .is_none_or(|wanted| is_host(wanted, host))
        })
    }

    /// The route that a request was found to take.
    pub(crate) fn route_of(&self, label: RouteLabel) -> Option<&Route> {
        let RouteLabel::Route(id) = label else {
            return None;
        };
        self.routes.iter().find(|route| route.id == id)
    }

    /// What is changed in the answers of a route, if anything is.
    pub(crate) fn answer_edits(&self, label: RouteLabel) -> Option<&FieldEdits> {
        if !self.edits_answers {
            return None;
        }
        let edits = &self.route_of(label)?.rewrite.response;
        (!edits.is_empty()).then_some(edits)
    }

    pub(crate) fn upstream(&self, id: UpstreamId) -> Option<&Upstream> {
        self.upstreams.get(usize::from(id.0))
    }
}

/// Whether `host` is the one wanted, its port aside unless one is wanted.
fn is_host(wanted: &[u8], host: &[u8]) -> bool {
    host.strip_prefix(wanted).is_some_and(|rest| {
        rest.is_empty()
            || (rest.len() > 1
                && rest.first() == Some(&b':')
                && rest.iter().skip(1).all(u8::is_ascii_digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(id: u16, host: Option<&str>, prefix: &str) -> Route {
        Route {
            host: host.map(|host| host.as_bytes().to_vec()),
            ..Route::new(RouteId(id), prefix, UpstreamId(0))
        }
    }

    #[test]
    fn the_longest_prefix_wins_then_the_host_then_the_order() {
        let settings = Settings::new(
            vec![
                route(0, None, "/"),
                route(1, None, "/api"),
                route(2, Some("a.test"), "/api"),
                route(3, Some("a.test"), "/"),
            ],
            Vec::new(),
        );
        let id = |host: &str, target: &str| {
            settings
                .route(host.as_bytes(), target.as_bytes())
                .map(|route| route.id.0)
        };
        assert_eq!(id("b.test", "/x"), Some(0));
        assert_eq!(id("b.test", "/api/x"), Some(1));
        assert_eq!(id("a.test", "/api/x"), Some(2));
        assert_eq!(id("a.test:8080", "/x"), Some(3));
        assert_eq!(id("a.test.evil", "/x"), Some(0));
        assert_eq!(id("a.test:", "/x"), Some(0));
    }

    #[test]
    fn nothing_matches_without_a_route() {
        assert!(
            Settings::new(Vec::new(), Vec::new())
                .route(b"h", b"/")
                .is_none()
        );
    }
}
