//! The commands of the first runbook that read `/metrics`, on a gateway that nobody has asked anything yet: each finds a
//! sample, so that an empty answer never has to be explained.

use std::io::Write as _;
use std::process::{Command, Stdio};

use e2e::{Backend, Gateway, Origin, Watch, both_drivers, get, ok, sample};

both_drivers!(
    every_search_finds_a_sample_on_a_fresh_gateway,
    features_that_are_off_say_so_with_zero,
);

/// What it pipes `/metrics` into.
const SEARCHES: [&str; 15] = [
    "grep latency",
    "grep -E '(cache_hit|memory_usage)'",
    "grep lock",
    "grep queue_depth",
    "grep gc",
    "grep cache_hit_rate",
    "grep cache_evictions",
    "grep cache_warming",
    "grep requests_per_second",
    "grep connection_pool",
    "grep request_distribution",
    "grep dpdk_port",
    "grep http_requests_total",
    "grep http_requests_total | grep -E '5[0-9][0-9]'",
    "grep error_rate",
];

/// What a shell's pipe makes of a text.
fn piped(text: &str, command: &str) -> String {
    let mut child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell runs");
    let mut input = child.stdin.take().expect("piped");
    input.write_all(text.as_bytes()).expect("it reads");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    String::from_utf8(output.stdout).expect("text")
}

fn every_search_finds_a_sample_on_a_fresh_gateway(backend: Backend) {
    let origin = Origin::answering(ok("", "x"));
    let gateway = Gateway::before(&origin, backend);
    let text = Watch::of(&gateway).exposition();
    for search in SEARCHES {
        let found = piped(&text, search);
        let mut samples = found.lines().filter(|line| !line.starts_with('#'));
        assert!(samples.next().is_some(), "{search} finds no sample");
    }
}

fn features_that_are_off_say_so_with_zero(backend: Backend) {
    let origin = Origin::answering(ok("Cache-Control: max-age=60\r\n", "x"));
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    for _ in 0..10 {
        client.ask(get("/a"));
    }
    let text = Watch::of(&gateway).exposition();
    for name in [
        "dpdk_port_enabled",
        "cache_warming_in_progress",
        "cache_gc_runs_total",
    ] {
        assert!(text.contains(&format!("\n{name} 0\n")), "{name}");
    }
    // Nothing stands beside them that would say more than there is.
    for off in ["dpdk_port_", "cache_warming_", "cache_gc_"] {
        let found = text.lines().filter(|line| line.starts_with(off));
        assert_eq!(found.count(), 1, "{off}");
    }
    assert_eq!(
        sample(&text, "http_request_errors_total", &[]).to_string(),
        "0"
    );
}
