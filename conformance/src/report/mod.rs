//! What a run found out.
//!
//! The JSON form is stable: fields are added, and [`SCHEMA`] is raised when one is removed or changes its meaning.

pub mod badge;
pub mod console;
pub mod html;
pub mod junit;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::Serialize;

use crate::client::Seen;
use crate::{
    check::Check,
    client::Exchange,
    contract::{self, Plane},
    run::{Plan, World},
    scenario::{Level, Scenario},
    scenarios,
};

/// Of the JSON report.
pub const SCHEMA: u32 = 1;

/// How a scenario ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// A MUST does not hold.
    Fail,
    /// The server didn't let it come to a verdict. Counts as failed.
    Untestable,
    /// The suite is at fault.
    Error,
    /// A SHOULD does not hold.
    Warn,
    Pass,
    /// The server doesn't offer what it needs.
    NotApplicable,
    /// The run ended before.
    NotRun,
}

impl Outcome {
    pub const ALL: [Self; 7] =
        [Self::Fail, Self::Untestable, Self::Error, Self::Warn, Self::Pass, Self::NotApplicable, Self::NotRun];

    /// Does the run fail by it?
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Fail | Self::Untestable | Self::Error)
    }

    pub(crate) fn shows_exchanges(self) -> bool {
        self.is_failure() || self == Self::Warn
    }

    /// For people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Fail => "FAIL",
            Self::Untestable => "UNTESTABLE",
            Self::Error => "ERROR",
            Self::Warn => "WARN",
            Self::Pass => "pass",
            Self::NotApplicable => "n/a",
            Self::NotRun => "not run",
        }
    }
}

/// A whole run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub schema: u32,
    pub suite_version: &'static str,
    pub run: String,
    pub started_at: chrono::DateTime<chrono::Utc>,
    /// Milliseconds.
    pub took: u64,
    pub server: ServerReport,
    /// Repeats the generated inputs: `--seed`.
    pub seed: u64,
    pub jobs: usize,
    /// Some scenarios are not run: interrupted, out of time or budget, or `--fail-fast`.
    pub partial: bool,
    pub totals: BTreeMap<&'static str, usize>,
    /// Verdicts, all in all.
    pub checks: usize,
    pub sandboxes: u32,
    pub sandbox_minutes: f64,
    pub scenarios: Vec<ScenarioReport>,
    /// Operations of the contract, by plane and name.
    pub coverage: Vec<Covered>,
    /// What could not be removed.
    pub left_behind: Vec<String>,
    /// Entries of the baseline that don't fail any more.
    pub stale: Vec<String>,
}

/// The server that was judged.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerReport {
    pub api_url: String,
    pub version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mock: Option<serde_json::Value>,
}

/// One scenario of a run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScenarioReport {
    pub id: String,
    pub area: &'static str,
    pub level: Level,
    pub rule: String,
    pub covers: &'static [&'static str],
    pub outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub checks: Vec<Check>,
    /// Failures that the baseline accepts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accepted: Vec<String>,
    #[serde(skip)]
    pub stale: Vec<String>,
    /// Milliseconds.
    pub took: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub earlier_attempts: Vec<Attempt>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_behind: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exchanges: Vec<Exchange>,
    #[serde(skip)]
    pub(crate) seen: BTreeMap<&'static str, Seen>,
}

/// An attempt that `--retry-flaky` didn't leave at that.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    pub outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Those that failed.
    pub checks: Vec<Check>,
    pub took: u64,
}

/// What a run did with one operation.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Covered {
    pub operation: &'static str,
    pub plane: Plane,
    /// Says the server; absent where it doesn't say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emulated: Option<bool>,
    /// Answers seen in this run.
    pub succeeded: u32,
    pub refused: u32,
    /// Fields of its 2xx answers that the contract doesn't declare: no verdict.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub undeclared: BTreeSet<String>,
    /// Scenarios of the whole table that judge it.
    pub scenarios: Vec<&'static str>,
}

/// What a report begins with.
pub(crate) struct Head<'a> {
    pub plan: &'a Plan,
    pub world: &'a World,
    pub started_at: chrono::DateTime<chrono::Utc>,
    pub took: Duration,
}

impl Report {
    pub(crate) fn new(head: Head, scenarios: Vec<ScenarioReport>, left_behind: Vec<String>, partial: bool) -> Self {
        let mut totals = BTreeMap::new();
        for outcome in Outcome::ALL {
            let count = scenarios.iter().filter(|scenario| scenario.outcome == outcome).count();
            totals.insert(outcome.word(), count);
        }
        let world = head.world;
        let (sandboxes, sandbox_minutes) = world.budget.spent();
        let stale = scenarios.iter().flat_map(|scenario| scenario.stale.clone()).collect();
        Self {
            schema: SCHEMA,
            suite_version: env!("CARGO_PKG_VERSION"),
            run: world.run_id.clone(),
            started_at: head.started_at,
            took: head.took.as_millis() as u64,
            server: ServerReport {
                api_url: world.target.api_url.clone(),
                version: world.server.version.clone(),
                mock: world.server.mock.clone(),
            },
            seed: head.plan.seed,
            jobs: head.plan.jobs,
            partial: partial || scenarios.iter().any(|scenario| scenario.outcome == Outcome::NotRun),
            totals,
            checks: scenarios.iter().map(|scenario| scenario.checks.len()).sum(),
            sandboxes,
            sandbox_minutes,
            coverage: coverage(world, &scenarios),
            scenarios,
            left_behind,
            stale,
        }
    }

    /// 0: everything holds. 1: a verdict against the server, or a stale baseline. 2: the suite was at fault, had nothing
    /// to run, judged nothing of it, or ended early with nothing found.
    pub fn exit_code(&self) -> u8 {
        let any = |outcome: Outcome| self.scenarios.iter().any(|scenario| scenario.outcome == outcome);
        if self.judged_nothing() || any(Outcome::Error) {
            2
        } else if any(Outcome::Fail) || any(Outcome::Untestable) {
            1
        } else if self.partial {
            2
        } else {
            u8::from(!self.stale.is_empty())
        }
    }

    /// No scenario came to a verdict: that must not look like success.
    pub fn judged_nothing(&self) -> bool {
        let silent =
            |scenario: &ScenarioReport| scenario.checks.is_empty() && scenario.outcome == Outcome::NotApplicable;
        self.scenarios.iter().all(silent)
    }

    /// Scenarios that didn't pass at their first attempt, and passed.
    pub fn flaky(&self) -> impl Iterator<Item = &ScenarioReport> {
        let is_flaky =
            |scenario: &&ScenarioReport| !scenario.earlier_attempts.is_empty() && !scenario.outcome.shows_exchanges();
        self.scenarios.iter().filter(is_flaky)
    }

    /// Operations whose answers had more than the contract says.
    pub fn beyond(&self) -> impl Iterator<Item = &Covered> {
        self.coverage.iter().filter(|row| !row.undeclared.is_empty())
    }

    /// Scenarios that fail the run or warn, the worst first.
    pub fn failures(&self) -> Vec<&ScenarioReport> {
        let mut failures: Vec<_> =
            self.scenarios.iter().filter(|scenario| scenario.outcome.shows_exchanges()).collect();
        failures.sort_by_key(|scenario| scenario.outcome);
        failures
    }

    pub fn count(&self, outcome: Outcome) -> usize {
        self.totals.get(outcome.word()).copied().unwrap_or_default()
    }

    /// The JSON report.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report is plain data") + "\n"
    }
}

fn coverage(world: &World, reports: &[ScenarioReport]) -> Vec<Covered> {
    let row = |operation: &'static contract::Operation| {
        let seen: Vec<&Seen> = reports.iter().filter_map(|report| report.seen.get(operation.id)).collect();
        Covered {
            operation: operation.id,
            plane: operation.plane,
            emulated: world.server.operations.get(operation.id).copied(),
            succeeded: seen.iter().map(|seen| seen.succeeded).sum(),
            refused: seen.iter().map(|seen| seen.refused).sum(),
            undeclared: seen.iter().flat_map(|seen| seen.undeclared.iter().cloned()).collect(),
            scenarios: scenarios::all().filter(|s| s.covers.contains(&operation.id)).map(|s| s.id).collect(),
        }
    };
    contract::operations().map(row).collect()
}

impl ScenarioReport {
    pub(crate) fn of(scenario: &'static Scenario, outcome: Outcome, reason: Option<String>) -> Self {
        Self {
            id: scenario.id.to_owned(),
            area: scenario.area(),
            level: scenario.level,
            rule: scenario.rule_text(),
            covers: scenario.covers,
            outcome,
            reason,
            checks: Vec::new(),
            accepted: Vec::new(),
            stale: Vec::new(),
            took: 0,
            earlier_attempts: Vec::new(),
            left_behind: Vec::new(),
            exchanges: Vec::new(),
            seen: BTreeMap::new(),
        }
    }

    pub(crate) fn not_run(scenario: &'static Scenario, why: &str) -> Self {
        Self::of(scenario, Outcome::NotRun, Some(why.to_owned()))
    }

    pub(crate) fn not_applicable(scenario: &'static Scenario, missing: String) -> Self {
        Self::of(scenario, Outcome::NotApplicable, Some(missing))
    }

    pub(crate) fn broken(scenario: &'static Scenario, why: String) -> Self {
        Self::of(scenario, Outcome::Error, Some(why))
    }

    /// Checks that failed.
    pub fn failed(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| !check.passed)
    }
}

impl Covered {
    /// The first segment of the operation's path.
    pub fn area(&self) -> &'static str {
        contract::operation(self.operation).and_then(|operation| operation.path.split('/').nth(1)).unwrap_or_default()
    }
}

impl Attempt {
    /// Its failed checks, or why there are none.
    pub fn told(&self) -> String {
        let failed: Vec<&str> = self.checks.iter().map(|check| check.id.as_str()).collect();
        if failed.is_empty() { self.reason.clone().unwrap_or_default() } else { failed.join(", ") }
    }

    pub(crate) fn of(report: ScenarioReport) -> Self {
        let checks = report.failed().cloned().collect();
        Self { outcome: report.outcome, reason: report.reason, checks, took: report.took }
    }
}
