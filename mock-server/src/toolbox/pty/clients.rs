//! Who watches a terminal, and how it ended.

use std::{sync::OnceLock, time::Duration};

use bytes::Bytes;
use futures_util::future::select_all;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Chunks that may wait for one client.
const QUEUE: usize = 256;

/// Clients of one session.
const MAX_CLIENTS: usize = 256;

/// How long a program waits when nobody takes its output.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a shell ended, as clients are told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Exit {
    pub exit_code: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_reason: Option<String>,
}

impl Exit {
    /// What `DELETE` reports, however the shell took it (observed).
    pub const DELETED: i32 = 137;

    /// `-1` stands for a shell that was killed by a signal (observed).
    pub fn new(exit_code: i32) -> Exit {
        let exit_reason = match exit_code {
            0 => None,
            130 => Some("Ctrl+C".to_owned()),
            137 => Some("SIGKILL".to_owned()),
            143 => Some("SIGTERM".to_owned()),
            code if code > 128 => Some(format!("signal {}", code - 128)),
            _ => Some("non-zero exit".to_owned()),
        };
        Exit { exit_code, exit_reason }
    }
}

/// The clients of one session. They may come before its shell is started.
#[derive(Default)]
pub struct Clients {
    attached: Mutex<Vec<Client>>,
    exit: OnceLock<Exit>,
    /// Set when the shell has ended and all of its output is queued.
    pub ended: CancellationToken,
}

struct Client {
    queue: mpsc::Sender<Bytes>,
    too_slow: CancellationToken,
}

/// A client's side: the queue ends when the shell did.
pub struct Attached {
    pub queue: mpsc::Receiver<Bytes>,
    /// Set when the client didn't keep up; it gets nothing more.
    pub too_slow: CancellationToken,
}

impl Clients {
    /// `None` when the shell has ended, or there are too many.
    pub fn attach(&self) -> Option<Attached> {
        let mut attached = self.attached.lock();
        attached.retain(|client| !client.queue.is_closed());
        if self.exit.get().is_some() || attached.len() >= MAX_CLIENTS {
            return None;
        }
        let ((sender, queue), too_slow) = (mpsc::channel(QUEUE), CancellationToken::new());
        attached.push(Client { queue: sender, too_slow: too_slow.clone() });
        Some(Attached { queue, too_slow })
    }

    /// Gives a chunk to everybody. A client that is behind is dropped, unless all are: then the terminal waits.
    pub async fn broadcast(&self, chunk: Bytes, deleted: &CancellationToken) {
        if let Some(waiting) = self.all_full() {
            let room = select_all(waiting.iter().map(|queue| Box::pin(queue.reserve())));
            tokio::select! {
                _ = deleted.cancelled() => {}
                _ = tokio::time::timeout(PATIENCE, room) => {}
            }
        }
        self.attached.lock().retain(|client| match client.queue.try_send(chunk.clone()) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => false,
            Err(mpsc::error::TrySendError::Full(_)) => {
                client.too_slow.cancel();
                false
            }
        });
    }

    /// The queues to wait for when none has room.
    fn all_full(&self) -> Option<Vec<mpsc::Sender<Bytes>>> {
        let mut attached = self.attached.lock();
        attached.retain(|client| !client.queue.is_closed());
        let full = !attached.is_empty() && attached.iter().all(|client| client.queue.capacity() == 0);
        full.then(|| attached.iter().map(|client| client.queue.clone()).collect())
    }

    /// The shell has ended: the queues do, too.
    pub fn finish(&self, exit: Exit) {
        let mut attached = self.attached.lock();
        // Only one task finishes a session.
        let _ = self.exit.set(exit);
        attached.clear();
        self.ended.cancel();
    }

    pub fn exit(&self) -> Option<&Exit> {
        self.exit.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons() {
        let json = |code| serde_json::to_string(&Exit::new(code)).expect("JSON");
        assert_eq!(json(0), r#"{"exitCode":0}"#);
        for (code, reason) in [
            (1, "non-zero exit"),
            (128, "non-zero exit"),
            (130, "Ctrl+C"),
            (137, "SIGKILL"),
            (139, "signal 11"),
            (143, "SIGTERM"),
            (-1, "non-zero exit"),
        ] {
            assert_eq!(json(code), format!(r#"{{"exitCode":{code},"exitReason":"{reason}"}}"#));
        }
    }

    #[tokio::test]
    async fn only_the_slow_client_is_dropped() {
        let (clients, never) = (Clients::default(), CancellationToken::new());
        let (mut quick, mut slow) = (clients.attach().expect("room"), clients.attach().expect("room"));
        for n in 0..=QUEUE {
            clients.broadcast(Bytes::from(n.to_string()), &never).await;
            assert_eq!(quick.queue.recv().await, Some(Bytes::from(n.to_string())));
        }
        assert!(slow.too_slow.is_cancelled() && !quick.too_slow.is_cancelled());
        clients.finish(Exit::new(0));
        assert_eq!(quick.queue.recv().await, None);
        let mut waiting = 0;
        while slow.queue.recv().await.is_some() {
            waiting += 1;
        }
        assert_eq!(waiting, QUEUE);
        assert!(clients.attach().is_none());
    }

    #[tokio::test]
    async fn a_terminal_waits_for_its_only_client() {
        let (clients, never) = (Clients::default(), CancellationToken::new());
        let mut only = clients.attach().expect("room");
        for _ in 0..QUEUE {
            clients.broadcast(Bytes::from_static(b"x"), &never).await;
        }
        let ((), first) = tokio::join!(clients.broadcast(Bytes::from_static(b"y"), &never), only.queue.recv());
        assert_eq!(first, Some(Bytes::from_static(b"x")));
        assert!(!only.too_slow.is_cancelled());
    }
}
