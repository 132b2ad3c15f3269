//! Processes that wait to be sandboxes: cloned and in their control groups already, as moving a process into one takes
//! the kernel longer than all the rest of a start.

use std::{io, os::fd::OwnedFd, sync::Arc};

use futures_util::future::join_all;
use nix::unistd::Pid;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Mutex as AsyncMutex, RwLock};

use super::{
    Resources,
    disks::Disk,
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
    /// It may have been killed while it waited, which is no fault of its spec.
    pub waited: bool,
}

/// The waiting ones.
pub struct Spares {
    zygote: Zygote,
    pub groups: Arc<Groups>,
    waiting: Mutex<Vec<Spare>>,
    /// Held by whoever makes new ones.
    filling: AsyncMutex<()>,
}

impl Spares {
    pub fn new(zygote: Zygote, groups: Groups) -> Arc<Spares> {
        Arc::new(Spares { zygote, groups: Arc::new(groups), waiting: Mutex::default(), filling: AsyncMutex::default() })
    }

    /// Gives a waiting process its spec, or a new one where none waits that can take it.
    pub async fn launch(
        &self,
        spec: &LaunchSpec,
        resources: Option<Resources>,
        ctrl: &OwnedFd,
        lock: &OwnedFd,
        disks: &[Arc<Disk>],
    ) -> io::Result<Spare> {
        loop {
            let spare = match self.take() {
                Some(spare) => spare,
                None => self.begin().await?,
            };
            match self.fill(&spare, spec, resources, ctrl, lock, disks).await {
                Ok(Filled::Done) => return Ok(spare),
                // Each time there is a layer that no launch had before, so this ends.
                Ok(Filled::TooOld) => spare.discard(),
                Err(error) => {
                    let waited = spare.waited;
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
        let spares = self.clone();
        tokio::spawn(async move {
            let _one = spares.filling.lock().await;
            let missing = COUNT.saturating_sub(spares.living().len());
            // Together, as the kernel's wait is one for all of them. A launch tells why, if it fails, too.
            let made = join_all((0..missing).map(|_| spares.begin())).await;
            spares.waiting.lock().extend(made.into_iter().flatten().map(|spare| Spare { waited: true, ..spare }));
        });
    }

    /// Ends those that wait; once the zygote is taken away there are no new ones.
    pub async fn end(&self) {
        let _nobody = self.filling.lock().await;
        let waiting = std::mem::take(&mut *self.waiting.lock());
        join_all(waiting.into_iter().map(Spare::end)).await;
    }

    /// Those that wait and live; the others are discarded.
    fn living(&self) -> MutexGuard<'_, Vec<Spare>> {
        let mut waiting = self.waiting.lock();
        waiting.extract_if(.., |spare| spare.launched.is_gone()).for_each(Spare::discard);
        waiting
    }

    /// The oldest that lives.
    fn take(&self) -> Option<Spare> {
        let mut living = self.living();
        (!living.is_empty()).then(|| living.remove(0))
    }

    async fn begin(&self) -> io::Result<Spare> {
        let launched = self.zygote.read().await.as_ref().ok_or_else(stopping)?.begin().await?;
        let (groups, pid) = (self.groups.clone(), Pid::from_raw(launched.pid));
        match blocking(move || groups.enter(pid)).await {
            Ok(group) => Ok(Spare { launched, group, waited: false }),
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
        disks: &[Arc<Disk>],
    ) -> io::Result<Filled> {
        if let Some(resources) = resources {
            let group = spare.group.clone();
            blocking(move || group.update(resources)).await?;
        }
        let mounts = mount_all(disks.to_vec()).await?;
        let zygote = self.zygote.read().await;
        zygote.as_ref().ok_or_else(stopping)?.fill(&spare.launched, spec, ctrl, lock, &mounts).await
    }
}

async fn mount_all(disks: Vec<Arc<Disk>>) -> io::Result<Vec<OwnedFd>> {
    if disks.is_empty() {
        return Ok(Vec::new());
    }
    blocking(move || disks.iter().map(|disk| disk.mount()).collect()).await
}

impl Spare {
    /// Ends it; for one that never became a sandbox.
    pub fn discard(self) {
        tokio::spawn(self.end());
    }

    async fn end(self) {
        self.launched.kill();
        let Spare { launched, group, .. } = self;
        launched.ended().await;
        let _ = tokio::task::spawn_blocking(move || group.remove()).await;
    }
}
