//! Stories of a running gateway: what it serves where, and how it ends.

mod process;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use process::{BESIDE_OTHERS, DEADLINE, Gateway, TempFile, ask, command, finished, get};

#[test]
fn the_demo_answers_a_second_request_from_its_cache_and_ends_on_term() {
    let gateway = Gateway::start(&["--demo"]);
    let first = get(gateway.data, "/");
    let second = get(gateway.data, "/");
    assert_eq!((first.status, second.status), (200, 200));
    assert!(
        first.head.contains("cache-status: ultragate; fwd=uri-miss"),
        "{}",
        first.head
    );
    assert!(
        second.head.contains("cache-status: ultragate; hit"),
        "{}",
        second.head
    );
    assert_eq!(first.body, second.body);
    let (data, operator) = (gateway.data, gateway.operator);
    gateway.signal("TERM");
    let (code, out) = gateway.end();
    assert_eq!(code, 0);
    assert_eq!(out.lines().count(), 3);
    assert!(out.contains(&format!("curl -i http://{data}/ ")), "{out}");
    assert!(
        out.contains(&format!("http://{operator}/health\n")),
        "{out}"
    );
}

#[test]
fn operators_and_prometheus_are_answered() {
    let gateway = Gateway::start(&["--demo"]);
    let health = get(gateway.operator, "/health");
    assert_eq!(health.status, 200);
    for part in [
        "\"status\":\"healthy\"",
        "\"shard:0\"",
        "\"listener:data\"",
        "\"io_backend\"",
    ] {
        assert!(health.body.contains(part), "{part} in {}", health.body);
    }
    for probe in ["/livez", "/healthz", "/readyz", "/startupz"] {
        assert_eq!(get(gateway.operator, probe).status, 200, "{probe}");
    }
    for (probe, listed) in [
        ("livez", "[+]shard:0 ok\n"),
        ("startupz", "[+]shard:0 ok\n"),
        ("readyz", "[+]listeners ok\n[+]warm-up ok\n[+]drain ok\n"),
    ] {
        assert_eq!(
            get(gateway.operator, &format!("/{probe}?verbose")).body,
            format!("{listed}{probe} check passed\n")
        );
    }
    assert!(
        get(gateway.operator, "/admin/stats")
            .body
            .contains("\"requests_total\"")
    );
    assert_eq!(
        ask(
            gateway.operator,
            "POST",
            "/admin/cache/warm",
            "Content-Length: 0\r\n"
        )
        .status,
        501
    );
    assert_eq!(get(gateway.operator, "/nowhere").status, 404);
    let metrics = get(gateway.metrics, "/metrics");
    for part in [
        "build_info{version=",
        "io_backend_info{",
        "shard_info{shard=\"0\"",
        "memory_pool_bytes 16777216",
    ] {
        assert!(metrics.body.contains(part), "{part} in {}", metrics.body);
    }
    assert_eq!(get(gateway.data, "/health").status, 200);
    assert!(
        get(gateway.data, "/api/v1/status")
            .body
            .contains("\"status\"")
    );
}

#[test]
fn an_ordered_drain_fails_readiness_first_and_ends_well() {
    let gateway = Gateway::start(&["--demo", "--set", "drain.delay=1s"]);
    let ordered = ask(
        gateway.operator,
        "POST",
        "/admin/drain",
        "Content-Length: 0\r\n",
    );
    assert_eq!(
        (ordered.status, ordered.body.as_str()),
        (202, "{\"draining\":true}\n")
    );
    gateway.event("drain_begun");
    let ready = get(gateway.operator, "/readyz");
    assert_eq!(ready.status, 503);
    assert!(ready.body.contains("[-]drain failed"), "{}", ready.body);
    assert_eq!(get(gateway.operator, "/livez").status, 200);
    assert_eq!(get(gateway.data, "/1k").status, 200);
    gateway.event("drained");
    assert_eq!(gateway.end().0, 0);
}

/// A connection whose exchange is under way and never finishes, so that a drain waits for it.
fn unfinished(gateway: &Gateway) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.data).expect("connected");
    stream.set_read_timeout(Some(DEADLINE)).expect("set");
    let request = b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\nx";
    stream.write_all(request).expect("sent");
    let mut answer = [0; 12];
    stream
        .read_exact(&mut answer)
        .expect("an answer's beginning");
    assert_eq!(&answer, b"HTTP/1.1 200");
    stream
}

#[test]
fn a_second_term_stops_at_once() {
    let gateway = Gateway::start(&["--demo"]);
    let _held = unfinished(&gateway);
    gateway.signal("TERM");
    gateway.event("drain_begun");
    gateway.signal("TERM");
    gateway.event("stopped");
    assert_eq!(gateway.end().0, 0);
}

#[test]
fn what_a_drain_waits_for_is_cut_at_its_timeout() {
    let gateway = Gateway::start(&["--demo", "--set", "drain.timeout=100ms"]);
    let _held = unfinished(&gateway);
    gateway.signal("QUIT");
    gateway.event("stopped");
    assert_eq!(gateway.end().0, 0);
}

#[test]
fn int_stops_at_once() {
    let gateway = Gateway::start(&["--demo"]);
    let _held = unfinished(&gateway);
    gateway.signal("INT");
    gateway.event("stopped");
    assert_eq!(gateway.end().0, 0);
}

#[test]
fn hup_checks_the_file_and_keeps_what_is_in_force() {
    let file = TempFile::new("hup", "[cache]\ncapacity = 5\n");
    let gateway = Gateway::start(&["-c", file.path()]);
    gateway.signal("HUP");
    let line = gateway.event("config_checked");
    assert!(line.contains("changed=false"), "{line}");
    std::fs::write(&file.0, "[cache]\ncapacity = 0\n").expect("written");
    gateway.signal("HUP");
    let line = gateway.event("config_refused");
    assert!(line.contains("gateway.toml:2:12: cache.capacity"), "{line}");
    for other in ["USR1", "USR2"] {
        gateway.signal(other);
    }
    gateway.event("upgrade_unsupported");
    assert_eq!(get(gateway.data, "/health").status, 200);
    assert!(
        get(gateway.metrics, "/metrics")
            .body
            .contains("config_last_reload_successful 0")
    );
}

#[test]
fn events_that_nobody_reads_any_more_are_lost_and_nothing_else() {
    let mut gateway = Gateway::start(&["--demo"]);
    gateway.deafen();
    gateway.signal("HUP");
    let checked = "log_events_total{event=\"config_checked\",level=\"info\"} 2";
    let is_heeded = |_| get(gateway.metrics, "/metrics").body.contains(checked);
    assert!((0..10_000).any(is_heeded), "HUP is heeded");
    assert_eq!(get(gateway.operator, "/health").status, 200);
    gateway.signal("TERM");
    assert_eq!(gateway.end().0, 0);
}

#[test]
fn a_file_without_routes_serves_the_built_in_paths_and_says_so() {
    let file = TempFile::new("bare", "");
    let gateway = Gateway::start(&["-c", file.path()]);
    assert_eq!(get(gateway.data, "/health").status, 200);
    assert_eq!(get(gateway.data, "/").status, 404);
}

#[test]
fn a_taken_port_is_named_with_who_has_it() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = taken.local_addr().expect("bound").port();
    let data = format!("listen.data=127.0.0.1:{port}");
    let output = command()
        .args(BESIDE_OTHERS)
        .args(["--demo", "--set", &data])
        .output();
    let (code, _, err) = finished(output.expect("ran"));
    assert_eq!(code, 1);
    assert!(
        err.contains(&format!("cannot listen on 127.0.0.1:{port}")),
        "{err}"
    );
    assert!(
        err.contains("likely cause: ") && err.contains("try: "),
        "{err}"
    );
}

#[test]
fn events_are_json_objects_where_that_is_asked_for() {
    let output = command()
        .args(BESIDE_OTHERS)
        .args([
            "--set",
            "telemetry.log_format=json",
            "--set",
            "listen.data=192.0.2.1:1",
        ])
        .output();
    let (code, _, err) = finished(output.expect("ran"));
    assert_eq!(code, 1);
    let first = err.lines().next().unwrap_or_default();
    assert!(
        first.starts_with('{') && first.contains("\"event\":\"starting\""),
        "{err}"
    );
}

#[test]
fn beyond_loopback_admin_paths_ask_for_the_token_and_probes_do_not() {
    let secret = TempFile::new("token", "0123456789abcdef0123456789abcdef\n");
    let token = format!("admin.token_file={}", secret.path());
    let open = ["--set", "listen.operator=0.0.0.0:0", "--set", &token];
    let gateway = Gateway::start(&["--demo", open[0], open[1], open[2], open[3]]);
    let operator = ([127, 0, 0, 1], gateway.operator.port()).into();
    assert_eq!(get(operator, "/readyz").status, 200);
    let refused = get(operator, "/admin/stats");
    assert_eq!(refused.status, 401);
    assert!(
        refused.head.contains("www-authenticate: bearer"),
        "{}",
        refused.head
    );
    let right = "Authorization: Bearer 0123456789abcdef0123456789abcdef\r\n";
    assert_eq!(ask(operator, "GET", "/admin/stats", right).status, 200);
}

#[test]
fn an_upstream_that_refuses_connections_is_told_by_health() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let text = format!(
        "[[upstream]]\nname = \"gone\"\nendpoints = \"{address}\"\n[[route]]\nname = \"all\"\nupstream = \"gone\"\n"
    );
    let file = TempFile::new("gone", &text);
    let gateway = Gateway::start(&["-c", file.path()]);
    let found = || get(gateway.operator, "/health").body;
    let deadline = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .expect("a clock")
        + DEADLINE;
    while !found().contains("1 of 1 endpoints cannot be reached") {
        let now = std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .expect("a clock");
        assert!(now < deadline, "{}", found());
    }
    assert!(found().contains("\"status\":\"degraded\""), "{}", found());
    assert_eq!(get(gateway.data, "/").status, 502);
}
