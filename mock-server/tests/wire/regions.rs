//! Regions of an organisation: records whose proxy is in the URLs of their sandboxes.

use serde_json::{Value, json};

use crate::{
    api::{Api, answer, keys},
    support::server,
};

#[tokio::test]
async fn regions_come_change_and_go() {
    let (api, other) = (Api::new().await, Api::new().await);
    let text = "name should not be empty, name must be a string";
    api.refused("POST", "/regions", json!({}), 400, text).await;
    let text = "Region name must contain only letters, numbers, underscores, periods, and hyphens";
    api.refused("POST", "/regions", json!({"name": "bad name!"}), 400, text).await;
    let (status, made) = api.post("/regions", json!({"name": "mine"})).await;
    assert_eq!((status, keys(&made)), (201, vec!["id"]));
    api.refused("POST", "/regions", json!({"name": "mine"}), 409, "Region with name mine already exists").await;
    let id = made["id"].as_str().expect("an id");
    assert!(id.starts_with("mine_") && id.len() == 9, "{id}");
    let path = format!("/regions/{id}");
    let (_, all) = api.get("/regions").await;
    assert_eq!((&all[0]["id"], &all[0]["regionType"], &all[1]["id"]), (&json!(id), &json!("custom"), &json!("us")));
    assert_eq!(other.get("/regions").await.1.as_array().map(Vec::len), Some(1));
    other.refused("GET", &path, Value::Null, 404, "Region not found").await;
    other.refused("DELETE", &path, Value::Null, 404, "Region not found").await;
    api.refused("GET", "/regions/us", Value::Null, 404, "Region not found").await;
    let regenerate = format!("{path}/regenerate-snapshot-manager-credentials");
    let text = "Region does not have a snapshot manager URL configured";
    api.refused("POST", &regenerate, Value::Null, 400, text).await;
    let urls = json!({
        "proxyUrl": "http://p.example", "sshGatewayUrl": "ssh.example:22", "snapshotManagerUrl": "http://s.example"
    });
    assert_eq!(api.call("PATCH", &path, urls).await, (200, Value::Null));
    assert_eq!(api.get(&path).await.1["proxyUrl"], "http://p.example");
    for what in ["proxy", "ssh-gateway"] {
        let (status, key) = api.post(&format!("{path}/regenerate-{what}-api-key"), Value::Null).await;
        assert!(status == 200 && key["apiKey"].as_str().is_some_and(|key| key.starts_with("dtn_")), "{key}");
    }
    assert_eq!(keys(&api.post(&regenerate, Value::Null).await.1), ["username", "password"]);
    assert_eq!(api.delete(&path).await.0, 204);
    api.refused("DELETE", &path, Value::Null, 404, "Region not found").await;
    let (_, made) = api.post("/regions", json!({"name": "all", "proxyUrl": "http://p.example"})).await;
    assert_eq!(keys(&made), ["id", "proxyApiKey"]);
}

#[tokio::test]
async fn proxies_speak_http() {
    let api = Api::new().await;
    for field in ["proxyUrl", "snapshotManagerUrl"] {
        for bad in ["nourl", "ftp://a", "http://", "https:///x", "http://a b", "HTTP//a"] {
            let text = format!("{field} must be a URL address");
            api.refused("POST", "/regions", json!({"name": "r", field: bad}), 400, &text).await;
        }
        let (status, made) =
            api.post("/regions", json!({"name": format!("of-{field}"), field: "https://a.example:1/x"})).await;
        assert_eq!(status, 201, "{made}");
    }
    let (status, made) = api.post("/regions", json!({"name": "ssh", "sshGatewayUrl": "ssh.example:22"})).await;
    assert_eq!(status, 201, "{made}");
}

#[tokio::test]
async fn sandboxes_are_reached_through_their_regions_proxy() {
    let api = Api::new().await;
    let port = server().base_url.rsplit(':').next().expect("a port");
    let proxy = format!("http://{}.example:{port}", uuid::Uuid::new_v4());
    let host = proxy.trim_start_matches("http://");
    let (_, made) = api.post("/regions", json!({"name": "here", "proxyUrl": proxy})).await;
    let text = format!("Snapshot daytona-small is not available in region {}", made["id"].as_str().expect("an id"));
    api.refused("POST", "/sandbox", json!({"target": "here"}), 400, &text).await;
    api.refused("POST", "/sandbox", json!({"target": "mars"}), 404, "Region not found").await;
    // A build is at home everywhere.
    let build = json!({"target": "here", "name": "b", "buildInfo": {"dockerfileContent": "FROM debian:12.5\n"}});
    let (status, sandbox) = api.post("/sandbox", build).await;
    assert_eq!((status, &sandbox["target"]), (200, &made["id"]), "{sandbox}");
    assert_eq!(sandbox["toolboxProxyUrl"], format!("{proxy}/toolbox"));
    let id = sandbox["id"].as_str().expect("an id");
    let (_, link) = api.get("/sandbox/b/ports/3000/preview-url").await;
    assert_eq!(link["url"], format!("http://3000-{id}.{host}"));
    assert_eq!(api.get("/sandbox/b/toolbox-proxy-url").await.1["url"], format!("{proxy}/toolbox"));
    let (_, log) = api.get("/sandbox/b/build-logs-url").await;
    assert_eq!(log["url"], format!("{proxy}/sandboxes/{id}/build-logs"));
    let refused = api.delete(&format!("/regions/{}", made["id"].as_str().expect("an id"))).await;
    assert_eq!(refused.0, 400);
    // The server answers to the region's host, and to no other.
    let health = |host: &str| {
        api.client.get(format!("{}/api/sandbox", server().base_url)).bearer_auth(&api.key).header("host", host)
    };
    assert_eq!(answer(health(host).send().await.expect("answer")).await.0, 200);
    assert_eq!(answer(health("other.example").send().await.expect("answer")).await.0, 421);
    let preview =
        health(&format!("3000-{id}.{host}")).header("x-daytona-preview-token", link["token"].as_str().unwrap());
    assert_ne!(answer(preview.send().await.expect("answer")).await.0, 421);
    api.call("PATCH", &format!("/regions/{}", made["id"].as_str().unwrap()), json!({"proxyUrl": null})).await;
    let (_, now) = api.get("/sandbox/b").await;
    assert_eq!(now["toolboxProxyUrl"], format!("{}/toolbox", server().base_url));
}

#[tokio::test]
async fn runners_of_users_are_switched_off() {
    let api = Api::new().await;
    for (method, path) in
        [("GET", "/runners"), ("POST", "/runners"), ("DELETE", "/runners/x"), ("PATCH", "/runners/x/scheduling")]
    {
        api.refused(method, path, Value::Null, 404, &format!("Cannot {method} /api{path}")).await;
    }
    api.refused("GET", "/runners/me", Value::Null, 403, "Invalid authentication context").await;
}
