//! A complete answer.

use std::{ops::Index, time::Duration};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::stop::{Result, Stop};

/// What the server answered. `answer["field"]` is the field of a JSON object, or null.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The body, where it is JSON; null otherwise.
    pub json: Value,
    /// Its place in the scenario's log.
    pub exchange: usize,
    /// From the first byte sent to the last one received.
    pub took: Duration,
    pub(super) what: String,
}

impl Answer {
    /// The answer itself if its status is 2xx. For steps on the way to the rule: what can't be prepared can't be judged.
    pub fn ok(self) -> Result<Self> {
        if self.is_ok() {
            Ok(self)
        } else {
            Err(Stop::untestable(format!("{} answered {}", self.what, self.summary())))
        }
    }

    pub fn is_ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Does it say that it is JSON?
    pub fn is_json(&self) -> bool {
        let essence = self.header("content-type").split(';').next().unwrap_or_default();
        essence.trim().eq_ignore_ascii_case("application/json")
    }

    /// What the JSON pointer (`/items/0/id`) leads to, or null.
    pub fn at(&self, pointer: &str) -> &Value {
        self.json.pointer(pointer).unwrap_or(&Value::Null)
    }

    /// The string at a JSON pointer, without which the scenario can't go on.
    pub fn string(&self, pointer: &str) -> Result<String> {
        let missing = || Stop::untestable(format!("{} answered without {pointer}: {}", self.what, self.summary()));
        self.at(pointer).as_str().map(str::to_owned).ok_or_else(missing)
    }

    /// The array at a JSON pointer, without which the scenario can't go on. `""` is the whole answer.
    pub fn array(&self, pointer: &str) -> Result<&Vec<Value>> {
        let missing = || Stop::untestable(format!("{} answered without an array at {pointer:?}", self.what));
        self.at(pointer).as_array().ok_or_else(missing)
    }

    /// The body as text; bytes that aren't UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's value, or the empty string.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// When it was sent, by the server's clock; whole seconds.
    pub fn date(&self) -> Option<DateTime<Utc>> {
        DateTime::parse_from_rfc2822(self.header("date")).ok().map(|at| at.to_utc())
    }

    /// Status and the beginning of the body, in a line.
    pub fn summary(&self) -> String {
        let text = self.text();
        let cut: String = text.chars().take(300).collect();
        let more = if cut.len() < text.len() { "…" } else { "" };
        format!("status {} {}{more}", self.status, cut.trim())
    }
}

impl Index<&str> for Answer {
    type Output = Value;

    fn index(&self, field: &str) -> &Value {
        self.json.get(field).unwrap_or(&Value::Null)
    }
}
