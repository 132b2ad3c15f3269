//! What sandboxes are made of: layers and binds, ready to mount.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{BaseChoice, Isolation, RuntimeConfig, RuntimeError};

/// A made base. Everything named here exists on disk and is never written to by a sandbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Base {
    /// The first has target `/`.
    pub overlays: Vec<OverlaySpec>,
    /// Bound after the overlays, in this order.
    pub binds: Vec<Bind>,
    /// Environment that the base brings (PATH, LANG, an image's ENV).
    pub env: BTreeMap<String, String>,
    pub user: User,
    pub work_dir: PathBuf,
    /// Tier root: the owners on disk already lie in the sandboxes' id range, so the layers are not id-mapped.
    pub shifted: bool,
    /// For people; see [`super::RuntimeInfo::base`].
    pub description: String,
}

/// One overlay mount.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OverlaySpec {
    /// Absolute, as seen inside.
    pub target: PathBuf,
    /// Topmost first. No mount may lie below any of them: overlayfs refuses that in a user namespace.
    pub lowers: Vec<PathBuf>,
}

/// A host file or directory seen inside.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bind {
    pub source: PathBuf,
    /// Absolute, as seen inside; made when it is missing.
    pub target: PathBuf,
    pub read_only: bool,
}

/// The user that a base's processes run as.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub home: PathBuf,
}

/// Makes or finds the base that `config` asks for, as `tier` needs it.
pub async fn prepare(config: &RuntimeConfig, tier: Isolation) -> Result<Base, RuntimeError> {
    let BaseChoice::Directory(directory) = &config.base else {
        return Err(RuntimeError::Unavailable("only --base DIR works so far".into()));
    };
    let _ = tier;
    Ok(Base {
        overlays: vec![OverlaySpec { target: "/".into(), lowers: vec![directory.clone()] }],
        binds: config.base_include.iter().cloned().map(include).collect(),
        env: BTreeMap::new(),
        user: User { name: "daytona".into(), uid: 1000, gid: 1000, home: "/home/daytona".into() },
        work_dir: "/home/daytona".into(),
        shifted: false,
        description: format!("directory {}", directory.display()),
    })
}

fn include(path: PathBuf) -> Bind {
    Bind { source: path.clone(), target: path, read_only: true }
}
