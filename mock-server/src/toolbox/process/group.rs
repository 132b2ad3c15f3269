//! A started program and its process group.

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::process::Child;

/// The leader of a process group of its own. Dropped before its end (the client went away, the time is over), it
/// takes the whole group along; the runtime reaps it later.
pub struct Group {
    child: Child,
    released: bool,
}

impl Group {
    /// `child` must have been started with `process_group(0)`.
    pub fn new(child: Child) -> Group {
        Group { child, released: false }
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// `None` once the leader was reaped: until then the number can't belong to somebody else.
    pub fn id(&self) -> Option<Pid> {
        self.child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw)
    }

    /// Lets the group live on without this.
    pub fn release(&mut self) {
        self.released = true;
    }

    /// Kills the whole group, unless the leader was reaped.
    pub fn kill(&self) {
        if let Some(id) = self.id() {
            let _ = killpg(id, Signal::SIGKILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.released {
            self.kill();
        }
    }
}
