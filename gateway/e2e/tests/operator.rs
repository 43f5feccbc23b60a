//! The operators' and Prometheus's ports.

use e2e::{
    Backend, Client, Gateway, Origin, Response, Setup, both_drivers, eventually, get, get_with, ok,
    sample,
};

fn ask(address: std::net::SocketAddr, target: &str) -> Response {
    Client::connect(address).ask(format!(
        "GET {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
    ))
}

fn text(response: &Response) -> String {
    String::from_utf8_lossy(&response.body).into_owned()
}

both_drivers!(
    health_names_its_components,
    health_speaks_of_checks_where_that_is_asked_for,
    the_probes_are_ready,
    requests_are_counted_by_what_became_of_them,
    the_exposition_is_what_prometheus_reads,
    admin_is_not_on_the_metrics_port,
);

fn health_names_its_components(backend: Backend) {
    let origin = Origin::answering(ok("", "x"));
    let gateway = Gateway::before(&origin, backend);
    let health = ask(gateway.operator, "/health");
    let body = text(&health);
    assert_eq!(health.status, 200, "{body}");
    for part in [
        "\"status\":\"healthy\"",
        "\"version\":",
        "\"uptime_seconds\":",
        "\"components\":",
        "\"shard:0\"",
        "\"io_backend\"",
    ] {
        assert!(body.contains(part), "{part} is missing in {body}");
    }
}

fn health_speaks_of_checks_where_that_is_asked_for(backend: Backend) {
    let origin = Origin::answering(ok("", "x"));
    let gateway = Gateway::before(&origin, backend);
    let mut client = Client::connect(gateway.operator);
    let checks = client.ask(get_with("/health", "Accept: application/health+json\r\n"));
    assert_eq!(
        checks.field("content-type"),
        Some("application/health+json")
    );
    let body = text(&checks);
    for part in [
        "{\"status\":\"pass\"",
        "\"releaseId\":",
        "\"shard\":[{\"componentId\":\"0\"",
    ] {
        assert!(body.contains(part), "{part} is missing in {body}");
    }
    let plain = client.ask(get_with("/health", "Accept: */*\r\n"));
    assert_eq!(plain.field("content-type"), Some("application/json"));
}

fn the_probes_are_ready(backend: Backend) {
    let origin = Origin::answering(ok("", "x"));
    let gateway = Gateway::before(&origin, backend);
    for probe in ["/livez", "/readyz", "/startupz"] {
        assert_eq!(ask(gateway.operator, probe).status, 200, "{probe}");
    }
    assert_eq!(ask(gateway.operator, "/nowhere").status, 404);
}

fn requests_are_counted_by_what_became_of_them(backend: Backend) {
    let origin = Origin::answering(ok("Cache-Control: max-age=60\r\n", "x"));
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    for _ in 0..5 {
        client.ask(get("/a"));
    }
    gateway.ask("GET / HTTP/1.1\r\nHost: a b\r\n\r\n");
    let requests = |labels: &[&str]| {
        let metrics = ask(gateway.metrics, "/metrics");
        assert_eq!(metrics.status, 200);
        sample(&text(&metrics), "http_requests_total", labels)
    };
    eventually("four hits are counted", || {
        requests(&[
            "cache=\"hit\"",
            "route=\"all\"",
            "status=\"200\"",
            "method=\"GET\"",
        ]) == 4.0
    });
    eventually("one miss is counted", || {
        requests(&["cache=\"miss\"", "route=\"all\""]) == 1.0
    });
    eventually("one bad request is counted", || {
        requests(&["status=\"400\"", "route=\"_invalid\""]) == 1.0
    });
}

fn the_exposition_is_what_prometheus_reads(backend: Backend) {
    let origin = Origin::answering(ok("Cache-Control: max-age=60\r\n", "x"));
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    for _ in 0..10 {
        client.ask(get("/a"));
    }
    let metrics = ask(gateway.metrics, "/metrics");
    let body = text(&metrics);
    assert!(
        metrics
            .field("content-type")
            .is_some_and(|kind| kind.starts_with("text/plain")),
        "{:?}",
        metrics.field("content-type")
    );
    for line in body
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        let value = line.rsplit(' ').next().unwrap_or_default();
        assert!(
            value.parse::<f64>().is_ok() || matches!(value, "+Inf" | "-Inf" | "NaN"),
            "{line}"
        );
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end))
            .unwrap_or(name);
        assert!(
            body.contains(&format!("# TYPE {family} "))
                || body.contains(&format!("# TYPE {name} ")),
            "{name} has no type"
        );
    }
    assert!(
        sample(&body, "http_request_duration_seconds_count", &[]) >= 10.0,
        "{body}"
    );
    assert!(
        body.contains("le=\"0.0005\"")
            && body.contains("le=\"0.001\"")
            && body.contains("le=\"0.002\""),
        "{body}"
    );
}

fn admin_is_not_on_the_metrics_port(backend: Backend) {
    let gateway = Setup::new(backend).start();
    assert_eq!(ask(gateway.metrics, "/admin/stats").status, 404);
}
