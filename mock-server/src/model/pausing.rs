//! Pause and resume: a machine's processes stand still with their memory, and go on. Both are gone with the server: after
//! a restart a paused sandbox is stopped.

use std::sync::Arc;

use super::{
    ControlPlane,
    error::ModelError,
    rules::{Operation, Progress},
    sandbox::{Sandbox, State},
};
use crate::faults::Hold;

impl ControlPlane {
    /// Begins to pause a sandbox: `pausing`, then `paused`.
    pub async fn pause(self: &Arc<Self>, sandbox: &Sandbox) -> Result<Arc<Sandbox>, ModelError> {
        self.begin(sandbox, Operation::Pause, false).await
    }

    /// Makes it stand still. One that doesn't goes on as started.
    pub(super) fn hold(self: Arc<Self>, id: String) -> impl Future<Output = ()> + Send + use<> {
        let held = self.holding(&id, Hold::Pausing);
        async move {
            self.passed(&held, &id).await;
            let Some(turn) = self.turn(&id) else { return };
            let _turn = turn.lock().await;
            // One that ended meanwhile is stopped by now, or runs again.
            if !self.is_at(&id, |phase| phase.actual == State::Pausing) {
                return;
            }
            let Some(machine) = self.machine(&id) else { return };
            let progress = match machine.freeze().await {
                Ok(()) => Progress::Paused,
                Err(error) => {
                    tracing::warn!(sandbox = id, %error, "does not stand still");
                    Progress::PauseFailed
                }
            };
            drop(self.report(&id, progress).await);
        }
    }

    /// Lets it go on, unless a fault holds it.
    pub(super) async fn resume(self: Arc<Self>, id: String) -> Result<(), ModelError> {
        self.unless_held(&id, Hold::Resuming, self.clone().resume_now(id.clone())).await
    }

    async fn resume_now(self: Arc<Self>, id: String) -> Result<(), ModelError> {
        let Some(turn) = self.turn(&id) else { return Ok(()) };
        let _turn = turn.lock().await;
        if let Some(machine) = self.machine(&id) {
            machine.thaw();
            self.tell_secrets_now(&id).await;
        }
        self.report(&id, Progress::Resumed).await.map(drop)
    }
}
