//! The command line.

mod client;
mod coverage;
mod diff;
mod list;
mod mutants;
mod progress;
mod run;
mod sdk;
mod sweep;

use std::{
    io,
    process::{ExitCode, Termination},
};

use clap::{Parser, Subcommand};

use crate::{
    interrupt::unless_interrupted,
    stop::{Result, Stop},
};

/// Scenarios that judge a Daytona server over the wire.
///
/// Exit codes: 0 everything holds; 1 a verdict against the server; 2 wrong usage, no server, or nothing to run.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Judges a server.
    Run(run::Args),
    /// Lists the scenarios: id, level, operations and the rule.
    List(list::Args),
    /// Says everything about one scenario.
    Explain(list::ExplainArgs),
    /// Lists the operations of the contract and the scenarios that judge them.
    Coverage(coverage::Args),
    /// Runs the same scenarios on two servers, or on one and a record, and lists what they answer differently.
    Diff(diff::DiffArgs),
    /// Keeps what a server answers, without ids, times, hosts and tokens.
    Record(diff::RecordArgs),
    /// Proves that the suite can fail: tries it on servers that are wrong in one way each.
    Mutants(mutants::Args),
    /// Judges a program that talks to Daytona: runs it against a private daytona-mock and looks at what it did.
    Client(client::Args),
    /// Judges SDKs through drivers: runs each against a private daytona-mock in which things go wrong.
    Sdk(sdk::Args),
    /// Removes what earlier runs left behind. Nothing without the suite's labels is touched.
    Sweep(sweep::Args),
}

/// Parses the arguments and runs the command they name.
pub fn main() -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    let done = runtime.block_on(async {
        match Cli::parse().command {
            Command::Run(args) => run::run(args).await,
            Command::List(args) => list::list(&args),
            Command::Explain(args) => list::explain(&args),
            Command::Coverage(args) => unless_interrupted(coverage::coverage(args)).await,
            Command::Diff(args) => diff::diff(args).await,
            Command::Record(args) => diff::record(args).await,
            Command::Mutants(args) => unless_interrupted(mutants::mutants(args)).await,
            Command::Client(args) => client::client(args).await,
            Command::Sdk(args) => unless_interrupted(sdk::sdk(args)).await,
            Command::Sweep(args) => unless_interrupted(sweep::sweep(args)).await,
        }
    });
    // Whatever still runs is nobody's concern any more.
    runtime.shutdown_background();
    match done {
        Ok(code) => code.report(),
        Err(stop) => {
            eprintln!("error: {stop}");
            ExitCode::from(2)
        }
    }
}

/// A reader like `head` that has seen enough is no failure.
fn written(result: io::Result<()>) -> Result<ExitCode> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Stop::harness(error)),
        _ => Ok(ExitCode::SUCCESS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
