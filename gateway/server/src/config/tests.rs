//! Stories of whole configurations.

use std::path::{Path, PathBuf};

use super::keys::SECTIONS;
use super::reference;
use super::*;

fn inputs(file: &str) -> Inputs {
    Inputs {
        file: Some((PathBuf::from("g.toml"), file.to_owned())),
        ..Inputs::default()
    }
}

fn faults(file: &str) -> String {
    Sheet::read(&inputs(file)).expect_err("refused").to_string()
}

#[test]
fn what_is_wrong_is_named_with_its_place_and_the_nearest_right_thing() {
    let table = [
        (
            "[cache]\ncapcity = 1\n",
            "g.toml:2:1: unknown key `capcity` in [cache]; did you mean `capacity`?",
        ),
        (
            "[limits]\n  max_object = 1\n",
            "g.toml:2:3: unknown key `max_object` in [limits]; `max_object` belongs in [cache]",
        ),
        (
            "[limits]\nworker_thread = 1\n",
            "g.toml:2:1: unknown key `worker_thread` in [limits]; did you mean `worker_threads` in [api_gateway]?",
        ),
        (
            "[limits]\nbanana = 1\n",
            "g.toml:2:1: unknown key `banana` in [limits]",
        ),
        (
            "[lisen]\n",
            "g.toml:1:2: unknown section [lisen]; did you mean [listen]?",
        ),
        (
            "[[routes]]\n",
            "g.toml:1:3: unknown section [routes]; did you mean [[route]]?",
        ),
        (
            "capacity = 1\n",
            "g.toml:1:1: `capacity` stands outside a section; it belongs in [cache]",
        ),
        (
            "[route]\nname = \"a\"\n",
            "g.toml:1:2: write [[route]] and its keys below",
        ),
        (
            "[[cache]]\n",
            "g.toml:1:3: write [cache] and its keys below",
        ),
        (
            "[[route]]\nname = \"a\"\n",
            "g.toml:1:1: [[route]] needs `upstream`",
        ),
        (
            "[cache]\ncapacity = \"many\"\n",
            "g.toml:2:12: cache.capacity: found \"many\", expected a number from 1 to 4294967296",
        ),
        (
            "[cache]\ncapacity = -1\n",
            "g.toml:2:12: cache.capacity: found -1, expected a number from 1 to 4294967296",
        ),
        (
            "[cache]\nmax_object = \"64M\"\n",
            "g.toml:2:14: cache.max_object: found \"64M\", expected a size such as \"64MiB\", \"500kB\" or 4096 (bytes)",
        ),
        (
            "[api_gateway]\nmemory_pool_size = 4096\n",
            "g.toml:2:20: api_gateway.memory_pool_size: found 4096, expected a size from 16MiB to 64TiB, or \"auto\"",
        ),
        (
            "[drain]\ntimeout = 1.5\n",
            "g.toml:2:11: drain.timeout: found a number with a fraction, expected a number or text with a unit",
        ),
        (
            "[listen]\ndata = [\"0.0.0.0:8080\", \"8081\"]\n",
            "g.toml:2:25: listen.data: found \"8081\", expected an address with a port, such as \"0.0.0.0:8080\" or \"[::]:8080\"",
        ),
        (
            "[listen]\ndata = []\n",
            "g.toml:2:8: listen.data: the list is empty, expected at least one item",
        ),
        (
            "[io]\nbackend = \"poll-mode\"\n",
            "g.toml:2:11: io.backend: \"poll-mode\" is reserved for a later version",
        ),
        (
            "[io]\nbackend = \"uring\"\n",
            "g.toml:2:11: io.backend: found \"uring\", expected \"auto\" or \"io_uring\" or \"epoll\"",
        ),
        (
            "[cache]\nenable_preloading = true\n",
            "g.toml:2:1: cache.enable_preloading = true is reserved for a later version; this one accepts false only",
        ),
        (
            "[[upstream]]\nname = \"_api\"\nendpoints = \"a:1\"\n",
            "g.toml:2:8: upstream.name: found \"_api\", expected a name of 1 to 63 letters, digits, `-`, `.` or `_`, and no `_` at its start",
        ),
        (
            "[[upstream]]\nname = \"api\"\nendpoints = [\"http://a:1\"]\n",
            "g.toml:3:14: upstream.endpoints: found \"http://a:1\", expected a host and a port, such as \"127.0.0.1:3005\" or \"origin.internal:80\" (no scheme)",
        ),
    ];
    for (file, message) in table {
        assert_eq!(faults(file), message, "{file}");
    }
}

#[test]
fn broken_toml_is_named_with_its_place() {
    let message = faults("[cache]\ncapacity = \n");
    assert!(message.starts_with("g.toml:2:"), "{message}");
    let twice = faults("[cache]\ncapacity = 1\ncapacity = 2\n");
    assert!(twice.starts_with("g.toml:3:1: duplicate key"), "{twice}");
}

#[test]
fn all_faults_are_listed_at_once_in_the_order_of_the_file() {
    let message = faults("[cache]\nmax_object = \"x\"\ncapcity = 1\n[lisen]\n");
    let places: Vec<&str> = message
        .lines()
        .filter_map(|line| line.split(": ").next())
        .collect();
    assert_eq!(places, ["g.toml:2:14", "g.toml:3:1", "g.toml:4:2"]);
}

#[test]
fn columns_count_characters_not_bytes() {
    assert!(faults("io = { backend = \"µ\", bäckend = 1 }\n").contains("g.toml:1:"));
    let message = faults("[io]\nbackend = \"epoll\" # µ\nbusy_poll = \"1x\" # µ\n");
    assert!(
        message.starts_with("g.toml:3:13: io.busy_poll"),
        "{message}"
    );
}

/// `cache.capacity` and where it came from, out of the sources given.
fn capacity(file: Option<&str>, environment: Option<&str>, flag: Option<&str>) -> (u64, String) {
    let inputs = Inputs {
        file: file.map(|text| (PathBuf::from("g.toml"), text.to_owned())),
        demo: None,
        environment: environment
            .map(|value| ("ULTRAGATE_CACHE__CAPACITY".to_owned(), value.to_owned()))
            .into_iter()
            .collect(),
        flags: flag.map(str::to_owned).into_iter().collect(),
    };
    let sheet = Sheet::read(&inputs).expect("accepted");
    let settings = Settings::of(&sheet).expect("typed");
    (
        settings.cache.capacity,
        sheet.source("cache", "capacity").to_string(),
    )
}

#[test]
fn a_flag_wins_over_the_environment_that_over_the_file_that_over_the_default() {
    let file = Some("[cache]\ncapacity = 1\n");
    let expect = |value: u64, source: &str| (value, source.to_owned());
    assert_eq!(capacity(None, None, None), expect(2_000_000, "default"));
    assert_eq!(capacity(file, None, None), expect(1, "g.toml:2:1"));
    assert_eq!(
        capacity(file, Some("2"), None),
        expect(2, "environment ULTRAGATE_CACHE__CAPACITY")
    );
    assert_eq!(
        capacity(file, Some("2"), Some("cache.capacity=3")),
        expect(3, "flag --set cache.capacity=3")
    );
}

#[test]
fn the_demo_replaces_upstreams_and_routes_and_nothing_else() {
    let file = "[cache]\ncapacity = 7\n[[upstream]]\nname = \"mine\"\nendpoints = \"a:1\"\n";
    let inputs = Inputs {
        demo: Some(([127, 0, 0, 1], 4321).into()),
        ..inputs(file)
    };
    let sheet = Sheet::read(&inputs).expect("accepted");
    let settings = Settings::of(&sheet).expect("typed");
    assert_eq!(settings.cache.capacity, 7);
    let upstreams: Vec<_> = settings
        .upstream
        .iter()
        .map(|u| (&*u.name, &*u.endpoints))
        .collect();
    assert_eq!(upstreams, [("demo", &["127.0.0.1:4321".to_owned()][..])]);
    assert_eq!(settings.route.len(), 1);
}

fn environment_fault(name: &str) -> Option<String> {
    let inputs = Inputs {
        environment: vec![(name.to_owned(), "tcp://10.0.0.1:80".to_owned())],
        ..Inputs::default()
    };
    Sheet::read(&inputs).err().map(|faults| faults.to_string())
}

#[test]
fn an_unknown_variable_is_refused_with_the_nearest() {
    let table = [
        (
            "ULTRAGATE_CACHE__CAPCITY",
            "environment ULTRAGATE_CACHE__CAPCITY: names no key; did you mean ULTRAGATE_CACHE__CAPACITY?",
        ),
        (
            "ULTRAGATE_CACHE_CAPACITY",
            "environment ULTRAGATE_CACHE_CAPACITY: names no key; did you mean ULTRAGATE_CACHE__CAPACITY?",
        ),
        (
            "ULTRAGATE_UPSTREAM__ENDPOINTS",
            "environment ULTRAGATE_UPSTREAM__ENDPOINTS: [[upstream]] stands in the file only",
        ),
    ];
    for (name, message) in table {
        assert_eq!(environment_fault(name).as_deref(), Some(message));
    }
}

#[test]
fn variables_that_kubernetes_makes_for_a_service_of_our_name_are_passed_over() {
    for name in [
        "ULTRAGATE_SERVICE_HOST",
        "ULTRAGATE_SERVICE_PORT_HTTP",
        "ULTRAGATE_PORT",
        "ULTRAGATE_PORT_8080_TCP_ADDR",
        "ULTRAGATE_METRICS_SERVICE_HOST",
        "ULTRAGATE_METRICS_PORT_9090_TCP",
        "PATH",
    ] {
        assert_eq!(environment_fault(name), None, "{name}");
    }
}

#[test]
fn a_flag_that_names_nothing_is_refused_with_the_nearest() {
    let fault = |flag: &str| {
        let inputs = Inputs {
            flags: vec![flag.to_owned()],
            ..Inputs::default()
        };
        Sheet::read(&inputs).expect_err("refused").to_string()
    };
    assert_eq!(
        fault("cache.capcity=1"),
        "flag --set cache.capcity=1: unknown key `cache.capcity`; did you mean cache.capacity?"
    );
    assert_eq!(
        fault("cache"),
        "flag --set cache: expected section.key=value"
    );
}

#[test]
fn the_table_of_keys_and_the_typed_settings_name_the_same() {
    let file = "[[upstream]]\nname = \"a\"\nendpoints = \"a:1\"\n[[route]]\nname = \"a\"\nupstream = \"a\"\n";
    let sheet = Sheet::read(&inputs(file)).expect("accepted");
    Settings::of(&sheet).expect("the same keys");
    let named: usize = sheet.items().map(|item| item.values.len()).sum();
    assert_eq!(named, SECTIONS.iter().map(|s| s.keys.len()).sum::<usize>());
}

#[test]
fn what_is_in_force_reads_back_as_itself() {
    let file = "[limits]\nmax_body = \"10MiB\"\n[[upstream]]\nname = \"a\"\nendpoints = [\"a:1\", \"b:2\"]\n";
    let first = effective(&Sheet::read(&inputs(file)).expect("accepted"));
    assert!(first.contains("max_body = \"10MiB\""), "{first}");
    assert!(first.contains("# g.toml:2:1"), "{first}");
    let second = Sheet::read(&inputs(&first)).expect("reads back");
    let settings = Settings::of(&second).expect("typed");
    assert_eq!(settings.limits.max_body.value(), Some(10 << 20));
    assert_eq!(settings.upstream[0].endpoints, ["a:1", "b:2"]);
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Compares a page in the repository with what it is written from; `UPDATE=1` writes it.
pub(crate) fn assert_fresh(path: &str, text: &str) {
    let file = root().join(path);
    if std::env::var_os("UPDATE").is_some_and(|value| !value.is_empty()) {
        std::fs::write(&file, text).expect("written");
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        found == text,
        "{path} is not what the code says: run `make docs`"
    );
}

#[test]
fn the_example_is_fresh() {
    assert_fresh("config/gateway.toml", &reference::example());
}

#[test]
fn the_reference_is_fresh() {
    assert_fresh("docs/configuration.md", &reference::reference());
}

#[test]
fn the_example_says_the_defaults_and_nothing_else() {
    let example = Sheet::read(&inputs(&reference::example())).expect("accepted");
    let defaults = Sheet::read(&Inputs::default()).expect("accepted");
    assert_eq!(example.items().count(), defaults.items().count());
    for (said, meant) in example.items().zip(defaults.items()) {
        assert_eq!(said.values.len(), said.section.keys.len());
        for placed in &meant.values {
            let value = said.placed(placed.key.name).map(|said| &said.value);
            assert_eq!(value, Some(&placed.value), "{}", placed.key.name);
        }
    }
}

#[test]
fn the_commented_examples_read_when_uncommented() {
    let text = reference::example();
    let uncommented: Vec<&str> = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') => rest,
            _ => line,
        })
        .collect();
    let sheet = Sheet::read(&inputs(&uncommented.join("\n"))).expect("accepted");
    assert_eq!(sheet.of("upstream").count(), 1);
    assert_eq!(sheet.of("route").count(), 1);
}

#[test]
fn the_minimal_file_is_ten_lines_that_are_enough() {
    let text = std::fs::read_to_string(root().join("config/minimal.toml")).expect("there");
    assert!(text.lines().count() <= 10);
    let sheet = Sheet::read(&inputs(&text)).expect("accepted");
    assert_eq!(sheet.of("route").count(), 1);
}
