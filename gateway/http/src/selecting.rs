//! Normal forms of selecting fields, by which two requests are compared where an answer varies (RFC 9111 §4.1). Two
//! values of one normal form mean the same; a field that is not there is the caller's to tell from an empty one.

use crate::field::Name;
use crate::scan::{blank_end, trim, trim_end};
use crate::{accept_encoding, accept_language};

/// Appends the normal form of all lines of a field: of `Accept-Encoding` and `Accept-Language` by what they mean, of any
/// other as [`append_combined`] does.
pub fn append_normal_form<'a>(
    name: Name,
    lines: impl Iterator<Item = &'a [u8]> + Clone,
    out: &mut Vec<u8>,
) {
    match name {
        Name::AcceptEncoding => accept_encoding::append_normal_form(lines, out),
        Name::AcceptLanguage => accept_language::append_normal_form(lines, out),
        _ => append_combined(lines, out),
    }
}

/// Appends the lines combined to one (RFC 9110 §5.3), without blanks at the ends and around commas outside quoted
/// strings. Nothing else is known of a field, so that nothing else is the same in two of its values.
pub fn append_combined<'a>(lines: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    let start = out.len();
    let mut state = Quoting::Outside;
    for (at, line) in lines.enumerate() {
        if at > 0 && state == Quoting::Outside {
            comma(start, out);
        } else if at > 0 {
            out.extend_from_slice(b", ");
            state = Quoting::Inside;
        }
        let mut rest = trim(line);
        while let [byte, tail @ ..] = rest {
            rest = tail;
            if *byte == b',' && state == Quoting::Outside {
                comma(start, out);
                rest = rest.get(blank_end(rest, 0)..).unwrap_or_default();
            } else {
                out.push(*byte);
                state = state.after(*byte);
            }
        }
    }
    trim_end_of(start, out);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quoting {
    Outside,
    Inside,
    Escaped,
}

impl Quoting {
    fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Outside, b'"') | (Self::Escaped, _) => Self::Inside,
            (Self::Inside, b'\\') => Self::Escaped,
            (Self::Inside, b'"') => Self::Outside,
            (state, _) => state,
        }
    }
}

/// Without the blanks before it.
fn comma(start: usize, out: &mut Vec<u8>) {
    trim_end_of(start, out);
    out.push(b',');
}

fn trim_end_of(start: usize, out: &mut Vec<u8>) {
    let written = out.get(start..).unwrap_or_default();
    out.truncate(start + trim_end(written).len());
}
