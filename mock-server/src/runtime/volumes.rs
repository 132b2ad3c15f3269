//! Volumes on disk: `<data_dir>/volumes/<id>`, mounted writable in several sandboxes at once.
//!
//! Owners on disk are those of a sandbox's own files, so no tier maps them, and all sandboxes of a server, having one
//! map, see the same ones. As in the original, everybody may write: the directory is open, and its default ACL opens what
//! is made in it.

use std::{
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            ffi::OsStrExt,
            fs::{PermissionsExt, chown},
        },
    },
    path::{Component, Path, PathBuf},
};

use nix::{
    fcntl::{AtFlags, OFlag, open, openat},
    sys::stat::{Mode, fstat, mkdirat, umask},
    unistd::{Gid, Uid, fchownat},
};
use serde::{Deserialize, Serialize};

use super::{
    Isolation, Runtime, RuntimeError, idmap,
    manager::blocking,
    sys::{mounts, xattr},
    userns,
};

/// A volume, or a part of it, that a sandbox sees.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VolumeMount {
    /// Its id.
    pub volume: String,
    /// Relative; empty is all of it. Made if it is missing.
    pub subpath: PathBuf,
    /// Absolute path inside.
    pub target: PathBuf,
}

/// The same with the volume's directory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct VolumeSpec {
    pub source: PathBuf,
    pub subpath: PathBuf,
    pub target: PathBuf,
}

/// `rwx` for all, as `posix_acl_xattr.h` writes it: a version, then tag, permissions and id of owner, group, others.
const OPEN: [u8; 28] = [
    2, 0, 0, 0, //
    0x01, 0, 7, 0, 0xff, 0xff, 0xff, 0xff, //
    0x04, 0, 7, 0, 0xff, 0xff, 0xff, 0xff, //
    0x20, 0, 7, 0, 0xff, 0xff, 0xff, 0xff,
];

impl Runtime {
    /// Makes the directory of a volume, unless it is there.
    pub async fn make_volume(&self, id: &str) -> Result<(), RuntimeError> {
        let (dir, isolation) = (self.volume_dir(id)?, self.info().isolation);
        let (uid, gid) = (self.base.user.uid, self.base.user.gid);
        let make = move || {
            fs::create_dir_all(&dir)?;
            fs::set_permissions(&dir, fs::Permissions::from_mode(0o777))?;
            if isolation == Isolation::Root {
                chown(&dir, Some(idmap::SHIFT + uid), Some(idmap::SHIFT + gid))?;
            }
            let path = std::ffi::CString::new(dir.as_os_str().as_bytes())?;
            if let Err(error) = xattr::set(&path, "system.posix_acl_default", &OPEN) {
                tracing::debug!(%error, "files in volumes have the modes that their makers say");
            }
            Ok(())
        };
        blocking(make).await.map_err(|source| RuntimeError::Io { what: format!("make volume {id}"), source })
    }

    /// Removes a volume's files. Unknown ids are fine.
    pub async fn remove_volume(&self, id: &str) -> Result<(), RuntimeError> {
        let dir = self.volume_dir(id)?;
        let trash = self.config.data_dir.join("trash").join(uuid::Uuid::new_v4().to_string());
        let moved = blocking({
            let trash = trash.clone();
            move || fs::rename(&dir, &trash)
        });
        let removed = match moved.await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => userns::remove_tree(&self.config.binary, &self.idmap, trash).await,
        };
        removed.map_err(|source| RuntimeError::Io { what: format!("remove volume {id}"), source })
    }

    /// Writes a file of a volume; folders on the way are made, links on the way are not followed.
    pub async fn write_to_volume(&self, id: &str, path: PathBuf, content: Vec<u8>) -> Result<(), RuntimeError> {
        let dir = self.volume_dir(id)?;
        let what = format!("write {} to volume {id}", path.display());
        let written = blocking(move || write_beneath(&dir, &path, &content)).await;
        written.map_err(|source| RuntimeError::Io { what, source })
    }

    /// Ids that have a directory here.
    pub fn volume_ids(&self) -> Vec<String> {
        let entries = fs::read_dir(self.volumes_dir()).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    pub(super) fn volume_specs(&self, mounts: &[VolumeMount]) -> Result<Vec<VolumeSpec>, RuntimeError> {
        let spec = |mount: &VolumeMount| {
            let source = self.volume_dir(&mount.volume)?;
            Ok(VolumeSpec { source, subpath: mount.subpath.clone(), target: mount.target.clone() })
        };
        mounts.iter().map(spec).collect()
    }

    fn volumes_dir(&self) -> PathBuf {
        self.config.data_dir.join("volumes")
    }

    pub(super) fn volume_dir(&self, id: &str) -> Result<PathBuf, RuntimeError> {
        let plain = !id.is_empty() && id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !plain {
            return Err(RuntimeError::Unavailable(format!("{id:?} is no volume id")));
        }
        Ok(self.volumes_dir().join(id))
    }
}

/// A detached mount of what a sandbox is to see. For who may enter the volume: in tier root that is the zygote, else the
/// root inside.
pub(super) fn tree(spec: &VolumeSpec) -> io::Result<OwnedFd> {
    let directory = beneath(&spec.source, &spec.subpath)?;
    let tree = mounts::clone_directory(directory.as_fd())?;
    mounts::disarm(tree.as_fd())?;
    Ok(tree)
}

/// Opens a directory below another, making what is missing as it is. Names in between may have been made by strangers:
/// no link is followed, and nothing is looked up twice.
fn beneath(root: &Path, subpath: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut directory = open(root, flags, Mode::empty())?;
    let owner = fstat(&directory)?;
    for part in subpath.components() {
        let name = match part {
            Component::Normal(name) => name,
            Component::CurDir => continue,
            _ => return Err(io::Error::other("the subpath leads out of its volume")),
        };
        let mut next = openat(&directory, name, flags, Mode::empty());
        if next.as_ref().is_err_and(|error| *error == nix::errno::Errno::ENOENT) {
            let mask = umask(Mode::empty());
            let made = mkdirat(&directory, name, Mode::from_bits_truncate(0o777));
            umask(mask);
            match made {
                // Another sandbox that starts was faster.
                Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
                Err(error) => return Err(error.into()),
            }
            let made = openat(&directory, name, flags, Mode::empty())?;
            let (uid, gid) = (Uid::from_raw(owner.st_uid), Gid::from_raw(owner.st_gid));
            fchownat(&made, "", Some(uid), Some(gid), AtFlags::AT_EMPTY_PATH)?;
            next = Ok(made);
        }
        directory = next.map_err(|error| {
            let error = io::Error::from(error);
            io::Error::new(error.kind(), format!("subpath {}: {error}", subpath.display()))
        })?;
    }
    Ok(directory)
}

/// Everybody may write what is made, as in all of a volume.
fn write_beneath(root: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| io::Error::other("no file is called so"))?;
    let directory = beneath(root, path.parent().unwrap_or(Path::new("")))?;
    let owner = fstat(&directory)?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut file = fs::File::from(openat(&directory, name, flags, Mode::from_bits_truncate(0o666))?);
    io::Write::write_all(&mut file, content)?;
    file.set_permissions(fs::Permissions::from_mode(0o666))?;
    std::os::unix::fs::fchown(&file, Some(owner.st_uid), Some(owner.st_gid))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    #[test]
    fn a_subpath_is_made_and_never_leaves_its_volume() {
        let temp = tempfile::tempdir().expect("a directory");
        let volume = temp.path().join("volume");
        fs::create_dir_all(volume.join("real")).expect("directories");
        fs::create_dir(temp.path().join("outside")).expect("a directory");
        fs::write(volume.join("file"), "").expect("a file");
        symlink("../outside", volume.join("out")).expect("a link");
        symlink("real", volume.join("in")).expect("a link");
        for bad in ["out", "out/x", "in", "file", "file/x", "..", "real/../..", "/etc"] {
            assert!(beneath(&volume, Path::new(bad)).is_err(), "{bad}");
        }
        for good in ["", "real", "a/b", "a/b/", "./real"] {
            beneath(&volume, Path::new(good)).expect(good);
        }
        for bad in ["out/x", "in/x", "file/x", "../x", "/etc/x", "out", "real", ""] {
            assert!(write_beneath(&volume, Path::new(bad), b"x").is_err(), "{bad}");
        }
        write_beneath(&volume, Path::new("c/d.txt"), b"x").expect("written");
        assert_eq!(fs::read(volume.join("c/d.txt")).expect("read"), b"x");
        let made = fs::metadata(volume.join("a/b")).expect("made");
        assert_eq!((made.mode() & 0o777, made.uid()), (0o777, fs::metadata(&volume).expect("there").uid()));
        assert_eq!(fs::read_dir(temp.path().join("outside")).expect("there").count(), 0);
    }
}
