//! What runs out, one thing at a time: descriptors, connections, the pool's room for bodies. The answer is a defined one,
//! the cause is named, and when there is some again it is as before.

use std::time::Duration;

use e2e::{
    Backend, Client, Gate, Gateway, Next, Origin, Response, Setup, Watch, becomes, both_drivers,
    chunked, eventually, get, ok,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

both_drivers!(
    a_start_with_too_few_descriptors_is_78_and_says_how_many_it_takes,
    more_clients_than_descriptors_are_told_and_those_inside_are_served,
    more_clients_than_places_are_told_and_not_as_a_want_of_descriptors,
    without_a_descriptor_for_its_origin_a_request_is_503,
    without_room_for_its_body_an_answer_passes_uncached,
    a_growing_body_without_room_goes_on_uncached,
    new_answers_take_the_place_of_old_ones,
    what_clients_have_yet_to_read_stays_as_it_was_while_others_take_its_memory,
    an_answer_larger_than_max_object_is_counted_as_that_and_not_held_against_the_pool,
);

const FRESH: &str = "Cache-Control: max-age=600\r\n";

fn a_start_with_too_few_descriptors_is_78_and_says_how_many_it_takes(backend: Backend) {
    let ended = Setup::new(backend)
        .limited("n", "64")
        .everything_to(([127, 0, 0, 1], 9).into(), "")
        .fail();
    assert_eq!(ended.code, Some(78), "{ended:?}");
    for part in ["the limit is 64", "ulimit -n ", "LimitNOFILE="] {
        assert!(ended.output.contains(part), "{part} in {}", ended.output);
    }
}

/// The least number of descriptors that leaves some for clients, and of those clients.
const DESCRIPTORS: usize = 384;
const SERVED: usize = 16;

fn more_clients_than_descriptors_are_told_and_those_inside_are_served(backend: Backend) {
    let origin = Origin::answering(ok(FRESH, "x"));
    let gateway = Setup::new(backend)
        .limited("n", &DESCRIPTORS.to_string())
        .everything_to(origin.address(), "")
        .start();
    let mut watch = Watch::of(&gateway);
    let mut early = gateway.client();
    early.ask(get("/a"));

    own_descriptors(2 * DESCRIPTORS as u64);
    let crowd = crowd(&gateway, &mut watch, DESCRIPTORS, "descriptors");
    eventually("/health names the cause", || {
        let listener = watch.component("listener:data");
        ["degraded", "no file descriptors left", "ulimit -n"]
            .iter()
            .all(|part| listener.contains(part))
    });
    eventually("the log names it", || {
        times(&gateway, "no_descriptors") == 1
    });
    assert!(early.ask(get("/a")).is_hit());
    assert_eq!(early.ask(get("/b")).status, 200);

    drop(crowd);
    let mut served = Vec::new();
    eventually("as many as before are served again", || {
        let mut client = gateway.client();
        if client
            .ask_quietly(get("/a"))
            .is_ok_and(|answer| answer.is_hit())
        {
            served.push(client);
        }
        served.len() == SERVED - 1
    });
    assert_eq!(times(&gateway, "no_descriptors"), 1, "{}", gateway.output());
}

fn more_clients_than_places_are_told_and_not_as_a_want_of_descriptors(backend: Backend) {
    let origin = Origin::answering(ok(FRESH, "x"));
    let gateway = Setup::new(backend)
        .set("limits", "max_connections", "4")
        .everything_to(origin.address(), "max_connections = 1")
        .start();
    let mut watch = Watch::of(&gateway);
    let mut early = gateway.client();
    early.ask(get("/a"));
    let crowd = crowd(&gateway, &mut watch, 100, "resources");
    eventually("/health names the cause", || {
        let listener = watch.component("listener:data");
        listener.contains("degraded") && listener.contains("limits.max_connections")
    });
    let listener = watch.component("listener:data");
    assert!(!listener.contains("descriptor"), "{listener}");
    let want = ["reason=\"descriptors\""];
    let errors = watch.sample("accept_errors_total", &want);
    assert_eq!(errors.to_string(), "0");
    assert!(early.ask(get("/a")).is_hit());
    drop(crowd);
    eventually("new clients are served again", || {
        let answer = gateway.client().ask_quietly(get("/a"));
        answer.is_ok_and(|answer| answer.is_hit())
    });
    assert_eq!(
        times(&gateway, "connections_full"),
        1,
        "{}",
        gateway.output()
    );
    assert_eq!(times(&gateway, "no_descriptors"), 0, "{}", gateway.output());
}

fn without_a_descriptor_for_its_origin_a_request_is_503(backend: Backend) {
    let origin = Origin::start(|_, wire| {
        wire.send(ok("Connection: close\r\n", "x"));
        Next::Close
    });
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    client.ask(get("/a"));
    gateway.limit_descriptors(3);
    let refused = client.ask(get("/a"));
    assert_eq!(refused.status, 503);
    assert!(refused.field("retry-after").is_some(), "{refused:?}");
    gateway.limit_descriptors(1024);
    assert_eq!(client.ask(get("/a")).status, 200);
}

/// So many clients at once that accepting fails for that reason, and some wait in the kernel's queue. Those beyond the bound are refused, and stay for a while
/// as they do not go.
fn crowd(gateway: &Gateway, watch: &mut Watch, count: usize, reason: &str) -> Vec<Client> {
    let label = format!("reason=\"{reason}\"");
    let mut crowd = Vec::new();
    eventually("accepting fails", || {
        crowd.clear();
        crowd.extend((0..count).map(|_| {
            let mut client = gateway.client();
            client.send(get("/a"));
            client
        }));
        becomes(Duration::from_secs(1), || {
            watch.sample("accept_errors_total", &[&label]) > 0.0
                && watch.sample("queue_depth", &["queue=\"accept\""]) > 0.0
        })
    });
    crowd
}

/// Lets this process have as many open descriptors, if it may.
fn own_descriptors(count: u64) {
    let limit = getrlimit(Resource::Nofile);
    let enough = |most: Option<u64>| most.is_none_or(|most| most >= count);
    if !enough(limit.current) && enough(limit.maximum) {
        let current = limit.maximum;
        setrlimit(Resource::Nofile, Rlimit { current, ..limit }).expect("the limit is set");
    }
}

/// How often the log names an event.
fn times(gateway: &Gateway, event: &str) -> usize {
    let event = format!("event=\"{event}\"");
    gateway.output().matches(&event).count()
}

const BODY: usize = 1 << 20;

/// Bytes that tell the target and their place.
fn body_of(target: &str) -> Vec<u8> {
    let seed = target.bytes().map(usize::from).sum::<usize>();
    (0..BODY)
        .map(|at| ((at + seed) % 251).to_le_bytes()[0])
        .collect()
}

/// Answers every target with [`body_of`] it, in chunks where it says `chunked`. Targets that say `held` stop in the middle
/// of the body until the gate opens.
fn bodies(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::start(move |request, wire| {
        let body = body_of(&request.target);
        let bytes = if request.target.contains("chunked") {
            let head = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{FRESH}\r\n");
            let pieces: Vec<&[u8]> = body.chunks(10_000).collect();
            [head.into_bytes(), chunked(&pieces)].concat()
        } else {
            ok(FRESH, body)
        };
        let (first, second) = bytes.split_at(bytes.len() / 2);
        wire.send(first);
        if request.target.contains("held") {
            gate.pass();
        }
        match wire.send(second) {
            true => Next::Keep,
            false => Next::Close,
        }
    })
}

/// A gateway with the smallest pool there is: it has no room for sixteen bodies.
fn small_pool(origin: &Origin, backend: Backend) -> Setup {
    Setup::new(backend)
        .set("api_gateway", "memory_pool_size", "\"16MiB\"")
        .everything_to(origin.address(), "")
}

fn detail(head: &Response) -> &str {
    let status = head.all("cache-status").last().unwrap_or_default();
    status
        .split(';')
        .find_map(|part| part.trim().strip_prefix("detail="))
        .unwrap_or_default()
}

/// Has answers begin that stop in the middle, until one finds no room; the others hold the whole slab.
fn fill(gateway: &Gateway) -> Vec<(Client, String)> {
    let mut held = Vec::new();
    loop {
        let target = format!("/held/{}", held.len());
        let mut client = gateway.client();
        client.send(get(&target));
        let head = client.head().expect("the head comes");
        held.push((client, target));
        if detail(&head) == "storage-full" {
            return held;
        }
        assert!(
            held.len() < 16,
            "16 MiB have room for 16 MiB of bodies: {head:?}"
        );
    }
}

fn without_room_for_its_body_an_answer_passes_uncached(backend: Backend) {
    let gate = Gate::new();
    let origin = bodies(&gate);
    let gateway = small_pool(&origin, backend).start();
    let mut watch = Watch::of(&gateway);
    assert!(watch.component("cache").contains("\"healthy\""));

    let held = fill(&gateway);
    let passed = gateway.ask(get("/a"));
    assert_eq!(detail(&passed), "storage-full");
    assert!(
        passed.body == body_of("/a"),
        "the bytes are not the origin's"
    );
    let full = ["reason=\"slab_full\""];
    assert_eq!(
        watch
            .sample("cache_stream_uncached_total", &full)
            .to_string(),
        "2"
    );
    eventually("/health names the cause", || {
        let cache = watch.component("cache");
        cache.contains("degraded") && cache.contains("memory_pool_size")
    });
    eventually("the log names it", || times(&gateway, "pool_full") == 1);

    gate.open();
    for (mut client, target) in held {
        let body = client.bytes(BODY).expect("the whole body");
        assert!(body == body_of(&target), "{target}: not the origin's bytes");
    }
    for target in ["/a", "/b"] {
        let again = || gateway.ask(get(target));
        eventually("it is stored again", || again().is_hit());
        assert!(again().body == body_of(target), "not the origin's bytes");
    }
    assert_eq!(times(&gateway, "pool_full"), 1, "{}", gateway.output());
}

fn a_growing_body_without_room_goes_on_uncached(backend: Backend) {
    let gate = Gate::new();
    let origin = bodies(&gate);
    let gateway = small_pool(&origin, backend).start();
    let mut watch = Watch::of(&gateway);
    let held = fill(&gateway);
    let passed = gateway.ask(get("/chunked"));
    assert!(
        passed.body == body_of("/chunked"),
        "the bytes are not the origin's"
    );
    let count = |watch: &mut Watch, reason: &str| {
        let label = format!("reason=\"{reason}\"");
        watch
            .sample("cache_stream_uncached_total", &[&label])
            .to_string()
    };
    assert_eq!(count(&mut watch, "slab_full"), "2");
    assert_eq!(count(&mut watch, "max_object"), "0");
    gate.open();
    drop(held);
    eventually("it is stored once there is room", || {
        gateway.ask(get("/chunked")).is_hit()
    });
}

fn new_answers_take_the_place_of_old_ones(backend: Backend) {
    let origin = bodies(&Gate::new());
    let gateway = small_pool(&origin, backend).start();
    let mut watch = Watch::of(&gateway);
    let mut client = gateway.client();
    let targets: Vec<String> = (0..20)
        .flat_map(|number| [format!("/{number}"), format!("/chunked/{number}")])
        .collect();
    for target in &targets {
        let first = client.ask(get(target));
        assert!(first.body == body_of(target), "not the origin's bytes");
        eventually("it is stored", || client.ask(get(target)).is_hit());
    }
    // Some may: a turn that is past its time for the index evicts nothing more.
    let uncached = watch.sample("cache_stream_uncached_total", &[]);
    assert!(uncached < 10.0, "{uncached} of 40 were not stored at once");
    let evicted = watch.sample("cache_evictions_total", &["reason=\"capacity\""]);
    assert!(evicted >= 20.0, "the pool was not full: {evicted}");
}

fn what_clients_have_yet_to_read_stays_as_it_was_while_others_take_its_memory(backend: Backend) {
    let origin = bodies(&Gate::new());
    let gateway = small_pool(&origin, backend).start();
    let mut readers = Vec::new();
    for round in 0..4 {
        let early: Vec<String> = (0..4).map(|n| format!("/{round}/early/{n}")).collect();
        for target in &early {
            eventually("it is stored", || gateway.ask(get(target)).is_hit());
            // Often enough for its pages to be lent.
            for _ in 0..16 {
                assert!(gateway.ask(get(target)).body == body_of(target));
            }
            let mut reader = gateway.client();
            reader.send(get(target));
            assert!(reader.head().expect("the head comes").is_hit());
            readers.push((reader, target.clone()));
        }
        for target in (0..16).map(|n| format!("/{round}/late/{n}")) {
            gateway.ask(get(&target));
        }
    }
    for (mut reader, target) in readers {
        let body = reader.bytes(BODY).expect("the whole body");
        assert!(body == body_of(&target), "{target}: not the origin's bytes");
    }
}

fn an_answer_larger_than_max_object_is_counted_as_that_and_not_held_against_the_pool(
    backend: Backend,
) {
    let origin = Origin::start(|request, wire| {
        let bytes = match request.target.as_str() {
            "/small" => ok(FRESH, "x"),
            "/length" => ok(FRESH, body_of("/length")),
            _ => {
                let body = body_of("/chunked");
                let pieces: Vec<&[u8]> = body.chunks(10_000).collect();
                let head = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{FRESH}\r\n");
                [head.into_bytes(), chunked(&pieces)].concat()
            }
        };
        wire.send(bytes);
        Next::Keep
    });
    let gateway = Setup::new(backend)
        .set("cache", "max_object", "\"100KiB\"")
        .everything_to(origin.address(), "")
        .start();
    let mut watch = Watch::of(&gateway);
    for _ in 0..2 {
        for target in ["/length", "/chunked"] {
            let passed = gateway.ask(get(target));
            assert!(passed.is_forwarded() && passed.body == body_of(target));
        }
    }
    assert_eq!(detail(&gateway.ask(get("/length"))), "too-large");
    let mut count = |reason: &str| {
        let label = format!("reason=\"{reason}\"");
        watch
            .sample("cache_stream_uncached_total", &[&label])
            .to_string()
    };
    assert_eq!(
        (count("max_object"), count("slab_full")),
        ("5".into(), "0".into())
    );
    gateway.ask(get("/small"));
    let mut cache = String::new();
    eventually("the control plane has looked since", || {
        cache = watch.component("cache");
        cache.contains("\"observed\":1,") || cache.ends_with("\"observed\":1")
    });
    assert!(
        cache.contains("\"healthy\"") && !cache.contains("reason"),
        "{cache}"
    );
    assert_eq!(times(&gateway, "pool_full"), 0);
}
