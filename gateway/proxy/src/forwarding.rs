//! Whom a request comes from and what it asked for, as trusted proxies in front tell and as the origin is told:
//! `X-Forwarded-*` or `Forwarded` (RFC 7239).
//!
//! What a client outside the trusted networks says in these fields goes nowhere. Of a chain of hops the part is believed,
//! and passed on, in which each hop was told by a trusted one: it begins with the client.

use std::fmt::Write as _;
use std::net::IpAddr;

use base::Network;
use http::forwarded::{self, Element};
use http::{Fields, Name};

use crate::answer::{Sink as _, field};

/// Which proxies are believed, and in which fields.
#[derive(Clone, Debug, Default)]
pub struct Forwarding {
    /// Where trusted proxies are; nobody else's word counts.
    pub trusted: Vec<Network>,
    /// The fields that are read from those and written towards origins. The others are removed.
    pub fields: ForwardedFields,
}

/// A family of fields that tell whom a request comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedFields {
    /// None is read or written.
    Off,
    /// `X-Forwarded-For`, `X-Forwarded-Proto`, `X-Forwarded-Host`.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// What trusted proxies tell of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trail {
    /// Hops at the beginning that nobody trusted told.
    unbelieved: usize,
    /// Who asks; none where the first believed hop has no address, and no other follows.
    pub(crate) asker: Option<IpAddr>,
    /// The client asked under TLS.
    pub(crate) is_secure: bool,
}

/// What the origin is told, beside the trail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hop<'a> {
    /// Where the connection comes from.
    pub(crate) source: Option<IpAddr>,
    /// The authority asked for.
    pub(crate) host: &'a [u8],
}

impl Forwarding {
    /// Whether anybody's word counts.
    #[inline]
    pub(crate) fn is_read(&self) -> bool {
        !self.trusted.is_empty()
    }

    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|known| known.contains(address))
    }

    /// What `fields` tell, where the connection comes from a trusted proxy.
    pub(crate) fn trail(&self, source: Option<IpAddr>, fields: &Fields<'_>) -> Option<Trail> {
        source.filter(|source| self.trusts(*source))?;
        let trail = match self.fields {
            ForwardedFields::Off => Trail::default(),
            ForwardedFields::XForwarded => {
                let proto = fields.first(Name::XForwardedProto);
                let is_clear = !fields.is_repeated(Name::XForwardedProto);
                Trail {
                    is_secure: is_clear && proto.is_some_and(forwarded::is_secure_scheme),
                    ..self.follow(forwarded::addresses(fields.all(Name::XForwardedFor)))
                }
            }
            ForwardedFields::Forwarded => forwarded::elements(fields.all(Name::Forwarded))
                .map_or_else(Trail::default, |elements| self.follow(elements)),
        };
        Some(trail)
    }

    /// A hop was told by the one behind it, the last one by the connection's other end, which is trusted: the chain is
    /// believed from the last hop on that is not itself trusted to tell of the one before.
    fn follow<'a>(&self, hops: impl Iterator<Item = Element<'a>>) -> Trail {
        let mut trail = Trail::default();
        for (at, hop) in hops.enumerate() {
            let may_tell = hop.address.is_some_and(|address| self.trusts(address));
            if at == 0 || !may_tell {
                trail = Trail {
                    unbelieved: at,
                    asker: hop.address,
                    is_secure: hop.is_secure,
                };
            } else if trail.asker.is_none() {
                trail.asker = hop.address;
            }
        }
        trail
    }

    /// Whether a field of the request goes on to the origin as it came, for all that this module knows.
    pub(crate) fn passes(&self, name: Name, written: &[u8], is_trusted: bool) -> bool {
        match name {
            Name::Forwarded
            | Name::XForwardedFor
            | Name::XForwardedProto
            | Name::XForwardedHost => false,
            Name::Other if is_of_family(written) => is_trusted && !written.contains(&b'_'),
            _ => true,
        }
    }

    /// Writes what is told to the origin, but for the fields that `is_replaced`.
    pub(crate) fn write(
        &self,
        out: &mut Vec<u8>,
        fields: &Fields<'_>,
        trail: Option<Trail>,
        hop: Hop<'_>,
        is_replaced: impl Fn(Name) -> bool,
    ) {
        let unbelieved = trail.map_or(usize::MAX, |trail| trail.unbelieved);
        let scheme: &[u8] = match trail.is_some_and(|trail| trail.is_secure) {
            true => b"https",
            false => b"http",
        };
        match self.fields {
            ForwardedFields::Off => {}
            ForwardedFields::XForwarded => {
                let before = forwarded::addresses(fields.all(Name::XForwardedFor));
                let own = hop.source.map(|source| source.to_string());
                let own = own.unwrap_or_default();
                if !is_replaced(Name::XForwardedFor) {
                    list(
                        out,
                        b"X-Forwarded-For",
                        before.skip(unbelieved),
                        own.as_bytes(),
                    );
                }
                if !is_replaced(Name::XForwardedProto) {
                    field(out, b"X-Forwarded-Proto", scheme);
                }
                if !is_replaced(Name::XForwardedHost) {
                    field(out, b"X-Forwarded-Host", hop.host);
                }
            }
            ForwardedFields::Forwarded if is_replaced(Name::Forwarded) => {}
            ForwardedFields::Forwarded => {
                let before = forwarded::elements(fields.all(Name::Forwarded));
                let before = before.into_iter().flatten().skip(unbelieved);
                list(out, b"Forwarded", before, &element(hop, scheme));
            }
        }
    }
}

/// Whether an answer depends on who asks, by a field that is written here for each request: whose answer it is then cannot
/// be told from what a client sent.
pub(crate) fn depends_on_asker(name: &[u8]) -> bool {
    matches!(
        Name::of(name),
        Name::Forwarded | Name::XForwardedFor | Name::XRequestId
    )
}

/// Names that origins take for word of a proxy, underscores (which many of them read as hyphens) included.
fn is_of_family(written: &[u8]) -> bool {
    const STARTS: [&[u8]; 3] = [b"x-forwarded-", b"x-real-ip", b"forwarded"];
    STARTS.iter().any(|start| {
        let text = written.get(..start.len()).unwrap_or_default();
        let is_start = is_name(text, start);
        is_start && (start.ends_with(b"-") || text.len() == written.len())
    })
}

/// Whether `written` is the name `lower`, in any case, with hyphens or underscores.
pub(crate) fn is_name(written: &[u8], lower: &[u8]) -> bool {
    let plain = |byte: &u8| match byte {
        b'_' => b'-',
        byte => byte.to_ascii_lowercase(),
    };
    written.len() == lower.len() && written.iter().map(plain).eq(lower.iter().map(plain))
}

/// A field that is a list, with one member of our own at its end; no field where it has none at all.
fn list<'a>(out: &mut Vec<u8>, name: &[u8], before: impl Iterator<Item = Element<'a>>, own: &[u8]) {
    let members = before.map(|element| element.text).chain([own]);
    let mut separator = [name, b": "].concat();
    let mut is_begun = false;
    for member in members.filter(|member| !member.is_empty()) {
        out.put(&separator);
        out.put(member);
        separator = b", ".to_vec();
        is_begun = true;
    }
    if is_begun {
        out.put(b"\r\n");
    }
}

/// Our own element of `Forwarded` (RFC 7239 §4).
fn element(hop: Hop<'_>, scheme: &[u8]) -> Vec<u8> {
    let mut text = String::from("for=");
    let _ = match hop.source {
        Some(IpAddr::V4(address)) => write!(text, "{address}"),
        Some(IpAddr::V6(address)) => write!(text, "\"[{address}]\""),
        None => write!(text, "unknown"),
    };
    let mut element = text.into_bytes();
    if !hop.host.is_empty() {
        // A host has no quote and no backslash in it (RFC 3986 §3.2.2).
        element.extend_from_slice(b";host=\"");
        element.extend_from_slice(hop.host);
        element.push(b'"');
    }
    element.extend_from_slice(b";proto=");
    element.extend_from_slice(scheme);
    element
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{FieldTable, HeadLimits, Parsed, parse_request};

    const LIMITS: HeadLimits = HeadLimits {
        head_bytes: 4096,
        target_bytes: 4096,
        fields: 64,
    };

    fn forwarding(fields: ForwardedFields) -> Forwarding {
        let networks = ["10.0.0.0/8", "fd00::/8"];
        Forwarding {
            trusted: networks
                .iter()
                .filter_map(|text| text.parse().ok())
                .collect(),
            fields,
        }
    }

    /// Who is believed to ask, and what is told of it.
    fn told(fields: ForwardedFields, source: &str, lines: &str) -> (Option<String>, bool, String) {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let mut table = FieldTable::new();
        let Parsed::Whole(request) = parse_request(head.as_bytes(), &mut table, &LIMITS) else {
            panic!("no request: {head}");
        };
        let forwarding = forwarding(fields);
        let hop = Hop {
            source: source.parse().ok(),
            host: b"a",
        };
        let trail = forwarding.trail(hop.source, &request.fields);
        let mut out = Vec::new();
        forwarding.write(&mut out, &request.fields, trail, hop, |name| {
            matches!(name, Name::XForwardedProto | Name::XForwardedHost)
        });
        let trail = trail.unwrap_or_default();
        let asker = trail.asker.map(|asker| asker.to_string());
        let out = String::from_utf8_lossy(&out).trim_end().to_owned();
        (asker, trail.is_secure, out)
    }

    #[test]
    fn the_chain_is_believed_from_the_last_hop_that_is_not_trusted() {
        for (source, lines, asker, out) in [
            (
                "192.0.2.1",
                "X-Forwarded-For: 1.1.1.1\r\n",
                None,
                "192.0.2.1",
            ),
            ("10.0.0.1", "", None, "10.0.0.1"),
            (
                "10.0.0.1",
                "X-Forwarded-For: 1.1.1.1\r\n",
                Some("1.1.1.1"),
                "1.1.1.1, 10.0.0.1",
            ),
            (
                "10.0.0.1",
                "X-Forwarded-For: 6.6.6.6, 1.1.1.1\r\nX-Forwarded-For: 10.0.0.2\r\n",
                Some("1.1.1.1"),
                "1.1.1.1, 10.0.0.2, 10.0.0.1",
            ),
            (
                "10.0.0.1",
                "X-Forwarded-For: 10.0.0.3, fd00::2\r\n",
                Some("10.0.0.3"),
                "10.0.0.3, fd00::2, 10.0.0.1",
            ),
            (
                "10.0.0.1",
                "X-Forwarded-For: 6.6.6.6, unknown, 10.0.0.2\r\n",
                Some("10.0.0.2"),
                "unknown, 10.0.0.2, 10.0.0.1",
            ),
            (
                "10.0.0.1",
                "X-Forwarded-For: 6.6.6.6, junk\r\n",
                None,
                "junk, 10.0.0.1",
            ),
        ] {
            let wanted = (
                asker.map(str::to_owned),
                false,
                format!("X-Forwarded-For: {out}"),
            );
            let found = told(ForwardedFields::XForwarded, source, lines);
            assert_eq!(found, wanted, "{source} {lines}");
        }
    }

    #[test]
    fn elements_pass_as_they_are_from_the_believed_one_on() {
        for (source, lines, asker, secure, out) in [
            (
                "192.0.2.1",
                "Forwarded: for=1.1.1.1;proto=https\r\n",
                None,
                false,
                "",
            ),
            (
                "10.0.0.1",
                "Forwarded: for=6.6.6.6, For=\"[2001:db8::1]:99\";proto=https\r\nForwarded: for=10.0.0.9;proto=http\r\n",
                Some("2001:db8::1"),
                true,
                "For=\"[2001:db8::1]:99\";proto=https, for=10.0.0.9;proto=http, ",
            ),
            (
                "10.0.0.1",
                "Forwarded: for=_hidden;proto=https\r\n",
                None,
                true,
                "for=_hidden;proto=https, ",
            ),
            (
                "10.0.0.1",
                "Forwarded: for=1.1.1.1, for=\"\r\n",
                None,
                false,
                "",
            ),
        ] {
            let own = format!(
                "for={source};host=\"a\";proto={}",
                if secure { "https" } else { "http" }
            );
            let wanted = (
                asker.map(str::to_owned),
                secure,
                format!("Forwarded: {out}{own}"),
            );
            let found = told(ForwardedFields::Forwarded, source, lines);
            assert_eq!(found, wanted, "{source} {lines}");
        }
        let (_, _, out) = told(ForwardedFields::Forwarded, "2001:db8::7", "");
        assert_eq!(
            out,
            "Forwarded: for=\"[2001:db8::7]\";host=\"a\";proto=http"
        );
        let (_, _, out) = told(ForwardedFields::Forwarded, "", "");
        assert_eq!(out, "Forwarded: for=unknown;host=\"a\";proto=http");
    }

    #[test]
    fn a_scheme_that_is_told_twice_is_not_told() {
        let secure = |lines: &str| told(ForwardedFields::XForwarded, "10.0.0.1", lines).1;
        assert!(secure("X-Forwarded-Proto: HTTPS\r\n"));
        assert!(!secure("X-Forwarded-Proto: https, http\r\n"));
        assert!(!secure(
            "X-Forwarded-Proto: http\r\nX-Forwarded-Proto: https\r\n"
        ));
        assert!(
            !told(
                ForwardedFields::XForwarded,
                "1.1.1.1",
                "X-Forwarded-Proto: https\r\n"
            )
            .1
        );
    }

    #[test]
    fn only_trusted_proxies_send_further_fields_of_the_family() {
        let forwarding = forwarding(ForwardedFields::XForwarded);
        let passes = |name: &str, trusted| {
            forwarding.passes(Name::of(name.as_bytes()), name.as_bytes(), trusted)
        };
        for name in ["X-Forwarded-User", "x-forwarded-port", "X-Real-Ip"] {
            assert!(passes(name, true) && !passes(name, false), "{name}");
        }
        for name in [
            "X_Forwarded_For",
            "X-Forwarded_Proto",
            "X_Real_IP",
            "Forwarded",
            "X-Forwarded-For",
        ] {
            assert!(!passes(name, true), "{name}");
        }
        for name in ["X-Forwarded", "Forwarded-To", "X-Real-Ip-2", "Accept"] {
            assert!(passes(name, false), "{name}");
        }
    }
}
