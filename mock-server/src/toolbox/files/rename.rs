//! `MoveFile`: a rename that never replaces anything, or a copy where the kernel can't rename.

use std::{
    collections::HashMap,
    fs::{self, DirBuilder, File, FileTimes, Metadata},
    io,
    os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, chown, lchown, symlink},
    path::{Path, PathBuf},
};

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, RenameFlags, renameat2},
    sys::{
        stat::{Mode, UtimensatFlags, utimensat},
        time::TimeSpec,
    },
    unistd::mkfifo,
};
use serde_json::json;

use super::{Named, blocking, mutate::without_trailing_slashes};
use crate::toolbox::{Ctx, ToolboxError, go_errors, json::GoJson, params::Params};

/// `MoveFile`. 404 for a missing source or parent of the destination, 409 when the destination exists.
pub async fn rename(State(ctx): State<Ctx>, params: Params) -> Result<Response, ToolboxError> {
    let (source, destination) = (params.path(&ctx, "source")?, params.path(&ctx, "destination")?);
    blocking(move || move_path(&source, &destination)).await?
}

fn move_path(source: &Named, destination: &Named) -> Result<Response, ToolboxError> {
    let (from, to) = (without_trailing_slashes(&source.real), without_trailing_slashes(&destination.real));
    let kind = fs::symlink_metadata(&from).map_err(|error| source.error("stat", &error))?;
    let parent = to.parent().unwrap_or(Path::new("/"));
    fs::metadata(parent).map_err(|error| destination.error("stat", &error))?;
    if fs::symlink_metadata(&to).is_ok() {
        return Err(exists(destination));
    }
    if kind.is_dir() && is_inside(&from, parent) {
        let (source, destination) = (source.given.display(), destination.given.display());
        return Err(ToolboxError::bad_request(format!("cannot move {source} into itself: {destination}")));
    }
    match rename_new(&from, &to) {
        Ok(()) => Ok(StatusCode::OK.into_response()),
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => copy_and_delete(&from, &to, destination),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(exists(destination)),
        Err(error) => Err(destination.error("rename", &error)),
    }
}

fn exists(destination: &Named) -> ToolboxError {
    ToolboxError::conflict(format!("destination already exists: {}", destination.given.display()))
}

/// Whether a directory that is there lies in another, links resolved.
fn is_inside(outer: &Path, inner: &Path) -> bool {
    match (fs::canonicalize(outer), fs::canonicalize(inner)) {
        (Ok(outer), Ok(inner)) => inner.starts_with(outer),
        _ => false,
    }
}

fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE) {
        // The file system doesn't know the flag; the destination was looked for a moment ago.
        Err(Errno::EINVAL | Errno::ENOSYS) => fs::rename(from, to),
        result => result.map_err(io::Error::from),
    }
}

/// Other file systems, and on overlayfs also directories of a lower layer.
fn copy_and_delete(from: &Path, to: &Path, destination: &Named) -> Result<Response, ToolboxError> {
    let mut copy = Copy { linked: HashMap::new() };
    if let Err(error) = copy.tree(from, to) {
        _ = remove_tree(to);
        return Err(destination.refusal("copy", &error));
    }
    match remove_tree(from) {
        Ok(()) => Ok(StatusCode::OK.into_response()),
        Err(error) => {
            let message = "file copied successfully but failed to delete the source";
            Ok(GoJson(json!({"message": message, "error": go_errors::text(&error)})).into_response())
        }
    }
}

/// Renames to where nothing is; copies and deletes where the kernel can't rename. Blocking.
pub fn carry(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            Copy { linked: HashMap::new() }.tree(from, to)?;
            remove_tree(from)
        }
        done => done,
    }
}

fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path)?.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    }
}

/// Copies what a rename would have kept: contents, modes, times, links (also hard ones), and owners where allowed.
struct Copy {
    /// Files with several names: the copy of the first of them by device and inode.
    linked: HashMap<(u64, u64), PathBuf>,
}

impl Copy {
    fn tree(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let metadata = fs::symlink_metadata(from)?;
        if metadata.is_dir() {
            DirBuilder::new().mode(0o700).create(to)?;
            for entry in fs::read_dir(from)? {
                let name = entry?.file_name();
                self.tree(&from.join(&name), &to.join(&name))?;
            }
            return keep(to, &metadata);
        }
        if metadata.nlink() > 1 {
            let first = self.linked.entry((metadata.dev(), metadata.ino())).or_insert_with(|| to.to_owned());
            if first != to {
                return fs::hard_link(first, to);
            }
        }
        copy_file(from, to, &metadata)
    }
}

fn copy_file(from: &Path, to: &Path, metadata: &Metadata) -> io::Result<()> {
    let kind = metadata.file_type();
    if kind.is_symlink() {
        symlink(fs::read_link(from)?, to)?;
        _ = lchown(to, Some(metadata.uid()), Some(metadata.gid()));
        let (accessed, modified) = times(metadata);
        return Ok(utimensat(AT_FDCWD, to, &accessed, &modified, UtimensatFlags::NoFollowSymlink)?);
    }
    if kind.is_fifo() {
        mkfifo(to, Mode::from_bits_truncate(0o600))?;
    } else if kind.is_file() {
        let mut target = File::create_new(to)?;
        io::copy(&mut File::open(from)?, &mut target)?;
        target.set_times(FileTimes::new().set_modified(metadata.modified()?).set_accessed(metadata.accessed()?))?;
    } else {
        return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
    }
    keep(to, metadata)
}

/// Owner first, since a change of owner clears set-id bits; times last.
fn keep(to: &Path, metadata: &Metadata) -> io::Result<()> {
    _ = chown(to, Some(metadata.uid()), Some(metadata.gid()));
    fs::set_permissions(to, metadata.permissions())?;
    let (accessed, modified) = times(metadata);
    Ok(utimensat(AT_FDCWD, to, &accessed, &modified, UtimensatFlags::FollowSymlink)?)
}

fn times(metadata: &Metadata) -> (TimeSpec, TimeSpec) {
    (TimeSpec::new(metadata.atime(), metadata.atime_nsec()), TimeSpec::new(metadata.mtime(), metadata.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_copy_keeps_what_a_rename_keeps() {
        let dir = tempfile::tempdir().expect("dir");
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("sub")).expect("dirs");
        fs::write(from.join("sub/script"), "#!/bin/sh").expect("write");
        fs::set_permissions(from.join("sub/script"), fs::Permissions::from_mode(0o750)).expect("chmod");
        fs::hard_link(from.join("sub/script"), from.join("again")).expect("link");
        symlink("sub/nowhere", from.join("link")).expect("symlink");
        mkfifo(&from.join("pipe"), Mode::from_bits_truncate(0o600)).expect("fifo");
        let old = File::open(from.join("again")).expect("open");
        old.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1000)).expect("times");
        fs::set_permissions(from.join("sub"), fs::Permissions::from_mode(0o700)).expect("chmod");

        Copy { linked: HashMap::new() }.tree(&from, &to).expect("copied");
        let script = fs::metadata(to.join("sub/script")).expect("script");
        assert_eq!(script.mode() & 0o777, 0o750);
        assert_eq!(script.mtime(), 1000);
        assert_eq!(script.ino(), fs::metadata(to.join("again")).expect("again").ino());
        assert_eq!(fs::read(to.join("again")).expect("read"), b"#!/bin/sh");
        assert_eq!(fs::read_link(to.join("link")).expect("link"), Path::new("sub/nowhere"));
        assert_eq!(fs::metadata(to.join("sub")).expect("sub").mode() & 0o777, 0o700);
        assert!(fs::symlink_metadata(to.join("pipe")).expect("pipe").file_type().is_fifo());
    }
}
