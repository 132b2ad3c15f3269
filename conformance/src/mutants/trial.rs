//! Mutants are tried: the scenarios that should notice one run against it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::StreamExt;
use tokio::time::Instant;

use super::{Mutant, proxy::Proxy, proxy::Server};
use crate::{
    mock::Mock,
    report::{Outcome, Report},
    run::{self, Plan, Selection, Target},
    stop::{Result, Stop},
    sweep,
};

/// For one scenario: whoever waits for what a mutant lost waits in vain.
const PATIENCE: Duration = Duration::from_secs(25);
/// Scenarios of one mutant at the same time.
const JOBS: usize = 3;
/// For what a run left behind.
const SWEEPING: Duration = Duration::from_secs(20);

/// What came of a mutant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// By this scenario and check.
    Killed(String),
    /// Every scenario passed.
    Survived,
    /// No request was changed, so nothing could be noticed: the row is wrong.
    NeverApplied,
    /// This machine has nothing that its scenarios could judge: why.
    NotApplicable(String),
    /// A scenario failed although nothing was changed, or the suite itself was at fault.
    Spoilt(String),
}

/// One mutant, tried.
#[derive(Debug)]
pub struct Trial {
    pub mutant: &'static Mutant,
    pub verdict: Verdict,
    pub took: Duration,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Summary {
    pub trials: Vec<Trial>,
}

impl Summary {
    pub fn killed(&self) -> usize {
        self.trials.iter().filter(|trial| matches!(trial.verdict, Verdict::Killed(_))).count()
    }

    /// Those that could be tried here.
    pub fn tried(&self) -> usize {
        self.trials.iter().filter(|trial| !matches!(trial.verdict, Verdict::NotApplicable(_))).count()
    }

    /// Killed, of a hundred that could be tried.
    pub fn percent(&self) -> f64 {
        self.killed() as f64 * 100.0 / self.tried().max(1) as f64
    }

    /// What is wrong with the suite or with the table: what isn't as its row says.
    pub fn surprises(&self) -> Vec<&Trial> {
        let surprising = |trial: &&Trial| match trial.verdict {
            Verdict::Killed(_) => trial.mutant.survives.is_some(),
            Verdict::Survived => trial.mutant.survives.is_none(),
            Verdict::NotApplicable(_) => false,
            Verdict::NeverApplied | Verdict::Spoilt(_) => true,
        };
        self.trials.iter().filter(surprising).collect()
    }
}

/// Tries mutants against one mock, so many at the same time; `told` hears of each.
pub async fn try_all(
    mutants: Vec<&'static Mutant>,
    at_once: usize,
    mock: &Mock,
    told: impl Fn(&Trial),
) -> Result<Summary> {
    let (alone, together): (Vec<_>, Vec<_>) = mutants.into_iter().partition(|mutant| mutant.alone);
    let mut summary = Summary::default();
    for (group, at_once) in [(together, at_once.max(1)), (alone, 1)] {
        let mut trials = futures_util::stream::iter(group).map(|mutant| one(mutant, mock)).buffer_unordered(at_once);
        while let Some(trial) = trials.next().await {
            let trial = trial?;
            told(&trial);
            summary.trials.push(trial);
        }
    }
    Ok(summary)
}

/// A machine that was too busy to come to what the mutant changes gets another chance.
async fn one(mutant: &'static Mutant, mock: &Mock) -> Result<Trial> {
    let first = attempt(mutant, mock, PATIENCE).await?;
    match first.verdict {
        Verdict::Spoilt(_) => attempt(mutant, mock, PATIENCE * 2).await,
        _ => Ok(first),
    }
}

async fn attempt(mutant: &'static Mutant, mock: &Mock, patience: Duration) -> Result<Trial> {
    let began = Instant::now();
    let server = account(mock).await?;
    let proxy = Proxy::start(server.clone(), Some(mutant))?;
    let ids = mutant.scenarios().iter().map(|scenario| scenario.id.to_owned()).collect();
    let plan = Plan {
        selection: Selection { globs: ids, ..Selection::default() },
        jobs: JOBS,
        timeout: patience,
        fail_fast: true,
        cases: 8,
        ..Plan::default()
    };
    let target = Target { private: true, ..Target::new(&proxy.api_url, &server.key) };
    let report = run::run(plan, target).await;
    let verdict = verdict(report, proxy.hits());
    drop(proxy);
    clean_up(mock, &server).await;
    Ok(Trial { mutant, verdict, took: began.elapsed() })
}

fn verdict(report: Result<Report>, hits: usize) -> Verdict {
    let failed = match &report {
        Err(stop) => Some(format!("the run could not begin: {stop}")),
        Ok(report) => report.scenarios.iter().find_map(noticed),
    };
    let missing = report.as_ref().ok().and_then(not_applicable);
    let fault = report.ok().and_then(|report| {
        let broken = report.scenarios.into_iter().find(|scenario| scenario.outcome == Outcome::Error)?;
        Some(format!("{}: {}", broken.id, broken.reason.unwrap_or_default()))
    });
    match (failed, fault, hits) {
        (Some(by), _, 1..) => Verdict::Killed(by),
        (Some(by), _, 0) => Verdict::Spoilt(format!("{by}, although nothing was changed")),
        (None, Some(fault), _) => Verdict::Spoilt(fault),
        (None, None, 0) => missing.map_or(Verdict::NeverApplied, Verdict::NotApplicable),
        (None, None, 1..) => Verdict::Survived,
    }
}

/// Why none of the scenarios could be judged.
fn not_applicable(report: &Report) -> Option<String> {
    let all = report.scenarios.iter().all(|scenario| scenario.outcome == Outcome::NotApplicable);
    report.scenarios.first().filter(|_| all).and_then(|scenario| scenario.reason.clone())
}

/// The check that noticed, or why the scenario couldn't be judged.
fn noticed(scenario: &crate::report::ScenarioReport) -> Option<String> {
    if !matches!(scenario.outcome, Outcome::Fail | Outcome::Untestable | Outcome::Warn) {
        return None;
    }
    let why = scenario.failed().next().map(|check| check.id.clone()).or(scenario.reason.clone()).unwrap_or_default();
    let soft = if scenario.outcome == Outcome::Warn { " (a warning)" } else { "" };
    Some(format!("{}: {why}{soft}", scenario.id))
}

/// An organisation of its own: lists and limits aren't shared.
async fn account(mock: &Mock) -> Result<Server> {
    let url = reqwest::Url::parse(&mock.api_url).map_err(Stop::harness)?;
    let address = url.socket_addrs(|| None)?.first().copied();
    let address: SocketAddr = address.ok_or_else(|| Stop::harness("the mock has no address"))?;
    let minted = crate::client::http(&url)?
        .post(url.join("/__control/keys").map_err(Stop::harness)?)
        .bearer_auth(&mock.api_key)
        .send()
        .await
        .map_err(Stop::harness)?;
    let minted: serde_json::Value = minted.json().await.map_err(Stop::harness)?;
    let key = minted["apiKey"].as_str().ok_or_else(|| Stop::harness("the mock mints no keys"))?;
    Ok(Server { address, key: Arc::from(key) })
}

/// What a mutant kept the suite from removing goes now, without the mutant. What resists ends with the mock.
async fn clean_up(mock: &Mock, server: &Server) {
    let target = Target { private: true, ..Target::new(&mock.api_url, &server.key) };
    let sweep = async {
        let world = run::World::open(&Plan::default(), target).await?;
        let everything = sweep::Which::OlderThan(chrono::Utc::now() + chrono::TimeDelta::days(36_500));
        sweep::sandboxes(&world.client(), &everything).await
    };
    _ = tokio::time::timeout(SWEEPING, sweep).await;
}
