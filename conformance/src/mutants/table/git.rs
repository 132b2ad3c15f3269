//! Git.

use super::prelude::*;

pub(super) const MUTANTS: &[Mutant] = &[
    answer("git/branch-renamed", "the current branch is called `branch`", &["GetStatus"], |_, a| {
        a.edit(|v| rename(v, "/currentBranch", "branch"));
    }),
    answer("git/states-swapped", "a file's states in index and work tree are exchanged", &["GetStatus"], |_, a| {
        a.edit(|v| each(v, "/fileStatus", |file| swap(file, "staging", "worktree")));
    }),
    answer_in(
        "git/never-ahead",
        "a branch is never ahead",
        &["GetStatus"],
        &["git/pull_and_push_keep_in_step"],
        |_, a| a.edit(|v| set(v, "/ahead", 0)),
    ),
    answer("git/untracked-left-out", "the status leaves out the last file", &["GetStatus"], |_, a| {
        a.edit(|v| list(v, "/fileStatus", |files| drop(files.pop())));
    }),
    stale("git/branches-are-stale", "the list of branches never changes", &["ListBranches"]),
    answer("git/created-with-200", "a new branch is 200", &["CreateBranch"], |_, a| a.restatus(201, 200)),
    ignored_in(
        "git/checkout-does-nothing",
        "a checkout is answered and not done",
        &["CheckoutBranch"],
        &["git/branches_come_and_go"],
        200,
        "",
    ),
    answer("git/double-branch-is-400", "a branch that is there is 400", &["CreateBranch"], |_, a| a.restatus(409, 400)),
    request("git/clone-ignores-the-branch", "`branch` of a clone is ignored", &["CloneRepository"], |q| {
        q.edit(|v| drop(remove(v, "/branch")));
    }),
    answer("git/clone-over-is-400", "a clone over a repository is 400", &["CloneRepository"], |_, a| {
        a.restatus(409, 400)
    }),
    ignored_in(
        "git/push-does-nothing",
        "a push is answered and not done",
        &["PushChanges"],
        &["git/pull_and_push_keep_in_step", "git/first_commit_is_pushed"],
        200,
        "",
    ),
    answer("git/rejected-push-is-500", "a push that is rejected is 500", &["PushChanges"], |_, a| a.restatus(409, 500)),
    ignored_in(
        "git/pull-does-nothing",
        "a pull is answered and not done",
        &["PullChanges"],
        &["git/pull_and_push_keep_in_step"],
        200,
        "",
    ),
    request("git/reset-is-soft", "every reset leaves the files", &["ResetChanges"], |q| {
        q.edit(|v| {
            if v["mode"] == "hard" {
                set(v, "/mode", "soft");
            }
        });
    }),
    ignored_in(
        "git/restore-does-nothing",
        "a restore is answered and not done",
        &["RestoreFiles"],
        &["git/reset_and_restore"],
        200,
        "",
    ),
    request("git/configuration-is-global", "configuration has one scope", &["SetGitConfig"], |q| {
        q.edit(|v| set(v, "/scope", "global"));
    }),
    request("git/author-lost", "a commit's author is ignored", &["CommitChanges"], |q| {
        q.edit(|v| set(v, "/author", "Nobody"));
    }),
    answer("git/hash-cut", "hashes are cut to seven digits", &["CommitChanges"], |_, a| {
        a.edit(|v| string(v, "/hash", |hash| hash.chars().take(7).collect()));
    }),
    answer("git/password-shown", "remotes are told with their passwords", &["ListRemotes"], |_, a| {
        a.edit(|v| {
            each(v, "/remotes", |remote| {
                string(remote, "/url", |url| url.replacen("://", "://ada:pa55-w0rd-of-the-suite@", 1))
            })
        });
    }),
    answer(
        "git/no-repository-is-500",
        "where there is no repository is 500",
        &["GetStatus", "ListBranches"],
        |_, a| {
            a.restatus(404, 500);
        },
    ),
    answer("git/init-with-200", "a new repository is 200", &["InitRepository"], |_, a| a.restatus(201, 200)),
    ignored_in(
        "git/nothing-added",
        "adding is answered and not done",
        &["AddFiles"],
        &["git/first_commit_is_pushed"],
        200,
        "",
    ),
    answer_in(
        "git/history-with-other-hashes",
        "a commit in the history has another hash",
        &["GetCommitHistory"],
        &["git/first_commit_is_pushed"],
        |_, a| a.edit(|v| each(v, "", |commit| set(commit, "/hash", "0".repeat(40)))),
    ),
    request("git/remote-renamed", "every remote is called `upstream`", &["AddRemote"], |q| {
        q.edit(|v| set(v, "/name", "upstream"));
    }),
    ignored_in(
        "git/branch-stays",
        "a deleted branch is still there",
        &["DeleteBranch"],
        &["git/branches_come_and_go"],
        204,
        "",
    ),
    answer("git/unset-is-empty", "what isn't set is empty instead of null", &["GetGitConfig"], |_, a| {
        a.edit(|v| {
            if v["value"].is_null() {
                put(v, "value", "");
            }
        });
    }),
    answer("git/password-echoed", "credentials come back in the answer", &["Authenticate"], |_, a| {
        a.text(|_| r#"{"password":"pa55-w0rd-of-the-suite"}"#.to_owned());
    }),
    answer("git/user-with-204", "setting the user is 204", &["ConfigureUser"], |_, a| a.restatus(200, 204)),
];
