//! Many clients that want the same thing at once.

use std::collections::HashSet;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use e2e::{
    Backend, Broken, Client, Gate, Gateway, Next, Origin, Response, Setup, both_drivers,
    eventually, get, ok,
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

both_drivers!(
    concurrent_misses_of_one_key_are_one_request,
    what_turns_out_uncacheable_is_shared_by_nobody,
    the_first_one_s_leaving_is_not_the_others_loss,
    a_fill_that_breaks_off_gives_nobody_a_whole_answer,
    an_origin_that_answers_nobody_keeps_nobody_waiting,
    a_race_between_shards_ends_with_one_object,
);

fn concurrent_misses_of_one_key_are_one_request(backend: Backend) {
    for count in [1, 2] {
        let gate = Gate::new();
        let origin = gated(&gate, FRESH);
        let gateway = shards(backend, count, &origin);
        let answers = all_ask(&gateway, || {
            eventually("the origin is asked", || origin.count() > 0);
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
            eventually("the origin is asked", || origin.count() > 0);
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
    eventually("the origin is asked", || origin.count() > 0);
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
            eventually("the origin is asked", || origin.count() > 0);
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
        eventually("the origin is asked", || origin.count() > 0);
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
