//! What a client types, on its way to the terminal.

use std::{collections::VecDeque, future::pending};

use axum::{
    body::Bytes,
    extract::ws::{Message, WebSocket, close_code},
};
use futures_util::{StreamExt, stream::SplitStream};
use tokio::{sync::Notify, time::sleep};

use super::{Session, limits::Limits};

/// The largest frame of input (observed).
const MAX_INPUT: usize = 64 << 10;

/// What a waiting frame costs besides its bytes.
const OVERHEAD: usize = 64;

/// The code and reason of the close frame for a client at fault; `None` for one that is gone.
pub type End = Option<(u16, String)>;

/// Types what the client sends, whole frames in order of arrival, until it goes. Reads on while the terminal takes
/// nothing, so that it is noticed when the client leaves; where too much waits already, the client is to be pinged.
/// Text that `is_control` takes is not typed.
pub async fn input(
    stream: &mut SplitStream<WebSocket>,
    session: &Session,
    ping: &Notify,
    is_control: impl Fn(&str) -> bool,
) -> End {
    let limits = &session.limits;
    let mut ahead = Ahead::default();
    loop {
        let bytes = match ahead.pop() {
            Some(bytes) => bytes,
            None => match frame(stream, &is_control).await {
                Ok(bytes) => bytes,
                Err(end) => return end,
            },
        };
        // Without one the shell has ended, and the other half tells that.
        let Some(terminal) = session.terminal() else { continue };
        if terminal.is_abandoned() {
            return unavailable(session, limits).await;
        }
        let typing = terminal.write(&bytes);
        tokio::pin!(typing);
        loop {
            tokio::select! {
                biased;
                _ = &mut typing => break,
                () = session.clients.ended.cancelled() => break,
                frame = frame(stream, &is_control), if ahead.cost < limits.typed_ahead => match frame {
                    Ok(bytes) => ahead.push(bytes),
                    Err(end) => return end,
                },
                () = sleep(limits.ping) => ping.notify_one(),
            }
        }
    }
}

/// Frames that wait for their turn.
#[derive(Default)]
struct Ahead {
    frames: VecDeque<Bytes>,
    cost: usize,
}

impl Ahead {
    fn push(&mut self, frame: Bytes) {
        self.cost += frame.len() + OVERHEAD;
        self.frames.push_back(frame);
    }

    fn pop(&mut self) -> Option<Bytes> {
        let frame = self.frames.pop_front()?;
        self.cost -= frame.len() + OVERHEAD;
        Some(frame)
    }
}

/// The next frame of input.
async fn frame(stream: &mut SplitStream<WebSocket>, is_control: impl Fn(&str) -> bool) -> Result<Bytes, End> {
    loop {
        let bytes = match stream.next().await {
            Some(Ok(Message::Text(text))) if is_control(&text) => continue,
            Some(Ok(Message::Text(text))) => text.into(),
            Some(Ok(Message::Binary(bytes))) => bytes,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
            Some(Ok(Message::Close(_))) | None => return Err(None),
            Some(Err(error)) => return Err(at_fault(&error.to_string())),
        };
        return if bytes.len() > MAX_INPUT { Err(too_large()) } else { Ok(bytes) };
    }
}

fn too_large() -> End {
    Some((close_code::SIZE, "frame too large".to_owned()))
}

/// The close frame for a broken frame. axum hands out the error's text only.
fn at_fault(error: &str) -> End {
    match error {
        error if error.contains("too long") => too_large(),
        error if error.contains("UTF-8") => Some((close_code::INVALID, "text is not UTF-8".to_owned())),
        error if error.contains("closing handshake") => None,
        error if error.contains("protocol error") => Some((close_code::PROTOCOL, "broken frame".to_owned())),
        _ => None,
    }
}

/// Nobody has the terminal open, so nothing can be typed.
async fn unavailable(session: &Session, limits: &Limits) -> End {
    tokio::select! {
        // A shell that ends lets go of its terminal first; how it ended, the other half tells.
        () = session.clients.ended.cancelled() => pending().await,
        () = sleep(limits.hang_up) => Some((close_code::ERROR, "PTY session unavailable".to_owned())),
    }
}
