//! No bytes make a parser panic: kept examples of every grammar (`corpus/GRAMMAR/EXAMPLE`; of fields, a file's lines are
//! the field's lines), changed at random from a fixed seed and put through all parsers.

use std::fs;
use std::path::Path;

use base::Wall;
use ultragate_http::cache_control::{self, CacheControl, Qualified};
use ultragate_http::content_range::ContentRange;
use ultragate_http::etag::{EntityTag, EntityTags};
use ultragate_http::range::{Ranges, Resolved};
use ultragate_http::structured::dictionary;
use ultragate_http::vary::Vary;
use ultragate_http::{
    BodyDecoder, BodyLength, FieldTable, HeadLimits, Name, Parsed, accept_language, date,
    parse_request, parse_response, repair_response, selecting, targeted,
};

const CHANGES_PER_EXAMPLE: usize = 2_000;
const EXAMPLE_BYTES_MAX: usize = 4096;

/// xorshift64 (Marsaglia 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound.max(1) as u64).expect("below a bound")
    }

    fn span(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        start..start + self.below((length - start).min(16) + 1)
    }

    /// One change of `text`, with parts of `other` in it.
    fn change(&mut self, text: &mut Vec<u8>, other: &[u8]) {
        const TELLING: &[u8] = b"\0\t\n\r \"%'()*+,-./0189:;<=>?@AQWZ[\\]_aqwz{|}~\x7f\x80\xc3\xff";
        let at = self.below(text.len() + 1);
        let byte = TELLING[self.below(TELLING.len())];
        match self.below(7) {
            0 => text.insert(at, byte),
            1 if at < text.len() => text[at] = byte,
            2 if at < text.len() => text[at] ^= 1 << self.below(8),
            3 => drop(text.drain(self.span(text.len()))),
            4 => {
                let part = text[self.span(text.len())].to_vec();
                text.splice(at..at, part.repeat(1 + self.below(20)));
            }
            5 => drop(text.splice(at..at, other[self.span(other.len())].to_vec())),
            _ => text.truncate(at),
        }
        text.truncate(EXAMPLE_BYTES_MAX);
    }
}

#[test]
fn changed_examples_do_not_panic() {
    let examples = corpus();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut all = AllParsers::default();
    for example in &examples {
        all.read(example);
        for _ in 0..CHANGES_PER_EXAMPLE {
            let mut text = example.clone();
            for _ in 0..=random.below(4) {
                let other = &examples[random.below(examples.len())];
                random.change(&mut text, other);
            }
            all.read(&text);
        }
    }
}

/// In the order of their names, so that every run is the same.
fn corpus() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut paths = Vec::new();
    for grammar in fs::read_dir(root).expect("the corpus").flatten() {
        let examples = fs::read_dir(grammar.path()).expect("a grammar");
        paths.extend(examples.flatten().map(|example| example.path()));
    }
    paths.sort();
    assert!(paths.len() > 40, "the corpus was not found");
    let read = |path: &std::path::PathBuf| fs::read(path).expect("an example");
    paths.iter().map(read).collect()
}

#[derive(Default)]
struct AllParsers {
    table: FieldTable,
    text: Vec<u8>,
}

impl AllParsers {
    fn read(&mut self, bytes: &[u8]) {
        self.messages(bytes);
        let lines = || bytes.split(|&byte| byte == b'\n');
        for line in lines() {
            self.values(line);
        }
        let _ = CacheControl::read(lines());
        let _ = targeted::read(lines());
        let _ = dictionary(lines(), |_, _| {});
        for directive in [Qualified::NoCache, Qualified::Private] {
            assert!(cache_control::qualified_fields(lines(), directive).count() <= bytes.len());
            targeted::qualified_fields(lines(), directive, |_| {});
        }
        let _ = Vary::read(lines());
        assert!(EntityTags::new(lines()).count() <= bytes.len());
        let _ = EntityTags::new(lines()).match_weak(lines().next());
        let _ = EntityTags::new(lines()).match_strong(lines().next());
        let candidates: Vec<_> = lines().collect();
        let _ = accept_language::prefers(lines(), &candidates);
        for name in [Name::AcceptEncoding, Name::AcceptLanguage, Name::Other] {
            self.text.clear();
            selecting::append_normal_form(name, lines(), &mut self.text);
            assert!(self.text.len() <= 2 * bytes.len());
        }
    }

    fn messages(&mut self, bytes: &[u8]) {
        let limits = HeadLimits::default();
        if let Parsed::Whole(request) = parse_request(bytes, &mut self.table, &limits) {
            body(request.body, &bytes[request.length..]);
        }
        if let Parsed::Whole(response) = parse_response(bytes, &mut self.table, &limits) {
            let length = response.body(ultragate_http::Method::Get);
            body(length, &bytes[response.length..]);
        }
        if let Some((repaired, replaced)) = repair_response(bytes) {
            assert!(replaced <= bytes.len());
            let _ = parse_response(&repaired, &mut self.table, &limits);
        }
        body(BodyLength::Chunked, bytes);
    }

    fn values(&mut self, line: &[u8]) {
        let _ = Name::of(line);
        let _ = EntityTag::parse(line);
        let _ = date::parse(line, Wall(1_795_253_880));
        if let Some(range) = ContentRange::parse(line) {
            assert_eq!(ContentRange::parse(range.format().bytes()), Some(range));
        }
        let Some(ranges) = Ranges::parse(line) else {
            return;
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

fn body(length: BodyLength, bytes: &[u8]) {
    let mut decoder = BodyDecoder::new(length);
    let mut rest = bytes;
    while let Ok(step) = decoder.step(rest) {
        rest = &rest[step.skip + step.data..];
        if step.done || step.skip + step.data == 0 {
            break;
        }
    }
}
