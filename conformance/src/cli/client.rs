//! `client`: judges a program that talks to Daytona.

use std::{
    ffi::OsString,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::sync::mpsc::UnboundedReceiver;

use super::run::{seconds, write_file};
use crate::{
    cli::written,
    count::count,
    interrupt::handed_on,
    judge::{
        Evidence, Verdict,
        expect::Contract,
        fetch, program,
        report::{console, html, junit},
        rules,
        shim::Shim,
        verdict::{self, Judgement},
    },
    mock::Mock,
    scenario::Level,
    stop::{Result, Stop},
};

/// Runs a program against a private daytona-mock and judges what it did.
///
/// The program gets DAYTONA_API_URL, DAYTONA_API_KEY and DAYTONA_TARGET; its output passes through. Exit codes: 0 every MUST
/// holds; 1 one doesn't; 2 wrong usage, no server, or nothing was asked of it; 3 the rules hold, but the program failed.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The program and its arguments.
    #[arg(last = true, required_unless_present = "list", value_name = "COMMAND")]
    command: Vec<OsString>,
    /// What this program is expected to do (TOML; conformance/README.md describes it).
    #[arg(long, value_name = "FILE")]
    contract: Option<PathBuf>,
    /// Writes `client.html`, `client.json` and `client.xml` (JUnit) into this directory.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Something that goes wrong while the program runs, as `POST /__control/faults` takes it (repeatable;
    /// mock-server/README.md, "Break things"), or `@FILE` with it.
    #[arg(long, value_name = "JSON|@FILE", value_parser = fault)]
    fault: Vec<Value>,
    /// Only rules of this level.
    #[arg(long)]
    level: Option<Level>,
    /// Seconds that the program may take.
    #[arg(long, value_parser = seconds)]
    timeout: Option<f64>,
    /// Nothing is loaded into Node and Python; calls of what the SDKs don't have are not seen then.
    #[arg(long)]
    no_shim: bool,
    /// Prints what holds, too.
    #[arg(long, short)]
    verbose: bool,
    /// Lists the rules.
    #[arg(long)]
    list: bool,
}

pub(super) async fn client(args: Args) -> Result<ExitCode> {
    if args.list {
        return written(list(&mut io::stdout().lock()));
    }
    let contract = args.contract.as_deref().map(Contract::read).transpose()?.unwrap_or_default();
    let mut signals = handed_on(|line| eprintln!("{line}"));
    // Strict: the journal says of each request what the contract has otherwise.
    let mock = Mock::start_with(&["--strict"]).await?;
    let judged = judge(&args, &contract, &mock, &mut signals).await;
    mock.stop().await;
    let verdict = judged?;
    // The verdict is told first: it isn't lost with a report that can't be written.
    let mut out = io::stdout().lock();
    written(console::write(&mut out, &verdict, args.verbose).and_then(|()| out.flush()))?;
    if let Some(dir) = &args.report {
        write_files(dir, &verdict)?;
    }
    Ok(ExitCode::from(verdict.exit_code()))
}

/// A fault's rule; whether it is one the mock says.
fn fault(text: &str) -> Result<Value, String> {
    let text = match text.strip_prefix('@') {
        Some(file) => std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?,
        None => text.to_owned(),
    };
    serde_json::from_str(&text).map_err(|error| format!("a fault is a JSON object: {error}"))
}

fn list(out: &mut impl Write) -> io::Result<()> {
    for rule in rules::all() {
        writeln!(out, "{}  {:?}\n    {}\n    fix: {}", rule.id, rule.level, rule.text(), rule.fix)?;
    }
    writeln!(out, "{}", count(rules::all().count(), "rule"))
}

async fn judge(
    args: &Args,
    contract: &Contract,
    mock: &Mock,
    signals: &mut UnboundedReceiver<Signal>,
) -> Result<Verdict> {
    fetch::add_faults(&mock.api_url, &mock.api_key, &args.fault).await?;
    let shim = if args.no_shim { None } else { Some(Shim::new()?) };
    let mut environment = server(mock);
    environment.extend(shim.iter().flat_map(Shim::environment));
    let (started_at, began) = (chrono::Utc::now(), Instant::now());
    let limit = args.timeout.map(Duration::from_secs_f64);
    let (end, output) = program::run(&args.command, &environment, limit, signals).await?;
    let took = began.elapsed();
    let (calls, lost) = fetch::journal(&mock.api_url, &mock.api_key).await?;
    let there = fetch::sandboxes(&mock.api_url, &mock.api_key).await?;
    let misuses = shim.as_ref().map(Shim::misuses).unwrap_or_default();
    let unfinished = !matches!(end, program::End::Exited(_));
    let evidence = Evidence { calls, there, misuses, output, unfinished, api_key: mock.api_key.clone() };
    let words: Vec<_> = args.command.iter().map(|word| word.to_string_lossy()).collect();
    Ok(Verdict {
        schema: verdict::SCHEMA,
        suite_version: env!("CARGO_PKG_VERSION"),
        started_at,
        took: took.as_millis() as u64,
        command: words.join(" "),
        program: end.to_string(),
        program_succeeded: contract.accepts(end),
        expected_exit: contract.expected_exit().filter(|_| !contract.accepts(end)),
        calls: evidence.calls.len(),
        lost,
        unfinished,
        rules: Judgement { contract, level: args.level }.rules(&evidence),
    })
}

/// How the program finds the mock, and nothing else.
fn server(mock: &Mock) -> Vec<(&'static str, Option<OsString>)> {
    let set = |name, value: &str| (name, Some(OsString::from(value)));
    vec![
        set("DAYTONA_API_URL", &mock.api_url),
        set("DAYTONA_API_KEY", &mock.api_key),
        set("DAYTONA_TARGET", "us"),
        // Nothing of a proxy or of another account may come between.
        set("no_proxy", "127.0.0.1,localhost"),
        set("NO_PROXY", "127.0.0.1,localhost"),
        ("DAYTONA_SERVER_URL", None),
        ("DAYTONA_JWT_TOKEN", None),
        ("DAYTONA_ORGANIZATION_ID", None),
    ]
}

fn write_files(dir: &Path, verdict: &Verdict) -> Result {
    std::fs::create_dir_all(dir).map_err(|error| Stop::harness(format!("{}: {error}", dir.display())))?;
    write_file(&dir.join("client.json"), &verdict.to_json())?;
    write_file(&dir.join("client.xml"), &junit::to_string(verdict)?)?;
    write_file(&dir.join("client.html"), &html::to_string(verdict))
}
