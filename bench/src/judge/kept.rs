//! The baseline's file: its runs, the load they were, and the figures of every comparison since.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::generator::LoadArguments;
use crate::record::{Host, Record, SCHEMA};

/// Where baselines lie where nothing else is said, below the current directory.
const DIRECTORY: &str = "bench/baselines";
/// Figures that are kept; the oldest go first.
const HISTORY_MAX: usize = 200;
/// So much memory is one, whatever a kernel leaves of it.
const MEMORY_GRAIN: u64 = 1 << 30;

/// Flags that say how the load is driven and checked, not what it is.
const NEUTRAL: [&str; 12] = [
    "backend",
    "cpus",
    "expect_body",
    "expect_length",
    "expect_status",
    "json",
    "latency",
    "script",
    "spin",
    "timeout",
    "uniform",
    "verify",
];

/// A record with what the judge keeps beside it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Kept {
    #[serde(flatten)]
    pub(crate) record: Record,
    pub(crate) shape: Shape,
    /// The oldest first; of other shapes too.
    #[serde(default)]
    pub(crate) history: Vec<Point>,
}

/// The load, by the names of its flags. Figures of another cannot be compared.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(transparent)]
pub(crate) struct Shape(Map<String, Value>);

/// Medians of one measurement's rounds.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Point {
    /// Seconds of Unix time.
    pub(crate) at: u64,
    pub(crate) build: String,
    pub(crate) shape: Shape,
    pub(crate) cpu_us_per_request: Option<f64>,
    pub(crate) requests_per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

impl Shape {
    pub(crate) fn of(load: &LoadArguments) -> Shape {
        let mut flags = flags(load);
        for name in NEUTRAL {
            flags.remove(name);
        }
        Shape(flags)
    }

    /// What a flag that came later had been.
    fn fields(&self) -> Vec<(String, String)> {
        let mut flags = Shape::of(&LoadArguments::default()).0;
        flags.extend(self.0.clone());
        let word = |(name, value): (String, Value)| {
            let word = match value.as_str() {
                Some(url) if name == "url" => without_port(url),
                Some(text) => text.to_owned(),
                None => value.to_string(),
            };
            (name, word)
        };
        flags.into_iter().map(word).collect()
    }

    /// Every flag in which the two differ, in words.
    pub(crate) fn differences(&self, now: &Shape) -> Vec<String> {
        differences(self.fields(), now.fields())
    }

    /// The load, but for the flags that are given.
    pub(crate) fn load(
        &self,
        given: &dyn Fn(&str) -> bool,
        load: &LoadArguments,
    ) -> serde_json::Result<LoadArguments> {
        let mut flags = flags(load);
        let kept = self.0.iter().filter(|(name, _)| !given(name));
        flags.extend(kept.map(|(name, value)| (name.clone(), value.clone())));
        serde_json::from_value(Value::Object(flags))
    }
}

fn flags(load: &LoadArguments) -> Map<String, Value> {
    match serde_json::to_value(load) {
        Ok(Value::Object(flags)) => flags,
        // Nothing else becomes of a structure.
        _ => Map::new(),
    }
}

/// Every property in which the two hosts differ, in words.
pub(crate) fn host_differences(then: &Host, now: &Host) -> Vec<String> {
    differences(host_fields(then), host_fields(now))
}

/// What a host is known by: 16 digits.
pub(crate) fn fingerprint(host: &Host) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for (name, value) in host_fields(host) {
        for byte in format!("{name}={value}\n").bytes() {
            // FNV-1a.
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    format!("{hash:016x}")
}

fn host_fields(host: &Host) -> Vec<(String, String)> {
    let memory = (host.memory_bytes + MEMORY_GRAIN / 2) / MEMORY_GRAIN;
    let mut fields = named([
        ("CPU", host.cpu.clone()),
        ("CPUs", host.cpus.to_string()),
        ("kernel", host.kernel.clone()),
        ("governor", host.governor.clone()),
        ("memory in GiB", memory.to_string()),
        ("huge pages", host.hugepages.clone()),
        ("congestion control", host.congestion_control.clone()),
    ]);
    let mitigations = host.mitigations.iter();
    fields
        .extend(mitigations.map(|(name, words)| (format!("mitigation of {name}"), words.clone())));
    fields
}

fn named<const N: usize>(fields: [(&str, String); N]) -> Vec<(String, String)> {
    fields.map(|(name, value)| (name.to_owned(), value)).into()
}

fn differences(then: Vec<(String, String)>, now: Vec<(String, String)>) -> Vec<String> {
    let value = |fields: &[(String, String)], name: &str| {
        let found = fields.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let gone = then
        .iter()
        .filter(|(name, _)| !now.iter().any(|(other, _)| other == name));
    let names = now.iter().chain(gone).map(|(name, _)| name);
    names
        .map(|name| (name, value(&then, name), value(&now, name)))
        .filter(|(_, then, now)| then != now)
        .map(|(name, then, now)| format!("{name}: {then:?} then, {now:?} now"))
        .collect()
}

/// A URL whose port is left out.
fn without_port(url: &str) -> String {
    let host_at = url.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = url.split_at(host_at);
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    format!("{scheme}{host}{target}")
}

/// Where a host's baseline lies.
pub(crate) fn place(file: Option<&Path>, host: &Host) -> PathBuf {
    file.map_or_else(
        || Path::new(DIRECTORY).join(fingerprint(host) + ".json"),
        Path::to_path_buf,
    )
}

/// Why there is nothing to compare with.
pub(crate) enum Missing {
    NotThere,
    /// What is wrong with it, in words.
    Unusable(String),
}

/// Reads a baseline.
pub(crate) fn read(place: &Path) -> Result<Kept, Missing> {
    let text = fs::read_to_string(place).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Missing::NotThere,
        _ => Missing::Unusable(error.to_string()),
    })?;
    let unusable = |error: serde_json::Error| Missing::Unusable(error.to_string());
    let value: Value = serde_json::from_str(&text).map_err(unusable)?;
    match value.get("schema").and_then(Value::as_u64) {
        Some(schema) if schema == u64::from(SCHEMA) => {}
        Some(schema) => {
            return Err(Missing::Unusable(format!(
                "it has version {schema} of the shape, this program reads {SCHEMA}"
            )));
        }
        None => return Err(Missing::Unusable("it is no baseline".to_owned())),
    }
    serde_json::from_value(value).map_err(unusable)
}

/// The newest baseline that lies beside `place`: another host's.
pub(crate) fn neighbour(place: &Path) -> Option<(PathBuf, Kept)> {
    let files = fs::read_dir(place.parent()?)
        .ok()?
        .flatten()
        .map(|entry| entry.path());
    let baselines = files.filter_map(|file| Some((read(&file).ok()?, file)));
    let newest = baselines.max_by_key(|(kept, _)| kept.record.at)?;
    Some((newest.1, newest.0))
}

/// Makes the directory, and fails where nothing can be written: before anybody waits for a measurement.
pub(crate) fn prepare(place: &Path) -> io::Result<()> {
    if let Some(directory) = place.parent() {
        fs::create_dir_all(directory).map_err(|error| elsewhere(place, &error))?;
    }
    let beside = beside(place);
    fs::write(&beside, "").map_err(|error| elsewhere(place, &error))?;
    fs::remove_file(beside)
}

/// Writes the baseline in one step: who reads sees the old one or the new one.
pub(crate) fn write(place: &Path, kept: &Kept) -> io::Result<()> {
    let beside = beside(place);
    let text = serde_json::to_string(kept)? + "\n";
    fs::write(&beside, text)
        .and_then(|()| fs::rename(&beside, place))
        .map_err(|error| elsewhere(place, &error))
}

fn beside(place: &Path) -> PathBuf {
    let mut name = place.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    place.with_file_name(name)
}

fn elsewhere(place: &Path, error: &io::Error) -> io::Error {
    let text = format!(
        "{}: {error}; --file FILE puts it elsewhere",
        place.display()
    );
    io::Error::new(error.kind(), text)
}

impl Kept {
    /// Appends a point; the oldest goes where there are too many.
    pub(crate) fn remember(&mut self, point: Point) {
        self.history.push(point);
        let surplus = self.history.len().saturating_sub(HISTORY_MAX);
        self.history.drain(..surplus);
    }

    /// The points of this baseline's load.
    pub(crate) fn alike(&self) -> impl Iterator<Item = &Point> {
        let alike = |point: &&Point| self.shape.differences(&point.shape).is_empty();
        self.history.iter().filter(alike)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator::Backend;

    fn host() -> Host {
        Host {
            cpu: "one".to_owned(),
            cpus: 2,
            kernel: "6.18".to_owned(),
            memory_bytes: 4 << 30,
            mitigations: [("spectre_v2".to_owned(), "on".to_owned())].into(),
            ..Host::default()
        }
    }

    #[test]
    fn hosts_are_told_apart_by_what_matters() {
        let known = fingerprint(&host());
        assert_eq!(known.len(), 16);
        let other = Host {
            kernel: "6.19".to_owned(),
            mitigations: [("spectre_v2".to_owned(), "off".to_owned())].into(),
            ..host()
        };
        assert_ne!(fingerprint(&other), known);
        assert_eq!(
            host_differences(&host(), &other),
            [
                r#"kernel: "6.18" then, "6.19" now"#,
                r#"mitigation of spectre_v2: "on" then, "off" now"#
            ]
        );
        let rebooted = Host {
            memory_bytes: (4 << 30) - 12_345_678,
            ..host()
        };
        assert_eq!(fingerprint(&rebooted), known);
        let unpatched = Host {
            mitigations: [].into(),
            ..host()
        };
        assert_eq!(
            host_differences(&host(), &unpatched),
            [r#"mitigation of spectre_v2: "on" then, "" now"#]
        );
    }

    #[test]
    fn loads_differ_in_anything_but_the_port() {
        let load = LoadArguments::default();
        let shape = Shape::of(&load);
        let mut moved = load.clone();
        moved.url = "http://127.0.0.1:9999/api/v1/status".to_owned();
        moved.backend = Backend::Epoll;
        assert!(shape.differences(&Shape::of(&moved)).is_empty());
        let mut other = load.clone();
        (other.rate, other.connections) = (Some(10), 3);
        let words = [
            r#"connections: "10" then, "3" now"#,
            r#"rate: "null" then, "10" now"#,
        ];
        assert_eq!(shape.differences(&Shape::of(&other)), words);
        // As it is kept, but for what is given.
        let kept = Shape::of(&other);
        let again = kept.load(&|flag| flag == "connections", &load).unwrap();
        assert_eq!((again.rate, again.connections), (Some(10), 10));
        // A flag that came later was at its default.
        let mut older = shape.clone();
        older.0.remove("pipeline");
        assert!(older.differences(&shape).is_empty());
        for (url, bare) in [
            ("http://a:1/x:2", "http://a/x:2"),
            ("http://a", "http://a"),
            ("http://[::1]:80/", "http://[::1]/"),
            ("http://[::1]", "http://[::1]"),
        ] {
            assert_eq!(without_port(url), bare);
        }
    }

    #[test]
    fn history_is_bounded() {
        let mut load = LoadArguments::default();
        load.threads = 1;
        let mut kept = Kept {
            record: Record {
                schema: SCHEMA,
                at: 0,
                host: host(),
                runs: Vec::new(),
            },
            shape: Shape::of(&load),
            history: Vec::new(),
        };
        for at in 0..300 {
            load.threads = 1 + u32::from(at % 2 == 0);
            kept.remember(Point {
                at,
                build: String::new(),
                shape: Shape::of(&load),
                cpu_us_per_request: None,
                requests_per_second: 1.0,
                p50_us: 1.0,
                p99_us: 1.0,
            });
        }
        assert_eq!((kept.history.len(), kept.history[0].at), (200, 100));
        assert_eq!(kept.alike().count(), 100);
        let text = serde_json::to_string(&kept).unwrap();
        assert_eq!(serde_json::from_str::<Kept>(&text).unwrap(), kept);
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), kept.record);
    }
}
