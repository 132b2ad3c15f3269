//! Tiers subuid and single: a directory that belongs to somebody whom sandboxes don't know, as a tree made by root does.
//!
//! The kernel refuses to change what has such an owner, even to make a file in a directory open to everybody. What
//! sandboxes see is a copy in the cache with owners of theirs.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use nix::{
    fcntl::AT_FDCWD,
    sys::{
        stat::{UtimensatFlags, utimensat},
        time::TimeSpec,
    },
};
use walkdir::WalkDir;

use super::{
    at,
    cache::{Entry, Key, Place},
    layer::{DAYTONA, Layer, Owner, Owners, ROOT},
    rootfs,
};
use crate::runtime::{
    Isolation, RuntimeError,
    idmap::{self, IdMap},
};

/// Whom the kernel shows as the owner where the real one has no id in the user namespace.
const NOBODY: u32 = 65_534;

/// Directories that tell whose a tree is.
const PARTS: &[&str] = &["", "etc", "home", "tmp", "usr", "var"];

const HOME: &str = "home/daytona";

/// Whether a part of the tree belongs to somebody who has no id inside.
pub(super) fn needed(root: &Path, isolation: Isolation) -> bool {
    let strange = stranger(isolation);
    let owners = PARTS.iter().filter_map(|part| fs::symlink_metadata(root.join(part)).ok()).map(|meta| meta.uid());
    owners.into_iter().any(strange)
}

fn stranger(isolation: Isolation) -> impl Fn(u32) -> bool {
    let me = nix::unistd::geteuid();
    let range = match isolation {
        Isolation::Subuid if !me.is_root() => idmap::map_for(isolation, (1000, 1000)).ok(),
        _ => None,
    };
    move |uid| match isolation {
        Isolation::Root | Isolation::Process => false,
        Isolation::Single => uid != me.as_raw(),
        // The helper in the user namespace.
        Isolation::Subuid if me.is_root() => uid == NOBODY,
        Isolation::Subuid => match &range {
            Some(IdMap::Subuid { uids, .. }) => {
                uid != me.as_raw() && uid.checked_sub(uids.first).is_none_or(|at| at >= uids.count)
            }
            _ => false,
        },
    }
}

/// The copy, made anew when the tree's parts have changed.
pub(super) fn copy(root: &Path, isolation: Isolation, place: Place) -> Result<Entry, RuntimeError> {
    let key = Key::new("copy").with(format!("{isolation:?}"));
    place.find_or_make(rootfs::stamped(key, root), |dir| {
        tracing::info!("copying {}: its owners have no ids in sandboxes; this takes a while, once", root.display());
        copy_tree(root, dir, Owners::of(isolation))
    })
}

fn copy_tree(root: &Path, dir: &Path, owners: Owners) -> Result<(), RuntimeError> {
    let mut layer = Layer::new(dir, owners)?;
    let mut closed = 0;
    for entry in WalkDir::new(root).min_depth(1).same_file_system(true) {
        // Closed to the server, so closed to sandboxes: a directory that can't be listed is there, and empty.
        let Ok((entry, meta)) = entry.and_then(|entry| entry.metadata().map(|meta| (entry, meta))) else {
            closed += 1;
            continue;
        };
        let relative = entry.path().strip_prefix(root).unwrap_or(entry.path());
        match copy_entry(&mut layer, entry.path(), relative, &meta) {
            Err(RuntimeError::Io { source, .. })
                if source.kind() == io::ErrorKind::PermissionDenied && is_closed(entry.path(), &meta) =>
            {
                closed += 1
            }
            copied => copied?,
        }
    }
    if closed > 0 {
        tracing::warn!(
            "{closed} entries of {} can't be read by this user and are missing in sandboxes",
            root.display()
        );
    }
    layer.finish()
}

fn is_closed(path: &Path, meta: &Metadata) -> bool {
    meta.is_file() && fs::File::open(path).is_err()
}

/// Device nodes, FIFOs and sockets are left out.
fn copy_entry(layer: &mut Layer, from: &Path, relative: &Path, meta: &Metadata) -> Result<(), RuntimeError> {
    let (kind, mode) = (meta.file_type(), meta.permissions().mode() & 0o7777);
    let owner = owner_inside(relative, meta.uid());
    if kind.is_dir() {
        layer.dir(relative, mode, owner)
    } else if kind.is_symlink() {
        layer.link(relative, fs::read_link(from).map_err(at("cannot read", from))?)
    } else if kind.is_file() {
        layer.copy(from, relative, mode, owner)?;
        let (at_path, modified) = (layer.path(relative), TimeSpec::new(meta.mtime(), meta.mtime_nsec()));
        // Compiled Python is of use only beside a source of its age.
        utimensat(AT_FDCWD, &at_path, &modified, &modified, UtimensatFlags::NoFollowSymlink)
            .map_err(io::Error::from)
            .map_err(at("cannot date", &at_path))
    } else {
        Ok(())
    }
}

/// On disk 1000 is 1000 inside, as in tier root. Who a stranger is can't be seen in the user namespace, so a home tells.
fn owner_inside(relative: &Path, uid: u32) -> Owner {
    if uid == DAYTONA.uid || relative.starts_with(HOME) { DAYTONA } else { ROOT }
}
