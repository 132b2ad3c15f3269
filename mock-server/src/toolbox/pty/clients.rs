//! Who watches a terminal, and how it ended.

use std::sync::OnceLock;

use bytes::Bytes;
use futures_util::{FutureExt, future::select_all};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

use super::limits::Limits;

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
pub struct Clients {
    limits: Limits,
    attached: Mutex<Vec<Client>>,
    exit: OnceLock<Exit>,
    /// Set when the shell has ended and all of its output is queued.
    pub ended: CancellationToken,
}

type Queue = mpsc::Sender<Bytes>;

struct Client {
    queue: Queue,
    too_slow: CancellationToken,
}

/// A client's side: the queue ends when the shell did.
pub struct Attached {
    pub queue: mpsc::Receiver<Bytes>,
    /// Set when the client didn't keep up; it gets nothing more.
    pub too_slow: CancellationToken,
}

impl Clients {
    pub fn new(limits: Limits) -> Clients {
        Clients { limits, attached: Mutex::default(), exit: OnceLock::new(), ended: CancellationToken::new() }
    }

    /// `None` when the shell has ended, or there are too many.
    pub fn attach(&self) -> Option<Attached> {
        let mut attached = self.attached.lock();
        attached.retain(|client| !client.queue.is_closed());
        if self.exit.get().is_some() || attached.len() >= self.limits.clients {
            return None;
        }
        let ((sender, queue), too_slow) = (mpsc::channel(self.limits.queue), CancellationToken::new());
        attached.push(Client { queue: sender, too_slow: too_slow.clone() });
        Some(Attached { queue, too_slow })
    }

    /// Gives a chunk to everybody. Waits for a client that is behind as long as that keeps no other from reading, and not
    /// for ever; then it is dropped. So the speed is that of the fastest client, and equally fast ones stay.
    pub async fn broadcast(&self, chunk: Bytes, deleted: &CancellationToken) {
        if self.behind().is_some() {
            tokio::select! {
                () = deleted.cancelled() => {}
                _ = timeout(self.limits.patience, self.room()) => {}
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

    /// Waits until every queue has room, or one is empty while another has none.
    async fn room(&self) {
        while let Some((full, others)) = self.behind() {
            let room = full.iter().map(|queue| queue.reserve().map(|_| ()).boxed());
            let read = others.iter().map(|queue| queue.reserve_many(self.limits.queue).map(|_| ()).boxed());
            select_all(room.chain(read)).await;
        }
    }

    /// The queues without room, and the others; `None` when there is nothing to wait for.
    fn behind(&self) -> Option<(Vec<Queue>, Vec<Queue>)> {
        let mut attached = self.attached.lock();
        attached.retain(|client| !client.queue.is_closed());
        let room = |at_least: usize| attached.iter().any(|client| client.queue.capacity() >= at_least);
        if attached.iter().all(|client| client.queue.capacity() > 0) || room(self.limits.queue) {
            return None;
        }
        Some(attached.iter().map(|client| client.queue.clone()).partition(|queue| queue.capacity() == 0))
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

    const QUEUE: usize = 8;

    fn clients() -> Clients {
        Clients::new(Limits { queue: QUEUE, ..Limits::default() })
    }

    async fn show(clients: &Clients, chunks: std::ops::Range<usize>) {
        for n in chunks {
            clients.broadcast(Bytes::from(n.to_string()), &CancellationToken::new()).await;
        }
    }

    #[tokio::test]
    async fn only_the_slow_client_is_dropped() {
        let clients = clients();
        let (mut quick, mut slow) = (clients.attach().expect("room"), clients.attach().expect("room"));
        for n in 0..=QUEUE {
            show(&clients, n..n + 1).await;
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
        let clients = clients();
        let mut only = clients.attach().expect("room");
        show(&clients, 0..QUEUE).await;
        let ((), first) = tokio::join!(show(&clients, QUEUE..QUEUE + 1), only.queue.recv());
        assert_eq!(first, Some(Bytes::from_static(b"0")));
        assert!(!only.too_slow.is_cancelled());
    }

    #[tokio::test]
    async fn clients_that_read_equally_fast_all_stay() {
        let clients = clients();
        let mut attached = [(); 3].map(|()| clients.attach().expect("room"));
        let readers = attached.iter_mut().map(async |client| {
            for n in 0..1000 {
                assert_eq!(client.queue.recv().await, Some(Bytes::from(n.to_string())));
                tokio::task::yield_now().await;
            }
        });
        tokio::join!(show(&clients, 0..1000), futures_util::future::join_all(readers));
    }

    #[tokio::test]
    async fn patience_ends() {
        let patience = std::time::Duration::from_millis(10);
        let clients = Clients::new(Limits { queue: QUEUE, patience, ..Limits::default() });
        let only = clients.attach().expect("room");
        show(&clients, 0..QUEUE + 1).await;
        assert!(only.too_slow.is_cancelled());
    }
}
