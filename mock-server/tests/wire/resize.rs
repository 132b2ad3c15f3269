//! Other resources: the rules in their order, the states on the way, and what is seen inside.

use serde_json::{Value, json};

use crate::{api::Api, store::open};

#[tokio::test]
async fn a_started_one_grows_and_a_stopped_one_shrinks() {
    let api = Api::new().await;
    api.named("s").await;
    let none = "No resource changes specified - sandbox is already at the desired configuration";
    let disk = "Disk resize can only be performed on a stopped sandbox";
    for (body, text) in [
        (json!({}), none),
        (json!({"cpu": 1, "memory": 1, "disk": 3}), none),
        (json!({"cpu": null}), none),
        (json!({"cpu": 0}), "cpu must not be less than 1"),
        (json!({"memory": -1}), "memory must not be less than 1"),
        (
            json!({"cpu": "x"}),
            "cpu must not be less than 1, cpu must be a number conforming to the specified constraints",
        ),
        (json!({"cpu": 1.5}), "cpu must be an integer number"),
        (json!({"disk": 5}), disk),
        (json!({"disk": 2}), disk),
    ] {
        api.refused("POST", "/sandbox/s/resize", body, 400, text).await;
    }
    let (status, resizing) = api.post("/sandbox/s/resize", json!({"cpu": 2, "memory": 2})).await;
    assert_eq!((status, &resizing["state"], &resizing["desiredState"]), (200, &json!("resizing"), &json!("started")));
    assert_eq!((&resizing["cpu"], &resizing["memory"]), (&json!(1), &json!(1)), "the old numbers");
    let now = api.until("s", "started").await;
    assert_eq!((&now["cpu"], &now["memory"], &now["disk"]), (&json!(2), &json!(2), &json!(3)));
    let less = "Sandbox must be in stopped state to decrease";
    api.refused(
        "POST",
        "/sandbox/s/resize",
        json!({"cpu": 1, "memory": 1}),
        400,
        &format!("{less} the number of CPU cores"),
    )
    .await;
    api.refused("POST", "/sandbox/s/resize", json!({"memory": 1}), 400, &format!("{less} memory")).await;
    api.post("/sandbox/s/stop?force=true", Value::Null).await;
    api.until("s", "stopped").await;
    api.refused("POST", "/sandbox/s/resize", json!({"disk": 2}), 400, "Sandbox disk size cannot be decreased").await;
    let (_, resizing) = api.post("/sandbox/s/resize", json!({"cpu": 1, "disk": 4})).await;
    assert_eq!((&resizing["state"], &resizing["desiredState"]), (&json!("resizing"), &json!("stopped")));
    let now = api.until("s", "stopped").await;
    assert_eq!((&now["cpu"], &now["memory"], &now["disk"]), (&json!(1), &json!(2), &json!(4)));
    api.refused("POST", "/sandbox/nope/resize", json!({"cpu": "x"}), 404, "Sandbox with ID or name nope not found")
        .await;
}

#[tokio::test]
async fn a_promised_size_outlives_the_server() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (server, api) = open(dir.path(), &[]).await;
    api.named("s").await;
    assert_eq!(api.post("/sandbox/s/resize", json!({"cpu": 2})).await.0, 200);
    server.shutdown().await;
    let (server, api) = open(dir.path(), &[]).await;
    assert_eq!(api.until("s", "started").await["cpu"], 2);
    server.shutdown().await;
}
