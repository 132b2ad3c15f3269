//! Tier root where owners can't be mapped at the mount: layers whose owners on disk already lie in the sandboxes' range.
//!
//! The kernel maps ids on ext4, xfs, btrfs and their like, but not on overlayfs (a container's own root), nor on
//! network and FUSE file systems. What sandboxes see there is a copy in the cache.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, lchown},
    path::Path,
};

use nix::sys::statfs::{FUSE_SUPER_MAGIC, FsType, NFS_SUPER_MAGIC, OVERLAYFS_SUPER_MAGIC, statfs};
use walkdir::WalkDir;

use super::{BaseChoice, Isolation, RuntimeConfig};
use crate::runtime::idmap::{COUNT, SHIFT};

/// 9p, as virtual machines share directories.
const V9FS: FsType = FsType(0x0102_1997);

/// Whether the layers of this base have to be shifted on disk.
pub(super) fn needed(config: &RuntimeConfig, isolation: Isolation) -> bool {
    let source = match &config.base {
        BaseChoice::Host => Some(Path::new("/usr")),
        BaseChoice::Directory(path) => Some(path.as_path()),
        BaseChoice::Tarball(_) | BaseChoice::Image(_) => None,
    };
    isolation == Isolation::Root && (cannot_map(&config.cache_dir) || source.is_some_and(cannot_map))
}

/// Whether the file system of a path, or of what there is of it, can't show other owners than it has.
pub(super) fn cannot_map(path: &Path) -> bool {
    let found = path.ancestors().find_map(|path| statfs(path).ok());
    found.is_some_and(|fs| {
        [OVERLAYFS_SUPER_MAGIC, FUSE_SUPER_MAGIC, NFS_SUPER_MAGIC, V9FS].contains(&fs.filesystem_type())
    })
}

/// The inside id of an owner on disk, shifted or not.
pub(super) fn inside(id: u32) -> u32 {
    if (SHIFT..SHIFT + COUNT).contains(&id) { id - SHIFT } else { id }
}

/// Moves every owner into the sandboxes' range. What lies in it already stays: another name of the same file was first.
pub(super) fn shift_tree(dir: &Path) -> io::Result<()> {
    for entry in WalkDir::new(dir).follow_links(false) {
        let entry = entry?;
        let meta = entry.metadata()?;
        let shifted = |id: u32| if id < COUNT { id + SHIFT } else { id };
        lchown(entry.path(), Some(shifted(meta.uid())), Some(shifted(meta.gid())))?;
        // A chown clears these bits.
        if meta.is_file() && meta.mode() & 0o6000 != 0 {
            fs::set_permissions(entry.path(), meta.permissions())?;
        }
    }
    Ok(())
}
