//! `POST /git/reset` and `POST /git/restore`.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::IntoResponse,
};
use serde::Deserialize;

use super::{
    command::Call,
    commit::pathspecs,
    errors, plain, read,
    repository::{self, Repository},
};
use crate::toolbox::{
    Ctx, ToolboxError,
    body::{Field, JsonBody, Kind},
};

/// `GitResetRequest` of the contract.
#[derive(Default, Deserialize)]
#[serde(default)]
struct GitResetRequest {
    path: String,
    mode: String,
    target: String,
    files: Vec<String>,
}

impl JsonBody for GitResetRequest {
    const NAME: &'static str = "GitResetRequest";
    const FIELDS: &'static [Field] = &[
        Field::required("path", "Path", Kind::Str),
        Field::optional("mode", "Mode", Kind::Str),
        Field::optional("target", "Target", Kind::Str),
        Field::optional("files", "Files", Kind::StrList),
    ];
}

/// `ResetChanges`: 200. With files, only these are taken out of the index, which is what mode `mixed` is for. 404 for
/// an unknown target.
pub async fn reset(State(ctx): State<Ctx>, body: Request) -> Result<impl IntoResponse, ToolboxError> {
    let GitResetRequest { path, mut mode, target, files } = read(body).await?;
    if mode.is_empty() {
        mode = "mixed".into();
    }
    if !["soft", "mixed", "hard", "merge", "keep"].contains(&mode.as_str()) {
        return Err(ToolboxError::bad_request(format!("invalid reset mode: {mode}")));
    }
    if !files.is_empty() && mode != "mixed" {
        return Err(ToolboxError::bad_request(format!("files can't be reset in mode {mode}")));
    }
    plain("target", &target)?;
    Call::run(ctx, async move |call| {
        let repository = Repository::open(&call.ctx, &path).await?;
        let _lock = repository.lock().await;
        let target = commit_of(&call, &repository, &target).await?;
        let git = call.git(["reset", "--quiet"]).at(&repository);
        let git = match files.is_empty() {
            true => git.arg(format!("--{mode}")).args([&target]),
            false => git.args(["--pathspec-from-file=-", "--pathspec-file-nul", &target]).stdin(pathspecs(&files)?),
        };
        unless_dirty(git.run().await?)
    })
    .await
}

/// The hash of a revision, HEAD by default.
async fn commit_of(call: &Call, repository: &Repository, target: &str) -> Result<String, ToolboxError> {
    if target.is_empty() {
        return repository.head(call).await;
    }
    let revision = format!("{target}^{{commit}}");
    let output =
        call.git(["rev-parse", "--verify", "--quiet", "--end-of-options", &revision]).at(repository).run().await?;
    match output.ok {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => Err(ToolboxError::not_found(format!("revision '{target}' not found"))),
    }
}

/// Modes merge and keep refuse to lose what was changed.
fn unless_dirty(output: super::command::Output) -> Result<StatusCode, ToolboxError> {
    match output.ok {
        true => Ok(StatusCode::OK),
        false if output.stderr.contains("not uptodate") => Err(repository::dirty()),
        false => Err(errors::of(&output.stderr)),
    }
}

/// `GitRestoreRequest` of the contract.
#[derive(Default, Deserialize)]
#[serde(default)]
struct GitRestoreRequest {
    path: String,
    files: Vec<String>,
    staged: Option<bool>,
    worktree: Option<bool>,
    source: String,
}

impl JsonBody for GitRestoreRequest {
    const NAME: &'static str = "GitRestoreRequest";
    const FIELDS: &'static [Field] = &[
        Field::required("path", "Path", Kind::Str),
        Field::required("files", "Files", Kind::StrList),
        Field::optional("staged", "Staged", Kind::BoolPtr),
        Field::optional("worktree", "Worktree", Kind::BoolPtr),
        Field::optional("source", "Source", Kind::Str),
    ];
}

/// `RestoreFiles`: 200. The working tree unless told otherwise; all files or none. 400 without files, 404 for an
/// unknown source, 500 `pathspec "x" did not match any file(s) known to git`.
pub async fn restore(State(ctx): State<Ctx>, body: Request) -> Result<impl IntoResponse, ToolboxError> {
    let GitRestoreRequest { path, files, staged, worktree, source } = read(body).await?;
    if files.is_empty() {
        return Err(ToolboxError::bad_request("files are required"));
    }
    plain("source", &source)?;
    Call::run(ctx, async move |call| {
        let repository = Repository::open(&call.ctx, &path).await?;
        let _lock = repository.lock().await;
        let command = ["restore", "--quiet", "--pathspec-from-file=-", "--pathspec-file-nul"];
        let mut git = call.git(command).at(&repository).stdin(pathspecs(&files)?);
        let staged = staged == Some(true);
        if staged {
            git = git.arg("--staged");
        }
        if worktree == Some(true) || !staged {
            git = git.arg("--worktree");
        }
        if !source.is_empty() {
            git = git.arg(format!("--source={}", commit_of(&call, &repository, &source).await?));
        }
        let output = git.run().await?;
        match output.ok {
            true => Ok(StatusCode::OK),
            false => Err(unknown_path(&output.stderr).unwrap_or_else(|| errors::of(&output.stderr))),
        }
    })
    .await
}

/// Git quotes the name the other way.
fn unknown_path(stderr: &str) -> Option<ToolboxError> {
    const END: &str = "did not match any file(s) known to git";
    let name =
        stderr.lines().find_map(|line| line.strip_prefix("error: pathspec '")?.strip_suffix(END)?.strip_suffix("' "));
    name.map(|name| errors::raw(format!("pathspec \"{name}\" {END}")))
}
