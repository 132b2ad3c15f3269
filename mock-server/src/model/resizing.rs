//! Other resources for a sandbox: `resizing` with the old numbers, then as before with the new ones (observed).

use std::sync::Arc;

use super::{
    ControlPlane,
    error::ModelError,
    lifecycle::apart,
    rules::{OUTRUN, Operation, Progress},
    sandbox::{DesiredState, Sandbox},
};
use crate::{faults::Hold, runtime::Resources};

/// What a client asks for; `None` stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NewSize {
    pub cpu: Option<u32>,
    /// GiB.
    pub memory: Option<u32>,
    /// GiB.
    pub disk: Option<u32>,
}

impl ControlPlane {
    /// Begins to resize a started or stopped sandbox.
    pub async fn resize(self: &Arc<Self>, sandbox: &Sandbox, new: NewSize) -> Result<Arc<Sandbox>, ModelError> {
        self.check(sandbox, Operation::Resize)?;
        wanted(sandbox, new)?;
        let (cp, seen) = (self.clone(), sandbox.clone());
        apart(async move {
            let edit = |sandbox: &mut Sandbox| {
                if sandbox.phase() != seen.phase() {
                    return Err(ModelError::conflict(OUTRUN));
                }
                let wanted = wanted(sandbox, new)?;
                let mut resized = sandbox.clone();
                resized.set_resources(wanted);
                cp.check_quota(Some(sandbox), &resized)?;
                sandbox.resizing_to = Some(wanted);
                sandbox.set_phase(sandbox.phase().begin(Operation::Resize, sandbox.nature())?);
                Ok(())
            };
            let record = cp.change(&seen.id, edit).await?;
            tokio::spawn(cp.clone().apply_size(record.id.clone()));
            Ok(record)
        })
        .await
    }

    fn apply_size(self: Arc<Self>, id: String) -> impl Future<Output = ()> + Send + use<> {
        let held = self.holding(&id, Hold::Resizing);
        async move {
            self.passed(&held, &id).await;
            let Some(turn) = self.turn(&id) else { return };
            let _turn = turn.lock().await;
            let resources = self.world.read().sandboxes.get(&id).and_then(|entry| entry.record.resizing_to);
            let Some(resources) = resources else { return };
            if let Some(machine) = self.machine(&id)
                && let Err(error) = self.runtime().set_resources(&machine, resources).await
            {
                tracing::warn!(sandbox = id, %error, "its new resources are in force from its next start on");
            }
            let edit = |sandbox: &mut Sandbox, _: &mut Option<_>| {
                sandbox.set_resources(resources);
                sandbox.set_phase(sandbox.phase().after(Progress::Resized));
                Ok(())
            };
            // One that is gone needs none.
            _ = self.note(&id, edit).await;
        }
    }
}

/// What a sandbox is to have then, or the first rule that forbids it (observed texts and order).
fn wanted(sandbox: &Sandbox, new: NewSize) -> Result<Resources, ModelError> {
    let now = sandbox.resources();
    let next = Resources {
        cpu: new.cpu.unwrap_or(now.cpu),
        memory: new.memory.unwrap_or(now.memory),
        disk: new.disk.unwrap_or(now.disk),
    };
    let started = sandbox.desired_state == DesiredState::Started;
    let rules = [
        (next == now, "No resource changes specified - sandbox is already at the desired configuration"),
        (started && next.disk != now.disk, "Disk resize can only be performed on a stopped sandbox"),
        (started && next.cpu < now.cpu, "Sandbox must be in stopped state to decrease the number of CPU cores"),
        (started && next.memory < now.memory, "Sandbox must be in stopped state to decrease memory"),
        (next.disk < now.disk, "Sandbox disk size cannot be decreased"),
    ];
    match rules.into_iter().find(|(broken, _)| *broken) {
        Some((_, text)) => Err(ModelError::bad_request(text)),
        None => Ok(next),
    }
}
