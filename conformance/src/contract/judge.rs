//! Is a value of the shape that the contract declares?

use serde_json::Value;

use super::{Field, Kind, Plane, Shape};

/// More than this says nothing new.
const MAX_FINDINGS: usize = 20;

/// One place where a value is not of its shape.
#[derive(Debug, PartialEq)]
pub struct Finding {
    /// Of the format of a string, not of the structure.
    pub format: bool,
    /// For example `items[3].state: expected one of creating, started, got "Started"`.
    pub text: String,
}

/// Everything in `value` that is not as `shape` says.
pub fn findings(plane: Plane, shape: &Shape, value: &Value) -> Vec<Finding> {
    let mut judge = Judge { plane, found: Vec::new() };
    judge.value("", shape, value);
    judge.found
}

struct Judge {
    plane: Plane,
    found: Vec<Finding>,
}

impl Judge {
    fn value(&mut self, at: &str, shape: &Shape, value: &Value) {
        if self.found.len() >= MAX_FINDINGS || (value.is_null() && shape.nullable) {
            return;
        }
        match (&shape.kind, value) {
            (Kind::Any | Kind::Bytes, _)
            | (Kind::Bool, Value::Bool(_))
            | (Kind::Number, Value::Number(_))
            | (Kind::String, Value::String(_)) => {}
            (Kind::Integer, Value::Number(number)) if number.is_i64() || number.is_u64() => {}
            (Kind::Enum(members), Value::String(got)) if members.contains(&got.as_str()) => {}
            (Kind::Date, Value::String(got)) => self.format(at, "an RFC 3339 date", is_date(got), got),
            (Kind::Url, Value::String(got)) => self.format(at, "a URL", reqwest::Url::parse(got).is_ok(), got),
            (Kind::Uuid, Value::String(got)) => self.format(at, "a UUID", uuid::Uuid::try_parse(got).is_ok(), got),
            (Kind::Array(item), Value::Array(items)) => {
                for (index, value) in items.iter().enumerate() {
                    self.value(&format!("{at}[{index}]"), item, value);
                }
            }
            (Kind::Map(item), Value::Object(entries)) => {
                for (name, value) in entries {
                    self.value(&below(at, name), item, value);
                }
            }
            (Kind::Object(fields), Value::Object(_)) => fields.iter().for_each(|field| self.field(at, field, value)),
            (Kind::Named(name), _) => match self.plane.contract().types.get(name) {
                Some(named) => self.value(at, named, value),
                None => unreachable!("a test reads every name"),
            },
            (kind, got) => self.push(false, at, &describe(kind), got),
        }
    }

    fn field(&mut self, at: &str, field: &Field, object: &Value) {
        match object.get(field.name) {
            None if field.required => self
                .found
                .push(Finding { format: false, text: format!("{}: required, and missing", below(at, field.name)) }),
            None => {}
            Some(Value::Null) if !field.required => {}
            Some(value) => self.value(&below(at, field.name), &field.shape, value),
        }
    }

    fn format(&mut self, at: &str, wanted: &str, holds: bool, got: &str) {
        if !holds {
            self.push(true, at, wanted, &Value::String(got.to_owned()));
        }
    }

    fn push(&mut self, format: bool, at: &str, wanted: &str, got: &Value) {
        let at = if at.is_empty() { "the answer" } else { at };
        let mut got = got.to_string();
        if got.len() > 80 {
            got = got.chars().take(80).collect::<String>() + "…";
        }
        self.found.push(Finding { format, text: format!("{at}: expected {wanted}, got {got}") });
    }
}

fn below(at: &str, name: &str) -> String {
    if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }
}

fn describe(kind: &Kind) -> String {
    match kind {
        Kind::Any | Kind::Bytes => "anything".to_owned(),
        Kind::Bool => "true or false".to_owned(),
        Kind::Integer => "an integer".to_owned(),
        Kind::Number => "a number".to_owned(),
        Kind::String | Kind::Date | Kind::Url | Kind::Uuid => "a string".to_owned(),
        Kind::Enum(members) => format!("one of {}", members.join(", ")),
        Kind::Array(_) => "an array".to_owned(),
        Kind::Map(_) | Kind::Object(_) => "an object".to_owned(),
        Kind::Named(name) => (*name).to_owned(),
    }
}

fn is_date(text: &str) -> bool {
    chrono::DateTime::parse_from_rfc3339(text).is_ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::contract::parse;

    fn judge(shape: &'static str, value: Value) -> Vec<String> {
        let contract = parse::parse(Plane::Api, shape);
        findings(Plane::Api, &contract.types["T"], &value).into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn each_kind_is_told_from_the_others() {
        let shape = "type T = { a: string, b?: [integer], c: (x y)?, d: <bool>, e: date }";
        let good = json!({"a": "", "b": [1], "c": null, "d": {"k": true}, "e": "2026-01-01T00:00:00.000Z", "more": 1});
        assert_eq!(judge(shape, good), Vec::<String>::new());
        let bad = json!({"b": [1.5], "c": "z", "d": {"k": 1}, "e": "yesterday"});
        assert_eq!(
            judge(shape, bad),
            [
                "a: required, and missing",
                "b[0]: expected an integer, got 1.5",
                "c: expected one of x, y, got \"z\"",
                "d.k: expected true or false, got 1",
                "e: expected an RFC 3339 date, got \"yesterday\"",
            ]
        );
    }

    #[test]
    fn null_is_for_what_may_be_absent_or_null() {
        assert_eq!(judge("type T = { a?: string, b: string? }", json!({"a": null, "b": null})), Vec::<String>::new());
        assert_eq!(judge("type T = { a: string }", json!({"a": null})), ["a: expected a string, got null"]);
        assert_eq!(judge("type T = [string]", json!({})), ["the answer: expected an array, got {}"]);
    }
}
