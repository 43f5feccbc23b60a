//! Every word that `Cache-Status` may say (RFC 9211 §2), each with what makes the gateway say it, and count it.

use cache::policy::Reason;
use e2e::{
    Backend, Gate, Gateway, Next, Origin, Response, Setup, Watch, answer, ask_with, both_drivers,
    eventually, get, get_with, ok,
};

const FRESH: &str = "Cache-Control: max-age=600\r\n";
const STALE_WORDS: [&str; 2] = ["stale-if-error", "stale-grace"];
/// Stale on arrival, and not for every use.
const STALE: &str =
    "Cache-Control: max-age=60, stale-while-revalidate=600\r\nAge: 100\r\nETag: \"v1\"\r\n";

/// What is asked, with what answers of the origin, until `Cache-Status` says it.
struct Row {
    fwd: Option<&'static str>,
    detail: Option<&'static str>,
    setup: fn(Setup) -> Setup,
    /// The last one's answer says it.
    requests: Vec<String>,
    /// In turn, the last one for all further requests.
    answers: Vec<Vec<u8>>,
}

/// One request, one answer, nothing configured.
fn row(fwd: &'static str, detail: &'static str, request: String, answer: Vec<u8>) -> Row {
    Row {
        fwd: Some(fwd),
        detail: Some(detail),
        setup: |setup| setup,
        requests: vec![request],
        answers: vec![answer],
    }
}

fn fresh() -> Vec<u8> {
    ok(FRESH, "body")
}

fn control(directives: &str) -> Vec<u8> {
    ok(&format!("Cache-Control: {directives}\r\n"), "body")
}

/// One for each of the policy's reasons.
fn reasons() -> Vec<Row> {
    let plain = |detail, answer| row("uri-miss", detail, get("/"), answer);
    let with = |fwd, detail, fields: &str| row(fwd, detail, get_with("/", fields), fresh());
    let multipart = "Content-Type: multipart/byteranges; boundary=x\r\n";
    let part = answer(206, &format!("{FRESH}{multipart}"), "--x--");
    vec![
        Row {
            requests: vec![ask_with("POST", "/", "Content-Length: 0\r\n")],
            ..row("method", "method", String::new(), fresh())
        },
        plain("no-store", control("no-store")),
        plain("private", control("private, max-age=60")),
        plain("no-cache", control("no-cache")),
        with("uri-miss", "authorization", "Authorization: Basic YTpi\r\n"),
        plain("no-explicit-freshness", ok("", "body")),
        plain("not-fresh", control("max-age=0")),
        plain("status", answer(429, FRESH, "slowly")),
        plain("vary", ok(&format!("{FRESH}Vary: *\r\n"), "body")),
        Row {
            answers: vec![part],
            ..with("uri-miss", "range", "Range: bytes=0-0,2-2\r\n")
        },
        Row {
            setup: |setup| setup.set("cache", "max_object", "\"1KiB\""),
            ..plain("too-large", ok(FRESH, [0; 2_000]))
        },
        Row {
            setup: |setup| setup.with("set_cookie = \"refuse\""),
            ..plain(
                "set-cookie",
                ok(&format!("{FRESH}Set-Cookie: a=1\r\n"), "body"),
            )
        },
        with("bypass", "request-no-store", "Cache-Control: no-store\r\n"),
        Row {
            requests: vec![get_with("/", "Content-Length: 4\r\n") + "body"],
            ..with("bypass", "request-body", "")
        },
        with("bypass", "condition", "If-Match: \"v1\"\r\n"),
    ]
}

/// The gateway's own words beside them.
fn further() -> Vec<Row> {
    let stale = |fwd, detail, next| Row {
        fwd,
        requests: vec![get("/"), get("/")],
        answers: vec![ok(STALE, "old"), next],
        ..row("", detail, String::new(), Vec::new())
    };
    let trouble = || answer(503, "", "trouble");
    let no_window = "Cache-Control: max-age=60, stale-if-error=600\r\nAge: 100\r\n";
    let other_user = ask_with("GET", "/", "X-User: 2\r\n");
    vec![
        Row {
            setup: |setup| setup.with("cache = false"),
            ..row("bypass", "route", get("/"), fresh())
        },
        row(
            "bypass",
            "upgrade",
            get_with("/", "Connection: upgrade\r\nUpgrade: websocket\r\n"),
            fresh(),
        ),
        Row {
            setup: |setup| setup.set("api_gateway", "memory_pool_size", "\"16MiB\""),
            ..row(
                "uri-miss",
                "storage-full",
                get("/"),
                ok(FRESH, vec![0; 40 << 20]),
            )
        },
        stale(None, "stale-while-revalidate", trouble()),
        Row {
            requests: vec![
                get("/"),
                get_with("/", "Cache-Control: max-stale, max-age=600\r\n"),
            ],
            ..stale(None, "max-stale", trouble())
        },
        Row {
            answers: vec![ok(no_window, "old"), trouble()],
            ..stale(Some("stale"), "stale-if-error", trouble())
        },
        Row {
            detail: None,
            ..row("uri-miss", "", get("/"), fresh())
        },
        Row {
            detail: None,
            requests: vec![get("/"), other_user],
            ..row(
                "vary-miss",
                "",
                get("/"),
                ok(&format!("{FRESH}Vary: X-User\r\n"), "body"),
            )
        },
        Row {
            detail: None,
            answers: vec![ok(no_window, "old"), fresh()],
            ..stale(Some("stale"), "", fresh())
        },
        Row {
            detail: None,
            requests: vec![get("/"), get_with("/", "Cache-Control: no-cache\r\n")],
            ..row("request", "", get("/"), fresh())
        },
        Row {
            detail: None,
            requests: vec![get_with("/", "Range: bytes=0-0\r\n"), get("/")],
            answers: vec![
                answer(206, &format!("{FRESH}Content-Range: bytes 0-0/4\r\n"), "b"),
                fresh(),
            ],
            ..row("partial", "", get("/"), fresh())
        },
    ]
}

fn said(row: &Row, backend: Backend) -> Response {
    let origin = Origin::by_turns(row.answers.clone());
    let setup = Setup::new(backend).everything_to(origin.address(), "");
    let gateway = (row.setup)(setup).start();
    let mut client = gateway.client();
    let answers: Vec<Response> = row
        .requests
        .iter()
        .map(|request| client.ask(request))
        .collect();
    let last = answers.into_iter().last().expect("a request");
    counted(&gateway, &last);
    last
}

/// Claims that /metrics counts what an answer says.
fn counted(gateway: &Gateway, answer: &Response) {
    let (fwd, detail) = (answer.told("fwd"), answer.told("detail"));
    let is_stale = answer.is_hit() || STALE_WORDS.contains(&detail.unwrap_or_default());
    let of_detail = match is_stale {
        true => "cache_served_stale_total",
        false => "cache_not_stored_total",
    };
    let mut watch = Watch::of(gateway);
    for (family, word) in [("cache_forwards_total", fwd), (of_detail, detail)] {
        let Some(word) = word else { continue };
        let label = format!("reason=\"{word}\"");
        let count = watch.sample(family, &[&label]);
        assert!(count >= 1.0, "{family}{{{label}}} is {count}");
    }
}

fn expect(row: &Row, backend: Backend) {
    let answer = said(row, backend);
    let told = (answer.told("fwd"), answer.told("detail"));
    assert_eq!(told, (row.fwd, row.detail), "{:?}", answer.fields);
    assert_eq!(answer.is_hit(), row.fwd.is_none(), "{:?}", answer.fields);
}

#[test]
fn every_reason_of_the_policy_has_a_row() {
    let rows = reasons();
    for reason in Reason::ALL {
        let of_it = rows
            .iter()
            .filter(|row| row.detail == Some(reason.as_str()));
        assert_eq!(of_it.count(), 1, "{reason:?}");
    }
    assert_eq!(rows.len(), Reason::ALL.len());
}

both_drivers!(
    every_reason_of_the_policy_is_said,
    every_further_word_is_said,
    the_grace_is_said,
    what_an_origin_answered_instead_is_said,
    who_waited_for_another_is_told,
    what_is_stored_is_said,
    a_head_is_passed_on_with_its_reason,
    an_error_of_the_gateway_s_says_why_it_asked,
    the_answer_of_an_upstream_cache_keeps_its_word,
);

fn every_reason_of_the_policy_is_said(backend: Backend) {
    for row in reasons() {
        expect(&row, backend);
    }
}

fn every_further_word_is_said(backend: Backend) {
    for row in further() {
        expect(&row, backend);
    }
}

fn the_grace_is_said(backend: Backend) {
    let origin = Origin::answering(control("max-age=1"));
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    client.ask(get("/"));
    drop(origin);
    eventually("it is stale", || client.ask(get("/")).is_forwarded());
    let got = client.ask(get("/"));
    let told = (got.told("fwd"), got.told("detail"));
    assert_eq!(
        told,
        (Some("stale"), Some("stale-grace")),
        "{:?}",
        got.fields
    );
    counted(&gateway, &got);
}

fn what_an_origin_answered_instead_is_said(backend: Backend) {
    let validator = "Cache-Control: max-age=60\r\nAge: 60\r\nETag: \"v1\"\r\n";
    let part = |place, body| {
        let fields = format!("{FRESH}ETag: \"v1\"\r\nContent-Range: bytes {place}/4\r\n");
        answer(206, &fields, body)
    };
    for (first, answers, fwd, status) in [
        (
            get("/"),
            [ok(validator, "body"), answer(304, "", "")],
            "stale",
            "304",
        ),
        (
            get_with("/", "Range: bytes=0-1\r\n"),
            [part("0-1", "bo"), part("2-3", "dy")],
            "partial",
            "206",
        ),
    ] {
        let origin = Origin::by_turns(answers);
        let gateway = Gateway::before(&origin, backend);
        gateway.ask(first);
        let got = gateway.ask(get("/"));
        assert_eq!(
            (got.status, got.text().as_str()),
            (200, "body"),
            "{:?}",
            got.fields
        );
        assert_eq!(
            (got.told("fwd"), got.told("fwd-status")),
            (Some(fwd), Some(status))
        );
        assert_eq!((got.told("stored"), got.told("detail")), (Some(""), None));
    }
}

fn who_waited_for_another_is_told(backend: Backend) {
    let gate = Gate::new();
    let at_origin = gate.clone();
    let origin = Origin::start(move |_, wire| {
        let answer = fresh();
        let (begun, rest) = answer.split_at(answer.len() - 2);
        wire.send(begun);
        at_origin.pass();
        wire.send(rest);
        Next::Keep
    });
    let gateway = Gateway::before(&origin, backend);
    let mut clients = [gateway.client(), gateway.client()];
    let heads = clients.each_mut().map(|client| {
        client.send(get("/"));
        client.head().expect("a head before the body is whole")
    });
    gate.open();
    let words = heads.map(|head| {
        let is = |word| head.told(word).is_some();
        (
            head.told("fwd") == Some("uri-miss"),
            is("stored"),
            is("collapsed"),
        )
    });
    assert_eq!(words, [(true, true, false), (true, false, true)]);
    for client in &mut clients {
        assert_eq!(client.bytes(4).as_deref(), Ok(&b"body"[..]));
    }
    assert_eq!(origin.count(), 1);
}

fn what_is_stored_is_said(backend: Backend) {
    let origin = Origin::answering(fresh());
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    let miss = client.ask(get("/"));
    let ttl = miss.told("ttl").and_then(|ttl| ttl.parse::<u64>().ok());
    assert!(
        ttl.is_some_and(|ttl| (500..=600).contains(&ttl)),
        "{:?}",
        miss.fields
    );
    assert_eq!(miss.told("stored"), Some(""));
    let hit = client.ask(get("/"));
    assert_eq!(
        (hit.told("hit"), hit.told("stored"), hit.told("fwd")),
        (Some(""), None, None)
    );
}

fn a_head_is_passed_on_with_its_reason(backend: Backend) {
    let origin = Origin::by_turns([
        ok(
            "Cache-Control: max-age=60\r\nAge: 60\r\nETag: \"v1\"\r\n",
            "old",
        ),
        ok(FRESH, "old"),
    ]);
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    client.ask(get("/"));
    for (target, fwd, detail) in [("/new", "uri-miss", None), ("/", "stale", Some("method"))] {
        client.send(ask_with("HEAD", target, ""));
        let got = client.response_to_head();
        let told = (got.told("fwd"), got.told("detail"), got.told("stored"));
        assert_eq!(told, (Some(fwd), detail, None), "{:?}", got.fields);
    }
}

fn an_error_of_the_gateway_s_says_why_it_asked(backend: Backend) {
    let origin = Origin::start(|_, wire| {
        wire.reset();
        Next::Close
    });
    let gateway = Gateway::before(&origin, backend);
    let got = gateway.ask(get("/"));
    let told = (got.told("fwd"), got.told("detail"), got.told("stored"));
    assert_eq!(
        (got.status, told),
        (502, (Some("uri-miss"), None, None)),
        "{:?}",
        got.fields
    );
}

/// RFC 9211 §2: "appended".
fn the_answer_of_an_upstream_cache_keeps_its_word(backend: Backend) {
    let fields = format!("{FRESH}Cache-Status: Upstream; hit; ttl=5\r\n");
    let origin = Origin::answering(ok(&fields, "body"));
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    for own in ["ultragate; fwd=uri-miss", "ultragate; hit"] {
        let got = client.ask(get("/"));
        let all = got.all("cache-status").collect::<Vec<_>>().join(", ");
        assert!(
            all.starts_with("Upstream; hit; ttl=5, ultragate; "),
            "{all}"
        );
        assert!(all.contains(own), "{all}");
    }
}
