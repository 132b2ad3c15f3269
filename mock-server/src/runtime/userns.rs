//! Work that needs the sandboxes' ids: this binary run as `daytona-mock __ns MAP VERB PATH` does it in a user namespace.
//!
//! In tier subuid a sandbox's files belong to ids that the server can't touch.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
};

use nix::{
    fcntl::OFlag,
    sched::CloneFlags,
    sys::wait::{WaitStatus, waitpid},
};
use tokio_util::sync::CancellationToken;

use super::{
    Isolation, RuntimeConfig,
    archive::{self, Owners},
    base,
    idmap::{self, IdMap},
    inside::users::become_root,
    manager::blocking,
    sys::process::{self, Fork},
    zygote::step,
};
use crate::images::Image;

/// First argument of the role.
pub const ARGUMENT: &str = "__ns";

/// Removes what a sandbox wrote, whoever owns it and whatever its modes are.
pub async fn remove_tree(binary: &Path, idmap: &IdMap, path: PathBuf) -> io::Result<()> {
    match idmap {
        IdMap::Subuid { .. } => as_root_inside(binary, idmap, "remove", &path).await,
        _ => blocking(move || base::remove_tree(&path)).await,
    }
}

/// Makes the layers of a base with the owners that sandboxes see. They stay in the cache, where their next search finds them.
pub fn make_base(config: &RuntimeConfig) -> io::Result<()> {
    let idmap = idmap::map_for(Isolation::Subuid, (1000, 1000))?;
    // Mirrors are no layers, and their rules are written to the data directory.
    let config = RuntimeConfig { git_mirrors: None, ..config.clone() };
    let output = std::process::Command::new(&config.binary)
        .arg(ARGUMENT)
        .arg(serde_json::to_string(&idmap)?)
        .arg("make-base")
        .arg(serde_json::to_string(&config)?)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        // Its progress bar is ours.
        .stderr(Stdio::inherit())
        .status()?;
    if output.success() { Ok(()) } else { Err(io::Error::other("the helper in the user namespace failed")) }
}

/// Unpacks an image's layers with the owners that sandboxes see. Blocking.
pub fn unpack_image(binary: &Path, cache_dir: &Path, image: &Image) -> io::Result<()> {
    let idmap = idmap::map_for(Isolation::Subuid, (1000, 1000))?;
    let output = std::process::Command::new(binary)
        .arg(ARGUMENT)
        .arg(serde_json::to_string(&idmap)?)
        .arg("unpack-image")
        .arg(serde_json::to_string(&(cache_dir, image))?)
        .env_clear()
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// Moves a directory that a sandbox made.
pub async fn rename(binary: &Path, idmap: &IdMap, from: PathBuf, to: PathBuf) -> io::Result<()> {
    match idmap {
        IdMap::Subuid { .. } => as_root_inside(binary, idmap, "rename", &serde_json::to_string(&(from, to))?).await,
        _ => blocking(move || std::fs::rename(from, to)).await,
    }
}

/// Copies a directory that a sandbox made, owners and all.
pub async fn copy(binary: &Path, idmap: &IdMap, from: PathBuf, to: PathBuf) -> io::Result<()> {
    match idmap {
        IdMap::Subuid { .. } => as_root_inside(binary, idmap, "copy", &serde_json::to_string(&(from, to))?).await,
        _ => blocking(move || base::copy_whole(&from, &to)).await,
    }
}

/// Packs a directory that a sandbox made into an archive. `Interrupted` when it is stopped.
pub async fn pack(
    binary: &Path,
    idmap: &IdMap,
    from: PathBuf,
    to: PathBuf,
    owners: Owners,
    stop: CancellationToken,
) -> io::Result<()> {
    match idmap {
        IdMap::Subuid { .. } => {
            let argument = serde_json::to_string(&(from, to, owners))?;
            tokio::select! {
                packed = as_root_inside(binary, idmap, "pack", &argument) => packed,
                () = stop.cancelled() => Err(io::ErrorKind::Interrupted.into()),
            }
        }
        _ => blocking(move || archive::pack(&from, &to, owners, &|| stop.is_cancelled())).await,
    }
}

/// Makes a directory of what is in an archive.
pub async fn unpack(binary: &Path, idmap: &IdMap, archive: PathBuf, to: PathBuf, owners: Owners) -> io::Result<()> {
    match idmap {
        IdMap::Subuid { .. } => {
            as_root_inside(binary, idmap, "unpack", &serde_json::to_string(&(archive, to, owners))?).await
        }
        _ => blocking(move || archive::unpack(&archive, &to, owners)).await,
    }
}

async fn as_root_inside(
    binary: &Path,
    idmap: &IdMap,
    verb: &str,
    argument: impl AsRef<std::ffi::OsStr>,
) -> io::Result<()> {
    let output = tokio::process::Command::new(binary)
        .arg(ARGUMENT)
        .arg(serde_json::to_string(idmap)?)
        .arg(verb)
        .arg(argument)
        .env_clear()
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// The role itself: `args` are what follows [`ARGUMENT`].
pub fn run(args: &[OsString]) -> ExitCode {
    match run_inside(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run_inside(args: &[OsString]) -> io::Result<bool> {
    let [map, verb, path] = args else { return Err(io::Error::other("usage: __ns MAP VERB PATH")) };
    let idmap: IdMap = serde_json::from_slice(map.as_encoded_bytes())?;
    let (wait, go) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    match step("clone", process::clone_into(CloneFlags::CLONE_NEWUSER))? {
        Fork::Child => {
            drop(go);
            let done = enter(&idmap, &wait).and_then(|()| work(&verb.to_string_lossy(), Path::new(path)));
            if let Err(error) = &done {
                eprintln!("{error}");
            }
            process::exit_now(done.is_err().into())
        }
        Fork::Parent(child) => {
            step("id map", idmap.write_for(child.pid))?;
            nix::unistd::write(&go, b"x")?;
            Ok(matches!(waitpid(child.pid, None)?, WaitStatus::Exited(_, 0)))
        }
    }
}

fn enter(idmap: &IdMap, wait: &impl std::os::fd::AsFd) -> io::Result<()> {
    step("id map", idmap.write_own())?;
    if nix::unistd::read(wait, &mut [0])? != 1 {
        return Err(io::Error::other("no id map"));
    }
    if idmap.written_by_parent() { step("becoming root", become_root()) } else { Ok(()) }
}

fn work(verb: &str, path: &Path) -> io::Result<()> {
    match verb {
        "make-base" => {
            let config = serde_json::from_slice(path.as_os_str().as_encoded_bytes())?;
            base::make_layers(&config, Isolation::Subuid).map_err(io::Error::other)
        }
        "unpack-image" => {
            let (cache_dir, image): (PathBuf, Image) = serde_json::from_slice(path.as_os_str().as_encoded_bytes())?;
            let place = base::Place { cache_dir: &cache_dir, shifted: false };
            base::image::unpack_here(&image, place, Isolation::Subuid).map(drop).map_err(io::Error::other)
        }
        "rename" => {
            let (from, to): (PathBuf, PathBuf) = serde_json::from_slice(path.as_os_str().as_encoded_bytes())?;
            std::fs::rename(from, to)
        }
        "copy" => {
            let (from, to): (PathBuf, PathBuf) = serde_json::from_slice(path.as_os_str().as_encoded_bytes())?;
            base::copy_whole(&from, &to)
        }
        "pack" => {
            let (from, to, owners): (PathBuf, PathBuf, Owners) =
                serde_json::from_slice(path.as_os_str().as_encoded_bytes())?;
            archive::pack(&from, &to, owners, &|| false)
        }
        "unpack" => {
            let (from, to, owners): (PathBuf, PathBuf, Owners) =
                serde_json::from_slice(path.as_os_str().as_encoded_bytes())?;
            archive::unpack(&from, &to, owners)
        }
        "remove" => step(&path.display().to_string(), std::fs::remove_dir_all(path)),
        _ => Err(io::Error::other(format!("unknown verb {verb}"))),
    }
}
