//! What measuring leaves behind: the JSON that the generator, the comparisons and the judge write, and the judge and the
//! reports read. Times are in microseconds where a name says so.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The version of this shape. A reader refuses every other.
pub(crate) const SCHEMA: u32 = 1;

/// The width of a bucket of two digits.
const THIN: f64 = 0.01;

/// Runs that belong together, measured in turns.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Record {
    pub(crate) schema: u32,
    /// When it was begun, seconds of Unix time.
    pub(crate) at: u64,
    pub(crate) host: Host,
    /// In the order in which they were made.
    pub(crate) runs: Vec<Run>,
}

impl Record {
    /// Writes it, with its distributions at two digits: it may hold hundreds of runs.
    pub(crate) fn write(mut self, file: &Path) -> io::Result<()> {
        for run in &mut self.runs {
            run.load.thin();
        }
        fs::write(file, serde_json::to_string(&self)? + "\n")
    }
}

/// What of the host decides whether figures can be compared.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Host {
    pub(crate) cpu: String,
    pub(crate) cpus: u32,
    pub(crate) kernel: String,
    /// Of CPU 0, empty where there is none.
    pub(crate) governor: String,
    /// By vulnerability, as the kernel words them.
    pub(crate) mitigations: BTreeMap<String, String>,
    pub(crate) memory_bytes: u64,
    /// Transparent ones as configured, and explicit ones reserved.
    pub(crate) hugepages: String,
    pub(crate) congestion_control: String,
}

/// One server under one scenario, once.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Run {
    pub(crate) scenario: String,
    pub(crate) server: String,
    /// What `-V` says of a gateway, the version of a peer.
    pub(crate) build: String,
    /// Counted from 1 within the record.
    pub(crate) round: u32,
    /// User and system time of the server for a request; none where its processes are out of sight.
    pub(crate) cpu_us_per_request: Option<f64>,
    pub(crate) peak_rss_bytes: Option<u64>,
    pub(crate) load: Load,
}

/// What the generator saw.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Load {
    pub(crate) url: String,
    /// Requests a second of an open loop.
    pub(crate) rate: Option<u64>,
    /// The spacing of an open loop's requests: `constant` or `poisson`.
    #[serde(default)]
    pub(crate) arrivals: Option<String>,
    pub(crate) threads: u32,
    pub(crate) connections: u32,
    /// When the first request was due, in nanoseconds of Unix time.
    #[serde(default)]
    pub(crate) start_unix_ns: u64,
    pub(crate) seconds: f64,
    /// Requests that were due (open loop) or sent (closed loop).
    #[serde(default)]
    pub(crate) due: u64,
    /// Those that were given up without having been sent.
    #[serde(default)]
    pub(crate) unsent: u64,
    /// Those that found every connection busy.
    #[serde(default)]
    pub(crate) queued: u64,
    /// Whole answers, right and wrong.
    pub(crate) requests: u64,
    pub(crate) requests_per_second: f64,
    pub(crate) bytes: u64,
    /// By kind, those that did not happen too.
    pub(crate) errors: BTreeMap<String, u64>,
    /// Connections that the server ended in order.
    #[serde(default)]
    pub(crate) reopened: u64,
    /// How bodies were compared, in words.
    #[serde(default)]
    pub(crate) bodies: String,
    /// For all time.
    pub(crate) latency: Latencies,
    /// In clean windows, of open loops.
    pub(crate) clean: Option<Clean>,
    /// In windows that are clean on the server's side, too, where it told its gaps.
    #[serde(default)]
    pub(crate) clean_both: Option<Clean>,
    /// What it told.
    #[serde(default)]
    pub(crate) server_gaps: Option<Gaps>,
    /// The generator's own CPU time for a request.
    pub(crate) generator_cpu_us_per_request: f64,
    /// The share of its time in which the busiest thread worked.
    pub(crate) generator_busy: f64,
    /// What the generator saw of itself.
    #[serde(default)]
    pub(crate) generator: Generator,
    /// Times in which answers were awaited, the generator looked, and none came.
    #[serde(default)]
    pub(crate) silences: Gaps,
    /// Connections beside the load, where there were any.
    #[serde(default)]
    pub(crate) beside: Option<Beside>,
    /// Names of what stood out.
    pub(crate) findings: Vec<String>,
    pub(crate) certified: bool,
    /// Somebody ended the run before its time.
    #[serde(default)]
    pub(crate) interrupted: bool,
    /// What the program exits with after this run: 0, 1 after errors, 3 where it is not certified, 130 where it
    /// was interrupted.
    #[serde(default)]
    pub(crate) exit_code: u8,
    /// One a second, in order.
    pub(crate) seconds_series: Vec<Second>,
}

impl Load {
    fn distributions(&mut self) -> impl Iterator<Item = &mut Distribution> {
        let clean = self.clean.iter_mut().chain(&mut self.clean_both);
        let clean = clean.map(|clean| &mut clean.latency);
        let all = std::iter::once(&mut self.latency).chain(clean);
        all.flat_map(|latencies| [&mut latencies.corrected, &mut latencies.actual])
    }

    /// Puts buckets together: two digits instead of three.
    fn thin(&mut self) {
        self.distributions().for_each(Distribution::thin);
    }

    /// Leaves out what many short runs need not keep: the distributions' buckets, the stretches and the seconds.
    pub(crate) fn slim(&mut self) {
        for distribution in self.distributions() {
            distribution.buckets.clear();
        }
        for clean in self.clean.iter_mut().chain(&mut self.clean_both) {
            clean.stretches_ms.clear();
        }
        self.seconds_series.clear();
    }

    /// Errors of all kinds.
    pub(crate) fn error_count(&self) -> u64 {
        let counts = self.errors.values();
        counts.fold(0, |sum, count| sum.saturating_add(*count))
    }
}

/// The generator's own figures. Times are sums over its threads.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Generator {
    /// `io_uring` or `epoll`.
    pub(crate) backend: String,
    /// Why it is not `io_uring`, where that was wished for.
    pub(crate) refused: Option<String>,
    pub(crate) wall_us: f64,
    pub(crate) cpu_us: f64,
    /// CPU time spun in which nothing was found.
    pub(crate) spun_us: f64,
    pub(crate) asleep_us: f64,
    /// Ready to run, but the kernel ran something else.
    pub(crate) waiting_us: f64,
    pub(crate) late: Late,
    pub(crate) own_gaps: Gaps,
    pub(crate) taken_gaps: Gaps,
}

/// Requests that left later than they were due with a connection free.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Late {
    /// Because the generator was busy.
    pub(crate) own: u64,
    /// Because its CPU was taken.
    pub(crate) taken: u64,
    pub(crate) p99_us: f64,
    pub(crate) max_us: f64,
}

/// Connections beside the load.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Beside {
    pub(crate) idle: u64,
    /// Of them those that the server ended during the run.
    pub(crate) idle_lost: u64,
    pub(crate) slow: u64,
    /// Times that a slow client's connection ended inside an answer, or could not be had.
    pub(crate) slow_lost: u64,
    /// Whole answers that slow clients read, and bytes.
    pub(crate) slow_answers: u64,
    pub(crate) slow_bytes: u64,
}

/// Stretches of time.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Gaps {
    pub(crate) count: u64,
    pub(crate) total_us: f64,
    pub(crate) longest_us: f64,
}

/// From the intended send, and from the actual one.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Latencies {
    pub(crate) corrected: Distribution,
    pub(crate) actual: Distribution,
}

/// Quantiles, and the counts they come from.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Distribution {
    pub(crate) count: u64,
    pub(crate) mean_us: f64,
    pub(crate) p50_us: f64,
    #[serde(default)]
    pub(crate) p75_us: f64,
    pub(crate) p90_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p99_9_us: f64,
    pub(crate) p99_99_us: f64,
    pub(crate) max_us: f64,
    /// Highest value of a bucket in microseconds and its count, of buckets that hold any, in order; three digits.
    pub(crate) buckets: Vec<(f64, u64)>,
}

impl Distribution {
    fn thin(&mut self) {
        let mut thinned: Vec<(f64, u64)> = Vec::new();
        let mut until = 0.0;
        for (us, count) in std::mem::take(&mut self.buckets) {
            match thinned.last_mut() {
                Some(last) if us <= until => {
                    last.0 = us;
                    last.1 += count;
                }
                _ => {
                    thinned.push((us, count));
                    until = us * (1.0 + THIN);
                }
            }
        }
        self.buckets = thinned;
    }
}

/// Windows of 5 ms without a gap.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Clean {
    pub(crate) windows: u64,
    pub(crate) of: u64,
    pub(crate) latency: Latencies,
    /// Beginnings and ends of clean stretches, in milliseconds after the start, a thread after the other.
    #[serde(default)]
    pub(crate) stretches_ms: Vec<(u64, u64)>,
}

/// What came in one second of a run; in the last one also what came after the end.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Second {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    /// Corrected.
    pub(crate) p99_us: f64,
    /// CPU time of the server in it, over a second; none where its processes are out of sight.
    pub(crate) server_cpu: Option<f64>,
    /// CPU time of the generator's threads in it, without what they spun in vain, over a second.
    pub(crate) generator_cpu: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thin_buckets_hold_as_many_and_end_where_they_ended() {
        let mut distribution = Distribution {
            buckets: (1_000..2_000).map(|us| (f64::from(us), 2)).collect(),
            ..Distribution::default()
        };
        distribution.thin();
        let buckets = &distribution.buckets;
        assert!((60..=100).contains(&buckets.len()), "{}", buckets.len());
        assert_eq!(buckets.iter().map(|(_, count)| count).sum::<u64>(), 2_000);
        assert_eq!(buckets.last().map(|(us, _)| *us), Some(1_999.0));
        assert!(buckets.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn a_record_without_what_came_later_is_read() {
        let load = serde_json::to_value(Load::default()).unwrap();
        let old = [
            "arrivals",
            "due",
            "unsent",
            "queued",
            "reopened",
            "bodies",
            "generator",
            "silences",
            "beside",
            "interrupted",
            "exit_code",
        ];
        let mut load = load.as_object().unwrap().clone();
        load.retain(|name, _| !old.contains(&name.as_str()));
        let read: Load = serde_json::from_value(load.into()).unwrap();
        assert_eq!(read, Load::default());
    }
}
