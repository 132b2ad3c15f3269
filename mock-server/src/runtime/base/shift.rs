//! Tier root where owners can't be mapped at the mount: layers whose owners on disk already lie in the sandboxes' range.
//!
//! The kernel maps ids on ext4, xfs, btrfs and their like, but not on overlayfs (a container's own root), nor on
//! network and FUSE file systems. What sandboxes see there is a copy in the cache.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown, symlink},
    path::{Path, PathBuf},
};

use nix::sys::{
    stat::{Mode, SFlag, mknod},
    statfs::{FUSE_SUPER_MAGIC, FsType, NFS_SUPER_MAGIC, OVERLAYFS_SUPER_MAGIC, statfs},
};
use walkdir::WalkDir;

use super::{BaseChoice, Isolation, RuntimeConfig, tree::OPAQUE};
use crate::runtime::{
    idmap::{COUNT, SHIFT},
    sys::xattr,
};

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

/// Copies a whole tree with owners, modes and hard links; sockets and devices but whiteouts are left out. Nothing
/// below another mount is copied.
pub(crate) fn copy_whole(source: &Path, target: &Path) -> io::Result<()> {
    let mut linked: HashMap<u64, PathBuf> = HashMap::new();
    // Set last: in tier single a directory may be closed to its owner.
    let mut modes = Vec::new();
    for entry in WalkDir::new(source).follow_links(false).same_file_system(true) {
        let entry = entry?;
        let relative = entry.path().strip_prefix(source).unwrap_or(Path::new(""));
        let (to, meta) = (target.join(relative), entry.metadata()?);
        if meta.nlink() > 1 && meta.is_file() {
            if let Some(first) = linked.get(&meta.ino()) {
                fs::hard_link(first, &to)?;
                continue;
            }
            linked.insert(meta.ino(), to.clone());
        }
        copy_entry(entry.path(), &to, &meta)?;
        if meta.is_dir() {
            modes.push((to, meta.mode() & 0o7777));
        }
    }
    for (directory, mode) in modes.into_iter().rev() {
        fs::set_permissions(directory, fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

fn copy_entry(from: &Path, to: &Path, meta: &fs::Metadata) -> io::Result<()> {
    let kind = meta.file_type();
    if kind.is_dir() {
        match fs::create_dir(to) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    } else if kind.is_file() {
        fs::copy(from, to)?;
    } else if kind.is_symlink() {
        symlink(fs::read_link(from)?, to)?;
    } else if kind.is_char_device() && meta.rdev() == 0 {
        mknod(to, SFlag::S_IFCHR, Mode::empty(), 0)?;
    } else {
        return Ok(());
    }
    if kind.is_dir() {
        copy_opaque(from, to)?;
    }
    lchown(to, Some(meta.uid()), Some(meta.gid()))?;
    if kind.is_file() {
        fs::set_permissions(to, fs::Permissions::from_mode(meta.mode() & 0o7777))?;
        fs::File::open(to)?.set_modified(meta.modified()?)?;
    }
    Ok(())
}

/// Of all that overlayfs notes about a layer's files only this changes what is seen.
fn copy_opaque(from: &Path, to: &Path) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let c_path = |path: &Path| std::ffi::CString::new(path.as_os_str().as_bytes());
    match xattr::get(&c_path(from)?, OPAQUE) {
        Some(value) => xattr::set(&c_path(to)?, OPAQUE, &value),
        None => Ok(()),
    }
}
