//! Puts things into a sandbox by its own toolbox.

use std::sync::Arc;

use axum::body::Body;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::runtime::Sandbox;

/// Of an answer.
const LARGEST: usize = 16 << 20;

/// Writes a file; its folders are made.
pub async fn write(machine: &Arc<Sandbox>, path: &str, content: Vec<u8>) -> Result<(), String> {
    let query = utf8_percent_encode(path, NON_ALPHANUMERIC);
    let uri = format!("/files/upload-v2?path={query}");
    let request = Request::post(uri).header(header::CONTENT_TYPE, "application/octet-stream");
    ask(machine, request, Body::from(content)).await.map(drop)
}

/// Runs a command, which must exit with 0.
pub async fn run(machine: &Arc<Sandbox>, command: &str) -> Result<(), String> {
    let request = Request::post("/process/execute").header(header::CONTENT_TYPE, "application/json");
    let body = json!({"command": command, "timeout": 600}).to_string();
    let answer = ask(machine, request, Body::from(body)).await?;
    match answer["exitCode"].as_i64() {
        Some(0) => Ok(()),
        code => {
            let output = answer["result"].as_str().unwrap_or_default().trim_end();
            Err(format!("it exited with {}: {output}", code.map_or_else(|| "nothing".into(), |code| code.to_string())))
        }
    }
}

async fn ask(machine: &Arc<Sandbox>, request: http::request::Builder, body: Body) -> Result<Value, String> {
    let words = |error: &dyn std::fmt::Display| format!("its toolbox: {error}");
    let stream = machine.connect().await.map_err(|error| words(&error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| words(&error))?;
    // Its errors are the answer's.
    tokio::spawn(connection);
    let request = request.header(header::HOST, "localhost").body(body).map_err(|error| words(&error))?;
    let answer = sender.send_request(request).await.map_err(|error| words(&error))?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), LARGEST).collect().await.map_err(|error| words(&error))?.to_bytes();
    let value: Value = serde_json::from_slice(&body).unwrap_or_default();
    match status {
        StatusCode::OK | StatusCode::CREATED => Ok(value),
        _ => Err(value["message"].as_str().map_or_else(|| status.to_string(), str::to_owned)),
    }
}
