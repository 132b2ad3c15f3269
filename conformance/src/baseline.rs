//! Failures that are known and accepted, check by check; an entry that doesn't fail any more is an error.

use std::{collections::BTreeMap, path::Path};

use crate::{
    report::{Outcome, Report, ScenarioReport},
    scenarios,
    stop::{Result, Stop},
};

/// Stands for a scenario that came to no verdict.
const UNTESTABLE: &str = "(untestable)";

/// A line is `area/scenario:check`, and what follows ` #` is why.
#[derive(Clone, Debug, Default)]
pub struct Baseline {
    accepted: BTreeMap<String, String>,
}

impl Baseline {
    /// Reads a file. Lines that name no scenario are an error.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).map_err(|error| Stop::harness(format!("{}: {error}", path.display())))?;
        Self::parse(&text).map_err(|why| Stop::harness(format!("{}: {why}", path.display())))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut accepted = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            let (entry, why) = line.split_once('#').unwrap_or((line, ""));
            let entry = entry.trim();
            if entry.is_empty() {
                continue;
            }
            let known = entry.split_once(':').is_some_and(|(id, _)| scenarios::all().any(|scenario| scenario.id == id));
            if !known {
                return Err(format!("line {}: {entry} is no scenario:check", number + 1));
            }
            accepted.insert(entry.to_owned(), why.trim().to_owned());
        }
        Ok(Self { accepted })
    }

    /// Takes the accepted failures out of the verdict, and notes the stale ones.
    pub(crate) fn apply(&self, report: &mut ScenarioReport) {
        let prefix = format!("{}:", report.id);
        let mine: Vec<&str> = self.accepted.keys().filter_map(|entry| entry.strip_prefix(&prefix)).collect();
        if mine.is_empty() || matches!(report.outcome, Outcome::NotApplicable | Outcome::NotRun | Outcome::Error) {
            return;
        }
        let untestable = report.outcome == Outcome::Untestable;
        let failed: Vec<String> = report.failed().map(|check| check.id.clone()).collect();
        for check in mine {
            if failed.iter().any(|failed| failed == check) || (check == UNTESTABLE && untestable) {
                report.accepted.push(check.to_owned());
            } else if !untestable {
                report.stale.push(format!("{prefix}{check}"));
            }
        }
        let all = failed.iter().all(|check| report.accepted.contains(check));
        let ended = report.reason.is_none() || report.accepted.iter().any(|check| check == UNTESTABLE);
        if all && ended && report.outcome.is_failure() {
            report.outcome = Outcome::Pass;
        }
    }

    /// The file that accepts every failure of a report. Reasons that were given stay.
    pub fn text_of(&self, report: &Report) -> String {
        let mut lines = vec!["# Accepted failures: area/scenario:check # why".to_owned()];
        for scenario in &report.scenarios {
            let failed = scenario.failed().map(|check| check.id.as_str());
            let untestable = (scenario.outcome == Outcome::Untestable
                || scenario.accepted.iter().any(|c| c == UNTESTABLE))
            .then_some(UNTESTABLE);
            let shown =
                matches!(scenario.outcome, Outcome::Fail | Outcome::Untestable) || !scenario.accepted.is_empty();
            for check in failed.chain(untestable).filter(|_| shown) {
                let entry = format!("{}:{check}", scenario.id);
                let why = self.accepted.get(&entry).filter(|why| !why.is_empty());
                lines.push(why.map_or(entry.clone(), |why| format!("{entry} # {why}")));
            }
        }
        lines.extend(self.unjudged(report));
        lines.join("\n") + "\n"
    }

    /// Entries that a report says nothing of: its run left their scenarios out.
    fn unjudged<'a>(&'a self, report: &'a Report) -> impl Iterator<Item = String> + 'a {
        let is_judged = |entry: &str| {
            let id = entry.split(':').next().unwrap_or_default();
            let silent = [Outcome::NotApplicable, Outcome::NotRun, Outcome::Error];
            report.scenarios.iter().any(|scenario| scenario.id == id && !silent.contains(&scenario.outcome))
        };
        let kept = self.accepted.iter().filter(move |(entry, _)| !is_judged(entry));
        kept.map(|(entry, why)| if why.is_empty() { entry.clone() } else { format!("{entry} # {why}") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Check;

    fn report(outcome: Outcome, failed: &[&str]) -> ScenarioReport {
        let scenario = scenarios::all().next().unwrap();
        let mut report = ScenarioReport::of(scenario, outcome, None);
        report.checks = failed
            .iter()
            .map(|id| {
                let (expected, got) = (String::new(), String::new());
                Check { id: (*id).to_owned(), passed: false, should: false, expected, got, exchange: None }
            })
            .collect();
        report
    }

    #[test]
    fn accepted_failures_pass_and_stale_ones_are_noted() {
        let id = scenarios::all().next().unwrap().id;
        let baseline = Baseline::parse(&format!("# head\n{id}:a # known\n{id}:b\n")).unwrap();
        let mut both = report(Outcome::Fail, &["a", "b"]);
        baseline.apply(&mut both);
        assert_eq!((both.outcome, both.stale.len()), (Outcome::Pass, 0));
        let mut another = report(Outcome::Fail, &["a", "c"]);
        baseline.apply(&mut another);
        assert_eq!((another.outcome, another.stale), (Outcome::Fail, vec![format!("{id}:b")]));
        assert!(Baseline::parse("no/such:check").is_err());
    }
}
