//! The server's end of the zygote: starts it, asks for launches, hears of deaths.

use std::{
    collections::HashMap,
    io::{self, Write},
    os::fd::{AsFd, OwnedFd},
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use nix::sys::{
    memfd::{MFdFlags, memfd_create},
    signal::Signal,
};
use parking_lot::Mutex;
use tokio::{process::Command, sync::oneshot};

use super::{
    ctrl::Channel,
    launch::{Filled, LaunchSpec, ZygoteConfig, ZygoteEvent, ZygoteRequest},
    sys::{fdpass, process::signal_pidfd},
    zygote::PROCESS_NAME,
};

/// A process that the zygote made.
pub struct Launched {
    launch: u64,
    pub pidfd: OwnedFd,
    pub pid: i32,
    /// Why it ended; an error when the zygote ended first.
    pub exit: oneshot::Receiver<String>,
    /// That was received already, and can't be once more.
    gone: bool,
}

/// A running zygote. Dropping it ends the zygote and every process under it.
pub struct Nursery {
    channel: Arc<Channel>,
    next: AtomicU64,
    waiting: Arc<Mutex<Option<Waiting>>>,
    reader: tokio::task::JoinHandle<()>,
    // Reaped by tokio, now or after the drop.
    child: tokio::process::Child,
}

/// Who waits for what, by launch.
#[derive(Default)]
struct Waiting {
    begins: HashMap<u64, oneshot::Sender<io::Result<(i32, OwnedFd)>>>,
    fills: HashMap<u64, oneshot::Sender<io::Result<Filled>>>,
    exits: HashMap<u64, oneshot::Sender<String>>,
}

impl Nursery {
    /// Execs `binary` as the zygote and waits until it has set itself up.
    pub async fn start(binary: &Path, config: &ZygoteConfig) -> io::Result<Nursery> {
        let (ours, theirs) = fdpass::pair()?;
        let child = Command::new(binary)
            .arg0(PROCESS_NAME)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", binary.display())))?;
        let channel = Arc::new(Channel::new(ours)?);
        channel.send(config, &[]).await?;
        match channel.recv().await? {
            Some((ZygoteEvent::Started { error: None }, _)) => {}
            Some((ZygoteEvent::Started { error: Some(error) }, _)) => return Err(io::Error::other(error)),
            _ => return Err(io::Error::other(format!("{} did not become a zygote", binary.display()))),
        }
        let waiting = Arc::new(Mutex::new(Some(Waiting::default())));
        let reader = tokio::spawn(read_events(channel.clone(), waiting.clone()));
        Ok(Nursery { channel, next: AtomicU64::new(0), waiting, reader, child })
    }

    /// Ends the zygote and waits until it and everything under it is gone.
    pub async fn end(mut self) {
        self.reader.abort();
        let _ = (&mut self.reader).await;
        let _ = self.channel.close();
        let _ = self.child.wait().await;
    }

    /// True until the zygote has ended.
    pub fn alive(&self) -> bool {
        self.waiting.lock().is_some()
    }

    /// Asks for a process that waits for its spec.
    pub async fn begin(&self) -> io::Result<Launched> {
        let launch = self.next.fetch_add(1, Ordering::Relaxed);
        let (begun, answer) = oneshot::channel();
        let (exited, exit) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock();
            let waiting = waiting.as_mut().ok_or_else(gone)?;
            waiting.begins.insert(launch, begun);
            waiting.exits.insert(launch, exited);
        }
        self.channel.send(&ZygoteRequest::Begin { launch }, &[]).await?;
        let (pid, pidfd) = answer.await.unwrap_or_else(|_| Err(gone()))?;
        Ok(Launched { launch, pidfd, pid, exit, gone: false })
    }

    /// Gives a process of this nursery its spec; `ctrl`, `lock` and the mounts of `disks` become its own. It ends unless
    /// that is [`Filled::Done`].
    pub async fn fill(
        &self,
        launched: &Launched,
        spec: &LaunchSpec,
        ctrl: &OwnedFd,
        lock: &OwnedFd,
        disks: &[OwnedFd],
    ) -> io::Result<Filled> {
        let (memfd, launch) = (spec_file(spec)?, launched.launch);
        let (filled, answer) = oneshot::channel();
        self.waiting.lock().as_mut().ok_or_else(gone)?.fills.insert(launch, filled);
        let descriptors = [&memfd, ctrl, lock].into_iter().chain(disks).map(AsFd::as_fd).collect::<Vec<_>>();
        self.channel.send(&ZygoteRequest::Fill { launch }, &descriptors).await?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Both, until the process can see every layer.
    pub async fn launch(&self, spec: &LaunchSpec, ctrl: &OwnedFd, lock: &OwnedFd) -> io::Result<Launched> {
        loop {
            let launched = self.begin().await?;
            if self.fill(&launched, spec, ctrl, lock, &[]).await? == Filled::Done {
                return Ok(launched);
            }
        }
    }
}

impl Drop for Nursery {
    fn drop(&mut self) {
        // It holds the socket whose end ends the zygote.
        self.reader.abort();
    }
}

async fn read_events(channel: Arc<Channel>, waiting: Arc<Mutex<Option<Waiting>>>) {
    while let Ok(Some((event, fds))) = channel.recv().await {
        if let Some(waiting) = waiting.lock().as_mut() {
            waiting.take(event, fds);
        }
    }
    // Dropping the senders ends every wait.
    waiting.lock().take();
}

impl Waiting {
    fn take(&mut self, event: ZygoteEvent, mut fds: Vec<OwnedFd>) {
        match event {
            ZygoteEvent::Started { .. } => {}
            ZygoteEvent::Begun { launch, pid, error } => {
                let result = match (error, fds.pop()) {
                    (None, Some(pidfd)) => Ok((pid, pidfd)),
                    (error, _) => {
                        self.exits.remove(&launch);
                        Err(io::Error::other(error.unwrap_or_default()))
                    }
                };
                if let Some(waiting) = self.begins.remove(&launch) {
                    let _ = waiting.send(result);
                }
            }
            ZygoteEvent::Filled { launch, result } => {
                if let Some(waiting) = self.fills.remove(&launch) {
                    let _ = waiting.send(result.map_err(io::Error::other));
                }
            }
            ZygoteEvent::Exited { launch, reason } => {
                if let Some(waiting) = self.exits.remove(&launch) {
                    let _ = waiting.send(reason);
                }
            }
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("the zygote has ended")
}

/// A spec in a file without a name.
pub(super) fn spec_file(spec: &LaunchSpec) -> io::Result<OwnedFd> {
    let mut file = std::fs::File::from(memfd_create(c"spec", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(&serde_json::to_vec(spec)?)?;
    Ok(file.into())
}

impl Launched {
    /// Whether it, or its zygote, has ended.
    pub fn is_gone(&mut self) -> bool {
        self.gone = self.gone || !matches!(self.exit.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        self.gone
    }

    /// Returns when it has ended.
    pub async fn ended(mut self) {
        if !self.is_gone() {
            let _ = self.exit.await;
        }
    }

    /// Ends it; for one that never became a sandbox.
    pub fn kill(&self) {
        for signal in [Signal::SIGINT, Signal::SIGKILL] {
            let _ = signal_pidfd(self.pidfd.as_fd(), signal);
        }
    }
}
