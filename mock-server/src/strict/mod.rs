//! Strict mode: is a request what the contract allows? The real service forgives much (unknown fields are dropped, so a
//! misspelt one does nothing); a test wants to be told.
//!
//! Rules: `unknown-operation`, `deprecated-route`, `unknown-parameter`, `missing-parameter`, `unknown-field`,
//! `missing-field`, `wrong-type` (also of words that are none of the allowed), `bad-json`, `body-on-get`,
//! `missing-header` (JSON that is not called so).

mod contract;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::contract::{Contract, Fields, Shape};
use crate::{
    api,
    journal::{Plane, exchange::Violation},
    toolbox,
};

/// What happens to a request that breaks a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strictness {
    /// It is in the journal.
    Journal,
    /// It is refused, too.
    Reject,
}

/// A request, for judging.
pub struct Request<'a> {
    pub plane: Plane,
    pub operation: Option<&'a str>,
    pub method: &'a str,
    /// Below `/api`, or as the toolbox sees it.
    pub path: &'a str,
    pub query: &'a str,
    pub content_type: &'a str,
    /// Empty for what isn't JSON or too large to be looked at.
    pub body: &'a [u8],
    pub body_size: Option<u64>,
    /// By the path of SDKs before 0.113.
    pub legacy: bool,
}

/// Parameters that open something, anywhere.
const CREDENTIALS: [&str; 6] = ["access_token", "DAYTONA_SANDBOX_AUTH_KEY", "expires", "signature", "EIO", "transport"];
/// Served for SDKs though no contract of today has them.
const UNCONTRACTED: [&str; 3] = ["/project-dir", "/proxy/", "/health"];
/// What to ask for instead of what is deprecated (the official document; of a backup it says that there is no need).
const SUCCESSORS: [(&str, &str); 5] = [
    ("listSandboxesPaginated_deprecated", "use GET /sandbox"),
    ("createBackup", "leave it out: backups are made by themselves"),
    ("getBuildLogs", "use GET /sandbox/{sandboxIdOrName}/build-logs-url"),
    ("getSnapshotBuildLogs", "use GET /snapshots/{id}/build-logs-url"),
    ("listSecrets", "use GET /secret/paginated"),
];
/// More would only repeat themselves.
const MOST: usize = 50;

/// Every rule that a request breaks.
pub fn judge(request: &Request) -> Vec<Violation> {
    let Some(contract) = contract::of(request.plane) else { return Vec::new() };
    let mut found = Vec::new();
    let Some(id) = request.operation else {
        found.extend(unknown_operation(request));
        return found;
    };
    let Some(operation) = contract.operations.get(id) else { return found };
    if operation.deprecated || request.legacy {
        let message = if request.legacy {
            format!("{id} is asked for by the path of SDKs before 0.113, which fails on the service of today")
        } else {
            format!("{id} is deprecated")
        };
        let now = || SUCCESSORS.iter().find(|(old, _)| *old == id).map(|(_, now)| (*now).to_owned());
        let legacy = request.legacy.then(|| format!("use {{toolboxProxyUrl}}/{{sandboxId}}{}", request.path));
        let fix = legacy.or_else(now);
        found.push(Violation { rule: "deprecated-route", path: "path".into(), message, fix });
    }
    judge_query(request, &operation.query, &mut found);
    judge_body(request, id, operation.body.as_ref(), contract, &mut found);
    found.truncate(MOST);
    found
}

/// Says in one line what is wrong.
pub fn message(violations: &[Violation]) -> String {
    let one = |violation: &Violation| {
        let fix = violation.fix.as_ref().map_or_else(String::new, |fix| format!(" ({fix})"));
        format!("{}: {}{fix}", violation.rule, violation.message)
    };
    format!("strict mode: {}", violations.iter().map(one).collect::<Vec<_>>().join("; "))
}

fn unknown_operation(request: &Request) -> Option<Violation> {
    if request.method == "OPTIONS" || UNCONTRACTED.iter().any(|known| request.path.starts_with(known)) {
        return None;
    }
    let known: Vec<(&str, &str)> = match request.plane {
        Plane::Api => api::operations::OPERATIONS.iter().map(|op| (op.method, op.path)).collect(),
        _ => toolbox::operations::OPERATIONS.iter().map(|op| (op.method, op.path)).collect(),
    };
    let other =
        known.iter().filter(|(_, path)| template_distance(path, request.path) == 0.0).map(|(method, _)| *method);
    let others: Vec<&str> = other.collect();
    let fix = if others.is_empty() {
        let nearest = known.iter().map(|(method, path)| (template_distance(path, request.path), *method, *path));
        let nearest = nearest.min_by(|a, b| {
            (a.0, a.1 != request.method).partial_cmp(&(b.0, b.1 != request.method)).unwrap_or(std::cmp::Ordering::Equal)
        });
        nearest.filter(|(far, ..)| *far <= 0.34).map(|(_, method, path)| format!("did you mean {method} {path}?"))
    } else {
        Some(format!("this path has {}", others.join(", ")))
    };
    let message = format!("the contract has no {} {}", request.method, request.path);
    Some(Violation { rule: "unknown-operation", path: "path".into(), message, fix })
}

/// How far a path is from a template: 0 fits, 1 has nothing in common.
fn template_distance(template: &str, path: &str) -> f64 {
    let (own, given): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
    if own.len() != given.len() {
        return 1.0;
    }
    let part = |(own, given): (&&str, &&str)| {
        if own.starts_with('{') { 0.0 } else { 1.0 - strsim::normalized_damerau_levenshtein(own, given) }
    };
    own.iter().zip(&given).map(part).fold(0.0, f64::max)
}

/// Whether there is an operation of this name, up to a `*` at its end.
///
/// # Errors
/// With the name that was meant, if one is near.
pub fn check_operation(name: &str) -> Result<(), String> {
    let api = api::operations::OPERATIONS.iter().map(|op| op.id);
    let all = || api.clone().chain(toolbox::operations::OPERATIONS.iter().map(|op| op.id));
    let fits = |known: &str| name.strip_suffix('*').map_or(known == name, |start| known.starts_with(start));
    if all().any(fits) {
        return Ok(());
    }
    let meant = nearest(name, all()).map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
    Err(format!("there is no operation {name}{meant}"))
}

/// The known name that was meant, if one is near enough.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |name: &str| name.to_ascii_lowercase().replace(['_', '-'], "");
    let given = plain(name);
    let all = known.map(|known| (strsim::damerau_levenshtein(&plain(known), &given), known));
    all.min_by_key(|(far, _)| *far).filter(|(far, known)| *far * 3 <= known.len().max(3)).map(|(_, known)| known)
}

fn judge_query(request: &Request, declared: &Fields, found: &mut Vec<Violation>) {
    let pairs: Vec<(String, String)> = form_urlencoded::parse(request.query.as_bytes())
        .map(|(name, value)| (name.trim_end_matches("[]").to_owned(), value.into_owned()))
        .collect();
    for (name, value) in &pairs {
        match declared.iter().find(|field| field.name == name) {
            Some(field) if !text_fits(&field.shape, value) => {
                let message = format!("the query parameter {name} must be {}, not {value:?}", say(&field.shape));
                let fix = meant(&field.shape, value).map(|near| format!("did you mean {near}?"));
                found.push(Violation { rule: "wrong-type", path: format!("query.{name}"), message, fix });
            }
            Some(_) => {}
            None if CREDENTIALS.contains(&name.as_str()) => {}
            None => {
                let fix =
                    nearest(name, declared.iter().map(|field| field.name)).map(|near| format!("did you mean {near}?"));
                let message = format!("the query parameter {name} is unknown and does nothing");
                found.push(Violation { rule: "unknown-parameter", path: format!("query.{name}"), message, fix });
            }
        }
    }
    for field in declared.iter().filter(|field| !field.optional && !pairs.iter().any(|(name, _)| name == field.name)) {
        let message = format!("the query parameter {} is missing", field.name);
        found.push(Violation { rule: "missing-parameter", path: format!("query.{}", field.name), message, fix: None });
    }
}

/// The value that a text was meant to be: `True`, `started ` or `"5"` are others' spellings of one.
fn meant(shape: &Shape, text: &str) -> Option<String> {
    let plain = text.trim().trim_matches(['"', '\'']);
    match shape {
        Shape::Bool => nearest(plain, ["true", "false"].into_iter()).map(str::to_owned),
        Shape::Integer | Shape::Number => plain.parse::<f64>().ok().map(|_| plain.to_owned()),
        Shape::Words(words) => nearest(plain, words.iter().copied()).map(str::to_owned),
        Shape::List(of) => {
            let wrong = text.split(',').find(|item| !text_fits(of, item.trim()))?;
            meant(of, wrong)
        }
        Shape::Nullable(of) => meant(of, text),
        _ => None,
    }
}

fn text_fits(shape: &Shape, text: &str) -> bool {
    match shape {
        Shape::Bool => matches!(text, "true" | "false" | "1" | "0"),
        Shape::Integer | Shape::Number => text.trim().parse::<f64>().is_ok(),
        // A list may be one text with commas.
        Shape::Words(words) => text.is_empty() || words.contains(&text),
        Shape::List(of) => text.split(',').all(|item| text_fits(of, item.trim())),
        Shape::Nullable(of) => text_fits(of, text),
        _ => true,
    }
}

fn judge_body(request: &Request, id: &str, shape: Option<&Shape>, contract: &Contract, found: &mut Vec<Violation>) {
    let has_body = request.body_size.is_none_or(|size| size > 0);
    if has_body && matches!(request.method, "GET" | "HEAD") {
        let message = format!("{id} is a {}, whose body nobody reads", request.method);
        found.push(Violation { rule: "body-on-get", path: "body".into(), message, fix: None });
        return;
    }
    let Some(shape) = shape else { return };
    let is_json = request.content_type.starts_with("application/json");
    if has_body && !is_json && !request.content_type.starts_with("multipart/") {
        let message = format!("{id} takes JSON, but the request says content-type: {}", or_none(request.content_type));
        let fix = Some("send content-type: application/json".to_owned());
        found.push(Violation { rule: "missing-header", path: "header.content-type".into(), message, fix });
        return;
    }
    if request.body.is_empty() {
        if !has_body && required(shape, contract) {
            let message = format!("{id} needs a body");
            found.push(Violation { rule: "missing-field", path: "body".into(), message, fix: None });
        }
        return;
    }
    match serde_json::from_slice::<Value>(request.body) {
        Ok(value) => judge_value("body", &value, shape, contract, found),
        Err(error) => {
            let message = format!("the body is no JSON: {error}");
            found.push(Violation { rule: "bad-json", path: "body".into(), message, fix: None });
        }
    }
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "(none)" } else { text }
}

fn required(shape: &Shape, contract: &Contract) -> bool {
    match shape {
        Shape::Named(name) => contract.types.get(name).is_some_and(|shape| required(shape, contract)),
        Shape::Object(fields) => fields.iter().any(|field| !field.optional),
        _ => false,
    }
}

fn judge_value(path: &str, value: &Value, shape: &Shape, contract: &Contract, found: &mut Vec<Violation>) {
    if found.len() > MOST {
        return;
    }
    match (shape, value) {
        (Shape::Any, _) | (Shape::Bool, Value::Bool(_)) | (Shape::Number, Value::Number(_)) => {}
        (Shape::Text, Value::String(_)) | (Shape::Nullable(_), Value::Null) => {}
        (Shape::Integer, Value::Number(number)) if number.as_f64().is_some_and(|n| n.fract() == 0.0) => {}
        (Shape::Nullable(of), value) => judge_value(path, value, of, contract, found),
        (Shape::Named(name), value) => {
            if let Some(shape) = contract.types.get(name) {
                judge_value(path, value, shape, contract, found);
            }
        }
        (Shape::List(of), Value::Array(items)) => {
            for (i, item) in items.iter().enumerate() {
                judge_value(&format!("{path}[{i}]"), item, of, contract, found);
            }
        }
        (Shape::Map(of), Value::Object(fields)) => {
            for (name, value) in fields {
                judge_value(&format!("{path}.{name}"), value, of, contract, found);
            }
        }
        (Shape::Object(declared), Value::Object(_)) => judge_object(path, value, declared, contract, found),
        (Shape::Words(words), Value::String(word)) if words.contains(&word.as_str()) => {}
        (Shape::Words(_), Value::String(word)) => {
            let fix = meant(shape, word).map(|near| format!("did you mean {near}?"));
            let message = format!("{path} must be {}, not {word:?}", say(shape));
            found.push(Violation { rule: "wrong-type", path: path.into(), message, fix });
        }
        (shape, value) => {
            let message = format!("{path} must be {}, not {}", say(shape), kind(value));
            let near = value.as_str().and_then(|text| meant(shape, text));
            let fix = near.map(|near| format!("did you mean {near}, without quotes?"));
            found.push(Violation { rule: "wrong-type", path: path.into(), message, fix });
        }
    }
}

fn judge_object(path: &str, value: &Value, declared: &Fields, contract: &Contract, found: &mut Vec<Violation>) {
    let Value::Object(fields) = value else { return };
    for (name, value) in fields {
        let path = format!("{path}.{name}");
        match declared.iter().find(|field| field.name == name) {
            // The service takes null for left out.
            Some(field) if field.optional && value.is_null() => {}
            Some(field) => judge_value(&path, value, &field.shape, contract, found),
            None => {
                let fix =
                    nearest(name, declared.iter().map(|field| field.name)).map(|near| format!("did you mean {near}?"));
                let message = format!("{path} is unknown and does nothing");
                found.push(Violation { rule: "unknown-field", path, message, fix });
            }
        }
    }
    for field in declared.iter().filter(|field| !field.optional && !fields.contains_key(field.name)) {
        let path = format!("{path}.{}", field.name);
        found.push(Violation { rule: "missing-field", message: format!("{path} is missing"), path, fix: None });
    }
}

fn say(shape: &Shape) -> String {
    match shape {
        Shape::Any => "anything".into(),
        Shape::Bool => "true or false".into(),
        Shape::Integer => "a whole number".into(),
        Shape::Number => "a number".into(),
        Shape::Text => "a string".into(),
        Shape::List(of) => format!("a list, each {}", say(of)),
        Shape::Map(_) | Shape::Object(_) | Shape::Named(_) => "an object".into(),
        Shape::Words(words) => format!("one of {}", words.join(", ")),
        Shape::Nullable(of) => format!("{} or null", say(of)),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn judged(method: &str, path: &str, query: &str, body: &Value) -> Vec<String> {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let request = Request {
            plane: Plane::Api,
            operation: api::operations::find(method, path).map(|op| op.id),
            method,
            path,
            query,
            content_type: "application/json",
            body: text.as_bytes(),
            body_size: Some(text.len() as u64),
            legacy: false,
        };
        let all = judge(&request).into_iter();
        all.map(|v| format!("{} {} {}", v.rule, v.path, v.fix.unwrap_or_default()).trim_end().to_owned()).collect()
    }

    #[test]
    fn what_is_right_is_silent() {
        let body = json!({"name": "a", "labels": {"x": "y"}, "env": {}, "autoStopInterval": 15, "snapshot": null,
            "volumes": [{"volumeId": "v", "mountPath": "/v"}]});
        assert!(judged("POST", "/sandbox", "", &body).is_empty());
        assert!(judged("POST", "/sandbox", "access_token=x", &json!({})).is_empty());
        assert!(judged("GET", "/sandbox", "limit=10&states=started&states=stopped", &Value::Null).is_empty());
        assert!(judged("GET", "/health", "", &Value::Null).is_empty());
    }

    #[test]
    fn what_is_deprecated_has_a_successor_that_there_is() {
        for op in api::operations::OPERATIONS {
            let deprecated = contract::of(Plane::Api).expect("a contract").operations[op.id].deprecated;
            let successor = SUCCESSORS.iter().find(|(old, _)| *old == op.id);
            assert_eq!(deprecated, successor.is_some(), "{}", op.id);
            let Some(now) = successor.and_then(|(_, now)| now.strip_prefix("use ")) else { continue };
            assert!(api::operations::OPERATIONS.iter().any(|op| format!("{} {}", op.method, op.path) == now), "{now}");
        }
    }

    /// What is said of a request to a toolbox.
    fn rules(operation: &'static str, query: &str, content_type: &str, body: &str) -> Vec<&'static str> {
        let found = toolbox::operations::OPERATIONS.iter().find(|op| op.id == operation).expect("an operation");
        let request = Request {
            plane: Plane::Toolbox,
            operation: Some(operation),
            method: found.method,
            path: found.path,
            query,
            content_type,
            body: body.as_bytes(),
            body_size: Some(body.len() as u64),
            legacy: false,
        };
        judge(&request).into_iter().map(|violation| violation.rule).collect()
    }

    #[test]
    fn parameters_headers_and_json_are_looked_at() {
        const JSON: &str = "application/json";
        assert_eq!(rules("DownloadFile", "", "", ""), ["missing-parameter"]);
        assert_eq!(rules("DownloadFile", "path=x", "", ""), [""; 0]);
        assert_eq!(rules("ConnectPtySession", "cols=80", "", ""), ["unknown-parameter"]);
        assert_eq!(rules("ExecuteCommand", "", JSON, "{"), ["bad-json"]);
        assert_eq!(rules("ExecuteCommand", "", "text/plain", "{\"command\": \"ls\"}"), ["missing-header"]);
        assert_eq!(rules("ExecuteCommand", "", JSON, "{\"command\": \"ls\"}"), [""; 0]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_right_spelling() {
        let create = |body: Value| judged("POST", "/sandbox", "", &body);
        assert_eq!(create(json!({"lables": {}})), ["unknown-field body.lables did you mean labels?"]);
        assert_eq!(
            create(json!({"auto_stop_interval": 1})),
            ["unknown-field body.auto_stop_interval did you mean autoStopInterval?"]
        );
        assert_eq!(create(json!({"zzz": 1})), ["unknown-field body.zzz"]);
        assert_eq!(
            create(json!({"name": 1, "public": "yes", "cpu": 1.5})),
            ["wrong-type body.name", "wrong-type body.public", "wrong-type body.cpu"]
        );
        assert_eq!(create(json!({"volumes": [{"mountPath": "/v"}]})), ["missing-field body.volumes[0].volumeId"]);
        assert_eq!(judged("PUT", "/sandbox/x/labels", "", &Value::Null), ["missing-field body"]);
        assert_eq!(
            create(json!({"autoStopInterval": "15", "public": "True"})),
            [
                "wrong-type body.autoStopInterval did you mean 15, without quotes?",
                "wrong-type body.public did you mean true, without quotes?"
            ]
        );
        assert_eq!(
            judged("GET", "/sandbox", "states=started,stoped", &Value::Null),
            ["wrong-type query.states did you mean stopped?"]
        );
        assert_eq!(judged("GET", "/sandbox/paginated", "", &Value::Null), ["deprecated-route path use GET /sandbox"]);
        assert_eq!(
            judged("GET", "/sandbox", "limt=1", &Value::Null),
            ["unknown-parameter query.limt did you mean limit?"]
        );
        assert_eq!(judged("GET", "/sandbox", "limit=x", &Value::Null), ["wrong-type query.limit"]);
        assert_eq!(judged("GET", "/sandbox", "", &json!({})), ["body-on-get body"]);
        assert_eq!(
            judged("POST", "/sandboxs", "", &Value::Null),
            ["unknown-operation path did you mean POST /sandbox?"]
        );
        assert_eq!(judged("PATCH", "/sandbox", "", &Value::Null), ["unknown-operation path this path has GET, POST"]);
        assert_eq!(judged("GET", "/workspace/x/y/z/a", "", &Value::Null), ["unknown-operation path"]);
    }

    proptest! {
        #[test]
        fn any_request_is_judged(path in "/[a-z/]{0,30}", query in ".{0,60}", body in ".{0,100}", kind in ".{0,20}") {
            for plane in [Plane::Api, Plane::Toolbox, Plane::Preview] {
                for operation in [None, Some("createSandbox"), Some("ListFiles"), Some("UploadFile")] {
                    judge(&Request {
                        plane, operation, method: "POST", path: &path, query: &query, content_type: &kind,
                        body: body.as_bytes(), body_size: None, legacy: false,
                    });
                }
            }
        }
    }
}
