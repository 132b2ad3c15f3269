//! What a right client does and leaves alone: one const table, a file per family.
//!
//! A rule is a row and a pure function over [`Evidence`]; the doc comment is the rule, in brackets how we know. A new one:
//! the row, the function, a test that shows it acting and one that shows it silent.

mod deviations;
mod polling;
mod ptys;
mod requests;
mod retries;
mod sandboxes;
mod sdk;
mod secrets;
mod sessions;
pub(crate) mod world;

use serde::Serialize;

pub(crate) use world::{Names, created};

use super::{Evidence, Seen};
use crate::scenario::Level;

/// One row of the table.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Rule {
    /// Stable: `family/what_holds`.
    pub id: &'static str,
    pub level: Level,
    /// In one or two sentences, and how we know.
    pub rule: &'static str,
    /// In terms of the SDKs.
    pub fix: &'static str,
    #[serde(skip)]
    pub find: fn(&Evidence) -> Vec<Seen>,
}

impl Rule {
    /// The rule as one line of text.
    pub fn text(&self) -> String {
        self.rule.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The part of the id before the slash.
    pub fn family(&self) -> &'static str {
        self.id.split_once('/').map_or(self.id, |(family, _)| family)
    }
}

/// Every rule, by family.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    let families = [
        sdk::RULES,
        ptys::RULES,
        sessions::RULES,
        sandboxes::RULES,
        polling::RULES,
        retries::RULES,
        requests::RULES,
        secrets::RULES,
    ];
    families.into_iter().flatten()
}

/// Rules about what a program hasn't done until its end: nothing can be said of one that was ended.
pub const AT_THE_END: [&str; 7] = [
    "ptys/gets_input",
    "ptys/heeds_close_codes",
    "ptys/is_connected",
    "ptys/is_not_left_behind",
    "sandboxes/are_deleted",
    "sessions/are_deleted",
    "sessions/contexts_are_deleted",
];

/// Declares a family; a row without its function doesn't compile.
macro_rules! rules {
    ($family:literal; $($(#[doc = $rule:literal])+ $name:ident: $level:ident, fix $fix:literal;)+) => {
        /// The rules of this family.
        pub const RULES: &[$crate::judge::Rule] = &[$($crate::judge::Rule {
            id: concat!($family, "/", stringify!($name)),
            level: $crate::scenario::Level::$level,
            rule: concat!($($rule),+),
            fix: $fix,
            find: $name,
        }),+];
    };
}
pub(crate) use rules;

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::HashSet;

    use serde_json::Value;

    use super::*;
    use crate::judge::call;

    /// A run by its entries; ids are given in order.
    pub fn run<const N: usize>(entries: [Value; N]) -> Evidence {
        let number = |(at, mut entry): (usize, Value)| {
            entry["id"] = Value::from(at + 1);
            call::tests::call(entry)
        };
        Evidence { calls: entries.into_iter().enumerate().map(number).collect(), ..Evidence::default() }
    }

    /// The rule says something about the first run and nothing about the second.
    pub fn acts(find: fn(&Evidence) -> Vec<Seen>, wrong: &Evidence, right: &Evidence) -> Vec<Seen> {
        let found = find(wrong);
        assert!(!found.is_empty(), "the rule says nothing of what is wrong");
        assert_eq!(find(right), [], "the rule isn't silent on what is right");
        found
    }

    #[test]
    fn ids_are_unique_and_every_rule_says_what_to_do() {
        let mut ids = HashSet::new();
        for rule in all() {
            assert!(ids.insert(rule.id), "{} is there twice", rule.id);
            assert!(rule.text().ends_with('.') || rule.text().ends_with(')'), "{}", rule.id);
            assert!(rule.fix.len() > 10, "{} has no fix", rule.id);
        }
        assert!(AT_THE_END.iter().all(|id| ids.contains(id)));
    }

    /// [`acts`] is the only way to show a rule, and takes both: a run that breaks it and one that doesn't.
    #[test]
    fn every_rule_is_shown_acting_and_silent() {
        let tests = [
            include_str!("sdk.rs"),
            include_str!("ptys.rs"),
            include_str!("sessions.rs"),
            include_str!("sandboxes.rs"),
            include_str!("polling.rs"),
            include_str!("retries.rs"),
            include_str!("requests.rs"),
            include_str!("secrets.rs"),
        ];
        let tests: String = tests.concat().split_whitespace().collect();
        for rule in all() {
            let (_, name) = rule.id.split_once('/').expect("a family");
            assert!(tests.contains(&format!("acts({name},")), "no test calls acts({name}, …) for {}", rule.id);
        }
    }

    #[test]
    fn nothing_is_said_of_nothing() {
        for rule in all() {
            assert_eq!((rule.find)(&Evidence::default()), [], "{}", rule.id);
        }
    }
}
