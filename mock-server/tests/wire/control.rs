//! `/__control`: keys, reset, operations, and refusals. The clock has tests of its own (`timers`), with servers of their own.

use serde_json::{Value, json};

use crate::api::Api;

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
async fn operations_of_both_planes_are_listed() {
    let api = Api::new().await;
    let (status, all) = api.control("GET", "/operations", Value::Null).await;
    let all = all.as_array().expect("an array");
    assert_eq!((status, all.len()), (200, 196 + 103));
    let emulated = |id: &str, plane: &str| {
        all.iter().find(|op| op["operationId"] == id && op["plane"] == plane).map(|op| op["emulated"].clone())
    };
    assert_eq!(emulated("createSandbox", "api"), Some(json!(true)));
    assert_eq!(emulated("createVolume", "api"), Some(json!(false)));
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
