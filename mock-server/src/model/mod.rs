//! Sandboxes, keys, organisations and the rules they obey. Knows no HTTP; the handlers in [`crate::api`] do.

pub mod clock;
mod event;
mod sandbox;

use std::{path::PathBuf, sync::Arc};

use tokio::sync::broadcast;

pub use clock::Clock;
pub use event::{EventKind, ModelEvent};
pub use sandbox::{DesiredState, Sandbox, State};

use crate::runtime::{self, Runtime};

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
    clock: Clock,
    runtime: Arc<Runtime>,
    events: broadcast::Sender<ModelEvent>,
}

impl ControlPlane {
    /// Opens the store below `config.data_dir` and starts again the sandboxes that were started when it was last closed (or killed).
    pub async fn open(
        config: ModelConfig,
        clock: Clock,
        runtime: Arc<Runtime>,
    ) -> Result<Arc<ControlPlane>, OpenError> {
        let events = broadcast::channel(1024).0;
        Ok(Arc::new(ControlPlane { config, clock, runtime, events }))
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
        self.config.api_keys.first().map_or("", String::as_str)
    }

    /// Who an API key belongs to; `None` for unknown and expired ones. Only hashes are compared and kept.
    pub fn authenticate(&self, _token: &str) -> Option<Identity> {
        None
    }

    /// A sandbox by id (never by name) for the gateway; `None` when there is none or it is destroyed.
    pub fn toolbox_target(&self, _sandbox_id: &str) -> Option<ToolboxTarget> {
        None
    }

    /// Whether a signed file URL is good: `method` GET or POST, `path` as in the query (decoded), `expires` in unix seconds (0: never).
    pub fn verify_signed_file_url(
        &self,
        _sandbox_id: &str,
        _method: &str,
        _path: &str,
        _expires: u64,
        _signature: &str,
    ) -> bool {
        false
    }

    /// The sandbox that a signed preview token opens on this port, until it expires.
    pub fn signed_preview(&self, _port: u16, _token: &str) -> Option<String> {
        None
    }

    /// Notes activity: postpones auto-stop and moves `lastActivityAt`. Cheap enough for every request.
    pub fn touch(&self, _sandbox_id: &str) {}

    /// What happens from now on, in order. Slow receivers lose the oldest (`RecvError::Lagged`).
    pub fn events(&self) -> broadcast::Receiver<ModelEvent> {
        self.events.subscribe()
    }

    /// Stops every sandbox's processes; what was started stays desired so, and is started again by the next [`ControlPlane::open`].
    pub async fn shutdown(&self) {
        self.runtime.shutdown().await;
    }
}
