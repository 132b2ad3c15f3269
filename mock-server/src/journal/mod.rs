//! What happened: every request, its answer, the frames of its WebSocket, in order, for the world that it belongs to.
//!
//! Recording must cost a request next to nothing. What is recorded is an [`Exchange`] that the gateway fills while it
//! answers; when it is over, its pointer goes into an inbox. One thread takes it from there, names the operation, takes
//! secrets out, keeps it in memory and writes it to disk. It is woken for the first of many: entries wait at most
//! [`BATCH`] unless somebody asks for them, and whoever asks is answered by that thread, after all that was over before.
//!
//! * [`exchange`]: what is recorded, while it happens.
//! * [`entry`]: what is kept of it, the JSON that clients of the journal read.
//! * [`redact`]: secrets go before anything is kept.
//! * [`memory`], [`disk`]: where entries are, both bounded.
//! * [`filter`]: which entries somebody wants. [`har`]: the export for browsers' developer tools.

pub mod disk;
pub mod entry;
pub mod exchange;
pub mod filter;
pub mod har;
mod memory;
pub mod redact;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use tokio::sync::{oneshot, watch};

use self::{disk::Disk, memory::Memory};
pub use self::{
    entry::Kept,
    exchange::{Exchange, Owner, Plane, Recording},
    filter::Filter,
};
use crate::limits::Limits;

/// How long an entry may wait for others before it is worked on.
const BATCH: Duration = Duration::from_millis(10);
/// Entries that may wait; more are lost, and counted. The thread does some hundred thousand a second.
const MOST: usize = 64 << 10;

/// The journal of a server. Cheap to clone.
#[derive(Clone)]
pub struct Journal(Arc<Shared>);

struct Shared {
    inbox: Mutex<Inbox>,
    wake: Condvar,
    ids: AtomicU64,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Inbox {
    done: Vec<Arc<Exchange>>,
    commands: Vec<Command>,
    lost: u64,
    closing: bool,
}

/// Whose entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One organisation's.
    World(String),
    /// Everybody's, and what belongs to nobody (wrong keys).
    All,
}

enum Command {
    Read(Scope, oneshot::Sender<View>),
    Clear(Scope, oneshot::Sender<()>),
}

/// What the journal held when somebody asked.
pub struct View {
    /// In the order in which the exchanges began.
    pub entries: Vec<Arc<Kept>>,
    /// Of the latest change; what comes later has a higher one.
    pub revision: u64,
    /// Entries that memory no longer has.
    pub evicted: u64,
    /// Exchanges that were not recorded, because too many ended at once.
    pub lost: u64,
    /// Changes with the next entry of this scope.
    pub changed: watch::Receiver<u64>,
}

impl Journal {
    /// A journal that writes below `directory`.
    pub fn new(directory: PathBuf, limits: &Limits) -> std::io::Result<Journal> {
        let shared = Arc::new(Shared {
            inbox: Mutex::default(),
            wake: Condvar::new(),
            ids: AtomicU64::new(0),
            thread: Mutex::new(None),
        });
        let memory = Memory::new(limits.journal_entries, limits.journal_memory);
        let mut worker = Worker { memory, disk: Disk::new(directory, limits.journal_file), revision: 0 };
        let inbox = shared.clone();
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .stack_size(512 * 1024)
            .spawn(move || while worker.turn(&inbox) {})?;
        *shared.thread.lock() = Some(thread);
        Ok(Journal(shared))
    }

    /// The number of an exchange that begins now.
    pub(crate) fn next_id(&self) -> u64 {
        self.0.ids.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Takes in an exchange that is over, or has changed. Never waits.
    pub(crate) fn take(&self, exchange: Arc<Exchange>) {
        let mut inbox = self.0.inbox.lock();
        if inbox.done.len() >= MOST {
            inbox.lost += 1;
            return;
        }
        inbox.done.push(exchange);
        if inbox.done.len() == 1 {
            self.0.wake.notify_one();
        }
    }

    /// Everything that is over by now.
    pub async fn read(&self, scope: &Scope) -> Option<View> {
        self.ask(|reply| Command::Read(scope.clone(), reply)).await
    }

    /// Forgets what is over by now, on disk too.
    pub async fn clear(&self, scope: &Scope) {
        self.ask(|reply| Command::Clear(scope.clone(), reply)).await;
    }

    /// Waits until at least `count` entries match, for at most `patience` of real time: a frozen clock must not keep a
    /// test waiting. `Err` has what matched when the time was over.
    pub async fn until(
        &self,
        scope: &Scope,
        filter: &Filter,
        count: usize,
        patience: Duration,
    ) -> Result<View, Option<View>> {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let mut view = self.read(scope).await.ok_or(None)?;
            view.entries.retain(|entry| filter.matches(entry));
            if view.entries.len() >= count {
                return Ok(view);
            }
            if !matches!(tokio::time::timeout_at(deadline, view.changed.changed()).await, Ok(Ok(()))) {
                return Err(Some(view));
            }
        }
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        {
            let mut inbox = self.0.inbox.lock();
            inbox.commands.push(command(reply));
            self.0.wake.notify_one();
        }
        answer.await.ok()
    }

    /// Writes what is left and ends the thread. Blocking.
    pub fn close(&self) {
        self.0.inbox.lock().closing = true;
        self.0.wake.notify_one();
        if let Some(thread) = self.0.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the journal's thread panicked");
        }
    }
}

/// The journal's thread.
struct Worker {
    memory: Memory,
    disk: Disk,
    revision: u64,
}

impl Worker {
    /// Takes what is there, or waits for it. False when the journal is closed.
    fn turn(&mut self, shared: &Shared) -> bool {
        let (done, commands, lost, closing) = {
            let mut inbox = shared.inbox.lock();
            while inbox.done.is_empty() && inbox.commands.is_empty() && !inbox.closing {
                shared.wake.wait(&mut inbox);
            }
            if inbox.commands.is_empty() && !inbox.closing && !self.memory.is_watched() {
                // More will come: a wake-up for each would cost more than the rest of the work.
                shared.wake.wait_for(&mut inbox, BATCH);
            }
            let Inbox { done, commands, lost, closing } = &mut *inbox;
            (std::mem::take(done), std::mem::take(commands), *lost, *closing)
        };
        let idle = commands.is_empty();
        for exchange in done {
            self.keep(&exchange);
        }
        self.memory.lost = lost;
        for command in commands {
            self.carry_out(command);
        }
        self.memory.tell();
        if idle || closing {
            self.disk.flush();
        }
        !closing
    }

    fn keep(&mut self, exchange: &Exchange) {
        self.revision += 1;
        let kept = entry::describe(exchange, self.revision);
        self.disk.write(&kept);
        self.memory.put(kept);
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            // Who asked may be gone.
            Command::Read(scope, reply) => _ = reply.send(self.memory.view(&scope, self.revision)),
            Command::Clear(scope, reply) => {
                self.memory.clear(&scope);
                self.disk.clear(&scope);
                _ = reply.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests;
