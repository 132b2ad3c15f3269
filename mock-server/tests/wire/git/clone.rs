use serde_json::json;

use super::{
    refused,
    server::{GitServer, PASSWORD, USER},
};
use crate::support::toolbox;

#[tokio::test]
async fn a_clone_is_one_branch_with_its_upstream() {
    let server = GitServer::start().await;
    server.repository("open/r.git");
    let tb = toolbox().await;
    let made = tb.git("clone", json!({"url": server.url("open/r.git"), "path": "deep/r"})).await;
    assert_eq!((made.status().as_u16(), made.content_length()), (200, Some(0)));
    let status = tb.git_get("status?path=deep/r").await;
    assert_eq!(
        status,
        json!({"currentBranch": "main", "fileStatus": [], "branchPublished": true, "ahead": 0, "behind": 0, "detached": false, "upstream": "origin/main"})
    );
    assert_eq!(tb.run("cat deep/r/dir/b.txt; git -C deep/r branch -a | grep -c feature || true").await, "two\n0\n");
    tb.git_ok("clone", json!({"url": server.url("open/r.git"), "path": "f", "branch": "feature"})).await;
    assert_eq!(tb.git_get("branches?path=f").await, json!({"branches": ["feature"], "current": "feature"}));
    tb.git_ok("clone", json!({"url": server.url("open/r.git"), "path": "s", "depth": 1})).await;
    assert_eq!(tb.git_get("history?path=s").await.as_array().expect("a list").len(), 1);
    refused(
        tb.git("clone", json!({"url": server.url("open/r.git"), "path": "x", "depth": -1})).await,
        400,
        "BAD_REQUEST",
    )
    .await;

    let message =
        refused(tb.git("clone", json!({"url": server.url("open/r.git"), "path": "f"})).await, 409, "CONFLICT").await;
    assert_eq!(message, "conflict: repository already exists");
    tb.run("mkdir full && echo mine >full/mine && echo old >full/a.txt && mkdir empty").await;
    for path in ["full", "empty"] {
        tb.git_ok("clone", json!({"url": server.url("open/r.git"), "path": path})).await;
    }
    assert_eq!(tb.states("full").await, ["mine Untracked Untracked"]);
    assert_eq!(tb.run("ls -A full").await, ".git\na.txt\ndir\nmine\n");
    // From one directory to another.
    tb.git_ok("clone", json!({"url": "full", "path": "again"})).await;
    tb.git_ok("clone", json!({"url": "file:///home/daytona/again", "path": "again2", "branch": "main"})).await;
}

#[tokio::test]
async fn a_commit_is_checked_out_detached() {
    let server = GitServer::start().await;
    server.repository("open/r.git");
    let commit = server.run("git -C open/r.git rev-parse main~1");
    let tb = toolbox().await;
    tb.git_ok("clone", json!({"url": server.url("open/r.git"), "path": "r", "commit_id": commit})).await;
    let status = tb.git_get("status?path=r").await;
    assert_eq!((&status["currentBranch"], &status["detached"]), (&json!("HEAD"), &json!(true)));
    assert_eq!(tb.run("cat r/a.txt").await, "one\n");
    for (path, commit) in [("k1", "0123456789012345678901234567890123456789"), ("k2", &commit[..7]), ("k3", "-x")] {
        let answer = tb.git("clone", json!({"url": server.url("open/r.git"), "path": path, "commit_id": commit})).await;
        assert_eq!(refused(answer, 404, "NOT_FOUND").await, "not found: object not found");
        assert!(tb.states(path).await.is_empty(), "the clone is kept");
    }
}

#[tokio::test]
async fn refusals_leave_nothing() {
    let server = GitServer::start().await;
    server.repository("open/r.git");
    server.repository("closed/r.git");
    server.run("git init -q --bare open/empty.git; mkdir open/plain");
    let tb = toolbox().await;
    tb.run("mkdir kept full && echo x >full/x").await;
    let url = |path: &str| server.url(path);
    let closed = format!("http://127.0.0.1:1/{}", "r.git");
    let cases = [
        (json!({"url": url("closed/r.git")}), 401, "GIT_AUTH_FAILED", "unauthorized: authentication required: "),
        (
            json!({"url": url("closed/r.git"), "username": USER, "password": "no"}),
            401,
            "GIT_AUTH_FAILED",
            "unauthorized: authentication required: who are you?",
        ),
        (json!({"url": url("forbidden/r.git")}), 403, "FORBIDDEN", "forbidden: authorization failed: "),
        (json!({"url": url("open/nope.git")}), 404, "GIT_REPO_NOT_FOUND", "not found: repository not found: "),
        (json!({"url": "/nowhere"}), 404, "GIT_REPO_NOT_FOUND", "not found: repository not found"),
        (json!({"url": "github.com/x/y"}), 404, "GIT_REPO_NOT_FOUND", "not found: repository not found"),
        (json!({"url": url("open/empty.git")}), 404, "NOT_FOUND", "not found: remote repository is empty"),
        (
            json!({"url": url("open/r.git"), "branch": "zzz"}),
            404,
            "GIT_BRANCH_NOT_FOUND",
            "not found: couldn't find remote ref \"refs/heads/zzz\"",
        ),
        (json!({"url": url("broken/r.git")}), 502, "GIT_TRANSPORT_FAILED", "bad gateway: "),
        (json!({"url": closed}), 502, "GIT_TRANSPORT_FAILED", "bad gateway: "),
        (json!({"url": "https://no.such.host.invalid/r"}), 502, "GIT_TRANSPORT_FAILED", "bad gateway: "),
        (json!({"url": "ext::sh -c 'touch /tmp/pwned'"}), 400, "BAD_REQUEST", "bad request: "),
        (json!({"url": "--upload-pack=touch /tmp/pwned"}), 400, "BAD_REQUEST", "bad request: invalid repository URL"),
        (json!({"url": "http://a\nb/"}), 400, "BAD_REQUEST", "bad request: invalid repository URL"),
        (json!({"url": url("open/r.git"), "branch": "--x"}), 400, "BAD_REQUEST", "bad request: invalid branch name"),
    ];
    for (mut body, status, code, begin) in cases {
        for path in ["new/deep", "kept", "full"] {
            body["path"] = json!(path);
            let message = refused(tb.git("clone", body.clone()).await, status, code).await;
            assert!(message.starts_with(begin), "{body}: {message}");
        }
    }
    assert_eq!(
        tb.run("ls -A . kept full | grep -v 'bash\\|profile\\|npmrc\\|^.local'").await,
        ".:\nfull\nkept\n\nfull:\nx\n\nkept:\n"
    );
    assert_eq!(tb.run("ls /tmp").await, "");
    tb.run("echo x >file").await;
    refused(tb.git("clone", json!({"url": url("open/r.git"), "path": "file"})).await, 500, "INTERNAL_SERVER_ERROR")
        .await;
}

#[tokio::test]
async fn credentials_in_the_url() {
    let server = GitServer::start().await;
    server.repository("closed/r.git");
    let tb = toolbox().await;
    let encoded = percent_encoding::utf8_percent_encode(PASSWORD, percent_encoding::NON_ALPHANUMERIC).to_string();
    let url = format!("http://ann%40example.com:{encoded}@{}/closed/r.git", server.host());
    for path in ["r", "with space/r"] {
        tb.git_ok("clone", json!({"url": url, "path": path})).await;
        tb.git_ok("pull", json!({"path": path})).await;
        assert_eq!(tb.run(&format!("cd '{path}' && git pull -q && git config remote.origin.url")).await.trim(), url);
    }
    // Those of the request win.
    let wrong = url.replace(&encoded, "wrong");
    tb.git_ok("clone", json!({"url": wrong, "path": "w", "username": USER, "password": PASSWORD})).await;
    refused(tb.git("clone", json!({"url": wrong, "path": "w2"})).await, 401, "GIT_AUTH_FAILED").await;
}

#[tokio::test]
async fn certificates_count_unless_the_request_says_otherwise() {
    let server = GitServer::start_tls().await;
    server.repository("closed/r.git");
    let tb = toolbox().await;
    let mut body = json!({"url": server.url("closed/r.git"), "path": "r", "username": USER, "password": PASSWORD});
    let message = refused(tb.git("clone", body.clone()).await, 502, "GIT_TRANSPORT_FAILED").await;
    assert!(message.contains("certificate"), "{message}");
    body["insecure_skip_tls"] = json!(true);
    tb.git_ok("clone", body).await;
    assert_eq!(tb.run("cat r/dir/b.txt").await, "two\n");
    // It was for that request alone.
    let login = json!({"path": "r", "username": USER, "password": PASSWORD});
    refused(tb.git("pull", login).await, 502, "GIT_TRANSPORT_FAILED").await;
}
