//! The toolbox API as the agent serves it inside a sandbox (`openapi/toolbox.json`). No authentication here:
//! the gateway did that, and stripped the credentials.
//!
//! Every route is in [`routes`]; each area has a file. Handlers take [`Ctx`] as state and answer
//! `Result<impl IntoResponse, ToolboxError>`; [`error`] is the only place that knows the envelope.

pub mod body;
pub mod build;
mod code_run;
pub mod computer_use;
mod env;
pub mod error;
pub mod files;
mod git;
pub mod go_errors;
mod info;
mod interpreter;
pub mod json;
mod lsp;
mod metrics;
pub mod operations;
pub mod own_port;
mod params;
mod ports;
mod process;
mod proxy;
pub mod pty;
mod routing;
pub mod sdk_version;
mod session;
pub use session::entrypoint::IDLE as IDLE_ENTRYPOINT;
pub mod ssh;
mod utf8;
mod websocket;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    Router,
    routing::{get, post},
};
use serde::{Deserialize, Serialize};

pub use error::ToolboxError;
pub(crate) use metrics::private as private_memory;

use crate::limits::Limits;

/// What an agent is told at its start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AgentConfig {
    /// The sandbox's UUID.
    pub sandbox_id: String,
    /// Complete environment of the processes that it starts (PATH, HOME, DAYTONA_*, the sandbox's own).
    pub env: BTreeMap<String, String>,
    /// `/home/daytona` in the isolating tiers.
    pub home: PathBuf,
    /// Where relative paths and commands start.
    pub work_dir: PathBuf,
    /// The main program of the image or snapshot, run in the session `entrypoint`; empty where there is none.
    #[serde(default)]
    pub entrypoint: Vec<String>,
    /// Tier `process` only: host directory that stands for `/` when an API path lies below `/home/daytona`.
    pub fake_root: Option<PathBuf>,
    /// What `GET /version` answers.
    pub version: String,
    /// Installed once, by the agent.
    #[serde(default)]
    pub limits: Limits,
    #[serde(default)]
    pub pty: pty::Limits,
}

/// Shared by all handlers of one agent. Cheap to clone.
#[derive(Clone)]
pub struct Ctx(Arc<Inner>);

struct Inner {
    config: AgentConfig,
    env: parking_lot::RwLock<BTreeMap<String, String>>,
    metrics: metrics::Sampler,
    sessions: session::Sessions,
    pty: pty::Sessions,
    interpreter: interpreter::Contexts,
    lsp: lsp::Servers,
    ssh: ssh::State,
    desktop: computer_use::Desktop,
    recordings: computer_use::recordings::Recordings,
}

impl Ctx {
    pub fn new(config: AgentConfig) -> Ctx {
        let env = parking_lot::RwLock::new(config.env.clone());
        Ctx(Arc::new(Inner {
            config,
            env,
            metrics: metrics::Sampler::default(),
            sessions: session::Sessions::default(),
            pty: pty::Sessions::default(),
            interpreter: interpreter::Contexts::default(),
            lsp: lsp::Servers::default(),
            ssh: ssh::State::default(),
            desktop: computer_use::Desktop::default(),
            recordings: computer_use::recordings::Recordings::default(),
        }))
    }

    pub fn config(&self) -> &AgentConfig {
        &self.0.config
    }

    /// Environment for a process started now.
    pub fn env(&self) -> BTreeMap<String, String> {
        self.0.env.read().clone()
    }

    /// Changes the environment of processes started from now on (`POST /env`).
    pub fn update_env(&self, change: impl FnOnce(&mut BTreeMap<String, String>)) {
        change(&mut self.0.env.write());
    }

    fn metrics(&self) -> &metrics::Sampler {
        &self.0.metrics
    }

    fn sessions(&self) -> &session::Sessions {
        &self.0.sessions
    }

    fn pty(&self) -> &pty::Sessions {
        &self.0.pty
    }

    fn pty_limits(&self) -> &pty::Limits {
        &self.0.config.pty
    }

    fn interpreter(&self) -> &interpreter::Contexts {
        &self.0.interpreter
    }

    fn lsp(&self) -> &lsp::Servers {
        &self.0.lsp
    }

    fn ssh(&self) -> &ssh::State {
        &self.0.ssh
    }

    fn desktop(&self) -> &computer_use::Desktop {
        &self.0.desktop
    }

    fn recordings(&self) -> &computer_use::recordings::Recordings {
        &self.0.recordings
    }

    /// Ends what would start again what is ended.
    pub async fn shut_down(&self) {
        self.recordings().stop_all().await;
        self.desktop().stop(self).await;
    }

    /// Starts the main program, if there is one. Before requests are served.
    pub async fn start_entrypoint(&self) {
        session::entrypoint::start(self).await;
    }

    /// The host path that an API path names: relative ones start at the work directory; in tier `process`
    /// `/home/daytona/…` lies below the sandbox's own directory. No `~`, no `$VAR` (observed).
    pub fn resolve(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = self.config().work_dir.join(path);
        match (&self.config().fake_root, path.strip_prefix("/home/daytona")) {
            (Some(root), Ok(rest)) => root.join("home/daytona").join(rest),
            _ => path,
        }
    }
}

/// The toolbox: every route, and what holds for all of them.
pub fn routes(ctx: Ctx) -> Router {
    routing::finish(all(), ctx)
}

/// Every route.
fn all() -> Router<Ctx> {
    Router::new()
        .route("/version", get(info::version))
        .route("/work-dir", get(info::work_dir))
        .route("/user-home-dir", get(info::home_dir))
        .route("/project-dir", get(info::home_dir))
        .route("/init", post(info::init))
        .route("/env", post(env::update))
        .route("/system/metrics", get(metrics::metrics))
        .route("/process/execute", post(process::execute::execute))
        .route("/process/code-run", post(code_run::code_run))
        .merge(ports::routes())
        .merge(proxy::routes())
        .merge(session::routes())
        .merge(pty::routes())
        .merge(interpreter::routes())
        .merge(files::routes())
        .merge(git::routes())
        .merge(lsp::routes())
        .merge(computer_use::routes())
}
