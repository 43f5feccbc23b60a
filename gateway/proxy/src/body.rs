//! Body bytes on their way, in either direction.

use std::ops::Range;

use base::{Driver, Part};
use http::write::ChunkLine;
use http::{BodyDecoder, Refusal};

use crate::client::{Bytes, Framing, Output};

/// What received bytes hold of a body.
pub(crate) struct Taken {
    /// Where its bytes lie.
    pub(crate) pieces: Vec<Range<usize>>,
    /// Where the message ended, if it did.
    pub(crate) end: Option<usize>,
}

impl Taken {
    pub(crate) fn size(&self) -> usize {
        self.pieces.iter().map(ExactSizeIterator::len).sum()
    }
}

/// Finds the body in `bytes` from `at` on.
pub(crate) fn take(
    decoder: &mut BodyDecoder,
    bytes: &[u8],
    mut at: usize,
) -> Result<Taken, Refusal> {
    let mut taken = Taken {
        pieces: Vec::new(),
        end: None,
    };
    loop {
        let step = decoder.step(bytes.get(at..).unwrap_or_default())?;
        let start = at + step.skip;
        at = start + step.data;
        if step.data > 0 {
            taken.pieces.push(start..at);
        }
        if step.done {
            taken.end = Some(at);
            return Ok(taken);
        }
        if step.skip == 0 && step.data == 0 {
            return Ok(taken);
        }
    }
}

/// The pieces in one: the buffer itself where there is one piece of at least `keep` bytes, else a copy.
pub(crate) fn join<D: Driver>(
    bytes: Bytes<D>,
    pieces: &[Range<usize>],
    keep: usize,
) -> (Bytes<D>, Range<usize>) {
    if let [piece] = pieces
        && piece.len() >= keep
    {
        return (bytes, piece.clone());
    }
    let mut copy = Vec::with_capacity(pieces.iter().map(ExactSizeIterator::len).sum());
    for piece in pieces {
        copy.extend_from_slice(bytes.get(piece.clone()).unwrap_or_default());
    }
    let range = 0..copy.len();
    (Bytes::Copied(copy), range)
}

/// Sends body bytes in their framing.
pub(crate) fn push<D: Driver>(output: &mut Output<D>, part: Part<D>, framing: Framing) {
    let size = part.bytes().len() as u64;
    if size == 0 {
        return;
    }
    if framing == Framing::Chunked {
        output.push(Part::Heap(ChunkLine::new(size).bytes().into()));
        output.push(part);
        output.push(Part::Static(b"\r\n"));
    } else {
        output.push(part);
    }
}

/// Ends a chunked body.
pub(crate) fn push_last_chunk<D: Driver>(output: &mut Output<D>, trailers: &[u8]) {
    if trailers.is_empty() {
        return output.push(Part::Static(b"0\r\n\r\n"));
    }
    let mut end = Vec::with_capacity(trailers.len() + 5);
    end.extend_from_slice(b"0\r\n");
    end.extend_from_slice(trailers);
    end.extend_from_slice(b"\r\n");
    output.push(Part::Heap(end.into_boxed_slice()));
}
