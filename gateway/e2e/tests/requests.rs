//! What an origin is told of a request beside what the client wrote: whom it comes from, and what the route makes of it.

use std::fs;

use e2e::{
    Backend, Gateway, Origin, Request, Setup, ask_with, both_drivers, eventually, get, get_with, ok,
};

both_drivers!(
    what_clients_say_of_forwarding_goes_nowhere,
    a_trusted_proxy_is_believed,
    a_chain_of_gateways_names_the_client,
    schemes_that_a_trusted_proxy_tells_are_kept_apart,
    elements_of_forwarded_pass_from_the_believed_one_on,
    nothing_is_told_where_it_is_switched_off,
    an_answer_that_varies_by_who_asks_is_nobody_elses,
    a_circle_ends,
    max_forwards_is_counted_down,
    traceparent_passes_as_it_came,
);

/// Every value of a field, in order.
fn all<'a>(request: &'a Request, name: &str) -> Vec<&'a str> {
    let fields = request.fields.iter();
    fields
        .filter(|(own, _)| own.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
        .collect()
}

fn trusting(backend: Backend, origin: &Origin) -> Setup {
    Setup::new(backend).everything_to(origin.address(), "").set(
        "forwarded",
        "trusted_proxies",
        "[\"127.0.0.0/8\", \"::1\"]",
    )
}

fn what_clients_say_of_forwarding_goes_nowhere(backend: Backend) {
    let origin = Origin::answering(ok("", "x"));
    let gateway = Gateway::before(&origin, backend);
    gateway.ask(get_with(
        "/a",
        "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.test\r\n\
         Forwarded: for=6.6.6.6;host=evil.test\r\nX-Real-IP: 6.6.6.6\r\nX-Forwarded-User: root\r\n\
         X_Forwarded_For: 6.6.6.6\r\nX-Forwarded_Host: evil.test\r\nX-Forwarded-For: 7.7.7.7\r\n\
         Connection: X-Forwarded-For, X-Forwarded-Host\r\nX-Other: stays\r\n",
    ));
    let request = origin.last();
    assert_eq!(all(&request, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(all(&request, "x-forwarded-proto"), ["http"]);
    assert_eq!(all(&request, "x-forwarded-host"), ["test"]);
    assert_eq!(all(&request, "x-other"), ["stays"]);
    let head = String::from_utf8_lossy(&request.head);
    for gone in ["6.6.6.6", "7.7.7.7", "evil", "root"] {
        assert!(!head.contains(gone), "{gone}: {head}");
    }
}

fn a_trusted_proxy_is_believed(backend: Backend) {
    let origin = Origin::answering(ok("", "x"));
    let log = std::env::temp_dir().join(format!(
        "ultragate-e2e-believed-{}-{}",
        backend.name(),
        std::process::id()
    ));
    let gateway = trusting(backend, &origin)
        .set("telemetry", "access_log", "\"combined\"")
        .set(
            "telemetry",
            "access_log_path",
            format!("{:?}", log.display().to_string()),
        )
        .start();
    let mut client = gateway.client();
    client.ask(get_with(
        "/a",
        "X-Forwarded-For: 6.6.6.6, 203.0.113.9\r\nX-Forwarded-For: 127.0.0.7\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: evil.test\r\nX-Forwarded-User: somebody\r\n",
    ));
    let request = origin.last();
    let hops = "203.0.113.9, 127.0.0.7, 127.0.0.1";
    assert_eq!(all(&request, "x-forwarded-for"), [hops]);
    assert_eq!(all(&request, "x-forwarded-proto"), ["https"]);
    assert_eq!(all(&request, "x-forwarded-host"), ["test"]);
    assert_eq!(all(&request, "x-forwarded-user"), ["somebody"]);
    // The next client of the same proxy, on the same connection, and one of whom it says nothing.
    client.ask(get_with("/b", "X-Forwarded-For: 203.0.113.10\r\n"));
    client.ask(get("/c"));
    assert_eq!(all(&origin.last(), "x-forwarded-for"), ["127.0.0.1"]);
    let lines = || fs::read_to_string(&log).unwrap_or_default();
    eventually("three lines are written", || lines().lines().count() == 3);
    let text = lines();
    let clients: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(clients, ["203.0.113.9", "203.0.113.10", "127.0.0.1"]);
    let _ = fs::remove_file(&log);
}

fn a_chain_of_gateways_names_the_client(backend: Backend) {
    let origin = Origin::answering(ok("", "x"));
    let inner = trusting(backend, &origin).start();
    let outer = Setup::new(backend).everything_to(inner.data, "").start();
    outer.ask(get_with("/a", "X-Forwarded-For: 6.6.6.6\r\n"));
    let request = origin.last();
    assert_eq!(all(&request, "x-forwarded-for"), ["127.0.0.1, 127.0.0.1"]);
    assert_eq!(all(&request, "via"), ["1.1 ultragate", "1.1 ultragate"]);
}

fn schemes_that_a_trusted_proxy_tells_are_kept_apart(backend: Backend) {
    let origin = Origin::start(|request, wire| {
        let scheme = request.field("x-forwarded-proto").unwrap_or("none");
        wire.send(ok("Cache-Control: max-age=60\r\n", scheme));
        e2e::Next::Keep
    });
    let gateway = trusting(backend, &origin).start();
    let mut client = gateway.client();
    let secure = get_with("/a", "X-Forwarded-Proto: https\r\n");
    for round in 0..2 {
        for (request, scheme) in [(&get("/a"), "http"), (&secure, "https")] {
            let response = client.ask(request);
            assert_eq!(response.text(), scheme);
            assert_eq!(response.is_hit(), round > 0);
        }
    }
}

fn elements_of_forwarded_pass_from_the_believed_one_on(backend: Backend) {
    let origin = Origin::answering(ok("", "x"));
    let gateway = trusting(backend, &origin)
        .set("forwarded", "fields", "\"forwarded\"")
        .start();
    let mut client = gateway.client();
    client.ask(get_with(
        "/a",
        "Forwarded: for=6.6.6.6;host=evil.test, for=_hidden;proto=https\r\nForwarded: For=\"127.0.0.7:99\"\r\n\
         X-Forwarded-For: 6.6.6.6\r\n",
    ));
    let request = origin.last();
    let own = "for=127.0.0.1;host=\"test\";proto=https";
    let told = format!("for=_hidden;proto=https, For=\"127.0.0.7:99\", {own}");
    assert_eq!(all(&request, "forwarded"), [told]);
    assert!(all(&request, "x-forwarded-for").is_empty());
    client.ask(get_with("/b", "Forwarded: for=\"6.6.6.6\r\n"));
    let own = "for=127.0.0.1;host=\"test\";proto=http";
    assert_eq!(all(&origin.last(), "forwarded"), [own]);
}

fn nothing_is_told_where_it_is_switched_off(backend: Backend) {
    let origin = Origin::answering(ok("", "x"));
    let gateway = trusting(backend, &origin)
        .set("forwarded", "fields", "\"off\"")
        .start();
    gateway.ask(get_with(
        "/a",
        "X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n",
    ));
    let head = String::from_utf8_lossy(&origin.last().head).to_ascii_lowercase();
    assert!(!head.contains("forwarded"), "{head}");
}

fn an_answer_that_varies_by_who_asks_is_nobody_elses(backend: Backend) {
    let origin = Origin::answering(ok(
        "Cache-Control: max-age=60\r\nVary: X-Forwarded-For\r\n",
        "x",
    ));
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    for round in 1..=2 {
        let response = client.ask(get("/a"));
        assert_eq!(response.told("detail"), Some("vary"));
        assert_eq!(origin.count(), round);
    }
}

fn a_circle_ends(backend: Backend) {
    let origin = Origin::answering(ok("", "x"));
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    let via = |times: usize| {
        let line = vec!["1.1 ultragate (a comment)"; times].join(", ");
        get_with("/a", &format!("Via: 1.0 other\r\nVia: {line}\r\n"))
    };
    assert_eq!(client.ask(via(8)).status, 200);
    assert_eq!(client.ask(via(9)).status, 508);
    assert_eq!(origin.count(), 1);
}

fn max_forwards_is_counted_down(backend: Backend) {
    let origin = Origin::answering(ok("", ""));
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    for (method, sent, wanted) in [
        ("OPTIONS", "10", "9"),
        ("OPTIONS", "junk", "junk"),
        ("GET", "10", "10"),
    ] {
        client.ask(ask_with(method, "/a", &format!("Max-Forwards: {sent}\r\n")));
        assert_eq!(
            all(&origin.last(), "max-forwards"),
            [wanted],
            "{method} {sent}"
        );
    }
}

fn traceparent_passes_as_it_came(backend: Backend) {
    let origin = Origin::answering(ok("", "x"));
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    let whole = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let two = [
        whole,
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
    ];
    for (number, parents) in [&[whole][..], &two, &["junk"], &["00-00-00-00"], &[]]
        .iter()
        .enumerate()
    {
        let lines: String = parents
            .iter()
            .map(|parent| format!("traceparent: {parent}\r\n"))
            .collect();
        let states = "tracestate: a=1,b=2\r\nTracestate: c=3\r\n";
        client.ask(get_with(&format!("/{number}"), &format!("{lines}{states}")));
        let request = origin.last();
        assert_eq!(all(&request, "traceparent"), *parents);
        assert_eq!(all(&request, "tracestate"), ["a=1,b=2", "c=3"]);
    }
}
