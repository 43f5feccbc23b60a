//! What RFC 9112 lets a proxy put right in a response head, and nothing else.

use crate::scan::{blank_end, is_blank, trim_end};

/// The head at the start of `bytes` with what RFC 9112 lets a proxy repair put right (white space before a colon
/// removed, §5.1; folded lines joined, §5.2), and how many bytes of `bytes` it replaces. `None` where there is nothing
/// to repair or the head is not complete. The result is parsed like any other.
#[must_use]
pub fn repair_response(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let length = memchr::memmem::find(bytes, b"\r\n\r\n")? + 4;
    let head = bytes.get(..length)?;
    let mut lines = lines(head.get(..length - 4)?);
    let mut repaired = Vec::with_capacity(length);
    append(&mut repaired, lines.next()?);
    let mut is_in_field = false;
    for line in lines {
        match line.first() {
            Some(&first) if is_blank(first) => {
                is_in_field.then_some(())?;
                join(&mut repaired, line);
            }
            _ => is_in_field = append_field(&mut repaired, line),
        }
    }
    repaired.extend_from_slice(b"\r\n");
    (repaired != head).then_some((repaired, length))
}

/// Lines without their CRLF; a CR or LF alone ends none, so that the parser still refuses it.
fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(head);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = memchr::memmem::find(text, b"\r\n") else {
            rest = None;
            return Some(text);
        };
        rest = text.get(end + 2..);
        text.get(..end)
    })
}

/// Continues the line before with one space in place of the fold.
fn join(repaired: &mut Vec<u8>, line: &[u8]) {
    repaired.truncate(repaired.len().saturating_sub(2));
    repaired.truncate(trim_end(repaired).len());
    repaired.push(b' ');
    append(repaired, line.get(blank_end(line, 0)..).unwrap_or_default());
}

/// Says whether the line has a colon, without which it is no field that could go on.
fn append_field(repaired: &mut Vec<u8>, line: &[u8]) -> bool {
    let Some(colon) = memchr::memchr(b':', line) else {
        append(repaired, line);
        return false;
    };
    let (name, rest) = line.split_at(colon);
    repaired.extend_from_slice(trim_end(name));
    append(repaired, rest);
    true
}

fn append(repaired: &mut Vec<u8>, line: &[u8]) {
    repaired.extend_from_slice(line);
    repaired.extend_from_slice(b"\r\n");
}
