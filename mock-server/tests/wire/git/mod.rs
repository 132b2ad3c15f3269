//! Git, in real sandboxes.

mod branches;
mod clone;
mod config;
mod hostile;
mod mirrors;
mod packs;
mod remotes;
mod server;
mod work;

use reqwest::Response;
use serde_json::{Value, json};

use crate::support::{Toolbox, toolbox};

/// A sandbox with a repository `r` in it: two commits on `main`.
async fn with_repository() -> Toolbox {
    let tb = toolbox().await;
    tb.run(
        "git init -q -b main r && cd r && git config user.name U && git config user.email u@x &&
         echo a >a && echo b >b && git add . && git commit -qm first && echo A >>a && git commit -qam second",
    )
    .await;
    tb
}

impl Toolbox {
    /// Posts to `/git/{operation}`.
    async fn git(&self, operation: &str, body: Value) -> Response {
        self.post(&format!("/git/{operation}"), body).await
    }

    /// Does something that must work.
    async fn git_ok(&self, operation: &str, body: Value) -> Value {
        let answer = self.git(operation, body.clone()).await;
        let status = answer.status();
        let text = answer.text().await.expect("text");
        assert!(status.is_success(), "{operation} {body}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    async fn git_get(&self, path: &str) -> Value {
        let answer = self.get(&format!("/git/{path}")).await;
        assert_eq!(answer.headers()["content-type"], "application/json; charset=utf-8");
        assert_eq!(answer.status(), 200);
        answer.json().await.expect("JSON")
    }

    /// `name staging worktree` of each file that isn't as in HEAD, sorted.
    async fn states(&self, path: &str) -> Vec<String> {
        let status = self.git_get(&format!("status?path={path}")).await;
        let file = |file: &Value| {
            let text = |key: &str| file[key].as_str().unwrap_or_else(|| panic!("{file}")).to_owned();
            format!("{} {} {}", text("name"), text("staging"), text("worktree"))
        };
        let mut files: Vec<String> = status["fileStatus"].as_array().expect("files").iter().map(file).collect();
        files.sort();
        files
    }
}

/// The envelope of a refusal; its message.
async fn refused(answer: Response, status: u16, code: &str) -> String {
    let got = answer.status().as_u16();
    let body: Value = answer.json().await.expect("an envelope");
    assert_eq!((got, body["code"].as_str()), (status, Some(code)), "{body}");
    assert_eq!((body["statusCode"].as_u64(), body["source"].as_str()), (Some(status.into()), Some("DAYTONA_DAEMON")));
    body["message"].as_str().expect("a message").to_owned()
}

#[tokio::test]
async fn bodies_and_parameters_are_checked() {
    let tb = with_repository().await;
    for operation in ["status", "branches", "history", "remotes"] {
        let message = refused(tb.get(&format!("/git/{operation}")).await, 400, "BAD_REQUEST").await;
        assert_eq!(message, "bad request: path is required");
        for path in ["r/nope", "nope", "/", ""] {
            let expected = if path.is_empty() { (400, "BAD_REQUEST") } else { (404, "GIT_REPO_NOT_FOUND") };
            let message = refused(tb.get(&format!("/git/{operation}?path={path}")).await, expected.0, expected.1).await;
            assert!(path.is_empty() || message == "not found: repository does not exist", "{message}");
        }
    }
    tb.run("mkdir r/sub").await;
    refused(tb.get("/git/status?path=r/sub").await, 404, "GIT_REPO_NOT_FOUND").await;
    let message = refused(tb.git("clone", json!({"path": "x"})).await, 400, "INVALID_REQUEST_BODY").await;
    assert_eq!(
        message,
        "invalid body request: invalid request body: Key: 'GitCloneRequest.URL' Error:Field validation for 'URL' failed on the 'required' tag"
    );
    for operation in [
        "clone",
        "init",
        "branches",
        "checkout",
        "add",
        "commit",
        "push",
        "pull",
        "remotes",
        "reset",
        "restore",
        "config",
        "config/user",
        "credentials",
    ] {
        refused(tb.git(operation, json!({})).await, 400, "INVALID_REQUEST_BODY").await;
        refused(tb.git(operation, json!([])).await, 400, "INVALID_REQUEST_BODY").await;
        refused(tb.git(operation, json!({"path": 1})).await, 400, "INVALID_REQUEST_BODY").await;
    }
    for (operation, body) in [
        ("add", json!({"path": "nope", "files": ["a"]})),
        ("commit", json!({"path": "nope", "message": "m", "author": "a", "email": "e"})),
        ("branches", json!({"path": "nope", "name": "b"})),
        ("checkout", json!({"path": "nope", "branch": "b"})),
        ("push", json!({"path": "nope"})),
        ("pull", json!({"path": "nope"})),
        ("reset", json!({"path": "nope"})),
        ("restore", json!({"path": "nope", "files": ["a"]})),
        ("remotes", json!({"path": "nope", "name": "n", "url": "u"})),
    ] {
        refused(tb.git(operation, body).await, 404, "GIT_REPO_NOT_FOUND").await;
    }
}
