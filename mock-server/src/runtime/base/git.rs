//! `--git-mirrors`: `https://` remotes that exist as bare repositories below a host directory resolve to it, offline.
//!
//! Git's own rules compare beginnings of URLs, so one that has credentials in front of its host can't be matched without
//! knowing them: such remotes resolve in the toolbox's git operations only, which take credentials out first.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use super::{Bind, GIT_MIRRORS, at};
use crate::runtime::RuntimeError;

/// Where sandboxes see the generated rules. `/etc/gitconfig` of every base includes it; git ignores it when it is missing.
pub(super) const RULES: &str = "/srv/git-mirrors.config";

/// Appended to a base's system configuration.
pub(super) const INCLUDE: &str = "\n[include]\n\tpath = /srv/git-mirrors.config\n";

const MAX_MIRRORS: usize = 10_000;
/// Above this many, see [`shield_longer_names`], the rules would slow every git command down.
const MAX_SHIELDED: usize = 100;
/// Up to so many, URLs with `:443` are known, too: that doubles the rules.
const MAX_SPELLED: usize = MAX_SHIELDED / 2;

/// Writes the rules for what is in `mirrors` now and returns the binds that show both to sandboxes.
pub(super) fn binds(mirrors: &Path, data_dir: &Path) -> Result<Vec<Bind>, RuntimeError> {
    let mirrors = fs::canonicalize(mirrors).map_err(at("--git-mirrors: cannot read", mirrors))?;
    let rules = data_dir.join("git-mirrors.config");
    // In place: a bind mount keeps showing the file that it was made of.
    fs::write(&rules, config_for(&find_mirrors(&mirrors))).map_err(at("cannot write", &rules))?;
    let bind = |source: PathBuf, target: &str| Bind { source, target: target.into(), read_only: true };
    Ok(vec![bind(mirrors, GIT_MIRRORS), bind(rules, RULES)])
}

/// `<host>/<owner>/<repo>` of every `<host>/<owner>/<repo>.git` below `mirrors`; owners may be nested (GitLab groups).
fn find_mirrors(mirrors: &Path) -> Vec<String> {
    let repository = |path: &Path| path.extension().is_some_and(|e| e == "git") && path.join("HEAD").is_file();
    let mut walk = walkdir::WalkDir::new(mirrors).follow_links(true).min_depth(1).max_depth(8).into_iter();
    let mut found = Vec::new();
    while let Some(entry) = walk.next() {
        let Ok(entry) = entry else { continue };
        if !entry.file_type().is_dir() || !repository(entry.path()) {
            continue;
        }
        walk.skip_current_dir();
        let name = entry.path().strip_prefix(mirrors).ok().and_then(Path::to_str).and_then(|p| p.strip_suffix(".git"));
        // Quoting rules of git's configuration are not worth a mirror that is called so.
        if let Some(name) = name.filter(|n| n.contains('/') && !n.contains(['"', '\\', '\n', '#', ';', '\0'])) {
            found.push(name.to_owned());
        }
        if found.len() == MAX_MIRRORS {
            break;
        }
    }
    found.sort();
    found
}

fn config_for(mirrors: &[String]) -> String {
    let mut text = String::from("# Generated at start from --git-mirrors.\n");
    for name in mirrors {
        let path = format!("{GIT_MIRRORS}/{name}.git");
        // The owner of the mirrors is nobody here; git would refuse to serve from them.
        let _ = writeln!(text, "[safe]\n\tdirectory = {path}");
        let _ = writeln!(text, "[url \"file://{path}\"]");
        let names = if mirrors.len() <= MAX_SPELLED { spellings(name) } else { vec![name.to_owned()] };
        for name in &names {
            for suffix in ["", ".git"] {
                let _ = writeln!(text, "\tinsteadOf = https://{name}{suffix}");
            }
        }
        if mirrors.len() <= MAX_SHIELDED {
            names.iter().for_each(|name| shield_longer_names(name, &mut text));
        }
    }
    text
}

/// The port that `https` has may be written.
fn spellings(name: &str) -> Vec<String> {
    let with_port = name.split_once('/').filter(|(host, _)| !host.contains(':'));
    let with_port = with_port.map(|(host, rest)| format!("{host}:443/{rest}"));
    [name.to_owned()].into_iter().chain(with_port).collect()
}

/// `insteadOf` is a prefix, so `https://h/o/repo` would catch `https://h/o/repo-docs` as well. The longest prefix wins:
/// each name that goes on after `repo` is rewritten to itself.
fn shield_longer_names(name: &str, text: &mut String) {
    for next in ('a'..='z').chain('A'..='Z').chain('0'..='9').chain(['-', '_', '.']) {
        let longer = format!("https://{name}{next}");
        let _ = writeln!(text, "[url \"{longer}\"]\n\tinsteadOf = {longer}");
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn remotes_resolve_with_and_without_suffix_and_longer_names_are_left_alone() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for name in ["github.com/o/repo.git", "gitlab.com/g/sub/deep.git"] {
            fs::create_dir_all(dir.path().join(name)).expect("a mirror");
            fs::write(dir.path().join(name).join("HEAD"), "ref: refs/heads/main\n").expect("its HEAD");
        }
        fs::create_dir_all(dir.path().join("github.com/o/not-a-mirror")).expect("a directory");
        let names = find_mirrors(dir.path());
        assert_eq!(names, ["github.com/o/repo", "gitlab.com/g/sub/deep"]);
        let rules = dir.path().join("rules");
        fs::write(&rules, config_for(&names)).expect("the rules");
        let resolved = |url: &str| {
            let git =
                Command::new("git").args(["ls-remote", "--get-url", url]).env("GIT_CONFIG_SYSTEM", &rules).output();
            String::from_utf8_lossy(&git.expect("git runs").stdout).trim().to_owned()
        };
        let mirror = format!("file://{GIT_MIRRORS}/github.com/o/repo.git");
        assert_eq!(resolved("https://github.com/o/repo"), mirror);
        assert_eq!(resolved("https://github.com/o/repo.git"), mirror);
        assert_eq!(resolved("https://github.com:443/o/repo.git"), mirror);
        assert_eq!(
            resolved("https://gitlab.com/g/sub/deep"),
            format!("file://{GIT_MIRRORS}/gitlab.com/g/sub/deep.git")
        );
        for other in [
            "https://github.com:443/o/repo-docs",
            "https://github.com:8443/o/repo",
            "https://github.com/o/repo-docs",
            "https://github.com/o/repo.js.git",
            "https://github.com/o/rep",
        ] {
            assert_eq!(resolved(other), other);
        }
    }
}
