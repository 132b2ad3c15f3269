//! The flat payloads that endpoints get (`control-plane.md` 12).

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use crate::model::{EventKind, ModelEvent, Sandbox, SnapshotEvent, Volume, VolumeEvent, snapshots::Snapshot};

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// What is told of an event that endpoints can be told of.
pub fn of(event: &ModelEvent, now: DateTime<Utc>) -> Value {
    let (id, more) = match event {
        ModelEvent::Sandbox { kind, sandbox } => (&sandbox.id, of_sandbox(*kind, sandbox)),
        ModelEvent::Snapshot { kind, snapshot } => (&snapshot.id, of_snapshot(*kind, snapshot, now)),
        ModelEvent::Volume { kind, volume } => (&volume.id, of_volume(*kind, volume)),
    };
    let mut payload = json!({
        "event": event.name(),
        "timestamp": time(now),
        "id": id,
        "organizationId": event.organization_id(),
    });
    if let (Value::Object(payload), Value::Object(more)) = (&mut payload, more) {
        payload.extend(more);
    }
    payload
}

fn of_sandbox(kind: EventKind, sandbox: &Sandbox) -> Value {
    match kind {
        EventKind::Created => json!({
            "state": sandbox.state(),
            "sandboxClass": sandbox.class,
            "createdAt": time(sandbox.created_at),
        }),
        EventKind::State { old, new } => {
            json!({"oldState": old, "newState": new, "updatedAt": time(sandbox.updated_at)})
        }
        EventKind::DesiredState { .. } => Value::Null,
    }
}

fn of_snapshot(kind: SnapshotEvent, snapshot: &Snapshot, now: DateTime<Utc>) -> Value {
    let name = &snapshot.name;
    match kind {
        SnapshotEvent::Created => {
            json!({"name": name, "state": snapshot.state, "createdAt": time(snapshot.created_at)})
        }
        SnapshotEvent::State { old, new } => {
            json!({"name": name, "oldState": old, "newState": new, "updatedAt": time(snapshot.updated_at)})
        }
        SnapshotEvent::Removed => json!({"name": name, "removedAt": time(now)}),
    }
}

fn of_volume(kind: VolumeEvent, volume: &Volume) -> Value {
    let name = &volume.name;
    match kind {
        VolumeEvent::Created => json!({"name": name, "state": volume.state, "createdAt": time(volume.created_at)}),
        VolumeEvent::State { old, new } => {
            json!({"name": name, "oldState": old, "newState": new, "updatedAt": time(volume.updated_at)})
        }
        VolumeEvent::Used => Value::Null,
    }
}
