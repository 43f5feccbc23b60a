//! The judge: is this gateway slower than it was, or than another.

mod against;
mod baseline;
mod change;
mod kept;
mod owner;
mod statistics;
mod verdict;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use self::against::Comparison;
use self::baseline::Measurement;
use crate::generator::{LoadArguments, NoRun};
use crate::record::Run;
use crate::scenario::{self, Scenario};
use crate::server;

/// Nothing got worse by more than it may.
const SAME: u8 = 0;
/// Something did.
const REGRESSION: u8 = 1;
/// Wrong usage.
const USAGE: u8 = 2;
/// The generator was the bottleneck, or the host too noisy to tell anything.
const NOT_CERTIFIED: u8 = 3;
/// The baseline is another host's or another load's, or there is none.
const NOT_COMPARABLE: u8 = 4;

/// Compare with what was.
#[derive(Args, Debug)]
#[command(next_help_heading = "Judging")]
pub(crate) struct JudgeArguments {
    /// Measure the server at URL in rounds and keep the result as this host's baseline: at 10,000 requests a second on 64
    /// connections where no -t, -c or -R says otherwise.
    #[arg(long, groups = ["judged", "measured"])]
    baseline: bool,
    /// Measure as the baseline was and compare: exits 1 where something got worse, 4 where there is nothing to compare with.
    #[arg(long, groups = ["judged", "measured"])]
    compare_baseline: bool,
    /// The baseline's file [default: bench/baselines/HOST.json].
    #[arg(
        long,
        value_name = "FILE",
        requires = "measured",
        conflicts_with = "against"
    )]
    file: Option<PathBuf>,
    /// Measure the gateway and the one at PATH in turns, and exit 1 where the gateway is worse.
    #[arg(long, value_name = "PATH", group = "judged")]
    against: Option<PathBuf>,
    /// The gateway's binary [default: beside this program, else target/release/ultragate].
    #[arg(
        long,
        value_name = "PATH",
        requires = "against",
        conflicts_with = "measured"
    )]
    gateway: Option<PathBuf>,
    /// The scenarios to compare in, by name or file [default: hit-64].
    #[arg(long, value_name = "NAME", requires = "against", conflicts_with = "measured", value_parser = scenario::find)]
    scenario: Vec<Scenario>,
    /// Rounds of --baseline and --compare-baseline [default: 10], pairs of turns of --against at most [default: 800].
    #[arg(long, value_name = "N", requires = "judged", value_parser = clap::value_parser!(u32).range(3..=100_000))]
    rounds: Option<u32>,
    /// CPU of the two gateways.
    #[arg(
        long,
        value_name = "CPU",
        default_value_t = 0,
        requires = "against",
        conflicts_with = "measured"
    )]
    server_cpu: usize,
    /// CPU of the generator and of the origin.
    #[arg(
        long,
        value_name = "CPU",
        default_value_t = 1,
        requires = "against",
        conflicts_with = "measured"
    )]
    client_cpu: usize,
}

impl JudgeArguments {
    /// Whether anything is to be judged, rather than a load driven.
    pub(crate) fn is_wanted(&self) -> bool {
        self.baseline || self.compare_baseline || self.against.is_some()
    }
}

/// Judges. `given` tells which flags stood on the command line.
pub(crate) fn run(
    arguments: &JudgeArguments,
    load: &LoadArguments,
    given: &dyn Fn(&str) -> bool,
) -> ExitCode {
    match judge(arguments, load, given) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("benchmark: {error}");
            match error {
                NoRun::Usage(_) => ExitCode::from(USAGE),
                NoRun::Failed(_) => ExitCode::FAILURE,
            }
        }
    }
}

fn judge(
    arguments: &JudgeArguments,
    load: &LoadArguments,
    given: &dyn Fn(&str) -> bool,
) -> Result<u8, NoRun> {
    if let Some(reference) = &arguments.against {
        let comparison = comparison(arguments, reference, load, given)?;
        return against::run(&comparison).map_err(|error| NoRun::Failed(error.to_string()));
    }
    let measurement = Measurement {
        load: load.clone(),
        given,
        rounds: arguments.rounds,
        file: arguments.file.as_deref(),
    };
    match arguments.baseline {
        true => baseline::keep(&measurement),
        false => baseline::compare(&measurement),
    }
}

/// The load is the scenario's: what would change it is refused.
fn comparison(
    arguments: &JudgeArguments,
    reference: &Path,
    load: &LoadArguments,
    given: &dyn Fn(&str) -> bool,
) -> Result<Comparison, NoRun> {
    let neutral = ["duration", "backend", "json"];
    let flags = serde_json::to_value(load).unwrap_or_default();
    let mut flags = flags
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| name);
    if let Some(flag) = flags.find(|flag| given(flag) && !neutral.contains(&flag.as_str())) {
        let flag = flag.replace('_', "-");
        return Err(NoRun::Usage(format!(
            "--against takes no {flag}: the load is the scenario's (--scenario NAME or FILE)"
        )));
    }
    let current = match &arguments.gateway {
        Some(path) => path.clone(),
        None => server::gateway(),
    };
    let scenarios = match arguments.scenario.is_empty() {
        true => vec![scenario::find("hit-64").map_err(NoRun::Failed)?],
        false => arguments.scenario.clone(),
    };
    Ok(Comparison {
        reference: program(reference)?,
        current: program(&current)?,
        scenarios,
        rounds: arguments.rounds,
        turn: given("duration").then_some(load.duration),
        backend: load.backend,
        server_cpu: arguments.server_cpu,
        client_cpu: arguments.client_cpu,
        json: load.json.clone(),
    })
}

/// As it is found from everywhere.
fn program(path: &Path) -> Result<PathBuf, NoRun> {
    let file = path.canonicalize().ok().filter(|path| path.is_file());
    file.ok_or_else(|| NoRun::Usage(format!("{}: there is no such program", path.display())))
}

/// What stood out, and in how many of the runs.
fn findings<'r>(runs: impl IntoIterator<Item = &'r Run>) -> String {
    let mut counts = BTreeMap::new();
    for name in runs.into_iter().flat_map(|run| &run.load.findings) {
        *counts.entry(name.as_str()).or_insert(0) += 1;
    }
    let words: Vec<String> = counts
        .iter()
        .map(|(name, count)| format!("{name} in {count}"))
        .collect();
    words.join(", ")
}
