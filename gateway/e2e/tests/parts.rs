//! Parts: stored by themselves, and put together (RFC 9110 §15.3.7.3, RFC 9111 §3.3, §3.4).

mod representation;

use e2e::{
    Backend, Client, Gate, Gateway, Next, Origin, Setup, answer, ask_with, both_drivers,
    eventually, get, get_with, ok,
};
use representation::{
    FRESH, LENGTH, MODIFIED, Representation, expect, expect_whole, part, parts, piece,
};

/// What the origin was asked for last, by which state.
fn asked(origin: &Origin) -> (Option<String>, Option<String>) {
    let last = origin.last();
    let owned = |name| last.field(name).map(str::to_owned);
    (owned("range"), owned("if-range"))
}

fn completing(range: &str, tag: &str) -> (Option<String>, Option<String>) {
    (Some(range.to_owned()), Some(tag.to_owned()))
}

both_drivers!(
    a_part_is_stored_and_serves_what_lies_in_it,
    parts_serve_suffixes_and_several_ranges,
    two_parts_serve_what_spans_them,
    a_part_and_what_it_lacks_are_the_whole,
    parts_that_make_up_the_whole_are_it,
    a_part_in_the_middle_is_no_start,
    a_changed_representation_is_never_mixed,
    an_origin_that_ignores_if_range_is_not_believed,
    a_shorter_representation_is_asked_for_anew,
    without_a_strong_tag_nothing_is_put_together,
    a_completion_that_breaks_off_is_not_kept,
    clients_that_want_the_whole_share_the_completion,
    a_head_after_a_part_asks,
    an_unsafe_request_ends_parts,
    a_part_of_a_variant_is_that_variant_s,
    fields_that_a_completion_leaves_out_stay,
    a_part_that_is_the_whole_is_it,
    what_if_range_brought_is_for_its_client,
    any_ranges_in_any_order_are_right,
    parts_of_large_bodies_are_right,
);

fn a_part_is_stored_and_serves_what_lies_in_it(backend: Backend) {
    for fields in ["ETag: \"1\"\r\n", "ETag: W/\"1\"\r\n", ""] {
        let origin = Representation::new(1, fields).origin();
        let gateway = Gateway::before(&origin, backend);
        let mut client = gateway.client();
        let miss = part(&mut client, "100-199");
        assert_eq!(miss.told("fwd"), Some("uri-miss"));
        expect(&miss, 1, 100, 200);
        for (bytes, first, end) in [
            ("100-199", 100, 200),
            ("150-150", 150, 151),
            ("120-199", 120, 200),
        ] {
            let got = part(&mut client, bytes);
            assert!(got.is_hit(), "{bytes}");
            expect(&got, 1, first, end);
            assert!(got.field("age").is_some());
        }
        assert_eq!(origin.count(), 1);
        for (bytes, first, end) in [("0-10", 0, 11), ("300-310", 300, 311)] {
            let got = part(&mut client, bytes);
            assert_eq!(got.told("fwd"), Some("partial"), "{bytes}");
            expect(&got, 1, first, end);
        }
        assert_eq!(origin.count(), 3);
    }
}

fn parts_serve_suffixes_and_several_ranges(backend: Backend) {
    let origin = Representation::tagged(1).origin();
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    part(&mut client, "-100");
    for (bytes, first) in [("-100", LENGTH - 100), ("-1", LENGTH - 1), ("9950-", 9_950)] {
        let got = part(&mut client, bytes);
        assert!(got.is_hit(), "{bytes}");
        expect(&got, 1, first, LENGTH);
    }
    let got = part(&mut client, "9900-9904,-2");
    assert!(got.is_hit(), "{got:?}");
    assert_eq!(
        parts(&got),
        [piece(1, 9_900, 9_905), piece(1, LENGTH - 2, LENGTH)]
    );
    assert_eq!(origin.count(), 1);
}

fn two_parts_serve_what_spans_them(backend: Backend) {
    let origin = Representation::tagged(1).origin();
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    part(&mut client, "100-199");
    let behind = part(&mut client, "150-299");
    expect(&behind, 1, 150, 300);
    assert_eq!(
        (behind.told("fwd"), behind.told("fwd-status")),
        (Some("partial"), Some("206"))
    );
    assert_eq!(asked(&origin), completing("bytes=200-299", "\"1\""));
    let before = part(&mut client, "50-120");
    expect(&before, 1, 50, 121);
    assert_eq!(asked(&origin), completing("bytes=50-99", "\"1\""));
    let whole = part(&mut client, "50-299");
    assert!(whole.is_hit());
    expect(&whole, 1, 50, 300);
    assert_eq!(origin.count(), 3);
    // Two that do not touch, and what closes the gap between them.
    part(&mut client, "400-499");
    let across = part(&mut client, "250-449");
    expect(&across, 1, 250, 450);
    let all = part(&mut client, "50-499");
    assert!(all.is_hit(), "{:?}", all.fields);
    expect(&all, 1, 50, 500);
}

fn a_part_and_what_it_lacks_are_the_whole(backend: Backend) {
    for (bytes, lacks) in [("0-6999", "bytes=7000-9999"), ("-5000", "bytes=0-4999")] {
        let origin = Representation::tagged(1).origin();
        let gateway = Gateway::before(&origin, backend);
        let mut client = gateway.client();
        part(&mut client, bytes);
        let got = client.ask(get("/"));
        expect_whole(&got, 1);
        assert_eq!(
            (got.told("fwd"), got.told("fwd-status")),
            (Some("partial"), Some("206"))
        );
        assert_eq!(asked(&origin), completing(lacks, "\"1\""));
        let hit = client.ask(get("/"));
        assert!(hit.is_hit());
        expect_whole(&hit, 1);
        let cut = part(&mut client, "6990-7010");
        assert!(cut.is_hit());
        expect(&cut, 1, 6_990, 7_011);
        assert_eq!(
            client.ask(get_with("/", "If-None-Match: \"1\"\r\n")).status,
            304
        );
        assert_eq!(origin.count(), 2);
    }
}

fn parts_that_make_up_the_whole_are_it(backend: Backend) {
    let origin = Representation::tagged(1).origin();
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    for bytes in ["2000-4999", "5000-9999", "0-2500"] {
        part(&mut client, bytes);
    }
    let got = client.ask(get("/"));
    assert!(got.is_hit(), "{:?}", got.fields);
    expect_whole(&got, 1);
    assert_eq!(origin.count(), 3);
}

fn a_part_in_the_middle_is_no_start(backend: Backend) {
    let origin = Representation::tagged(1).origin();
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    part(&mut client, "100-199");
    let got = client.ask(get("/"));
    expect_whole(&got, 1);
    assert_eq!(got.told("fwd"), Some("partial"));
    assert_eq!(asked(&origin), (None, None));
    assert!(client.ask(get("/")).is_hit());
}

fn a_changed_representation_is_never_mixed(backend: Backend) {
    let representation = Representation::tagged(1);
    let origin = representation.origin();
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    part(&mut client, "0-4999");
    representation.change(2, "ETag: \"2\"\r\n");
    expect_whole(&client.ask(get("/")), 2);
    assert_eq!(asked(&origin), completing("bytes=5000-9999", "\"1\""));
    let hit = client.ask(get("/"));
    assert!(hit.is_hit());
    expect_whole(&hit, 2);

    client.ask(ask_with("POST", "/", "Content-Length: 0\r\n"));
    part(&mut client, "0-4999");
    representation.change(3, "ETag: \"3\"\r\n");
    expect(&part(&mut client, "4990-5009"), 3, 4_990, 5_010);
    expect(&part(&mut client, "0-9"), 3, 0, 10);

    client.ask(ask_with("POST", "/", "Content-Length: 0\r\n"));
    part(&mut client, "0-99");
    representation.change(4, "ETag: \"4\"\r\n");
    expect(&part(&mut client, "500-599"), 4, 500, 600);
    expect(&part(&mut client, "0-99"), 4, 0, 100);
}

/// Which answers what it is asked for with bytes of another state.
fn an_origin_that_ignores_if_range_is_not_believed(backend: Backend) {
    let (one, two) = (Representation::tagged(1), Representation::tagged(2));
    let origin = Origin::start(move |request, wire| {
        let mut request = request.clone();
        request
            .fields
            .retain(|(name, _)| !name.eq_ignore_ascii_case("if-range"));
        let state = if request.number == 0 { &one } else { &two };
        wire.send(state.answer(&request));
        Next::Keep
    });
    for want_whole in [true, false] {
        let gateway = Gateway::before(&origin, backend);
        let mut client = gateway.client();
        part(&mut client, "0-4999");
        match want_whole {
            true => expect_whole(&client.ask(get("/")), 2),
            false => expect(&part(&mut client, "4990-5009"), 2, 4_990, 5_010),
        }
    }
}

fn a_shorter_representation_is_asked_for_anew(backend: Backend) {
    let origin = Origin::start(|request, wire| {
        let fields = format!("{FRESH}ETag: \"1\"\r\n");
        match (request.number, request.field("range")) {
            (0, _) => wire.send(answer(
                206,
                &format!("{fields}Content-Range: bytes 0-3/8\r\n"),
                "long",
            )),
            (_, Some(_)) => wire.send(answer(416, "Content-Range: bytes */4\r\n", "")),
            _ => wire.send(ok(&format!("{FRESH}ETag: \"2\"\r\n"), "tiny")),
        };
        Next::Keep
    });
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    part(&mut client, "0-3");
    let got = client.ask(get("/"));
    assert_eq!((got.status, got.text().as_str()), (200, "tiny"), "{got:?}");
    assert!(client.ask(get("/")).is_hit());
}

fn without_a_strong_tag_nothing_is_put_together(backend: Backend) {
    let date = format!("Last-Modified: {MODIFIED}\r\n");
    for fields in ["ETag: W/\"1\"\r\n", "", date.as_str()] {
        let representation = Representation::new(1, fields);
        let origin = representation.origin();
        let gateway = Gateway::before(&origin, backend);
        let mut client = gateway.client();
        part(&mut client, "0-4999");
        representation.change(2, fields);
        expect(&part(&mut client, "4000-5999"), 2, 4_000, 6_000);
        assert_eq!(
            asked(&origin),
            (Some("bytes=4000-5999".to_owned()), None),
            "{fields:?}"
        );
        representation.change(3, fields);
        expect(&part(&mut client, "0-9999"), 3, 0, LENGTH);
        representation.change(4, fields);
        client.ask(ask_with("POST", "/", "Content-Length: 0\r\n"));
        part(&mut client, "0-4999");
        representation.change(5, fields);
        let got = client.ask(get("/"));
        assert_eq!(
            (asked(&origin), got.told("fwd")),
            ((None, None), Some("partial"))
        );
        expect_whole(&got, 5);
    }
}

fn a_completion_that_breaks_off_is_not_kept(backend: Backend) {
    let representation = Representation::tagged(1);
    let own = representation.clone();
    let origin = Origin::start(move |request, wire| {
        let answer = own.answer(request);
        if request.number == 1 {
            wire.send(&answer[..answer.len() - 100]);
            return Next::Close;
        }
        wire.send(answer);
        Next::Keep
    });
    let gateway = Gateway::before(&origin, backend);
    part(&mut gateway.client(), "0-4999");
    let mut unlucky = gateway.client();
    // Whoever has nothing of it yet is given another.
    if let Ok(got) = unlucky.ask_quietly(get("/")) {
        expect_whole(&got, 1);
    }
    let mut client = gateway.client();
    expect_whole(&client.ask(get("/")), 1);
    let hit = client.ask(get("/"));
    assert!(hit.is_hit());
    expect_whole(&hit, 1);
}

fn clients_that_want_the_whole_share_the_completion(backend: Backend) {
    for shards in ["1", "2"] {
        let gate = Gate::new();
        let (own, at_origin) = (Representation::tagged(1), gate.clone());
        let origin = Origin::start(move |request, wire| {
            if request.number > 0 {
                at_origin.pass();
            }
            wire.send(own.answer(request));
            Next::Keep
        });
        let gateway = Setup::new(backend)
            .set("api_gateway", "worker_threads", shards)
            .everything_to(origin.address(), "")
            .start();
        part(&mut gateway.client(), "0-4999");
        let mut clients: Vec<Client> = (0..20).map(|_| gateway.client()).collect();
        for client in &mut clients {
            client.send(get("/"));
        }
        eventually("the origin is asked", || origin.count() == 2);
        gate.open();
        for client in &mut clients {
            expect_whole(&client.response(), 1);
        }
        assert_eq!(origin.count(), 2, "with {shards} shards");
    }
}

fn a_head_after_a_part_asks(backend: Backend) {
    let own = Representation::tagged(1);
    let origin = Origin::start(move |request, wire| {
        let answer = own.answer(request);
        let end = if request.method == "HEAD" {
            answer.len() - LENGTH
        } else {
            answer.len()
        };
        wire.send(&answer[..end]);
        Next::Keep
    });
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    part(&mut client, "0-99");
    client.send(ask_with("HEAD", "/", ""));
    let head = client.response_to_head();
    assert_eq!(
        (head.status, head.field("content-length")),
        (200, Some("10000"))
    );
    assert_eq!(head.told("fwd"), Some("partial"));
}

fn an_unsafe_request_ends_parts(backend: Backend) {
    let representation = Representation::tagged(1);
    let origin = representation.origin();
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    part(&mut client, "0-99");
    client.ask(ask_with("DELETE", "/", ""));
    representation.change(2, "ETag: \"2\"\r\n");
    let got = part(&mut client, "0-99");
    assert_eq!(got.told("fwd"), Some("uri-miss"));
    expect(&got, 2, 0, 100);
}

fn a_part_of_a_variant_is_that_variant_s(backend: Backend) {
    let origin = Origin::start(|request, wire| {
        let number = if request.field("x-color") == Some("red") {
            1
        } else {
            2
        };
        // The same tag for both, which RFC 9110 §8.8.3 forbids: the variant tells them apart all the same.
        let state = Representation::new(number, "Vary: X-Color\r\nETag: \"same\"\r\n");
        wire.send(state.answer(request));
        Next::Keep
    });
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    for (color, number) in [("red", 1), ("blue", 2), ("red", 1), ("blue", 2)] {
        let fields = format!("X-Color: {color}\r\nRange: bytes=0-99\r\n");
        expect(&client.ask(get_with("/", &fields)), number, 0, 100);
    }
    assert_eq!(origin.count(), 2);
    for (color, number) in [("red", 1), ("blue", 2)] {
        let fields = format!("X-Color: {color}\r\n");
        expect_whole(&client.ask(get_with("/", &fields)), number);
    }
}

/// RFC 9110 §15.3.7: who asked with If-Range need not be told what it knows. RFC 9111 §3.4: new fields win, others stay.
fn fields_that_a_completion_leaves_out_stay(backend: Backend) {
    let brought = |fields: &str, place: &str, body: &str| {
        let fields = format!("{FRESH}ETag: \"1\"\r\n{fields}Content-Range: bytes {place}/8\r\n");
        answer(206, &fields, body)
    };
    let origin = Origin::by_turns([
        brought(
            "Content-Type: text/html\r\nX-Old: 1\r\nX-Old: 2\r\nX-Both: old\r\n",
            "0-3",
            "four",
        ),
        brought("X-Both: new\r\n", "4-7", "more"),
    ]);
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    part(&mut client, "0-3");
    for got in [client.ask(get("/")), client.ask(get("/"))] {
        assert_eq!((got.status, got.text().as_str()), (200, "fourmore"));
        for (name, values) in [
            ("content-type", &["text/html"][..]),
            ("x-old", &["1", "2"]),
            ("x-both", &["new"]),
            ("etag", &["\"1\""]),
            ("date", &[got.field("date").unwrap_or_default()]),
            (
                "cache-control",
                &[FRESH.trim_start_matches("Cache-Control: ").trim_end()],
            ),
        ] {
            assert_eq!(got.all(name).collect::<Vec<_>>(), values, "{name}");
        }
    }
    assert_eq!(origin.count(), 2);
}

fn a_part_that_is_the_whole_is_it(backend: Backend) {
    for fields in ["ETag: \"1\"\r\n", "ETag: W/\"1\"\r\n", ""] {
        let origin = Representation::new(1, fields).origin();
        let gateway = Gateway::before(&origin, backend);
        let mut client = gateway.client();
        expect(&part(&mut client, "0-"), 1, 0, LENGTH);
        let got = client.ask(get("/"));
        assert!(got.is_hit(), "{fields:?}: {:?}", got.fields);
        expect_whole(&got, 1);
        expect(&part(&mut client, "5-9"), 1, 5, 10);
        assert_eq!(origin.count(), 1);
    }
}

/// Such an answer may lack what its client has already (RFC 9110 §15.3.7).
fn what_if_range_brought_is_for_its_client(backend: Backend) {
    let origin = Origin::start(|request, wire| {
        let of_all = if request.field("if-range").is_some() {
            ""
        } else {
            "Content-Type: text/html\r\n"
        };
        let fields = format!("{FRESH}ETag: \"1\"\r\n{of_all}Content-Range: bytes 0-3/8\r\n");
        wire.send(answer(206, &fields, "four"));
        Next::Keep
    });
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    let mine = client.ask(get_with("/", "Range: bytes=0-3\r\nIf-Range: \"1\"\r\n"));
    assert_eq!((mine.status, mine.text().as_str()), (206, "four"));
    let other = part(&mut client, "0-3");
    assert_eq!(
        other.field("content-type"),
        Some("text/html"),
        "{:?}",
        other.fields
    );
}

/// Numbers that look random and are the same in every run (Knuth, MMIX).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        let next = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = next.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    /// A range of so many bytes, in one of its three forms.
    fn range(&mut self, length: usize) -> (String, usize, usize) {
        let (one, other) = (self.below(length), self.below(length));
        let (first, last) = (one.min(other), one.max(other));
        match self.below(6) {
            0 => (format!("{first}-"), first, length),
            1 => (format!("-{}", length - first), first, length),
            _ => {
                let last = last.min(first + length / 8);
                (format!("{first}-{last}"), first, last + 1)
            }
        }
    }
}

/// Whatever is stored in whichever parts, nobody sees bytes of two states in one answer.
fn any_ranges_in_any_order_are_right(backend: Backend) {
    for shards in ["1", "2"] {
        let representation = Representation::tagged(1);
        let origin = representation.origin();
        let gateway = Setup::new(backend)
            .set("api_gateway", "worker_threads", shards)
            .everything_to(origin.address(), "")
            .start();
        let ask = |seed: u64| {
            let (mut dice, mut client) = (Dice(seed), gateway.client());
            for step in 0..400 {
                if step % 50 == 49 {
                    if seed == 0 {
                        let number = u8::try_from(2 + step / 50).expect("few changes");
                        representation.change(number, &format!("ETag: \"{number}\"\r\n"));
                    }
                    client.ask(ask_with("POST", "/", "Content-Length: 0\r\n"));
                }
                let state = |got: &e2e::Response| {
                    let state = got.field("x-state").and_then(|state| state.parse().ok());
                    state.unwrap_or_else(|| panic!("no state: {:?}", got.fields))
                };
                if dice.below(10) == 0 {
                    let got = client.ask(get("/"));
                    expect_whole(&got, state(&got));
                } else {
                    let (bytes, first, end) = dice.range(LENGTH);
                    let got = part(&mut client, &bytes);
                    expect(&got, state(&got), first, end);
                }
            }
        };
        std::thread::scope(|scope| {
            for seed in 0..4 {
                let ask = &ask;
                std::thread::Builder::new()
                    .spawn_scoped(scope, move || ask(seed))
                    .expect("a thread is left");
            }
        });
        let hits = origin.count() < 1_600;
        assert!(hits, "nothing was served from the store");
    }
}

fn parts_of_large_bodies_are_right(backend: Backend) {
    const LARGE: usize = 5 << 20;
    let whole: Vec<u8> = (0..LARGE)
        .map(|at| {
            (at as u64)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .to_be_bytes()[0]
        })
        .collect();
    let of_origin = whole.clone();
    let origin = Origin::start(move |request, wire| {
        let fields = format!("{FRESH}ETag: \"1\"\r\n");
        let asked = request.field("range").and_then(|range| {
            let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
            Some((first.parse::<usize>().ok()?, last.parse::<usize>().ok()?))
        });
        match asked {
            Some((first, last)) => {
                let place = format!("Content-Range: bytes {first}-{last}/{LARGE}\r\n");
                wire.send(answer(206, &(fields + &place), &of_origin[first..=last]))
            }
            None => wire.send(ok(&fields, &of_origin)),
        };
        Next::Keep
    });
    let gateway = Gateway::before(&origin, backend);
    let (mut dice, mut client) = (Dice(7), gateway.client());
    for _ in 0..30 {
        let (first, length) = (dice.below(LARGE - 1), 1 + dice.below(1 << 20));
        let end = LARGE.min(first + length);
        let got = part(&mut client, &format!("{first}-{}", end - 1));
        assert!(
            got.status == 206 && got.body == whole[first..end],
            "{first}-{end}"
        );
    }
    for _ in 0..2 {
        let got = client.ask(get("/"));
        assert!(got.status == 200 && got.body == whole, "{:?}", got.fields);
    }
    assert!(client.ask(get("/")).is_hit());
}
