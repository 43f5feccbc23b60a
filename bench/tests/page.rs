//! `benchmark report`: every server and figure stands on the page, nothing that proves nothing looks as if it did, and
//! what comes out is well-formed and needs nothing from elsewhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_benchmark");

/// A folder of one test's own, removed on drop.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder =
            std::env::temp_dir().join(format!("benchmark-page-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        Folder(folder)
    }

    fn record(&self, name: &str, record: &Value) -> String {
        self.file(name, &record.to_string())
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).expect("it is written");
        path.display().to_string()
    }

    fn report(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(PROGRAM);
        command.current_dir(&self.0).arg("report").args(arguments);
        command.output().expect("it runs")
    }

    /// The page of these runs.
    fn page(&self, runs: &[Value]) -> String {
        let file = self.record("record.json", &record(runs));
        let output = self.report(&[&file, "--html", "page.html"]);
        assert!(output.status.success(), "{output:?}");
        self.written("page.html")
    }

    /// What a report wrote, well-formed and in need of nothing.
    fn written(&self, name: &str) -> String {
        let text = fs::read_to_string(self.0.join(name)).expect("it is there");
        well_formed(text.strip_prefix("<!doctype html>\n").unwrap_or(&text));
        stands_alone(&text);
        text
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn record(runs: &[Value]) -> Value {
    json!({
        "schema": 1,
        "at": 1_795_269_780,
        "host": {
            "cpu": "Some CPU", "cpus": 2, "kernel": "6.18.5", "governor": "",
            "mitigations": {"meltdown": "Not affected"}, "memory_bytes": 8_589_934_592u64,
            "hugepages": "transparent: madvise", "congestion_control": "bbr"
        },
        "runs": runs,
    })
}

/// Latencies between `us` and ten times that.
fn distribution(us: f64) -> Value {
    let buckets: Vec<(f64, u64)> = (0..10)
        .map(|step| (us * f64::from(step + 1), 100_000 >> (2 * step)))
        .collect();
    let count: u64 = buckets.iter().map(|bucket| bucket.1).sum();
    json!({
        "count": count, "mean_us": us * 1.2, "p50_us": us, "p90_us": us * 2.0, "p99_us": us * 4.0,
        "p99_9_us": us * 6.0, "p99_99_us": us * 7.0, "max_us": us * 10.0, "buckets": buckets,
    })
}

/// An open loop that counts.
fn run(server: &str, round: u32, cpu: f64, us: f64) -> Value {
    let latency =
        |us: f64| json!({"corrected": distribution(us), "actual": distribution(us * 0.9)});
    json!({
        "scenario": "level", "server": server, "build": format!("{server} 1.2.3"), "round": round,
        "cpu_us_per_request": cpu, "peak_rss_bytes": 41_943_040,
        "load": {
            "url": "http://127.0.0.1:8080/cached/object", "rate": 50_000, "threads": 1, "connections": 64,
            "seconds": 3.0001, "requests": 150_000, "requests_per_second": 49_987.0, "bytes": 180_000_000,
            "errors": {"connect": 0, "timeout": 0},
            "latency": latency(us), "clean": {"windows": 450, "of": 600, "latency": latency(us * 0.8)},
            "generator_cpu_us_per_request": 8.25, "generator_busy": 0.84, "findings": [], "certified": true,
            "seconds_series": [second(cpu, us), second(cpu * 1.1, us), second(cpu, us * 1.3)],
        },
    })
}

fn second(cpu: f64, us: f64) -> Value {
    json!({
        "requests": 50_000, "errors": 0, "p99_us": us * 4.0, "server_cpu": cpu * 0.05, "generator_cpu": 0.4,
    })
}

fn not_certified(mut run: Value) -> Value {
    run["load"]["certified"] = json!(false);
    run["load"]["findings"] = json!(["saturated generator"]);
    run
}

fn side_by_side() -> Vec<Value> {
    let rounds = (1..=3).flat_map(|round| {
        let by = 1.0 + 0.05 * f64::from(round);
        [
            run("ultragate", round, 10.0 * by, 100.0 * by),
            run("nginx", round, 24.0 * by, 300.0 * by),
            run("floor", round, 8.0 * by, 90.0 * by),
        ]
    });
    rounds.collect()
}

/// Panics at the first place that is not well-formed XML.
fn well_formed(text: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        references(&rest[..at]);
        let end = rest[at..].find('>').expect("a tag ends") + at;
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "closes what is not open");
            continue;
        }
        let (tag, empty) = tag
            .strip_suffix('/')
            .map_or((tag, false), |tag| (tag, true));
        let name = tag.split(' ').next().expect("a name");
        assert!(
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric()),
            "<{tag}>"
        );
        attributes(&tag[name.len()..]);
        if !empty {
            open.push(name);
        }
    }
    references(rest);
    assert!(open.is_empty(), "still open: {open:?}");
}

fn attributes(mut rest: &str) {
    let mut seen = Vec::new();
    while !rest.is_empty() {
        let (name, after) = rest
            .strip_prefix(' ')
            .and_then(|rest| rest.split_once("=\""))
            .expect("an attribute");
        let (value, after) = after.split_once('"').expect("a quote");
        assert!(
            name.chars().all(|c| c.is_ascii_alphabetic() || c == '-'),
            "{name:?}"
        );
        assert!(!seen.contains(&name), "{name} twice");
        assert!(
            !value.contains("NaN") && !value.contains("inf "),
            "{name}={value}"
        );
        references(value);
        seen.push(name);
        rest = after;
    }
}

fn references(text: &str) {
    for (at, _) in text.match_indices('&') {
        let known = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"];
        assert!(
            known.iter().any(|known| text[at..].starts_with(known)),
            "{:?}",
            &text[at..]
        );
    }
    let allowed = |c: char| matches!(c, '\t' | '\n') || !c.is_control();
    assert!(text.chars().all(allowed), "a control character");
}

/// Nothing is fetched, nothing runs.
fn stands_alone(text: &str) {
    for fetching in [
        "<script", "<link", "<img", "<iframe", "src=", "url(", "@import", "xlink",
    ] {
        assert!(!text.contains(fetching), "{fetching}");
    }
    for (at, _) in text.match_indices("href=\"") {
        assert!(text[at..].starts_with("href=\"#"), "a link that leads away");
    }
}

#[test]
fn every_server_and_figure_is_on_the_page() {
    let page = Folder::new("all").page(&side_by_side());
    for expected in [
        "ultragate beside nginx, floor",
        "2026-11-21 14:03 UTC",
        "All 9 runs count",
        "level at 50k/s",
        "50,000 requests a second over 64 connections",
        // Median and ends of CPU time, of P99 in clean windows, and both over the floor's.
        "<b>11.0</b>",
        "10.5..11.5",
        "<b>352</b>",
        "<td>1.25</td>",
        "<td>3.33</td>",
        "<b>40.0</b>",
        "P50 ≤ 500 µs",
        "P99 ≤ 1 ms",
        "99.99 %",
        "Latency, clean windows",
        "Answers a second",
        "CPU time of a request",
        "2 × Some CPU",
        "meltdown: Not affected",
        "bbr",
        "ultragate 1.2.3",
        "benchmark -t1 -c64 -d3s -R50000 &#39;http://127.0.0.1:8080/cached/object&#39;",
        "450 of 600",
    ] {
        assert!(page.contains(expected), "{expected} is missing");
    }
    assert!(page.contains("prefers-color-scheme: dark"));
    assert!(!page.contains("not certified:"), "nothing stood out");
}

#[test]
fn what_is_above_its_target_is_marked() {
    let folder = Folder::new("targets");
    let file = folder.record("record.json", &record(&side_by_side()));
    let output = folder.report(&[
        &file,
        "--html",
        "page.html",
        "--percentile-target",
        "p99=380us",
    ]);
    assert!(output.status.success(), "{output:?}");
    let page = fs::read_to_string(folder.0.join("page.html")).expect("a page");
    // Above it for all time, below it in clean windows.
    assert!(page.contains("<b>▲ 440</b>") && page.contains("<b>352</b>"));
    assert!(page.contains("P99 ≤ 380 µs") && !page.contains("P99 ≤ 1 ms"));
    let output = folder.report(&[
        &file,
        "--html",
        "page.html",
        "--percentile-target",
        "p99=soon",
    ]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn runs_that_prove_nothing_are_not_drawn_as_if_they_did() {
    let folder = Folder::new("void");
    let mut runs = side_by_side();
    for run in &mut runs {
        if run["server"] == "nginx" {
            *run = not_certified(run.clone());
        }
    }
    // One round of the gateway's saw errors: its figures are of the others.
    runs[0]["load"]["errors"]["timeout"] = json!(7);
    runs[0]["cpu_us_per_request"] = json!(1.0);
    let page = folder.page(&runs);
    for expected in [
        "4 of 9 runs prove nothing",
        "✕ nginx, rounds 1, 2, 3: not certified: saturated generator",
        "✕ ultragate, round 1: errors: timeout 7",
        "<td>0 of 3</td>",
        "<td>2 of 3</td>",
        "class=\"line void\"",
        "class=\"void-bar\"",
        "<tr class=\"void\">",
        "11.0..11.5",
    ] {
        assert!(page.contains(expected), "{expected} is missing");
    }
    // nginx's own colour is the second.
    for drawn in ["class=\"line l1 ", "class=\"f1 b", "class=\"mark f1\""] {
        assert!(!page.contains(drawn), "{drawn}");
    }
    assert!(
        !page.contains("1.00..11"),
        "a run with errors is in the spread"
    );
}

#[test]
fn a_floor_that_proves_nothing_gives_no_ratios() {
    let runs = [
        run("ultragate", 1, 10.0, 100.0),
        not_certified(run("floor", 1, 8.0, 90.0)),
    ];
    let page = Folder::new("floor").page(&runs);
    assert!(
        !page.contains("1.25 ×") && !page.contains("× the floor"),
        "a ratio to nothing"
    );
}

#[test]
fn one_run_is_a_page() {
    let folder = Folder::new("one");
    let mut run = run("ultragate", 1, 10.0, 100.0);
    run["load"]["rate"] = Value::Null;
    run["load"]["clean"] = Value::Null;
    run["cpu_us_per_request"] = Value::Null;
    run["peak_rss_bytes"] = Value::Null;
    run["load"]["seconds_series"] = json!([]);
    let page = folder.page(&[run]);
    assert!(page.contains("The run counts") && page.contains("closed loop, 64 connections"));
    assert!(!page.contains("Latency, clean windows") && !page.contains("CPU time"));
}

#[test]
fn no_run_is_a_page_too_but_no_picture() {
    let folder = Folder::new("empty");
    assert!(folder.page(&[]).contains("There are no runs here"));
    let output = folder.report(&["record.json", "--svg", "pictures"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("nothing to draw"), "{said}");
}

#[test]
fn figures_without_sense_do_no_harm() {
    let folder = Folder::new("nonsense");
    let mut empty = run("a", 1, 0.0, 0.0);
    empty["load"]["latency"]["corrected"]["buckets"] = json!([]);
    empty["load"]["seconds"] = json!(0.0);
    let mut huge = run("b", 1, 1e300, 1e300);
    huge["load"]["seconds"] = json!(1e300);
    huge["load"]["requests"] = json!(u64::MAX);
    huge["load"]["latency"]["corrected"]["buckets"] = json!([[1e300, u64::MAX], [1e301, u64::MAX]]);
    huge["load"]["errors"] = json!({"read": u64::MAX, "write": u64::MAX});
    folder.page(&[empty, huge, run("floor", 1, -1.0, -5.0)]);
}

#[test]
fn names_are_text_whatever_is_in_them() {
    let folder = Folder::new("names");
    let name = "<script>alert('1')</script>&\"\u{1}";
    let mut run = run(name, 1, 10.0, 100.0);
    run["scenario"] = json!("</style><b>&amp;");
    run["load"]["url"] = json!("http://h/<i>'\"&");
    run["load"]["findings"] = json!(["<u>"]);
    run["load"]["errors"] = json!({"<em>": 1});
    let mut record = record(&[run]);
    record["host"]["cpu"] = json!("<cpu>&");
    let file = folder.record("<&>.json", &record);
    let output = folder.report(&[&file, "--html", "page.html", "--svg", "."]);
    assert!(output.status.success(), "{output:?}");
    for file in ["page.html", "latency.svg", "cpu.svg"] {
        let text = folder.written(file);
        assert!(
            !text.contains("<script>") && !text.contains("<cpu>"),
            "{file}"
        );
    }
    let page = folder.written("page.html");
    assert!(page.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;&quot;\u{fffd}"));
}

#[test]
fn pictures_stand_by_themselves() {
    let folder = Folder::new("pictures");
    let mut runs = side_by_side();
    let mut closed = run("ultragate", 1, 12.5, 700.0);
    closed["scenario"] = json!("hit-64");
    closed["load"]["rate"] = Value::Null;
    runs.insert(0, closed);
    let file = folder.record("record.json", &record(&runs));
    let output = folder.report(&[&file, "--svg", "pictures"]);
    assert!(output.status.success(), "{output:?}");
    let latency = folder.written("pictures/latency.svg");
    let cpu = folder.written("pictures/cpu.svg");
    for picture in [&latency, &cpu] {
        assert!(picture.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 "));
        assert!(picture.contains("class=\"card\""), "a ground of its own");
        for server in ["ultragate", "nginx", "floor"] {
            assert!(picture.contains(&format!(">{server}</text>")), "{server}");
        }
    }
    assert!(
        latency.contains("Latency, level: 50,000 requests a second"),
        "the open loop"
    );
    for expected in [
        "cached 1 KiB, 64 connections",
        "level, 50k/s",
        ">11.0<",
        ">1.25 ×<",
        ">3.00 ×<",
        "whisker",
    ] {
        assert!(cpu.contains(expected), "{expected} is missing");
    }
    let output = folder.report(&[&file, "--svg", "pictures", "--scenario", "hit-64"]);
    assert!(output.status.success(), "{output:?}");
    assert!(!folder.written("pictures/cpu.svg").contains("level"));
}

#[test]
fn builds_of_one_server_are_not_mixed() {
    let mut after = run("ultragate", 1, 20.0, 100.0);
    after["build"] = json!("ultragate 1.2.4");
    let folder = Folder::new("builds");
    let page = folder.page(&[run("ultragate", 1, 10.0, 100.0), after]);
    for expected in [
        "ultragate #1",
        "ultragate #2",
        "<b>10.0</b>",
        "<b>20.0</b>",
        "ultragate 1.2.4",
    ] {
        assert!(page.contains(expected), "{expected} is missing");
    }
}

#[test]
fn records_are_put_together_and_hosts_told_apart() {
    let folder = Folder::new("records");
    let first = folder.record("first.json", &record(&[run("ultragate", 1, 10.0, 100.0)]));
    let mut second = record(&[run("ultragate", 1, 12.0, 100.0)]);
    second["host"]["kernel"] = json!("6.1.0");
    let second = folder.record("second.json", &second);
    let output = folder.report(&[&first, &second, "--html", "page.html"]);
    assert!(output.status.success(), "{output:?}");
    let page = folder.written("page.html");
    for expected in ["10.0..12.0", "of 2 hosts", "6.1.0", "6.18.5", "second.json"] {
        assert!(page.contains(expected), "{expected} is missing");
    }
}

#[test]
fn what_is_no_record_is_named() {
    let folder = Folder::new("refused");
    let good = folder.record("good.json", &record(&[]));
    let mut newer = record(&[]);
    newer["schema"] = json!(2);
    let mut incomplete = record(&[]);
    incomplete["host"] = json!({});
    for (name, text, why) in [
        ("newer.json", newer.to_string(), "schema 2"),
        ("incomplete.json", incomplete.to_string(), "not a record"),
        ("other.json", "{\"a\":1}".to_owned(), "not a record"),
        ("text.json", "no JSON".to_owned(), "not a record"),
        ("bytes.json", String::new(), "not a record"),
    ] {
        let file = folder.file(name, &text);
        let output = folder.report(&[&good, &file, "--html", "page.html"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(name) && said.contains(why), "{said}");
        assert!(
            !folder.0.join("page.html").exists(),
            "a page of half the records"
        );
    }
    for (arguments, code, why) in [
        (
            &["absent.json", "--html", "page.html"][..],
            1,
            "absent.json",
        ),
        (
            &[&good, "--html", "page.html", "--scenario", "none"],
            1,
            "none",
        ),
        (
            &[&good, "--html", "no/such/folder.html"],
            1,
            "no/such/folder.html",
        ),
        (&[&good], 2, "--html"),
        (&["--html", "page.html"], 2, "RECORD"),
    ] {
        let output = folder.report(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(why), "{said}");
    }
}

/// As it stands in the repository.
fn ours(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Runs a program that need not be there.
fn with(program: &str, folder: &Folder, arguments: &[&str]) -> Option<Output> {
    let mut command = Command::new(program);
    command.current_dir(&folder.0).args(arguments);
    command
        .env("PYTHONPATH", &folder.0)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .ok()
}

/// Enough of k6 to see what the script asks for, and with which answers it is content.
#[test]
fn the_k6_script_does_what_the_runbook_says() {
    let script = fs::read_to_string(ours("k6/load-test.js")).expect("a script");
    let folder = Folder::new("k6");
    folder.file(
        "load-test.mjs",
        &script
            .replace("'k6/http'", "'./http.mjs'")
            .replace("'k6'", "'./k6.mjs'"),
    );
    folder.file(
        "http.mjs",
        "const get = (url) => { console.log('GET ' + url); \
         return { status: 200, body: 'x', headers: { 'Cache-Status': 'ultragate; hit' } }; }; export default { get };",
    );
    folder.file(
        "k6.mjs",
        "export const sleep = () => {}; export const check = (answer, checks) => { \
         for (const [name, holds] of Object.entries(checks)) console.log(`${name}: ${holds(answer)}`); };",
    );
    folder.file(
        "run.mjs",
        "globalThis.__ENV = { BASE_URL: 'http://gateway/' }; const script = await import('./load-test.mjs'); \
         console.log(JSON.stringify(script.options)); script.default(script.setup());",
    );
    let Some(output) = with("node", &folder, &["run.mjs"]) else {
        eprintln!("left out: there is no node here");
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    for expected in [
        r#""vus":100,"duration":"5m""#,
        r#""http_req_duration":["p(95)<100","p(99)<500"]"#,
        r#""http_req_failed":["rate<0.001"]"#,
        "GET http://gateway/api/v1/status\n",
        "GET http://gateway/health\n",
        "GET http://gateway/1k\n",
        "object is a hit: true",
    ] {
        assert!(said.contains(expected), "{expected} is missing: {said}");
    }
    assert!(!said.contains(": false"), "{said}");
}

/// Enough of Locust to see what a user asks for, and when the file says that a bound was not kept.
#[test]
fn the_locust_file_does_what_the_runbook_says() {
    let file = fs::read_to_string(ours("locust/locustfile.py")).expect("a file");
    assert!(file.contains("--users=1000 --spawn-rate=100"));
    let folder = Folder::new("locust");
    folder.file("locustfile.py", &file);
    folder.file(
        "locust.py",
        "class FastHttpUser: pass\n\
         def constant(seconds): return seconds\n\
         def task(weight): return lambda function: function\n\
         class Event:\n    def add_listener(self, function): return function\n\
         class events: quitting = Event()\n",
    );
    folder.file(
        "run.py",
        r#"
import locustfile
from types import SimpleNamespace as Of

class Answer:
    status_code, content = 200, b"x"
    def __enter__(self): return self
    def __exit__(self, *_): pass
    def failure(self, why): print("failure", why)

class Asked:
    def get(self, path, name, catch_response=False):
        print("GET", path, name)
        return Answer()

user = locustfile.Client()
user.client = Asked()
user.cached_object(), user.status(), user.health()

def judged(p95, p99, errors, health):
    of = lambda p95, p99, name: Of(num_requests=1, fail_ratio=errors, name=name,
        get_response_time_percentile=lambda share: p95 if share == 0.95 else p99)
    stats = Of(total=of(p95, p99, "all"), entries={("health", "GET"): of(health, 0, "health")})
    environment = Of(stats=stats, process_exit_code=None)
    locustfile.judge(environment)
    return environment.process_exit_code

print("codes", judged(99, 499, 0.0009, 99), judged(101, 1, 0, 1), judged(1, 501, 0, 1), judged(1, 1, 0.002, 1), judged(1, 1, 0, 101))
"#,
    );
    let Some(output) = with("python3", &folder, &["run.py"]) else {
        eprintln!("left out: there is no python3 here");
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    for expected in [
        "GET /1k object\n",
        "GET /api/v1/status status\n",
        "GET /health health\n",
        "codes None 1 1 1 1\n",
    ] {
        assert!(said.contains(expected), "{expected} is missing: {said}");
    }
    assert!(!said.contains("failure"), "{said}");
}
