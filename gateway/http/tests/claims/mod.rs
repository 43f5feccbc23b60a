//! What holds of the parsers for any bytes, grammar by grammar: replayed on kept examples and changes of them, and by the
//! fuzz targets. Of fields, the lines of `bytes` are the field's lines.

#![allow(dead_code, unreachable_pub)] // each test uses its part

use base::Wall;
use ultragate_http::cache_control::{self, CacheControl, Qualified};
use ultragate_http::content_range::ContentRange;
use ultragate_http::etag::{EntityTag, EntityTags};
use ultragate_http::forwarded::elements;
use ultragate_http::proxy_protocol::{self, Read};
use ultragate_http::range::{Ranges, Resolved};
use ultragate_http::structured::dictionary;
use ultragate_http::vary::Vary;
use ultragate_http::{
    BodyDecoder, BodyLength, FieldTable, HeadLimits, Method, Name, Parsed, Refusal,
    accept_language, date, parse_request, parse_response, repair_response, selecting, targeted,
};

/// All of them.
pub const CLAIMS: [fn(&[u8]); 14] = [
    request_head,
    response_head,
    chunked_body,
    cache_control,
    structured,
    etag,
    range,
    content_range,
    vary,
    accept_language,
    accept_encoding,
    date,
    forwarded,
    proxy_header,
];

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    bytes.split(|&byte| byte == b'\n')
}

/// The verdict on a request head: its length, or why it is none.
fn request_verdict(bytes: &[u8]) -> Option<Result<usize, Refusal>> {
    match parse_request(bytes, &mut FieldTable::new(), &HeadLimits::default()) {
        Parsed::Whole(request) => Some(Ok(request.length)),
        Parsed::Refused(refusal) => Some(Err(refusal)),
        Parsed::Partial => None,
    }
}

fn response_verdict(bytes: &[u8]) -> Option<Result<usize, Refusal>> {
    match parse_response(bytes, &mut FieldTable::new(), &HeadLimits::default()) {
        Parsed::Whole(response) => Some(Ok(response.length)),
        Parsed::Refused(refusal) => Some(Err(refusal)),
        Parsed::Partial => None,
    }
}

/// What is judged is judged for good: the verdict on a part is that on the whole.
fn verdict_stays(bytes: &[u8], verdict: fn(&[u8]) -> Option<Result<usize, Refusal>>) {
    let whole = verdict(bytes);
    if let Some(Ok(length)) = whole {
        assert!(verdict(&bytes[..length - 1]).is_none());
        assert_eq!(verdict(&bytes[..length]), whole);
    }
    for length in [
        bytes.len() / 4,
        bytes.len() / 2,
        bytes.len().saturating_sub(1),
    ] {
        let part = verdict(&bytes[..length]);
        assert!(part.is_none() || part == whole, "{part:?} {whole:?}");
    }
}

pub fn request_head(bytes: &[u8]) {
    verdict_stays(bytes, request_verdict);
    let mut table = FieldTable::new();
    let Parsed::Whole(request) = parse_request(bytes, &mut table, &HeadLimits::default()) else {
        return;
    };
    assert!(request.fields.len() <= bytes.len() / 4);
    for (name, written, value) in request.fields.iter() {
        assert_eq!(name, Name::of(written));
        assert!(!value.iter().any(|byte| b"\r\n\0".contains(byte)));
        let _ = request.fields.is_listed(written);
    }
    let _ = body(request.body, &bytes[request.length..]);
}

pub fn response_head(bytes: &[u8]) {
    verdict_stays(bytes, response_verdict);
    let mut table = FieldTable::new();
    let limits = HeadLimits::default();
    if let Parsed::Whole(response) = parse_response(bytes, &mut table, &limits) {
        let length = response.body(Method::Get);
        let _ = body(length, &bytes[response.length..]);
    }
    if let Some((repaired, replaced)) = repair_response(bytes) {
        assert!(replaced <= bytes.len());
        assert_eq!(repair_response(&repaired), None, "repaired once");
        if let Parsed::Whole(response) = parse_response(&repaired, &mut table, &limits) {
            assert_eq!(response.length, repaired.len());
        }
    }
}

/// In any split a body is the same.
pub fn chunked_body(bytes: &[u8]) {
    let whole = body(BodyLength::Chunked, bytes);
    assert_eq!(body_in_pieces(BodyLength::Chunked, bytes.chunks(1)), whole);
    assert_eq!(body_in_pieces(BodyLength::Chunked, bytes.chunks(7)), whole);
}

pub fn cache_control(bytes: &[u8]) {
    let _ = CacheControl::read(lines(bytes));
    for directive in [Qualified::NoCache, Qualified::Private] {
        assert!(cache_control::qualified_fields(lines(bytes), directive).count() <= bytes.len());
    }
}

pub fn structured(bytes: &[u8]) {
    let mut members = 0;
    if dictionary(lines(bytes), |_, _| members += 1).is_ok() {
        assert!(members <= bytes.len());
    }
    let _ = targeted::read(lines(bytes));
    for directive in [Qualified::NoCache, Qualified::Private] {
        targeted::qualified_fields(lines(bytes), directive, |_| {});
    }
}

pub fn etag(bytes: &[u8]) {
    assert!(EntityTags::new(lines(bytes)).count() <= bytes.len());
    for line in lines(bytes) {
        let strong = EntityTags::new(lines(bytes)).match_strong(Some(line));
        let weak = EntityTags::new(lines(bytes)).match_weak(Some(line));
        assert!(weak || !strong, "what is the same is alike");
        if let Some(tag) = EntityTag::parse(line) {
            assert!(tag.matches_weak(tag));
        }
    }
    let _ = EntityTags::new(lines(bytes)).match_weak(None);
}

pub fn range(bytes: &[u8]) {
    for line in lines(bytes) {
        let Some(ranges) = Ranges::parse(line) else {
            continue;
        };
        for length in [0, 1, 1000, u64::MAX] {
            if let Resolved::Parts(parts) = ranges.resolve(length) {
                assert!(!parts.as_slice().is_empty());
                let mut parts = parts.as_slice().iter();
                assert!(parts.all(|part| part.start < part.end && part.end <= length));
            }
        }
    }
}

pub fn content_range(bytes: &[u8]) {
    for line in lines(bytes) {
        if let Some(range) = ContentRange::parse(line) {
            assert_eq!(ContentRange::parse(range.format().bytes()), Some(range));
        }
    }
}

pub fn vary(bytes: &[u8]) {
    if let Vary::Names(names) = Vary::read(lines(bytes)) {
        assert!(names.as_slice().iter().all(|name| !name.is_empty()));
    }
    normal_form(Name::Other, bytes);
}

pub fn accept_language(bytes: &[u8]) {
    normal_form(Name::AcceptLanguage, bytes);
    let candidates: Vec<_> = lines(bytes).collect();
    if let Some(chosen) = accept_language::prefers(lines(bytes), &candidates) {
        assert!(chosen < candidates.len());
    }
    let heaviest = accept_language::heaviest(lines(bytes));
    for candidate in candidates {
        let weight = accept_language::weight(lines(bytes), candidate);
        assert!(weight.is_none() || weight <= heaviest);
    }
}

pub fn accept_encoding(bytes: &[u8]) {
    normal_form(Name::AcceptEncoding, bytes);
}

pub fn date(bytes: &[u8]) {
    let now = Wall::from_secs(1_795_253_880);
    for line in lines(bytes) {
        if let Some(at) = date::parse(line, now) {
            assert_eq!(date::parse(&date::format(at), now), Some(at));
        }
    }
}

/// A normal form is its own.
fn normal_form(name: Name, bytes: &[u8]) {
    let normal = |bytes: &[u8]| {
        let mut text = Vec::new();
        selecting::append_normal_form(name, lines(bytes), &mut text);
        text
    };
    let once = normal(bytes);
    assert!(once.len() <= 2 * bytes.len());
    assert_eq!(normal(&once), once);
}

/// A body's bytes and its trailers if it is done; where and why not if it is none.
type Decoded = Result<(Vec<u8>, Option<Vec<u8>>), Refusal>;

fn body(length: BodyLength, bytes: &[u8]) -> Decoded {
    body_in_pieces(length, [bytes].into_iter())
}

fn body_in_pieces<'a>(length: BodyLength, pieces: impl Iterator<Item = &'a [u8]>) -> Decoded {
    let mut decoder = BodyDecoder::new(length);
    let mut data = Vec::new();
    for mut rest in pieces {
        loop {
            let step = decoder.step(rest)?;
            rest = &rest[step.skip..];
            data.extend_from_slice(&rest[..step.data]);
            rest = &rest[step.data..];
            if step.done {
                return Ok((data, Some(decoder.trailers().to_vec())));
            }
            if step.skip + step.data == 0 {
                break;
            }
        }
    }
    assert!(!decoder.is_done());
    Ok((data, None))
}

/// Each element stands in its line, and says by itself what it said there.
pub fn forwarded(bytes: &[u8]) {
    let Some(all) = elements(lines(bytes)) else {
        return;
    };
    for element in all {
        assert!(!element.text.is_empty());
        let alone = elements(std::iter::once(element.text)).map(Iterator::collect);
        assert_eq!(alone, Some(vec![element]));
    }
}

/// Of a header every beginning waits for more, and what follows it changes nothing; what is refused stays so.
pub fn proxy_header(bytes: &[u8]) {
    let whole = proxy_protocol::read(bytes);
    let ends = [
        bytes.len() / 4,
        bytes.len() / 2,
        bytes.len().saturating_sub(1),
    ];
    for end in ends {
        let part = proxy_protocol::read(&bytes[..end]);
        assert!(part == Read::Partial || part == whole, "{part:?} {whole:?}");
    }
    if let Read::Whole { length, .. } = whole {
        assert_eq!(proxy_protocol::read(&bytes[..length - 1]), Read::Partial);
        assert_eq!(proxy_protocol::read(&bytes[..length]), whole);
    }
}
