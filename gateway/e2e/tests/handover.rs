//! An instance leaves, alone or beside others on its port, and nobody who has a connection loses an answer.

use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use e2e::{
    Backend, Client, Gateway, Next, Origin, Response, Setup, Signal, both_drivers, eventually, get,
    get_with, ok,
};

both_drivers!(
    with_a_successor_on_its_port_nobody_notices_that_it_leaves,
    the_newer_of_two_leaves_unnoticed_as_well,
    who_cannot_be_steered_past_it_is_served_all_the_same,
    who_waits_to_be_accepted_is_answered_before_it_leaves_alone,
    an_idle_connection_gets_an_answer_as_long_as_it_may_ask,
    while_one_answer_is_on_its_way_the_next_is_not_cut_off,
);

/// Clients of each kind.
const CLIENTS: usize = 4;
/// Answers that show that the load flows.
const FLOW: usize = 200;

fn origin() -> Origin {
    Origin::start(|request, wire| {
        wire.body(request);
        wire.send(ok(
            "Cache-Control: max-age=60\r\n",
            body_of(&request.target),
        ));
        Next::Keep
    })
}

fn body_of(target: &str) -> Vec<u8> {
    target.repeat(50).into_bytes()
}

fn first(origin: &Origin, backend: Backend) -> Setup {
    Setup::new(backend)
        .set("api_gateway", "worker_threads", "2")
        .everything_to(origin.address(), "")
}

/// Another instance on the port of one that runs.
fn beside(gateway: &Gateway, origin: &Origin, backend: Backend) -> Gateway {
    first(origin, backend)
        .set("listen", "data", format!("\"{}\"", gateway.data))
        .set("listen", "share_port", "true")
        .start()
}

/// Clients that ask without a pause, some on connections that stay, some on a new one each time.
struct Load {
    over: AtomicBool,
    answers: AtomicUsize,
    faults: Mutex<Vec<String>>,
}

impl Load {
    /// Runs until `meanwhile` has; claims that every request got its own answer, whole.
    fn during(at: std::net::SocketAddr, meanwhile: impl FnOnce(&Load)) {
        let load = Load {
            over: AtomicBool::new(false),
            answers: AtomicUsize::new(0),
            faults: Mutex::default(),
        };
        thread::scope(|scope| {
            for number in 0..2 * CLIENTS {
                let load = &load;
                scope.spawn(move || load.ask_on(at, number, number % 2 == 0));
            }
            let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                load.flows();
                meanwhile(&load);
                load.flows();
            }));
            load.over.store(true, Ordering::SeqCst);
            if let Err(panic) = failed {
                std::panic::resume_unwind(panic);
            }
        });
        let faults = load.faults.into_inner().expect("nobody panicked");
        assert!(faults.is_empty(), "{faults:#?}");
    }

    /// Waits until answers have come since.
    fn flows(&self) {
        let goal = self.answers.load(Ordering::SeqCst) + FLOW;
        eventually("the load flows", || {
            self.answers.load(Ordering::SeqCst) >= goal
                || !self.faults.lock().expect("nobody panicked").is_empty()
        });
    }

    fn ask_on(&self, at: std::net::SocketAddr, number: usize, stays: bool) {
        let mut client: Option<Client> = None;
        for count in 0.. {
            if self.over.load(Ordering::SeqCst) {
                return;
            }
            let target = format!("/{number}/{}", count % 40);
            let request = match stays {
                true => get(&target),
                false => get_with(&target, "Connection: close\r\n"),
            };
            let connected = client.get_or_insert_with(|| Client::connect(at));
            match connected.ask_quietly(request) {
                Ok(answer) if answer.status == 200 && answer.body == body_of(&target) => {
                    self.answers.fetch_add(1, Ordering::SeqCst);
                    if is_last(&answer) {
                        client = None;
                    }
                }
                other => {
                    let fault = match other {
                        Ok(answer) => format!("{target}: {} instead of its body", answer.status),
                        Err(broken) => format!("{target}: {broken:?}"),
                    };
                    self.faults.lock().expect("nobody panicked").push(fault);
                    return;
                }
            }
        }
    }
}

fn is_last(answer: &Response) -> bool {
    answer
        .field("connection")
        .is_some_and(|value| value.eq_ignore_ascii_case("close"))
}

fn with_a_successor_on_its_port_nobody_notices_that_it_leaves(backend: Backend) {
    let origin = origin();
    let mut old = first(&origin, backend).start();
    let mut waiting = [(); CLIENTS].map(|()| old.client());
    for client in &mut waiting {
        assert!(!is_last(&client.ask(get("/idle"))));
    }
    let mut new = beside(&old, &origin, backend);
    Load::during(old.data, |load| {
        old.signal(Signal::TERM);
        eventually("it steers past itself", || {
            old.output().contains("event=\"drain_steers\"")
        });
        load.flows();
        for client in &mut waiting {
            assert!(is_last(&client.ask(get("/idle"))));
            client.expect_end();
        }
        assert_eq!(old.end(), Some(0));
    });
    assert!(old.output().contains("event=\"drained\""));
    assert!(new.runs());
}

fn the_newer_of_two_leaves_unnoticed_as_well(backend: Backend) {
    let origin = origin();
    let mut old = first(&origin, backend).start();
    let mut new = beside(&old, &origin, backend);
    Load::during(old.data, |_| {
        new.signal(Signal::TERM);
        assert_eq!(new.end(), Some(0));
        assert!(new.output().contains("event=\"drain_steers\""));
    });
    assert!(old.runs());
    // Nothing that it said about the group does harm to those who come after it.
    let mut next = beside(&old, &origin, backend);
    Load::during(old.data, |_| {
        old.signal(Signal::TERM);
        assert_eq!(old.end(), Some(0));
        assert!(old.output().contains("event=\"drain_steers\""));
    });
    assert!(next.runs());
}

fn who_cannot_be_steered_past_it_is_served_all_the_same(backend: Backend) {
    let origin = origin();
    let mut old = first(&origin, backend).start();
    let mut middle = beside(&old, &origin, backend);
    let mut new = beside(&old, &origin, backend);
    Load::during(old.data, |_| {
        middle.signal(Signal::TERM);
        assert_eq!(middle.end(), Some(0));
        assert!(middle.output().contains("event=\"drain_unsteered\""));
    });
    assert!(old.runs() && new.runs());
}

fn who_waits_to_be_accepted_is_answered_before_it_leaves_alone(backend: Backend) {
    let origin = origin();
    let mut gateway = first(&origin, backend)
        .set("api_gateway", "worker_threads", "1")
        .start();
    gateway.ask(get("/a"));
    let (asking, silent) = gateway.stall(0, || {
        let mut asking = [(); 64].map(|()| gateway.client());
        let silent = [(); 16].map(|()| gateway.client());
        for client in &mut asking {
            assert!(client.send(get("/a")));
        }
        gateway.signal(Signal::TERM);
        eventually("it turns new ones away", || {
            gateway.output().contains("event=\"drain_holds_off\"")
        });
        (asking, silent)
    });
    for mut client in silent {
        assert!(is_last(&client.ask(get("/a"))));
    }
    for mut client in asking {
        let answer = client.response();
        assert_eq!((answer.status, is_last(&answer)), (200, true));
        client.expect_end();
    }
    assert_eq!(gateway.end(), Some(0));
    assert!(gateway.output().contains("event=\"drained\""));
    assert!(TcpStream::connect(gateway.data).is_err());
}

fn an_idle_connection_gets_an_answer_as_long_as_it_may_ask(backend: Backend) {
    let origin = origin();
    let mut gateway = first(&origin, backend)
        .set("drain", "idle", "\"2s\"")
        .start();
    let [mut asks, mut does_not] = [(); 2].map(|()| gateway.client());
    asks.ask(get("/a"));
    does_not.ask(get("/a"));
    gateway.signal(Signal::TERM);
    eventually("its listeners are closed", || {
        gateway.output().contains("event=\"listeners_closed\"")
    });
    let answer = asks.ask(get("/a"));
    assert_eq!((answer.status, is_last(&answer)), (200, true));
    asks.expect_end();
    does_not.expect_end();
    drop(does_not);
    assert_eq!(gateway.end(), Some(0));
}

/// The head has said that the connection stays, and so it does until it has said otherwise.
fn while_one_answer_is_on_its_way_the_next_is_not_cut_off(backend: Backend) {
    let gate = e2e::Gate::new();
    let held = gate.clone();
    let origin = Origin::start(move |request, wire| {
        wire.body(request);
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\nCache-Control: no-store\r\n\r\nhalf");
        held.pass();
        wire.send("half");
        Next::Keep
    });
    let mut gateway = first(&origin, backend).start();
    let mut client = gateway.client();
    client.send(get("/a"));
    let head = client.head().expect("a head");
    assert!(!is_last(&head));
    gateway.signal(Signal::TERM);
    eventually("its listeners are closed", || {
        gateway.output().contains("event=\"listeners_closed\"")
    });
    gate.open();
    assert_eq!(client.bytes(8).as_deref(), Ok(&b"halfhalf"[..]));
    let answer = client.ask(get("/b"));
    assert_eq!((answer.status, is_last(&answer)), (200, true));
    assert_eq!(gateway.end(), Some(0));
}
