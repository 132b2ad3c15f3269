//! Every operation of the control plane, asked with keys that may nothing and with keys that may just that.

use serde_json::{Value, json};

use crate::api::Api;

/// Operations and what they need, as the documentation has it: written down once more, so that a change of the server's
/// own table is noticed. What isn't here is for every good key.
const NEEDED: &[(&str, &[&str])] = &[
    ("POST /sandbox", &["write:sandboxes"]),
    ("DELETE /sandbox/x", &["delete:sandboxes"]),
    ("POST /sandbox/x/start", &["write:sandboxes"]),
    ("POST /sandbox/x/stop", &["write:sandboxes"]),
    ("POST /sandbox/x/pause", &["write:sandboxes"]),
    ("POST /sandbox/x/resize", &["write:sandboxes"]),
    ("POST /sandbox/x/recover", &["write:sandboxes"]),
    ("PUT /sandbox/x/labels", &["write:sandboxes"]),
    ("POST /sandbox/x/backup", &["write:sandboxes"]),
    ("POST /sandbox/x/snapshot", &["write:sandboxes"]),
    ("POST /sandbox/x/fork", &["write:sandboxes"]),
    ("POST /sandbox/x/public/true", &["write:sandboxes"]),
    ("POST /sandbox/x/autostop/5", &["write:sandboxes"]),
    ("POST /sandbox/x/network-settings", &["write:sandboxes"]),
    ("POST /sandbox/x/archive", &["write:sandboxes"]),
    ("POST /sandbox/x/ssh-access", &["write:sandboxes"]),
    ("DELETE /sandbox/x/ssh-access", &["write:sandboxes"]),
    ("POST /snapshots", &["write:snapshots"]),
    ("POST /snapshots/x/activate", &["write:snapshots"]),
    ("POST /snapshots/x/deactivate", &["write:snapshots"]),
    ("DELETE /snapshots/x", &["delete:snapshots"]),
    ("GET /volumes", &["read:volumes"]),
    ("GET /volumes/x", &["read:volumes"]),
    ("GET /volumes/by-name/x", &["read:volumes"]),
    ("POST /volumes", &["write:volumes"]),
    ("DELETE /volumes/x", &["delete:volumes"]),
    ("GET /object-storage/push-access", &["write:snapshots", "write:sandboxes"]),
    ("GET /docker-registry/registry-push-access", &["write:snapshots", "write:sandboxes"]),
    ("POST /docker-registry", &["write:registries"]),
    ("PATCH /docker-registry/x", &["write:registries"]),
    ("DELETE /docker-registry/x", &["delete:registries"]),
    ("POST /regions", &["write:regions"]),
    ("PATCH /regions/x", &["write:regions"]),
    ("DELETE /regions/x", &["delete:regions"]),
    ("GET /runners", &["read:runners"]),
    ("POST /runners", &["write:runners"]),
    ("DELETE /runners/x", &["delete:runners"]),
    ("GET /api-keys", &["manage:api_keys"]),
    ("POST /api-keys", &["manage:api_keys"]),
    ("GET /api-keys/x", &["manage:api_keys"]),
    ("DELETE /api-keys/x", &["manage:api_keys"]),
    ("GET /secret", &["manage:secrets"]),
    ("POST /secret", &["manage:secrets"]),
    ("POST /warm-pools", &["write:sandboxes"]),
    ("PATCH /warm-pools/x", &["write:sandboxes"]),
    ("DELETE /warm-pools/x", &["write:sandboxes"]),
];

async fn key(api: &Api, permissions: Value) -> Api {
    let name = uuid::Uuid::new_v4().to_string();
    let (status, made) = api.post("/api-keys", json!({"name": name, "permissions": permissions})).await;
    assert_eq!(status, 201, "{made}");
    api.with_key(made["value"].as_str().expect("a key"))
}

fn split(operation: &str) -> (&str, &str) {
    operation.split_once(' ').expect("method and path")
}

/// Whether a key is turned away for what it may.
async fn denied(api: &Api, operation: &str) -> bool {
    let (method, path) = split(operation);
    let (status, body) = api.call(method, path, json!({})).await;
    status == 403 && body["message"] == "Access denied"
}

#[tokio::test]
async fn one_permission_opens_its_operations_only() {
    let api = Api::new().await;
    let all: Vec<String> = api.get("/api-keys/current").await.1["permissions"]
        .as_array()
        .expect("permissions")
        .iter()
        .map(|one| one.as_str().expect("text").to_owned())
        .collect();
    let nothing = key(&api, json!([])).await;
    for (operation, _) in NEEDED {
        assert!(denied(&nothing, operation).await, "{operation} without any permission");
    }
    for permission in &all {
        let own = key(&api, json!([permission])).await;
        for (operation, needed) in NEEDED {
            let may = needed.contains(&permission.as_str());
            assert_eq!(denied(&own, operation).await, !may, "{operation} with {permission}");
        }
    }
}

#[tokio::test]
async fn no_operation_answers_without_a_key_but_the_open_ones() {
    let api = Api::new().await;
    let nobody = api.with_key("wrong");
    let open = ["/config", "/health", "/shared-regions", "/audit/scenarios"];
    let (_, operations) = api.control("GET", "/paths", Value::Null).await;
    let operations = operations.as_array().expect("operations");
    assert_eq!(operations.len(), 196);
    for operation in operations {
        let (method, path) = (operation["method"].as_str().expect("text"), operation["path"].as_str().expect("text"));
        let is_open = open.contains(&path) || path.ends_with("/sandbox-id");
        let concrete = path.replace(['{', '}'], "");
        let (status, body) = nobody.call(method, &concrete, Value::Null).await;
        assert_eq!(status == 401, !is_open, "{method} {path}: {status} {body}");
    }
}

#[tokio::test]
async fn who_may_little_sees_little_of_organisations() {
    let api = Api::new().await;
    let (_, made) = api.post("/organizations", json!({"name": "Acme", "defaultRegionId": "us"})).await;
    let own = api.get("/organizations").await.1[0]["id"].as_str().expect("an id").to_owned();
    let little = key(&api, json!(["write:sandboxes"])).await;
    let (_, seen) = little.get("/organizations").await;
    assert_eq!(seen.as_array().map(Vec::len), Some(1), "{seen}");
    assert_eq!(little.get(&format!("/organizations/{own}")).await.0, 200);
    let context = "Invalid authentication context";
    little.refused("GET", &format!("/organizations/{}", made["id"].as_str().unwrap()), Value::Null, 403, context).await;
    for (method, path) in [
        ("POST", "/organizations".to_owned()),
        ("GET", "/organizations/invitations".to_owned()),
        ("POST", format!("/organizations/{own}/leave")),
        ("DELETE", format!("/organizations/{own}")),
        ("PUT", format!("/organizations/{own}/experimental-config")),
        ("POST", format!("/organizations/{own}/roles")),
        ("GET", format!("/organizations/{own}/usage")),
    ] {
        little.refused(method, &path, json!({}), 403, "Access denied").await;
    }
}
