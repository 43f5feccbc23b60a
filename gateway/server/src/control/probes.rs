//! The Kubernetes trio: checks by name, `?verbose` lists them, `?exclude=NAME` skips one.
//!
//! | probe | fails | so that |
//! |---|---|---|
//! | `/startupz` | until every shard's loop has turned once | nobody asks for more before |
//! | `/readyz` | until then too, and from the begin of a drain on; in between never | a moment in which a shard is not heard from, which the whole fleet may have at once, takes nobody out of service |
//! | `/livez` | while a shard's loop stands still ([`HEARTBEAT_AGE_MAX`](telemetry::health::HEARTBEAT_AGE_MAX)) | who stays so is started anew |
//!
//! Each check of `/readyz` goes one way only, which makes it a latch.

use std::sync::Arc;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use base::{Moment, ShardId};
use telemetry::ShardCells;
use telemetry::health::{Component, Status};

/// One check of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    /// Its name.
    pub(crate) name: String,
    /// Why it fails.
    pub(crate) fault: Option<String>,
}

impl Check {
    /// A check that passes unless there is a fault.
    pub(crate) fn new(name: impl Into<String>, fault: Option<String>) -> Self {
        Self {
            name: name.into(),
            fault,
        }
    }
}

/// The checks of `/livez`, one a shard: whether its loop turns.
pub(crate) fn live(shards: &[Arc<ShardCells>], now: Moment) -> Vec<Check> {
    let checks = shards.iter().map(|cells| {
        let shard = Component::shard(cells, now);
        let stuck = shard.status == Status::Unhealthy;
        Check::new(shard.name, shard.reason.filter(|_| stuck))
    });
    checks.collect()
}

/// The checks of `/startupz`, one a shard: whether its loop has turned at all.
pub(crate) fn started(shards: &[Arc<ShardCells>]) -> Vec<Check> {
    let checks = shards.iter().map(|cells| {
        let ShardId(shard) = cells.shard;
        let begun = cells.heartbeat_ns.read() > 0;
        let fault = (!begun).then(|| "its loop has not begun to turn".to_owned());
        Check::new(format!("shard:{shard}"), fault)
    });
    checks.collect()
}

/// The checks of `/readyz`. Listeners are bound before the port that answers this is served at all.
pub(crate) fn ready(shards: &[Arc<ShardCells>], is_draining: bool) -> Vec<Check> {
    let cold = started(shards)
        .into_iter()
        .filter(|check| check.fault.is_some());
    let cold: Vec<String> = cold.map(|check| check.name).collect();
    let cold = (!cold.is_empty()).then(|| format!("not begun: {}", cold.join(", ")));
    let drain = is_draining.then(|| "a drain has begun".to_owned());
    vec![
        Check::new("listeners", None),
        Check::new("warm-up", cold),
        Check::new("drain", drain),
    ]
}

/// The answer of a probe: `ok`, or what fails, in the manner of the Kubernetes API server.
pub(crate) fn answer(probe: &str, checks: Vec<Check>, query: Option<&str>) -> Response {
    let query = query.unwrap_or_default();
    let excluded = |check: &Check| {
        query
            .split('&')
            .any(|part| part.strip_prefix("exclude=") == Some(&check.name))
    };
    let verbose = query
        .split('&')
        .any(|part| part == "verbose" || part.starts_with("verbose="));
    let checks: Vec<Check> = checks
        .into_iter()
        .filter(|check| !excluded(check))
        .collect();
    let failed = checks.iter().any(|check| check.fault.is_some());
    let status = match failed {
        true => StatusCode::SERVICE_UNAVAILABLE,
        false => StatusCode::OK,
    };
    let body = match failed || verbose {
        true => listed(probe, &checks, failed),
        false => "ok\n".to_owned(),
    };
    let fields = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    let mut response = (status, fields, body).into_response();
    if failed {
        let soon = header::HeaderValue::from_static("1");
        response.headers_mut().insert(header::RETRY_AFTER, soon);
    }
    response
}

fn listed(probe: &str, checks: &[Check], failed: bool) -> String {
    let lines = checks.iter().map(|check| match &check.fault {
        None => format!("[+]{} ok\n", check.name),
        Some(fault) => format!("[-]{} failed: {fault}\n", check.name),
    });
    let verdict = if failed { "failed" } else { "passed" };
    lines
        .chain([format!("{probe} check {verdict}\n")])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks() -> Vec<Check> {
        vec![
            Check::new("shard:0", None),
            Check::new("drain", Some("a drain has begun".to_owned())),
        ]
    }

    async fn asked(query: Option<&str>) -> (u16, String) {
        let response = answer("readyz", checks(), query);
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 1 << 10).await;
        let text = String::from_utf8(body.expect("read").to_vec()).expect("text");
        (status, text)
    }

    #[tokio::test]
    async fn a_failed_check_fails_the_probe_and_is_named() {
        let listed = "[+]shard:0 ok\n[-]drain failed: a drain has begun\nreadyz check failed\n";
        assert_eq!(asked(None).await, (503, listed.to_owned()));
    }

    fn faults(checks: Vec<Check>) -> Vec<String> {
        let faulty = checks.into_iter().filter(|check| check.fault.is_some());
        faulty.map(|check| check.name).collect()
    }

    #[test]
    fn ready_is_a_latch_from_the_first_turns_to_a_drain() {
        let shards = [0, 1].map(|shard| Arc::new(ShardCells::new(ShardId(shard), 0)));
        let second = 1_000_000_000;
        shards[0].heartbeat_ns.set(second);
        assert_eq!(faults(started(&shards)), ["shard:1"]);
        assert_eq!(faults(ready(&shards, false)), ["warm-up"]);
        shards[1].heartbeat_ns.set(second);
        assert_eq!(faults(ready(&shards, false)), [""; 0]);
        // Nobody has turned for a minute.
        let later = Moment(61 * 1_000_000_000);
        assert_eq!(faults(live(&shards, later)), ["shard:0", "shard:1"]);
        assert_eq!(faults(ready(&shards, false)), [""; 0]);
        assert_eq!(faults(ready(&shards, true)), ["drain"]);
    }

    #[tokio::test]
    async fn an_excluded_check_is_skipped() {
        assert_eq!(asked(Some("exclude=drain")).await, (200, "ok\n".to_owned()));
        let listed = "[+]shard:0 ok\nreadyz check passed\n";
        assert_eq!(
            asked(Some("verbose&exclude=drain")).await,
            (200, listed.to_owned())
        );
    }
}
