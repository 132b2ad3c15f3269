//! The channels of one connection, and what they share.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use parking_lot::Mutex;
use russh::ChannelId;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{inbox::Inbox, spool::Budget};
use crate::{
    gateway::{Gateway, activity::Active},
    limits::Limits,
    runtime::{Sandbox, sys::stream::Stream},
    toolbox::ssh::wire::{self, Frame, Open, Opened, Reader},
};

/// One connection.
pub struct Connection {
    pub gateway: Gateway,
    /// Ends everything of the connection, and the connection.
    pub ended: CancellationToken,
    /// Told when `login` is there.
    pub logged_in: Notify,
    login: OnceLock<Login>,
    budget: Arc<Budget>,
    open: Mutex<HashMap<ChannelId, Arc<Channel>>>,
}

/// What a good token opened.
pub struct Login {
    pub sandbox: Arc<Sandbox>,
    /// An open connection is activity.
    _active: Active,
}

/// An open channel.
pub struct Channel {
    pub inbox: Inbox,
    /// The client closed it, or is gone.
    pub closed: CancellationToken,
}

impl Connection {
    pub fn new(gateway: Gateway, ended: CancellationToken, budget: Arc<Budget>) -> Connection {
        let (logged_in, login, open) = (Notify::new(), OnceLock::new(), Mutex::default());
        Connection { gateway, ended, logged_in, login, budget, open }
    }

    pub fn limits(&self) -> &Limits {
        self.gateway.limits()
    }

    /// Whether the token opens a sandbox that is started.
    pub fn log_in(&self, token: &str) -> bool {
        let cp = self.gateway.cp();
        let Some(id) = cp.ssh_access(token) else { return false };
        let Some(sandbox) = cp.toolbox_target(&id).and_then(|target| target.running) else { return false };
        let active = self.gateway.activity().begin(&id);
        // Clients authenticate once.
        _ = self.login.set(Login { sandbox, _active: active });
        self.logged_in.notify_one();
        true
    }

    pub fn login(&self) -> Option<&Login> {
        self.login.get()
    }

    pub fn sandbox(&self) -> io::Result<&Arc<Sandbox>> {
        self.login().map(|login| &login.sandbox).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// The channel, made if there is none; `None` if there are too many.
    pub fn add(&self, id: ChannelId) -> Option<Arc<Channel>> {
        let mut open = self.open.lock();
        if let Some(channel) = open.get(&id) {
            return Some(channel.clone());
        }
        if open.len() >= self.limits().ssh_channels {
            return None;
        }
        let (inbox, closed) = (Inbox::new(self.budget.clone()), self.ended.child_token());
        let channel = Arc::new(Channel { inbox, closed });
        open.insert(id, channel.clone());
        Some(channel)
    }

    pub fn has_room(&self) -> bool {
        self.open.lock().len() < self.limits().ssh_channels
    }

    pub fn channel(&self, id: ChannelId) -> Option<Arc<Channel>> {
        self.open.lock().get(&id).cloned()
    }

    /// What the client has sent before is still passed on, where somebody takes it.
    pub fn close(&self, id: ChannelId) {
        if let Some(channel) = self.open.lock().remove(&id) {
            channel.inbox.end();
            channel.closed.cancel();
        }
    }

    /// Does a channel's work until it is done or the connection ends. That the channel is closed is the work's to see.
    pub fn serve(self: &Arc<Self>, id: ChannelId, work: impl Future<Output = ()> + Send + 'static) {
        let connection = self.clone();
        tokio::spawn(async move {
            connection.ended.run_until_cancelled(work).await;
            connection.close(id);
        });
    }

    /// Opens something inside that is bytes from then on; the first of them may be there already.
    pub async fn open(&self, open: Open) -> io::Result<(Stream, Bytes)> {
        let [mut stream] = self.sandbox()?.ssh().await?;
        wire::write(&mut stream, &Frame::Open(open)).await?;
        let mut reader = Reader::new(stream);
        opened(reader.next().await?)?;
        Ok(reader.into_parts())
    }
}

/// What the agent says to [`Frame::Open`].
pub fn opened(answer: Option<Frame>) -> io::Result<Opened> {
    match answer {
        Some(Frame::Opened(opened)) => Ok(opened),
        Some(Frame::Refused(Some(errno), _)) => Err(io::Error::from_raw_os_error(errno)),
        Some(Frame::Refused(None, text)) => Err(io::Error::other(text)),
        _ => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}
