//! Branches: `GET`, `POST` and `DELETE /git/branches`, `POST /git/checkout`.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::IntoResponse,
};
use serde::{Deserialize, Serialize};

use super::{Params, command::Call, errors, plain, read, repository::Repository};
use crate::toolbox::{
    Ctx, ToolboxError,
    body::{Field, JsonBody, Kind},
    json::GoJson,
};

/// `ListBranchResponse` of the contract.
#[derive(Serialize)]
struct Branches {
    branches: Vec<String>,
    /// Empty when HEAD is detached.
    current: String,
}

/// `ListBranches`: 200, local ones, sorted; none before the first commit.
pub async fn list(State(ctx): State<Ctx>, params: Params) -> Result<impl IntoResponse, ToolboxError> {
    let path = super::path(&params)?;
    Call::run(ctx, async move |call| {
        let repository = Repository::open(&call.ctx, &path).await?;
        let command = ["for-each-ref", "--format=%(HEAD)%(refname:lstrip=2)", "refs/heads"];
        let output = call.git(command).at(&repository).text().await?;
        let (mut branches, mut current) = (Vec::new(), None);
        for line in String::from_utf8_lossy(&output).lines() {
            // A star before the one that HEAD is on, a space before others.
            let (mark, name) = line.split_at_checked(1).unwrap_or_default();
            branches.push(name.to_owned());
            current = current.or((mark == "*").then(|| name.to_owned()));
        }
        if current.is_none() {
            // Detached, or a branch without commits.
            current = repository.current_branch(&call).await?;
        }
        Ok(GoJson(Branches { branches, current: current.unwrap_or_default() }))
    })
    .await
}

/// `GitBranchRequest` of the contract.
#[derive(Default, Deserialize)]
#[serde(default)]
struct GitBranchRequest {
    path: String,
    name: String,
}

impl JsonBody for GitBranchRequest {
    const NAME: &'static str = "GitBranchRequest";
    const FIELDS: &'static [Field] =
        &[Field::required("path", "Path", Kind::Str), Field::required("name", "Name", Kind::Str)];
}

/// `GitDeleteBranchRequest` of the contract.
#[derive(Default, Deserialize)]
#[serde(default)]
struct GitDeleteBranchRequest {
    path: String,
    name: String,
}

impl JsonBody for GitDeleteBranchRequest {
    const NAME: &'static str = "GitDeleteBranchRequest";
    const FIELDS: &'static [Field] = GitBranchRequest::FIELDS;
}

/// `GitCheckoutRequest` of the contract.
#[derive(Default, Deserialize)]
#[serde(default)]
struct GitCheckoutRequest {
    path: String,
    branch: String,
}

impl JsonBody for GitCheckoutRequest {
    const NAME: &'static str = "GitCheckoutRequest";
    const FIELDS: &'static [Field] =
        &[Field::required("path", "Path", Kind::Str), Field::required("branch", "Branch", Kind::Str)];
}

/// `CreateBranch`: 201, made from HEAD and checked out (observed). 404 before the first commit, 409
/// `GIT_BRANCH_EXISTS`, 409 `GIT_DIRTY_WORKTREE`.
pub async fn create(State(ctx): State<Ctx>, body: Request) -> Result<impl IntoResponse, ToolboxError> {
    let GitBranchRequest { path, name } = read(body).await?;
    Call::run(ctx, async move |call| {
        let repository = Repository::open(&call.ctx, &path).await?;
        check_name(&name)?;
        let _lock = repository.lock().await;
        repository.head(&call).await?;
        if exists(&call, &repository, &name).await? {
            let message = format!("a branch named \"refs/heads/{name}\" already exists");
            return Err(errors::conflict("GIT_BRANCH_EXISTS", &message));
        }
        repository.refuse_dirty(&call).await?;
        call.git(["checkout", "--quiet", "--no-track", "-b", &name]).at(&repository).text().await?;
        Ok(StatusCode::CREATED)
    })
    .await
}

/// `DeleteBranch`: 204 for unknown ones and the current one, too (observed).
pub async fn delete(State(ctx): State<Ctx>, body: Request) -> Result<impl IntoResponse, ToolboxError> {
    let GitDeleteBranchRequest { path, name } = read(body).await?;
    Call::run(ctx, async move |call| {
        let repository = Repository::open(&call.ctx, &path).await?;
        check_name(&name)?;
        let _lock = repository.lock().await;
        if exists(&call, &repository, &name).await? {
            call.git(["update-ref", "-d", &format!("refs/heads/{name}")]).at(&repository).text().await?;
        }
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// `CheckoutBranch`: 200. A branch by name, or a commit by its whole hash; other revisions are unknown (observed): 404
/// `GIT_BRANCH_NOT_FOUND`. 409 `GIT_DIRTY_WORKTREE`.
pub async fn checkout(State(ctx): State<Ctx>, body: Request) -> Result<impl IntoResponse, ToolboxError> {
    let GitCheckoutRequest { path, branch } = read(body).await?;
    Call::run(ctx, async move |call| {
        let repository = Repository::open(&call.ctx, &path).await?;
        let _lock = repository.lock().await;
        let is_branch = check_name(&branch).is_ok() && exists(&call, &repository, &branch).await?;
        if !is_branch && !is_commit(&call, &repository, &branch).await? {
            let message = format!("failed to checkout branch or commit '{branch}': reference not found");
            return Err(errors::no_branch(message));
        }
        repository.refuse_dirty(&call).await?;
        let how = if is_branch { "--no-guess" } else { "--detach" };
        call.git(["checkout", "--quiet", how, &branch, "--"]).at(&repository).text().await?;
        Ok(StatusCode::OK)
    })
    .await
}

/// 400 for what can't be a branch's name (`git check-ref-format --branch`).
pub fn check_name(name: &str) -> Result<(), ToolboxError> {
    const NEVER: &[char] = &[' ', '~', '^', ':', '?', '*', '[', '\\'];
    plain("branch name", name)?;
    let good_part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    let good = !name.contains(NEVER) && !name.contains("..") && !name.contains("@{") && !name.ends_with('.');
    match good && name.split('/').all(good_part) && !["HEAD", "@"].contains(&name) {
        true => Ok(()),
        false => Err(ToolboxError::bad_request("invalid branch name")),
    }
}

/// Whether there is such a local branch.
pub async fn exists(call: &Call, repository: &Repository, name: &str) -> Result<bool, ToolboxError> {
    let reference = format!("refs/heads/{name}");
    Ok(call.git(["show-ref", "--verify", "--quiet", &reference]).at(repository).run().await?.ok)
}

/// Whether this is the whole hash of a commit that is there.
pub async fn is_commit(call: &Call, repository: &Repository, hash: &str) -> Result<bool, ToolboxError> {
    if !matches!(hash.len(), 40 | 64) || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(false);
    }
    Ok(call.git(["cat-file", "-e", &format!("{hash}^{{commit}}")]).at(repository).run().await?.ok)
}

#[cfg(test)]
mod tests {
    use super::check_name;

    #[test]
    fn names() {
        for good in ["main", "a/b", "ü", "v1.2", "@a", "a@b", "heads", "a-b", "x.lock.y"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in [
            "", "-x", "a b", "a..b", "a//b", "/a", "a/", ".a", "a/.b", "a.lock", "a.lock/b", "a.", "@", "HEAD", "a@{b",
            "a\nb", "a~1", "a\\b",
        ] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
