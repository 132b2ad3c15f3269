//! What a server answered, without what differs from run to run: to be kept, and to be compared.
//!
//! Scenarios poll and ask in parallel, so order and number of answers mean nothing. A transcript therefore holds, for
//! each request of a scenario (operation, query and JSON body) and each status, the *set* of values that each field had.

mod normal;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    path::Path,
    sync::LazyLock,
};

use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::normal::{is_measured, is_own, names, normal};
use crate::{
    client::Exchange,
    contract,
    report::{Outcome, Report},
    scenario::Class,
    scenarios,
    stop::{Result, Stop},
};

/// Of the file's form.
const SCHEMA: u32 = 1;
/// A set of values that grows beyond this is one of arbitrary values.
const MAX_VALUES: usize = 24;

/// Field → the values that it had.
type Fields = BTreeMap<String, BTreeSet<String>>;

/// Scenario → request → status → fields.
type Requests = BTreeMap<String, BTreeMap<u16, Fields>>;

/// A run's answers, normalised.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Transcript {
    pub schema: u32,
    pub suite_version: String,
    pub server_version: String,
    /// The version of the mock, where the server is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mock_version: Option<String>,
    pub recorded_at: String,
    pub scenarios: BTreeMap<String, Requests>,
}

/// One field that two servers answer differently.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Difference {
    /// The operation, or method and path of what is none.
    pub request: String,
    /// 0: the statuses themselves differ.
    pub status: u16,
    pub field: String,
    pub left: Vec<String>,
    pub right: Vec<String>,
    pub scenarios: Vec<String>,
}

impl Transcript {
    /// Of a report that kept its exchanges.
    pub fn of(report: &Report) -> Self {
        let mut scenarios = BTreeMap::new();
        let ran = |outcome| !matches!(outcome, Outcome::NotApplicable | Outcome::NotRun);
        for scenario in report.scenarios.iter().filter(|scenario| ran(scenario.outcome)) {
            scenarios.insert(scenario.id.clone(), requests_of(&scenario.exchanges, is_generated(&scenario.id)));
        }
        Self {
            schema: SCHEMA,
            suite_version: report.suite_version.to_owned(),
            server_version: report.server.version.clone(),
            mock_version: report.server.mock.as_ref().and_then(|mock| mock["version"].as_str()).map(str::to_owned),
            recorded_at: report.started_at.format("%Y-%m-%d").to_string(),
            scenarios,
        }
    }

    pub fn read(path: &Path) -> Result<Self> {
        let wrong = |error: String| Stop::harness(format!("{}: {error}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let transcript: Self = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        if transcript.schema == SCHEMA { Ok(transcript) } else { Err(wrong("of another version of the suite".into())) }
    }

    pub fn to_json(&self) -> String {
        static ALONE: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r#"\[\s+("(?:[^"\\]|\\.)*")\s+\]"#).expect("the pattern is a constant"));
        let text = serde_json::to_string_pretty(self).expect("a transcript is plain data") + "\n";
        // Most fields had one value: a line for each field, so that a change reads well.
        ALONE.replace_all(&text, "[$1]").into_owned()
    }

    /// What the two answer differently, in scenarios that both ran.
    pub fn differences(&self, right: &Self) -> Vec<Difference> {
        let mut found = BTreeMap::new();
        for (scenario, left) in &self.scenarios {
            let Some(right) = right.scenarios.get(scenario) else { continue };
            for (request, left) in left {
                // A body that depends on an earlier answer, or on the run, is another one on the other side. A request may be
                // missing there for the same reason; the earlier answer says why.
                let (exact, like) = (right.get(request), any_body(right, request));
                let Some(right) = exact.or(like.as_ref()) else { continue };
                compare(request, left, right, exact.is_some(), |difference| {
                    let key = (request.clone(), difference.status, difference.field.clone());
                    let entry = found.entry(key).or_insert(difference);
                    entry.scenarios.push(scenario.clone());
                });
            }
        }
        found.into_values().collect()
    }
}

/// Before the body of a request.
const WITH: &str = " with ";

/// What the same request answers to any body.
fn any_body(requests: &Requests, request: &str) -> Option<BTreeMap<u16, Fields>> {
    let mut all = BTreeMap::<u16, Fields>::new();
    for (_, statuses) in requests.iter().filter(|(other, _)| bare(other) == bare(request)) {
        for (status, fields) in statuses {
            let merged = all.entry(*status).or_default();
            for (field, values) in fields {
                merged.entry(field.clone()).or_default().extend(values.iter().cloned());
            }
        }
    }
    (!all.is_empty()).then_some(all)
}

fn compare(
    request: &str,
    left: &BTreeMap<u16, Fields>,
    right: &BTreeMap<u16, Fields>,
    same_body: bool,
    mut found: impl FnMut(Difference),
) {
    let mut report = |status, field: &str, left: Vec<String>, right: Vec<String>| {
        let (request, field) = (request.to_owned(), field.to_owned());
        found(Difference { request, status, field, left, right, scenarios: Vec::new() });
    };
    if !left.keys().any(|status| right.contains_key(status)) {
        let statuses = |side: &BTreeMap<u16, Fields>| side.keys().map(u16::to_string).collect();
        report(0, "status", statuses(left), statuses(right));
        return;
    }
    let nothing = BTreeSet::new();
    for (status, left) in left {
        let Some(right) = right.get(status) else { continue };
        let fields: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
        for field in fields {
            let (one, other) = (left.get(field).unwrap_or(&nothing), right.get(field).unwrap_or(&nothing));
            // Which fields there are may depend on what was asked with.
            if !same_body && (one.is_empty() || other.is_empty()) {
                continue;
            }
            // Polls see a field at different moments: one value in common is enough.
            if one.is_disjoint(other) && one.len().max(other.len()) <= MAX_VALUES {
                report(*status, field, one.iter().cloned().collect(), other.iter().cloned().collect());
            }
        }
    }
}

/// What a scenario asked. Bodies that a law made up are many and all alike: they are taken together.
fn requests_of(exchanges: &[Exchange], generated: bool) -> Requests {
    let mut requests = Requests::new();
    // Whatever it sent: what it made has names in it.
    let sent = exchanges.iter().flat_map(|one| [Some(&*one.url), one.request_body.as_deref()]);
    let own: HashSet<String> = sent.flatten().flat_map(names).collect();
    for exchange in exchanges {
        let Some(status) = exchange.status else { continue };
        let request = request_of(exchange);
        let request = if generated { bare(&request) } else { &request };
        fields_of(exchange, &own, requests.entry(request.to_owned()).or_default().entry(status).or_default());
    }
    requests
}

fn is_generated(id: &str) -> bool {
    scenarios::all().any(|scenario| scenario.id == id && scenario.is(Class::Generated))
}

/// Without the body.
fn bare(request: &str) -> &str {
    request.split(WITH).next().unwrap_or_default()
}

/// The operation, or what comes nearest, and what it was asked with.
fn request_of(exchange: &Exchange) -> String {
    let query = exchange.url.split_once('?').map(|(_, query)| normal(query)).unwrap_or_default();
    let query = if query.is_empty() { query } else { format!(" ?{query}") };
    let is_json =
        |body: &&String| serde_json::from_str::<Value>(body).is_ok_and(|body| body.is_object() || body.is_array());
    let body =
        exchange.request_body.as_ref().filter(is_json).map(|body| WITH.to_owned() + &normal(body)).unwrap_or_default();
    if let Some(operation) = exchange.operation.and_then(contract::operation) {
        return format!("{} ({} {}){query}{body}", operation.id, operation.method, operation.path);
    }
    let path = exchange.url.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
    let path = path.split('?').next().unwrap_or_default();
    format!("{} /{}{query}{body}", exchange.method, normal(path))
}

fn fields_of(exchange: &Exchange, own: &HashSet<String>, fields: &mut Fields) {
    let mut add = |field: &str, value: String| {
        let values = fields.entry(field.to_owned()).or_default();
        if values.len() <= MAX_VALUES {
            values.insert(value);
        }
    };
    for (name, value) in &exchange.answer_headers {
        if matches!(name.as_str(), "content-type" | "location" | "www-authenticate" | "sec-websocket-protocol") {
            add(&format!("header {name}"), normal(value));
        }
    }
    if let Some(close) = exchange.frames.iter().rev().find(|frame| !frame.sent && frame.kind == "close") {
        add("close frame", normal(&close.content));
    }
    let Some(body) = &exchange.answer_body else { return };
    match serde_json::from_str::<Value>(body) {
        Ok(json) => walk("", &json, own, &mut add),
        // Too long to be kept whole.
        Err(_) if body.ends_with(" bytes)") && body.starts_with(['{', '[']) => {}
        Err(_) => add("body", normal(body)),
    }
}

fn walk(at: &str, value: &Value, own: &HashSet<String>, add: &mut impl FnMut(&str, String)) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                let name = normal(name);
                let at = format!("{at}/{name}");
                // Measured, so another number each time.
                if is_measured(&name) && value.is_number() {
                    add(&at, "<number>".to_owned())
                } else {
                    walk(&at, value, own, add)
                }
            }
        }
        Value::Array(items) if items.iter().any(|item| is_own(item, own)) => {
            items.iter().filter(|item| is_own(item, own)).for_each(|item| walk(&format!("{at}/*"), item, own, add));
        }
        Value::Array(_) => add(at, "[]".to_owned()),
        Value::String(text) => add(at, format!("{:?}", normal(text))),
        other => add(at, other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transcript(status: u16, url: &str, body: &str) -> Transcript {
        let exchange = Exchange {
            operation: Some("getSandbox"),
            method: "GET".to_owned(),
            url: url.to_owned(),
            status: Some(status),
            answer_body: Some(body.to_owned()),
            ..Exchange::default()
        };
        Transcript { scenarios: [("a/b".to_owned(), requests_of(&[exchange], false))].into(), ..Transcript::default() }
    }

    #[test]
    fn what_differs_from_run_to_run_is_no_difference() {
        let body = |id: &str, at: &str, host: &str, run: &str| {
            format!(
                r#"{{"id":"{id}","createdAt":"{at}","url":"http://{host}/x","name":"conformance-{run}-one-3","cpuUsed":{}}}"#,
                host.len()
            )
        };
        let (one, two) = ("0b5e2f9e-8a55-4d6c-9c3a-2f1b8f6f0a11", "c0ffee00-0000-4000-8000-000000000000");
        let left = body(one, "2026-11-24T04:00:00.123Z", "127.0.0.1:4000", "0123456789");
        let right = body(two, "2026-11-25T05:00:00Z", "api.example", "abcdef0123");
        let left = transcript(200, &format!("http://127.0.0.1:4000/api/sandbox/{one}"), &left);
        let right = transcript(200, &format!("https://api.example/api/sandbox/{two}"), &right);
        assert_eq!(left.differences(&right), []);
    }

    /// A scenario that asks one thing with several bodies.
    fn asked(answers: &[(&str, &str)]) -> Transcript {
        let exchange = |(asked, answered): &(&str, &str)| Exchange {
            operation: Some("createSandbox"),
            status: Some(400),
            request_body: Some((*asked).to_owned()),
            answer_body: Some((*answered).to_owned()),
            ..Exchange::default()
        };
        let exchanges: Vec<Exchange> = answers.iter().map(exchange).collect();
        Transcript { scenarios: [("a/b".to_owned(), requests_of(&exchanges, false))].into(), ..Transcript::default() }
    }

    #[test]
    fn what_one_body_is_answered_is_no_excuse_for_another() {
        let (one, other) = (r#"{"message":"too small"}"#, r#"{"message":"too large"}"#);
        let left = asked(&[(r#"{"cpu":0}"#, one), (r#"{"cpu":99}"#, other)]);
        assert_eq!(left.differences(&left), []);
        let told = left.differences(&asked(&[(r#"{"cpu":0}"#, one), (r#"{"cpu":99}"#, one)]));
        assert!(told.len() == 1 && told[0].request.ends_with(r#"with {"cpu":99}"#), "{told:?}");
    }

    #[test]
    fn bodies_of_a_run_are_compared_with_those_of_another() {
        let left = asked(&[(r#"{"name":"x17"}"#, r#"{"message":"taken"}"#)]);
        assert_eq!(left.differences(&asked(&[(r#"{"name":"x18"}"#, r#"{"message":"taken"}"#)])), []);
        assert_eq!(left.differences(&asked(&[(r#"{"name":"x18"}"#, r#"{"message":"full"}"#)])).len(), 1);
    }

    #[test]
    fn what_others_made_meanwhile_is_no_difference() {
        let own = r#"{"name":"conformance-0123456789-one-1"}"#;
        let list = |more: &str| asked(&[(own, &format!(r#"{{"items":[{own}{more}]}}"#))]);
        let alone = list("");
        let theirs = r#",{"name":"conformance-0123456789-two-2","cpu":4,"more":true}"#;
        assert_eq!(alone.differences(&list(theirs)), []);
        assert_eq!(list(theirs).differences(&alone), []);
        let nobodys = alone.differences(&list(r#",{"name":"daytona-small","cpu":4}"#));
        assert_eq!(nobodys.len(), 1, "what no scenario made is: {nobodys:?}");
        let gone = asked(&[(own, r#"{"items":[]}"#)]);
        let others = asked(&[(own, &format!(r#"{{"items":[{}]}}"#, &theirs[1..]))]);
        assert_eq!(gone.differences(&others), []);
    }

    #[test]
    fn fields_and_statuses_are_told() {
        let url = "http://h/api/sandbox/x";
        let left = transcript(200, url, r#"{"state":"started","gone":1}"#);
        let told = left.differences(&transcript(200, url, r#"{"state":"stopped"}"#));
        let told: Vec<_> = told.iter().map(|d| (d.field.as_str(), d.left.len(), d.right.len())).collect();
        assert_eq!(told, [("/gone", 1, 0), ("/state", 1, 1)]);
        assert_eq!(left.differences(&transcript(404, url, "{}"))[0].field, "status");
    }
}
