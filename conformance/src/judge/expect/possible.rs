//! What no run could meet, or every run would meet, is a mistake of who wrote it.

use serde_json::Value;

use super::{CREATE_CONNECT, Expect, Program, Sandboxes, fits};
use crate::contract::{self, Operation};

impl Program {
    /// What no program could do isn't asked of one.
    pub(super) fn possible(&self) -> Result<(), String> {
        match &self.exit {
            None => Ok(()),
            Some(Value::String(any)) if any == "any" => Ok(()),
            Some(Value::Number(code)) if code.as_i64().is_some_and(|code| (0..=255).contains(&code)) => Ok(()),
            Some(other) => Err(format!("[program]: exit = {other} is no exit code: 0 to 255, or \"any\"")),
        }
    }
}

impl Sandboxes {
    pub(super) fn possible(&self) -> Result<(), String> {
        match self.labels.iter().any(|label| label.trim().is_empty()) {
            true => Err("[sandboxes]: a label has no name".to_owned()),
            false => Ok(()),
        }
    }
}

impl Expect {
    /// Numbers and statuses that no run could have are mistakes of who wrote them.
    pub(super) fn possible(&self) -> Result<(), String> {
        for name in [Some(&self.call), self.before.as_ref()].into_iter().flatten() {
            if operations(name).next().is_none() && !fits(name, CREATE_CONNECT) {
                return Err(format!(
                    "no operation is called {name}; `daytona-conformance coverage` lists them, besides {CREATE_CONNECT}"
                ));
            }
        }
        if let Some(status) = &self.status {
            is_status(status)?;
        }
        self.possible_times()?;
        self.possible_request()?;
        match &self.before {
            Some(_) if self.never => Err("never = true leaves nothing to be before something".to_owned()),
            Some(before) if before.eq_ignore_ascii_case(&self.call) => Err("nothing comes before itself".to_owned()),
            _ => Ok(()),
        }
    }

    fn possible_times(&self) -> Result<(), String> {
        if self.never && (self.count.is_some() || self.min.is_some() || self.max.is_some()) {
            return Err("never = true leaves no count, min or max".to_owned());
        }
        let (least, most) = (self.min, self.max);
        match (self.count, least, most) {
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) => Err("count is exact, and leaves no min or max".to_owned()),
            // Without a minimum it is called at least once.
            (None, None, Some(0)) => Err("max = 0 without min = 0: never = true says that".to_owned()),
            (None, Some(least), Some(most)) if least > most => Err(format!("min = {least} is more than max = {most}")),
            _ => Ok(()),
        }
    }

    /// Bodies and parameters of such requests, as the journal has them. A field that no such request can have is an error where
    /// the expectation would hold for ever because of it; where it would never hold, a run says so.
    fn possible_request(&self) -> Result<(), String> {
        let holds_unmet = self.never || self.count == Some(0) || self.count.is_none() && self.min == Some(0);
        let unknown = |kind: &str, name: &str| {
            let known = operations(&self.call).any(|operation| operation.may_have(kind, name));
            // Nobody says what it may have.
            let undocumented = fits(&self.call, CREATE_CONNECT);
            holds_unmet && !known && !undocumented
        };
        if let Some(body) = &self.body {
            if !(body.is_object() || body.is_array()) {
                return Err(format!("body = {body} is no table: body = {{ field = value }}"));
            }
            if has_date(body) {
                return Err("body: JSON has no dates; quote it".to_owned());
            }
            if !operations(&self.call).any(|operation| operation.has_body()) {
                return Err("body: such a request has none, or none of JSON".to_owned());
            }
            if let Some(name) =
                body.as_object().into_iter().flatten().map(|(name, _)| name).find(|name| unknown("body", name))
            {
                return Err(format!("body: such a request has no field {name}, so this would always hold"));
            }
        }
        match self.query.keys().find(|name| unknown("query", name)) {
            Some(name) => Err(format!("query: such a request has no parameter {name}, so this would always hold")),
            None => Ok(()),
        }
    }
}

/// The contract's operations that a name means.
fn operations(glob: &str) -> impl Iterator<Item = &'static Operation> {
    contract::operations().filter(move |operation| fits(glob, operation.id))
}

/// TOML's own dates become such a table.
fn has_date(value: &Value) -> bool {
    match value {
        Value::Object(fields) => {
            fields.iter().any(|(name, value)| name.starts_with("$__toml_private") || has_date(value))
        }
        Value::Array(items) => items.iter().any(has_date),
        _ => false,
    }
}

/// 200, "200" or "2xx".
fn is_status(status: &Value) -> Result<(), String> {
    let class = |text: &str| text.strip_suffix("xx").is_some_and(|first| matches!(first, "1" | "2" | "3" | "4" | "5"));
    let number = |number: u64| (100..=599).contains(&number);
    let known = match status {
        Value::String(text) => class(text) || text.parse().is_ok_and(number),
        other => other.as_u64().is_some_and(number),
    };
    if known { Ok(()) } else { Err(format!("status = {status} is none: 100 to 599, or \"1xx\" to \"5xx\"")) }
}

#[cfg(test)]
mod tests {
    use crate::judge::expect::Contract;

    #[test]
    fn what_could_never_be_is_refused() {
        for text in
            ["[[expect]]\ncall = \"runCommand\"", "[allow]\n\"no/rule\" = \"x\"", "[sandbox]\ncount = 1", "expect ="]
        {
            assert!(Contract::parse(text).is_err(), "{text}");
        }
        let both = "[[expect]]\ncall = \"stopSandbox\"\nnever = true\ncount = 1";
        assert!(Contract::parse(both).unwrap_err().contains("never"));
    }

    #[test]
    fn what_no_run_could_meet_is_refused() {
        let expecting = |lines: &str| format!("[[expect]]\ncall = \"stopSandbox\"\n{lines}");
        for (text, why) in [
            (expecting("max = 0"), "never = true"),
            (expecting("count = 1\nmin = 2"), "leaves no min"),
            (expecting("min = 3\nmax = 2"), "min = 3 is more than max = 2"),
            (expecting("status = \"9xx\""), "\"9xx\""),
            (expecting("status = 42"), "42"),
            (expecting("status = \"ok\""), "\"ok\""),
            ("[program]\nexit = \"foo\"".to_owned(), "\"foo\""),
            ("[program]\nexit = 300".to_owned(), "300"),
        ] {
            let told = Contract::parse(&text).expect_err(&text);
            assert!(told.contains(why), "{text}: {told}");
        }
        for text in ["max = 2", "min = 0\nmax = 0", "count = 0", "status = \"404\"", "status = \"5xx\"", "status = 101"]
        {
            assert!(Contract::parse(&expecting(text)).is_ok(), "{text}");
        }
        for text in ["exit = 3", "exit = \"any\""] {
            assert!(Contract::parse(&format!("[program]\n{text}")).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_every_run_would_meet_or_none_is_refused() {
        let of = |call: &str, lines: &str| format!("[[expect]]\ncall = \"{call}\"\n{lines}");
        for (text, why) in [
            (of("createSandbox", "body = \"x\""), "no table"),
            (of("createSandbox", "body = { name = 2026-01-01 }"), "dates"),
            (of("getSandbox", "body = { name = \"x\" }"), "has none"),
            (of("createSandbox", "body = { lables = { a = \"b\" } }\nnever = true"), "lables"),
            (of("listSandboxes", "query = { labls = \"*\" }\nnever = true"), "labls"),
            (of("listSandboxes", "query = { labls = \"*\" }\nmin = 0"), "labls"),
            (of("stopSandbox", "never = true\nbefore = \"deleteSandbox\""), "before"),
            (of("stopSandbox", "before = \"StopSandbox\""), "itself"),
            ("[sandboxes]\nlabels = [\"\"]".to_owned(), "label"),
            ("[allow]\n\"sandboxes/are_deleted\" = \" \"".to_owned(), "reason"),
        ] {
            let told = Contract::parse(&text).expect_err(&text);
            assert!(told.contains(why), "{text}: {told}");
        }
        for text in [
            of("createSandbox", "body = { labels = { a = \"b\" } }\nnever = true"),
            of("create*", "body = { sessionId = \"a\" }\nnever = true"),
            of("listSandboxes", "query = { labels = \"*\" }\nnever = true"),
            of("createConnectPty", "query = { id = \"main\" }\nnever = true"),
            of("updateExperimentalConfig", "body = { any = 1 }\nnever = true"),
        ] {
            assert!(Contract::parse(&text).is_ok(), "{text}");
        }
    }
}
