//! Socket.IO payloads: the DTOs that the HTTP answers carry too.

use serde_json::{Value, json};

use super::{
    dto::{Full, Shape},
    snapshots, volumes,
};
use crate::{
    gateway::origin::Origin,
    model::{EventKind, ModelEvent, Sandbox, SnapshotEvent, VolumeEvent},
};

/// What `event` sends besides its name: the record, or the record with the old and new state. `runner` is this server's.
pub fn payload(event: &ModelEvent, origin: &Origin, runner: &str) -> Value {
    match event {
        ModelEvent::Sandbox { kind, sandbox } => of_sandbox(*kind, sandbox, origin),
        ModelEvent::Snapshot { kind, snapshot } => of_snapshot(*kind, snapshots::dto(snapshot, runner)),
        ModelEvent::Volume { kind, volume } => {
            let volume = volumes::dto(volume);
            match kind {
                VolumeEvent::Created | VolumeEvent::Used => volume,
                VolumeEvent::State { old, new } => json!({"volume": volume, "oldState": old, "newState": new}),
            }
        }
    }
}

fn of_sandbox(kind: EventKind, sandbox: &Sandbox, origin: &Origin) -> Value {
    let shape = match kind {
        EventKind::Created => Shape::Created,
        // The desired state's event lacks `lastActivityAt` (observed).
        EventKind::DesiredState { .. } => Shape::Ended,
        EventKind::State { .. } => Shape::Full,
    };
    let sandbox = dto(sandbox, origin, shape);
    match kind {
        EventKind::Created => sandbox,
        EventKind::State { old, new } => json!({"sandbox": sandbox, "oldState": old, "newState": new}),
        EventKind::DesiredState { old, new } => {
            json!({"sandbox": sandbox, "oldDesiredState": old, "newDesiredState": new})
        }
    }
}

fn of_snapshot(kind: SnapshotEvent, mut snapshot: Value) -> Value {
    match kind {
        SnapshotEvent::Created => snapshot,
        SnapshotEvent::State { old, new } => json!({"snapshot": snapshot, "oldState": old, "newState": new}),
        SnapshotEvent::Removed => {
            // Observed: what is gone has neither.
            if let Some(fields) = snapshot.as_object_mut() {
                fields.retain(|name, _| name != "id" && name != "regionIds");
            }
            snapshot
        }
    }
}

/// The full `Sandbox` of the contract.
pub fn sandbox_dto(sandbox: &Sandbox, origin: &Origin) -> Value {
    dto(sandbox, origin, Shape::Full)
}

fn dto(sandbox: &Sandbox, origin: &Origin, shape: Shape) -> Value {
    serde_json::to_value(Full { sandbox, origin, shape }).unwrap_or_default()
}
