//! Kept-alive HTTP/1.1 connections into the sandboxes: to agents and to previewed ports. The forwarding path costs no connect, and an idle sandbox
//! soon holds no connection's buffers.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use axum::body::Body;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};

use crate::{
    early::Patient,
    runtime::{Sandbox, sys::memory},
};

/// Per sandbox; more are closed instead of kept.
const MAX_IDLE: usize = 32;
/// After this a connection that nobody used is closed.
const IDLE_TIME: Duration = Duration::from_secs(10);
/// Largest read from an agent. Downloads are as fast as this is large, up to the size of the socket buffers.
const READ_BUFFER: usize = 1024 * 1024;

/// The port that stands for the toolbox itself, as in the original; nothing listens there inside.
pub const TOOLBOX_PORT: u16 = 2280;

/// Idle connections by sandbox id and port. Cheap to clone.
#[derive(Clone, Default)]
pub struct Pool(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    idle: HashMap<Key, Vec<Idle>>,
    sweeping: bool,
}

type Key = (String, u16);

struct Idle {
    sender: SendRequest<Body>,
    /// The machine that it leads to; a restarted sandbox has another one under the same id.
    sandbox: Weak<Sandbox>,
    since: Instant,
}

/// A connection in use.
pub struct Connection {
    pub sender: SendRequest<Body>,
    /// It has served before, so the agent may have closed it meanwhile.
    pub reused: bool,
    sandbox: Weak<Sandbox>,
    key: Key,
}

impl Pool {
    /// An idle connection that is still open, else a fresh one.
    pub async fn get(&self, sandbox: &Arc<Sandbox>, port: u16) -> std::io::Result<Connection> {
        let key = (sandbox.id().to_owned(), port);
        while let Some(idle) = self.take(sandbox, &key) {
            let mut sender = idle.sender;
            if sender.ready().await.is_ok() {
                return Ok(Connection { sender, reused: true, sandbox: idle.sandbox, key });
            }
        }
        self.fresh(sandbox, port).await
    }

    /// A connection that nobody used before. `ConnectionRefused` when nothing listens on the port.
    pub async fn fresh(&self, sandbox: &Arc<Sandbox>, port: u16) -> std::io::Result<Connection> {
        let sender = match port {
            TOOLBOX_PORT => handshake(sandbox.connect().await?).await?,
            _ => handshake(sandbox.connect_port(port).await?).await?,
        };
        let key = (sandbox.id().to_owned(), port);
        Ok(Connection { sender, reused: false, sandbox: Arc::downgrade(sandbox), key })
    }

    /// Keeps a connection whose answer was read to its end.
    pub fn put(&self, connection: Connection) {
        if connection.sender.is_closed() {
            return;
        }
        let mut state = self.0.lock();
        let idle = state.idle.entry(connection.key).or_default();
        if idle.len() < MAX_IDLE {
            idle.push(Idle { sender: connection.sender, sandbox: connection.sandbox, since: Instant::now() });
        }
        if !std::mem::replace(&mut state.sweeping, true) {
            tokio::spawn(self.clone().sweep());
        }
    }

    /// The most recently used connection to this very machine.
    fn take(&self, sandbox: &Arc<Sandbox>, key: &Key) -> Option<Idle> {
        let mut state = self.0.lock();
        let idle = state.idle.get_mut(key)?;
        idle.retain(|idle| std::ptr::eq(idle.sandbox.as_ptr(), Arc::as_ptr(sandbox)) && !idle.sender.is_closed());
        idle.pop()
    }

    /// Closes what has been idle for long; ends when nothing is left.
    async fn sweep(self) {
        loop {
            tokio::time::sleep(IDLE_TIME).await;
            if self.close_old() {
                // What the last burst of work took is not needed before the next one.
                tokio::task::spawn_blocking(memory::give_back);
                return;
            }
        }
    }

    /// Whether that was all.
    fn close_old(&self) -> bool {
        let mut state = self.0.lock();
        state.idle.retain(|_, idle| {
            idle.retain(|idle| idle.since.elapsed() < IDLE_TIME && !idle.sender.is_closed());
            !idle.is_empty()
        });
        let all = state.idle.is_empty();
        if all {
            state.idle.shrink_to_fit();
            state.sweeping = false;
        }
        all
    }
}

async fn handshake(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> std::io::Result<SendRequest<Body>> {
    let io = TokioIo::new(Patient::new(stream));
    let made = http1::Builder::new().max_buf_size(READ_BUFFER).handshake(io).await;
    let (sender, connection) = made.map_err(std::io::Error::other)?;
    // Its errors reach whoever waits for an answer.
    tokio::spawn(connection.with_upgrades());
    Ok(sender)
}
