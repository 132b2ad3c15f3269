//! Forks: a new machine over a copy of a started one's files. Its processes are not copied.

use std::sync::Arc;

use super::{
    ControlPlane,
    error::{ErrorKind, ModelError},
    lifecycle::apart,
    rules::{Operation, Phase, Progress},
    sandbox::{BackupState, DesiredState, Sandbox},
    tokens,
};
use crate::faults::Hold;

/// Most that the lists of forks and ancestors tell.
const MOST_FORKS: usize = 100;
const MOST_ANCESTORS: usize = 50;

impl ControlPlane {
    /// Forks a started machine. Answers the new sandbox, `creating`, once it has its files: then nothing that was promised
    /// can be lost.
    pub async fn fork(self: &Arc<Self>, source: &Sandbox, name: Option<String>) -> Result<Arc<Sandbox>, ModelError> {
        self.check(source, Operation::Fork)?;
        self.must_have_roots("Forks")?;
        self.check_active(&source.organization_id)?;
        if let Some(name) = &name {
            self.check_fork_name(source, name)?;
        }
        let (cp, seen) = (self.clone(), source.clone());
        apart(async move {
            let forking = cp.advance(&seen, Operation::Fork).await?;
            let fork = match cp.copy_of(&forking, name).await {
                Ok(made) => cp.add_fork(made).await,
                Err(error) => Err(error),
            };
            // Last: what is being forked can't be deleted, what has a fork can't either.
            drop(cp.report(&forking.id, Progress::Forked).await);
            fork
        })
        .await
    }

    fn check_fork_name(&self, source: &Sandbox, name: &str) -> Result<(), ModelError> {
        let world = self.world.read();
        let tenant = world.tenants.get(&source.organization_id);
        if tenant.is_some_and(|tenant| tenant.names.contains_key(name)) {
            return Err(ModelError::conflict(NAME_TAKEN));
        }
        Ok(())
    }

    /// Copies the files, then says what the record is to be.
    async fn copy_of(&self, source: &Sandbox, name: Option<String>) -> Result<Sandbox, ModelError> {
        let gone = || ModelError::conflict("Sandbox state change in progress");
        self.pass(&source.id, Hold::Forking).await;
        let turn = self.turn(&source.id).ok_or_else(gone)?;
        let _turn = turn.lock().await;
        let machine = self.machine(&source.id).ok_or_else(gone)?;
        let (id, now) = (tokens::uuid(), self.clock().now());
        let copied = self.runtime().fork(&machine, &id).await;
        copied.map_err(|error| ModelError::internal(error.to_string()))?;
        let phase = Phase::NEW;
        Ok(Sandbox {
            name: name.filter(|name| !name.is_empty()).unwrap_or_else(|| id.clone()),
            id,
            actual_state: phase.actual,
            desired_state: phase.desired,
            created_at: now,
            updated_at: now,
            last_activity_at: now,
            daemon_version: None,
            runner_id: Some(self.runner_id().into()),
            preview_token: tokens::preview_token(),
            signing_key: tokens::signing_key(),
            backup_state: BackupState::None,
            backup_created_at: None,
            resizing_to: None,
            snapshotting_as: None,
            forked_from: Some(source.id.clone()),
            linked_to: None,
            ..source.clone()
        })
    }

    async fn add_fork(self: &Arc<Self>, fork: Sandbox) -> Result<Arc<Sandbox>, ModelError> {
        let id = fork.id.clone();
        match self.add(fork).await {
            Ok(record) => {
                // A failure is in the record by then.
                drop(self.spawn_launch(&record.id));
                Ok(record)
            }
            Err(error) => {
                if let Err(error) = self.runtime().remove(&id).await {
                    tracing::warn!(sandbox = id, %error, "a fork's files could not be removed");
                }
                let taken = error.kind == ErrorKind::Conflict;
                Err(if taken { ModelError::conflict(NAME_TAKEN) } else { error })
            }
        }
    }

    /// What was forked from a sandbox, oldest first; those that are going too if asked for.
    pub fn forks(&self, sandbox: &Sandbox, with_destroyed: bool) -> Vec<Arc<Sandbox>> {
        let world = self.world.read();
        let there = |fork: &&Arc<Sandbox>| with_destroyed || fork.desired_state != DesiredState::Destroyed;
        let mut forks: Vec<_> = world.forks_of(&sandbox.id).filter(there).cloned().collect();
        forks.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        forks.truncate(MOST_FORKS);
        forks
    }

    /// What a sandbox was forked from, if that is still there.
    pub fn fork_parent(&self, sandbox: &Sandbox) -> Option<Arc<Sandbox>> {
        let world = self.world.read();
        Some(world.find(&sandbox.organization_id, sandbox.forked_from.as_deref()?)?.record.clone())
    }

    /// Its parent, that one's parent and so on; oldest first.
    pub fn ancestors(&self, sandbox: &Sandbox) -> Vec<Arc<Sandbox>> {
        let parents = std::iter::successors(self.fork_parent(sandbox), |parent| self.fork_parent(parent));
        let mut ancestors: Vec<_> = parents.take(MOST_ANCESTORS).collect();
        ancestors.reverse();
        ancestors
    }
}

/// As documented for forks; other creations say it differently.
const NAME_TAKEN: &str = "Sandbox with this name already exists";
