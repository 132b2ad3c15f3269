//! Processes that wait to be sandboxes: cloned and in their control groups already, as moving a process into one takes
//! the kernel longer than all the rest of a start.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::future::join_all;
use nix::unistd::Pid;
use parking_lot::Mutex;
use tokio::sync::RwLock;

use super::{
    Resources,
    groups::{Group, Groups},
    launch::{Filled, LaunchSpec},
    manager::{blocking, stopping},
    nursery::{Launched, Nursery},
};

/// How many wait: while new ones are made, creations that come one after the other find one.
const COUNT: usize = 3;

/// The zygote; `None` once the server is stopping.
pub type Zygote = Arc<RwLock<Option<Nursery>>>;

/// A process without a spec, or with one.
pub struct Spare {
    pub launched: Launched,
    pub group: Group,
}

/// The waiting ones.
pub struct Spares {
    zygote: Zygote,
    pub groups: Arc<Groups>,
    waiting: Mutex<Vec<Spare>>,
    refilling: AtomicBool,
}

impl Spares {
    pub fn new(zygote: Zygote, groups: Groups) -> Arc<Spares> {
        Arc::new(Spares {
            zygote,
            groups: Arc::new(groups),
            waiting: Mutex::default(),
            refilling: AtomicBool::new(false),
        })
    }

    /// Gives a waiting process its spec, or a new one where none waits that can take it.
    pub async fn launch(
        &self,
        spec: &LaunchSpec,
        resources: Option<Resources>,
        ctrl: &OwnedFd,
        lock: &OwnedFd,
    ) -> io::Result<Spare> {
        loop {
            let (spare, waited) = match self.take() {
                Some(spare) => (spare, true),
                None => (self.begin().await?, false),
            };
            match self.fill(&spare, spec, resources, ctrl, lock).await {
                Ok(Filled::Done) => return Ok(spare),
                // Each time there is a layer that no launch had before, so this ends.
                Ok(Filled::TooOld) => spare.discard(),
                // It may have been killed while it waited; what is wrong with the spec is wrong again.
                Err(error) => {
                    spare.discard();
                    if !waited {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Makes as many as are missing, beside whatever else goes on.
    pub fn refill(self: &Arc<Self>) {
        if self.refilling.swap(true, Ordering::AcqRel) {
            return;
        }
        let spares = self.clone();
        tokio::spawn(async move {
            // Together, as the kernel's wait is one for all of them.
            loop {
                let missing = COUNT.saturating_sub(spares.waiting.lock().len());
                let made = join_all((0..missing).map(|_| spares.begin())).await;
                let failed = made.iter().any(Result::is_err);
                spares.waiting.lock().extend(made.into_iter().flatten());
                // A launch tells why, if it fails, too.
                if missing == 0 || failed {
                    break;
                }
            }
            spares.refilling.store(false, Ordering::Release);
        });
    }

    /// Ends those that wait.
    pub async fn end(&self) {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        join_all(waiting.into_iter().map(Spare::end)).await;
    }

    /// The oldest of a zygote that lives.
    fn take(&self) -> Option<Spare> {
        let mut waiting = self.waiting.lock();
        while !waiting.is_empty() {
            let mut spare = waiting.remove(0);
            if !spare.launched.is_gone() {
                return Some(spare);
            }
            spare.discard();
        }
        None
    }

    async fn begin(&self) -> io::Result<Spare> {
        let launched = self.zygote.read().await.as_ref().ok_or_else(stopping)?.begin().await?;
        let (groups, pid) = (self.groups.clone(), Pid::from_raw(launched.pid));
        match blocking(move || groups.enter(pid)).await {
            Ok(group) => Ok(Spare { launched, group }),
            Err(error) => {
                launched.kill();
                Err(io::Error::new(error.kind(), format!("control group: {error}")))
            }
        }
    }

    async fn fill(
        &self,
        spare: &Spare,
        spec: &LaunchSpec,
        resources: Option<Resources>,
        ctrl: &OwnedFd,
        lock: &OwnedFd,
    ) -> io::Result<Filled> {
        if let Some(resources) = resources {
            let group = spare.group.clone();
            blocking(move || group.update(resources)).await?;
        }
        let zygote = self.zygote.read().await;
        zygote.as_ref().ok_or_else(stopping)?.fill(&spare.launched, spec, ctrl, lock).await
    }
}

impl Spare {
    /// Ends it; for one that never became a sandbox.
    pub fn discard(self) {
        tokio::spawn(self.end());
    }

    async fn end(self) {
        self.launched.kill();
        let Spare { launched, group } = self;
        let _ = launched.exit.await;
        let _ = tokio::task::spawn_blocking(move || group.remove()).await;
    }
}
