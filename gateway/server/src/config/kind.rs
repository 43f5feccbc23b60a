//! What a key's value may be: reading it as written, and its canonical form.

use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;

use base::Network;

use super::fields::{self, Act, Side};
use super::units;

/// A value as written, before anybody knows what it should be. Spans are byte ranges of the file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Raw {
    /// A TOML string.
    Text(String),
    /// A TOML integer.
    Integer(i64),
    /// A TOML boolean.
    Flag(bool),
    /// A TOML array.
    List(Vec<(Range<usize>, Raw)>),
    /// Something that no key takes: its name, to say so.
    Other(&'static str),
    /// Text of a flag or of the environment, which has no types of its own.
    Bare(String),
}

/// What a key takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// `true` or `false`.
    Flag,
    /// A whole number within bounds, both included.
    Count(u64, u64),
    /// Bytes within bounds: `"4GiB"`, `"500kB"` or a plain number.
    Bytes(u64, u64),
    /// Bytes a second: `"1KiB/s"`, `"1KiB"` or a plain number; at least one.
    Rate,
    /// A time within bounds of nanoseconds: `"500us"`, `"10ms"`, `"2s"`, `"1m"` or plain seconds.
    Span(u64, u64),
    /// Socket addresses, one or a list.
    Addresses,
    /// CPU numbers.
    Cpus,
    /// One of these words; the second list is reserved for later versions.
    Choice(&'static [&'static str], &'static [&'static str]),
    /// A path of requests, or `""` for none.
    RequestPath,
    /// A file's path, or `""` for none.
    File,
    /// A name that becomes a metric label.
    Name,
    /// A host name, with or without a port, or `""` for any.
    Host,
    /// `host:port`, one or a list.
    Endpoints,
    /// The name of a field of requests.
    FieldName,
    /// Status codes of errors.
    Statuses,
    /// This word, or the other kind.
    Or(&'static str, &'static Kind),
    /// Addresses or networks, none, one or a list.
    Networks,
    /// Fields that are changed, none, one or a list.
    Fields(Side, Act),
}

/// A value that its key accepts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// `"auto"`, `"unlimited"`, `"off"`, a choice.
    Word(&'static str),
    /// A flag.
    Flag(bool),
    /// A number.
    Count(u64),
    /// Bytes.
    Bytes(u64),
    /// Bytes a second.
    Rate(u64),
    /// Nanoseconds.
    Span(u64),
    /// Text.
    Text(String),
    /// A list of any of these.
    List(Vec<Value>),
}

/// Why a value was refused: what was expected, and where in the file if it is a part of the value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refused {
    pub(crate) span: Option<Range<usize>>,
    pub(crate) message: String,
}

impl From<String> for Refused {
    fn from(message: String) -> Self {
        Self {
            span: None,
            message,
        }
    }
}

impl Kind {
    /// Reads a value.
    pub(crate) fn read(&self, raw: &Raw) -> Result<Value, Refused> {
        match self {
            Self::Or(word, inner) => match text(raw) {
                Some(text) if text == *word => Ok(Value::Word(word)),
                _ => inner.read(raw).map_err(|refused| Refused {
                    message: format!("{}, or \"{word}\"", refused.message),
                    ..refused
                }),
            },
            Self::Addresses => list(raw, true, read_address),
            Self::Endpoints => list(raw, true, read_endpoint),
            Self::Cpus => list(raw, false, read_cpu),
            Self::Statuses => list(raw, true, read_status),
            Self::Networks => list_or_none(raw, read_network),
            Self::Fields(side, act) => list_or_none(raw, |raw| read_field(*side, *act, raw)),
            _ => self.read_one(raw).map_err(Refused::from),
        }
    }

    fn read_one(&self, raw: &Raw) -> Result<Value, String> {
        match *self {
            Self::Flag => read_flag(raw),
            Self::Count(min, max) => read_count(raw, min, max),
            Self::Bytes(min, max) => read_bytes(raw, min, max),
            Self::Rate => read_rate(raw),
            Self::Span(min, max) => read_span(raw, min, max),
            Self::Choice(words, reserved) => read_choice(raw, words, reserved),
            Self::RequestPath => read_text(raw, "a path such as \"/health\", or \"\"", |text| {
                text.is_empty() || is_request_path(text)
            }),
            Self::File => read_text(raw, "the path of a file, or \"\"", |_| true),
            Self::Name => read_text(raw, NAME_RULE, is_name),
            Self::Host => read_text(raw, HOST_RULE, |text| text.is_empty() || is_authority(text)),
            Self::FieldName => read_text(raw, FIELD_RULE, is_field_name),
            Self::Or(..)
            | Self::Statuses
            | Self::Addresses
            | Self::Endpoints
            | Self::Cpus
            | Self::Networks
            | Self::Fields(..) => Err("a single value".to_owned()),
        }
    }
}

impl fmt::Display for Value {
    /// As TOML, with units.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => write!(f, "\"{word}\""),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Count(count) => write!(f, "{count}"),
            Self::Bytes(bytes) => write!(f, "\"{}\"", units::size(*bytes)),
            Self::Rate(bytes) => write!(f, "\"{}/s\"", units::size(*bytes)),
            Self::Span(nanos) => write!(f, "\"{}\"", units::span(*nanos)),
            Self::Text(text) => write!(f, "{}", toml::Value::String(text.clone())),
            Self::List(values) if values.len() == 1 && matches!(values[..], [Self::Text(_)]) => {
                values.iter().try_for_each(|value| value.fmt(f))
            }
            Self::List(values) => {
                let parts: Vec<String> = values.iter().map(ToString::to_string).collect();
                write!(f, "[{}]", parts.join(", "))
            }
        }
    }
}

impl Value {
    /// The plain form that the typed settings are read from: sizes in bytes, times in nanoseconds.
    pub(crate) fn plain(&self) -> toml::Value {
        match self {
            Self::Word(word) => toml::Value::String((*word).to_owned()),
            Self::Flag(flag) => toml::Value::Boolean(*flag),
            Self::Count(n) | Self::Bytes(n) | Self::Rate(n) | Self::Span(n) => {
                toml::Value::Integer(i64::try_from(*n).unwrap_or(i64::MAX))
            }
            Self::Text(text) => toml::Value::String(text.clone()),
            Self::List(values) => toml::Value::Array(values.iter().map(Self::plain).collect()),
        }
    }
}

const NAME_RULE: &str =
    "a name of 1 to 63 letters, digits, `-`, `.` or `_`, and no `_` at its start";
const FIELD_RULE: &str = "the name of a field, such as \"X-User\"";
const HOST_RULE: &str = "a host without scheme or path, such as \"example.org\"";

fn text(raw: &Raw) -> Option<&str> {
    match raw {
        Raw::Text(text) | Raw::Bare(text) => Some(text),
        _ => None,
    }
}

fn found(raw: &Raw) -> String {
    match raw {
        Raw::Text(text) | Raw::Bare(text) => format!("{text:?}"),
        Raw::Integer(number) => number.to_string(),
        Raw::Flag(flag) => flag.to_string(),
        Raw::List(_) => "a list".to_owned(),
        Raw::Other(what) => (*what).to_owned(),
    }
}

fn expected(what: &str, raw: &Raw) -> String {
    format!("found {}, expected {what}", found(raw))
}

fn read_flag(raw: &Raw) -> Result<Value, String> {
    match raw {
        Raw::Flag(flag) => Ok(Value::Flag(*flag)),
        Raw::Bare(text) if text == "true" => Ok(Value::Flag(true)),
        Raw::Bare(text) if text == "false" => Ok(Value::Flag(false)),
        _ => Err(expected("true or false", raw)),
    }
}

fn read_count(raw: &Raw, min: u64, max: u64) -> Result<Value, String> {
    let number = match raw {
        Raw::Integer(number) => u64::try_from(*number).ok(),
        Raw::Bare(text) => text.parse().ok(),
        _ => None,
    };
    number
        .filter(|number| (min..=max).contains(number))
        .map(Value::Count)
        .ok_or_else(|| expected(&format!("a number from {min} to {max}"), raw))
}

fn read_bytes(raw: &Raw, min: u64, max: u64) -> Result<Value, String> {
    let bytes = number_or(raw, units::parse_size)?;
    if (min..=max).contains(&bytes) {
        return Ok(Value::Bytes(bytes));
    }
    let (min, max) = (units::size(min), units::size(max));
    Err(expected(&format!("a size from {min} to {max}"), raw))
}

fn read_rate(raw: &Raw) -> Result<Value, String> {
    let rate = number_or(raw, |text| {
        units::parse_size(text.strip_suffix("/s").unwrap_or(text))
    })?;
    if rate == 0 {
        return Err(expected("a rate of at least 1 byte a second", raw));
    }
    Ok(Value::Rate(rate))
}

fn read_span(raw: &Raw, min: u64, max: u64) -> Result<Value, String> {
    let nanos = match raw {
        Raw::Integer(secs) => u64::try_from(*secs)
            .ok()
            .and_then(|secs| secs.checked_mul(1_000_000_000))
            .ok_or_else(|| expected("a time", raw))?,
        _ => number_or(raw, units::parse_span)?,
    };
    if (min..=max).contains(&nanos) {
        return Ok(Value::Span(nanos));
    }
    let (min, max) = (units::span(min), units::span(max));
    Err(expected(&format!("a time from {min} to {max}"), raw))
}

/// A plain number, or text that `parse` understands.
fn number_or(raw: &Raw, parse: impl Fn(&str) -> Result<u64, String>) -> Result<u64, String> {
    match raw {
        Raw::Integer(number) => {
            u64::try_from(*number).map_err(|_| expected("a number that is not negative", raw))
        }
        Raw::Text(text) | Raw::Bare(text) => parse(text),
        _ => Err(expected("a number or text with a unit", raw)),
    }
}

fn read_choice(
    raw: &Raw,
    words: &'static [&'static str],
    reserved: &'static [&'static str],
) -> Result<Value, String> {
    let written = text(raw).unwrap_or_default();
    if reserved.contains(&written) {
        return Err(format!("\"{written}\" is reserved for a later version"));
    }
    words
        .iter()
        .find(|word| **word == written)
        .map(|word| Value::Word(word))
        .ok_or_else(|| {
            let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
            expected(&words.join(" or "), raw)
        })
}

fn read_text(raw: &Raw, rule: &str, accepts: impl Fn(&str) -> bool) -> Result<Value, String> {
    text(raw)
        .filter(|text| accepts(text))
        .map(|text| Value::Text(text.to_owned()))
        .ok_or_else(|| expected(rule, raw))
}

/// A list, one item standing alone (where `alone` allows it), or text with commas.
fn list(
    raw: &Raw,
    alone: bool,
    read: impl Fn(&Raw) -> Result<Value, String>,
) -> Result<Value, Refused> {
    let items = match raw {
        Raw::List(items) => items
            .iter()
            .map(|(span, item)| {
                read(item).map_err(|message| Refused {
                    span: Some(span.clone()),
                    message,
                })
            })
            .collect::<Result<Vec<_>, _>>()?,
        Raw::Bare(text) => bare_items(text)
            .map(|item| read(&Raw::Bare(item.to_owned())).map_err(Refused::from))
            .collect::<Result<Vec<_>, _>>()?,
        other if alone => vec![read(other)?],
        other => return Err(expected("a list", other).into()),
    };
    if items.is_empty() {
        return Err("the list is empty, expected at least one item"
            .to_owned()
            .into());
    }
    Ok(Value::List(items))
}

/// A list that may be empty, or one item standing alone.
fn list_or_none(raw: &Raw, read: impl Fn(&Raw) -> Result<Value, String>) -> Result<Value, Refused> {
    let is_empty = match raw {
        Raw::List(items) => items.is_empty(),
        Raw::Bare(text) => bare_items(text).next().is_none(),
        _ => false,
    };
    match is_empty {
        true => Ok(Value::List(Vec::new())),
        false => list(raw, true, read),
    }
}

/// The items of a list in a flag or in the environment, with or without TOML's brackets and quotes.
fn bare_items(text: &str) -> impl Iterator<Item = &str> {
    let inner = text
        .trim()
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    inner
        .split(',')
        .map(|item| item.trim().trim_matches('"'))
        .filter(|item| !item.is_empty())
}

fn read_address(raw: &Raw) -> Result<Value, String> {
    text(raw)
        .and_then(|text| text.parse::<SocketAddr>().ok())
        .map(|address| Value::Text(address.to_string()))
        .ok_or_else(|| {
            expected(
                "an address with a port, such as \"0.0.0.0:8080\" or \"[::]:8080\"",
                raw,
            )
        })
}

fn read_endpoint(raw: &Raw) -> Result<Value, String> {
    const RULE: &str = "a host and a port, such as \"127.0.0.1:3005\" or \"origin.internal:80\"";
    let written = text(raw).unwrap_or_default();
    if written.contains("://") {
        return Err(expected(&format!("{RULE} (no scheme)"), raw));
    }
    let numeric = written.parse::<SocketAddr>().is_ok_and(|a| a.port() != 0);
    let named = written.rsplit_once(':').is_some_and(|(host, port)| {
        is_host(host) && !looks_numeric(host) && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    if numeric || named {
        return Ok(Value::Text(written.to_owned()));
    }
    Err(expected(RULE, raw))
}

fn read_network(raw: &Raw) -> Result<Value, String> {
    const RULE: &str = "an address or a network, such as \"10.0.0.0/8\"";
    let network = text(raw).unwrap_or_default().parse::<Network>();
    network
        .map(|network| Value::Text(network.to_string()))
        .map_err(|why| expected(&format!("{RULE} ({why})"), raw))
}

fn read_field(side: Side, act: Act, raw: &Raw) -> Result<Value, String> {
    let text = text(raw).ok_or_else(|| expected("a field as text", raw))?;
    fields::read(side, act, text).map(Value::Text)
}

fn read_cpu(raw: &Raw) -> Result<Value, String> {
    read_count(raw, 0, u64::from(u16::MAX)).map_err(|_| expected("a CPU number", raw))
}

fn read_status(raw: &Raw) -> Result<Value, String> {
    read_count(raw, 400, 599).map_err(|_| expected("a status from 400 to 599", raw))
}

/// A token (RFC 9110 §5.6.2).
fn is_field_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn is_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && !text.starts_with('_')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

/// A path without query, fragment, white space or controls.
pub(crate) fn is_request_path(text: &str) -> bool {
    text.starts_with('/')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'?' && byte != b'#')
}

/// A host, with or without a port.
fn is_authority(text: &str) -> bool {
    match text.rsplit_once(':') {
        Some((host, port)) => is_host(host) && port.parse::<u16>().is_ok(),
        None => is_host(text),
    }
}

fn is_host(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        })
}

/// `1.2.3` or `300.1.1.1` is a mistyped address, not a name (RFC 3696 §2: the last label is not all digits).
fn looks_numeric(host: &str) -> bool {
    host.rsplit('.')
        .next()
        .is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare(kind: Kind, text: &str) -> Result<Value, String> {
        kind.read(&Raw::Bare(text.to_owned()))
            .map_err(|refused| refused.message)
    }

    #[test]
    fn bare_lists_take_commas_and_toml_brackets() {
        let two = Value::List(vec![Value::Count(0), Value::Count(2)]);
        for text in ["0,2", "[0, 2]", " [ 0 ,2 ] "] {
            assert_eq!(bare(Kind::Cpus, text), Ok(two.clone()), "{text}");
        }
    }

    #[test]
    fn endpoints_are_addresses_or_names_with_a_port() {
        for good in ["127.0.0.1:1", "[::1]:80", "origin.internal:8080", "a-b:1"] {
            assert!(bare(Kind::Endpoints, good).is_ok(), "{good}");
        }
        for bad in [
            "127.0.0.1",
            "300.1.1.1:80",
            "a b:1",
            "x:0",
            "x:70000",
            "http://x:1",
            ":80",
        ] {
            assert!(bare(Kind::Endpoints, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_word_beside_another_kind_is_offered_in_the_refusal() {
        let kind = Kind::Or("auto", &Kind::Count(1, 8));
        assert_eq!(bare(kind, "auto"), Ok(Value::Word("auto")));
        assert_eq!(
            bare(kind, "9"),
            Err("found \"9\", expected a number from 1 to 8, or \"auto\"".to_owned())
        );
    }

    #[test]
    fn an_endpoint_list_of_one_is_written_without_brackets() {
        let one = bare(Kind::Endpoints, "[\"a:1\"]").expect("accepted");
        assert_eq!(one.to_string(), "\"a:1\"");
    }
}
