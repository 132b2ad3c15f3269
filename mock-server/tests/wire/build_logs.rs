//! The route of build logs that `build-logs-url` names: who may read them, as what, and what strict mode thinks of it.

use serde_json::{Value, json};

use crate::{
    api::{Api, answer, id},
    journal::entries,
    support::{eventually, server},
};

/// It is made or it fails, as this machine can; it has a log in any case.
fn build() -> Value {
    json!({"buildInfo": {"dockerfileContent": "FROM debian:12.5\nENV A=1\n"}})
}

/// The URL of the log of a new sandbox's or snapshot's build, and the id.
async fn log_url(api: &Api, what: &str) -> (String, String) {
    let mut body = build();
    body["name"] = json!("built");
    let (status, made) = api.post(&format!("/{what}"), body).await;
    assert_eq!(status, 200, "{made}");
    let (status, link) = api.get(&format!("/{what}/{}/build-logs-url", id(&made))).await;
    assert_eq!(status, 200, "{link}");
    (link["url"].as_str().expect("a URL").to_owned(), id(&made))
}

#[tokio::test]
async fn logs_are_at_the_proxy_and_followed_to_their_end() {
    let api = Api::new().await;
    for (what, there) in [("sandbox", "sandboxes"), ("snapshots", "snapshots")] {
        let (url, id) = log_url(&api, what).await;
        assert_eq!(url, format!("{}/{there}/{id}/build-logs", server().base_url));
        let followed = api.client.get(format!("{url}?follow=true")).bearer_auth(&api.key).send().await.expect("a log");
        assert_eq!(
            (followed.status().as_u16(), followed.headers()["content-type"].to_str().expect("text")),
            (200, "application/octet-stream")
        );
        let text = followed.text().await.expect("its end");
        assert!(text.ends_with('\n'), "{text:?}");
        // All of it stays, however it ended.
        let whole = api.client.get(&url).bearer_auth(&api.key).send().await.expect("a log");
        assert_eq!(whole.text().await.expect("text"), text);
        let head = api.client.head(&url).bearer_auth(&api.key).send().await.expect("an answer");
        assert_eq!(head.status(), 200);
    }
}

#[tokio::test]
async fn logs_are_their_owners_in_the_proxys_envelope() {
    let (api, other) = (Api::new().await, Api::new().await);
    for (what, there, whose) in
        [("sandbox", "sandboxes", "Sandbox with ID or name"), ("snapshots", "snapshots", "Snapshot with name")]
    {
        let (url, id) = log_url(&api, what).await;
        let (status, refused) = answer(api.client.get(&url).send().await.expect("answer")).await;
        let path = format!("/{there}/{id}/build-logs");
        // Without a code: it is the API's refusal (observed).
        let keys: Vec<&String> = refused.as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["statusCode", "message", "source", "timestamp", "path", "method"]);
        assert_eq!((status, &refused["message"], &refused["path"]), (401, &json!("Invalid credentials"), &json!(path)));
        let stranger = api.client.get(&url).bearer_auth(&other.key).send().await.expect("answer");
        let (status, refused) = answer(stranger).await;
        assert_eq!((status, &refused["message"]), (404, &json!(format!("{whose} {id} not found"))));
        let (status, refused) = answer(api.client.post(&url).bearer_auth(&api.key).send().await.expect("answer")).await;
        assert_eq!((status, &refused["message"]), (404, &json!("not found: not found")));
    }
    let id = api.named("plain").await;
    let url = format!("{}/sandboxes/{id}/build-logs", server().base_url);
    let (status, refused) = answer(api.client.get(&url).bearer_auth(&api.key).send().await.expect("answer")).await;
    assert_eq!((status, &refused["message"]), (404, &json!(format!("Sandbox with ID or name {id} has no build info"))));
    let preflight = api.client.request(reqwest::Method::OPTIONS, url).header("origin", "http://app.example");
    let preflight = preflight.header("access-control-request-method", "GET").send().await.expect("answer");
    assert_eq!(preflight.headers()["access-control-allow-credentials"], "true");
}

/// The API's own route streams the same, but of an active snapshot it has nothing (observed).
#[tokio::test]
async fn the_old_route_is_silent_of_active_snapshots() {
    let api = Api::new().await;
    let (_, id) = log_url(&api, "snapshots").await;
    let done = eventually("the build is over", async || {
        let (_, now) = api.get(&format!("/snapshots/{id}")).await;
        (!["pending", "building"].contains(&now["state"].as_str().unwrap_or_default())).then_some(now)
    })
    .await;
    let old = api.request("GET", &format!("/snapshots/{id}/build-logs")).send().await.expect("answer");
    let (status, kind) = (old.status().as_u16(), old.headers().get("content-type").cloned());
    let text = old.text().await.expect("text");
    if done["state"] == "active" {
        assert_eq!((status, kind, text.as_str()), (200, None, ""));
    } else {
        assert!(status == 200 && !text.is_empty(), "{status} {text}");
    }
}

#[tokio::test]
async fn strict_worlds_read_them_and_the_journal_knows_what_they_are() {
    let api = Api::new().await;
    let (status, minted) = api.control("POST", "/keys", json!({"strict": "reject"})).await;
    assert_eq!(status, 201, "{minted}");
    let api = api.with_key(minted["apiKey"].as_str().expect("a key"));
    let (url, id) = log_url(&api, "sandbox").await;
    let log = api.client.get(format!("{url}?follow=true")).bearer_auth(&api.key).send().await.expect("a log");
    assert_eq!(log.status(), 200);
    log.text().await.expect("its end");
    // What is only deprecated isn't refused: Go's SDK and the CLI ask for it.
    let (status, _) = api.get(&format!("/sandbox/{id}/build-logs")).await;
    assert_eq!(status, 200);
    let read = entries(&api, "operation=getBuildLogs").await;
    let seen: Vec<_> =
        read.iter().map(|one| (&one["plane"], &one["sandbox"], one.get("violations").is_some())).collect();
    assert_eq!(seen, [(&json!("server"), &json!(id), false), (&json!("api"), &json!(id), true)]);
}
