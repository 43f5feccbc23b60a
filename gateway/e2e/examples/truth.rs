//! Whether the gateway's own latencies are what its clients see: an open loop from outside beside the gateway's access log
//! and summary.
//!
//! `truth RATE SECONDS [stall|stop]`: undisturbed, with the shard stopped for 50 ms in every second, or the process for 200 ms
//! in every two. `ULTRAGATE_BIN` and `BENCHMARK_BIN` name the programs, else those beside this one's directory; the shard
//! runs on CPU 0, the client on CPU 1.
//!
//! Undisturbed, what others take from the client's CPU alone is left out on both sides: requests count that were answered
//! while the client had suffered no gap, by its own record.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use e2e::{Backend, Gateway, Origin, Setup, Signal, Watch, becomes, ok};
use serde_json::Value;

const DAY_NS: u64 = 86_400_000_000_000;
const QUANTILES: [(f64, &str); 3] = [(0.5, "p50_us"), (0.99, "p99_us"), (0.999, "p99_9_us")];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().unwrap_or_default();
    let (rate, seconds, how) = (next(), next(), next());
    let directory = std::env::temp_dir().join(format!("truth-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a directory for the log");
    let (log, json) = (directory.join("log"), directory.join("json"));
    let origin = Origin::answering(ok("Cache-Control: max-age=600\r\n", "x".repeat(1024)));
    let gateway = Setup::new(Backend::IoUring)
        .set("api_gateway", "worker_threads", "1")
        .set("api_gateway", "cpu_affinity", "[0]")
        .set("io", "busy_poll", "\"1ms\"")
        .set("telemetry", "access_log", "\"json\"")
        .set(
            "telemetry",
            "access_log_path",
            format!("{:?}", log.display()),
        )
        .set("telemetry", "access_log_one_in", "10")
        .everything_to(origin.address(), "")
        .start();
    gateway.ask(e2e::get("/a"));
    let mut load = benchmark()
        .args([
            "-t1",
            "-c2000",
            "--cpus",
            "1",
            "-R",
            &rate,
            "-d",
            &format!("{seconds}s"),
            "--json",
        ])
        .arg(&json)
        .arg(format!("http://{}/a", gateway.data))
        .stdout(Stdio::null())
        .spawn()
        .expect("benchmark is built");
    disturb(&gateway, &mut load, &how);
    let summary = of_summary(&gateway);
    drop(gateway);
    let load: Value = serde_json::from_slice(&fs::read(&json).expect("it wrote")).expect("JSON");
    let lines = fs::read_to_string(&log).expect("the log");
    let _ = fs::remove_dir_all(&directory);
    tell(&load, &lines, how.is_empty(), summary);
}

fn benchmark() -> Command {
    let beside = || e2e::binary().with_file_name("benchmark");
    Command::new(std::env::var_os("BENCHMARK_BIN").map_or_else(beside, PathBuf::from))
}

fn disturb(gateway: &Gateway, load: &mut Child, how: &str) {
    let wait = |time| {
        becomes(Duration::from_millis(time), || false);
    };
    // The client has started.
    wait(300);
    while load.try_wait().expect("it is a child").is_none() {
        match how {
            "stall" => {
                wait(950);
                gateway.stall(0, || wait(50));
            }
            "stop" => {
                wait(1_800);
                gateway.signal(Signal::STOP);
                wait(200);
                gateway.signal(Signal::CONT);
            }
            _ => wait(100),
        }
    }
    // Lines are written and seconds counted by then.
    wait(1_500);
}

/// Quantiles of `request_latency_seconds`, in microseconds.
fn of_summary(gateway: &Gateway) -> Vec<f64> {
    let mut watch = Watch::of(gateway);
    let mut quantile =
        |at: &f64| watch.sample("request_latency_seconds", &[&format!("quantile=\"{at}\"")]) * 1e6;
    QUANTILES.iter().map(|(at, _)| quantile(at)).collect()
}

fn tell(load: &Value, lines: &str, undisturbed: bool, summary: Vec<f64>) {
    let (client, gateway) = if undisturbed {
        let mut logged = logged(load, lines);
        logged.sort_by(f64::total_cmp);
        let at = |(at, _): &(f64, &str)| logged[((logged.len() - 1) as f64 * at) as usize];
        println!("{} requests of the log", logged.len());
        (
            &load["clean"]["latency"],
            QUANTILES.iter().map(at).collect(),
        )
    } else {
        (&load["latency"], summary)
    };
    let us = |view: &str, name: &str| client[view][name].as_f64().expect("a number");
    // What lies between the two, at its least: the network, and the client's look.
    let network = us("actual", "p50_us") - gateway[0];
    println!(
        "| | gateway µs | client µs, from the intended send | from the actual one | less the network | off by |"
    );
    for ((_, name), own) in QUANTILES.iter().zip(gateway) {
        let (corrected, actual) = (us("corrected", name), us("actual", name));
        let less = corrected - network;
        println!(
            "| {name} | {own:.1} | {corrected:.1} | {actual:.1} | {less:.1} | {:+.1} = {:+.1} % |",
            own - less,
            (own / less - 1.0) * 100.0
        );
    }
    let certified = &load["certified"];
    println!(
        "network {network:.1} µs; certified: {certified}, {}",
        load["findings"]
    );
}

/// Durations in microseconds of the requests that ended in a clean stretch of the client's.
fn logged(load: &Value, lines: &str) -> Vec<f64> {
    let start = load["start_unix_ns"].as_u64().expect("a number") % DAY_NS;
    let stretches = load["clean"]["stretches_ms"].as_array().expect("a list");
    let ends = |pair: &Value| Some((pair[0].as_u64()? * 1_000_000, pair[1].as_u64()? * 1_000_000));
    let stretches: Vec<(u64, u64)> = stretches.iter().filter_map(ends).collect();
    let in_one = |at: u64| {
        let next = stretches.partition_point(|(_, end)| *end <= at);
        stretches.get(next).is_some_and(|(begin, _)| *begin <= at)
    };
    lines
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| {
            let at = line["at"].as_str().and_then(of_day);
            at.is_some_and(|at| in_one(at.wrapping_sub(start)))
        })
        .filter_map(|line| Some(line["duration_seconds"].as_f64()? * 1e6))
        .collect()
}

/// Nanoseconds since midnight of `2026-11-22T02:06:48.431756Z`.
fn of_day(at: &str) -> Option<u64> {
    let part = |from: usize, to: usize| at.get(from..to)?.parse::<u64>().ok();
    let seconds = (part(11, 13)? * 60 + part(14, 16)?) * 60 + part(17, 19)?;
    Some(seconds * 1_000_000_000 + part(20, 26)? * 1_000)
}
