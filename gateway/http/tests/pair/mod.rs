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
            assert!(theirs.is_err(), "only the second reads {}", shown(bytes));
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

/// Refusals that are about bounds and offers, which the second reader does not know.
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

/// The length of the message, if its end is here.
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
                    theirs.is_err() || is_bounded(bytes),
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
            assert!(
                second_trailers(decoder.trailers())
                    .iter()
                    .all(|trailer| message.trailers.contains(trailer))
            );
            Some(at)
        }
        (true, Err(fault)) => panic!("{fault:?} {}", shown(bytes)),
        (false, Ok(_)) => panic!("only the second sees the end of {}", shown(bytes)),
        (false, Err(Fault::Partial | Fault::Malformed(_))) => None,
    }
}

/// Lines are long enough to be refused for that alone.
fn is_bounded(bytes: &[u8]) -> bool {
    bytes.len() > CHUNK_LINE_BYTES_MAX.min(TRAILER_BYTES_MAX)
}

fn second_trailers(lines: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let text = [b"GET / HTTP/1.0\r\n".as_slice(), lines, b"\r\n"].concat();
    second::read_head(&text)
        .expect("trailers that pass are fields")
        .fields
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
