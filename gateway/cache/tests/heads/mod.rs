//! Heads to judge.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test file uses its part of it"
)]

use base::Wall;
use cache::policy::{self, Reason, RequestFacts, Rules, Terms};
use http::{FieldTable, HeadLimits, Parsed, Request, Response, parse_request, parse_response};

/// Sun, 06 Nov 1994 08:49:37 GMT
pub const RECEIVED: Wall = Wall::from_secs(784_111_777);
pub const DATE: &str = "Date: Sun, 06 Nov 1994 08:49:37 GMT";
/// 1,000 seconds before.
pub const MODIFIED: &str = "Last-Modified: Sun, 06 Nov 1994 08:32:57 GMT";

/// A stored answer: its status, lines and terms.
#[derive(Clone, Debug)]
pub struct Stored {
    pub status: u16,
    pub fields: Vec<u8>,
    pub terms: Terms,
}

/// Seconds after the answer arrived.
pub fn later(seconds: u64) -> Wall {
    Wall::from_secs(RECEIVED.as_secs() + seconds)
}

/// The facts of a request with these field lines.
pub fn request(method: &str, lines: &[&str]) -> RequestFacts {
    request_by(&Rules::default(), method, lines)
}

/// The same under other rules.
pub fn request_by(rules: &Rules, method: &str, lines: &[&str]) -> RequestFacts {
    with_request(method, lines, |request| RequestFacts::of(request, rules))
}

/// A GET with these directives; without any where there is none.
pub fn get(directives: &str) -> RequestFacts {
    match directives {
        "" => request("GET", &[]),
        _ => request("GET", &[&format!("Cache-Control: {directives}")]),
    }
}

/// What `judge` makes of a request with these field lines.
pub fn with_request<T>(method: &str, lines: &[&str], judge: impl FnOnce(&Request<'_>) -> T) -> T {
    let start = format!("{method} /a HTTP/1.1");
    let text = head(&start, &[&["Host: h"], lines].concat());
    let mut table = FieldTable::new();
    match parse_request(text.as_bytes(), &mut table, &HeadLimits::default()) {
        Parsed::Whole(request) => judge(&request),
        other => panic!("{text:?}: {other:?}"),
    }
}

/// What `judge` makes of an answer with these field lines.
pub fn with_answer<T>(status: u16, lines: &[&str], judge: impl FnOnce(&Response<'_>) -> T) -> T {
    let text = head(&format!("HTTP/1.1 {status} Whatever"), lines);
    let mut table = FieldTable::new();
    match parse_response(text.as_bytes(), &mut table, &HeadLimits::default()) {
        Parsed::Whole(response) => judge(&response),
        other => panic!("{text:?}: {other:?}"),
    }
}

/// Whether the answer may be stored, sent for and received in one second.
pub fn storable(facts: &RequestFacts, status: u16, lines: &[&str]) -> Result<Terms, Reason> {
    storable_by(&Rules::default(), facts, status, lines)
}

/// The same under other rules.
pub fn storable_by(
    rules: &Rules,
    facts: &RequestFacts,
    status: u16,
    lines: &[&str],
) -> Result<Terms, Reason> {
    with_answer(status, lines, |response| {
        policy::storable(facts, response, RECEIVED, RECEIVED, rules)
    })
}

/// A stored 200 to a plain GET.
pub fn stored(lines: &[&str]) -> Stored {
    with_answer(200, lines, |response| {
        let rules = Rules::default();
        let facts = request("GET", &[]);
        let terms = policy::storable(&facts, response, RECEIVED, RECEIVED, &rules);
        Stored {
            status: response.status,
            fields: policy::head_fields(response, RECEIVED, &rules),
            terms: terms.unwrap_or_else(|reason| panic!("{lines:?}: {reason:?}")),
        }
    })
}

fn head(start: &str, lines: &[&str]) -> String {
    let mut text = format!("{start}\r\n");
    for line in lines {
        text += line;
        text += "\r\n";
    }
    text + "\r\n"
}
