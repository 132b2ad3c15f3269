//! What the model tells the world, in the order in which it happened.

use std::sync::Arc;

use super::sandbox::{DesiredState, Sandbox, State};

/// Something that happened to a sandbox; Socket.IO sends it to the organisation's room.
#[derive(Clone, Debug)]
pub struct ModelEvent {
    pub kind: EventKind,
    /// The sandbox right after the change.
    pub sandbox: Arc<Sandbox>,
}

/// Names and payloads as observed: desired state first, then state; states are the derived ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Created,
    DesiredState { old: DesiredState, new: DesiredState },
    State { old: State, new: State },
}

impl ModelEvent {
    pub fn organization_id(&self) -> &str {
        &self.sandbox.organization_id
    }

    /// The Socket.IO event name.
    pub fn name(&self) -> &'static str {
        match self.kind {
            EventKind::Created => "sandbox.created",
            EventKind::DesiredState { .. } => "sandbox.desired-state.updated",
            EventKind::State { .. } => "sandbox.state.updated",
        }
    }
}
