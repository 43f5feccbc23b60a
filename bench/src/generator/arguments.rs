//! What a load is asked to be: wrk's flags, wrk2's rate, and what neither has.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, ValueEnum};
use serde::{Deserialize, Serialize};

/// The target of a run without an address.
const DEFAULT_URL: &str = "http://127.0.0.1:8080/api/v1/status";
/// A day: no run is without an end.
const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);
/// Longer, and a stalled server holds a run for longer than anybody waits.
const TIMEOUT_MAX: Duration = Duration::from_secs(600);
/// Connections of one run: what the ports of one address allow, and more.
const CONNECTIONS_MAX: u64 = 65_536;
/// Threads of one run.
const THREADS_MAX: u64 = 256;
/// Requests at once on a connection.
const PIPELINE_MAX: u64 = 256;
/// Connections that slow clients hold: one thread reads them all.
const SLOW_MAX: u64 = 1_000;
/// Keys: their exponents are drawn in double precision.
const KEYS_MAX: u64 = 1_000_000_000_000;
/// Requests a second: above it intervals lose their nanoseconds.
const RATE_MAX: u64 = 100_000_000;

/// A load: closed loop as wrk drives it, open loop with a rate.
#[derive(Args, Clone, Debug, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct LoadArguments {
    /// Threads, each with its own connections and its own driver.
    #[arg(short = 't', long, value_name = "N", default_value = "2", value_parser = threads)]
    pub(crate) threads: u32,
    /// Connections, of all threads together.
    #[arg(short = 'c', long, value_name = "N", default_value = "10", value_parser = connections)]
    pub(crate) connections: u32,
    /// How long to send: 30, 30s, 500ms, 2m, 1h.
    #[arg(short = 'd', long, value_name = "T", default_value = "10s", value_parser = duration)]
    pub(crate) duration: Duration,
    /// Open loop: requests a second of all threads together, sent when they are due whatever the server does. Without it
    /// each connection sends when its last answer has come (closed loop).
    #[arg(short = 'R', long, value_name = "N", value_parser = rate)]
    pub(crate) rate: Option<u64>,
    /// A header field of every request.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<String>,
    /// Print the distribution of latencies.
    #[arg(long, short_alias = 'L')]
    pub(crate) latency: bool,
    /// An answer that takes longer is an error, and its connection is opened anew.
    #[arg(short = 'T', long, value_name = "T", default_value = "2s", value_parser = timeout)]
    pub(crate) timeout: Duration,
    /// The spacing of an open loop's requests.
    #[arg(long, default_value = "constant", requires = "rate")]
    pub(crate) arrivals: Spacing,
    /// Start of the random numbers behind Poisson arrivals and keys.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Requests at once on a connection: a closed loop sends so many together when all before are answered; in an open loop
    /// so many may be awaited.
    #[arg(long, value_name = "N", default_value = "1", value_parser = pipeline)]
    pub(crate) pipeline: u32,
    /// A new connection for each request, which says so (Connection: close).
    #[arg(long, conflicts_with = "pipeline")]
    pub(crate) close: bool,
    /// Keys from 0 to N-1, which stand for {key} in the URL; as likely as one another (--uniform).
    #[arg(long, value_name = "N", value_parser = keys)]
    pub(crate) keys: Option<u64>,
    /// Key k is asked for with a weight of (k+1) to the power of -S.
    #[arg(long, value_name = "S", requires = "keys", value_parser = exponent)]
    pub(crate) zipf: Option<f64>,
    /// Every key as often as every other: what is done without a word.
    #[arg(long, requires = "keys", conflicts_with = "zipf")]
    uniform: bool,
    /// Every key once, in order; the run ends with the last.
    #[arg(long, requires = "keys", conflicts_with_all = ["zipf", "uniform", "mix"])]
    pub(crate) each: bool,
    /// A share of the requests goes to another path of the server, as 0.1=/other.
    #[arg(long, value_name = "SHARE=PATH", value_parser = mix)]
    pub(crate) mix: Option<Mix>,
    /// Connections that are held idle beside the load, each after one request.
    #[arg(long, value_name = "N", default_value = "0", value_parser = idle)]
    pub(crate) idle: u32,
    /// Clients beside the load that read their answers at 4 KiB a second.
    #[arg(long, value_name = "N", default_value = "0", value_parser = slow)]
    pub(crate) slow: u32,
    /// The method of every request.
    #[arg(short = 'X', long, value_name = "METHOD", default_value = "GET", value_parser = method)]
    pub(crate) method: String,
    /// A file that is the body of every request.
    #[arg(long, value_name = "FILE")]
    pub(crate) body: Option<PathBuf>,
    /// How bodies are verified.
    #[arg(long, default_value = "auto")]
    pub(crate) verify: Verify,
    /// The status that every answer must have; without it every 2xx and 3xx is right.
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(200..=599))]
    pub(crate) expect_status: Option<u16>,
    /// The bytes that every body must have.
    #[arg(long, value_name = "BYTES")]
    pub(crate) expect_length: Option<u64>,
    /// A file that every body must equal.
    #[arg(long, value_name = "FILE", conflicts_with = "expect_length")]
    pub(crate) expect_body: Option<PathBuf>,
    /// Write everything that was measured there, as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Interface to the kernel.
    #[arg(long, default_value = "auto")]
    pub(crate) backend: Backend,
    /// CPUs to run on, one a thread, in turns.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) cpus: Vec<usize>,
    /// Whether threads spin instead of sleeping while an answer is awaited or a request is nearly due.
    #[arg(long, default_value = "auto")]
    pub(crate) spin: Spin,
    /// wrk's scripts are not run.
    #[arg(short = 's', long, value_name = "FILE", hide = true, value_parser = no_script)]
    script: Option<String>,
    /// What to ask for.
    #[arg(default_value = DEFAULT_URL)]
    pub(crate) url: String,
}

/// The defaults of a command line without a word.
impl Default for LoadArguments {
    fn default() -> Self {
        #[derive(Parser)]
        struct Alone {
            #[command(flatten)]
            load: LoadArguments,
        }
        match Alone::try_parse_from(["benchmark"]) {
            Ok(alone) => alone.load,
            Err(error) => unreachable!("every flag has a default: {error}"),
        }
    }
}

/// The spacing of an open loop's requests.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Spacing {
    /// The same time between any two.
    #[default]
    Constant,
    /// Exponential times between them: as independent clients send.
    Poisson,
}

/// How bodies are verified.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ValueEnum)]
pub(crate) enum Verify {
    /// The target is asked twice before the run. Where both bodies are the same, every other must be, but for answers that
    /// are no-store: those may be made anew each time.
    Auto,
    /// Every body must be the one that came before the run.
    Same,
    /// Only framing, status and what --expect-… says.
    Off,
}

/// The interface to the kernel.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ValueEnum)]
pub(crate) enum Backend {
    /// `io_uring`, or epoll where it is refused.
    Auto,
    #[value(name = "io_uring")]
    IoUring,
    Epoll,
}

/// A second target.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mix {
    /// Of the requests, from 0 to 1.
    pub(crate) share: f64,
    /// Path and query.
    pub(crate) path: String,
}

/// Whether threads spin.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ValueEnum)]
pub(crate) enum Spin {
    /// In an open loop, whose requests must leave in time.
    Auto,
    Always,
    Never,
}

/// One thing wrong with how the program was called.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Usage(pub(crate) String);

impl LoadArguments {
    /// What no single flag can tell.
    pub(crate) fn check(&self) -> Result<(), Usage> {
        if self.connections < self.threads {
            return Err(Usage(format!(
                "number of connections ({}) must be >= threads ({})",
                self.connections, self.threads
            )));
        }
        if self.close && self.pipeline > 1 {
            return Err(Usage(
                "a connection that is closed has no room for a pipeline".to_owned(),
            ));
        }
        Ok(())
    }

    /// Whether answers have no body, whatever their heads say (RFC 9110 §9.3.2).
    pub(crate) fn bodiless(&self) -> bool {
        self.method == "HEAD"
    }

    /// Whether this load's threads spin.
    pub(crate) fn spins(&self) -> bool {
        match self.spin {
            Spin::Auto => self.rate.is_some(),
            Spin::Always => true,
            Spin::Never => false,
        }
    }
}

fn threads(text: &str) -> Result<u32, String> {
    bounded(text, 1, THREADS_MAX).map(small)
}

fn connections(text: &str) -> Result<u32, String> {
    bounded(text, 1, CONNECTIONS_MAX).map(small)
}

fn rate(text: &str) -> Result<u64, String> {
    bounded(text, 1, RATE_MAX)
}

fn pipeline(text: &str) -> Result<u32, String> {
    bounded(text, 1, PIPELINE_MAX).map(small)
}

fn keys(text: &str) -> Result<u64, String> {
    bounded(text, 1, KEYS_MAX)
}

fn idle(text: &str) -> Result<u32, String> {
    bounded(text, 0, CONNECTIONS_MAX).map(small)
}

fn slow(text: &str) -> Result<u32, String> {
    bounded(text, 0, SLOW_MAX).map(small)
}

fn exponent(text: &str) -> Result<f64, String> {
    let exponent = text.parse::<f64>().ok();
    exponent
        .filter(|exponent| (0.0..=10.0).contains(exponent))
        .ok_or_else(|| "an exponent from 0 to 10".to_owned())
}

fn mix(text: &str) -> Result<Mix, String> {
    let (share, path) = text.split_once('=').unwrap_or_default();
    let share = share.parse().ok();
    share
        .filter(|share| (0.0..=1.0).contains(share) && path.starts_with('/'))
        .map(|share| Mix {
            share,
            path: path.to_owned(),
        })
        .ok_or_else(|| "a share from 0 to 1 and a path, as 0.1=/other".to_owned())
}

/// A token (RFC 9110 §9.1) after which HTTP goes on.
fn method(text: &str) -> Result<String, String> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    match !text.is_empty() && text.bytes().all(token) && text != "CONNECT" {
        true => Ok(text.to_owned()),
        false => Err("a method, but not CONNECT".to_owned()),
    }
}

fn small(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// A count with wrk's suffixes: 10, 10k, 1M.
fn bounded(text: &str, least: u64, most: u64) -> Result<u64, String> {
    let (digits, scale) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 1_000),
        Some((at, 'm' | 'M')) => (&text[..at], 1_000_000),
        Some((at, 'g' | 'G')) => (&text[..at], 1_000_000_000),
        _ => (text, 1),
    };
    let count = digits.parse::<u64>().ok();
    count
        .and_then(|count| count.checked_mul(scale))
        .filter(|count| (least..=most).contains(count))
        .ok_or_else(|| format!("a count from {least} to {most}, as 400 or 2k"))
}

fn duration(text: &str) -> Result<Duration, String> {
    time(text, Duration::from_millis(1), DURATION_MAX)
}

fn timeout(text: &str) -> Result<Duration, String> {
    time(text, Duration::from_millis(1), TIMEOUT_MAX)
}

/// A time with wrk's suffixes; a plain number is seconds.
fn time(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let unit_at = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(unit_at);
    let scale_ms = match unit {
        "ms" => 1,
        "s" | "" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    let time = digits.parse::<u64>().ok();
    time.and_then(|count| count.checked_mul(scale_ms))
        .map(Duration::from_millis)
        .filter(|time| (least..=most).contains(time))
        .ok_or_else(|| format!("a time from {least:?} to {most:?}, as 30s, 500ms or 2m"))
}

fn no_script(_: &str) -> Result<String, String> {
    Err("there is no Lua in here: scripts are wrk's alone".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        load: LoadArguments,
    }

    fn parse(line: &str) -> Result<LoadArguments, String> {
        let words = std::iter::once("benchmark").chain(line.split_whitespace());
        Program::try_parse_from(words)
            .map(|program| program.load)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_runbooks_command_lines_are_understood() {
        let load = parse("-t 12 -c 400 -d 30s --latency http://gateway.example/health").unwrap();
        assert_eq!((load.threads, load.connections), (12, 400));
        assert_eq!(load.duration, Duration::from_secs(30));
        assert!(load.latency && load.rate.is_none() && !load.spins());
        assert_eq!(load.url, "http://gateway.example/health");
        let load = parse("-t1 -c64 -d10s -R100k http://127.0.0.1:1/x").unwrap();
        assert_eq!((load.threads, load.connections), (1, 64));
        assert_eq!(load.rate, Some(100_000));
        assert!(load.spins());
        assert_eq!(parse("").unwrap().url, DEFAULT_URL);
    }

    #[test]
    fn times_and_counts_have_wrks_suffixes_and_bounds() {
        for (text, ms) in [
            ("2", 2_000),
            ("2s", 2_000),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("5ms", 5),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in [
            "",
            "s",
            "1d",
            "0s",
            "25h",
            "-1s",
            "1.5s",
            "99999999999999999999s",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(bounded("2k", 1, 5_000), Ok(2_000));
        for text in ["0", "6k", "k", "", "1x", "99999999999G"] {
            assert!(bounded(text, 1, 5_000).is_err(), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        assert!(parse("-s x.lua").unwrap_err().contains("Lua"));
        assert!(parse("--arrivals poisson").is_err());
        assert!(parse("-t4 -c2").unwrap().check().is_err());
        for line in [
            "--zipf 1",
            "--keys 5 --zipf 1 --each",
            "--keys 5 --zipf -1",
            "--mix 2=/x",
            "--mix 0.5=x",
            "-X CONNECT",
            "-X G\u{e4}T",
            "--pipeline 0",
            "--slow 1001",
            "--close --pipeline 2",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
        let both = LoadArguments {
            close: true,
            pipeline: 2,
            ..LoadArguments::default()
        };
        assert!(both.check().is_err());
    }
}
