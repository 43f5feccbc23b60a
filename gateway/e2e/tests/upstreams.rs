//! What is told of origins: since when requests wait for a connection to them.

use e2e::{Backend, Gate, Next, Origin, Setup, Watch, both_drivers, eventually, get, ok};

both_drivers!(the_longest_wait_for_an_origin_grows_until_its_turn_comes);

fn the_longest_wait_for_an_origin_grows_until_its_turn_comes(backend: Backend) {
    let gate = Gate::new();
    let at_origin = gate.clone();
    let origin = Origin::start(move |_, wire| {
        at_origin.pass();
        wire.send(ok("", "x"));
        Next::Keep
    });
    let bound = "max_connections = 1\nacquire_timeout = \"60s\"";
    let gateway = Setup::new(backend)
        .everything_to(origin.address(), bound)
        .start();
    let mut watch = Watch::of(&gateway);
    let mut age = || watch.sample("queue_oldest_age_seconds", &["queue=\"upstream\""]);
    assert_eq!(age().to_string(), "0");
    let clients = ["/a", "/b"].map(|target| {
        let mut client = gateway.client();
        client.send(get(target));
        client
    });
    eventually("one of them waits", || age() > 0.0);
    let before = age();
    eventually("it waits on", || age() > before);
    gate.open();
    for mut client in clients {
        assert_eq!(client.response().status, 200);
    }
    eventually("nobody waits", || age() == 0.0);
}
