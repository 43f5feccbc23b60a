//! From runs to a table that people read and a file that programs read.

use std::fmt::Write;

use crate::host;
use crate::load::Load;
use crate::scenario::{Figure, GOALS, Goal, Scenario};
use crate::server::{self, Server};

/// One run of one server.
pub(crate) struct Run {
    pub(crate) scenario: String,
    pub(crate) server: Server,
    /// CPU time of the server within the run.
    pub(crate) cpu_us: u64,
    pub(crate) load: Load,
    pub(crate) peak_rss_bytes: u64,
}

impl Run {
    fn cpu_us_per_request(&self) -> f64 {
        self.cpu_us as f64 / self.load.requests.max(1) as f64
    }
}

/// The middle and the ends of a few figures.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    median: f64,
    low: f64,
    high: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Option<Spread> {
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

/// The report: host, a table for each scenario, ratios to the floor and the goals.
pub(crate) fn markdown(scenarios: &[Scenario], runs: &[Run], rounds: u32, seconds: u64) -> String {
    let mut text = format!(
        "{}\n\n{rounds} rounds of {seconds} s, servers in turns; median [lowest..highest].\n",
        host::line(&host::host())
    );
    for scenario in scenarios {
        table(&mut text, scenario, runs);
    }
    goals(&mut text, runs);
    text
}

fn table(text: &mut String, scenario: &Scenario, runs: &[Run]) {
    let floor = median(runs, &scenario.name, Server::Floor, Figure::Cpu);
    let _ = write!(text, "\n## {}: {}\n\n", scenario.name, scenario.title);
    text.push_str("| server | CPU µs/request | / floor | requests/s | p50 µs | p99 µs | peak RSS MiB | errors |\n");
    text.push_str("|---|---|---|---|---|---|---|---|\n");
    for server in server::ALL {
        let of_server = || {
            runs.iter()
                .filter(move |run| run.scenario == scenario.name && run.server == server)
        };
        let show = |figure: fn(&Run) -> f64, digits| {
            Spread::of(of_server().map(figure)).map(|spread| spread.show(digits))
        };
        let Some(cpu) = show(Run::cpu_us_per_request, 2) else {
            continue;
        };
        let over_floor = median(runs, &scenario.name, server, Figure::Cpu)
            .zip(floor)
            .map(|(own, floor)| format!("{:.2}", own / floor));
        let columns = [
            server.name().to_owned(),
            cpu,
            over_floor.unwrap_or_default(),
            show(|run| run.load.rate, 0).unwrap_or_default(),
            latency(scenario, show(|run| run.load.p50_us, 0)),
            latency(scenario, show(|run| run.load.p99_us, 0)),
            format!(
                "{:.1}",
                of_server().map(|run| run.peak_rss_bytes).max().unwrap_or(0) as f64
                    / f64::from(1 << 20)
            ),
            errors(of_server().map(|run| run.load.errors).sum()),
        ];
        let _ = writeln!(text, "| {} |", columns.join(" | "));
    }
}

/// What wrk calls latency where requests are pipelined is no figure of any request's.
fn latency(scenario: &Scenario, shown: Option<String>) -> String {
    if scenario.is_pipelined() {
        "-".to_owned()
    } else {
        shown.unwrap_or_default()
    }
}

fn errors(count: u64) -> String {
    if count == 0 {
        "0".to_owned()
    } else {
        format!("**{count}: not valid**")
    }
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
    let own = median(runs, goal.scenario, goal.server, goal.figure)?;
    let others = goal
        .against
        .iter()
        .filter_map(|&peer| Some((median(runs, goal.scenario, peer, goal.figure)?, peer)));
    let (name, sign, met): (_, _, fn(f64, f64) -> bool) = match goal.figure {
        Figure::Cpu => ("CPU", "≤", |ratio, bound| ratio <= bound),
        Figure::P50 => ("p50", "≤", |ratio, bound| ratio <= bound),
        Figure::Rate => ("requests/s", "≥", |ratio, bound| ratio >= bound),
    };
    let (best, peer) = match goal.figure {
        Figure::Rate => others.max_by(|a, b| a.0.total_cmp(&b.0))?,
        _ => others.min_by(|a, b| a.0.total_cmp(&b.0))?,
    };
    let ratio = own / best;
    let word = if met(ratio, goal.bound) {
        "met"
    } else {
        "**missed**"
    };
    Some(format!(
        "| {} | {name} {} / {} | {ratio:.2} | {sign} {} | {word} |\n",
        goal.scenario,
        goal.server.name(),
        peer.name(),
        goal.bound
    ))
}

fn median(runs: &[Run], scenario: &str, server: Server, figure: Figure) -> Option<f64> {
    let of_server = runs
        .iter()
        .filter(|run| run.scenario == scenario && run.server == server);
    let spread = match figure {
        Figure::Cpu => Spread::of(of_server.map(Run::cpu_us_per_request)),
        Figure::P50 => Spread::of(of_server.map(|run| run.load.p50_us)),
        Figure::Rate => Spread::of(of_server.map(|run| run.load.rate)),
    };
    spread.map(|spread| spread.median)
}

/// Every run by itself.
pub(crate) fn json(runs: &[Run]) -> String {
    let runs: Vec<String> = runs
        .iter()
        .map(|run| {
            format!(
                "  {{\"scenario\":\"{}\",\"server\":\"{}\",\"cpu_us\":{},\"requests\":{},\"requests_per_second\":{},\"p50_us\":{},\"p99_us\":{},\"errors\":{},\"peak_rss_bytes\":{}}}",
                run.scenario,
                run.server.name(),
                run.cpu_us,
                run.load.requests,
                run.load.rate,
                run.load.p50_us,
                run.load.p99_us,
                run.load.errors,
                run.peak_rss_bytes
            )
        })
        .collect();
    format!(
        "{{\"host\":{:?},\"runs\":[\n{}\n]}}\n",
        host::line(&host::host()),
        runs.join(",\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario;

    fn run(scenario: &str, server: Server, cpu_us: u64, errors: u64) -> Run {
        let load = Load {
            requests: 1000,
            rate: 1e9 / cpu_us as f64,
            p50_us: 50.0,
            p99_us: 90.0,
            errors,
        };
        Run {
            scenario: scenario.to_owned(),
            server,
            cpu_us,
            load,
            peak_rss_bytes: 5 << 20,
        }
    }

    fn markdown(runs: &[Run]) -> String {
        super::markdown(&scenario::all().unwrap(), runs, 1, 1)
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
    fn a_goal_is_met_or_missed_against_the_best() {
        let runs = [
            run("large", Server::Ultragate, 40_000, 0),
            run("large", Server::H2o, 34_000, 0),
            run("large", Server::Nginx, 41_000, 0),
        ];
        let text = markdown(&runs);
        assert!(
            text.contains("| large | CPU ultragate / h2o | 1.18 | ≤ 1.05 | **missed** |"),
            "{text}"
        );
        let runs = [
            run("churn", Server::Ultragate, 10_000, 0),
            run("churn", Server::Nginx, 20_000, 0),
        ];
        let text = markdown(&runs);
        assert!(
            text.contains("requests/s ultragate / nginx | 2.00 | ≥ 1 | met"),
            "{text}"
        );
    }

    #[test]
    fn a_run_with_errors_is_marked() {
        let text = markdown(&[run("hit-64", Server::Nginx, 1, 7)]);
        assert!(text.contains("**7: not valid**"));
    }

    #[test]
    fn without_the_gateway_there_are_no_goals() {
        assert!(!markdown(&[run("hit-64", Server::Nginx, 1, 0)]).contains("Goals"));
    }
}
