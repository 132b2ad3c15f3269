//! The sandbox record, its states, and the state that clients see.

pub use super::string_map::StringMap;
use super::{
    Outward, network,
    rules::{Nature, Phase},
    secrets::Attachment,
    snapshots::BuildInfo,
    volumes::Mount,
};
use crate::runtime::{NetworkPolicy, Resources, Root};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Whom nobody said is told to be the user.
pub const USER: &str = "daytona";

/// Declares an enum with its wire names, in the contract's order.
macro_rules! wire_enum {
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $(#[serde(rename = $text)] $variant),+
        }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            pub fn as_str(self) -> &'static str {
                match self {
                    $($name::$variant => $text),+
                }
            }
        }
    };
}

pub(super) use wire_enum;

wire_enum! {
    /// `SandboxState` of the contract, without `destroyed` at its observed place: see [`State::LISTED`].
    State {
        Creating = "creating",
        Restoring = "restoring",
        Destroyed = "destroyed",
        Destroying = "destroying",
        Started = "started",
        Stopped = "stopped",
        Starting = "starting",
        Stopping = "stopping",
        Error = "error",
        BuildFailed = "build_failed",
        PendingBuild = "pending_build",
        BuildingSnapshot = "building_snapshot",
        Unknown = "unknown",
        PullingSnapshot = "pulling_snapshot",
        Archived = "archived",
        Archiving = "archiving",
        Resizing = "resizing",
        Snapshotting = "snapshotting",
        Forking = "forking",
        Pausing = "pausing",
        Paused = "paused",
        Resuming = "resuming",
    }
}

wire_enum! {
    /// `SandboxDesiredState` of the contract.
    DesiredState {
        Destroyed = "destroyed",
        Started = "started",
        Stopped = "stopped",
        Resized = "resized",
        Archived = "archived",
        Paused = "paused",
    }
}

wire_enum! {
    /// `SandboxClass` of the contract, as far as there is one here.
    Class {
        LinuxVm = "linux-vm",
        Container = "container",
    }
}

impl Class {
    /// Virtual machines can be paused and forked.
    pub fn is_machine(self) -> bool {
        self == Class::LinuxVm
    }
}

#[expect(clippy::derivable_impls, reason = "the macro's variants take no attributes")]
impl Default for Class {
    fn default() -> Class {
        Class::Container
    }
}

wire_enum! {
    /// `backupState` of the contract: what archiving leaves behind.
    BackupState {
        None = "None",
        Pending = "Pending",
        InProgress = "InProgress",
        Completed = "Completed",
        Error = "Error",
    }
}

/// A sandbox as the store keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sandbox {
    /// UUID v4; also the host name inside.
    pub id: String,
    pub organization_id: String,
    /// Unique in the organisation; `DESTROYED_<name>_<ms>` after deletion.
    pub name: String,
    /// Name of the snapshot it was made from.
    pub snapshot: Option<String>,
    /// User inside; empty where nobody said: then the image decides ([`Sandbox::runs_as`]).
    pub user: String,
    pub env: StringMap,
    pub labels: StringMap,
    pub public: bool,
    pub network_block_all: bool,
    pub network_allow_list: Option<String>,
    pub domain_allow_list: Option<String>,
    /// Region id.
    pub target: String,
    pub cpu: u32,
    pub gpu: u32,
    /// GiB.
    pub memory: u32,
    /// GiB.
    pub disk: u32,
    /// Where it is; clients see [`Sandbox::state`].
    pub actual_state: State,
    pub desired_state: DesiredState,
    pub error_reason: Option<String>,
    pub recoverable: bool,
    /// Minutes without activity; 0 is off.
    pub auto_stop_interval: i32,
    /// Minutes without activity; 0 is off, as it is for containers and wherever `auto_stop_interval` isn't 0.
    pub auto_pause_interval: i32,
    /// Minutes, 1..=43200.
    pub auto_archive_interval: i32,
    /// Minutes after it stopped; negative is off, 0 deletes instead of stopping ("ephemeral").
    pub auto_delete_interval: i32,
    /// End of its life whatever its state (`ttlMinutes`).
    pub auto_destroy_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub last_activity_at: DateTime<Utc>,
    pub daemon_version: Option<String>,
    pub runner_id: Option<String>,
    /// Opens previews and the toolbox without a key; 32 of `[a-z0-9_-]`, new at each start.
    pub preview_token: String,
    /// Signs file URLs.
    pub signing_key: String,
    /// What its files lie above.
    #[serde(default)]
    pub root: Arc<Root>,
    /// What it is built from, if it is no snapshot's.
    #[serde(default)]
    pub build: Option<BuildInfo>,
    #[serde(default)]
    pub volumes: Vec<Mount>,
    #[serde(default)]
    pub class: Class,
    #[serde(default = "no_backup")]
    pub backup_state: BackupState,
    #[serde(default)]
    pub backup_created_at: Option<DateTime<Utc>>,
    /// What it is being resized to.
    #[serde(default)]
    pub resizing_to: Option<Resources>,
    /// The snapshot that is being made of it, in state `snapshotting`: after a kill, the next start makes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshotting_as: Option<String>,
    /// The sandbox that it was forked from.
    #[serde(default)]
    pub forked_from: Option<String>,
    /// The sandbox that it is linked to, and goes with.
    #[serde(default)]
    pub linked_to: Option<String>,
    /// The warm pool that it waits in.
    #[serde(default)]
    pub warm_pool_id: Option<String>,
    /// Which of its variables hold placeholders of secrets.
    #[serde(default)]
    pub secrets: Vec<Attachment>,
    #[serde(default)]
    pub outward: Outward,
    /// What its organisation and region say; the world keeps it up to date.
    #[serde(skip)]
    pub inherited: Inherited,
}

fn no_backup() -> BackupState {
    BackupState::None
}

/// What a sandbox has from its organisation and its region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inherited {
    /// It reaches essential services only, whatever its own settings say.
    pub limited_egress: bool,
    /// Where its region's proxy is, if it has one of its own.
    pub proxy: Option<String>,
}

impl Sandbox {
    pub fn phase(&self) -> Phase {
        Phase { actual: self.actual_state, desired: self.desired_state }
    }

    pub(super) fn set_phase(&mut self, phase: Phase) {
        (self.actual_state, self.desired_state) = (phase.actual, phase.desired);
    }

    /// What else than its phase decides about operations.
    pub fn nature(&self) -> Nature {
        Nature { class: self.class, ephemeral: self.is_ephemeral(), recoverable: self.recoverable }
    }

    /// The state that clients see.
    pub fn state(&self) -> State {
        self.phase().shown()
    }

    /// What it was called before it was deleted.
    pub fn given_name(&self) -> &str {
        let inner = self.name.strip_prefix("DESTROYED_").and_then(|rest| rest.rsplit_once('_'));
        let inner = inner.filter(|_| self.desired_state == DesiredState::Destroyed);
        inner.map_or(&self.name, |(name, _)| name)
    }

    /// `autoDeleteInterval` 0: deleted instead of stopped.
    pub fn is_ephemeral(&self) -> bool {
        self.auto_delete_interval == 0
    }

    /// What it may reach, from the three network settings. They were checked when they were set.
    pub fn network_policy(&self) -> NetworkPolicy {
        if self.inherited.limited_egress {
            let domains = Some(network::ESSENTIAL.map(String::from).to_vec());
            return NetworkPolicy { block_all: self.network_block_all, allow: None, domains };
        }
        NetworkPolicy {
            block_all: self.network_block_all,
            allow: self.network_allow_list.as_deref().and_then(|list| network::parse_networks(list).ok()),
            domains: self.domain_allow_list.as_deref().and_then(|list| network::parse_domains(list).ok()),
        }
    }

    /// Nothing inside differs from what its snapshot makes.
    pub(super) fn has_nothing_inside(&self) -> bool {
        self.env.iter().next().is_none()
            && self.linked_to.is_none()
            && self.volumes.is_empty()
            && self.secrets.is_empty()
            && !self.outward.shows_inside()
    }

    /// Whether both have the same network settings.
    pub(super) fn same_network(&self, other: &Sandbox) -> bool {
        let all = |sandbox: &Sandbox| {
            let limited = sandbox.inherited.limited_egress;
            (sandbox.network_block_all, sandbox.network_allow_list.clone(), sandbox.domain_allow_list.clone(), limited)
        };
        all(self) == all(other)
    }

    /// The user that is told, outside and inside: where nobody said, `daytona`, whomever the image makes the user (observed
    /// for built sandboxes and images).
    pub fn told_user(&self) -> &str {
        if self.user.is_empty() { USER } else { &self.user }
    }

    /// Whom its programs run as: where nobody said, whom its image says.
    pub fn runs_as(&self) -> &str {
        if self.user.is_empty() { self.root.user() } else { &self.user }
    }

    pub fn resources(&self) -> Resources {
        Resources { cpu: self.cpu, memory: self.memory, disk: self.disk }
    }

    pub(super) fn set_resources(&mut self, resources: Resources) {
        (self.cpu, self.memory, self.disk) = (resources.cpu, resources.memory, resources.disk);
        self.resizing_to = None;
    }

    /// The label that the SDKs pick the language of code runs by.
    pub fn language(&self) -> Option<&str> {
        self.labels.get(LANGUAGE_LABEL).map(String::as_str)
    }
}

/// Written by the SDKs at creation. `python`, `typescript` and `javascript` mean something to them.
pub const LANGUAGE_LABEL: &str = "code-toolbox-language";
