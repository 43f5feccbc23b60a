//! Many clients that want the same thing at once.

use std::collections::HashSet;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use e2e::{
    Backend, Broken, Client, Gate, Gateway, Next, Origin, PATIENCE, Response, Setup, answer,
    becomes, both_drivers, chunked, eventually, get, get_with, ok,
};

const CLIENTS: usize = 20;
const FRESH: &str = "Cache-Control: max-age=60\r\n";

/// All clients ask for the same at once; once all have asked, `then` is called. Their answers, whole or not.
fn all_ask(gateway: &Gateway, then: impl FnOnce()) -> Vec<Result<Response, Broken>> {
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| gateway.client()).collect();
    for client in &mut clients {
        client.send(get("/same"));
    }
    then();
    clients.iter_mut().map(Client::try_response).collect()
}

fn shards(backend: Backend, count: usize, origin: &Origin) -> Gateway {
    Setup::new(backend)
        .set("api_gateway", "worker_threads", count.to_string())
        .everything_to(origin.address(), "")
        .start()
}

/// Answers when the gate is open.
fn gated(gate: &Gate, fields: &'static str) -> Origin {
    let gate = gate.clone();
    Origin::start(move |request, wire| {
        gate.pass();
        wire.send(ok(fields, format!("answer {}", request.number)));
        Next::Keep
    })
}

/// Waits until the origin has been asked so often.
fn asked(origin: &Origin, times: usize) {
    let asked = becomes(PATIENCE, || origin.count() >= times);
    assert!(asked, "asked {} times, not {times}", origin.count());
}

both_drivers!(
    concurrent_misses_of_one_key_are_one_request,
    what_turns_out_uncacheable_is_shared_by_nobody,
    the_first_one_s_leaving_is_not_the_others_loss,
    a_fill_that_breaks_off_gives_nobody_a_whole_answer,
    an_origin_that_answers_nobody_keeps_nobody_waiting,
    a_race_between_shards_ends_with_one_object,
    what_is_known_to_be_uncacheable_is_not_waited_for,
    what_becomes_cacheable_again_is_shared_again,
    a_leader_that_brings_nothing_is_replaced,
    a_leader_who_left_keeps_nobody_waiting,
    what_a_leader_who_left_asked_for_is_stored,
    who_waits_is_fed_as_the_body_comes,
    the_wait_is_bounded,
    what_is_known_to_be_too_large_is_not_waited_for,
    what_is_known_to_outgrow_its_bound_is_cut_for_nobody,
);

fn concurrent_misses_of_one_key_are_one_request(backend: Backend) {
    for count in [1, 2] {
        let gate = Gate::new();
        let origin = gated(&gate, FRESH);
        let gateway = shards(backend, count, &origin);
        let answers = all_ask(&gateway, || {
            asked(&origin, 1);
            gate.open();
        });
        for answer in answers {
            assert_eq!(answer.map(|answer| answer.body), Ok(b"answer 0".to_vec()));
        }
        assert_eq!(origin.count(), 1, "with {count} shards");
    }
}

fn what_turns_out_uncacheable_is_shared_by_nobody(backend: Backend) {
    for count in [1, 2] {
        let gate = Gate::new();
        let origin = gated(&gate, "Cache-Control: private\r\n");
        let gateway = shards(backend, count, &origin);
        let answers = all_ask(&gateway, || {
            asked(&origin, 1);
            gate.open();
        });
        let bodies: HashSet<_> = answers
            .into_iter()
            .filter_map(|answer| Some(answer.ok()?.body))
            .collect();
        assert_eq!(
            bodies.len(),
            CLIENTS,
            "with {count} shards somebody got another's answer"
        );
    }
}

fn the_first_one_s_leaving_is_not_the_others_loss(backend: Backend) {
    let gate = Gate::new();
    let origin = gated(&gate, FRESH);
    let gateway = Gateway::before(&origin, backend);
    let mut first = gateway.client();
    first.send(get("/same"));
    asked(&origin, 1);
    let answers = all_ask(&gateway, || {
        drop(first);
        gate.open();
    });
    for answer in answers {
        assert!(
            answer.is_ok_and(|answer| answer.status == 200 && answer.body.starts_with(b"answer"))
        );
    }
    assert!(origin.count() <= 2);
}

fn a_fill_that_breaks_off_gives_nobody_a_whole_answer(backend: Backend) {
    for count in [1, 2] {
        let gate = Gate::new();
        let at_origin = gate.clone();
        let origin = Origin::start(move |request, wire| {
            at_origin.pass();
            if request.number == 0 {
                wire.send(
                    "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nCache-Control: max-age=60\r\n\r\nhalf",
                );
                return Next::Close;
            }
            wire.send(ok(FRESH, "whole now"));
            Next::Keep
        });
        let gateway = shards(backend, count, &origin);
        let answers = all_ask(&gateway, || {
            asked(&origin, 1);
            gate.open();
        });
        for answer in answers {
            match answer {
                Ok(answer) if answer.status == 200 => assert_eq!(answer.body, b"whole now"),
                Ok(answer) => assert!(answer.status >= 500, "{answer:?}"),
                Err(broken) => assert_ne!(broken, Broken::Late),
            }
        }
        assert_eq!(gateway.ask(get("/same")).body, b"whole now");
    }
}

fn an_origin_that_answers_nobody_keeps_nobody_waiting(backend: Backend) {
    let gate = Gate::new();
    let at_origin = gate.clone();
    let origin = Origin::start(move |_, wire| {
        at_origin.pass();
        wire.reset();
        Next::Close
    });
    let gateway = Gateway::before(&origin, backend);
    let answers = all_ask(&gateway, || {
        asked(&origin, 1);
        gate.open();
    });
    for answer in answers {
        assert!(answer.is_ok_and(|answer| (502..=504).contains(&answer.status)));
    }
}

fn a_race_between_shards_ends_with_one_object(backend: Backend) {
    let origin = Origin::start(|request, wire| {
        wire.send(ok(FRESH, request.target.as_bytes()));
        Next::Keep
    });
    let gateway = Arc::new(shards(backend, 2, &origin));
    let (barrier, wrong) = (Arc::new(Barrier::new(8)), Arc::new(Mutex::new(Vec::new())));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (gateway, barrier, wrong) = (
                Arc::clone(&gateway),
                Arc::clone(&barrier),
                Arc::clone(&wrong),
            );
            let work = move || {
                let mut client = gateway.client();
                for number in 0..50 {
                    barrier.wait();
                    let target = format!("/{number}");
                    if client.ask(get(&target)).body != target.as_bytes() {
                        wrong.lock().expect("no thread has panicked").push(target);
                    }
                }
            };
            thread::Builder::new()
                .spawn(work)
                .expect("a thread is left")
        })
        .collect();
    assert!(threads.into_iter().all(|thread| thread.join().is_ok()));
    assert_eq!(
        wrong.lock().expect("no thread has panicked").as_slice(),
        &[] as &[String]
    );
    assert_eq!(origin.count(), 50);
}

/// Hit-for-miss: each of the second wave is with the origin before any is answered.
fn what_is_known_to_be_uncacheable_is_not_waited_for(backend: Backend) {
    for count in [1, 2] {
        let gate = Gate::new();
        let at_origin = gate.clone();
        let origin = Origin::start(move |request, wire| {
            if request.number > 0 {
                at_origin.pass();
            }
            wire.send(ok("Cache-Control: private\r\n", request.number.to_string()));
            Next::Keep
        });
        let gateway = shards(backend, count, &origin);
        gateway.ask(get("/same"));
        let answers = all_ask(&gateway, || {
            eventually("all are with the origin", || origin.count() == 1 + CLIENTS);
            gate.open();
        });
        let bodies: HashSet<_> = answers
            .into_iter()
            .filter_map(|answer| Some(answer.ok()?.body))
            .collect();
        assert_eq!(bodies.len(), CLIENTS, "with {count} shards");
    }
}

fn what_becomes_cacheable_again_is_shared_again(backend: Backend) {
    let gate = Gate::new();
    let at_origin = gate.clone();
    let origin = Origin::start(move |request, wire| {
        let fields = match request.number {
            0 => "Cache-Control: no-store\r\n",
            1 => "Cache-Control: max-age=1\r\n",
            _ => FRESH,
        };
        if request.number == 2 {
            at_origin.pass();
        }
        wire.send(ok(fields, "body"));
        Next::Keep
    });
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    client.ask(get("/same"));
    client.ask(get("/same"));
    let only = get_with("/same", "Cache-Control: only-if-cached\r\n");
    eventually("it is stale", || client.ask(&only).status == 504);
    let answers = all_ask(&gateway, || {
        asked(&origin, 3);
        gate.open();
    });
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(origin.count(), 3);
}

/// The stored answer that the leader asks about is not the one the origin speaks of: all wait for the next leader.
fn a_leader_that_brings_nothing_is_replaced(backend: Backend) {
    for count in [1, 2] {
        let gate = Gate::new();
        let at_origin = gate.clone();
        let origin = Origin::start(move |request, wire| {
            match request.number {
                0 => wire.send(ok("Cache-Control: max-age=1\r\nETag: \"v1\"\r\n", "old")),
                1 => {
                    at_origin.pass();
                    wire.send(answer(304, "ETag: \"v2\"\r\n", ""))
                }
                _ => wire.send(ok(FRESH, "new")),
            };
            Next::Keep
        });
        let gateway = shards(backend, count, &origin);
        gateway.ask(get("/same"));
        let only = get_with("/same", "Cache-Control: only-if-cached\r\n");
        eventually("it is stale", || gateway.ask(&only).status == 504);
        let answers = all_ask(&gateway, || {
            asked(&origin, 2);
            gate.open();
        });
        for answer in answers {
            let answer = answer.expect("a whole answer");
            assert_eq!((answer.status, answer.text().as_str()), (200, "new"));
        }
        assert_eq!(origin.count(), 3, "with {count} shards");
    }
}

/// And what it brings is for nobody: those who waited ask for themselves.
fn a_leader_who_left_keeps_nobody_waiting(backend: Backend) {
    let gate = Gate::new();
    let origin = gated(&gate, "Cache-Control: private\r\n");
    let gateway = Gateway::before(&origin, backend);
    let mut first = gateway.client();
    first.send(get("/same"));
    asked(&origin, 1);
    let answers = all_ask(&gateway, || {
        drop(first);
        gate.open();
    });
    let bodies: HashSet<_> = answers
        .into_iter()
        .filter_map(|answer| Some(answer.ok()?.body))
        .collect();
    assert_eq!(bodies.len(), CLIENTS);
    assert!(!bodies.contains(&b"answer 0"[..]));
}

fn what_a_leader_who_left_asked_for_is_stored(backend: Backend) {
    let gate = Gate::new();
    let origin = gated(&gate, FRESH);
    let gateway = Gateway::before(&origin, backend);
    let mut first = gateway.client();
    first.send(get("/same"));
    asked(&origin, 1);
    drop(first);
    gate.open();
    assert_eq!(gateway.ask(get("/same")).text(), "answer 0");
    assert_eq!(origin.count(), 1);
}

fn who_waits_is_fed_as_the_body_comes(backend: Backend) {
    for count in [1, 2] {
        let gates = [Gate::new(), Gate::new()];
        let at_origin = gates.clone();
        let origin = Origin::start(move |_, wire| {
            wire.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n{FRESH}\r\none,"
            ));
            at_origin[0].pass();
            wire.send("two,");
            at_origin[1].pass();
            wire.send("and.");
            Next::Keep
        });
        let gateway = shards(backend, count, &origin);
        let mut clients: Vec<Client> = (0..CLIENTS).map(|_| gateway.client()).collect();
        for client in &mut clients {
            client.send(get("/same"));
        }
        let mut all_get = |piece: &[u8], is_first: bool| {
            for client in &mut clients {
                if is_first {
                    client.head().expect("a head before the body is whole");
                }
                assert_eq!(client.bytes(4).as_deref(), Ok(piece));
            }
        };
        all_get(b"one,", true);
        gates[0].open();
        all_get(b"two,", false);
        gates[1].open();
        all_get(b"and.", false);
        assert_eq!(origin.count(), 1, "with {count} shards");
    }
}

fn the_wait_is_bounded(backend: Backend) {
    let gate = Gate::new();
    let at_origin = gate.clone();
    let origin = Origin::start(move |_, _| {
        at_origin.pass();
        Next::Close
    });
    let gateway = Setup::new(backend)
        .everything_to(origin.address(), "first_byte_timeout = \"200ms\"")
        .start();
    for answer in all_ask(&gateway, || ()) {
        assert_eq!(answer.map(|answer| answer.status), Ok(504));
    }
    gate.open();
}

fn what_is_known_to_be_too_large_is_not_waited_for(backend: Backend) {
    let gate = Gate::new();
    let at_origin = gate.clone();
    let origin = Origin::start(move |request, wire| {
        if request.number > 0 {
            at_origin.pass();
        }
        wire.send(ok(FRESH, [0; 2_000]));
        Next::Keep
    });
    let gateway = Setup::new(backend)
        .set("cache", "max_object", "\"1KiB\"")
        .everything_to(origin.address(), "")
        .start();
    gateway.ask(get("/same"));
    let answers = all_ask(&gateway, || {
        eventually("all are with the origin", || origin.count() == 1 + CLIENTS);
        gate.open();
    });
    assert!(answers.iter().all(Result::is_ok));
}

/// Its length is not announced: the first time, who waits learns of it too late.
fn what_is_known_to_outgrow_its_bound_is_cut_for_nobody(backend: Backend) {
    let origin = Origin::start(|_, wire| {
        let head = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{FRESH}\r\n");
        wire.send(head.into_bytes());
        wire.send(chunked(&[&[b'a'; 40_000], &[b'b'; 40_000]]));
        Next::Keep
    });
    let gateway = Setup::new(backend)
        .set("cache", "max_object", "\"64KiB\"")
        .everything_to(origin.address(), "")
        .start();
    gateway.ask(get("/same"));
    for _ in 0..3 {
        for answer in all_ask(&gateway, || ()) {
            assert_eq!(answer.map(|answer| answer.body.len()), Ok(80_000));
        }
    }
}
