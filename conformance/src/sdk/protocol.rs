//! The lines between the suite and a driver. `protocol.schema.json` is the same for machines, and a test holds both together.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The schema of the lines in both directions (JSON Schema 2020-12).
pub const SCHEMA: &str = include_str!("protocol.schema.json");
/// Of the protocol; raised when a driver of before wouldn't be understood any more.
pub const VERSION: u32 = 1;

/// Something that the driver is to do.
#[derive(Debug, Serialize)]
pub struct Request<'a> {
    /// Counted from 1; answers and events carry it.
    pub id: u64,
    pub op: &'a str,
    pub args: &'a Value,
}

/// What a driver says. Of `ok`, `error`, `unsupported` and `event` there is exactly one.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Line {
    pub id: u64,
    /// It is done: what the SDK returned.
    pub ok: Option<Map<String, Value>>,
    /// What the SDK threw.
    pub error: Option<Thrown>,
    /// The SDK can't do that; why.
    pub unsupported: Option<String>,
    /// Something came: `stdout`, `stderr`, `data`, `progress`.
    pub event: Option<String>,
    /// Of `stdout` and `stderr`.
    pub text: Option<String>,
    /// Of `data`.
    pub base64: Option<String>,
    /// Of `progress`.
    pub bytes: Option<u64>,
}

/// What an SDK threw.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Thrown {
    /// Of the error; where a language has variants instead of classes, the variant.
    pub class: String,
    /// The class and those that it inherits from.
    #[serde(default)]
    pub classes: Vec<String>,
    pub message: String,
    /// As a member of the error, not as part of a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Of the answer, if the error has them; names in lower case.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The sandbox that it is about, as a member of the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// What a log has of it: with its causes and its trace, as the language prints them.
    #[serde(default)]
    pub text: String,
}

/// What a driver says of itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    pub protocol: u32,
    /// The package: `@daytona/sdk`.
    pub sdk: String,
    pub version: String,
    /// `typescript`, `python`, …
    pub language: String,
    /// What it can do. What isn't here is not applicable.
    pub ops: Vec<String>,
}

/// Something that came while a request was under way.
#[derive(Clone, Debug)]
pub enum Event {
    Stdout(String),
    Stderr(String),
    Data(Vec<u8>),
    Progress(u64),
}

impl Line {
    /// One line of a driver; an error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let line: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let kinds = [line.ok.is_some(), line.error.is_some(), line.unsupported.is_some(), line.event.is_some()];
        match kinds.into_iter().filter(|is| *is).count() {
            1 => Ok(line),
            _ => Err("exactly one of ok, error, unsupported and event must be there".to_owned()),
        }
    }

    /// The event, if it is one.
    pub fn as_event(&self) -> Result<Option<Event>, String> {
        use base64::Engine;
        let Some(name) = &self.event else { return Ok(None) };
        let text = || self.text.clone().ok_or(format!("{name} has no text"));
        let event = match &**name {
            "stdout" => Event::Stdout(text()?),
            "stderr" => Event::Stderr(text()?),
            "data" => {
                let encoded = self.base64.as_deref().ok_or("data has no base64")?;
                let bytes = base64::engine::general_purpose::STANDARD.decode(encoded);
                Event::Data(bytes.map_err(|error| error.to_string())?)
            }
            "progress" => Event::Progress(self.bytes.ok_or("progress has no bytes")?),
            other => return Err(format!("{other} is no event")),
        };
        Ok(Some(event))
    }
}

/// For people: `DaytonaNotFoundError 404: not found`.
impl std::fmt::Display for Thrown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.class)?;
        if let Some(status) = self.status {
            write!(f, " {status}")?;
        }
        write!(f, ": {}", self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_thing() {
        assert!(Line::parse(r#"{"id": 1, "ok": {}}"#).is_ok());
        assert!(Line::parse(r#"{"id": 1}"#).is_err());
        assert!(Line::parse(r#"{"id": 1, "ok": {}, "unsupported": "x"}"#).is_err());
        assert!(Line::parse(r#"{"id": 1, "ok": {}, "okay": 1}"#).is_err());
    }

    #[test]
    fn events_have_what_they_carry() {
        let event = |text: &str| Line::parse(text).unwrap().as_event();
        assert!(
            matches!(event(r#"{"id": 1, "event": "data", "base64": "AP8="}"#), Ok(Some(Event::Data(bytes))) if bytes == [0, 255])
        );
        assert!(event(r#"{"id": 1, "event": "data"}"#).is_err());
        assert!(event(r#"{"id": 1, "event": "smoke"}"#).is_err());
        assert!(matches!(event(r#"{"id": 1, "ok": {}}"#), Ok(None)));
    }
}
