//! Heads of requests to origins.

use std::borrow::Cow;

use base::limits;
use http::write::Decimal;
use http::{BodyLength, Method, Name, Request, Target, Version};

use crate::answer::{Sink as _, field, stays};
use crate::forwarding::{Forwarding, Hop};
use crate::rewrite::Values;
use crate::settings::Route;

/// What is asked of an origin beside what the client asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish<'a> {
    /// The whole object is wanted, for the store: conditions and ranges stay here.
    pub(crate) whole: bool,
    /// The client's upgrade passes.
    pub(crate) upgrade: bool,
    /// Field lines that ask whether what is stored still holds, or for what it lacks.
    pub(crate) conditions: &'a [u8],
    /// Nothing else is asked on its connection.
    pub(crate) last: bool,
}

/// What the head of a request to an origin is made of, beside the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writer<'a> {
    pub(crate) forwarding: &'a Forwarding,
    /// The client, with the authority that it asked for, in the lower case that the answer is stored under
    /// (RFC 3986 §6.2.2.1).
    pub(crate) hop: Hop<'a>,
    pub(crate) route: &'a Route,
    pub(crate) values: Values<'a>,
}

impl Writer<'_> {
    /// The head (RFC 9110 §7.6): the target byte for byte and the authority asked for as Host where the route has no other,
    /// hop-by-hop fields left out, framing written anew. Fields that the route puts come last.
    pub(crate) fn head(&self, request: &Request<'_>, wish: Wish<'_>) -> Vec<u8> {
        let mut out = Vec::with_capacity(request.length + 256);
        let rewrite = &self.route.rewrite;
        let (host, edits) = (&rewrite.host, &rewrite.request);
        out.put(request.method_bytes);
        out.put(b" ");
        out.put(&match request.target {
            Target::Path => rewrite.target(&self.route.prefix, request.path_and_query),
            Target::Asterisk => Cow::Borrowed(&b"*"[..]),
        });
        out.put(b" HTTP/1.1\r\n");
        field(&mut out, b"Host", host.as_deref().unwrap_or(self.hop.host));
        let trail = self.forwarding.trail(self.hop.source, &request.fields);
        for (name, written, value) in request.fields.iter() {
            if !passes(name, wish)
                || request.fields.is_listed(written)
                || !self.forwarding.passes(name, written, trail.is_some())
                || edits.removes(name, written)
            {
                continue;
            }
            match forwards_left(request.method, name, value) {
                Some(left) => field(&mut out, written, Decimal::new(left).bytes()),
                None => field(&mut out, written, value),
            }
        }
        self.forwarding
            .write(&mut out, &request.fields, trail, self.hop, |name| {
                edits.removes(name, b"")
            });
        out.put(match request.version {
            Version::Http11 => b"Via: 1.1 ultragate\r\n",
            Version::Http10 => b"Via: 1.0 ultragate\r\n",
        });
        field(&mut out, b"X-Request-Id", self.values.request_id);
        edits.put(&mut out, self.values);
        out.put(wish.conditions);
        framing(&mut out, request);
        if wish.upgrade {
            for value in request.fields.all(Name::Upgrade) {
                field(&mut out, b"Upgrade", value);
            }
            out.put(b"Connection: upgrade\r\n");
        } else if wish.last {
            out.put(b"Connection: close\r\n");
        }
        out.put(b"\r\n");
        out
    }
}

fn passes(name: Name, wish: Wish<'_>) -> bool {
    if stays(name) || matches!(name, Name::Host | Name::XRequestId) {
        return false;
    }
    !wish.whole
        || !matches!(
            name,
            Name::IfNoneMatch | Name::IfModifiedSince | Name::IfRange | Name::Range
        )
}

/// What is left of `Max-Forwards` behind this hop, where it counts (RFC 9110 §7.6.2) and is a number.
fn forwards_left(method: Method, name: Name, value: &[u8]) -> Option<u64> {
    let counts = name == Name::MaxForwards && matches!(method, Method::Options | Method::Trace);
    let is_number = counts && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| is_number)?;
    text.parse::<u64>().ok()?.checked_sub(1)
}

/// Whether a request came through gateways of this name more often than any chain of them is long (RFC 9110 §7.6.3).
pub(crate) fn goes_in_a_circle(request: &Request<'_>) -> bool {
    let hops = request.fields.all(Name::Via);
    let members = hops.flat_map(|line| line.split(|byte| *byte == b','));
    let by_us = members.filter(|member| {
        let words = member.split(u8::is_ascii_whitespace);
        words.filter(|word| !word.is_empty()).nth(1) == Some(b"ultragate")
    });
    request.fields.has(Name::Via) && by_us.count() > limits::OWN_PASSES_MAX
}

fn framing(out: &mut Vec<u8>, request: &Request<'_>) {
    match request.body {
        BodyLength::Length(length) => {
            out.put(b"Content-Length: ");
            out.put(Decimal::new(length).bytes());
            out.put(b"\r\n");
        }
        BodyLength::Chunked => out.put(b"Transfer-Encoding: chunked\r\n"),
        // RFC 9110 §8.6: a request with an empty body whose method anticipates one says so.
        BodyLength::Empty if request.fields.has(Name::ContentLength) => {
            out.put(b"Content-Length: 0\r\n");
        }
        BodyLength::Empty | BodyLength::UntilClose => {}
    }
}

/// Whether the client asks for an upgrade that may pass: never to h2c, whose bytes we could not follow
/// (RFC 9113 §3.1 dropped it; forwarding it smuggles).
pub(crate) fn wants_upgrade(request: &Request<'_>) -> bool {
    request.connection.upgrade
        && request.version == Version::Http11
        && request.fields.has(Name::Upgrade)
        && !request.fields.all(Name::Upgrade).any(|value| {
            value.split(|&byte| byte == b',').any(|protocol| {
                let protocol = protocol.trim_ascii();
                protocol.len() >= 3
                    && protocol
                        .get(..3)
                        .is_some_and(|start| start.eq_ignore_ascii_case(b"h2c"))
            })
        })
}
