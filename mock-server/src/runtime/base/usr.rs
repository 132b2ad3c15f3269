//! `/usr` of the host with a thin layer of our own above it.

use std::{
    fs, io,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use indicatif::{ProgressBar, ProgressStyle};
use walkdir::WalkDir;

use super::{
    at,
    layer::{Layer, Owners, ROOT},
};
use crate::runtime::RuntimeError;

/// Fills the layer above the host's `/usr`: `python`, and pip without its mark. With [`Owners::Mine`] and in a user
/// namespace every directory of `/usr` besides: a directory whose owner has no id inside can't be written to, and a merged
/// directory has the owner of its topmost layer. Then files can be created, replaced and deleted everywhere.
pub(super) fn make_additions(
    usr: &Path,
    dir: &Path,
    owners: Owners,
    every_directory: bool,
) -> Result<(), RuntimeError> {
    let mut layer = Layer::new(dir, owners)?;
    if every_directory {
        copy_directories(usr, &mut layer)?;
    }
    link_python(usr, &mut layer)?;
    lift_pip_mark(usr, &mut layer)?;
    layer.finish()
}

/// Programs call `python`; Debian has `python3` only.
fn link_python(usr: &Path, layer: &mut Layer) -> Result<(), RuntimeError> {
    let exists = |path: &str| usr.join(path).symlink_metadata().is_ok();
    if exists("bin/python") || exists("local/bin/python") || !exists("bin/python3") {
        return Ok(());
    }
    if real_directory(usr, "local") && real_directory(usr, "local/bin") {
        layer.dirs("local/bin")?;
        return layer.link("local/bin/python", "/usr/bin/python3");
    }
    layer.dirs("bin")?;
    layer.link("bin/python", "python3")
}

/// `pip install` without a virtual environment is what sandboxes are for.
fn lift_pip_mark(usr: &Path, layer: &mut Layer) -> Result<(), RuntimeError> {
    for lib in ["lib", "lib64", "local/lib"] {
        if !real_directory(usr, lib) {
            continue;
        }
        let Ok(entries) = fs::read_dir(usr.join(lib)) else { continue };
        for entry in entries.flatten() {
            let mark = entry.path().join("EXTERNALLY-MANAGED");
            if entry.file_name().as_bytes().starts_with(b"python3") && mark.is_file() && !is_link(&entry.path()) {
                let directory = Path::new(lib).join(entry.file_name());
                layer.dirs(&directory)?;
                layer.whiteout(directory.join("EXTERNALLY-MANAGED"))?;
            }
        }
    }
    Ok(())
}

/// A link in a lower layer must not become a directory in the one above: that would hide what it points to.
fn real_directory(usr: &Path, relative: &str) -> bool {
    usr.join(relative).symlink_metadata().is_ok_and(|meta| meta.is_dir())
}

fn is_link(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|meta| meta.is_symlink())
}

fn copy_directories(usr: &Path, layer: &mut Layer) -> Result<(), RuntimeError> {
    let style =
        ProgressStyle::with_template("preparing the base {bar:30} {pos}/{len} directories").map_err(io::Error::other);
    let bar = ProgressBar::new(0).with_style(style.map_err(at("progress bar for", usr))?);
    let directories: Vec<PathBuf> = WalkDir::new(usr)
        .min_depth(1)
        .same_file_system(true)
        .into_iter()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_dir())
        .map(walkdir::DirEntry::into_path)
        .collect();
    bar.set_length(directories.len() as u64);
    for directory in directories {
        let Ok(meta) = fs::symlink_metadata(&directory) else { continue };
        let relative = directory.strip_prefix(usr).unwrap_or(&directory);
        // What is closed to us would be an empty, readable directory in the sandbox: closed it stays.
        layer.dir(relative, meta.permissions().mode() & 0o1777, ROOT)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

/// True when something is mounted below `dir`, which no lower layer may have in a user namespace.
pub(super) fn has_mounts_below(dir: &Path) -> bool {
    let Ok(mounts) = fs::read_to_string("/proc/self/mountinfo") else { return false };
    let prefix = format!("{}/", dir.display());
    mounts.lines().filter_map(|line| line.split(' ').nth(4)).any(|point| point.starts_with(&prefix))
}

/// A set-uid root program: what makes the host's own `sudo` usable where ids are real.
pub(super) fn is_setuid_root(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.uid() == 0 && meta.mode() & 0o4000 != 0)
}
