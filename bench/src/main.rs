//! `benchmark`: how far is this host's kernel from a gateway, and a gateway from its peers.

mod answer;
mod client;
mod clock;
mod fixed;
mod idle;
mod load;
mod peers;
mod process;
mod report;
mod scenario;
mod server;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measures HTTP servers on this host over loopback.
#[derive(Parser)]
#[command(name = "benchmark", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve a fixed answer at the least cost the kernel allows.
    Floor(fixed::FloorArguments),
    /// Serve a fixed answer as an origin would send it.
    Origin(fixed::OriginArguments),
    /// Measure the gateway, the floor and other servers side by side.
    Peers(peers::PeersArguments),
    /// Hold idle connections open and see what the server's memory does.
    Idle(idle::IdleArguments),
}

/// Wrong usage exits 2 (by the parser), a failed run 1.
fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Floor(arguments) => fixed::floor(&arguments),
        Command::Origin(arguments) => fixed::origin(&arguments),
        Command::Peers(arguments) => peers::run(&arguments),
        Command::Idle(arguments) => idle::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("benchmark: {error}");
            ExitCode::FAILURE
        }
    }
}
