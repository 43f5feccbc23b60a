//! What ends the use of stored answers (RFC 9111 §4.4).

use e2e::{
    Backend, Client, Gate, Gateway, Next, Origin, Setup, answer, ask_with, both_drivers,
    eventually, get, ok,
};

const FRESH: &str = "Cache-Control: max-age=60\r\n";
const BODY: &str = "Content-Length: 4\r\n";

/// Answers GET fresh, with the number of the request, and everything else with this.
fn origin(unsafe_answer: Vec<u8>) -> Origin {
    Origin::start(move |request, wire| {
        wire.body(request);
        if request.method == "GET" {
            wire.send(ok(FRESH, request.number.to_string()));
        } else {
            wire.send(&unsafe_answer);
        }
        Next::Keep
    })
}

/// Has the answer to a GET of each of these stored.
fn store(client: &mut Client, requests: &[&str]) {
    for request in requests {
        client.ask(request);
        assert!(client.ask(request).is_hit(), "{request}");
    }
}

/// Sends this method with a body of four bytes.
fn change(client: &mut Client, method: &str, target: &str) {
    client.ask(ask_with(method, target, BODY) + "body");
}

both_drivers!(
    a_success_of_an_unsafe_method_ends_what_is_stored,
    an_error_ends_nothing,
    a_safe_method_ends_nothing,
    location_and_content_location_end_too,
    another_origin_s_answers_are_not_ended,
    host_and_query_are_the_target_s,
    an_answer_asked_for_before_is_not_kept_after,
    an_answer_that_may_not_be_stored_any_more_ends_the_old_one,
    every_shard_hears_of_it_at_once,
);

fn a_success_of_an_unsafe_method_ends_what_is_stored(backend: Backend) {
    for status in [200, 201, 204, 299, 302, 303] {
        let origin = origin(answer(status, "", ""));
        let gateway = Gateway::before(&origin, backend);
        let mut client = gateway.client();
        for method in ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH", "post"] {
            store(&mut client, &[&get("/a"), &get("/b")]);
            change(&mut client, method, "/a");
            let after = client.ask(get("/a"));
            assert_eq!(
                after.told("fwd"),
                Some("uri-miss"),
                "{method} {status}: {after:?}"
            );
            assert!(client.ask(get("/b")).is_hit(), "{method} {status}");
        }
    }
}

fn an_error_ends_nothing(backend: Backend) {
    for status in [400, 404, 412, 499, 500, 503, 599] {
        let fields = "Location: /b\r\nContent-Location: /b\r\n";
        let origin = origin(answer(status, fields, "no"));
        let gateway = Gateway::before(&origin, backend);
        let mut client = gateway.client();
        store(&mut client, &[&get("/a"), &get("/b")]);
        for method in ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH"] {
            change(&mut client, method, "/a");
            assert!(client.ask(get("/a")).is_hit(), "{method} {status}");
            assert!(client.ask(get("/b")).is_hit(), "{method} {status}");
        }
    }
}

fn a_safe_method_ends_nothing(backend: Backend) {
    let origin = origin(answer(
        200,
        "Location: /b\r\nContent-Location: /b\r\n",
        "no",
    ));
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    store(&mut client, &[&get("/a"), &get("/b")]);
    for method in ["OPTIONS", "TRACE"] {
        client.ask(ask_with(method, "/a", ""));
        assert_eq!(origin.last().method, method);
        for target in ["/a", "/b"] {
            assert!(client.ask(get(target)).is_hit(), "{method} {target}");
        }
    }
}

fn location_and_content_location_end_too(backend: Backend) {
    for name in ["Location", "Content-Location"] {
        for reference in [
            "/x/b?q",
            "b?q",
            "./b?q",
            "../x/b?q",
            "//test/x/b?q",
            "http://test/x/b?q",
            "HTTP://TEST:80/x/b?q#part",
        ] {
            let origin = origin(answer(201, &format!("{name}: {reference}\r\n"), "made"));
            let gateway = Gateway::before(&origin, backend);
            let mut client = gateway.client();
            store(&mut client, &[&get("/x/b?q"), &get("/x/b"), &get("/x/a")]);
            change(&mut client, "POST", "/x/a");
            assert!(!client.ask(get("/x/b?q")).is_hit(), "{name}: {reference}");
            assert!(!client.ask(get("/x/a")).is_hit(), "{name}: {reference}");
            assert!(client.ask(get("/x/b")).is_hit(), "{name}: {reference}");
        }
    }
}

fn another_origin_s_answers_are_not_ended(backend: Backend) {
    let of_other = "GET /b HTTP/1.1\r\nHost: other.test\r\n\r\n";
    for name in ["Location", "Content-Location"] {
        for reference in [
            "http://other.test/b",
            "//other.test/b",
            "https://test/b",
            "http://test:8080/b",
            "http://user@test/b",
            "mailto:b",
        ] {
            let origin = origin(answer(200, &format!("{name}: {reference}\r\n"), "done"));
            let gateway = Gateway::before(&origin, backend);
            let mut client = gateway.client();
            store(&mut client, &[&get("/b"), of_other]);
            change(&mut client, "POST", "/a");
            assert!(client.ask(get("/b")).is_hit(), "{name}: {reference}");
            assert!(client.ask(of_other).is_hit(), "{name}: {reference}");
        }
    }
}

fn host_and_query_are_the_target_s(backend: Backend) {
    let origin = origin(answer(200, "", "done"));
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    let of_other = "GET /a HTTP/1.1\r\nHost: other.test\r\n\r\n";
    store(&mut client, &[&get("/a"), &get("/a?x"), of_other]);
    client.ask("POST /a HTTP/1.1\r\nHost: TEST\r\nContent-Length: 0\r\n\r\n");
    assert!(!client.ask(get("/a")).is_hit());
    assert!(client.ask(get("/a?x")).is_hit());
    assert!(client.ask(of_other).is_hit());
}

fn an_answer_asked_for_before_is_not_kept_after(backend: Backend) {
    let gate = Gate::new();
    let at_origin = gate.clone();
    let origin = Origin::start(move |request, wire| {
        wire.body(request);
        if request.number == 0 {
            at_origin.pass();
        }
        wire.send(ok(FRESH, request.number.to_string()));
        Next::Keep
    });
    let gateway = Gateway::before(&origin, backend);
    let mut early = gateway.client();
    early.send(get("/a"));
    eventually("the origin is asked", || origin.count() == 1);
    let mut client = gateway.client();
    change(&mut client, "PUT", "/a");
    gate.open();
    assert_eq!(early.response().text(), "0");
    let after = client.ask(get("/a"));
    assert!(!after.is_hit() && after.text() == "2", "{after:?}");
}

fn an_answer_that_may_not_be_stored_any_more_ends_the_old_one(backend: Backend) {
    for fields in [
        "Cache-Control: no-store\r\n",
        "Cache-Control: private\r\n",
        "Vary: *\r\n",
    ] {
        let origin = Origin::by_turns([ok(FRESH, "old"), ok(fields, "new"), ok(FRESH, "newest")]);
        let gateway = Gateway::before(&origin, backend);
        let mut client = gateway.client();
        client.ask(get("/a"));
        let reload = ask_with("GET", "/a", "Cache-Control: no-cache\r\n");
        assert_eq!(client.ask(reload).text(), "new", "{fields:?}");
        assert_eq!(client.ask(get("/a")).text(), "newest", "{fields:?}");
    }
}

fn every_shard_hears_of_it_at_once(backend: Backend) {
    let origin = origin(answer(200, "", "done"));
    let gateway = Setup::new(backend)
        .set("api_gateway", "worker_threads", "2")
        .everything_to(origin.address(), "")
        .start();
    let mut clients: Vec<Client> = (0..16).map(|_| gateway.client()).collect();
    for _ in 0..5 {
        for client in &mut clients {
            client.ask(get("/a"));
            assert!(client.ask(get("/a")).is_hit());
        }
        change(&mut clients[0], "POST", "/a");
        let newest = origin.last().number;
        for client in &mut clients {
            let got = client.ask(get("/a")).text();
            assert!(got.parse::<usize>().is_ok_and(|got| got > newest), "{got}");
        }
    }
}
