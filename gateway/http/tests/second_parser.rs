//! What we accept, a second reader that shares nothing with ours reads the same, and the other way round: nobody behind us
//! can see a message end elsewhere.

mod changes;
mod pair;
mod second;

use changes::{corpus_of, each_changed};
use pair::read_alike;
use proptest::prelude::*;

const CHANGES_PER_EXAMPLE: usize = 20_000;

#[test]
fn changed_examples_are_read_alike() {
    let examples = [corpus_of("request"), corpus_of("body")].concat();
    let mut accepted = 0;
    each_changed(&examples, CHANGES_PER_EXAMPLE, |text| {
        accepted += read_alike(text);
    });
    // Else most changes break a message at its first line, and little was compared.
    assert!(
        accepted > examples.len() * CHANGES_PER_EXAMPLE / 20,
        "{accepted} messages were whole"
    );
}

#[test]
fn rules_are_read_alike() {
    for line in LINES {
        for framing in FRAMINGS {
            for host in HOSTS {
                let text =
                    format!("{line}\r\n{host}\r\n{framing}GET / HTTP/1.1\r\nHost: b\r\n\r\n");
                read_alike(text.as_bytes());
            }
        }
    }
}

const LINES: &[&str] = &[
    "GET / HTTP/1.1",
    "POST /a?b HTTP/1.0",
    "OPTIONS * HTTP/1.1",
    "OPTIONS http://c HTTP/1.1",
    "GET http://c/d HTTP/1.1",
    "GET HTTPS://c:1 HTTP/1.0",
    "GET c:1 HTTP/1.1",
    "GET * HTTP/1.1",
    "CONNECT c:1 HTTP/1.1",
    "get //a HTTP/1.9",
    "GET / HTTP/2.0",
    "GET  / HTTP/1.1",
    "GET /\tHTTP/1.1",
    "\r\nGET / HTTP/1.1",
    " GET / HTTP/1.1",
    "GET /#a HTTP/1.1",
];

const HOSTS: &[&str] = &[
    "Host: a",
    "hOST:\ta:80 ",
    "Host:",
    "X: y",
    "Host: a\r\nHost: a",
    "Host : a",
    "Host: a\r\n b",
    "Host: a b",
    "Host: u@a",
    "Host: [::1]:80",
    "Host: [::1",
    "Host: a%2",
];

/// The rest of the head, and a body that each can be taken to announce.
const FRAMINGS: &[&str] = &[
    "\r\n",
    "Content-Length: 5\r\n\r\nhello",
    "Content-Length: 5, 5\r\ncontent-length:5\r\n\r\nhello",
    "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "Content-Length: 5,\r\n\r\nhello",
    "Content-Length: +5\r\n\r\nhello",
    "Content-Length: 18446744073709551616\r\n\r\n",
    "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding:CHUNKED\t\r\n\r\n5;a=\"\\\"\"\r\nhello\r\n00\r\nx: y\r\n\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n5\t;\r\nhello\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n5;\"\r\nhello\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx : y\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
];

/// A piece of a head or body: mostly as it should be.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("\r\n".to_owned()),
        Just("Content-Length: ".to_owned()),
        Just("Transfer-Encoding: chunked\r\n".to_owned()),
        Just("Host: a\r\n".to_owned()),
        "[0-9a-fA-F]{1,3}\r\n",
        "[a-zA-Z-]{1,6}:[ \t]?[a-z0-9,;\" ]{0,6}\r\n",
        "[\r\n\t :,;\"\\\\x0-]{1,3}",
        "GET /[a-z?/]{0,3} HTTP/1\\.[01]\r\n",
    ]
}

proptest! {
    #[test]
    fn pieces_put_together_are_read_alike(pieces in prop::collection::vec(piece(), 0..12)) {
        read_alike(format!("POST /x HTTP/1.1\r\nHost: a\r\n{}", pieces.concat()).as_bytes());
        read_alike(format!("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{}", pieces.concat()).as_bytes());
    }

    #[test]
    fn arbitrary_bodies_are_read_alike(sizes in prop::collection::vec(0..40usize, 0..6), extension in "(;[a-z=\"\\\\ ]{0,6})?", end in "(0\r\n(x:y\r\n)?\r\n)?") {
        let mut text = "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
        for size in sizes {
            text += &format!("{size:X}{extension}\r\n{}\r\n", "\r\n0".repeat(14).get(..size).unwrap_or_default());
        }
        read_alike(format!("{text}{end}GET").as_bytes());
    }
}
