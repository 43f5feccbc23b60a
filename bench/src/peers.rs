//! Servers side by side: for each scenario all of them are started, then measured in turns, so that what the host does
//! meanwhile falls on all alike.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::client;
use crate::load::{self, Load};
use crate::report::{self, Run};
use crate::scenario::{self, Scenario};
use crate::server::{self, Running, Server, Setting};

/// What is to be compared, and for how long.
#[derive(Args)]
pub(crate) struct PeersArguments {
    /// The gateway's binary; left out of the comparison where it is missing.
    #[arg(long, default_value = "target/release/ultragate")]
    gateway: PathBuf,
    /// Only these servers.
    #[arg(long, value_delimiter = ',')]
    server: Vec<Server>,
    /// Only these scenarios: hit-64, hit-256, pipelined, large, proxied, latency, churn.
    #[arg(long, value_delimiter = ',', value_parser = scenario::find)]
    scenario: Vec<Scenario>,
    /// Runs of each server in each scenario.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of one run.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// CPU of the servers.
    #[arg(long, default_value_t = 0)]
    server_cpu: usize,
    /// CPU of wrk and of the origin.
    #[arg(long, default_value_t = 1)]
    client_cpu: usize,
    /// Bytes of the head that the floors send, where no gateway is there to copy.
    #[arg(long, default_value_t = 300)]
    head_bytes: usize,
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
    let scenarios = match arguments.scenario.is_empty() {
        true => scenario::all().map_err(io::Error::other)?,
        false => arguments.scenario.clone(),
    };
    let mut runs = Vec::new();
    for scenario in &scenarios {
        runs.extend(measure(scenario, arguments, &directory.0)?);
    }
    let text = report::markdown(&scenarios, &runs, arguments.rounds, arguments.seconds);
    println!("{text}");
    if let Some(file) = &arguments.write {
        fs::write(file, &text)?;
    }
    if let Some(file) = &arguments.json {
        fs::write(file, report::json(&runs))?;
    }
    Ok(())
}

fn measure(
    scenario: &Scenario,
    arguments: &PeersArguments,
    directory: &Path,
) -> io::Result<Vec<Run>> {
    let script = directory.join("pipelined.lua");
    fs::write(&script, include_str!("../peers/pipelined.lua"))?;
    let (origin, address) = server::start_origin(scenario, arguments.client_cpu)?;
    let setting = Setting {
        directory,
        origin: address,
        scenario,
        cpu: arguments.server_cpu,
        head_bytes: arguments.head_bytes,
    };
    let mut servers = start_all(&setting, arguments)?;
    // Without an origin a hit that is none becomes an error.
    let _origin = if scenario.cached {
        drop(origin);
        None
    } else {
        Some(origin)
    };
    let mut runs = Vec::new();
    for round in 1..=arguments.rounds {
        for (server, running) in &mut servers {
            eprintln!("{} round {round}: {}", scenario.name, server.name());
            let (cpu_us, load) = turn(scenario, running, arguments, &script)?;
            runs.push(Run {
                scenario: scenario.name.clone(),
                server: *server,
                cpu_us,
                load,
                peak_rss_bytes: running.process.peak_rss_bytes(),
            });
        }
    }
    Ok(runs)
}

fn turn(
    scenario: &Scenario,
    running: &Running,
    arguments: &PeersArguments,
    script: &Path,
) -> io::Result<(u64, Load)> {
    // Wakes what had gone to sleep, so that its waking is not in the figures.
    client::get(running.address, &scenario.path)?;
    let before = running.process.cpu_us();
    let load = load::drive(
        scenario,
        running.address,
        arguments.seconds,
        arguments.client_cpu,
        script,
    )?;
    Ok((running.process.cpu_us().saturating_sub(before), load))
}

fn start_all(
    setting: &Setting<'_>,
    arguments: &PeersArguments,
) -> io::Result<Vec<(Server, Running)>> {
    let mut servers: Vec<(Server, Running)> = Vec::new();
    for server in server::ALL {
        let wanted = arguments.server.is_empty() || arguments.server.contains(&server);
        if !wanted || !setting.scenario.fits(server) {
            continue;
        }
        let Some(program) = server.program(Some(&arguments.gateway)) else {
            eprintln!("{} is not there: left out", server.name());
            continue;
        };
        let directory = setting
            .directory
            .join(&setting.scenario.name)
            .join(server.name());
        fs::create_dir_all(&directory)?;
        let gateway = servers
            .iter()
            .find(|(server, _)| *server == Server::Ultragate);
        let head_bytes = gateway.map_or(setting.head_bytes, |(_, running)| running.head_bytes);
        let setting = Setting {
            directory: &directory,
            head_bytes,
            ..*setting
        };
        match server::start(server, &program, &setting) {
            Ok(running) => servers.push((server, running)),
            Err(error) => eprintln!("left out: {error}"),
        }
    }
    Ok(servers)
}

/// A directory in memory; removed on drop.
struct Directory(PathBuf);

impl Directory {
    fn new() -> io::Result<Directory> {
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
