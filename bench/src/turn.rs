//! One server under one scenario, once: what all comparisons are made of.

use std::io;
use std::time::Duration;

use crate::client;
use crate::clock;
use crate::generator::{self, Backend, LoadArguments, Verify};
use crate::host::host;
use crate::record::{Record, Run, SCHEMA};
use crate::scenario::Scenario;
use crate::server::Running;

/// How turns are made.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Seconds of a run, where they are not the scenario's own.
    pub(crate) seconds: Option<u64>,
    /// CPUs of the generator; it has no more threads than there are of them.
    pub(crate) cpus: Vec<usize>,
    pub(crate) backend: Backend,
}

impl Settings {
    fn load(&self, scenario: &Scenario, url: &str) -> LoadArguments {
        let mut load = scenario.load(url);
        if let Some(seconds) = self.seconds {
            load.duration = Duration::from_secs(seconds);
        }
        let cpus = u32::try_from(self.cpus.len()).unwrap_or(u32::MAX);
        load.threads = load.threads.min(cpus.max(1));
        load.cpus.clone_from(&self.cpus);
        load.backend = self.backend;
        load
    }
}

/// Measures a server that was started here. The round is 1: to count them is the caller's.
pub(crate) fn measure_turn(
    running: &Running,
    scenario: &Scenario,
    settings: &Settings,
) -> io::Result<Run> {
    // Wakes what had gone to sleep, so that its waking is not in the figures.
    client::get(running.address, &scenario.sample())?;
    let mut load = settings.load(scenario, &format!("http://{}", running.address));
    if !scenario.own {
        load.verify = Verify::Same;
    }
    let family = running.process.family();
    let measured = generator::measure_beside(&load, &|| Some(family.cpu_us()))?;
    let requests = measured.load.requests.max(1) as f64;
    Ok(Run {
        scenario: scenario.name.clone(),
        server: running.server.name().to_owned(),
        build: running.build.clone(),
        round: 1,
        cpu_us_per_request: measured.server_cpu_us.map(|us| us as f64 / requests),
        peak_rss_bytes: Some(running.process.peak_rss_bytes()),
        load: measured.load,
    })
}

/// Measures a server whose processes are out of sight; it goes by its URL.
pub(crate) fn measure_other(
    url: &str,
    scenario: &Scenario,
    settings: &Settings,
) -> io::Result<Run> {
    let load = generator::measure(&settings.load(scenario, url))?;
    Ok(Run {
        scenario: scenario.name.clone(),
        server: url.to_owned(),
        round: 1,
        load,
        ..Run::default()
    })
}

/// Runs that begin now, on this host.
pub(crate) fn record() -> Record {
    Record {
        schema: SCHEMA,
        at: clock::unix_seconds(),
        host: host(),
        runs: Vec::new(),
    }
}
