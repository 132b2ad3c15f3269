//! A WebSocket through the proxy, message by message.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        protocol::{Role, WebSocketConfig},
    },
};

use super::Change;

/// What is held back for a later message is sent after this time without one.
const HELD_FOR: Duration = Duration::from_millis(80);
/// For the client's answer to a close frame.
const CLOSING: Duration = Duration::from_secs(2);

/// Messages of one direction, as a mutant sees them.
#[derive(Default)]
pub struct Flow {
    /// Text and binary messages before this one.
    pub number: usize,
    /// Kept back: sent when nothing comes for a while.
    pub held: Vec<Message>,
    /// What is sent on.
    pub out: Vec<Message>,
    /// Whatever the mutant wants to remember.
    pub kept: Vec<Message>,
}

impl Flow {
    pub fn pass(&mut self, message: Message) {
        self.out.push(message);
    }

    /// Changes what text and binary messages hold.
    pub fn edit(&mut self, message: Message, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
        let changed = match message {
            Message::Text(text) => {
                let bytes = change(text.as_bytes().to_vec());
                Message::text(String::from_utf8_lossy(&bytes).into_owned())
            }
            Message::Binary(bytes) => Message::binary(change(bytes.to_vec())),
            other => other,
        };
        self.out.push(changed);
    }

    /// Changes a text message as JSON.
    pub fn json(&mut self, message: Message, change: impl FnOnce(&mut serde_json::Value)) {
        self.edit(message, |bytes| match serde_json::from_slice(&bytes) {
            Ok(mut value) => {
                change(&mut value);
                value.to_string().into_bytes()
            }
            Err(_) => bytes,
        });
    }

    fn through(&mut self, change: fn(&mut Flow, Message), message: Message, hits: &AtomicUsize) -> Vec<Message> {
        let is_data = matches!(message, Message::Text(_) | Message::Binary(_));
        change(self, message.clone());
        self.number += usize::from(is_data);
        let out = std::mem::take(&mut self.out);
        if out != [message] {
            hits.fetch_add(1, Ordering::Relaxed);
        }
        out
    }
}

fn unchanged(flow: &mut Flow, message: Message) {
    flow.pass(message);
}

/// Hands on messages between two upgraded connections until one of them ends.
pub(super) async fn bridge<C, S>(client: C, server: S, change: Change, hits: &AtomicUsize)
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    // What is too large is the server's to say.
    let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
    let mut client = WebSocketStream::from_raw_socket(client, Role::Server, Some(config)).await;
    let mut server = WebSocketStream::from_raw_socket(server, Role::Client, Some(config)).await;
    let down: fn(&mut Flow, Message) = if let Change::Down(change) = change { change } else { unchanged };
    let up: fn(&mut Flow, Message) = if let Change::Up(change) = change { change } else { unchanged };
    let (mut downwards, mut upwards) = (Flow::default(), Flow::default());
    loop {
        let is_holding = !downwards.held.is_empty() || !upwards.held.is_empty();
        tokio::select! {
            message = server.next() => {
                let Some(Ok(message)) = message else { return };
                let is_close = message.is_close();
                let out = downwards.through(down, message, hits);
                let closes = out.iter().any(Message::is_close);
                for message in out {
                    if client.send(message).await.is_err() {
                        return;
                    }
                }
                if is_close {
                    _ = server.flush().await;
                    // The client closes its side.
                    _ = tokio::time::timeout(CLOSING, async { while closes && client.next().await.is_some() {} }).await;
                    return;
                }
            }
            message = client.next() => {
                let Some(Ok(message)) = message else { return };
                for message in upwards.through(up, message, hits) {
                    if server.send(message).await.is_err() {
                        break;
                    }
                }
            }
            () = tokio::time::sleep(HELD_FOR), if is_holding => {
                for message in std::mem::take(&mut downwards.held) {
                    _ = client.send(message).await;
                }
                for message in std::mem::take(&mut upwards.held) {
                    _ = server.send(message).await;
                }
            }
        }
    }
}
