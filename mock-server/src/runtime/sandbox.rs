//! A started sandbox, as the server sees it.

use std::{
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use nix::sys::signal::Signal;
use parking_lot::Mutex;
use tokio::{
    io::unix::AsyncFd,
    net::TcpStream,
    sync::{oneshot, watch},
};

use super::{
    Isolation, NetworkPolicy,
    ctrl::AgentLink,
    groups::Group,
    lending::{Loans, Offer},
    net::{NetHandle, OutboundSecret},
    nursery::Launched,
    still::Stillness,
    sys::{fdpass, process::signal_pidfd, stream::Stream},
};

/// Ends a sandbox's life: what the kernel or the agent said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    pub reason: String,
}

/// Longest answer of [`Sandbox::get_json`].
const MAX_ANSWER: usize = 1 << 20;

/// A started sandbox.
pub struct Sandbox {
    id: String,
    isolation: Isolation,
    link: AgentLink,
    pidfd: Arc<AsyncFd<OwnedFd>>,
    pid: i32,
    /// The way out, where there is one and as long as the sandbox lives: it keeps the network namespace alive.
    network: Arc<Mutex<Option<NetHandle>>>,
    exit: watch::Receiver<Option<Exit>>,
    loans: Loans,
    pub(super) group: Group,
    /// What keeps its processes still, if they are.
    pub(super) still: Mutex<Option<Stillness>>,
}

impl Sandbox {
    /// Takes over a launched process whose agent is ready. `gone` runs when it has ended.
    pub(super) fn watch(
        id: String,
        isolation: Isolation,
        link: AgentLink,
        launched: Launched,
        network: Option<NetHandle>,
        group: Group,
        gone: impl FnOnce() + Send + 'static,
    ) -> io::Result<Arc<Sandbox>> {
        let pidfd = Arc::new(fdpass::watch(launched.pidfd)?);
        let (sender, exit) = watch::channel(None);
        let network = Arc::new(Mutex::new(network));
        let way_out = network.clone();
        let groups = group.clone();
        let loans = Loans::default();
        let lent = loans.clone();
        let gone = move || {
            lent.end();
            way_out.lock().take();
            groups.remove();
            gone();
        };
        tokio::spawn(watch_exit(pidfd.clone(), launched.exit, sender, gone));
        let answers = link.clone();
        tokio::spawn(async move { answers.run().await });
        let still = Mutex::new(None);
        Ok(Arc::new(Sandbox { id, isolation, link, pidfd, pid: launched.pid, network, exit, loans, group, still }))
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// Host pid of the sandbox's first process, for metrics.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// A fresh connection to the toolbox HTTP server inside (HTTP/1.1, no TLS, no authentication).
    pub async fn connect(&self) -> io::Result<Stream> {
        let (ours, theirs) = UnixStream::pair()?;
        self.link.serve(theirs.as_fd()).await?;
        Stream::new(ours.into())
    }

    /// For a request to the toolbox whose answer may be a file that the server reads itself.
    pub fn offer_to_read(&self) -> io::Result<Offer> {
        Ok(Offer::new(self.link.await_descriptor()?, self.loans.clone()))
    }

    /// The answer of the toolbox to a GET: a small JSON document.
    pub async fn get_json(&self, path: &str) -> io::Result<serde_json::Value> {
        let stream = self.connect().await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let connection = tokio::spawn(connection);
        let request = hyper::Request::get(path).header("host", "sandbox").body(Empty::<Bytes>::new());
        let answer = sender.send_request(request.map_err(io::Error::other)?).await.map_err(io::Error::other)?;
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await.map_err(io::Error::other)?;
        connection.abort();
        Ok(serde_json::from_slice(&body.to_bytes())?)
    }

    /// Connections for an SSH channel, which speak [`crate::toolbox::ssh::wire`].
    pub async fn ssh<const N: usize>(&self) -> io::Result<[Stream; N]> {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..N {
            let (our, their) = UnixStream::pair()?;
            ours.push(Stream::new(our.into())?);
            theirs.push(their);
        }
        self.link.ssh(&theirs.iter().map(AsFd::as_fd).collect::<Vec<_>>()).await?;
        ours.try_into().map_err(|_| io::ErrorKind::Other.into())
    }

    /// Posts a JSON document to the toolbox; an error unless it answers 200.
    pub async fn post_json(&self, path: &str, document: &serde_json::Value) -> io::Result<()> {
        let stream = self.connect().await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let connection = tokio::spawn(connection);
        let request = hyper::Request::post(path).header("host", "sandbox").header("content-type", "application/json");
        let request = request.body(Full::new(Bytes::from(document.to_string()))).map_err(io::Error::other)?;
        let answer = sender.send_request(request).await.map_err(io::Error::other);
        connection.abort();
        match answer?.status() {
            hyper::StatusCode::OK => Ok(()),
            status => Err(io::Error::other(format!("the toolbox answered {status}"))),
        }
    }

    /// A connection to a TCP port inside; `ConnectionRefused` when nothing listens.
    pub async fn connect_port(&self, port: u16) -> io::Result<TcpStream> {
        TcpStream::from_std(self.link.connect(port).await?.into())
    }

    pub(super) async fn tell_memory(&self, bytes: u64) -> io::Result<()> {
        self.link.tell_memory(bytes).await
    }

    /// Changes what the sandbox may reach, at once, for new and established flows.
    pub fn set_network_policy(&self, policy: NetworkPolicy) {
        if let Some(network) = self.network.lock().as_ref() {
            network.set_policy(policy);
        }
    }

    /// Changes what its placeholders stand for, from the next request on; nothing if it was started with none.
    pub fn set_secrets(&self, secrets: Vec<OutboundSecret>) {
        if let Some(network) = self.network.lock().as_ref() {
            network.set_secrets(secrets);
        }
    }

    /// SIGTERM, then after `grace` SIGKILL to every process; returns when all are gone.
    pub async fn stop(&self, grace: Duration) {
        if !grace.is_zero() && !self.is_still() {
            self.signal(Signal::SIGTERM);
            if tokio::time::timeout(grace, self.exited()).await.is_ok() {
                return;
            }
        }
        self.kill();
        self.exited().await;
    }

    /// Ends every process at once.
    pub(super) fn kill(&self) {
        // The end of PID 1 ends its namespace. Tier process has none: there init kills what it finds.
        let process = self.isolation == Isolation::Process;
        self.signal(if process { Signal::SIGINT } else { Signal::SIGKILL });
        // What stands still can't even die everywhere.
        self.thaw();
    }

    fn signal(&self, signal: Signal) {
        if let Err(error) = signal_pidfd(self.pidfd.get_ref().as_fd(), signal) {
            tracing::warn!(sandbox = %self.id, %error, "can't send {signal}");
        }
    }

    /// Resolves when PID 1 is gone, whoever ended it.
    pub async fn exited(&self) -> Exit {
        let mut exit = self.exit.clone();
        match exit.wait_for(Option::is_some).await {
            Ok(exit) => exit.clone().expect("waited for it"),
            Err(_) => Exit { reason: "the server is stopping".into() },
        }
    }
}

async fn watch_exit(
    pidfd: Arc<AsyncFd<OwnedFd>>,
    reason: oneshot::Receiver<String>,
    sender: watch::Sender<Option<Exit>>,
    gone: impl FnOnce(),
) {
    // Readable when the process is dead, which PID 1 is only after everything in its namespace.
    if pidfd.readable().await.is_err() {
        return;
    }
    let reason = reason.await.unwrap_or_else(|_| "the zygote ended".into());
    gone();
    sender.send_replace(Some(Exit { reason }));
}
