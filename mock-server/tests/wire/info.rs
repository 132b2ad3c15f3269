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
async fn unknown_path_is_the_plain_404() {
    let tb = toolbox().await;
    let res = tb.get("/nope").await;
    assert_eq!(res.status(), 404);
    assert_eq!(res.text().await.expect("text"), "404 page not found");
}
