use serde_json::json;

use super::{refused, with_repository};

#[tokio::test]
async fn branches_are_made_listed_and_deleted() {
    let tb = with_repository().await;
    let made = tb.git("branches", json!({"path": "r", "name": "topic/one"})).await;
    assert_eq!((made.status().as_u16(), made.content_length()), (201, Some(0)));
    assert_eq!(tb.git_get("branches?path=r").await, json!({"branches": ["main", "topic/one"], "current": "topic/one"}));
    let again = refused(tb.git("branches", json!({"path": "r", "name": "main"})).await, 409, "GIT_BRANCH_EXISTS").await;
    assert_eq!(again, "conflict: a branch named \"refs/heads/main\" already exists");
    for name in ["a b", "-d", "a..b", "HEAD"] {
        refused(tb.git("branches", json!({"path": "r", "name": name})).await, 400, "BAD_REQUEST").await;
    }
    let delete = async |name: &str| {
        let request = tb.client.delete(format!("{}/git/branches", tb.url)).json(&json!({"path": "r", "name": name}));
        request.send().await.expect("answer").status().as_u16()
    };
    assert_eq!((delete("main").await, delete("nope").await, delete("-D").await), (204, 204, 400));
    assert_eq!(tb.git_get("branches?path=r").await["branches"], json!(["topic/one"]));
}

#[tokio::test]
async fn a_dirty_tree_stays_on_its_branch() {
    let tb = with_repository().await;
    tb.run("cd r && git branch other && echo x >>a").await;
    for (operation, key) in [("branches", "name"), ("checkout", "branch")] {
        let name = if key == "name" { "new" } else { "other" };
        let message =
            refused(tb.git(operation, json!({"path": "r", key: name})).await, 409, "GIT_DIRTY_WORKTREE").await;
        assert_eq!(message, "conflict: worktree contains unstaged changes");
    }
    let branches = tb.git_get("branches?path=r").await;
    assert_eq!(branches, json!({"branches": ["main", "other"], "current": "main"}));
}

#[tokio::test]
async fn checkout_by_branch_and_by_hash() {
    let tb = with_repository().await;
    let first = tb.run("git -C r rev-parse HEAD~1").await.trim().to_owned();
    tb.run("cd r && git tag v1 && git branch other && echo untracked >u").await;
    let done = tb.git("checkout", json!({"path": "r", "branch": "other"})).await;
    assert_eq!((done.status().as_u16(), done.content_length()), (200, Some(0)));
    tb.git_ok("checkout", json!({"path": "r", "branch": first})).await;
    let status = tb.git_get("status?path=r").await;
    assert_eq!((&status["currentBranch"], &status["detached"]), (&json!("HEAD"), &json!(true)));
    assert_eq!(tb.git_get("branches?path=r").await["current"], "");
    assert_eq!(tb.run("cat r/a").await, "a\n");
    for unknown in ["nope", "v1", "HEAD~1", &first[..8], "-f", "a", &"0".repeat(40)] {
        let answer = tb.git("checkout", json!({"path": "r", "branch": unknown})).await;
        let message = refused(answer, 404, "GIT_BRANCH_NOT_FOUND").await;
        assert_eq!(message, format!("not found: failed to checkout branch or commit '{unknown}': reference not found"));
    }
    tb.run("cd r && git checkout -q main && git rm -q --cached b && git commit -qm x && rm b && git checkout -q other && git clean -qfd && git checkout -q main && echo mine >b").await;
    let answer = tb.git("checkout", json!({"path": "r", "branch": "other"})).await;
    refused(answer, 409, "GIT_DIRTY_WORKTREE").await;
}
