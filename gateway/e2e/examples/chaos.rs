//! The whole storm (docs/testing.md), on both drivers one after the other. Ends with 1 when a byte was wrong or anything is
//! left.
//!
//! `DURATION` in seconds (120) for each driver, `SEED` (1), `ULTRAGATE_E2E_BACKENDS` for one driver alone. `ULTRAGATE_BIN` and
//! `BENCHMARK_BIN` name the programs, else those beside this one's directory.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Output};
use std::thread::JoinHandle;
use std::time::Duration;

use e2e::Backend;
use e2e::chaos::{Scenario, body_of, run};
use serde_json::Value;

fn main() -> ExitCode {
    let (seconds, seed) = (number("DURATION", 120), number("SEED", 1));
    let scenario = Scenario::of(seed, Duration::from_secs(seconds));
    let wanted = std::env::var("ULTRAGATE_E2E_BACKENDS").unwrap_or_default();
    let mut good = true;
    println!("chaos: {seconds} s on each driver, seed {seed}");
    for backend in [Backend::IoUring, Backend::Epoll] {
        if !wanted.is_empty() && !wanted.split(',').any(|name| name.trim() == backend.name()) {
            continue;
        }
        let (report, load) = run(&scenario, backend, |at| benchmark(at, seconds));
        println!("{report}");
        good &= report.is_good() & tell(load);
    }
    match good {
        true => ExitCode::SUCCESS,
        false => {
            println!("not as it must be: SEED={seed} DURATION={seconds} make chaos");
            ExitCode::FAILURE
        }
    }
}

fn number(name: &str, default: u64) -> u64 {
    let said = std::env::var(name).ok();
    said.and_then(|said| said.parse().ok()).unwrap_or(default)
}

/// Beside the storm, an open loop on what is in the cache.
fn benchmark(at: SocketAddr, seconds: u64) -> JoinHandle<Output> {
    let beside = || e2e::binary().with_file_name("benchmark");
    let program = std::env::var_os("BENCHMARK_BIN").map_or_else(beside, PathBuf::from);
    let body = std::env::temp_dir().join(format!("chaos-{}", std::process::id()));
    std::fs::write(&body, body_of("/steady/0")).expect("a file for the body");
    let json = body.with_extension("json");
    let mut command = Command::new(program);
    command
        .args(["-t1", "-c16", "-R", "2000", "-d", &format!("{seconds}s")])
        .arg("--expect-body")
        .arg(&body)
        .arg("--json")
        .arg(&json)
        .arg(format!("http://{at}/steady/0"));
    let thread = std::thread::Builder::new().name("benchmark".to_owned());
    let run = move || {
        let mut output = command.output().expect("benchmark is built");
        output.stdout = std::fs::read(&json).unwrap_or_default();
        let _ = (std::fs::remove_file(&json), std::fs::remove_file(&body));
        output
    };
    thread.spawn(run).expect("a thread is left")
}

/// Whether every answer was right, and on the way what came of it.
fn tell(load: JoinHandle<Output>) -> bool {
    let output = load.join().expect("it does not panic");
    let Ok(told) = serde_json::from_slice::<Value>(&output.stdout) else {
        println!("  benchmark: {}", String::from_utf8_lossy(&output.stderr));
        return false;
    };
    let wrong = told["errors"]["body"].as_u64().unwrap_or_default();
    println!(
        "  benchmark: {} requests, errors {}, p99 {} us corrected",
        told["requests"], told["errors"], told["latency"]["corrected"]["p99_us"]
    );
    wrong == 0
}
