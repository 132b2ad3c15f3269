//! What a server answered, without what differs from run to run: to be kept, and to be compared.
//!
//! Scenarios poll and ask in parallel, so order and number of answers mean nothing. A transcript therefore holds, for
//! each request of a scenario (operation, query and JSON body) and each status, the *set* of values that each field had.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::LazyLock,
};

use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    client::Exchange,
    contract,
    report::{Outcome, Report},
    stop::{Result, Stop},
};

/// Of the file's form.
const SCHEMA: u32 = 1;
/// Longer texts are cut before they are compared.
const MAX_TEXT: usize = 400;
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
            let mut requests = Requests::new();
            for exchange in &scenario.exchanges {
                let Some(status) = exchange.status else { continue };
                let fields = requests.entry(request_of(exchange)).or_default().entry(status).or_default();
                fields_of(exchange, fields);
            }
            scenarios.insert(scenario.id.clone(), requests);
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
                let like = || any_body(right, request);
                let Some(right) = right.get(request).cloned().or_else(like) else { continue };
                compare(request, left, &right, |difference| {
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
    let bare = |request: &str| request.split(WITH).next().unwrap_or_default().to_owned();
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
            // Polls see a field at different moments: one value in common is enough.
            if one.is_disjoint(other) && one.len().max(other.len()) <= MAX_VALUES {
                report(*status, field, one.iter().cloned().collect(), other.iter().cloned().collect());
            }
        }
    }
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

fn fields_of(exchange: &Exchange, fields: &mut Fields) {
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
        Ok(json) => walk("", &json, &mut add),
        // Too long to be kept whole.
        Err(_) if body.ends_with(" bytes)") && body.starts_with(['{', '[']) => {}
        Err(_) => add("body", normal(body)),
    }
}

fn walk(at: &str, value: &Value, add: &mut impl FnMut(&str, String)) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                let name = normal(name);
                let at = format!("{at}/{name}");
                // Measured, so another number each time.
                if is_measured(&name) && value.is_number() {
                    add(&at, "<number>".to_owned())
                } else {
                    walk(&at, value, add)
                }
            }
        }
        Value::Array(items) if !items.is_empty() => items.iter().for_each(|item| walk(&format!("{at}/*"), item, add)),
        Value::String(text) => add(at, format!("{:?}", normal(text))),
        other => add(at, other.to_string()),
    }
}

fn is_measured(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["used", "free", "cache", "cpu", "mem", "disk", "timestamp", "pid", "total", "took", "duration", "size"]
        .iter()
        .any(|part| name.contains(part))
}

/// Ids, times, hosts, tokens and names of a run, each replaced by what it is.
fn normal(text: &str) -> String {
    static RULES: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
        [
            (r"^[0-9a-f]{2}( [0-9a-f]{2}){7,}.*", "<bytes>"),
            (r"\bdtn_secret_[0-9a-f]+", "<placeholder>"),
            (r"\bssh (-p \d+ )?(\S+)@\S+", "ssh ${2}@<host>"),
            (r"^:\d+\.\d+:/org/a11y/", "<bus>/"),
            (r"\b\d{8}_\d{6}\b|_\d{8}_\d{6}\b", "<time>"),
            (r"(?i)\b(https?|wss?)://[^/\s\x22?#]+", "<host>"),
            (r"(?i)[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uuid>"),
            (
                r"\d{4}-\d\d-\d\d[T ]\d\d(:|%3A)\d\d(:|%3A)\d\d([.,]\d+)?( ?(Z|(\+|%2B|-)\d\d(:|%3A)?\d\d)( [A-Z]+)?)?",
                "<time>",
            ),
            (r"conformance-[0-9a-f]{10}-[A-Za-z0-9 _%+-]+?-\d+(-\d+)?(_[0-9A-Za-z]{4}\b)?", "<name>"),
            (r"(?i)\b[a-z_]+-[a-z0-9_]+-\d+/", "<dir>/"),
            (r"\bW/\x22[^\x22]*\x22", "<etag>"),
            (r"^[0-9a-f]{8}(@example\.com)?$", "<user>"),
            (r"(?i)\b[0-9a-f]{16,}\b", "<hex>"),
            (r"\b[0-9a-f]{10}\b", "<run>"),
            (r"\b[A-Za-z0-9+/_-]{40,}={0,2}(\.[A-Za-z0-9_-]+)*", "<opaque>"),
            (r"\d{12,13}|\b\d{10,11}\b", "<stamp>"),
            (r"(?i)\b127\.0\.0\.1:\d+|localhost:\d+", "<host>"),
        ]
        .map(|(pattern, name)| (Regex::new(pattern).expect("the pattern is a constant"), name))
        .into()
    });
    let mut text: String = text.chars().take(MAX_TEXT).collect();
    for (pattern, name) in RULES.iter() {
        text = pattern.replace_all(&text, *name).into_owned();
    }
    text
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
        let mut requests = Requests::new();
        let fields = requests.entry(request_of(&exchange)).or_default().entry(status).or_default();
        fields_of(&exchange, fields);
        Transcript { scenarios: [("a/b".to_owned(), requests)].into(), ..Transcript::default() }
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

    #[test]
    fn what_a_run_makes_up_is_named() {
        for (text, expected) in [
            ("ssh -p 42595 {{TOKEN}}@127.0.0.1", "ssh {{TOKEN}}@<host>"),
            ("ssh {{TOKEN}}@ssh.app.example", "ssh {{TOKEN}}@<host>"),
            (":1.7:/org/a11y/atspi/accessible/4", "<bus>/atspi/accessible/4"),
            ("x_active_20261128_162738.mp4", "x_active<time>.mp4"),
            ("/api/regions/conformance-0123456789-region-7_26xb", "/api/regions/<name>"),
            ("dtn_secret_404a4af3e1234567890123b137a832513", "<placeholder>"),
        ] {
            assert_eq!(normal(text), expected);
        }
    }

    /// A scenario that asks one thing with several bodies.
    fn asked(answers: &[(&str, &str)]) -> Transcript {
        let mut requests = Requests::new();
        for (asked, answered) in answers {
            let exchange = Exchange {
                operation: Some("createSandbox"),
                status: Some(400),
                request_body: Some((*asked).to_owned()),
                answer_body: Some((*answered).to_owned()),
                ..Exchange::default()
            };
            let fields = requests.entry(request_of(&exchange)).or_default().entry(400).or_default();
            fields_of(&exchange, fields);
        }
        Transcript { scenarios: [("a/b".to_owned(), requests)].into(), ..Transcript::default() }
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
    fn fields_and_statuses_are_told() {
        let url = "http://h/api/sandbox/x";
        let left = transcript(200, url, r#"{"state":"started","gone":1}"#);
        let told = left.differences(&transcript(200, url, r#"{"state":"stopped"}"#));
        let told: Vec<_> = told.iter().map(|d| (d.field.as_str(), d.left.len(), d.right.len())).collect();
        assert_eq!(told, [("/gone", 1, 0), ("/state", 1, 1)]);
        assert_eq!(left.differences(&transcript(404, url, "{}"))[0].field, "status");
    }
}
