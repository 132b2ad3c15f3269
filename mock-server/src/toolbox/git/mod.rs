//! Git: `/git/*` of the toolbox contract (20 operations).
//!
//! # Why the `git` program
//! Not `gix`, which can't push, nor `git2`, whose HTTPS needs OpenSSL. The program gives the API the same configuration,
//! mirrors, proxies, certificates and stored credentials as a shell in the sandbox, and every format of repository;
//! one costs 1-3 ms and no memory in an idle agent. What it would do on its own is taken away ([`command`]): hooks,
//! monitors, signing, editors, pagers, prompts, background maintenance, submodules, transports that run programs,
//! looking for a repository further up. It runs as the sandbox's user, in the sandbox, under a time limit, and is
//! ended when the client leaves. What it may take of memory and write to one file is bounded ([`command`]), and what all
//! programs of a request may write and compute together ([`watch`]), as a pack can announce and expand to anything.
//!
//! Names and passwords of a request, and those in a remote's URL, never are arguments, variables or log lines: they
//! are in a sealed memory file that git inherits ([`secrets`]).
//!
//! # Differences on purpose
//! * A clone records the remote's branch, so `branchPublished`, `ahead` and `behind` are right after every clone;
//!   observed was `false` where no branch was asked for.
//! * A repository without commits has `branches: []`; observed was `null`, which current Python SDKs refuse.
//! * Refused requests leave everything as it was: a dirty tree keeps its HEAD (observed: switched all the same), a
//!   failed clone leaves no directory, a remote that can't be fetched isn't added.
//! * Renames and copies that are staged are seen, with the old name in `extra`.
//! * A branch that the remote doesn't have is 404 `GIT_BRANCH_NOT_FOUND`, an unreachable remote 502
//!   `GIT_TRANSPORT_FAILED`: both were 500 before these codes existed.

mod branches;
mod clone;
mod command;
mod commit;
mod config;
mod errors;
mod history;
mod init;
mod remotes;
mod repository;
mod reset;
mod secrets;
mod status;
mod transfer;
mod url;
mod watch;

use axum::{
    Router,
    extract::Request,
    routing::{get, post},
};

use super::{
    Ctx, ToolboxError,
    body::{self, JsonBody},
    params::Params,
};

pub fn routes() -> Router<Ctx> {
    Router::new()
        .route("/git/clone", post(clone::clone))
        .route("/git/init", post(init::init))
        .route("/git/status", get(status::status))
        .route("/git/history", get(history::history))
        .route("/git/branches", get(branches::list).post(branches::create).delete(branches::delete))
        .route("/git/checkout", post(branches::checkout))
        .route("/git/add", post(commit::add))
        .route("/git/commit", post(commit::commit))
        .route("/git/push", post(transfer::push))
        .route("/git/pull", post(transfer::pull))
        .route("/git/remotes", get(remotes::list).post(remotes::add))
        .route("/git/reset", post(reset::reset))
        .route("/git/restore", post(reset::restore))
        .route("/git/config", get(config::get).post(config::set))
        .route("/git/config/user", post(config::user))
        .route("/git/credentials", post(config::credentials))
}

/// The JSON body of a git operation; its refusals say what they are twice (observed).
async fn read<T: JsonBody>(request: Request) -> Result<T, ToolboxError> {
    let invalid = |error: String| ToolboxError::invalid_body(format!("invalid request body: {error}"));
    body::parse(&body::read(request).await.map_err(invalid)?).map_err(invalid)
}

/// The repository that a GET names: 400 `bad request: path is required`.
fn path(params: &Params) -> Result<String, ToolboxError> {
    Ok(String::from_utf8_lossy(params.required("path")?).into_owned())
}

/// Text that becomes an argument or a line of a file: one line, and nothing that git would take for an option.
fn plain(what: &str, text: &str) -> Result<(), ToolboxError> {
    if text.starts_with('-') || text.contains(|c: char| c.is_control()) {
        return Err(ToolboxError::bad_request(format!("invalid {what}")));
    }
    Ok(())
}
