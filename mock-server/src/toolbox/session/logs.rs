//! `GetSessionCommandLogs`: a snapshot over HTTP, or followed by WebSocket.

use std::{io, sync::Arc};

use axum::{
    body::Body,
    extract::{
        Path, Query, State,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code, rejection::WebSocketUpgradeRejection},
    },
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};

use super::{
    ENTRYPOINT,
    command::Command,
    entrypoint,
    markers::{Demux, split, strip},
};
use crate::toolbox::{
    Ctx, ToolboxError, go_errors,
    process::output::{Part, respond},
    sdk_version::{LEGACY_PATH_HEADER, Release, SdkVersion, protocol_token},
    websocket,
};

/// What is sent of a log at a time.
const CHUNK: u64 = 32 << 10;

/// Clients have nothing to say on this socket.
const MAX_CLIENT_MESSAGE: usize = 64 << 10;

const MARKERS_SINCE: Release = Release::new(0, 27, 0);
const SPLIT_SINCE: Release = Release::new(0, 167, 0);
/// Older SDKs follow over plain chunked HTTP (`clients.md`).
const WEB_SOCKET_SINCE: Release = Release::new(0, 104, 0);

/// How a client of some version takes a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Text without markers: before 0.27, and clients that are no SDK.
    Combined,
    /// Text with markers.
    Marked,
    /// JSON, with `stdout` and `stderr` besides the marked text.
    Split,
}

impl Style {
    pub fn of(headers: &HeaderMap) -> Style {
        let asks = headers.get("X-Daytona-Split-Output").is_some_and(|value| value == "true");
        match SdkVersion::of(headers) {
            SdkVersion::Absent if !asks => Style::Combined,
            version if version.is_before(MARKERS_SINCE) => Style::Combined,
            version if version.is_at_least(SPLIT_SINCE) => Style::Split,
            _ => Style::Marked,
        }
    }
}

/// `GetSessionCommandLogs`. Unknown ids are 404 before any upgrade.
pub async fn logs(
    State(ctx): State<Ctx>,
    Path((session, command)): Path<(String, String)>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ToolboxError> {
    entrypoint::awaken(&ctx, &session).await;
    let command = ctx.sessions().get(&session)?.command(&command)?;
    answer(command, Style::of(&headers), query, headers, upgrade).await
}

/// `GetEntrypointLogs`: the same of the main program, with markers for every client (observed).
pub async fn entrypoint_logs(
    State(ctx): State<Ctx>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ToolboxError> {
    entrypoint::awaken(&ctx, ENTRYPOINT).await;
    let command = ctx.sessions().get(ENTRYPOINT)?.command(entrypoint::COMMAND)?;
    let style = match Style::of(&headers) {
        Style::Combined => Style::Marked,
        style => style,
    };
    answer(command, style, query, headers, upgrade).await
}

async fn answer(
    command: Arc<Command>,
    style: Style,
    query: Vec<(String, String)>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ToolboxError> {
    // Only the literal `true` counts (observed).
    let follow = query.iter().any(|(name, value)| name == "follow" && value == "true");
    if let Ok(upgrade) = upgrade {
        return Ok(web_socket(upgrade, &headers, follow_log(command, follow), style));
    }
    // The old API path has no WebSockets at all.
    let plain = headers.contains_key(LEGACY_PATH_HEADER) || SdkVersion::of(&headers).is_before(WEB_SOCKET_SINCE);
    if follow && plain {
        return Ok(text(Body::from_stream(in_style(follow_log(command, true), style))));
    }
    let log = command.read_log(0, u64::MAX).await.map_err(|error| ToolboxError::internal(go_errors::text(&error)))?;
    Ok(match style {
        Style::Combined => text(strip(&log).into()),
        Style::Marked => text(log.into()),
        Style::Split => {
            let mut parts: Vec<Part> = vec!["{".into()];
            parts.extend(render(log, style));
            parts.push("}".into());
            respond(parts)
        }
    })
}

fn text(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response()
}

/// `"output":"…","stdout":"…","stderr":"…"`
pub fn render(log: Vec<u8>, style: Style) -> Vec<Part> {
    let nulls = "\",\"stdout\":null,\"stderr\":null";
    match style {
        Style::Combined => vec!["\"output\":\"".into(), strip(&log).into(), nulls.into()],
        Style::Marked => vec!["\"output\":\"".into(), log.into(), nulls.into()],
        Style::Split => {
            let (stdout, stderr) = split(&log);
            let parts: [Part; 7] = [
                "\"output\":\"".into(),
                log.into(),
                "\",\"stdout\":\"".into(),
                stdout.into(),
                "\",\"stderr\":\"".into(),
                stderr.into(),
                "\"".into(),
            ];
            parts.into()
        }
    }
}

/// The log as it is, and, when followed, as it grows until the command is over.
fn follow_log(command: Arc<Command>, follow: bool) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let progress = command.watch();
    stream::unfold((command, progress, 0), move |(command, mut progress, sent)| async move {
        loop {
            let now = *progress.borrow_and_update();
            if sent < now.logged {
                let read = command.read_log(sent, CHUNK.min(now.logged - sent)).await;
                let length = read.as_ref().map_or(0, |bytes| bytes.len() as u64);
                // Somebody cut or removed the file: nothing more will come.
                return match (read, now.cancelled) {
                    (Ok(bytes), _) if length > 0 => Some((Ok(Bytes::from(bytes)), (command, progress, sent + length))),
                    (Err(error), false) => Some((Err(error), (command, progress, u64::MAX))),
                    _ => None,
                };
            }
            // An error can't be: the sender lives in `command`.
            if sent == u64::MAX || now.is_over() || !follow || progress.changed().await.is_err() {
                return None;
            }
        }
    })
}

/// Takes the markers out where the client doesn't know them.
fn in_style(
    log: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    style: Style,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let mut demux = Demux::default();
    log.map(move |chunk| match style {
        Style::Combined => chunk.map(|chunk| {
            let mut text = Vec::with_capacity(chunk.len());
            demux.feed(&chunk, |_, part| text.extend_from_slice(part));
            Bytes::from(text)
        }),
        Style::Marked | Style::Split => chunk,
    })
}

fn web_socket(
    upgrade: WebSocketUpgrade,
    headers: &HeaderMap,
    log: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    style: Style,
) -> Response {
    let protocol = protocol_token(headers).map(str::to_owned);
    let upgrade =
        upgrade.protocols(protocol).read_buffer_size(websocket::READ_BUFFER).max_message_size(MAX_CLIENT_MESSAGE);
    upgrade.on_upgrade(move |socket| send(socket, in_style(log, style)))
}

/// Binary frames, then a close frame: 1000 when all was sent or the session deleted, 1011 when the log can't be read.
async fn send(mut socket: WebSocket, log: impl Stream<Item = io::Result<Bytes>>) {
    tokio::pin!(log);
    let code = loop {
        tokio::select! {
            chunk = log.next() => match chunk {
                Some(Ok(chunk)) if chunk.is_empty() => {}
                Some(Ok(chunk)) => if socket.send(Message::Binary(chunk)).await.is_err() { return },
                Some(Err(_)) => break close_code::ERROR,
                None => break close_code::NORMAL,
            },
            // Answers pings, too.
            message = socket.recv() => if !matches!(message, Some(Ok(_))) { return },
        }
    };
    let _ = socket.send(Message::Close(Some(CloseFrame { code, reason: "".into() }))).await;
    // Until the client has closed as well: dropped before, the connection could be reset under the last frames.
    let closed = async { while let Some(Ok(_)) = socket.recv().await {} };
    let _ = tokio::time::timeout(std::time::Duration::from_secs(5), closed).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn styles_by_version() {
        let style = |version: Option<&str>, split: bool| {
            let mut headers = HeaderMap::new();
            if let Some(version) = version {
                headers.insert("x-daytona-sdk-version", version.parse().expect("value"));
            }
            if split {
                headers.insert("x-daytona-split-output", "true".parse().expect("value"));
            }
            Style::of(&headers)
        };
        assert_eq!(style(None, false), Style::Combined);
        assert_eq!(style(None, true), Style::Marked);
        assert_eq!(style(Some("0.26.9"), true), Style::Combined);
        assert_eq!(style(Some("0.27.0"), false), Style::Marked);
        assert_eq!(style(Some("0.166.0"), false), Style::Marked);
        assert_eq!(style(Some("unknown"), false), Style::Marked);
        assert_eq!(style(Some("0.167.0"), false), Style::Split);
        assert_eq!(style(Some("0.0.0-dev"), false), Style::Split);
    }
}
