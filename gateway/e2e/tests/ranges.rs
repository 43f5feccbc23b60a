//! Ranges cut from what is stored whole (RFC 9110 §14), or fetched whole for it.

mod representation;

use e2e::{
    Backend, Client, Gate, Gateway, Next, Origin, Setup, answer, ask_with, both_drivers,
    eventually, get, get_with, ok,
};
use representation::{
    FRESH, LENGTH, MODIFIED, Representation, expect, expect_whole, part, parts, piece,
};

both_drivers!(
    a_stored_answer_is_cut,
    several_ranges_are_a_multipart_answer,
    what_no_byte_satisfies_is_416,
    if_range_decides_by_strong_validators,
    a_condition_comes_before_a_range,
    a_range_of_a_large_object_is_served,
    ranges_may_fetch_the_whole_once,
    a_stale_answer_is_validated_and_cut,
);

fn a_stored_answer_is_cut(backend: Backend) {
    let origin = Representation::tagged(1).origin();
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    client.ask(get("/"));
    for (bytes, first, end) in [
        ("0-4", 0, 5),
        ("5-5", 5, 6),
        ("9990-", 9_990, LENGTH),
        ("0-", 0, LENGTH),
        ("-3", LENGTH - 3, LENGTH),
        ("-99999", 0, LENGTH),
        ("9990-99999999999999999999", 9_990, LENGTH),
        ("0-4,", 0, 5),
        ("0-4, 10000-", 0, 5),
    ] {
        let got = part(&mut client, bytes);
        assert!(got.is_hit(), "{bytes}");
        expect(&got, 1, first, end);
        assert!(got.field("age").is_some() && got.field("etag") == Some("\"1\""));
    }
    for ignored in ["5-4", "x-1", "1", "--1", "0 - 4", "", "0-1;2-3"] {
        let got = part(&mut client, ignored);
        assert!(got.is_hit(), "{ignored}");
        expect_whole(&got, 1);
    }
    for ignored in [
        "Range: lines=0-4\r\n",
        "Range: bytes=0-1\r\nRange: bytes=2-3\r\n",
    ] {
        expect_whole(&client.ask(get_with("/", ignored)), 1);
    }
    client.send(ask_with("HEAD", "/", "Range: bytes=0-4\r\n"));
    let head = client.response_to_head();
    assert_eq!(
        (head.status, head.field("content-length")),
        (200, Some("10000"))
    );
    assert_eq!(origin.count(), 1);
}

fn several_ranges_are_a_multipart_answer(backend: Backend) {
    let origin = Representation::tagged(1).origin();
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    client.ask(get("/"));
    let got = part(&mut client, "0-4, 9000-9009,-2");
    assert_eq!(
        (got.status, got.is_hit(), got.field("content-range")),
        (206, true, None)
    );
    let ranges = [(0, 5), (9_000, 9_010), (LENGTH - 2, LENGTH)];
    assert_eq!(parts(&got), ranges.map(|(first, end)| piece(1, first, end)));
    let many = (0..17).map(|at| format!("{}-{}", at * 10, at * 10));
    let too_many = many.collect::<Vec<_>>().join(",");
    expect_whole(&part(&mut client, &too_many), 1);
    expect_whole(&part(&mut client, "0-9,5-14,8-20"), 1);
    assert_eq!(origin.count(), 1);
}

fn what_no_byte_satisfies_is_416(backend: Backend) {
    let origin = Representation::tagged(1).origin();
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    client.ask(get("/"));
    for bytes in [
        "10000-",
        "10000-10005",
        "99999999999999999999-",
        "-0",
        "20000-,10000-10001",
    ] {
        let got = part(&mut client, bytes);
        assert_eq!((got.status, got.is_hit()), (416, true), "{bytes}");
        assert_eq!(got.field("content-range"), Some("bytes */10000"), "{bytes}");
    }
    assert_eq!(origin.count(), 1);
}

fn if_range_decides_by_strong_validators(backend: Backend) {
    let modified = format!("Last-Modified: {MODIFIED}\r\n");
    let strong = format!("ETag: \"1\"\r\n{modified}");
    let weak = format!("ETag: W/\"1\"\r\n{modified}");
    let at_once = format!("{modified}Date: {MODIFIED}\r\n");
    let late = "Sun, 06 Nov 1994 08:49:38 GMT";
    for (fields, condition, is_cut) in [
        (&strong, "\"1\"", true),
        (&strong, "W/\"1\"", false),
        (&strong, "\"2\"", false),
        (&strong, MODIFIED, true),
        (&strong, "Sunday, 06-Nov-94 08:49:37 GMT", true),
        (&strong, late, false),
        (&strong, "nonsense", false),
        (&weak, "W/\"1\"", false),
        (&weak, "\"1\"", false),
        (&at_once, MODIFIED, false),
    ] {
        let origin = Representation::new(1, fields).origin();
        let gateway = Gateway::before(&origin, backend);
        let mut client = gateway.client();
        client.ask(get("/"));
        let asked = format!("Range: bytes=0-4\r\nIf-Range: {condition}\r\n");
        let got = client.ask(get_with("/", &asked));
        assert!(got.is_hit(), "{fields:?}, {condition}: {got:?}");
        match is_cut {
            true => expect(&got, 1, 0, 5),
            false => expect_whole(&got, 1),
        }
    }
}

fn a_condition_comes_before_a_range(backend: Backend) {
    let origin = Representation::tagged(1).origin();
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    client.ask(get("/"));
    let with = |tag: &str| {
        get_with(
            "/",
            &format!("Range: bytes=0-4\r\nIf-None-Match: {tag}\r\n"),
        )
    };
    assert_eq!(client.ask(with("\"1\"")).status, 304);
    expect(&client.ask(with("\"2\"")), 1, 0, 5);
    assert_eq!(origin.count(), 1);
}

fn a_range_of_a_large_object_is_served(backend: Backend) {
    let large: Vec<u8> = (0..3 << 20)
        .map(|at: usize| (at % 253).to_le_bytes()[0])
        .collect();
    let origin = Origin::answering(ok(FRESH, &large));
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    client.ask(get("/"));
    for (first, end) in [
        (0, 1),
        ((1 << 20) - 1, (1 << 20) + 1),
        (5_000, 2_900_000),
        (3_000_000, 3 << 20),
    ] {
        let got = part(&mut client, &format!("{first}-{}", end - 1));
        assert!(
            got.status == 206 && got.body == large[first..end],
            "{first}-{end}"
        );
    }
    assert_eq!(origin.count(), 1);
}

fn ranges_may_fetch_the_whole_once(backend: Backend) {
    for shards in ["1", "2"] {
        let gate = Gate::new();
        let (own, at_origin) = (Representation::tagged(1), gate.clone());
        let origin = Origin::start(move |request, wire| {
            at_origin.pass();
            wire.send(own.answer(request));
            Next::Keep
        });
        let gateway = Setup::new(backend)
            .set("api_gateway", "worker_threads", shards)
            .everything_to(origin.address(), "")
            .with("range_misses = \"whole\"")
            .start();
        let mut clients: Vec<Client> = (0..20).map(|_| gateway.client()).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            let bytes = format!("{}-{}", number * 100, number * 100 + 149);
            client.send(get_with("/", &format!("Range: bytes={bytes}\r\n")));
        }
        eventually("the origin is asked", || origin.count() > 0);
        gate.open();
        for (number, client) in clients.iter_mut().enumerate() {
            expect(&client.response(), 1, number * 100, number * 100 + 150);
        }
        assert_eq!(origin.count(), 1, "with {shards} shards");
        assert_eq!(origin.last().field("range"), None);
        let whole = gateway.ask(get("/"));
        assert!(whole.is_hit());
        expect_whole(&whole, 1);
    }
}

fn a_stale_answer_is_validated_and_cut(backend: Backend) {
    let fields = "Cache-Control: max-age=60\r\nAge: 60\r\nETag: \"1\"\r\n";
    let origin = Origin::by_turns([
        ok(fields, "fourmore"),
        answer(304, "Cache-Control: max-age=600\r\n", ""),
    ]);
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    client.ask(get("/"));
    let got = part(&mut client, "4-");
    assert_eq!(
        (got.status, got.text().as_str()),
        (206, "more"),
        "{:?}",
        got.fields
    );
    assert_eq!(got.told("fwd-status"), Some("304"));
    assert_eq!(origin.last().field("range"), None);
    assert!(client.ask(get("/")).is_hit());
}
