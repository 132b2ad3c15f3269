//! `diff` and `record`.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use super::{
    run::{TargetArgs, at_least_one, rate, watched},
    written,
};
use crate::{
    count::count,
    mock::Mock,
    run::{Plan, Selection, Target},
    scenario::Class,
    scenarios,
    stop::{Result, Stop},
    transcript::{Difference, Transcript},
};

/// The seed of generated inputs in every record, so that any can be a side.
const RECORDED: u64 = 0;

/// Which scenarios, and how.
#[derive(clap::Args)]
struct Scenarios {
    /// Scenarios by id: `*` is any text, `?` any character. None: all.
    globs: Vec<String>,
    /// Only these areas.
    #[arg(long, value_delimiter = ',')]
    area: Vec<String>,
    /// Scenarios at the same time.
    #[arg(long, short, default_value_t = 4, value_parser = at_least_one())]
    jobs: usize,
    /// Requests a second.
    #[arg(long, value_parser = rate)]
    rps: Option<f64>,
}

#[derive(clap::Args)]
pub(super) struct DiffArgs {
    #[command(flatten)]
    scenarios: Scenarios,
    /// `mock`, the URL of an API, or a file that `record` wrote.
    #[arg(long)]
    left: String,
    /// The same for the other side.
    #[arg(long)]
    right: String,
    /// For a URL on the left.
    #[arg(long, env = "DAYTONA_LEFT_KEY", hide_env_values = true)]
    left_key: Option<String>,
    /// For a URL on the right.
    #[arg(long, env = "DAYTONA_RIGHT_KEY", hide_env_values = true)]
    right_key: Option<String>,
    /// One JSON array instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub(super) struct RecordArgs {
    #[command(flatten)]
    scenarios: Scenarios,
    #[command(flatten)]
    target: TargetArgs,
    /// Where to; by default fixtures/recorded/<server version>.json, of a mock mock-<server version>.json.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// 0: no difference. 1: some.
pub(super) async fn diff(args: DiffArgs) -> Result<ExitCode> {
    // The same inputs on both sides.
    let is_live = |side: &str| side == "mock" || side.contains("://");
    let seed = if is_live(&args.left) && is_live(&args.right) { rand::random() } else { RECORDED };
    let left = side(&args.scenarios, &args.left, args.left_key, seed).await?;
    let right = side(&args.scenarios, &args.right, args.right_key, seed).await?;
    let both = left.scenarios.keys().filter(|id| right.scenarios.contains_key(*id)).count();
    if both == 0 {
        return Err(Stop::harness("no scenario ran on both sides"));
    }
    let differences = left.differences(&right);
    let mut out = io::stdout().lock();
    let code = written(if args.json {
        serde_json::to_writer_pretty(&mut out, &differences).map_err(io::Error::from).and_then(|()| writeln!(out))
    } else {
        write(&mut out, &differences, both, [&left, &right])
    })?;
    Ok(if differences.is_empty() { code } else { ExitCode::from(1) })
}

pub(super) async fn record(args: RecordArgs) -> Result<ExitCode> {
    let (target, mock) = args.target.open().await?;
    let transcript = transcript(&args.scenarios, target, mock, RECORDED).await?;
    let named = || {
        let kind = if transcript.mock_version.is_some() { "mock-" } else { "" };
        format!("fixtures/recorded/{kind}{}.json", transcript.server_version.replace(['/', '\\'], "_")).into()
    };
    let out = args.out.unwrap_or_else(named);
    if let Some(dir) = out.parent() {
        std::fs::create_dir_all(dir)?;
    }
    std::fs::write(&out, transcript.to_json()).map_err(|error| Stop::harness(format!("{}: {error}", out.display())))?;
    let scenarios = count(transcript.scenarios.len(), "scenario");
    println!("{scenarios} of server {} in {}", transcript.server_version, out.display());
    Ok(ExitCode::SUCCESS)
}

async fn side(scenarios: &Scenarios, what: &str, key: Option<String>, seed: u64) -> Result<Transcript> {
    if what == "mock" {
        let mock = Mock::start().await?;
        let target = Target { private: true, ..Target::new(&mock.api_url, &mock.api_key) };
        return transcript(scenarios, target, Some(mock), seed).await;
    }
    if !what.contains("://") {
        return Transcript::read(Path::new(what));
    }
    let key = key.ok_or_else(|| Stop::harness(format!("a key is needed for {what}: --left-key or --right-key")))?;
    transcript(scenarios, Target::new(what, &key), None, seed).await
}

async fn transcript(scenarios: &Scenarios, target: Target, mock: Option<Mock>, seed: u64) -> Result<Transcript> {
    let selection = Selection { globs: scenarios.globs.clone(), areas: scenarios.area.clone(), ..Selection::default() };
    let mut plan = Plan { selection, jobs: scenarios.jobs, seed, keep_exchanges: true, ..Plan::default() };
    plan.budget.rps = scenarios.rps;
    eprintln!("asking {}", target.api_url);
    let report = watched(plan, target, false).await;
    if let Some(mock) = mock {
        mock.stop().await;
    }
    let report = report?;
    if report.partial {
        return Err(Stop::harness("the run did not finish, so there is nothing to compare"));
    }
    if report.scenarios.is_empty() {
        return Err(Stop::harness("no scenario fits"));
    }
    let mut transcript = Transcript::of(&report);
    transcript
        .scenarios
        .retain(|id, _| !scenarios::all().any(|scenario| scenario.id == id && scenario.is(Class::Racing)));
    Ok(transcript)
}

fn write(out: &mut impl Write, differences: &[Difference], both: usize, sides: [&Transcript; 2]) -> io::Result<()> {
    let mut request = "";
    for difference in differences {
        if difference.request != request {
            request = &difference.request;
            writeln!(out, "\n{request}")?;
        }
        let status = if difference.status == 0 { String::new() } else { format!("{} ", difference.status) };
        writeln!(out, "  {status}{}  (in {})", difference.field, difference.scenarios.join(", "))?;
        writeln!(out, "    left   {}", values(&difference.left))?;
        writeln!(out, "    right  {}", values(&difference.right))?;
    }
    let [left, right] = sides.map(|side| side.server_version.as_str());
    let (found, both) = (count(differences.len(), "difference"), count(both, "scenario"));
    writeln!(out, "\n{found} between {left} and {right} in {both}")
}

fn values(values: &[String]) -> String {
    if values.is_empty() { "not there".to_owned() } else { values.join(" or ") }
}
