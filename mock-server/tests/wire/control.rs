//! `/__control`: keys, reset, operations, and refusals. The clock has tests of its own (`timers`), with servers of their own.

use serde_json::{Value, json};

use crate::{api::Api, support::eventually};

#[tokio::test]
async fn a_minted_key_has_an_organisation_of_its_own() {
    let api = Api::new().await;
    let (status, minted) = api.control("POST", "/keys", Value::Null).await;
    assert_eq!(status, 201);
    let other = api.with_key(minted["apiKey"].as_str().expect("a key"));
    let sandbox = other.sandbox(json!({})).await;
    assert_eq!(sandbox["organizationId"], minted["organizationId"]);
    assert_eq!(api.get("/sandbox").await.1["items"], json!([]));
}

#[tokio::test]
async fn reset_destroys_one_world_only() {
    let (mine, other) = (Api::new().await, Api::new().await);
    let ids = [mine.named("a").await, mine.named("b").await];
    other.named("a").await;
    mine.post("/sandbox/b/stop", Value::Null).await;
    assert_eq!(mine.control("POST", "/reset", Value::Null).await, (204, Value::Null));
    for id in ids {
        assert_eq!(mine.get(&format!("/sandbox/{id}")).await.0, 404, "gone when the answer comes");
    }
    assert_eq!(mine.get("/sandbox").await.1["items"], json!([]));
    assert_eq!(other.get("/sandbox/a").await.1["state"], "started");
    mine.named("a").await;
}

#[tokio::test]
async fn a_reset_leaves_no_settings_behind() {
    let api = Api::new().await;
    let registry = json!({"name": "r", "url": "https://r.example", "username": "me", "password": "x"});
    for (path, body) in [("/docker-registry", registry), ("/regions", json!({"name": "own"}))] {
        let (status, made) = api.post(path, body).await;
        assert!(status < 300, "{path}: {made}");
    }
    assert_eq!(api.control("POST", "/webhooks", json!({"url": "http://127.0.0.1:9/x"})).await.0, 201);
    for (path, body) in [("/secret", json!({"name": "S", "value": "x"})), ("/volumes", json!({"name": "v"}))] {
        let (status, made) = api.post(path, body).await;
        assert!(status < 300, "{path}: {made}");
    }
    assert_eq!(api.control("POST", "/reset", Value::Null).await.0, 204);
    for path in ["/docker-registry", "/volumes"] {
        assert_eq!(api.get(path).await.1, json!([]), "{path}");
    }
    assert_eq!(api.get("/regions").await.1.as_array().map(Vec::len), Some(1), "the shared one");
    assert_eq!(api.control("GET", "/webhooks", Value::Null).await.1["endpoints"], json!([]));
    api.named("a").await;
}

#[tokio::test]
async fn operations_of_both_planes_are_listed() {
    let api = Api::new().await;
    let (status, all) = api.control("GET", "/operations", Value::Null).await;
    let all = all.as_array().expect("an array");
    assert_eq!((status, all.len()), (200, 196 + 103));
    let emulated = |id: &str, plane: &str| {
        all.iter().find(|op| op["operationId"] == id && op["plane"] == plane).map(|op| op["emulated"].clone())
    };
    assert_eq!(emulated("createSandbox", "api"), Some(json!(true)));
    assert_eq!(emulated("listPendingSsoLinks", "api"), Some(json!(false)));
    assert_eq!(emulated("ExecuteCommand", "toolbox"), Some(json!(true)));
}

#[tokio::test]
async fn it_needs_a_key_and_knows_its_paths() {
    let api = Api::new().await;
    let nobody = api.with_key("wrong");
    for (method, path) in
        [("POST", "/keys"), ("POST", "/reset"), ("GET", "/operations"), ("GET", "/clock"), ("POST", "/clock")]
    {
        let (status, body) = nobody.control(method, path, Value::Null).await;
        assert_eq!((status, &body["message"]), (401, &json!("Invalid credentials")), "{path}");
    }
    let (status, body) = api.control("GET", "/nope", Value::Null).await;
    assert_eq!((status, &body["message"]), (404, &json!("Cannot GET /__control/nope")));
    for body in [json!({}), json!({"advance": -1}), json!({"advance": 1e300}), json!({"freeze": true, "run": true})] {
        assert_eq!(api.control("POST", "/clock", body.clone()).await.0, 400, "{body}");
    }
}

#[tokio::test]
async fn a_world_with_an_end_is_swept_by_the_clock() {
    let (server, api) = crate::timers::frozen().await;
    let (status, minted) = api.control("POST", "/keys", json!({"name": "short", "ttlSeconds": 120})).await;
    assert_eq!(status, 201);
    assert!(minted["endsAt"].as_str().is_some());
    let short = api.with_key(minted["apiKey"].as_str().expect("a key"));
    let id = short.named("a").await;
    assert_eq!(minted["name"], "short");
    api.named("mine").await;
    crate::timers::advance(&api, 1).await;
    assert_eq!(short.get("/sandbox/a").await.0, 200);
    crate::timers::advance(&api, 1).await;
    eventually("its key is refused", async || (short.get("/sandbox").await.0 == 401).then_some(())).await;
    let path = server.data_dir().join("sandboxes").join(&id);
    eventually("its files are gone", async || (!path.exists()).then_some(())).await;
    assert_eq!(api.get("/sandbox/mine").await.1["state"], "started");
    for body in [json!({"ttlSeconds": 0}), json!({"ttlSeconds": "x"}), json!({"name": ""}), json!({"ttl": 1})] {
        assert_eq!(api.control("POST", "/keys", body.clone()).await.0, 400, "{body}");
    }
    server.shutdown().await;
}

/// Work of one world goes on while another is reset again and again.
#[tokio::test]
async fn reset_under_load_touches_nobody_else() {
    let (busy, calm) = (Api::new().await, Api::new().await);
    let calm_id = calm.named("calm").await;
    let base = busy.url.replace("/api", "/toolbox");
    let work = |api: &Api, id: String| {
        let request = api.client.post(format!("{base}/{id}/process/execute")).bearer_auth(&api.key);
        request.json(&json!({"command": "echo $((20+22))"})).send()
    };
    for round in 0..3 {
        let all: Vec<_> = (0..4)
            .map(|n| {
                let (api, base) = (busy.with_key(&busy.key), base.clone());
                tokio::spawn(async move {
                    let (_, made) = api.post("/sandbox", json!({"name": format!("s{round}-{n}")})).await;
                    let id = made["id"].as_str().unwrap_or("none").to_owned();
                    let request = api.client.post(format!("{base}/{id}/process/execute")).bearer_auth(&api.key);
                    // Whatever it answers: its sandbox may be going.
                    _ = request.json(&json!({"command": "sleep 30"})).send().await;
                })
            })
            .collect();
        // Some are being made, some run.
        busy.control("GET", "/journal?until=createSandbox&timeout=20", Value::Null).await;
        assert_eq!(busy.control("POST", "/reset", Value::Null).await.0, 204);
        for task in all {
            task.await.expect("no panic");
        }
        assert_eq!(busy.control("POST", "/reset", Value::Null).await.0, 204);
        assert_eq!(busy.get("/sandbox").await.1["items"], json!([]));
        let body: Value = work(&calm, calm_id.clone()).await.expect("answer").json().await.expect("JSON");
        assert_eq!(body["result"], "42\n");
    }
}
