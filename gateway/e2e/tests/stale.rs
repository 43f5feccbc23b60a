//! Stale answers: where they serve, where they may not, and how old they say they are (RFC 9111 §4.2.4, RFC 5861).

use std::net::SocketAddr;

use e2e::{
    Backend, Client, Gate, Gateway, Next, Origin, Response, Setup, answer, both_drivers,
    eventually, get, get_with, ok,
};

/// Forty seconds past its freshness on arrival, with further directives.
fn stale(directives: &str) -> Vec<u8> {
    let fields = format!("Cache-Control: max-age=60, {directives}\r\nAge: 100\r\nETag: \"v1\"\r\n");
    ok(&fields, "old")
}

fn seconds(answer: &Response, what: &str) -> i64 {
    let found = match what {
        "age" => answer.field("age"),
        _ => answer.told(what),
    };
    found
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| panic!("no {what}: {answer:?}"))
}

fn upstream_with(origin: SocketAddr, upstream: &str, backend: Backend) -> Gateway {
    Setup::new(backend).everything_to(origin, upstream).start()
}

fn route_with(origin: &Origin, route: &str, backend: Backend) -> Gateway {
    Setup::new(backend)
        .everything_to(origin.address(), "")
        .with(route)
        .start()
}

/// Has an answer with these directives and one second of freshness stored, and waits until it is stale.
fn expired(client: &mut Client, target: &str) {
    client.ask(get(target));
    eventually("it is stale", || {
        let only = "Cache-Control: only-if-cached\r\n";
        client.ask(get_with(target, only)).status == 504
    });
}

/// Answers everything with a lifetime of one second and further directives.
fn short(directives: &'static str) -> Origin {
    let fields = format!("Cache-Control: max-age=1{directives}\r\nETag: \"v1\"\r\n");
    Origin::answering(ok(&fields, "old"))
}

both_drivers!(
    while_it_is_refreshed_everybody_is_answered_at_once,
    past_its_window_it_is_validated_first,
    a_refresh_that_fails_is_tried_again,
    a_refresh_that_is_confirmed_serves_on,
    a_refresh_asks_for_the_whole,
    a_client_that_limits_the_age_is_not_answered_stale,
    stale_if_error_is_for_the_origin_s_errors,
    stale_if_error_is_for_an_origin_that_is_not_there,
    past_stale_if_error_the_error_is_passed_on,
    a_client_may_allow_it_on_error,
    everybody_who_waits_gets_the_stale_one,
    while_the_origin_is_away_the_grace_serves,
    the_grace_ends_where_the_route_says,
    the_grace_is_not_for_errors_of_the_origin,
    what_must_be_validated_is_504_without_its_origin,
    max_stale_allows_as_much_as_it_says,
    only_if_cached_never_asks,
    age_is_generated_and_counts_what_was_before,
);

fn while_it_is_refreshed_everybody_is_answered_at_once(backend: Backend) {
    for shards in ["1", "2"] {
        let gate = Gate::new();
        let at_origin = gate.clone();
        let origin = Origin::start(move |request, wire| {
            if request.number == 0 {
                wire.send(stale("stale-while-revalidate=600"));
            } else {
                at_origin.pass();
                wire.send(ok("Cache-Control: max-age=60\r\n", "new"));
            }
            Next::Keep
        });
        let gateway = Setup::new(backend)
            .set("api_gateway", "worker_threads", shards)
            .everything_to(origin.address(), "")
            .start();
        gateway.ask(get("/"));
        for _ in 0..20 {
            let got = gateway.ask(get("/"));
            assert_eq!(
                (got.text().as_str(), got.is_hit()),
                ("old", true),
                "{got:?}"
            );
            assert_eq!(got.told("detail"), Some("stale-while-revalidate"));
            assert!(
                seconds(&got, "age") >= 100 && seconds(&got, "ttl") <= -40,
                "{got:?}"
            );
        }
        eventually("the origin is asked", || origin.count() == 2);
        assert_eq!(origin.last().field("if-none-match"), Some("\"v1\""));
        gate.open();
        eventually("the new one is there", || {
            gateway.ask(get("/")).text() == "new"
        });
        let got = gateway.ask(get("/"));
        assert!(got.is_hit() && got.told("detail").is_none() && seconds(&got, "age") < 60);
        assert_eq!(origin.count(), 2, "with {shards} shards");
    }
}

fn past_its_window_it_is_validated_first(backend: Backend) {
    for window in [
        "stale-while-revalidate=40",
        "stale-while-revalidate=-1",
        "stale-while-revalidate",
    ] {
        let origin = Origin::by_turns([stale(window), ok("Cache-Control: max-age=60\r\n", "new")]);
        let gateway = Gateway::before(&origin, backend);
        gateway.ask(get("/"));
        let got = gateway.ask(get("/"));
        assert_eq!(
            (got.text().as_str(), got.told("fwd")),
            ("new", Some("stale")),
            "{window}"
        );
    }
}

fn a_refresh_that_fails_is_tried_again(backend: Backend) {
    let origin = Origin::start(|request, wire| {
        match request.number {
            0 => wire.send(stale("stale-while-revalidate=600")),
            1 => wire.send(answer(500, "", "trouble")),
            2 => {
                wire.reset();
                return Next::Close;
            }
            _ => wire.send(ok("Cache-Control: max-age=60\r\n", "new")),
        };
        Next::Keep
    });
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    client.ask(get("/"));
    eventually("the third refresh brings it", || {
        let got = client.ask(get("/"));
        assert!(got.status == 200 && got.is_hit(), "{got:?}");
        got.text() == "new"
    });
    assert!(origin.count() <= 5, "{}", origin.count());
}

fn a_refresh_that_is_confirmed_serves_on(backend: Backend) {
    let origin = Origin::by_turns([
        stale("stale-while-revalidate=600"),
        answer(304, "Cache-Control: max-age=60\r\nX-New: 1\r\n", ""),
    ]);
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    client.ask(get("/"));
    client.ask(get("/"));
    eventually("it is fresh again", || {
        client.ask(get("/")).told("detail").is_none()
    });
    let got = client.ask(get("/"));
    assert_eq!(
        (got.text().as_str(), got.field("x-new")),
        ("old", Some("1"))
    );
    assert_eq!(origin.count(), 2);
}

fn a_client_that_limits_the_age_is_not_answered_stale(backend: Backend) {
    for limit in ["max-age=50", "min-fresh=1", "no-cache"] {
        let new = ok("Cache-Control: max-age=60\r\n", "new");
        let origin = Origin::by_turns([stale("stale-while-revalidate=600"), new]);
        let gateway = Gateway::before(&origin, backend);
        gateway.ask(get("/"));
        let got = gateway.ask(get_with("/", &format!("Cache-Control: {limit}\r\n")));
        assert_eq!(
            (got.text().as_str(), got.is_forwarded()),
            ("new", true),
            "{limit}"
        );
    }
}

fn stale_if_error_is_for_the_origin_s_errors(backend: Backend) {
    for status in [500, 502, 503, 504] {
        let origin = Origin::by_turns([stale("stale-if-error=600"), answer(status, "", "trouble")]);
        let gateway = Gateway::before(&origin, backend);
        gateway.ask(get("/"));
        for count in 2..4 {
            let got = gateway.ask(get("/"));
            assert_eq!((got.status, got.text().as_str()), (200, "old"), "{status}");
            assert_eq!(got.told("fwd"), Some("stale"));
            assert_eq!(got.told("detail"), Some("stale-if-error"));
            assert!(seconds(&got, "age") >= 100);
            assert_eq!(origin.count(), count, "it is tried each time");
        }
    }
    for status in [404, 501, 505, 599] {
        let origin = Origin::by_turns([stale("stale-if-error=600"), answer(status, "", "its own")]);
        let gateway = Gateway::before(&origin, backend);
        gateway.ask(get("/"));
        assert_eq!(gateway.ask(get("/")).status, status);
    }
}

fn stale_if_error_is_for_an_origin_that_is_not_there(backend: Backend) {
    let gate = Gate::new();
    let at_origin = gate.clone();
    let origin = Origin::start(move |request, wire| {
        match (request.number, request.target.as_str()) {
            (_, "/silent") if request.field("if-none-match").is_some() => at_origin.pass(),
            (_, "/reset") if request.field("if-none-match").is_some() => wire.reset(),
            _ => {
                wire.send(stale("stale-if-error=600"));
                return Next::Keep;
            }
        }
        Next::Close
    });
    let gateway = upstream_with(origin.address(), "first_byte_timeout = \"100ms\"", backend);
    let targets = ["/silent", "/reset", "/refused"];
    for target in targets {
        gateway.ask(get(target));
    }
    let check = |target: &str| {
        let got = gateway.ask(get(target));
        assert_eq!(
            (got.status, got.text().as_str()),
            (200, "old"),
            "{target}: {got:?}"
        );
        assert_eq!(got.told("detail"), Some("stale-if-error"), "{target}");
    };
    check("/silent");
    check("/reset");
    gate.open();
    drop(origin);
    check("/refused");
}

fn past_stale_if_error_the_error_is_passed_on(backend: Backend) {
    let origin = Origin::by_turns([stale("stale-if-error=40"), answer(503, "", "trouble")]);
    let gateway = Gateway::before(&origin, backend);
    gateway.ask(get("/"));
    let got = gateway.ask(get("/"));
    assert_eq!((got.status, got.text().as_str()), (503, "trouble"));
    drop(origin);
    eventually("it is refused", || gateway.ask(get("/")).status == 502);
}

fn a_client_may_allow_it_on_error(backend: Backend) {
    let origin = Origin::by_turns([stale("public"), answer(503, "", "trouble")]);
    let gateway = Gateway::before(&origin, backend);
    gateway.ask(get("/"));
    assert_eq!(gateway.ask(get("/")).status, 503);
    let got = gateway.ask(get_with("/", "Cache-Control: stale-if-error=600\r\n"));
    assert_eq!(
        (got.status, got.told("detail")),
        (200, Some("stale-if-error"))
    );
    let got = gateway.ask(get_with("/", "Cache-Control: stale-if-error=10\r\n"));
    assert_eq!(got.status, 503);
}

fn everybody_who_waits_gets_the_stale_one(backend: Backend) {
    let gate = Gate::new();
    let at_origin = gate.clone();
    let origin = Origin::start(move |request, wire| {
        if request.number == 0 {
            wire.send(ok(
                "Cache-Control: max-age=1, stale-if-error=600\r\nETag: \"v1\"\r\n",
                "old",
            ));
        } else {
            at_origin.pass();
            wire.send(answer(503, "", "trouble"));
        }
        Next::Keep
    });
    let gateway = Gateway::before(&origin, backend);
    expired(&mut gateway.client(), "/");
    let mut clients: Vec<Client> = (0..10).map(|_| gateway.client()).collect();
    for client in &mut clients {
        client.send(get("/"));
    }
    eventually("the origin is asked", || origin.count() == 2);
    gate.open();
    for client in &mut clients {
        let got = client.response();
        assert_eq!(
            (got.status, got.told("detail")),
            (200, Some("stale-if-error")),
            "{got:?}"
        );
    }
}

fn while_the_origin_is_away_the_grace_serves(backend: Backend) {
    let origin = short("");
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    expired(&mut client, "/");
    drop(origin);
    for _ in 0..3 {
        let got = client.ask(get("/"));
        assert_eq!((got.status, got.text().as_str()), (200, "old"), "{got:?}");
        let told = (got.told("fwd"), got.told("detail"));
        assert_eq!(told, (Some("stale"), Some("stale-grace")), "{got:?}");
    }
    let strict = client.ask(get_with("/", "Cache-Control: max-age=600\r\n"));
    assert_eq!(strict.status, 502, "who limits the age wants nothing stale");
}

fn the_grace_ends_where_the_route_says(backend: Backend) {
    let origin = short("");
    let gateway = route_with(&origin, "stale_grace = \"0s\"", backend);
    let mut client = gateway.client();
    expired(&mut client, "/");
    drop(origin);
    assert_eq!(client.ask(get("/")).status, 502);
}

fn the_grace_is_not_for_errors_of_the_origin(backend: Backend) {
    let first = ok("Cache-Control: max-age=1\r\nETag: \"v1\"\r\n", "old");
    let origin = Origin::by_turns([first, answer(503, "", "trouble")]);
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    expired(&mut client, "/");
    assert_eq!(client.ask(get("/")).status, 503);
}

/// RFC 9111 §5.2.2.2, §5.2.2.8, §5.2.2.10, §5.2.2.4.
fn what_must_be_validated_is_504_without_its_origin(backend: Backend) {
    for directives in [
        "max-age=1, must-revalidate, stale-if-error=600, stale-while-revalidate=600",
        "max-age=1, proxy-revalidate, stale-if-error=600, stale-while-revalidate=600",
        "s-maxage=1, stale-if-error=600, stale-while-revalidate=600",
        "max-age=600, no-cache, stale-if-error=600",
    ] {
        let fields = format!("Cache-Control: {directives}\r\nETag: \"v1\"\r\n");
        let origin = Origin::answering(ok(&fields, "old"));
        let gateway = Gateway::before(&origin, backend);
        let mut client = gateway.client();
        expired(&mut client, "/");
        drop(origin);
        let any = "Cache-Control: max-stale, stale-if-error=600\r\n";
        for fields in ["", any] {
            let got = client.ask(get_with("/", fields));
            assert_eq!(got.status, 504, "{directives}, {fields:?}: {got:?}");
        }
    }
}

fn max_stale_allows_as_much_as_it_says(backend: Backend) {
    let origin = Origin::answering(stale("public"));
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    client.ask(get("/"));
    for (allowed, serves) in [
        ("max-stale", true),
        ("max-stale=600", true),
        ("max-stale=10", false),
        ("max-stale=x", false),
    ] {
        let got = client.ask(get_with("/", &format!("Cache-Control: {allowed}\r\n")));
        assert_eq!(got.is_hit(), serves, "{allowed}");
        assert_eq!(got.told("detail") == Some("max-stale"), serves, "{allowed}");
        assert!(!serves || seconds(&got, "age") >= 100, "{got:?}");
    }
}

fn only_if_cached_never_asks(backend: Backend) {
    let origin = short("");
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    let only = get_with("/", "Cache-Control: only-if-cached\r\n");
    assert_eq!(client.ask(&only).status, 504);
    expired(&mut client, "/");
    assert_eq!(client.ask(&only).status, 504);
    let stale_too = get_with("/", "Cache-Control: only-if-cached, max-stale\r\n");
    assert_eq!(client.ask(stale_too).told("detail"), Some("max-stale"));
    assert_eq!(origin.count(), 1);
}

fn age_is_generated_and_counts_what_was_before(backend: Backend) {
    for (fields, wanted) in [
        ("", 0),
        ("Age: 30\r\n", 30),
        ("Age: 30, 50\r\n", 30),
        ("Age: 30\r\nAge: 50\r\n", 30),
        ("Age: -30\r\n", 0),
        ("Age: 30.5\r\n", 0),
        ("Age: thirty\r\n", 0),
    ] {
        let origin = Origin::answering(ok(&format!("Cache-Control: max-age=600\r\n{fields}"), "x"));
        let gateway = Gateway::before(&origin, backend);
        gateway.ask(get("/"));
        let got = gateway.ask(get("/"));
        let age = seconds(&got, "age");
        assert!((wanted..wanted + 30).contains(&age), "{fields:?}: {got:?}");
        assert_eq!(
            (got.all("age").count(), seconds(&got, "ttl")),
            (1, 600 - age)
        );
    }
    for age in ["2147483648", "99999999999999999999"] {
        let fields =
            format!("Cache-Control: max-age=99999999999\r\nETag: \"v1\"\r\nAge: {age}\r\n");
        let origin = Origin::answering(ok(&fields, "x"));
        let gateway = Gateway::before(&origin, backend);
        gateway.ask(get("/"));
        assert!(gateway.ask(get("/")).is_forwarded(), "{age}");
    }
}

fn a_refresh_asks_for_the_whole(backend: Backend) {
    let new = ok("Cache-Control: max-age=60\r\n", "new");
    for fields in ["Range: bytes=0-0\r\n", "If-None-Match: \"v1\"\r\n"] {
        let origin = Origin::by_turns([stale("stale-while-revalidate=600"), new.clone()]);
        let gateway = Gateway::before(&origin, backend);
        let mut client = gateway.client();
        client.ask(get("/"));
        let got = client.ask(get_with("/", fields));
        assert!(
            matches!(got.status, 206 | 304) && got.is_hit(),
            "{:?}",
            got.fields
        );
        assert_eq!(got.told("detail"), Some("stale-while-revalidate"));
        eventually("the origin is asked", || origin.count() == 2);
        assert_eq!(origin.last().field("range"), None);
        eventually("the new one is there", || {
            client.ask(get("/")).text() == "new"
        });
        assert_eq!(origin.count(), 2);
    }
}
