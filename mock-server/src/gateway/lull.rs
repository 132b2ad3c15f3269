//! When nothing has been asked for a while, what the work so far left in memory goes back to the system: it isn't needed
//! before the next burst, and a server that is kept running beside one's work should be small.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::runtime::Handle;

use crate::runtime::sys::memory;

/// Without a request. A bit more than the pause of clients that ask every second.
const LULL: Duration = Duration::from_millis(1300);

/// Cheap to clone.
#[derive(Clone, Default)]
pub struct Lull(Arc<State>);

#[derive(Default)]
struct State {
    requests: AtomicU64,
    /// Somebody waits for the lull.
    waiting: AtomicBool,
}

impl Lull {
    /// A request came, or an answer is over, or the server started.
    pub fn over(&self) {
        self.0.requests.fetch_add(1, Ordering::Relaxed);
        // Answers may be dropped when the runtime is gone.
        let Ok(runtime) = Handle::try_current() else { return };
        if memory::is_kept_small() && !self.0.waiting.swap(true, Ordering::Relaxed) {
            runtime.spawn(self.clone().wait());
        }
    }

    async fn wait(self) {
        let mut seen = self.0.requests.load(Ordering::Relaxed);
        loop {
            tokio::time::sleep(LULL).await;
            let now = self.0.requests.load(Ordering::Relaxed);
            if now == seen {
                break;
            }
            seen = now;
        }
        self.0.waiting.store(false, Ordering::Relaxed);
        tokio::task::spawn_blocking(|| {
            memory::give_back();
            memory::give_program_back();
        });
    }
}
