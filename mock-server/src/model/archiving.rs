//! Archives: a stopped sandbox's files go into one file, and come back with the next start (`runtime::archive` says why
//! nothing can get lost on the way).

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{
    ControlPlane,
    error::ModelError,
    rules::{OUTRUN, Operation, Phase, Progress},
    sandbox::{BackupState, DesiredState, Sandbox, State},
};
use crate::faults::Hold;

impl ControlPlane {
    /// Begins to archive a stopped sandbox: `archiving`, then `archived`.
    pub async fn archive(self: &Arc<Self>, sandbox: &Sandbox) -> Result<Arc<Sandbox>, ModelError> {
        self.check(sandbox, Operation::Archive)?;
        self.must_have_roots("Archives of sandboxes")?;
        self.begin(sandbox, Operation::Archive, false).await
    }

    /// Archives a sandbox that should be archived; a start or a deletion ends that.
    pub(super) fn store_away(self: Arc<Self>, id: String) -> impl Future<Output = ()> + Send + use<> {
        let held = self.holding(&id, Hold::Archiving);
        async move {
            let Some(turn) = self.turn(&id) else { return };
            let _backup = self.set_backup(&id, BackupState::Pending).await;
            self.passed(&held, &id).await;
            let _turn = turn.lock().await;
            let stop = self.closing.child_token();
            if !self.begin_archiving(&id, &stop) {
                return;
            }
            let _backup = self.set_backup(&id, BackupState::InProgress).await;
            let packed = self.runtime().archive(&id, stop.clone()).await;
            let result = match packed {
                // The next start goes on.
                _ if self.closing.is_cancelled() => return,
                Ok(()) => self.note_archived(&id).await,
                Err(error) => Err(ModelError::internal(error.to_string())),
            };
            match result {
                Ok(()) => {
                    if let Err(error) = self.runtime().clear_away(&id).await {
                        // What is left is removed at the next start.
                        tracing::warn!(sandbox = id, %error, "archived, but its files could not be removed");
                    }
                }
                Err(error) => {
                    if !stop.is_cancelled() {
                        tracing::warn!(sandbox = id, %error, "was not archived");
                    }
                    self.undo_archiving(&id, stop.is_cancelled()).await;
                }
            }
        }
    }

    /// From now on [`ControlPlane::stop_archiving`] ends it. False if it isn't wanted any more.
    fn begin_archiving(&self, id: &str, stop: &CancellationToken) -> bool {
        let mut world = self.world.write();
        let Some(entry) = world.sandboxes.get_mut(id) else { return false };
        let wanted =
            entry.record.actual_state == State::Stopped && entry.record.desired_state == DesiredState::Archived;
        entry.archiving = wanted.then(|| stop.clone());
        wanted
    }

    /// Ends the archiving of a sandbox that is to start or to go.
    pub(super) fn stop_archiving(&self, id: &str) {
        let stop = self.world.write().sandboxes.get_mut(id).and_then(|entry| entry.archiving.take());
        if let Some(stop) = stop {
            stop.cancel();
        }
    }

    /// The archive is whole. Committed before the files go; nothing happens if somebody started or deleted it meanwhile.
    async fn note_archived(&self, id: &str) -> Result<(), ModelError> {
        let now = self.clock().now();
        let edit = |sandbox: &mut Sandbox| {
            let next = sandbox.phase().after(Progress::Archived);
            if next.actual != State::Archived {
                return Err(ModelError::conflict(OUTRUN));
            }
            sandbox.set_phase(next);
            sandbox.backup_state = BackupState::Completed;
            sandbox.backup_created_at = Some(now);
            sandbox.runner_id = None;
            Ok(())
        };
        self.change(id, edit).await.map(drop)
    }

    /// The files are where they were, so an archive is one too many.
    async fn undo_archiving(&self, id: &str, cancelled: bool) {
        if let Err(error) = self.runtime().remove_archive(id) {
            // The next launch does.
            tracing::debug!(sandbox = id, %error, "its archive could not be removed");
        }
        let edit = |sandbox: &mut Sandbox, _: &mut Option<_>| {
            sandbox.set_phase(sandbox.phase().after(Progress::ArchiveFailed));
            sandbox.backup_state = if cancelled { BackupState::None } else { BackupState::Error };
            Ok(())
        };
        drop(self.note(id, edit).await);
    }

    async fn set_backup(&self, id: &str, state: BackupState) -> Result<(), ModelError> {
        let edit = |sandbox: &mut Sandbox, _: &mut Option<_>| {
            if (sandbox.actual_state, sandbox.desired_state) == (State::Stopped, DesiredState::Archived) {
                sandbox.backup_state = state;
            }
            Ok(())
        };
        self.note(id, edit).await.map(drop)
    }

    /// After a restart: removes archives of sandboxes that are gone, and files of those that are archived.
    pub(super) async fn tidy_archives(&self) {
        let archived = match self.runtime().archived_ids() {
            Ok(ids) => ids,
            Err(error) => return tracing::warn!(%error, "the archives can't be read"),
        };
        for id in archived {
            let removed = match self.turn(&id) {
                None => self.runtime().remove_archive(&id),
                Some(turn) => {
                    // Somebody may start it just now.
                    let _turn = turn.lock().await;
                    let archived = |phase: Phase| phase.actual == State::Archived && !phase.is_pending();
                    if self.is_at(&id, archived) { self.runtime().clear_away(&id).await } else { Ok(()) }
                }
            };
            if let Err(error) = removed {
                tracing::warn!(sandbox = id, %error, "an archive could not be tidied");
            }
        }
    }
}
