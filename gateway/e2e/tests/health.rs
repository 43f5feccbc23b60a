//! `/health`: what is wrong and nothing else, whatever goes on.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use e2e::{
    Backend, Client, Gate, Gateway, Next, Origin, Setup, Watch, both_drivers, eventually, get,
    installed, ok,
};
use serde_json::Value;

both_drivers!(
    every_component_says_since_when_and_by_what_measure,
    jq_lists_what_is_wrong_and_nothing_else,
    an_origin_that_takes_connections_and_answers_nonsense_is_told,
    a_full_port_of_operators_is_told_on_the_next_look,
    everybody_is_answered_with_every_shard_at_work_and_an_origin_that_hangs,
);

fn ask(address: SocketAddr, target: &str) -> String {
    Client::connect(address).ask(get(target)).text()
}

fn components(gateway: &Gateway) -> Vec<Value> {
    let health = ask(gateway.operator, "/health");
    let mut health: Value = serde_json::from_str(&health).expect("JSON");
    match health["components"].take() {
        Value::Array(components) => components,
        other => panic!("components: {other}"),
    }
}

/// An address where nobody listens.
fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    listener.local_addr().expect("an address")
}

fn every_component_says_since_when_and_by_what_measure(backend: Backend) {
    let origin = Origin::answering(ok("", "x"));
    let gateway = Setup::new(backend)
        .set("api_gateway", "worker_threads", "2")
        .everything_to(origin.address(), "")
        .start();
    let found = components(&gateway);
    let names: Vec<_> = found
        .iter()
        .map(|component| component["name"].as_str().unwrap_or_default())
        .collect();
    let expected = [
        "shard:0",
        "shard:1",
        "io_backend",
        "cache",
        "memory",
        "hugepages",
        "upstream:origin",
        "listener:data",
        "listener:operator",
        "listener:metrics",
        "cpu",
        "config",
        "telemetry",
    ];
    assert_eq!(names, expected);
    eventually("the origin was looked at", || {
        components(&gateway)[6]["observed"] == 1.0
    });
    // What has no number: the driver's name, a file, a quota that is not there.
    let without = ["io_backend", "cpu", "config"];
    for component in components(&gateway) {
        let name = component["name"].as_str().unwrap_or_default();
        let since = component["since"].as_str().unwrap_or_default();
        assert!(since.ends_with('Z') && since.len() == 20, "{component}");
        let is_measured = component["observed"].is_number() && component["limit"].is_number();
        assert!(is_measured || without.contains(&name), "{component}");
    }
}

/// What the runbook's command lists of the components, each on a line; without what this host may do to any process.
fn listed(gateway: &Gateway) -> Option<Vec<Value>> {
    let jq = installed("jq")?;
    let mut child = Command::new(jq)
        .args(["-c", ".components[] | select(.status != \"healthy\")"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("jq runs");
    let health = ask(gateway.operator, "/health");
    let mut input = child.stdin.take().expect("piped");
    input.write_all(health.as_bytes()).expect("jq reads");
    drop(input);
    let output = child.wait_with_output().expect("jq ends");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    let lines = text.lines();
    let found = lines.map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let of_the_host =
        |component: &Value| component["name"] == "cpu" || component["name"] == "memory";
    Some(found.filter(|component| !of_the_host(component)).collect())
}

fn jq_lists_what_is_wrong_and_nothing_else(backend: Backend) {
    let origin = Origin::answering(ok("", "x"));
    let gateway = Setup::new(backend)
        .upstream("well", &[origin.address()], "")
        .upstream("half", &[origin.address(), nobody()], "")
        .upstream("gone", &[nobody()], "")
        .route("all", "", "/", "well")
        .start();
    let mut found = Vec::new();
    let mut has_jq = true;
    eventually("both are listed", || {
        let now = listed(&gateway);
        has_jq = now.is_some();
        found = now.unwrap_or_default();
        found.len() == 2 || !has_jq
    });
    if !has_jq {
        return;
    }
    let told = |at: usize| {
        let component: &Value = &found[at];
        let word = |key: &str| component[key].as_str().unwrap_or_default().to_owned();
        (
            word("name"),
            word("status"),
            component["observed"].as_f64(),
            component["limit"].as_f64(),
        )
    };
    let half = ("upstream:half".into(), "degraded".into());
    let gone = ("upstream:gone".into(), "unhealthy".into());
    assert_eq!(told(0), (half.0, half.1, Some(1.0), Some(2.0)));
    assert_eq!(told(1), (gone.0, gone.1, Some(0.0), Some(1.0)));
}

fn an_origin_that_takes_connections_and_answers_nonsense_is_told(backend: Backend) {
    let origin = Origin::start(|_, wire| {
        wire.send("What?\r\n\r\n");
        Next::Close
    });
    let gateway = Gateway::before(&origin, backend);
    let mut watch = Watch::of(&gateway);
    assert!(watch.component("upstream:origin").contains("\"healthy\""));
    for _ in 0..3 {
        assert_eq!(gateway.ask(get("/a")).status, 502);
    }
    eventually("/health tells", || {
        let upstream = watch.component("upstream:origin");
        ["\"degraded\"", "requests of the last minute failed"]
            .iter()
            .all(|part| upstream.contains(part))
    });
}

fn a_full_port_of_operators_is_told_on_the_next_look(backend: Backend) {
    let gateway = Setup::new(backend).start();
    let mut watch = Watch::of(&gateway);
    let crowd: Vec<Client> = (0..256).map(|_| Client::connect(gateway.metrics)).collect();
    eventually("/health tells", || {
        let listener = watch.component("listener:metrics");
        listener.contains("\"degraded\"") && listener.contains("\"observed\":256")
    });
    drop(crowd);
    eventually("there is room again", || {
        watch.component("listener:metrics").contains("\"healthy\"")
    });
}

/// Clients that ask for one stored answer over and over, each connection for the next as soon as it has the last.
struct Load {
    ends: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    const THREADS: usize = 4;
    const CONNECTIONS: usize = 8;

    fn on(gateway: &Gateway) -> Load {
        let ends = Arc::new(AtomicBool::new(false));
        let threads = (0..Self::THREADS).map(|_| {
            let ends = Arc::clone(&ends);
            let mut clients: Vec<_> = (0..Self::CONNECTIONS).map(|_| gateway.client()).collect();
            let work = move || {
                while !ends.load(Ordering::Relaxed) {
                    for client in &mut clients {
                        client.send(get("/stored"));
                    }
                    for client in &mut clients {
                        client.response();
                    }
                }
            };
            let thread = thread::Builder::new().name("load".to_owned());
            thread.spawn(work).expect("a thread is left")
        });
        let threads = threads.collect();
        Load { ends, threads }
    }

    fn end(self) {
        self.ends.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("everybody was answered");
        }
    }
}

fn everybody_is_answered_with_every_shard_at_work_and_an_origin_that_hangs(backend: Backend) {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::start(move |request, wire| {
        if request.target.starts_with("/hang") {
            held.pass();
        }
        wire.send(ok("Cache-Control: max-age=600\r\n", "x"));
        Next::Keep
    });
    let gateway = Setup::new(backend)
        .set("api_gateway", "worker_threads", "2")
        .everything_to(origin.address(), "")
        .start();
    gateway.ask(get("/stored"));
    let waiting: Vec<_> = (0..100)
        .map(|number| {
            let mut client = gateway.client();
            client.send(get(&format!("/hang/{number}")));
            client
        })
        .collect();
    eventually("the origin has them all", || origin.count() == 101);

    let load = Load::on(&gateway);
    let mut watch = Watch::of(&gateway);
    let done = |watch: &mut Watch| {
        ["shard=\"0\"", "shard=\"1\""].map(|shard| watch.sample("shard_requests_total", &[shard]))
    };
    let before = done(&mut watch);
    let ports = [
        (
            gateway.operator,
            &["/health", "/livez", "/readyz", "/startupz"][..],
        ),
        (gateway.data, &["/health", "/api/v1/status"]),
        (gateway.metrics, &["/metrics"]),
    ];
    eventually("every shard has done some more", || {
        for (address, targets) in ports {
            let mut client = Client::connect(address);
            for target in targets {
                assert_eq!(client.ask(get(target)).status, 200, "{target}");
            }
        }
        let now = done(&mut watch);
        before
            .iter()
            .zip(now)
            .all(|(before, now)| now >= before + 1_000.0)
    });
    assert_eq!(origin.count(), 101, "the origin was asked for more");
    let hanging = watch.sample("connection_pool_active", &[]);
    assert_eq!(hanging.to_string(), "100");
    load.end();
    gate.open();
    for mut client in waiting {
        assert_eq!(client.response().status, 200);
    }
}
