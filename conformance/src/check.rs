//! Verdicts.

use std::{borrow::Cow, fmt::Debug};

use serde::Serialize;
use serde_json::Value;

use crate::{client::Answer, client::Log};

/// Longer values are cut in reports.
const MAX_SHOWN: usize = 2000;

/// One verdict. A failed check does not end its scenario.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// Stable within the scenario: `status`, `shape:getSandbox`.
    pub id: String,
    pub passed: bool,
    /// A failure is a warning, although the scenario is a MUST.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub should: bool,
    pub expected: String,
    pub got: String,
    /// Which of the scenario's exchanges shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exchange: Option<usize>,
}

/// A verdict in the making: the last call of the chain gives it.
#[must_use = "a check without a verdict says nothing"]
pub struct Pending<'a> {
    log: &'a Log,
    id: Cow<'static, str>,
    should: bool,
    exchange: Option<usize>,
}

impl<'a> Pending<'a> {
    pub(crate) fn new(log: &'a Log, id: Cow<'static, str>) -> Self {
        Self { log, id, should: false, exchange: None }
    }

    /// A failure of this check is a warning.
    pub fn should(self) -> Self {
        Self { should: true, ..self }
    }

    /// The exchange that a failure shows.
    pub fn on(self, answer: &Answer) -> Self {
        Self { exchange: Some(answer.exchange), ..self }
    }

    /// `got` must be `expected`.
    pub fn eq<T: PartialEq<U> + Serialize, U: Serialize>(self, got: T, expected: U) -> bool {
        let passed = got == expected;
        self.give(passed, json(&expected), json(&got))
    }

    /// `got` must not be `other`.
    pub fn ne<T: PartialEq<U> + Serialize, U: Serialize>(self, got: T, other: U) -> bool {
        let passed = got != other;
        self.give(passed, format!("anything but {}", json(&other)), json(&got))
    }

    /// `holds` must be true; `expected` says what that means, `got` what was there instead.
    pub fn that(self, holds: bool, expected: &str, got: impl Debug) -> bool {
        self.give(holds, expected.to_owned(), shown(&got))
    }

    /// The answer must have this status.
    pub fn status(self, answer: &Answer, expected: u16) -> bool {
        let got = answer.summary();
        self.on(answer).give(answer.status == expected, format!("status {expected}"), got)
    }

    /// The answer must have one of these statuses.
    pub fn status_in(self, answer: &Answer, expected: &[u16]) -> bool {
        let got = answer.summary();
        self.on(answer).give(expected.contains(&answer.status), format!("status {expected:?}"), got)
    }

    /// The answer must have this status and this `message`.
    pub fn error(self, answer: &Answer, status: u16, message: &str) -> bool {
        let passed = answer.status == status && answer["message"].as_str() == Some(message);
        let got = answer.summary();
        self.on(answer).give(passed, format!("status {status}, message {message:?}"), got)
    }

    /// What the JSON pointer leads to must be `expected`; what isn't there counts as null.
    pub fn json(self, answer: &Answer, pointer: &str, expected: impl Into<Value>) -> bool {
        let (expected, got) = (expected.into(), answer.at(pointer));
        let shown_got = if got == &expected { got.to_string() } else { format!("{got} ({})", answer.summary()) };
        self.on(answer).give(got == &expected, format!("{pointer} is {expected}"), shown_got)
    }

    /// The text must contain `part`.
    pub fn contains(self, text: &str, part: &str) -> bool {
        self.give(text.contains(part), format!("something with {part:?}"), shown(&text))
    }

    pub(crate) fn give(self, passed: bool, expected: String, got: String) -> bool {
        self.log.verdict(Check {
            id: self.id.into_owned(),
            passed,
            should: self.should,
            expected: cut(expected),
            got: cut(got),
            exchange: self.exchange,
        });
        passed
    }
}

fn shown(value: &impl Debug) -> String {
    cut(format!("{value:?}"))
}

/// Values as answers have them, and as a reader may paste them.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn cut(text: String) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((at, _)) => format!("{}… ({} bytes)", &text[..at], text.len()),
        None => text,
    }
}
