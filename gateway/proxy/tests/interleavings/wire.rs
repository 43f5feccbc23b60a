//! Messages as a client and an origin read them.

use std::ops::Range;

pub(crate) const HEAD_END: &str = "\r\n\r\n";

pub(crate) fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.split("\r\n").skip(1).find_map(|line| {
        let (named, value) = line.split_once(": ")?;
        named.eq_ignore_ascii_case(name).then_some(value)
    })
}

/// One whole answer.
pub(crate) struct Answer {
    /// Without the empty line.
    pub(crate) head: String,
    /// Without its framing.
    pub(crate) body: String,
}

impl Answer {
    /// The first answer of what came, and its length on the wire; `None` while it is not all there.
    pub(crate) fn first_of(came: &str, to_head: bool) -> Result<Option<(Self, usize)>, String> {
        let Some((head, rest)) = came.split_once(HEAD_END) else {
            return Ok(None);
        };
        let bodyless = to_head || matches!(status(head), "204" | "304");
        let framed = if bodyless {
            Some((String::new(), 0))
        } else if let Some(length) = field(head, "Content-Length") {
            let length = length.parse().map_err(|_| format!("length in {head}"))?;
            rest.get(..length).map(|body| (body.to_owned(), length))
        } else if field(head, "Transfer-Encoding").is_some() {
            unchunked(rest)?
        } else {
            return Err(format!("no framing: {head}"));
        };
        Ok(framed.map(|(body, length)| {
            let head = head.to_owned();
            let length = head.len() + HEAD_END.len() + length;
            (Self { head, body }, length)
        }))
    }

    pub(crate) fn status(&self) -> &str {
        status(&self.head)
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }
}

fn status(head: &str) -> &str {
    head.get(9..12).unwrap_or("")
}

/// A chunked body and its length on the wire (RFC 9112 §7.1).
fn unchunked(came: &str) -> Result<Option<(String, usize)>, String> {
    let (mut body, mut rest) = (String::new(), came);
    while let Some((size, data)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16)
            .map_err(|_| format!("chunk size {:?}", size.get(..50).unwrap_or(size)))?;
        let Some(chunk) = data.get(..size + 2) else {
            return Ok(None);
        };
        body += chunk
            .strip_suffix("\r\n")
            .ok_or("a chunk without its end")?;
        rest = &data[size + 2..];
        if size == 0 {
            return Ok(Some((body, came.len() - rest.len())));
        }
    }
    Ok(None)
}

/// What a Range field asks for of so many bytes, without what cannot be satisfied (RFC 9110 §14.1.2).
pub(crate) fn resolve(ranges: &str, length: usize) -> Vec<Range<usize>> {
    let number = |text: &str| text.parse::<usize>().expect("a position");
    let ranges = ranges.strip_prefix("bytes=").expect("a range of bytes");
    let parts = ranges
        .split(',')
        .map(|part| match part.split_once('-').expect("a range") {
            ("", suffix) => length.saturating_sub(number(suffix))..length,
            (first, "") => number(first)..length,
            (first, last) => number(first)..length.min(number(last) + 1),
        });
    parts.filter(|part| !part.is_empty()).collect()
}

/// The parts of a multipart body, as their heads name them, with their bytes (RFC 9110 §14.6).
pub(crate) fn parts_of(body: &str) -> Option<Vec<(Range<usize>, &str)>> {
    let (mut parts, mut rest) = (Vec::new(), body);
    while let Some((_, part)) = rest.split_once("Content-Range: ") {
        let (head, data) = part.split_once(HEAD_END)?;
        let (range, _) = content_range(head.split("\r\n").next()?)?;
        rest = data.get(range.len()..)?.strip_prefix("\r\n--")?;
        parts.push((range.clone(), &data[..range.len()]));
    }
    Some(parts)
}

/// The part and the complete length that a Content-Range field names.
pub(crate) fn content_range(value: &str) -> Option<(Range<usize>, Option<usize>)> {
    let (range, complete) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
    Some((first..last + 1, complete.parse().ok()))
}
