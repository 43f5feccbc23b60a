//! Byte classes of RFC 9110 §5.5, §5.6 and scans over them. A scan gives the place of the first byte outside the class,
//! or the end of the input.

use core::cmp::Ordering;

/// Letters and digits, and the bytes of `more`.
const fn class(more: &[u8]) -> [bool; 256] {
    let mut members = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        members[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < more.len() {
        members[more[at] as usize] = true;
        at += 1;
    }
    members
}

/// `tchar` (RFC 9110 §5.6.2).
static TOKEN: [bool; 256] = class(b"!#$%&'*+-.^_`|~");
/// `unreserved` and `sub-delims` (RFC 3986 §2.2, §2.3).
static HOST: [bool; 256] = class(b"-._~!$&'()*+,;=");

const LOW_BITS: u64 = repeat(0x7f);
const HIGH_BIT: u64 = repeat(0x80);

const fn repeat(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// Whether `byte` may stand in a token.
#[inline]
pub(crate) fn is_token(byte: u8) -> bool {
    TOKEN[byte as usize]
}

/// Optional white space (RFC 9110 §5.6.3).
#[inline]
pub(crate) fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// The first byte from `at` on that is no `tchar`.
#[inline]
pub(crate) fn token_end(bytes: &[u8], at: usize) -> usize {
    class_end(bytes, at, &TOKEN)
}

/// Whether `text` is a token, and nothing else.
#[inline]
pub(crate) fn is_whole_token(text: &[u8]) -> bool {
    !text.is_empty() && token_end(text, 0) == text.len()
}

/// The order of texts without regard to case.
pub(crate) fn compare_in_any_case(one: &[u8], other: &[u8]) -> Ordering {
    let one = one.iter().map(u8::to_ascii_lowercase);
    one.cmp(other.iter().map(u8::to_ascii_lowercase))
}

/// The first byte from `at` on that may not stand as itself in a registered name.
#[inline]
pub(crate) fn host_end(bytes: &[u8], at: usize) -> usize {
    class_end(bytes, at, &HOST)
}

/// The first byte from `at` on that is not blank.
#[inline]
pub(crate) fn blank_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t') = bytes.get(at) {
        at += 1;
    }
    at
}

/// The first byte from `at` on that may not stand in a field value: a control other than a tab, or DEL.
#[inline]
pub(crate) fn value_end(bytes: &[u8], mut at: usize) -> usize {
    loop {
        at = words_end(bytes, at, |word| {
            let low = word & LOW_BITS;
            let from_space = low + repeat(0x80 - 0x20);
            let is_del = low + repeat(0x80 - 0x7f);
            (!from_space | is_del) & !word & HIGH_BIT
        });
        if bytes.get(at) != Some(&b'\t') {
            return at;
        }
        at += 1;
    }
}

/// The first byte from `at` on that may not stand in a request target: a control, a space, `#`, DEL, or one beyond
/// ASCII.
#[inline]
pub(crate) fn target_end(bytes: &[u8], at: usize) -> usize {
    words_end(bytes, at, |word| {
        let low = word & LOW_BITS;
        let above_space = low + repeat(0x80 - 0x21);
        let is_del = low + repeat(0x80 - 0x7f);
        let not_hash = (low ^ repeat(b'#')) + LOW_BITS;
        (!above_space | is_del | !not_hash | word) & HIGH_BIT
    })
}

/// `text` without blanks at either end.
#[inline]
pub(crate) fn trim(text: &[u8]) -> &[u8] {
    let mut rest = text;
    while let [first, tail @ ..] = rest
        && is_blank(*first)
    {
        rest = tail;
    }
    trim_end(rest)
}

/// `text` without blanks at its end.
#[inline]
pub(crate) fn trim_end(text: &[u8]) -> &[u8] {
    let mut rest = text;
    while let [head @ .., last] = rest
        && is_blank(*last)
    {
        rest = head;
    }
    rest
}

/// The members of a comma-separated list, trimmed, empty ones included. Not for fields with quoted strings.
#[inline]
pub(crate) fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    value.split(|&byte| byte == b',').map(trim)
}

/// `1*DIGIT`, saturating.
#[inline]
pub(crate) fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(text.iter().fold(0u64, |number, &byte| {
        number
            .saturating_mul(10)
            .saturating_add(u64::from(byte - b'0'))
    }))
}

/// In steps of eight, which cost one check of the bounds.
#[inline]
fn class_end(bytes: &[u8], mut at: usize, class: &[bool; 256]) -> usize {
    while let Some(eight) = eight_at(bytes, at) {
        for (place, &byte) in eight.iter().enumerate() {
            if !class[byte as usize] {
                return at + place;
            }
        }
        at += 8;
    }
    while let Some(&byte) = bytes.get(at)
        && class[byte as usize]
    {
        at += 1;
    }
    at
}

/// Scans eight bytes at a time. `stops` sets the high bit of each byte that stops the scan, at a NUL always; it may not
/// carry from one byte into the next.
#[inline]
fn words_end(bytes: &[u8], mut at: usize, stops: impl Fn(u64) -> u64) -> usize {
    while let Some(eight) = eight_at(bytes, at) {
        let stop = stops(u64::from_le_bytes(*eight));
        if stop != 0 {
            return at + (stop.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    at + (stops(last_word(bytes, at)).trailing_zeros() / 8) as usize
}

#[inline]
fn eight_at(bytes: &[u8], at: usize) -> Option<&[u8; 8]> {
    bytes.get(at..)?.first_chunk()
}

/// The bytes from `at` on, fewer than eight, and NULs after them.
#[inline]
fn last_word(bytes: &[u8], at: usize) -> u64 {
    let rest = bytes.len().saturating_sub(at);
    match bytes.last_chunk::<8>() {
        Some(_) if rest == 0 => 0,
        Some(last) => u64::from_le_bytes(*last) >> (64 - 8 * rest),
        None => {
            let fold = |word: u64, &byte: &u8| word << 8 | u64::from(byte);
            bytes
                .get(at..)
                .unwrap_or_default()
                .iter()
                .rev()
                .fold(0, fold)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every byte at every place of a word and of a tail is judged as the plain rule judges it.
    #[test]
    fn words_are_read_as_bytes_are() {
        for length in 1..20 {
            for at in 0..length {
                for byte in 0..=255u8 {
                    let mut text = vec![b'x'; length];
                    text[at] = byte;
                    let in_value = byte == b'\t' || (byte >= b' ' && byte != 0x7f);
                    let in_target = (b'!'..=b'~').contains(&byte) && byte != b'#';
                    let expected = |is_in| if is_in { length } else { at };
                    assert_eq!(
                        value_end(&text, 0),
                        expected(in_value),
                        "{byte:#x} at {at} of {length}"
                    );
                    assert_eq!(
                        target_end(&text, 0),
                        expected(in_target),
                        "{byte:#x} at {at} of {length}"
                    );
                }
            }
        }
    }

    #[test]
    fn neighbours_do_not_disturb_each_other() {
        for first in 0..=255u8 {
            for second in 0..=255u8 {
                let text = [b'x', first, second, b'x', b'x', b'x', b'x', b'x'];
                let plain =
                    |is_in: fn(u8) -> bool| text.iter().position(|&b| !is_in(b)).unwrap_or(8);
                let in_value = |b| b == b'\t' || (b >= b' ' && b != 0x7f);
                assert_eq!(value_end(&text, 0), plain(in_value));
                assert_eq!(
                    target_end(&text, 0),
                    plain(|b| (b'!'..=b'~').contains(&b) && b != b'#')
                );
            }
        }
    }
}
