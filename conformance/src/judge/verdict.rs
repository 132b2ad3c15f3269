//! What comes of a run.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{
    Call, Evidence, Seen,
    expect::Contract,
    rules::{self, Rule},
};
use crate::count::count;
use crate::scenario::Level;

/// Of the JSON report; raised when a field is removed or changes its meaning.
pub const SCHEMA: u32 = 1;
/// Calls that a report shows of one place.
const SHOWN: usize = 8;

/// Everything that a report says.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    pub schema: u32,
    pub suite_version: &'static str,
    pub started_at: DateTime<Utc>,
    /// Milliseconds.
    pub took: u64,
    pub command: String,
    /// How the program ended, in words, and whether that is fine.
    pub program: String,
    pub program_succeeded: bool,
    /// The exit code that the contract names, where the program ended otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_exit: Option<String>,
    pub calls: usize,
    /// Calls that the journal had no room for: the verdict may be incomplete.
    pub lost: u64,
    /// It was interrupted or had no more time: rules about what it leaves behind or never does weren't judged.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unfinished: bool,
    /// Rules that were judged, in the order of the table; the contract's come last.
    pub rules: Vec<Ruled>,
}

/// What one rule says.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ruled {
    pub id: String,
    pub level: Level,
    pub rule: String,
    pub fix: String,
    /// The contract's reason why what was found is fine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed: Option<String>,
    /// Empty: the rule holds.
    pub findings: Vec<Finding>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    pub what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// The calls that show it, a line each: `#12 POST /api/sandbox → 200`.
    pub calls: Vec<String>,
}

impl Finding {
    fn of(seen: Seen, evidence: &Evidence) -> Self {
        let line = |id: &u64| evidence.calls.iter().find(|call| call.id == *id).map(line);
        let mut calls: Vec<String> = seen.calls.iter().take(SHOWN).filter_map(line).collect();
        if seen.calls.len() > SHOWN {
            calls.push(format!("and {} more", seen.calls.len() - SHOWN));
        }
        // Output may have the key in it, and ends in reports.
        let key = &evidence.api_key;
        let clean = |text: String| if key.is_empty() { text } else { text.replace(key.as_str(), "<redacted>") };
        Self { what: clean(seen.what), fix: seen.fix, calls }
    }
}

fn line(call: &Call) -> String {
    let op = if call.op().is_empty() { String::new() } else { format!(" ({})", call.op()) };
    format!("#{} {}{op}", call.id, call.line())
}

impl Ruled {
    pub fn holds(&self) -> bool {
        self.findings.is_empty() || self.allowed.is_some()
    }

    /// The word for it.
    pub fn word(&self) -> &'static str {
        match self.level {
            _ if self.findings.is_empty() => "pass",
            _ if self.allowed.is_some() => "allowed",
            Level::Must => "FAIL",
            Level::Should => "WARN",
        }
    }
}

/// What a run of a program is judged by.
pub struct Judgement<'a> {
    pub contract: &'a Contract,
    /// Only rules of this level.
    pub level: Option<Level>,
}

impl Judgement<'_> {
    /// Every rule's word on this evidence.
    pub fn rules(&self, evidence: &Evidence) -> Vec<Ruled> {
        let wanted = |level: Level| self.level.is_none_or(|only| only == level);
        let judged =
            |rule: &&Rule| wanted(rule.level) && !(evidence.unfinished && rules::AT_THE_END.contains(&rule.id));
        let builtin = rules::all().filter(judged).map(|rule| self.built_in(rule, evidence));
        let expected = self.contract.judge(evidence).into_iter().filter(|(expected, _)| wanted(expected.level));
        let expected = expected.map(|(expected, seen)| Ruled {
            id: expected.id,
            level: expected.level,
            rule: expected.rule,
            fix: expected.fix,
            allowed: None,
            findings: seen.into_iter().map(|seen| Finding::of(seen, evidence)).collect(),
        });
        builtin.chain(expected).collect()
    }

    fn built_in(&self, rule: &Rule, evidence: &Evidence) -> Ruled {
        let findings: Vec<Finding> =
            (rule.find)(evidence).into_iter().map(|seen| Finding::of(seen, evidence)).collect();
        let allowed = self.contract.allow.get(rule.id).filter(|_| !findings.is_empty()).cloned();
        let (rule_text, fix) = (rule.text(), rule.fix.to_owned());
        Ruled { id: rule.id.to_owned(), level: rule.level, rule: rule_text, fix, allowed, findings }
    }
}

impl Verdict {
    /// Rules that don't hold, MUSTs first.
    pub fn broken(&self) -> Vec<&Ruled> {
        let mut broken: Vec<&Ruled> = self.rules.iter().filter(|rule| !rule.holds()).collect();
        broken.sort_by_key(|rule| rule.level == Level::Should);
        broken
    }

    /// MUSTs and SHOULDs that don't hold.
    pub fn counts(&self) -> (usize, usize) {
        let broken = self.broken();
        let musts = broken.iter().filter(|rule| rule.level == Level::Must).count();
        (musts, broken.len() - musts)
    }

    /// In a few words.
    pub fn summary(&self) -> String {
        let (musts, shoulds) = self.counts();
        let warnings = match shoulds {
            0 => String::new(),
            1 => ", 1 warning".to_owned(),
            many => format!(", {many} warnings"),
        };
        match musts {
            0 if !self.judged_something() => "nothing was judged".to_owned(),
            0 => format!("every MUST holds{warnings}"),
            1 => format!("1 of {} doesn't hold{warnings}", count(self.rules.len(), "rule")),
            musts => format!("{musts} of {} don't hold{warnings}", count(self.rules.len(), "rule")),
        }
    }

    /// The program asked the server for something, or the rules found out that it tried to.
    fn judged_something(&self) -> bool {
        self.calls > 0 || !self.broken().is_empty()
    }

    /// 0: every MUST holds and the program ended well. 1: a MUST doesn't hold. 2: nothing was judged. 3: the rules hold, but
    /// the program itself failed.
    pub fn exit_code(&self) -> u8 {
        match self.counts() {
            (1.., _) => 1,
            _ if !self.program_succeeded => 3,
            _ if !self.judged_something() => 2,
            _ => 0,
        }
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a verdict is plain data") + "\n"
    }
}
