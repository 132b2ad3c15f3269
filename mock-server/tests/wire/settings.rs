//! Labels, visibility, intervals, network, activity: changed on a live sandbox.

use serde_json::{Value, json};

use crate::api::{Api, names};

#[tokio::test]
async fn labels_are_replaced_as_a_whole() {
    let api = Api::new().await;
    api.sandbox(json!({"name": "l", "labels": {"old": "1"}})).await;
    let (status, sandbox) = api.put("/sandbox/l/labels", json!({"labels": {"bb": "2", "a": "x"}})).await;
    assert_eq!((status, &sandbox["labels"]), (200, &json!({"a": "x", "bb": "2"})));
    assert_eq!(names(&api.get(r#"/sandbox?labels={"a":"x"}"#).await.1), ["l"]);
    assert_eq!(api.get(r#"/sandbox?labels={"old":"1"}"#).await.1["items"], json!([]));
    for body in [json!({}), json!({"labels": 5}), json!({"labels": []}), Value::Null] {
        api.refused("PUT", "/sandbox/l/labels", body, 400, "labels must be an object").await;
    }
    assert_eq!(api.get("/sandbox/l").await.1["labels"], json!({"a": "x", "bb": "2"}));
}

#[tokio::test]
async fn an_unknown_language_is_kept_but_breaks_no_client() {
    let api = Api::new().await;
    api.sandbox(json!({"name": "l", "labels": {"code-toolbox-language": "cobol", "x": "y"}})).await;
    assert_eq!(api.get("/sandbox/l").await.1["labels"]["code-toolbox-language"], "cobol");
    for path in ["/sandbox/l", "/sandbox", "/sandbox/paginated"] {
        // The Python SDK raises on a value that it doesn't know, for the whole list.
        let request = api.request("GET", path).header("x-daytona-source", "sdk-python");
        let body: Value = request.send().await.expect("answer").json().await.expect("JSON");
        let labels = body.get("labels").unwrap_or(&body["items"][0]["labels"]);
        assert_eq!(labels, &json!({"x": "y"}), "{path}");
    }
    let found = r#"/sandbox?labels={"code-toolbox-language":"cobol"}"#;
    assert_eq!(names(&api.get(found).await.1), ["l"]);
}

#[tokio::test]
async fn only_exactly_true_is_public() {
    let api = Api::new().await;
    api.named("p").await;
    for (value, public) in
        [("true", true), ("TRUE", false), ("true", true), ("1", false), ("false", false), ("x", false)]
    {
        let (status, sandbox) = api.post(&format!("/sandbox/p/public/{value}"), Value::Null).await;
        assert_eq!((status, &sandbox["public"]), (201, &json!(public)), "{value}");
    }
}

#[tokio::test]
async fn intervals() {
    let api = Api::new().await;
    api.named("i").await;
    for (path, name, value) in [
        ("autostop/5", "autoStopInterval", 5),
        ("autostop/15.0", "autoStopInterval", 15),
        ("autostop/0", "autoStopInterval", 0),
        ("autostop/99999", "autoStopInterval", 99999),
        ("autoarchive/5", "autoArchiveInterval", 5),
        ("autoarchive/0", "autoArchiveInterval", 43200),
        ("autoarchive/3000000000", "autoArchiveInterval", 43200),
        ("autodelete/7", "autoDeleteInterval", 7),
        ("autodelete/-1", "autoDeleteInterval", -1),
        ("autopause/0", "autoPauseInterval", 0),
    ] {
        let (status, sandbox) = api.post(&format!("/sandbox/i/{path}"), Value::Null).await;
        assert_eq!((status, &sandbox[name]), (201, &json!(value)), "{path}");
    }
    for (path, message) in [
        ("autostop/-1", "Auto-stop interval must be non-negative"),
        ("autoarchive/-1", "Auto-archive interval must be non-negative"),
        ("autopause/-1", "Auto-pause interval must be non-negative"),
        ("autostop/x", "interval must be an integer number"),
        ("autodelete/1.5", "interval must be an integer number"),
        ("autodelete/3000000000", "interval must be an integer number"),
        ("ttl/x", "ttlMinutes must be an integer number"),
    ] {
        api.refused("POST", &format!("/sandbox/i/{path}"), Value::Null, 400, message).await;
    }
    api.refused("POST", "/sandbox/i/autopause/5", Value::Null, 422, "Pausing is not supported for this sandbox").await;
    let (_, with_ttl) = api.post("/sandbox/i/ttl/60", Value::Null).await;
    assert!(with_ttl["autoDestroyAt"].is_string());
    assert!(api.post("/sandbox/i/ttl/0", Value::Null).await.1.get("autoDestroyAt").is_none());
}

#[tokio::test]
async fn network_settings() {
    let api = Api::new().await;
    api.named("n").await;
    for (body, blocked, networks, domains) in [
        (json!({"networkBlockAll": true}), true, Value::Null, Value::Null),
        (json!({"networkAllowList": "10.0.0.0/8"}), false, json!("10.0.0.0/8"), Value::Null),
        (json!({"networkAllowList": "10.0.0.0/8", "networkBlockAll": true}), false, json!("10.0.0.0/8"), Value::Null),
        (json!({"networkBlockAll": false}), false, Value::Null, Value::Null),
        (json!({"networkAllowList": "10.0.0.0/8, 11.0.0.0/8"}), false, json!("10.0.0.0/8, 11.0.0.0/8"), Value::Null),
        (json!({"domainAllowList": "*.a.com,b.org"}), false, json!("10.0.0.0/8, 11.0.0.0/8"), json!("*.a.com,b.org")),
        (json!({"networkBlockAll": true}), true, Value::Null, json!("*.a.com,b.org")),
        (json!({"domainAllowList": ""}), true, Value::Null, Value::Null),
        (json!({"networkAllowList": ""}), true, Value::Null, Value::Null),
    ] {
        let (status, sandbox) = api.post("/sandbox/n/network-settings", body.clone()).await;
        assert_eq!(status, 200, "{body}");
        let got = (&sandbox["networkBlockAll"], &sandbox["networkAllowList"], &sandbox["domainAllowList"]);
        assert_eq!(got, (&json!(blocked), &networks, &domains), "{body}");
    }
    let nothing = "At least one of networkBlockAll, networkAllowList or domainAllowList must be provided";
    for (body, message) in [
        (Value::Null, nothing),
        (json!({}), nothing),
        (json!({"networkBlockAll": "x"}), "networkBlockAll must be a boolean value"),
        (json!({"networkAllowList": null}), "networkAllowList must be a string"),
        (
            json!({"networkAllowList": "1.1.1.1"}),
            "Invalid network format: \"1.1.1.1\". Missing CIDR prefix length (e.g., /24)",
        ),
        (json!({"domainAllowList": "http://x"}), "Invalid domain: \"http://x\". Must be a valid domain name"),
    ] {
        api.refused("POST", "/sandbox/n/network-settings", body, 400, message).await;
    }
}

#[tokio::test]
async fn settings_of_what_is_not_there() {
    let api = Api::new().await;
    let missing = "Sandbox with ID or name nope not found";
    for path in ["public/true", "autostop/x", "network-settings", "last-activity", "ttl/1", "signing-key/rotate"] {
        api.refused("POST", &format!("/sandbox/nope/{path}"), Value::Null, 404, missing).await;
    }
    api.refused("PUT", "/sandbox/nope/labels", json!({"labels": 5}), 404, missing).await;
}

#[tokio::test]
async fn last_activity_is_an_empty_201() {
    let api = Api::new().await;
    api.named("a").await;
    assert_eq!(api.post("/sandbox/a/last-activity", Value::Null).await, (201, Value::Null));
    assert_eq!(api.post("/sandbox/a/last-activity", json!({"activityType": "x"})).await, (201, Value::Null));
}
