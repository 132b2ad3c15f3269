//! Several SDKs side by side: scenario by SDK.

pub mod console;
pub mod html;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{
    run::{Column, Outcome, Result},
    scenarios::{self, Scenario},
};

/// Of the JSON report; raised when a field is removed or changes its meaning.
pub const SCHEMA: u32 = 1;

/// Everything that a run says. Its JSON is `sdk.json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    pub schema: u32,
    pub suite_version: &'static str,
    pub started_at: DateTime<Utc>,
    /// Milliseconds.
    pub took: u64,
    /// Those that were judged, in the order of the table.
    pub scenarios: Vec<Scenario>,
    pub sdks: Vec<Column>,
}

impl Comparison {
    pub fn new(started_at: DateTime<Utc>, sdks: Vec<Column>) -> Self {
        let judged = |scenario: &&Scenario| sdks.iter().any(|sdk| result(sdk, scenario.id).is_some());
        let scenarios = scenarios::all().filter(judged).copied().collect();
        let took = (Utc::now() - started_at).num_milliseconds().max(0) as u64;
        Self { schema: SCHEMA, suite_version: env!("CARGO_PKG_VERSION"), started_at, took, scenarios, sdks }
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a comparison is plain data") + "\n"
    }

    /// 0: every MUST holds for every SDK; 1: one doesn't.
    pub fn exit_code(&self) -> u8 {
        u8::from(self.sdks.iter().flat_map(|sdk| &sdk.results).any(|result| result.outcome.is_bad()))
    }
}

/// What an SDK did in a scenario, if it was run.
pub fn result<'a>(sdk: &'a Column, id: &str) -> Option<&'a Result> {
    sdk.results.iter().find(|result| result.id == id)
}

/// How many there are of each outcome, in words: `41 pass, 3 fail`.
fn counts(sdk: &Column) -> String {
    let all = [
        (Outcome::Pass, "pass"),
        (Outcome::Fail, "fail"),
        (Outcome::Untestable, "untestable"),
        (Outcome::Warn, "warn"),
        (Outcome::NotApplicable, "not applicable"),
    ];
    let some = all.into_iter().map(|(outcome, word)| (sdk.count(outcome), word)).filter(|(count, _)| *count > 0);
    some.map(|(count, word)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
}
