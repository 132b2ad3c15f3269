//! What the suite knows of a scenario without running it.

use std::{future::Future, pin::Pin};

use serde::Serialize;

use crate::context::{Cx, HarnessError};

/// How much a failure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Clients break without it: a failure fails the run.
    Must,
    /// Clients are better off with it: a failure is a warning.
    Should,
}

/// Something a server may be without; scenarios that need it are skipped there, and listed as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Capability {
    /// Sandboxes can be created and run commands.
    Sandboxes,
    /// Files in sandboxes can be read and written.
    Files,
}

type Run = for<'a> fn(&'a mut Cx) -> Pin<Box<dyn Future<Output = Result<(), HarnessError>> + Send + 'a>>;

/// One row of the table.
#[derive(Clone, Copy, Serialize)]
pub struct Scenario {
    /// Stable: `area/what_holds`. Never renamed, never reused.
    pub id: &'static str,
    pub level: Level,
    /// The rule, in one or two sentences. Printed with every failure.
    pub rule: &'static str,
    /// The operationIds of the official documents that the scenario exercises.
    pub operations: &'static [&'static str],
    pub needs: &'static [Capability],
    /// The first server version that the rule holds for.
    pub since: &'static str,
    #[serde(skip)]
    pub run: Run,
}

/// Declares the table of one area; a row without its function, or the reverse, does not compile.
macro_rules! scenarios {
    ($area:literal; $($(#[doc = $rule:literal])+ $name:ident: $level:ident, since $since:literal,
        needs [$($need:ident),*], covers [$($op:literal),+];)+) => {
        /// The scenarios of this area.
        pub const SCENARIOS: &[$crate::scenario::Scenario] = &[$($crate::scenario::Scenario {
            id: concat!($area, "/", stringify!($name)),
            level: $crate::scenario::Level::$level,
            rule: concat!($($rule),+),
            operations: &[$($op),+],
            needs: &[$($crate::scenario::Capability::$need),*],
            since: $since,
            run: |cx| Box::pin($name(cx)),
        }),+];
    };
}
pub(crate) use scenarios;
