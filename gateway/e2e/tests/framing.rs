//! Where a message of a client ends, everybody sees alike: what could be read in two ways is refused and ends the
//! connection, the rest reaches the origin in one plain framing. Every row is sent with another request behind it, in one
//! piece and byte by byte; the origin keeps every byte, and a reader that shares nothing with the gateway judges them.

mod rows;
#[path = "../../http/tests/second/mod.rs"]
mod second;

use std::collections::BTreeMap;

use e2e::{Backend, Ending, Gateway, Next, Origin, Response, Setup, both_drivers, get, ok};
use rows::Want::{Cut, Ended, Own, Passed, PassedLast};
use rows::{
    BEHIND, CHUNKS, CODED_LINES, CODINGS, HEADS, HOSTS, LENGTHS, OWN, PROMISES, SMUGGLED, TARGETS,
    Table, Want,
};
use second::{Fault, Message};

/// Longer rows are not sent byte by byte.
const SLOW_BYTES_MAX: usize = 400;

both_drivers!(
    content_length_is_one_number,
    transfer_encoding_is_chunked_once_and_alone,
    chunks_are_read_in_one_way_or_not_at_all,
    a_head_is_lines_that_end_in_crlf,
    a_request_names_one_host,
    targets_and_methods_are_read_in_one_form,
    bounds_are_refused_and_not_forwarded,
    what_the_gateway_answers_leaves_no_body_behind,
    no_upgrade_and_no_expectation_hides_a_request,
    every_byte_has_its_places,
    forbidden_trailers_are_dropped,
    connection_takes_away_what_it_lists_and_no_framing,
    a_field_that_connection_takes_away_selects_no_variant,
    an_absolute_target_is_cached_under_its_own_authority,
    every_spelling_of_a_host_gets_one_answer,
    an_upgrade_s_bytes_wait_for_the_origin_s_word,
    the_rest_of_a_body_that_was_answered_early_is_no_request,
    a_body_before_a_tunnel_is_no_tunnel_s_bytes,
);

struct Row {
    bytes: Vec<u8>,
    want: Want,
}

fn rows(table: Table, build: impl Fn(&str) -> String) -> Vec<Row> {
    let row = |(text, want): &(&str, Want)| Row {
        bytes: build(text).into_bytes(),
        want: *want,
    };
    table.iter().map(row).collect()
}

fn content_length_is_one_number(backend: Backend) {
    let post =
        |lines: &str| format!("POST /row HTTP/1.1\r\nHost: test\r\n{lines}\r\n\r\n{SMUGGLED}");
    judge(backend, rows(LENGTHS, post));
}

fn transfer_encoding_is_chunked_once_and_alone(backend: Backend) {
    let body = format!("26\r\n{SMUGGLED}\r\n0\r\n\r\n");
    let post = |lines: &str| format!("POST /row HTTP/1.1\r\nHost: test\r\n{lines}\r\n\r\n{body}");
    let line =
        |line: &str| format!("{line}\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    judge(backend, rows(CODINGS, post));
    judge(backend, rows(CODED_LINES, line));
}

fn chunks_are_read_in_one_way_or_not_at_all(backend: Backend) {
    let post = |body: &str| {
        format!("POST /row HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
    };
    let mut rows = rows(CHUNKS, post);
    for long in [
        format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(5000)),
        format!("5{}\r\nhello\r\n0\r\n\r\n", " ".repeat(5000)),
        format!("0\r\nX: {}\r\n\r\n", "a".repeat(9000)),
        format!("0\r\n{}\r\n", "Host: other\r\n".repeat(1000)),
    ] {
        rows.push(Row {
            bytes: post(&long).into_bytes(),
            want: Cut(400),
        });
    }
    judge(backend, rows);
}

fn a_head_is_lines_that_end_in_crlf(backend: Backend) {
    judge(backend, rows(HEADS, str::to_owned));
}

fn a_request_names_one_host(backend: Backend) {
    judge(
        backend,
        rows(HOSTS, |lines| {
            format!("GET /row HTTP/1.1\r\n{lines}\r\n\r\n")
        }),
    );
}

fn targets_and_methods_are_read_in_one_form(backend: Backend) {
    judge(
        backend,
        rows(TARGETS, |line| {
            format!("{line} HTTP/1.1\r\nHost: test\r\n\r\n")
        }),
    );
}

fn bounds_are_refused_and_not_forwarded(backend: Backend) {
    let fields = |count: usize| {
        format!(
            "GET /row HTTP/1.1\r\nHost: test\r\n{}\r\n",
            "X: y\r\n".repeat(count)
        )
    };
    let long = "a".repeat(40_000);
    let row = |want, bytes: String| Row {
        bytes: bytes.into_bytes(),
        want,
    };
    judge(
        backend,
        vec![
            row(Passed(""), fields(127)),
            row(Ended(431), fields(128)),
            row(Ended(431), fields(5000)),
            row(
                Ended(431),
                format!("GET /row HTTP/1.1\r\nHost: test\r\nX: {long}\r\n\r\n"),
            ),
            row(
                Ended(431),
                format!("GET /row HTTP/1.1\r\nHost: test\r\n{long}: x\r\n\r\n"),
            ),
            row(
                Ended(431),
                format!("GET /row HTTP/1.1\r\nHost: {long}\r\n\r\n"),
            ),
            row(
                Ended(431),
                format!("GET /row HTTP/1.1\r\nHost: test\r\nX: {long}"),
            ),
            row(
                Ended(414),
                format!("GET /{long} HTTP/1.1\r\nHost: test\r\n\r\n"),
            ),
            row(
                Ended(414),
                format!("GET http://{long}/row HTTP/1.1\r\nHost: test\r\n\r\n"),
            ),
            row(
                Ended(414),
                format!("{long} /row HTTP/1.1\r\nHost: test\r\n\r\n"),
            ),
            row(Ended(414), long.clone()),
        ],
    );
}

fn what_the_gateway_answers_leaves_no_body_behind(backend: Backend) {
    judge(backend, rows(OWN, str::to_owned));
}

fn no_upgrade_and_no_expectation_hides_a_request(backend: Backend) {
    let with = |lines: &str| {
        format!(
            "POST /row HTTP/1.1\r\nHost: test\r\n{lines}\r\nContent-Length: 38\r\n\r\n{SMUGGLED}"
        )
    };
    judge(backend, rows(PROMISES, with));
}

/// Answers with the head it got, byte for byte.
fn echo() -> Origin {
    Origin::start(|request, wire| {
        if wire.body(request).is_none() {
            return Next::Close;
        }
        wire.send(ok("Cache-Control: no-store\r\n", &request.head));
        Next::Keep
    })
}

fn gateway(origin: &Origin, backend: Backend) -> Gateway {
    let setup = Setup::new(backend).set("limits", "max_body", "\"1MiB\"");
    setup.everything_to(origin.address(), "").start()
}

fn judge(backend: Backend, rows: Vec<Row>) {
    let origin = echo();
    let gateway = gateway(&origin, backend);
    let mut faults = Vec::new();
    let mut expected: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    for row in &rows {
        for slow in [false, true] {
            if slow && row.bytes.len() > SLOW_BYTES_MAX {
                continue;
            }
            if let Err(fault) = ask(&gateway, row, slow) {
                let shown: String = row
                    .bytes
                    .escape_ascii()
                    .to_string()
                    .chars()
                    .take(200)
                    .collect();
                faults.push(format!(
                    "{shown}\n    wanted {:?}, slow {slow}: {fault}",
                    row.want
                ));
            }
            if let Passed(body) | PassedLast(body) = row.want {
                *expected.entry(body.as_bytes().to_vec()).or_default() += 1;
            }
            if let Passed(_) | Own(_) = row.want {
                *expected.entry(BEHIND.as_bytes().to_vec()).or_default() += 1;
            }
        }
    }
    // Whatever else was on its way is there by now.
    assert_eq!(gateway.ask(get("/last")).status, 200);
    let mut arrived: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    for bytes in origin.received() {
        let (messages, end) = read_all(&bytes);
        if let Some(Fault::Malformed(what)) = end {
            faults.push(format!("at the origin: {what} in {}", bytes.escape_ascii()));
        }
        for message in messages {
            faults.extend(impure(&message));
            match message.head.target.as_slice() {
                b"/last" => {}
                b"/behind" => *arrived.entry(BEHIND.as_bytes().to_vec()).or_default() += 1,
                _ => *arrived.entry(message.body).or_default() += 1,
            }
        }
    }
    if arrived != expected {
        faults.push(format!("the origin got {arrived:?}, not {expected:?}"));
    }
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

fn ask(gateway: &Gateway, row: &Row, slow: bool) -> Result<(), String> {
    let mut client = gateway.client();
    let bytes = [row.bytes.as_slice(), BEHIND.as_bytes()].concat();
    if slow {
        let _ = bytes.iter().all(|byte| client.send([*byte]));
    } else {
        client.send(&bytes);
    }
    let answer = client.try_response();
    let status = answer.as_ref().map(|answer| answer.status);
    let expected = match row.want {
        Ended(status) | Cut(status) | Own(status) => status,
        Passed(_) | PassedLast(_) => 200,
    };
    if status != Ok(expected) || answer.as_ref().is_ok_and(is_behind) {
        return Err(format!("got {answer:?}"));
    }
    if let Passed(_) | Own(_) = row.want {
        match client.try_response() {
            Ok(next) if is_behind(&next) => return Ok(()),
            next => return Err(format!("behind it came {next:?}")),
        }
    }
    match client.until_end() {
        (rest, Ending::Closed) if rest.is_empty() => Ok(()),
        (rest, ending) => Err(format!(
            "then {:?}, {ending:?}",
            rest.escape_ascii().to_string()
        )),
    }
}

fn is_behind(answer: &Response) -> bool {
    answer.body.starts_with(b"GET /behind ")
}

/// The whole messages in the bytes of one connection, and what ends their row.
fn read_all(bytes: &[u8]) -> (Vec<Message>, Option<Fault>) {
    let mut messages = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match second::read(&bytes[at..]) {
            Ok(message) => {
                at += message.end;
                messages.push(message);
            }
            Err(fault) => return (messages, Some(fault)),
        }
    }
    (messages, None)
}

/// What of a message a lenient reader could take otherwise, or should never have got.
fn impure(message: &Message) -> Option<String> {
    let all = |name: &str| -> Vec<String> {
        let fields = message.head.fields.iter();
        fields
            .filter(|(own, _)| own.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value.escape_ascii().to_string().to_ascii_lowercase())
            .collect()
    };
    let (lengths, codings) = (all("content-length"), all("transfer-encoding"));
    let framed = match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => true,
        ([length], []) => *length == message.body.len().to_string(),
        ([], [coding]) => coding == "chunked",
        _ => false,
    };
    let hop = ["keep-alive", "proxy-connection", "http2-settings", "te"];
    let kept = hop.iter().any(|name| !all(name).is_empty());
    let h2c = all("upgrade").iter().any(|value| value.contains("h2c"));
    let lines = message.head.end;
    (!framed || kept || h2c || all("host").len() != 1 || message.head.minor != 1)
        .then(|| format!("the origin got {:?} of {lines} bytes", message.head.fields))
}

/// Where a byte is put, and whether it may stand there.
type Place = (&'static str, fn(u8) -> bool, fn(&[u8]) -> Vec<u8>);

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

const PLACES: [Place; 5] = [
    ("method", is_token, |byte| {
        [b"G", byte, b"T /row HTTP/1.1\r\nHost: test\r\n\r\n"].concat()
    }),
    (
        "target",
        |byte| byte.is_ascii_graphic() && byte != b'#',
        |byte| [b"GET /r", byte, b"w HTTP/1.1\r\nHost: test\r\n\r\n"].concat(),
    ),
    (
        "host",
        |byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte),
        |byte| [b"GET /row HTTP/1.1\r\nHost: te", byte, b"st\r\n\r\n"].concat(),
    ),
    (
        "name",
        |byte| is_token(byte) || byte == b':',
        |byte| {
            [
                b"GET /row HTTP/1.1\r\nHost: test\r\nX",
                byte,
                b"Y: z\r\n\r\n",
            ]
            .concat()
        },
    ),
    (
        "value",
        |byte| byte == b'\t' || !byte.is_ascii_control(),
        |byte| {
            [
                b"GET /row HTTP/1.1\r\nHost: test\r\nX: y",
                byte,
                b"z\r\n\r\n",
            ]
            .concat()
        },
    ),
];

/// Every byte in every part of a head is refused, or arrives as it was sent.
fn every_byte_has_its_places(backend: Backend) {
    let origin = echo();
    let gateway = gateway(&origin, backend);
    let mut faults = Vec::new();
    let mut passed = 0;
    for (place, may_stand, request) in PLACES {
        for byte in 0..=255u8 {
            let answer = gateway.client().ask_quietly(request(&[byte]));
            let good = match &answer {
                Ok(answer) if may_stand(byte) => {
                    passed += 1;
                    answer.status == 200 && arrived_as_sent(place, byte, &answer.body)
                }
                Ok(answer) => answer.status == 400,
                Err(_) => false,
            };
            if !good {
                faults.push(format!("{byte:#x} in a {place}: {answer:?}"));
            }
        }
    }
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
    assert_eq!(origin.count(), passed);
}

fn arrived_as_sent(place: &str, byte: u8, head: &[u8]) -> bool {
    let line = match place {
        "method" => [b"G", &[byte][..], b"T /row HTTP/1.1\r\n"].concat(),
        "target" => [b"GET /r", &[byte][..], b"w HTTP/1.1\r\n"].concat(),
        "host" => [b"\r\nHost: te", &[byte.to_ascii_lowercase()][..], b"st\r\n"].concat(),
        "name" if byte == b':' => b"\r\nX: Y: z\r\n".to_vec(),
        "name" => [b"\r\nX", &[byte][..], b"Y: z\r\n"].concat(),
        _ => [b"\r\nX: y", &[byte][..], b"z\r\n"].concat(),
    };
    head.windows(line.len()).any(|window| window == line)
}

fn forbidden_trailers_are_dropped(backend: Backend) {
    let origin = echo();
    let gateway = gateway(&origin, backend);
    let forbidden = [
        "Content-Length: 99",
        "Transfer-Encoding: gzip",
        "Host: other",
        "Authorization: Basic eA==",
        "Cookie: a=b",
        "Connection: close",
        "Content-Type: text/html",
        "X-Forwarded-For: 192.0.2.1",
        "Cache-Control: no-store",
        "Expect: 100-continue",
        "Range: bytes=0-0",
        "Upgrade: h2c",
        "Trailer: x",
    ];
    let mut client = gateway.client();
    let answer = client.ask(format!(
        "POST /row HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n{}\r\n\r\n",
        forbidden.join("\r\n")
    ));
    assert_eq!(answer.status, 200);
    assert_eq!(client.ask(get("/behind")).status, 200);
    let bytes = origin.received().concat();
    let (messages, end) = read_all(&bytes);
    assert_eq!((messages.len(), end), (2, None));
    assert_eq!(messages[0].body, b"hello");
    assert_eq!(messages[0].trailers, [(b"X-Sum".to_vec(), b"1".to_vec())]);
    assert_eq!(messages.iter().find_map(impure), None);
}

/// The lines of a head but for Host, names that must not arrive, names that must.
type Listed = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);

const LISTED: [Listed; 9] = [
    ("Connection: Host", &["connection"], &["host"]),
    (
        "Connection: Content-Length\r\nContent-Length: 38",
        &["connection"],
        &["content-length"],
    ),
    (
        "Connection: content-length, transfer-encoding, host\r\nContent-Length: 38",
        &[],
        &["host", "content-length"],
    ),
    (
        "Connection: X-A\r\nX-A: 1\r\nx-a: 2\r\nX-AB: 3",
        &["x-a", "connection"],
        &["x-ab"],
    ),
    (
        "Connection: keep-alive,, x-b ,\r\nConnection:\tX-C\r\nX-B: 1\r\nX-C: 2",
        &["x-b", "x-c"],
        &["host"],
    ),
    (
        "Connection: Via, X-Request-Id\r\nVia: 1.1 x\r\nX-Request-Id: y",
        &[],
        &["via", "x-request-id"],
    ),
    ("Connection: \"X-D\"\r\nX-D: 1", &["connection"], &["x-d"]),
    (
        "Connection: Cookie, Authorization\r\nCookie: a=b\r\nAuthorization: x",
        &["cookie", "authorization"],
        &["host"],
    ),
    (
        "Connection: TE\r\nTE: trailers\r\nKeep-Alive: 5\r\nProxy-Connection: x",
        &["te", "keep-alive", "proxy-connection"],
        &["host"],
    ),
];

fn connection_takes_away_what_it_lists_and_no_framing(backend: Backend) {
    let origin = echo();
    let gateway = gateway(&origin, backend);
    let mut client = gateway.client();
    for (lines, gone, kept) in LISTED {
        let body = if lines.contains("Content-Length: ") {
            SMUGGLED
        } else {
            ""
        };
        let method = if body.is_empty() { "GET" } else { "POST" };
        let answer = client.ask(format!(
            "{method} /row HTTP/1.1\r\nHost: test\r\n{lines}\r\n\r\n{body}"
        ));
        assert_eq!(answer.status, 200, "{lines}");
        let head = origin.last();
        assert!(head.target == "/row", "{lines}: {head:?}");
        for name in gone {
            assert_eq!(head.field(name), None, "{lines}: {name}");
        }
        for name in kept {
            assert!(head.field(name).is_some(), "{lines}: {name}");
        }
    }
    let bytes = origin.received().concat();
    let (messages, end) = read_all(&bytes);
    assert_eq!((messages.len(), end), (LISTED.len(), None));
    assert_eq!(messages.iter().find_map(impure), None);
}

/// The origin never saw it, so its answer is not for those who have it.
fn a_field_that_connection_takes_away_selects_no_variant(backend: Backend) {
    let origin = Origin::start(|request, wire| {
        let language = request.field("x-language").unwrap_or("none").to_owned();
        wire.send(ok(
            "Cache-Control: max-age=60\r\nVary: X-Language\r\n",
            language,
        ));
        Next::Keep
    });
    let gateway = gateway(&origin, backend);
    let ask = |lines: &str| {
        let answer = gateway.ask(format!("GET /row HTTP/1.1\r\nHost: test\r\n{lines}\r\n"));
        String::from_utf8_lossy(&answer.body).into_owned()
    };
    let french = "X-Language: fr\r\n";
    let taken_away = "X-Language: fr\r\nConnection: x-language\r\n";
    assert_eq!(ask(taken_away), "none");
    assert_eq!(ask(french), "fr");
    assert_eq!(ask(taken_away), "none");
    assert_eq!(ask(""), "none");
    assert_eq!(origin.count(), 2);
}

fn an_absolute_target_is_cached_under_its_own_authority(backend: Backend) {
    let origin = Origin::start(|request, wire| {
        let host = request.field("host").unwrap_or_default().to_owned();
        wire.send(ok("Cache-Control: max-age=60\r\n", host));
        Next::Keep
    });
    let gateway = gateway(&origin, backend);
    let mut client = gateway.client();
    let mut ask = |target: &str, host: &str| {
        let answer = client.ask(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        String::from_utf8_lossy(&answer.body).into_owned()
    };
    assert_eq!(ask("http://other/row", "test"), "other");
    assert_eq!(ask("/row", "test"), "test");
    assert_eq!(ask("/row", "other"), "other");
    assert_eq!(ask("HTTP://TEST/row", "other"), "test");
    assert_eq!(origin.count(), 2);
}

/// What is stored for all spellings must not tell one from the others.
fn every_spelling_of_a_host_gets_one_answer(backend: Backend) {
    let origin = Origin::start(|request, wire| {
        let host = request.field("host").unwrap_or_default().to_owned();
        wire.send(ok("Cache-Control: max-age=60\r\n", host));
        Next::Keep
    });
    let gateway = gateway(&origin, backend);
    for host in ["TEST:80", "test:80", "tEsT:80"] {
        let answer = gateway.ask(format!("GET /row HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(answer.body, b"test:80", "{host}");
    }
    assert_eq!(origin.count(), 1);
}

/// Bytes behind a wish for an upgrade are no request's and no tunnel's before the origin has decided.
fn an_upgrade_s_bytes_wait_for_the_origin_s_word(backend: Backend) {
    const WISH: &str =
        "GET /row HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    for (accepts, rest) in [(false, BEHIND), (true, BEHIND), (true, SMUGGLED)] {
        let origin = Origin::start(move |request, wire| {
            if request.target != "/row" || !accepts {
                wire.send(ok("", &request.head));
                return Next::Keep;
            }
            wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
            let bytes = wire.bytes(rest.len());
            wire.send(bytes.to_ascii_lowercase());
            Next::Close
        });
        let gateway = gateway(&origin, backend);
        let mut client = gateway.client();
        client.send(format!("{WISH}{rest}"));
        if accepts {
            assert_eq!(client.head().map(|head| head.status), Ok(101));
            assert_eq!(
                client.until_end(),
                (rest.to_ascii_lowercase().into_bytes(), Ending::Closed)
            );
            assert_eq!(origin.count(), 1);
        } else {
            assert!(!is_behind(&client.response()));
            assert!(is_behind(&client.response()));
        }
    }
}

/// An origin that does not read it would take it for one.
fn the_rest_of_a_body_that_was_answered_early_is_no_request(backend: Backend) {
    for (fields, begun, rest) in [
        ("Content-Length: 43", "early", SMUGGLED),
        ("Content-Length: 38\r\nExpect: 100-continue", "", SMUGGLED),
        (
            "Transfer-Encoding: chunked",
            "5\r\nearly\r\n",
            "26\r\nGET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n\r\n0\r\n\r\n",
        ),
    ] {
        let origin = Origin::start(|request, wire| {
            wire.send(ok("Cache-Control: no-store\r\n", &request.head));
            Next::Keep
        });
        let gateway = gateway(&origin, backend);
        let mut client = gateway.client();
        let answer = client.ask(format!(
            "POST /row HTTP/1.1\r\nHost: test\r\n{fields}\r\n\r\n{begun}"
        ));
        assert_eq!(answer.status, 200, "{fields}");
        assert!(is_behind(&gateway.ask(BEHIND)), "{fields}");
        client.send(format!("{rest}{BEHIND}"));
        client.expect_end();
        assert!(is_behind(&gateway.ask(BEHIND)), "{fields}");
        let mut targets = origin.requests().into_iter().map(|request| request.target);
        assert!(targets.all(|target| target != "/smuggled"), "{fields}");
    }
}

/// A request for an upgrade may have a body; what is behind it waits.
fn a_body_before_a_tunnel_is_no_tunnel_s_bytes(backend: Backend) {
    let origin = Origin::start(|request, wire| {
        let body = wire.body(request).unwrap_or_default();
        wire.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        );
        wire.send(body);
        let bytes = wire.bytes(BEHIND.len());
        wire.send(bytes.to_ascii_lowercase());
        Next::Close
    });
    let gateway = gateway(&origin, backend);
    for framed in [
        format!("Content-Length: 38\r\n\r\n{SMUGGLED}"),
        format!("Transfer-Encoding: chunked\r\n\r\n26\r\n{SMUGGLED}\r\n0\r\n\r\n"),
    ] {
        let mut client = gateway.client();
        client.send(format!(
            "POST /row HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n{framed}{BEHIND}"
        ));
        assert_eq!(client.head().map(|head| head.status), Ok(101));
        let expected = format!("{SMUGGLED}{}", BEHIND.to_ascii_lowercase());
        assert_eq!(client.until_end(), (expected.into_bytes(), Ending::Closed));
    }
}

/// The judge itself: what an origin must not get does not pass it.
#[test]
fn the_judge_is_not_blind() {
    let post = |lines: &str| format!("POST /row HTTP/1.1\r\nHost: test\r\n{lines}\r\n\r\nhello");
    let verdict = |text: String| match read_all(text.as_bytes()) {
        (messages, None) => messages.iter().find_map(impure),
        (_, Some(fault)) => Some(format!("{fault:?}")),
    };
    assert_eq!(verdict(post("Content-Length: 5")), None);
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5, 5",
        "Content-Length: 05",
        "Content-Length: 6",
        "Content-Length: 4",
        "Content-Length: 5\r\nX : y",
        "Content-Length: 5\r\nHost: test",
        "Content-Length: 5\r\nUpgrade: h2c",
        "Content-Length: 5\r\nKeep-Alive: 5",
        "X: y",
    ] {
        assert!(verdict(post(lines)).is_some(), "{lines}");
    }
    assert_eq!(
        read_all(format!("{}{BEHIND}", get("/a")).as_bytes())
            .0
            .len(),
        2
    );
}
