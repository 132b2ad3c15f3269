//! Snapshots: the general ones that the cloud offers everybody, and those of an organisation.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{
    sandbox::{Class, wire_enum},
    tokens,
};
use crate::runtime::Root;

/// A snapshot that every organisation can use and nobody can change.
#[derive(Debug, PartialEq, Eq)]
pub struct GeneralSnapshot {
    pub id: &'static str,
    pub name: &'static str,
    pub class: Class,
    pub cpu: u32,
    /// GiB.
    pub memory: u32,
    /// GiB.
    pub disk: u32,
}

const fn snapshot(id: &'static str, name: &'static str, class: Class, size: [u32; 3]) -> GeneralSnapshot {
    let [cpu, memory, disk] = size;
    GeneralSnapshot { id, name, class, cpu, memory, disk }
}

const SMALL: [u32; 3] = [1, 1, 3];
const MEDIUM: [u32; 3] = [2, 4, 8];
const LARGE: [u32; 3] = [4, 8, 10];

/// Names and resources as documented by the cloud. Those of virtual machines are ours: the cloud has some, but documents
/// no names.
pub const GENERAL: [GeneralSnapshot; 6] = [
    snapshot("5d2f6b0a-0001-4d61-8f00-da7700000001", "daytona-small", Class::Container, SMALL),
    snapshot("5d2f6b0a-0002-4d61-8f00-da7700000002", "daytona-medium", Class::Container, MEDIUM),
    snapshot("5d2f6b0a-0003-4d61-8f00-da7700000003", "daytona-large", Class::Container, LARGE),
    snapshot("5d2f6b0a-0004-4d61-8f00-da7700000004", "daytona-vm-small", Class::LinuxVm, SMALL),
    snapshot("5d2f6b0a-0005-4d61-8f00-da7700000005", "daytona-vm-medium", Class::LinuxVm, MEDIUM),
    snapshot("5d2f6b0a-0006-4d61-8f00-da7700000006", "daytona-vm-large", Class::LinuxVm, LARGE),
];

/// What a sandbox is made from when nobody says (`/config.defaultSnapshot`).
pub const DEFAULT: &str = "daytona-small";

/// The image that self-hosted servers have as their default snapshot, by its own name (`DEFAULT_SNAPSHOT`).
const IMAGE: &str = "daytonaio/sandbox:";

/// The default snapshot, under a name that self-hosted servers have for it: `daytonaio/sandbox:<tag>`.
pub fn by_image(name: &str) -> Option<&'static GeneralSnapshot> {
    let tag = name.trim_start_matches("docker.io/").strip_prefix(IMAGE)?;
    general(DEFAULT).filter(|_| !tag.is_empty())
}

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
    /// User of sandboxes that name none; empty where nobody said.
    pub user: String,
    #[serde(default)]
    pub class: Class,
}

fn shared_region() -> String {
    super::REGION.into()
}

/// What a sandbox can be made from.
pub enum Source {
    /// Under the name that it was asked for by.
    General(&'static GeneralSnapshot, String),
    Own(Arc<Snapshot>),
}

impl Source {
    /// The region that it can be used in.
    pub fn region(&self) -> &str {
        match self {
            Source::General(..) => super::REGION,
            Source::Own(snapshot) => &snapshot.region,
        }
    }

    pub fn name(&self) -> &str {
        match self {
            Source::General(_, name) => name,
            Source::Own(snapshot) => &snapshot.name,
        }
    }

    pub fn class(&self) -> Class {
        match self {
            Source::General(snapshot, _) => snapshot.class,
            Source::Own(snapshot) => snapshot.class,
        }
    }
}
