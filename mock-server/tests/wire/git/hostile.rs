//! Repositories, remotes and clients that mean no good.

use serde_json::json;

use super::{
    refused,
    server::{GitServer, PASSWORD, USER},
    with_repository,
};
use crate::support::{eventually, toolbox};

/// What a clone may read shows in no process list: neither arguments nor variables.
#[tokio::test]
async fn credentials_are_in_no_process_list() {
    let server = GitServer::start().await;
    let tb = toolbox().await;
    let url = format!("http://user:s3cretword@{}/silent/r.git", server.host());
    let clone = tb.git("clone", json!({"url": url, "path": "r", "username": "user", "password": "s3cretword"}));
    let look = async {
        let script =
            "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep -v /proc/ | sort -u";
        eventually("git asks", async || tb.run(script).await.contains("remote-http").then_some(())).await;
        tb.run(script).await
    };
    let seen = tokio::select! {
        seen = look => seen,
        answer = clone => panic!("{}", answer.status()),
    };
    assert!(!seen.contains("s3cretword"), "{seen}");
    // The client has gone: so has git, and what it made.
    eventually("git ends", async || tb.run("pgrep -c git || true").await.starts_with('0').then_some(())).await;
    eventually("it is tidied up", async || tb.run("ls").await.is_empty().then_some(())).await;
}

#[tokio::test]
async fn credentials_go_nowhere_else() {
    let server = GitServer::start().await;
    server.repository("closed/r.git");
    let tb = toolbox().await;
    let body = json!({"url": server.url("moved/r.git"), "path": "r", "username": USER, "password": PASSWORD});
    refused(tb.git("clone", body).await, 401, "GIT_AUTH_FAILED").await;
}

#[tokio::test]
async fn nothing_that_a_repository_brings_is_run() {
    let tb = with_repository().await;
    tb.run(
        "cd r && mkdir -p hooks && for h in pre-commit commit-msg post-commit post-checkout pre-push post-merge post-index-change reference-transaction; do
           printf '#!/bin/sh\\necho $0 >>/tmp/ran\\nexit 1\\n' >.git/hooks/$h; chmod +x .git/hooks/$h; done &&
         cp .git/hooks/* hooks/ && git config core.hooksPath hooks && printf '#!/bin/sh\\necho evil >>/tmp/ran\\nsleep 1000\\n' >evil && chmod +x evil &&
         for key in core.fsmonitor core.sshCommand core.pager core.editor core.askPass gpg.program diff.external; do git config $key $PWD/evil; done &&
         git config commit.gpgSign true && git config log.showSignature true && git config alias.status '!./evil'",
    )
    .await;
    tb.git_get("status?path=r").await;
    tb.git_ok("add", json!({"path": "r", "files": ["."]})).await;
    tb.git_ok("commit", json!({"path": "r", "message": "m", "author": "A", "email": "a@x"})).await;
    tb.git_ok("branches", json!({"path": "r", "name": "b"})).await;
    tb.git_ok("checkout", json!({"path": "r", "branch": "main"})).await;
    tb.git_get("history?path=r").await;
    tb.git_ok("reset", json!({"path": "r", "mode": "hard", "target": "HEAD~1"})).await;
    tb.git_ok("remotes", json!({"path": "r", "name": "ssh", "url": "ssh://127.0.0.1:1/x"})).await;
    let status = tb.git("push", json!({"path": "r", "remote": "ssh"})).await.status();
    assert_ne!(status, 200);
    assert_eq!(tb.run("cat /tmp/ran 2>/dev/null || echo nothing").await, "nothing\n");
}

#[tokio::test]
async fn links_and_submodules_stay_where_they_are() {
    let server = GitServer::start().await;
    server.repository("open/sub.git");
    // A link out of the tree, something behind it, and a submodule with a program for an address.
    server.run(
        "git init -q -b main w && cd w && git config user.name S && git config user.email s@x && ln -s /tmp out &&
         printf '[submodule \"s\"]\\n\\tpath = s\\n\\turl = ext::sh -c touch%% /tmp/pwned\\n' >.gitmodules &&
         git add . && git update-index --add --cacheinfo 160000,$(git -C ../open/sub.git rev-parse main),s && git commit -qm x &&
         mkdir -p ../open && git clone -q --bare . ../open/evil.git && cd .. && rm -rf w &&
         cd open/evil.git && blob=$(echo bad | git hash-object -w --stdin) &&
         tree=$(printf '100644 blob %s\\tpwned\\n' $blob | git mktree) && link=$(printf /tmp | git hash-object -w --stdin) &&
         both=$(printf '120000 blob %s\\ta\\n040000 tree %s\\tb\\n' $link $tree | git mktree) && git tag -f keep $both",
    );
    let tb = toolbox().await;
    tb.git_ok("clone", json!({"url": server.url("open/evil.git"), "path": "r"})).await;
    assert_eq!(tb.run("ls /tmp; readlink r/out; ls -A r/s").await, "/tmp\n");
    tb.run("echo y >r/out/there; rm -rf r/s").await;
    tb.git_get("status?path=r").await;
    refused(tb.git("add", json!({"path": "r", "files": ["out/there"]})).await, 500, "INTERNAL_SERVER_ERROR").await;
}

/// Entries that git itself never makes: they are refused, and what was checked out before them is gone again.
#[tokio::test]
async fn paths_that_lead_out_are_not_checked_out() {
    let server = GitServer::start().await;
    server.run(
        "git init -q --bare -b main open/r.git && cd open/r.git && git config user.name S && git config user.email s@x &&
         blob=$(printf '#!/bin/sh\\ntouch /tmp/ran\\n' | git hash-object -w --stdin) && link=$(printf /tmp | git hash-object -w --stdin) &&
         tree() { printf \"$@\" | git mktree; } && in=$(tree '100755 blob %s\\tpwned\\n' $blob) && hooks=$(tree '100755 blob %s\\tpost-checkout\\n' $blob) &&
         branch() { git update-ref refs/heads/$1 $(git commit-tree $2 -m $1); } && first=\"100644 blob $blob\\tA\\n\" &&
         branch up $(tree \"$first\"'040000 tree %s\\t..\\n' $in) &&
         branch git $(tree \"$first\"'040000 tree %s\\t.git\\n' $(tree '040000 tree %s\\thooks\\n' $hooks)) &&
         branch case $(tree \"$first\"'100644 blob %s\\t.git\\n' $blob) &&
         branch twice $(tree '120000 blob %s\\ta\\n040000 tree %s\\ta\\n' $link $in)",
    );
    let tb = toolbox().await;
    for branch in ["up", "git", "case"] {
        let body = json!({"url": server.url("open/r.git"), "path": "deep/r", "branch": branch});
        let message = refused(tb.git("clone", body).await, 500, "INTERNAL_SERVER_ERROR").await;
        assert!(message.contains("invalid path"), "{branch}: {message}");
        assert_eq!(tb.run("ls; ls /tmp").await, "", "{branch}");
    }
    // A link and a directory of one name: whichever wins, nothing is written through the link.
    tb.git("clone", json!({"url": server.url("open/r.git"), "path": "r", "branch": "twice"})).await;
    assert_eq!(tb.run("ls /tmp").await, "");
}

#[tokio::test]
async fn a_broken_repository_is_an_error() {
    let tb = with_repository().await;
    tb.run("cp -r r broken && find broken/.git/objects -type f -exec sh -c 'chmod u+w $1 && echo x >$1' _ {} ';'")
        .await;
    for path in ["/git/history?path=broken", "/git/status?path=broken"] {
        let status = tb.get(path).await.status().as_u16();
        assert!([404, 500].contains(&status), "{status}");
    }
    tb.run("mkdir -p fake/.git loop && echo 'gitdir: ../loop/.git' >loop/.git").await;
    for path in ["fake", "loop"] {
        refused(tb.get(&format!("/git/status?path={path}")).await, 404, "GIT_REPO_NOT_FOUND").await;
    }
    tb.run("mkfifo r/fifo && cd r && rm a && mkfifo a").await;
    tb.git_get("status?path=r").await;
    tb.run("rm r/.git/HEAD && mkfifo r/.git/HEAD").await;
    let waits = tokio::time::timeout(std::time::Duration::from_millis(300), tb.get("/git/status?path=r"));
    assert!(waits.await.is_err(), "it waits for the FIFO");
    eventually("git ends with its client", async || {
        tb.run("pgrep -c git || true").await.starts_with('0').then_some(())
    })
    .await;
}
