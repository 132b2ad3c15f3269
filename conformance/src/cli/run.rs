//! `run`.

use std::{
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::progress::Progress;
use crate::{
    baseline::Baseline,
    interrupt::cancel_on_signal,
    mock::Mock,
    report::{Report, badge, console, html, junit},
    run::{self, Budget, Plan, Selection, Target},
    scenario::Level,
    stop::{Result, Stop},
};

/// Which server.
#[derive(clap::Args, Clone)]
pub(super) struct TargetArgs {
    /// `mock` starts a private daytona-mock (beside this program, or on PATH); else the URL of an API.
    #[arg(long, value_name = "mock|URL")]
    pub target: Option<String>,
    /// The API's URL, as SDKs take it.
    #[arg(long, env = "DAYTONA_API_URL")]
    pub api_url: Option<String>,
    /// An API key; what the suite makes with it, it also deletes.
    #[arg(long, env = "DAYTONA_API_KEY", hide_env_values = true)]
    pub api_key: Option<String>,
    /// A key of another organisation, for scenarios about what must stay hidden from it.
    #[arg(long, env = "DAYTONA_SECOND_API_KEY", hide_env_values = true)]
    pub second_key: Option<String>,
}

#[derive(clap::Args)]
pub(super) struct Args {
    /// Scenarios by id: `*` is any text, `?` any character. None: all.
    globs: Vec<String>,
    #[command(flatten)]
    target: TargetArgs,
    /// Only these areas.
    #[arg(long, value_delimiter = ',')]
    area: Vec<String>,
    /// Only scenarios of this level.
    #[arg(long)]
    level: Option<Level>,
    /// Only scenarios that judge one of these operations.
    #[arg(long, value_delimiter = ',')]
    operation: Vec<String>,
    /// Those that take minutes, too.
    #[arg(long)]
    slow: bool,
    /// Scenarios at the same time.
    #[arg(long, short, default_value_t = 8, value_parser = at_least_one())]
    jobs: usize,
    /// Seconds for each scenario; five times as many for one that takes minutes.
    #[arg(long, default_value_t = 120.0, value_parser = seconds)]
    timeout: f64,
    /// Seconds for the whole run.
    #[arg(long, value_parser = seconds)]
    deadline: Option<f64>,
    /// Stop at the first failure.
    #[arg(long)]
    fail_fast: bool,
    /// Try what failed so often again; every attempt is reported.
    #[arg(long, value_name = "N", default_value_t = 0)]
    retry_flaky: u32,
    /// Sandboxes that may be made, all in all.
    #[arg(long)]
    max_sandboxes: Option<u32>,
    /// Minutes that sandboxes may live, added up.
    #[arg(long, value_parser = minutes)]
    max_minutes: Option<f64>,
    /// Requests a second.
    #[arg(long, value_parser = rate)]
    rps: Option<f64>,
    /// Inputs that each generated scenario tries.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..))]
    cases: u32,
    /// Repeats the generated inputs of an earlier run.
    #[arg(long)]
    seed: Option<u64>,
    /// A file of accepted failures, `area/scenario:check` each; one that doesn't fail any more is an error.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Writes the baseline that accepts what failed now.
    #[arg(long, value_name = "FILE")]
    write_baseline: Option<PathBuf>,
    /// Writes `report.html`, `report.json`, `junit.xml`, `badge.svg` and `badge.json` into this directory.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Reports have the exchanges of what passed, too.
    #[arg(long)]
    keep_exchanges: bool,
    /// Prints what passed, too.
    #[arg(long, short)]
    verbose: bool,
    /// Prints only what failed and the summary.
    #[arg(long, short)]
    quiet: bool,
}

pub(super) fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds < 1e9 => Ok(seconds),
        _ => Err("a number of seconds is needed".to_owned()),
    }
}

/// What is no number at all must not pass for no limit.
fn minutes(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(minutes) if minutes >= 0.0 => Ok(minutes),
        _ => Err("a number of minutes is needed".to_owned()),
    }
}

pub(super) fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate >= 0.001 => Ok(rate),
        _ => Err("a number of requests a second is needed, 0.001 or more".to_owned()),
    }
}

pub(super) fn at_least_one() -> clap::builder::RangedU64ValueParser<usize> {
    clap::builder::RangedU64ValueParser::new().range(1..)
}

impl TargetArgs {
    /// The server, and the process to stop afterwards if it is our own.
    pub async fn open(self) -> Result<(Target, Option<Mock>)> {
        if self.target.as_deref() == Some("mock") {
            let mock = Mock::start_complete().await?;
            let target = Target { second_key: None, private: true, ..Target::new(&mock.api_url, &mock.api_key) };
            return Ok((target, Some(mock)));
        }
        let missing = |what: &str| Stop::harness(format!("which server? --target mock, or {what}"));
        let url = self.target.or(self.api_url).ok_or_else(|| missing("--api-url (DAYTONA_API_URL)"))?;
        let key = self.api_key.ok_or_else(|| missing("--api-key (DAYTONA_API_KEY) with the URL"))?;
        Ok((Target { second_key: self.second_key, ..Target::new(&url, &key) }, None))
    }
}

pub(super) async fn run(args: Args) -> Result<ExitCode> {
    let (plan, baseline) = args.plan()?;
    if plan.selection.of(crate::scenarios::all()).is_empty() {
        return Err(Stop::harness("no scenario fits"));
    }
    let (target, mock) = args.target.clone().open().await?;
    let report = watched(plan, target, args.quiet).await;
    if let Some(mock) = mock {
        mock.stop().await;
    }
    let report = report?;
    args.publish(&report, &baseline)?;
    Ok(ExitCode::from(report.exit_code()))
}

/// With a line of progress where somebody watches; a signal ends it in good order.
pub(super) async fn watched(plan: Plan, target: Target, quiet: bool) -> Result<Report> {
    let progress = Arc::new(Progress::new(!quiet && io::stderr().is_terminal()));
    let (cancel, above, told) = (CancellationToken::new(), progress.clone(), progress.clone());
    let listening = tokio::spawn(cancel_on_signal(cancel.clone(), move |line| above.say(line)));
    let report = run::run_observed(plan, target, cancel, Arc::new(move |event| told.tell(&event))).await;
    listening.abort();
    progress.clear();
    report
}

impl Args {
    fn plan(&self) -> Result<(Plan, Baseline)> {
        let baseline = self.baseline.as_deref().map(Baseline::read).transpose()?;
        let plan = Plan {
            selection: Selection {
                globs: self.globs.clone(),
                areas: self.area.clone(),
                level: self.level,
                operations: self.operation.clone(),
                slow: self.slow,
            },
            jobs: self.jobs,
            timeout: Duration::from_secs_f64(self.timeout),
            deadline: self.deadline.map(Duration::from_secs_f64),
            fail_fast: self.fail_fast,
            retries: self.retry_flaky,
            budget: Budget { max_sandboxes: self.max_sandboxes, max_minutes: self.max_minutes, rps: self.rps },
            baseline: baseline.clone(),
            cases: self.cases,
            seed: self.seed.unwrap_or_else(rand::random),
            keep_exchanges: self.keep_exchanges,
        };
        Ok((plan, baseline.unwrap_or_default()))
    }

    fn publish(&self, report: &Report, baseline: &Baseline) -> Result {
        let mut out = io::stdout().lock();
        let printed = console::write(&mut out, report, self.verbose).and_then(|()| out.flush());
        if let Err(error) = printed.as_ref().map_err(io::Error::kind)
            && error != io::ErrorKind::BrokenPipe
        {
            return Err(Stop::harness(format!("the report can't be printed: {error}")));
        }
        if let Some(dir) = &self.report {
            write_files(dir, report)?;
        }
        if let Some(file) = &self.write_baseline {
            write_file(file, &baseline.text_of(report))?;
        }
        Ok(())
    }
}

fn write_files(dir: &Path, report: &Report) -> Result {
    std::fs::create_dir_all(dir).map_err(|error| Stop::harness(format!("{}: {error}", dir.display())))?;
    write_file(&dir.join("report.json"), &report.to_json())?;
    write_file(&dir.join("junit.xml"), &junit::to_string(report)?)?;
    write_file(&dir.join("report.html"), &html::to_string(report))?;
    write_file(&dir.join("badge.svg"), &badge::to_svg(report))?;
    write_file(&dir.join("badge.json"), &badge::to_json(report))
}

pub(super) fn write_file(path: &Path, text: &str) -> Result {
    std::fs::write(path, text).map_err(|error| Stop::harness(format!("{}: {error}", path.display())))
}
