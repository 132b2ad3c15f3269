//! What git says about a failure, as the toolbox says it (table observed; statuses of the new codes are those of the
//! SDKs' error classes, `errors/DaytonaError.js`).

use std::time::Duration;

use axum::http::StatusCode;
use nix::sys::signal::Signal;

use super::repository;
use crate::{limits, toolbox::ToolboxError};

/// Longer complaints are cut.
const MAX_MESSAGE: usize = 4096;

const AUTH: &[&str] = &[
    "terminal prompts disabled",
    "Authentication failed for",
    "could not read Username",
    "could not read Password",
    "returned error: 401",
    "Permission denied (publickey",
    "Host key verification failed",
];
const NO_REMOTE_REPOSITORY: &[&str] = &["returned error: 404"];
const NO_LOCAL_REPOSITORY: &[&str] = &["does not appear to be a git repository"];
const UNREACHABLE: &[&str] = &[
    "unable to access",
    "Could not resolve host",
    "Failed to connect",
    "Connection refused",
    "Connection timed out",
    "Connection reset",
    "Operation too slow",
    "the remote end hung up unexpectedly",
    "early EOF",
    "returned error: 5",
    "RPC failed",
    "bad band #",
    "protocol error",
    "invalid server response",
    "Could not read from remote repository",
    "is this a git repository?",
];
const NO_COMMITS: &[&str] = &[
    "does not have any commits yet",
    "bad default revision 'HEAD'",
    "bad revision 'HEAD'",
    "ambiguous argument 'HEAD'",
    "Failed to resolve 'HEAD' as a valid",
    "could not resolve HEAD",
    "Could not resolve HEAD",
];
const DIRTY: &[&str] = &[
    "would be overwritten by",
    "commit your changes or stash",
    "not uptodate. Cannot merge",
    "would lose untracked files",
    "unstaged changes",
];
const CONFLICTS: &[&str] = &[
    "unmerged files",
    "resolve your current index",
    "unresolved conflict",
    "Automatic merge failed",
    "is unmerged",
    "in the middle of a merge",
];
const DIVERGED: &[&str] =
    &["Not possible to fast-forward", "Diverging branches", "refusing to merge unrelated histories"];

const NO_MEMORY: &[&str] = &["ut of memory", "annot allocate memory", "unable to create thread"];

/// The failure that `stderr` tells of.
pub fn of(stderr: &str) -> ToolboxError {
    let says = |needles: &[&str]| needles.iter().any(|needle| stderr.contains(needle));
    // First: what else is said follows from it.
    if let Some(bound) = out_of_bounds(stderr) {
        return raw(bound);
    }
    if says(AUTH) {
        let message = format!("unauthorized: authentication required: {}", remote_lines(stderr));
        return ToolboxError::new(StatusCode::UNAUTHORIZED, "GIT_AUTH_FAILED", message);
    }
    if says(&["returned error: 403"]) {
        let message = format!("forbidden: authorization failed: {}", remote_lines(stderr));
        return ToolboxError::new(StatusCode::FORBIDDEN, "FORBIDDEN", message);
    }
    if says(NO_REMOTE_REPOSITORY) || complains(stderr, "repository '", "' not found") {
        return no_repository(format!("not found: repository not found: {}", remote_lines(stderr)));
    }
    if says(NO_LOCAL_REPOSITORY) || complains(stderr, "repository '", "' does not exist") {
        return no_repository("not found: repository not found".into());
    }
    if says(&["not a git repository"]) {
        return repository::not_found();
    }
    if let Some(name) = missing_branch(stderr) {
        return no_branch(format!("couldn't find remote ref \"refs/heads/{name}\""));
    }
    if complains(stderr, "transport '", "' not allowed") {
        return ToolboxError::bad_request(complaint(stderr));
    }
    if says(UNREACHABLE) {
        return unreachable(&complaint(stderr));
    }
    if says(NO_COMMITS) {
        return ToolboxError::not_found("reference not found");
    }
    if says(CONFLICTS) {
        return conflict("GIT_MERGE_CONFLICT", &complaint(stderr));
    }
    if says(DIRTY) {
        return repository::dirty();
    }
    if says(DIVERGED) {
        return conflict("GIT_MERGE_CONFLICT", "non-fast-forward update");
    }
    if says(&[".lock': File exists"]) {
        return ToolboxError::conflict("another git process works on this repository");
    }
    raw(complaint(stderr))
}

/// Which bound git came up against, if it did. What the remote says of its own troubles is none of ours.
fn out_of_bounds(stderr: &str) -> Option<String> {
    let said = |needle: &str| stderr.lines().any(|line| !line.starts_with("remote:") && line.contains(needle));
    let died = |signal: Signal| said(&format!(" died of signal {}", signal as i32));
    if NO_MEMORY.iter().any(|needle| said(needle)) {
        return Some(format!("git may use no more than {} MiB of memory", mib(limits::inside().git_memory)));
    }
    if said("File too large") {
        return Some(format!("git may write no file of more than {} MiB", mib(limits::inside().git_file)));
    }
    // Checking out, it doesn't say why.
    if said("error: unable to write file ") {
        let most = mib(limits::inside().git_file);
        return Some(format!("git may write no file of more than {most} MiB, and the disk may be full"));
    }
    died(Signal::SIGKILL).then(|| "git was killed: the sandbox may have too little memory".to_owned())
}

/// 500 with the message as it is (observed: git's have no prefix).
pub fn raw(message: impl Into<String>) -> ToolboxError {
    ToolboxError::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_SERVER_ERROR", message)
}

pub fn no_branch(message: impl std::fmt::Display) -> ToolboxError {
    ToolboxError::new(StatusCode::NOT_FOUND, "GIT_BRANCH_NOT_FOUND", format!("not found: {message}"))
}

pub fn conflict(code: &'static str, message: &str) -> ToolboxError {
    ToolboxError::new(StatusCode::CONFLICT, code, format!("conflict: {message}"))
}

/// 422: the remote was reached and said no.
pub fn remote_rejected(message: &str) -> ToolboxError {
    let message = format!("unprocessable entity: {message}");
    ToolboxError::new(StatusCode::UNPROCESSABLE_ENTITY, "GIT_REMOTE_REJECTED", message)
}

/// 408: git took longer than it may.
pub fn too_slow(limit: Duration) -> ToolboxError {
    let message = format!("request timeout: git took longer than {} s", limit.as_secs());
    ToolboxError::new(StatusCode::REQUEST_TIMEOUT, "REQUEST_TIMEOUT", message)
}

/// 500, as for what one program or one file may take.
pub fn wrote_too_much() -> ToolboxError {
    raw(format!("git may write no more than {} MiB for one request", mib(limits::inside().git_written)))
}

/// 500: the time of processors, not that on the clock.
pub fn computed_too_long() -> ToolboxError {
    raw(format!("git may compute no longer than {} s for one request", limits::inside().git_cpu))
}

fn mib(bytes: usize) -> usize {
    bytes.div_ceil(1 << 20)
}

fn unreachable(message: &str) -> ToolboxError {
    let message = format!("bad gateway: {message}");
    ToolboxError::new(StatusCode::BAD_GATEWAY, "GIT_TRANSPORT_FAILED", message)
}

fn no_repository(message: String) -> ToolboxError {
    ToolboxError::new(StatusCode::NOT_FOUND, "GIT_REPO_NOT_FOUND", message)
}

/// Whether one of the lines has `before`, something, `after`.
fn complains(stderr: &str, before: &str, after: &str) -> bool {
    stderr.lines().any(|line| line.split_once(before).is_some_and(|(_, rest)| rest.contains(after)))
}

fn missing_branch(stderr: &str) -> Option<&str> {
    stderr.lines().find_map(|line| {
        let clone =
            line.strip_prefix("fatal: Remote branch ").and_then(|rest| rest.split_once(" not found in upstream"));
        let fetch = line.strip_prefix("fatal: couldn't find remote ref ").map(|rest| (rest, ""));
        clone.or(fetch).map(|(name, _)| name.strip_prefix("refs/heads/").unwrap_or(name))
    })
}

/// What the remote said itself.
pub fn remote_lines(stderr: &str) -> String {
    let lines: Vec<&str> = stderr.lines().filter_map(|line| line.strip_prefix("remote: ")).map(str::trim).collect();
    cut(lines.join("\n"))
}

/// Git's own words without what surrounds them.
fn complaint(stderr: &str) -> String {
    const NOISE: &[&str] = &[
        "hint:",
        "warning:",
        "Cloning into",
        "remote:",
        "To ",
        "From ",
        "Please make sure",
        "and the repository exists",
    ];
    let words = |line: &'_ str| {
        let line = line.trim_end();
        let noise = line.is_empty() || NOISE.iter().any(|noise| line.starts_with(noise));
        (!noise).then(|| line.trim_start_matches("fatal: ").trim_start_matches("error: ").to_owned())
    };
    let lines: Vec<String> = stderr.lines().filter_map(words).collect();
    if lines.is_empty() { cut(stderr.trim().to_owned()) } else { cut(lines.join("\n")) }
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_MESSAGE {
        text.truncate((0..=MAX_MESSAGE).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(stderr: &str) -> (u16, &'static str, String) {
        let error = of(stderr);
        (error.status.as_u16(), error.code, error.message)
    }

    #[test]
    fn failures_are_told_apart() {
        let cases = [
            (
                "remote: go away\nfatal: Authentication failed for 'http://h/r/'\n",
                (401, "GIT_AUTH_FAILED", "unauthorized: authentication required: go away"),
            ),
            (
                "fatal: could not read Username for 'http://h': terminal prompts disabled\n",
                (401, "GIT_AUTH_FAILED", "unauthorized: authentication required: "),
            ),
            (
                "fatal: unable to access 'http://h/r/': The requested URL returned error: 403\n",
                (403, "FORBIDDEN", "forbidden: authorization failed: "),
            ),
            (
                "fatal: repository 'http://h/r/' not found\n",
                (404, "GIT_REPO_NOT_FOUND", "not found: repository not found: "),
            ),
            (
                "fatal: repository '/nope' does not exist\n",
                (404, "GIT_REPO_NOT_FOUND", "not found: repository not found"),
            ),
            (
                "fatal: not a git repository: '/x/.git'\n",
                (404, "GIT_REPO_NOT_FOUND", "not found: repository does not exist"),
            ),
            (
                "warning: Could not find remote branch zzz to clone.\nfatal: Remote branch zzz not found in upstream origin\n",
                (404, "GIT_BRANCH_NOT_FOUND", "not found: couldn't find remote ref \"refs/heads/zzz\""),
            ),
            (
                "fatal: unable to access 'http://h/': Failed to connect to h port 1 after 0 ms: Couldn't connect to server\n",
                (
                    502,
                    "GIT_TRANSPORT_FAILED",
                    "bad gateway: unable to access 'http://h/': Failed to connect to h port 1 after 0 ms: Couldn't connect to server",
                ),
            ),
            (
                "Cloning into 'x'...\nfatal: transport 'ext' not allowed\n",
                (400, "BAD_REQUEST", "bad request: transport 'ext' not allowed"),
            ),
            ("error: a\nfatal: b\nhint: c\n", (500, "INTERNAL_SERVER_ERROR", "a\nb")),
        ];
        for (stderr, (status, code, message)) in cases {
            assert_eq!(reply(stderr), (status, code, message.to_owned()), "{stderr}");
        }
    }

    #[test]
    fn bounds_are_told_before_what_follows_from_them() {
        let follows = "fatal: early EOF\nfatal: fetch-pack: invalid index-pack output\n";
        for (line, words) in [
            (
                "fatal: Out of memory, malloc failed (tried to allocate 1099511627777 bytes)",
                "no more than 4096 MiB of memory",
            ),
            ("error: unable to write file a/b", "no file of more than 16384 MiB, and the disk may be full"),
            ("fatal: write error: File too large", "no file of more than 16384 MiB"),
            ("error: git died of signal 9", "git was killed"),
        ] {
            let (status, code, message) = reply(&format!("{line}\n{follows}"));
            assert_eq!((status, code), (500, "INTERNAL_SERVER_ERROR"));
            assert!(message.contains(words), "{message}");
        }
        assert_eq!(
            reply(&format!("remote: fatal: Out of memory\nremote: error: x died of signal 9\n{follows}")).0,
            502
        );
    }

    #[test]
    fn long_complaints_are_cut_between_characters() {
        assert!(of(&"é".repeat(5000)).message.len() <= MAX_MESSAGE);
    }
}
