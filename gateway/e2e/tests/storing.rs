//! What is stored, for how long, and without what (RFC 9111 §3, §4.2, §5.2.2, RFC 9213).

use e2e::{
    Backend, Client, Gateway, Next, Origin, Response, Setup, answer, ask_with, both_drivers, get,
    get_with, ok,
};

const FRESH: &str = "Cache-Control: max-age=600\r\n";
const LONG_AGO: &str = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n";

/// What the two of two GETs of `/` got from a gateway with this route before an origin that always answers so.
fn twice(answer: Vec<u8>, route: &str, backend: Backend) -> (Response, Response) {
    let origin = Origin::answering(answer);
    let gateway = Setup::new(backend)
        .everything_to(origin.address(), "")
        .with(route)
        .start();
    let mut client = gateway.client();
    (client.ask(get("/")), client.ask(get("/")))
}

/// Whether one gateway with this route stores each of these answers.
fn expect_stored(rows: &[(Vec<u8>, bool)], route: &str, backend: Backend) {
    let answers: Vec<Vec<u8>> = rows.iter().map(|(answer, _)| answer.clone()).collect();
    let origin = Origin::start(move |request, wire| {
        wire.body(request);
        let number = request.target.trim_start_matches('/').parse::<usize>();
        let answer = number.ok().and_then(|number| answers.get(number));
        wire.send(answer.map_or(&b""[..], Vec::as_slice));
        Next::Keep
    });
    let gateway = Setup::new(backend)
        .everything_to(origin.address(), "")
        .with(route)
        .start();
    let mut client = gateway.client();
    for (number, (answer, is_stored)) in rows.iter().enumerate() {
        let target = format!("/{number}");
        let first = client.ask(get(&target));
        let second = client.ask(get(&target));
        let said = answer.escape_ascii();
        assert_eq!(second.is_hit(), *is_stored, "{said}: {:?}", second.fields);
        let same = (first.status, &first.body) == (second.status, &second.body);
        assert!(same && first.is_forwarded(), "{said}");
    }
}

/// The same for answers of one status with these fields.
fn expect_of_fields(rows: &[(&str, bool)], route: &str, backend: Backend) {
    let rows: Vec<_> = rows
        .iter()
        .map(|(fields, is)| (ok(fields, "x"), *is))
        .collect();
    expect_stored(&rows, route, backend);
}

fn statuses(fields: &str, statuses: &[u16], is_stored: bool) -> Vec<(Vec<u8>, bool)> {
    let body = |status| if status == 204 { "" } else { "body" };
    let row = |&status| (answer(status, fields, body(status)), is_stored);
    statuses.iter().map(row).collect()
}

fn with_route(origin: &Origin, route: &str, backend: Backend) -> Gateway {
    Setup::new(backend)
        .everything_to(origin.address(), "")
        .with(route)
        .start()
}

both_drivers!(
    every_status_with_a_lifetime_is_stored,
    what_speaks_of_a_moment_is_never_stored,
    a_lifetime_is_guessed_for_some_statuses_only,
    the_guess_is_the_route_s_to_bound,
    the_guess_has_a_bound_of_its_own,
    must_understand_is_for_what_is_understood,
    negative_answers_have_the_route_s_lifetime,
    authorization_needs_leave_to_share,
    a_cookie_is_stored_stripped_or_refused,
    a_cookie_is_never_stored_on_a_guess,
    targeted_directives_replace_all_others,
    a_broken_targeted_field_is_none,
    targeted_directives_can_be_switched_off,
    a_client_s_directives_count,
    a_client_s_directives_can_be_switched_off,
    fields_that_are_withheld_are_for_whose_request_was_answered,
    a_post_that_says_what_get_would_get_is_stored,
    a_request_s_own_body_forbids_storing,
    a_route_without_a_cache_stores_nothing,
    lifetimes_are_read_to_the_letter,
);

fn every_status_with_a_lifetime_is_stored(backend: Backend) {
    let all = [
        200, 201, 202, 203, 204, 205, 207, 226, 299, 300, 301, 302, 303, 305, 307, 308, 399, 400,
        401, 402, 403, 404, 405, 406, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 421,
        422, 423, 425, 426, 451, 499, 500, 501, 502, 503, 504, 505, 507, 508, 510, 599, 600, 799,
        999,
    ];
    expect_stored(&statuses(FRESH, &all, true), "", backend);
    expect_stored(
        &statuses("Cache-Control: max-age=0\r\n", &all, false),
        "",
        backend,
    );
    expect_stored(
        &statuses("Cache-Control: no-store, max-age=600\r\n", &all, false),
        "",
        backend,
    );
}

fn what_speaks_of_a_moment_is_never_stored(backend: Backend) {
    expect_stored(&statuses(FRESH, &[428, 429, 431, 511], false), "", backend);
    let part = "Cache-Control: max-age=600\r\nContent-Range: bytes 0-3/8\r\n";
    expect_stored(&statuses(part, &[206], false), "", backend);
}

fn a_lifetime_is_guessed_for_some_statuses_only(backend: Backend) {
    let some = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501];
    let others = [201, 202, 302, 303, 307, 400, 403, 451, 500, 503, 599];
    expect_stored(&statuses(LONG_AGO, &some, true), "", backend);
    expect_stored(&statuses("", &some, false), "", backend);
    expect_stored(
        &statuses(
            "Last-Modified: Fri, 01 Jan 2100 00:00:00 GMT\r\n",
            &some,
            false,
        ),
        "",
        backend,
    );
    expect_stored(
        &statuses("Last-Modified: long ago\r\n", &some, false),
        "",
        backend,
    );
    expect_stored(&statuses(LONG_AGO, &others, false), "", backend);
    let public = format!("Cache-Control: public\r\n{LONG_AGO}");
    expect_stored(&statuses(&public, &others, true), "", backend);
}

fn the_guess_is_the_route_s_to_bound(backend: Backend) {
    let (_, second) = twice(ok(LONG_AGO, "x"), "heuristic_percent = 0", backend);
    assert!(!second.is_hit(), "{second:?}");
    let (_, second) = twice(ok(LONG_AGO, "x"), "heuristic_max = \"0s\"", backend);
    assert!(!second.is_hit(), "{second:?}");
    let (_, second) = twice(ok(LONG_AGO, "x"), "heuristic_max = \"1000s\"", backend);
    let ttl = second.told("ttl").and_then(|ttl| ttl.parse::<u64>().ok());
    assert!(
        ttl.is_some_and(|ttl| (900..=1_000).contains(&ttl)),
        "{second:?}"
    );
}

fn the_guess_has_a_bound_of_its_own(backend: Backend) {
    let (_, second) = twice(ok(LONG_AGO, "x"), "", backend);
    let ttl = second.told("ttl").and_then(|ttl| ttl.parse::<u64>().ok());
    assert!(
        ttl.is_some_and(|ttl| (86_300..=86_400).contains(&ttl)),
        "{second:?}"
    );
}

fn must_understand_is_for_what_is_understood(backend: Backend) {
    let understood = [
        200, 203, 204, 300, 301, 302, 303, 307, 308, 400, 403, 404, 405, 410, 414, 451, 500, 503,
    ];
    let others = [299, 399, 499, 599, 999];
    for (control, is_stored) in [
        ("must-understand, no-store", true),
        ("must-understand", true),
    ] {
        let fields = format!("Cache-Control: max-age=600, {control}\r\n");
        expect_stored(&statuses(&fields, &understood, is_stored), "", backend);
        expect_stored(&statuses(&fields, &others, false), "", backend);
    }
}

fn negative_answers_have_the_route_s_lifetime(backend: Backend) {
    let route = "negative_ttl = \"600s\"";
    let negative = [404, 405, 410, 414, 501];
    expect_stored(&statuses("", &negative, true), route, backend);
    expect_stored(&statuses("", &negative, false), "", backend);
    expect_stored(
        &statuses("", &[200, 301, 400, 403, 451, 500, 502, 503], false),
        route,
        backend,
    );
    for fields in [
        "Cache-Control: max-age=0\r\n",
        "Cache-Control: no-store\r\n",
        "Expires: 0\r\n",
    ] {
        expect_stored(&statuses(fields, &negative, false), route, backend);
    }
    let (_, second) = twice(answer(404, LONG_AGO, "no"), route, backend);
    let ttl = second.told("ttl").and_then(|ttl| ttl.parse::<u64>().ok());
    assert!(ttl.is_some_and(|ttl| ttl <= 600), "{second:?}");
}

fn authorization_needs_leave_to_share(backend: Backend) {
    for (control, is_shared) in [
        ("max-age=600", false),
        ("public, max-age=600", true),
        ("must-revalidate, max-age=600", true),
        ("s-maxage=600", true),
        ("proxy-revalidate, max-age=600", false),
        ("s-maxage=x, max-age=600", false),
        ("private, s-maxage=600", false),
        ("no-store, public, max-age=600", false),
    ] {
        let origin = Origin::answering(ok(&format!("Cache-Control: {control}\r\n"), "x"));
        let gateway = Gateway::before(&origin, backend);
        let mut client = gateway.client();
        client.ask(get_with("/", "Authorization: Basic YTpi\r\n"));
        assert_eq!(client.ask(get("/")).is_hit(), is_shared, "{control}");
        // What anybody may have, one who authenticates may.
        let stored = client.ask(get("/open")).is_forwarded() && client.ask(get("/open")).is_hit();
        let again = client.ask(get_with("/open", "Authorization: Basic YTpi\r\n"));
        assert_eq!(again.is_hit(), stored, "{control}");
    }
}

fn a_cookie_is_stored_stripped_or_refused(backend: Backend) {
    let fields =
        "Cache-Control: max-age=600\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nX-Kept: 1\r\n";
    for (route, is_stored, cookies) in [
        ("", true, &["a=1", "b=2"][..]),
        ("set_cookie = \"store\"", true, &["a=1", "b=2"]),
        ("set_cookie = \"strip\"", true, &[]),
        ("set_cookie = \"refuse\"", false, &["a=1", "b=2"]),
    ] {
        let (first, second) = twice(ok(fields, "x"), route, backend);
        assert_eq!(second.is_hit(), is_stored, "{route}");
        let own: Vec<_> = first.all("set-cookie").collect();
        assert_eq!(own, ["a=1", "b=2"], "{route}: whose cookies they are");
        assert_eq!(
            second.all("set-cookie").collect::<Vec<_>>(),
            cookies,
            "{route}"
        );
        assert_eq!(second.field("x-kept"), Some("1"));
    }
    for route in ["set_cookie = \"strip\"", "set_cookie = \"refuse\""] {
        let (_, second) = twice(ok(FRESH, "x"), route, backend);
        assert!(second.is_hit(), "{route}");
    }
}

fn a_cookie_is_never_stored_on_a_guess(backend: Backend) {
    let fields = format!("{LONG_AGO}Set-Cookie: a=1\r\n");
    let (_, second) = twice(ok(&fields, "x"), "", backend);
    assert!(
        !second.is_hit() && second.field("set-cookie").is_some(),
        "{second:?}"
    );
    let (_, second) = twice(ok(&fields, "x"), "set_cookie = \"strip\"", backend);
    assert!(
        second.is_hit() && second.field("set-cookie").is_none(),
        "{second:?}"
    );
    let negative = "negative_ttl = \"600s\"";
    let (_, second) = twice(answer(404, "Set-Cookie: a=1\r\n", "no"), negative, backend);
    assert!(!second.is_hit(), "{second:?}");
}

fn targeted_directives_replace_all_others(backend: Backend) {
    let rows = [
        (
            "CDN-Cache-Control: max-age=600\r\nCache-Control: no-store\r\n",
            true,
        ),
        (
            "CDN-Cache-Control: max-age=600\r\nCache-Control: private\r\n",
            true,
        ),
        (
            "CDN-Cache-Control: max-age=600\r\nCache-Control: s-maxage=0\r\n",
            true,
        ),
        ("CDN-Cache-Control: max-age=600\r\nExpires: 0\r\n", true),
        (
            "CDN-Cache-Control: max-age=600, unknown=?1, other\r\n",
            true,
        ),
        (
            "CDN-Cache-Control: no-store\r\nCache-Control: max-age=600\r\n",
            false,
        ),
        (
            "CDN-Cache-Control: private\r\nCache-Control: max-age=600\r\n",
            false,
        ),
        (
            "CDN-Cache-Control: max-age=0\r\nCache-Control: max-age=600\r\n",
            false,
        ),
        (
            "CDN-Cache-Control: public\r\nCache-Control: max-age=600\r\n",
            false,
        ),
        (
            "CDN-Cache-Control: no-cache\r\nExpires: Fri, 01 Jan 2100 00:00:00 GMT\r\n",
            false,
        ),
        (
            "CDN-Cache-Control: max-age=-1\r\nCache-Control: max-age=600\r\n",
            false,
        ),
        (
            "CDN-Cache-Control: unknown\r\nCache-Control: max-age=600\r\n",
            false,
        ),
    ];
    expect_of_fields(&rows, "", backend);
    let fields = "CDN-Cache-Control: max-age=600\r\nCache-Control: max-age=5\r\n";
    let (_, second) = twice(ok(fields, "x"), "", backend);
    assert_eq!(second.field("cdn-cache-control"), Some("max-age=600"));
    assert_eq!(second.field("cache-control"), Some("max-age=5"));
    let ttl = second.told("ttl").and_then(|ttl| ttl.parse::<u64>().ok());
    assert!(ttl.is_some_and(|ttl| ttl > 500), "{second:?}");
}

fn a_broken_targeted_field_is_none(backend: Backend) {
    let mut rows = Vec::new();
    for broken in [
        "",
        "max-age=600,",
        "max-age=",
        "=",
        "MAX-AGE=600",
        "max-age=\"600\"",
        "max-age=600.0",
        "max-age=?1",
        "no-store=5",
    ] {
        let field = format!("CDN-Cache-Control: {broken}\r\n");
        rows.push((
            ok(&(field.clone() + "Cache-Control: max-age=600\r\n"), "x"),
            true,
        ));
        rows.push((ok(&(field + "Cache-Control: no-store\r\n"), "x"), false));
    }
    expect_stored(&rows, "", backend);
}

fn targeted_directives_can_be_switched_off(backend: Backend) {
    let rows = [
        (
            "CDN-Cache-Control: max-age=600\r\nCache-Control: no-store\r\n",
            false,
        ),
        (
            "CDN-Cache-Control: no-store\r\nCache-Control: max-age=600\r\n",
            true,
        ),
    ];
    expect_of_fields(&rows, "cdn_cache_control = false", backend);
}

/// Fields by which a client reaches past a fresh answer.
const REACHING: [&str; 7] = [
    "Cache-Control: no-cache\r\n",
    "Cache-Control: no-store\r\n",
    "Cache-Control: max-age=0\r\n",
    "Cache-Control: max-age=x\r\n",
    "Cache-Control: min-fresh=700\r\n",
    "CACHE-control: foo,\r\nCache-Control: bar , No-Cache\r\n",
    "Pragma: no-cache\r\n",
];

fn a_client_s_directives_count(backend: Backend) {
    let origin = Origin::answering(ok(FRESH, "x"));
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    client.ask(get("/"));
    for fields in REACHING {
        assert!(
            client.ask(get_with("/", fields)).is_forwarded(),
            "{fields:?}"
        );
        assert!(client.ask(get("/")).is_hit(), "{fields:?}");
    }
    for fields in [
        "Cache-Control: max-age=600\r\n",
        "Cache-Control: min-fresh=10\r\n",
        "Cache-Control: max-stale=10\r\n",
        "Cache-Control: only-if-cached\r\n",
        "Cache-Control: unknown\r\nPragma: no-cache\r\n",
        "Cookie: a=1\r\n",
    ] {
        assert!(client.ask(get_with("/", fields)).is_hit(), "{fields:?}");
    }
    let only = client.ask(get_with("/else", "Cache-Control: only-if-cached\r\n"));
    assert_eq!((only.status, only.is_forwarded()), (504, false));
    let unstored = get_with("/else", "Cache-Control: no-store\r\n");
    client.ask(&unstored);
    assert!(client.ask(get("/else")).is_forwarded());
}

fn a_client_s_directives_can_be_switched_off(backend: Backend) {
    let origin = Origin::answering(ok(FRESH, "x"));
    let gateway = with_route(&origin, "client_directives = false", backend);
    let mut client = gateway.client();
    client.ask(get_with("/", "Cache-Control: no-store\r\n"));
    for fields in REACHING {
        assert!(client.ask(get_with("/", fields)).is_hit(), "{fields:?}");
    }
    let only = client.ask(get_with("/else", "Cache-Control: only-if-cached\r\n"));
    assert_eq!(only.status, 200);
}

fn fields_that_are_withheld_are_for_whose_request_was_answered(backend: Backend) {
    for directive in ["no-cache", "private"] {
        let fields = format!(
            "Cache-Control: max-age=600, {directive}=\"X-Own, set-cookie\"\r\nX-Own: 1\r\nSet-Cookie: a=1\r\nX-Kept: 1\r\n"
        );
        let (first, second) = twice(ok(&fields, "x"), "", backend);
        assert!(second.is_hit(), "{directive}: {second:?}");
        for (name, own, others) in [
            ("x-own", Some("1"), None),
            ("set-cookie", Some("a=1"), None),
            ("x-kept", Some("1"), Some("1")),
        ] {
            assert_eq!(first.field(name), own, "{directive}");
            assert_eq!(second.field(name), others, "{directive}");
        }
    }
}

/// RFC 9110 §9.3.3.
fn a_post_that_says_what_get_would_get_is_stored(backend: Backend) {
    let post = |client: &mut Client, target: &str| {
        client.ask(ask_with("POST", target, "Content-Length: 0\r\n"));
    };
    for (fields, is_stored) in [
        (
            "Cache-Control: max-age=600\r\nContent-Location: /a\r\n",
            true,
        ),
        (
            "Cache-Control: max-age=600\r\nContent-Location: http://test/a\r\n",
            true,
        ),
        (
            "Cache-Control: max-age=600\r\nContent-Location: /b\r\n",
            false,
        ),
        ("Cache-Control: max-age=600\r\n", false),
        ("Cache-Control: no-store\r\nContent-Location: /a\r\n", false),
        (
            "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Location: /a\r\n",
            false,
        ),
    ] {
        let origin = Origin::answering(ok(fields, "x"));
        let gateway = Gateway::before(&origin, backend);
        let mut client = gateway.client();
        post(&mut client, "/a");
        assert_eq!(client.ask(get("/a")).is_hit(), is_stored, "{fields:?}");
        post(&mut client, "/a");
        assert_eq!(
            origin.last().method,
            "POST",
            "no POST is answered from the store"
        );
    }
}

fn a_request_s_own_body_forbids_storing(backend: Backend) {
    let origin = Origin::answering(ok(FRESH, "x"));
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    let with_body = get_with("/", "Content-Length: 4\r\n") + "body";
    assert!(client.ask(&with_body).is_forwarded());
    assert!(client.ask(get("/")).is_forwarded());
    assert!(client.ask(&with_body).is_forwarded());
    assert!(client.ask(get("/")).is_hit());
}

fn a_route_without_a_cache_stores_nothing(backend: Backend) {
    let (first, second) = twice(ok(FRESH, "x"), "cache = false", backend);
    for got in [first, second] {
        assert_eq!(
            (got.told("fwd"), got.told("detail")),
            (Some("bypass"), Some("route"))
        );
    }
}

/// RFC 9111 §4.2.1, §1.2.2, §5.3.
fn lifetimes_are_read_to_the_letter(backend: Backend) {
    let long = "Fri, 01 Jan 2100 00:00:00 GMT";
    let rows: Vec<(String, bool)> = [
        ("Cache-Control: max-age=2147483649", true),
        ("Cache-Control: max-age=\"600\"", true),
        ("Cache-Control: max-age='600'", false),
        ("Cache-Control: max-age=+600", false),
        ("Cache-Control: max-age=600.5", false),
        ("Cache-Control: max-age= 600", false),
        ("Cache-Control: max-age", false),
        ("Cache-Control: max-age=600, max-age=0", false),
        (
            "Cache-Control: max-age=600\r\nCache-Control: s-maxage=0",
            false,
        ),
        ("Cache-Control: max-age=0, a=\"max-age=600\"", false),
        ("Cache-Control: a=\"b, no-store, c\", max-age=600", true),
        ("Pragma: no-cache\r\nCache-Control: max-age=600", true),
        ("Expires: Friday, 01-Jan-60 00:00:00 GMT", true),
        ("Expires: Fri Jan  1 00:00:00 2100", true),
        ("Expires: fri, 01 jan 2100 00:00:00 gmt", true),
        ("Expires: Fri, 01 Jan 2100 00:00:00 UTC", false),
        ("Expires: Fri, 01 Jan 2100 0:00:00 GMT", false),
        ("Expires: Fri 01 Jan 2100 00:00:00 GMT", false),
    ]
    .map(|(fields, is)| (format!("{fields}\r\n"), is))
    .into_iter()
    .chain([
        (format!("Expires: {long}\r\nExpires: {long}\r\n"), false),
        (
            format!("Expires: {long}\r\nCache-Control: max-age=0\r\n"),
            false,
        ),
        (format!("Expires: {long}\r\nDate: {long}\r\n"), false),
        (format!("Expires: {long}\r\nDate: nonsense\r\n"), true),
    ])
    .collect();
    let rows: Vec<(&str, bool)> = rows
        .iter()
        .map(|(fields, is)| (fields.as_str(), *is))
        .collect();
    expect_of_fields(&rows, "", backend);
}
