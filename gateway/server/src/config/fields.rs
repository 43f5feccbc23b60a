//! Fields that a route changes: `"Name: value"` and names, and which of them must be left alone.

use http::Name;
use http::field::{is_field_name, is_field_value};

/// Whose fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Of requests to origins.
    Request,
    /// Of answers to clients.
    Response,
}

/// What is done with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Set,
    Add,
    Remove,
}

/// Name and value of a line.
pub(crate) fn split(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(':')?;
    Some((name, value.trim_matches([' ', '\t'])))
}

/// A line or a name as it is kept.
///
/// # Errors
/// Why it is refused.
pub(super) fn read(side: Side, act: Act, text: &str) -> Result<String, String> {
    let (name, value) = match act {
        Act::Remove => (text, None),
        Act::Set | Act::Add => {
            let rule = "expected a field such as \"X-Frame-Options: DENY\"";
            let (name, value) = split(text).ok_or_else(|| format!("found {text:?}, {rule}"))?;
            (name, Some(value))
        }
    };
    if !is_field_name(name.as_bytes()) {
        return Err(format!("{name:?} is no name of a field"));
    }
    if let Some(why) = refusal(side, act, Name::of(name.as_bytes())) {
        return Err(format!("{name} {why}"));
    }
    let Some(value) = value else {
        return Ok(name.to_owned());
    };
    if !is_field_value(value.as_bytes()) {
        return Err(format!("the value of {name} has a control character in it"));
    }
    if side == Side::Request
        && let Some(unknown) = unknown_variable(value)
    {
        let known = proxy::Variable::ALL.map(|(name, _)| name).join(", ");
        return Err(format!("there is no variable {unknown}; there is {known}"));
    }
    Ok(format!("{name}: {value}"))
}

/// The first word in braces that looks like a variable and is none.
fn unknown_variable(value: &str) -> Option<&str> {
    value.match_indices('{').find_map(|(at, _)| {
        let rest = value.get(at..)?;
        let word = rest.get(..=rest.find('}')?)?;
        let name = word.get(1..word.len() - 1)?;
        let is_word = !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let is_known = proxy::Variable::ALL.iter().any(|(known, _)| *known == word);
        (is_word && !is_known).then_some(word)
    })
}

fn refusal(side: Side, act: Act, name: Name) -> Option<&'static str> {
    match name {
        Name::Connection
        | Name::KeepAlive
        | Name::ProxyConnection
        | Name::ProxyAuthenticate
        | Name::ProxyAuthorization
        | Name::ProxyAuthenticationInfo
        | Name::Te
        | Name::Trailer
        | Name::TransferEncoding
        | Name::Upgrade
        | Name::ContentLength
        | Name::Http2Settings
        | Name::Expect => Some("is of framing or of one connection: the gateway writes it itself"),
        Name::Via | Name::XRequestId | Name::MaxForwards => Some("is the gateway's own"),
        Name::Host => Some("is decided by `origin_host`"),
        name if side == Side::Request => of_request(name),
        name => of_response(act, name),
    }
}

fn of_request(name: Name) -> Option<&'static str> {
    match name {
        Name::IfMatch
        | Name::IfNoneMatch
        | Name::IfModifiedSince
        | Name::IfUnmodifiedSince
        | Name::IfRange
        | Name::Range => Some("asks for other than the whole answer: the cache decides on that"),
        _ => None,
    }
}

fn of_response(act: Act, name: Name) -> Option<&'static str> {
    match name {
        Name::Age | Name::CacheStatus | Name::Date => Some("is the gateway's own"),
        Name::ContentRange | Name::ContentEncoding | Name::ContentType => {
            Some("tells how the body is to be read")
        }
        Name::Vary if act != Act::Add => Some("tells caches for whom the answer is"),
        Name::ETag | Name::LastModified if act != Act::Remove => {
            Some("is compared with what is stored")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_kept_in_one_form() {
        let read = |text| read(Side::Request, Act::Set, text);
        assert_eq!(read("X-A:b"), Ok("X-A: b".to_owned()));
        assert_eq!(read("X-A: \t b: c "), Ok("X-A: b: c".to_owned()));
        assert_eq!(read("X-A:"), Ok("X-A: ".to_owned()));
        assert_eq!(
            read("X-A: {client_address}"),
            Ok("X-A: {client_address}".to_owned())
        );
        assert_eq!(read("X-A: {\"a\": {}}"), Ok("X-A: {\"a\": {}}".to_owned()));
    }

    #[test]
    fn what_would_break_messages_is_refused() {
        let cases = [
            (
                Side::Request,
                Act::Set,
                "X-A",
                "found \"X-A\", expected a field such as \"X-Frame-Options: DENY\"",
            ),
            (
                Side::Request,
                Act::Set,
                "X A: b",
                "\"X A\" is no name of a field",
            ),
            (Side::Request, Act::Set, ": b", "\"\" is no name of a field"),
            (
                Side::Request,
                Act::Remove,
                "X-A: b",
                "\"X-A: b\" is no name of a field",
            ),
            (
                Side::Response,
                Act::Add,
                "X-A: b\r\nX-B: c",
                "the value of X-A has a control character in it",
            ),
            (
                Side::Request,
                Act::Set,
                "X-A: b\0",
                "the value of X-A has a control character in it",
            ),
            (
                Side::Request,
                Act::Set,
                "X-A: {client}",
                "there is no variable {client}; there is {client_address}, {request_id}",
            ),
            (
                Side::Request,
                Act::Set,
                "host: a",
                "host is decided by `origin_host`",
            ),
            (
                Side::Request,
                Act::Remove,
                "Range",
                "Range asks for other than the whole answer: the cache decides on that",
            ),
            (
                Side::Response,
                Act::Set,
                "Content-Length: 1",
                "Content-Length is of framing or of one connection: the gateway writes it itself",
            ),
            (
                Side::Response,
                Act::Remove,
                "Age",
                "Age is the gateway's own",
            ),
            (
                Side::Response,
                Act::Remove,
                "Vary",
                "Vary tells caches for whom the answer is",
            ),
            (
                Side::Response,
                Act::Set,
                "ETag: \"a\"",
                "ETag is compared with what is stored",
            ),
        ];
        for (side, act, text, message) in cases {
            assert_eq!(read(side, act, text), Err(message.to_owned()), "{text}");
        }
        for (act, text) in [
            (Act::Add, "Vary: Origin"),
            (Act::Remove, "ETag"),
            (Act::Set, "X: {client}"),
        ] {
            assert!(read(Side::Response, act, text).is_ok(), "{text}");
        }
    }
}
