//! Snapshots: the general ones that the cloud offers everybody, and those of an organisation.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{sandbox::wire_enum, tokens};
use crate::runtime::Root;

/// A snapshot that every organisation can use and nobody can change.
#[derive(Debug, PartialEq, Eq)]
pub struct GeneralSnapshot {
    pub id: &'static str,
    pub name: &'static str,
    pub cpu: u32,
    /// GiB.
    pub memory: u32,
    /// GiB.
    pub disk: u32,
}

/// Names and resources as documented by the cloud.
pub const GENERAL: [GeneralSnapshot; 3] = [
    GeneralSnapshot { id: "5d2f6b0a-0001-4d61-8f00-da7700000001", name: "daytona-small", cpu: 1, memory: 1, disk: 3 },
    GeneralSnapshot { id: "5d2f6b0a-0002-4d61-8f00-da7700000002", name: "daytona-medium", cpu: 2, memory: 4, disk: 8 },
    GeneralSnapshot { id: "5d2f6b0a-0003-4d61-8f00-da7700000003", name: "daytona-large", cpu: 4, memory: 8, disk: 10 },
];

/// What a sandbox is made from when nobody says (`/config.defaultSnapshot`).
pub const DEFAULT: &str = "daytona-small";

/// A general snapshot by id or name.
pub fn general(id_or_name: &str) -> Option<&'static GeneralSnapshot> {
    GENERAL.iter().find(|snapshot| snapshot.id == id_or_name || snapshot.name == id_or_name)
}

wire_enum! {
    /// `SnapshotState` of the contract, in its order.
    SnapshotState {
        Building = "building",
        Pending = "pending",
        Pulling = "pulling",
        Snapshotting = "snapshotting",
        Active = "active",
        Inactive = "inactive",
        Error = "error",
        BuildFailed = "build_failed",
        Removing = "removing",
    }
}

/// What a snapshot or a sandbox is built from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildInfo {
    pub dockerfile: String,
    /// Keys of the object storage, below the organisation's prefix; null if there are none (observed).
    pub context_hashes: Option<Vec<String>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// `daytona-<sha256>:daytona`: the same for the same input.
    pub snapshot_ref: String,
}

impl BuildInfo {
    pub fn new(dockerfile: String, mut hashes: Vec<String>, now: DateTime<Utc>) -> BuildInfo {
        hashes.sort();
        let hash = tokens::hash(&format!("{dockerfile}{}", hashes.concat()));
        let context_hashes = Some(hashes).filter(|hashes| !hashes.is_empty());
        let snapshot_ref = format!("daytona-{hash}:daytona");
        BuildInfo { dockerfile, context_hashes, created_at: now, updated_at: now, snapshot_ref }
    }
}

/// An organisation's own snapshot, as the store keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    pub id: String,
    pub organization_id: String,
    /// Unique in the organisation.
    pub name: String,
    /// Empty if it was built, or made of a sandbox.
    pub image_name: String,
    pub state: SnapshotState,
    /// Bytes, once it is known.
    pub size: Option<u64>,
    pub entrypoint: Option<Vec<String>>,
    pub cpu: u32,
    pub gpu: u32,
    /// GiB.
    pub memory: u32,
    /// GiB.
    pub disk: u32,
    pub error_reason: Option<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub last_used_at: Option<DateTime<Utc>>,
    pub build: Option<BuildInfo>,
    pub reference: Option<String>,
    pub source_sandbox_id: Option<String>,
    /// The region that it can be used in.
    #[serde(default = "shared_region")]
    pub region: String,
    /// What sandboxes of it are made of, once it is active.
    pub root: Arc<Root>,
    /// User of sandboxes that name none.
    pub user: String,
}

fn shared_region() -> String {
    super::REGION.into()
}

/// What a sandbox can be made from.
pub enum Source {
    General(&'static GeneralSnapshot),
    Own(Arc<Snapshot>),
}

impl Source {
    /// The region that it can be used in.
    pub fn region(&self) -> &str {
        match self {
            Source::General(_) => super::REGION,
            Source::Own(snapshot) => &snapshot.region,
        }
    }

    pub fn name(&self) -> &str {
        match self {
            Source::General(snapshot) => snapshot.name,
            Source::Own(snapshot) => &snapshot.name,
        }
    }
}
