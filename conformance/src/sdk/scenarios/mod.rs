//! What a right SDK does, above all when things go wrong: one const table, a file per area.
//!
//! A scenario is a row and an async function; the doc comment is the rule, in brackets how we know. A new one: the row, the
//! function, and a way in which the fake driver of the tests (`tests/fake_driver.py`) gets it wrong.

mod cancel;
mod ends;
mod errors;
mod events;
mod files;
mod lists;
mod logs;
mod pty;
mod retries;
mod secrets;
mod text;
mod timeouts;
mod waits;
mod wire;

use std::{future::Future, pin::Pin};

use serde::Serialize;

use super::Cx;
use crate::{scenario::Level, stop::Result};

type Run = fn(Cx) -> Pin<Box<dyn Future<Output = Result> + Send>>;

/// One row of the table.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Scenario {
    /// Stable: `area/what_holds`.
    pub id: &'static str,
    pub level: Level,
    /// In one or two sentences, and how we know.
    #[serde(serialize_with = "one_line")]
    pub rule: &'static str,
    #[serde(skip)]
    pub run: Run,
}

impl Scenario {
    /// The rule as one line of text.
    pub fn text(&self) -> String {
        self.rule.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// Doc comments have a space before each line.
fn one_line<S: serde::Serializer>(rule: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&rule.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Every scenario, by area.
pub fn all() -> impl Iterator<Item = &'static Scenario> {
    let areas = [
        errors::SCENARIOS,
        secrets::SCENARIOS,
        wire::SCENARIOS,
        lists::SCENARIOS,
        retries::SCENARIOS,
        timeouts::SCENARIOS,
        cancel::SCENARIOS,
        waits::SCENARIOS,
        events::SCENARIOS,
        text::SCENARIOS,
        logs::SCENARIOS,
        pty::SCENARIOS,
        files::SCENARIOS,
        ends::SCENARIOS,
    ];
    areas.into_iter().flatten()
}

/// Declares an area; a row without its function doesn't compile.
macro_rules! scenarios {
    ($area:literal; $($(#[doc = $rule:literal])+ $name:ident: $level:ident;)+) => {
        /// The scenarios of this area.
        pub const SCENARIOS: &[$crate::sdk::Scenario] = &[$($crate::sdk::Scenario {
            id: concat!($area, "/", stringify!($name)),
            level: $crate::scenario::Level::$level,
            rule: concat!($($rule),+),
            run: |cx| Box::pin($name(cx)),
        }),+];
    };
}
pub(crate) use scenarios;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_unique_and_every_rule_says_how_we_know() {
        let mut ids = HashSet::new();
        for scenario in all() {
            assert!(ids.insert(scenario.id), "{} is there twice", scenario.id);
            assert!(scenario.text().ends_with(')'), "{}: how do we know?", scenario.id);
            assert_eq!(serde_json::to_value(scenario).unwrap()["rule"], scenario.text());
        }
    }
}
