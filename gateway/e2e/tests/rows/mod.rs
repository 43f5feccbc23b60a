//! What clients may send to make readers disagree, and what is to come of it.

#![allow(unreachable_pub)] // of a test

/// A request that nobody sends: it lies where a body is announced.
pub const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n";
const _: () = assert!(SMUGGLED.len() == 38 && SMUGGLED.len() == 0x26);
pub const BEHIND: &str = "GET /behind HTTP/1.1\r\nHost: test\r\n\r\n";

#[derive(Clone, Copy, Debug)]
pub enum Want {
    /// This status and the end; nothing for the origin.
    Ended(u16),
    /// The same, but of a request that the origin may have got the beginning of.
    Cut(u16),
    /// An answer from the origin, which got one request with this body; then the request behind.
    Passed(&'static str),
    /// The same, but the connection ends before the request behind.
    PassedLast(&'static str),
    /// The gateway's own answer, then the request behind.
    Own(u16),
}

use Want::{Cut, Ended, Own, Passed, PassedLast};

/// What of a row differs from its table's other rows, and what is to come of it.
pub type Table = &'static [(&'static str, Want)];

pub const LENGTHS: Table = &[
    ("Content-Length: 38", Passed(SMUGGLED)),
    ("content-LENGTH:\t38 \t", Passed(SMUGGLED)),
    ("Content-Length: 00038", Passed(SMUGGLED)),
    ("Content-Length: 38, 38", Passed(SMUGGLED)),
    ("Content-Length: 38\r\nContent-Length: 38", Passed(SMUGGLED)),
    (
        "Content-Length: 38 ,38\r\nX: y\r\ncontent-length: 038",
        Passed(SMUGGLED),
    ),
    ("Content-Length: +38", Ended(400)),
    ("Content-Length: -38", Ended(400)),
    ("Content-Length: -0", Ended(400)),
    ("Content-Length: 0x26", Ended(400)),
    ("Content-Length: 3 8", Ended(400)),
    ("Content-Length: 3\t8", Ended(400)),
    ("Content-Length: 38.0", Ended(400)),
    ("Content-Length: 38e0", Ended(400)),
    ("Content-Length: 38;a", Ended(400)),
    ("Content-Length: 38 bytes", Ended(400)),
    ("Content-Length: \"38\"", Ended(400)),
    ("Content-Length: 3_8", Ended(400)),
    ("Content-Length: ", Ended(400)),
    ("Content-Length: ,", Ended(400)),
    ("Content-Length: 38,", Ended(400)),
    ("Content-Length: ,38", Ended(400)),
    ("Content-Length: 38,,38", Ended(400)),
    ("Content-Length: 38, 0", Ended(400)),
    ("Content-Length: 0, 38", Ended(400)),
    ("Content-Length: 38\r\nContent-Length: 0", Ended(400)),
    ("Content-Length: 0\r\nContent-Length: 38", Ended(400)),
    ("Content-Length: 38\r\nContent-Length:", Ended(400)),
    ("Content-Length: 38\r\nContent-Length: x", Ended(400)),
    (
        "Content-Length: 38\r\nX: y\r\nCONTENT-LENGTH: 37",
        Ended(400),
    ),
    ("Content-Length : 38", Ended(400)),
    ("Content-Length\t: 38", Ended(400)),
    ("Content-Length\u{b}: 38", Ended(400)),
    ("Content-Length:\u{b}38", Ended(400)),
    ("Content-Length:\u{c}38", Ended(400)),
    ("Content-Length:\u{a0}38", Ended(400)),
    ("Content-Length: 38\0", Ended(400)),
    ("Content-Length\0: 38", Ended(400)),
    ("\0Content-Length: 38", Ended(400)),
    ("Content-Length: 38\r", Ended(400)),
    ("Content-Length: 3\r\n 8", Ended(400)),
    ("Content-Length:\r\n 38", Ended(400)),
    ("X: y\r\n Content-Length: 38", Ended(400)),
    ("X: y\rContent-Length: 38", Ended(400)),
    ("X: y\nContent-Length: 38", Ended(400)),
    ("X: y\n\rContent-Length: 38", Ended(400)),
    ("Content-Length: ３８", Ended(400)),
    ("Content-Length: 18446744073709551654", Ended(400)),
    (
        "Content-Length: 340282366920938463463374607431768211494",
        Ended(400),
    ),
    ("Content-Length: 18446744073709551615", Ended(413)),
    ("Content-Length: 9223372036854775808", Ended(413)),
    ("Content-Length: 1048577", Ended(413)),
];

pub const CODINGS: Table = &[
    ("Transfer-Encoding: chunked", Passed(SMUGGLED)),
    ("transfer-encoding:\tCHUNKED\t ", Passed(SMUGGLED)),
    ("Transfer-Encoding: chunked, chunked", Ended(400)),
    (
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        Ended(400),
    ),
    ("Transfer-Encoding: chunked,", Ended(400)),
    ("Transfer-Encoding: ,chunked", Ended(400)),
    ("Transfer-Encoding:", Ended(400)),
    ("Transfer-Encoding: chunked;q=1", Ended(400)),
    ("Transfer-Encoding: chunked ;", Ended(400)),
    ("Transfer-Encoding: \"chunked\"", Ended(400)),
    ("Transfer-Encoding: chun ked", Ended(400)),
    ("Transfer-Encoding: chunked x", Ended(400)),
    ("Transfer-Encoding: chunked\0", Ended(400)),
    ("Transfer-Encoding: chunked\u{b}", Ended(400)),
    ("Transfer-Encoding:\u{b}chunked", Ended(400)),
    ("Transfer-Encoding:\u{a0}chunked", Ended(400)),
    ("Transfer-Encoding: chun\u{212a}ed", Ended(400)),
    ("Transfer-Encoding : chunked", Ended(400)),
    ("Transfer-Encoding\t: chunked", Ended(400)),
    ("Transfer-Encoding\r\n: chunked", Ended(400)),
    ("Transfer-Encoding:\r\n chunked", Ended(400)),
    ("Transfer-Encoding: x\r\n chunked", Ended(400)),
    ("X: y\rTransfer-Encoding: chunked", Ended(400)),
    ("X: y\nTransfer-Encoding: chunked", Ended(400)),
    ("Transfer-Encoding: chunked\rX: y", Ended(400)),
    ("Transfer-Encoding: identity", Ended(501)),
    ("Transfer-Encoding: identity, chunked", Ended(501)),
    ("Transfer-Encoding: chunked, identity", Ended(501)),
    (
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        Ended(501),
    ),
    ("Transfer-Encoding: xchunked", Ended(501)),
    ("Transfer-Encoding: chunkedx", Ended(501)),
    ("Transfer-Encoding: x-chunked", Ended(501)),
    ("Transfer-Encoding: 'chunked'", Ended(501)),
    ("Transfer-Encoding: gzip", Ended(501)),
    ("Transfer-Encoding: gzip, chunked", Ended(501)),
    (
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
        Ended(501),
    ),
    ("Transfer-Encoding: trailers", Ended(501)),
    (
        "Content-Length: 38\r\nTransfer-Encoding: chunked",
        Ended(400),
    ),
    (
        "Transfer-Encoding: chunked\r\nContent-Length: 38",
        Ended(400),
    ),
    (
        "Content-Length: 0\r\nTransfer-Encoding: chunked",
        Ended(400),
    ),
    (
        "Content-Length: 38\r\nTransfer-Encoding: identity",
        Ended(400),
    ),
    (
        "Content-Length: 38\r\nTransfer-Encoding: xchunked",
        Ended(400),
    ),
    (
        "Content-Length: x\r\nTransfer-Encoding: chunked",
        Ended(400),
    ),
    ("Content-Length:\r\nTransfer-Encoding: chunked", Ended(400)),
];

/// Before a Host and an empty line, with a chunked body.
pub const CODED_LINES: Table = &[
    ("GET /row HTTP/1.1", Passed("")),
    ("POST /row HTTP/1.7", Passed("")),
    ("POST /row HTTP/1.0", Ended(400)),
    ("POST /row HTTP/1.0\r\nContent-Length: 5", Ended(400)),
    ("POST /row HTTP/1.0\r\nConnection: keep-alive", Ended(400)),
    ("POST /row HTTP/2.0", Ended(505)),
];

pub const CHUNKS: Table = &[
    ("5\r\nhello\r\n0\r\n\r\n", Passed("hello")),
    (
        "2;a\r\nhe\r\n3 ;b=\"c;\\\"\"\r\nllo\r\n00;d\r\n\r\n",
        Passed("hello"),
    ),
    ("0000000000000005\r\nhello\r\n0\r\n\r\n", Passed("hello")),
    ("A\r\nhello\r\n0\r\n\r\n0\r\n\r\n", Passed("hello\r\n0\r\n")),
    ("5\r\nhello\r\n0\r\n\r\n\r\n", Passed("hello")),
    ("5\t;\r\nhello\r\n0\r\nX: y\r\n\r\n", Passed("hello")),
    ("00000000000000005\r\nhello\r\n0\r\n\r\n", Cut(400)),
    ("10000000000000005\r\nhello\r\n0\r\n\r\n", Cut(400)),
    ("5 \r\nhello\r\n0\r\n\r\n", Cut(400)),
    ("5\t\r\nhello\r\n0\r\n\r\n", Cut(400)),
    ("\t5\r\nhello\r\n0\r\n\r\n", Cut(400)),
    ("5h\r\nhello\r\n0\r\n\r\n", Cut(400)),
    ("5,\r\nhello\r\n0\r\n\r\n", Cut(400)),
    ("5_\r\nhello\r\n0\r\n\r\n", Cut(400)),
    ("5.0\r\nhello\r\n0\r\n\r\n", Cut(400)),
    ("0 5\r\nhello\r\n0\r\n\r\n", Cut(400)),
    ("0X5\r\nhello\r\n0\r\n\r\n", Cut(400)),
    ("٥\r\nhello\r\n0\r\n\r\n", Cut(400)),
    ("\"5\"\r\nhello\r\n0\r\n\r\n", Cut(400)),
    (";a\r\nhello\r\n0\r\n\r\n", Cut(400)),
    ("5\0\r\nhello\r\n0\r\n\r\n", Cut(400)),
    ("5\rhello\r\n0\r\n\r\n", Cut(400)),
    ("5\r\r\nhello\r\n0\r\n\r\n", Cut(400)),
    ("5\n\rhello\r\n0\r\n\r\n", Cut(400)),
    ("\n5\r\nhello\r\n0\r\n\r\n", Cut(400)),
    ("\r\n5\r\nhello\r\n0\r\n\r\n", Cut(400)),
    ("5;a\nhello\r\n0\r\n\r\n", Cut(400)),
    ("5;a\rb\r\nhello\r\n0\r\n\r\n", Cut(400)),
    ("5;a=\"\r\nhello\r\n0\r\n\r\n", Cut(400)),
    ("5;a=\"\nhello\"\r\n0\r\n\r\n", Cut(400)),
    ("5;a=\"b\\\"\r\nhello\r\n0\r\n\r\n", Cut(400)),
    ("5;a=\"b\\\r\nhello\r\n0\r\n\r\n", Cut(400)),
    ("5;a\0\r\nhello\r\n0\r\n\r\n", Cut(400)),
    ("5\r\nhello0\r\n\r\n", Cut(400)),
    ("5\r\nhello\r0\r\n\r\n", Cut(400)),
    ("5\r\nhello\n\r\n0\r\n\r\n", Cut(400)),
    ("5\r\nhello\r\r\n0\r\n\r\n", Cut(400)),
    ("5\r\nhell\r\n0\r\n\r\n", Cut(400)),
    ("5\r\nhello \r\n0\r\n\r\n", Cut(400)),
    ("-0\r\n\r\n", Cut(400)),
    ("+0\r\n\r\n", Cut(400)),
    ("0x0\r\n\r\n", Cut(400)),
    ("0 \r\n\r\n", Cut(400)),
    ("0\n\r\n", Cut(400)),
    ("0\r\n\n", Cut(400)),
    ("0\r\n\r\r\n", Cut(400)),
    ("0\r\n\rX: y\r\n\r\n", Cut(400)),
    ("0\r\nX: y\n\r\n", Cut(400)),
    ("0\r\nX: a\rb\r\n\r\n", Cut(400)),
    ("0\r\nX: a\0b\r\n\r\n", Cut(400)),
    ("0\r\n X: y\r\n\r\n", Cut(400)),
    ("0\r\nX: y\r\n z\r\n\r\n", Cut(400)),
    ("0\r\nX : y\r\n\r\n", Cut(400)),
    ("0\r\n: y\r\n\r\n", Cut(400)),
    (
        "0\r\nGET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n",
        Cut(400),
    ),
];

pub const HEADS: Table = &[
    ("\r\nGET /row HTTP/1.1\r\nHost: test\r\n\r\n", Passed("")),
    (
        "GET /row HTTP/1.1\r\nHost: test\r\nX:\r\nX:\t\r\n\r\n",
        Passed(""),
    ),
    (
        "\r\n\r\nGET /row HTTP/1.1\r\nHost: test\r\n\r\n",
        Ended(400),
    ),
    ("\nGET /row HTTP/1.1\r\nHost: test\r\n\r\n", Ended(400)),
    ("\r\r\nGET /row HTTP/1.1\r\nHost: test\r\n\r\n", Ended(400)),
    ("\0GET /row HTTP/1.1\r\nHost: test\r\n\r\n", Ended(400)),
    ("GET /row HTTP/1.1\rHost: test\r\n\r\n", Ended(400)),
    ("GET /row HTTP/1.1\nHost: test\r\n\r\n", Ended(400)),
    ("GET /row HTTP/1.1\r\nHost: test\n\r\n", Ended(400)),
    ("GET /row HTTP/1.1\r\nHost: test\r\n\n", Ended(400)),
    ("GET /row HTTP/1.1\r\nHost: test\r\n\r\r\n", Ended(400)),
    ("GET /row HTTP/1.1\r\nHost: test\r\r\n\r\n", Ended(400)),
    ("GET /row HTTP/1.1\r\n Host: test\r\n\r\n", Ended(400)),
    (
        "GET /row HTTP/1.1\r\n\tX: y\r\nHost: test\r\n\r\n",
        Ended(400),
    ),
    ("GET /row HTTP/1.1\r\nHost: test\r\nX\r\n\r\n", Ended(400)),
    (
        "GET /row HTTP/1.1\r\nHost: test\r\nX y: z\r\n\r\n",
        Ended(400),
    ),
    (
        "GET /row HTTP/1.1\r\nHost: test\r\nGET /smuggled HTTP/1.1\r\n\r\n",
        Ended(400),
    ),
    ("GET /row\tHTTP/1.1\r\nHost: test\r\n\r\n", Ended(400)),
    ("GET\t/row HTTP/1.1\r\nHost: test\r\n\r\n", Ended(400)),
    ("GET /row\u{b}HTTP/1.1\r\nHost: test\r\n\r\n", Ended(400)),
    ("GET /row  HTTP/1.1\r\nHost: test\r\n\r\n", Ended(400)),
    ("GET /row HTTP/1.1 x\r\nHost: test\r\n\r\n", Ended(400)),
    ("GET /row x HTTP/1.1\r\nHost: test\r\n\r\n", Ended(400)),
    (
        "GET /row HTTP/1.1 HTTP/1.1\r\nHost: test\r\n\r\n",
        Ended(400),
    ),
    ("GET HTTP/1.1\r\nHost: test\r\n\r\n", Ended(400)),
    ("/row HTTP/1.1\r\nHost: test\r\n\r\n", Ended(400)),
    ("GET /row HTTP/1.\r\nHost: test\r\n\r\n", Ended(400)),
    ("GET /row HTTP/1.10\r\nHost: test\r\n\r\n", Ended(400)),
    ("GET /row HTTP/01.1\r\nHost: test\r\n\r\n", Ended(400)),
    ("GET /row HTTP/1,1\r\nHost: test\r\n\r\n", Ended(400)),
    ("GET /row HTTPS/1.1\r\nHost: test\r\n\r\n", Ended(400)),
    ("GET /row HTTP /1.1\r\nHost: test\r\n\r\n", Ended(400)),
    ("GET /row HTTP/0.9\r\nHost: test\r\n\r\n", Ended(505)),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Ended(505)),
    ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Ended(400)),
    ("\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}", Ended(400)),
];

/// Lines behind `GET /row HTTP/1.1`.
pub const HOSTS: Table = &[
    ("Host: test", Passed("")),
    ("host:test:8080", Passed("")),
    ("Host:", Passed("")),
    ("X: y", Ended(400)),
    ("Host: test\r\nHost: test", Ended(400)),
    ("Host: test\r\nX: y\r\nhOST: other", Ended(400)),
    ("Host: test\r\nHost:", Ended(400)),
    ("Host: test\r\nHost : other", Ended(400)),
    ("Host: test\r\n Host: other", Ended(400)),
    ("Host:\r\n test", Ended(400)),
    ("Host : test", Ended(400)),
    ("Host: test, other", Ended(400)),
    ("Host: test other", Ended(400)),
    ("Host: test\tother", Ended(400)),
    ("Host: test\0", Ended(400)),
    ("Host: http://test", Ended(400)),
    ("Host: user@test", Ended(400)),
    ("Host: test:80:80", Ended(400)),
    ("Host: test:-1", Ended(400)),
    ("Host: test:65536", Ended(400)),
    ("Host: :80", Ended(400)),
    ("Host: test/path", Ended(400)),
    ("Host: test?query", Ended(400)),
    ("Host: test#fragment", Ended(400)),
    ("Host: test\\other", Ended(400)),
    ("Host: [::1", Ended(400)),
    ("Host: ::1", Ended(400)),
    ("Host: [::1]other", Ended(400)),
    ("Host: [::g]", Ended(400)),
    ("Host: t\u{e9}st", Ended(400)),
];

/// Request lines before `Host: test`, without their version.
pub const TARGETS: Table = &[
    ("get /row", Passed("")),
    ("A!#$%&'*+-.^_`|~1 /row", Passed("")),
    ("TRACE /row", Passed("")),
    ("OPTIONS *", Passed("")),
    ("OPTIONS http://test", Passed("")),
    ("GET http://test/row?a=b", Passed("")),
    ("GET HTTPS://other:8080/row", Passed("")),
    ("GET http://test", Passed("")),
    ("GET //other/row", Passed("")),
    ("GET /row/../%2e%2e/%00%0d%0a", Passed("")),
    ("GET /http://other/row", Passed("")),
    ("GET *", Ended(400)),
    ("POST *", Ended(400)),
    ("OPTIONS *x", Ended(400)),
    ("OPTIONS **", Ended(400)),
    ("GET row", Ended(400)),
    ("GET ?row", Ended(400)),
    ("GET test:80", Ended(400)),
    ("connect test:80", Ended(400)),
    ("GET http:/row", Ended(400)),
    ("GET http:///row", Ended(400)),
    ("GET http://user@test/row", Ended(400)),
    ("GET http://test:99999/row", Ended(400)),
    ("GET http://test?row", Ended(400)),
    ("GET http://test\\row", Ended(400)),
    ("GET http://[::1/row", Ended(400)),
    ("GET ftp://test/row", Ended(400)),
    ("GET javascript:row", Ended(400)),
    ("GET /row#fragment", Ended(400)),
    ("GET /r\u{e9}w", Ended(400)),
    ("G(T /row", Ended(400)),
    ("GET: /row", Ended(400)),
    ("\"GET\" /row", Ended(400)),
    ("G\u{e9}T /row", Ended(400)),
    ("CONNECT test:443", Ended(501)),
    ("CONNECT /row", Ended(501)),
    ("CONNECT *", Ended(501)),
    ("CONNECT http://test/row", Ended(501)),
];

/// Whole requests that end here, and their bodies.
pub const OWN: Table = &[
    ("GET /health HTTP/1.1\r\nHost: test\r\n\r\n", Own(200)),
    (
        "OPTIONS /row HTTP/1.1\r\nHost: test\r\nMax-Forwards: 0\r\n\r\n",
        Own(200),
    ),
    (
        "TRACE /row HTTP/1.1\r\nHost: test\r\nMax-Forwards: 0\r\n\r\n",
        Own(405),
    ),
    ("GET /admin/x HTTP/1.1\r\nHost: test\r\n\r\n", Own(403)),
    (
        "GET /health HTTP/1.1\r\nHost: test\r\nContent-Length: 38\r\n\r\n\
         GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n",
        Ended(200),
    ),
    (
        "GET /health HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 38\r\n\r\n\
         GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n",
        Ended(200),
    ),
    (
        "POST /admin/x HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n\
         26\r\nGET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n\r\n0\r\n\r\n",
        Ended(403),
    ),
    (
        "OPTIONS /row HTTP/1.1\r\nHost: test\r\nMax-Forwards: 0\r\nContent-Length: 38\r\n\r\n\
         GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n",
        Ended(200),
    ),
    (
        "TRACE /row HTTP/1.1\r\nHost: test\r\nMax-Forwards: 0\r\nContent-Length: 38\r\n\r\n\
         GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n",
        Ended(405),
    ),
    (
        "CONNECT test:443 HTTP/1.1\r\nHost: test:443\r\nContent-Length: 38\r\n\r\n\
         GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n",
        Ended(501),
    ),
];

/// Lines beside a Host and a Content-Length.
pub const PROMISES: Table = &[
    ("Connection: close", PassedLast(SMUGGLED)),
    (
        "Connection: x\r\nConnection: keep-alive, ClOsE",
        PassedLast(SMUGGLED),
    ),
    (
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA",
        Passed(SMUGGLED),
    ),
    (
        "Connection: Upgrade\r\nUpgrade: websocket, H2C",
        Passed(SMUGGLED),
    ),
    (
        "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c-14",
        Passed(SMUGGLED),
    ),
    ("Upgrade: h2c", Passed(SMUGGLED)),
    ("Upgrade: websocket", Passed(SMUGGLED)),
    ("Connection: Upgrade", Passed(SMUGGLED)),
    (
        "Connection: Upgrade\r\nUpgrade: websocket",
        Passed(SMUGGLED),
    ),
    ("Expect: 100-continue", Passed(SMUGGLED)),
    (
        "expect: 100-CONTINUE\r\nExpect: 100-continue",
        Passed(SMUGGLED),
    ),
    ("Expect:", Ended(417)),
    ("Expect: 100 continue", Ended(417)),
    ("Expect: 100-continue, 100-continue", Ended(417)),
    ("Expect: 100-continue;x", Ended(417)),
    ("Expect: x100-continue", Ended(417)),
    ("Expect: 100-continue\r\nExpect: x", Ended(417)),
];
