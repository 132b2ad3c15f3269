//! What the agent of a build's sandbox serves besides: steps that run, archives in and out. Clients can't reach it: such a
//! sandbox is in nobody's list.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    os::{
        fd::OwnedFd,
        unix::fs::{PermissionsExt, lchown},
    },
    path::{Path, PathBuf},
    process::Stdio,
};

use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, Query},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use bytes::Bytes;
use futures_util::TryStreamExt;
use http::StatusCode;
use nix::mount::{MsFlags, mount};
use serde::{Deserialize, Serialize};
use tokio::{io::AsyncReadExt, net::unix::pipe, process::Command, sync::mpsc};
use tokio_util::io::{ReaderStream, StreamReader, SyncIoBridge};

use crate::{
    builds::{glob::pattern, modes::Mode},
    runtime::users,
};

/// Bytes of the exit code at the end of an output.
pub const TAIL: usize = 4;

/// The header of an archive that is a directory's content.
pub const IS_DIRECTORY: &str = "x-is-directory";

const PIECE: usize = 16 << 10;

/// One `RUN`.
#[derive(Debug, Serialize, Deserialize)]
pub struct RunStep {
    pub argv: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub cwd: String,
    /// Name or number, maybe with `:group`.
    pub user: String,
    /// Directories of the step that belong to somebody.
    pub owned: Vec<Owned>,
    pub tmpfs: Vec<Tmpfs>,
}

/// Whose a directory is made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Owned {
    pub path: String,
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
}

/// A file system in memory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tmpfs {
    pub path: String,
    /// Bytes.
    pub size: u64,
}

/// Routes that are added to those of the toolbox.
pub fn routes() -> Router {
    Router::new()
        .route("/build/run", post(run))
        .route("/build/put", put(unpack))
        .route("/build/get", get(pack))
        .route("/build/glob", get(glob))
        .layer(DefaultBodyLimit::disable())
}

fn refuse(reason: impl ToString) -> Response {
    (StatusCode::UNPROCESSABLE_ENTITY, reason.to_string()).into_response()
}

/// Streams the output, and after it the exit code as four bytes.
async fn run(Json(step): Json<RunStep>) -> Response {
    let (sender, mut receiver) = mpsc::channel::<Bytes>(16);
    let started = start(&step);
    let (mut child, mut output) = match started {
        Ok(started) => started,
        Err(error) => return refuse(error),
    };
    tokio::spawn(async move {
        let mut buffer = vec![0; PIECE];
        let status = loop {
            tokio::select! {
                biased;
                read = output.read(&mut buffer) => match read {
                    Ok(length) if length > 0 => {
                        if sender.send(Bytes::copy_from_slice(&buffer[..length])).await.is_err() {
                            return;
                        }
                    }
                    _ => break child.wait().await,
                },
                // What it left running ends with this sandbox.
                status = child.wait() => break status,
            }
        };
        while let Ok(length) = output.try_read(&mut buffer) {
            if length == 0 || sender.send(Bytes::copy_from_slice(&buffer[..length])).await.is_err() {
                break;
            }
        }
        use std::os::unix::process::ExitStatusExt;
        let code = status.map_or(255, |status| status.code().unwrap_or(128 + status.signal().unwrap_or(0)));
        let _ = sender.send(Bytes::copy_from_slice(&code.to_be_bytes())).await;
    });
    let pieces = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context));
    Body::from_stream(futures_util::StreamExt::map(pieces, Ok::<_, io::Error>)).into_response()
}

fn start(step: &RunStep) -> io::Result<(tokio::process::Child, pipe::Receiver)> {
    let account = users::find_in_group(&step.user)?;
    let program = step.argv.first().ok_or_else(|| io::Error::other("an empty command"))?;
    step.tmpfs.iter().try_for_each(mount_tmpfs)?;
    for owned in &step.owned {
        lchown(&owned.path, Some(owned.uid), Some(owned.gid))?;
        fs::set_permissions(&owned.path, fs::Permissions::from_mode(owned.mode))?;
    }
    // An image may name a directory that none of its layers has; every engine makes it.
    fs::create_dir_all(&step.cwd)?;
    let (output, input) = io::pipe()?;
    let errors = input.try_clone()?;
    let mut command = Command::new(program);
    command.args(&step.argv[1..]).env_clear().env("HOME", &account.home).envs(&step.env).current_dir(&step.cwd);
    command.stdin(Stdio::null()).stdout(input).stderr(errors).process_group(0).kill_on_drop(true);
    users::run_as(command.as_std_mut(), &account);
    let child = command.spawn().map_err(|error| io::Error::new(error.kind(), format!("{program}: {error}")))?;
    // With it goes the last writing end but the child's.
    drop(command);
    Ok((child, pipe::Receiver::from_owned_fd(OwnedFd::from(output))?))
}

fn mount_tmpfs(tmpfs: &Tmpfs) -> io::Result<()> {
    fs::create_dir_all(&tmpfs.path)?;
    let options = format!("mode=1777,size={}", tmpfs.size);
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    Ok(mount(Some("tmpfs"), tmpfs.path.as_str(), Some("tmpfs"), flags, Some(options.as_str()))?)
}

#[derive(Deserialize)]
struct PutQuery {
    path: PathBuf,
    dir: bool,
    owner: Option<String>,
    mode: Option<String>,
}

async fn unpack(Query(query): Query<PutQuery>, body: Body) -> Response {
    let stream = body.into_data_stream().map_err(io::Error::other);
    let reader = SyncIoBridge::new(StreamReader::new(Box::pin(stream)));
    match tokio::task::spawn_blocking(move || unpack_all(&query, reader)).await {
        Ok(Ok(())) => StatusCode::OK.into_response(),
        Ok(Err(error)) => refuse(format!("cannot copy: {}", whole(&error))),
        Err(error) => refuse(error),
    }
}

/// An error with what is behind it: that of an archive says only which entry.
fn whole(error: &dyn std::error::Error) -> String {
    let cause = std::iter::successors(error.source(), |error| error.source()).last();
    cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

fn unpack_all(query: &PutQuery, mut reader: impl Read) -> io::Result<()> {
    let owner = query.owner.as_deref().map(ids).transpose()?;
    let mode = query.mode.as_deref().map(str::parse::<Mode>).transpose().map_err(io::Error::other)?;
    let into = query.dir || query.path.is_dir();
    let parent = if into { query.path.as_path() } else { query.path.parent().unwrap_or(Path::new("/")) };
    make_dirs(parent, owner)?;
    let base = fs::canonicalize(parent)?;
    let mut archive = tar::Archive::new(&mut reader);
    archive.set_preserve_permissions(true);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.into_owned();
        let kind = entry.header().entry_type();
        let target = match (into, query.path.file_name()) {
            (false, Some(last)) => base.join(last),
            _ => base.join(&name),
        };
        // What is in the way of a file is replaced; directories merge.
        if !kind.is_dir() && target.symlink_metadata().is_ok_and(|meta| !meta.is_dir()) {
            fs::remove_file(&target)?;
        }
        if into {
            entry.unpack_in(&base)?;
        } else {
            entry.unpack(&target)?;
        }
        let given = (entry.header().uid()? as u32, entry.header().gid()? as u32);
        let (uid, gid) = owner.unwrap_or(given);
        lchown(&target, Some(uid), Some(gid))?;
        if !kind.is_symlink() {
            let given = entry.header().mode()? & 0o7777;
            let mode = mode.as_ref().map_or(given, |mode| mode.of(given, kind.is_dir()));
            fs::set_permissions(&target, fs::Permissions::from_mode(mode))?;
        }
    }
    // To the end, so that the sender isn't cut off.
    io::copy(&mut reader, &mut io::sink()).map(drop)
}

/// Makes a directory and what is missing above it; they are the owner's, with an ordinary mode (BuildKit).
fn make_dirs(path: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|dir| !dir.is_dir()).collect();
    fs::create_dir_all(path)?;
    for dir in missing {
        if let Some((uid, gid)) = owner {
            lchown(dir, Some(uid), Some(gid))?;
        }
    }
    Ok(())
}

/// `user[:group]`, names or numbers. A number alone is the group, too.
fn ids(owner: &str) -> io::Result<(u32, u32)> {
    let account = users::find_in_group(owner)?;
    let is_number = owner.parse::<u32>().is_ok();
    Ok((account.uid, if is_number { account.uid } else { account.gid }))
}

#[derive(Deserialize)]
struct GetQuery {
    path: PathBuf,
}

/// An archive of a directory's content, or of one file.
async fn pack(Query(query): Query<GetQuery>) -> Response {
    let path = match fs::canonicalize(&query.path) {
        Ok(path) => path,
        Err(error) => return refuse(format!("{}: {error}", query.path.display())),
    };
    let is_dir = path.is_dir();
    let (reader, writer) = tokio::io::duplex(1 << 16);
    tokio::task::spawn_blocking(move || {
        let mut out = tar::Builder::new(SyncIoBridge::new(writer));
        out.follow_symlinks(false);
        // A broken archive tells the other side.
        let packed = if is_dir {
            append_tree(&mut out, &path)
        } else {
            let name = query.path.file_name().unwrap_or(path.file_name().unwrap_or_default()).to_owned();
            out.append_path_with_name(&path, name)
        };
        if packed.is_ok() {
            let _ = out.finish();
        }
    });
    let body = Body::from_stream(ReaderStream::new(reader));
    if is_dir { ([(IS_DIRECTORY, "true")], body).into_response() } else { body.into_response() }
}

/// What is in a directory, but what only a kernel makes.
fn append_tree(out: &mut tar::Builder<impl io::Write>, dir: &Path) -> io::Result<()> {
    let kernel = |path: &Path| ["/proc", "/sys", "/dev"].iter().any(|own| path == Path::new(own));
    let walk = walkdir::WalkDir::new(dir).min_depth(1).into_iter().filter_entry(|entry| !kernel(entry.path()));
    for entry in walk {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type());
        if kind.is_file() || kind.is_dir() || kind.is_symlink() {
            out.append_path_with_name(path, path.strip_prefix(dir).map_err(io::Error::other)?)?;
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct GlobQuery {
    /// Absolute.
    pattern: String,
}

/// The paths that fit a pattern, in order.
async fn glob(Query(query): Query<GlobQuery>) -> Response {
    match tokio::task::spawn_blocking(move || matching(&query.pattern)).await {
        Ok(Ok(paths)) => Json(paths).into_response(),
        Ok(Err(reason)) => refuse(reason),
        Err(error) => refuse(error),
    }
}

fn matching(glob: &str) -> Result<Vec<String>, String> {
    let pattern = pattern(glob).ok_or_else(|| format!("{glob}: a bad pattern"))?;
    let parts: Vec<&str> = glob.split('/').collect();
    let plain = parts.iter().take_while(|part| !part.contains(['*', '?', '[', '\\'])).count();
    let root = format!("/{}", parts[..plain].join("/").trim_start_matches('/'));
    let walk = walkdir::WalkDir::new(root).min_depth(1).max_depth(parts.len() - plain).sort_by_file_name();
    let paths = walk.into_iter().filter_map(Result::ok).map(|entry| entry.into_path().to_string_lossy().into_owned());
    let found: Vec<String> = paths.filter(|path| pattern.is_match(path)).collect();
    if found.is_empty() { Err(format!("{glob}: nothing fits")) } else { Ok(found) }
}
