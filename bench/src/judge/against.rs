//! Two gateways in turns: A B B A A B B A. Turns are short, because what else a host does changes within a second, and many:
//! each pair of neighbours is one ratio.

use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::statistics::{Bootstrap, Interval};
use super::verdict::{self, Judged, Metric, Thresholds, Verdict};
use super::{NOT_CERTIFIED, REGRESSION, SAME, slim};
use crate::client;
use crate::generator::{self, Backend, LoadArguments};
use crate::peers::Directory;
use crate::process::Family;
use crate::record::Run;
use crate::scenario::Scenario;
use crate::server::{self, Running, Server, Setting};
use crate::turn;

/// One turn.
const TURN: Duration = Duration::from_millis(100);
/// Pairs of turns at most.
const ROUNDS: u32 = 800;
/// The chance that a threshold is said to be passed, or kept, and is not.
const ERROR: f64 = 0.05;
/// Fewer pairs decide nothing early, and nothing about rates and latencies.
const PAIRS_MIN: usize = 20;
const THRESHOLDS: Thresholds = Thresholds {
    cpu: 1.03,
    rate: 1.1,
    p50: 1.1,
    p99: Some(1.25),
};

/// What to compare, and how.
pub(crate) struct Comparison {
    pub(crate) reference: PathBuf,
    pub(crate) current: PathBuf,
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) rounds: Option<u32>,
    pub(crate) turn: Option<Duration>,
    pub(crate) backend: Backend,
    pub(crate) server_cpu: usize,
    pub(crate) client_cpu: usize,
    /// Where every single run goes.
    pub(crate) json: Option<PathBuf>,
}

/// When the pairs so far are looked at, and how sure a look must be: the chances of being wrong at any of them add up to
/// `ERROR` at most (Bonferroni), so that stopping at the first that decides does not make it more.
struct Looks {
    at: Vec<usize>,
    level: f64,
}

impl Looks {
    fn new(rounds: u32) -> Looks {
        let rounds = rounds as usize;
        let mut at: Vec<usize> = [8, 4, 2].iter().map(|part| rounds / part).collect();
        at.retain(|pairs| *pairs >= PAIRS_MIN);
        at.push(rounds);
        Looks {
            level: 1.0 - ERROR / at.len() as f64,
            at,
        }
    }

    /// What the differences of CPU time say, if now is the time to look.
    fn look(&self, differences: &[f64]) -> Option<(Interval, Verdict)> {
        if !self.at.contains(&differences.len()) {
            return None;
        }
        let worse = Bootstrap::new().paired(differences, self.level)?;
        Some((worse, Verdict::of(&worse, Some(THRESHOLDS.cpu))))
    }
}

/// The reference's run and the current gateway's, one right after the other.
type Pair = (Run, Run);

/// Compares in each scenario, prints the verdicts and exits 1 where one is a regression, 3 where noise hid the CPU time.
pub(crate) fn run(comparison: &Comparison) -> io::Result<u8> {
    let directory = Directory::new()?;
    let mut record = turn::record();
    let mut code = SAME;
    for scenario in &comparison.scenarios {
        let looks = Looks::new(comparison.rounds.unwrap_or(ROUNDS));
        let pairs = measure(scenario, comparison, &looks, &directory.0)?;
        let judged = judge(&pairs, looks.level);
        println!("{}", report(scenario, &pairs, &judged, looks.level));
        code = worst(code, exit_code(&pairs, &judged));
        record
            .runs
            .extend(pairs.into_iter().flat_map(<[Run; 2]>::from));
    }
    if let Some(file) = &comparison.json {
        fs::write(file, serde_json::to_string(&record)? + "\n")?;
    }
    Ok(code)
}

fn measure(
    scenario: &Scenario,
    comparison: &Comparison,
    looks: &Looks,
    directory: &Path,
) -> io::Result<Vec<Pair>> {
    let (origin, address) = server::start_origin(scenario, comparison.client_cpu)?;
    let side = |name: &'static str, program: &Path| {
        let directory = directory.join(&scenario.name).join(name);
        fs::create_dir_all(&directory)?;
        let setting = Setting {
            directory: &directory,
            origin: address,
            scenario,
            cpu: comparison.server_cpu,
            head_bytes: 0,
        };
        let running = server::start(Server::Ultragate, program, &setting)
            .map_err(|error| io::Error::other(format!("{}: {error}", program.display())))?;
        Ok::<Side, io::Error>(Side::new(name, running, scenario, comparison))
    };
    let reference = side("reference", &comparison.reference)?;
    let current = side("current", &comparison.current)?;
    // Without an origin a hit that is none becomes an error.
    let _origin = (!scenario.cached).then_some(origin);
    // What a first turn warms is in no figure.
    reference.turn(0)?;
    current.turn(0)?;
    let (mut pairs, mut differences) = (Vec::new(), Vec::new());
    for round in 1..=comparison.rounds.unwrap_or(ROUNDS) {
        let pair = if round % 2 == 1 {
            let before = reference.turn(round)?;
            (before, current.turn(round)?)
        } else {
            let now = current.turn(round)?;
            (reference.turn(round)?, now)
        };
        differences.extend(difference(Metric::Cpu, &pair));
        pairs.push(pair);
        if let Some((worse, verdict)) = looks.look(&differences) {
            progress(scenario, pairs.len(), &worse);
            if verdict.is_decided() {
                break;
            }
        }
    }
    Ok(pairs)
}

fn progress(scenario: &Scenario, pairs: usize, worse: &Interval) {
    if io::stderr().is_terminal() {
        let ratio = worse.exp();
        eprintln!(
            "{}, {pairs} pairs: CPU time a request x {:.3} ({:.3}..{:.3})",
            scenario.name, ratio.middle, ratio.low, ratio.high
        );
    }
}

/// One of the two gateways, warm.
struct Side {
    name: &'static str,
    running: Running,
    family: Family,
    load: LoadArguments,
    scenario: Scenario,
}

impl Side {
    fn new(
        name: &'static str,
        running: Running,
        scenario: &Scenario,
        comparison: &Comparison,
    ) -> Side {
        let mut load = scenario.load(&format!("http://{}", running.address));
        load.duration = comparison.turn.unwrap_or(TURN);
        load.threads = 1;
        load.cpus = vec![comparison.client_cpu];
        load.backend = comparison.backend;
        Side {
            name,
            family: running.process.family(),
            running,
            load,
            scenario: scenario.clone(),
        }
    }

    fn turn(&self, round: u32) -> io::Result<Run> {
        // Wakes what had gone to sleep, so that its waking is not in the figures.
        client::get(self.running.address, &self.scenario.path)?;
        let watch = || Some(self.family.cpu_us());
        let measured = generator::measure_beside(&self.load, &watch)?;
        let requests = measured.load.requests.max(1) as f64;
        let mut run = Run {
            scenario: self.scenario.name.clone(),
            server: self.name.to_owned(),
            build: self.running.build.clone(),
            round,
            cpu_us_per_request: measured.server_cpu_us.map(|us| us as f64 / requests),
            peak_rss_bytes: Some(self.running.process.peak_rss_bytes()),
            load: measured.load,
        };
        slim(&mut run.load);
        Ok(run)
    }
}

/// How much worse the current gateway was, as a logarithm.
fn difference(metric: Metric, (before, now): &Pair) -> Option<f64> {
    let difference = metric.badness(now)? - metric.badness(before)?;
    difference.is_finite().then_some(difference)
}

/// CPU time is judged on all pairs, because what disturbs the generator disturbs both sides alike; the rest, which is the
/// generator's own where it was the bottleneck, on those that are certified, where they are half of all.
fn judge(pairs: &[Pair], level: f64) -> Vec<Judged> {
    let certified: Vec<Pair> = pairs
        .iter()
        .filter(|pair| is_certified(pair))
        .cloned()
        .collect();
    let enough = certified.len() >= PAIRS_MIN.max(pairs.len() / 2);
    let of = |metric| {
        let pairs = match metric {
            Metric::Cpu => pairs,
            _ if enough => &certified,
            _ => return None,
        };
        let differences: Vec<f64> = pairs
            .iter()
            .filter_map(|pair| difference(metric, pair))
            .collect();
        let worse = Bootstrap::new().paired(&differences, level)?;
        let (before, now): (Vec<Run>, Vec<Run>) = pairs.iter().cloned().unzip();
        Judged::new(metric, (&before, &now), worse, &THRESHOLDS)
    };
    verdict::ALL.into_iter().filter_map(of).collect()
}

fn is_certified((before, now): &Pair) -> bool {
    before.load.certified && now.load.certified
}

fn errors(pairs: &[Pair]) -> (u64, u64) {
    pairs.iter().fold((0, 0), |(before, now), pair| {
        (
            before + pair.0.load.error_count(),
            now + pair.1.load.error_count(),
        )
    })
}

fn exit_code(pairs: &[Pair], judged: &[Judged]) -> u8 {
    let cpu = judged.iter().find(|judged| judged.metric == Metric::Cpu);
    let regressed = judged
        .iter()
        .any(|judged| judged.verdict == Verdict::Regression);
    if regressed || errors(pairs) != (0, 0) {
        REGRESSION
    } else if cpu.is_none_or(|cpu| cpu.verdict == Verdict::TooNoisy) {
        NOT_CERTIFIED
    } else {
        SAME
    }
}

/// A regression is one whatever else could not be told.
fn worst(one: u8, other: u8) -> u8 {
    match (one, other) {
        (REGRESSION, _) | (_, REGRESSION) => REGRESSION,
        _ => one.max(other),
    }
}

fn report(scenario: &Scenario, pairs: &[Pair], judged: &[Judged], level: f64) -> String {
    let mut lines = vec![format!(
        "{}: {}; {} pairs",
        scenario.name,
        scenario.title,
        pairs.len()
    )];
    if let Some((before, now)) = pairs.first() {
        lines.push(format!("reference: {}", before.build));
        lines.push(format!("now:       {}", now.build));
    }
    lines.push(String::new());
    lines.push(verdict::table(judged, level));
    let refused = pairs.iter().filter(|pair| !is_certified(pair)).count();
    if refused > 0 {
        let left_out = match judged.iter().any(|judged| judged.metric != Metric::Cpu) {
            true => "left out of all but CPU time",
            false => "too many to judge anything but CPU time",
        };
        lines.push(format!(
            "Not certified: {refused} pairs, {left_out}: {}",
            findings(pairs)
        ));
    }
    let (before, now) = errors(pairs);
    if (before, now) != (0, 0) {
        lines.push(format!(
            "Errors: {before} of the reference's answers, {now} of the current gateway's"
        ));
    }
    lines.join("\n")
}

/// What stood out in runs that are not certified, and in how many.
fn findings(pairs: &[Pair]) -> String {
    let refused = pairs.iter().flat_map(|(before, now)| [before, now]);
    super::findings(refused.filter(|run| !run.load.certified))
}
