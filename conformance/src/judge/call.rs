//! An entry of the journal, as the rules see it. Its JSON is described in `mock-server/README.md`, "The journal".

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

/// One request and everything that became of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Call {
    pub id: u64,
    pub revision: u64,
    /// When it began.
    pub at: DateTime<Utc>,
    pub organization_id: Option<String>,
    /// `api`, `toolbox`, `preview`, `events` or `server`.
    pub plane: String,
    pub operation_id: Option<String>,
    /// As the request named it: an id, or a name.
    pub sandbox: Option<String>,
    pub method: String,
    pub path: String,
    pub query: Option<String>,
    pub client: Client,
    /// `None`: no answer.
    pub status: Option<u16>,
    pub timing: Timing,
    /// A fault keeps it from its answer; what became of it comes later.
    pub open: bool,
    pub aborted: bool,
    pub request: Message,
    pub response: Message,
    pub error: Failure,
    pub websocket: Option<WebSocket>,
    pub violations: Vec<Violation>,
    pub faults: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Client {
    pub source: Option<String>,
    pub version: Option<String>,
    pub user_agent: Option<String>,
}

/// Milliseconds after the beginning.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Timing {
    pub first_byte_ms: Option<f64>,
    pub end_ms: Option<f64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Message {
    pub bytes: u64,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// JSON of up to 16 KiB.
    pub body: Value,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Failure {
    pub message: Value,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WebSocket {
    pub open: bool,
    pub from_client: Frames,
    pub from_server: Frames,
    pub close: Option<Close>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Frames {
    pub text: u64,
    pub binary: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Close {
    /// `client` or `server`.
    pub by: String,
    /// `None`: the close frame had none.
    pub code: Option<u16>,
    pub reason: String,
    /// Milliseconds after the beginning at which it came; `None`: the mock doesn't say.
    pub at_ms: Option<f64>,
}

/// What the mock's strict mode found.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Violation {
    pub rule: String,
    pub path: String,
    pub message: String,
    pub fix: Option<String>,
}

/// The toolbox's way to create a PTY and connect to it at once. No document names it (SDKs since 0.200, `Process.createPty`).
pub const CREATE_CONNECT: &str = "CreateConnectPty";
/// To connect to one that is there. Faults and coverage count [`CREATE_CONNECT`] to it.
pub const CONNECT: &str = "ConnectPtySession";

impl Call {
    /// The operationId; [`CREATE_CONNECT`] for what documents don't know; empty for what nobody knows.
    pub fn op(&self) -> &str {
        match self.path.ends_with("/process/pty/create-connect") {
            true => CREATE_CONNECT,
            false => self.operation_id.as_deref().unwrap_or_default(),
        }
    }

    pub fn is(&self, operations: &[&str]) -> bool {
        operations.contains(&self.op())
    }

    /// Answered with 1xx to 3xx: an opened WebSocket is a 101.
    pub fn succeeded(&self) -> bool {
        self.status.is_some_and(|status| status < 400)
    }

    /// A parameter of the query, decoded.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let url = reqwest::Url::parse(&format!("http://h/?{}", self.query.as_deref()?)).ok()?;
        url.query_pairs().find(|(own, _)| own == name).map(|(_, value)| value.into_owned())
    }

    /// The path's segment after this one: `after("pty")` of `…/process/pty/p1/connect` is `p1`.
    pub fn after(&self, segment: &str) -> Option<&str> {
        let mut parts = self.path.split('/').skip_while(|part| *part != segment);
        parts.nth(1).filter(|part| !part.is_empty())
    }

    /// Milliseconds since 1970 at which it began.
    pub fn began(&self) -> i64 {
        self.at.timestamp_millis()
    }

    /// Milliseconds since 1970 at which it was over, or at which its answer began if it isn't.
    pub fn ended(&self) -> i64 {
        let took = self.timing.end_ms.or(self.timing.first_byte_ms).unwrap_or_default();
        self.began() + took.round() as i64
    }

    /// `POST /api/sandbox → 200`, with what strict readers need to find it.
    pub fn line(&self) -> String {
        let status = self.status.map_or("no answer".to_owned(), |status| status.to_string());
        let query = self.query.as_deref().map(|query| format!("?{query}")).unwrap_or_default();
        format!("{} {}{query} → {status}", self.method, self.path)
    }

    /// The answer's string field.
    pub fn answered(&self, field: &str) -> Option<&str> {
        self.response.body.get(field)?.as_str()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// A call by its JSON, in which `ms` is the time after the beginning of the run.
    pub fn call(mut json: Value) -> Call {
        let ms = json["ms"].as_i64().unwrap_or_default();
        let at = DateTime::<Utc>::from_timestamp_millis(1_800_000_000_000 + ms).expect("a time");
        json["at"] = json!(at.to_rfc3339());
        serde_json::from_value(json).expect("an entry")
    }

    #[test]
    fn what_documents_do_not_know_has_a_name() {
        let path = "/api/toolbox/s/toolbox/process/pty/create-connect";
        let call = call(json!({"operationId": "GetPtySession", "path": path, "query": "id=a%20b&cols=80"}));
        assert_eq!(call.op(), CREATE_CONNECT);
        assert_eq!(call.parameter("id").as_deref(), Some("a b"));
        assert_eq!(call.parameter("rows"), None);
    }

    #[test]
    fn a_close_frame_may_have_no_code() {
        let call = call(json!({"websocket": {"open": false, "close": {"by": "client", "code": null, "reason": ""}}}));
        assert_eq!(call.websocket.unwrap().close.unwrap().code, None);
    }

    #[test]
    fn a_segment_is_found_by_the_one_before() {
        let call = call(json!({"path": "/toolbox/s/process/pty/p1/connect"}));
        assert_eq!(call.after("pty"), Some("p1"));
        assert_eq!(call.after("connect"), None);
    }
}
