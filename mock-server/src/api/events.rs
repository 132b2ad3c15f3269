//! Socket.IO payloads: the DTOs that the HTTP answers carry too.

use serde_json::{Value, json};

use super::dto::{Full, Shape};
use crate::{
    gateway::origin::Origin,
    model::{EventKind, ModelEvent, Sandbox},
};

/// What `event` sends besides its name: the sandbox, or the sandbox with the old and new state.
pub fn payload(event: &ModelEvent, origin: &Origin) -> Value {
    let shape = match event.kind {
        EventKind::Created => Shape::Created,
        // The desired state's event lacks `lastActivityAt` (observed).
        EventKind::DesiredState { .. } => Shape::Ended,
        EventKind::State { .. } => Shape::Full,
    };
    let sandbox = dto(&event.sandbox, origin, shape);
    match event.kind {
        EventKind::Created => sandbox,
        EventKind::State { old, new } => json!({"sandbox": sandbox, "oldState": old, "newState": new}),
        EventKind::DesiredState { old, new } => {
            json!({"sandbox": sandbox, "oldDesiredState": old, "newDesiredState": new})
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
