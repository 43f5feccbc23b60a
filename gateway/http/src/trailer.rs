//! The trailer section of a chunked body (RFC 9112 §7.1.2, RFC 9110 §6.5).

use base::limits::TRAILER_BYTES_MAX;

use crate::field::Name;
use crate::head::Refusal;
use crate::line::{self, field_line};

/// A trailer section that is being received.
#[derive(Debug, Default)]
pub(crate) struct Trailers {
    /// The lines that may pass, with their CRLFs; at the end the one that is not complete.
    lines: Vec<u8>,
    /// Where the incomplete line begins.
    line_start: usize,
    /// Bytes received, those of dropped lines included.
    bytes: usize,
    is_whole: bool,
}

impl Trailers {
    /// Takes bytes until the section's empty line or the end of `input`, and says how many it took.
    pub(crate) fn take(&mut self, input: &[u8]) -> Result<usize, &'static Refusal> {
        let mut taken = 0;
        for piece in input.split_inclusive(|&byte| byte == b'\n') {
            taken += piece.len();
            self.bytes = self.bytes.saturating_add(piece.len());
            if self.bytes > TRAILER_BYTES_MAX {
                return Err(&line::TRAILERS_TOO_LONG);
            }
            self.lines.extend_from_slice(piece);
            if piece.ends_with(b"\n") && self.end_line()? {
                break;
            }
        }
        Ok(taken)
    }

    /// Whether the empty line was seen.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// The lines that may pass, with their CRLFs.
    pub(crate) fn lines(&self) -> &[u8] {
        &self.lines
    }

    /// Judges the line that a line feed has just ended, and says whether it was the empty one.
    fn end_line(&mut self) -> Result<bool, &'static Refusal> {
        let text = self.lines.get(self.line_start..).unwrap_or_default();
        self.is_whole = text == b"\r\n";
        if self.is_whole || !may_pass(text)? {
            self.lines.truncate(self.line_start);
        }
        self.line_start = self.lines.len();
        Ok(self.is_whole)
    }
}

/// Whether the field of a line may be a trailer. Of the names the gateway knows few may, for those are the ones
/// somebody acts on; of the others those may not that speak of content, identity or routing.
fn may_pass(text: &[u8]) -> Result<bool, &'static Refusal> {
    let Ok((field, _)) = field_line(text, 0) else {
        return Err(&line::TRAILER);
    };
    let (start, end) = field.name_at;
    let name = text.get(start as usize..end as usize).unwrap_or_default();
    Ok(match field.name {
        Name::ETag | Name::CacheStatus => true,
        Name::Other => !is_forbidden(name),
        _ => false,
    })
}

/// Of names that are not in [`Name`].
fn is_forbidden(name: &[u8]) -> bool {
    const NAMES: [&str; 5] = [
        "www-authenticate",
        "authentication-info",
        "authentication-control",
        "warning",
        "x-real-ip",
    ];
    const PREFIXES: [&str; 2] = ["content-", "x-forwarded-"];
    let is = |text: &str| name.eq_ignore_ascii_case(text.as_bytes());
    let starts = |text: &str| {
        name.get(..text.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(text.as_bytes()))
    };
    // A digest is known only when all was sent (RFC 9530 §2).
    NAMES.into_iter().any(is) || (PREFIXES.into_iter().any(starts) && !is("content-digest"))
}
