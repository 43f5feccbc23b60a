//! The demo's origin: a few pages that show what a cache does, on a port of loopback that the kernel chooses.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::clock;

/// Binds the origin's port.
///
/// # Errors
/// The kernel's refusal.
pub(crate) fn bind() -> std::io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// The pages.
///
/// | path | answer |
/// |---|---|
/// | `/` | HTML that says when it was made; fresh for a minute |
/// | `/1k`, `/100k` | that many bytes; fresh for an hour |
/// | `/time` | the time; fresh for a second |
/// | `/slow` | takes 200 ms; fresh for a minute |
/// | `/private` | not to be stored |
/// | `/echo` | gives a POST's body back |
pub(crate) fn pages() -> Router {
    Router::new()
        .route("/", get(front))
        .route("/1k", get(|| filled(1 << 10)))
        .route("/100k", get(|| filled(100 << 10)))
        .route("/time", get(time))
        .route("/slow", get(slow))
        .route("/private", get(private))
        .route("/echo", post(echo))
}

async fn front() -> Response {
    let made = clock::wall().as_secs();
    let page = format!(
        "<!doctype html>\n<title>ultragate</title>\n<h1>It works</h1>\n\
         <p>The demo's origin made this page at second {made} of the Unix epoch. Ask again within a minute: the gateway \
         answers from its cache, the number stays, and the field <code>Age</code> grows.</p>\n\
         <p>Others to try: <a href=\"/time\">/time</a> (fresh for a second), <a href=\"/1k\">/1k</a>, \
         <a href=\"/100k\">/100k</a>, <a href=\"/slow\">/slow</a> (200 ms at the origin), <a href=\"/private\">/private</a> \
         (never stored), and POST to /echo.</p>\n"
    );
    page_of("text/html; charset=utf-8", "max-age=60", page)
}

async fn filled(bytes: usize) -> Response {
    page_of("text/plain", "max-age=3600", vec![b'x'; bytes])
}

async fn time() -> Response {
    let text = format!("{}\n", clock::wall().as_secs());
    page_of("text/plain", "max-age=1", text)
}

async fn slow() -> Response {
    tokio::time::sleep(Duration::from_millis(200)).await;
    page_of("text/plain", "max-age=60", "worth waiting for\n")
}

async fn private() -> Response {
    let text = format!("for you alone, at {}\n", clock::wall().as_secs());
    page_of("text/plain", "no-store", text)
}

async fn echo(body: Body) -> Response {
    (StatusCode::OK, [(header::CACHE_CONTROL, "no-store")], body).into_response()
}

fn page_of(media: &'static str, cache: &'static str, body: impl Into<Bytes>) -> Response {
    let fields = [
        (header::CONTENT_TYPE, media),
        (header::CACHE_CONTROL, cache),
    ];
    (fields, Body::from(body.into())).into_response()
}

/// The lines to try, with the addresses that the gateway really has.
pub(crate) fn lines(data: SocketAddr, operator: SocketAddr, metrics: SocketAddr) -> String {
    let [data, operator, metrics] = [data, operator, metrics].map(reachable);
    format!(
        "curl -i http://{data}/    # a page of the demo's origin; the second time it comes from the cache\n\
         curl -s http://{operator}/health\n\
         curl -s http://{metrics}/metrics\n"
    )
}

/// The address to reach a listener at from this host.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => {
            SocketAddr::from((Ipv4Addr::LOCALHOST, v4.port()))
        }
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => {
            SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, v6.port()))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_follow_the_real_addresses() {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let lines = lines(
            address("0.0.0.0:8080"),
            address("127.0.0.1:18081"),
            address("[::]:9090"),
        );
        assert_eq!(lines.lines().count(), 3);
        assert!(lines.contains("http://127.0.0.1:8080/ "));
        assert!(lines.contains("http://127.0.0.1:18081/health\n"));
        assert!(lines.contains("http://[::1]:9090/metrics\n"));
    }
}
