//! What is measured: the files of `scenarios/`, and others of their shape.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use crate::generator::{LoadArguments, Mix, Spacing};
use crate::server::Server;

/// The files, in the order of the report.
const FILES: [(&str, &str); 16] = [
    ("hit-64", include_str!("../scenarios/hit-64.toml")),
    ("hit-256", include_str!("../scenarios/hit-256.toml")),
    ("pipelined", include_str!("../scenarios/pipelined.toml")),
    ("large", include_str!("../scenarios/large.toml")),
    ("zipf", include_str!("../scenarios/zipf.toml")),
    ("proxied", include_str!("../scenarios/proxied.toml")),
    ("mixed", include_str!("../scenarios/mixed.toml")),
    ("latency", include_str!("../scenarios/latency.toml")),
    ("churn", include_str!("../scenarios/churn.toml")),
    ("idle", include_str!("../scenarios/idle.toml")),
    ("slow", include_str!("../scenarios/slow.toml")),
    ("health", include_str!("../scenarios/health.toml")),
    ("status", include_str!("../scenarios/status.toml")),
    ("rate-10k", include_str!("../scenarios/rate-10k.toml")),
    ("rate-50k", include_str!("../scenarios/rate-50k.toml")),
    ("rate-100k", include_str!("../scenarios/rate-100k.toml")),
];

/// Where a key goes.
const PLACE: &str = "{key}";
/// Connections, requests at once and the longest time in which caches are filled.
const FILL: (u32, u32, Duration) = (64, 16, Duration::from_secs(600));

/// One kind of load.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// Its name on the command line and in the reports: the file's.
    #[serde(skip)]
    pub(crate) name: String,
    /// What it is, for a reader of the report.
    pub(crate) title: String,
    /// Target of the requests; `{key}` in it is a key.
    pub(crate) path: String,
    /// The answer is the server's own, and no origin's.
    #[serde(default)]
    pub(crate) own: bool,
    /// Whether the origin's answers may be cached.
    #[serde(default)]
    pub(crate) cached: bool,
    /// Bytes of the body that the origin sends.
    #[serde(default = "kibibyte")]
    pub(crate) body_bytes: usize,
    /// Open connections.
    pub(crate) connections: u32,
    /// Threads of the generator at most; it takes no more than it has CPUs.
    #[serde(default = "one")]
    pub(crate) threads: u32,
    /// Requests a second of an open loop; without it the loop is closed.
    pub(crate) rate: Option<u64>,
    /// The spacing of an open loop's requests.
    #[serde(default)]
    pub(crate) arrivals: Spacing,
    /// Requests at once on each connection.
    #[serde(default = "one")]
    pub(crate) pipeline: u32,
    /// A new connection for each request.
    #[serde(default)]
    pub(crate) close: bool,
    /// How many keys there are.
    pub(crate) keys: Option<u64>,
    /// The exponent of their popularity; without it all are alike.
    pub(crate) zipf: Option<f64>,
    /// Every key is asked for once before the first run.
    #[serde(default)]
    pub(crate) fill: bool,
    /// A share of the requests that goes to another path.
    pub(crate) mix: Option<Mix>,
    /// Connections that are held idle beside the load.
    #[serde(default)]
    pub(crate) idle: u32,
    /// Clients beside the load that read slowly.
    #[serde(default)]
    pub(crate) slow: u32,
    /// Seconds of one run.
    #[serde(default = "four")]
    pub(crate) seconds: u64,
    /// What a server must reach.
    pub(crate) hold: Option<Hold>,
}

/// Bounds of a run, those that are given.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hold {
    /// Of corrected latencies, in clean windows where there are any.
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
    /// Failed requests over all.
    pub(crate) errors: Option<f64>,
}

fn kibibyte() -> usize {
    1 << 10
}

fn one() -> u32 {
    1
}

fn four() -> u64 {
    4
}

/// Every scenario that comes with this program, in the order of the report.
pub(crate) fn all() -> Result<Vec<Scenario>, String> {
    FILES.iter().map(|(name, text)| parse(name, text)).collect()
}

/// The scenario of this name, or the one in this file.
pub(crate) fn find(text: &str) -> Result<Scenario, String> {
    if let Some((name, text)) = FILES.iter().find(|(name, _)| *name == text) {
        return parse(name, text);
    }
    let path = Path::new(text);
    let is_file = text.contains('/') || path.extension().is_some_and(|end| end == "toml");
    if is_file {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let read = fs::read_to_string(path).map_err(|error| format!("{text}: {error}"))?;
        return parse(&name, &read);
    }
    let names = FILES.map(|(name, _)| name);
    Err(match nearest(text, names) {
        Some(name) => format!("no scenario is named {text}; did you mean {name}?"),
        None => format!(
            "no scenario is named {text}; there are {}",
            names.join(", ")
        ),
    })
}

fn parse(name: &str, text: &str) -> Result<Scenario, String> {
    let mut scenario: Scenario = toml::from_str(text).map_err(|error| refusal(name, &error))?;
    name.clone_into(&mut scenario.name);
    scenario
        .check()
        .map_err(|what| format!("scenario {name}: {what}"))?;
    Ok(scenario)
}

/// What is wrong with a file, with the nearest key to one that is none.
fn refusal(name: &str, error: &toml::de::Error) -> String {
    let message = error.message();
    // unknown field `a`, expected one of `b`, `c`
    let mut words = message.split('`').skip(1).step_by(2);
    let unknown = words
        .next()
        .filter(|_| message.starts_with("unknown field"));
    let Some(unknown) = unknown else {
        return format!("scenario {name}: {error}");
    };
    let hint = nearest(unknown, words)
        .map(|known| format!("; did you mean `{known}`?"))
        .unwrap_or_default();
    format!("scenario {name}: unknown key `{unknown}`{hint}")
}

/// The word with the fewest typing errors, where they are few.
fn nearest<'a>(typed: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let most = (typed.len() / 3).clamp(1, 3);
    words
        .into_iter()
        .map(|word| (strsim::osa_distance(typed, word), word))
        .filter(|(errors, _)| *errors <= most)
        .min_by_key(|(errors, _)| *errors)
        .map(|(_, word)| word)
}

impl Scenario {
    fn check(&self) -> Result<(), String> {
        let counts = [
            ("connections", u64::from(self.connections)),
            ("threads", u64::from(self.threads)),
            ("pipeline", u64::from(self.pipeline)),
            ("seconds", self.seconds),
            ("rate", self.rate.unwrap_or(1)),
        ];
        if let Some((key, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return Err(format!("`{key}` is at least 1"));
        }
        if self.close && self.is_pipelined() {
            return Err("`close` and `pipeline` exclude each other".to_owned());
        }
        if self.keys.is_some() != self.path.contains(PLACE) {
            return Err(format!("`keys` and {PLACE} in `path` belong together"));
        }
        if self.keys.is_none() && (self.zipf.is_some() || self.fill) {
            return Err("`zipf` and `fill` need `keys`".to_owned());
        }
        if !self.path.starts_with('/') {
            return Err("`path` begins with /".to_owned());
        }
        Ok(())
    }

    /// The origin's Cache-Control.
    pub(crate) fn cache_control(&self) -> &'static str {
        if self.cached {
            "public, max-age=86400"
        } else {
            "no-store"
        }
    }

    /// Whether the load needs no origin, so that it can be stopped before, and a hit that is none is an error. Of keys a
    /// cache may lose some.
    pub(crate) fn spares_origin(&self) -> bool {
        self.own || self.cached && self.keys.is_none() && self.mix.is_none()
    }

    /// A path that is asked for.
    pub(crate) fn sample(&self) -> String {
        self.path.replace(PLACE, "0")
    }

    pub(crate) fn is_pipelined(&self) -> bool {
        self.pipeline > 1
    }

    /// Whether `server` has anything of its own to show here. What only the gateway has is its own answers, and room for a
    /// million objects as the peers are configured.
    pub(crate) fn fits(&self, server: Server) -> bool {
        match server {
            Server::FloorEach => self.is_pipelined(),
            Server::UltragateBusy => self.connections == 1,
            Server::Nginx | Server::Haproxy | Server::Varnish | Server::H2o => {
                !self.own && self.keys.is_none()
            }
            _ => true,
        }
    }

    /// The load, to a server whose URL has no path, or the one to ask for instead of the scenario's own.
    pub(crate) fn load(&self, url: &str) -> LoadArguments {
        let path_at = url.find("://").map_or(0, |at| at + 3);
        let bare = url.get(path_at..).unwrap_or_default();
        let bare = !bare.trim_end_matches('/').contains(['/', '?']);
        let mut load = LoadArguments::default();
        load.url = match bare {
            true => format!("{}{}", url.trim_end_matches('/'), self.path),
            false => url.to_owned(),
        };
        load.threads = self.threads;
        load.connections = self.connections;
        load.duration = Duration::from_secs(self.seconds);
        load.rate = self.rate;
        load.arrivals = self.arrivals;
        load.timeout = Duration::from_secs(5);
        load.pipeline = self.pipeline;
        load.close = self.close;
        load.keys = self.keys;
        load.zipf = self.zipf;
        load.mix.clone_from(&self.mix);
        load.idle = self.idle;
        load.slow = self.slow;
        load
    }

    /// Every key once, as fast as it goes.
    pub(crate) fn filling(&self, url: &str) -> LoadArguments {
        let mut load = LoadArguments::default();
        load.url = format!("{url}{}", self.path);
        load.threads = 1;
        load.connections = FILL.0;
        load.pipeline = FILL.1;
        load.duration = FILL.2;
        load.timeout = Duration::from_secs(30);
        load.keys = self.keys;
        load.each = true;
        load
    }
}

/// Which figure of a run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Figure {
    /// CPU microseconds of a request: less is better.
    Cpu,
    /// Median latency: less is better.
    P50,
    /// Further into the tail: less is better.
    P99,
    P999,
    /// Answers per second: more is better.
    Rate,
    /// Mebibytes of resident memory: less is better.
    Memory,
}

/// What the gateway is to reach: `server`'s figure over `against`'s, at most `bound` (at least, for rates).
pub(crate) struct Goal {
    pub(crate) scenario: &'static str,
    pub(crate) server: Server,
    pub(crate) figure: Figure,
    /// The best of these is what counts.
    pub(crate) against: &'static [Server],
    pub(crate) bound: f64,
}

const fn goal(
    scenario: &'static str,
    figure: Figure,
    against: &'static [Server],
    bound: f64,
) -> Goal {
    Goal {
        scenario,
        server: Server::Ultragate,
        figure,
        against,
        bound,
    }
}

/// The goals of the data plane, all of them ratios within one run.
pub(crate) const GOALS: [Goal; 14] = [
    goal("hit-64", Figure::Cpu, &[Server::Floor], 1.3),
    goal("hit-64", Figure::Cpu, &[Server::Nginx], 0.60),
    goal("hit-64", Figure::Cpu, &[Server::Haproxy], 0.75),
    goal("hit-256", Figure::Cpu, &[Server::Floor], 1.43),
    goal("hit-256", Figure::Cpu, &[Server::Nginx], 0.66),
    goal("hit-256", Figure::Cpu, &[Server::Haproxy], 0.825),
    goal("pipelined", Figure::Cpu, &[Server::Floor], 2.0),
    goal("pipelined", Figure::Cpu, &[Server::Nginx], 0.12),
    goal(
        "large",
        Figure::Cpu,
        &[Server::Nginx, Server::Haproxy, Server::Varnish, Server::H2o],
        1.05,
    ),
    goal("proxied", Figure::Cpu, &[Server::Haproxy], 1.0),
    goal("latency", Figure::P50, &[Server::Nginx], 1.0),
    Goal {
        server: Server::UltragateBusy,
        ..goal("latency", Figure::P50, &[Server::Nginx], 0.6)
    },
    goal("churn", Figure::Rate, &[Server::Nginx], 1.0),
    goal("churn", Figure::Cpu, &[Server::Nginx], 1.0),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_read_and_none_is_forgotten() {
        let names: Vec<String> = all()
            .unwrap()
            .into_iter()
            .map(|scenario| scenario.name)
            .collect();
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            assert!(names.iter().any(|known| known == name), "{name}");
            assert_eq!(find(name), find(path.to_str().unwrap()));
        }
        for goal in &GOALS {
            assert!(names.iter().any(|name| name == goal.scenario));
        }
    }

    #[test]
    fn a_key_or_name_that_is_none_is_refused_with_the_nearest() {
        let read = |line: &str| {
            let whole = format!("title = 'x'\npath = '/'\nconnections = 1\n{line}");
            parse("mine", &whole).map(|_| ()).unwrap_err()
        };
        assert_eq!(
            read("pipline = 2"),
            "scenario mine: unknown key `pipline`; did you mean `pipeline`?"
        );
        assert_eq!(
            read("[hold]\np90_us = 1"),
            "scenario mine: unknown key `p90_us`; did you mean `p50_us`?"
        );
        assert_eq!(read("banana = 2"), "scenario mine: unknown key `banana`");
        assert_eq!(
            read("seconds = 0"),
            "scenario mine: `seconds` is at least 1"
        );
        assert!(read("rate = 'x'").contains("rate = 'x'"));
        assert_eq!(
            find("hit64").unwrap_err(),
            "no scenario is named hit64; did you mean hit-64?"
        );
        assert!(find("what").unwrap_err().contains("there are hit-64, "));
        assert!(find("nowhere/x.toml").is_err());
    }

    #[test]
    fn a_load_goes_where_the_url_says() {
        let scenario = find("hit-64").unwrap();
        for (url, whole) in [
            ("http://a:1", "http://a:1/cached/object"),
            ("http://a:1/", "http://a:1/cached/object"),
            ("http://a:1/x", "http://a:1/x"),
        ] {
            assert_eq!(scenario.load(url).url, whole);
        }
    }
}
