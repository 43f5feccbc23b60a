//! A running server, measured in rounds, and what became of it since it was measured last.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::change::{self, Change};
use super::kept::{self, Kept, Missing, Point, Shape};
use super::owner::Owner;
use super::statistics::{Bootstrap, median};
use super::verdict::{self, Judged, Metric, Thresholds, Verdict};
use super::{NOT_CERTIFIED, NOT_COMPARABLE, REGRESSION, SAME};
use crate::clock;
use crate::generator::{self, LoadArguments, NoRun};
use crate::process::Family;
use crate::record::{Record, Run};
use crate::turn;

/// Rounds, where nothing else is said: with the runs that may have to be repeated a minute at most.
const ROUNDS: u32 = 10;
const ROUND: Duration = Duration::from_secs(3);
/// The load, where nothing else is said: the runbooks' first level. A closed loop on a gateway's own host leaves neither
/// of them the CPU it needs.
const RATE: u64 = 10_000;
const CONNECTIONS: u32 = 64;
const LEVEL: f64 = 0.95;
/// Between two measurements lie hours: what a neighbour does to latencies and rates may have changed.
const THRESHOLDS: Thresholds = Thresholds {
    cpu: 1.1,
    rate: 1.2,
    p50: 1.5,
    p99: None,
};

/// What is to be measured.
pub(crate) struct Measurement<'a> {
    pub(crate) load: LoadArguments,
    /// Which flags of the load stood on the command line.
    pub(crate) given: &'a dyn Fn(&str) -> bool,
    pub(crate) rounds: Option<u32>,
    pub(crate) file: Option<&'a Path>,
}

/// Measures, writes the baseline and says what it is.
pub(crate) fn keep(measurement: &Measurement<'_>) -> Result<u8, NoRun> {
    let mut record = turn::record();
    let place = kept::place(measurement.file, &record.host);
    kept::prepare(&place).map_err(failed)?;
    let load = defaults(measurement);
    let Some(rounds) = measure(&load, measurement.rounds)? else {
        return Ok(NOT_CERTIFIED);
    };
    let errors = rounds.errors();
    if errors > 0 {
        let what = format!("{errors} of the answers were errors: that is no baseline");
        return Err(NoRun::Failed(what));
    }
    record.runs = rounds.runs;
    written(&load, &record)?;
    let shape = Shape::of(&load);
    // What is there may be of another version; then its history is too.
    let history = kept::read(&place).map_or(Vec::new(), |kept| kept.history);
    let mut kept = Kept {
        record,
        shape,
        history,
    };
    let point = point(&kept.record, &kept.shape);
    println!("{}", summary(&point));
    kept.remember(point);
    kept::write(&place, &kept).map_err(failed)?;
    println!("Written to {}", place.display());
    Ok(SAME)
}

/// Measures likewise and judges.
pub(crate) fn compare(measurement: &Measurement<'_>) -> Result<u8, NoRun> {
    let mut record = turn::record();
    let place = kept::place(measurement.file, &record.host);
    let (mut kept, load) = match comparable(&place, measurement, &record) {
        Ok(both) => both,
        Err(why) => {
            eprintln!("{}: not comparable: {why}", place.display());
            return Ok(NOT_COMPARABLE);
        }
    };
    let Some(rounds) = measure(&load, measurement.rounds)? else {
        return Ok(NOT_CERTIFIED);
    };
    let errors = rounds.errors();
    record.runs = rounds.runs;
    written(&load, &record)?;
    let judged = judge(&kept.record.runs, &record.runs);
    let build = |runs: &[Run]| runs.first().map_or(String::new(), |run| run.build.clone());
    println!("reference: {}", build(&kept.record.runs));
    println!("now:       {}\n", build(&record.runs));
    println!("{}", verdict::table(&judged, LEVEL));
    kept.remember(point(&record, &Shape::of(&load)));
    for note in notes(&kept, &judged) {
        println!("{note}");
    }
    if errors > 0 {
        println!("Errors: {errors} of the answers; the baseline has none");
    }
    if let Err(error) = kept::write(&place, &kept) {
        println!("Not kept for the history: {error}");
    }
    Ok(exit_code(&judged, errors))
}

fn failed(error: io::Error) -> NoRun {
    NoRun::Failed(error.to_string())
}

/// The load as asked for, and where nothing was asked one that a gateway's own host can drive.
fn defaults(measurement: &Measurement<'_>) -> LoadArguments {
    let mut load = measurement.load.clone();
    let given = measurement.given;
    if ![
        "threads",
        "connections",
        "rate",
        "each",
        "pipeline",
        "close",
    ]
    .iter()
    .any(|flag| given(flag))
    {
        load.threads = 1;
        load.connections = CONNECTIONS;
        load.rate = Some(RATE);
    }
    if !given("duration") {
        load.duration = ROUND;
    }
    quiet(&mut load, given);
    load
}

/// Beside the server a generator that spins takes what it is to measure.
fn quiet(load: &mut LoadArguments, given: &dyn Fn(&str) -> bool) {
    if !given("spin") {
        load.spin = generator::Spin::Never;
    }
}

/// The baseline and its load, if this is its host and nothing on the command line says otherwise.
fn comparable(
    place: &Path,
    measurement: &Measurement<'_>,
    now: &Record,
) -> Result<(Kept, LoadArguments), String> {
    let kept = kept::read(place).map_err(|missing| match missing {
        Missing::Unusable(what) => what,
        Missing::NotThere => match kept::neighbour(place) {
            None => "there is no baseline; --baseline writes one".to_owned(),
            Some((file, kept)) => format!(
                "there is none of this host; in {} is one of another: {}",
                file.display(),
                kept::host_differences(&kept.record.host, &now.host).join("; ")
            ),
        },
    })?;
    let given = measurement.given;
    let load = kept.shape.load(given, &measurement.load);
    let mut load = load.map_err(|error| format!("its load is of another version: {error}"))?;
    quiet(&mut load, given);
    let mut differences = kept::host_differences(&kept.record.host, &now.host);
    differences.extend(kept.shape.differences(&Shape::of(&load)));
    match differences.is_empty() {
        true => Ok((kept, load)),
        false => Err(differences.join("; ")),
    }
}

/// Certified runs, and those alone.
struct Rounds {
    runs: Vec<Run>,
}

impl Rounds {
    fn errors(&self) -> u64 {
        self.runs.iter().map(|run| run.load.error_count()).sum()
    }
}

/// Repeats what was not certified, as many times as there are rounds in all; `None`, and why is said, where less than half
/// of the rounds can be had.
fn measure(load: &LoadArguments, rounds: Option<u32>) -> Result<Option<Rounds>, NoRun> {
    let rounds = rounds.unwrap_or(ROUNDS);
    // Fails for a wrong URL before anything is looked for.
    let address = generator::address(load)?;
    let owner = Owner::of(address);
    if let Some(why) = owner.unseen {
        println!("CPU time is left out: {why}");
    }
    let (mut runs, mut refused) = (Vec::new(), Vec::new());
    for round in 1..=2 * rounds {
        let watch = || owner.family.as_ref().map(Family::cpu_us);
        let measured = generator::measure_beside(load, &watch)?;
        let requests = measured.load.requests.max(1) as f64;
        let mut run = Run {
            scenario: "url".to_owned(),
            server: address.to_string(),
            build: owner.build.clone(),
            round,
            cpu_us_per_request: measured.server_cpu_us.map(|us| us as f64 / requests),
            peak_rss_bytes: None,
            load: measured.load,
        };
        run.load.slim();
        match run.load.certified {
            true => runs.push(run),
            false => refused.push(run),
        }
        if runs.len() >= rounds as usize {
            break;
        }
    }
    if !refused.is_empty() {
        println!(
            "Not certified: {} runs: {}",
            refused.len(),
            super::findings(&refused)
        );
    }
    if runs.len() * 2 < rounds as usize {
        println!("That is too many: nothing of the server can be said");
        return Ok(None);
    }
    Ok(Some(Rounds { runs }))
}

fn written(load: &LoadArguments, record: &Record) -> Result<(), NoRun> {
    let Some(file) = &load.json else {
        return Ok(());
    };
    let written = record.clone().write(file);
    written.map_err(|error| NoRun::Failed(format!("{}: {error}", file.display())))
}

fn judge(before: &[Run], now: &[Run]) -> Vec<Judged> {
    let of = |metric: Metric| {
        let badness = |runs: &[Run]| -> Vec<f64> {
            runs.iter().filter_map(|run| metric.badness(run)).collect()
        };
        let worse = Bootstrap::new().unpaired(&badness(now), &badness(before), LEVEL)?;
        Judged::new(metric, (before, now), worse, &THRESHOLDS)
    };
    verdict::ALL.into_iter().filter_map(of).collect()
}

/// Noise is held against CPU time, and against the rest only where there is no CPU time.
fn exit_code(judged: &[Judged], errors: u64) -> u8 {
    let any = |verdict| judged.iter().any(|judged| judged.verdict == verdict);
    let cpu = judged.iter().find(|judged| judged.metric == Metric::Cpu);
    let noisy = cpu.map_or_else(
        || judged.is_empty() || any(Verdict::TooNoisy),
        |cpu| cpu.verdict == Verdict::TooNoisy,
    );
    if errors > 0 || any(Verdict::Regression) {
        REGRESSION
    } else if noisy {
        NOT_CERTIFIED
    } else {
        SAME
    }
}

fn point(record: &Record, shape: &Shape) -> Point {
    let middle = |metric: Metric| {
        let figures: Vec<f64> = record
            .runs
            .iter()
            .filter_map(|run| metric.of(run))
            .collect();
        median(&figures)
    };
    Point {
        at: record.at,
        build: record
            .runs
            .first()
            .map_or(String::new(), |run| run.build.clone()),
        shape: shape.clone(),
        cpu_us_per_request: middle(Metric::Cpu),
        requests_per_second: middle(Metric::Rate).unwrap_or(0.0),
        p50_us: middle(Metric::P50).unwrap_or(0.0),
        p99_us: middle(Metric::P99).unwrap_or(0.0),
    }
}

fn summary(point: &Point) -> String {
    let cpu = point
        .cpu_us_per_request
        .map_or_else(|| "-".to_owned(), |cpu| format!("{cpu:.3}"));
    format!(
        "{}\nCPU µs/request {cpu}, requests/s {:.0}, p50 {:.1} µs, p99 {:.1} µs",
        point.build, point.requests_per_second, point.p50_us, point.p99_us
    )
}

/// What the history tells beside the verdicts.
fn notes(kept: &Kept, judged: &[Judged]) -> Vec<String> {
    let mut notes = Vec::new();
    if !judged.iter().any(|judged| judged.metric == Metric::Cpu) {
        notes.push("CPU time a request is not judged: one of the two has none".to_owned());
    }
    let points: Vec<&Point> = kept
        .alike()
        .filter(|point| point.cpu_us_per_request.is_some())
        .collect();
    let series: Vec<f64> = points
        .iter()
        .filter_map(|point| point.cpu_us_per_request)
        .collect();
    notes.extend(change::changes(&series).into_iter().map(|change| match change {
        Change::Step { at, from, to } => format!(
            "History: CPU time a request went from {from:.3} to {to:.3} µs at measurement {} of {}, {}{}",
            at + 1,
            series.len(),
            clock::date(points[at].at),
            new_build(&points, at)
        ),
        Change::Drift { begin, end, from, to } => format!(
            "History: CPU time a request drifted from {from:.3} to {to:.3} µs over measurements {} to {end} of {}",
            begin + 1,
            series.len()
        ),
    }));
    notes
}

/// The build that came with a step, if one did.
fn new_build(points: &[&Point], at: usize) -> String {
    let build = &points[at].build;
    match at.checked_sub(1).map(|before| &points[before].build) {
        Some(before) if before != build => format!(", with {build}"),
        _ => String::new(),
    }
}
