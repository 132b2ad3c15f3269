//! What is open to sandboxes: requests, connections, channels. A sandbox that has any isn't idle.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::{
    ControlPlane,
    timers::{Due, deadline},
};

/// How many there are, by id. Most sandboxes have none.
#[derive(Default)]
pub(super) struct Busy(Mutex<HashMap<String, usize>>);

impl ControlPlane {
    /// Something opens: that is activity, now and for as long as it is open.
    pub fn enter(&self, sandbox_id: &str) {
        *self.busy.0.lock().entry(sandbox_id.to_owned()).or_default() += 1;
        self.touch(sandbox_id);
    }

    /// What [`Self::enter`] noted has ended.
    pub fn leave(&self, sandbox_id: &str) {
        let mut busy = self.busy.0.lock();
        if let Some(count) = busy.get_mut(sandbox_id) {
            *count -= 1;
            if *count == 0 {
                busy.remove(sandbox_id);
            }
        }
    }

    /// Notes activity of every sandbox that has something open. False if none has.
    pub fn touch_busy(&self) -> bool {
        let ids: Vec<String> = self.busy.0.lock().keys().cloned().collect();
        ids.iter().for_each(|id| self.touch(id));
        !ids.is_empty()
    }

    /// The same for those that would be stopped now: when the clock is turned past both, whoever notes activity from
    /// time to time may come after the timer.
    pub(super) fn touch_busy_and_due(&self) {
        let now = self.clock().now();
        let mut ids: Vec<String> = self.busy.0.lock().keys().cloned().collect();
        {
            let world = self.world.read();
            ids.retain(|id| {
                let due = world.sandboxes.get(id).and_then(|entry| deadline(&entry.record));
                due.is_some_and(|(at, due)| at <= now && matches!(due, Due::Stop | Due::Pause))
            });
        }
        ids.iter().for_each(|id| self.touch(id));
    }
}
