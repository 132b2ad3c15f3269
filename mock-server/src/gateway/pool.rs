//! Kept-alive HTTP/1.1 connections to the agents. The forwarding path costs no connect, and an idle sandbox
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
use tokio::time::Instant;

use crate::runtime::Sandbox;

/// Per sandbox; more are closed instead of kept.
const MAX_IDLE: usize = 32;
/// After this a connection that nobody used is closed.
const IDLE_TIME: Duration = Duration::from_secs(10);
/// Largest read from an agent. Downloads are as fast as this is large, up to the size of the socket buffers.
const READ_BUFFER: usize = 1024 * 1024;

/// Idle connections by sandbox id. Cheap to clone.
#[derive(Clone, Default)]
pub struct Pool(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    idle: HashMap<String, Vec<Idle>>,
    sweeping: bool,
}

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
    id: String,
}

impl Pool {
    /// An idle connection that is still open, else a fresh one.
    pub async fn get(&self, sandbox: &Arc<Sandbox>) -> std::io::Result<Connection> {
        while let Some(idle) = self.take(sandbox) {
            let mut sender = idle.sender;
            if sender.ready().await.is_ok() {
                return Ok(Connection { sender, reused: true, sandbox: idle.sandbox, id: sandbox.id().to_owned() });
            }
        }
        self.fresh(sandbox).await
    }

    /// A connection that nobody used before.
    pub async fn fresh(&self, sandbox: &Arc<Sandbox>) -> std::io::Result<Connection> {
        let stream = sandbox.connect().await?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(READ_BUFFER)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(std::io::Error::other)?;
        // Its errors reach whoever waits for an answer.
        tokio::spawn(connection.with_upgrades());
        Ok(Connection { sender, reused: false, sandbox: Arc::downgrade(sandbox), id: sandbox.id().to_owned() })
    }

    /// Keeps a connection whose answer was read to its end.
    pub fn put(&self, connection: Connection) {
        if connection.sender.is_closed() {
            return;
        }
        let mut state = self.0.lock();
        let idle = state.idle.entry(connection.id).or_default();
        if idle.len() < MAX_IDLE {
            idle.push(Idle { sender: connection.sender, sandbox: connection.sandbox, since: Instant::now() });
        }
        if !std::mem::replace(&mut state.sweeping, true) {
            tokio::spawn(self.clone().sweep());
        }
    }

    /// The most recently used connection to this very machine.
    fn take(&self, sandbox: &Arc<Sandbox>) -> Option<Idle> {
        let mut state = self.0.lock();
        let idle = state.idle.get_mut(sandbox.id())?;
        idle.retain(|idle| std::ptr::eq(idle.sandbox.as_ptr(), Arc::as_ptr(sandbox)) && !idle.sender.is_closed());
        idle.pop()
    }

    /// Closes what has been idle for long; ends when nothing is left.
    async fn sweep(self) {
        loop {
            tokio::time::sleep(IDLE_TIME).await;
            let mut state = self.0.lock();
            state.idle.retain(|_, idle| {
                idle.retain(|idle| idle.since.elapsed() < IDLE_TIME && !idle.sender.is_closed());
                !idle.is_empty()
            });
            if state.idle.is_empty() {
                state.idle.shrink_to_fit();
                state.sweeping = false;
                return;
            }
        }
    }
}
