//! Structured fields (RFC 9651): dictionaries, read strictly. Any error makes the whole field as if it were absent.

use crate::scan::is_token;

/// A value (RFC 9651 §3.3), borrowed as it stands in the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BareItem<'a> {
    /// Of at most 15 digits.
    Integer(i64),
    /// In thousandths.
    Decimal(i64),
    /// Between its quotes; `\"` and `\\` are not replaced.
    String(&'a [u8]),
    /// A token.
    Token(&'a [u8]),
    /// Between its colons: base64 that can be decoded.
    Bytes(&'a [u8]),
    /// `?1`, `?0`, or a key alone, which is true.
    Boolean(bool),
    /// Seconds since the epoch, before it too.
    Date(i64),
    /// Between its quotes; `%` escapes, which make UTF-8, are not replaced.
    DisplayString(&'a [u8]),
}

/// A member of a dictionary. Its parameters, and what an inner list holds, are checked and not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member<'a> {
    /// One value.
    Item(BareItem<'a>),
    /// `(a b)`
    InnerList,
}

/// The field is no dictionary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid;

/// Reads the lines of a field as one dictionary (§4.2.2) and tells each key and member as they come: of one key the last
/// counts, and none if the end is an error. One without members is a dictionary too. Several lines are put together,
/// which allocates.
///
/// # Errors
/// [`Invalid`], at the first byte that does not fit.
pub fn dictionary<'a>(
    mut lines: impl Iterator<Item = &'a [u8]>,
    mut visit: impl for<'m> FnMut(&'m [u8], Member<'m>),
) -> Result<(), Invalid> {
    let Some(first) = lines.next() else {
        return Ok(());
    };
    let Some(second) = lines.next() else {
        return members(first, &mut visit);
    };
    let mut joined = [first, second].join(&b", "[..]);
    for line in lines {
        joined.extend_from_slice(b", ");
        joined.extend_from_slice(line);
    }
    members(&joined, &mut visit)
}

fn members(
    text: &[u8],
    visit: &mut impl for<'m> FnMut(&'m [u8], Member<'m>),
) -> Result<(), Invalid> {
    let mut parser = Parser { rest: text };
    parser.skip(b" ");
    while !parser.rest.is_empty() {
        let key = parser.key()?;
        let member = if parser.take(b'=') {
            parser.member()?
        } else {
            Member::Item(BareItem::Boolean(true))
        };
        parser.parameters()?;
        visit(key, member);
        parser.skip(b" \t");
        if parser.rest.is_empty() {
            break;
        }
        parser.expect(b',')?;
        parser.skip(b" \t");
        if parser.rest.is_empty() {
            return Err(Invalid);
        }
    }
    Ok(())
}

struct Parser<'a> {
    rest: &'a [u8],
}

impl<'a> Parser<'a> {
    /// A member without its parameters.
    fn member(&mut self) -> Result<Member<'a>, Invalid> {
        if self.take(b'(') {
            self.inner_list()?;
            return Ok(Member::InnerList);
        }
        Ok(Member::Item(self.bare_item()?))
    }

    /// §4.2.1.2, behind its bracket.
    fn inner_list(&mut self) -> Result<(), Invalid> {
        loop {
            self.skip(b" ");
            if self.take(b')') {
                return Ok(());
            }
            self.bare_item()?;
            self.parameters()?;
            if !matches!(self.rest.first(), Some(b' ' | b')')) {
                return Err(Invalid);
            }
        }
    }

    /// §4.2.3.2
    fn parameters(&mut self) -> Result<(), Invalid> {
        while self.take(b';') {
            self.skip(b" ");
            self.key()?;
            if self.take(b'=') {
                self.bare_item()?;
            }
        }
        Ok(())
    }

    /// §4.2.3.3
    fn key(&mut self) -> Result<&'a [u8], Invalid> {
        if !matches!(self.rest.first(), Some(b'a'..=b'z' | b'*')) {
            return Err(Invalid);
        }
        Ok(self.take_while(
            |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'*'),
        ))
    }

    /// §4.2.3.1
    fn bare_item(&mut self) -> Result<BareItem<'a>, Invalid> {
        match self.rest.first().ok_or(Invalid)? {
            b'-' | b'0'..=b'9' => self.number(),
            b'"' => Ok(BareItem::String(self.string()?)),
            b'a'..=b'z' | b'A'..=b'Z' | b'*' => {
                Ok(BareItem::Token(self.take_while(|byte| {
                    is_token(byte) || matches!(byte, b':' | b'/')
                })))
            }
            b':' => self.byte_sequence(),
            b'?' => self.boolean(),
            b'@' => self.date(),
            b'%' => self.display_string(),
            _ => Err(Invalid),
        }
    }

    /// §4.2.4
    fn number(&mut self) -> Result<BareItem<'a>, Invalid> {
        let sign = if self.take(b'-') { -1 } else { 1 };
        let whole = self.take_while(|byte| byte.is_ascii_digit());
        if whole.is_empty() || whole.len() > 15 {
            return Err(Invalid);
        }
        if !self.take(b'.') {
            return Ok(BareItem::Integer(sign * digits(whole)));
        }
        let places = self.take_while(|byte| byte.is_ascii_digit());
        if whole.len() > 12 || places.is_empty() || places.len() > 3 {
            return Err(Invalid);
        }
        let thousandths = (places.len()..3).fold(digits(places), |value, _| value * 10);
        Ok(BareItem::Decimal(
            sign * (digits(whole) * 1000 + thousandths),
        ))
    }

    /// §4.2.5
    fn string(&mut self) -> Result<&'a [u8], Invalid> {
        self.expect(b'"')?;
        let start = self.rest;
        loop {
            match self.next()? {
                b'\\' => {
                    if !matches!(self.next()?, b'"' | b'\\') {
                        return Err(Invalid);
                    }
                }
                b'"' => return Ok(self.since(start)),
                b' '..=b'~' => {}
                _ => return Err(Invalid),
            }
        }
    }

    /// §4.2.7. Padding may be missing, and bits behind the last byte be set: senders do both.
    fn byte_sequence(&mut self) -> Result<BareItem<'a>, Invalid> {
        self.expect(b':')?;
        let start = self.rest;
        let text =
            self.take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'));
        let padding = self.take_while(|byte| byte == b'=');
        self.expect(b':')?;
        let room = match text.len() % 4 {
            0 => 0,
            1 => return Err(Invalid),
            rest => 4 - rest,
        };
        if padding.len() > room {
            return Err(Invalid);
        }
        Ok(BareItem::Bytes(self.since(start)))
    }

    /// §4.2.8
    fn boolean(&mut self) -> Result<BareItem<'a>, Invalid> {
        self.expect(b'?')?;
        match self.next()? {
            b'1' => Ok(BareItem::Boolean(true)),
            b'0' => Ok(BareItem::Boolean(false)),
            _ => Err(Invalid),
        }
    }

    /// §4.2.9
    fn date(&mut self) -> Result<BareItem<'a>, Invalid> {
        self.expect(b'@')?;
        match self.number()? {
            BareItem::Integer(seconds) => Ok(BareItem::Date(seconds)),
            _ => Err(Invalid),
        }
    }

    /// §4.2.10
    fn display_string(&mut self) -> Result<BareItem<'a>, Invalid> {
        self.expect(b'%')?;
        self.expect(b'"')?;
        let start = self.rest;
        let mut utf8 = Utf8::default();
        loop {
            match self.next()? {
                b'%' => {
                    let byte = hex(self.next()?)? << 4 | hex(self.next()?)?;
                    utf8.push(byte)?;
                }
                b'"' if utf8.is_complete() => {
                    return Ok(BareItem::DisplayString(self.since(start)));
                }
                b'"' => return Err(Invalid),
                byte @ b' '..=b'~' => utf8.push(byte)?,
                _ => return Err(Invalid),
            }
        }
    }

    fn next(&mut self) -> Result<u8, Invalid> {
        let (&first, rest) = self.rest.split_first().ok_or(Invalid)?;
        self.rest = rest;
        Ok(first)
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_there = self.rest.first() == Some(&byte);
        if is_there {
            self.rest = self.rest.get(1..).unwrap_or_default();
        }
        is_there
    }

    fn expect(&mut self, byte: u8) -> Result<(), Invalid> {
        self.take(byte).then_some(()).ok_or(Invalid)
    }

    fn take_while(&mut self, is_in: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.rest.iter().position(|&byte| !is_in(byte));
        let end = end.unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at_checked(end).unwrap_or_default();
        self.rest = rest;
        taken
    }

    fn skip(&mut self, blanks: &[u8]) {
        self.take_while(|byte| blanks.contains(&byte));
    }

    /// What was read since `start`, without the delimiter read last.
    fn since(&self, start: &'a [u8]) -> &'a [u8] {
        let read = start.len().saturating_sub(self.rest.len() + 1);
        start.get(..read).unwrap_or_default()
    }
}

/// One character of UTF-8 at a time.
#[derive(Default)]
struct Utf8 {
    bytes: [u8; 4],
    len: usize,
}

impl Utf8 {
    fn push(&mut self, byte: u8) -> Result<(), Invalid> {
        *self.bytes.get_mut(self.len).ok_or(Invalid)? = byte;
        self.len += 1;
        let so_far = self.bytes.get(..self.len).unwrap_or_default();
        match core::str::from_utf8(so_far) {
            Ok(_) => self.len = 0,
            Err(error) if error.error_len().is_some() => return Err(Invalid),
            Err(_) => {}
        }
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.len == 0
    }
}

/// Of at most 15 digits.
fn digits(text: &[u8]) -> i64 {
    text.iter()
        .fold(0, |value, &byte| value * 10 + i64::from(byte - b'0'))
}

/// Lower case only.
fn hex(digit: u8) -> Result<u8, Invalid> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(Invalid),
    }
}
