//! Starting, refusing to start, and ending.

use std::net::TcpListener;

use e2e::{
    Backend, Client, Ended, Gate, Gateway, Next, Origin, Setup, Signal, becomes, both_drivers,
    eventually, get, ok,
};

/// Holds every request until the gate opens.
fn held(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::start(move |_, wire| {
        gate.pass();
        wire.send(ok("", "finished"));
        Next::Keep
    })
}

both_drivers!(
    a_wrong_configuration_is_78_and_names_the_key,
    a_misspelt_key_is_told_with_its_place_and_its_neighbour,
    a_taken_port_is_1_and_names_it,
    a_second_instance_does_not_steal_the_first_one_s_connections,
    the_environment_overrides_the_file,
    term_ends_an_idle_gateway_with_0,
    term_finishes_what_is_under_way,
    a_second_term_and_an_int_do_not_wait,
    a_restart_takes_the_same_port_at_once,
    shards_are_threads,
);

fn a_wrong_configuration_is_78_and_names_the_key(backend: Backend) {
    let valid = Setup::new(backend).everything_to(([127, 0, 0, 1], 9).into(), "");
    for (setup, named) in [
        (
            valid.clone().set("api_gateway", "worker_thread", "1"),
            "worker_thread",
        ),
        (
            valid
                .clone()
                .set("api_gateway", "worker_threads", "\"many\""),
            "worker_threads",
        ),
        (
            valid.clone().set("api_gateway", "worker_threads", "0"),
            "worker_threads",
        ),
        (
            valid
                .clone()
                .set("api_gateway", "cpu_affinity", "[0, 1, 0]"),
            "cpu_affinity",
        ),
        (
            valid
                .clone()
                .set("api_gateway", "memory_pool_size", "\"1 furlong\""),
            "memory_pool_size",
        ),
        (
            valid.clone().set("io", "backend", "\"carrier-pigeon\""),
            "backend",
        ),
        (valid.clone().set("listen", "data", "\"nowhere\""), "data"),
        (
            valid.clone().set("limits", "header_timeout", "\"soon\""),
            "header_timeout",
        ),
        (
            valid.clone().route("lost", "", "/lost", "atlantis"),
            "atlantis",
        ),
        (valid.clone().upstream("empty", &[], ""), "empty"),
    ] {
        let ended = setup.fail();
        assert_eq!(ended.code, Some(78), "{named}: {ended:?}");
        assert!(
            ended.output.contains(named),
            "{named} is not named: {}",
            ended.output
        );
    }
}

fn a_misspelt_key_is_told_with_its_place_and_its_neighbour(backend: Backend) {
    let setup = Setup::new(backend).set("api_gateway", "worker_treads", "1");
    let line = setup
        .text()
        .lines()
        .take_while(|line| !line.starts_with("worker_treads"))
        .count()
        + 1;
    let ended = setup.fail();
    for part in [
        &format!("gateway.toml:{line}:1"),
        "worker_treads",
        "worker_threads",
    ] {
        assert!(
            ended.output.contains(part),
            "{part} is not in {}",
            ended.output
        );
    }
}

fn a_taken_port_is_1_and_names_it(backend: Backend) {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = holder.local_addr().expect("a bound socket has an address");
    for key in ["data", "operator", "metrics"] {
        let ended = Setup::new(backend)
            .set("listen", key, format!("\"{address}\""))
            .fail();
        assert_eq!(ended.code, Some(1), "{key}: {ended:?}");
        assert!(
            ended.output.contains(&address.port().to_string()),
            "{key}: {}",
            ended.output
        );
    }
}

fn a_second_instance_does_not_steal_the_first_one_s_connections(backend: Backend) {
    let origin = Origin::answering(ok("", "x"));
    let gateway = Gateway::before(&origin, backend);
    let ended = Setup::new(backend)
        .set("listen", "data", format!("\"{}\"", gateway.data))
        .fail();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    for _ in 0..20 {
        assert_eq!(gateway.ask(get("/a")).status, 200);
    }
}

fn the_environment_overrides_the_file(backend: Backend) {
    let ended = Setup::new(backend)
        .environment("ULTRAGATE_API_GATEWAY__WORKER_THREADS", "none")
        .fail();
    assert_eq!(ended.code, Some(78), "{ended:?}");
    assert!(
        ended.output.to_ascii_lowercase().contains("worker_threads"),
        "{}",
        ended.output
    );
}

fn term_ends_an_idle_gateway_with_0(backend: Backend) {
    let origin = Origin::answering(ok("", "x"));
    let mut gateway = Setup::new(backend)
        .everything_to(origin.address(), "")
        .set("drain", "idle", "\"0s\"")
        .start();
    let mut idle = gateway.client();
    idle.ask(get("/a"));
    gateway.signal(Signal::TERM);
    idle.expect_end();
    drop(idle);
    assert_eq!(gateway.end(), Some(0));
}

fn term_finishes_what_is_under_way(backend: Backend) {
    let gate = Gate::new();
    let origin = held(&gate);
    let mut gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    client.send(get("/a"));
    eventually("the origin is asked", || origin.count() == 1);
    gateway.signal(Signal::TERM);
    eventually("it is not ready any more", || !gateway.is_ready());
    assert!(gateway.runs());
    gate.open();
    let response = client.response();
    assert_eq!(
        (response.status, response.body.as_slice()),
        (200, &b"finished"[..])
    );
    assert_eq!(gateway.end(), Some(0));
}

fn a_second_term_and_an_int_do_not_wait(backend: Backend) {
    for signals in [&[Signal::TERM, Signal::TERM][..], &[Signal::INT]] {
        let origin = held(&Gate::new());
        let mut gateway = Gateway::before(&origin, backend);
        let mut client = gateway.client();
        client.send(get("/a"));
        eventually("the origin is asked", || origin.count() == 1);
        for &signal in signals {
            gateway.signal(signal);
            // The kernel merges a signal that is still pending with the next of its kind.
            becomes(std::time::Duration::from_millis(200), || !gateway.runs());
        }
        let long_before_the_gate = std::time::Duration::from_secs(10);
        assert!(
            becomes(long_before_the_gate, || !gateway.runs()),
            "{signals:?} was waited for"
        );
    }
}

fn a_restart_takes_the_same_port_at_once(backend: Backend) {
    let origin = Origin::answering(ok("", "x"));
    let mut gateway = Gateway::before(&origin, backend);
    for _ in 0..3 {
        let data = gateway.data;
        let mut clients: Vec<Client> = (0..20).map(|_| gateway.client()).collect();
        for client in &mut clients {
            client.ask(get("/a"));
        }
        drop(gateway);
        drop(clients);
        let setup = Setup::new(backend).set("listen", "data", format!("\"{data}\""));
        gateway = setup.everything_to(origin.address(), "").start();
        assert_eq!(gateway.ask(get("/a")).status, 200);
    }
}

fn shards_are_threads(backend: Backend) {
    let one = Setup::new(backend).start().threads();
    let three = Setup::new(backend)
        .set("api_gateway", "worker_threads", "3")
        .start()
        .threads();
    assert_eq!(three, one + 2);
}

#[test]
fn checking_a_configuration_starts_nothing() {
    let directory =
        std::env::temp_dir().join(format!("ultragate-e2e-check-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("there is room for a directory");
    let file = directory.join("gateway.toml");
    let path = file.display().to_string();
    for (text, code) in [
        ("[api_gateway]\nworker_threads = 1\n", 0),
        ("[api_gateway]\nworker_threads = true\n", 78),
    ] {
        std::fs::write(&file, text).expect("the directory takes a file");
        let ended = Ended::with_arguments(&["-t", "-c", &path]);
        assert_eq!(ended.code, Some(code), "{ended:?}");
    }
    assert_eq!(
        Ended::with_arguments(&["-t", "-c", "/nowhere/gateway.toml"]).code,
        Some(78)
    );
    std::fs::remove_dir_all(&directory).expect("the directory goes");
}

#[test]
fn wrong_usage_is_2_and_the_version_is_told() {
    assert_eq!(Ended::with_arguments(&["--no-such-flag"]).code, Some(2));
    let version = Ended::with_arguments(&["-V"]);
    assert_eq!(version.code, Some(0), "{version:?}");
    assert!(
        version.output.contains("ultragate") && version.output.contains("rustc"),
        "{}",
        version.output
    );
}
