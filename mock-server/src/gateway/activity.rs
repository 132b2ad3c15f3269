//! Activity of sandboxes as the gateway sees it: each forwarded request, and every so often while one is open.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;

use crate::model::{Clock, ControlPlane};

/// How often an open connection counts as activity (observed: 50 s).
const WHILE_OPEN: Duration = Duration::from_secs(50);

/// Counts what is open per sandbox. Cheap to clone.
#[derive(Clone)]
pub struct Activity(Arc<Inner>);

struct Inner {
    cp: Arc<ControlPlane>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    by_sandbox: HashMap<String, usize>,
    ticking: bool,
}

/// A request or connection that is open; closed when dropped.
pub struct Active(Option<(Activity, String)>);

impl Activity {
    pub fn new(cp: Arc<ControlPlane>) -> Activity {
        Activity(Arc::new(Inner { cp, open: Mutex::default() }))
    }

    /// Notes activity now, and again while the returned guard lives.
    pub fn begin(&self, sandbox_id: &str) -> Active {
        self.0.cp.touch(sandbox_id);
        let mut open = self.0.open.lock();
        *open.by_sandbox.entry(sandbox_id.to_owned()).or_default() += 1;
        if !std::mem::replace(&mut open.ticking, true) {
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
        let ids: Vec<String> = {
            let mut open = inner.open.lock();
            if open.by_sandbox.is_empty() {
                open.ticking = false;
                return;
            }
            open.by_sandbox.keys().cloned().collect()
        };
        ids.iter().for_each(|id| inner.cp.touch(id));
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
        let mut open = activity.0.open.lock();
        if let Some(count) = open.by_sandbox.get_mut(&id) {
            *count -= 1;
            if *count == 0 {
                open.by_sandbox.remove(&id);
            }
        }
    }
}
