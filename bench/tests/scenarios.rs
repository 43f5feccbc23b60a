//! Scenarios: of a server that runs, beside the floor, and of servers in turns. What is missed or cannot be told has its exit
//! code, and what was measured its record.

mod support;

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use support::{Floor, PROGRAM, alone, both_backends, file, said};

struct Told {
    code: i32,
    text: String,
    record: Value,
}

/// Runs the program with a record, the servers on the first CPU and the generator on the last.
fn told(arguments: &[&str]) -> Told {
    let cpus = platform::host::cpus::affinity().expect("the CPUs of this process");
    let cpu = |cpu: Option<&usize>| cpu.expect("at least one").to_string();
    let json = file("record.json");
    let output = Command::new(PROGRAM)
        .args(arguments)
        .args(["--server-cpu", &cpu(cpus.0.first())])
        .args(["--client-cpu", &cpu(cpus.0.last())])
        .arg("--json")
        .arg(&json)
        .output()
        .expect("it runs");
    let text = said(&output);
    let read = std::fs::read_to_string(&json).unwrap_or_else(|_| panic!("no record: {text}"));
    let _ = std::fs::remove_file(&json);
    Told {
        code: output.status.code().expect("a code"),
        text,
        record: serde_json::from_str(&read).expect("JSON"),
    }
}

fn runs(record: &Value) -> &Vec<Value> {
    record["runs"].as_array().expect("a list")
}

fn scenario(lines: &str) -> std::path::PathBuf {
    let file = file("mine.toml");
    let text = format!("title = 'mine'\npath = '/x'\nconnections = 4\nseconds = 1\n{lines}");
    std::fs::write(&file, text).expect("a file");
    file
}

#[test]
fn a_server_that_runs_is_measured_beside_the_floor_and_held_to_its_bounds() {
    both_backends(|backend| {
        let floor = Floor::start();
        let url = format!("http://{}", floor.address);
        for (lines, met) in [
            ("rate = 1000\n[hold]\np99_us = 1e9\nerrors = 0.5", true),
            ("rate = 1000\n[hold]\np50_us = 0.001", false),
            ("", true),
        ] {
            let mine = scenario(lines);
            let name = mine.display().to_string();
            let told = told(&[
                "scenario",
                &name,
                "--url",
                &url,
                "--rounds",
                "1",
                "--seconds",
                "2",
                "--backend",
                backend,
            ]);
            let _ = std::fs::remove_file(&mine);
            let runs = runs(&told.record);
            assert_eq!(runs.len(), 2, "{}", told.text);
            assert_eq!(
                (&runs[0]["server"], &runs[1]["server"]),
                (&url.as_str().into(), &"floor".into())
            );
            assert_eq!(runs[0]["load"]["generator"]["backend"], backend);
            assert!(runs[0]["cpu_us_per_request"].is_null());
            assert!(runs[1]["cpu_us_per_request"].is_number(), "{}", told.record);
            assert!(told.text.contains("x |"), "no ratio: {}", told.text);
            let certified = runs[0]["load"]["certified"] == true;
            let code = if certified { i32::from(!met) } else { 3 };
            assert_eq!(told.code, code, "{}", told.text);
            assert_eq!(told.text.contains("\nNot certified"), !certified);
            let missed = certified && !met;
            assert_eq!(told.text.contains("\nMissed: p50"), missed, "{}", told.text);
        }
    });
}

#[test]
fn servers_in_turns_leave_a_table_and_a_record() {
    both_backends(|backend| {
        let table = file("table.md");
        let told = told(&[
            "peers",
            "--server",
            "ultragate,floor,floor-epoll",
            "--gateway",
            "/nowhere",
            "--scenario",
            "hit-64,churn",
            "--rounds",
            "2",
            "--seconds",
            "1",
            "--backend",
            backend,
            "--write",
            &table.display().to_string(),
        ]);
        assert_eq!(told.code, 0, "{}", told.text);
        let written = std::fs::read_to_string(&table).expect("a table");
        let _ = std::fs::remove_file(&table);
        assert!(told.text.contains(written.trim_end()));
        for words in [
            "Left out: ultragate is not there.",
            "## hit-64: cached 1 KiB, 64 connections",
            "## churn:",
            "2 rounds of 1 s.",
            "| floor | ",
            "| floor-epoll | ",
        ] {
            assert!(written.contains(words), "{words} in {written}");
        }
        assert_eq!(told.record["schema"], 1);
        let runs = runs(&told.record);
        let order: Vec<String> = runs
            .iter()
            .map(|run| format!("{} {} {}", run["scenario"], run["round"], run["server"]))
            .collect();
        let expected = ["hit-64", "churn"].iter().flat_map(|scenario| {
            [
                (1, "floor"),
                (1, "floor-epoll"),
                (2, "floor"),
                (2, "floor-epoll"),
            ]
            .map(|(round, server)| format!("\"{scenario}\" {round} \"{server}\""))
        });
        assert_eq!(order, expected.collect::<Vec<_>>());
        for run in runs {
            assert!(
                run["load"]["requests"]
                    .as_u64()
                    .is_some_and(|requests| requests > 64)
            );
            assert!(
                run["cpu_us_per_request"]
                    .as_f64()
                    .is_some_and(|us| us > 0.0)
            );
            assert!(
                run["peak_rss_bytes"]
                    .as_u64()
                    .is_some_and(|bytes| bytes > 0)
            );
            let errors = run["load"]["errors"].as_object().expect("an object");
            assert!(errors.values().all(|count| *count == 0), "{run}");
            assert!(
                run["load"]["seconds_series"][0]["server_cpu"].is_number(),
                "{run}"
            );
        }
    });
}

#[test]
fn pipelines_keys_mixtures_and_company_come_from_the_file() {
    both_backends(|backend| {
        let floor = Floor::start();
        let mine = scenario(
            "pipeline = 4\nkeys = 100\nzipf = 1.0\nidle = 20\nslow = 2\nmix = { share = 0.2, path = '/y' }",
        );
        let keyed = std::fs::read_to_string(&mine).expect("the file");
        std::fs::write(&mine, keyed.replace("'/x'", "'/x/{key}'")).expect("the file");
        let (name, url) = (
            mine.display().to_string(),
            format!("http://{}", floor.address),
        );
        let told = told(&[
            "scenario",
            &name,
            "--url",
            &url,
            "--rounds",
            "1",
            "--backend",
            backend,
        ]);
        let _ = std::fs::remove_file(&mine);
        let load = &runs(&told.record)[0]["load"];
        assert_eq!(load["url"], format!("{url}/x/{{key}}"));
        assert_eq!(
            (&load["beside"]["idle"], &load["beside"]["slow"]),
            (&20.into(), &2.into())
        );
        assert!(
            load["requests"]
                .as_u64()
                .is_some_and(|requests| requests > 16),
            "{load}"
        );
        assert_eq!(load["certified"] == true, told.code == 0, "{}", told.text);
    });
}

#[test]
fn a_scenario_that_is_none_is_wrong_usage() {
    let _alone = alone();
    let mine = scenario("pipline = 2");
    for (name, words) in [
        ("hit64", "did you mean hit-64?"),
        (mine.to_str().expect("a path"), "did you mean `pipeline`?"),
        ("nowhere/none.toml", "nowhere/none.toml"),
    ] {
        let output = Command::new(PROGRAM)
            .args(["scenario", name])
            .output()
            .expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains(words), "{}", said(&output));
    }
    let gone = Path::new(&mine);
    let _ = std::fs::remove_file(gone);
    let output = Command::new(PROGRAM)
        .args(["scenario", "hit-64", "--gateway", "/nowhere"])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("no gateway to measure"));
}
