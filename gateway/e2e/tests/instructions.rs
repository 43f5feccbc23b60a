//! What a hit costs the sans-I/O core, in instructions: counted by callgrind, the same on every run, held against the
//! record in `bench/instructions.txt`. `UPDATE=1` writes the record anew.
//!
//! Built for a baseline CPU, for Debian's valgrind knows no AVX-512. What the kernel does for a hit is not in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Per cent over the record that are a regression, and under it a reason to write a new one.
const SLACK_PERCENT: u64 = 4;
/// Hits of the shorter and the longer run; their difference leaves start and end out.
const RUNS: (u64, u64) = (1_000, 3_000);
/// What a run does, and how many hits one step of it is.
const SHAPES: [(&str, u64); 3] = [("wrk", 1), ("one", 1), ("batch", 16)];

#[test]
fn a_hit_costs_what_it_did() {
    if !cfg!(target_arch = "x86_64") || !is_installed("valgrind") {
        eprintln!("skipped: instructions are counted on x86-64 with valgrind");
        return;
    }
    let program = build();
    let counted: BTreeMap<String, u64> = SHAPES
        .iter()
        .map(|(shape, hits)| {
            let count = |steps| instructions(&program, shape, steps);
            let per_step = (count(RUNS.1) - count(RUNS.0)) / (RUNS.1 - RUNS.0);
            ((*shape).to_owned(), per_step / hits)
        })
        .collect();
    if std::env::var_os("UPDATE").is_some() {
        write(&counted);
    }
    let recorded = read();
    for (shape, count) in &counted {
        let record = recorded.get(shape).copied().unwrap_or_default();
        println!("{shape}: {count} instructions a hit, recorded {record}");
        let band = record * (100 - SLACK_PERCENT) / 100..=record * (100 + SLACK_PERCENT) / 100;
        assert!(
            band.contains(count),
            "a hit ({shape}) costs {count} instructions, recorded are {record}: mend it, or UPDATE=1 and say why"
        );
    }
}

fn record() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench/instructions.txt")
}

/// `shape count` a line.
fn read() -> BTreeMap<String, u64> {
    let text = fs::read_to_string(record()).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let (shape, count) = line.split_once(' ')?;
            Some((shape.to_owned(), count.parse().ok()?))
        })
        .collect()
}

fn write(counted: &BTreeMap<String, u64>) {
    let mut text = "# Instructions a hit, by gateway/e2e/tests/instructions.rs\n".to_owned();
    for (shape, count) in counted {
        text.push_str(&format!("{shape} {count}\n"));
    }
    fs::write(record(), text).expect("the record is written");
}

fn is_installed(program: &str) -> bool {
    let tried = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    tried.is_ok_and(|status| status.success())
}

fn build() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("instructions");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "--package", "proxy"])
        .args(["--example", "hit_cost", "--target-dir"])
        .arg(&target)
        .env("RUSTFLAGS", "-C target-cpu=x86-64-v2")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .status();
    assert!(
        built.is_ok_and(|status| status.success()),
        "the example does not build"
    );
    target.join("release/examples/hit_cost")
}

fn instructions(program: &Path, shape: &str, steps: u64) -> u64 {
    let out = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args([shape, &steps.to_string()])
        .output()
        .expect("valgrind runs");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{said}");
    let line = said
        .lines()
        .find_map(|line| line.split_once("Collected : "));
    line.and_then(|(_, count)| count.trim().parse().ok())
        .unwrap_or_else(|| panic!("no count in {said}"))
}
