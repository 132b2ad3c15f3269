//! Sandboxes, keys, organisations and the rules they obey. Knows no HTTP; the handlers in [`crate::api`] do.

mod admitting;
mod archiving;
mod build_caches;
mod building;
mod busy;
mod capturing;
pub mod clock;
mod create;
pub mod error;
mod event;
mod failing;
mod forking;
pub mod keys;
mod layers;
mod lifecycle;
mod linking;
pub mod list;
mod moving;
pub mod names;
mod network;
pub mod objects;
mod open;
pub mod organization;
mod outward;
mod pausing;
pub mod preview;
pub mod pushed;
pub mod quota;
mod recovering;
pub mod regions;
mod registries;
mod resizing;
pub mod rules;
mod sandbox;
pub mod secrets;
pub mod settings;
pub mod snapshots;
mod snapshotting;
mod ssh;
pub mod storage_keys;
mod store;
mod string_map;
pub mod telemetry;
mod timers;
mod tokens;
pub mod uploads;
pub mod volumes;
pub mod warm_pools;
pub mod webhooks;
mod world;
mod worlds;

use std::{path::PathBuf, sync::Arc};

use parking_lot::RwLock;
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;

pub use building::OfflineBase;
pub use clock::Clock;
pub use create::{NewSandbox, REGION};
pub use error::{ErrorKind, ModelError};
pub use event::{EventKind, ModelEvent, SnapshotEvent, VolumeEvent};
pub use moving::Restored;
pub use organization::Organization;
pub use outward::Outward;
pub use preview::PreviewPort;
pub use registries::{Registry, RegistryChange};
pub use resizing::NewSize;
pub use sandbox::{BackupState, Class, DesiredState, LANGUAGE_LABEL, Sandbox, State, StringMap, USER};
pub use snapshotting::{MadeOf, NewSnapshot, no_snapshot};
pub use ssh::SshAccess;
pub use tokens::{hash, hex, preview_token};
pub use volumes::{Mount, Volume};
pub use worlds::{MAX_LIFE, Strict};

use self::{keys::Keys, store::Store, world::World};
use crate::{
    audit::AuditLog,
    limits::Limits,
    runtime::{self, Runtime},
};

/// What the control plane is told at start.
#[derive(Clone, Debug)]
pub struct ModelConfig {
    /// Where `control.sqlite` and `api-key` live. Must exist.
    pub data_dir: PathBuf,
    /// Variables given to every sandbox.
    pub env: Vec<(String, String)>,
    /// Keys accepted from the start, an organisation each. Empty: the key in `<data_dir>/api-key`, minted at the first start.
    pub api_keys: Vec<String>,
    /// `X-Daytona-Api-Version` and `/config.version`.
    pub api_version: String,
    pub limits: Limits,
    /// What happens to requests that break the contract's rules, in worlds that don't say otherwise.
    pub strict: Option<crate::strict::Strictness>,
    pub offline_base: OfflineBase,
    /// Who builds Dockerfiles instead of this server.
    pub builder: Option<crate::builds::Engine>,
    /// What each organisation may use; `None`: as much as it likes.
    pub quota: Option<quota::Quota>,
}

/// Why the control plane did not open. The text says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
    #[error("the store {path}: {reason}")]
    Store { path: PathBuf, reason: String },
}

/// Who a request comes from: the holder of an API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub organization_id: String,
    pub user_id: String,
    pub key_name: String,
    pub permissions: Arc<[String]>,
}

/// What the gateway needs to forward a request to a sandbox.
#[derive(Clone)]
pub struct ToolboxTarget {
    pub organization_id: String,
    /// The derived state, as clients see it.
    pub state: State,
    pub public: bool,
    /// Opens previews and the toolbox; changes at each start.
    pub preview_token: String,
    /// The machine, while the state is `started`.
    pub running: Option<Arc<runtime::Sandbox>>,
}

/// The control plane's state and everything that happens to it. One per server.
pub struct ControlPlane {
    config: ModelConfig,
    first_key: String,
    runner_id: String,
    clock: Clock,
    runtime: Arc<Runtime>,
    events: broadcast::Sender<ModelEvent>,
    keys: Arc<Keys>,
    world: Arc<RwLock<World>>,
    store: Store,
    storage_key: storage_keys::StorageKey,
    /// Wakes the timers' task: there is a new nearest deadline.
    timer: Arc<Notify>,
    /// Held while what is due is begun.
    firing: tokio::sync::Mutex<()>,
    busy: busy::Busy,
    faults: Arc<crate::faults::Faults>,
    swept: broadcast::Sender<String>,
    strict: worlds::Strictnesses,
    closing: CancellationToken,
    audit: AuditLog,
    /// What started sandboxes used, since this server started.
    samples: telemetry::Samples,
    /// What `--offline-base` names, once it was needed.
    offline_image: tokio::sync::Mutex<Option<crate::images::Image>>,
    /// Held while a warm pool is filled.
    tending: tokio::sync::Mutex<()>,
    /// Held while a world is saved or restored: files that no record names are not yet anybody's then.
    moving: tokio::sync::Mutex<()>,
    /// Uploads to the registry that some request has.
    claims: pushed::Claims,
    /// Files that a save reads.
    kept: moving::Kept,
    /// Logs of builds that are under way, by the id of what is built.
    logs: parking_lot::Mutex<std::collections::HashMap<String, Arc<crate::builds::BuildLog>>>,
    /// Snapshots whose deactivation a fault holds.
    deactivating: parking_lot::Mutex<std::collections::HashSet<String>>,
}

impl ControlPlane {
    pub fn audit(&self) -> &AuditLog {
        &self.audit
    }

    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    pub fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }

    /// The key to show at start: the first given one, else the one in `<data_dir>/api-key`.
    pub fn first_key(&self) -> &str {
        &self.first_key
    }

    /// Whether somebody holds a key of the organisation that the server's own key belongs to.
    pub fn is_own(&self, identity: &Identity) -> bool {
        self.authenticate(&self.first_key).is_some_and(|own| own.organization_id == identity.organization_id)
    }

    /// This server as the one runner that its sandboxes are on.
    pub fn runner_id(&self) -> &str {
        &self.runner_id
    }

    /// A sandbox by id (never by name) for the gateway; `None` when there is none or it is destroyed.
    pub fn toolbox_target(&self, sandbox_id: &str) -> Option<ToolboxTarget> {
        let world = self.world.read();
        let entry = world.sandboxes.get(sandbox_id).filter(|entry| !entry.record.phase().is_errored_deleted())?;
        let record = &entry.record;
        let started = record.state() == State::Started;
        Some(ToolboxTarget {
            organization_id: record.organization_id.clone(),
            state: record.state(),
            public: record.public,
            preview_token: record.preview_token.clone(),
            running: entry.running.clone().filter(|_| started),
        })
    }

    /// Whether an organisation owns nothing that somebody made.
    pub fn is_empty(&self, organization_id: &str) -> bool {
        let own = |id: &String| id == organization_id;
        let prefix = format!("{organization_id}/");
        let world = self.world.read();
        let has_objects = world.objects.range(prefix.clone()..).next().is_some_and(|(key, _)| key.starts_with(&prefix));
        world.tenants.get(organization_id).is_none_or(|tenant| tenant.ids.is_empty())
            && !world.snapshots.values().any(|one| own(&one.organization_id))
            && !world.volumes.values().any(|one| own(&one.organization_id) && !one.is_deleted())
            && !world.registries.values().any(|one| own(&one.organization_id))
            && !world.secrets.values().any(|one| own(&one.organization_id))
            && !world.warm_pools.values().any(|one| own(&one.organization_id))
            && !world.regions.values().any(|one| one.organization_id.as_ref().is_some_and(own))
            && !world.webhooks.values().any(|one| one.organization_id.as_ref().is_some_and(own))
            && !has_objects
    }

    /// The organisation of a sandbox, by id, as long as there is a trace of it.
    pub fn owner_of(&self, sandbox_id: &str) -> Option<String> {
        self.world.read().sandboxes.get(sandbox_id).map(|entry| entry.record.organization_id.clone())
    }

    /// What happens from now on, in order. Slow receivers lose the oldest (`RecvError::Lagged`).
    pub fn events(&self) -> broadcast::Receiver<ModelEvent> {
        self.events.subscribe()
    }

    /// Stops every sandbox's processes; what was started stays desired so, and is started again by the next
    /// [`ControlPlane::open`].
    pub async fn shutdown(self: &Arc<Self>) {
        self.closing.cancel();
        self.runtime.shutdown().await;
        let this = self.clone();
        // Commits what is queued, which is a blocking matter.
        if let Err(error) = tokio::task::spawn_blocking(move || {
            this.store.close();
            this.audit.close();
        })
        .await
        {
            tracing::error!(%error, "closing the store failed");
        }
    }
}
