//! What happens by itself: auto-stop, auto-pause, auto-archive, auto-delete, the end of a TTL. One task waits for the nearest deadline on the
//! server's clock; nothing polls.

use std::sync::{Arc, Weak};

use chrono::{DateTime, Duration, Utc};

use crate::audit::{Actor, Entry};

use super::{
    ControlPlane,
    error::{ErrorKind, ModelError},
    rules::{OUTRUN, Operation},
    sandbox::{Sandbox, State},
};

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    Stop,
    Pause,
    Archive,
    Delete,
    /// A sandbox that was deleted while in error leaves `includeErroredDeleted` lists.
    Forget,
}

/// Rows that were deleted in error are kept this long (observed: destroyed rows are purged after a day).
const KEEP_ERRED: Duration = Duration::hours(24);

/// Between two attempts of a timer that the store refused (the original looks every 10 seconds).
const RETRY: std::time::Duration = std::time::Duration::from_secs(10);

/// When a sandbox is next due for what, if nothing happens until then. Nothing is due while its state is changing.
pub fn deadline(sandbox: &Sandbox) -> Option<(DateTime<Utc>, Due)> {
    if sandbox.phase().is_errored_deleted() {
        return Some((sandbox.updated_at.checked_add_signed(KEEP_ERRED)?, Due::Forget));
    }
    if sandbox.phase().is_pending() {
        return None;
    }
    let after = |minutes: i32, due| {
        let at = sandbox.last_activity_at.checked_add_signed(Duration::minutes(minutes.into()));
        at.map(|at| (at, due))
    };
    let idle = match sandbox.state() {
        State::Started if sandbox.auto_stop_interval > 0 => after(sandbox.auto_stop_interval, Due::Stop),
        State::Started if sandbox.auto_pause_interval > 0 => after(sandbox.auto_pause_interval, Due::Pause),
        _ => None,
    };
    let rest = (sandbox.state() == State::Stopped).then(|| {
        let delete = (sandbox.auto_delete_interval >= 0).then_some((sandbox.auto_delete_interval, Due::Delete));
        let archive = (!sandbox.is_ephemeral()).then_some((sandbox.auto_archive_interval, Due::Archive));
        delete.into_iter().chain(archive).filter_map(|(minutes, due)| after(minutes, due)).collect::<Vec<_>>()
    });
    let end = sandbox.auto_destroy_at.map(|at| (at, Due::Delete));
    idle.into_iter().chain(rest.into_iter().flatten()).chain(end).min_by_key(|(at, _)| *at)
}

/// Runs until the control plane closes or is dropped.
pub async fn run(cp: Weak<ControlPlane>) {
    loop {
        let Some(strong) = cp.upgrade() else { return };
        let next = strong.world.read().due.first().map(|(at, _)| *at);
        let (clock, timer, closing) = (strong.clock().clone(), strong.timer.clone(), strong.closing.clone());
        drop(strong);
        let due = async {
            match next {
                Some(at) => clock.sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = closing.cancelled() => return,
            () = timer.notified() => continue,
            () = due => {}
        }
        if let Some(strong) = cp.upgrade() {
            strong.do_what_is_due().await;
        }
    }
}

/// Sets a timer anew that could not do its work: the store refused.
async fn again(cp: Weak<ControlPlane>, id: String) {
    // In real time: a full disk doesn't mend itself because the clock is turned.
    tokio::time::sleep(RETRY).await;
    if let Some(cp) = cp.upgrade() {
        cp.world.write().reschedule(&id);
    }
}

impl ControlPlane {
    /// Begins what is due by now; returns once it has begun, whoever began it.
    pub async fn do_what_is_due(self: &Arc<Self>) {
        let _one = self.firing.lock().await;
        self.touch_busy_and_due();
        for (sandbox, due) in self.take_due() {
            match self.fire(&sandbox, due).await {
                Ok(()) => {
                    tracing::info!(sandbox = sandbox.id, ?due, "by its timer");
                    self.audit_timer(&sandbox, due);
                }
                Err(error) if matches!(error.kind, ErrorKind::Internal | ErrorKind::Full) => {
                    tracing::warn!(sandbox = sandbox.id, ?due, %error, "its timer comes again");
                    tokio::spawn(again(Arc::downgrade(self), sandbox.id.clone()));
                }
                Err(error) => {
                    tracing::debug!(sandbox = sandbox.id, ?due, %error, "its timer came too late");
                    if error.message == OUTRUN {
                        // Somebody else was faster; what was only put off comes later.
                        self.world.write().reschedule(&sandbox.id);
                    }
                }
            }
        }
    }

    /// Begins what is due, unless somebody has put it off since.
    async fn fire(self: &Arc<Self>, sandbox: &Sandbox, due: Due) -> Result<(), ModelError> {
        let operation = match due {
            Due::Stop => Operation::Stop,
            Due::Pause => Operation::Pause,
            Due::Delete => Operation::Delete,
            Due::Archive => {
                self.must_have_roots("Archives of sandboxes")?;
                Operation::Archive
            }
            Due::Forget => {
                self.forget(&sandbox.id).await;
                return Ok(());
            }
        };
        let now = self.clock().now();
        let still = move |sandbox: &Sandbox| deadline(sandbox).is_some_and(|(at, is)| is == due && at <= now);
        self.begin_if(sandbox, operation, false, still).await.map(drop)
    }

    /// What the server does by itself is in the audit log too.
    fn audit_timer(&self, sandbox: &Sandbox, due: Due) {
        let now = self.clock().now();
        let action = match due {
            Due::Delete if sandbox.auto_destroy_at.is_some_and(|at| at <= now) => "ttl_expire",
            Due::Delete => "auto_delete",
            Due::Stop => "auto_stop",
            Due::Archive => "auto_archive",
            // The contract has no action for these.
            Due::Pause | Due::Forget => return,
        };
        self.audit().note(Entry {
            actor: Actor { id: "system".into(), ..Actor::default() },
            organization_id: sandbox.organization_id.clone(),
            action,
            target_type: "sandbox",
            target_id: Some(sandbox.id.clone()),
            status: None,
            error: None,
            ip: None,
            user_agent: None,
            source: None,
            metadata: Default::default(),
            at: now,
        });
    }

    /// The sandboxes that are really due; timers that activity postponed are set anew.
    fn take_due(&self) -> Vec<(Arc<Sandbox>, Due)> {
        let now = self.clock().now();
        let mut world = self.world.write();
        let mut all = Vec::new();
        while world.due.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, id)) = world.due.pop_first() else { break };
            let Some(entry) = world.sandboxes.get_mut(&id) else { continue };
            entry.due = None;
            match deadline(&entry.record) {
                Some((at, due)) if at <= now => all.push((entry.record.clone(), due)),
                Some((at, _)) => {
                    entry.due = Some(at);
                    world.due.insert((at, id));
                }
                None => {}
            }
        }
        all
    }
}
