//! Keeps an eye on the sandbox's memory while anything but the agent runs in it: tells `/proc/meminfo`, and where no
//! control group bounds the sandbox kills what grows too large. An idle sandbox costs nothing: requests wake this.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::sync::Notify;

use super::{super::bounds, reaper};
use crate::toolbox::private_memory;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// What the set-up leaves to the agent.
pub struct Memory {
    /// Bytes.
    pub limit: u64,
    /// What is mounted over `/proc/meminfo`.
    pub file: Option<File>,
    /// Nobody else bounds it.
    pub guard: bool,
}

pub struct Keeper {
    memory: Memory,
    limit: AtomicU64,
    wake: Notify,
}

impl Keeper {
    pub fn new(memory: Memory) -> Arc<Keeper> {
        let limit = AtomicU64::new(memory.limit);
        Arc::new(Keeper { memory, limit, wake: Notify::new() })
    }

    /// Something may have been started.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Another limit from now on.
    pub fn set_limit(&self, bytes: u64) {
        self.limit.store(bytes, Ordering::Relaxed);
        if let Some(file) = &self.memory.file {
            let _ = tell(file, bytes, 0);
        }
        self.wake();
    }

    pub async fn run(self: Arc<Self>) {
        loop {
            self.wake.notified().await;
            loop {
                // First, so that a burst of requests costs one look.
                tokio::time::sleep(INTERVAL).await;
                let this = self.clone();
                let busy = tokio::task::spawn_blocking(move || this.look()).await.unwrap_or(false);
                if !busy {
                    break;
                }
            }
        }
    }

    /// Whether anything runs that has to be looked at again.
    fn look(&self) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        let all: Vec<(Pid, u64)> = processes().into_iter().filter_map(|pid| Some((pid, memory_of(pid)?))).collect();
        let used = all.iter().map(|(_, bytes)| bytes).sum();
        if let Some(file) = &self.memory.file {
            // Nobody is the worse for an old figure.
            let _ = tell(file, limit, used);
        }
        let others = all.iter().filter(|(pid, _)| *pid != Pid::this());
        if self.memory.guard
            && used > limit
            && let Some((largest, _)) = others.clone().max_by_key(|(_, bytes)| *bytes)
        {
            let _ = kill(*largest, Signal::SIGKILL);
        }
        others.count() > 0
    }
}

/// In place: what is mounted is the file, and readers never see it empty. It only gets longer when numbers do.
fn tell(file: &File, limit: u64, used: u64) -> io::Result<()> {
    file.write_all_at(bounds::meminfo(limit, used).as_bytes(), 0)
}

/// Every process of the sandbox.
fn processes() -> Vec<Pid> {
    if Pid::this().as_raw() != 1 {
        return reaper::descendants().into_iter().chain([Pid::this()]).collect();
    }
    let names = fs::read_dir("/proc").into_iter().flatten().flatten();
    names.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).map(Pid::from_raw).collect()
}

fn memory_of(pid: Pid) -> Option<u64> {
    private_memory(&fs::read_to_string(format!("/proc/{pid}/statm")).ok()?)
}
