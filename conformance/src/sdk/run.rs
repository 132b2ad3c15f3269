//! Runs the scenarios with one driver.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use serde::Serialize;

use super::{
    context::Cx,
    driver::Driver,
    protocol::Hello,
    scenarios::{self, Scenario},
    world::Server,
};
use crate::{
    check::Check,
    client::Log,
    scenario::Level,
    stop::{self, Stop},
};

/// Calls that a report shows of one scenario.
const SHOWN: usize = 60;

/// An SDK, by the command that runs its driver.
#[derive(Clone, Debug)]
pub struct Sdk {
    pub name: String,
    pub command: String,
}

/// What to run, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Ids; `*` is any text. None: all.
    pub globs: Vec<String>,
    /// Scenarios at the same time, each with a driver of its own.
    pub jobs: usize,
    /// For each scenario.
    pub limit: Duration,
}

/// A word on one scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Pass,
    /// A MUST doesn't hold.
    Fail,
    /// A SHOULD doesn't hold.
    Warn,
    /// The SDK, or its driver, has nothing of the kind.
    NotApplicable,
    /// It didn't get to the point where the rule could be judged. Counts as failed.
    Untestable,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Result {
    pub id: &'static str,
    pub outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    pub checks: Vec<Check>,
    /// Lines to the driver and from it, where the rule doesn't hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub said: Vec<String>,
    /// What it asked of the server, where the rule doesn't hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<String>,
    /// Milliseconds.
    pub took: u64,
}

/// Everything about one SDK.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Column {
    pub name: String,
    pub command: String,
    pub driver: Hello,
    /// In the order of the table.
    pub results: Vec<Result>,
}

impl Outcome {
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "FAIL",
            Self::Warn => "WARN",
            Self::NotApplicable => "n/a",
            Self::Untestable => "UNTESTABLE",
        }
    }

    pub fn is_bad(self) -> bool {
        matches!(self, Self::Fail | Self::Untestable)
    }
}

impl Column {
    pub fn count(&self, outcome: Outcome) -> usize {
        self.results.iter().filter(|result| result.outcome == outcome).count()
    }
}

impl Plan {
    /// The scenarios that it names.
    pub fn scenarios(&self) -> stop::Result<Vec<&'static Scenario>> {
        let wanted = |id: &str| self.globs.is_empty() || self.globs.iter().any(|glob| crate::run::matches(glob, id));
        let chosen: Vec<_> = scenarios::all().filter(|scenario| wanted(scenario.id)).collect();
        if chosen.is_empty() { Err(Stop::harness("no scenario has such an id")) } else { Ok(chosen) }
    }
}

/// Runs a plan with one SDK. `observe` hears of each result.
pub async fn run(server: &Server, sdk: &Sdk, plan: &Plan, observe: &(dyn Fn(&Result) + Sync)) -> stop::Result<Column> {
    let chosen = plan.scenarios()?;
    // It says who it is before anything is judged.
    let first = Driver::start(&sdk.command).await?;
    let hello = first.hello.clone();
    let queue = Mutex::new(chosen.iter().enumerate().rev().collect::<Vec<_>>());
    let results: Mutex<Vec<Option<Result>>> = Mutex::new(vec![None; chosen.len()]);
    let spare = Mutex::new(Some(first));
    let work = || async {
        let mut driver = spare.lock().take();
        loop {
            let Some((at, scenario)) = queue.lock().pop() else { break Ok::<(), Stop>(()) };
            let (result, left) = attempt(server, sdk, scenario, driver.take(), plan.limit).await?;
            driver = left;
            observe(&result);
            results.lock()[at] = Some(result);
        }
    };
    let workers = (0..plan.jobs.clamp(1, chosen.len())).map(|_| work());
    for worked in futures_util::future::join_all(workers).await {
        worked?;
    }
    let results = results.into_inner().into_iter().flatten().collect();
    Ok(Column { name: sdk.name.clone(), command: sdk.command.clone(), driver: hello, results })
}

/// Runs one scenario; what is left of its driver may be used again.
async fn attempt(
    server: &Server,
    sdk: &Sdk,
    scenario: &'static Scenario,
    driver: Option<Driver>,
    limit: Duration,
) -> stop::Result<(Result, Option<Driver>)> {
    let driver = match driver {
        Some(driver) => driver,
        None => Driver::start(&sdk.command).await?,
    };
    let (world, began) = (server.world().await?, Instant::now());
    let (driver, log) = (Arc::new(driver), Arc::new(Log::default()));
    let cx =
        Cx { driver: driver.clone(), world: world.clone(), log: log.clone(), command: sdk.command.as_str().into() };
    let ended = match tokio::time::timeout(limit, (scenario.run)(cx)).await {
        Ok(ended) => ended,
        Err(_) => Err(Stop::untestable(format!("not over after {} s", limit.as_secs()))),
    };
    let (_, checks) = log.take();
    let (outcome, why) = judge(scenario.level, &checks, ended);
    let bad = !matches!(outcome, Outcome::Pass | Outcome::NotApplicable);
    let calls =
        if bad { world.journal("").await?.iter().map(|call| call.line()).take(SHOWN).collect() } else { Vec::new() };
    world.mend().await?;
    world.end().await?;
    let said: Vec<String> = driver.take_said().iter().map(|line| line.replace(&world.key, "<the key>")).collect();
    let said = if bad { said } else { Vec::new() };
    let result =
        Result { id: scenario.id, outcome, why, checks, said, calls, took: began.elapsed().as_millis() as u64 };
    Ok((result, reusable(driver).await))
}

/// The driver, if nothing is under way in it; its client is closed.
async fn reusable(driver: Arc<Driver>) -> Option<Driver> {
    let driver = Arc::into_inner(driver)?;
    if !driver.is_idle() {
        return None;
    }
    let closed = driver.call("close", serde_json::json!({}), Duration::from_secs(10)).await;
    driver.take_said();
    driver.forget();
    matches!(closed, Ok(told) if told.returned()).then_some(driver)
}

fn judge(level: Level, checks: &[Check], ended: stop::Result) -> (Outcome, Option<String>) {
    let failed =
        |must: bool| checks.iter().any(|check| !check.passed && (level == Level::Must && !check.should) == must);
    match ended {
        // What failed before stands.
        _ if failed(true) => (Outcome::Fail, None),
        Err(Stop::Untestable(why) | Stop::NotRun(why) | Stop::Harness(why)) => (Outcome::Untestable, Some(why)),
        _ if failed(false) => (Outcome::Warn, None),
        Err(Stop::NotApplicable(what)) => (Outcome::NotApplicable, Some(what)),
        Ok(()) if checks.is_empty() => (Outcome::Untestable, Some("the scenario checked nothing".to_owned())),
        Ok(()) => (Outcome::Pass, None),
    }
}
