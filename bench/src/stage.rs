//! The servers of one scenario, started, filled and warm, and measured in turns.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::client;
use crate::generator::{self, Backend};
use crate::process::Process;
use crate::record::Run;
use crate::scenario::Scenario;
use crate::server::{self, Running, Server, Setting};
use crate::turn::{self, Settings};

/// Where everything runs.
#[derive(Args, Clone)]
pub(crate) struct Places {
    /// The gateway's binary [default: beside this program, else target/release/ultragate].
    #[arg(long)]
    gateway: Option<PathBuf>,
    /// CPU of the servers.
    #[arg(long, default_value_t = 0)]
    pub(crate) server_cpu: usize,
    /// CPU of the generator and of the origin.
    #[arg(long, default_value_t = 1)]
    pub(crate) client_cpu: usize,
    /// Bytes of the head that the floors send, where no gateway is there to copy.
    #[arg(long, default_value_t = 300)]
    pub(crate) head_bytes: usize,
    /// The generator's interface to the kernel.
    #[arg(long, default_value = "auto")]
    pub(crate) backend: Backend,
}

impl Places {
    /// Turns of the scenario's length, or of this one.
    pub(crate) fn settings(&self, seconds: Option<u64>) -> Settings {
        Settings {
            length: seconds.map(Duration::from_secs),
            cpus: vec![self.client_cpu],
            backend: self.backend,
        }
    }
}

/// A scenario with its servers.
pub(crate) struct Stage {
    scenario: Scenario,
    servers: Vec<Running>,
    /// A server that was running before, by its URL.
    other: Option<String>,
    _origin: Option<Process>,
    /// What could not be had, and why.
    pub(crate) left_out: BTreeSet<String>,
}

impl Stage {
    /// Starts those of `servers` that fit and are installed.
    pub(crate) fn set(
        scenario: &Scenario,
        servers: &[Server],
        places: &Places,
        directory: &Path,
    ) -> io::Result<Stage> {
        // For the servers too, which take the limit over.
        platform::host::limits::raise_descriptors()?;
        let (origin, address) = server::start_origin(scenario, places.client_cpu)?;
        let setting = Setting {
            directory,
            origin: address,
            scenario,
            cpu: places.server_cpu,
            head_bytes: places.head_bytes,
        };
        let mut stage = Stage {
            scenario: scenario.clone(),
            servers: Vec::new(),
            other: None,
            _origin: None,
            left_out: BTreeSet::new(),
        };
        for server in servers {
            if scenario.fits(*server) {
                stage.start(*server, places, &setting)?;
            }
        }
        // Without an origin a hit that is none becomes an error.
        stage._origin = (!scenario.spares_origin()).then_some(origin);
        Ok(stage)
    }

    /// The floor beside a server that runs already: it answers as many bytes.
    pub(crate) fn beside(
        scenario: &Scenario,
        url: &str,
        places: &Places,
        directory: &Path,
    ) -> io::Result<Stage> {
        let (mut places, mut scenario) = (places.clone(), scenario.clone());
        if let Ok(answer) = asked(&scenario, url) {
            places.head_bytes = answer.head_bytes;
            scenario.body_bytes = answer.body.len();
        }
        let mut stage = Stage::set(&scenario, &[Server::Floor], &places, directory)?;
        stage.other = Some(url.to_owned());
        Ok(stage)
    }

    fn start(&mut self, server: Server, places: &Places, setting: &Setting<'_>) -> io::Result<()> {
        let name = server.name();
        let Some(program) = server.program(places.gateway.as_deref()) else {
            self.left_out.insert(format!("{name} is not there"));
            return Ok(());
        };
        let directory = setting.directory.join(&self.scenario.name).join(name);
        fs::create_dir_all(&directory)?;
        let gateway = self
            .servers
            .iter()
            .find(|running| running.server == Server::Ultragate);
        let mut scenario = self.scenario.clone();
        let mut head_bytes = setting.head_bytes;
        if let Some(gateway) = gateway.filter(|_| server.is_floor()) {
            (head_bytes, scenario.body_bytes) = (gateway.head_bytes, gateway.body_bytes);
        }
        let setting = Setting {
            directory: &directory,
            scenario: &scenario,
            head_bytes,
            ..*setting
        };
        match filled(server, &program, &setting) {
            Ok(running) => self.servers.push(running),
            Err(error) => drop(self.left_out.insert(format!("{name}: {error}"))),
        }
        Ok(())
    }

    pub(crate) fn has(&self, server: Server) -> bool {
        self.servers.iter().any(|running| running.server == server)
    }

    /// Every server once.
    pub(crate) fn round(&self, round: u32, settings: &Settings) -> io::Result<Vec<Run>> {
        let mut runs = Vec::new();
        let say = |server: &str| eprintln!("{} round {round}: {server}", self.scenario.name);
        if let Some(url) = &self.other {
            say(url);
            runs.push(turn::measure_other(url, &self.scenario, settings)?);
        }
        for running in &self.servers {
            say(running.server.name());
            runs.push(turn::measure_turn(running, &self.scenario, settings)?);
        }
        for run in &mut runs {
            run.round = round;
        }
        Ok(runs)
    }
}

/// Starts a server and fills it.
pub(crate) fn filled(server: Server, program: &Path, setting: &Setting<'_>) -> io::Result<Running> {
    let running = server::start(server, program, setting)?;
    fill(setting.scenario, &running)?;
    Ok(running)
}

/// Asks for every key once, where that is to be.
fn fill(scenario: &Scenario, running: &Running) -> io::Result<()> {
    if !scenario.fill || running.server.is_floor() {
        return Ok(());
    }
    eprintln!("{}: filling {}", scenario.name, running.server.name());
    let load = scenario.filling(&format!("http://{}", running.address));
    let load = generator::measure(&load)?;
    match (load.error_count(), Some(load.requests) == scenario.keys) {
        (0, true) => Ok(()),
        (errors, _) => Err(io::Error::other(format!(
            "it could not be filled: {} answers, {errors} errors",
            load.requests
        ))),
    }
}

/// An answer of a server that runs already.
fn asked(scenario: &Scenario, url: &str) -> io::Result<client::Answer> {
    generator::ask(&scenario.load(url).url.replace("{key}", "0"))
}
