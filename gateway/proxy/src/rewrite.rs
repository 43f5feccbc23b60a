//! What a route makes of requests on their way to the origin, and of answers on their way to clients. Prepared at start:
//! nothing of it is parsed later.
//!
//! The key of the cache and what is stored are those of the request as the client made it and of the answer as the origin
//! gave it.

use std::borrow::Cow;

use http::Name;

use crate::answer::Sink as _;
use crate::forwarding::{depends_on_asker, is_name};

/// What a route changes.
#[derive(Clone, Debug, Default)]
pub struct Rewrite {
    /// What stands for the route's prefix at the start of the path; none: what the client wrote.
    pub prefix: Option<Vec<u8>>,
    /// The host that the origin is asked for; none: the client's.
    pub host: Option<Vec<u8>>,
    /// Of requests.
    pub request: FieldEdits,
    /// Of answers that an origin gave, stored or not.
    pub response: FieldEdits,
}

/// Changes of fields: some are removed, then some are put. Fields of framing, of connections, and those that the gateway
/// writes itself must not be among them.
#[derive(Clone, Debug, Default)]
pub struct FieldEdits {
    /// Names in lower case.
    removed: Vec<(Name, Vec<u8>)>,
    lines: Vec<Piece>,
    /// Names of fields whose value is another for each request.
    varying: Vec<Vec<u8>>,
}

#[derive(Clone, Debug)]
enum Piece {
    Text(Vec<u8>),
    Variable(Variable),
}

/// What may stand in a value and differs from request to request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variable {
    /// `{client_address}`: who asks, as believed; `unknown` where nobody knows.
    ClientAddress,
    /// `{request_id}`.
    RequestId,
}

/// The values of variables.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Values<'a> {
    pub(crate) client_address: &'a [u8],
    pub(crate) request_id: &'a [u8],
}

impl Variable {
    /// Every variable with its name.
    pub const ALL: [(&'static str, Self); 2] = [
        ("{client_address}", Self::ClientAddress),
        ("{request_id}", Self::RequestId),
    ];

    /// The first variable in a text, and where it begins and ends.
    fn first_in(text: &str) -> Option<(Self, usize, usize)> {
        let found = Self::ALL.into_iter().filter_map(|(name, variable)| {
            let at = text.find(name)?;
            Some((variable, at, at + name.len()))
        });
        found.min_by_key(|(_, at, _)| *at)
    }
}

impl FieldEdits {
    /// Removes the fields of these names.
    pub fn remove(&mut self, name: &str) {
        let lower = name.to_ascii_lowercase().into_bytes();
        self.removed.push((Name::of(&lower), lower));
    }

    /// Adds a field, beside those of its name that are there. `{…}` in the value are variables.
    pub fn add(&mut self, name: &str, value: &str) {
        let mut rest = value;
        self.text(&format!("{name}: "));
        while let Some((variable, at, end)) = Variable::first_in(rest) {
            self.text(rest.get(..at).unwrap_or_default());
            self.lines.push(Piece::Variable(variable));
            self.varying.push(name.to_ascii_lowercase().into_bytes());
            rest = rest.get(end..).unwrap_or_default();
        }
        self.text(&format!("{rest}\r\n"));
    }

    /// Adds a field whose value is taken as it is.
    pub fn add_plain(&mut self, name: &str, value: &str) {
        self.text(&format!("{name}: {value}\r\n"));
    }

    fn text(&mut self, text: &str) {
        match self.lines.last_mut() {
            Some(Piece::Text(before)) => before.extend_from_slice(text.as_bytes()),
            _ => self.lines.push(Piece::Text(text.as_bytes().to_vec())),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.lines.is_empty()
    }

    /// Whether a field is removed. Underscores count as hyphens, as many who read the field take them.
    pub(crate) fn removes(&self, name: Name, written: &[u8]) -> bool {
        self.removed.iter().any(|(known, lower)| match name {
            Name::Other => is_name(written, lower),
            name => *known == name,
        })
    }

    /// Puts what is added.
    pub(crate) fn put(&self, out: &mut Vec<u8>, values: Values<'_>) {
        for piece in &self.lines {
            out.put(match piece {
                Piece::Text(text) => text,
                Piece::Variable(Variable::ClientAddress) => values.client_address,
                Piece::Variable(Variable::RequestId) => values.request_id,
            });
        }
    }

    /// A head with these changes: a whole one, or one whose last line is only begun. What is added stands before its last
    /// line.
    pub(crate) fn apply(&self, head: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(head.len() + 256);
        let mut lines = head.split_inclusive(|byte| *byte == b'\n').peekable();
        out.put(lines.next().unwrap_or_default());
        while let Some(line) = lines.next() {
            if lines.peek().is_none() {
                self.put(&mut out, Values::default());
            }
            let colon = line.iter().position(|byte| *byte == b':');
            let name = colon.and_then(|colon| line.get(..colon));
            if name.is_none_or(|name| !self.removes(Name::of(name), name)) {
                out.put(line);
            }
        }
        out
    }

    /// Whether a field that an answer depends on is written here, or anywhere in the gateway, for each request.
    pub(crate) fn is_varying(&self, name: &[u8]) -> bool {
        depends_on_asker(name) || self.varying.iter().any(|own| is_name(name, own))
    }
}

impl Rewrite {
    /// The target that the origin is asked for. What stands for the prefix is joined to the rest by one slash where either
    /// of them had one.
    pub(crate) fn target<'a>(&self, prefix: &[u8], target: &'a [u8]) -> Cow<'a, [u8]> {
        let (Some(instead), Some(rest)) = (&self.prefix, target.strip_prefix(prefix)) else {
            return Cow::Borrowed(target);
        };
        let mut out = Vec::with_capacity(instead.len() + rest.len() + 1);
        out.put(instead);
        let has_slash = instead.ends_with(b"/");
        let rest_of = rest.strip_prefix(b"/");
        match rest_of {
            Some(behind) if has_slash => out.put(behind),
            None if !has_slash && prefix.ends_with(b"/") => {
                out.put(b"/");
                out.put(rest);
            }
            _ => out.put(rest),
        }
        Cow::Owned(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_replaced_with_one_slash_between() {
        for (prefix, instead, target, wanted) in [
            ("/api/", "/", "/api/x?y=/api/", "/x?y=/api/"),
            ("/api/", "/", "/api/", "/"),
            ("/api", "/", "/api/x", "/x"),
            ("/api", "/", "/api", "/"),
            ("/api", "/", "/api?q", "/?q"),
            ("/api", "/v2", "/api/x", "/v2/x"),
            ("/api", "/v2", "/api?q", "/v2?q"),
            ("/api", "/v2", "/apis", "/v2s"),
            ("/api/", "/v2", "/api/x", "/v2/x"),
            ("/api/", "/v2/", "/api//x", "/v2/x"),
            ("/", "/v2", "/x", "/v2/x"),
            ("/", "/v2/", "/", "/v2/"),
        ] {
            let rewrite = Rewrite {
                prefix: Some(instead.as_bytes().to_vec()),
                ..Rewrite::default()
            };
            let found = rewrite.target(prefix.as_bytes(), target.as_bytes());
            assert_eq!(
                String::from_utf8_lossy(&found),
                wanted,
                "{prefix} {instead} {target}"
            );
        }
        let found = Rewrite::default().target(b"/api/", b"/api/x").into_owned();
        assert_eq!(found, b"/api/x");
    }

    #[test]
    fn a_head_is_changed_line_by_line() {
        let mut edits = FieldEdits::default();
        edits.remove("Server");
        edits.remove("x-one");
        edits.add_plain("X-One", "{request_id}");
        let head = b"HTTP/1.1 200 OK\r\nSERVER: a: b\r\nX_One: 1\r\nx-One-2: 2\r\n\r\n";
        let wanted = b"HTTP/1.1 200 OK\r\nx-One-2: 2\r\nX-One: {request_id}\r\n\r\n";
        assert_eq!(edits.apply(head), wanted);
        let begun = b"HTTP/1.1 200 OK\r\nCache-Status: ultragate; hit; ttl=";
        assert!(
            edits
                .apply(begun)
                .ends_with(b"\r\nCache-Status: ultragate; hit; ttl=")
        );
    }

    #[test]
    fn variables_are_filled_in() {
        let mut edits = FieldEdits::default();
        edits.add("X-A", "{client_address}, {x} {request_id}{request_id}");
        let mut out = Vec::new();
        let values = Values {
            client_address: b"::1",
            request_id: b"id",
        };
        edits.put(&mut out, values);
        assert_eq!(out, b"X-A: ::1, {x} idid\r\n");
        assert!(edits.is_varying(b"x-a") && !edits.is_varying(b"x-b"));
    }
}
