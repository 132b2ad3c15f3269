//! What to run, how, and against which server.

use std::time::Duration;

use crate::{
    baseline::Baseline,
    scenario::{Class, Level, Scenario},
};

/// Which scenarios.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Ids with `*` and `?`; none: all.
    pub globs: Vec<String>,
    /// None: all.
    pub areas: Vec<String>,
    pub level: Option<Level>,
    /// Only those that cover one of these operations; none: all.
    pub operations: Vec<String>,
    /// Those of class `slow` too.
    pub slow: bool,
}

impl Selection {
    /// The chosen ones of a table, in its order.
    pub fn of<'a>(&self, all: impl Iterator<Item = &'a Scenario>) -> Vec<&'a Scenario> {
        all.filter(|scenario| self.takes(scenario)).collect()
    }

    fn takes(&self, scenario: &Scenario) -> bool {
        let any = |list: &[String], fits: &dyn Fn(&String) -> bool| list.is_empty() || list.iter().any(fits);
        any(&self.globs, &|glob| matches(glob, scenario.id))
            && any(&self.areas, &|area| area == scenario.area())
            && any(&self.operations, &|id| scenario.covers.contains(&id.as_str()))
            && self.level.is_none_or(|level| level == scenario.level)
            && (self.slow || !scenario.is(Class::Slow))
    }
}

/// `*` is any text, `?` any character.
pub fn matches(glob: &str, text: &str) -> bool {
    let (mut globs, mut rest) = (glob.chars(), text.chars());
    match globs.next() {
        None => text.is_empty(),
        Some('*') => {
            let after = globs.as_str();
            text.char_indices().map(|(at, _)| &text[at..]).chain([""]).any(|tail| matches(after, tail))
        }
        Some('?') => rest.next().is_some() && matches(globs.as_str(), rest.as_str()),
        Some(wanted) => rest.next() == Some(wanted) && matches(globs.as_str(), rest.as_str()),
    }
}

/// What a run may use up; `None`: no bound.
#[derive(Clone, Copy, Debug, Default)]
pub struct Budget {
    /// Sandboxes made, all in all.
    pub max_sandboxes: Option<u32>,
    /// Minutes that sandboxes have lived, added up.
    pub max_minutes: Option<f64>,
    /// Requests a second.
    pub rps: Option<f64>,
}

/// How to run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub selection: Selection,
    /// Scenarios at the same time.
    pub jobs: usize,
    /// For each scenario.
    pub timeout: Duration,
    /// For the whole run.
    pub deadline: Option<Duration>,
    /// Stop at the first failure.
    pub fail_fast: bool,
    /// How often a scenario that failed is tried again; every attempt is reported.
    pub retries: u32,
    pub budget: Budget,
    pub baseline: Option<Baseline>,
    /// Inputs that each generated scenario tries.
    pub cases: u32,
    /// Of the generated inputs.
    pub seed: u64,
    /// Reports have the exchanges of what passed, too.
    pub keep_exchanges: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            selection: Selection::default(),
            jobs: 8,
            timeout: Duration::from_secs(120),
            deadline: None,
            fail_fast: false,
            retries: 0,
            budget: Budget::default(),
            baseline: None,
            cases: 24,
            seed: rand::random(),
            keep_exchanges: false,
        }
    }
}

/// The server under test.
#[derive(Clone, Debug)]
pub struct Target {
    /// As SDKs take it: `https://app.daytona.io/api`.
    pub api_url: String,
    pub api_key: String,
    /// A key of another organisation, for what must be hidden from it.
    pub second_key: Option<String>,
    /// Goes away after the run: no ledger is kept.
    pub private: bool,
}

impl Target {
    /// A server by its URL and a key.
    pub fn new(api_url: &str, api_key: &str) -> Self {
        let api_url = api_url.trim_end_matches('/').to_owned();
        Self { api_url, api_key: api_key.to_owned(), second_key: None, private: false }
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn globs() {
        for (glob, yes, no) in [
            ("files/*", "files/upload", "file/upload"),
            ("*", "", "-"),
            ("*/upload*", "files/upload_x", "files/down"),
            ("files/a?c", "files/abc", "files/ac"),
            ("a*b*c", "aXbYc", "aXcYb"),
        ] {
            assert!(matches(glob, yes), "{glob} {yes}");
            assert!(glob == "*" || !matches(glob, no), "{glob} {no}");
        }
    }
}
