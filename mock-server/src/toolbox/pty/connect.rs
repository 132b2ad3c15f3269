//! The WebSockets of terminals: `ConnectPtySession`, and `create-connect`, which makes the session, too.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    body::Bytes,
    extract::{
        Path, RawQuery, State,
        ws::{Message, WebSocket, WebSocketUpgrade, close_code},
    },
    http::HeaderMap,
    response::Response,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use futures_util::{SinkExt, StreamExt, stream::SplitSink};
use serde_json::json;
use tokio::sync::{Notify, OwnedMutexGuard};

use super::{
    MAX_SIZE, NewSession, Session, bad_request,
    clients::{Attached, Exit},
    input::input,
    limits::Limits,
};
use crate::toolbox::{
    Ctx, ToolboxError, go_errors,
    json::to_vec,
    websocket::{self, Upgrade},
};

/// Whoever offers this sub-protocol is told the exit in a frame, too.
const EXIT_CONTROL: &str = "X-Daytona-Pty-Exit-Control";

/// Starts the sub-protocol that carries environment variables.
const ENVS: &str = "X-Daytona-Pty-Envs~";

/// The longest such token.
const MAX_ENVS: usize = 64 << 10;

/// What is read of a frame that is too large, so that it can be refused in good order.
const MAX_FRAME: usize = 1 << 20;

pub(super) type Sink = SplitSink<WebSocket, Message>;

/// `ConnectPtySession`: the upgrade succeeds for unknown ids, too (observed); the socket tells.
pub async fn connect(State(ctx): State<Ctx>, Path(id): Path<String>, headers: HeaderMap, upgrade: Upgrade) -> Response {
    let Ok(upgrade) = upgrade else { return websocket::not_one() };
    let (upgrade, exit_control) = negotiate(upgrade, &headers);
    let turn = ctx.pty().turn().await;
    let attached = match ctx.pty().get(&id) {
        Some(session) => attach(&ctx, session),
        None => Err(super::not_found(&id)),
    };
    upgrade.on_upgrade(async move |socket| match attached {
        Ok((session, attached)) => serve(socket, session, attached, exit_control, turn).await,
        Err(error) => {
            drop(turn);
            refuse(socket, format!("Failed to connect to PTY session: {error}"), ctx.pty_limits()).await;
        }
    })
}

/// `create-connect` of the newest SDKs. What is wrong with the request is told before the upgrade; the client's queue is
/// there before the shell, so it sees the prompt.
///
/// The shell is there before the upgrade, and one client at a time comes so far: the sync SDK of Python (0.226,
/// `_sync/process.py`) waits 0.1 s for the first frame, which many shells that start at once would use up.
pub async fn create_connect(
    State(ctx): State<Ctx>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Result<Response, ToolboxError> {
    let mut new = parse_query(query.as_deref().unwrap_or_default())?;
    let Ok(upgrade) = upgrade else { return Ok(websocket::not_one()) };
    new.envs = offered_envs(&upgrade)?;
    let session = ctx.pty().insert(&ctx, new)?;
    let reservation = Reservation { ctx: ctx.clone(), session: Some(session.clone()) };
    let (upgrade, exit_control) = negotiate(upgrade, &headers);
    let turn = ctx.pty().turn().await;
    let attached = attach(&ctx, session);
    Ok(upgrade.on_upgrade(async move |socket| {
        match attached {
            Ok((session, attached)) => {
                reservation.stays();
                serve(socket, session, attached, exit_control, turn).await;
            }
            Err(error) => {
                // The id is free before the client hears of it, and the next one's turn has come.
                drop((reservation, turn));
                refuse(socket, format!("Failed to start PTY session: {error}"), ctx.pty_limits()).await;
            }
        }
    }))
}

/// A session that is there once its client is, and goes if the upgrade turns out to fail.
struct Reservation {
    ctx: Ctx,
    session: Option<Arc<Session>>,
}

impl Reservation {
    fn stays(mut self) {
        self.session = None;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            session.deleted.cancel();
            self.ctx.pty().remove(&session);
        }
    }
}

pub(super) fn attach(ctx: &Ctx, session: Arc<Session>) -> Result<(Arc<Session>, Attached), String> {
    let attached = session.clients.attach().ok_or_else(|| session.not_found())?;
    session.start(ctx).map_err(|error| go_errors::text(&error))?;
    Ok((session, attached))
}

/// Selects the first sub-protocol that is offered: SDKs on Node insist on one of theirs. Also, whether the client wants
/// to be told the exit.
fn negotiate(upgrade: WebSocketUpgrade, headers: &HeaderMap) -> (WebSocketUpgrade, bool) {
    let exit_control = upgrade.requested_protocols().any(|protocol| protocol == EXIT_CONTROL);
    let upgrade = websocket::select_first(upgrade, headers);
    (upgrade.max_message_size(MAX_FRAME).max_frame_size(MAX_FRAME), exit_control)
}

fn parse_query(query: &str) -> Result<NewSession, ToolboxError> {
    let parameter = |wanted: &str| {
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs.find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned()).filter(|value| !value.is_empty())
    };
    let size = |name: &str| {
        let parse = |value: String| value.parse::<u16>();
        let parsed = parameter(name).map(parse).transpose();
        parsed.map_err(|_| bad_request(format!("{name} must be an integer between 0 and 65535")))
    };
    let id = parameter("id").ok_or_else(|| bad_request("session ID is required (query param 'id')"))?;
    let (cols, rows) = (size("cols")?, size("rows")?);
    if cols.max(rows).is_some_and(|size| size > MAX_SIZE) {
        return Err(bad_request("cols and rows must be less than 1000"));
    }
    Ok(NewSession { id, cwd: parameter("cwd"), envs: BTreeMap::new(), cols, rows, lazy_start: false, login: true })
}

fn offered_envs(upgrade: &WebSocketUpgrade) -> Result<BTreeMap<String, String>, ToolboxError> {
    let mut protocols = upgrade.requested_protocols().filter_map(|protocol| protocol.to_str().ok());
    let token = protocols.find_map(|protocol| protocol.strip_prefix(ENVS));
    let envs = token.map_or_else(|| Ok(BTreeMap::new()), parse_envs);
    envs.map_err(|error| bad_request(format!("invalid envs subprotocol: {error}")))
}

fn parse_envs(token: &str) -> Result<BTreeMap<String, String>, String> {
    if token.len() > MAX_ENVS {
        return Err(format!("longer than {MAX_ENVS} bytes"));
    }
    let json = BASE64_URL_SAFE_NO_PAD.decode(token).map_err(|error| error.to_string())?;
    let envs: BTreeMap<String, Option<String>> = serde_json::from_slice(&json).map_err(|error| error.to_string())?;
    let envs: BTreeMap<String, String> =
        envs.into_iter().map(|(name, value)| (name, value.unwrap_or_default())).collect();
    let odd = |name: &str| name.is_empty() || name.contains(['=', '\0', '\n']);
    if let Some(name) = envs.keys().find(|name| odd(name)) {
        return Err(format!("invalid environment variable name {name:?}"));
    }
    Ok(envs)
}

/// Says why there is no terminal, and closes.
async fn refuse(socket: WebSocket, error: String, limits: &Limits) {
    let (mut sink, stream) = socket.split();
    let control = text(&json!({"error": error, "status": "error", "type": "control"}));
    if let Ok(Ok(())) = tokio::time::timeout(limits.closing, sink.send(control)).await {
        websocket::close(sink, stream, close_code::ERROR, &error, limits.closing).await;
    }
}

/// One client's time at a terminal.
async fn serve(
    socket: WebSocket,
    session: Arc<Session>,
    mut attached: Attached,
    exit_control: bool,
    turn: OwnedMutexGuard<()>,
) {
    let (mut sink, mut stream) = socket.split();
    let (limits, ping) = (&session.limits, Notify::new());
    let too_slow = attached.too_slow.clone();
    let deadline = async {
        session.clients.ended.cancelled().await;
        tokio::time::sleep(limits.last_words).await;
    };
    let end = tokio::select! {
        end = output(&mut sink, &session, &mut attached, &ping, exit_control, turn) => end.ok(),
        end = input(&mut stream, &session, &ping, |_| false) => end,
        () = too_slow.cancelled() => Some((close_code::POLICY, "slow consumer".to_owned())),
        () = deadline => None,
    };
    // Nothing more is to be queued for it.
    drop(attached);
    let Some((code, reason)) = end else { return websocket::answer_close(sink, limits.closing).await };
    // Who reads slowly takes longer to come to the close frame.
    let patience = if too_slow.is_cancelled() { limits.last_words } else { limits.closing };
    websocket::close(sink, stream, code, &reason, patience).await;
}

/// Sends what the terminal shows until the shell ends; the close frame's code and reason.
async fn output(
    sink: &mut Sink,
    session: &Session,
    attached: &mut Attached,
    ping: &Notify,
    exit_control: bool,
    turn: OwnedMutexGuard<()>,
) -> Result<(u16, String), axum::Error> {
    sink.send(text(&json!({"status": "connected", "type": "control"}))).await?;
    drop(turn);
    loop {
        let next = tokio::select! {
            next = attached.queue.recv() => next,
            () = ping.notified() => {
                sink.send(Message::Ping(Bytes::new())).await?;
                continue;
            }
        };
        let Some(chunk) = next else { break };
        sink.feed(Message::Binary(chunk)).await?;
        while let Ok(chunk) = attached.queue.try_recv() {
            sink.feed(Message::Binary(chunk)).await?;
        }
        sink.flush().await?;
    }
    let Some(exit) = session.clients.exit() else {
        // Dropped as too slow: the queue ends then, too.
        return std::future::pending().await;
    };
    if exit_control {
        sink.send(text(&exited(exit))).await?;
    }
    Ok(last_frame(exit))
}

/// Code and reason of the close frame that tells the exit.
pub(super) fn last_frame(exit: &Exit) -> (u16, String) {
    let code = if exit.exit_code == 0 { close_code::NORMAL } else { close_code::ERROR };
    (code, String::from_utf8_lossy(&to_vec(exit)).into_owned())
}

/// The frame that tells the exit to whoever asked for it.
fn exited(exit: &Exit) -> serde_json::Value {
    let mut control = json!({"type": "control", "status": "exited", "exitCode": exit.exit_code});
    if let Some(reason) = &exit.exit_reason {
        control["exitReason"] = json!(reason);
    }
    control
}

fn text(control: &serde_json::Value) -> Message {
    Message::Text(String::from_utf8_lossy(&to_vec(control)).as_ref().into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn environments_come_out_as_they_went_in(
            envs in prop::collection::btree_map("[^=\0\n]{1,8}", ".*", 0..5)
        ) {
            let token = BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(&envs).expect("JSON"));
            prop_assert_eq!(parse_envs(&token), Ok(envs));
        }

        #[test]
        fn no_text_is_too_odd(text in ".*", json in any::<Vec<u8>>()) {
            let _ = parse_envs(&text);
            let _ = parse_envs(&BASE64_URL_SAFE_NO_PAD.encode(json));
            if let Ok(new) = parse_query(&text) {
                prop_assert!(!new.id.is_empty() && new.cols.max(new.rows).unwrap_or(0) <= MAX_SIZE);
            }
        }

        #[test]
        fn whoever_reads_only_the_reason_learns_the_exit(code in any::<i32>()) {
            let exit = Exit::new(code);
            let reason = String::from_utf8(to_vec(&exit)).expect("text");
            prop_assert!(reason.len() <= websocket::MAX_REASON);
            let (reason, control) = (serde_json::from_str::<serde_json::Value>(&reason).expect("JSON"), exited(&exit));
            prop_assert_eq!(&control["exitCode"], &reason["exitCode"]);
            prop_assert_eq!(control.get("exitReason"), reason.get("exitReason"));
            prop_assert_eq!(reason.get("exitReason").is_none(), code == 0);
        }
    }

    #[test]
    fn environment_tokens() {
        let token = |json: &str| BASE64_URL_SAFE_NO_PAD.encode(json);
        let envs = parse_envs(&token(r#"{"A":"1","B":"x=y\n"}"#)).expect("fine");
        assert_eq!(envs, BTreeMap::from([("A".into(), "1".into()), ("B".into(), "x=y\n".into())]));
        for bad in [r#"{"":"1"}"#, r#"{"A=B":"1"}"#, r#"{"A\u0000":"1"}"#, r#"{"A\n":"1"}"#, r#"{"A":1}"#, "[]", ""] {
            assert!(parse_envs(&token(bad)).is_err(), "{bad}");
        }
        assert!(parse_envs("%").is_err());
        assert!(parse_envs(&"A".repeat(MAX_ENVS + 1)).is_err());
    }
}
