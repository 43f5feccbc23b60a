//! What reading a head costs. Without arguments: nanoseconds a head, best of some rounds. With the name of a head:
//! parses that alone 100,000 times, for instruction counts:
//!
//! ```text
//! cargo build --release -p ultragate-http --example parse_cost
//! valgrind --tool=callgrind --toggle-collect='*measured*' target/release/examples/parse_cost wrk
//! ```

use std::hint::black_box;
use std::time::Duration;

use ultragate_http::{FieldTable, HeadLimits, Method, Parsed, parse_request, parse_response};

const ROUNDS: u32 = 100_000;

const HEADS: [(&str, &str); 5] = [
    ("wrk", "GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"),
    (
        "curl",
        "GET /api/v1/status HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n",
    ),
    (
        "chrome",
        "GET /assets/app-4f1c2a.js?v=20261121 HTTP/1.1\r\nHost: www.example.org\r\nConnection: keep-alive\r\n\
         sec-ch-ua: \"Chromium\";v=\"130\", \"Google Chrome\";v=\"130\", \"Not?A_Brand\";v=\"99\"\r\n\
         sec-ch-ua-mobile: ?0\r\nsec-ch-ua-platform: \"Linux\"\r\nUpgrade-Insecure-Requests: 1\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 \
         Safari/537.36\r\n\
         Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
         Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n\
         Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9\r\n\r\n",
    ),
    (
        "post",
        "POST /orders HTTP/1.1\r\nHost: api.example.org\r\nContent-Type: application/json\r\nContent-Length: 348\r\n\
         Expect: 100-continue\r\n\r\n",
    ),
    (
        "origin",
        "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sat, 21 Nov 2026 09:38:00 GMT\r\nContent-Type: text/html\r\n\
         Content-Length: 1024\r\nLast-Modified: Fri, 20 Nov 2026 10:00:00 GMT\r\nConnection: keep-alive\r\n\
         ETag: \"655b2f30-400\"\r\nCache-Control: public, max-age=3600\r\nAccept-Ranges: bytes\r\n\r\n",
    ),
];

fn main() {
    let only = std::env::args().nth(1);
    let mut table = FieldTable::new();
    for (name, head) in HEADS {
        match &only {
            Some(only) if only == name => measured(head, &mut table),
            Some(_) => {}
            None => println!(
                "{name:8} {:4} bytes {:4} ns",
                head.len(),
                nanoseconds(head, &mut table)
            ),
        }
    }
}

/// Nanoseconds a head: the best of 20 runs of [`ROUNDS`].
fn nanoseconds(head: &str, table: &mut FieldTable) -> u128 {
    let best = (0..20).map(|_| elapsed(|| measured(head, table))).min();
    best.unwrap_or_default().as_nanos() / u128::from(ROUNDS)
}

#[allow(clippy::disallowed_methods)] // a measurement outside of the product
fn elapsed(work: impl FnOnce()) -> Duration {
    let start = std::time::Instant::now();
    work();
    start.elapsed()
}

#[inline(never)]
fn measured(head: &str, table: &mut FieldTable) {
    let limits = HeadLimits::default();
    for _ in 0..ROUNDS {
        let bytes = black_box(head.as_bytes());
        let body = if bytes.starts_with(b"HTTP") {
            match parse_response(bytes, table, black_box(&limits)) {
                Parsed::Whole(response) => response.body(Method::Get),
                other => panic!("{other:?}"),
            }
        } else {
            match parse_request(bytes, table, black_box(&limits)) {
                Parsed::Whole(request) => request.body,
                other => panic!("{other:?}"),
            }
        };
        black_box(body);
    }
}
