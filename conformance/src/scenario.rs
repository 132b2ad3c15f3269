//! What the suite knows of a scenario without running it.

use std::{future::Future, pin::Pin};

use serde::{Deserialize, Serialize};

use crate::{context::Cx, stop::Result};

/// How much a failure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Clients break without it: a failure fails the run.
    Must,
    /// Clients are better off with it: a failure is a warning.
    Should,
}

/// Something that a server may be without; scenarios that need it are not applicable there, and listed as such.
/// `crate::run::probe` says how each is found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capability {
    /// API keys can be made and deleted with an API key.
    ApiKeys,
    /// A second account: a key whose organisation is another one (`/__control/keys`, or `--second-key`).
    SecondAccount,
    /// Time can be frozen and turned (`/__control/clock`).
    Clock,
    /// What operators do to an organisation can be done (`/__control/organization`), and organisations are made for tests.
    Operators,
    /// `/api/socket.io/` is there.
    Events,
    /// URLs of previews can be opened from here.
    Previews,
    /// The toolbox paths of SDKs before 0.113 are there.
    OldToolbox,
}

/// What is special about running it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Takes minutes of real time: only with `--slow`.
    Slow,
    /// Changes what others would notice (the server's clock): runs when nothing else does.
    Alone,
    /// Generated inputs; `--cases` says how many.
    Generated,
    /// Answers depend on which request comes first, or on what else is in the account (the verdict doesn't): `diff`
    /// leaves it out.
    Racing,
}

type Run = fn(Cx) -> Pin<Box<dyn Future<Output = Result> + Send>>;

/// One row of the table.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Scenario {
    /// Stable: `area/what_holds`. Never renamed, never reused.
    pub id: &'static str,
    pub level: Level,
    /// The rule, in one or two sentences, and how we know. Printed with every failure.
    #[serde(serialize_with = "one_line")]
    pub rule: &'static str,
    /// The operationIds of the official documents that it judges.
    pub covers: &'static [&'static str],
    pub needs: &'static [Capability],
    /// The first server version that the rule holds for.
    pub since: &'static str,
    /// The first server version that it doesn't hold for any more.
    pub until: Option<&'static str>,
    /// The client versions that live by it; `None`: all.
    pub clients: Option<&'static str>,
    pub classes: &'static [Class],
    #[serde(skip)]
    pub run: Run,
}

impl Scenario {
    /// The part of the id before the slash.
    pub fn area(&self) -> &'static str {
        self.id.split_once('/').map_or(self.id, |(area, _)| area)
    }

    /// The rule as one line of text.
    pub fn rule_text(&self) -> String {
        line(self.rule)
    }

    pub fn is(&self, class: Class) -> bool {
        self.classes.contains(&class)
    }
}

fn line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn one_line<S: serde::Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&line(text))
}

/// Declares the table of one area; a row without its function, or a function without its row, does not compile.
///
/// ```text
/// scenarios! { "area";
///     /// The rule. How we know.
///     name_of_the_function: Must, covers [operationId], needs [Clock], since "0.200", until "0.300",
///         clients "<0.113", classes [Slow];
/// }
/// ```
/// Everything after `covers` may be left out, and stands in this order.
macro_rules! scenarios {
    ($area:literal; $($(#[doc = $rule:literal])+ $name:ident: $level:ident, covers [$($op:literal),* $(,)?]
        $(, needs [$($need:ident),*])? $(, since $since:literal)? $(, until $until:literal)?
        $(, clients $clients:literal)? $(, classes [$($class:ident),*])?;)+) => {
        /// The scenarios of this area.
        pub const SCENARIOS: &[$crate::scenario::Scenario] = &[$($crate::scenario::Scenario {
            id: concat!($area, "/", stringify!($name)),
            level: $crate::scenario::Level::$level,
            rule: concat!($($rule),+),
            covers: &[$($op),*],
            needs: &[$($($crate::scenario::Capability::$need),*)?],
            since: $crate::scenario::or_default([$($since)?], "0.190"),
            until: $crate::scenario::optional([$($until)?]),
            clients: $crate::scenario::optional([$($clients)?]),
            classes: &[$($($crate::scenario::Class::$class),*)?],
            run: |cx| Box::pin($name(cx)),
        }),+];
    };
}
pub(crate) use scenarios;

#[doc(hidden)]
pub const fn or_default<const N: usize>(given: [&'static str; N], default: &'static str) -> &'static str {
    match optional(given) {
        Some(given) => given,
        None => default,
    }
}

#[doc(hidden)]
pub const fn optional<const N: usize>(given: [&'static str; N]) -> Option<&'static str> {
    if N == 0 { None } else { Some(given[0]) }
}
