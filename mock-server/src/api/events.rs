//! Socket.IO payloads: the DTOs that the HTTP answers carry too.

use serde_json::{Value, json};

use crate::{
    gateway::origin::Origin,
    model::{EventKind, ModelEvent, Sandbox},
};

/// What `event` sends besides its name: the sandbox, or the sandbox with the old and new state.
pub fn payload(event: &ModelEvent, origin: &Origin) -> Value {
    let sandbox = sandbox_dto(&event.sandbox, origin);
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
    json!({
        "id": sandbox.id,
        "organizationId": sandbox.organization_id,
        "name": sandbox.name,
        "state": sandbox.state(),
        "toolboxProxyUrl": origin.toolbox_proxy_url(),
    })
}
