//! One request and its answer, as reports show them: cut to a readable length, secrets taken out.

use reqwest::header::HeaderMap;
use serde::Serialize;

use super::redact::Secrets;

/// Bytes of a body that reports keep.
const MAX_BODY: usize = 16 * 1024;
/// Bytes of a WebSocket's message that reports keep.
const MAX_MESSAGE: usize = 2 * 1024;

/// A request and what came back.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Exchange {
    /// operationId and plane, where the contract knows the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<&'static str>,
    pub method: String,
    pub url: String,
    pub request_headers: Vec<(String, String)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_body: Option<String>,
    /// `None`: there was no answer, and `error` says why.
    pub status: Option<u16>,
    pub answer_headers: Vec<(String, String)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Milliseconds since the scenario began.
    pub at: u64,
    /// Milliseconds until the answer was complete.
    pub took: u64,
    /// Of a WebSocket.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub frames: Vec<Frame>,
}

/// A WebSocket message.
#[derive(Clone, Debug, Serialize)]
pub struct Frame {
    /// By the suite, not by the server.
    pub sent: bool,
    /// `text`, `binary`, `close`, `ping`, `pong`.
    pub kind: &'static str,
    pub content: String,
}

pub(super) fn headers(map: &HeaderMap, secrets: &Secrets) -> Vec<(String, String)> {
    let value = |value: &reqwest::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    map.iter().map(|(name, v)| (name.to_string(), secrets.header(name.as_str(), &value(v)))).collect()
}

/// A body for people: text as it is, other bytes as hexadecimal, cut.
pub(super) fn body(bytes: &[u8], secrets: &Secrets) -> Option<String> {
    shown(bytes, MAX_BODY, secrets)
}

/// What a WebSocket's message holds, the same way; there are many.
pub(super) fn message(bytes: &[u8], secrets: &Secrets) -> String {
    shown(bytes, MAX_MESSAGE, secrets).unwrap_or_default()
}

fn shown(bytes: &[u8], most: usize, secrets: &Secrets) -> Option<String> {
    if bytes.is_empty() {
        return None;
    }
    let cut = &bytes[..bytes.len().min(most)];
    let mut shown = match std::str::from_utf8(cut) {
        Ok(text) => secrets.text(text),
        // Cut in the middle of a character.
        Err(error) if error.valid_up_to() + 4 > cut.len() => secrets.text(&String::from_utf8_lossy(cut)),
        Err(_) => cut.iter().take(256).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "),
    };
    if bytes.len() > cut.len() {
        shown.push_str(&format!("… ({} bytes)", bytes.len()));
    }
    Some(shown)
}
