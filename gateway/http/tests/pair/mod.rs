//! Both readers on the same bytes.

use base::limits::{CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX};
use ultragate_http::{
    BodyDecoder, BodyLength, FieldTable, HeadLimits, Parsed, Refusal, Request, Target, Version,
    parse_request,
};

use crate::second::{self, Fault, Framing, Head};

/// Reads the messages of `bytes` one after the other with both readers, as far as they go, and says how many were whole.
///
/// # Panics
/// When one reads what the other does not, or reads it otherwise.
pub(crate) fn read_alike(bytes: &[u8]) -> usize {
    let (mut at, mut count) = (0, 0);
    while at < bytes.len()
        && let Some(length) = message_alike(&bytes[at..])
    {
        at += length;
        count += 1;
    }
    count
}

fn message_alike(bytes: &[u8]) -> Option<usize> {
    let theirs = second::read_head(bytes);
    let mut table = FieldTable::new();
    let request = match parse_request(bytes, &mut table, &HeadLimits::default()) {
        Parsed::Whole(request) => request,
        Parsed::Partial => {
            let fault = theirs.err();
            assert_eq!(fault, Some(Fault::Partial), "{}", shown(bytes));
            return None;
        }
        Parsed::Refused(refusal) => {
            assert!(
                theirs.is_err() || is_own(refusal),
                "{refusal:?} {}",
                shown(bytes)
            );
            return None;
        }
    };
    let head = theirs.unwrap_or_else(|fault| panic!("{fault:?} {}", shown(bytes)));
    head_alike(&request, &head);
    body_alike(&request, bytes)
}

/// Refusals for bounds and expectations, of which the second reader knows nothing.
fn is_own(refusal: Refusal) -> bool {
    matches!(refusal.status, 414 | 417 | 431)
}

fn head_alike(request: &Request<'_>, head: &Head) {
    assert_eq!(request.length, head.end);
    assert_eq!(request.method_bytes, head.method);
    assert_eq!(request.path_and_query, head.target);
    assert_eq!(request.target == Target::Asterisk, head.target == b"*");
    assert_eq!(request.host, head.host);
    assert_eq!(request.version == Version::Http10, head.minor == 0);
    let fields = request.fields.iter();
    let ours: Vec<_> = fields
        .map(|(_, name, value)| (name.to_vec(), value.to_vec()))
        .collect();
    assert_eq!(ours, head.fields);
    let framing = match request.body {
        BodyLength::Empty => Framing::None,
        BodyLength::Length(length) => Framing::Length(length),
        BodyLength::Chunked => Framing::Chunked,
        BodyLength::UntilClose => panic!("a request never ends with its connection"),
    };
    assert_eq!(framing, head.framing);
}

/// Reads the body with both and says how long the whole message is, if its end is here.
fn body_alike(request: &Request<'_>, bytes: &[u8]) -> Option<usize> {
    let theirs = second::read(bytes);
    let mut decoder = BodyDecoder::new(request.body);
    let mut body = Vec::new();
    let mut at = request.length;
    let done = loop {
        let rest = &bytes[at..];
        let step = match decoder.step(rest) {
            Ok(step) => step,
            Err(refusal) => {
                assert!(
                    theirs.is_err() || may_pass_a_bound(bytes),
                    "{refusal:?} {}",
                    shown(bytes)
                );
                return None;
            }
        };
        body.extend_from_slice(&rest[step.skip..step.skip + step.data]);
        at += step.skip + step.data;
        if step.done || step.skip + step.data == 0 {
            break step.done;
        }
    };
    match (done, theirs) {
        (true, Ok(message)) => {
            assert_eq!(
                (at, &body),
                (message.end, &message.body),
                "{}",
                shown(bytes)
            );
            let ours = fields_of(decoder.trailers());
            assert!(is_part(&ours, &message.trailers), "{}", shown(bytes));
            Some(at)
        }
        (true, Err(fault)) => panic!("{fault:?} {}", shown(bytes)),
        (false, Ok(_)) => panic!("only the second sees the end of {}", shown(bytes)),
        (false, Err(fault)) => {
            assert_eq!(fault, Fault::Partial, "{}", shown(bytes));
            None
        }
    }
}

/// Whether a chunk-size line or a trailer section in here can be refused for its length alone.
fn may_pass_a_bound(bytes: &[u8]) -> bool {
    bytes.len() > CHUNK_LINE_BYTES_MAX.min(TRAILER_BYTES_MAX)
}

type FieldLine = (Vec<u8>, Vec<u8>);

/// The trailers that ours lets pass, as the second reads them.
fn fields_of(lines: &[u8]) -> Vec<FieldLine> {
    let text = [b"GET / HTTP/1.0\r\n".as_slice(), lines, b"\r\n"].concat();
    second::read_head(&text)
        .expect("trailers that pass are fields")
        .fields
}

/// Whether all of `some` stand among `all`, in their order: ours drops trailers, and does nothing else to them.
fn is_part(some: &[FieldLine], all: &[FieldLine]) -> bool {
    let mut rest = all.iter();
    some.iter().all(|line| rest.any(|other| other == line))
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
