//! The contract file: what this program is expected to do, beyond what every client is. TOML:
//!
//! ```toml
//! [program]
//! exit = 0                         # the default; "any": it may fail
//!
//! [sandboxes]
//! count = 1                        # exactly so many are created
//! deleted = true                   # each is deleted, whatever was said at the creation
//! labels = ["project_id"]          # each is created with these labels
//!
//! [[expect]]
//! call = "executeCommand"          # an operationId, in any case; `*` is any text
//! body = { command = "npm test*" } # the request has these fields; `*` in a string is any text, others may be there
//! query = { follow = "true" }
//! status = "2xx"                   # or 404, …; else any
//! count = 1                        # exactly; else `min` (default 1) and `max`
//! before = "deleteSandbox"         # the first of it comes before the first of that
//! level = "should"                 # else must
//! why = "the report is built in the sandbox"
//!
//! [[expect]]
//! call = "stopSandbox"
//! never = true
//!
//! [allow]
//! "sandboxes/are_deleted" = "the next job goes on with it"  # a rule, and why it may be broken here
//! ```

mod possible;

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;
use serde_json::Value;

use super::{
    Call, Evidence, Seen,
    call::{CONNECT, CREATE_CONNECT},
    program::End,
    rules,
    rules::created,
};
use crate::{
    count::count,
    run::matches,
    scenario::Level,
    stop::{Result, Stop},
};

/// A file's content.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Contract {
    program: Program,
    sandboxes: Sandboxes,
    expect: Vec<Expect>,
    /// A rule's id and why it may be broken.
    pub allow: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Program {
    exit: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Sandboxes {
    count: Option<usize>,
    deleted: bool,
    labels: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    call: String,
    #[serde(default)]
    body: Option<Value>,
    #[serde(default)]
    query: BTreeMap<String, String>,
    #[serde(default)]
    status: Option<Value>,
    count: Option<usize>,
    min: Option<usize>,
    max: Option<usize>,
    #[serde(default)]
    never: bool,
    before: Option<String>,
    level: Option<Level>,
    why: Option<String>,
}

/// An expectation as a report names it.
pub struct Expected {
    pub id: String,
    pub level: Level,
    pub rule: String,
    pub fix: String,
}

impl Contract {
    /// Reads a file. Names that don't exist are errors: they would hold for ever.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).map_err(|error| Stop::harness(format!("{}: {error}", path.display())))?;
        Self::parse(&text).map_err(|error| Stop::harness(format!("{}: {error}", path.display())))
    }

    pub fn parse(text: &str) -> Result<Self, String> {
        let contract: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        for expect in &contract.expect {
            expect.possible().map_err(|why| format!("{}: {why}", expect.call))?;
        }
        contract.program.possible()?;
        contract.sandboxes.possible()?;
        if let Some((id, _)) = contract.allow.iter().find(|(_, why)| why.trim().is_empty()) {
            return Err(format!("[allow]: {id} is allowed without a reason"));
        }
        match contract.allow.keys().find(|id| !rules::all().any(|rule| rule.id == **id)) {
            Some(id) => {
                Err(format!("[allow]: no rule has the id {id}; `daytona-conformance client --list` lists them"))
            }
            None => Ok(contract),
        }
    }

    /// Whether the program may end like this.
    pub fn accepts(&self, end: End) -> bool {
        match &self.program.exit {
            None => end.succeeded(),
            Some(Value::String(any)) if any == "any" => matches!(end, End::Exited(_)),
            Some(code) => matches!(end, End::Exited(status) if status.code().map(i64::from) == code.as_i64()),
        }
    }

    /// The exit code that it names, where the program had to have one of its own.
    pub fn expected_exit(&self) -> Option<String> {
        self.program.exit.as_ref().filter(|code| code.is_number()).map(Value::to_string)
    }

    /// Each expectation with where it isn't met.
    pub fn judge(&self, evidence: &Evidence) -> Vec<(Expected, Vec<Seen>)> {
        let mut all = self.sandboxes.judge(evidence);
        all.extend(self.expect.iter().enumerate().map(|(at, expect)| expect.judge(at + 1, evidence)));
        all
    }
}

fn expected(id: impl Into<String>, rule: impl Into<String>, fix: impl Into<String>) -> Expected {
    Expected { id: id.into(), level: Level::Must, rule: rule.into(), fix: fix.into() }
}

impl Sandboxes {
    fn judge(&self, evidence: &Evidence) -> Vec<(Expected, Vec<Seen>)> {
        let mut all = Vec::new();
        let made: Vec<(&Call, &str)> = created(evidence);
        if let Some(wanted) = self.count {
            let rule = expected(
                "contract/sandboxes.count",
                format!("Exactly {} {} created.", count(wanted, "sandbox"), if wanted == 1 { "is" } else { "are" }),
                "create what the contract says",
            );
            let were = if made.len() == 1 { "was" } else { "were" };
            let seen = Seen::new(format!("{} {were} created", made.len()), made.iter().map(|(call, _)| call.id));
            let fine = made.len() == wanted || evidence.unfinished && made.len() < wanted;
            all.push((rule, if fine { vec![] } else { vec![seen] }));
        }
        if self.deleted && !evidence.unfinished {
            let deleted = |id: &str| {
                let of_it = |call: &&Call| call.is(&["deleteSandbox"]) && call.succeeded();
                let names = rules::Names::of(evidence);
                evidence.calls.iter().filter(of_it).any(|call| names.sandbox(call) == Some(id))
            };
            let left = made.iter().filter(|(_, id)| !deleted(id));
            let seen = left.map(|(call, id)| Seen::new(format!("sandbox {id} was not deleted"), [call.id])).collect();
            all.push((
                expected("contract/sandboxes.deleted", "Each sandbox is deleted.", "await sandbox.delete()"),
                seen,
            ));
        }
        for label in &self.labels {
            let without = made.iter().filter(|(call, _)| call.request.body["labels"][label.as_str()].is_null());
            let seen =
                without.map(|(call, id)| Seen::new(format!("sandbox {id} has no label {label}"), [call.id])).collect();
            let fix = format!("create({{ labels: {{ {label}: '…' }} }})");
            let rule = format!("Each sandbox is created with the label {label}.");
            all.push((expected(format!("contract/sandboxes.labels.{label}"), rule, fix), seen));
        }
        all
    }
}

impl Expect {
    fn judge(&self, number: usize, evidence: &Evidence) -> (Expected, Vec<Seen>) {
        let named: Vec<&Call> = evidence.calls.iter().filter(|call| means(&self.call, call)).collect();
        let fitting: Vec<&Call> = named.iter().copied().filter(|call| self.fits(call)).collect();
        let (least, most) = match (self.never, self.count) {
            (true, _) => (0, 0),
            (false, Some(count)) => (count, count),
            (false, None) => (self.min.unwrap_or(1), self.max.unwrap_or(usize::MAX)),
        };
        let mut seen = Vec::new();
        let may_come = evidence.unfinished && fitting.len() < least;
        if !(least..=most).contains(&fitting.len()) && !may_come {
            let near = named.len() - fitting.len();
            let others = match near {
                0 => String::new(),
                1 => format!("; 1 call of {} doesn't fit", self.call),
                near => format!("; {near} calls of {} don't fit", self.call),
            };
            let shown = if fitting.is_empty() { &named } else { &fitting };
            let were = if fitting.len() == 1 { "was" } else { "were" };
            seen.push(Seen::new(format!("there {were} {}{others}", fitting.len()), shown.iter().map(|call| call.id)));
        }
        if let (Some(before), Some(first)) = (&self.before, fitting.first())
            && let Some(that) = evidence.calls.iter().find(|call| means(before, call))
            && that.id < first.id
        {
            seen.push(Seen::new(format!("{before} came first"), [that.id, first.id]));
        }
        let fix = self.why.clone().unwrap_or_else(|| "do what the contract says".to_owned());
        let mut rule = expected(format!("contract/{number}.{}", self.call), self.text(least, most), fix);
        rule.level = self.level.unwrap_or(Level::Must);
        (rule, seen)
    }

    fn fits(&self, call: &Call) -> bool {
        let status = match (&self.status, call.status) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(Value::String(class)), Some(status)) => {
                let text = status.to_string();
                *class == text || class.strip_suffix("xx").is_some_and(|first| text.starts_with(first))
            }
            (Some(number), Some(status)) => number.as_u64() == Some(status.into()),
        };
        let query =
            self.query.iter().all(|(name, wanted)| call.parameter(name).is_some_and(|given| matches(wanted, &given)));
        status && query && self.body.as_ref().is_none_or(|wanted| contains(wanted, &call.request.body))
    }

    fn text(&self, least: usize, most: usize) -> String {
        let times = |number: usize| count(number, "time");
        let mut text = match (least, most) {
            (0, 0) => format!("{} is never called", self.call),
            (1, usize::MAX) => format!("{} is called", self.call),
            (least, usize::MAX) => format!("{} is called at least {}", self.call, times(least)),
            (least, most) if least == most => format!("{} is called exactly {}", self.call, times(least)),
            (0, most) => format!("{} is called at most {}", self.call, times(most)),
            (least, most) => format!("{} is called {least} to {}", self.call, times(most)),
        };
        if let Some(body) = &self.body {
            text.push_str(&format!(" with {body}"));
        }
        for (name, value) in &self.query {
            text.push_str(&format!(" with {name}={value}"));
        }
        if let Some(status) = &self.status {
            text.push_str(&format!(", answered {}", status.to_string().trim_matches('"')));
        }
        if let Some(before) = &self.before {
            text.push_str(&format!(", before {before}"));
        }
        text + "."
    }
}

/// SDKs call `executeCommand` what the document calls `ExecuteCommand`.
fn fits(glob: &str, operation: &str) -> bool {
    !operation.is_empty() && matches(&glob.to_ascii_lowercase(), &operation.to_ascii_lowercase())
}

/// Whether a call is meant. Creating a terminal and connecting to it at once has a name of its own, and is a connection, too: faults
/// and the documents know it as that.
fn means(glob: &str, call: &Call) -> bool {
    fits(glob, call.op()) || call.is(&[CREATE_CONNECT]) && fits(glob, CONNECT)
}

/// Every field that is wanted is given; strings are globs.
fn contains(wanted: &Value, given: &Value) -> bool {
    match (wanted, given) {
        (Value::Object(wanted), Value::Object(given)) => {
            wanted.iter().all(|(name, wanted)| given.get(name).is_some_and(|given| contains(wanted, given)))
        }
        (Value::Array(wanted), Value::Array(given)) => {
            wanted.iter().all(|wanted| given.iter().any(|given| contains(wanted, given)))
        }
        (Value::String(wanted), Value::String(given)) => matches(wanted, given),
        (Value::Number(wanted), Value::Number(given)) => wanted.as_f64() == given.as_f64(),
        _ => wanted == given,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::judge::rules::tests::run;

    fn broken(contract: &str, evidence: &Evidence) -> Vec<String> {
        let contract = Contract::parse(contract).unwrap();
        let judged = contract.judge(evidence).into_iter();
        judged
            .flat_map(|(expected, seen)| seen.into_iter().map(move |seen| format!("{}: {}", expected.id, seen.what)))
            .collect()
    }

    fn one_run() -> Evidence {
        run([
            json!({"plane": "api", "operationId": "createSandbox", "status": 200,
                "request": {"body": {"labels": {"project_id": "7"}, "cpu": 2}}, "response": {"body": {"id": "s"}}}),
            json!({"plane": "toolbox", "operationId": "ExecuteCommand", "sandbox": "s", "status": 200,
                "request": {"body": {"command": "npm test -- --ci"}}, "query": "follow=true"}),
            json!({"plane": "api", "operationId": "deleteSandbox", "sandbox": "s", "status": 200}),
        ])
    }

    #[test]
    fn what_is_met_is_silent() {
        let contract = r#"
            [sandboxes]
            count = 1
            deleted = true
            labels = ["project_id"]
            [[expect]]
            call = "executeCommand"
            body = { command = "npm test*" }
            query = { follow = "true" }
            status = "2xx"
            count = 1
            before = "deleteSandbox"
            [[expect]]
            call = "create*"
            body = { cpu = 2, labels = { project_id = "*" } }
            status = 200
            [[expect]]
            call = "stopSandbox"
            never = true
        "#;
        assert_eq!(broken(contract, &one_run()), [""; 0]);
    }

    #[test]
    fn what_is_not_met_is_named() {
        let contract = r#"
            [sandboxes]
            count = 2
            labels = ["team"]
            [[expect]]
            call = "executeCommand"
            body = { command = "pytest*" }
            [[expect]]
            call = "executeCommand"
            never = true
            [[expect]]
            call = "deleteSandbox"
            before = "executeCommand"
        "#;
        assert_eq!(
            broken(contract, &one_run()),
            [
                "contract/sandboxes.count: 1 was created",
                "contract/sandboxes.labels.team: sandbox s has no label team",
                "contract/1.executeCommand: there were 0; 1 call of executeCommand doesn't fit",
                "contract/2.executeCommand: there was 1",
                "contract/3.deleteSandbox: executeCommand came first",
            ]
        );
        let left = run([
            json!({"plane": "api", "operationId": "createSandbox", "status": 200, "response": {"body": {"id": "s"}}}),
        ]);
        assert_eq!(broken("[sandboxes]\ndeleted = true", &left).len(), 1);
    }

    #[test]
    fn what_could_still_have_come_is_not_missed() {
        let contract = "[sandboxes]\ncount = 2\ndeleted = true\n[[expect]]\ncall = \"stopSandbox\"\n[[expect]]\ncall = \"deleteSandbox\"\nnever = true";
        assert_eq!(broken(contract, &one_run()).len(), 3);
        let unfinished = Evidence { unfinished: true, ..one_run() };
        assert_eq!(broken(contract, &unfinished), ["contract/2.deleteSandbox: there was 1"]);
    }

    #[test]
    fn a_terminal_made_at_once_is_a_connection() {
        let made = json!({"plane": "toolbox", "operationId": "GetPtySession", "sandbox": "s", "status": 101,
            "path": "/toolbox/s/process/pty/create-connect"});
        let evidence = run([made]);
        for name in ["connectPtySession", "createConnectPty"] {
            assert_eq!(broken(&format!("[[expect]]\ncall = \"{name}\""), &evidence), [""; 0]);
        }
    }
}
