//! Strict mode: is a request what the contract allows? The real service forgives much (unknown fields are dropped, so a
//! misspelt one does nothing; `public/yes` means false, port `x` gives a link to `NaN`); a test wants to be told. What the
//! newest SDKs send goes before the published documents (`newer.contract`).
//!
//! Rules: `unknown-operation`, `deprecated-route`, `unknown-parameter`, `missing-parameter`, `unknown-field` (also of a form),
//! `missing-field`, `wrong-type` (also of words that are none of the allowed), `bad-json`, `body-on-get`,
//! `missing-header` (JSON that is not called so).

mod body;
mod contract;
mod hints;
mod parser;

use std::fmt::Display;

use serde::{Deserialize, Serialize};

pub use self::hints::nearest;
use self::{
    body::{say, text_fits},
    contract::{Contract, Fields, Operation},
};
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
    /// There is at least a byte of a body.
    pub has_body: bool,
    /// All of it, where it was read for this; `None` where it is too large.
    pub body: Option<&'a [u8]>,
    /// Names of a form's parts.
    pub form: Option<&'a [String]>,
    /// By the path of SDKs before 0.113.
    pub legacy: bool,
}

/// Parameters that open something, anywhere.
const CREDENTIALS: [&str; 6] = ["access_token", "DAYTONA_SANDBOX_AUTH_KEY", "expires", "signature", "EIO", "transport"];
/// Served for older SDKs though no contract of today has it.
const PROJECT_DIR: &str = "/project-dir";
/// What is behind belongs to programs in sandboxes.
const PROXY: &str = "/proxy/";
/// What to ask for instead of what is deprecated (the official document; of a backup it says that there is no need).
const SUCCESSORS: [(&str, &str); 5] = [
    ("listSandboxesPaginated_deprecated", "use GET /sandbox"),
    ("createBackup", "leave it out: backups are made by themselves"),
    ("getBuildLogs", "use GET /sandbox/{sandboxIdOrName}/build-logs-url"),
    ("getSnapshotBuildLogs", "use GET /snapshots/{id}/build-logs-url"),
    ("listSecrets", "use GET /secret/paginated"),
];
/// The rule that refuses nothing by itself, but for the path that SDKs left with 0.113.
pub const DEPRECATED: &str = "deprecated-route";
/// More would only repeat themselves.
const MOST: usize = 50;
/// Characters of a text about one.
const LONGEST: usize = 1000;

/// What there is to be known of a request's body before it can be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    Nothing,
    /// Whether there is one.
    Presence,
    Json,
}

pub fn wants(plane: Plane, operation: Option<&str>, method: &str, path: &str) -> Wants {
    let contract = contract::of(plane);
    match contract.and_then(|contract| declared(contract, operation, method, path)) {
        Some(_) if matches!(method, "GET" | "HEAD") => Wants::Presence,
        Some((_, own)) if own.body.is_some() => Wants::Json,
        _ => Wants::Nothing,
    }
}

/// What is declared of a request, by its name.
fn declared<'a>(
    contract: &'a Contract,
    operation: Option<&'a str>,
    method: &str,
    path: &str,
) -> Option<(&'a str, &'a Operation)> {
    if let Some(route) = contract.route(method, path) {
        return Some((route.id, &route.operation));
    }
    let id = operation?;
    Some((id, contract.operations.get(id)?))
}

/// Every rule that a request breaks.
pub fn judge(request: &Request) -> Vec<Violation> {
    let Some(contract) = contract::of(request.plane) else { return Vec::new() };
    let mut found = Vec::new();
    let Some((id, own)) = declared(contract, request.operation, request.method, request.path) else {
        found.extend(unknown_operation(request, contract));
        return found;
    };
    if own.deprecated || request.legacy {
        found.push(deprecated(request, id));
    }
    judge_path(request, id, own, &mut found);
    judge_query(request, &own.query, contract, &mut found);
    body::judge_body(request, id, own, contract, &mut found);
    found.truncate(MOST);
    found.iter_mut().for_each(shorten);
    found
}

/// What somebody sent is no longer in the journal than it has to be.
fn shorten(violation: &mut Violation) {
    for text in [&mut violation.path, &mut violation.message].into_iter().chain(&mut violation.fix) {
        if let Some((at, _)) = text.char_indices().nth(LONGEST) {
            text.truncate(at);
            text.push('…');
        }
    }
}

fn deprecated(request: &Request, id: &str) -> Violation {
    let message = if request.legacy {
        format!("{id} is asked for by the path of SDKs before 0.113, which fails on the service of today")
    } else {
        format!("{id} is deprecated")
    };
    let now = || SUCCESSORS.iter().find(|(old, _)| *old == id).map(|(_, now)| (*now).to_owned());
    let legacy = request.legacy.then(|| format!("use {{toolboxProxyUrl}}/{{sandboxId}}{}", request.path));
    Violation { rule: DEPRECATED, path: "path".into(), message, fix: legacy.or_else(now) }
}

/// Says in one line what is wrong.
pub fn message(violations: &[Violation]) -> String {
    let one = |violation: &Violation| {
        let fix = violation.fix.as_ref().map_or_else(String::new, |fix| format!(" ({fix})"));
        format!("{}: {}{fix}", violation.rule, violation.message)
    };
    format!("strict mode: {}", violations.iter().map(one).collect::<Vec<_>>().join("; "))
}

fn did_you_mean(near: impl Display) -> String {
    format!("did you mean {near}?")
}

fn unknown_operation(request: &Request, contract: &Contract) -> Option<Violation> {
    let in_toolbox = request.plane == Plane::Toolbox;
    let served = in_toolbox && (request.path == PROJECT_DIR || request.path.starts_with(PROXY));
    if request.method == "OPTIONS" || served {
        return None;
    }
    let mut known: Vec<(&str, &str)> = operations(request.plane).map(|(_, method, path)| (method, path)).collect();
    known.extend(contract.routes.iter().map(|route| (route.method, route.path.as_str())));
    if in_toolbox {
        known.push(("GET", PROJECT_DIR));
    }
    let other =
        known.iter().filter(|(_, path)| template_distance(path, request.path) == 0.0).map(|(method, _)| *method);
    let others: Vec<&str> = other.collect();
    let fix = if others.is_empty() {
        let nearest = known.iter().map(|(method, path)| (template_distance(path, request.path), *method, *path));
        let nearest = nearest.min_by(|a, b| {
            (a.0, a.1 != request.method).partial_cmp(&(b.0, b.1 != request.method)).unwrap_or(std::cmp::Ordering::Equal)
        });
        nearest.filter(|(far, ..)| *far <= 0.34).map(|(_, method, path)| did_you_mean(format!("{method} {path}")))
    } else {
        Some(format!("this path has {}", others.join(", ")))
    };
    let message = format!("the contract has no {} {}", request.method, request.path);
    Some(Violation { rule: "unknown-operation", path: "path".into(), message, fix })
}

/// Id, method and path of the published operations of a plane.
fn operations(plane: Plane) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let api = api::operations::OPERATIONS.iter().map(|op| (op.id, op.method, op.path));
    let toolbox = toolbox::operations::OPERATIONS.iter().map(|op| (op.id, op.method, op.path));
    let is_api = plane == Plane::Api;
    api.filter(move |_| is_api).chain(toolbox.filter(move |_| !is_api))
}

/// Plane, id, method and path of the published operations that a name means, which may end with a `*`.
pub fn meant_operations(name: &str) -> impl Iterator<Item = (Plane, &'static str, &'static str, &'static str)> {
    let all = [Plane::Api, Plane::Toolbox]
        .into_iter()
        .flat_map(|plane| operations(plane).map(move |(id, method, path)| (plane, id, method, path)));
    all.filter(move |(_, id, ..)| is_meant(name, id))
}

/// Equal, or equal up to a `*` at the end.
pub fn is_meant(name: &str, operation: &str) -> bool {
    name.strip_suffix('*').map_or(operation == name, |start| operation.starts_with(start))
}

/// How far a path is from a template: 0 fits, 1 has nothing in common.
fn template_distance(template: &str, path: &str) -> f64 {
    let (own, given): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
    if own.len() != given.len() {
        return 1.0;
    }
    let part = |(own, given): (&&str, &&str)| {
        if own.starts_with('{') {
            return 0.0;
        }
        let far = 1.0 - strsim::normalized_damerau_levenshtein(own, given);
        // `exec` is `execute` rather than anything else.
        if own != given && hints::begins(own, given) { far.min(0.25) } else { far }
    };
    own.iter().zip(&given).map(part).fold(0.0, f64::max)
}

/// Whether there is an operation of this name, up to a `*` at its end.
///
/// # Errors
/// With the name that was meant, if one is near.
pub fn check_operation(name: &str) -> Result<(), String> {
    if meant_operations(name).next().is_some() {
        return Ok(());
    }
    let all = meant_operations("*").map(|(_, id, ..)| id);
    let meant = nearest(name, all).map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
    Err(format!("there is no operation {name}{meant}"))
}

/// What isn't a text in a path. The service takes `yes` for false, and a port that is no number for `NaN` (observed).
fn judge_path(request: &Request, id: &str, own: &Operation, found: &mut Vec<Violation>) {
    if own.path.is_empty() {
        return;
    }
    let template = operations(request.plane).find(|(known, ..)| *known == id).map_or("", |(.., path)| path);
    for (part, given) in template.split('/').zip(request.path.split('/')) {
        let name = part.trim_matches(['{', '}']);
        let field = own.path.iter().find(|field| part.starts_with('{') && field.name == name);
        let Some(field) = field.filter(|field| !text_fits(&field.shape, given)) else { continue };
        let message = format!("{name} in the path must be {}, not {given:?}", say(&field.shape));
        let fix = hints::value(&field.shape, given).map(did_you_mean);
        found.push(Violation { rule: "wrong-type", path: format!("path.{name}"), message, fix });
    }
}

fn judge_query(request: &Request, declared: &Fields, contract: &Contract, found: &mut Vec<Violation>) {
    let pairs: Vec<_> = form_urlencoded::parse(request.query.as_bytes()).collect();
    let is_given = |wanted: &str| pairs.iter().any(|(name, _)| name.split('[').next() == Some(wanted));
    let known: Vec<&str> = declared.iter().map(|field| field.name).collect();
    let missing = declared.iter().filter(|field| !field.optional && !is_given(field.name)).map(|field| field.name);
    let missing: Vec<&str> = missing.collect();
    for (name, value) in &pairs {
        match meant(name, declared, contract) {
            Some(shape) if !text_fits(shape, value) => {
                let message = format!("the query parameter {name} must be {}, not {value:?}", say(shape));
                let fix = repeated(shape, name, value).or_else(|| hints::value(shape, value).map(did_you_mean));
                found.push(Violation { rule: "wrong-type", path: format!("query.{name}"), message, fix });
            }
            Some(_) => {}
            None if CREDENTIALS.contains(&&**name) => {}
            None => {
                let fix = hints::field(name, &missing, &known).map(did_you_mean);
                let message = format!("the query parameter {name} is unknown and does nothing");
                found.push(Violation { rule: "unknown-parameter", path: format!("query.{name}"), message, fix });
            }
        }
    }
    for name in missing {
        let message = format!("the query parameter {name} is missing");
        found.push(Violation { rule: "missing-parameter", path: format!("query.{name}"), message, fix: None });
    }
}

/// What a query's name stands for: `a`, an item of a list `a[]` or `a[0]`, a field `a[b]`, and so on (qs).
fn meant<'a>(name: &str, declared: &'a Fields, contract: &'a Contract) -> Option<&'a contract::Shape> {
    let field = |fields: &'a Fields, name: &str| fields.iter().find(|field| field.name == name);
    let mut parts = name.split('[');
    let mut shape = &field(declared, parts.next()?)?.shape;
    for part in parts {
        let key = part.strip_suffix(']')?;
        shape = match contract.plain(shape) {
            contract::Shape::List(of) if key.bytes().all(|byte| byte.is_ascii_digit()) => of,
            contract::Shape::Object(fields) => &field(fields, key)?.shape,
            _ => return None,
        };
    }
    Some(shape)
}

/// Good values in one text with commas.
fn repeated(shape: &contract::Shape, name: &str, text: &str) -> Option<String> {
    let contract::Shape::List(of) = shape else { return None };
    let mut all = text.split(',').map(str::trim);
    let good = text.contains(',') && all.clone().all(|item| text_fits(of, item));
    let (first, second) = (all.next()?, all.next().unwrap_or_default());
    good.then(|| format!("repeat it: {name}={first}&{name}={second}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

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
            has_body: !text.is_empty(),
            body: Some(text.as_bytes()),
            form: None,
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
        // As Ruby's and Go's clients write them.
        assert!(judged("GET", "/sandbox", "states[]=started&states%5B0%5D=stopped", &Value::Null).is_empty());
        let filters = "action[eq]=create&statusCode[gte]=200&targetType[in]=sandbox&targetType[in][0]=snapshot";
        assert!(judged("GET", "/audit/organizations/x", filters, &Value::Null).is_empty());
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
            has_body: !body.is_empty(),
            body: Some(body.as_bytes()),
            form: None,
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
        for (states, hint) in
            [("started,stopped", "repeat it: states=started&states=stopped"), ("stoped", "did you mean stopped?")]
        {
            let found = judged("GET", "/sandbox", &format!("states={states}"), &Value::Null);
            assert_eq!(found, [format!("wrong-type query.states {hint}")]);
        }
        assert_eq!(judged("POST", "/sandbox/x/public/yes", "", &Value::Null), ["wrong-type path.isPublic"]);
        assert_eq!(
            judged("POST", "/sandbox/x/public/True", "", &Value::Null),
            ["wrong-type path.isPublic did you mean true?"]
        );
        assert_eq!(judged("GET", "/sandbox/x/ports/NaN/preview-url", "", &Value::Null), ["wrong-type path.port"]);
        assert!(judged("GET", "/sandbox/x/ports/80/preview-url", "", &Value::Null).is_empty());
        assert_eq!(
            create(json!({"buildInfo": {"dockerfile": "FROM x"}})),
            [
                "unknown-field body.buildInfo.dockerfile did you mean dockerfileContent?",
                "missing-field body.buildInfo.dockerfileContent"
            ]
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
        assert_eq!(judged("GET", "/healthx", "", &Value::Null), ["unknown-operation path did you mean GET /health?"]);
    }

    proptest! {
        #[test]
        fn any_request_is_judged(path in "/[a-z/]{0,30}", query in ".{0,60}", body in ".{0,100}", kind in ".{0,20}") {
            for plane in [Plane::Api, Plane::Toolbox, Plane::Preview] {
                for operation in [None, Some("createSandbox"), Some("ListFiles"), Some("UploadFile")] {
                    judge(&Request {
                        plane, operation, method: "POST", path: &path, query: &query, content_type: &kind,
                        has_body: true, body: Some(body.as_bytes()), form: None, legacy: false,
                    });
                }
            }
        }
    }
}
