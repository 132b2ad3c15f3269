//! `GET /git/status`.

use axum::{extract::State, response::IntoResponse};
use serde::Serialize;

use super::{Params, command::Call, repository::Repository};
use crate::toolbox::{Ctx, ToolboxError, json::GoJson};

/// `GitStatus` of the contract.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct GitStatus {
    /// `HEAD` when detached (observed).
    current_branch: String,
    file_status: Vec<FileStatus>,
    /// There is an upstream, and it was fetched or pushed to.
    branch_published: bool,
    ahead: u64,
    behind: u64,
    detached: bool,
    /// `origin/main`; empty without one.
    upstream: String,
}

/// `FileStatus` of the contract: a file that isn't as in HEAD.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct FileStatus {
    name: String,
    /// The name before, of what was renamed or copied.
    extra: String,
    staging: &'static str,
    worktree: &'static str,
}

/// `GetStatus`: 200; 404 for no repository and for one without commits (observed).
pub async fn status(State(ctx): State<Ctx>, params: Params) -> Result<impl IntoResponse, ToolboxError> {
    let path = super::path(&params)?;
    Call::run(ctx, async move |call| {
        let repository = Repository::open(&call.ctx, &path).await?;
        // Without the optional lock, polling doesn't disturb whoever commits at the same time.
        let command = ["--no-optional-locks", "-c", "status.renames=copies", "status", "--porcelain=v2", "-z"];
        let options = ["--branch", "--untracked-files=all", "--ignore-submodules=dirty"];
        let output = call.git(command).args(options).at(&repository).text().await?;
        parse(&output).map(GoJson)
    })
    .await
}

fn parse(output: &[u8]) -> Result<GitStatus, ToolboxError> {
    let mut status = GitStatus::default();
    let mut lines = output.split(|&byte| byte == 0).map(String::from_utf8_lossy);
    while let Some(line) = lines.next() {
        let Some((kind, rest)) = line.split_once(' ') else { continue };
        match kind {
            "#" => status.header(rest)?,
            "?" => status.file(rest, "", "Untracked", "Untracked"),
            "u" => {
                let name = rest.splitn(10, ' ').nth(9).unwrap_or_default();
                status.file(name, "", "Updated but unmerged", "Updated but unmerged");
            }
            "1" => status.changed(rest, 7, ""),
            // The old name is a record of its own.
            "2" => status.changed(rest, 8, &lines.next().unwrap_or_default()),
            _ => {}
        }
    }
    Ok(status)
}

impl GitStatus {
    fn header(&mut self, header: &str) -> Result<(), ToolboxError> {
        match header.split_once(' ') {
            Some(("branch.oid", "(initial)")) => return Err(ToolboxError::not_found("reference not found")),
            Some(("branch.head", "(detached)")) => {
                self.detached = true;
                self.current_branch = "HEAD".into();
            }
            Some(("branch.head", name)) => self.current_branch = name.into(),
            Some(("branch.upstream", name)) => self.upstream = name.into(),
            Some(("branch.ab", counts)) => {
                self.branch_published = true;
                let count = |text: Option<&str>| text.and_then(|text| text.get(1..)?.parse().ok()).unwrap_or_default();
                let mut counts = counts.split(' ');
                (self.ahead, self.behind) = (count(counts.next()), count(counts.next()));
            }
            _ => {}
        }
        Ok(())
    }

    /// `XY`, `fields` - 1 more fields, then the name, which may contain spaces.
    fn changed(&mut self, record: &str, fields: usize, extra: &str) {
        let mut parts = record.splitn(fields + 1, ' ');
        let letters = parts.next().unwrap_or_default().as_bytes();
        let (Some(&staging), Some(&worktree), Some(name)) = (letters.first(), letters.get(1), parts.last()) else {
            return;
        };
        self.file(name, extra, word(staging), word(worktree));
    }

    fn file(&mut self, name: &str, extra: &str, staging: &'static str, worktree: &'static str) {
        self.file_status.push(FileStatus { name: name.into(), extra: extra.into(), staging, worktree });
    }
}

/// `Status` of the contract.
fn word(letter: u8) -> &'static str {
    match letter {
        b'A' => "Added",
        b'D' => "Deleted",
        b'R' => "Renamed",
        b'C' => "Copied",
        b'U' => "Updated but unmerged",
        // What was a file is a link now, or the other way round.
        b'M' | b'T' => "Modified",
        _ => "Unmodified",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(lines: &[&str]) -> GitStatus {
        parse(lines.join("\0").as_bytes()).expect("a status")
    }

    #[test]
    fn reads_what_git_writes() {
        let hashes = "100644 100644 100644 e69de29 e69de29";
        let status = parsed(&[
            "# branch.oid 1234",
            "# branch.head a b",
            "# branch.upstream origin/a",
            "# branch.ab +2 -1",
            &format!("1 .M N... {hashes} with two spaces"),
            &format!("1 D. N... {hashes} d"),
            &format!("2 R. N... {hashes} R100 new name"),
            "old name",
            "u UU N... 100644 100644 100644 100644 a b c conflicted file",
            "? ü",
            "",
        ]);
        let files: Vec<_> = status.file_status.iter().map(|f| (&*f.name, &*f.extra, f.staging, f.worktree)).collect();
        let unmerged = "Updated but unmerged";
        let expected = [
            ("with two spaces", "", "Unmodified", "Modified"),
            ("d", "", "Deleted", "Unmodified"),
            ("new name", "old name", "Renamed", "Unmodified"),
            ("conflicted file", "", unmerged, unmerged),
            ("ü", "", "Untracked", "Untracked"),
        ];
        assert_eq!(files, expected);
        assert_eq!((status.ahead, status.behind, status.branch_published), (2, 1, true));
        assert_eq!((&*status.current_branch, &*status.upstream, status.detached), ("a b", "origin/a", false));
    }

    #[test]
    fn detached_and_empty() {
        let status = parsed(&["# branch.oid 1", "# branch.head (detached)", ""]);
        assert_eq!((&*status.current_branch, status.detached, status.branch_published), ("HEAD", true, false));
        assert!(parse(b"# branch.oid (initial)\0# branch.head main\0").is_err());
    }

    proptest! {
        #[test]
        fn nothing_panics(lines in prop::collection::vec("[#?u12] \\PC{0,40}|# branch\\.ab \\PC{0,9}", 0..9)) {
            _ = parse(lines.join("\0").as_bytes());
        }
    }
}
