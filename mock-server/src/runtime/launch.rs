//! What the server tells the zygote, and the zygote the new process.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{
    Isolation,
    base::{Bind, OverlaySpec},
    idmap::IdMap,
    volumes::VolumeSpec,
};
use crate::toolbox::AgentConfig;

/// First message to a zygote.
#[derive(Debug, Serialize, Deserialize)]
pub struct ZygoteConfig {
    pub isolation: Isolation,
    /// An empty directory that becomes the working directory of every launch; sandboxes are mounted at `root` in it.
    pub mount_dir: PathBuf,
    /// `<data_dir>/sandboxes`.
    pub sandboxes: PathBuf,
    /// `<data_dir>/layers`
    pub layers: PathBuf,
    /// How many descriptors each process of a sandbox may have, unless it asks for more.
    pub descriptors: u64,
}

/// Everything that a sandbox's first process needs. Travels in a memfd: the environment may be large.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LaunchSpec {
    pub isolation: Isolation,
    pub idmap: IdMap,
    /// The sandbox's own directory: `up/<n>` and `work/<n>` are made in it.
    pub dir: PathBuf,
    /// How many disks there are, which are mounted at `d/<n>` in the working directory.
    pub disks: usize,
    pub overlays: Vec<OverlaySpec>,
    pub binds: Vec<Bind>,
    /// In tier root their trees are passed on by the zygote.
    pub volumes: Vec<VolumeSpec>,
    /// Layers' owners on disk already fit the id map.
    pub shifted: bool,
    /// Name looked up in the sandbox's own `/etc/passwd`, maybe with `:group`.
    pub user: String,
    /// Whom it trusts for the sake of its secrets, as PEM.
    pub authority: Option<String>,
    /// The agent serves a build besides.
    pub build: bool,
    /// Processors that it may run on; empty: all.
    pub cpus: Vec<usize>,
    /// Bytes of memory that `/proc/meminfo` tells; `None`: the machine's.
    pub memory: Option<u64>,
    /// The agent sees to it that it uses no more.
    pub guard: bool,
    pub agent: AgentConfig,
}

/// Zygote → server.
#[derive(Debug, Serialize, Deserialize)]
pub enum ZygoteEvent {
    /// Ready for launches, or why not.
    Started { error: Option<String> },
    /// A process waits for its spec. Comes with a pidfd unless it failed.
    Begun { launch: u64, pid: i32, error: Option<String> },
    /// It has its spec, or else is no more.
    Filled { launch: u64, result: Result<Filled, String> },
    /// The process is gone, and so is everything in its PID namespace.
    Exited { launch: u64, reason: String },
}

/// How a spec was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Filled {
    Done,
    /// It names layers that no process had before, which this one, being older, can't see: one begun now can.
    TooOld,
}

/// Server → zygote, after [`ZygoteConfig`].
#[derive(Debug, Serialize, Deserialize)]
pub enum ZygoteRequest {
    /// Make a process that waits for its spec, in namespaces of its own.
    Begin { launch: u64 },
    /// Comes with the memfd of the spec, the control socket, the lock and the disks.
    Fill { launch: u64 },
}
