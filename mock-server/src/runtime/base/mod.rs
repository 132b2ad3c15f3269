//! What sandboxes are made of: the lower layers of their root file system, made or unpacked once and shared by all of them.
//!
//! [`prepare`] returns a [`Base`], which only names directories: the runtime stacks a sandbox's own upper on them.
//! Owners on disk, by tier: *root* has the inside ids as they are (0, 1000, …), so its lowers need an id-mapped mount;
//! *subuid* has them already mapped, because the layers are made in the user namespace; *single* has one owner, the server's
//! user. Made bases lie in `<cache_dir>/bases`, which is 0700: a set-uid file in there must not be in anyone's reach.

mod accounts;
mod adopt;
mod cache;
mod copy;
mod etc;
mod git;
mod host;
pub(crate) mod image;
mod layer;
mod rootfs;
mod shift;
mod tree;
mod unpack;
mod usr;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

pub use self::accounts::{User, find_user};
pub(crate) use self::{
    cache::{Place, remove_tree},
    copy::{Opened, copy_whole, open_to_read},
    tree::OPAQUE,
};
use super::{BaseChoice, Isolation, RuntimeConfig, RuntimeError, userns};

/// The directory of `--git-mirrors`, as sandboxes see it.
pub const GIT_MIRRORS: &str = "/srv/git-mirrors";

/// Search path of every process whose image says nothing else.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// One overlay mount of a sandbox. Mounted in order; a later target may lie below an earlier one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlaySpec {
    /// Absolute path inside: `/`, `/usr`.
    pub target: PathBuf,
    /// Directories of the host, topmost first; never empty. None of them has a mount below it.
    pub lowers: Vec<PathBuf>,
}

/// A host directory (with what is mounted below it) or file that every sandbox sees. Its mount point exists in the lowers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    pub source: PathBuf,
    pub target: PathBuf,
    pub read_only: bool,
}

/// What [`prepare`] found or made. Everything named here exists and no sandbox ever writes to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Base {
    /// Empty in tier process, which has no root file system of its own.
    pub overlays: Vec<OverlaySpec>,
    pub binds: Vec<Bind>,
    /// Environment that the base brings: `PATH`, `LANG`, an image's `Env`.
    pub env: BTreeMap<String, String>,
    /// Who the toolbox and every command runs as.
    pub user: User,
    /// Where commands start when the client doesn't say.
    pub work_dir: PathBuf,
    /// What an image runs as its main program; empty for other bases.
    pub entrypoint: Vec<String>,
    /// Tier root: owners on disk already lie in the sandboxes' id range, so the layers are not id-mapped.
    pub shifted: bool,
    /// For people: `host (/usr of this machine)`, `image debian:12`.
    pub description: String,
    /// Keep the layers from being tidied away by another server while this one uses them.
    #[serde(skip)]
    _leases: Vec<BaseLease>,
}

/// Keeps a cached layer as long as it lives.
#[derive(Clone, Debug)]
pub struct BaseLease(#[expect(dead_code, reason = "held, not used")] Arc<cache::Lease>);

/// Finds the base in the cache or makes it; then a bar on stderr, if that is a terminal, shows how far it is.
///
/// A warm start is a handful of `stat` calls. Several servers may call this at once; one of them does the work.
///
/// # Errors
/// Text for people: what could not be read, unpacked or written, and where.
pub async fn prepare(config: &RuntimeConfig, isolation: Isolation) -> Result<Base, RuntimeError> {
    if let (BaseChoice::Image(name), true) = (&config.base, isolation != Isolation::Process) {
        image::pull(name, config, isolation).await?;
    }
    let config = config.clone();
    let prepare = move || match find_or_make(&config, isolation) {
        // Its layers belong to ids that only the user namespace has. What is made in there is found the second time.
        Err(_) if isolation == Isolation::Subuid && !nix::unistd::geteuid().is_root() => {
            userns::make_base(&config).map_err(at("cannot make the base in", &config.cache_dir))?;
            find_or_make(&config, isolation)
        }
        done => done,
    };
    tokio::task::spawn_blocking(prepare)
        .await
        .map_err(|e| RuntimeError::Unavailable(format!("preparing the base: {e}")))?
}

/// What [`prepare`] does, for the helper in the user namespace.
pub(super) fn make_layers(config: &RuntimeConfig, isolation: Isolation) -> Result<(), RuntimeError> {
    find_or_make(config, isolation).map(drop)
}

fn find_or_make(config: &RuntimeConfig, isolation: Isolation) -> Result<Base, RuntimeError> {
    let place = Place { cache_dir: &config.cache_dir, shifted: shift::needed(config, isolation) };
    match (&config.base, isolation) {
        (_, Isolation::Process) => Ok(process_base()),
        (BaseChoice::Host, _) => host::prepare(config, isolation, place),
        (BaseChoice::Directory(path), _) => rootfs::directory(path, config, isolation, place),
        (BaseChoice::Tarball(path), _) => rootfs::tarball(path, config, isolation, place),
        (BaseChoice::Image(name), _) => image::prepare(name, config, isolation, place),
    }
}

/// Tier process: the host's own file system and user.
fn process_base() -> Base {
    let user = accounts::current();
    Base {
        overlays: Vec::new(),
        binds: Vec::new(),
        env: default_env(),
        work_dir: user.home.clone(),
        user,
        entrypoint: Vec::new(),
        shifted: false,
        description: "host (no root file system of its own)".into(),
        _leases: Vec::new(),
    }
}

/// A user of stacked layers, topmost first.
pub(super) fn find_user_in(lowers: &[PathBuf], name: &str) -> Option<User> {
    find_user(&tree::Tree(lowers).read("etc/passwd"), name)
}

fn default_env() -> BTreeMap<String, String> {
    let path = DEFAULT_PATH.to_owned();
    BTreeMap::from([("PATH".to_owned(), path), ("LANG".to_owned(), "C.UTF-8".to_owned())])
}

/// Adds the path to an I/O error, which has none.
fn at(what: &str, path: &Path) -> impl FnOnce(io::Error) -> RuntimeError {
    let what = format!("{what} {}", path.display());
    move |source| RuntimeError::Io { what, source }
}
