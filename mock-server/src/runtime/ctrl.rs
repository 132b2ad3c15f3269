//! The control socket between the server and one agent: connections go in, connected ports come out, its end is the
//! end of the sandbox. One JSON object a message, `SOCK_SEQPACKET`, descriptors beside it.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::oneshot,
};

use super::sys::fdpass;

/// Longest message. Failure texts are cut to fit.
const MAX_MESSAGE: usize = 4096;

/// Server → agent.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// The descriptor beside it is an HTTP connection to serve.
    Serve,
    /// Its memory is bounded by so many bytes from now on.
    Memory { bytes: u64 },
    /// The descriptors beside it are for an SSH channel: orders, and for a process its output ([`crate::toolbox::ssh`]).
    Ssh,
    /// Connect to this port on the loopback inside and pass the connection.
    Connect { id: u32, port: u16 },
}

/// Agent → server.
#[derive(Debug, Serialize, Deserialize)]
pub enum Event {
    /// Set up; comes with TUN and NAT listener, or why there is no way out.
    Ready { no_outbound: Option<String> },
    /// The sandbox can't be; the process ends.
    Failed { message: String },
    /// Answers [`Request::Connect`], with the connection unless it failed with this errno.
    Connected { id: u32, error: Option<i32> },
    /// The file beside it is what the HTTP request that offered to read it asks for.
    Lent { id: u32 },
}

/// A non-blocking seqpacket socket.
pub struct Channel(AsyncFd<OwnedFd>);

impl Channel {
    /// Takes over one end of [`fdpass::pair`].
    pub fn new(socket: OwnedFd) -> io::Result<Channel> {
        use nix::fcntl::{FcntlArg, OFlag, fcntl};
        fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Channel(fdpass::watch(socket)?))
    }

    /// Says good-bye: the other end reads the end, even while this one still has readers.
    pub fn close(&self) -> io::Result<()> {
        use nix::sys::socket::{Shutdown, shutdown};
        Ok(shutdown(std::os::fd::AsRawFd::as_raw_fd(&self.0), Shutdown::Both)?)
    }

    pub async fn send<T: Serialize>(&self, message: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        self.0.async_io(Interest::WRITABLE, |socket| fdpass::send(socket.as_fd(), &bytes, fds)).await
    }

    /// The next message; `None` at the end. Cancel safe.
    pub async fn recv<T: for<'a> Deserialize<'a>>(&self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let receive = |socket: &OwnedFd| {
            // Here and not outside: each sandbox's wait would hold it.
            let mut buffer = [0; MAX_MESSAGE];
            match fdpass::recv(socket.as_fd(), &mut buffer) {
                Ok((0, _)) => Ok(None),
                Ok((length, fds)) => Ok(Some((serde_json::from_slice(&buffer[..length])?, fds))),
                Err(error) => Err(error),
            }
        };
        match self.0.async_io(Interest::READABLE, receive).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
            received => received,
        }
    }
}

type Waiting = HashMap<u32, oneshot::Sender<io::Result<OwnedFd>>>;

/// The server's end.
#[derive(Clone)]
pub struct AgentLink(Arc<Link>);

struct Link {
    channel: Channel,
    next: AtomicU32,
    /// `None` once the agent is gone.
    waiting: Mutex<Option<Waiting>>,
}

impl AgentLink {
    pub fn new(socket: OwnedFd) -> io::Result<AgentLink> {
        let waiting = Mutex::new(Some(HashMap::new()));
        Ok(AgentLink(Arc::new(Link { channel: Channel::new(socket)?, next: AtomicU32::new(0), waiting })))
    }

    /// The first message: ready, with TUN and NAT listener or the reason why there are none; or why it can't be.
    /// [`io::ErrorKind::UnexpectedEof`] if it ended without a word.
    pub async fn ready(&self) -> io::Result<Result<[OwnedFd; 2], String>> {
        match self.0.channel.recv().await? {
            Some((Event::Ready { no_outbound }, fds)) => {
                Ok(fds.try_into().map_err(|_| no_outbound.unwrap_or_default()))
            }
            Some((Event::Failed { message }, _)) => Err(io::Error::other(message)),
            Some((Event::Connected { .. } | Event::Lent { .. }, _)) => {
                Err(io::Error::other("the agent spoke out of turn"))
            }
            None => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the agent ended during set-up")),
        }
    }

    /// Hands answers to those who wait; returns when the agent is gone.
    pub async fn run(&self) {
        while let Ok(Some((event, mut fds))) = self.0.channel.recv().await {
            let (id, error) = match event {
                Event::Connected { id, error } => (id, error),
                Event::Lent { id } => (id, None),
                Event::Ready { .. } | Event::Failed { .. } => continue,
            };
            let waiting = self.0.waiting.lock().as_mut().and_then(|waiting| waiting.remove(&id));
            let result = match error {
                Some(errno) => Err(io::Error::from_raw_os_error(errno)),
                None => fds.pop().ok_or_else(|| io::ErrorKind::ConnectionAborted.into()),
            };
            if let Some(waiting) = waiting {
                let _ = waiting.send(result);
            }
        }
        // Dropping the senders ends every wait.
        self.0.waiting.lock().take();
    }

    /// Gives the agent a connection to serve.
    pub async fn serve(&self, connection: BorrowedFd<'_>) -> io::Result<()> {
        self.0.channel.send(&Request::Serve, &[connection]).await
    }

    /// Tells the agent how much memory there is.
    pub async fn tell_memory(&self, bytes: u64) -> io::Result<()> {
        self.0.channel.send(&Request::Memory { bytes }, &[]).await
    }

    /// Gives the agent the connections of an SSH channel.
    pub async fn ssh(&self, connections: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.0.channel.send(&Request::Ssh, connections).await
    }

    /// A connection to a port inside.
    pub async fn connect(&self, port: u16) -> io::Result<OwnedFd> {
        let awaited = self.await_descriptor()?;
        self.0.channel.send(&Request::Connect { id: awaited.id, port }, &[]).await?;
        awaited.descriptor().await
    }

    /// A place for a descriptor that the agent will send.
    pub fn await_descriptor(&self) -> io::Result<Awaited> {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        self.0.waiting.lock().as_mut().ok_or(io::ErrorKind::NotConnected)?.insert(id, sender);
        Ok(Awaited { id, receiver, link: self.clone() })
    }
}

/// A descriptor that the agent was asked for, by this number. Who drops it wants it no more.
pub struct Awaited {
    pub id: u32,
    receiver: oneshot::Receiver<io::Result<OwnedFd>>,
    link: AgentLink,
}

impl Awaited {
    /// `NotConnected` when the agent is gone.
    pub async fn descriptor(mut self) -> io::Result<OwnedFd> {
        (&mut self.receiver).await.unwrap_or_else(|_| Err(io::ErrorKind::NotConnected.into()))
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        if let Some(waiting) = self.link.0.waiting.lock().as_mut() {
            waiting.remove(&self.id);
        }
    }
}
