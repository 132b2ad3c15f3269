//! Writing a layer: directories, files and links with inside owners, in every tier.

use std::{
    fs::{self, File, Permissions},
    io::{self, Write},
    os::unix::fs::{PermissionsExt, lchown, symlink},
    path::{Path, PathBuf},
};

use nix::sys::stat::{Mode, SFlag, mknod};

use super::at;
use crate::runtime::{Isolation, RuntimeError};

/// Inside owner of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub uid: u32,
    pub gid: u32,
}

pub(super) const ROOT: Owner = Owner { uid: 0, gid: 0 };
pub(super) const DAYTONA: Owner = Owner { uid: 1000, gid: 1000 };

/// How owners get to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owners {
    /// As they are: this process may chown (tier root, and the helper in the user namespace of tier subuid).
    Real,
    /// Everything is the server's user's (tier single). What is root's has for its owner the rights that it has for others,
    /// so that `touch /etc/x` fails without `sudo`, which keeps the capability to override that.
    Mine,
}

impl Owners {
    pub fn of(isolation: Isolation) -> Owners {
        match isolation {
            Isolation::Root | Isolation::Subuid => Owners::Real,
            Isolation::Single | Isolation::Process => Owners::Mine,
        }
    }
}

/// A layer being written. Paths are relative to its root.
pub(super) struct Layer {
    root: PathBuf,
    owners: Owners,
    /// Directories with their final modes, where these are set last: they may be closed to their owner.
    sealed: Vec<(PathBuf, u32)>,
}

impl Layer {
    /// `root` exists and is empty.
    pub fn new(root: &Path, owners: Owners) -> Result<Layer, RuntimeError> {
        let mut layer = Layer { root: root.to_owned(), owners, sealed: Vec::new() };
        layer.dir("", 0o755, ROOT)?;
        Ok(layer)
    }

    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    /// Makes a directory, or sets mode and owner of the one that is there. Its parent exists.
    pub fn dir(&mut self, relative: impl AsRef<Path>, mode: u32, owner: Owner) -> Result<(), RuntimeError> {
        let path = self.path(&relative);
        match fs::create_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(at("cannot make", &path)(error)),
            _ => {}
        }
        self.chown(&path, owner)?;
        match self.owners {
            Owners::Real => set_mode(&path, mode)?,
            Owners::Mine if owner == ROOT => self.sealed.push((path, seen_by_others(mode))),
            Owners::Mine => self.sealed.push((path, mode)),
        }
        Ok(())
    }

    /// Makes a directory of root and those above it that are missing, each 0755.
    pub fn dirs(&mut self, relative: impl AsRef<Path>) -> Result<(), RuntimeError> {
        let relative = relative.as_ref();
        if relative.as_os_str().is_empty() || self.path(relative).is_dir() {
            return Ok(());
        }
        if let Some(parent) = relative.parent() {
            self.dirs(parent)?;
        }
        self.dir(relative, 0o755, ROOT)
    }

    /// Writes a file; its parent exists. Replaces what was there.
    pub fn file(
        &self,
        relative: impl AsRef<Path>,
        content: &[u8],
        mode: u32,
        owner: Owner,
    ) -> Result<(), RuntimeError> {
        let path = self.path(&relative);
        remove_file(&path)
            .and_then(|()| File::create_new(&path))
            .and_then(|mut file| file.write_all(content))
            .map_err(at("cannot write", &path))?;
        self.own(&path, mode, owner)
    }

    /// Copies a regular file of the host. The kernel shares the blocks where the file system can.
    pub fn copy(&self, source: &Path, relative: impl AsRef<Path>, mode: u32, owner: Owner) -> Result<(), RuntimeError> {
        let path = self.path(&relative);
        remove_file(&path).and_then(|()| fs::copy(source, &path)).map_err(at("cannot copy to", &path))?;
        self.own(&path, mode, owner)
    }

    pub fn link(&self, relative: impl AsRef<Path>, target: impl AsRef<Path>) -> Result<(), RuntimeError> {
        let path = self.path(&relative);
        remove_file(&path).and_then(|()| symlink(target, &path)).map_err(at("cannot link", &path))?;
        self.chown(&path, ROOT)
    }

    /// Hides an entry of the layers below. Needs no privilege since Linux 5.8.
    pub fn whiteout(&self, relative: impl AsRef<Path>) -> Result<(), RuntimeError> {
        let path = self.path(&relative);
        mknod(&path, SFlag::S_IFCHR, Mode::empty(), 0).map_err(io::Error::from).map_err(at("cannot hide", &path))
    }

    /// Sets what could not be set while entries were still being made.
    pub fn finish(self) -> Result<(), RuntimeError> {
        for (path, mode) in self.sealed.iter().rev() {
            set_mode(path, *mode)?;
        }
        Ok(())
    }

    /// Owner first: a chown clears the set-uid bit.
    fn own(&self, path: &Path, mode: u32, owner: Owner) -> Result<(), RuntimeError> {
        self.chown(path, owner)?;
        let foreign = self.owners == Owners::Mine && owner == ROOT;
        set_mode(path, if foreign { seen_by_others(mode) } else { mode })
    }

    fn chown(&self, path: &Path, owner: Owner) -> Result<(), RuntimeError> {
        match self.owners {
            Owners::Real => lchown(path, Some(owner.uid), Some(owner.gid)).map_err(at("cannot set owner of", path)),
            Owners::Mine => Ok(()),
        }
    }
}

fn set_mode(path: &Path, mode: u32) -> Result<(), RuntimeError> {
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(at("cannot set mode of", path))
}

/// Owner's rights become those of others.
pub(super) fn seen_by_others(mode: u32) -> u32 {
    mode & !0o700 | (mode & 0o007) << 6
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
