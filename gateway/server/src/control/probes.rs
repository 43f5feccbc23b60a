//! The Kubernetes trio: checks by name, `?verbose` lists them, `?exclude=NAME` skips one.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

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
