//! What the toolbox's WebSockets have in common.

use std::time::Duration;

use axum::{
    extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};

/// A close frame's reason holds no more.
pub const MAX_REASON: usize = 123;

/// For a client to answer a close frame, unless there is a reason for another time.
pub const CLOSING: Duration = Duration::from_secs(5);

/// What handlers extract to find out.
pub type Upgrade = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

/// The answer to an ordinary request (observed).
pub fn not_one() -> Response {
    (StatusCode::BAD_REQUEST, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], "Bad Request\n").into_response()
}

/// What is read of a client at a time. Each attempt to read clears as much memory, and clients mostly listen.
pub const READ_BUFFER: usize = 4 << 10;

/// Selects the first sub-protocol that is offered: SDKs on Node insist on one of theirs.
pub fn select_first(mut upgrade: WebSocketUpgrade, headers: &HeaderMap) -> WebSocketUpgrade {
    // axum gives them sorted.
    let offered = headers.get(header::SEC_WEBSOCKET_PROTOCOL).and_then(|value| value.to_str().ok());
    let first = offered.and_then(|offered| offered.split(',').map(str::trim).find(|token| !token.is_empty()));
    if let Some(first) = first.and_then(|first| HeaderValue::from_str(first).ok()) {
        upgrade.set_selected_protocol(first);
    }
    upgrade.read_buffer_size(READ_BUFFER)
}

/// Whether reading failed on a frame or message beyond the limits.
pub fn is_too_large(error: &axum::Error) -> bool {
    error.to_string().contains("too long")
}

/// Sends the answer to a client's close frame, which reading that has made, and what else waits. Nobody may be there any more.
pub async fn answer_close(mut sink: SplitSink<WebSocket, Message>, patience: Duration) {
    let _ = tokio::time::timeout(patience, sink.close()).await;
}

/// Sends a close frame with as much of the reason as fits, and waits for the client's, but not longer than `patience`.
pub async fn close(
    mut sink: SplitSink<WebSocket, Message>,
    mut stream: SplitStream<WebSocket>,
    code: u16,
    reason: &str,
    patience: Duration,
) {
    let end = (0..=MAX_REASON.min(reason.len())).rev().find(|end| reason.is_char_boundary(*end)).unwrap_or(0);
    let reason = reason[..end].into();
    let closing = async {
        if sink.send(Message::Close(Some(CloseFrame { code, reason }))).await.is_ok() {
            // Until the client has closed as well: dropped before, the connection could be reset under the last frames.
            while let Some(Ok(_)) = stream.next().await {}
        }
    };
    let _ = tokio::time::timeout(patience, closing).await;
}
