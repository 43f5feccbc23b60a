//! What a route makes of requests on their way to the origin and of answers on their way to clients, and that the cache knows
//! of neither.

use e2e::{
    Backend, Next, Origin, Request, Response, Setup, answer, ask_with, both_drivers, get, get_with,
    ok,
};

both_drivers!(
    fields_of_requests_are_set_added_and_removed,
    fields_of_answers_are_changed_for_clients_alone,
    every_shape_of_an_answer_is_changed,
    the_gateways_own_answers_are_left_alone,
    a_prefix_is_rewritten_and_the_key_is_not,
    the_origin_sees_the_host_that_the_route_names,
    an_answer_that_varies_by_a_variable_is_not_stored,
    fields_that_break_messages_are_refused_at_start,
);

const FRESH: &str = "Cache-Control: max-age=60\r\n";

/// Every value of a field, in order.
fn all<'a>(request: &'a Request, name: &str) -> Vec<&'a str> {
    let fields = request.fields.iter();
    fields
        .filter(|(own, _)| own.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
        .collect()
}

fn with(backend: Backend, origin: &Origin, lines: &str) -> e2e::Gateway {
    let setup = Setup::new(backend).everything_to(origin.address(), "");
    setup.with(lines).start()
}

fn fields_of_requests_are_set_added_and_removed(backend: Backend) {
    let origin = Origin::answering(ok("", "x"));
    let gateway = with(
        backend,
        &origin,
        "request_set = [\"X-Set: ours\", \"X-Real-IP: {client_address}\", \"X-Forwarded-Proto: https\", \"X-Id: <{request_id}>\"]\n\
         request_add = [\"X-Added: ours\"]\n\
         request_remove = [\"cookie\", \"X-Gone\"]",
    );
    gateway.ask(get_with(
        "/a",
        "X-Set: theirs\r\nx_set: theirs\r\nX-Real-IP: 6.6.6.6\r\nX-Added: theirs\r\nCookie: a=1\r\nCookie: b=2\r\n\
         X-Gone: 1\r\nX-Goner: 2\r\nX-Request-Id: mine\r\n",
    ));
    let request = origin.last();
    for (name, wanted) in [
        ("x-set", &["ours"][..]),
        ("x_set", &[]),
        ("x-real-ip", &["127.0.0.1"]),
        ("x-forwarded-proto", &["https"]),
        ("x-forwarded-for", &["127.0.0.1"]),
        ("x-id", &["<mine>"]),
        ("x-request-id", &["mine"]),
        ("x-added", &["theirs", "ours"]),
        ("cookie", &[]),
        ("x-gone", &[]),
        ("x-goner", &["2"]),
    ] {
        assert_eq!(all(&request, name), wanted, "{name}");
    }
}

const EDITS: &str = "response_set = [\"Cache-Control: no-store\", \"X-Frame-Options: DENY\"]\n\
                     response_add = [\"Link: </b>\"]\n\
                     response_remove = [\"Server\", \"ETag\"]";

fn is_edited(response: &Response) {
    let all = |name| response.all(name).collect::<Vec<_>>();
    assert_eq!(all("cache-control"), ["no-store"], "{response:?}");
    assert_eq!(all("x-frame-options"), ["DENY"], "{response:?}");
    assert_eq!(all("link").last(), Some(&"</b>"), "{response:?}");
    assert_eq!(all("server").len() + all("etag").len(), 0, "{response:?}");
    assert_eq!(all("via").len(), 1, "{response:?}");
}

fn fields_of_answers_are_changed_for_clients_alone(backend: Backend) {
    let fields = format!(
        "{FRESH}ETag: \"one\"\r\nServer: origin\r\nLink: </a>\r\nX-Frame-Options: ALLOWALL\r\n"
    );
    let origin = Origin::answering(ok(&fields, "body"));
    let gateway = with(backend, &origin, EDITS);
    let mut client = gateway.client();
    for round in 0..3 {
        let response = client.ask(get("/a"));
        is_edited(&response);
        assert_eq!(response.all("link").collect::<Vec<_>>(), ["</a>", "</b>"]);
        assert_eq!(
            (response.is_hit(), response.text()),
            (round > 0, "body".to_owned())
        );
    }
    // What is stored has its tag still.
    let response = client.ask(get_with("/a", "If-None-Match: \"one\"\r\n"));
    assert_eq!(response.status, 304);
    is_edited(&response);
    assert_eq!(origin.count(), 1);
}

fn every_shape_of_an_answer_is_changed(backend: Backend) {
    let origin = Origin::start(|request, wire| {
        let body = "0123456789".repeat(1_000);
        let fields = format!("ETag: \"one\"\r\nServer: origin\r\n{FRESH}");
        wire.send(match request.target.as_str() {
            "/private" => ok(
                "Cache-Control: private\r\nServer: origin\r\nETag: \"two\"\r\n",
                body,
            ),
            "/missing" => answer(404, "Server: origin\r\n", ""),
            "/cookie" => ok(&format!("{fields}Set-Cookie: a=1\r\n"), "x"),
            _ => ok(
                &fields,
                if request.method == "HEAD" {
                    String::new()
                } else {
                    body
                },
            ),
        });
        Next::Keep
    });
    let gateway = with(
        backend,
        &origin,
        &format!("{EDITS}\nset_cookie = \"strip\""),
    );
    let mut client = gateway.client();
    for (target, fields, status, length) in [
        ("/private", "", 200, 10_000),
        ("/missing", "", 404, 0),
        ("/large", "", 200, 10_000),
        ("/large", "", 200, 10_000),
        ("/large", "Range: bytes=5-14\r\n", 206, 10),
        ("/large", "Range: bytes=99999-\r\n", 416, 0),
        ("/cookie", "", 200, 1),
    ] {
        let response = client.ask(get_with(target, fields));
        assert_eq!(
            (response.status, response.body.len()),
            (status, length),
            "{target} {fields}"
        );
        is_edited(&response);
    }
    let response = client.ask(get_with("/large", "Range: bytes=0-1, 5-6\r\n"));
    assert_eq!(response.status, 206);
    is_edited(&response);
    client.send(ask_with("HEAD", "/large", ""));
    is_edited(&client.response_to_head());
    // A field that is its client's alone is removed like any other.
    let gateway = with(
        backend,
        &origin,
        "set_cookie = \"strip\"\nresponse_remove = [\"Set-Cookie\"]",
    );
    assert_eq!(gateway.ask(get("/cookie")).field("set-cookie"), None);
}

fn the_gateways_own_answers_are_left_alone(backend: Backend) {
    let origin = Origin::answering(ok("", "x"));
    let gateway = with(backend, &origin, EDITS);
    for target in ["/health", "/admin/x"] {
        assert_eq!(gateway.ask(get(target)).field("x-frame-options"), None);
    }
    drop(origin);
    let response = gateway.ask(get("/a"));
    assert_eq!(
        (response.status, response.field("x-frame-options")),
        (502, None)
    );
}

fn a_prefix_is_rewritten_and_the_key_is_not(backend: Backend) {
    let origin = Origin::start(|request, wire| {
        wire.body(request);
        let target = &request.target;
        wire.send(ok(FRESH, format!("{target} {}", request.number)));
        Next::Keep
    });
    let gateway = Setup::new(backend)
        .upstream("origin", &[origin.address()], "")
        .route("one", "", "/one/", "origin")
        .with("prefix_rewrite = \"/\"")
        .route("two", "", "/two", "origin")
        .with("prefix_rewrite = \"/v2\"")
        .route("rest", "", "/", "origin")
        .start();
    let mut client = gateway.client();
    for round in 0..2 {
        for (target, wanted) in [
            ("/one/x?y=/one/", "/x?y=/one/ 0"),
            ("/two/x", "/v2/x 1"),
            ("/two?q", "/v2?q 2"),
            ("/x?y=/one/", "/x?y=/one/ 3"),
            ("/one/%2e%2e/x", "/%2e%2e/x 4"),
        ] {
            let response = client.ask(get(target));
            assert_eq!(
                (response.text(), response.is_hit()),
                (wanted.to_owned(), round > 0)
            );
        }
    }
    // A success of PUT ends what is stored for its own target, not for the origin's.
    client.ask(ask_with("PUT", "/one/x?y=/one/", "Content-Length: 0\r\n"));
    assert_eq!(origin.last().target, "/x?y=/one/");
    assert!(client.ask(get("/x?y=/one/")).is_hit());
    assert!(!client.ask(get("/one/x?y=/one/")).is_hit());
    client.ask(ask_with("OPTIONS", "*", ""));
    assert_eq!(origin.last().target, "*");
}

fn the_origin_sees_the_host_that_the_route_names(backend: Backend) {
    let origin = Origin::start(|request, wire| {
        let told = [request.field("host"), request.field("x-forwarded-host")];
        wire.send(ok(FRESH, format!("{told:?}")));
        Next::Keep
    });
    let address = origin.address();
    let gateway = Setup::new(backend)
        .upstream("origin", &[address], "")
        .route("client", "", "/client", "origin")
        .route("upstream", "", "/upstream", "origin")
        .with("origin_host = \"upstream\"")
        .route("named", "", "/named", "origin")
        .with("origin_host = \"internal.example:8080\"")
        .start();
    let mut client = gateway.client();
    let at = address.to_string();
    for round in 0..2 {
        for host in ["a.test", "b.test:99"] {
            for (target, wanted) in [
                ("/client", host),
                ("/upstream", &at),
                ("/named", "internal.example:8080"),
            ] {
                let response = client.ask(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
                let wanted = format!("[Some({wanted:?}), Some({host:?})]");
                assert_eq!((response.text(), response.is_hit()), (wanted, round > 0));
            }
        }
    }
}

fn an_answer_that_varies_by_a_variable_is_not_stored(backend: Backend) {
    let origin = Origin::answering(ok(&format!("{FRESH}Vary: x-real-ip\r\n"), "x"));
    let gateway = with(
        backend,
        &origin,
        "request_set = [\"X-Real-IP: {client_address}\"]",
    );
    let mut client = gateway.client();
    for _ in 0..2 {
        assert_eq!(client.ask(get("/a")).told("detail"), Some("vary"));
    }
    let gateway = with(backend, &origin, "request_set = [\"X-Real-IP: somebody\"]");
    let mut client = gateway.client();
    assert!(!client.ask(get("/a")).is_hit() && client.ask(get("/a")).is_hit());
}

fn fields_that_break_messages_are_refused_at_start(backend: Backend) {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 9));
    for (line, wanted) in [
        (
            "request_set = [\"X-A: b\", \"Host: a\"]",
            "Host is decided by `origin_host`",
        ),
        (
            "response_set = [\"Content-Length: 1\"]",
            "Content-Length is of framing",
        ),
        (
            "request_add = [\"X-A: b\\r\\nX-B: c\"]",
            "the value of X-A has a control character",
        ),
        ("request_add = [\"X A: b\"]", "is no name of a field"),
    ] {
        let ended = Setup::new(backend)
            .everything_to(address, "")
            .with(line)
            .fail();
        assert_eq!(ended.code, Some(78), "{line}");
        assert!(ended.output.contains(wanted), "{line}: {}", ended.output);
    }
}
