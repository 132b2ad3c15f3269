//! What clients ask for, in SSH's words.

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use bytes::Bytes;
use russh::{
    Channel, ChannelId, ChannelOpenFailure, ChannelWriteHalf, MethodKind, MethodSet, Pty, Sig,
    keys::Certificate,
    server::{self, Auth, ChannelOpenHandle, Handle, Msg, Response, Session, VerifiedPublicKey},
};
use tokio_util::sync::CancellationToken;

use super::{
    channels::Connection,
    forwards::{self, Forward},
    process, raw,
};
use crate::toolbox::ssh::wire::{Address, Frame, Open, Process, Size, TerminalSpec};

/// Variables of one channel.
const MAX_VARIABLES: usize = 256;
/// Bytes of one variable, name and value.
const MAX_VARIABLE: usize = 32 << 10;

/// The connection waits so long for a listener.
const PATIENCE: Duration = Duration::from_secs(10);

/// One connection's.
pub struct Handler {
    connection: Arc<Connection>,
    /// Channels that nothing runs on yet.
    waiting: HashMap<ChannelId, Waiting>,
    listeners: HashMap<Address, CancellationToken>,
    /// `SSH_AUTH_SOCK` of what starts from now on.
    agent: Option<String>,
}

/// A channel before its program, with what that is to have.
struct Waiting {
    to_client: ChannelWriteHalf<Msg>,
    process: Process,
}

type Result<T = ()> = std::result::Result<T, russh::Error>;

impl Handler {
    pub fn new(connection: Arc<Connection>) -> Handler {
        Handler { connection, waiting: HashMap::new(), listeners: HashMap::new(), agent: None }
    }

    /// Nothing else would help who is refused. OpenSSH asks for a password where nothing is offered, so it is told a way
    /// that it doesn't try.
    fn log_in(&self, token: &str) -> Result<Auth> {
        let refused = Auth::Reject {
            proceed_with_methods: Some(MethodSet::from([MethodKind::HostBased].as_slice())),
            partial_success: false,
        };
        Ok(if self.connection.log_in(token) { Auth::Accept } else { refused })
    }

    /// Starts a program, unless something runs on the channel.
    fn start(&mut self, id: ChannelId, command: Option<Vec<u8>>, session: &mut Session) -> Result {
        let (Some(waiting), Some(channel)) = (self.waiting.remove(&id), self.connection.channel(id)) else {
            return session.channel_failure(id);
        };
        session.channel_success(id)?;
        let Waiting { to_client, mut process } = waiting;
        process.command = command;
        process.env.extend(self.agent.iter().map(|path| ("SSH_AUTH_SOCK".to_owned(), path.clone())));
        let connection = self.connection.clone();
        self.connection.serve(id, async move {
            let program = process::run(&connection, &channel, &to_client, process);
            channel.closed.run_until_cancelled(program).await;
        });
        Ok(())
    }

    fn start_sftp(&mut self, id: ChannelId, session: &mut Session) -> Result {
        let (Some(waiting), Some(channel)) = (self.waiting.remove(&id), self.connection.channel(id)) else {
            return session.channel_failure(id);
        };
        session.channel_success(id)?;
        let connection = self.connection.clone();
        self.connection.serve(id, async move {
            match connection.open(Open::Sftp).await {
                Ok(inside) => raw::run(&channel, &waiting.to_client, inside, true).await,
                Err(_) => drop(waiting.to_client.close().await),
            }
        });
        Ok(())
    }

    /// Connects to somewhere inside; the client is told when that is done.
    fn connect(&self, channel: Channel<Msg>, reply: ChannelOpenHandle, to: Option<Address>) {
        let (_, to_client) = channel.split();
        let id = to_client.id();
        let Some(channel) = self.connection.add(id) else { return refuse(reply, ChannelOpenFailure::ResourceShortage) };
        let connection = self.connection.clone();
        self.connection.serve(id, async move {
            let opened = match to {
                Some(to) => connection.open(Open::Connect(to)).await,
                None => Err(io::ErrorKind::InvalidInput.into()),
            };
            match opened {
                Ok(inside) => {
                    reply.accept().await;
                    raw::run(&channel, &to_client, inside, false).await;
                }
                Err(_) => reply.reject(ChannelOpenFailure::ConnectFailed).await,
            }
        });
    }

    /// Whether it listens; where.
    async fn listen(&mut self, forward: Forward, handle: Handle) -> Option<Address> {
        if self.listeners.len() >= self.connection.limits().ssh_listeners {
            return None;
        }
        let closed = self.connection.ended.child_token();
        let listening = forwards::listen(&self.connection, handle, forward, closed.clone());
        let listening = tokio::time::timeout(PATIENCE, listening).await.ok()?;
        let address = listening.inspect_err(|error| tracing::debug!(%error, "ssh listener")).ok()?;
        self.listeners.insert(address.clone(), closed);
        Some(address)
    }

    fn close_listener(&mut self, address: &Address) -> bool {
        self.listeners.remove(address).inspect(CancellationToken::cancel).is_some()
    }
}

fn refuse(reply: ChannelOpenHandle, why: ChannelOpenFailure) {
    tokio::spawn(reply.reject(why));
}

fn size(cols: u32, rows: u32, width: u32, height: u32) -> Size {
    let [cols, rows, width, height] = [cols, rows, width, height].map(|n| u16::try_from(n).unwrap_or(u16::MAX));
    Size { cols, rows, width, height }
}

fn tcp(host: &str, port: u32) -> Option<Address> {
    Some(Address::Tcp { host: host.to_owned(), port: u16::try_from(port).ok()? })
}

impl server::Handler for Handler {
    type Error = russh::Error;

    async fn auth_none(&mut self, user: &str) -> Result<Auth> {
        self.log_in(user)
    }

    async fn auth_password(&mut self, user: &str, _: &str) -> Result<Auth> {
        self.log_in(user)
    }

    async fn auth_publickey(&mut self, user: &str, _: VerifiedPublicKey<'_>) -> Result<Auth> {
        self.log_in(user)
    }

    async fn auth_openssh_certificate(&mut self, user: &str, _: &Certificate) -> Result<Auth> {
        self.log_in(user)
    }

    async fn auth_keyboard_interactive<'a>(&'a mut self, user: &str, _: &str, _: Option<Response<'a>>) -> Result<Auth> {
        self.log_in(user)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result {
        // Its own queue of what comes in isn't used: when full it holds the connection up.
        let (_, to_client) = channel.split();
        let id = to_client.id();
        if self.connection.add(id).is_none() {
            refuse(reply, ChannelOpenFailure::ResourceShortage);
            return Ok(());
        }
        self.waiting.insert(id, Waiting { to_client, process: Process::default() });
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result {
        self.connect(channel, reply, tcp(host, port));
        Ok(())
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        path: &str,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result {
        self.connect(channel, reply, Some(Address::Unix(path.to_owned())));
        Ok(())
    }

    /// A channel that we opened.
    async fn channel_open_confirmation(&mut self, id: ChannelId, _: u32, _: u32, session: &mut Session) -> Result {
        if self.connection.add(id).is_none() {
            session.close(id)?;
        }
        Ok(())
    }

    async fn channel_close(&mut self, id: ChannelId, _: &mut Session) -> Result {
        self.waiting.remove(&id);
        self.connection.close(id);
        Ok(())
    }

    async fn channel_eof(&mut self, id: ChannelId, _: &mut Session) -> Result {
        if let Some(channel) = self.connection.channel(id) {
            channel.inbox.end();
        }
        Ok(())
    }

    async fn data(&mut self, id: ChannelId, data: &[u8], _: &mut Session) -> Result {
        match self.connection.channel(id) {
            Some(channel) => Ok(channel.inbox.push(Bytes::copy_from_slice(data)).await?),
            None => Ok(()),
        }
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        name: &str,
        cols: u32,
        rows: u32,
        width: u32,
        height: u32,
        modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result {
        let Some(waiting) = self.waiting.get_mut(&id).filter(|_| !name.contains('\0')) else {
            return session.channel_failure(id);
        };
        let modes = modes.iter().map(|(mode, value)| (*mode as u8, *value)).collect();
        let size = size(cols, rows, width, height);
        waiting.process.terminal = Some(TerminalSpec { name: name.to_owned(), size, modes });
        session.channel_success(id)
    }

    async fn x11_request(&mut self, id: ChannelId, _: bool, _: &str, _: &str, _: u32, session: &mut Session) -> Result {
        session.channel_failure(id)
    }

    /// Whoever may run any command may set any variable.
    async fn env_request(&mut self, id: ChannelId, name: &str, value: &str, session: &mut Session) -> Result {
        let fits = is_variable(name) && !value.contains('\0') && name.len() + value.len() <= MAX_VARIABLE;
        let room = |waiting: &&mut Waiting| waiting.process.env.len() < MAX_VARIABLES;
        let Some(waiting) = self.waiting.get_mut(&id).filter(|_| fits).filter(room) else {
            return session.channel_failure(id);
        };
        waiting.process.env.push((name.to_owned(), value.to_owned()));
        session.channel_success(id)
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Result {
        self.start(id, None, session)
    }

    async fn exec_request(&mut self, id: ChannelId, command: &[u8], session: &mut Session) -> Result {
        if command.contains(&0) {
            return session.channel_failure(id);
        }
        self.start(id, Some(command.to_vec()), session)
    }

    async fn subsystem_request(&mut self, id: ChannelId, name: &str, session: &mut Session) -> Result {
        if name == "sftp" { self.start_sftp(id, session) } else { session.channel_failure(id) }
    }

    async fn window_change_request(
        &mut self,
        id: ChannelId,
        cols: u32,
        rows: u32,
        width: u32,
        height: u32,
        _: &mut Session,
    ) -> Result {
        let size = size(cols, rows, width, height);
        if let Some(terminal) = self.waiting.get_mut(&id).and_then(|waiting| waiting.process.terminal.as_mut()) {
            terminal.size = size;
        } else if let Some(channel) = self.connection.channel(id) {
            channel.inbox.order(Frame::Resize(size));
        }
        Ok(())
    }

    async fn signal(&mut self, id: ChannelId, signal: Sig, _: &mut Session) -> Result {
        if let Some(channel) = self.connection.channel(id) {
            channel.inbox.order(Frame::Signal(name(&signal)));
        }
        Ok(())
    }

    async fn agent_request(&mut self, _: ChannelId, session: &mut Session) -> Result<bool> {
        if self.agent.is_none()
            && let Some(Address::Unix(path)) = self.listen(Forward::Agent, session.handle()).await
        {
            self.agent = Some(path);
        }
        Ok(self.agent.is_some())
    }

    async fn tcpip_forward(&mut self, host: &str, port: &mut u32, session: &mut Session) -> Result<bool> {
        let Some(wanted) = tcp(host, *port) else { return Ok(false) };
        let listening = self.listen(Forward::To(wanted), session.handle()).await;
        if let Some(Address::Tcp { port: got, .. }) = listening {
            *port = got.into();
            return Ok(true);
        }
        Ok(false)
    }

    async fn cancel_tcpip_forward(&mut self, host: &str, port: u32, _: &mut Session) -> Result<bool> {
        Ok(tcp(host, port).is_some_and(|address| self.close_listener(&address)))
    }

    async fn streamlocal_forward(&mut self, path: &str, session: &mut Session) -> Result<bool> {
        Ok(self.listen(Forward::To(Address::Unix(path.to_owned())), session.handle()).await.is_some())
    }

    async fn cancel_streamlocal_forward(&mut self, path: &str, _: &mut Session) -> Result<bool> {
        Ok(self.close_listener(&Address::Unix(path.to_owned())))
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}

/// Without `SIG`.
fn name(signal: &Sig) -> String {
    match signal {
        Sig::Custom(name) => name.clone(),
        known => format!("{known:?}"),
    }
}
