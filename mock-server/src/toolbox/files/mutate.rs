//! Folders, deletion and permissions: `CreateFolder`, `DeleteFile`, `SetFilePermissions`.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::{DirBuilderExt, PermissionsExt, chown},
    },
    path::{Path, PathBuf},
};

use axum::{extract::State, http::StatusCode};
use nix::{
    errno::Errno,
    unistd::{AccessFlags, access},
};

use super::{Named, blocking, mode, users};
use crate::toolbox::{Ctx, ToolboxError, go_errors, params::Params};

/// `CreateFolder`: with its parents; an existing folder is left as it is.
pub async fn folder(State(ctx): State<Ctx>, params: Params) -> Result<StatusCode, ToolboxError> {
    let folder = params.path(&ctx, "path")?;
    let mode = octal(&params)?.unwrap_or(0o755);
    blocking(move || {
        make_dirs(&folder.real, mode).map_err(|(failed, error)| {
            ToolboxError::bad_request(go_errors::path_error("mkdir", folder.say(&failed).display(), &error))
        })
    })
    .await??;
    Ok(StatusCode::CREATED)
}

/// `DeleteFile`. A link is removed, never what it leads to.
pub async fn delete(State(ctx): State<Ctx>, params: Params) -> Result<StatusCode, ToolboxError> {
    let target = params.path(&ctx, "path")?;
    let recursive = params.bytes("recursive") == Some(b"true");
    blocking(move || remove(&target, recursive)).await??;
    Ok(StatusCode::NO_CONTENT)
}

/// `SetFilePermissions`: mode, then owner and group by name or number. All or nothing.
pub async fn permissions(State(ctx): State<Ctx>, params: Params) -> Result<StatusCode, ToolboxError> {
    let file = params.path(&ctx, "path")?;
    let mode = octal(&params);
    let text = |name| params.text(name).map(|text| text.into_owned());
    let (owner, group) = (text("owner"), text("group"));
    blocking(move || {
        let before = fs::metadata(&file.real).map_err(|error| file.error("stat", &error))?;
        let mode = mode?;
        let unknown = |what: &str, name: String| ToolboxError::bad_request(format!("unknown {what}: {name}"));
        let uid = owner.map(|name| users::uid(&name).ok_or_else(|| unknown("user", name))).transpose()?;
        let gid = group.map(|name| users::gid(&name).ok_or_else(|| unknown("group", name))).transpose()?;
        if let Some(mode) = mode {
            fs::set_permissions(&file.real, Permissions::from_mode(mode)).map_err(|e| file.refusal("chmod", &e))?;
        }
        if uid.is_some() || gid.is_some() {
            chown(&file.real, uid, gid).map_err(|error| {
                // Best effort: the mode was ours to set a moment ago.
                _ = fs::set_permissions(&file.real, before.permissions());
                file.refusal("chown", &error)
            })?;
        }
        Ok(StatusCode::OK)
    })
    .await?
}

fn octal(params: &Params) -> Result<Option<u32>, ToolboxError> {
    let Some(text) = params.text("mode") else { return Ok(None) };
    mode::parse(&text).map(Some).ok_or_else(|| ToolboxError::bad_request(format!("invalid mode: {text}")))
}

fn remove(target: &Named, recursive: bool) -> Result<(), ToolboxError> {
    // `link/` would name the directory behind the link.
    let path = without_trailing_slashes(&target.real);
    let itself = fs::symlink_metadata(&path).map_err(|error| target.error("stat", &error))?;
    let directory = itself.is_dir() || fs::metadata(&path).is_ok_and(|behind| behind.is_dir());
    if directory && !recursive {
        return Err(ToolboxError::bad_request("cannot delete directory without recursive flag"));
    }
    if itself.is_dir() && fs::canonicalize(&path).is_ok_and(|real| real == Path::new("/")) {
        return Err(ToolboxError::bad_request("cannot delete the root directory"));
    }
    if itself.is_dir() {
        may_go(&path).map_err(|error| target.refusal("unlinkat", &error))?;
    }
    let (operation, result) = match itself.is_dir() {
        true => ("unlinkat", fs::remove_dir_all(&path)),
        false => ("remove", fs::remove_file(&path)),
    };
    result.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => target.error(operation, &error),
        _ => target.refusal(operation, &error),
    })
}

/// Whether a directory can be unlinked, once it is empty. Asked before, as what was below would be gone by then.
fn may_go(directory: &Path) -> io::Result<()> {
    let bytes = directory.as_os_str().as_bytes();
    if bytes.ends_with(b"/.") || bytes.ends_with(b"/..") {
        return Err(Errno::EINVAL.into());
    }
    Ok(access(directory.parent().unwrap_or(directory), AccessFlags::W_OK | AccessFlags::X_OK)?)
}

pub fn without_trailing_slashes(path: &Path) -> PathBuf {
    let mut bytes = path.as_os_str().as_bytes();
    while let [rest @ .., b'/'] = bytes
        && !rest.is_empty()
    {
        bytes = rest;
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes.to_vec()))
}

/// Makes a directory and its missing parents, each with `mode` less the umask. Returns those made, outermost first;
/// on failure none of them is left. The error names the directory that couldn't be made.
pub fn make_dirs(path: &Path, mode: u32) -> Result<Vec<PathBuf>, (PathBuf, io::Error)> {
    let mut missing = Vec::new();
    for ancestor in path.ancestors().filter(|ancestor| !ancestor.as_os_str().is_empty()) {
        match fs::metadata(ancestor) {
            Ok(metadata) if metadata.is_dir() => break,
            Ok(_) => return Err((ancestor.into(), io::Error::from_raw_os_error(libc::ENOTDIR))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(ancestor),
            // Below a file: the file itself, further up, is what gets reported.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {}
            Err(error) => return Err((ancestor.into(), error)),
        }
    }
    let mut made = Vec::new();
    for directory in missing.into_iter().rev() {
        match DirBuilder::new().mode(mode).create(directory) {
            Ok(()) => made.push(directory.to_owned()),
            Err(_) if directory.is_dir() => {}
            Err(error) => {
                remove_dirs(&made);
                return Err((directory.into(), error));
            }
        }
    }
    Ok(made)
}

/// Takes back what [`make_dirs`] made, as far as it is still empty.
pub fn remove_dirs(made: &[PathBuf]) {
    for directory in made.iter().rev() {
        if fs::remove_dir(directory).is_err() {
            break;
        }
    }
}
