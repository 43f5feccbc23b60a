//! Bodies (RFC 9112 §6.3, §7).

use base::limits::{CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX};
use proptest::prelude::*;
use ultragate_http::{BodyDecoder, BodyLength, Refusal};

/// What a decoder made of a message.
#[derive(Debug, PartialEq, Eq)]
struct Decoded {
    body: Vec<u8>,
    trailers: Vec<u8>,
    done: bool,
    taken: usize,
}

/// Decodes pieces that arrive one by one.
fn decode<'a>(
    length: BodyLength,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Decoded, Refusal> {
    let mut decoder = BodyDecoder::new(length);
    let (mut body, mut taken) = (Vec::new(), 0);
    for piece in pieces {
        let mut rest = piece;
        loop {
            let step = decoder.step(rest)?;
            let (framing, after) = rest.split_at(step.skip);
            let (data, after) = after.split_at(step.data);
            taken += framing.len() + data.len();
            body.extend_from_slice(data);
            rest = after;
            if step.done || step.skip + step.data == 0 {
                assert_eq!(step.done, decoder.is_done());
                assert!(step.done || rest.is_empty());
                break;
            }
        }
    }
    Ok(Decoded {
        body,
        trailers: decoder.trailers().to_vec(),
        done: decoder.is_done(),
        taken,
    })
}

fn chunked(text: impl AsRef<[u8]>) -> Result<Decoded, Refusal> {
    decode(BodyLength::Chunked, [text.as_ref()])
}

fn is_refused(text: impl AsRef<[u8]>) -> bool {
    chunked(text).is_err_and(|refusal| refusal.status == 400)
}

#[test]
fn bodies_of_known_length() {
    for (length, done, taken) in [
        (BodyLength::Empty, true, 0),
        (BodyLength::Length(0), true, 0),
        (BodyLength::Length(3), true, 3),
    ] {
        let decoded = decode(length, [b"abcd".as_slice()]).unwrap();
        assert_eq!((decoded.done, decoded.taken), (done, taken));
    }
    let mut decoder = BodyDecoder::new(BodyLength::Length(u64::MAX));
    let step = decoder.step(b"abc").unwrap();
    assert_eq!((step.skip, step.data, step.done), (0, 3, false));
    assert!(!decoder.may_end());
    let step = decoder.step(b"").unwrap();
    assert_eq!((step.skip, step.data, step.done), (0, 0, false));
}

#[test]
fn nothing_is_needed_to_end_an_empty_body() {
    let mut decoder = BodyDecoder::new(BodyLength::Empty);
    assert!(decoder.is_done() && decoder.may_end());
    assert!(decoder.step(b"").unwrap().done);
}

#[test]
fn a_body_until_close_never_ends_by_itself() {
    let mut decoder = BodyDecoder::new(BodyLength::UntilClose);
    assert_eq!(decoder.step(b"abc").unwrap().data, 3);
    assert!(decoder.may_end() && !decoder.is_done());
}

#[test]
fn chunks_are_joined() {
    for (text, body) in [
        ("0\r\n\r\n", ""),
        ("3\r\nabc\r\n0\r\n\r\n", "abc"),
        ("A\r\n0123456789\r\n001\r\nx\r\n000\r\n\r\n", "0123456789x"),
        ("2;a\r\nab\r\n0;b=c;d=\"e\"\r\n\r\n", "ab"),
        ("2 ;a\r\nab\r\n0\t \t;b\r\n\r\n", "ab"),
        ("2;a=\"\\\";\\\\,=\u{e9}\t\"\r\nab\r\n0\r\n\r\n", "ab"),
        ("2;\r\nab\r\n0\r\n\r\n", "ab"),
        ("5\r\n\r\n0\r\n\r\n0\r\n\r\n", "\r\n0\r\n"),
    ] {
        let decoded = chunked(format!("{text}GET ")).unwrap();
        assert!(decoded.done);
        assert_eq!(
            (decoded.body, decoded.taken),
            (body.as_bytes().to_vec(), text.len()),
            "{text:?}"
        );
    }
}

#[test]
fn what_is_no_chunk() {
    for text in [
        "\r\n",
        "g\r\n",
        "+1\r\na",
        "-1\r\n",
        "0x1\r\na",
        " 1\r\na",
        "\t1\r\na",
        "1 \r\na",
        "1 1\r\na",
        "1\na",
        "1\r\r\na",
        "1\rX",
        "_1\r\n",
        "1\0\r\na",
        "1\u{b}\r\na",
        ";a\r\n",
        "1;a\0\r\n",
        "1;a\nb\r\n",
        "1;a\rb\r\n",
        "1;a=\"\r\n",
        "1;a=\"\\\r\n",
        "1;a=\"\n\"\r\n",
        "1;a\x7f\r\n",
        "1\r\nab",
        "1\r\na\n",
        "1\r\na\rX",
        "1\r\n\r\n1",
        "3\r\nab\r\n0\r\n\r\n",
        "10000000000000000\r\n",
        "00000000000000001\r\n",
        "fffffffffffffffff\r\n",
        "0\r\n\n",
        "0\r\n\rX",
        "0\n\r\n",
        "1.0\r\n",
        "1,1\r\n",
        "\u{ff11}\r\n",
    ] {
        assert!(is_refused(text), "{text:?}");
    }
}

#[test]
fn the_largest_size_is_held() {
    let mut decoder = BodyDecoder::new(BodyLength::Chunked);
    let step = decoder.step(b"FFFFffffFFFFffff\r\nabc").unwrap();
    assert_eq!((step.skip, step.data, step.done), (18, 3, false));
}

#[test]
fn a_refused_body_stays_refused() {
    let mut decoder = BodyDecoder::new(BodyLength::Chunked);
    assert!(decoder.step(b"x").is_err());
    assert!(decoder.step(b"0\r\n\r\n").is_err());
    assert!(decoder.step(b"").is_err());
    assert!(!decoder.may_end());
}

#[test]
fn a_chunked_body_cut_short_is_not_done() {
    let text = b"3\r\nabc\r\n0\r\nETag: x\r\n\r\n";
    for length in 0..text.len() {
        let decoded = chunked(&text[..length]).unwrap();
        assert!(!decoded.done && decoded.trailers.is_empty());
    }
    assert!(chunked(text).unwrap().done);
}

#[test]
fn size_lines_are_bounded() {
    let text = |bytes: usize| format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(bytes - 3));
    assert!(chunked(text(CHUNK_LINE_BYTES_MAX)).unwrap().done);
    assert_eq!(
        chunked(text(CHUNK_LINE_BYTES_MAX + 1)).unwrap_err().reason,
        "chunk-size line too long"
    );
    let many = "1;x\r\na\r\n".repeat(CHUNK_LINE_BYTES_MAX);
    assert!(chunked(format!("{many}0\r\n\r\n")).unwrap().done);
}

#[test]
fn trailers_pass_unless_somebody_acts_on_them() {
    let section = "Grpc-Status: 0\r\nContent-Length: 5\r\nTransfer-Encoding: x\r\nHost: b\r\n\
        Authorization: c\r\nSet-Cookie: d\r\n\
        Cache-Control: no-store\r\nContent-Type: e\r\nContent-Foo: f\r\nX-Forwarded-Host: g\r\n\
        ETag:\"h\"\r\nConnection: i\r\nTE: j\r\nTrailer: k\r\nAge: 1\r\nWWW-Authenticate: l\r\nContent-Digest: m\r\n\
        Expires: n\r\nx-last: \r\n";
    let passed = "Grpc-Status: 0\r\nETag:\"h\"\r\nContent-Digest: m\r\nx-last: \r\n";
    let decoded = chunked(format!("0\r\n{section}\r\nGET")).unwrap();
    assert!(decoded.done);
    assert_eq!(decoded.taken, 3 + section.len() + 2);
    assert_eq!(String::from_utf8(decoded.trailers).unwrap(), passed);
}

#[test]
fn malformed_trailers() {
    for section in [
        "X\r\n",
        "X : a\r\n",
        " X: a\r\n",
        "X: a\r\n b\r\n",
        ": a\r\n",
        "X: a\n",
        "X: a\0\r\n",
        "X: a\rb\r\n",
        "X: a\r\n\n",
        "X: a\r\n\rb\n",
    ] {
        assert!(is_refused(format!("0\r\n{section}\r\n")), "{section:?}");
    }
}

#[test]
fn trailer_sections_are_bounded() {
    let text = |bytes: usize| format!("0\r\nX: {}\r\n\r\n", "y".repeat(bytes - 7));
    assert!(chunked(text(TRAILER_BYTES_MAX)).unwrap().done);
    assert!(is_refused(text(TRAILER_BYTES_MAX + 1)));
    let dropped = "Host: a\r\n".repeat(TRAILER_BYTES_MAX / 9 + 1);
    assert!(is_refused(format!("0\r\n{dropped}\r\n")));
}

/// A chunked message, and what is in it.
fn message() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let extension = prop_oneof![
        Just(""),
        Just(";a"),
        Just(" ;a=\"b;\\\"c\""),
        Just(";a=b;c=d")
    ];
    let chunk = (prop::collection::vec(any::<u8>(), 1..40), extension);
    let trailers = prop_oneof![
        Just(""),
        Just("X-A: b\r\n"),
        Just("X-A: b\r\nHost: c\r\nX-D:\r\n")
    ];
    (prop::collection::vec(chunk, 0..6), trailers).prop_map(|(chunks, trailers)| {
        let (mut text, mut body) = (Vec::new(), Vec::new());
        for (data, extension) in chunks {
            text.extend_from_slice(format!("{:x}{extension}\r\n", data.len()).as_bytes());
            text.extend_from_slice(&data);
            text.extend_from_slice(b"\r\n");
            body.extend_from_slice(&data);
        }
        text.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
        (text, body)
    })
}

/// The pieces between sorted cuts.
fn pieces(text: &[u8], mut cuts: Vec<usize>) -> Vec<&[u8]> {
    cuts.iter_mut().for_each(|cut| *cut %= text.len() + 1);
    cuts.extend([0, text.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]).collect()
}

proptest! {
    #[test]
    fn every_split_reads_as_the_whole((text, body) in message(), cuts in prop::collection::vec(any::<usize>(), 0..12)) {
        let whole = chunked(&text).unwrap();
        prop_assert_eq!(&whole.body, &body);
        prop_assert!(whole.done);
        prop_assert_eq!(whole.taken, text.len());
        prop_assert_eq!(&decode(BodyLength::Chunked, pieces(&text, cuts)).unwrap(), &whole);
        prop_assert_eq!(&decode(BodyLength::Chunked, text.chunks(1)).unwrap(), &whole);
    }

    #[test]
    fn damage_is_judged_alike_in_every_split(
        (mut text, _) in message(),
        at in any::<prop::sample::Index>(),
        byte in prop_oneof![any::<u8>(), prop::sample::select(b"\r\n; \t\"0aF\0".to_vec())],
        cuts in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        *at.get_mut(&mut text) = byte;
        let whole = chunked(&text);
        prop_assert_eq!(&decode(BodyLength::Chunked, pieces(&text, cuts)), &whole);
        prop_assert_eq!(&decode(BodyLength::Chunked, text.chunks(1)), &whole);
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(text in prop::collection::vec(any::<u8>(), 0..200), length in 0..300u64) {
        let _ = chunked(&text);
        let decoded = decode(BodyLength::Length(length), [text.as_slice()]).unwrap();
        prop_assert_eq!(decoded.taken as u64, length.min(text.len() as u64));
    }
}
