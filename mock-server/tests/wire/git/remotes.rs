//! Remotes, push and pull.

use serde_json::json;

use super::{
    refused,
    server::{GitServer, PASSWORD, USER},
    with_repository,
};
use crate::support::{Toolbox, toolbox};

async fn cloned(server: &GitServer, path: &str) -> Toolbox {
    let tb = toolbox().await;
    let body = json!({"url": server.url(path), "path": "r", "branch": "main", "username": USER, "password": PASSWORD});
    tb.git_ok("clone", body).await;
    tb
}

async fn commit(tb: &Toolbox, file: &str) {
    tb.run(&format!("echo x >>r/{file}")).await;
    tb.git_ok("add", json!({"path": "r", "files": ["."]})).await;
    tb.git_ok("commit", json!({"path": "r", "message": "m", "author": "A", "email": "a@x"})).await;
}

#[tokio::test]
async fn push_and_pull_between_two_sandboxes() {
    let server = GitServer::start().await;
    server.repository("closed/r.git");
    let (one, two) = tokio::join!(cloned(&server, "closed/r.git"), cloned(&server, "closed/r.git"));
    commit(&one, "a.txt").await;
    let status = one.git_get("status?path=r").await;
    assert_eq!(
        (&status["ahead"], &status["behind"], &status["upstream"]),
        (&json!(1), &json!(0), &json!("origin/main"))
    );
    let login = json!({"path": "r", "username": USER, "password": PASSWORD});
    let pushed = one.git("push", login.clone()).await;
    assert_eq!((pushed.status().as_u16(), pushed.content_length()), (200, Some(0)));
    one.git_ok("push", login.clone()).await;
    assert_eq!(one.git_get("status?path=r").await["ahead"], 0);
    // Without credentials, with wrong ones, with half of them.
    for body in [
        json!({"path": "r"}),
        json!({"path": "r", "username": USER, "password": "wrong"}),
        json!({"path": "r", "username": USER}),
    ] {
        let message = refused(one.git("push", body.clone()).await, 401, "GIT_AUTH_FAILED").await;
        assert!(message.starts_with("unauthorized: authentication required: "), "{message}");
        refused(two.git("pull", body).await, 401, "GIT_AUTH_FAILED").await;
    }
    let pulled = two.git("pull", login.clone()).await;
    assert_eq!((pulled.status().as_u16(), pulled.content_length()), (200, Some(0)));
    two.git_ok("pull", login.clone()).await;
    assert_eq!(two.run("git -C r rev-parse HEAD").await, one.run("git -C r rev-parse HEAD").await);

    // Both go on: the second is refused, and can't be pulled into.
    commit(&one, "a.txt").await;
    one.git_ok("push", login.clone()).await;
    commit(&two, "other").await;
    let message = refused(two.git("push", login.clone()).await, 409, "GIT_PUSH_REJECTED").await;
    assert_eq!(message, "conflict: non-fast-forward update: refs/heads/main");
    let message = refused(two.git("pull", login.clone()).await, 409, "GIT_MERGE_CONFLICT").await;
    assert_eq!(message, "conflict: non-fast-forward update");
    two.git_ok("reset", json!({"path": "r", "mode": "hard", "target": "HEAD~1"})).await;
    two.run("echo mine >>r/a.txt").await;
    refused(two.git("pull", login.clone()).await, 409, "GIT_DIRTY_WORKTREE").await;
    two.git_ok("restore", json!({"path": "r", "files": ["a.txt"]})).await;
    two.git_ok("pull", login).await;
}

#[tokio::test]
async fn branches_remotes_and_upstreams() {
    let server = GitServer::start().await;
    server.repository("open/r.git");
    let tb = cloned(&server, "open/r.git").await;
    tb.git_ok("branches", json!({"path": "r", "name": "topic"})).await;
    commit(&tb, "t").await;
    assert_eq!(tb.git_get("status?path=r").await["branchPublished"], false);
    tb.git_ok("push", json!({"path": "r"})).await;
    assert_eq!(server.run("git -C open/r.git log -1 --format=%s topic"), "m");
    assert_eq!(tb.git_get("status?path=r").await["upstream"], "");
    tb.git_ok("push", json!({"path": "r", "remote": "origin", "branch": "topic", "set_upstream": true})).await;
    let status = tb.git_get("status?path=r").await;
    assert_eq!((&status["branchPublished"], &status["upstream"]), (&json!(true), &json!("origin/topic")));
    tb.git_ok("pull", json!({"path": "r", "branch": "main"})).await;
    for (body, code) in [
        (json!({"path": "r", "branch": "nope"}), "GIT_BRANCH_NOT_FOUND"),
        (json!({"path": "r", "remote": "nope"}), "NOT_FOUND"),
    ] {
        refused(tb.git("push", body.clone()).await, 404, code).await;
        refused(tb.git("pull", body).await, 404, code).await;
    }
    refused(tb.git("push", json!({"path": "r", "remote": "--all"})).await, 400, "BAD_REQUEST").await;
    // The remote says no.
    server.run("printf '#!/bin/sh\\necho not on my watch >&2\\nexit 1\\n' >open/r.git/hooks/pre-receive && chmod +x open/r.git/hooks/pre-receive");
    commit(&tb, "t").await;
    let message = refused(tb.git("push", json!({"path": "r"})).await, 422, "GIT_REMOTE_REJECTED").await;
    assert_eq!(message, "unprocessable entity: (pre-receive hook declined): not on my watch");
    // The remote is gone.
    server.run("mv open/r.git open/other.git");
    refused(tb.git("push", json!({"path": "r"})).await, 404, "GIT_REPO_NOT_FOUND").await;
    tb.git_ok("checkout", json!({"path": "r", "branch": tb.run("git -C r rev-parse HEAD").await.trim()})).await;
    refused(tb.git("push", json!({"path": "r"})).await, 400, "BAD_REQUEST").await;
}

#[tokio::test]
async fn nothing_to_push() {
    let tb = with_repository().await;
    let message = refused(tb.git("push", json!({"path": "r"})).await, 404, "NOT_FOUND").await;
    assert_eq!(message, "not found: remote not found");
    refused(tb.git("pull", json!({"path": "r"})).await, 404, "NOT_FOUND").await;
    tb.run("git init -q e && git -C e remote add origin /nowhere").await;
    let message = refused(tb.git("push", json!({"path": "e"})).await, 404, "NOT_FOUND").await;
    assert_eq!(message, "not found: reference not found");
    tb.run("git -C r remote add origin /nowhere").await;
    refused(tb.git("push", json!({"path": "r"})).await, 404, "GIT_REPO_NOT_FOUND").await;
}

#[tokio::test]
async fn remotes_are_added_listed_and_replaced() {
    let server = GitServer::start().await;
    server.repository("closed/r.git");
    let tb = with_repository().await;
    assert_eq!(tb.git_get("remotes?path=r").await, json!({"remotes": []}));
    let encoded = percent_encoding::utf8_percent_encode(PASSWORD, percent_encoding::NON_ALPHANUMERIC).to_string();
    let url = format!("http://ann%40example.com:{encoded}@{}/closed/r.git", server.host());
    let added = tb.git("remotes", json!({"path": "r", "name": "up", "url": url, "fetch": true})).await;
    assert_eq!((added.status().as_u16(), added.content_length()), (201, Some(0)));
    assert_eq!(tb.run("git -C r config remote.up.url").await.trim(), url, "a shell can use it");
    assert_eq!(
        tb.run("git -C r rev-parse --verify -q up/main >/dev/null && git -C r ls-remote up | wc -l").await.trim(),
        "3"
    );
    tb.git_ok("remotes", json!({"path": "r", "name": "a", "url": "git@host:x/y"})).await;
    let shown = format!("http://ann%40example.com@{}/closed/r.git", server.host());
    let expected = json!({"remotes": [{"name": "a", "url": "git@host:x/y"}, {"name": "up", "url": shown}]});
    assert_eq!(tb.git_get("remotes?path=r").await, expected);
    // The URL's own credentials serve for push and pull.
    tb.run("cd r && git checkout -q -B work up/main").await;
    tb.git_ok("push", json!({"path": "r", "remote": "up"})).await;
    tb.git_ok("pull", json!({"path": "r", "remote": "up", "branch": "main"})).await;

    let before = tb.run("cat r/.git/config").await;
    refused(tb.git("remotes", json!({"path": "r", "name": "up", "url": "/x"})).await, 409, "CONFLICT").await;
    let gone = json!({"path": "r", "name": "up", "url": "/x", "overwrite": true, "fetch": true});
    refused(tb.git("remotes", gone).await, 404, "GIT_REPO_NOT_FOUND").await;
    assert_eq!(tb.run("cat r/.git/config").await, before);
    let kept = "git -C r rev-parse up/main && git -C r ls-remote up refs/heads/main | cut -f1";
    let kept = tb.run(kept).await;
    let [known, there] = kept.lines().collect::<Vec<_>>()[..] else { panic!("{kept}") };
    assert_eq!(known, there);
    tb.git_ok("remotes", json!({"path": "r", "name": "up", "url": "/x", "overwrite": true})).await;
    assert_eq!(tb.run("git -C r config remote.up.url").await, "/x\n");
    for name in ["-x", "a b", "a..b"] {
        let status = tb.git("remotes", json!({"path": "r", "name": name, "url": "/x"})).await.status();
        assert!(status == 400 || status == 500, "{name}: {status}");
    }
}

#[tokio::test]
async fn stored_credentials_are_used() {
    let server = GitServer::start().await;
    server.repository("closed/r.git");
    let tb = toolbox().await;
    let stored = tb
        .git("credentials", json!({"username": USER, "password": PASSWORD, "host": server.host(), "protocol": "http"}))
        .await;
    assert_eq!((stored.status().as_u16(), stored.content_length()), (200, Some(0)));
    tb.git_ok("clone", json!({"url": server.url("closed/r.git"), "path": "r"})).await;
    tb.run(&format!("git clone -q {} by-hand", server.url("closed/r.git"))).await;
    assert_eq!(tb.run("git config --global credential.helper; stat -c %a ~/.git-credentials").await, "store\n600\n");
    tb.git_ok("credentials", json!({"username": "u", "password": "-p"})).await;
    assert!(tb.run("cat ~/.git-credentials").await.contains("https://u:-p@github.com\n"));
    for host in ["a\nhost=b", "x\u{0}"] {
        refused(
            tb.git("credentials", json!({"username": "u", "password": "p", "host": host})).await,
            400,
            "BAD_REQUEST",
        )
        .await;
    }
}

/// Each pull merges what it fetched itself, whatever is fetched at the same time.
#[tokio::test]
async fn pulls_at_the_same_time_do_not_mix() {
    let server = GitServer::start().await;
    server.repository("open/r.git");
    let tb = cloned(&server, "open/r.git").await;
    // `main` has nothing new; `apart` has nothing in common.
    server.run(
        "cd open/r.git && git config user.name S && git config user.email s@x &&
        git update-ref refs/heads/apart $(git commit-tree main^{tree} -m apart)",
    );
    let before = tb.run("git -C r rev-parse HEAD").await;
    let pull = async |branch: &str| tb.git("pull", json!({"path": "r", "branch": branch})).await.status().as_u16();
    let pairs = (0..8).map(|_| async { tokio::join!(pull("main"), pull("apart")) });
    let answers = futures_util::future::join_all(pairs).await;
    assert_eq!(answers, [(200, 409); 8]);
    assert_eq!(tb.run("git -C r rev-parse HEAD").await, before);
    assert_eq!(tb.run("git -C r for-each-ref refs/daytona").await, "");
}
