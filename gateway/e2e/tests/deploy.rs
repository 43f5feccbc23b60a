//! What `deploy/` ships, read by the programs that it is for: rules keep their tests, and every expression of rules and
//! dashboards finds what a gateway under load exports. Renaming a metric or a label fails here.

mod prometheus;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::{
    Backend, Gateway, Next, Origin, PATIENCE, Setup, answer, ask_with, becomes, both_drivers,
    eventually, get, installed,
};
use prometheus::Prometheus;
use serde_json::Value;

/// The dashboards: file, uid, title. Links and bookmarks keep the uid.
const DASHBOARDS: [(&str, &str, &str); 5] = [
    ("error.json", "ultragate-error", "ultragate / Error"),
    ("latency.json", "ultragate-latency", "ultragate / Latency"),
    (
        "overview.json",
        "ultragate-overview",
        "ultragate / Overview",
    ),
    (
        "resource.json",
        "ultragate-resource",
        "ultragate / Resource",
    ),
    (
        "throughput.json",
        "ultragate-throughput",
        "ultragate / Throughput",
    ),
];

/// Names that not every host and run has series of, and when they have.
const CONDITIONAL: [(&str, &str); 3] = [
    (
        "cpu_quota_periods_total",
        "in a cgroup that has a CPU controller",
    ),
    ("cpu_throttled_periods_total", "likewise"),
    (
        "instance:cpu_throttled_periods:ratio_rate5m",
        "with a CPU quota",
    ),
];

/// What Grafana and this test put in the place of a dashboard's variables.
const VARIABLES: [(&str, &str); 4] = [
    ("$__rate_interval", "1m"),
    ("$job", "ultragate"),
    ("$instance", ".+"),
    ("$route", ".+"),
];

both_drivers!(every_expression_finds_what_a_gateway_exports);

#[test]
fn promtool_accepts_the_rules_and_their_tests() {
    let Some(promtool) = installed("promtool") else {
        return;
    };
    let prometheus = deploy().join("prometheus");
    let run = |words: [&str; 2], files: &[PathBuf]| {
        let output = Command::new(&promtool).args(words).args(files).output();
        let output = output.expect("promtool runs");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "promtool {words:?}:\n{said}");
    };
    run(["check", "config"], &[prometheus.join("prometheus.yml")]);
    run(["check", "rules"], &files(&prometheus.join("rules")));
    run(["test", "rules"], &files(&prometheus.join("tests")));
}

#[test]
fn dashboards_keep_their_uids() {
    let found: Vec<_> = dashboards()
        .iter()
        .map(|(file, board)| {
            let text = |key| board[key].as_str().unwrap_or_default().to_owned();
            (file.clone(), text("uid"), text("title"))
        })
        .collect();
    let expected = DASHBOARDS.map(|(file, uid, title)| (file.into(), uid.into(), title.into()));
    assert_eq!(found, expected);
    for (file, board) in dashboards() {
        assert_eq!(
            board["id"],
            Value::Null,
            "{file} is no dashboard of one server"
        );
        let panels = array(&board["panels"]);
        let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].to_string()).collect();
        assert_eq!(ids.len(), panels.len(), "{file}: panels share an id");
        for panel in panels.iter().filter(|panel| panel["type"] != "row") {
            let from = panel["datasource"]["uid"].as_str();
            assert_eq!(from, Some("${datasource}"), "{file}: {}", panel["title"]);
            assert!(
                !array(&panel["targets"]).is_empty(),
                "{file}: {}",
                panel["title"]
            );
        }
    }
}

fn every_expression_finds_what_a_gateway_exports(backend: Backend) {
    let Some(program) = installed("prometheus") else {
        return;
    };
    let origin = origin_of_all_kinds();
    let gateway = Setup::new(backend)
        .everything_to(origin.address(), "")
        .start();
    let own = deploy().join("prometheus/rules/*.yml");
    let config = format!("rule_files: [{own:?}]\n");
    let prometheus = Prometheus::start(&program, gateway.metrics, &config, &[]);

    let mut rules = Vec::new();
    eventually("every rule was evaluated", || {
        rules = self::rules(&prometheus);
        !rules.is_empty() && rules.iter().all(|rule| rule["health"] != "unknown")
    });
    for rule in &rules {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
    explained(&rules);
    conditions_hold(&rules);

    let mut wanted = Wanted::default();
    for rule in &rules {
        wanted.add_rule(rule);
    }
    for (file, board) in dashboards() {
        wanted.add_dashboard(&file, &board);
    }
    assert!(
        wanted.selectors.len() > 50,
        "the expressions were not found"
    );
    // Every look is preceded by some more load, so that rates are above 0.
    becomes(PATIENCE, || {
        load(&gateway);
        wanted.look(&prometheus)
    });
    wanted.expect_nothing_left();
}

/// Errors under their status, never cacheable under /no, more than sockets hold under /large, else cacheable.
fn origin_of_all_kinds() -> Origin {
    let large = answer(200, "Cache-Control: no-store\r\n", vec![b'x'; 20 << 20]);
    Origin::start(move |request, wire| {
        wire.body(request);
        let sent = match request.target.as_str() {
            "/404" => wire.send(answer(404, "Cache-Control: no-store\r\n", "x")),
            "/503" => wire.send(answer(503, "", "x")),
            "/no" => wire.send(answer(200, "Cache-Control: no-store\r\n", "x")),
            "/large" => wire.send(&large),
            _ => wire.send(answer(200, "Cache-Control: max-age=600\r\n", "x")),
        };
        if sent { Next::Keep } else { Next::Close }
    })
}

fn load(gateway: &Gateway) {
    let mut client = gateway.client();
    for target in ["/a", "/a", "/a", "/no", "/404", "/503", "/health"] {
        client.ask(get(target));
    }
    client.ask(ask_with("POST", "/a", "Content-Length: 1\r\n") + "x");
    // Closed with bytes unread: given up, 499.
    let mut large = gateway.client();
    large.send(get("/large"));
    large.bytes(1).expect("the answer begins");
}

/// Each alert says how bad it is, what happened, with the value, and where to read on; and each has both kinds of tests.
fn explained(rules: &[Value]) {
    let runbook = fs::read_to_string(deploy().join("runbook.md")).expect("a runbook");
    let tests = files(&deploy().join("prometheus/tests"));
    let tests = tests
        .iter()
        .map(|file| fs::read_to_string(file).expect("a file"));
    let tests = tests.collect::<String>();
    let mut alerts = rules
        .iter()
        .filter(|rule| rule["type"] == "alerting")
        .peekable();
    assert!(alerts.peek().is_some(), "there are no alerts");
    for alert in alerts {
        let name = alert["name"].as_str().unwrap_or_default();
        let note = |key: &str| alert["annotations"][key].as_str().unwrap_or_default();
        let severity = alert["labels"]["severity"].as_str().unwrap_or_default();
        assert!(
            ["warning", "critical"].contains(&severity),
            "{name}: severity {severity:?}"
        );
        assert!(!note("summary").is_empty(), "{name} has no summary");
        assert!(
            note("description").contains("$value"),
            "{name} does not tell its value"
        );
        let place = format!("deploy/runbook.md#{}", name.to_lowercase());
        assert_eq!(note("runbook_url"), place, "{name}");
        assert!(
            runbook.contains(&format!("\n## {name}\n")),
            "the runbook lacks {name}"
        );
        for (kind, end) in [("firing", "\n"), ("silent", " []\n")] {
            let case = format!("alertname: {name}\n        exp_alerts:{end}");
            assert!(tests.contains(&case), "{name} has no {kind} case");
        }
    }
}

/// What Prometheus has not shown yet, each with where it is used.
#[derive(Default)]
struct Wanted {
    selectors: BTreeSet<(String, String)>,
    labels: BTreeSet<(String, String)>,
    results: BTreeSet<(String, String)>,
}

impl Wanted {
    fn add_rule(&mut self, rule: &Value) {
        let place = rule["name"].as_str().unwrap_or_default();
        let expression = rule["query"].as_str().unwrap_or_default();
        self.add(place, expression);
        if rule["type"] == "recording" {
            self.results.insert((place.to_owned(), place.to_owned()));
        }
    }

    fn add_dashboard(&mut self, file: &str, board: &Value) {
        for variable in array(&board["templating"]["list"]) {
            let query = variable["query"]["query"].as_str().unwrap_or_default();
            let inner = query
                .strip_prefix("label_values(")
                .and_then(|rest| rest.strip_suffix(')'));
            if let Some((selector, label)) = inner.and_then(|inner| inner.rsplit_once(',')) {
                self.add(file, &substituted(selector));
                self.labels
                    .insert((label.trim().to_owned(), file.to_owned()));
            }
        }
        for panel in array(&board["panels"]) {
            let place = format!("{file}: {}", panel["title"]);
            for target in array(&panel["targets"]) {
                let expression = substituted(target["expr"].as_str().unwrap_or_default());
                self.add(&place, &expression);
                let legend = target["legendFormat"].as_str().unwrap_or_default();
                for part in legend.split("{{").skip(1) {
                    let label = part.split("}}").next().unwrap_or_default();
                    self.labels.insert((label.to_owned(), place.clone()));
                }
                self.results.insert((expression, place.clone()));
            }
        }
    }

    fn add(&mut self, place: &str, expression: &str) {
        let names = Names::of(expression);
        assert!(
            !names.selectors.is_empty(),
            "{place}: no metric in {expression:?}"
        );
        let here = |name| (name, place.to_owned());
        self.selectors.extend(names.selectors.into_iter().map(here));
        self.labels.extend(names.labels.into_iter().map(here));
    }

    /// Drops what is there; true when nothing is left that has to be.
    fn look(&mut self, prometheus: &Prometheus) -> bool {
        let labels = prometheus.get("/api/v1/labels", "", "");
        let labels: BTreeSet<_> = array(&labels).iter().filter_map(Value::as_str).collect();
        self.labels
            .retain(|(label, _)| !labels.contains(label.as_str()));
        self.selectors.retain(|(selector, _)| {
            array(&prometheus.get("/api/v1/series", "match[]", selector)).is_empty()
        });
        self.results.retain(|(expression, _)| {
            array(&prometheus.get("/api/v1/query", "query", expression)["result"]).is_empty()
        });
        let entries = self.selectors.iter().chain(&self.results);
        self.labels.is_empty() && entries.into_iter().all(|(asked, _)| is_conditional(asked))
    }

    /// Nothing is left but what this host need not have.
    fn expect_nothing_left(&self) {
        let due = |entries: &BTreeSet<(String, String)>| {
            let due = entries.iter().filter(|(asked, _)| !is_conditional(asked));
            due.cloned().collect::<Vec<_>>()
        };
        let selectors = due(&self.selectors);
        assert!(selectors.is_empty(), "no such series: {selectors:#?}");
        assert!(self.labels.is_empty(), "no such label: {:#?}", self.labels);
        let results = due(&self.results);
        assert!(results.is_empty(), "these come to nothing: {results:#?}");
    }
}

/// Whether an expression asks for something that need not be there.
fn is_conditional(expression: &str) -> bool {
    let asked = Names::of(expression).selectors;
    let mut names = asked
        .iter()
        .filter_map(|selector| selector.split('{').next());
    names.any(|asked| CONDITIONAL.iter().any(|(name, _)| *name == asked))
}

/// What need not be there is declared all the same.
fn conditions_hold(rules: &[Value]) {
    let reference = deploy().join("../docs/metrics.md");
    let reference = fs::read_to_string(reference).expect("the reference of metrics");
    for (name, condition) in CONDITIONAL {
        let declared = reference.contains(&format!("\n| `{name}` |"));
        let recorded = rules.iter().any(|rule| rule["name"] == name);
        assert!(
            declared || recorded,
            "{name} ({condition}) is not there any more"
        );
    }
}

/// What an expression asks for: instant and range selectors with their matchers, and the labels it groups and joins by.
#[derive(Debug, Default, PartialEq, Eq)]
struct Names {
    selectors: BTreeSet<String>,
    labels: BTreeSet<String>,
}

impl Names {
    fn of(expression: &str) -> Names {
        let mut names = Names::default();
        let mut rest = expression;
        while let Some(first) = rest.chars().next() {
            let word =
                |character: char| character.is_ascii_alphanumeric() || "_:".contains(character);
            let length = rest
                .find(|character| !word(character))
                .unwrap_or(rest.len());
            let (name, after) = rest.split_at(length);
            let next = after.trim_start();
            if length == 0 {
                rest = match first {
                    '[' => behind(rest, ']'),
                    '"' => behind(&rest[1..], '"'),
                    _ => &rest[first.len_utf8()..],
                };
            } else if first.is_ascii_digit() || matches!(name, "and" | "or" | "unless" | "bool") {
                rest = after;
            } else if matches!(name, "by" | "without" | "on" | "ignoring" | "group_left") {
                let list = next
                    .trim_start_matches('(')
                    .split(')')
                    .next()
                    .unwrap_or_default();
                let labels = list.split(',').map(|label| label.trim().to_owned());
                names
                    .labels
                    .extend(labels.filter(|label| !label.is_empty()));
                rest = behind(next, ')');
            } else if ["(", "by ", "by(", "without"]
                .iter()
                .any(|call| next.starts_with(call))
            {
                rest = after;
            } else {
                let braces = next
                    .starts_with('{')
                    .then(|| next.len() - behind(next, '}').len());
                let matchers = &next[..braces.unwrap_or(0)];
                names.selectors.insert(format!("{name}{matchers}"));
                rest = &next[matchers.len()..];
            }
        }
        names
    }
}

/// What comes after the first `end`. No matcher of ours has a brace, a quote or an escape in its value.
fn behind(text: &str, end: char) -> &str {
    text.split_once(end).map_or("", |(_, rest)| rest)
}

#[test]
fn names_are_what_an_expression_asks_for() {
    let names = Names::of(
        r#"sum by (job, le) (rate(a_total{job="x", s=~"5.."}[5m])) / on (job) group_left () (b:c > 0.5) or 0 * max(d) and e{le="+Inf"} > 1e3"#,
    );
    let set = |words: &[&str]| {
        words
            .iter()
            .map(ToString::to_string)
            .collect::<BTreeSet<_>>()
    };
    let selectors = [
        r#"a_total{job="x", s=~"5.."}"#,
        "b:c",
        "d",
        r#"e{le="+Inf"}"#,
    ];
    assert_eq!(names.selectors, set(&selectors));
    assert_eq!(names.labels, set(&["job", "le"]));
}

fn rules(prometheus: &Prometheus) -> Vec<Value> {
    let data = prometheus.get("/api/v1/rules", "", "");
    let groups = array(&data["groups"]).iter();
    groups
        .flat_map(|group| array(&group["rules"]))
        .cloned()
        .collect()
}

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy")
}

fn files(place: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(place).expect("a folder").flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", place.display());
    files
}

fn dashboards() -> Vec<(String, Value)> {
    let read = |file: &PathBuf| {
        let name = file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let text = fs::read_to_string(file).expect("a file");
        let board = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        (name, board)
    };
    files(&deploy().join("grafana")).iter().map(read).collect()
}

fn substituted(expression: &str) -> String {
    let put = |text: String, (name, value): &(&str, &str)| text.replace(name, value);
    let text = VARIABLES.iter().fold(expression.to_owned(), put);
    assert!(!text.contains('$'), "an unknown variable in {expression}");
    text
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
