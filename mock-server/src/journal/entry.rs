//! What the journal keeps of an exchange: one JSON object. Fields that don't apply are absent.
//!
//! ```json
//! {
//!   "id": 12,                       // in the order in which exchanges began, from 1
//!   "revision": 14,                 // in the order of the latest change; `since` compares with it
//!   "organizationId": "…",          // absent for what belongs to nobody (a wrong key)
//!   "keyName": "default",           // absent for what only a preview token opened
//!   "at": "2026-01-01T00:00:00.000Z", // when it began, by the server's clock
//!   "plane": "api",                 // api, toolbox, preview, events (Socket.IO) or server
//!   "operationId": "createSandbox", // of the contract; absent for what is not in it. Plane server: that of build logs'
//!                                   // own route, which `build-logs-url` names
//!   "sandbox": "…",                 // as the request named it: an id, or at the control plane maybe a name
//!   "port": 3000,                   // of a preview
//!   "method": "POST",
//!   "path": "/api/sandbox",
//!   "query": "limit=1",             // as sent, without the `?`
//!   "host": "127.0.0.1:3986",
//!   "secure": true,                 // it came by TLS
//!   "client": {"source": "sdk-typescript", "version": "0.205.1", "userAgent": "…"},
//!   "open": true,                   // a fault keeps it from its answer; what became of it comes with the entry's last form
//!   "status": 200,                  // absent if there was no answer
//!   "timing": {"firstByteMs": 1.204, "endMs": 3.4}, // until the answer's head and its last byte, real time
//!   "aborted": true,                // the client went away, or was cut off, before the answer's end
//!   "request": {"bytes": 21, "headers": {"content-type": "application/json", …}, "body": {…}},
//!   "response": {"bytes": 900, "headers": {…}, "body": {…}},
//!   "error": {"code": "…", "message": "…"}, // of a failure that has an envelope
//!   "websocket": {"open": false, "fromClient": {"text": 1, "binary": 0, "continuation": 0, "ping": 0, "pong": 0, "bytes": 12},
//!                 "fromServer": {…}, "close": {"by": "client", "code": 1000, "reason": "", "atMs": 30}},
//!   "violations": [{"rule": "unknown-field", "path": "body.lables", "message": "…", "fix": "labels"}],
//!   "faults": ["…"]                 // ids of the faults that acted
//! }
//! ```
//!
//! `body` is there for JSON of up to 16 KiB at the control plane and the toolbox; `bodyText` for what was called JSON and
//! isn't. Secrets are replaced by `<redacted>` ([`super::redact`]). A WebSocket has an entry as soon as it is open, with
//! `open: true`; its counts come with the entry's last form. `close` is the first close frame, absent if the connection
//! ended without one (1006 to browsers).

use std::time::Duration;

use chrono::SecondsFormat;
use http::{HeaderMap, header};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    exchange::{BODY, Close, Exchange, Frames, Plane, Progress, Violation, is_json},
    memory::NOBODY,
    redact,
};
use crate::{api::operations, gateway::build_logs, toolbox};

/// An entry as it is kept: its JSON, and what filters look at.
pub struct Kept {
    pub id: u64,
    pub revision: u64,
    pub organization_id: Option<String>,
    pub key_name: Option<String>,
    pub plane: Plane,
    pub operation: Option<&'static str>,
    pub sandbox: Option<String>,
    pub method: String,
    pub path: String,
    pub status: Option<u16>,
    pub source: String,
    pub open: bool,
    pub violations: bool,
    pub faults: bool,
    /// The object above, on one line.
    pub json: Box<str>,
}

impl Kept {
    /// Whose journal it is in.
    pub fn world(&self) -> &str {
        self.organization_id.as_deref().unwrap_or(NOBODY)
    }

    /// Bytes that it takes in memory, about.
    pub fn size(&self) -> usize {
        self.json.len() + self.path.len() + 256
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    id: u64,
    revision: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    organization_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_name: Option<&'a str>,
    at: String,
    plane: Plane,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sandbox: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    method: &'a str,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(skip_serializing_if = "is_false")]
    secure: bool,
    client: Client<'a>,
    #[serde(skip_serializing_if = "is_false")]
    open: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    timing: Timing,
    #[serde(skip_serializing_if = "is_false")]
    aborted: bool,
    request: Message,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<Message>,
    #[serde(skip_serializing_if = "Option::is_none")]
    websocket: Option<WebSocket<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    violations: &'a [Violation],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    faults: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Client<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Timing {
    #[serde(skip_serializing_if = "Option::is_none")]
    first_byte_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_ms: Option<f64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    bytes: u64,
    headers: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_text: Option<String>,
}

#[derive(Serialize)]
struct Failure {
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<Value>,
    message: Value,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WebSocket<'a> {
    open: bool,
    from_client: Frames,
    from_server: Frames,
    #[serde(skip_serializing_if = "Option::is_none")]
    close: Option<&'a Close>,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// Entered before there was an answer.
fn waits(progress: &Progress) -> bool {
    progress.status.is_none() && progress.end.is_none()
}

/// What is kept of an exchange as it is now.
pub fn describe(exchange: &Exchange, revision: u64) -> Kept {
    let progress = exchange.progress.lock();
    let method = exchange.method.as_str();
    let (operation, path) = operation(exchange);
    let status = progress.status.map(|status| status.as_u16());
    let text = |name: &str| exchange.headers.get(name).and_then(|value| value.to_str().ok());
    let source = text("x-daytona-source");
    let version = text("x-daytona-sdk-version").or_else(|| protocol_version(&exchange.headers));
    let response = answer(exchange, &progress);
    let owner = progress.owner.as_ref();
    let entry = Entry {
        id: exchange.id,
        revision,
        organization_id: owner.map(|owner| owner.organization_id.as_str()),
        key_name: owner.and_then(|owner| owner.key_name.as_deref()),
        at: exchange.at.to_rfc3339_opts(SecondsFormat::Millis, true),
        plane: exchange.place.plane,
        operation_id: operation,
        sandbox: exchange.place.sandbox.as_deref(),
        port: exchange.place.port,
        method,
        path: &path,
        query: exchange.uri.query().map(redact::query),
        host: text("host").map(redact::host),
        secure: exchange.place.secure,
        client: Client { source, version, user_agent: text("user-agent") },
        open: waits(&progress),
        status,
        timing: Timing { first_byte_ms: progress.first_byte.map(ms), end_ms: progress.end.map(ms) },
        aborted: progress.aborted,
        request: message(exchange.request_bytes(), &exchange.headers, &progress.request_body, exchange),
        error: response.as_ref().and_then(|response| failure(status?, response.body.as_ref()?)),
        response,
        websocket: progress.socket.as_ref().map(|socket| WebSocket {
            open: socket.open,
            from_client: socket.from_client,
            from_server: socket.from_server,
            close: socket.close.as_ref(),
        }),
        violations: &progress.violations,
        faults: &progress.faults,
    };
    let json = serde_json::to_string(&entry).unwrap_or_default().into_boxed_str();
    Kept {
        id: exchange.id,
        revision,
        organization_id: owner.map(|owner| owner.organization_id.clone()),
        key_name: owner.and_then(|owner| owner.key_name.clone()),
        plane: exchange.place.plane,
        operation,
        sandbox: exchange.place.sandbox.clone(),
        method: method.to_owned(),
        status,
        source: source.unwrap_or_default().to_owned(),
        open: waits(&progress) || progress.socket.as_ref().is_some_and(|socket| socket.open),
        violations: !progress.violations.is_empty(),
        faults: !progress.faults.is_empty(),
        json,
        path,
    }
}

/// The operation of the contract that a request is for.
pub fn operation_id(exchange: &Exchange) -> Option<&'static str> {
    operation(exchange).0
}

/// The operation of the contract, and the path without the secrets that some paths have.
fn operation(exchange: &Exchange) -> (Option<&'static str>, String) {
    let (path, method) = (exchange.uri.path(), exchange.method.as_str());
    let reads = if method == "HEAD" { "GET" } else { method };
    match exchange.place.plane {
        Plane::Api => {
            let below = path.strip_prefix("/api").unwrap_or(path);
            let below = below.strip_suffix('/').filter(|bare| !bare.is_empty()).unwrap_or(below);
            let Some(found) = operations::find(reads, below) else { return (None, redact::text(path).into_owned()) };
            (Some(found.id), format!("/api{}", redact::path(found.path, below)))
        }
        Plane::Toolbox => {
            let found = toolbox::operations::find(method, inner(path));
            (found.map(|operation| operation.id), redact::text(path).into_owned())
        }
        // The contract has no word for it, but it is the same log as at the API.
        Plane::Server if reads == "GET" => {
            (build_logs::asked(path).map(|(built, _)| built.operation()), path.to_owned())
        }
        _ => (None, path.to_owned()),
    }
}

/// The path that a sandbox's toolbox is asked for.
pub fn inner(path: &str) -> &str {
    let after_id = |rest: &'_ str| rest.find('/').map(|at| rest.len() - at);
    let old = path.strip_prefix("/api/toolbox/").and_then(|rest| rest.split_once('/')).map(|(_, rest)| rest);
    if let Some(rest) = old.and_then(|rest| rest.strip_prefix("toolbox")) {
        return rest;
    }
    let new = path.strip_prefix("/toolbox/");
    new.and_then(after_id).map_or(path, |length| &path[path.len() - length..])
}

/// Browsers and Node send what headers can't say as sub-protocols: `X-Daytona-SDK-Version~0.205.1`.
fn protocol_version(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get(header::SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?;
    all.split(',').find_map(|one| one.trim().strip_prefix("X-Daytona-SDK-Version~"))
}

fn answer(exchange: &Exchange, progress: &Progress) -> Option<Message> {
    progress.status?;
    Some(message(progress.response_bytes, &progress.response_headers, &progress.response_body, exchange))
}

fn message(bytes: u64, headers: &HeaderMap, kept: &[u8], exchange: &Exchange) -> Message {
    let whole = !kept.is_empty() && kept.len() <= BODY && kept.len() as u64 == bytes && is_json(headers);
    let (mut body, mut body_text) = (None, None);
    if whole {
        match serde_json::from_slice::<Value>(kept) {
            Ok(mut value) => {
                redact::json(&mut value, exchange.uri.path());
                body = Some(value);
            }
            Err(_) if redact::is_vault(exchange.uri.path()) => body_text = Some(redact::REDACTED.into()),
            Err(_) => body_text = Some(redact::text(&String::from_utf8_lossy(kept)).into_owned()),
        }
    }
    Message { bytes, headers: redact::headers(headers), body, body_text }
}

/// What envelopes of every kind say, if the answer is one.
fn failure(status: u16, body: &Value) -> Option<Failure> {
    let message = body.get("message").or_else(|| body.get("error")).filter(|_| status >= 400)?;
    Some(Failure { code: body.get("code").cloned(), message: message.clone() })
}

fn ms(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e6).round() / 1e3
}
