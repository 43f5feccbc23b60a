//! Where a message of an origin ends, nobody may doubt: what could be read in two ways is a 502 or a cut connection, is
//! never stored, and what lies behind it on the wire is never another request's answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use e2e::{
    Backend, Broken, Client, Ending, Gate, Gateway, Next, Origin, Request, Setup, both_drivers,
    eventually, get, ok,
};

/// What an origin would have others get: a whole answer where a body, or nothing, should be.
const EVIL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
const _: () = assert!(EVIL.len() == 42);
const FRESH: &str = "Cache-Control: max-age=60\r\n";

both_drivers!(
    framing_that_can_be_read_in_two_ways_is_502,
    a_head_that_is_none_is_502,
    an_interim_answer_with_a_body_is_502,
    sixteen_interim_answers_pass_and_one_more_is_502,
    a_malformed_chunk_cuts_everyone_who_reads_along,
    bytes_behind_an_answer_end_the_connection,
    a_body_announced_where_none_may_be_ends_the_connection,
    a_length_that_never_comes_is_cut_and_not_stored,
    what_an_origin_says_unasked_ends_the_connection,
    an_answer_in_pieces_of_one_byte_is_the_same,
    a_reset_does_not_end_a_body_that_the_end_would,
    forbidden_trailers_of_answers_are_dropped,
    an_answer_to_head_is_no_answer_to_get,
    every_byte_of_an_answer_s_head_has_its_places,
    what_a_proxy_may_repair_arrives_repaired,
);

/// Field lines of a 200 before which a reader cannot know where the answer ends.
const FRAMINGS: &[&str] = &[
    "Content-Length: 42\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nContent-Length: 42",
    "Content-Length: 0\r\nTransfer-Encoding: identity",
    "Content-Length: 42\r\nContent-Length: 0",
    "Content-Length: 0\r\nX: y\r\ncontent-length: 42",
    "Content-Length: 42\r\nContent-Length:",
    "Content-Length: 42, 0",
    "Content-Length: 42,",
    "Content-Length: ,42",
    "Content-Length:",
    "Content-Length: +42",
    "Content-Length: -42",
    "Content-Length: 0x2a",
    "Content-Length: 4 2",
    "Content-Length: 42;a",
    "Content-Length: 42.0",
    "Content-Length: \"42\"",
    "Content-Length: 18446744073709551658",
    "Content-Length: 340282366920938463463374607431768211498",
    "Content-Length: 4\r\n 2",
    "Content-Length : 42\r\nTransfer-Encoding : chunked",
    "Content-Length : 42\r\nContent-Length: 0",
    "Content-Length\u{b}: 42",
    "Content-Length:\u{b}42",
    "Content-Length: 42\0",
    "Content-Length: 42\rX: y",
    "Content-Length: 42\nX: y",
    "X: y\nContent-Length: 42",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\n chunked",
    "Transfer-Encoding: chunked,",
    "Transfer-Encoding:",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked;q=1",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding:\u{b}chunked",
    "Transfer-Encoding: chunked\0",
    "Transfer-Encoding:\r\n xchunked",
];

/// Whole answers that are none.
const HEADS: &[&str] = &[
    "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\n",
    "HTTP/1.1 200 OK\rContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\r\n\r\n",
    "HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1\t200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200\tOK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 +20 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/3 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.10 200 OK\r\nContent-Length: 0\r\n\r\n",
    "ICY 200 OK\r\nContent-Length: 0\r\n\r\n",
    "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    " HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\n X: y\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX y: z\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nHTTP/1.1 200 OK\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: test\r\n\r\n",
    "<html></html>\r\n\r\n",
];

/// Interim answers that have no business saying what they say.
const INTERIMS: &[&str] = &[
    "HTTP/1.1 103 Early Hints\r\nContent-Length: 42",
    "HTTP/1.1 100 Continue\r\nContent-Length: 42",
    "HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked",
    "HTTP/1.1 103 Early Hints\r\nContent-Length: x",
    "HTTP/1.1 103 Early Hints\r\nContent-Length: 0\r\nTransfer-Encoding: chunked",
];

/// What comes after a first good chunk.
const CHUNKS: &[&str] = &[
    "x\r\n",
    "-4\r\nmore\r\n0\r\n\r\n",
    "+4\r\nmore\r\n0\r\n\r\n",
    "0x4\r\nmore\r\n0\r\n\r\n",
    "4 \r\nmore\r\n0\r\n\r\n",
    "4\nmore\r\n0\r\n\r\n",
    "4\rmore\r\n0\r\n\r\n",
    "10000000000000004\r\nmore\r\n0\r\n\r\n",
    "4;a=\"\r\nmore\r\n0\r\n\r\n",
    "4;a\nmore\r\n0\r\n\r\n",
    "4\r\nmore!\r\n0\r\n\r\n",
    "4\r\nmore0\r\n\r\n",
    "4\r\nmore\n0\r\n\r\n",
    "\r\n0\r\n\r\n",
    "0\n\r\n",
    "0\r\n\n",
    "0\r\n\r\r\n",
    "0\r\nX : y\r\n\r\n",
    "0\r\n X: y\r\n\r\n",
    "0\r\nX: y\n\r\n",
    "0\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
];

/// Requests for an answer that has no body, or is whole, before [`EVIL`] comes.
const OVERLONG: &[(&str, &str)] = &[
    ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 42\r\n\r\n"),
    (
        "HEAD",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ),
    (
        "GET",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 42\r\n\r\n",
    ),
    ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
    ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok"),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\r\n",
    ),
    (
        "GET",
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
    ),
    (
        "GET",
        "HTTP/1.1 404 Not Found\r\nCache-Control: max-age=60\r\nContent-Length: 0\r\n\r\n",
    ),
];

/// What origins say on a connection that nobody asks anything on.
const UNASKED: &[&str] = &[
    EVIL,
    "HTTP/1.1 200 OK\r\nContent-Le",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    "\r\n",
    "\0",
];

/// The origin's answer to anything that no row is about.
fn good(request: &Request) -> Vec<u8> {
    ok(FRESH, format!("good {}", request.target))
}

/// Which row a request is about: `/bad/N`, or `/bad/N/slow`.
fn row(request: &Request) -> Option<usize> {
    let number = request.target.strip_prefix("/bad/")?;
    number.trim_end_matches("/slow").parse().ok()
}

/// Speaks the row that is asked for, slowly byte by byte, and keeps the connection for more.
fn speaking(rows: Vec<String>) -> Origin {
    Origin::start(move |request, wire| {
        let text = row(request).and_then(|row| rows.get(row));
        let bytes = text.map_or_else(|| good(request), |text| text.clone().into_bytes());
        if request.target.ends_with("/slow") {
            let _ = bytes.iter().all(|byte| wire.send([*byte]));
        } else {
            wire.send(bytes);
        }
        Next::Keep
    })
}

/// Connections that a request came on.
fn used(origin: &Origin) -> usize {
    let received = origin.received();
    received.iter().filter(|bytes| !bytes.is_empty()).count()
}

fn expect_good(gateway: &Gateway, target: &str, about: &str) {
    let answer = gateway.ask(get(target));
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!(
        (answer.status, text),
        (200, format!("good {target}")),
        "{about:?}"
    );
}

/// Each row is a 502 for whoever asks, at once and byte by byte, and the next request gets its own answer.
fn expect_bad_gateway(backend: Backend, rows: Vec<String>) {
    let origin = speaking(rows.clone());
    let gateway = Gateway::before(&origin, backend);
    let mut faults = Vec::new();
    let mut client = gateway.client();
    for (number, text) in rows.iter().enumerate() {
        for pace in ["", "/slow"] {
            match client.ask_quietly(get(&format!("/bad/{number}{pace}"))) {
                Ok(answer) if answer.status == 502 => {}
                other => {
                    faults.push(format!("{text:?}: {other:?}"));
                    client = gateway.client();
                }
            }
        }
        expect_good(&gateway, &format!("/good/{number}"), text);
    }
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

fn framing_that_can_be_read_in_two_ways_is_502(backend: Backend) {
    let answer = |lines: &&str| format!("HTTP/1.1 200 OK\r\n{FRESH}{lines}\r\n\r\n{EVIL}");
    expect_bad_gateway(backend, FRAMINGS.iter().map(answer).collect());
}

fn a_head_that_is_none_is_502(backend: Backend) {
    expect_bad_gateway(
        backend,
        HEADS.iter().map(|head| format!("{head}{EVIL}")).collect(),
    );
}

/// RFC 9110 §8.6, RFC 9112 §6.1: whoever sends that does not know where its message ends.
fn an_interim_answer_with_a_body_is_502(backend: Backend) {
    let answer = |head: &&str| format!("{head}\r\n\r\n{EVIL}{EVIL}");
    expect_bad_gateway(backend, INTERIMS.iter().map(answer).collect());
}

fn sixteen_interim_answers_pass_and_one_more_is_502(backend: Backend) {
    let hint = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let origin = Origin::start(move |request, wire| {
        let count = row(request).unwrap_or(0);
        wire.send([hint.repeat(count).into_bytes(), good(request)].concat());
        Next::Keep
    });
    let gateway = Gateway::before(&origin, backend);
    let answer = gateway.ask(get("/bad/16"));
    assert_eq!((answer.status, answer.interim.len()), (200, 16));
    assert_eq!(gateway.ask(get("/bad/17")).status, 502);
    expect_good(&gateway, "/good", hint);
}

/// The one who asked first and one who reads along both see the break, and the next gets a good answer.
fn a_malformed_chunk_cuts_everyone_who_reads_along(backend: Backend) {
    let gates: Arc<Vec<Gate>> = Arc::new(CHUNKS.iter().map(|_| Gate::new()).collect());
    let at_origin = Arc::clone(&gates);
    let asked: Arc<Vec<AtomicUsize>> =
        Arc::new(CHUNKS.iter().map(|_| AtomicUsize::new(0)).collect());
    let origin = Origin::start(move |request, wire| {
        let first = row(request).filter(|&row| asked[row].fetch_add(1, Ordering::SeqCst) == 0);
        let Some(row) = first else {
            wire.send(good(request));
            return Next::Keep;
        };
        wire.send(format!(
            "HTTP/1.1 200 OK\r\n{FRESH}Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"
        ));
        at_origin[row].pass();
        wire.send(format!("{}{EVIL}", CHUNKS[row]));
        Next::Keep
    });
    let gateway = Gateway::before(&origin, backend);
    for (number, text) in CHUNKS.iter().enumerate() {
        let target = format!("/bad/{number}");
        let mut readers = [gateway.client(), gateway.client()];
        for reader in &mut readers {
            reader.send(get(&target));
            assert_eq!(reader.head().map(|head| head.status), Ok(200), "{text:?}");
        }
        gates[number].open();
        for reader in &mut readers {
            let (rest, ending) = reader.until_end();
            assert!(ending != Ending::Open, "{text:?}");
            assert!(!ends_well(&rest), "{text:?}: {}", rest.escape_ascii());
        }
        expect_good(&gateway, &target, text);
    }
    assert_eq!(
        origin.count(),
        CHUNKS.len() * 2,
        "one of the two read along"
    );
}

/// Whether a chunked body has its last chunk.
fn ends_well(body: &[u8]) -> bool {
    let evil = body.windows(4).any(|window| window == b"evil");
    evil || body.ends_with(b"0\r\n\r\n")
}

fn bytes_behind_an_answer_end_the_connection(backend: Backend) {
    let origin = speaking(
        OVERLONG
            .iter()
            .map(|(_, head)| format!("{head}{EVIL}"))
            .collect(),
    );
    let gateway = Gateway::before(&origin, backend);
    for (number, (method, text)) in OVERLONG.iter().enumerate() {
        let before = used(&origin);
        let mut client = gateway.client();
        client.send(format!(
            "{method} /bad/{number} HTTP/1.1\r\nHost: test\r\nIf-None-Match: \"x\"\r\n\
             Cache-Control: no-store\r\nConnection: close\r\n\r\n"
        ));
        let (bytes, ending) = client.until_end();
        assert!(
            ending == Ending::Closed && !bytes.windows(4).any(|part| part == b"evil"),
            "{text:?}"
        );
        expect_good(&gateway, &format!("/good/{number}"), text);
        // The one that was spoken on too long is not used again.
        assert!(used(&origin) > before, "{text:?}");
    }
}

/// The origin will send that body, if not yet.
fn a_body_announced_where_none_may_be_ends_the_connection(backend: Backend) {
    for lines in ["Content-Length: 42", "Transfer-Encoding: chunked"] {
        let origin = Origin::start(move |request, wire| {
            if request.target != "/bad" {
                wire.send(good(request));
                return Next::Keep;
            }
            wire.send(format!("HTTP/1.1 204 No Content\r\n{lines}\r\n\r\n"));
            if wire.some().is_some() {
                wire.send(EVIL);
            }
            Next::Close
        });
        let gateway = Gateway::before(&origin, backend);
        assert!(
            matches!(gateway.ask(get("/bad")).status, 204 | 502),
            "{lines}"
        );
        expect_good(&gateway, "/good", lines);
        assert_eq!(used(&origin), 2, "{lines}");
    }
}

fn a_length_that_never_comes_is_cut_and_not_stored(backend: Backend) {
    let asked = AtomicUsize::new(0);
    let origin = Origin::start(move |request, wire| {
        if request.target != "/bad" || asked.fetch_add(1, Ordering::SeqCst) > 0 {
            wire.send(good(request));
            return Next::Keep;
        }
        wire.send(format!(
            "HTTP/1.1 200 OK\r\n{FRESH}Content-Length: 1000\r\n\r\n{EVIL}"
        ));
        wire.some();
        Next::Close
    });
    let setup = Setup::new(backend).everything_to(origin.address(), "read_timeout = \"200ms\"");
    let gateway = setup.start();
    let mut client = gateway.client();
    client.send(get("/bad"));
    assert!(matches!(
        client.try_response(),
        Err(Broken::Truncated | Broken::Reset)
    ));
    expect_good(&gateway, "/bad", "after a body that never came");
    assert_eq!(used(&origin), 2);
}

fn what_an_origin_says_unasked_ends_the_connection(backend: Backend) {
    let given_up = Arc::new(AtomicUsize::new(0));
    let at_origin = Arc::clone(&given_up);
    let origin = Origin::start(move |request, wire| {
        wire.send(good(request));
        wire.send(row(request).map_or("", |row| UNASKED[row]));
        if wire.some().is_none() {
            at_origin.fetch_add(1, Ordering::SeqCst);
        }
        Next::Close
    });
    let gateway = Gateway::before(&origin, backend);
    for (number, text) in UNASKED.iter().enumerate() {
        expect_good(&gateway, &format!("/bad/{number}"), text);
        eventually("the connection is given up", || {
            given_up.load(Ordering::SeqCst) == number + 1
        });
    }
    assert_eq!(used(&origin), UNASKED.len());
}

fn an_answer_in_pieces_of_one_byte_is_the_same(backend: Backend) {
    let origin = speaking(vec![format!(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n{FRESH}\
         Transfer-Encoding : chunked\r\nX: a\r\n b\r\n\r\n4;c=\"d\"\r\nbody\r\n0\r\nX-Sum: 1\r\n\r\n"
    )]);
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    for target in ["/bad/0", "/bad/0/slow"] {
        let answer = client.ask(get(target));
        assert_eq!((answer.status, answer.text().as_str()), (200, "body"));
        assert_eq!((answer.field("x"), answer.interim.len()), (Some("a b"), 1));
        assert!(client.ask(get(target)).is_hit(), "{target}");
    }
    assert_eq!((origin.count(), used(&origin)), (2, 1));
}

fn a_reset_does_not_end_a_body_that_the_end_would(backend: Backend) {
    let asked = AtomicUsize::new(0);
    let gate = Gate::new();
    let at_origin = gate.clone();
    let origin = Origin::start(move |request, wire| {
        if asked.fetch_add(1, Ordering::SeqCst) > 0 {
            wire.send(good(request));
            return Next::Keep;
        }
        wire.send(format!("HTTP/1.1 200 OK\r\n{FRESH}\r\nhalf"));
        at_origin.pass();
        wire.reset();
        Next::Close
    });
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    client.send(get("/a"));
    assert_eq!(client.head().map(|head| head.status), Ok(200));
    gate.open();
    let (rest, ending) = client.until_end();
    assert!(
        ending != Ending::Open && !ends_well(&rest),
        "{}",
        rest.escape_ascii()
    );
    expect_good(&gateway, "/a", "after a reset");
}

fn forbidden_trailers_of_answers_are_dropped(backend: Backend) {
    let origin = Origin::answering(format!(
        "HTTP/1.1 200 OK\r\n{FRESH}Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 1\r\n\
         Content-Length: 99\r\nTransfer-Encoding: gzip\r\nContent-Type: text/html\r\n\
         Cache-Control: no-store\r\nSet-Cookie: a=b\r\nLocation: /evil\r\nVary: *\r\n\
         Connection: close\r\nAge: 9\r\n\r\n"
    ));
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    for _ in 0..2 {
        let answer =
            client.ask("GET /a HTTP/1.1\r\nHost: test\r\nTE: trailers\r\nConnection: TE\r\n\r\n");
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"body"[..]));
        assert!(
            answer.trailers.iter().all(|(name, _)| name == "X-Sum"),
            "{answer:?}"
        );
        for name in ["content-type", "set-cookie", "location", "vary"] {
            assert_eq!(answer.field(name), None);
        }
        assert_eq!(answer.field("cache-control"), Some("max-age=60"));
    }
    assert_eq!(origin.count(), 1, "no trailer forbids what the head allows");
}

fn an_answer_to_head_is_no_answer_to_get(backend: Backend) {
    let origin = Origin::start(|request, wire| {
        let answer = good(request);
        let body = format!("good {}", request.target).len();
        let head = if request.method == "HEAD" {
            answer.len() - body
        } else {
            answer.len()
        };
        wire.send(&answer[..head]);
        Next::Keep
    });
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    client.send("HEAD /a HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.response_to_head().field("content-length"), Some("7"));
    expect_good(&gateway, "/a", "HEAD");
    expect_good(&gateway, "/a", "HEAD, then GET");
}

/// RFC 9112 §5.1, §5.2.
fn what_a_proxy_may_repair_arrives_repaired(backend: Backend) {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nContent-Length : 4\r\nX:\ta\r\n \tb\r\nConnection: Content-Length, Y\r\n\
         Y: z\r\n\r\nbody",
    );
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    for _ in 0..2 {
        let answer = client.ask(get("/a"));
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"body"[..]));
        assert_eq!((answer.field("x"), answer.field("y")), (Some("a b"), None));
    }
    assert_eq!(used(&origin), 1);
}

/// Where a byte is put, and whether it may stand there.
type Place = (&'static str, fn(u8) -> bool, fn(u8) -> Vec<u8>);

const PLACES: [Place; 3] = [
    (
        "phrase",
        |byte| byte == b'\t' || !byte.is_ascii_control(),
        |byte| [b"HTTP/1.1 200 O", &[byte][..], b"K\r\n"].concat(),
    ),
    (
        "name",
        |byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:".contains(&byte),
        |byte| [b"\r\nX", &[byte][..], b"Y: z\r\n"].concat(),
    ),
    (
        "value",
        |byte| byte == b'\t' || !byte.is_ascii_control(),
        |byte| [b"\r\nX: y", &[byte][..], b"z\r\n"].concat(),
    ),
];

/// Every byte in every part of a head is a 502, or arrives as it was sent.
fn every_byte_of_an_answer_s_head_has_its_places(backend: Backend) {
    let origin = Origin::start(|request, wire| {
        let mut numbers = request
            .target
            .split('/')
            .skip(1)
            .filter_map(|number| number.parse::<usize>().ok());
        let (Some(place), Some(byte)) = (numbers.next(), numbers.next()) else {
            return Next::Close;
        };
        let line = PLACES[place].2(u8::try_from(byte).unwrap_or_default());
        let end = b"Cache-Control: no-store\r\nContent-Length: 0\r\n\r\n";
        wire.send(match place {
            0 => [&line, &end[..]].concat(),
            _ => [b"HTTP/1.1 200 OK", line.as_slice(), end].concat(),
        });
        Next::Keep
    });
    let gateway = Gateway::before(&origin, backend);
    let mut faults = Vec::new();
    for (number, (place, may_stand, line)) in PLACES.into_iter().enumerate() {
        for byte in 0..=255u8 {
            let bytes = raw(&mut gateway.client(), &format!("/{number}/{byte}"));
            let line = colon_first(line(byte));
            let good = match may_stand(byte) {
                true => bytes.windows(line.len()).any(|window| window == line),
                false => bytes.starts_with(b"HTTP/1.1 502 "),
            };
            if !good {
                faults.push(format!("{byte:#x} in a {place}: {}", bytes.escape_ascii()));
            }
        }
    }
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

/// A name that a colon ends early has the rest in its value.
fn colon_first(line: Vec<u8>) -> Vec<u8> {
    match line.as_slice() {
        b"\r\nX:Y: z\r\n" => b"\r\nX: Y: z\r\n".to_vec(),
        _ => line,
    }
}

/// All that comes back to a request, as it comes.
fn raw(client: &mut Client, target: &str) -> Vec<u8> {
    client.send(format!(
        "GET {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
    ));
    client.until_end().0
}
