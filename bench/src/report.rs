//! From runs to tables that people read.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::generator::CLEAN_WINDOWS_MIN;
use crate::host;
use crate::record::{Distribution, Record, Run};
use crate::scenario::{Figure, GOALS, Goal, Hold, Scenario};
use crate::server::Server;

/// The columns of a table, with the digits behind the point.
const COLUMNS: [(&str, Figure, usize); 6] = [
    ("CPU µs/request", Figure::Cpu, 2),
    ("requests/s", Figure::Rate, 0),
    ("p50 µs", Figure::P50, 0),
    ("p99 µs", Figure::P99, 0),
    ("p99.9 µs", Figure::P999, 0),
    ("peak RSS MiB", Figure::Memory, 1),
];

/// The middle and the ends of a few figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Spread {
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let (&low, &high) = (values.first()?, values.last()?);
        let middle = values.len() / 2;
        let upper = *values.get(middle)?;
        let median = if values.len() % 2 == 1 {
            upper
        } else {
            (values.get(middle - 1)? + upper) / 2.0
        };
        Some(Spread { median, low, high })
    }

    fn show(self, digits: usize) -> String {
        format!(
            "{:.digits$} [{:.digits$}..{:.digits$}]",
            self.median, self.low, self.high
        )
    }
}

impl Figure {
    /// What a run says of it.
    fn of(self, run: &Run) -> Option<f64> {
        let latency = latency(run);
        match self {
            Self::Cpu => run.cpu_us_per_request,
            Self::Rate => Some(run.load.requests_per_second),
            Self::P50 => Some(latency.p50_us),
            Self::P99 => Some(latency.p99_us),
            Self::P999 => Some(latency.p99_9_us),
            Self::Memory => run
                .peak_rss_bytes
                .map(|bytes| bytes as f64 / f64::from(1 << 20)),
        }
    }
}

/// Corrected latencies: of an open loop in clean windows, where there were enough of them.
fn latency(run: &Run) -> &Distribution {
    let clean = run.load.clean.as_ref();
    let enough = clean.filter(|clean| clean.windows >= CLEAN_WINDOWS_MIN);
    enough.map_or(&run.load.latency.corrected, |clean| {
        &clean.latency.corrected
    })
}

/// The report: host, what was left out, a table for each scenario, and the goals.
pub(crate) fn markdown(
    record: &Record,
    scenarios: &[Scenario],
    left_out: &BTreeSet<String>,
) -> String {
    let mut text = format!(
        "{}\n\nServers in turns; median [lowest..highest] of the rounds, and the median over the floor's.\n",
        host::line(&record.host)
    );
    for what in left_out {
        let _ = writeln!(text, "\nLeft out: {what}.");
    }
    for scenario in scenarios {
        table(&mut text, scenario, &record.runs);
    }
    goals(&mut text, &record.runs);
    text
}

/// A scenario's servers, in the order in which they were measured.
pub(crate) fn table(text: &mut String, scenario: &Scenario, runs: &[Run]) {
    let runs: Vec<&Run> = of(runs, &scenario.name, None).collect();
    let mut servers: Vec<&str> = Vec::new();
    for run in &runs {
        if !servers.contains(&run.server.as_str()) {
            servers.push(&run.server);
        }
    }
    let rounds = runs.len() / servers.len().max(1);
    let seconds = runs.first().map_or(0.0, |run| run.load.seconds);
    let _ = write!(
        text,
        "\n## {}: {}\n\n{rounds} round{} of {seconds:.0} s.\n\n| server |",
        scenario.name,
        scenario.title,
        if rounds == 1 { "" } else { "s" }
    );
    for (name, _, _) in COLUMNS {
        let _ = write!(text, " {name} |");
    }
    let _ = write!(
        text,
        " certified | errors |\n|{}\n",
        "---|".repeat(COLUMNS.len() + 3)
    );
    for server in servers {
        let own: Vec<&Run> = runs
            .iter()
            .copied()
            .filter(|run| run.server == server)
            .collect();
        let _ = write!(text, "| {server} |");
        for (_, figure, digits) in COLUMNS {
            let floor = median(runs.iter().copied(), &scenario.name, Server::Floor, figure);
            let _ = write!(text, " {} |", cell(&own, figure, digits, floor));
        }
        let _ = writeln!(text, " {} | {} |", certified(&own), errors(&own));
    }
}

fn cell(runs: &[&Run], figure: Figure, digits: usize, floor: Option<f64>) -> String {
    let Some(spread) = Spread::of(runs.iter().filter_map(|run| figure.of(run))) else {
        return "-".to_owned();
    };
    let is_floor = runs
        .first()
        .is_some_and(|run| run.server == Server::Floor.name());
    match floor.filter(|floor| *floor > 0.0 && !is_floor) {
        Some(floor) => format!("{}, {:.2}x", spread.show(digits), spread.median / floor),
        None => spread.show(digits),
    }
}

fn certified(runs: &[&Run]) -> String {
    let refused: Vec<&&Run> = runs.iter().filter(|run| !run.load.certified).collect();
    if refused.is_empty() {
        return "all".to_owned();
    }
    let why: BTreeSet<&str> = refused
        .iter()
        .flat_map(|run| &run.load.findings)
        .map(String::as_str)
        .collect();
    let why: Vec<&str> = why.into_iter().collect();
    format!(
        "{} of {}: {}",
        runs.len() - refused.len(),
        runs.len(),
        why.join(", ")
    )
}

fn errors(runs: &[&Run]) -> String {
    match runs.iter().map(|run| run.load.error_count()).sum::<u64>() {
        0 => "0".to_owned(),
        count => format!("**{count}: not valid**"),
    }
}

/// What a server is held to, over its certified runs. None where most of its runs are not.
pub(crate) fn held(hold: &Hold, runs: &[&Run]) -> Option<Vec<(String, bool)>> {
    let certified: Vec<&&Run> = runs.iter().filter(|run| run.load.certified).collect();
    if certified.len() * 2 <= runs.len() {
        return None;
    }
    let of = |figure: Figure| Spread::of(certified.iter().filter_map(|run| figure.of(run)));
    let time = |name: &str, figure, bound: Option<f64>| {
        let (bound, spread) = (bound?, of(figure)?);
        let met = spread.median <= bound;
        Some((format!("{name} {} µs ≤ {bound} µs", spread.show(0)), met))
    };
    let share = hold.errors.map(|bound| {
        let sum = |count: fn(&Run) -> u64| runs.iter().map(|run| count(run)).sum::<u64>();
        let failed = sum(|run| run.load.error_count() + run.load.unsent);
        let share = failed as f64 / sum(|run| run.load.due).max(1) as f64;
        let words = format!("errors {:.3} % < {} %", share * 100.0, bound * 100.0);
        (words, share < bound)
    });
    let times = [
        time("p50", Figure::P50, hold.p50_us),
        time("p99", Figure::P99, hold.p99_us),
    ];
    Some(times.into_iter().flatten().chain(share).collect())
}

/// The goals whose servers were both measured.
fn goals(text: &mut String, runs: &[Run]) {
    let lines: Vec<String> = GOALS
        .iter()
        .filter_map(|goal| goal_line(goal, runs))
        .collect();
    if !lines.is_empty() {
        text.push_str(
            "\n## Goals\n\n| scenario | ratio | measured | bound | |\n|---|---|---|---|---|\n",
        );
        text.push_str(&lines.concat());
    }
}

fn goal_line(goal: &Goal, runs: &[Run]) -> Option<String> {
    let median = |server| median(runs.iter(), goal.scenario, server, goal.figure);
    let own = median(goal.server)?;
    let others = goal
        .against
        .iter()
        .filter_map(|&peer| Some((median(peer)?, peer)));
    let more = matches!(goal.figure, Figure::Rate);
    let (best, peer) = match more {
        true => others.max_by(|a, b| a.0.total_cmp(&b.0))?,
        false => others.min_by(|a, b| a.0.total_cmp(&b.0))?,
    };
    let ratio = own / best;
    let (sign, met) = match more {
        true => ("≥", ratio >= goal.bound),
        false => ("≤", ratio <= goal.bound),
    };
    let name = COLUMNS
        .iter()
        .find(|(_, figure, _)| *figure == goal.figure)
        .and_then(|(name, _, _)| name.split(' ').next());
    Some(format!(
        "| {} | {} {} / {} | {ratio:.2} | {sign} {} | {} |\n",
        goal.scenario,
        name.unwrap_or_default(),
        goal.server.name(),
        peer.name(),
        goal.bound,
        if met { "met" } else { "**missed**" }
    ))
}

fn median<'r>(
    runs: impl IntoIterator<Item = &'r Run>,
    scenario: &str,
    server: Server,
    figure: Figure,
) -> Option<f64> {
    let own = of(runs, scenario, Some(server.name()));
    Spread::of(own.filter_map(|run| figure.of(run))).map(|spread| spread.median)
}

fn of<'r>(
    runs: impl IntoIterator<Item = &'r Run>,
    scenario: &str,
    server: Option<&str>,
) -> impl Iterator<Item = &'r Run> {
    runs.into_iter().filter(move |run| {
        run.scenario == scenario && server.is_none_or(|server| run.server == server)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Clean, Load, SCHEMA};
    use crate::scenario;

    fn run(scenario: &str, server: Server, cpu_us: f64, errors: u64) -> Run {
        let mut load = Load {
            requests: 1_000,
            due: 1_000,
            requests_per_second: 1e6 / cpu_us,
            seconds: 2.0,
            certified: true,
            ..Load::default()
        };
        load.errors.insert("status".to_owned(), errors);
        load.latency.corrected.p50_us = cpu_us;
        load.latency.corrected.p99_us = 90.0;
        Run {
            scenario: scenario.to_owned(),
            server: server.name().to_owned(),
            round: 1,
            cpu_us_per_request: Some(cpu_us),
            peak_rss_bytes: Some(5 << 20),
            load,
            ..Run::default()
        }
    }

    fn shown(runs: &[Run]) -> String {
        let record = Record {
            schema: SCHEMA,
            at: 0,
            host: host::host(),
            runs: runs.to_vec(),
        };
        let left_out = BTreeSet::from(["h2o is not installed".to_owned()]);
        markdown(&record, &scenario::all().unwrap(), &left_out)
    }

    #[test]
    fn the_median_is_of_the_runs() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied());
        assert_eq!(
            spread(&[3.0, 1.0, 2.0]),
            Some(Spread {
                median: 2.0,
                low: 1.0,
                high: 3.0
            })
        );
        assert_eq!(
            spread(&[4.0, 1.0]),
            Some(Spread {
                median: 2.5,
                low: 1.0,
                high: 4.0
            })
        );
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn every_figure_has_its_spread_and_its_ratio_to_the_floor() {
        let mut other = run("hit-64", Server::Nginx, 30.0, 0);
        other.load.certified = false;
        other.load.findings = vec!["stolen CPU".to_owned()];
        let text = shown(&[
            run("hit-64", Server::Nginx, 20.0, 0),
            run("hit-64", Server::Floor, 10.0, 0),
            other,
            run("hit-64", Server::Floor, 10.0, 0),
        ]);
        for words in [
            "| nginx | 25.00 [20.00..30.00], 2.50x | 41667 [33333..50000], 0.42x | 25 [20..30], 2.50x | 90 [90..90], 1.00x |",
            " 5.0 [5.0..5.0], 1.00x | 1 of 2: stolen CPU | 0 |\n| floor | 10.00 [10.00..10.00] | 100000",
            "2 rounds of 2 s.",
            "Left out: h2o is not installed.",
        ] {
            assert!(text.contains(words), "{words} in {text}");
        }
    }

    #[test]
    fn a_goal_is_met_or_missed_against_the_best() {
        let text = shown(&[
            run("large", Server::Ultragate, 40.0, 0),
            run("large", Server::H2o, 34.0, 0),
            run("large", Server::Nginx, 41.0, 0),
        ]);
        assert!(
            text.contains("| large | CPU ultragate / h2o | 1.18 | ≤ 1.05 | **missed** |"),
            "{text}"
        );
        let text = shown(&[
            run("churn", Server::Ultragate, 10.0, 0),
            run("churn", Server::Nginx, 20.0, 0),
        ]);
        assert!(
            text.contains("requests/s ultragate / nginx | 2.00 | ≥ 1 | met"),
            "{text}"
        );
    }

    #[test]
    fn a_run_with_errors_is_marked() {
        let text = shown(&[run("hit-64", Server::Nginx, 1.0, 7)]);
        assert!(text.contains("**7: not valid**"));
        assert!(!text.contains("Goals"));
    }

    #[test]
    fn what_is_held_is_of_certified_runs_in_clean_windows() {
        let hold = Hold {
            p50_us: Some(500.0),
            p99_us: Some(80.0),
            errors: Some(0.001),
        };
        let mut clean = run("rate-10k", Server::Ultragate, 600.0, 1);
        let mut windows = Clean {
            windows: 300,
            of: 400,
            ..Clean::default()
        };
        windows.latency.corrected.p50_us = 100.0;
        windows.latency.corrected.p99_us = 90.0;
        clean.load.clean = Some(windows);
        let mut refused = run("rate-10k", Server::Ultragate, 900.0, 0);
        refused.load.certified = false;
        let held = |runs: &[&Run]| held(&hold, runs);
        assert_eq!(
            held(&[&clean, &clean, &refused]).unwrap(),
            [
                ("p50 100 [100..100] µs ≤ 500 µs".to_owned(), true),
                ("p99 90 [90..90] µs ≤ 80 µs".to_owned(), false),
                ("errors 0.067 % < 0.1 %".to_owned(), true),
            ]
        );
        assert_eq!(held(&[&clean, &refused]), None);
    }
}
