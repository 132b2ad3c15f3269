//! JSON request bodies as the original daemon takes them: any Content-Type, unknown fields ignored, field names in
//! any case, `null` as absent, text after the value ignored; refusals in its words (observed).
//!
//! A request type derives `Deserialize` with `#[serde(default)]` and says its fields' Go types:
//! ```ignore
//! impl JsonBody for ReplaceRequest {
//!     const NAME: &'static str = "ReplaceRequest";
//!     const FIELDS: &'static [Field] = &[Field::required("pattern", "Pattern", Kind::Str)];
//! }
//! async fn replace(Body(request): Body<ReplaceRequest>) { … }
//! ```

mod syntax;

use axum::{body::to_bytes, extract::FromRequest, extract::Request};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::ToolboxError;
use crate::{limits, surrogates};

/// A request type with the names and types that refusals mention.
pub trait JsonBody: DeserializeOwned {
    /// The Go struct's name, e.g. `ExecuteRequest`.
    const NAME: &'static str;
    const FIELDS: &'static [Field];
}

/// One field of a request.
pub struct Field {
    /// On the wire, e.g. `newValue`.
    pub json: &'static str,
    /// In validation messages, e.g. `NewValue`.
    pub go: &'static str,
    pub kind: Kind,
    pub required: bool,
}

impl Field {
    pub const fn required(json: &'static str, go: &'static str, kind: Kind) -> Field {
        Field { json, go, kind, required: true }
    }

    pub const fn optional(json: &'static str, go: &'static str, kind: Kind) -> Field {
        Field { json, go, kind, required: false }
    }
}

/// A Go type, as far as requests use them.
#[derive(Clone, Copy)]
pub enum Kind {
    Str,
    /// `*string`: when required, `""` is an answer and only absence is refused.
    StrPtr,
    Bool,
    /// `*bool`: when required, `false` is an answer.
    BoolPtr,
    Int,
    Uint16,
    Uint32,
    Float,
    /// `[]string`; when required, `[]` is an answer.
    StrList,
    /// `map[string]string`.
    StrMap,
    /// Taken as it is.
    Any,
}

/// Extracts and checks a JSON body; refuses with 400 `INVALID_REQUEST_BODY` `invalid body request: …`.
/// Operations with a message of their own call [`parse`].
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: JsonBody> FromRequest<S> for Body<T> {
    type Rejection = ToolboxError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ToolboxError> {
        let bytes = read(request).await.map_err(ToolboxError::invalid_body)?;
        parse(&bytes).map(Body).map_err(ToolboxError::invalid_body)
    }
}

/// The whole body, or why not.
pub async fn read(request: Request) -> Result<bytes::Bytes, String> {
    to_bytes(request.into_body(), limits::inside().json_body).await.map_err(|error| {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(current) = cause {
            if current.is::<http_body_util::LengthLimitError>() {
                return "http: request body too large".to_owned();
            }
            cause = current.source();
        }
        "unexpected EOF".to_owned()
    })
}

/// A checked request, or the daemon's words for what is wrong with it (without a prefix).
pub fn parse<T: JsonBody>(bytes: &[u8]) -> Result<T, String> {
    let text = String::from_utf8_lossy(bytes);
    let text = surrogates::paired(&text);
    let object = match first_value(&text)? {
        Value::Object(object) => object,
        Value::Null => Map::new(),
        other => return Err(format!("json: cannot unmarshal {} into Go value of type {}", name_of(&other), T::NAME)),
    };
    let object = typed::<T>(object)?;
    require::<T>(&object)?;
    serde_json::from_value(Value::Object(object)).map_err(|error| error.to_string())
}

fn first_value(text: &str) -> Result<Value, String> {
    match serde_json::Deserializer::from_str(text).into_iter().next() {
        None => Err("EOF".into()),
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => Err(syntax::complaint(text.as_bytes()).unwrap_or_else(|| error.to_string())),
    }
}

/// Only known fields under their proper names, without nulls, each of its type.
fn typed<T: JsonBody>(object: Map<String, Value>) -> Result<Map<String, Value>, String> {
    let mut known = Map::new();
    for (key, mut value) in object {
        let field = T::FIELDS.iter().find(|field| field.json == key);
        let field = field.or_else(|| T::FIELDS.iter().find(|field| field.json.eq_ignore_ascii_case(&key)));
        let Some(field) = field.filter(|_| !value.is_null()) else { continue };
        field.kind.check(&value).map_err(|(what, go_type)| {
            format!("json: cannot unmarshal {what} into Go struct field {}.{} of type {go_type}", T::NAME, field.json)
        })?;
        field.kind.fill(&mut value);
        known.insert(field.json.into(), value);
    }
    Ok(known)
}

fn require<T: JsonBody>(object: &Map<String, Value>) -> Result<(), String> {
    let missing = T::FIELDS.iter().filter(|field| field.required && field.kind.is_zero(object.get(field.json)));
    let lines: Vec<String> = missing
        .map(|Field { go, .. }| {
            format!("Key: '{}.{go}' Error:Field validation for '{go}' failed on the 'required' tag", T::NAME)
        })
        .collect();
    if lines.is_empty() { Ok(()) } else { Err(lines.join("\n")) }
}

impl Kind {
    fn go_name(self) -> &'static str {
        match self {
            Kind::Str | Kind::StrPtr => "string",
            Kind::Bool | Kind::BoolPtr => "bool",
            Kind::Int => "int",
            Kind::Uint16 => "uint16",
            Kind::Uint32 => "uint32",
            Kind::Float => "float64",
            Kind::StrList => "[]string",
            Kind::StrMap => "map[string]string",
            Kind::Any => "interface {}",
        }
    }

    /// What came and what was wanted, when they differ.
    fn check(self, value: &Value) -> Result<(), (String, &'static str)> {
        let all_strings = |mut values: Box<dyn Iterator<Item = &Value> + '_>| {
            values.find(|value| !value.is_string() && !value.is_null()).map(|value| (name_of(value), "string"))
        };
        let fits = match (self, value) {
            (Kind::Any, _) | (Kind::Str | Kind::StrPtr, Value::String(_)) => true,
            (Kind::Bool | Kind::BoolPtr, Value::Bool(_)) | (Kind::Float, Value::Number(_)) => true,
            (Kind::Int, Value::Number(number)) => number.is_i64(),
            (Kind::Uint16, Value::Number(number)) => number.as_u64().is_some_and(|n| n <= u16::MAX.into()),
            (Kind::Uint32, Value::Number(number)) => number.as_u64().is_some_and(|n| n <= u32::MAX.into()),
            (Kind::StrList, Value::Array(items)) => match all_strings(Box::new(items.iter())) {
                Some(mismatch) => return Err(mismatch),
                None => true,
            },
            (Kind::StrMap, Value::Object(items)) => match all_strings(Box::new(items.values())) {
                Some(mismatch) => return Err(mismatch),
                None => true,
            },
            _ => false,
        };
        match (fits, self, value) {
            (true, ..) => Ok(()),
            (_, Kind::Int | Kind::Uint16 | Kind::Uint32, Value::Number(number)) => {
                Err((format!("number {number}"), self.go_name()))
            }
            _ => Err((name_of(value), self.go_name())),
        }
    }

    /// A `null` among strings is an empty one (Go).
    fn fill(self, value: &mut Value) {
        let nulls = |value: &&mut Value| value.is_null();
        match (self, value) {
            (Kind::StrList, Value::Array(items)) => items.iter_mut().filter(nulls).for_each(|item| *item = "".into()),
            (Kind::StrMap, Value::Object(items)) => items.values_mut().filter(nulls).for_each(|item| *item = "".into()),
            _ => {}
        }
    }

    fn is_zero(self, value: Option<&Value>) -> bool {
        match (self, value) {
            (_, None) => true,
            (Kind::Str, Some(value)) => value.as_str() == Some(""),
            (Kind::Bool, Some(value)) => value.as_bool() == Some(false),
            (Kind::Int | Kind::Uint16 | Kind::Uint32 | Kind::Float, Some(value)) => value.as_f64() == Some(0.0),
            _ => false,
        }
    }
}

/// The name that type errors give a JSON value.
fn name_of(value: &Value) -> String {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
    .into()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(default, rename_all = "camelCase")]
    struct ExecuteRequest {
        command: String,
        timeout: Option<u32>,
        new_value: Option<String>,
        files: Vec<String>,
    }

    impl JsonBody for ExecuteRequest {
        const NAME: &'static str = "ExecuteRequest";
        const FIELDS: &'static [Field] = &[
            Field::required("command", "Command", Kind::Str),
            Field::optional("timeout", "Timeout", Kind::Uint32),
            Field::optional("newValue", "NewValue", Kind::StrPtr),
            Field::optional("files", "Files", Kind::StrList),
        ];
    }

    fn complaint(body: &str) -> String {
        parse::<ExecuteRequest>(body.as_bytes()).expect_err(body)
    }

    #[test]
    fn takes_what_go_takes() {
        let body = br#"{"Command":"x","timeout":null,"unknown":{},"NEWVALUE":"","files":["a"]} trailing"#;
        let request: ExecuteRequest = parse(body).expect("fine");
        let nulls: ExecuteRequest = parse(br#"{"command":"x","files":["a",null]}"#).expect("fine");
        assert_eq!(nulls.files, ["a", ""]);
        let cut: ExecuteRequest = parse(br#"{"command":"\ud83d"}"#).expect("fine");
        assert_eq!(cut.command, "\u{fffd}");
        let expected =
            ExecuteRequest { command: "x".into(), timeout: None, new_value: Some("".into()), files: vec!["a".into()] };
        assert_eq!(request, expected);
    }

    #[test]
    fn complains_as_go_does() {
        let required =
            "Key: 'ExecuteRequest.Command' Error:Field validation for 'Command' failed on the 'required' tag";
        assert_eq!(complaint("{}"), required);
        assert_eq!(complaint(r#"{"command":""}"#), required);
        assert_eq!(complaint("null"), required);
        assert_eq!(complaint(""), "EOF");
        assert_eq!(complaint(" \n"), "EOF");
        assert_eq!(complaint("nope"), "invalid character 'o' in literal null (expecting 'u')");
        assert_eq!(complaint(r#"{"command":"#), "unexpected EOF");
        let field = "into Go struct field ExecuteRequest";
        let cases = [
            (r#"{"timeout":-1}"#, format!("number -1 {field}.timeout of type uint32")),
            (r#"{"timeout":1.5}"#, format!("number 1.5 {field}.timeout of type uint32")),
            (r#"{"timeout":"1"}"#, format!("string {field}.timeout of type uint32")),
            (r#"{"command":1}"#, format!("number {field}.command of type string")),
            (r#"{"files":"a"}"#, format!("string {field}.files of type []string")),
            (r#"{"files":[true]}"#, format!("bool {field}.files of type string")),
            ("[]", "array into Go value of type ExecuteRequest".into()),
        ];
        for (body, words) in cases {
            assert_eq!(complaint(body), format!("json: cannot unmarshal {words}"));
        }
    }
}
