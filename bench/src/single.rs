//! One scenario: a server beside the floor, and whether it holds what it is to hold.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::peers::Directory;
use crate::record::Run;
use crate::report;
use crate::scenario::{self, Scenario};
use crate::server::Server;
use crate::stage::{Places, Stage};
use crate::turn;

/// Most rounds were not the server's.
const NOT_CERTIFIED: u8 = 3;
/// Runs of this length or less are made three times.
const SHORT_SECONDS: u64 = 10;

/// What is to be measured, and where.
#[derive(Args)]
pub(crate) struct ScenarioArguments {
    /// The scenario's name, or its file.
    #[arg(value_parser = scenario::find)]
    scenario: Scenario,
    /// A server that runs: http://HOST:PORT, or with the path to ask for. Without it a gateway is started.
    #[arg(long)]
    url: Option<String>,
    #[command(flatten)]
    places: Places,
    /// Runs of the server, and of the floor in turns; 3, or 1 where they are long.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Seconds of one run, where they are not the scenario's own.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,
    /// Write every single run there, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Measures and tells; 1 where something was missed, 3 where that cannot be told.
pub(crate) fn run(arguments: &ScenarioArguments) -> io::Result<ExitCode> {
    let (scenario, places) = (&arguments.scenario, &arguments.places);
    let directory = Directory::new()?;
    let stage = match &arguments.url {
        Some(url) => Stage::beside(scenario, url, places, &directory.0)?,
        None => {
            let servers = [Server::Ultragate, Server::Floor];
            let stage = Stage::set(scenario, &servers, places, &directory.0)?;
            if !stage.has(Server::Ultragate) {
                let why = stage.left_out.into_iter().collect::<Vec<_>>().join("; ");
                return Err(io::Error::other(format!(
                    "no gateway to measure ({why}): name one with --gateway or --url"
                )));
            }
            stage
        }
    };
    let seconds = arguments.seconds.unwrap_or(scenario.seconds);
    let usual = if seconds <= SHORT_SECONDS { 3 } else { 1 };
    let settings = places.settings(arguments.seconds);
    let mut record = turn::record();
    for round in 1..=arguments.rounds.unwrap_or(usual) {
        record.runs.extend(stage.round(round, &settings)?);
    }
    let one = std::slice::from_ref(scenario);
    print!("{}", report::markdown(&record, one, &BTreeSet::new()));
    let code = judge(scenario, &record.runs);
    if let Some(file) = &arguments.json {
        record.write(file)?;
    }
    Ok(ExitCode::from(code))
}

fn judge(scenario: &Scenario, runs: &[Run]) -> u8 {
    let own: Vec<&Run> = runs
        .iter()
        .filter(|run| run.server != Server::Floor.name())
        .collect();
    let hold = scenario.hold.unwrap_or_default();
    let Some(held) = report::held(&hold, &own) else {
        println!("\nNot certified: most runs say nothing of the server.");
        return NOT_CERTIFIED;
    };
    if !held.is_empty() {
        println!();
    }
    for (words, met) in &held {
        println!("{}: {words}", if *met { "Met" } else { "Missed" });
    }
    let failed = scenario.hold.is_none() && own.iter().any(|run| run.load.error_count() > 0);
    u8::from(failed || held.iter().any(|(_, met)| !met))
}
