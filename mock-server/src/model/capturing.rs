//! Snapshots of sandboxes, running and stopped.

use std::sync::Arc;

use super::{
    ControlPlane,
    error::ModelError,
    layers::layer_name,
    lifecycle::apart,
    rules::{Operation, Progress},
    sandbox::{DesiredState, Sandbox, State},
    snapshots::{Snapshot, SnapshotState},
    tokens,
};
use crate::{faults::Hold, runtime::Root};

impl ControlPlane {
    /// Begins to make a snapshot of a sandbox. A name that is taken is no error: then nothing is made (observed).
    pub async fn snapshot_sandbox(
        self: &Arc<Self>,
        sandbox: &Sandbox,
        name: String,
    ) -> Result<Arc<Sandbox>, ModelError> {
        sandbox.phase().begin(Operation::Snapshot, sandbox.nature())?;
        self.must_have_roots("Snapshots of sandboxes")?;
        let (cp, seen) = (self.clone(), sandbox.clone());
        apart(async move {
            let record = cp.advance(&seen, Operation::Snapshot).await?;
            let held = cp.holding(&seen.id, Hold::Snapshotting);
            tokio::spawn(async move {
                cp.passed(&held, &seen.id).await;
                if let Err(error) = cp.take_snapshot(&seen.id, name).await {
                    tracing::warn!(sandbox = seen.id, %error, "no snapshot was made");
                }
                drop(cp.report(&seen.id, Progress::Snapshotted).await);
            });
            Ok(record)
        })
        .await
    }

    async fn take_snapshot(self: &Arc<Self>, id: &str, name: String) -> Result<(), ModelError> {
        let Some(turn) = self.turn(id) else { return Ok(()) };
        let _turn = turn.lock().await;
        // It may have ended and be made of something else by now.
        let sandbox = self.world.read().sandboxes.get(id).map(|entry| entry.record.clone());
        let sandbox = sandbox.filter(|one| one.state() == State::Snapshotting);
        let sandbox = &*sandbox.ok_or_else(|| ModelError::internal("it ended meanwhile"))?;
        let failed = |error: crate::runtime::RuntimeError| ModelError::internal(error.to_string());
        let taken = self.own_snapshot(&sandbox.organization_id, &name).is_some();
        let mut root = Root::clone(&sandbox.root);
        let (layer, cow) = (layer_name(&sandbox.id), sandbox.desired_state == DesiredState::Stopped);
        if taken {
            return Ok(());
        }
        if cow {
            self.runtime().commit(&sandbox.id, &layer).await.map_err(failed)?;
        } else {
            let machine = self.machine(&sandbox.id);
            let machine = machine.ok_or_else(|| ModelError::internal("it ended meanwhile"))?;
            self.runtime().copy(&machine, &layer).await.map_err(failed)?;
        }
        root.layers.push(layer.clone());
        let root = Arc::new(root);
        if cow {
            let own = root.clone();
            let edit = |sandbox: &mut Sandbox| {
                sandbox.root = own;
                Ok(())
            };
            self.change(&sandbox.id, edit).await?;
        }
        let made = self.add_snapshot(self.snapshot_of(sandbox, name, root)).await?;
        // It can be used before it is known how large it is.
        tokio::spawn(self.clone().measure_snapshot(made.id.clone()));
        Ok(())
    }

    /// Notes how large a snapshot is.
    pub(super) async fn measure_snapshot(self: Arc<Self>, id: String) {
        let Some(root) = self.world.read().snapshots.get(&id).map(|snapshot| snapshot.root.clone()) else { return };
        let size = self.root_size(&root).await;
        let edit = |snapshot: &mut Snapshot| {
            snapshot.size = Some(size);
            Ok(())
        };
        // It may be gone.
        drop(self.change_snapshot(&id, edit).await);
    }

    fn snapshot_of(&self, sandbox: &Sandbox, name: String, root: Arc<Root>) -> Snapshot {
        let now = self.clock().now();
        let hash = tokens::hash(&root.layers.join(" "));
        Snapshot {
            id: tokens::uuid(),
            organization_id: sandbox.organization_id.clone(),
            name,
            image_name: String::new(),
            state: SnapshotState::Active,
            size: None,
            entrypoint: None,
            cpu: sandbox.cpu,
            gpu: sandbox.gpu,
            memory: sandbox.memory,
            disk: sandbox.disk,
            error_reason: None,
            created_at: now,
            updated_at: now,
            last_used_at: Some(now),
            build: None,
            reference: Some(format!("daytona-mock/daytona/daytona-{hash}:daytona")),
            source_sandbox_id: Some(sandbox.id.clone()),
            region: sandbox.target.clone(),
            root,
            user: sandbox.user.clone(),
            class: sandbox.class,
        }
    }
}
