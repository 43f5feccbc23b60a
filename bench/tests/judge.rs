//! The judge on a running server: what it keeps, what it compares, and what it exits with. Verdicts come from figures that
//! were written into the baseline, so that no time decides.

mod support;

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use support::{Floor, PROGRAM, alone, request, said, server};

/// A generator that sleeps nearly always: certified on a busy host too.
const EASY: [&str; 7] = [
    "-t1",
    "-c1",
    "-R100",
    "-d1500ms",
    "--spin",
    "never",
    "--rounds=3",
];
/// Times that a busy host may refuse, before a story is given up.
const PATIENCE: u32 = 5;

/// A directory of one story's own, removed on drop.
struct Place(PathBuf);

impl Place {
    fn new(story: &str) -> Place {
        let name = format!("{story}-{}", std::process::id());
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&place).expect("a directory");
        Place(place)
    }

    fn run(&self, arguments: &[&str]) -> (i32, String) {
        let output = Command::new(PROGRAM)
            .args(arguments)
            .current_dir(&self.0)
            .stdin(Stdio::null())
            .output()
            .expect("it runs");
        (output.status.code().expect("a code"), said(&output))
    }

    /// Runs until the host leaves the generator alone.
    fn measure(&self, arguments: &[&str]) -> (i32, String) {
        let mut ran = self.run(arguments);
        for _ in 1..PATIENCE {
            if ran.0 == 3 {
                ran = self.run(arguments);
            }
        }
        ran
    }

    /// The only baseline.
    fn file(&self) -> PathBuf {
        let directory = self.0.join("bench/baselines");
        let mut files = std::fs::read_dir(directory).expect("a directory").flatten();
        let file = files.next().expect("a file").path();
        assert!(files.next().is_none(), "one file");
        file
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn read(file: &Path) -> Value {
    let text = std::fs::read_to_string(file).expect("a file");
    serde_json::from_str(&text).expect("JSON")
}

fn write(file: &Path, value: &Value) {
    std::fs::write(file, value.to_string()).expect("it is written");
}

/// A baseline whose CPU time is `cpu` times what it was, and whose other figures are such that anything is better.
fn with_cpu(mut baseline: Value, cpu: f64) -> Value {
    for run in baseline["runs"].as_array_mut().expect("runs") {
        let was = run["cpu_us_per_request"].as_f64().expect("CPU time");
        run["cpu_us_per_request"] = json!(was * cpu);
        run["load"]["requests_per_second"] = json!(0.001);
        for latency in [
            "/load/latency/corrected/p50_us",
            "/load/clean/latency/corrected/p50_us",
        ] {
            *run.pointer_mut(latency).expect("a median") = json!(1e9);
        }
    }
    baseline
}

#[test]
fn a_baseline_is_kept_and_compared_with() {
    let _alone = alone();
    let floor = Floor::start();
    let url = format!("http://{}/x", floor.address);
    let place = Place::new("kept");
    let keep = [&["--baseline", &url][..], &EASY].concat();
    let (code, text) = place.measure(&keep);
    if code == 3 {
        return eprintln!("not told: the host is too busy: {text}");
    }
    assert_eq!(code, 0, "{text}");
    let file = place.file();
    let kept = read(&file);
    assert_eq!(kept["schema"], 1, "{text}");
    assert_eq!(kept["runs"].as_array().map(Vec::len), Some(3), "{text}");
    assert_eq!(kept["history"].as_array().map(Vec::len), Some(1), "{text}");
    let name = file.file_name().and_then(|name| name.to_str());
    assert!(text.contains(name.expect("a name")), "{text}");

    // The load is the baseline's, and its URL too.
    let compare = ["--compare-baseline", "--rounds=3"];
    for (cpu, expected, word) in [(1e9, 0, "better"), (1e-9, 1, "**regression**")] {
        write(&file, &with_cpu(kept.clone(), cpu));
        let (code, text) = place.measure(&compare);
        if code == 3 {
            return eprintln!("not told: the host is too busy: {text}");
        }
        assert_eq!(code, expected, "{text}");
        let line = text.lines().find(|line| line.contains("CPU µs/request"));
        assert!(line.is_some_and(|line| line.contains(word)), "{text}");
        // What the host made too noisy before is kept as well.
        let history = read(&file)["history"].as_array().map(Vec::len);
        assert!(history >= Some(2), "{history:?}");
    }
}

#[test]
fn what_cannot_be_compared_exits_4_and_names_what_differs() {
    let _alone = alone();
    let floor = Floor::start();
    let url = format!("http://{}/x", floor.address);
    let place = Place::new("differs");
    let (code, text) = place.run(&["--compare-baseline", &url]);
    assert_eq!(code, 4, "{text}");
    assert!(text.contains("there is no baseline"), "{text}");

    let keep = [&["--baseline", &url, "--file", "mine.json"][..], &EASY].concat();
    let (code, text) = place.measure(&keep);
    if code == 3 {
        return eprintln!("not told: the host is too busy: {text}");
    }
    assert_eq!(code, 0, "{text}");
    let file = place.0.join("mine.json");
    let kept = read(&file);
    let mut other_host = kept.clone();
    other_host["host"]["kernel"] = json!("2.4.37");
    let mut other_shape = kept.clone();
    other_shape["schema"] = json!(99);
    let mut other_rate = kept.clone();
    other_rate["shape"]["rate"] = json!(7);
    let mut other_flags = kept.clone();
    other_flags["shape"]["arrivals"] = json!("whenever");
    let same = &["-R100"][..];
    for (baseline, flags, words) in [
        (&other_host, same, r#"kernel: "2.4.37" then"#),
        (&other_shape, same, "version 99 of the shape"),
        (&other_rate, same, r#"rate: "7" then, "100" now"#),
        (&other_flags, same, "its load is of another version"),
        (&kept, &["-c2"], r#"connections: "1" then, "2" now"#),
        (&json!({"schema": 1}), same, "missing field"),
        (&json!([]), same, "it is no baseline"),
    ] {
        write(&file, baseline);
        let compare = ["--compare-baseline", "--file", "mine.json"];
        let (code, text) = place.run(&[&compare[..], flags].concat());
        assert_eq!(code, 4, "{text}");
        assert!(text.contains(words), "{words}: {text}");
    }
    // Another host's lies where this one's would.
    let directory = place.0.join("bench/baselines");
    std::fs::create_dir_all(&directory).expect("a directory");
    write(&directory.join("0123456789abcdef.json"), &other_host);
    let (code, text) = place.run(&["--compare-baseline"]);
    assert_eq!(code, 4, "{text}");
    assert!(
        text.contains(r#"of another: kernel: "2.4.37" then"#),
        "{text}"
    );
}

/// A request takes the generator far longer than the server: ten thousand chunks in one send.
#[test]
fn a_saturated_generator_writes_no_baseline() {
    let _alone = alone();
    let mut answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    answer.extend(b"1\r\nx\r\n".repeat(10_000));
    answer.extend(b"0\r\n\r\n");
    let serve = server(
        move |mut stream, _| {
            while request(&mut stream) && stream.write_all(&answer).is_ok() {}
        },
    );
    let url = format!("http://{serve}/");
    let place = Place::new("saturated");
    let keep = ["--baseline", &url, "--rounds=3", "-t1", "-c8", "-d500ms"];
    let (code, text) = place.run(&keep);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("saturated generator in"), "{text}");
    let directory = place.0.join("bench/baselines");
    let files = std::fs::read_dir(directory).expect("a directory").count();
    assert_eq!(files, 0, "{text}");
}

#[test]
fn wrong_usage_exits_2_and_what_cannot_be_done_1() {
    let place = Place::new("wrong");
    std::fs::write(place.0.join("file"), "").expect("a file");
    let nobody = TcpListener::bind("127.0.0.1:0")
        .and_then(|socket| socket.local_addr())
        .expect("a port");
    let nobody = format!("http://{nobody}/");
    for (arguments, expected, words) in [
        (
            &["--baseline", "--compare-baseline"][..],
            2,
            "cannot be used with",
        ),
        (&["--file", "x"], 2, "--baseline"),
        (&["--rounds", "5"], 2, "--against"),
        (&["--baseline", "--rounds", "2"], 2, "3..="),
        (
            &["--baseline", "--scenario", "hit-64"],
            2,
            "cannot be used with",
        ),
        (&["--against", "nowhere"], 2, "there is no such program"),
        (
            &["--against", PROGRAM, "-c", "3"],
            2,
            "--against takes no connections",
        ),
        (
            &["--against", PROGRAM, "--scenario", "hit64"],
            2,
            "did you mean hit-64",
        ),
        (
            &["--baseline", "https://127.0.0.1/"],
            2,
            "TLS is not spoken",
        ),
        (&["--baseline", &nobody], 1, "unable to connect"),
        (
            &["--baseline", "--file", "file/x.json"],
            1,
            "--file FILE puts it elsewhere",
        ),
        (
            &["--against", PROGRAM, "--gateway", PROGRAM],
            1,
            "its words",
        ),
    ] {
        let (code, text) = place.run(arguments);
        assert_eq!(code, expected, "{arguments:?}: {text}");
        assert!(text.contains(words), "{arguments:?}: {text}");
    }
}

/// Three pairs prove nothing: whatever they show, it is no regression.
#[test]
fn a_gateway_against_itself_raises_no_alarm() {
    let gateway = Path::new(PROGRAM).with_file_name("ultragate");
    if !gateway.is_file() {
        return eprintln!("not compared: the gateway is not built");
    }
    let _alone = alone();
    let place = Place::new("itself");
    let gateway = gateway.display().to_string();
    let (code, text) = place.run(&[
        "--against",
        &gateway,
        "--gateway",
        &gateway,
        "--rounds=3",
        "-d50ms",
        "--json",
        "runs.json",
    ]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("too noisy to tell"), "{text}");
    let runs = read(&place.0.join("runs.json"));
    let servers: Vec<&str> = runs["runs"]
        .as_array()
        .expect("runs")
        .iter()
        .filter_map(|run| run["server"].as_str())
        .collect();
    let (one, other) = ("reference", "current");
    assert_eq!(servers, [one, other, other, one, one, other], "{text}");
}
