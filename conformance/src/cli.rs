//! The command line. There is no `run` yet: this release lists what the suite will judge.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use crate::{scenario::Scenario, scenarios};

/// Scenarios that judge a Daytona server over the wire.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lists the scenarios: id, level, operations and the rule.
    List {
        /// One JSON array instead of text.
        #[arg(long)]
        json: bool,
    },
}

/// Parses the arguments and runs the command they name. Exit code 0, 1 (failed), 2 (usage).
pub fn run() -> ExitCode {
    let Command::List { json } = Cli::parse().command;
    let mut out = io::stdout().lock();
    let listed = if json { list_json(&mut out) } else { list_text(&mut out) };
    match listed {
        Ok(()) => ExitCode::SUCCESS,
        // A reader like `head` that has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn list_json(out: &mut impl Write) -> io::Result<()> {
    let rows: Vec<&Scenario> = scenarios::all().collect();
    serde_json::to_writer_pretty(&mut *out, &rows)?;
    writeln!(out)
}

fn list_text(out: &mut impl Write) -> io::Result<()> {
    for scenario in scenarios::all() {
        let Scenario { id, level, rule, operations, since, .. } = scenario;
        writeln!(out, "{id}  {level:?}, since {since}, covers {}", operations.join(" "))?;
        writeln!(out, "    {}", rule.trim().replace("  ", " "))?;
    }
    writeln!(out, "{} scenarios", scenarios::all().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn both_lists_have_every_scenario() {
        let (mut json, mut text) = (Vec::new(), Vec::new());
        list_json(&mut json).unwrap();
        list_text(&mut text).unwrap();
        let rows: Vec<serde_json::Value> = serde_json::from_slice(&json).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(rows.len(), scenarios::all().count());
        for row in rows {
            let id = row["id"].as_str().unwrap();
            assert!(text.contains(id), "{id} is missing in the text");
            assert!(row["rule"].as_str().unwrap().len() > 20, "{id} has no rule");
        }
    }
}
