//! How a sandbox exists on this machine: bases and layers, launch, stop, network. The only place with `unsafe`.

mod archive;
pub mod base;
mod bounds;
mod ctrl;
mod descriptors;
mod disks;
mod files;
mod groups;
mod idmap;
mod inside;
mod launch;
pub(crate) mod lending;
mod links;
mod manager;
mod moving;
pub mod net;
mod nursery;
mod probe;
mod root;
mod sandbox;
mod spares;
mod still;
mod sudo;
mod surroundings;
pub mod sys;
mod userns;
mod volumes;
mod zygote;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde::{Deserialize, Serialize};

pub(crate) use archive::Budget;
pub(crate) use inside::users;
pub use manager::Runtime;
pub use root::Root;
pub use sandbox::{Exit, Sandbox};
pub use volumes::VolumeMount;

/// An isolation tier (`design/decisions.md`: root, subuid, single, process).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    Root,
    Subuid,
    Single,
    Process,
}

impl std::fmt::Display for Isolation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Isolation::Root => "root",
            Isolation::Subuid => "subuid",
            Isolation::Single => "single",
            Isolation::Process => "process",
        })
    }
}

/// What `--isolation` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum IsolationChoice {
    #[default]
    Auto,
    Exactly(Isolation),
}

/// What `--base` says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RuntimeConfig {
    /// State of this server: `<data_dir>/sandboxes/<id>/…`.
    pub data_dir: PathBuf,
    /// Shared between servers of this user: made and unpacked bases.
    pub cache_dir: PathBuf,
    pub isolation: IsolationChoice,
    pub base: BaseChoice,
    pub base_include: Vec<PathBuf>,
    pub git_mirrors: Option<PathBuf>,
    /// Authorities (PEM) that servers of secrets may be proved by, besides the system's.
    pub upstream_ca: Vec<PathBuf>,
    pub limits: crate::limits::Limits,
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

/// What a sandbox may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Processors.
    pub cpu: u32,
    /// GiB.
    pub memory: u32,
    /// GiB.
    pub disk: u32,
}

impl Resources {
    /// Its memory in bytes.
    pub fn bytes(self) -> u64 {
        u64::from(self.memory.max(1)) << 30
    }
}

/// What to start. The same spec (same id) started again runs over the same files.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// UUID; also the host name.
    pub id: String,
    /// Environment of every process, complete but for PATH, HOME, USER, … that the runtime adds.
    pub env: BTreeMap<String, String>,
    /// Inside user name; `daytona` unless the client said otherwise.
    pub user: String,
    pub network: NetworkPolicy,
    /// What its placeholders stand for. One that is started with none gets none while it runs.
    #[serde(skip)]
    pub secrets: Vec<net::OutboundSecret>,
    /// What it is made of.
    pub root: std::sync::Arc<Root>,
    /// Writable directories of the host, for builds.
    pub binds: Vec<base::Bind>,
    /// Volumes that it sees. An earlier one may contain the place of a later one.
    pub volumes: Vec<VolumeMount>,
    /// Its toolbox serves a build.
    pub build: bool,
    /// `None`: whatever the machine has.
    pub resources: Option<Resources>,
}

/// Why the runtime can't do something. The text is for people and names the way out.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    #[error("{0}")]
    Unavailable(String),
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
}

/// When this process was started as the zygote, an agent or the sudo shim: runs that role and says how it ended.
/// Call it first in `main`, before any thread.
pub fn run_internal_role() -> Option<ExitCode> {
    let args: Vec<_> = std::env::args_os().collect();
    let name = args.first()?;
    if name == zygote::PROCESS_NAME && args.len() == 1 {
        return Some(zygote::run());
    }
    if Path::new(name).file_name().is_some_and(|name| name == "sudo") {
        return Some(sudo::run(args[1..].to_vec()));
    }
    match args.get(1)?.to_str()? {
        userns::ARGUMENT => Some(userns::run(&args[2..])),
        "__sudo" => Some(sudo::run(args[2..].to_vec())),
        _ => None,
    }
}
