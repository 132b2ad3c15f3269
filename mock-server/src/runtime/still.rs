//! A sandbox whose processes stand still: for as long as its files are copied, or while it is paused.

use std::{
    fs, io,
    sync::Arc,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{Sandbox, inside::reaper, manager::blocking};

/// How long processes may take to stand still.
const PATIENCE: Duration = Duration::from_secs(5);

/// Processes that are started while others are being stopped are looked for again this often at most.
const ROUNDS: usize = 20;

/// What keeps processes still.
pub enum Stillness {
    /// Their control group: all of them, PID 1 too.
    Group,
    /// SIGSTOP, in the order in which they got it. PID 1 goes on, but has nothing to do.
    Signals(Vec<Pid>),
}

/// A sandbox that stands still until this is dropped.
pub struct Still(Arc<Sandbox>);

impl Drop for Still {
    fn drop(&mut self) {
        self.0.thaw();
    }
}

impl Sandbox {
    /// Makes every process stand still, with its memory; returns when they do.
    ///
    /// # Errors
    /// When some don't in time: then all go on.
    pub async fn freeze(self: &Arc<Self>) -> io::Result<()> {
        let sandbox = self.clone();
        blocking(move || {
            let stillness = if sandbox.group.can_freeze() {
                sandbox.group.freeze(PATIENCE).map(|()| Stillness::Group)?
            } else {
                Stillness::Signals(stop_all(sandbox.pid()))
            };
            *sandbox.still.lock() = Some(stillness);
            Ok(())
        })
        .await
    }

    /// Lets every process go on.
    pub fn thaw(&self) {
        match self.still.lock().take() {
            Some(Stillness::Group) => self.group.thaw(),
            // Children before their parents: a shell must not see its job stopped.
            Some(Stillness::Signals(all)) => {
                let children_first: Vec<Pid> = all.into_iter().rev().collect();
                reaper::signal_all(&children_first, Signal::SIGCONT);
            }
            None => {}
        }
    }

    pub fn is_still(&self) -> bool {
        self.still.lock().is_some()
    }

    /// Stands still until the returned value is dropped. Where that fails it goes on: a copy of its files is then as good
    /// as one of a machine that lost power.
    pub async fn stand_still(self: &Arc<Self>) -> Still {
        if let Err(error) = self.freeze().await {
            tracing::debug!(sandbox = self.id(), %error, "doesn't stand still");
        }
        Still(self.clone())
    }
}

/// Stops everything below a process, parents before their children. What belongs to ids of others (tier subuid: what
/// runs under `sudo`) can't be stopped.
fn stop_all(init: i32) -> Vec<Pid> {
    let mut stopped = Vec::new();
    for _ in 0..ROUNDS {
        let new: Vec<Pid> = descendants(Pid::from_raw(init)).into_iter().filter(|pid| !stopped.contains(pid)).collect();
        if new.is_empty() {
            break;
        }
        reaper::signal_all(&new, Signal::SIGSTOP);
        stopped.extend(new);
    }
    let deadline = Instant::now() + PATIENCE;
    // The signal is there at once, and acts when the kernel next looks.
    while stopped.iter().any(|pid| runs(*pid)) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    stopped
}

/// Whether a process that takes our signals does anything: it is neither stopped nor at its end.
fn runs(pid: Pid) -> bool {
    if kill(pid, None).is_err() {
        return false;
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Its name may have anything in it, parentheses too.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['T', 't', 'Z', 'X']))
}

/// Everything below a process, but not itself.
pub(super) fn descendants(pid: Pid) -> Vec<Pid> {
    let mut all = reaper::children(pid);
    let mut next = 0;
    while next < all.len() {
        all.extend(reaper::children(all[next]));
        next += 1;
    }
    all
}
