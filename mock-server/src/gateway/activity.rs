//! Activity of sandboxes as the gateway sees it: each forwarded request, and every so often while one is open.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;

use crate::model::{Clock, ControlPlane};

/// How often an open connection counts as activity (observed: 50 s).
const WHILE_OPEN: Duration = Duration::from_secs(50);

/// Notes what is open to sandboxes. Cheap to clone.
#[derive(Clone)]
pub struct Activity(Arc<Inner>);

struct Inner {
    cp: Arc<ControlPlane>,
    ticking: Mutex<bool>,
}

/// A request or connection that is open; closed when dropped.
pub struct Active(Option<(Activity, String)>);

impl Activity {
    pub fn new(cp: Arc<ControlPlane>) -> Activity {
        Activity(Arc::new(Inner { cp, ticking: Mutex::new(false) }))
    }

    /// Notes activity now, and again while the returned guard lives.
    pub fn begin(&self, sandbox_id: &str) -> Active {
        self.0.cp.enter(sandbox_id);
        if !std::mem::replace(&mut *self.0.ticking.lock(), true) {
            tokio::spawn(tick(Arc::downgrade(&self.0), self.0.cp.clock().clone()));
        }
        Active(Some((self.clone(), sandbox_id.to_owned())))
    }
}

/// Touches every sandbox with something open; ends when nothing is, or with the server.
async fn tick(activity: Weak<Inner>, clock: Clock) {
    loop {
        clock.sleep(WHILE_OPEN).await;
        let Some(inner) = activity.upgrade() else { return };
        // Whoever opens something now waits for this lock, and finds that nobody ticks.
        let mut ticking = inner.ticking.lock();
        if !inner.cp.touch_busy() {
            *ticking = false;
            return;
        }
    }
}

impl Active {
    /// For a request that asked not to count (`X-Daytona-Skip-Last-Activity-Update`).
    pub fn uncounted() -> Active {
        Active(None)
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let Some((activity, id)) = self.0.take() else { return };
        activity.0.cp.leave(&id);
    }
}
