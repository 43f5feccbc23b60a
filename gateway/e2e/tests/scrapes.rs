//! `GET /metrics` in its three formats, as scrapers ask for them and as a real Prometheus takes them.

mod prometheus;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use e2e::{
    Backend, Client, Gateway, Next, Origin, PATIENCE, Response, Setup, becomes, both_drivers,
    eventually, get, get_with, installed, ok,
};
use prometheus::Prometheus;
use serde_json::Value;

both_drivers!(
    the_format_is_what_accept_prefers,
    every_format_tells_the_same_durations,
    promtool_reads_both_texts,
    prometheus_reads_open_metrics,
    prometheus_computes_quantiles_of_native_histograms,
    prometheus_keeps_the_trace_of_a_request_in_a_bucket,
);

const OPEN_METRICS: &str = "application/openmetrics-text;version=1.0.0";
const PROTOBUF: &str =
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const DURATION: &str = "http_request_duration_seconds";

fn gateway(backend: Backend) -> (Gateway, Origin) {
    let origin = Origin::start(|_, wire| {
        wire.send(ok("Cache-Control: max-age=600\r\n", "hello"));
        Next::Keep
    });
    let setup = Setup::new(backend).everything_to(origin.address(), "");
    (setup.start(), origin)
}

/// A miss and four hits; their answers are counted once the kernel has taken them.
fn load(gateway: &Gateway) {
    let mut client = gateway.client();
    for _ in 0..5 {
        client.ask(get("/a"));
    }
}

fn scrape(gateway: &Gateway, accept: &str) -> Response {
    let request = get_with("/metrics", &format!("Accept: {accept}\r\n"));
    let answer = Client::connect(gateway.metrics).ask(request);
    assert_eq!(answer.status, 200, "{accept}");
    assert_eq!(answer.field("Vary"), Some("Accept"), "{accept}");
    answer
}

fn the_format_is_what_accept_prefers(backend: Backend) {
    let (gateway, _origin) = gateway(backend);
    let kind = |accept: &str| {
        let answer = scrape(&gateway, accept);
        answer.field("Content-Type").unwrap_or_default().to_owned()
    };
    let rest = "text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    let classic = "text/plain; version=0.0.4; charset=utf-8";
    for accept in ["*/*", "text/plain", "application/json", rest] {
        assert_eq!(kind(accept), classic, "{accept}");
    }
    let plain = Client::connect(gateway.metrics).ask(get("/metrics"));
    assert_eq!(plain.field("Content-Type"), Some(classic));
    assert_eq!(
        kind(&format!("{OPEN_METRICS},{rest}")),
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    let protobuf = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
    assert_eq!(
        kind(&format!("{PROTOBUF},{OPEN_METRICS};q=0.8,{rest}")),
        protobuf
    );
    // Two lines of a field are one list.
    let lines = format!("{rest}\r\nAccept: {PROTOBUF}");
    assert_eq!(kind(&lines), protobuf);
}

fn every_format_tells_the_same_durations(backend: Backend) {
    let (gateway, _origin) = gateway(backend);
    load(&gateway);
    let hits = |text: &str| {
        let series = format!("{DURATION}_count{{route=\"all\",cache=\"hit\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&series));
        line.and_then(|count| count.parse().ok()).unwrap_or(0)
    };
    eventually("four hits are counted", || {
        hits(&scrape(&gateway, "*/*").text()) == 4
    });

    let classic = scrape(&gateway, "*/*").text();
    let open = scrape(&gateway, OPEN_METRICS).text();
    assert_eq!(hits(&open), 4);
    assert!(open.ends_with("\n# EOF\n"), "{open}");
    assert!(open.contains(&format!("\n# UNIT {DURATION} seconds\n")));
    assert!(open.contains("# TYPE http_requests counter\nhttp_requests_total{"));

    let body = scrape(&gateway, PROTOBUF).body;
    let families = families(&body);
    let names = |text: &str| {
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let names = types.filter_map(|line| line.split(' ').next());
        names.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let found: BTreeSet<_> = families.iter().map(|family| family.text(1)).collect();
    assert_eq!(found, names(&classic));
    let stems = found
        .iter()
        .map(|name| name.trim_end_matches("_total").to_owned());
    assert_eq!(stems.collect::<BTreeSet<_>>(), names(&open));

    let family = families.iter().find(|family| family.text(1) == DURATION);
    let metrics = family.expect("durations").all(4);
    let of_hits = metrics.iter().find(|metric| {
        let labels = metric.all(1);
        labels.iter().any(|label| label.text(2) == "hit")
    });
    let histogram = &of_hits.expect("hits").all(7)[0];
    assert_eq!(histogram.number(1), 4);
    let buckets = histogram.all(3);
    assert_eq!(buckets.len(), 30);
    assert_eq!(buckets[29].number(1), 4);
    assert_eq!(histogram.number(5), 6, "schema 3, zigzag");
    let spans = histogram.all(12);
    let length: u64 = spans.iter().map(|span| span.number(2)).sum();
    let deltas = histogram.numbers(13);
    assert_eq!(length, deltas.len() as u64);
    let steps = deltas
        .iter()
        .map(|delta| (delta >> 1) as i64 ^ -((delta & 1) as i64));
    let counts = steps.scan(0, |count, step| {
        *count += step;
        Some(*count)
    });
    assert_eq!(counts.sum::<i64>() + histogram.number(7) as i64, 4);
}

fn promtool_reads_both_texts(backend: Backend) {
    let Some(promtool) = installed("promtool") else {
        return;
    };
    let (gateway, _origin) = gateway(backend);
    load(&gateway);
    assert_eq!(check(&promtool, &scrape(&gateway, "*/*").body), "");
    // It knows the classic text alone, to which the help of an OpenMetrics counter is another family's.
    let said = check(&promtool, &scrape(&gateway, OPEN_METRICS).body);
    for line in said.lines() {
        assert!(line.ends_with("_total no help text"), "{line}");
    }
}

/// What `promtool check metrics` says.
fn check(promtool: &Path, exposition: &[u8]) -> String {
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(exposition).expect("promtool reads");
    drop(input);
    let output = child.wait_with_output().expect("promtool ends");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

fn prometheus_reads_open_metrics(backend: Backend) {
    let Some(program) = installed("prometheus") else {
        return;
    };
    let (gateway, _origin) = gateway(backend);
    load(&gateway);
    let config = open_metrics(version(&program));
    let prometheus = Prometheus::start(&program, gateway.metrics, config, &[]);
    eventually("its buckets are there, spelled as OpenMetrics does", || {
        let series = format!("{DURATION}_bucket{{cache=\"hit\", le=\"1.0\"}}");
        value(&prometheus, &series) == Some(4.0)
    });
    // Only OpenMetrics tells units.
    let known = prometheus.get("/api/v1/targets/metadata", "metric", DURATION);
    assert_eq!(known[0]["unit"], "seconds", "{known}");
    // Whatever Prometheus does not accept of one scrape, it drops all of it.
    assert_eq!(value(&prometheus, "min_over_time(up[1m])"), Some(1.0));
}

fn prometheus_computes_quantiles_of_native_histograms(backend: Backend) {
    let Some(program) = installed("prometheus") else {
        return;
    };
    let (gateway, _origin) = gateway(backend);
    let version = version(&program);
    if version < (2, 40) {
        eprintln!("skipped: Prometheus has native histograms since 2.40, this is {version:?}");
        return;
    }
    let flags = ["--enable-feature=native-histograms"];
    let prometheus = Prometheus::start(&program, gateway.metrics, native(version), &flags);
    let median = format!("histogram_quantile(0.5, sum(rate({DURATION}[1m])))");
    let found = becomes(PATIENCE, || {
        load(&gateway);
        value(&prometheus, &median).is_some_and(|median| median > 0.0 && median < 60.0)
    });
    assert!(found, "no median: {:?}", value(&prometheus, &median));
    assert_eq!(value(&prometheus, "min_over_time(up[1m])"), Some(1.0));
}

fn prometheus_keeps_the_trace_of_a_request_in_a_bucket(backend: Backend) {
    let Some(program) = installed("prometheus") else {
        return;
    };
    let version = version(&program);
    let origin = Origin::answering(ok("Cache-Control: max-age=600\r\n", "hello"));
    let gateway = Setup::new(backend)
        .set("telemetry", "sample_one_in", "1")
        .everything_to(origin.address(), "")
        .start();
    let trace = format!("traceparent: 00-{TRACE}-b7ad6b7169203331-01\r\n");
    gateway.ask(get_with("/a", &trace));
    let feature = "--enable-feature=exemplar-storage";
    let of_buckets = (open_metrics(version), vec![feature], "_bucket");
    let both = vec![feature, "--enable-feature=native-histograms"];
    let of_native = (native(version), both, "");
    for (config, flags, suffix) in [of_buckets, of_native] {
        if suffix.is_empty() && version < (2, 40) {
            eprintln!("skipped: Prometheus has native histograms since 2.40, this is {version:?}");
            continue;
        }
        let prometheus = Prometheus::start(&program, gateway.metrics, config, &flags);
        let mut found = Value::Null;
        eventually("the exemplar is there", || {
            let path = "/api/v1/query_exemplars?start=0&end=9999999999";
            found = prometheus.get(path, "query", &format!("{DURATION}{suffix}"));
            !found[0].is_null()
        });
        let labels = &found[0]["seriesLabels"];
        assert_eq!(labels["cache"], "miss", "{found}");
        let exemplar = &found[0]["exemplars"][0];
        assert_eq!(exemplar["labels"]["trace_id"], TRACE, "{found}");
    }
}

/// The configuration that has Prometheus ask for OpenMetrics; what it asks for by itself depends on its version.
fn open_metrics(version: (u32, u32)) -> &'static str {
    match version >= (2, 49) {
        true => "  scrape_protocols: [OpenMetricsText1.0.0]\n",
        false => "",
    }
}

/// The configuration that has Prometheus take native histograms from 3.8 on; earlier ones refuse it and have a feature.
fn native(version: (u32, u32)) -> &'static str {
    match version >= (3, 8) {
        true => "  scrape_native_histograms: true\n",
        false => "",
    }
}

/// Major and minor.
fn version(program: &Path) -> (u32, u32) {
    let output = Command::new(program).arg("--version").output();
    let said = output.expect("prometheus runs").stdout;
    let said = String::from_utf8_lossy(&said);
    let mut numbers = said.split("version ").nth(1).unwrap_or_default().split('.');
    let mut number = || numbers.next().and_then(|number| number.parse().ok());
    (number().unwrap_or(0), number().unwrap_or(0))
}

/// The value of an expression that gives one series.
fn value(prometheus: &Prometheus, expression: &str) -> Option<f64> {
    let data = prometheus.get("/api/v1/query", "query", expression);
    let value: &Value = &data["result"][0]["value"][1];
    value.as_str()?.parse().ok()
}

/// A protobuf message's fields, in their order.
struct Message<'a>(Vec<(u64, Content<'a>)>);

enum Content<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Messages behind their lengths.
fn families(mut bytes: &[u8]) -> Vec<Message<'_>> {
    let mut families = Vec::new();
    while !bytes.is_empty() {
        families.push(Message::of(prefixed(&mut bytes)));
    }
    families
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().expect("a number ends");
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return value;
        }
    }
    panic!("a number of more than 64 bits");
}

fn prefixed<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
    let length = varint(bytes) as usize;
    let (content, rest) = bytes.split_at(length);
    *bytes = rest;
    content
}

impl<'a> Message<'a> {
    fn of(mut bytes: &'a [u8]) -> Message<'a> {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let key = varint(&mut bytes);
            let content = match key & 7 {
                0 => Content::Number(varint(&mut bytes)),
                1 => {
                    let (double, rest) = bytes.split_at(8);
                    bytes = rest;
                    Content::Bytes(double)
                }
                2 => Content::Bytes(prefixed(&mut bytes)),
                wire => panic!("wire type {wire}"),
            };
            fields.push((key >> 3, content));
        }
        Message(fields)
    }

    fn numbers(&self, field: u64) -> Vec<u64> {
        let own = self.0.iter().filter(|(number, _)| *number == field);
        own.filter_map(|(_, content)| match content {
            Content::Number(value) => Some(*value),
            Content::Bytes(_) => None,
        })
        .collect()
    }

    fn number(&self, field: u64) -> u64 {
        let numbers = self.numbers(field);
        assert_eq!(numbers.len(), 1, "field {field}");
        numbers[0]
    }

    fn bytes(&self, field: u64) -> impl Iterator<Item = &'a [u8]> {
        let own = self.0.iter().filter(move |(number, _)| *number == field);
        own.filter_map(|(_, content)| match content {
            Content::Bytes(bytes) => Some(*bytes),
            Content::Number(_) => None,
        })
    }

    fn text(&self, field: u64) -> String {
        let bytes = self.bytes(field).next().unwrap_or_default();
        String::from_utf8(bytes.to_vec()).expect("text is UTF-8")
    }

    fn all(&self, field: u64) -> Vec<Message<'a>> {
        self.bytes(field).map(Message::of).collect()
    }
}
