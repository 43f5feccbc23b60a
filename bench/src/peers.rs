//! Servers side by side: for each scenario all of them are started, then measured in turns, so that what the host does
//! meanwhile falls on all alike.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::report;
use crate::scenario::{self, Scenario};
use crate::server::{self, Server};
use crate::stage::{Places, Stage};
use crate::turn;

/// What is compared without a word.
const SCENARIOS: [&str; 7] = [
    "hit-64",
    "hit-256",
    "pipelined",
    "large",
    "proxied",
    "latency",
    "churn",
];

/// What is to be compared, and for how long.
#[derive(Args)]
pub(crate) struct PeersArguments {
    #[command(flatten)]
    places: Places,
    /// Only these servers.
    #[arg(long, value_delimiter = ',')]
    server: Vec<Server>,
    /// These scenarios: names, or files. Without it hit-64, hit-256, pipelined, large, proxied, latency and churn.
    #[arg(long, value_delimiter = ',', value_parser = scenario::find)]
    scenario: Vec<Scenario>,
    /// Runs of each server in each scenario.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of one run, where they are not the scenario's own.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,
    /// Write the report there too.
    #[arg(long)]
    write: Option<PathBuf>,
    /// Write every single run there, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Compares, prints the report and writes it where asked to.
pub(crate) fn run(arguments: &PeersArguments) -> io::Result<()> {
    let directory = Directory::new()?;
    let mut scenarios = arguments.scenario.clone();
    if scenarios.is_empty() {
        scenarios = scenario::all().map_err(io::Error::other)?;
        scenarios.retain(|scenario| SCENARIOS.contains(&scenario.name.as_str()));
    }
    let servers: Vec<Server> = server::ALL
        .into_iter()
        .filter(|server| arguments.server.is_empty() || arguments.server.contains(server))
        .collect();
    let settings = arguments.places.settings(arguments.seconds);
    let (mut record, mut left_out) = (turn::record(), BTreeSet::new());
    for scenario in &scenarios {
        let stage = Stage::set(scenario, &servers, &arguments.places, &directory.0)?;
        for round in 1..=arguments.rounds {
            record.runs.extend(stage.round(round, &settings)?);
        }
        left_out.extend(stage.left_out.iter().cloned());
    }
    let text = report::markdown(&record, &scenarios, &left_out);
    println!("{text}");
    if let Some(file) = &arguments.write {
        fs::write(file, &text)?;
    }
    if let Some(file) = &arguments.json {
        record.write(file)?;
    }
    Ok(())
}

/// A directory in memory; removed on drop.
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    pub(crate) fn new() -> io::Result<Directory> {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() {
            memory.to_path_buf()
        } else {
            std::env::temp_dir()
        };
        let directory = parent.join(format!("benchmark-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        Ok(Directory(directory))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Best effort: it lies in memory and goes with the next start.
        let _ = fs::remove_dir_all(&self.0);
    }
}
