//! `ultragate`: an HTTP caching gateway. The life of the process, in order:
//!
//! 1. flags ([`cli`]), the configuration as typed ([`config`]) and as meant on this host ([`plan`]);
//! 2. every address bound ([`listen`]), names looked up ([`resolve`]), shards started ([`assembly`]);
//! 3. the control plane ([`control`]) until a signal or an order leads to the end.
//!
//! Exit codes: 0 success, 1 failed at run time, 2 wrong usage, 78 bad configuration.

mod access;
mod announce;
mod assembly;
mod build;
mod cli;
mod clock;
mod config;
mod control;
mod demo;
mod events;
mod failure;
mod handover;
mod host;
mod listen;
mod log;
mod plan;
mod resolve;
mod running;
mod sources;

use std::io::Write;
use std::net::TcpListener;
use std::process::ExitCode;

use events::log;
use failure::{Failure, StartFailure};
use host::Host;
use plan::Plan;
use sources::Sources;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "{failure}");
            failure.code()
        }
    }
}

fn run() -> Result<(), Failure> {
    let flags = cli::parse().map_err(Failure::Usage)?;
    if flags.version {
        return print(&build::details());
    }
    let demo = match sources::is_demo(&flags) {
        true => Some(demo::bind().map_err(no_demo)?),
        false => None,
    };
    let sources = Sources::of(&flags, demo.as_ref().map(|(_, address)| *address));
    let sheet = sources.read()?;
    let host = Host::read();
    let plan = Plan::resolve(&sheet, &host)?;
    let in_force = config::effective(&sheet);
    if flags.dump {
        return print(in_force.trim_end());
    }
    if flags.test {
        return print(&good(&sources));
    }
    log::start(&plan.log, flags.verbose);
    let demo = demo.map(|(listener, _)| listener);
    serve(plan, host, sources, in_force, demo).inspect_err(|failure| {
        log!(Failed, "{}", failure.what());
    })
}

fn serve(
    mut plan: Plan,
    host: Host,
    sources: Sources,
    in_force: String,
    demo: Option<TcpListener>,
) -> Result<(), Failure> {
    announce::plan(&plan, &host, &sources);
    let bound = listen::bind(&plan, &host.root)?;
    resolve::endpoints(&mut plan)?;
    let ready = ready_line(&bound);
    let lines = demo.as_ref().map(|_| demo_lines(&bound));
    let spare_cpu = plan.spare_cpu;
    let started = assembly::start(plan, host, bound)?;
    announce::running(&started.running);
    let parts = control::Parts {
        running: started.running,
        operator: started.operator,
        metrics: started.metrics,
        demo,
        sources,
        in_force,
    };
    let ready = Box::new(move || {
        log!(Ready, "{ready}");
        lines.map_or(Ok(()), |lines| print(&lines))
    });
    let control = control::spawn(parts, spare_cpu, ready)?;
    control.join().unwrap_or_else(|_| {
        Err(Failure::Run(
            "the control thread panicked: a bug; the lines above say where".to_owned(),
        ))
    })
}

fn good(sources: &Sources) -> String {
    match sources.file() {
        Some(file) => format!("{}: the configuration is good", file.display()),
        None => "no file: the configuration is good".to_owned(),
    }
}

fn demo_lines(bound: &listen::Bound) -> String {
    let address = |kind| bound.address(kind).unwrap_or(([127, 0, 0, 1], 0).into());
    let lines = demo::lines(address("data"), address("operator"), address("metrics"));
    lines.trim_end().to_owned()
}

/// What scripts wait for: every address in use, once all of them are served.
fn ready_line(bound: &listen::Bound) -> String {
    let address = |kind| {
        bound
            .address(kind)
            .map_or_else(String::new, |address| address.to_string())
    };
    let (data, operator, metrics) = (address("data"), address("operator"), address("metrics"));
    format!("listening data={data} operator={operator} metrics={metrics}")
}

fn no_demo(error: std::io::Error) -> Failure {
    Failure::Start(StartFailure {
        what: "the demo's origin cannot listen on 127.0.0.1".to_owned(),
        cause: error.to_string(),
        fix: "ip link set lo up".to_owned(),
        demanded: false,
    })
}

/// Prints to standard output; a closed pipe is nobody's fault.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Run(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}
