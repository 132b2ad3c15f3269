//! What the model tells the world, in the order in which it happened.

use std::sync::Arc;

use super::{
    sandbox::{DesiredState, Sandbox, State},
    snapshots::{Snapshot, SnapshotState},
    volumes::{Volume, VolumeState},
};

/// Something that happened; Socket.IO sends it to the organisation's room. Each carries its record right after the
/// change. Names and payloads as observed.
#[derive(Clone, Debug)]
pub enum ModelEvent {
    Sandbox { kind: EventKind, sandbox: Arc<Sandbox> },
    Snapshot { kind: SnapshotEvent, snapshot: Arc<Snapshot> },
    Volume { kind: VolumeEvent, volume: Arc<Volume> },
}

/// What happened to a sandbox: desired state first, then state; states are the derived ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Created,
    DesiredState { old: DesiredState, new: DesiredState },
    State { old: State, new: State },
}

/// What happened to a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotEvent {
    Created,
    State { old: SnapshotState, new: SnapshotState },
    Removed,
}

/// What happened to a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeEvent {
    Created,
    State {
        old: VolumeState,
        new: VolumeState,
    },
    /// A sandbox got it.
    Used,
}

impl ModelEvent {
    pub fn organization_id(&self) -> &str {
        match self {
            ModelEvent::Sandbox { sandbox, .. } => &sandbox.organization_id,
            ModelEvent::Snapshot { snapshot, .. } => &snapshot.organization_id,
            ModelEvent::Volume { volume, .. } => &volume.organization_id,
        }
    }

    /// The Socket.IO event name.
    pub fn name(&self) -> &'static str {
        match self {
            ModelEvent::Sandbox { kind: EventKind::Created, .. } => "sandbox.created",
            ModelEvent::Sandbox { kind: EventKind::DesiredState { .. }, .. } => "sandbox.desired-state.updated",
            ModelEvent::Sandbox { kind: EventKind::State { .. }, .. } => "sandbox.state.updated",
            ModelEvent::Snapshot { kind: SnapshotEvent::Created, .. } => "snapshot.created",
            ModelEvent::Snapshot { kind: SnapshotEvent::State { .. }, .. } => "snapshot.state.updated",
            ModelEvent::Snapshot { kind: SnapshotEvent::Removed, .. } => "snapshot.removed",
            ModelEvent::Volume { kind: VolumeEvent::Created, .. } => "volume.created",
            ModelEvent::Volume { kind: VolumeEvent::State { .. }, .. } => "volume.state.updated",
            ModelEvent::Volume { kind: VolumeEvent::Used, .. } => "volume.lastUsedAt.updated",
        }
    }
}
