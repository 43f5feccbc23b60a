//! Where a body ends (RFC 9112 §6, §7).

use base::limits::CHUNK_LINE_BYTES_MAX;

use crate::head::Refusal;
use crate::line;
use crate::scan::is_blank;
use crate::trailer::Trailers;

/// How a body's end is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none.
    Empty,
    /// So many bytes.
    Length(u64),
    /// Chunked.
    Chunked,
    /// It ends with the connection (responses only).
    UntilClose,
}

/// Finds body bytes in received bytes. Keeps no body byte; of a trailer section it keeps the lines (bounded).
#[derive(Debug)]
pub struct BodyDecoder {
    /// Body bytes to come: of the whole body, or of this chunk.
    remaining: u64,
    /// Taken with the first trailer field's first byte.
    trailers: Option<Box<Trailers>>,
    /// Bytes of this chunk-size line so far.
    line_bytes: u16,
    phase: Phase,
}

/// One step of decoding: of the input, the first `skip` bytes are framing, the next `data` bytes are body. Both are
/// consumed. With `skip == data == 0` and not `done`, more input is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Framing bytes to pass over.
    pub skip: usize,
    /// Body bytes after them.
    pub data: usize,
    /// The message ends here; what follows is another message.
    pub done: bool,
}

impl BodyDecoder {
    /// A decoder at the start of a body.
    #[must_use]
    pub fn new(length: BodyLength) -> Self {
        let (phase, remaining) = match length {
            BodyLength::Empty | BodyLength::Length(0) => (Phase::Done, 0),
            BodyLength::Length(bytes) => (Phase::Counted, bytes),
            BodyLength::Chunked => (Phase::Size, 0),
            BodyLength::UntilClose => (Phase::UntilClose, 0),
        };
        Self {
            remaining,
            trailers: None,
            line_bytes: 0,
            phase,
        }
    }

    /// Decodes from the start of `input`, which continues where the last step's consumption ended. Call until it asks
    /// for more or is done. An [`BodyLength::Empty`] or zero-length body is done at the first step, with no input.
    ///
    /// # Errors
    /// Bytes that are no chunk (400), a chunk-size line or trailer section beyond its bound (400). Every later step is
    /// an error too.
    pub fn step(&mut self, input: &[u8]) -> Result<Step, Refusal> {
        let step = match self.phase {
            Phase::Done => Ok(self.body(0, 0)),
            Phase::UntilClose => Ok(self.body(0, input.len())),
            Phase::Refused => Err(&line::BODY_REFUSED),
            Phase::Counted => Ok(self.counted(0, input, Phase::Done)),
            _ => self.chunked(input),
        };
        step.map_err(|refusal| {
            self.phase = Phase::Refused;
            *refusal
        })
    }

    /// Whether the end of the connection here is the end of the body (until-close bodies, or a body that is done).
    #[must_use]
    pub fn may_end(&self) -> bool {
        matches!(self.phase, Phase::UntilClose | Phase::Done)
    }

    /// Whether the whole body was seen. Of a body that ends with the connection nobody knows before it does.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// The trailer section's field lines with their CRLFs, checked, without those that may not be trailers (framing,
    /// routing, authorisation: RFC 9110 §6.5.1); empty unless the body was chunked, is done and had some.
    #[must_use]
    pub fn trailers(&self) -> &[u8] {
        match &self.trailers {
            Some(trailers) if self.is_done() => trailers.lines(),
            _ => &[],
        }
    }

    fn body(&self, skip: usize, data: usize) -> Step {
        Step {
            skip,
            data,
            done: self.phase == Phase::Done,
        }
    }

    /// Takes body bytes behind `skip` bytes of framing; when none remain, `next` follows.
    fn counted(&mut self, skip: usize, input: &[u8], next: Phase) -> Step {
        let here = input.len().saturating_sub(skip);
        let data = usize::try_from(self.remaining).map_or(here, |remaining| remaining.min(here));
        self.remaining -= data as u64;
        if self.remaining == 0 {
            self.phase = next;
        }
        self.body(skip, data)
    }

    /// Framing up to the next chunk's data, and what is there of that (RFC 9112 §7.1).
    fn chunked(&mut self, input: &[u8]) -> Result<Step, &'static Refusal> {
        let mut at = 0;
        while let Some(&byte) = input.get(at) {
            match self.phase {
                Phase::Done => break,
                Phase::Data => return Ok(self.counted(at, input, Phase::DataCr)),
                Phase::Trailers if byte != b'\r' => self.phase = Phase::Trailer,
                Phase::Trailer => {
                    at += self.trailer_lines(input.get(at..).unwrap_or_default())?;
                }
                _ => {
                    self.phase = self.framing(byte)?;
                    at += 1;
                }
            }
        }
        Ok(self.body(at, 0))
    }

    /// Takes trailer lines until the section or the input ends, and says how many bytes it took.
    fn trailer_lines(&mut self, input: &[u8]) -> Result<usize, &'static Refusal> {
        let trailers = self.trailers.get_or_insert_default();
        let taken = trailers.take(input)?;
        if trailers.is_whole() {
            self.phase = Phase::Done;
        }
        Ok(taken)
    }

    /// What follows one byte of framing.
    fn framing(&mut self, byte: u8) -> Result<Phase, &'static Refusal> {
        match (self.phase, byte) {
            (Phase::SizeLf, b'\n') if self.remaining == 0 => Ok(Phase::Trailers),
            (Phase::SizeLf, b'\n') => Ok(Phase::Data),
            (Phase::DataCr, b'\r') => Ok(Phase::DataLf),
            (Phase::DataLf, b'\n') => Ok(Phase::Size),
            (Phase::DataCr | Phase::DataLf, _) => Err(&line::CHUNK_END),
            (Phase::Trailers, _) => Ok(Phase::LastLf),
            (Phase::LastLf, b'\n') => Ok(Phase::Done),
            (Phase::LastLf | Phase::SizeLf, _) => Err(&line::BARE_CR),
            _ => self.size_line(byte),
        }
    }

    /// A byte of `chunk-size [ chunk-ext ] CR`.
    fn size_line(&mut self, byte: u8) -> Result<Phase, &'static Refusal> {
        if self.phase == Phase::Size {
            self.phase = Phase::SizeDigits;
            self.line_bytes = 0;
        }
        self.line_bytes += 1;
        if usize::from(self.line_bytes) > CHUNK_LINE_BYTES_MAX {
            return Err(&line::CHUNK_LINE_TOO_LONG);
        }
        match self.phase {
            Phase::SizeDigits => self.size(byte),
            Phase::SizeBlank => match byte {
                b';' => Ok(Phase::Extension),
                _ if is_blank(byte) => Ok(Phase::SizeBlank),
                _ => Err(&line::CHUNK_SIZE),
            },
            phase => extension(phase, byte),
        }
    }

    /// A hexadecimal digit, or what may follow one.
    fn size(&mut self, byte: u8) -> Result<Phase, &'static Refusal> {
        let has_digits = self.line_bytes > 1;
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\r' if has_digits => return Ok(Phase::SizeLf),
            b';' if has_digits => return Ok(Phase::Extension),
            b' ' | b'\t' if has_digits => return Ok(Phase::SizeBlank),
            _ => return Err(&line::CHUNK_SIZE),
        };
        if self.line_bytes > SIZE_DIGITS_MAX {
            return Err(&line::CHUNK_SIZE);
        }
        self.remaining = self.remaining << 4 | u64::from(digit);
        Ok(Phase::SizeDigits)
    }
}

/// Hexadecimal digits of a chunk size: what 64 bits hold.
const SIZE_DIGITS_MAX: u16 = 16;

const _: () = assert!(CHUNK_LINE_BYTES_MAX < u16::MAX as usize);
const _: () = assert!(size_of::<BodyDecoder>() <= 24);

/// Where in a body the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// In a body of known length.
    Counted,
    /// In a body that ends with the connection.
    UntilClose,
    /// Before the first digit of a chunk size.
    Size,
    SizeDigits,
    /// In white space after a size, which only an extension may follow.
    SizeBlank,
    /// In a chunk extension, outside of quotes.
    Extension,
    /// In a quoted string of one.
    Quoted,
    /// After a backslash there.
    Escaped,
    /// Before the LF of a size line.
    SizeLf,
    /// In a chunk's data.
    Data,
    /// Before the CR and the LF after a chunk's data.
    DataCr,
    DataLf,
    /// At the first byte of the trailer section.
    Trailers,
    /// In a trailer section that is not empty.
    Trailer,
    /// Before the LF of an empty trailer section.
    LastLf,
    /// After the body.
    Done,
    /// After a byte that was refused.
    Refused,
}

/// Extensions are not looked into; only their quotes are, so that nobody can see the line end elsewhere.
fn extension(phase: Phase, byte: u8) -> Result<Phase, &'static Refusal> {
    match (phase, byte) {
        (Phase::Extension, b'\r') => Ok(Phase::SizeLf),
        (_, 0..=8 | 10..=31 | 127) => Err(&line::CHUNK_LINE),
        (Phase::Extension, b'"') | (Phase::Escaped, _) => Ok(Phase::Quoted),
        (Phase::Quoted, b'"') => Ok(Phase::Extension),
        (Phase::Quoted, b'\\') => Ok(Phase::Escaped),
        (phase, _) => Ok(phase),
    }
}
