//! `POST /git/push` and `POST /git/pull`.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::IntoResponse,
};
use serde::Deserialize;

use super::{
    branches::{check_name, exists},
    command::Call,
    errors, plain, read,
    remotes::url_of,
    repository::Repository,
    secrets::{self, Remote},
    url::Login,
};
use crate::toolbox::{
    Ctx, ToolboxError,
    body::{Field, JsonBody, Kind},
};

const DEFAULT_REMOTE: &str = "origin";

/// `GitPushRequest` of the contract.
#[derive(Default, Deserialize)]
#[serde(default)]
struct GitPushRequest {
    path: String,
    username: String,
    password: String,
    remote: String,
    branch: String,
    set_upstream: bool,
}

impl JsonBody for GitPushRequest {
    const NAME: &'static str = "GitPushRequest";
    const FIELDS: &'static [Field] = &[
        Field::required("path", "Path", Kind::Str),
        Field::optional("username", "Username", Kind::Str),
        Field::optional("password", "Password", Kind::Str),
        Field::optional("remote", "Remote", Kind::Str),
        Field::optional("branch", "Branch", Kind::Str),
        Field::optional("set_upstream", "SetUpstream", Kind::Bool),
    ];
}

/// `PushChanges`: 200, also when there was nothing to do. One branch, the current one by default. 404 for an unknown
/// remote or branch and before the first commit, 409 `GIT_PUSH_REJECTED`, 422 `GIT_REMOTE_REJECTED`.
pub async fn push(State(ctx): State<Ctx>, body: Request) -> Result<impl IntoResponse, ToolboxError> {
    let request: GitPushRequest = read(body).await?;
    Call::run(ctx, async move |call| {
        let repository = Repository::open(&call.ctx, &request.path).await?;
        let login = secrets::login(request.username, request.password);
        let (name, remote) = remote(&call, &repository, request.remote, login).await?;
        let branch = match request.branch.is_empty() {
            true => current(&call, &repository).await?,
            false => request.branch,
        };
        check_name(&branch)?;
        if !exists(&call, &repository, &branch).await? {
            repository.head(&call).await?;
            return Err(errors::no_branch(format!("branch '{branch}' not found")));
        }
        let mut git = call.git(["push", "--quiet", "--porcelain", "--no-follow-tags"]).at(&repository);
        if request.set_upstream {
            git = git.arg("--set-upstream");
        }
        let reference = format!("refs/heads/{branch}:refs/heads/{branch}");
        let output = git.args(["--", &name, &reference]).network(remote.secrets.as_ref()).run().await?;
        if !output.ok {
            return Err(refusal(&String::from_utf8_lossy(&output.stdout), &branch, &output.stderr));
        }
        if request.set_upstream {
            track(&call, &repository, &name, &branch).await?;
        }
        Ok(StatusCode::OK)
    })
    .await
}

/// A clone follows one branch only; of another that was pushed, git would not know that it was published.
async fn track(call: &Call, repository: &Repository, remote: &str, branch: &str) -> Result<(), ToolboxError> {
    let upstream = format!("{branch}@{{upstream}}");
    if call.git(["rev-parse", "--verify", "--quiet", &upstream]).at(repository).run().await?.ok {
        return Ok(());
    }
    call.git(["remote", "set-branches", "--add", "--", remote, branch]).at(repository).text().await?;
    let (tracking, pushed) = (format!("refs/remotes/{remote}/{branch}"), format!("refs/heads/{branch}"));
    call.git(["update-ref", &tracking, &pushed]).at(repository).text().await?;
    Ok(())
}

/// `!<tab>from:to<tab>[rejected] (fetch first)` is how git tells of a refusal.
fn refusal(stdout: &str, branch: &str, stderr: &str) -> ToolboxError {
    let reason = stdout.lines().find_map(|line| line.strip_prefix("!\t")?.split_once('\t')).map(|(_, reason)| reason);
    match reason {
        Some(reason) if reason.starts_with("[rejected]") => {
            errors::conflict("GIT_PUSH_REJECTED", &format!("non-fast-forward update: refs/heads/{branch}"))
        }
        Some(reason) => {
            let said = errors::remote_lines(stderr);
            errors::remote_rejected(
                &format!("{reason}: {said}").trim_end_matches([':', ' ']).replace("[remote rejected] ", ""),
            )
        }
        None => errors::of(stderr),
    }
}

/// `GitPullRequest` of the contract.
#[derive(Default, Deserialize)]
#[serde(default)]
struct GitPullRequest {
    path: String,
    username: String,
    password: String,
    remote: String,
    branch: String,
}

impl JsonBody for GitPullRequest {
    const NAME: &'static str = "GitPullRequest";
    const FIELDS: &'static [Field] = &[
        Field::required("path", "Path", Kind::Str),
        Field::optional("username", "Username", Kind::Str),
        Field::optional("password", "Password", Kind::Str),
        Field::optional("remote", "Remote", Kind::Str),
        Field::optional("branch", "Branch", Kind::Str),
    ];
}

/// `PullChanges`: 200, also when there was nothing to do. Only fast-forwards (observed): 409 for what has diverged, 409
/// `GIT_DIRTY_WORKTREE` for changes in the way, 404 for an unknown remote or branch.
pub async fn pull(State(ctx): State<Ctx>, body: Request) -> Result<impl IntoResponse, ToolboxError> {
    let request: GitPullRequest = read(body).await?;
    Call::run(ctx, async move |call| {
        let repository = Repository::open(&call.ctx, &request.path).await?;
        let login = secrets::login(request.username, request.password);
        let branch = match request.branch.is_empty() {
            true => upstream(&call, &repository, &request.remote).await?,
            false => request.branch,
        };
        check_name(&branch)?;
        let (name, remote) = remote(&call, &repository, request.remote, login).await?;
        // Not FETCH_HEAD: that is what anybody fetched last.
        let fetched = format!("refs/daytona/{}", uuid::Uuid::new_v4().simple());
        let pulled = async {
            let reference = format!("refs/heads/{branch}:{fetched}");
            let fetch = call.git(["fetch", "--quiet", "--no-tags", "--", &name, &reference]).at(&repository);
            fetch.network(remote.secrets.as_ref()).text().await?;
            let _lock = repository.lock().await;
            let merge = ["merge", "--quiet", "--ff-only", "--no-verify-signatures", &fetched];
            call.git(merge).at(&repository).text().await
        };
        let pulled = pulled.await;
        call.git(["update-ref", "-d", &fetched]).at(&repository).run().await?;
        pulled.map(|_| StatusCode::OK)
    })
    .await
}

/// The remote's name and address: 404 `not found: remote not found`.
async fn remote(
    call: &Call,
    repository: &Repository,
    name: String,
    login: Option<Login>,
) -> Result<(String, Remote), ToolboxError> {
    let name = if name.is_empty() { DEFAULT_REMOTE.to_owned() } else { name };
    plain("remote name", &name)?;
    let url = url_of(call, repository, &name).await?.ok_or_else(|| ToolboxError::not_found("remote not found"))?;
    Ok((name, secrets::remote(call, &url, login).await?))
}

async fn current(call: &Call, repository: &Repository) -> Result<String, ToolboxError> {
    let detached = || ToolboxError::bad_request("branch is required when HEAD is detached");
    repository.current_branch(call).await?.ok_or_else(detached)
}

/// The branch that the current one follows at this remote, by default one of the same name.
async fn upstream(call: &Call, repository: &Repository, remote: &str) -> Result<String, ToolboxError> {
    let branch = current(call, repository).await?;
    let setting = |name: &str| format!("branch.{branch}.{name}");
    let mut found = Vec::new();
    for name in ["remote", "merge"] {
        let output = call.git(["config", "--get", &setting(name)]).at(repository).run().await?;
        found.push(String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned());
    }
    let wanted = if remote.is_empty() { DEFAULT_REMOTE } else { remote };
    match found[1].strip_prefix("refs/heads/") {
        Some(merge) if found[0] == wanted => Ok(merge.to_owned()),
        _ => Ok(branch),
    }
}

#[cfg(test)]
mod tests {
    use super::refusal;

    #[test]
    fn refusals_are_told_apart() {
        let said = |line: &str| {
            let error =
                refusal(&format!("To x\n!\trefs/heads/m:refs/heads/m\t{line}\nDone\n"), "m", "remote: no way \n");
            (error.code, error.message)
        };
        let stale = "conflict: non-fast-forward update: refs/heads/m";
        assert_eq!(said("[rejected] (fetch first)"), ("GIT_PUSH_REJECTED", stale.to_owned()));
        let hook = "unprocessable entity: (pre-receive hook declined): no way";
        assert_eq!(said("[remote rejected] (pre-receive hook declined)"), ("GIT_REMOTE_REJECTED", hook.to_owned()));
        let gone = refusal("", "m", "fatal: unable to access 'http://x/': Failed to connect\n");
        assert_eq!(gone.code, "GIT_TRANSPORT_FAILED");
    }
}
