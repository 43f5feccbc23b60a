//! What failing origins cost, measured.
//!
//! `failing rolling RATE SECONDS`: misses from three endpoints of which one after the other dies (refuses connections) and hangs,
//! and then both do: errors, how long until an endpoint is left out, how long until it is asked again.
//!
//! `failing hanging RATE SECONDS`: hits, first alone, then while ten thousand requests wait for an origin that hangs: their
//! latency in both.
//!
//! `ULTRAGATE_BIN` and `BENCHMARK_BIN` name the programs, else those beside this one's directory.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use e2e::{Backend, Gateway, Origin, Setup, Signal, Stopwatch, Watch, becomes, ok};
use serde_json::Value;

/// Requests that wait for the origin that hangs.
const WAITING: usize = 10_000;
const PATIENCE: Duration = Duration::from_secs(20);

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().unwrap_or_default();
    let (how, rate, seconds) = (next(), next(), next());
    let number = |text: &str| text.parse().expect("failing rolling|hanging RATE SECONDS");
    let (rate, seconds) = (number(&rate), number(&seconds));
    let directory = std::env::temp_dir().join(format!("failing-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a directory");
    match how.as_str() {
        "rolling" => rolling(&directory, rate, seconds),
        "hanging" => hanging(&directory, rate, seconds),
        _ => eprintln!("failing rolling|hanging RATE SECONDS"),
    }
    let _ = fs::remove_dir_all(&directory);
}

fn benchmark() -> Command {
    let beside = || e2e::binary().with_file_name("benchmark");
    Command::new(std::env::var_os("BENCHMARK_BIN").map_or_else(beside, PathBuf::from))
}

/// A server of fixed answers.
struct Endpoint {
    child: Child,
    address: SocketAddr,
}

impl Endpoint {
    fn start(listen: &str) -> Self {
        let mut child = benchmark()
            .args([
                "floor",
                "--backend",
                "epoll",
                "--listen",
                listen,
                "--serve-seconds",
                "300",
            ])
            .stdout(Stdio::piped())
            .spawn()
            .expect("benchmark is built");
        let mut line = String::new();
        let out = child.stdout.take().expect("it is piped");
        BufReader::new(out).read_line(&mut line).expect("a line");
        let address = line.split_whitespace().rev().find_map(|word| {
            word.trim_start_matches("http://")
                .trim_end_matches('/')
                .parse()
                .ok()
        });
        let address = address.unwrap_or_else(|| panic!("no address in {line:?}"));
        Self { child, address }
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let _ = Command::new("kill").args([name, &id]).status();
    }

    /// Connections that stand to it.
    fn connections(&self) -> usize {
        let port = format!(":{:04X}", self.address.port());
        let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
        let to_it = |line: &&str| {
            let mut words = line.split_whitespace().skip(2);
            words.next().is_some_and(|remote| remote.ends_with(&port)) && words.next() == Some("01")
        };
        table.lines().filter(to_it).count()
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn load(url: &str, rate: u32, seconds: u32, json: &Path, more: &[&str]) -> Child {
    benchmark()
        .args(["-t1", "-R", &rate.to_string(), "-d", &format!("{seconds}s")])
        .args(more)
        .arg("--json")
        .arg(json)
        .arg(url)
        .stdout(Stdio::null())
        .spawn()
        .expect("benchmark is built")
}

fn told(json: &Path) -> Value {
    serde_json::from_slice(&fs::read(json).expect("it wrote")).expect("JSON")
}

fn wait(time: Duration) {
    becomes(time, || false);
}

fn since(what: &str, begin: Stopwatch, mut is_so: impl FnMut() -> bool) {
    let so = becomes(PATIENCE, &mut is_so);
    let ms = begin.microseconds() / 1_000;
    println!(
        "{what}: {}",
        if so {
            format!("{ms} ms")
        } else {
            "never".to_owned()
        }
    );
}

fn ejections(gateway: &Gateway) -> f64 {
    Watch::of(gateway).sample("upstream_ejections_total", &["upstream=\"origin\""])
}

fn rolling(directory: &Path, rate: u32, seconds: u32) {
    let mut endpoints: Vec<_> = (0..3).map(|_| Endpoint::start("127.0.0.1:0")).collect();
    let addresses: Vec<_> = endpoints.iter().map(|it| it.address).collect();
    let gateway = Setup::new(Backend::IoUring)
        .set("api_gateway", "worker_threads", "1")
        .upstream("origin", &addresses, "first_byte_timeout = \"500ms\"")
        .route("all", "", "/", "origin")
        .with("cache = false")
        .start();
    let json = directory.join("rolling");
    let url = format!("http://{}/a", gateway.data);
    let mut load = load(&url, rate, seconds, &json, &["-c200"]);
    wait(Duration::from_secs(2));
    let begin = Stopwatch::start();
    let before = ejections(&gateway);
    let listen = endpoints[0].address.to_string();
    endpoints[0].signal("-KILL");
    since("killed, left out after", begin, || {
        ejections(&gateway) > before
    });
    wait(Duration::from_secs(3));
    let begin = Stopwatch::start();
    endpoints[0] = Endpoint::start(&listen);
    since("started, asked after", begin, || {
        endpoints[0].connections() > 0
    });
    wait(Duration::from_secs(3));
    let begin = Stopwatch::start();
    let before = ejections(&gateway);
    endpoints[1].signal("-STOP");
    since("hanging, left out after", begin, || {
        ejections(&gateway) > before
    });
    wait(Duration::from_secs(3));
    endpoints[0].signal("-KILL");
    wait(Duration::from_secs(3));
    endpoints[1].signal("-CONT");
    endpoints[0] = Endpoint::start(&listen);
    let _ = load.wait();
    let load = told(&json);
    let count = |at: &str| load.pointer(at).and_then(Value::as_f64).unwrap_or(0.0);
    let errors: f64 = load["errors"]
        .as_object()
        .map_or(0.0, |kinds| kinds.values().filter_map(Value::as_f64).sum());
    let all = count("/requests") + errors;
    println!(
        "{all} requests, {errors} errors = {:.4} % (unsent {}), {}",
        errors / all * 100.0,
        load["unsent"],
        load["errors"]
    );
    println!(
        "p50 {} us, p99 {} us, p99.9 {} us; findings {}",
        load["latency"]["corrected"]["p50_us"],
        load["latency"]["corrected"]["p99_us"],
        load["latency"]["corrected"]["p99_9_us"],
        load["findings"]
    );
    let mut watch = Watch::of(&gateway);
    for name in [
        "upstream_retries_total",
        "connection_pool_reused_total",
        "connection_pool_stale_total",
    ] {
        println!("{name} {}", watch.sample(name, &["upstream=\"origin\""]));
    }
    println!(
        "upstream_connects_total {}",
        watch.sample("upstream_connects_total", &[])
    );
}

fn hanging(directory: &Path, rate: u32, seconds: u32) {
    let well = Origin::answering(ok("Cache-Control: max-age=600\r\n", "x".repeat(1024)));
    let dead = Endpoint::start("127.0.0.1:0");
    let gateway = Setup::new(Backend::IoUring)
        .set("api_gateway", "worker_threads", "1")
        .set("io", "busy_poll", "\"1ms\"")
        .upstream("well", &[well.address()], "")
        .upstream(
            "dead",
            &[dead.address],
            "acquire_timeout = \"60s\"\nbreaker_ratio = 0",
        )
        .route("well", "", "/", "well")
        .route("dead", "", "/dead/", "dead")
        .start();
    gateway.ask(e2e::get("/a"));
    let url = format!("http://{}/a", gateway.data);
    let run = |name: &str| {
        let json = directory.join(name);
        let _ = load(&url, rate, seconds, &json, &["-c64"]).wait();
        let load = told(&json);
        let clean = &load["clean"]["latency"]["corrected"];
        println!(
            "{name}: p50 {} us, p99 {} us, p99.9 {} us; clean windows p50 {} us, p99 {} us; errors {}; {}",
            load["latency"]["corrected"]["p50_us"],
            load["latency"]["corrected"]["p99_us"],
            load["latency"]["corrected"]["p99_9_us"],
            clean["p50_us"],
            clean["p99_us"],
            load["errors"],
            load["findings"]
        );
    };
    run("alone");
    dead.signal("-STOP");
    let waiting: Vec<_> = (0..WAITING)
        .map(|number| {
            let mut stream = TcpStream::connect(gateway.data).expect("connected");
            let request = format!("GET /dead/{number} HTTP/1.1\r\nHost: t\r\n\r\n");
            stream.write_all(request.as_bytes()).expect("sent");
            stream
        })
        .collect();
    let mut watch = Watch::of(&gateway);
    let mut depth = || watch.sample("connection_pool_waiting", &["upstream=\"dead\""]);
    becomes(PATIENCE, || depth() > 8_000.0);
    println!("{} wait for a connection", depth());
    run("beside those who wait");
    println!("{} still wait", depth());
    drop(waiting);
    dead.signal("-CONT");
    run("afterwards");
    gateway.signal(Signal::TERM);
}
