//! The operator's port.
//!
//! | path | answer |
//! |---|---|
//! | `GET /health` | every component, JSON (as `application/health+json` where that is asked for); 503 when unhealthy. Never wire it to a liveness probe: an origin's outage would restart the fleet |
//! | `GET /livez`, `/healthz` | whether every shard's loop turns, and nothing else ([`super::probes`]) |
//! | `GET /readyz` | whether listeners are bound, every shard has begun to turn, and no drain has begun: once ready, ready until a drain |
//! | `GET /startupz` | whether every shard has begun to turn |
//! | `GET /admin/stats` | the summary, JSON |
//! | `GET /admin/slow` | requests that took long, failed or were drawn, and turns of the loop that took long ([`super::slow`]) |
//! | `GET /admin/gaps?last=60s` | when shards' CPUs ran something else |
//! | `POST /admin/drain` | begins a drain, as TERM does |
//! | other `/admin/` paths of the contract | 501 until a later version |
//!
//! A listener on loopback asks for no token; beyond it, `/admin/*` demands the bearer token.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};

use super::probes::{self, answer};
use super::server::Peer;
use super::slow::{self, Query};
use super::{Control, Order};
use crate::clock;
use crate::events::log;
use crate::plan::Token;

/// Health as draft-inadarei-api-health-check-06 has it.
const CHECKS: &str = "application/health+json";

/// Paths that later versions will serve.
const RESERVED: [&str; 6] = [
    "/admin/cache/warm",
    "/admin/cache/purge",
    "/admin/cache/stats",
    "/admin/cache/gc",
    "/admin/events",
    "/admin/reload",
];

/// Who may use `/admin/*` on a listener.
#[derive(Clone, Debug)]
pub(crate) enum Access {
    /// Everybody who reaches loopback, except pages in a browser there.
    Loopback,
    /// Who has the token; nobody, if there is none.
    Bearer(Option<Token>),
}

/// The routes of one listener.
pub(crate) fn router(control: Arc<Control>, access: Access) -> Router {
    let mut admin = Router::new()
        .route("/admin/stats", get(stats))
        .route("/admin/slow", get(slow_requests))
        .route("/admin/gaps", get(gaps))
        .route("/admin/drain", post(drain));
    for path in RESERVED {
        admin = admin.route(path, any(reserved));
    }
    let admin = admin.layer(middleware::from_fn_with_state(access, guard));
    Router::new()
        .route("/health", get(health))
        .route("/livez", get(livez))
        .route("/healthz", get(livez))
        .route("/readyz", get(readyz))
        .route("/startupz", get(startupz))
        .merge(admin)
        .fallback(unknown)
        .with_state(control)
}

async fn health(State(control): State<Arc<Control>>, fields: HeaderMap) -> Response {
    let report = control.report();
    let status = StatusCode::from_u16(report.status().code());
    let status = status.unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    if wants_checks(&fields) {
        return json_as(CHECKS, status, report.health_json());
    }
    json(status, report.json())
}

/// Whether a request names the media type of checks; no wildcard does, which would change what everybody gets.
fn wants_checks(fields: &HeaderMap) -> bool {
    let mut accepted = fields.get_all(header::ACCEPT).iter();
    accepted.any(|value| value.to_str().is_ok_and(|value| value.contains(CHECKS)))
}

async fn livez(State(control): State<Arc<Control>>, RawQuery(query): RawQuery) -> Response {
    let checks = probes::live(control.shards(), clock::moment());
    answer("livez", checks, query.as_deref())
}

async fn readyz(State(control): State<Arc<Control>>, RawQuery(query): RawQuery) -> Response {
    let checks = probes::ready(control.shards(), control.is_ending());
    answer("readyz", checks, query.as_deref())
}

async fn startupz(State(control): State<Arc<Control>>, RawQuery(query): RawQuery) -> Response {
    let checks = probes::started(control.shards());
    answer("startupz", checks, query.as_deref())
}

async fn stats(State(control): State<Arc<Control>>) -> Response {
    json(StatusCode::OK, control.summary())
}

async fn slow_requests(
    State(control): State<Arc<Control>>,
    RawQuery(query): RawQuery,
    fields: HeaderMap,
) -> Response {
    match Query::read(query.as_deref().unwrap_or_default(), &fields) {
        Ok(query) => {
            let (media_type, body) = control.slow(&query);
            ([(header::CONTENT_TYPE, media_type)], body).into_response()
        }
        Err(why) => fault(StatusCode::BAD_REQUEST, &why),
    }
}

async fn gaps(State(control): State<Arc<Control>>, RawQuery(query): RawQuery) -> Response {
    match slow::last(query.as_deref().unwrap_or_default()) {
        Ok(last) => json(StatusCode::OK, control.gaps(last)),
        Err(why) => fault(StatusCode::BAD_REQUEST, &why),
    }
}

async fn drain(State(control): State<Arc<Control>>) -> Response {
    control.order(Order::Drain);
    json(StatusCode::ACCEPTED, "{\"draining\":true}".to_owned())
}

async fn reserved(request: Request) -> Response {
    let path = request.uri().path();
    fault(
        StatusCode::NOT_IMPLEMENTED,
        &format!("{path} is reserved for a later version"),
    )
}

async fn unknown() -> Response {
    fault(
        StatusCode::NOT_FOUND,
        "there is /health, /livez, /readyz, /startupz, /admin/stats, /admin/slow, /admin/gaps and /admin/drain",
    )
}

async fn guard(State(access): State<Access>, request: Request, next: Next) -> Response {
    match refusal(&access, request.method(), request.headers()) {
        None => next.run(request).await,
        Some((status, why)) => {
            tell_refused(&request, status, why);
            let mut response = fault(status, why);
            if status == StatusCode::UNAUTHORIZED {
                let scheme = header::HeaderValue::from_static("Bearer");
                response
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, scheme);
            }
            response
        }
    }
}

/// Only paths of `/admin/` that there are come here, so nothing of a peer's own choice gets into the log.
fn tell_refused(request: &Request, status: StatusCode, why: &str) {
    let peer = request.extensions().get::<Peer>();
    let peer = peer.map(|Peer(address)| tracing::field::display(address));
    let path = request.uri().path();
    match status {
        StatusCode::UNAUTHORIZED => log!(Unauthorized, peer, path, "{why}"),
        _ => log!(Forbidden, peer, path, "{why}"),
    }
}

/// Why a request to `/admin/*` is refused.
fn refusal(
    access: &Access,
    method: &Method,
    fields: &HeaderMap,
) -> Option<(StatusCode, &'static str)> {
    match access {
        // A page in a browser on this host could post here; browsers say so with Origin.
        Access::Loopback if method != Method::GET && fields.contains_key(header::ORIGIN) => Some((
            StatusCode::FORBIDDEN,
            "pages in a browser may not use /admin/",
        )),
        Access::Loopback => None,
        Access::Bearer(None) => Some((
            StatusCode::FORBIDDEN,
            "beyond loopback /admin/ needs [admin] token_file, which is not configured",
        )),
        Access::Bearer(Some(token)) => {
            let offered = fields
                .get(header::AUTHORIZATION)
                .map(|value| value.as_bytes());
            let right = offered
                .and_then(bearer)
                .is_some_and(|offered| token.is(offered));
            (!right).then_some((
                StatusCode::UNAUTHORIZED,
                "the bearer token of [admin] token_file is missing or wrong",
            ))
        }
    }
}

/// The token of `Bearer TOKEN`; the scheme in any case (RFC 9110 §11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
}

fn fault(status: StatusCode, why: &str) -> Response {
    json(status, serde_json::json!({ "error": why }).to_string())
}

fn json(status: StatusCode, text: String) -> Response {
    json_as("application/json", status, text)
}

fn json_as(media_type: &'static str, status: StatusCode, text: String) -> Response {
    let fields = [
        (header::CONTENT_TYPE, media_type),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (status, fields, text + "\n").into_response()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn fields(name: header::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    fn status(access: &Access, fields: &HeaderMap) -> Option<u16> {
        refusal(access, &Method::POST, fields).map(|(status, _)| status.as_u16())
    }

    #[test]
    fn beyond_loopback_only_the_token_opens() {
        let guarded = Access::Bearer(Some(Token::new(b"0123456789abcdef")));
        let with = |value| fields(header::AUTHORIZATION, value);
        assert_eq!(status(&guarded, &with("Bearer 0123456789abcdef")), None);
        assert_eq!(status(&guarded, &with("bearer 0123456789abcdef")), None);
        assert_eq!(
            status(&guarded, &with("Bearer 0123456789abcdeX")),
            Some(401)
        );
        assert_eq!(status(&guarded, &with("Basic 0123456789abcdef")), Some(401));
        assert_eq!(status(&guarded, &HeaderMap::new()), Some(401));
        let closed = Access::Bearer(None);
        assert_eq!(status(&closed, &with("Bearer 0123456789abcdef")), Some(403));
    }

    #[test]
    fn on_loopback_everybody_may_but_pages_in_a_browser() {
        assert_eq!(status(&Access::Loopback, &HeaderMap::new()), None);
        let page = fields(header::ORIGIN, "https://example.org");
        assert_eq!(status(&Access::Loopback, &page), Some(403));
    }
}
