//! Webhooks: what a receiver gets, how it is signed, and what becomes of a receiver that fails.

use std::sync::{
    Arc,
    atomic::{AtomicU16, Ordering::Relaxed},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use daytona_mock::{MockServer, config::Config};
use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::{
    api::{Api, id},
    support::{config, eventually, server},
};

type Message = (http::HeaderMap, String);

/// Somebody who wants to be told, and answers with a status that the test chooses.
struct Receiver {
    url: String,
    status: Arc<AtomicU16>,
    got: Arc<Mutex<Vec<Message>>>,
}

impl Receiver {
    async fn new() -> Receiver {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let url = format!("http://{}/hook", listener.local_addr().expect("address"));
        let (status, got) = (Arc::new(AtomicU16::new(200)), Arc::new(Mutex::new(Vec::new())));
        let (answers, heard) = (status.clone(), got.clone());
        let hook = axum::routing::post(async move |headers: http::HeaderMap, body: String| {
            heard.lock().push((headers, body));
            let status = http::StatusCode::from_u16(answers.load(Relaxed)).expect("a status");
            (status, "heard")
        });
        let app = axum::Router::new().route("/hook", hook);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Receiver { url, status, got }
    }

    /// The messages so far, once there are so many.
    async fn messages(&self, count: usize) -> Vec<Message> {
        let enough = async || Some(self.got.lock().clone()).filter(|got| got.len() >= count);
        eventually(&format!("{count} messages"), enough).await
    }

    fn forget(&self) {
        self.got.lock().clear();
    }
}

fn parsed(message: &Message) -> Value {
    serde_json::from_str(&message.1).expect("JSON")
}

/// What happened, in short.
fn told(message: &Message) -> String {
    let body = parsed(message);
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    match body["event"].as_str() {
        Some("sandbox.created") => format!("created {}", text("state")),
        _ => format!("{}>{}", text("oldState"), text("newState")),
    }
}

async fn add(api: &Api, body: Value) -> Value {
    let (status, endpoint) = api.control("POST", "/webhooks", body).await;
    assert_eq!(status, 201, "{endpoint}");
    endpoint
}

/// Asserts that a message is signed with a secret, under both names.
fn verify(message: &Message, secret: &str) {
    let (headers, body) = message;
    let text = |name: &str| headers[name].to_str().expect("text").to_owned();
    let key = STANDARD.decode(secret.strip_prefix("whsec_").expect("a secret")).expect("base64");
    for family in ["svix", "webhook"] {
        let (id, at) = (text(&format!("{family}-id")), text(&format!("{family}-timestamp")));
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("a key");
        mac.update(format!("{id}.{at}.{body}").as_bytes());
        let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        assert_eq!(text(&format!("{family}-signature")), expected);
        let age = chrono::Utc::now().timestamp() - at.parse::<i64>().expect("a time");
        assert!((0..60).contains(&age), "{age}");
    }
    assert!(text("svix-id").starts_with("msg_"));
    assert_eq!(text("content-type"), "application/json");
}

#[tokio::test]
async fn a_sandboxes_life_is_told_in_order_and_signed() {
    let (api, receiver) = (Api::new().await, Receiver::new().await);
    let endpoint = add(&api, json!({"url": receiver.url})).await;
    let sandbox = api.sandbox(json!({"name": "told"})).await;
    let got = receiver.messages(3).await;
    let secret = endpoint["secret"].as_str().expect("a secret");
    got.iter().for_each(|message| verify(message, secret));
    assert_eq!(got.iter().map(told).collect::<Vec<_>>(), ["created creating", "unknown>creating", "creating>started"]);
    let created = parsed(&got[0]);
    assert_eq!((&created["id"], &created["organizationId"]), (&json!(id(&sandbox)), &sandbox["organizationId"]));
    assert_eq!((&created["sandboxClass"], &created["createdAt"]), (&json!("container"), &sandbox["createdAt"]));
    assert!(created["timestamp"].is_string() && parsed(&got[2])["updatedAt"].is_string());
    api.delete("/sandbox/told").await;
    let got = receiver.messages(5).await;
    assert_eq!(got[3..].iter().map(told).collect::<Vec<_>>(), ["started>destroying", "destroying>destroyed"]);
}

#[tokio::test]
async fn endpoints_choose_events_and_see_their_own_organisation_only() {
    let (api, other, receiver) = (Api::new().await, Api::new().await, Receiver::new().await);
    add(&api, json!({"url": receiver.url, "eventTypes": ["sandbox.created"]})).await;
    other.named("strange").await;
    api.named("a").await;
    api.named("b").await;
    let got = receiver.messages(2).await;
    assert!(got.iter().all(|message| parsed(message)["event"] == "sandbox.created"), "{got:?}");
    assert_eq!(got.len(), 2);
    for bad in [
        json!({}),
        json!({"url": "x"}),
        json!({"url": receiver.url, "eventTypes": ["nope"]}),
        json!({"url": receiver.url, "secret": "x"}),
        json!({"url": receiver.url, "eventTypes": 5}),
    ] {
        assert_eq!(api.control("POST", "/webhooks", bad.clone()).await.0, 400, "{bad}");
    }
}

#[tokio::test]
async fn what_fails_is_told_again_after_a_while_and_a_restart() {
    let receiver = Receiver::new().await;
    receiver.status.store(500, Relaxed);
    let dir = tempfile::tempdir().expect("temp dir");
    let start = async || {
        let config = Config { data_dir: Some(dir.path().to_owned()), ..config() };
        let server = MockServer::start(config).await.expect("the server starts");
        let api = Api { url: server.api_url.clone(), key: server.api_key.clone(), client: reqwest::Client::new() };
        (server, api)
    };
    let (server, api) = start().await;
    api.control("POST", "/clock", json!({"freeze": true})).await;
    let endpoint = add(&api, json!({"url": receiver.url, "eventTypes": ["sandbox.created"]})).await;
    api.named("x").await;
    let deliveries = async |api: &Api| {
        let path = format!("/webhooks/{}/deliveries", endpoint["id"].as_str().expect("an id"));
        api.control("GET", &path, Value::Null).await.1["items"][0].clone()
    };
    let attempts = async |api: &Api, count: usize| {
        let made = async || {
            let delivery = deliveries(api).await;
            (delivery["attempts"].as_array().map(Vec::len) == Some(count)).then_some(delivery)
        };
        eventually(&format!("{count} attempts"), made).await
    };
    let first = attempts(&api, 1).await;
    assert_eq!((&first["state"], &first["attempts"][0]["status"]), (&json!("pending"), &json!(500)));
    assert_eq!(first["attempts"][0]["answer"], "heard");
    api.control("POST", "/clock", json!({"advance": 5})).await;
    attempts(&api, 2).await;
    server.shutdown().await;
    receiver.status.store(204, Relaxed);
    let (server, api) = start().await;
    assert_eq!(receiver.messages(2).await.len(), 2, "the next one isn't due");
    api.control("POST", "/clock", json!({"advance": 300})).await;
    let last = attempts(&api, 3).await;
    assert_eq!((&last["state"], &last["nextAttemptAt"]), (&json!("delivered"), &Value::Null));
    let got = receiver.messages(3).await;
    assert_eq!((&got[0].1, &got[0].0["svix-id"]), (&got[2].1, &got[2].0["svix-id"]), "the same message");
    server.shutdown().await;
}

#[tokio::test]
async fn nobody_there_is_noted_and_a_replay_tells_again() {
    let (api, receiver) = (Api::new().await, Receiver::new().await);
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        format!("http://{}/", listener.local_addr().expect("address"))
    };
    let nobody = add(&api, json!({"url": gone, "eventTypes": ["sandbox.created"]})).await;
    let endpoint = add(&api, json!({"url": receiver.url, "eventTypes": ["sandbox.created"]})).await;
    api.named("x").await;
    let path = |endpoint: &Value| format!("/webhooks/{}/deliveries", endpoint["id"].as_str().expect("an id"));
    let failed = async || {
        let (_, page) = api.control("GET", &path(&nobody), Value::Null).await;
        page["items"][0]["attempts"][0]["answer"].as_str().map(String::from)
    };
    assert!(eventually("an attempt", failed).await.contains("refused"));
    let first = receiver.messages(1).await;
    let (_, page) = api.control("GET", &path(&endpoint), Value::Null).await;
    let replay = format!("{}/{}/replay", path(&endpoint), page["items"][0]["id"].as_str().expect("an id"));
    assert_eq!(api.control("POST", &replay, Value::Null).await.0, 202);
    let both = receiver.messages(2).await;
    assert_eq!(first[0].0["svix-id"], both[1].0["svix-id"]);
    let unknown = format!("{}/nope/replay", path(&endpoint));
    assert_eq!(api.control("POST", &unknown, Value::Null).await.0, 404);
    let own = format!("/webhooks/{}", endpoint["id"].as_str().expect("an id"));
    assert_eq!(api.control("DELETE", &own, Value::Null).await.0, 204);
    assert_eq!(api.control("DELETE", &own, Value::Null).await.0, 404);
    receiver.forget();
    api.named("y").await;
    api.control("POST", "/reset", Value::Null).await;
    assert_eq!(api.control("GET", "/webhooks", Value::Null).await.1["endpoints"], json!([]), "a reset forgets them");
    assert!(receiver.got.lock().is_empty());
}

#[tokio::test]
async fn the_portal_is_a_page_with_a_token_of_its_own() {
    let api = Api::new().await;
    let (_, me) = api.get("/organizations").await;
    let path = format!("/webhooks/organizations/{}", me[0]["id"].as_str().expect("an id"));
    let missing = "Webhook initialization status not found";
    api.refused("GET", &format!("{path}/initialization-status"), Value::Null, 404, missing).await;
    api.refused("POST", &format!("{path}/refresh-endpoints"), Value::Null, 404, missing).await;
    let (status, made) = api.post(&format!("{path}/initialize"), Value::Null).await;
    assert_eq!((status, &made["organizationId"], &made["lastError"]), (201, &me[0]["id"], &Value::Null));
    assert_eq!(api.get(&format!("{path}/initialization-status")).await, (200, made));
    assert_eq!(api.post(&format!("{path}/refresh-endpoints"), Value::Null).await.0, 204);
    let (status, access) = api.post(&format!("{path}/app-portal-access"), Value::Null).await;
    let token = access["token"].as_str().expect("a token");
    assert_eq!((status, &access["url"]), (201, &json!(format!("{}/webhook-portal#key={token}", server().base_url))));
    let page = reqwest::get(access["url"].as_str().expect("a URL")).await.expect("a page");
    assert!(page.headers()["content-security-policy"].to_str().expect("text").starts_with("default-src 'none'"));
    assert!(page.text().await.expect("text").contains("/webhook-portal/portal.js"));
    for (piece, kind) in [("portal.js", "text/javascript"), ("portal.css", "text/css")] {
        let piece = reqwest::get(format!("{}/webhook-portal/{piece}", server().base_url)).await.expect("answer");
        assert!(piece.status() == 200 && piece.headers()["content-type"].to_str().expect("text").starts_with(kind));
    }
    assert_eq!(reqwest::get(format!("{}/webhook-portal/nope", server().base_url)).await.expect("answer").status(), 404);
    let portal = api.with_key(token);
    let (status, added) = portal.control("POST", "/webhooks", json!({"url": "http://127.0.0.1:9/"})).await;
    assert_eq!(status, 201, "{added}");
    let secret = format!("/webhooks/{}/secret", added["id"].as_str().expect("an id"));
    assert_eq!(portal.control("GET", &secret, Value::Null).await, (200, json!({"key": added["secret"]})));
    assert_eq!(api.control("GET", "/webhooks", Value::Null).await.1["endpoints"][0]["url"], "http://127.0.0.1:9/");
    portal.refused("GET", "/sandbox", Value::Null, 401, "Invalid credentials").await;
    let stranger = Api::new().await;
    assert_eq!(stranger.control("GET", &secret, Value::Null).await.0, 404);
    let context = "Invalid authentication context";
    stranger.refused("POST", &format!("{path}/app-portal-access"), Value::Null, 403, context).await;
    let (_, little) = api.post("/api-keys", json!({"name": "l", "permissions": ["write:sandboxes"]})).await;
    let little = api.with_key(little["value"].as_str().expect("a key"));
    assert_eq!(little.control("GET", &secret, Value::Null).await.0, 403);
}

#[tokio::test]
async fn the_server_can_be_told_whom_to_tell() {
    let receiver = Receiver::new().await;
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let told: daytona_mock::model::webhooks::NewEndpoint =
        format!("{},sandbox.created", receiver.url).parse().expect("fine");
    let config = Config { webhooks: vec![told], webhook_secret: Some(secret.into()), ..config() };
    let server = MockServer::start(config).await.expect("the server starts");
    let first = Api { url: server.api_url.clone(), key: server.api_key.clone(), client: reqwest::Client::new() };
    let (_, minted) = first.control("POST", "/keys", Value::Null).await;
    let second = first.with_key(minted["apiKey"].as_str().expect("a key"));
    for api in [&first, &second] {
        api.named("x").await;
    }
    let got = receiver.messages(2).await;
    got.iter().for_each(|message| verify(message, secret));
    assert_ne!(parsed(&got[0])["organizationId"], parsed(&got[1])["organizationId"]);
    let (_, all) = second.control("GET", "/webhooks", Value::Null).await;
    assert_eq!((&all["endpoints"][0]["source"], &all["endpoints"][0]["id"]), (&json!("server"), &json!("ep_server_0")));
    let (_, own) = second.control("GET", "/webhooks/ep_server_0/deliveries", Value::Null).await;
    assert_eq!(own["items"].as_array().map(Vec::len), Some(1), "not those of others");
    assert_eq!(second.control("GET", "/webhooks/ep_server_0/secret", Value::Null).await.0, 403);
    assert_eq!(second.control("DELETE", "/webhooks/ep_server_0", Value::Null).await.0, 400);
    server.shutdown().await;
    let bad = Config {
        webhook_secret: Some("x".into()),
        webhooks: vec!["http://a.b".parse().expect("fine")],
        ..crate::support::config()
    };
    assert!(MockServer::start(bad).await.is_err());
}

/// The fields of a message, and those of a list in the same order.
fn has_fields(message: &Message, more: &[&str]) {
    let body = parsed(message);
    let fields: Vec<&str> = body.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(fields, [&["event", "timestamp", "id", "organizationId"], more].concat(), "{body}");
}

#[tokio::test]
async fn volumes_and_snapshots_are_told_with_their_fields() {
    let (api, receiver) = (Api::new().await, Receiver::new().await);
    let events =
        ["volume.created", "volume.state.updated", "snapshot.created", "snapshot.state.updated", "snapshot.removed"];
    add(&api, json!({"url": receiver.url, "eventTypes": events})).await;
    let (_, volume) = api.post("/volumes", json!({"name": "v"})).await;
    let got = receiver.messages(3).await;
    has_fields(&got[0], &["name", "state", "createdAt"]);
    let updated = ["name", "oldState", "newState", "updatedAt"];
    has_fields(&got[1], &updated);
    assert_eq!(parsed(&got[0])["id"], volume["id"]);
    let seen: Vec<String> = got[1..].iter().map(told).collect();
    assert_eq!(seen, ["pending_create>creating", "creating>ready"]);
    assert_eq!(api.delete(&format!("/volumes/{}", id(&volume))).await.0, 200);
    let got = receiver.messages(6).await;
    let seen: Vec<String> = got[3..].iter().map(told).collect();
    assert_eq!(seen, ["ready>pending_delete", "pending_delete>deleting", "deleting>deleted"]);

    receiver.forget();
    // One that can't be made will do.
    let (_, snapshot) = api.post("/snapshots", json!({"name": "s", "imageName": "127.0.0.1:1/none:1"})).await;
    let got = receiver.messages(3).await;
    has_fields(&got[0], &["name", "state", "createdAt"]);
    has_fields(&got[1], &updated);
    let seen: Vec<String> = got[1..].iter().map(told).collect();
    assert_eq!(seen, ["pending>pulling", "pulling>error"]);
    assert_eq!(api.delete(&format!("/snapshots/{}", id(&snapshot))).await.0, 200);
    let got = receiver.messages(5).await;
    assert_eq!((told(&got[3]).as_str(), &parsed(&got[4])["event"]), ("error>removing", &json!("snapshot.removed")));
    has_fields(&got[4], &["name", "removedAt"]);
}
