//! Who and where a toolbox is.

use crate::support::toolbox;

#[tokio::test]
async fn version_is_told() {
    let tb = toolbox().await;
    let res = tb.get("/version").await;
    assert_eq!(res.status(), 200);
    let body: serde_json::Value = res.json().await.expect("JSON");
    assert!(body["version"].is_string());
}

#[tokio::test]
async fn directories_are_told() {
    let tb = toolbox().await;
    for path in ["/work-dir", "/user-home-dir", "/project-dir"] {
        let body: serde_json::Value = tb.get(path).await.json().await.expect("JSON");
        assert_eq!(body, serde_json::json!({"dir": tb.home}));
    }
}

#[tokio::test]
async fn init_takes_a_token_or_none() {
    let tb = toolbox().await;
    for body in [serde_json::json!({"token": "t"}), serde_json::json!({})] {
        let res = tb.post("/init", body).await;
        assert_eq!(res.status(), 200);
        let body: serde_json::Value = res.json().await.expect("JSON");
        assert_eq!(body["message"], "Auth token set and telemetry initialized successfully");
    }
    let res = tb.client.post(format!("{}/init", tb.url)).body("{").send().await.expect("answer");
    assert_eq!(res.status(), 400);
}

#[tokio::test]
async fn unknown_path_is_the_plain_404() {
    let tb = toolbox().await;
    let res = tb.get("/nope").await;
    assert_eq!(res.status(), 404);
    assert_eq!(res.text().await.expect("text"), "404 page not found");
}
