//! Errors that can be mended: a sandbox that doesn't start over its files keeps them.

use serde_json::{Value, json};

use crate::{api::Api, images::has_images, store::open};

/// A sandbox made of a snapshot whose layer is taken away while it is stopped, so that it doesn't start.
async fn broken(api: &Api, dir: &std::path::Path) -> std::path::PathBuf {
    api.named("origin").await;
    let (status, answer) = api.post("/sandbox/origin/snapshot", json!({"name": "snap"})).await;
    assert_eq!(status, 200, "{answer}");
    api.until("origin", "started").await;
    crate::support::eventually("the snapshot is made", async || {
        (api.get("/snapshots/snap").await.1["state"] == "active").then_some(())
    })
    .await;
    api.sandbox(json!({"name": "b", "snapshot": "snap"})).await;
    api.post("/sandbox/b/stop?force=true", Value::Null).await;
    api.until("b", "stopped").await;
    let layers = dir.join("layers");
    let layer = std::fs::read_dir(&layers).expect("layers").flatten().next().expect("a layer").path();
    let away = dir.join("away");
    std::fs::rename(&layer, &away).expect("taken away");
    let (status, failed) = api.post("/sandbox/b/start", Value::Null).await;
    assert_eq!(status, 400, "{failed}");
    assert!(failed["message"].as_str().expect("text").starts_with("Sandbox failed to start: "), "{failed}");
    std::fs::rename(&away, &layer).expect("brought back");
    layer
}

#[tokio::test]
async fn what_failed_to_start_recovers() {
    if !has_images() {
        return;
    }
    let dir = tempfile::tempdir().expect("temp dir");
    let (server, api) = open(dir.path(), &[]).await;
    let layer = broken(&api, dir.path()).await;
    let (_, record) = api.get("/sandbox/b").await;
    assert_eq!((&record["state"], &record["recoverable"]), (&json!("error"), &json!(true)), "{record}");
    assert!(record["errorReason"].as_str().is_some_and(|text| text.contains("is gone")), "{record}");
    assert_eq!(api.get("/sandbox?isRecoverable=true").await.1["items"][0]["name"], "b");
    for operation in ["start", "stop", "archive"] {
        let path = format!("/sandbox/b/{operation}");
        api.refused("POST", &path, Value::Null, 400, "Sandbox is in an errored state").await;
    }
    let (status, erred) = api.post("/sandbox/b/recover?skipStart=true", Value::Null).await;
    assert_eq!((status, &erred["state"]), (200, &json!("error")));
    let record = api.until("b", "stopped").await;
    assert_eq!((&record["recoverable"], &record["errorReason"]), (&json!(false), &Value::Null));
    let text = "Sandbox is not in a recoverable state";
    api.refused("POST", "/sandbox/b/recover", Value::Null, 400, text).await;

    // Again, with a start.
    let away = dir.path().join("away");
    std::fs::rename(&layer, &away).expect("taken away");
    assert_eq!(api.post("/sandbox/b/start", Value::Null).await.0, 400);
    let (status, again) = api.post("/sandbox/b/recover", Value::Null).await;
    assert_eq!(
        (status, again["message"].as_str().is_some_and(|text| text.contains("is gone"))),
        (400, true),
        "{again}"
    );
    std::fs::rename(&away, &layer).expect("brought back");
    let (status, started) = api.post("/sandbox/b/recover", Value::Null).await;
    assert_eq!((status, &started["state"], &started["recoverable"]), (200, &json!("started"), &json!(false)));
    server.shutdown().await;
}
