//! Bodies held against the contract: JSON, and the names in forms.

use serde_json::Value;

use super::{
    MOST, Request,
    contract::{Contract, Fields, Operation, Shape},
    did_you_mean, hints,
};
use crate::journal::exchange::Violation;

/// Whether a query's or a path's text is of a shape. A list repeats its parameter: one text with commas is refused (observed).
pub fn text_fits(shape: &Shape, text: &str) -> bool {
    let number = || text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
    match shape {
        Shape::Bool => matches!(text, "true" | "false"),
        Shape::Integer => number().is_some_and(|number| number.fract() == 0.0),
        Shape::Number => number().is_some(),
        Shape::Words(words) => text.is_empty() || words.contains(&text),
        Shape::List(of) | Shape::Nullable(of) => text_fits(of, text),
        _ => true,
    }
}

pub fn judge_body(request: &Request, id: &str, own: &Operation, contract: &Contract, found: &mut Vec<Violation>) {
    if request.has_body && matches!(request.method, "GET" | "HEAD") {
        let message = format!("{id} is a {}, whose body nobody reads", request.method);
        found.push(Violation { rule: "body-on-get", path: "body".into(), message, fix: None });
        return;
    }
    if let Some(names) = request.form {
        judge_form(id, names, found);
    }
    let Some(shape) = &own.body else { return };
    if request.has_body && !is_json(request.content_type, own.untyped) {
        let message = format!("{id} takes JSON, but the request says content-type: {}", or_none(request.content_type));
        let fix = Some("send content-type: application/json".to_owned());
        found.push(Violation { rule: "missing-header", path: "header.content-type".into(), message, fix });
        return;
    }
    // One that is too large to be looked at is refused anyway.
    let Some(bytes) = request.body else { return };
    if !request.has_body {
        if required(shape, contract) {
            let message = format!("{id} needs a body");
            found.push(Violation { rule: "missing-field", path: "body".into(), message, fix: None });
        }
        return;
    }
    match serde_json::from_slice::<Value>(bytes) {
        Ok(value) => judge_value("body", &value, shape, contract, found),
        Err(error) => {
            let message = format!("the body is no JSON: {error}");
            found.push(Violation { rule: "bad-json", path: "body".into(), message, fix: None });
        }
    }
}

/// Names of media types are the same in any case (RFC 9110, 8.3.1).
pub fn is_json(content_type: &str, untyped: bool) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json") || untyped && kind.is_empty()
}

/// The parts of uploads: of `UploadFiles` `files[0].path` and `files[0].file` (`FileSystem.ts`, `_sync/filesystem.py`), of
/// `UploadFile` `file` (the contract).
fn judge_form(id: &str, names: &[String], found: &mut Vec<Violation>) {
    for name in names {
        let fix = match id {
            "UploadFile" if name == "file" => continue,
            "UploadFile" => "did you mean file?".to_owned(),
            "UploadFiles" if is_of_many(name) => continue,
            "UploadFiles" => {
                let number = name.split(|c: char| !c.is_ascii_digit()).find(|part| !part.is_empty()).unwrap_or("0");
                let field = if name.ends_with("path") { "path" } else { "file" };
                format!("did you mean files[{number}].{field}?")
            }
            _ => return,
        };
        let message = format!("the part {name:?} of the form is unknown and does nothing");
        found.push(Violation { rule: "unknown-field", path: format!("form.{name}"), message, fix: Some(fix) });
        if found.len() > MOST {
            return;
        }
    }
}

fn is_of_many(name: &str) -> bool {
    let rest = name.strip_prefix("files[").and_then(|rest| rest.split_once("]."));
    rest.is_some_and(|(index, field)| {
        !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit()) && matches!(field, "path" | "file")
    })
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
            let fix = hints::value(shape, word).map(did_you_mean);
            let message = format!("{path} must be {}, not {word:?}", say(shape));
            found.push(Violation { rule: "wrong-type", path: path.into(), message, fix });
        }
        (shape, value) => {
            let message = format!("{path} must be {}, not {}", say(shape), kind(value));
            let near = value.as_str().and_then(|text| hints::value(shape, text));
            let fix = near.map(|near| format!("did you mean {near}, without quotes?"));
            found.push(Violation { rule: "wrong-type", path: path.into(), message, fix });
        }
    }
}

fn judge_object(path: &str, value: &Value, declared: &Fields, contract: &Contract, found: &mut Vec<Violation>) {
    let Value::Object(fields) = value else { return };
    let known: Vec<&str> = declared.iter().map(|field| field.name).collect();
    let is_missing = |name: &&str| !fields.contains_key(*name);
    let free: Vec<&str> = known.iter().copied().filter(is_missing).collect();
    let missing = declared.iter().filter(|field| !field.optional).map(|field| field.name);
    let missing: Vec<&str> = missing.filter(|name| is_missing(name)).collect();
    for (name, value) in fields {
        let path = format!("{path}.{name}");
        match declared.iter().find(|field| field.name == name) {
            // The service takes null for left out.
            Some(field) if field.optional && value.is_null() => {}
            Some(field) => judge_value(&path, value, &field.shape, contract, found),
            None => {
                // What is given already was hardly meant.
                let meant = hints::field(name, &missing, &free).or_else(|| hints::field(name, &missing, &known));
                let message = format!("{path} is unknown and does nothing");
                found.push(Violation { rule: "unknown-field", path, message, fix: meant.map(did_you_mean) });
            }
        }
    }
    for name in missing {
        let path = format!("{path}.{name}");
        found.push(Violation { rule: "missing-field", message: format!("{path} is missing"), path, fix: None });
    }
}

pub fn say(shape: &Shape) -> String {
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
