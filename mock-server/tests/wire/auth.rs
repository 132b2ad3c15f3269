//! Keys: who is let in, what permissions allow, and keys as a resource.

use serde_json::{Value, json};

use crate::{
    api::{Api, answer},
    support::server,
    timers::{advance, frozen},
};

#[tokio::test]
async fn no_or_wrong_credentials_are_401() {
    let api = Api::new().await;
    let url = format!("{}/sandbox", api.url);
    for (name, value) in [
        ("x-nothing", String::new()),
        ("authorization", "Bearer nope".into()),
        ("authorization", format!("Basic {}", api.key)),
        ("authorization", api.key.clone()),
        ("x-api-key", api.key.clone()),
    ] {
        let (status, body) = answer(api.client.get(&url).header(name, value).send().await.expect("answer")).await;
        assert_eq!((status, &body["message"]), (401, &json!("Invalid credentials")), "{name}");
    }
}

#[tokio::test]
async fn the_scheme_in_any_case_and_the_query_authenticate() {
    let api = Api::new().await;
    let url = format!("{}/sandbox", api.url);
    let lower = api.client.get(&url).header("authorization", format!("bearer {}", api.key));
    assert_eq!(lower.send().await.expect("answer").status(), 200);
    let query = api.client.get(format!("{url}?access_token={}", api.key));
    assert_eq!(query.send().await.expect("answer").status(), 200);
    let foreign = api.request("GET", "/sandbox").header("x-daytona-organization-id", "someone-else");
    assert_eq!(foreign.send().await.expect("answer").status(), 200, "a key has its own organisation");
}

#[tokio::test]
async fn the_current_key() {
    let api = Api::new().await;
    let (status, key) = api.get("/api-keys/current").await;
    assert_eq!(status, 200);
    for name in ["name", "value", "createdAt", "permissions", "userId"] {
        assert!(!key[name].is_null(), "{name} in {key}");
    }
    assert!(key["value"].as_str().is_some_and(|value| value.len() == 26 && value.starts_with("dtn***")), "{key}");
    assert!(key["permissions"].as_array().is_some_and(|all| all.len() == 21));
}

#[tokio::test]
async fn keys_are_made_listed_and_deleted() {
    let api = Api::new().await;
    let (status, made) = api.post("/api-keys", json!({"name": "ci", "permissions": ["write:sandboxes"]})).await;
    assert_eq!((status, &made["expiresAt"]), (201, &Value::Null));
    let ci = api.with_key(made["value"].as_str().expect("a value"));
    assert_eq!(ci.get("/sandbox").await.0, 200);
    assert_eq!(ci.get("/api-keys/current").await.1["name"], "ci");
    api.refused(
        "POST",
        "/api-keys",
        json!({"name": "ci", "permissions": []}),
        409,
        "API key with this name already exists",
    )
    .await;
    let (_, all) = api.get("/api-keys").await;
    assert_eq!(all.as_array().map(Vec::len), Some(2));
    assert_eq!(api.get("/api-keys/ci").await.1["permissions"], json!(["write:sandboxes"]));
    assert_eq!(api.delete("/api-keys/ci").await, (204, Value::Null));
    ci.refused("GET", "/sandbox", Value::Null, 401, "Invalid credentials").await;
    api.refused("DELETE", "/api-keys/ci", Value::Null, 404, "API key not found").await;
    api.refused("GET", "/api-keys/ci", Value::Null, 404, "API key not found").await;
}

#[tokio::test]
async fn a_new_key_is_checked() {
    let api = Api::new().await;
    let unsafe_name = "name must not contain HTML tags, URLs, or control characters";
    let both = format!("{unsafe_name}, name must be a string");
    api.refused("POST", "/api-keys", json!({"name": 5, "permissions": []}), 400, &both).await;
    api.refused("POST", "/api-keys", json!({"name": "<b>", "permissions": []}), 400, unsafe_name).await;
    api.refused("POST", "/api-keys", json!({"name": "", "permissions": []}), 400, "name should not be empty").await;
    let ruby = json!({"name": "ruby", "permissions": [], "expiresAt": "2091-01-02 03:04:05 UTC"});
    let (status, made) = api.post("/api-keys", ruby).await;
    assert_eq!((status, &made["expiresAt"]), (201, &json!("2091-01-02T03:04:05.000Z")));
    let date = json!({"name": "k", "permissions": [], "expiresAt": "x"});
    api.refused("POST", "/api-keys", date, 400, "expiresAt must be a Date instance").await;
    let (status, body) = api.post("/api-keys", json!({})).await;
    let text = body["message"].as_str().expect("text");
    let starts =
        text.starts_with("name must be a string, name should not be empty, each value in permissions must be one");
    assert!(status == 400 && starts && text.ends_with(", permissions must be an array"), "{text}");
}

#[tokio::test]
async fn permissions_come_before_everything_but_the_key() {
    let api = Api::new().await;
    let (_, made) = api.post("/api-keys", json!({"name": "zero", "permissions": []})).await;
    let zero = api.with_key(made["value"].as_str().expect("a value"));
    for (method, path) in [
        ("POST", "/sandbox"),
        ("DELETE", "/sandbox/nope"),
        ("POST", "/sandbox/nope/start"),
        ("POST", "/sandbox/nope/stop"),
        ("POST", "/sandbox/nope/archive"),
        ("PUT", "/sandbox/nope/labels"),
        ("POST", "/sandbox/nope/public/true"),
        ("POST", "/sandbox/nope/autostop/5"),
        ("POST", "/sandbox/nope/network-settings"),
        ("POST", "/sandbox/nope/fork"),
        ("POST", "/sandbox/nope/recover"),
        ("POST", "/api-keys"),
    ] {
        zero.refused(method, path, json!({"name": 5}), 403, "Access denied").await;
    }
    let missing = "Sandbox with ID or name nope not found";
    for path in ["/sandbox/nope", "/sandbox/nope/ports/80/preview-url", "/sandbox/nope/toolbox-proxy-url"] {
        zero.refused("GET", path, Value::Null, 404, missing).await;
    }
    zero.refused("POST", "/sandbox/nope/last-activity", Value::Null, 404, missing).await;
    assert_eq!(zero.get("/sandbox").await.0, 200);
    let manager = json!({"name": "m", "permissions": ["manage:api_keys"]});
    let (_, made) = api.post("/api-keys", manager).await;
    let manager = api.with_key(made["value"].as_str().expect("a value"));
    let more = json!({"name": "more", "permissions": ["write:sandboxes", "manage:api_keys"]});
    let text = "Insufficient permissions for assigning: write:sandboxes";
    manager.refused("POST", "/api-keys", more, 403, text).await;
}

#[tokio::test]
async fn an_expired_key_is_401() {
    let (server, api) = frozen().await;
    let (_, clock) = api.control("GET", "/clock", Value::Null).await;
    let now = chrono::DateTime::parse_from_rfc3339(clock["now"].as_str().expect("a time")).expect("a time");
    let soon = now + chrono::Duration::seconds(60);
    let body = json!({"name": "soon", "permissions": [], "expiresAt": soon.to_rfc3339()});
    let (status, made) = api.post("/api-keys", body).await;
    assert_eq!(status, 201);
    let soon = api.with_key(made["value"].as_str().expect("a value"));
    assert_eq!(soon.get("/sandbox").await.0, 200);
    advance(&api, 1).await;
    soon.refused("GET", "/sandbox", Value::Null, 401, "Invalid credentials").await;
    assert_eq!(api.get("/api-keys/soon").await.0, 200, "it stays in the list");
    server.shutdown().await;
}

#[tokio::test]
async fn organisations_dont_see_each_other() {
    let (mine, other) = (Api::new().await, Api::new().await);
    let id = mine.named("private").await;
    let missing = format!("Sandbox with ID or name {id} not found");
    other.refused("GET", &format!("/sandbox/{id}"), Value::Null, 404, &missing).await;
    other.refused("DELETE", &format!("/sandbox/{id}"), Value::Null, 404, &missing).await;
    assert_eq!(other.get("/sandbox").await.1["items"], json!([]));
    let toolbox = format!("{}/toolbox/{id}/version", server().base_url);
    assert_eq!(other.client.get(&toolbox).bearer_auth(&other.key).send().await.expect("answer").status(), 401);
    assert_eq!(mine.client.get(&toolbox).bearer_auth(&mine.key).send().await.expect("answer").status(), 200);
    other.named("private").await;
}
