//! Two gateways in turns: A B B A A B B A. Turns are short, because what else a host does changes within a second, and many:
//! each pair of neighbours is one ratio.

use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::statistics::{Bootstrap, Interval};
use super::verdict::{self, Judged, Metric, Thresholds, Verdict};
use super::{NOT_CERTIFIED, REGRESSION, SAME};
use crate::generator::Backend;
use crate::peers::Directory;
use crate::process::Process;
use crate::record::Run;
use crate::scenario::Scenario;
use crate::server::{self, Running, Server, Setting};
use crate::stage;
use crate::turn::{self, Settings};

/// One turn of a closed loop, and how many pairs of them at most.
const CLOSED: (Duration, u32) = (Duration::from_millis(100), 800);
/// An open loop needs clean windows.
const OPEN: (Duration, u32) = (Duration::from_secs(2), 50);
/// Pairs until both are started anew: where a process happens to lie in memory is worth a little too.
const PAIRS_OF_A_START: u32 = 100;
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
    rounds: u32,
    at: Vec<usize>,
    level: f64,
}

impl Looks {
    fn new(rounds: u32) -> Looks {
        let all = rounds as usize;
        let mut at: Vec<usize> = [8, 4, 2].iter().map(|part| all / part).collect();
        at.retain(|pairs| *pairs >= PAIRS_MIN);
        at.push(all);
        Looks {
            rounds,
            level: 1.0 - ERROR / at.len() as f64,
            at,
        }
    }

    /// What the differences of CPU time say, if now is the time to look.
    fn look(&self, differences: &[f64], bootstrap: &mut Bootstrap) -> Option<(Interval, Verdict)> {
        if !self.at.contains(&differences.len()) {
            return None;
        }
        let worse = bootstrap.paired(differences, self.level)?;
        Some((worse, Verdict::of(&worse, Some(THRESHOLDS.cpu))))
    }
}

/// The length of a turn, and the pairs of them at most.
fn usual(scenario: &Scenario) -> (Duration, u32) {
    scenario.rate.map_or(CLOSED, |_| OPEN)
}

/// The reference's run and the current gateway's, one right after the other.
type Pair = (Run, Run);

/// Compares in each scenario, prints the verdicts and exits 1 where one is a regression, 3 where noise hid the CPU time.
pub(crate) fn run(comparison: &Comparison) -> io::Result<u8> {
    let directory = Directory::new()?;
    let mut record = turn::record();
    let mut code = SAME;
    for scenario in &comparison.scenarios {
        let rounds = comparison.rounds.unwrap_or(usual(scenario).1);
        let looks = Looks::new(rounds);
        let pairs = measure(scenario, comparison, &looks, &directory.0)?;
        let judged = judge(&pairs, looks.level);
        println!("{}", report(scenario, &pairs, &judged, looks.level));
        code = worst(code, exit_code(&pairs, &judged));
        record.runs.extend(pairs.into_iter().flat_map(in_order));
    }
    if let Some(file) = &comparison.json {
        record.write(file)?;
    }
    Ok(code)
}

fn measure(
    scenario: &Scenario,
    comparison: &Comparison,
    looks: &Looks,
    directory: &Path,
) -> io::Result<Vec<Pair>> {
    let (mut pairs, mut differences) = (Vec::new(), Vec::new());
    let mut sides = Sides::start(scenario, comparison, directory)?;
    for round in 1..=looks.rounds {
        if round > 1 && round % PAIRS_OF_A_START == 1 {
            // The old ones first: four gateways are not two.
            drop(sides);
            sides = Sides::start(scenario, comparison, directory)?;
        }
        let pair = sides.pair(round)?;
        differences.extend(difference(Metric::Cpu, &pair));
        pairs.push(pair);
        if let Some((worse, verdict)) = looks.look(&differences, &mut Bootstrap::new()) {
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

/// Both gateways, warm, and their origin, where they need it.
struct Sides {
    reference: Side,
    current: Side,
    _origin: Option<Process>,
    scenario: Scenario,
    settings: Settings,
}

impl Sides {
    fn start(scenario: &Scenario, comparison: &Comparison, directory: &Path) -> io::Result<Sides> {
        // For the gateways too, which take the limit over.
        platform::host::limits::raise_descriptors()?;
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
            let running = stage::filled(Server::Ultragate, program, &setting)
                .map_err(|error| io::Error::other(format!("{}: {error}", program.display())))?;
            Ok::<Side, io::Error>(Side { name, running })
        };
        let sides = Sides {
            reference: side("reference", &comparison.reference)?,
            current: side("current", &comparison.current)?,
            // Without an origin a hit that is none becomes an error.
            _origin: (!scenario.spares_origin()).then_some(origin),
            scenario: scenario.clone(),
            settings: Settings {
                length: Some(comparison.turn.unwrap_or(usual(scenario).0)),
                cpus: vec![comparison.client_cpu],
                backend: comparison.backend,
            },
        };
        // What a first turn warms is in no figure.
        sides.pair(0)?;
        Ok(sides)
    }

    fn pair(&self, round: u32) -> io::Result<Pair> {
        let turn = |side: &Side| {
            let mut run = turn::measure_turn(&side.running, &self.scenario, &self.settings)?;
            side.name.clone_into(&mut run.server);
            run.round = round;
            run.load.slim();
            Ok::<Run, io::Error>(run)
        };
        if is_reference_first(round) {
            let before = turn(&self.reference)?;
            Ok((before, turn(&self.current)?))
        } else {
            let now = turn(&self.current)?;
            Ok((turn(&self.reference)?, now))
        }
    }
}

/// Every other pair: what drifts favours both alike.
fn is_reference_first(round: u32) -> bool {
    round % 2 == 1
}

/// One of the two gateways, warm.
struct Side {
    name: &'static str,
    running: Running,
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
        let judged = metric == Metric::Cpu || enough;
        let pairs = match metric != Metric::Cpu && enough {
            true => &certified,
            false => pairs,
        };
        let differences: Vec<f64> = pairs
            .iter()
            .filter_map(|pair| difference(metric, pair))
            .collect();
        let worse = Bootstrap::new().paired(&differences, level)?;
        let (before, now): (Vec<Run>, Vec<Run>) = pairs.iter().cloned().unzip();
        let mut told = Judged::new(metric, (&before, &now), worse, &THRESHOLDS)?;
        if !judged {
            told.verdict = Verdict::NotCertified;
        }
        Some(told)
    };
    verdict::ALL.into_iter().filter_map(of).collect()
}

fn is_certified((before, now): &Pair) -> bool {
    before.load.certified && now.load.certified
}

fn in_order((before, now): Pair) -> [Run; 2] {
    match is_reference_first(before.round) {
        true => [before, now],
        false => [now, before],
    }
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
        let not = |judged: &Judged| judged.verdict == Verdict::NotCertified;
        let left_out = match judged.iter().any(not) {
            true => "too many to judge anything but CPU time",
            false => "left out of all but CPU time",
        };
        lines.push(format!(
            "Not certified: {refused} pairs, {left_out}; runs with {}",
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

#[cfg(test)]
mod tests {
    use super::super::statistics::index;
    use super::*;
    use crate::generator::Random;

    /// Real pairs of one binary against itself: CPU time, rate, p50 and p99, each as a logarithm by which the second is worse.
    fn identical() -> Vec<[f64; 4]> {
        let lines = include_str!("identical.csv").lines();
        lines
            .filter(|line| !line.starts_with('#'))
            .map(|line| {
                let figures: Vec<f64> = line.split(',').map(|word| word.parse().unwrap()).collect();
                std::array::from_fn(|metric| {
                    let ratio = figures[4 + metric] / figures[metric];
                    if metric == 1 { -ratio.ln() } else { ratio.ln() }
                })
            })
            .collect()
    }

    /// The word that the looks at these pairs come to, one after the other.
    fn sequence(differences: &[f64], bootstrap: &mut Bootstrap) -> Verdict {
        let looks = Looks::new(u32::try_from(differences.len()).unwrap());
        let words = looks
            .at
            .iter()
            .filter_map(|at| looks.look(&differences[..*at], bootstrap));
        let mut last = Verdict::TooNoisy;
        for (_, verdict) in words {
            last = verdict;
            if verdict.is_decided() {
                break;
            }
        }
        last
    }

    /// As many pairs drawn from the real ones, each with its sides in either order, the second `factor` times as slow.
    fn drawn(count: usize, factor: f64, random: &mut Random) -> Vec<f64> {
        let identical = identical();
        let pair = |random: &mut Random| {
            let difference = identical[index(identical.len(), random)][0];
            let sign = if random.below(2) == 0 { 1.0 } else { -1.0 };
            sign * difference + factor.ln()
        };
        (0..count).map(|_| pair(random)).collect()
    }

    #[test]
    fn looks_share_the_error() {
        let looks = Looks::new(800);
        assert_eq!(looks.at, [100, 200, 400, 800]);
        assert!((looks.level - 0.9875).abs() < 1e-12);
        assert_eq!(Looks::new(50).at, [25, 50]);
        assert_eq!(Looks::new(3).at, [3]);
        assert!(looks.look(&[0.0; 99], &mut Bootstrap::new()).is_none());
    }

    #[test]
    fn real_pairs_of_one_binary_raise_no_alarm() {
        let pairs = identical();
        assert_eq!(pairs.len(), 200);
        for metric in 0..4 {
            let figures: Vec<f64> = pairs.iter().map(|pair| pair[metric]).collect();
            // Fifty at a time, each way round, and all of them.
            for part in figures.chunks(50).chain([&figures[..]]) {
                let looks = Looks::new(u32::try_from(part.len()).unwrap());
                let turned: Vec<f64> = part.iter().map(|difference| -difference).collect();
                for differences in [part, &turned] {
                    let all = Bootstrap::new().paired(differences, looks.level).unwrap();
                    let threshold = THRESHOLDS.of(verdict::ALL[metric]);
                    assert_ne!(Verdict::of(&all, threshold), Verdict::Regression, "{all:?}");
                    if metric == 0 {
                        let word = sequence(differences, &mut Bootstrap::new());
                        assert_ne!(word, Verdict::Regression);
                    }
                }
            }
        }
        let all: Vec<f64> = pairs.iter().map(|pair| pair[0]).collect();
        assert_eq!(sequence(&all, &mut Bootstrap::new()), Verdict::Same);
    }

    /// How many of 100 sequences drawn from the real pairs come to this word.
    fn words(count: usize, factor: f64, word: Verdict) -> usize {
        let mut random = Random::new(11);
        let mut bootstrap = Bootstrap::with(1_000);
        let drawn = (0..100).map(|_| drawn(count, factor, &mut random));
        let words = drawn.filter(|pairs| sequence(pairs, &mut bootstrap) == word);
        words.count()
    }

    #[test]
    fn sequences_like_them_raise_none_either() {
        assert_eq!(words(50, 1.0, Verdict::Regression), 0);
        assert_eq!(words(800, 1.0, Verdict::Regression), 0);
        assert!(words(800, 1.0, Verdict::Same) >= 99);
    }

    #[test]
    fn five_percent_more_are_caught() {
        let caught = words(800, 1.05, Verdict::Regression);
        assert!(caught >= 98, "{caught} of 100");
        let mut all: Vec<f64> = identical().iter().map(|pair| pair[0]).collect();
        all.iter_mut()
            .for_each(|difference| *difference += 1.05_f64.ln());
        assert_eq!(sequence(&all, &mut Bootstrap::new()), Verdict::Regression);
    }

    /// At the threshold itself one in twenty sequences may be an alarm.
    #[test]
    fn the_threshold_is_passed_by_chance_as_seldom_as_said() {
        let alarms = words(400, THRESHOLDS.cpu, Verdict::Regression);
        assert!(alarms <= 8, "{alarms} of 100");
    }

    #[test]
    fn a_regression_in_one_scenario_is_one() {
        assert_eq!(worst(SAME, NOT_CERTIFIED), NOT_CERTIFIED);
        assert_eq!(worst(REGRESSION, NOT_CERTIFIED), REGRESSION);
        assert_eq!(worst(NOT_CERTIFIED, REGRESSION), REGRESSION);
        assert_eq!(worst(SAME, SAME), SAME);
    }
}
