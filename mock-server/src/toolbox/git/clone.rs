//! `POST /git/clone`.

use std::{
    io,
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
        let place = Place::look(&target).await?;
        match fetch(&call, &request, &remote, &place).await {
            Ok(repository) => check_out(&call, &repository, &request.commit_id).await,
            Err(error) => {
                place.undo().await;
                Err(error)
            }
        }
    })
    .await
}

/// Everything but the working tree.
async fn fetch(
    call: &Call,
    request: &GitCloneRequest,
    remote: &Remote,
    place: &Place,
) -> Result<Repository, ToolboxError> {
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
    let output = git.arg("--").arg(url).arg(&place.staging).run().await?;
    if !output.ok {
        return Err(errors::of(&output.stderr));
    }
    if output.stderr.contains("cloned an empty repository") {
        return Err(ToolboxError::not_found("remote repository is empty"));
    }
    place.settle().await.map_err(|e| errors::raw(go_errors::text(&e)))?;
    let repository = Repository::find(&place.target).await.ok_or_else(|| errors::raw("git made no repository"))?;
    if remote.url != remote.given {
        set_url(call, &repository, "origin", &remote.given).await?;
    }
    Ok(repository)
}

/// A path of this sandbox starts at the work directory; anything else (`host:path`) stays.
fn absolute(call: &Call, url: &str) -> String {
    let is_path = !url.split('/').next().is_some_and(|start| start.contains(':'));
    if is_path { call.ctx.resolve(url).to_string_lossy().into_owned() } else { url.to_owned() }
}

async fn check_out(call: &Call, repository: &Repository, commit: &str) -> Result<StatusCode, ToolboxError> {
    let known = commit.is_empty() || is_commit(call, repository, commit).await?;
    let git = call.git(["checkout", "--quiet", "--force"]).at(repository);
    match known && !commit.is_empty() {
        true => git.args(["--detach", commit, "--"]).text().await?,
        false => git.args(["HEAD", "--"]).text().await?,
    };
    if known { Ok(StatusCode::OK) } else { Err(ToolboxError::not_found("object not found")) }
}

/// Where a clone goes, and what was there before.
struct Place {
    target: PathBuf,
    /// The target itself when it is new or empty, which is all that git clones into; else a directory in it.
    staging: PathBuf,
    /// All that a clone makes.
    made: PathBuf,
}

impl Place {
    async fn look(target: &Path) -> Result<Place, ToolboxError> {
        let target = target.to_owned();
        let look = tokio::task::spawn_blocking(|| Place::look_now(target));
        look.await.map_err(ToolboxError::internal)?.map_err(|e| errors::raw(go_errors::text(&e)))
    }

    fn look_now(target: PathBuf) -> io::Result<Place> {
        match std::fs::read_dir(&target).map(|mut entries| entries.next().is_none()) {
            Ok(true) => Ok(Place { staging: target.clone(), made: target.join(".git"), target }),
            Ok(false) => {
                let staging = target.join(format!(".clone-{}", uuid::Uuid::new_v4().simple()));
                Ok(Place { target, made: staging.clone(), staging })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let missing = target.ancestors().take_while(|path| path.symlink_metadata().is_err()).last();
                let made = missing.unwrap_or(&target).to_owned();
                Ok(Place { staging: target.clone(), made, target })
            }
            Err(error) => Err(error),
        }
    }

    /// Moves the repository out of the staging directory.
    async fn settle(&self) -> io::Result<()> {
        if self.staging != self.target {
            tokio::fs::rename(self.staging.join(".git"), self.target.join(".git")).await?;
            tokio::fs::remove_dir(&self.staging).await?;
        }
        Ok(())
    }

    /// Removes what a failed clone left: git tidies up itself, unless it was killed, but for directories on the way.
    async fn undo(self) {
        _ = tokio::fs::remove_dir_all(&self.made).await;
    }
}
