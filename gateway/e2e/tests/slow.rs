//! `/admin/slow`: what took long, failed or was drawn, and where its time went.

use std::time::Duration;

use e2e::{
    Backend, Client, Gate, Gateway, Next, Origin, Setup, Signal, Watch, becomes, both_drivers,
    eventually, get, get_with, ok,
};
use serde_json::Value;

both_drivers!(
    a_slow_origin_is_named_by_its_stage,
    a_miss_below_its_routes_threshold_is_not_kept,
    errors_are_kept_whatever_they_took,
    one_in_so_many_is_drawn,
    clients_that_give_up_are_errors_with_what_they_got,
    percentile_threshold_and_top_narrow_it,
    a_wrong_question_is_told_what_would_be_right,
    a_process_that_was_stopped_shows_in_what_its_requests_waited,
    a_shard_that_stood_still_shows_in_what_each_of_its_requests_waited,
);

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// What the operator's port answers to a path.
fn operator(gateway: &Gateway, path: &str) -> (u16, String) {
    let answer = Client::connect(gateway.operator).ask(get(path));
    (answer.status, answer.text())
}

fn slow(gateway: &Gateway, query: &str) -> Value {
    let (status, text) = operator(gateway, &format!("/admin/slow{query}"));
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).expect("it is JSON")
}

/// The requests kept for a cause.
fn kept(gateway: &Gateway, cause: &str) -> Vec<Value> {
    let all = slow(gateway, "?top=1000");
    let requests = all["requests"].as_array().expect("a list").clone();
    requests
        .into_iter()
        .filter(|request| request["cause"] == cause)
        .collect()
}

fn held(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::start(move |request, wire| {
        if request.target == "/held" {
            gate.pass();
        }
        wire.send(ok("Cache-Control: max-age=60\r\n", "hello"));
        Next::Keep
    })
}

fn setup(origin: &Origin, backend: Backend, threshold: &str) -> Setup {
    Setup::new(backend)
        .set("telemetry", "slow_threshold", "\"1h\"")
        .set("telemetry", "sample_one_in", "\"off\"")
        .everything_to(origin.address(), "")
        .with(&format!("slow_threshold = \"{threshold}\""))
}

fn a_slow_origin_is_named_by_its_stage(backend: Backend) {
    let gate = Gate::new();
    let origin = held(&gate);
    let gateway = setup(&origin, backend, "1us").start();
    let mut client = gateway.client();
    let trace = format!("traceparent: 00-{TRACE}-b7ad6b7169203331-01\r\n");
    client.send(get_with("/held", &trace));
    eventually("the origin is asked", || origin.count() == 1);
    gate.open();
    assert_eq!(client.response().body, b"hello");
    eventually("it is kept", || !kept(&gateway, "slow").is_empty());
    let all = slow(&gateway, "");
    assert_eq!(all["worst_stage"], "upstream_first_byte", "{all}");
    let request = &all["requests"][0];
    let seconds = |value: &Value| value.as_f64().expect("a number");
    let stages = request["stages_seconds"].as_object().expect("stages");
    let sum: f64 = stages.values().map(seconds).sum();
    let duration = seconds(&request["duration_seconds"]);
    assert!((sum - duration).abs() < 1e-6, "{sum} of {duration}");
    for (name, value) in [
        ("method", "GET"),
        ("cache", "miss"),
        ("route", "all"),
        ("upstream", "origin"),
        ("trace_id", TRACE),
        ("parent_id", "b7ad6b7169203331"),
    ] {
        assert_eq!(request[name], value, "{name} of {request}");
    }
    assert_eq!(request["status"], 200);
    assert!(
        request["sent_bytes"]
            .as_u64()
            .is_some_and(|bytes| bytes > 100)
    );
    assert_eq!(request["key"].as_str().map(str::len), Some(16));
    let (_, table) = operator(&gateway, "/admin/slow?format=table");
    assert!(
        table.contains("in stage upstream_first_byte") && table.contains(TRACE),
        "{table}"
    );
}

fn a_miss_below_its_routes_threshold_is_not_kept(backend: Backend) {
    let origin = Origin::answering(ok("", "x"));
    let gateway = setup(&origin, backend, "1h").start();
    gateway.ask(get("/a"));
    gateway.ask(get("/health"));
    assert_eq!(slow(&gateway, "")["matched"], 0);
}

fn errors_are_kept_whatever_they_took(backend: Backend) {
    let gateway = Setup::new(backend)
        .set("telemetry", "slow_threshold", "\"off\"")
        .set("telemetry", "sample_one_in", "\"off\"")
        .everything_to(([127, 0, 0, 1], 9).into(), "")
        .with("slow_threshold = \"off\"")
        .start();
    assert_eq!(gateway.ask(get("/a")).status, 502);
    eventually("it is kept", || kept(&gateway, "error").len() == 1);
    let error = kept(&gateway, "error").remove(0);
    assert_eq!(
        (error["status"].as_u64(), &error["upstream"]),
        (Some(502), &Value::from("origin"))
    );
}

fn one_in_so_many_is_drawn(backend: Backend) {
    let origin = Origin::answering(ok("Cache-Control: max-age=60\r\n", "x"));
    let gateway = Setup::new(backend)
        .set("api_gateway", "worker_threads", "1")
        .set("telemetry", "slow_threshold", "\"off\"")
        .set("telemetry", "sample_one_in", "10")
        .everything_to(origin.address(), "")
        .with("slow_threshold = \"off\"")
        .start();
    let mut client = gateway.client();
    for _ in 0..100 {
        client.ask(get("/a"));
    }
    eventually("ten are kept", || kept(&gateway, "drawn").len() == 10);
    let hit = kept(&gateway, "drawn").remove(0);
    assert_eq!(hit["cache"], "hit");
}

fn clients_that_give_up_are_errors_with_what_they_got(backend: Backend) {
    let gate = Gate::new();
    let origin = held(&gate);
    let gateway = setup(&origin, backend, "1h").start();
    let mut client = gateway.client();
    client.send(get("/quick"));
    client.send(get("/held"));
    eventually("the origin is asked", || origin.count() == 2);
    // With an answer unread: a reset.
    drop(client);
    eventually("it is kept", || kept(&gateway, "error").len() == 1);
    let error = kept(&gateway, "error").remove(0);
    assert_eq!(
        (error["status"].as_u64(), error["sent_bytes"].as_u64()),
        (Some(499), Some(0))
    );
    gate.open();
}

fn percentile_threshold_and_top_narrow_it(backend: Backend) {
    let origin = Origin::answering(ok("Cache-Control: max-age=60\r\n", "x"));
    let gateway = Setup::new(backend)
        .set("telemetry", "sample_one_in", "1")
        .everything_to(origin.address(), "")
        .start();
    let mut client = gateway.client();
    for _ in 0..20 {
        client.ask(get("/a"));
    }
    let count = |query: &str| slow(&gateway, query)["requests"].as_array().map(Vec::len);
    eventually("all are kept", || count("") == Some(20));
    assert_eq!(count("?top=3"), Some(3));
    assert_eq!(count("?threshold=1h"), Some(0));
    assert_eq!(count("?last=1us"), Some(0));
    eventually("the window has them", || {
        count("?percentile=100").is_some_and(|count| (1..20).contains(&count))
    });
    let durations: Vec<f64> = slow(&gateway, "")["requests"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|request| request["duration_seconds"].as_f64())
        .collect();
    assert!(durations.is_sorted_by(|a, b| a >= b), "{durations:?}");
}

fn a_wrong_question_is_told_what_would_be_right(backend: Backend) {
    let origin = Origin::answering(ok("", "x"));
    let gateway = Gateway::before(&origin, backend);
    let (status, text) = operator(&gateway, "/admin/slow?threshold=fast");
    assert!(status == 400 && text.contains("500us"), "{status} {text}");
}

/// What waits while nobody runs counts from when it could have been seen, not from when somebody looked.
fn a_process_that_was_stopped_shows_in_what_its_requests_waited(backend: Backend) {
    const STOPPED: Duration = Duration::from_millis(300);
    let origin = Origin::answering(ok("Cache-Control: max-age=60\r\n", "hello"));
    let gateway = setup(&origin, backend, "1h")
        .set("telemetry", "slow_threshold", "\"100ms\"")
        .start();
    let mut client = gateway.client();
    for _ in 0..10 {
        client.ask(get("/a"));
    }
    gateway.signal(Signal::STOP);
    eventually("all of it is stopped", || gateway.is_stopped());
    client.send(get("/a"));
    // For so long, and nothing ends it sooner.
    becomes(STOPPED, || false);
    gateway.signal(Signal::CONT);
    assert!(client.response().is_hit());
    // The answer before may be kept too: it was being sent.
    let waited = |request: &Value| request["stages_seconds"]["wait"].as_f64() > Some(0.2);
    eventually("it is kept with its wait", || {
        kept(&gateway, "slow").iter().any(waited)
    });
    let mut watch = Watch::of(&gateway);
    eventually("the summary has it", || {
        watch.sample("request_latency_seconds", &["quantile=\"1\""]) > 0.2
    });
}

/// The shard alone, for 50 ms: waits show from when they asked, on both sides. The kernel tells of one connection in eight
/// when its bytes came, and of eight in a row one is such a one.
fn a_shard_that_stood_still_shows_in_what_each_of_its_requests_waited(backend: Backend) {
    const STALL: Duration = Duration::from_millis(50);
    let origin = Origin::answering(ok("Cache-Control: max-age=60\r\n", "hello"));
    let gateway = setup(&origin, backend, "1us")
        .set("telemetry", "slow_threshold", "\"1us\"")
        .set("api_gateway", "worker_threads", "1")
        .start();
    let mut clients: [_; 9] = std::array::from_fn(|_| gateway.client());
    for client in &mut clients {
        client.ask(get("/a"));
    }
    let traced = |id| format!("traceparent: 00-{id:032x}-b7ad6b7169203331-01\r\n");
    let [early, late @ ..] = &mut clients;
    gateway.stall(0, || {
        early.send(get_with("/a", &traced(1)));
        // For so long, and nothing ends it sooner.
        becomes(STALL, || false);
        for (id, late) in (2..).zip(&mut *late) {
            late.send(get_with("/a", &traced(id)));
        }
    });
    assert!(clients.iter_mut().all(|client| client.response().is_hit()));
    let request = |id: u32| {
        let id = format!("{id:032x}");
        let requests = kept(&gateway, "slow").into_iter();
        requests
            .into_iter()
            .find(|request| request["trace_id"] == id)
    };
    let waited = |id| request(id)?["stages_seconds"]["wait"].as_f64();
    let all = || (1..=9).map(waited).collect::<Option<Vec<f64>>>();
    eventually("all are kept", || all().is_some());
    let waits = all().expect("they were kept");
    let (early, late) = (waits[0], &waits[1..]);
    assert!(early > 0.03, "{waits:?}");
    assert!(late.iter().any(|late| *late < early - 0.03), "{waits:?}");
    let mut watch = Watch::of(&gateway);
    eventually("the summary has it", || {
        watch.sample("request_latency_seconds", &["quantile=\"1\""]) > 0.03
    });
    // It says, too, that the CPU ran something else: since the sleep in between should have ended.
    let seconds = |value: &Value| value.as_f64().expect("a number");
    let early = request(1).expect("it is kept");
    assert!(seconds(&early["cpu_taken_seconds"]) > 0.02, "{early}");
    let (_, gaps) = operator(&gateway, "/admin/gaps?last=1m");
    let gaps: Value = serde_json::from_str(&gaps).expect("it is JSON");
    let of_shard = |gap: &Value| gap["shard"] == 0 && seconds(&gap["seconds"]) > 0.02;
    let gaps = gaps["gaps"].as_array().expect("a list");
    assert!(gaps.iter().any(of_shard), "{gaps:?}");
    assert!(watch.sample("shard_cpu_taken_seconds_total", &["shard=\"0\""]) > 0.02);
}
