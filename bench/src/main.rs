//! `benchmark`: a load generator, and how far this host's kernel is from a gateway, and a gateway from its peers.

mod answer;
mod client;
mod clock;
mod fixed;
mod generator;
mod host;
mod idle;
mod judge;
mod page;
mod peers;
mod process;
mod record;
mod report;
mod scenario;
mod server;
mod single;
mod stage;
mod turn;

use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

/// Measures HTTP servers: drives a load as wrk and wrk2 do, or runs one of the commands.
#[derive(Parser)]
#[command(name = "benchmark", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    load: generator::LoadArguments,
    #[command(flatten)]
    judge: judge::JudgeArguments,
}

#[derive(Subcommand)]
enum Command {
    /// Serve a fixed answer at the least cost the kernel allows.
    Floor(fixed::FloorArguments),
    /// Serve a fixed answer as an origin would send it.
    Origin(fixed::OriginArguments),
    /// Measure one scenario, a server beside the floor, and whether it holds what it is to hold.
    Scenario(single::ScenarioArguments),
    /// Measure the gateway, the floor and other servers side by side.
    Peers(peers::PeersArguments),
    /// Hold idle connections open and see what the server's memory does.
    Idle(idle::IdleArguments),
    /// Write records as a page to read and pictures to show.
    Report(page::ReportArguments),
}

/// Wrong usage exits 2, a failed run or a regression 1, a load that the generator could not drive 3, and what cannot be
/// compared 4.
fn main() -> ExitCode {
    let matches = Arguments::command().get_matches();
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let given = |flag: &str| matches.value_source(flag) == Some(ValueSource::CommandLine);
    let outcome = match arguments.command {
        None if arguments.judge.is_wanted() => {
            return judge::run(&arguments.judge, &arguments.load, &given);
        }
        None => return generator::run(&arguments.load),
        Some(Command::Floor(arguments)) => fixed::floor(&arguments),
        Some(Command::Origin(arguments)) => fixed::origin(&arguments),
        Some(Command::Scenario(arguments)) => match single::run(&arguments) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Some(Command::Peers(arguments)) => peers::run(&arguments),
        Some(Command::Idle(arguments)) => idle::run(&arguments),
        Some(Command::Report(arguments)) => page::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("benchmark: {error}");
            ExitCode::FAILURE
        }
    }
}
