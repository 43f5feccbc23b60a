//! The servers that are measured, and how each is started.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::ValueEnum;

use crate::client;
use crate::clock;
use crate::process::Process;
use crate::scenario::Scenario;

/// The gateway to measure where none is named: beside this program, else where a build leaves it.
pub(crate) fn gateway() -> PathBuf {
    let beside = std::env::current_exe().map(|program| program.with_file_name("ultragate"));
    let beside = beside.ok().filter(|program| program.is_file());
    beside.unwrap_or_else(|| PathBuf::from("target/release/ultragate"))
}

/// How long a server may take until it answers.
const PATIENCE: Duration = Duration::from_secs(15);

/// A server that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Server {
    Ultragate,
    UltragateEpoll,
    UltragateBusy,
    Nginx,
    Haproxy,
    Varnish,
    H2o,
    Floor,
    FloorEach,
    FloorEpoll,
}

/// In the order of starting: the floors last, because they answer as many bytes as the gateway does.
pub(crate) const ALL: [Server; 10] = [
    Server::Ultragate,
    Server::UltragateEpoll,
    Server::UltragateBusy,
    Server::Nginx,
    Server::Haproxy,
    Server::Varnish,
    Server::H2o,
    Server::Floor,
    Server::FloorEach,
    Server::FloorEpoll,
];

impl Server {
    /// Its name on the command line and in the reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Server::Ultragate => "ultragate",
            Server::UltragateEpoll => "ultragate-epoll",
            Server::UltragateBusy => "ultragate-busy",
            Server::Nginx => "nginx",
            Server::Haproxy => "haproxy",
            Server::Varnish => "varnish",
            Server::H2o => "h2o",
            Server::Floor => "floor",
            Server::FloorEach => "floor-each",
            Server::FloorEpoll => "floor-epoll",
        }
    }

    /// The program to run; `None` where it is not to be found.
    pub(crate) fn program(self, gateway: Option<&Path>) -> Option<PathBuf> {
        match self {
            Server::Ultragate | Server::UltragateEpoll | Server::UltragateBusy => {
                let program = gateway.map_or_else(self::gateway, Path::to_path_buf);
                program.is_file().then_some(program)
            }
            Server::Nginx => installed("nginx"),
            Server::Haproxy => installed("haproxy"),
            Server::Varnish => installed("varnishd"),
            Server::H2o => installed("h2o"),
            Server::Floor | Server::FloorEach | Server::FloorEpoll => std::env::current_exe().ok(),
        }
    }

    pub(crate) fn is_gateway(self) -> bool {
        matches!(
            self,
            Server::Ultragate | Server::UltragateEpoll | Server::UltragateBusy
        )
    }

    pub(crate) fn is_floor(self) -> bool {
        matches!(self, Server::Floor | Server::FloorEach | Server::FloorEpoll)
    }
}

/// What a server needs to be told.
pub(crate) struct Setting<'a> {
    /// A directory of this server's own in memory.
    pub(crate) directory: &'a Path,
    /// Where the origin listens.
    pub(crate) origin: SocketAddr,
    pub(crate) scenario: &'a Scenario,
    pub(crate) cpu: usize,
    /// Bytes of the head that the floors send.
    pub(crate) head_bytes: usize,
}

/// A server that answered rightly once.
pub(crate) struct Running {
    pub(crate) server: Server,
    /// What it says of its version; of a gateway its revision and build too.
    pub(crate) build: String,
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    /// Where it tells the gaps that it suffered; a gateway does.
    pub(crate) gaps: Option<String>,
    /// Bytes of the head of a warm answer, and of its body.
    pub(crate) head_bytes: usize,
    pub(crate) body_bytes: usize,
}

/// Starts the server and asks until a warm answer comes back right.
pub(crate) fn start(server: Server, program: &Path, setting: &Setting<'_>) -> io::Result<Running> {
    let operator = free_port()?;
    let (process, address) = if server.is_floor() {
        start_fixed(&floor_command(server, program, setting), setting.cpu)?
    } else {
        start_configured(server, program, setting, operator)?
    };
    let mut running = Running {
        server,
        build: build(server, program),
        process,
        address,
        gaps: None,
        head_bytes: 0,
        body_bytes: 0,
    };
    (running.head_bytes, running.body_bytes) =
        warm(&mut running, setting.scenario).map_err(|error| {
            io::Error::other(format!(
                "{}: {error}; its words: {}",
                server.name(),
                log(setting.directory)
            ))
        })?;
    if server.is_gateway() {
        running.gaps = gaps(operator);
    }
    Ok(running)
}

/// Where the gateway tells its gaps, if it does.
fn gaps(operator: u16) -> Option<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, operator));
    let told = client::get(address, "/admin/gaps").is_ok_and(|answer| answer.status == "200");
    told.then(|| format!("http://{address}/admin/gaps"))
}

fn free_port() -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

/// Starts this program's own origin for a scenario.
pub(crate) fn start_origin(scenario: &Scenario, cpu: usize) -> io::Result<(Process, SocketAddr)> {
    let program = std::env::current_exe()?;
    let bytes = scenario.body_bytes.to_string();
    let arguments = [
        "origin",
        "--serve-seconds",
        "3600",
        "--body-bytes",
        &bytes,
        "--cache-control",
        scenario.cache_control(),
    ];
    start_fixed(&command(&program, &arguments), cpu)
}

fn start_fixed(command: &[String], cpu: usize) -> io::Result<(Process, SocketAddr)> {
    let (process, said) = Process::start_saying(command, cpu)?;
    let address = said
        .strip_prefix("listening ")
        .and_then(|address| address.parse().ok());
    Ok((
        process,
        address.ok_or_else(|| io::Error::other(format!("a fixed-answer server said {said:?}")))?,
    ))
}

fn floor_command(server: Server, program: &Path, setting: &Setting<'_>) -> Vec<String> {
    let backend = if server == Server::FloorEpoll {
        "epoll"
    } else {
        "io_uring"
    };
    let (body, head) = (
        setting.scenario.body_bytes.to_string(),
        setting.head_bytes.to_string(),
    );
    let mut arguments = vec![
        "floor",
        "--serve-seconds",
        "3600",
        "--backend",
        backend,
        "--answer-bytes",
        &body,
        "--head-bytes",
        &head,
    ];
    if server == Server::FloorEach {
        arguments.push("--send-each");
    }
    if setting.scenario.close {
        arguments.push("--close");
    }
    command(program, &arguments)
}

fn start_configured(
    server: Server,
    program: &Path,
    setting: &Setting<'_>,
    operator: u16,
) -> io::Result<(Process, SocketAddr)> {
    let port = free_port()?;
    let config = setting.directory.join("config");
    fs::write(&config, filled(server, setting, (port, operator)))?;
    if server == Server::H2o {
        let files = setting.directory.join("h2o-files");
        fs::create_dir_all(&files)?;
        fs::write(
            files.join("object"),
            crate::answer::body(setting.scenario.body_bytes).collect::<Vec<u8>>(),
        )?;
    }
    let (config, listen) = (config.display().to_string(), format!("127.0.0.1:{port}"));
    let instance = setting.directory.join("varnish").display().to_string();
    let arguments: Vec<&str> = match server {
        Server::Nginx => vec!["-c", &config],
        Server::Haproxy => vec!["-db", "-f", &config],
        Server::Varnish => {
            vec![
                "-F",
                "-a",
                &listen,
                "-f",
                &config,
                "-n",
                &instance,
                "-s",
                "malloc,256m",
                "-p",
                "thread_pools=1",
            ]
        }
        _ => vec!["-c", &config],
    };
    let process = Process::start(
        &command(program, &arguments),
        setting.cpu,
        &setting.directory.join("log"),
    )?;
    Ok((process, SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
}

fn filled(server: Server, setting: &Setting<'_>, (port, operator): (u16, u16)) -> String {
    let template = match server {
        Server::Nginx => include_str!("../peers/nginx.conf"),
        Server::Haproxy => include_str!("../peers/haproxy.conf"),
        Server::Varnish => include_str!("../peers/varnish.vcl"),
        Server::H2o => include_str!("../peers/h2o.conf"),
        _ => include_str!("../peers/ultragate.toml"),
    };
    template
        .replace("@PORT@", &port.to_string())
        .replace("@OPERATOR@", &operator.to_string())
        .replace("@DIR@", &setting.directory.display().to_string())
        .replace("@ORIGIN@", &setting.origin.to_string())
        .replace("@ORIGIN_HOST@", &setting.origin.ip().to_string())
        .replace("@ORIGIN_PORT@", &setting.origin.port().to_string())
        .replace("@CPU@", &setting.cpu.to_string())
        .replace(
            "@BACKEND@",
            if server == Server::UltragateEpoll {
                "epoll"
            } else {
                "io_uring"
            },
        )
        .replace(
            "@BUSY_POLL@",
            if server == Server::UltragateBusy {
                "200us"
            } else {
                "0us"
            },
        )
}

/// Asks until an answer comes, then twice more, so that it is cached where it can be; the last one is checked.
fn warm(running: &mut Running, scenario: &Scenario) -> io::Result<(usize, usize)> {
    let path = scenario.sample();
    let mut last = Err(io::Error::other("it never answered"));
    clock::wait(PATIENCE, || {
        last = client::get(running.address, &path);
        last.is_ok() || !running.process.runs()
    });
    last?;
    client::get(running.address, &path)?;
    let answer = client::get(running.address, &path)?;
    if answer.status != "200" {
        return Err(io::Error::other(format!("it answered {}", answer.status)));
    }
    let own = scenario.own && !running.server.is_floor();
    if !own
        && !answer
            .body
            .iter()
            .copied()
            .eq(crate::answer::body(scenario.body_bytes))
    {
        return Err(io::Error::other(format!(
            "it answered {} wrong bytes",
            answer.body.len()
        )));
    }
    Ok((answer.head_bytes, answer.body.len()))
}

fn command(program: &Path, arguments: &[&str]) -> Vec<String> {
    let program = program.display().to_string();
    std::iter::once(program)
        .chain(arguments.iter().map(|argument| (*argument).to_owned()))
        .collect()
}

/// What the program says of itself: some say it on standard error.
fn build(server: Server, program: &Path) -> String {
    let flag = match server {
        Server::Nginx | Server::Haproxy | Server::H2o => "-v",
        _ => "-V",
    };
    let Ok(output) = Command::new(program)
        .arg(flag)
        .stdin(Stdio::null())
        .output()
    else {
        return String::new();
    };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let lines = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|line| !line.is_empty());
    match server {
        Server::Ultragate | Server::UltragateEpoll | Server::UltragateBusy => {
            lines.collect::<Vec<_>>().join(", ")
        }
        _ => lines.take(1).collect(),
    }
}

/// Looks where distributions put servers too, which is not in every user's path.
fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let extra = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(extra)
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

fn log(directory: &Path) -> String {
    let text = fs::read_to_string(directory.join("log")).unwrap_or_default();
    let from = text.char_indices().rev().nth(800).map_or(0, |(at, _)| at);
    text[from..].trim().to_owned()
}
