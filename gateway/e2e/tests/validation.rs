//! Conditions of clients answered from the store, and stored answers confirmed by their origin (RFC 9110 §13, RFC 9111
//! §4.3).

use e2e::{
    Backend, Client, Gate, Gateway, Next, Origin, Response, answer, ask_with, both_drivers,
    eventually, get, get_with, ok,
};

const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// Fresh, with both validators and all that a 304 repeats.
const FULL: &str = "Cache-Control: max-age=600\r\nETag: \"v1\"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
    Content-Location: /here\r\nExpires: Fri, 01 Jan 2100 00:00:00 GMT\r\nVary: X-Color\r\nContent-Type: text/plain\r\n\
    X-Other: 1\r\n";

/// Stale on arrival, with these fields.
fn stale(fields: &str) -> Vec<u8> {
    ok(
        &format!("Cache-Control: max-age=60\r\nAge: 60\r\n{fields}"),
        "old",
    )
}

/// What the second of two GETs of `/` got, the first being answered with `stored`, that one with `next`.
fn second(stored: Vec<u8>, next: Vec<u8>, backend: Backend) -> (Response, Origin, Gateway) {
    let origin = Origin::by_turns([stored, next]);
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    client.ask(get("/"));
    (client.ask(get("/")), origin, gateway)
}

fn head(client: &mut Client, fields: &str) -> Response {
    client.send(ask_with("HEAD", "/", fields));
    client.response_to_head()
}

both_drivers!(
    a_client_s_conditions_are_answered_from_the_store,
    a_weak_tag_validates_a_client_s_copy,
    without_last_modified_the_date_counts,
    a_304_repeats_what_a_cache_needs_and_no_more,
    only_a_200_is_not_modified,
    conditions_with_nothing_stored_go_to_the_origin,
    every_validator_held_is_sent_as_it_was_stored,
    a_client_s_own_conditions_wait_for_the_validation,
    a_304_updates_what_it_brings_and_leaves_the_rest,
    a_304_that_forbids_storing_serves_once_more,
    a_200_takes_the_place_of_what_was_stored,
    a_304_about_something_else_answers_nobody,
    an_error_about_the_target_ends_the_old_answer_and_a_refusal_leaves_it,
    an_error_of_the_origin_s_leaves_it,
    no_cache_validates_each_use,
    a_client_can_ask_for_validation,
    a_head_confirms_or_ends_what_is_stored,
    a_head_validates_what_is_stale,
    concurrent_validations_are_one,
    a_purge_during_a_validation_counts,
    what_a_304_says_it_varies_by_counts,
);

fn a_client_s_conditions_are_answered_from_the_store(backend: Backend) {
    let origin = Origin::answering(ok(FULL, "body"));
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    client.ask(get("/"));
    let since = |date: &str| format!("If-Modified-Since: {date}\r\n");
    let rows = [
        ("If-None-Match: \"v1\"\r\n", 304),
        ("If-None-Match: W/\"v1\"\r\n", 304),
        ("If-None-Match: \"v1\", \"v2\", \"v3\"\r\n", 304),
        ("If-None-Match: \"v0\", W/\"v1\", \"v2\"\r\n", 304),
        ("If-None-Match: \"v0\",\"a, b\" ,,\"v1\"\r\n", 304),
        ("If-None-Match: \"v0\"\r\nIf-None-Match: \"v1\"\r\n", 304),
        ("If-None-Match: *\r\n", 304),
        ("If-None-Match: \"v2\"\r\n", 200),
        ("If-None-Match: \"V1\"\r\n", 200),
        ("If-None-Match: \"v0, v1\"\r\n", 200),
        ("If-None-Match:\r\n", 200),
        (&since(MODIFIED), 304),
        (&since("Sunday, 06-Nov-94 08:49:37 GMT"), 304),
        (&since("Sun Nov  6 08:49:37 1994"), 304),
        (&since("Sun, 06 Nov 1994 08:49:38 GMT"), 304),
        (&since("Fri, 01 Jan 2100 00:00:00 GMT"), 304),
        (&since("Sun, 06 Nov 1994 08:49:36 GMT"), 200),
        (&since("yesterday"), 200),
        (&since(""), 200),
        (&(since(MODIFIED) + &since(MODIFIED)), 200),
        (&(since(MODIFIED) + "If-None-Match: \"v2\"\r\n"), 200),
        (
            &(since("Sun, 06 Nov 1994 08:49:36 GMT") + "If-None-Match: \"v1\"\r\n"),
            304,
        ),
    ];
    for (fields, status) in rows {
        for answer in [client.ask(get_with("/", fields)), head(&mut client, fields)] {
            assert_eq!(
                (answer.status, answer.is_hit()),
                (status, true),
                "{fields:?}: {answer:?}"
            );
        }
    }
    assert_eq!(origin.count(), 1);
}

fn a_weak_tag_validates_a_client_s_copy(backend: Backend) {
    let origin = Origin::answering(ok(
        "Cache-Control: max-age=60\r\nETag: W/\"v1\"\r\n",
        "body",
    ));
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    client.ask(get("/"));
    for (tag, status) in [("\"v1\"", 304), ("W/\"v1\"", 304), ("\"v2\"", 200)] {
        let answer = client.ask(get_with("/", &format!("If-None-Match: {tag}\r\n")));
        assert_eq!((answer.status, answer.is_hit()), (status, true), "{tag}");
    }
}

fn without_last_modified_the_date_counts(backend: Backend) {
    let fields = "Cache-Control: max-age=99999999999\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    let origin = Origin::answering(ok(fields, "body"));
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    client.ask(get("/"));
    for (date, status) in [(MODIFIED, 304), ("Sun, 06 Nov 1994 08:49:36 GMT", 200)] {
        let answer = client.ask(get_with("/", &format!("If-Modified-Since: {date}\r\n")));
        assert_eq!((answer.status, answer.is_hit()), (status, true), "{date}");
    }
}

fn a_304_repeats_what_a_cache_needs_and_no_more(backend: Backend) {
    let origin = Origin::answering(ok(FULL, "body"));
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    let whole = client.ask(get("/"));
    let answer = client.ask(get_with("/", "If-None-Match: \"v1\"\r\n"));
    for name in [
        "cache-control",
        "content-location",
        "date",
        "etag",
        "expires",
        "vary",
    ] {
        assert_eq!(answer.field(name), whole.field(name), "{name}");
    }
    for name in ["content-type", "content-length", "last-modified", "x-other"] {
        assert_eq!(answer.field(name), None, "{name}");
    }
    assert!(answer.field("age").is_some() && answer.body.is_empty());
    assert_eq!(client.ask(get("/")).body, b"body", "the connection goes on");
}

fn only_a_200_is_not_modified(backend: Backend) {
    let fields = "Cache-Control: max-age=60\r\nETag: \"v1\"\r\n";
    let origin = Origin::answering(answer(404, fields, "gone"));
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    client.ask(get("/"));
    let answer = client.ask(get_with("/", "If-None-Match: \"v1\"\r\n"));
    assert_eq!((answer.status, answer.text().as_str()), (404, "gone"));
}

fn conditions_with_nothing_stored_go_to_the_origin(backend: Backend) {
    let origin = Origin::start(|request, wire| {
        match request.field("if-none-match") {
            Some("\"v1\"") => wire.send(answer(304, FULL, "")),
            _ => wire.send(ok(FULL, "body")),
        };
        Next::Keep
    });
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    let mine = client.ask(get_with("/", "If-None-Match: \"v1\"\r\n"));
    assert_eq!((mine.status, mine.told("fwd")), (304, Some("uri-miss")));
    let other = client.ask(get("/"));
    assert_eq!((other.status, other.body.as_slice()), (200, &b"body"[..]));
    assert!(client.ask(get("/")).is_hit());
}

fn every_validator_held_is_sent_as_it_was_stored(backend: Backend) {
    for (fields, tag, date) in [
        ("ETag: \"v1\"\r\n", Some("\"v1\""), None),
        ("ETag: W/\"v1\"\r\n", Some("W/\"v1\""), None),
        ("ETag: unquoted\r\n", Some("unquoted"), None),
        (
            "Last-Modified: Sunday, 06-Nov-94 08:49:37 GMT\r\n",
            None,
            Some("Sunday, 06-Nov-94 08:49:37 GMT"),
        ),
        (
            "ETag: \"v1\"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
            Some("\"v1\""),
            Some(MODIFIED),
        ),
    ] {
        let (got, origin, _gateway) = second(stale(fields), answer(304, "", ""), backend);
        assert_eq!(
            (got.status, got.text().as_str()),
            (200, "old"),
            "{fields:?}"
        );
        assert_eq!(
            (got.told("fwd"), got.told("fwd-status")),
            (Some("stale"), Some("304"))
        );
        let asked = origin.last();
        assert_eq!(asked.field("if-none-match"), tag, "{fields:?}");
        assert_eq!(asked.field("if-modified-since"), date, "{fields:?}");
    }
}

fn a_client_s_own_conditions_wait_for_the_validation(backend: Backend) {
    let new = ok("Cache-Control: max-age=60\r\nETag: \"v2\"\r\n", "new");
    for (next, mine, wanted) in [
        (answer(304, "ETag: \"v1\"\r\n", ""), "\"v1\"", (304, "")),
        (answer(304, "ETag: \"v1\"\r\n", ""), "\"v2\"", (200, "old")),
        (new.clone(), "\"v1\"", (200, "new")),
        (new, "\"v2\"", (304, "")),
    ] {
        let origin = Origin::by_turns([stale("ETag: \"v1\"\r\n"), next]);
        let gateway = Gateway::before(&origin, backend);
        let mut client = gateway.client();
        client.ask(get("/"));
        let got = client.ask(get_with("/", &format!("If-None-Match: {mine}\r\n")));
        assert_eq!((got.status, got.text().as_str()), wanted, "{mine}: {got:?}");
        assert_eq!(origin.last().field("if-none-match"), Some("\"v1\""));
    }
}

fn a_304_updates_what_it_brings_and_leaves_the_rest(backend: Backend) {
    let stored = stale(
        "ETag: \"v1\"\r\nX-Kept: 1\r\nX-New: old\r\nX-New: older\r\nContent-Encoding: gzip\r\nContent-Type: text/old\r\n",
    );
    let fields = "Cache-Control: max-age=600\r\nX-New: new\r\nX-Added: 1\r\nContent-Encoding: br\r\n\
        Content-Length: 700\r\nConnection: X-Hop\r\nX-Hop: 1\r\nETag: \"v1\"\r\nContent-Type: text/new\r\n";
    let (_, origin, gateway) = second(stored, answer(304, fields, ""), backend);
    let hit = gateway.ask(get("/"));
    assert!(hit.is_hit() && origin.count() == 2, "{hit:?}");
    assert_eq!((hit.status, hit.text().as_str()), (200, "old"));
    for (name, values) in [
        ("x-kept", &["1"][..]),
        ("x-new", &["new"]),
        ("x-added", &["1"]),
        ("x-hop", &[]),
        ("etag", &["\"v1\""]),
        ("content-encoding", &["gzip"]),
        ("content-type", &["text/new"]),
        ("content-length", &["3"]),
        ("cache-control", &["max-age=600"]),
    ] {
        assert_eq!(hit.all(name).collect::<Vec<_>>(), values, "{name}");
    }
    assert!(
        hit.field("age")
            .is_some_and(|age| age.parse::<u32>().is_ok_and(|age| age < 60))
    );
}

fn a_304_that_forbids_storing_serves_once_more(backend: Backend) {
    for control in ["no-store", "private"] {
        let origin = Origin::by_turns([
            stale("ETag: \"v1\"\r\n"),
            answer(304, &format!("Cache-Control: {control}\r\n"), ""),
            ok("Cache-Control: max-age=60\r\n", "new"),
        ]);
        let gateway = Gateway::before(&origin, backend);
        let mut client = gateway.client();
        client.ask(get("/"));
        let confirmed = client.ask(get("/"));
        assert_eq!(confirmed.text(), "old", "{control}");
        assert_eq!(
            (
                confirmed.told("fwd-status"),
                confirmed.told("stored"),
                confirmed.told("detail")
            ),
            (Some("304"), None, Some(control))
        );
        let after = client.ask(get("/"));
        assert_eq!(
            (after.text().as_str(), after.told("fwd")),
            ("new", Some("uri-miss"))
        );
        assert_eq!(origin.last().field("if-none-match"), None);
    }
}

fn a_200_takes_the_place_of_what_was_stored(backend: Backend) {
    let new = ok("Cache-Control: max-age=60\r\nETag: \"v2\"\r\n", "new");
    let (got, origin, gateway) = second(stale("ETag: \"v1\"\r\nX-Old: 1\r\n"), new, backend);
    assert_eq!(
        (got.text().as_str(), got.told("fwd")),
        ("new", Some("stale"))
    );
    assert_eq!(
        (got.told("fwd-status"), got.told("stored")),
        (None, Some(""))
    );
    let hit = gateway.ask(get("/"));
    assert!(hit.is_hit() && hit.field("x-old").is_none() && origin.count() == 2);
}

/// RFC 9111 §4.3.4: what the 304 speaks of is not here, so that it cannot be used.
fn a_304_about_something_else_answers_nobody(backend: Backend) {
    let origin = Origin::start(|request, wire| {
        match request.field("if-none-match") {
            Some(_) => wire.send(answer(304, "ETag: \"v2\"\r\n", "")),
            None if request.number == 0 => wire.send(stale("ETag: \"v1\"\r\n")),
            None => wire.send(ok("Cache-Control: max-age=60\r\nETag: \"v3\"\r\n", "new")),
        };
        Next::Keep
    });
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    client.ask(get("/"));
    let got = client.ask(get("/"));
    assert_eq!((got.status, got.text().as_str()), (200, "new"), "{got:?}");
    assert!(client.ask(get("/")).is_hit());
}

fn an_error_about_the_target_ends_the_old_answer_and_a_refusal_leaves_it(backend: Backend) {
    for (status, validator) in [
        (404, None),
        (410, None),
        (401, Some("\"v1\"")),
        (403, Some("\"v1\"")),
        (429, Some("\"v1\"")),
    ] {
        let (got, origin, gateway) = second(
            stale("ETag: \"v1\"\r\n"),
            answer(status, "", "gone"),
            backend,
        );
        assert_eq!((got.status, got.text().as_str()), (status, "gone"));
        gateway.ask(get("/"));
        assert_eq!(origin.last().field("if-none-match"), validator, "{status}");
    }
}

fn an_error_of_the_origin_s_leaves_it(backend: Backend) {
    for status in [500, 502, 503, 504] {
        let (got, origin, gateway) = second(
            stale("ETag: \"v1\"\r\n"),
            answer(status, "", "trouble"),
            backend,
        );
        assert_eq!((got.status, got.text().as_str()), (status, "trouble"));
        gateway.ask(get("/"));
        assert_eq!(
            origin.last().field("if-none-match"),
            Some("\"v1\""),
            "{status}"
        );
    }
}

fn no_cache_validates_each_use(backend: Backend) {
    let fields = "Cache-Control: no-cache, max-age=60\r\nETag: \"v1\"\r\n";
    let origin = Origin::by_turns([ok(fields, "body"), answer(304, fields, "")]);
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    client.ask(get("/"));
    for count in 2..5 {
        let got = client.ask(get("/"));
        assert_eq!((got.status, got.text().as_str()), (200, "body"));
        assert_eq!(
            (got.told("fwd"), got.told("fwd-status")),
            (Some("stale"), Some("304"))
        );
        assert_eq!(origin.count(), count);
    }
}

fn a_client_can_ask_for_validation(backend: Backend) {
    for fields in [
        "Cache-Control: no-cache\r\n",
        "Pragma: no-cache\r\n",
        "Cache-Control: max-age=0\r\n",
        "Cache-Control: min-fresh=700\r\n",
    ] {
        let origin = Origin::by_turns([ok(FULL, "body"), answer(304, "", "")]);
        let gateway = Gateway::before(&origin, backend);
        let mut client = gateway.client();
        client.ask(get("/"));
        let got = client.ask(get_with("/", fields));
        assert_eq!(
            (got.status, got.text().as_str()),
            (200, "body"),
            "{fields:?}"
        );
        let told = (got.told("fwd"), got.told("fwd-status"));
        assert_eq!(told, (Some("request"), Some("304")), "{fields:?}");
        assert_eq!(
            origin.last().field("if-none-match"),
            Some("\"v1\""),
            "{fields:?}"
        );
        assert!(client.ask(get("/")).is_hit(), "{fields:?}");
    }
}

/// RFC 9111 §4.3.5.
fn a_head_confirms_or_ends_what_is_stored(backend: Backend) {
    for (status, fields, wanted) in [
        (200, "ETag: \"v1\"\r\nX-New: 1\r\n", "refreshed"),
        (200, "ETag: \"v2\"\r\n", "ended"),
        (
            200,
            "ETag: \"v1\"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:38 GMT\r\n",
            "ended",
        ),
        (304, "X-New: 1\r\n", "refreshed"),
        (500, "ETag: \"v2\"\r\n", "left"),
    ] {
        let fresh = format!("Cache-Control: max-age=600\r\n{fields}");
        let both = format!("ETag: \"v1\"\r\nLast-Modified: {MODIFIED}\r\n");
        let of_head = answer(status, &fresh, "old");
        let origin = Origin::by_turns([
            stale(&both),
            of_head,
            ok("Cache-Control: max-age=600\r\n", "new"),
        ]);
        let gateway = Gateway::before(&origin, backend);
        let mut client = gateway.client();
        client.ask(get("/"));
        let of_client = head(&mut client, "");
        let same = if status == 304 { 200 } else { status };
        assert_eq!(of_client.status, same, "{fields:?}: {of_client:?}");
        assert_eq!(origin.last().method, "HEAD");
        let got = client.ask(get("/"));
        match wanted {
            "refreshed" => {
                assert!(
                    got.is_hit() && got.text() == "old",
                    "{status} {fields:?}: {got:?}"
                );
                assert_eq!(got.field("x-new"), Some("1"));
            }
            "ended" => assert_eq!(got.told("fwd"), Some("uri-miss"), "{fields:?}"),
            _ => assert_eq!(got.told("fwd"), Some("stale"), "{fields:?}"),
        }
    }
}

fn a_head_validates_what_is_stale(backend: Backend) {
    let next = answer(304, "Cache-Control: max-age=60\r\n", "");
    let origin = Origin::by_turns([stale("ETag: \"v1\"\r\n"), next]);
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    client.ask(get("/"));
    let got = head(&mut client, "");
    assert_eq!((got.status, got.field("content-length")), (200, Some("3")));
    assert_eq!(got.told("fwd-status"), Some("304"));
    assert_eq!(origin.last().field("if-none-match"), Some("\"v1\""));
}

fn concurrent_validations_are_one(backend: Backend) {
    let gate = Gate::new();
    let at_origin = gate.clone();
    let origin = Origin::start(move |request, wire| {
        // Stale from its second second on, and not before.
        if request.number == 0 {
            wire.send(ok("Cache-Control: max-age=1\r\nETag: \"v1\"\r\n", "old"));
        } else {
            at_origin.pass();
            wire.send(answer(304, "Cache-Control: max-age=60\r\n", ""));
        }
        Next::Keep
    });
    let gateway = Gateway::before(&origin, backend);
    let mut clients: Vec<Client> = (0..20).map(|_| gateway.client()).collect();
    gateway.ask(get("/"));
    let mut first = gateway.client();
    eventually("it is stale", || {
        !first
            .ask(get_with("/", "Cache-Control: only-if-cached\r\n"))
            .is_hit()
    });
    for client in &mut clients {
        client.send(get("/"));
    }
    eventually("the origin is asked", || origin.count() == 2);
    gate.open();
    for client in &mut clients {
        let got = client.response();
        assert_eq!((got.status, got.text().as_str()), (200, "old"), "{got:?}");
    }
    assert_eq!(origin.count(), 2);
}

fn a_purge_during_a_validation_counts(backend: Backend) {
    let gate = Gate::new();
    let at_origin = gate.clone();
    let origin = Origin::start(move |request, wire| {
        wire.body(request);
        match (request.number, request.field("if-none-match")) {
            (0, _) => wire.send(stale("ETag: \"v1\"\r\n")),
            (_, Some(_)) => {
                at_origin.pass();
                wire.send(answer(304, "Cache-Control: max-age=60\r\n", ""))
            }
            _ => wire.send(ok("Cache-Control: max-age=60\r\n", "new")),
        };
        Next::Keep
    });
    let gateway = Gateway::before(&origin, backend);
    let mut early = gateway.client();
    early.ask(get("/"));
    early.send(get("/"));
    eventually("the origin is asked", || origin.count() == 2);
    gateway.ask(ask_with("POST", "/", "Content-Length: 0\r\n"));
    gate.open();
    assert_eq!(early.response().text(), "old");
    let after = gateway.ask(get("/"));
    assert_eq!((after.is_hit(), after.text().as_str()), (false, "new"));
}

/// RFC 9111 §3.2: Vary is a field like any other, and what is stored is chosen by it (§4.1).
fn what_a_304_says_it_varies_by_counts(backend: Backend) {
    for stored in ["", "Vary: X-A\r\n"] {
        let fields = format!("ETag: \"v1\"\r\n{stored}");
        let confirmed = "Cache-Control: max-age=600\r\nVary: X-A, X-B\r\n";
        let origin = Origin::by_turns([
            stale(&fields),
            answer(304, confirmed, ""),
            ok(confirmed, "other"),
        ]);
        let gateway = Gateway::before(&origin, backend);
        let mut client = gateway.client();
        let (mine, other) = (get_with("/", "X-B: 1\r\n"), get_with("/", "X-B: 2\r\n"));
        client.ask(&mine);
        assert_eq!(client.ask(&mine).text(), "old");
        let got = client.ask(&other);
        assert_eq!(
            (got.is_hit(), got.text().as_str()),
            (false, "other"),
            "{:?}",
            got.fields
        );
        for (request, body) in [(&mine, "old"), (&other, "other")] {
            let got = client.ask(request);
            assert_eq!(
                (got.is_hit(), got.text().as_str()),
                (true, body),
                "{:?}",
                got.fields
            );
        }
    }
}
