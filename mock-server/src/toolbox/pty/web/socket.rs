//! The page's WebSocket: a shell for as long as it is open.

use std::{collections::BTreeMap, sync::Arc};

use axum::extract::ws::{Message, WebSocket, close_code};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Map, Value};
use tokio::sync::{Notify, watch};

use super::super::{
    MAX_SIZE, NewSession, Session,
    clients::Attached,
    connect::{Sink, attach, last_frame},
    input::input,
    terminal,
};
use crate::toolbox::{Ctx, utf8::Joiner, websocket};

/// UTF-16 units that a page may have to read yet; then the shell waits. Counts for pages that say what they have read.
const WINDOW: u64 = 1 << 20;

/// Starts a shell in `/` (observed) and ends it with the socket.
pub async fn serve(socket: WebSocket, ctx: Ctx) {
    let session = Arc::new(Session::new(&ctx, shell(&ctx)));
    let _ends_with_us = session.deleted.clone().drop_guard();
    let (mut sink, mut stream) = socket.split();
    let attached = match attach(&ctx, session.clone()) {
        Ok((_, attached)) => attached,
        Err(error) => {
            return websocket::close(sink, stream, close_code::ERROR, &error, session.limits.closing).await;
        }
    };
    let (ping, too_slow) = (Notify::new(), attached.too_slow.clone());
    let (read, reports) = watch::channel(None);
    let deadline = async {
        session.clients.ended.cancelled().await;
        tokio::time::sleep(session.limits.last_words).await;
    };
    let end = tokio::select! {
        end = output(&mut sink, &session, attached, reports, &ping) => end.ok(),
        end = input(&mut stream, &session, &ping, |text| is_control(text, &session, &read)) => end,
        () = too_slow.cancelled() => Some((close_code::POLICY, "slow consumer".to_owned())),
        () = deadline => None,
    };
    match end {
        Some((code, reason)) => websocket::close(sink, stream, code, &reason, session.limits.closing).await,
        None => websocket::answer_close(sink, session.limits.closing).await,
    }
}

/// No login shell; a `TERM` of the sandbox wins (observed).
fn shell(ctx: &Ctx) -> NewSession {
    let envs: BTreeMap<_, _> = ctx.env().remove_entry("TERM").into_iter().collect();
    let (id, cwd) = (String::new(), Some("/".to_owned()));
    NewSession { id, cwd, envs, cols: None, rows: None, lazy_start: false, login: false }
}

/// An object is the page's size, or, with `read`, how much more of the output it has shown.
fn is_control(text: &str, session: &Session, read: &watch::Sender<Option<u64>>) -> bool {
    let Ok(object) = serde_json::from_str::<Map<String, Value>>(text) else { return false };
    let number = |name: &str| object.get(name).and_then(Value::as_u64).unwrap_or(0);
    if object.contains_key("read") {
        read.send_modify(|total| *total = Some(total.unwrap_or(0).saturating_add(number("read"))));
    } else if let Some(terminal) = session.terminal() {
        let size = |name| u16::try_from(number(name)).unwrap_or(MAX_SIZE).min(MAX_SIZE);
        // A terminal that can't be resized is about to end.
        let _ = terminal.resize(terminal::size(size("cols"), size("rows")));
    }
    true
}

/// Sends what the shell shows, as text, until it ends; the close frame's code and reason.
async fn output(
    sink: &mut Sink,
    session: &Session,
    mut attached: Attached,
    mut reports: watch::Receiver<Option<u64>>,
    ping: &Notify,
) -> Result<(u16, String), axum::Error> {
    let (mut text, mut sent) = (Joiner::default(), 0);
    loop {
        let may_send = reports.borrow_and_update().is_none_or(|read| sent < read.saturating_add(WINDOW));
        tokio::select! {
            chunk = attached.queue.recv(), if may_send => {
                let Some(chunk) = chunk else { break };
                sent += send(sink, text.feed(&chunk)).await?;
            }
            Ok(()) = reports.changed(), if !may_send => {}
            () = ping.notified() => sink.send(Message::Ping(Default::default())).await?,
        }
    }
    send(sink, text.finish()).await?;
    match session.clients.exit() {
        Some(exit) => Ok(last_frame(exit)),
        // Dropped as too slow: the queue ends then, too.
        None => std::future::pending().await,
    }
}

/// How many units a script counts in it.
async fn send(sink: &mut Sink, text: String) -> Result<u64, axum::Error> {
    let units = text.encode_utf16().count();
    if units > 0 {
        sink.send(Message::Text(text.into())).await?;
    }
    Ok(units as u64)
}
