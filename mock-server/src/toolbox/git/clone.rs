//! `POST /git/clone`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::IntoResponse,
};
use serde::Deserialize;

use super::{
    branches::{check_name, is_commit},
    command::Call,
    errors, read,
    remotes::set_url,
    repository::Repository,
    secrets::{self, Remote},
};
use crate::toolbox::{
    Ctx, ToolboxError,
    body::{Field, JsonBody, Kind},
    files::carry,
    go_errors,
};

/// `GitCloneRequest` of the contract.
#[derive(Default, Deserialize)]
#[serde(default)]
struct GitCloneRequest {
    url: String,
    path: String,
    branch: String,
    commit_id: String,
    username: String,
    password: String,
    insecure_skip_tls: bool,
    depth: i64,
}

impl JsonBody for GitCloneRequest {
    const NAME: &'static str = "GitCloneRequest";
    const FIELDS: &'static [Field] = &[
        Field::required("url", "URL", Kind::Str),
        Field::required("path", "Path", Kind::Str),
        Field::optional("branch", "Branch", Kind::Str),
        Field::optional("commit_id", "CommitID", Kind::Str),
        Field::optional("username", "Username", Kind::Str),
        Field::optional("password", "Password", Kind::Str),
        Field::optional("insecure_skip_tls", "InsecureSkipTLS", Kind::Bool),
        Field::optional("depth", "Depth", Kind::Int),
    ];
}

/// `CloneRepository`: 200. One branch, also into a directory with other files; a commit is checked out detached, and
/// the clone is kept when the remote doesn't have it (404). 409 where there is a repository (observed).
pub async fn clone(State(ctx): State<Ctx>, body: Request) -> Result<impl IntoResponse, ToolboxError> {
    let request: GitCloneRequest = read(body).await?;
    if request.depth < 0 {
        return Err(ToolboxError::bad_request("depth must be positive"));
    }
    if !request.branch.is_empty() {
        check_name(&request.branch)?;
    }
    Call::run(ctx, async move |call| {
        let target = call.ctx.resolve(&request.path);
        if Repository::find(&target).await.is_some() {
            return Err(ToolboxError::conflict("repository already exists"));
        }
        let login = secrets::login(request.username.clone(), request.password.clone());
        let remote = secrets::remote(&call, &request.url, login).await?;
        let place = Place::look(target).await?;
        match make(&call, &request, &remote, &place).await {
            Ok(true) => Ok(StatusCode::OK),
            Ok(false) => Err(ToolboxError::not_found("object not found")),
            Err(error) => {
                place.undo().await;
                Err(error)
            }
        }
    })
    .await
}

/// Fetches, checks out, and puts it where it belongs. False when the remote doesn't have the commit that was asked for.
async fn make(call: &Call, request: &GitCloneRequest, remote: &Remote, place: &Place) -> Result<bool, ToolboxError> {
    fetch(call, request, remote, &place.staging).await?;
    let repository = Repository::find(&place.staging).await.ok_or_else(|| errors::raw("git made no repository"))?;
    if remote.url != remote.given {
        set_url(call, &repository, "origin", &remote.given).await?;
    }
    let known = check_out(call, &repository, &request.commit_id).await?;
    place.settle().await?;
    Ok(known)
}

/// Everything but the working tree.
async fn fetch(call: &Call, request: &GitCloneRequest, remote: &Remote, staging: &Path) -> Result<(), ToolboxError> {
    let command = ["clone", "--quiet", "--no-checkout", "--single-branch", "--no-local", "--origin=origin"];
    let mut git = call.git(command).cwd("/".as_ref()).network(remote.secrets.as_ref());
    if !request.branch.is_empty() {
        git = git.arg(format!("--branch={}", request.branch));
    }
    if request.depth > 0 {
        git = git.arg(format!("--depth={}", request.depth));
    }
    if request.insecure_skip_tls {
        git = git.set("http.sslVerify=false");
    }
    let url = if remote.url.contains("://") { remote.url.clone() } else { absolute(call, &remote.url) };
    let output = git.arg("--").arg(url).arg(staging).run().await?;
    match output.ok {
        false => Err(errors::of(&output.stderr)),
        true if output.stderr.contains("cloned an empty repository") => {
            Err(ToolboxError::not_found("remote repository is empty"))
        }
        true => Ok(()),
    }
}

/// A path of this sandbox starts at the work directory; anything else (`host:path`) stays.
fn absolute(call: &Call, url: &str) -> String {
    let is_path = !url.split('/').next().is_some_and(|start| start.contains(':'));
    if is_path { call.ctx.resolve(url).to_string_lossy().into_owned() } else { url.to_owned() }
}

async fn check_out(call: &Call, repository: &Repository, commit: &str) -> Result<bool, ToolboxError> {
    let known = commit.is_empty() || is_commit(call, repository, commit).await?;
    let git = call.git(["checkout", "--quiet", "--force"]).at(repository);
    match known && !commit.is_empty() {
        true => git.args(["--detach", commit, "--"]).text().await?,
        false => git.args(["HEAD", "--"]).text().await?,
    };
    Ok(known)
}

/// Where a clone goes, and where it is made. What fails leaves nothing, however far it came.
struct Place {
    target: PathBuf,
    /// The target itself where there is nothing yet; else a directory in it.
    staging: PathBuf,
    /// All that a clone makes until it is whole.
    made: PathBuf,
}

impl Place {
    async fn look(target: PathBuf) -> Result<Place, ToolboxError> {
        blocking(|| Place::look_now(target)).await
    }

    fn look_now(target: PathBuf) -> io::Result<Place> {
        match fs::metadata(&target) {
            Ok(about) if about.is_dir() => {
                let staging = target.join(format!(".clone-{}", uuid::Uuid::new_v4().simple()));
                Ok(Place { target, made: staging.clone(), staging })
            }
            Ok(_) => Err(io::Error::from_raw_os_error(libc::ENOTDIR)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let missing = target.ancestors().take_while(|path| path.symlink_metadata().is_err()).last();
                let made = missing.unwrap_or(&target).to_owned();
                Ok(Place { staging: target.clone(), made, target })
            }
            Err(error) => Err(error),
        }
    }

    /// Moves it out of the staging directory, the repository itself last.
    async fn settle(&self) -> Result<(), ToolboxError> {
        if self.staging == self.target {
            return Ok(());
        }
        let (from, to) = (self.staging.clone(), self.target.clone());
        blocking(move || {
            merge(&from, &to)?;
            carry(&from.join(GIT_DIR), &to.join(GIT_DIR))?;
            fs::remove_dir(from)
        })
        .await
    }

    async fn undo(self) {
        _ = tokio::fs::remove_dir_all(&self.made).await;
    }
}

/// No file in a repository is called so.
const GIT_DIR: &str = ".git";

/// Moves the working tree at `from` to `to`, over what is in its way. Something may be mounted below `to`.
fn merge(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_name() == GIT_DIR {
            continue;
        }
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let there = target.symlink_metadata().ok().map(|about| about.is_dir());
        match (entry.file_type()?.is_dir(), there) {
            (true, Some(true)) => {
                merge(&source, &target)?;
                fs::remove_dir(source)?;
                continue;
            }
            (false, Some(true)) => fs::remove_dir_all(&target)?,
            (_, Some(false)) => fs::remove_file(&target)?,
            (_, None) => {}
        }
        carry(&source, &target)?;
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, ToolboxError> {
    let done = tokio::task::spawn_blocking(work).await.map_err(ToolboxError::internal)?;
    done.map_err(|error| errors::raw(go_errors::text(&error)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn trees_are_merged() {
        let dir = tempfile::tempdir().expect("a directory");
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let write = |path: PathBuf, text: &str| {
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, text).expect("written");
        };
        for name in ["both/new", "file-over-dir", "dir-over-link/x", ".git/HEAD"] {
            write(from.join(name), "new");
        }
        for name in ["both/old", "file-over-dir/x", "mine"] {
            write(to.join(name), "old");
        }
        symlink("/nowhere", to.join("dir-over-link")).expect("linked");
        symlink("/nowhere", from.join("link")).expect("linked");
        merge(&from, &to).expect("merged");
        let read = |name: &str| fs::read_to_string(to.join(name)).expect(name);
        assert_eq!(["both/new", "file-over-dir", "dir-over-link/x"].map(read), ["new"; 3]);
        assert_eq!(["both/old", "mine"].map(read), ["old"; 2]);
        assert_eq!(to.join("link").read_link().expect("a link"), Path::new("/nowhere"));
        let left: Vec<_> = fs::read_dir(&from).expect("there").flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(left, [GIT_DIR]);
    }
}
