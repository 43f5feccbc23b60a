//! A second reader of requests, written from RFC 9112 and RFC 9110 §5, §7 and from nothing of the first: it looks for the
//! end of the head, then for the lines, then at each of them. Slow, strict, without a state. It knows no limits and no
//! expectations, and is used on what reaches an origin too (`gateway/e2e/tests/framing.rs`).

#![allow(dead_code, unreachable_pub)] // each test uses its part

/// One message as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub head: Head,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// The names and values of the trailer section.
    pub trailers: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the message ends.
    pub end: usize,
}

/// Its head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub method: Vec<u8>,
    /// What follows the authority; of OPTIONS without a path the asterisk.
    pub target: Vec<u8>,
    /// The target's authority, else the Host field; empty where HTTP/1.0 has neither.
    pub host: Vec<u8>,
    pub minor: u8,
    /// Names as written, values without the blanks around them.
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
    pub framing: Framing,
    /// Where the head ends.
    pub end: usize,
}

/// How the end of the body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    None,
    Length(u64),
    Chunked,
}

/// Why there is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its end has not come.
    Partial,
    /// What was looked at.
    Malformed(&'static str),
}

use Fault::{Malformed, Partial};

/// Reads the message that `bytes` begin with.
pub fn read(bytes: &[u8]) -> Result<Message, Fault> {
    let head = read_head(bytes)?;
    let rest = &bytes[head.end..];
    let (body, trailers, length) = match head.framing {
        Framing::None => (Vec::new(), Vec::new(), 0),
        Framing::Length(length) => {
            let length = usize::try_from(length).map_err(|_| Partial)?;
            let body = rest.get(..length).ok_or(Partial)?;
            (body.to_vec(), Vec::new(), length)
        }
        Framing::Chunked => read_chunks(rest)?,
    };
    let end = head.end + length;
    Ok(Message {
        head,
        body,
        trailers,
        end,
    })
}

/// Reads the head that `bytes` begin with.
pub fn read_head(bytes: &[u8]) -> Result<Head, Fault> {
    let start = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
    let text = &bytes[start..];
    let length = find(text, b"\r\n\r\n").ok_or(Partial)?;
    let mut lines = lines(&text[..length]);
    let (method, target, minor) = request_line(&lines.remove(0))?;
    let fields: Vec<_> = lines
        .iter()
        .map(|line| field(line))
        .collect::<Result<_, _>>()?;
    let named = |name: &str| -> Vec<Vec<u8>> {
        let is = |(written, _): &&(Vec<u8>, Vec<u8>)| lower(written) == name.as_bytes();
        fields
            .iter()
            .filter(is)
            .map(|(_, value)| value.clone())
            .collect()
    };
    let host = match (named("host").as_slice(), minor) {
        ([], 0) => Vec::new(),
        ([host], _) if host.is_empty() || is_authority(host) => host.clone(),
        _ => return Err(Malformed("Host")),
    };
    let (target, authority) = split_target(&method, &target)?;
    let framing = framing(&named("content-length"), &named("transfer-encoding"), minor)?;
    Ok(Head {
        method,
        target,
        host: authority.unwrap_or(host),
        minor,
        fields,
        framing,
        end: start + length + 4,
    })
}

/// RFC 9112 §3: three words, one space between them.
fn request_line(line: &[u8]) -> Result<(Vec<u8>, Vec<u8>, u8), Fault> {
    let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    let [method, target, version] = words.as_slice() else {
        return Err(Malformed("request line"));
    };
    if !is_token(method) {
        return Err(Malformed("method"));
    }
    if target.is_empty()
        || !target
            .iter()
            .all(|&byte| byte.is_ascii_graphic() && byte != b'#')
    {
        return Err(Malformed("target"));
    }
    match version {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor] if minor.is_ascii_digit() => {
            Ok((method.to_vec(), target.to_vec(), minor - b'0'))
        }
        _ => Err(Malformed("version")),
    }
}

/// The four forms of RFC 9112 §3.2, of which CONNECT's is not taken.
fn split_target(method: &[u8], target: &[u8]) -> Result<(Vec<u8>, Option<Vec<u8>>), Fault> {
    if method == b"CONNECT" {
        return Err(Malformed("CONNECT"));
    }
    if target[0] == b'/' || (method == b"OPTIONS" && target == b"*") {
        return Ok((target.to_vec(), None));
    }
    let lower = lower(target);
    let scheme = ["http://", "https://"]
        .into_iter()
        .find(|scheme| lower.starts_with(scheme.as_bytes()));
    let rest = &target[scheme.ok_or(Malformed("form of target"))?.len()..];
    let (authority, path) = match rest.iter().position(|&byte| byte == b'/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, &b""[..]),
    };
    if !is_authority(authority) {
        return Err(Malformed("authority"));
    }
    let path = match (path, method) {
        (b"", b"OPTIONS") => b"*",
        (b"", _) => b"/",
        (path, _) => path,
    };
    Ok((path.to_vec(), Some(authority.to_vec())))
}

/// RFC 9112 §6.3, the strict way: a coding beside a length, or in HTTP/1.0, is no message; values that repeat are one.
fn framing(lengths: &[Vec<u8>], codings: &[Vec<u8>], minor: u8) -> Result<Framing, Fault> {
    match (lengths, codings) {
        ([], []) => Ok(Framing::None),
        ([], [coding]) if lower(coding) == b"chunked" && minor > 0 => Ok(Framing::Chunked),
        (_, [_, ..]) => Err(Malformed("Transfer-Encoding")),
        (lengths, []) => {
            let values: Vec<&[u8]> = lengths
                .iter()
                .flat_map(|line| line.split(|&byte| byte == b','))
                .map(trim)
                .collect();
            let numbers: Option<Vec<u64>> = values.iter().map(|value| number(value, 10)).collect();
            let numbers = numbers.ok_or(Malformed("Content-Length"))?;
            if numbers.iter().any(|number| *number != numbers[0]) {
                return Err(Malformed("lengths differ"));
            }
            Ok(Framing::Length(numbers[0]))
        }
    }
}

type Chunks = (Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>, usize);

/// RFC 9112 §7.1: the body, the trailer fields, and where it ends.
fn read_chunks(bytes: &[u8]) -> Result<Chunks, Fault> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let line = line_at(bytes, at)?;
        at += line.len() + 2;
        let size = chunk_size(line)?;
        if size == 0 {
            break;
        }
        let size = usize::try_from(size).map_err(|_| Partial)?;
        let end = at.checked_add(size).ok_or(Partial)?;
        body.extend_from_slice(bytes.get(at..end).ok_or(Partial)?);
        match bytes.get(end..end + 2) {
            Some(b"\r\n") => at = end + 2,
            Some(_) => return Err(Malformed("end of chunk")),
            None => return Err(Partial),
        }
    }
    let mut trailers = Vec::new();
    loop {
        let line = line_at(bytes, at)?;
        at += line.len() + 2;
        if line.is_empty() {
            return Ok((body, trailers, at));
        }
        trailers.push(field(line)?);
    }
}

/// `chunk-size [ BWS ";" chunk-ext ]`, the extension well quoted.
fn chunk_size(line: &[u8]) -> Result<u64, Fault> {
    let digits = line
        .iter()
        .take_while(|byte| byte.is_ascii_hexdigit())
        .count();
    let (size, rest) = line.split_at(digits);
    let size = if digits <= 16 { number(size, 16) } else { None };
    let size = size.ok_or(Malformed("chunk size"))?;
    if rest.is_empty() {
        return Ok(size);
    }
    let Some(extension) = trim_start(rest).strip_prefix(b";") else {
        return Err(Malformed("chunk extension"));
    };
    if extension.iter().any(|&byte| is_control(byte)) {
        return Err(Malformed("chunk extension"));
    }
    let mut rest = extension;
    while let Some(quote) = rest.iter().position(|&byte| byte == b'"') {
        rest = &rest[quote + 1..];
        loop {
            match rest {
                [] | [b'\\'] => return Err(Malformed("quoted string")),
                [b'"', after @ ..] => {
                    rest = after;
                    break;
                }
                [b'\\', _, after @ ..] | [_, after @ ..] => rest = after,
            }
        }
    }
    Ok(size)
}

/// RFC 9112 §5: a token, a colon right behind it, a value without controls. What does not begin with a token is no field,
/// a folded line neither.
fn field(line: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Fault> {
    let colon = line.iter().position(|&byte| byte == b':');
    let (name, value) = line.split_at(colon.ok_or(Malformed("field without colon"))?);
    let value = &value[1..];
    if !is_token(name) {
        return Err(Malformed("field name"));
    }
    if value.iter().any(|&byte| is_control(byte)) {
        return Err(Malformed("field value"));
    }
    Ok((name.to_vec(), trim(value).to_vec()))
}

/// `uri-host [ ":" port ]` (RFC 3986 §3.2), an IP literal being an IPv6 address.
fn is_authority(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    let (host, port) = match text.rfind(':') {
        Some(colon) if !text[colon..].contains(']') => (&text[..colon], &text[colon + 1..]),
        _ => (&*text, ""),
    };
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit())
        && (port.trim_start_matches('0').is_empty()
            || port.trim_start_matches('0').parse::<u16>().is_ok());
    let is_host = match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && is_registered_name(host.as_bytes()),
    };
    is_host && is_port
}

fn is_registered_name(name: &[u8]) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte);
    (0..name.len()).all(|at| match &name[at..] {
        [b'%', high, low, ..] => high.is_ascii_hexdigit() && low.is_ascii_hexdigit(),
        [byte, ..] => is_plain(*byte),
        [] => true,
    })
}

/// Where lines end in CRLF.
fn lines(text: &[u8]) -> Vec<Vec<u8>> {
    let mut lines = vec![Vec::new()];
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with(b"\r\n") {
            lines.push(Vec::new());
            at += 2;
        } else {
            lines.last_mut().expect("there is one").push(text[at]);
            at += 1;
        }
    }
    lines
}

fn line_at(bytes: &[u8], at: usize) -> Result<&[u8], Fault> {
    let rest = &bytes[at..];
    find(rest, b"\r\n")
        .map(|length| &rest[..length])
        .ok_or(Partial)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Digits and nothing else, of a number that 64 bits hold.
fn number(text: &[u8], radix: u32) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let is_plain = text.chars().all(|digit| digit.is_digit(radix));
    if is_plain {
        u64::from_str_radix(text, radix).ok()
    } else {
        None
    }
}

fn is_token(text: &[u8]) -> bool {
    let is = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(is)
}

fn is_control(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}

fn trim(text: &[u8]) -> &[u8] {
    let blanks = text
        .iter()
        .rev()
        .take_while(|byte| b" \t".contains(byte))
        .count();
    trim_start(&text[..text.len() - blanks])
}

fn trim_start(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|byte| b" \t".contains(byte)).count();
    &text[blanks..]
}

fn lower(text: &[u8]) -> Vec<u8> {
    text.to_ascii_lowercase()
}
