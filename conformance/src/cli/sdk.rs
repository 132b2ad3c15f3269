//! `sdk`: judges SDKs through their drivers.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use super::run::{seconds, write_file};
use crate::{
    cli::written,
    mock::Mock,
    scenario::Level,
    sdk::{
        Plan, Sdk,
        report::{Comparison, console, html},
        run, scenarios,
        world::Server,
    },
    stop::{Result, Stop},
};

/// Judges SDKs: what they tell their callers when things go wrong, and what they do on the wire.
///
/// A driver is a small program in the SDK's language (fixtures/drivers/README.md). Against a private daytona-mock. Exit codes: 0 every
/// MUST holds; 1 one doesn't; 2 wrong usage, no server, no driver.
#[derive(clap::Args)]
pub(super) struct Args {
    /// An SDK by the command of its driver (a line of the shell), under a name. May be given several times.
    #[arg(long, value_name = "NAME=COMMAND", value_parser = named)]
    driver: Vec<Sdk>,
    /// Only scenarios with such ids: `*` is any text.
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    only: Vec<String>,
    /// Writes `sdk.html` and `sdk.json` into this directory.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Scenarios at the same time, each with a driver of its own.
    #[arg(long, short, default_value_t = 4)]
    jobs: usize,
    /// Seconds for each scenario.
    #[arg(long, default_value_t = 120.0, value_parser = seconds)]
    timeout: f64,
    /// Prints what holds, too.
    #[arg(long, short)]
    verbose: bool,
    /// Lists the scenarios.
    #[arg(long)]
    list: bool,
    /// One driver: the program and its arguments.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

fn named(text: &str) -> Result<Sdk, String> {
    match text.split_once('=') {
        Some((name, command)) if !name.trim().is_empty() && !command.trim().is_empty() => {
            Ok(Sdk { name: name.trim().to_owned(), command: command.trim().to_owned() })
        }
        _ => Err("must be NAME=COMMAND".to_owned()),
    }
}

pub(super) async fn sdk(args: Args) -> Result<ExitCode> {
    if args.list {
        return written(list(&mut io::stdout().lock()));
    }
    let sdks = args.sdks()?;
    let plan = Plan { globs: args.only.clone(), jobs: args.jobs, limit: Duration::from_secs_f64(args.timeout) };
    plan.scenarios()?;
    let started = chrono::Utc::now();
    let mock = Mock::start().await?;
    let judged = judge(&mock, &sdks, &plan).await;
    mock.stop().await;
    let comparison = Comparison::new(started, judged?);
    if let Some(dir) = &args.report {
        write_files(dir, &comparison)?;
    }
    let mut out = io::stdout().lock();
    written(console::write(&mut out, &comparison, args.verbose).and_then(|()| out.flush()))?;
    Ok(ExitCode::from(comparison.exit_code()))
}

impl Args {
    fn sdks(&self) -> Result<Vec<Sdk>> {
        let mut sdks = self.driver.clone();
        if !self.command.is_empty() {
            let words: Vec<String> = self.command.iter().map(|word| quoted(word)).collect();
            sdks.push(Sdk { name: "sdk".to_owned(), command: words.join(" ") });
        }
        if sdks.is_empty() {
            Err(Stop::harness("which driver? --driver NAME=COMMAND, or -- COMMAND"))
        } else {
            Ok(sdks)
        }
    }
}

/// As the shell takes it for one word.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

async fn judge(mock: &Mock, sdks: &[Sdk], plan: &Plan) -> Result<Vec<run::Column>> {
    let server = Server::new(&mock.api_url, &mock.api_key)?;
    let mut columns = Vec::new();
    for sdk in sdks {
        let told = |result: &run::Result| eprintln!("{:<10} {} ({})", result.outcome.word(), result.id, sdk.name);
        columns.push(run::run(&server, sdk, plan, &told).await?);
    }
    Ok(columns)
}

fn list(out: &mut impl Write) -> io::Result<()> {
    for scenario in scenarios::all() {
        let level = if scenario.level == Level::Must { "must" } else { "should" };
        writeln!(out, "{}  {level}\n    {}", scenario.id, scenario.text())?;
    }
    writeln!(out, "{}", crate::count::count(scenarios::all().count(), "scenario"))
}

fn write_files(dir: &Path, comparison: &Comparison) -> Result {
    std::fs::create_dir_all(dir).map_err(|error| Stop::harness(format!("{}: {error}", dir.display())))?;
    write_file(&dir.join("sdk.json"), &comparison.to_json())?;
    write_file(&dir.join("sdk.html"), &html::to_string(comparison))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_have_names() {
        let sdk = named("ts = node a.mjs --x=1").expect("an SDK");
        assert_eq!((sdk.name.as_str(), sdk.command.as_str()), ("ts", "node a.mjs --x=1"));
        assert!(named("node a.mjs").is_err() && named("=x").is_err());
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
