//! Heads to judge.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test file uses its part of it"
)]

use base::Wall;
use cache::policy::{self, Lifetime, Reason, RequestFacts};
use http::{FieldTable, HeadLimits, Parsed, Response, parse_request, parse_response};

/// Sun, 06 Nov 1994 08:49:37 GMT
pub const RECEIVED: Wall = Wall(784_111_777);

/// The facts of a request with these field lines.
pub fn request(method: &str, lines: &[&str]) -> RequestFacts {
    let text = head(
        &format!("{method} /a HTTP/1.1"),
        &[&["Host: h"], lines].concat(),
    );
    let mut table = FieldTable::new();
    match parse_request(text.as_bytes(), &mut table, &HeadLimits::default()) {
        Parsed::Whole(request) => RequestFacts::of(&request),
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
pub fn storable(facts: &RequestFacts, status: u16, lines: &[&str]) -> Result<Lifetime, Reason> {
    with_answer(status, lines, |response| {
        policy::storable(facts, response, RECEIVED, RECEIVED)
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
