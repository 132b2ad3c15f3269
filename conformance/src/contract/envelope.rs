//! The documented form of errors.

use serde_json::Value;

use super::Plane;
use crate::client::Answer;

/// What is wrong with an error answer's form; `None`: nothing.
///
/// The API: `{path, timestamp, statusCode, error, message}`, only the last three where the body was no JSON at all
/// (observed). The toolbox since 0.200: `{statusCode, message, path, timestamp, …}` (SDKs: `message`, `code`); what no
/// route takes is plain text (observed), and uploads of several files name each file's error. Both say that they are JSON: clients that don't read it
/// otherwise show nothing.
pub fn envelope(plane: Plane, answer: &Answer) -> Option<String> {
    if answer.status == 501 || (plane == Plane::Toolbox && exempt(answer)) {
        return None;
    }
    let Value::Object(fields) = &answer.json else { return Some(format!("no JSON object: {}", answer.summary())) };
    if !answer.is_json() {
        return Some(format!("sent as {:?}, not as application/json", answer.header("content-type")));
    }
    let invalid_json = fields.get("message").is_some_and(|message| message == "Invalid JSON in request body");
    let required: &[&str] = match plane {
        Plane::Api if invalid_json => &["message", "error", "statusCode"],
        Plane::Api => &["path", "timestamp", "statusCode", "error", "message"],
        Plane::Toolbox => &["statusCode", "message", "path", "timestamp"],
    };
    if let Some(missing) = required.iter().find(|name| !fields.contains_key(**name)) {
        return Some(format!("{missing} is missing: {}", answer.summary()));
    }
    let is_text = |name: &str| fields.get(name).is_none_or(Value::is_string);
    if let Some(wrong) = ["path", "timestamp", "error", "message", "code", "source"].into_iter().find(|n| !is_text(n)) {
        return Some(format!("{wrong} is no string: {}", answer.summary()));
    }
    let status = fields.get("statusCode").and_then(Value::as_u64);
    (status != Some(answer.status.into())).then(|| format!("statusCode is not the status: {}", answer.summary()))
}

fn exempt(answer: &Answer) -> bool {
    let is_text = answer.header("content-type").starts_with("text/plain") && !answer.json.is_object();
    is_text || answer.json.get("errors").is_some()
}
