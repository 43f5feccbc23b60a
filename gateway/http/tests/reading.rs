//! What every input shares: no panic, a verdict that does not change with what follows, and one reading. What is
//! accepted is read again by a slow reader that is plainly right, and by another parser.

use proptest::prelude::*;
use ultragate_http::{
    BodyLength, FieldTable, Fields, HeadLimits, Method, Parsed, Refusal, Request, Response, Target,
    Version, parse_request, parse_response, repair_response,
};

const LIMITS: HeadLimits = HeadLimits {
    head_bytes: 300,
    target_bytes: 60,
    fields: 8,
};

/// What came of parsing, without the views.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Partial,
    Whole(usize),
    Refused(Refusal),
}

fn request_verdict(bytes: &[u8]) -> Verdict {
    match parse_request(bytes, &mut FieldTable::new(), &LIMITS) {
        Parsed::Partial => Verdict::Partial,
        Parsed::Whole(request) => Verdict::Whole(request.length),
        Parsed::Refused(refusal) => Verdict::Refused(refusal),
    }
}

fn response_verdict(bytes: &[u8]) -> Verdict {
    match parse_response(bytes, &mut FieldTable::new(), &LIMITS) {
        Parsed::Partial => Verdict::Partial,
        Parsed::Whole(response) => Verdict::Whole(response.length),
        Parsed::Refused(refusal) => Verdict::Refused(refusal),
    }
}

/// Over growing prefixes: `Partial` until a verdict is reached, and that verdict ever after. A head is whole with its
/// last byte and not before.
fn is_steady(bytes: &[u8], verdict: impl Fn(&[u8]) -> Verdict) -> Result<(), TestCaseError> {
    let mut reached = Verdict::Partial;
    for length in 0..=bytes.len() {
        let now = verdict(&bytes[..length]);
        if reached != Verdict::Partial {
            prop_assert_eq!(now, reached, "{} bytes", length);
        } else if let Verdict::Whole(head) = now {
            prop_assert_eq!(head, length);
        }
        reached = now;
    }
    if reached == Verdict::Partial {
        prop_assert!(bytes.len() < LIMITS.head_bytes);
    }
    Ok(())
}

/// A field line, as the slow reader sees it.
type Line = (Vec<u8>, Vec<u8>);

fn is_token(text: &[u8]) -> bool {
    !text.is_empty()
        && text
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
}

/// Splits at each `CRLF`, of which `head` is a whole number of lines, and checks each line and field by the letter.
fn slow_lines(head: &[u8]) -> (Vec<u8>, Vec<Line>) {
    let text: String = head.iter().copied().map(char::from).collect();
    let mut lines: Vec<&str> = text.split("\r\n").collect();
    assert_eq!(lines.pop(), Some(""), "ends in CRLF");
    assert_eq!(lines.pop(), Some(""), "ends in an empty line");
    let latin = |text: &str| text.chars().map(|c| c as u8).collect::<Vec<u8>>();
    for line in &lines {
        assert!(!line.is_empty(), "one empty line only");
        assert!(
            line.chars().all(|c| c == '\t' || (c >= ' ' && c != '\x7f')),
            "no control"
        );
    }
    let fields = lines[1..].iter().map(|line| {
        let (name, value) = line.split_once(':').expect("a colon");
        assert!(is_token(&latin(name)), "{name:?}");
        (latin(name), latin(value.trim_matches([' ', '\t'])))
    });
    (latin(lines[0]), fields.collect())
}

fn values(lines: &[Line], name: &str) -> Vec<String> {
    let named = lines
        .iter()
        .filter(|(other, _)| other.eq_ignore_ascii_case(name.as_bytes()));
    named
        .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
        .collect()
}

fn same_fields(fields: &Fields<'_>, lines: &[Line]) {
    let read: Vec<Line> = fields
        .iter()
        .map(|(_, name, value)| (name.to_vec(), value.to_vec()))
        .collect();
    assert_eq!(read, lines);
}

/// `None` where there is no framing field.
fn slow_framing(version: Version, lines: &[Line]) -> Option<BodyLength> {
    let (codings, lengths) = (
        values(lines, "transfer-encoding"),
        values(lines, "content-length"),
    );
    if !codings.is_empty() {
        assert!(lengths.is_empty() && version == Version::Http11);
        assert_eq!(codings.join(",").to_ascii_lowercase(), "chunked");
        return Some(BodyLength::Chunked);
    }
    let lengths: Vec<u64> = lengths
        .iter()
        .flat_map(|value| value.split(','))
        .map(|member| member.trim_matches([' ', '\t']))
        .map(|member| {
            assert!(member.bytes().all(|b| b.is_ascii_digit()));
            member.parse().expect("a number")
        })
        .collect();
    assert!(lengths.windows(2).all(|pair| pair[0] == pair[1]));
    lengths.first().copied().map(BodyLength::Length)
}

fn read_again(bytes: &[u8], request: &Request<'_>) {
    let head = &bytes[..request.length];
    let (line, lines) = slow_lines(head.strip_prefix(b"\r\n").unwrap_or(head));
    same_fields(&request.fields, &lines);
    let words: Vec<&[u8]> = line.split(|&b| b == b' ').collect();
    let [method, target, version] = words[..] else {
        panic!("three words")
    };
    assert!(is_token(method) && method == request.method_bytes && method != b"CONNECT");
    assert!(target.iter().all(|b| b.is_ascii_graphic() && *b != b'#'));
    assert!(version.starts_with(b"HTTP/1.") && version.len() == 8 && version[7].is_ascii_digit());
    assert_eq!(request.version == Version::Http10, version[7] == b'0');
    assert_eq!(
        slow_framing(request.version, &lines).unwrap_or(BodyLength::Empty),
        request.body
    );

    let hosts = values(&lines, "host");
    assert!(hosts.len() == 1 || (hosts.is_empty() && request.version == Version::Http10));
    let host = hosts.first().map_or("", String::as_str);
    assert!(!host.contains([' ', '/', '@', '?', '#', '\\']));
    if target[0] == b'/' {
        assert_eq!(
            (request.path_and_query, request.host),
            (target, host.as_bytes())
        );
    } else if target == b"*" {
        assert_eq!(
            (request.target, request.method, request.host),
            (Target::Asterisk, Method::Options, host.as_bytes())
        );
    } else {
        let path = if request.path_and_query == b"*" || !target.ends_with(request.path_and_query) {
            b""
        } else {
            request.path_and_query
        };
        let start = &target[..target.len() - path.len()];
        let rebuilt = [
            [b"http://", request.host].concat(),
            [b"https://", request.host].concat(),
        ];
        assert!(
            rebuilt.iter().any(|text| text.eq_ignore_ascii_case(start)),
            "{start:?}"
        );
    }
    let expectations = values(&lines, "expect");
    assert!(
        expectations
            .iter()
            .all(|value| value.eq_ignore_ascii_case("100-continue"))
    );
    assert_eq!(
        request.expects_continue,
        !expectations.is_empty() && request.version == Version::Http11
    );
}

fn response_read_again(bytes: &[u8], response: &Response<'_>) {
    let (line, lines) = slow_lines(&bytes[..response.length]);
    same_fields(&response.fields, &lines);
    let mut words = line.splitn(3, |&b| b == b' ');
    let version = words.next().expect("a word");
    assert!(version.starts_with(b"HTTP/1.") && version.len() == 8 && version[7].is_ascii_digit());
    assert_eq!(
        words.next().expect("a word"),
        response.status.to_string().as_bytes()
    );
    assert!((100..1000).contains(&response.status));
    assert_eq!(words.next().unwrap_or_default(), response.reason);
    let framing = slow_framing(response.version, &lines);
    if response.status >= 200 && response.status != 204 && response.status != 304 {
        assert_eq!(
            framing.unwrap_or(BodyLength::UntilClose),
            response.body(Method::Get)
        );
    }
    assert_eq!(response.body(Method::Head), BodyLength::Empty);
}

/// Whatever is accepted here, the other parser reads as well, and in the same way; minor versions beyond 1 it does not
/// know.
fn same_as_httparse(bytes: &[u8], request: &Request<'_>) {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut other = httparse::Request::new(&mut headers);
    match other.parse(bytes) {
        Err(httparse::Error::Version) => return,
        parsed => assert_eq!(parsed, Ok(httparse::Status::Complete(request.length))),
    }
    assert_eq!(other.method.map(str::as_bytes), Some(request.method_bytes));
    assert_eq!(
        other.version,
        Some(u8::from(request.version == Version::Http11))
    );
    same_as_httparse_fields(&request.fields, other.headers);
}

fn response_same_as_httparse(bytes: &[u8], response: &Response<'_>) {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut other = httparse::Response::new(&mut headers);
    match other.parse(bytes) {
        Err(httparse::Error::Version) => return,
        parsed => assert_eq!(parsed, Ok(httparse::Status::Complete(response.length))),
    }
    assert_eq!(other.code, Some(response.status));
    same_as_httparse_fields(&response.fields, other.headers);
}

fn same_as_httparse_fields(fields: &Fields<'_>, headers: &[httparse::Header<'_>]) {
    assert_eq!(fields.len(), headers.len());
    for ((_, name, value), header) in fields.iter().zip(headers) {
        assert_eq!((name, value), (header.name.as_bytes(), header.value));
    }
}

/// The pieces of which requests are made, rightly and wrongly.
fn request_bytes() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        8 => prop::sample::select(vec![
            "GET / HTTP/1.1", "POST /a?b HTTP/1.0", "OPTIONS * HTTP/1.1", "GET http://b/c HTTP/1.1",
            "OPTIONS https://B:1 HTTP/1.0", "X /%2e HTTP/1.7",
        ]),
        1 => prop::sample::select(vec![
            "CONNECT a:1 HTTP/1.1", "GET a HTTP/1.1", "GET / HTTP/2.0", "GET / http/1.1", "GET /",
        ]),
    ];
    (
        prop::sample::select(vec!["", "", "", "\r\n", "\n"]),
        line,
        field_lines(),
        prop::sample::select(vec!["\r\n", "\r\n", "\r\nX", "\n"]),
    )
        .prop_map(|(start, line, fields, end)| {
            format!("{start}{line}\r\n{fields}{end}").into_bytes()
        })
}

fn response_bytes() -> impl Strategy<Value = Vec<u8>> {
    let line = prop::sample::select(vec![
        "HTTP/1.1 200 OK",
        "HTTP/1.0 304 ",
        "HTTP/1.1 100",
        "HTTP/1.1 99 X",
        "HTTP/1.1 999 a b",
    ]);
    (
        line,
        field_lines(),
        prop::sample::select(vec!["\r\n", "\r\n", "\r\nX"]),
    )
        .prop_map(|(line, fields, end)| format!("{line}\r\n{fields}{end}").into_bytes())
}

fn field_lines() -> impl Strategy<Value = String> {
    let right = prop::sample::select(vec![
        "Content-Length: 5",
        "content-length:5, 5",
        "Transfer-Encoding: chunked",
        "Connection: close",
        "connection:\tkeep-alive, X-Y ",
        "Expect: 100-continue",
        "X-Y: \t b  c\t",
        "x-y:",
        "Accept: a:b",
        "X-Y: é",
    ]);
    let name = prop::sample::select(vec![
        "Host",
        "content-length",
        "Transfer-Encoding",
        "Expect",
        "X-Y",
        "X-Y ",
        " X",
        "",
        "X Y",
        "Content_Length",
    ]);
    let value = prop::sample::select(vec![
        "a",
        "6",
        "5, 6",
        "Chunked ",
        "gzip",
        "100-continue",
        "",
        "5\r\n 6",
        "u@a",
        "example.org:80",
    ]);
    let any = (name, value).prop_map(|(name, value)| format!("{name}: {value}"));
    let line = prop_oneof![4 => right.prop_map(str::to_owned), 1 => any];
    let ended = line.prop_map(|line| line + "\r\n");
    let host = prop::sample::select(vec![
        "Host: a\r\n",
        "host:example.org:80 \r\n",
        "Host:\r\n",
        "",
    ]);
    (host, prop::collection::vec(ended, 0..4))
        .prop_map(|(host, fields)| host.to_owned() + &fields.concat())
}

/// Changes a few bytes: puts one in, takes one out, or replaces one.
fn damaged(bytes: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        any::<u8>(),
        prop::sample::select(b"\r\n\t :\0;,/*@#\x7f\x80".to_vec())
    ];
    let change = (any::<prop::sample::Index>(), 0..3u8, byte);
    (bytes, prop::collection::vec(change, 0..3)).prop_map(|(mut bytes, changes)| {
        for (at, how, byte) in changes {
            let at = at.index(bytes.len());
            match how {
                0 => bytes.insert(at, byte),
                1 if bytes.len() > 1 => drop(bytes.remove(at)),
                _ => bytes[at] = byte,
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn requests_are_read_in_one_way(bytes in damaged(request_bytes())) {
        is_steady(&bytes, request_verdict)?;
        if let Parsed::Whole(request) = parse_request(&bytes, &mut FieldTable::new(), &LIMITS) {
            read_again(&bytes, &request);
            same_as_httparse(&bytes, &request);
        }
    }

    #[test]
    fn responses_are_read_in_one_way(bytes in damaged(response_bytes())) {
        is_steady(&bytes, response_verdict)?;
        if let Parsed::Whole(response) = parse_response(&bytes, &mut FieldTable::new(), &LIMITS) {
            response_read_again(&bytes, &response);
            response_same_as_httparse(&bytes, &response);
        }
    }

    /// A repaired head needs no second repair, and is read in one way or refused.
    #[test]
    fn repairs_end(bytes in damaged(response_bytes())) {
        if let Some((text, replaced)) = repair_response(&bytes) {
            prop_assert!(bytes[..replaced].ends_with(b"\r\n\r\n"));
            prop_assert_eq!(repair_response(&text), None);
            prop_assert!(response_verdict(&text) != Verdict::Partial);
            if let Parsed::Whole(response) = parse_response(&text, &mut FieldTable::new(), &LIMITS) {
                prop_assert_eq!(response.length, text.len());
                response_read_again(&text, &response);
            }
        }
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        is_steady(&bytes, request_verdict)?;
        is_steady(&bytes, response_verdict)?;
        let _ = repair_response(&bytes);
    }
}

/// Of a well-formed head every part is incomplete, and nothing more.
#[test]
fn every_part_of_a_head_is_partial() {
    let requests: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\r\nPOST http://b/c?d HTTP/1.0\r\nHost: [::1]:80\r\nX-Y:\tz \r\nContent-Length: 5\r\n\
          Expect: 100-continue\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nhost:\r\ntransfer-encoding: chunked\r\nConnection: close, x\r\n\r\n",
        b"M-SEARCH /long/path/of/some/length HTTP/1.1\r\nHost: example.org\r\nObs: \xff\x80\r\n\r\n",
    ];
    for head in requests {
        for length in 0..head.len() {
            assert_eq!(
                request_verdict(&head[..length]),
                Verdict::Partial,
                "{length} of {}",
                head.escape_ascii()
            );
        }
        assert_eq!(request_verdict(head), Verdict::Whole(head.len()));
    }
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX : y\r\n z\r\n\r\n";
    let (head, _) = repair_response(head).expect("a repair");
    for length in 0..head.len() {
        assert_eq!(response_verdict(&head[..length]), Verdict::Partial);
    }
    assert_eq!(response_verdict(&head), Verdict::Whole(head.len()));
}
