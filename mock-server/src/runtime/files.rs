//! Where the files are that a sandbox wrote, or that became a layer: in a directory of the host's, or on a disk of their
//! own ([`super::disks`]). Each has a directory for every overlay, as the base has them.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Isolation, Runtime, RuntimeConfig, RuntimeError,
    disks::{Disk, Disks, IMAGE},
    manager::blocking,
};

/// What a sandbox wrote, for as long as this is kept.
#[derive(Clone, Debug)]
pub(super) enum Files {
    Plain(PathBuf),
    Disk(Arc<Disk>),
}

impl Files {
    /// A directory for each overlay is in it.
    pub fn path(&self) -> PathBuf {
        match self {
            Files::Plain(path) => path.clone(),
            Files::Disk(disk) => disk.up(),
        }
    }

    pub fn disk(self) -> Option<Arc<Disk>> {
        match self {
            Files::Plain(_) => None,
            Files::Disk(disk) => Some(disk),
        }
    }

    /// GiB, where it is a disk.
    pub fn gib(&self) -> Option<u32> {
        match self {
            Files::Plain(_) => None,
            Files::Disk(disk) => Some(disk.gib()),
        }
    }
}

/// Whether a sandbox wrote anything, or was about to.
pub(super) fn are_there(dir: &Path) -> bool {
    [PLAIN, IMAGE].iter().any(|name| fs::symlink_metadata(dir.join(name)).is_ok())
}

/// In the directory of a sandbox whose files are on no disk.
pub(super) const PLAIN: &str = "up";

impl Runtime {
    /// A sandbox's files; `None` if it has none. A disk gets `gib` if it has less.
    pub(super) async fn files(&self, id: &str, gib: Option<u32>) -> io::Result<Option<Files>> {
        let dir = self.dir(id).map_err(io::Error::other)?;
        self.files_in(dir, PLAIN, gib).await
    }

    /// Those of a layer.
    pub(super) async fn layer_files(&self, name: &str) -> Result<Files, RuntimeError> {
        let gone = || RuntimeError::Unavailable(format!("the layer {name} is gone"));
        let files = self.files_in(self.layer_dir(name)?, "", None).await;
        files.map_err(|source| RuntimeError::Io { what: format!("layer {name}"), source })?.ok_or_else(gone)
    }

    async fn files_in(&self, dir: PathBuf, plain: &'static str, gib: Option<u32>) -> io::Result<Option<Files>> {
        let disks = self.disks.clone();
        blocking(move || {
            let (image, plain) = (dir.join(IMAGE), dir.join(plain));
            if image.exists() {
                return disks.ok_or_else(no_disks)?.open(&image, gib).map(Files::Disk).map(Some);
            }
            Ok(plain.is_dir().then_some(Files::Plain(plain)))
        })
        .await
    }

    /// Those of a sandbox that starts: from its archive, as it left them, or new ones.
    pub(super) async fn files_to_start(&self, id: &str, dir: &Path, gib: Option<u32>) -> io::Result<Files> {
        // Until they are opened.
        let _back = match self.has_archive(id) {
            true => self.bring_back(id, gib).await?,
            false => None,
        };
        match self.files(id, gib).await? {
            Some(files) => Ok(files),
            None => self.new_files(dir, gib).await,
        }
    }

    /// A place for the files of a sandbox that has none: a disk of so many GiB, where there are disks.
    pub(super) async fn new_files(&self, dir: &Path, gib: Option<u32>) -> io::Result<Files> {
        let made = self.new_disk(dir.join(IMAGE), gib).await?;
        Ok(made.map_or_else(|| Files::Plain(dir.join(PLAIN)), Files::Disk))
    }

    /// `None` where there are no disks, or it is to have none.
    pub(super) async fn new_disk(&self, image: PathBuf, gib: Option<u32>) -> io::Result<Option<Arc<Disk>>> {
        let (Some(disks), Some(gib)) = (self.disks.clone(), gib) else { return Ok(None) };
        blocking(move || disks.take(&image, gib)).await.map(Some)
    }

    /// For the next sandbox of that size.
    pub(super) fn make_disks_ready(&self, gib: Option<u32>) {
        let (Some(disks), Some(gib)) = (self.disks.clone(), gib) else { return };
        tokio::task::spawn_blocking(move || {
            if let Err(error) = disks.make_ready(gib) {
                tracing::debug!(%error, "no disk is ready for the next sandbox");
            }
        });
    }
}

fn no_disks() -> io::Error {
    io::Error::other("its files are on a disk, and this machine can't mount any (see `doctor`)")
}

/// Why there are none, for people, where the machine or the tier has none.
pub(super) async fn find_disks(config: &RuntimeConfig, isolation: Isolation) -> io::Result<Disks> {
    if isolation != Isolation::Root {
        return Err(io::Error::other("only in tier root"));
    }
    let data_dir = config.data_dir.clone();
    blocking(move || Disks::probe(&data_dir)).await
}

/// A stopped sandbox's. Its own is the last; what was removed on it is given back to the machine.
pub(super) fn release(disks: &[Arc<Disk>]) {
    if let Some(own) = disks.last() {
        own.trim();
    }
}
