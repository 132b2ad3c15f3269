//! A repository as requests name it.

use std::path::{Path, PathBuf};

use axum::http::StatusCode;
use tokio::sync::{Mutex, MutexGuard};

use super::command::Call;
use crate::toolbox::{Ctx, ToolboxError};

/// Its root: a directory with `.git`, or a bare repository.
pub struct Repository {
    pub path: PathBuf,
    pub git_dir: PathBuf,
    pub bare: bool,
}

impl Repository {
    /// 404 `not found: repository does not exist` for anything else, directories inside of one too (observed).
    pub async fn open(ctx: &Ctx, path: &str) -> Result<Repository, ToolboxError> {
        Repository::find(&ctx.resolve(path)).await.ok_or_else(not_found)
    }

    /// The repository whose root this is.
    pub async fn find(path: &Path) -> Option<Repository> {
        let dot_git = path.join(".git");
        if tokio::fs::metadata(&dot_git).await.is_ok() {
            return Some(Repository { path: path.to_owned(), git_dir: dot_git, bare: false });
        }
        for part in ["HEAD", "objects", "refs"] {
            tokio::fs::metadata(path.join(part)).await.ok()?;
        }
        Some(Repository { path: path.to_owned(), git_dir: path.to_owned(), bare: true })
    }

    /// For whatever changes the index: git itself refuses to wait for another.
    pub async fn lock(&self) -> MutexGuard<'static, ()> {
        static LOCKS: [Mutex<()>; 16] = [const { Mutex::const_new(()) }; 16];
        let mixed = self
            .path
            .as_os_str()
            .as_encoded_bytes()
            .iter()
            .fold(0usize, |sum, &byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        LOCKS[mixed % LOCKS.len()].lock().await
    }

    /// 404 `not found: reference not found` while it has no commits.
    pub async fn head(&self, call: &Call) -> Result<String, ToolboxError> {
        let output = call.git(["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]).at(self).run().await?;
        match output.ok {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            // It says why only when it is no repository at all.
            false if output.stderr.is_empty() => Err(ToolboxError::not_found("reference not found")),
            false => Err(super::errors::of(&output.stderr)),
        }
    }

    /// The branch that HEAD is on, born or not; `None` when it is detached.
    pub async fn current_branch(&self, call: &Call) -> Result<Option<String>, ToolboxError> {
        let output = call.git(["symbolic-ref", "--quiet", "HEAD"]).at(self).run().await?;
        let name = String::from_utf8_lossy(&output.stdout);
        Ok(name.trim_end_matches('\n').strip_prefix("refs/heads/").map(str::to_owned))
    }

    /// 409 `conflict: worktree contains unstaged changes`.
    pub async fn refuse_dirty(&self, call: &Call) -> Result<(), ToolboxError> {
        let diff = ["diff", "--quiet", "--no-ext-diff", "--ignore-submodules"];
        let output = call.git(diff).at(self).run().await?;
        match output.code {
            0 => Ok(()),
            1 => Err(dirty()),
            _ => Err(super::errors::of(&output.stderr)),
        }
    }
}

pub fn not_found() -> ToolboxError {
    ToolboxError::new(StatusCode::NOT_FOUND, "GIT_REPO_NOT_FOUND", "not found: repository does not exist")
}

pub fn dirty() -> ToolboxError {
    let message = "conflict: worktree contains unstaged changes";
    ToolboxError::new(StatusCode::CONFLICT, "GIT_DIRTY_WORKTREE", message)
}
