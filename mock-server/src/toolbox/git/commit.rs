//! `POST /git/add` and `POST /git/commit`.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::IntoResponse,
};
use serde::Deserialize;
use serde_json::json;

use super::{command::Call, errors, read, repository::Repository};
use crate::toolbox::{
    Ctx, ToolboxError,
    body::{Field, JsonBody, Kind},
    json::GoJson,
};

/// `GitAddRequest` of the contract.
#[derive(Default, Deserialize)]
#[serde(default)]
struct GitAddRequest {
    path: String,
    files: Vec<String>,
}

impl JsonBody for GitAddRequest {
    const NAME: &'static str = "GitAddRequest";
    const FIELDS: &'static [Field] =
        &[Field::required("path", "Path", Kind::Str), Field::required("files", "Files", Kind::StrList)];
}

/// `AddFiles`: 200. Deletions are staged as well; an ignored file only when it is named itself. 500 `entry not found`
/// for what neither exists nor is tracked (observed).
pub async fn add(State(ctx): State<Ctx>, body: Request) -> Result<impl IntoResponse, ToolboxError> {
    let GitAddRequest { path, files } = read(body).await?;
    Call::run(ctx, async move |call| {
        let repository = Repository::open(&call.ctx, &path).await?;
        let (mut folders, mut single) = (Vec::new(), Vec::new());
        for file in files {
            let is_folder = tokio::fs::symlink_metadata(repository.path.join(&file)).await.is_ok_and(|m| m.is_dir());
            if is_folder { folders.push(file) } else { single.push(file) }
        }
        let _lock = repository.lock().await;
        for (options, files) in [(&["--force"][..], single), (&[], folders)] {
            if !files.is_empty() {
                stage(&call, &repository, options, &files).await?;
            }
        }
        Ok(StatusCode::OK)
    })
    .await
}

async fn stage(call: &Call, repository: &Repository, options: &[&str], files: &[String]) -> Result<(), ToolboxError> {
    let command = ["add", "--all", "--pathspec-from-file=-", "--pathspec-file-nul"];
    let git = call.git(command).args(options).at(repository).stdin(pathspecs(files)?);
    let output = git.run().await?;
    match output.ok {
        true => Ok(()),
        false if output.stderr.contains("did not match any file") => Err(errors::raw("entry not found")),
        false => Err(errors::of(&output.stderr)),
    }
}

/// Names for `--pathspec-from-file=- --pathspec-file-nul`: an argument list has its limits.
pub fn pathspecs(files: &[String]) -> Result<String, ToolboxError> {
    match files.iter().any(|file| file.is_empty() || file.contains('\0')) {
        true => Err(errors::raw("entry not found")),
        false => Ok(files.join("\0")),
    }
}

/// `GitCommitRequest` of the contract.
#[derive(Default, Deserialize)]
#[serde(default)]
struct GitCommitRequest {
    path: String,
    message: String,
    author: String,
    email: String,
    allow_empty: bool,
}

impl JsonBody for GitCommitRequest {
    const NAME: &'static str = "GitCommitRequest";
    const FIELDS: &'static [Field] = &[
        Field::required("path", "Path", Kind::Str),
        Field::required("message", "Message", Kind::Str),
        Field::required("author", "Author", Kind::Str),
        Field::required("email", "Email", Kind::Str),
        Field::optional("allow_empty", "AllowEmpty", Kind::Bool),
    ];
}

/// `CommitChanges`: 200 `{"hash"}`. The author is the committer, the message is kept as it is, hooks don't run. 500
/// `cannot create empty commit: clean working tree` (observed).
pub async fn commit(State(ctx): State<Ctx>, body: Request) -> Result<impl IntoResponse, ToolboxError> {
    let request: GitCommitRequest = read(body).await?;
    if [&request.message, &request.author, &request.email].iter().any(|text| text.contains('\0')) {
        return Err(ToolboxError::bad_request("a commit can't contain NUL"));
    }
    Call::run(ctx, async move |call| {
        let repository = Repository::open(&call.ctx, &request.path).await?;
        let _lock = repository.lock().await;
        let command = ["commit", "--quiet", "--file=-", "--cleanup=verbatim", "--allow-empty-message", "--no-verify"];
        let mut git = call.git(command).arg("--no-status").at(&repository).stdin(request.message);
        if request.allow_empty {
            git = git.arg("--allow-empty");
        }
        for (name, email) in [("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL"), ("GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL")] {
            git = git.env(name, &request.author).env(email, &request.email);
        }
        let output = git.run().await?;
        // Git tells what could be committed on its standard output, and failures on the other.
        if !output.ok && output.stderr.trim().is_empty() {
            return Err(errors::raw("cannot create empty commit: clean working tree"));
        } else if !output.ok {
            return Err(errors::of(&output.stderr));
        }
        Ok(GoJson(json!({"hash": repository.head(&call).await?})))
    })
    .await
}
