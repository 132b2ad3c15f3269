use serde_json::{Value, json};

use super::{refused, with_repository};

#[tokio::test]
async fn values_by_scope() {
    let tb = with_repository().await;
    let get = async |query: &str| tb.git_get(&format!("config?{query}")).await["value"].clone();
    assert_eq!(get("key=user.name").await, Value::Null);
    let value = "  two\nlines \"quoted\" #x";
    tb.git_ok("config", json!({"key": "alias.test", "value": value})).await;
    assert_eq!(get("key=alias.test").await, value);
    assert_eq!(get("key=alias.test&scope=global").await, value);
    assert_eq!(get("key=alias.test&scope=local&path=r").await, Value::Null);
    assert_eq!(get("key=alias.test&scope=system").await, Value::Null);
    tb.git_ok("config", json!({"key": "core.abbrev", "value": "-12", "scope": "local", "path": "r"})).await;
    assert_eq!(get("key=core.abbrev&scope=local&path=r").await, "-12");
    tb.run(
        "git -C r config --unset core.abbrev; git config --global --add x.many 1; git config --global --add x.many 2",
    )
    .await;
    tb.git_ok("config", json!({"key": "x.many", "value": ""})).await;
    assert_eq!(get("key=x.many").await, "");
    tb.git_ok("config/user", json!({"name": "Ü", "email": "u@x"})).await;
    tb.git_ok("config/user", json!({"name": "L", "email": "l@x", "scope": "local", "path": "r"})).await;
    assert_eq!(tb.run("git config --global user.name; git -C r config user.email").await, "Ü\nl@x\n");
}

#[tokio::test]
async fn refusals() {
    let tb = with_repository().await;
    for (body, status, code) in [
        (json!({"key": "nodot", "value": "x"}), 400, "BAD_REQUEST"),
        (json!({"key": "-f.x", "value": "x"}), 400, "BAD_REQUEST"),
        (json!({"key": "a.b", "value": "x", "scope": "local"}), 400, "BAD_REQUEST"),
        (json!({"key": "a.b", "value": "x", "scope": "worktree"}), 400, "BAD_REQUEST"),
        (json!({"key": "a.b", "value": "x", "scope": "local", "path": "nope"}), 404, "GIT_REPO_NOT_FOUND"),
        (json!({"key": "a.b"}), 400, "INVALID_REQUEST_BODY"),
    ] {
        refused(tb.git("config", body).await, status, code).await;
    }
    let message = refused(tb.get("/git/config?key=a.b&scope=local").await, 400, "BAD_REQUEST").await;
    assert_eq!(message, "bad request: path is required when scope is local");
    for query in ["", "?key=", "?key=x", "?key=a.b&scope=nope"] {
        refused(tb.get(&format!("/git/config{query}")).await, 400, "BAD_REQUEST").await;
    }
}
