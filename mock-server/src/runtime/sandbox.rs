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
    net::NetHandle,
    nursery::Launched,
    sys::{fdpass, process::signal_pidfd, stream::Stream},
};

/// Ends a sandbox's life: what the kernel or the agent said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    pub reason: String,
}

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
}

impl Sandbox {
    /// Takes over a launched process whose agent is ready. `gone` runs when it has ended.
    pub(super) fn watch(
        id: String,
        isolation: Isolation,
        link: AgentLink,
        launched: Launched,
        network: Option<NetHandle>,
        gone: impl FnOnce() + Send + 'static,
    ) -> io::Result<Arc<Sandbox>> {
        let pidfd = Arc::new(fdpass::watch(launched.pidfd)?);
        let (sender, exit) = watch::channel(None);
        let network = Arc::new(Mutex::new(network));
        let way_out = network.clone();
        let gone = move || {
            way_out.lock().take();
            gone();
        };
        tokio::spawn(watch_exit(pidfd.clone(), launched.exit, sender, gone));
        let answers = link.clone();
        tokio::spawn(async move { answers.run().await });
        Ok(Arc::new(Sandbox { id, isolation, link, pidfd, pid: launched.pid, network, exit }))
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

    /// A connection to a TCP port inside; `ConnectionRefused` when nothing listens.
    pub async fn connect_port(&self, port: u16) -> io::Result<TcpStream> {
        TcpStream::from_std(self.link.connect(port).await?.into())
    }

    /// Changes what the sandbox may reach, at once, for new and established flows.
    pub fn set_network_policy(&self, policy: NetworkPolicy) {
        if let Some(network) = self.network.lock().as_ref() {
            network.set_policy(policy);
        }
    }

    /// SIGTERM, then after `grace` SIGKILL to every process; returns when all are gone.
    pub async fn stop(&self, grace: Duration) {
        if !grace.is_zero() {
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
