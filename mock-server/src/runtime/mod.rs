//! How a sandbox exists on this machine: bases and layers, launch, stop, network. The only place with `unsafe`.

pub mod base;
pub mod sys;

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

/// An isolation tier (`design/decisions.md`: root, subuid, single, process).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    Root,
    Subuid,
    Single,
    Process,
}

/// What `--isolation` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IsolationChoice {
    #[default]
    Auto,
    Exactly(Isolation),
}

/// What `--base` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum BaseChoice {
    /// Derived from this machine's own `/usr` and `/etc`.
    #[default]
    Host,
    /// An unpacked root file system.
    Directory(PathBuf),
    /// A root file system as `.tar`, `.tar.gz` or `.tar.zst`.
    Tarball(PathBuf),
    /// An OCI image reference, pulled at first need.
    Image(String),
}

/// What the runtime needs to know; a part of [`crate::config::Config`] with its defaults filled in.
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// State of this server: `<data_dir>/sandboxes/<id>/…`.
    pub data_dir: PathBuf,
    /// Shared between servers of this user: made and unpacked bases.
    pub cache_dir: PathBuf,
    pub isolation: IsolationChoice,
    pub base: BaseChoice,
    pub base_include: Vec<PathBuf>,
    pub git_mirrors: Option<PathBuf>,
    /// The `daytona-mock` executable that becomes the zygote.
    pub binary: PathBuf,
}

/// What this machine and tier can do; shown by `doctor` and `/health`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeInfo {
    pub isolation: Isolation,
    /// Why not a better tier, one line each; empty in tier root.
    pub why_not_better: Vec<String>,
    /// `netns`, `pidns`, `rootfs`, `uids`, `outbound`, `cgroup`, … → how it is provided, or `None` with the reason in the text.
    pub capabilities: BTreeMap<String, Capability>,
    /// For people: `host (/usr of this machine)`, `image debian:12`, …
    pub base: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct Capability {
    pub available: bool,
    /// How it is provided, or why it isn't.
    pub detail: String,
}

/// What a sandbox may reach. Enforced outside the sandbox, in the NAT gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkPolicy {
    pub block_all: bool,
    /// IPv4 networks (address, prefix length); `None` allows all.
    pub allow: Option<Vec<(std::net::Ipv4Addr, u8)>>,
    /// Domains, possibly with a leading `*.`; `None` allows all.
    pub domains: Option<Vec<String>>,
}

/// What to start. The same spec (same id) started again runs over the same files.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// UUID; also the host name.
    pub id: String,
    /// Environment of every process, complete but for PATH, HOME, USER, … that the runtime adds.
    pub env: BTreeMap<String, String>,
    /// Inside user name; `daytona` unless the client said otherwise.
    pub user: String,
    pub network: NetworkPolicy,
}

/// Why the runtime can't do something. The text is for people and names the way out.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    #[error("{0}")]
    Unavailable(String),
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
}

/// Ends a sandbox's life: what the kernel or the agent said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    pub reason: String,
}

/// The server's side of everything below. Made once at start.
pub struct Runtime {
    info: RuntimeInfo,
}

impl Runtime {
    /// Probes the machine by building a throw-away sandbox, makes or finds the base, starts the zygote.
    pub async fn start(_config: RuntimeConfig) -> Result<Arc<Runtime>, RuntimeError> {
        Err(RuntimeError::Unavailable("the runtime is not built yet".into()))
    }

    pub fn info(&self) -> &RuntimeInfo {
        &self.info
    }

    /// Starts a sandbox over its files (made at the first start); returns when its toolbox accepts connections.
    pub async fn launch(&self, _spec: &SandboxSpec) -> Result<Arc<Sandbox>, RuntimeError> {
        Err(RuntimeError::Unavailable("the runtime is not built yet".into()))
    }

    /// Removes a stopped sandbox's files. Unknown ids are fine.
    pub async fn remove(&self, _id: &str) -> Result<(), RuntimeError> {
        Ok(())
    }

    /// Ids that have files here, for reconciliation at start.
    pub fn known_ids(&self) -> std::io::Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// Stops every sandbox and the zygote; files stay.
    pub async fn shutdown(&self) {}
}

/// A started sandbox.
pub struct Sandbox {
    id: String,
}

impl Sandbox {
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A fresh connection to the toolbox HTTP server inside (HTTP/1.1, no TLS, no authentication).
    pub async fn connect(&self) -> std::io::Result<tokio::net::UnixStream> {
        Err(std::io::ErrorKind::NotConnected.into())
    }

    /// A connection to a TCP port inside; `ConnectionRefused` when nothing listens.
    pub async fn connect_port(&self, _port: u16) -> std::io::Result<tokio::net::TcpStream> {
        Err(std::io::ErrorKind::ConnectionRefused.into())
    }

    /// Changes what the sandbox may reach, at once, for new and established flows.
    pub fn set_network_policy(&self, _policy: NetworkPolicy) {}

    /// SIGTERM, then after `grace` SIGKILL to every process; returns when all are gone.
    pub async fn stop(&self, _grace: Duration) {}

    /// Resolves when PID 1 is gone, whoever ended it.
    pub async fn exited(&self) -> Exit {
        std::future::pending().await
    }
}

/// When this process was started as the zygote, an agent or the sudo shim: runs that role and says how it ended.
pub fn run_internal_role() -> Option<ExitCode> {
    None
}
