//! One answer at a time, read strictly from pieces of any size (RFC 9112): status, framing, and the body against the one
//! that is expected.

use std::fmt;

/// Bytes of a head, or of a line of a chunked body, at most.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// What a body should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    /// The status of every answer; without one, 2xx and 3xx are right.
    pub(crate) status: Option<u16>,
    /// Bytes of every body.
    pub(crate) length: Option<u64>,
    /// Every body, byte for byte.
    pub(crate) body: Option<Box<[u8]>>,
}

impl Expected {
    /// Whether an answer with this status is right.
    #[inline]
    pub(crate) fn allows(&self, status: u16) -> bool {
        match self.status {
            Some(expected) => status == expected,
            None => (200..400).contains(&status),
        }
    }
}

/// A whole answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Bytes of the body, without its framing.
    pub(crate) body_bytes: u64,
    /// Whether the body is the expected one, as far as anything was expected.
    pub(crate) as_expected: bool,
    /// Whether another request may follow on the connection.
    pub(crate) persists: bool,
}

/// Why bytes are no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// The status line or a field.
    Head,
    /// A head or line longer than anybody sends.
    TooLong,
    /// Lengths that contradict each other, or a chunk that is none.
    Framing,
    /// The connection ended inside the answer.
    Cut,
    /// Bytes behind the answer, for which nobody asked.
    Surplus,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Head => "the head of the answer is malformed",
            Self::TooLong => "the head of the answer has no end",
            Self::Framing => "the length of the answer is malformed",
            Self::Cut => "the connection ended inside the answer",
            Self::Surplus => "bytes came behind the answer",
        })
    }
}

/// Where in an answer the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Head,
    /// Bytes of the body to come.
    Fixed(u64),
    ChunkSize,
    /// Bytes of the chunk to come.
    Chunk(u64),
    ChunkEnd,
    Trailer,
    /// The connection's end ends the body.
    UntilEnd,
}

/// Reads answers of one connection.
#[derive(Debug)]
pub(crate) struct Reader {
    at: At,
    /// The beginning of a head or line whose end has not come; empty on the usual way.
    kept: Vec<u8>,
    status: u16,
    persists: bool,
    body_bytes: u64,
    differs: bool,
    /// Answers have no body, whatever their heads say.
    bodiless: bool,
    keep: Keep,
}

/// The body for later, where it is wanted.
#[derive(Debug, Default)]
struct Keep {
    bytes: Vec<u8>,
    bytes_max: usize,
}

/// What a head says.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    persists: bool,
    /// Whether it would, if the connection's end did not end the body.
    may_persist: bool,
    body: At,
}

impl Reader {
    /// `bodiless` where requests are HEAD (RFC 9112 §6.3).
    pub(crate) fn new(bodiless: bool) -> Self {
        Self {
            at: At::Head,
            kept: Vec::new(),
            status: 0,
            persists: true,
            body_bytes: 0,
            differs: false,
            bodiless,
            keep: Keep::default(),
        }
    }

    /// A reader that keeps a body of at most so many bytes.
    pub(crate) fn keeping(bytes_max: usize, bodiless: bool) -> Self {
        Self {
            keep: Keep {
                bytes: Vec::new(),
                bytes_max,
            },
            ..Self::new(bodiless)
        }
    }

    /// The body that was read, unless it was too large to keep.
    pub(crate) fn kept_body(self) -> Option<Vec<u8>> {
        (self.keep.bytes_max > 0).then_some(self.keep.bytes)
    }

    /// Forgets what was read, for a new connection.
    pub(crate) fn reset(&mut self) {
        self.begin();
        self.kept.clear();
    }

    /// Takes the next bytes of the connection; the answer once it is whole. Nothing may follow it.
    #[inline]
    pub(crate) fn feed(
        &mut self,
        bytes: &[u8],
        expected: &Expected,
    ) -> Result<Option<Answer>, Malformed> {
        match self.feed_first(bytes, expected)? {
            (Some(_), [_, ..]) => Err(Malformed::Surplus),
            (answer, _) => Ok(answer),
        }
    }

    /// Takes bytes up to the end of an answer; the answer once it is whole, and what follows it.
    #[inline]
    pub(crate) fn feed_first<'b>(
        &mut self,
        mut bytes: &'b [u8],
        expected: &Expected,
    ) -> Result<(Option<Answer>, &'b [u8]), Malformed> {
        while !bytes.is_empty() {
            let (rest, whole) = self.step(bytes, expected)?;
            if whole {
                return Ok((Some(self.answer(expected)), rest));
            }
            bytes = rest;
        }
        Ok((None, bytes))
    }

    /// The peer ended the connection: the answer, if that is how it ends.
    pub(crate) fn end(&mut self, expected: &Expected) -> Result<Answer, Malformed> {
        if self.at == At::UntilEnd {
            Ok(self.answer(expected))
        } else {
            Err(Malformed::Cut)
        }
    }

    fn begin(&mut self) {
        self.at = At::Head;
        self.body_bytes = 0;
        self.differs = false;
    }

    #[inline]
    fn answer(&mut self, expected: &Expected) -> Answer {
        let body = expected.body.as_ref().map(|body| body.len() as u64);
        let fits = |length: Option<u64>| length.is_none_or(|length| length == self.body_bytes);
        let answer = Answer {
            status: self.status,
            body_bytes: self.body_bytes,
            as_expected: !self.differs && fits(body) && fits(expected.length),
            persists: self.persists,
        };
        self.begin();
        answer
    }

    /// Takes what belongs to the present part; tells what is left and whether the answer is whole.
    #[inline]
    fn step<'b>(
        &mut self,
        bytes: &'b [u8],
        expected: &Expected,
    ) -> Result<(&'b [u8], bool), Malformed> {
        match self.at {
            At::Head => self.head(bytes),
            At::Fixed(left) => {
                let (left, rest) = self.body(bytes, left, expected);
                self.at = At::Fixed(left);
                Ok((rest, left == 0))
            }
            At::UntilEnd => {
                self.body(bytes, u64::MAX, expected);
                Ok((&[], false))
            }
            At::Chunk(left) => {
                let (left, rest) = self.body(bytes, left, expected);
                self.at = if left == 0 {
                    At::ChunkEnd
                } else {
                    At::Chunk(left)
                };
                Ok((rest, false))
            }
            At::ChunkSize | At::ChunkEnd | At::Trailer => self.line(bytes),
        }
    }

    /// Takes at most `left` bytes of the body; tells how many are left and what follows.
    #[inline]
    fn body<'b>(&mut self, bytes: &'b [u8], left: u64, expected: &Expected) -> (u64, &'b [u8]) {
        let count = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
        let (taken, rest) = bytes.split_at(count);
        if let Some(body) = &expected.body {
            let from = usize::try_from(self.body_bytes).unwrap_or(usize::MAX);
            let same = body.get(from..from.saturating_add(count)) == Some(taken);
            self.differs |= !same;
        }
        if self.keep.bytes_max > 0 {
            self.keep.add(taken);
        }
        self.body_bytes += count as u64;
        (left - count as u64, rest)
    }

    #[inline]
    fn head<'b>(&mut self, bytes: &'b [u8]) -> Result<(&'b [u8], bool), Malformed> {
        if self.kept.is_empty()
            && let Some((head, length)) = parse_head(bytes)?
        {
            return Ok((&bytes[length..], self.begin_body(&head)));
        }
        self.kept_head(bytes)
    }

    #[cold]
    fn kept_head<'b>(&mut self, bytes: &'b [u8]) -> Result<(&'b [u8], bool), Malformed> {
        let before = self.kept.len();
        self.kept.extend_from_slice(bytes);
        let Some((head, length)) = parse_head(&self.kept)? else {
            return if self.kept.len() > HEAD_BYTES_MAX {
                Err(Malformed::TooLong)
            } else {
                Ok((&[], false))
            };
        };
        self.kept.clear();
        Ok((&bytes[length - before..], self.begin_body(&head)))
    }

    /// Tells whether the answer is whole without a body.
    #[inline]
    fn begin_body(&mut self, head: &Head) -> bool {
        if head.status < 200 {
            return false;
        }
        (self.status, self.persists, self.at) = (head.status, head.persists, head.body);
        if self.bodiless {
            self.at = At::Fixed(0);
            self.persists |= head.body == At::UntilEnd && head.may_persist;
        }
        self.at == At::Fixed(0)
    }

    /// A line of the chunked coding (RFC 9112 §7.1).
    fn line<'b>(&mut self, bytes: &'b [u8]) -> Result<(&'b [u8], bool), Malformed> {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            self.kept.extend_from_slice(bytes);
            return if self.kept.len() > HEAD_BYTES_MAX {
                Err(Malformed::TooLong)
            } else {
                Ok((&[], false))
            };
        };
        self.kept.extend_from_slice(&bytes[..=end]);
        let line = std::mem::take(&mut self.kept);
        let whole = self.chunk_line(line.strip_suffix(b"\r\n").ok_or(Malformed::Framing)?)?;
        self.kept = line;
        self.kept.clear();
        Ok((&bytes[end + 1..], whole))
    }

    fn chunk_line(&mut self, line: &[u8]) -> Result<bool, Malformed> {
        match (self.at, line) {
            (At::ChunkSize, line) => {
                self.at = match chunk_size(line).ok_or(Malformed::Framing)? {
                    0 => At::Trailer,
                    size => At::Chunk(size),
                };
            }
            (At::ChunkEnd, b"") => self.at = At::ChunkSize,
            (At::Trailer, b"") => return Ok(true),
            (At::Trailer, line) if line.contains(&b':') => {}
            _ => return Err(Malformed::Framing),
        }
        Ok(false)
    }
}

impl Keep {
    fn add(&mut self, bytes: &[u8]) {
        if self.bytes.len() + bytes.len() > self.bytes_max {
            *self = Self::default();
        } else {
            self.bytes.extend_from_slice(bytes);
        }
    }
}

/// `1*HEXDIG [ chunk-ext ]`
fn chunk_size(line: &[u8]) -> Option<u64> {
    let end = line.iter().position(|byte| !byte.is_ascii_hexdigit());
    let (digits, extension) = line.split_at(end.unwrap_or(line.len()));
    if !matches!(extension.first(), None | Some(b';' | b' ' | b'\t')) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// The head at the beginning of `bytes` and its length; `None` while its end has not come.
#[inline]
fn parse_head(bytes: &[u8]) -> Result<Option<(Head, usize)>, Malformed> {
    let Some((line, mut rest)) = next_line(bytes)? else {
        return Ok(None);
    };
    let mut fields = Fields::default();
    let (status, minor) = status_line(line).ok_or(Malformed::Head)?;
    loop {
        let Some((line, behind)) = next_line(rest)? else {
            return Ok(None);
        };
        rest = behind;
        if line.is_empty() {
            break;
        }
        fields.read(line)?;
    }
    let head = fields.head(status, minor)?;
    Ok(Some((head, bytes.len() - rest.len())))
}

/// A line without its CRLF, and what follows it.
type Line<'b> = (&'b [u8], &'b [u8]);

#[inline]
fn next_line(bytes: &[u8]) -> Result<Option<Line<'_>>, Malformed> {
    let Some(end) = newline(bytes) else {
        return Ok(None);
    };
    let line = bytes[..end].strip_suffix(b"\r").ok_or(Malformed::Head)?;
    Ok(Some((line, &bytes[end + 1..])))
}

/// The first line feed, eight bytes at a time (Mycroft 1987: a byte is zero where its lowest bit borrows).
#[inline]
fn newline(bytes: &[u8]) -> Option<usize> {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = LOW << 7;
    let (words, rest) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let other = u64::from_le_bytes(*word) ^ (LOW * b'\n' as u64);
        let zeroes = other.wrapping_sub(LOW) & !other & HIGH;
        if zeroes != 0 {
            return Some(at * 8 + zeroes.trailing_zeros() as usize / 8);
        }
    }
    let at = rest.iter().position(|byte| *byte == b'\n')?;
    Some(words.len() * 8 + at)
}

/// Status and minor version of `HTTP/1.1 200 …`.
#[inline]
fn status_line(line: &[u8]) -> Option<(u16, u8)> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let (&[minor @ b'0'..=b'1', b' ', a, b, c], reason) = rest.split_first_chunk()? else {
        return None;
    };
    let digit = |byte: u8| byte.is_ascii_digit().then(|| u16::from(byte - b'0'));
    let status = digit(a)? * 100 + digit(b)? * 10 + digit(c)?;
    let separated = matches!(reason.first(), None | Some(b' '));
    (separated && status >= 100).then_some((status, minor - b'0'))
}

/// The fields that frame an answer.
#[derive(Default)]
struct Fields {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
}

impl Fields {
    #[inline]
    fn read(&mut self, line: &[u8]) -> Result<(), Malformed> {
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.ok_or(Malformed::Head)?);
        // An empty name, a folded line, or a space before the colon.
        if !name
            .first()
            .zip(name.last())
            .is_some_and(|(a, b)| a.is_ascii_graphic() && b.is_ascii_graphic())
        {
            return Err(Malformed::Head);
        }
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => self.content_length(&value[1..]),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.coding(&value[1..]),
            10 if name.eq_ignore_ascii_case(b"connection") => {
                self.connection(&value[1..]);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Malformed> {
        let value = value.trim_ascii();
        let digits = value.iter().all(u8::is_ascii_digit);
        let text = std::str::from_utf8(value).ok().filter(|_| digits);
        let length = text
            .and_then(|text| text.parse().ok())
            .ok_or(Malformed::Framing)?;
        match self.length.replace(length) {
            None => Ok(()),
            Some(_) => Err(Malformed::Framing),
        }
    }

    /// No other coding was asked for.
    fn coding(&mut self, value: &[u8]) -> Result<(), Malformed> {
        if self.chunked || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
            return Err(Malformed::Framing);
        }
        self.chunked = true;
        Ok(())
    }

    fn connection(&mut self, value: &[u8]) {
        for option in value.split(|byte| *byte == b',') {
            self.close |= option.trim_ascii().eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.trim_ascii().eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// RFC 9112 §6.3 and §9.3, for an answer to GET.
    #[inline]
    fn head(&self, status: u16, minor: u8) -> Result<Head, Malformed> {
        let body = match (self.chunked, self.length) {
            (true, Some(_)) => return Err(Malformed::Framing),
            _ if status < 200 || matches!(status, 204 | 304) => At::Fixed(0),
            (true, None) => At::ChunkSize,
            (false, Some(length)) => At::Fixed(length),
            (false, None) => At::UntilEnd,
        };
        if status == 101 {
            return Err(Malformed::Head);
        }
        let asked = !self.close && (minor == 1 || self.keep_alive);
        Ok(Head {
            status,
            persists: asked && body != At::UntilEnd,
            may_persist: asked,
            body,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &[u8] = b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 4\r\n\r\nbody";
    const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=y\r\nbod\r\n1\r\ny\r\n0\r\nT: u\r\n\r\n";
    const INTERIM: &[u8] =
        b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.0 200 \r\nConnection: x, Keep-Alive\r\ncontent-length:4\r\n\r\nbody";
    const NO_BODY: &[u8] = b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n";

    fn right(body_bytes: u64, status: u16) -> Answer {
        Answer {
            status,
            body_bytes,
            as_expected: true,
            persists: true,
        }
    }

    fn body(body: &[u8]) -> Expected {
        Expected {
            body: Some(body.into()),
            ..Expected::default()
        }
    }

    /// Feeds pieces; the answer must come with the last byte.
    fn fed(
        reader: &mut Reader,
        pieces: &[&[u8]],
        expected: &Expected,
    ) -> Result<Answer, Malformed> {
        let mut pieces = pieces.iter().filter(|piece| !piece.is_empty()).peekable();
        while let Some(piece) = pieces.next() {
            let answer = reader.feed(piece, expected)?;
            assert_eq!(answer.is_some(), pieces.peek().is_none(), "{piece:?}");
            if let Some(answer) = answer {
                return Ok(answer);
            }
        }
        Err(Malformed::Cut)
    }

    #[test]
    fn any_two_cuts_read_as_the_whole_and_the_reader_is_ready_again() {
        for (text, answer) in [
            (PLAIN, right(4, 200)),
            (CHUNKED, right(4, 200)),
            (INTERIM, right(4, 200)),
            (NO_BODY, right(0, 304)),
        ] {
            let expected = body(if answer.body_bytes == 0 { b"" } else { b"body" });
            let mut reader = Reader::new(false);
            for first in 0..text.len() {
                for second in first..text.len() {
                    let pieces = [&text[..first], &text[first..second], &text[second..]];
                    let got = fed(&mut reader, &pieces, &expected);
                    assert_eq!(
                        got,
                        Ok(answer),
                        "{first} {second} {:?}",
                        text.escape_ascii()
                    );
                }
            }
        }
    }

    #[test]
    fn a_line_feed_is_found_wherever_it_stands() {
        for length in 0..40 {
            let mut bytes = vec![0x8a; length];
            assert_eq!(newline(&bytes), None);
            for at in (0..length).rev() {
                bytes[at] = b'\n';
                assert_eq!(newline(&bytes), Some(at), "{at} of {length}");
                bytes[at] = b'\n' + 1;
            }
        }
    }

    #[test]
    fn a_body_that_differs_in_one_byte_or_in_length_is_noticed() {
        for (expected, as_expected) in [
            (body(b"body"), true),
            (body(b"bodY"), false),
            (body(b"bod"), false),
            (body(b"body "), false),
            (body(b""), false),
            (
                Expected {
                    length: Some(4),
                    ..Expected::default()
                },
                true,
            ),
            (
                Expected {
                    length: Some(5),
                    ..Expected::default()
                },
                false,
            ),
            (Expected::default(), true),
        ] {
            for text in [PLAIN, CHUNKED] {
                let got = Reader::new(false).feed(text, &expected).unwrap().unwrap();
                assert_eq!(got.as_expected, as_expected, "{expected:?}");
            }
        }
    }

    #[test]
    fn the_status_decides_with_and_without_expectation() {
        let any = Expected::default();
        let one = Expected {
            status: Some(404),
            ..Expected::default()
        };
        assert!(any.allows(200) && any.allows(304) && !any.allows(404) && !any.allows(503));
        assert!(one.allows(404) && !one.allows(200));
    }

    #[test]
    fn pipelined_answers_come_one_by_one() {
        let bytes = PLAIN.repeat(3);
        for cut in 0..bytes.len() {
            let (mut reader, mut answers) = (Reader::new(false), 0);
            for mut rest in [&bytes[..cut], &bytes[cut..]] {
                while !rest.is_empty() {
                    let (answer, behind) = reader.feed_first(rest, &body(b"body")).unwrap();
                    answers += usize::from(answer.is_some_and(|answer| answer.as_expected));
                    rest = behind;
                }
            }
            assert_eq!(answers, 3, "{cut}");
        }
    }

    #[test]
    fn an_answer_to_head_has_no_body() {
        for (head, persists) in [
            ("Content-Length: 10", true),
            ("Transfer-Encoding: chunked", true),
            ("X: y", true),
            ("Connection: close", false),
        ] {
            let text = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n");
            let got = Reader::new(true).feed(text.as_bytes(), &Expected::default());
            let answer = Answer {
                persists,
                ..right(0, 200)
            };
            assert_eq!(got, Ok(Some(answer)), "{head}");
        }
    }

    #[test]
    fn the_connections_end_ends_what_has_no_length() {
        let mut reader = Reader::new(false);
        let text = b"HTTP/1.1 200 OK\r\n\r\nbody";
        assert_eq!(reader.feed(text, &body(b"body")), Ok(None));
        let answer = reader.end(&body(b"body")).unwrap();
        assert_eq!(
            answer,
            Answer {
                persists: false,
                ..right(4, 200)
            }
        );
        for cut in 0..PLAIN.len() {
            let mut reader = Reader::new(false);
            assert_eq!(reader.feed(&PLAIN[..cut], &Expected::default()), Ok(None));
            assert_eq!(
                reader.end(&Expected::default()),
                Err(Malformed::Cut),
                "{cut}"
            );
        }
    }

    #[test]
    fn the_connection_stays_open_as_version_and_field_say() {
        for (text, persists) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", true),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: Close\r\n\r\n",
                false,
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: x ,close\r\n\r\n",
                false,
            ),
            ("HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", false),
            (
                "HTTP/1.0 200 OK\r\ncontent-length: 0\r\nconnection: keep-alive\r\n\r\n",
                true,
            ),
        ] {
            let got = Reader::new(false).feed(text.as_bytes(), &Expected::default());
            assert_eq!(got.unwrap().unwrap().persists, persists, "{text}");
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let head = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n");
        let chunked = |body: &str| head("Transfer-Encoding: chunked") + body;
        for (text, fault) in [
            ("HTTP/2.0 200 OK\r\n\r\n".to_owned(), Malformed::Head),
            ("HTTP/1.1 99 OK\r\n\r\n".to_owned(), Malformed::Head),
            ("HTTP/1.1 2000 OK\r\n\r\n".to_owned(), Malformed::Head),
            ("HTTP/1.1 101 Up\r\n\r\n".to_owned(), Malformed::Head),
            ("HTTP/1.1 200 OK\n\n".to_owned(), Malformed::Head),
            (head("no colon"), Malformed::Head),
            (head(": v"), Malformed::Head),
            (head("a : v"), Malformed::Head),
            (head("a: b\r\n folded: c"), Malformed::Head),
            (
                head("Content-Length: 1\r\nContent-Length: 1"),
                Malformed::Framing,
            ),
            (head("Content-Length: +1"), Malformed::Framing),
            (head("Content-Length: "), Malformed::Framing),
            (
                head("Content-Length: 99999999999999999999"),
                Malformed::Framing,
            ),
            (
                head("Content-Length: 1\r\nTransfer-Encoding: chunked"),
                Malformed::Framing,
            ),
            (head("Transfer-Encoding: gzip, chunked"), Malformed::Framing),
            (chunked("x\r\n"), Malformed::Framing),
            (chunked("\r\n"), Malformed::Framing),
            (chunked("1 1\n"), Malformed::Framing),
            (chunked("1\r\nab\r\n"), Malformed::Framing),
            (chunked("11111111111111111\r\n"), Malformed::Framing),
            (chunked("0\r\nno colon\r\n\r\n"), Malformed::Framing),
            (head("Content-Length: 1") + "ab", Malformed::Surplus),
            (chunked("0\r\n\r\nx"), Malformed::Surplus),
        ] {
            // Whole, and byte by byte.
            let whole = Reader::new(false).feed(text.as_bytes(), &Expected::default());
            let mut reader = Reader::new(false);
            let bytes = text.as_bytes().chunks(1);
            let singly = bytes.map(|byte| reader.feed(byte, &Expected::default()));
            let singly = singly.into_iter().find_map(Result::err);
            assert_eq!(whole, Err(fault), "{text:?}");
            assert!(singly.is_some() || fault == Malformed::Surplus, "{text:?}");
        }
    }

    #[test]
    fn heads_and_lines_without_an_end_are_bounded() {
        let long = vec![b'a'; HEAD_BYTES_MAX + 1];
        let mut reader = Reader::new(false);
        let start = b"HTTP/1.1 200 OK\r\nX: ";
        assert_eq!(reader.feed(start, &Expected::default()), Ok(None));
        assert_eq!(
            reader.feed(&long, &Expected::default()),
            Err(Malformed::TooLong)
        );
        let mut reader = Reader::new(false);
        let start = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;";
        assert_eq!(reader.feed(start, &Expected::default()), Ok(None));
        assert_eq!(
            reader.feed(&long, &Expected::default()),
            Err(Malformed::TooLong)
        );
    }
}
