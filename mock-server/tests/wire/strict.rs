//! Strict mode: requests held against the contract, by key.

use daytona_mock::{MockServer, config::Config, model::Strict, strict::Strictness};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::{
    api::Api,
    journal::entries,
    support::{config, server},
};

async fn world(strict: Value) -> Api {
    let api = Api::new().await;
    let (status, minted) = api.control("POST", "/keys", json!({"strict": strict})).await;
    assert_eq!(status, 201, "{minted}");
    api.with_key(minted["apiKey"].as_str().expect("a key"))
}

#[tokio::test]
async fn violations_are_journalled_and_the_request_goes_on() {
    let api = world(json!("journal")).await;
    let (status, made) = api.post("/sandbox", json!({"name": "a", "lables": {"x": "y"}})).await;
    assert_eq!(status, 200, "{made}");
    api.get("/sandbox/a").await;
    let all = entries(&api, "").await;
    assert_eq!(all.len(), 2);
    let violation = &all[0]["violations"][0];
    assert_eq!((&violation["rule"], &violation["path"]), (&json!("unknown-field"), &json!("body.lables")));
    assert_eq!(violation["fix"], "did you mean labels?");
    assert_eq!(all[0]["request"]["body"]["lables"], json!({"x": "y"}), "the body is kept all the same");
    assert!(all[1].get("violations").is_none());
    assert_eq!(entries(&api, "violations=true").await.len(), 1);
}

#[tokio::test]
async fn violations_are_refused_with_what_would_be_right() {
    let api = world(json!("reject")).await;
    let (status, body) = api.post("/sandbox", json!({"auto_stop_interval": 5})).await;
    let text = "strict mode: unknown-field: body.auto_stop_interval is unknown and does nothing (did you mean autoStopInterval?)";
    assert_eq!((status, &body["message"]), (400, &json!(text)));
    assert_eq!(api.get("/sandbox").await.1["items"], json!([]), "nothing was carried out");
    let (status, body) = api.get("/sandboxes").await;
    assert!(
        status == 400 && body["message"].as_str().is_some_and(|text| text.contains("did you mean GET /sandbox?")),
        "{body}"
    );
    let id = api.named("a").await;
    let call = |path: &str, body: Value| {
        let url = format!("{}/toolbox/{id}{path}", server().base_url);
        api.client.post(url).bearer_auth(&api.key).json(&body).send()
    };
    let refused: Value =
        call("/process/execute", json!({"comand": "x"})).await.expect("answer").json().await.expect("JSON");
    let text = refused["message"].as_str().expect("a text");
    assert!(
        refused["statusCode"] == 400
            && text.contains("did you mean command?")
            && text.contains("body.command is missing"),
        "{text}"
    );
    let fine: Value =
        call("/process/execute", json!({"command": "echo fine"})).await.expect("answer").json().await.expect("JSON");
    assert_eq!(fine["result"], "fine\n");
    let old = api.client.get(format!("{}/toolbox/{id}/toolbox/work-dir", api.url)).bearer_auth(&api.key);
    assert_eq!(old.send().await.expect("answer").status(), 400, "the old path is deprecated");
    let plain = api.request("POST", "/sandbox").body("{\"name\": \"b\"}").send().await.expect("answer");
    let text = plain.text().await.expect("text");
    assert!(text.contains("missing-header") && text.contains("application/json"), "{text}");
}

/// No document has it, and every SDK needs it.
#[tokio::test]
async fn terminals_are_opened_as_sdks_do() {
    let api = world(json!("reject")).await;
    let id = api.sandbox(json!({})).await["id"].as_str().expect("an id").to_owned();
    let url = format!("{}/toolbox/{id}/process/pty/create-connect?id=p&cols=80&rows=24", server().base_url);
    let mut request = IntoClientRequest::into_client_request(url.replacen("http", "ws", 1)).expect("a request");
    request.headers_mut().insert("authorization", format!("Bearer {}", api.key).parse().expect("a value"));
    tokio_tungstenite::connect_async(request).await.expect("it isn't refused");
    assert_eq!(entries(&api, "violations=true").await.len(), 0);
}

#[tokio::test]
async fn worlds_that_are_not_strict_are_as_before() {
    let api = Api::new().await;
    assert_eq!(api.post("/sandbox", json!({"lables": {}})).await.0, 200);
    assert!(entries(&api, "violations=true").await.is_empty());
    assert_eq!(api.control("POST", "/keys", json!({"strict": "maybe"})).await.0, 400);
}

#[tokio::test]
async fn a_strict_server_is_strict_with_all_but_those_who_were_let_off() {
    let server = MockServer::start(Config { strict: Some(Strictness::Reject), ..config() }).await.expect("starts");
    let api = Api { url: server.api_url.clone(), key: server.api_key.clone(), client: reqwest::Client::new() };
    assert_eq!(api.get("/sandbox?limt=1").await.0, 400);
    let off = server.mint_with(None, Strict::Off).await.expect("a key");
    assert_eq!(api.with_key(&off.api_key).get("/sandbox?limt=1").await.0, 200);
    server.shutdown().await;
}

#[tokio::test]
async fn the_controls_are_methods_too() {
    let server = MockServer::start(config()).await.expect("starts");
    let key = server.mint().await.expect("a key");
    let world = server.world(&key.api_key).expect("its world");
    assert!(server.world("dtn_wrong").is_err());
    let api = Api { url: server.api_url.clone(), key: key.api_key.clone(), client: reqwest::Client::new() };
    let rule = json!({"match": {"operation": "listSandboxes"}, "effect": {"type": "status", "status": 500}});
    let id = world.fault(rule).await.expect("a fault");
    assert!(world.fault(json!({"effect": {"type": "nope"}})).await.is_err());
    assert_eq!(api.get("/sandbox").await.0, 500);
    assert!(world.remove_fault(&id) && world.faults().is_empty());
    api.named("a").await;
    let failed = world.journal(&[("status", "5xx")]).await.expect("entries");
    assert_eq!((failed.len(), &failed[0]["faults"]), (1, &json!([id])));
    assert!(world.journal(&[("stat", "5xx")]).await.is_err());
    let patience = std::time::Duration::from_millis(10);
    assert!(world.until(&[("operation", "createSandbox")], 2, patience).await.is_err());
    assert_eq!(world.until(&[("operation", "createSandbox")], 1, patience).await.expect("one").len(), 1);
    world.clear_journal().await;
    assert_eq!(world.har(&[]).await.expect("an archive")["log"]["entries"], json!([]));
    api.get("/sandbox").await;
    assert_eq!(world.har(&[]).await.expect("an archive")["log"]["entries"].as_array().map(Vec::len), Some(1));
    let seed = json!({"secrets": [{"name": "S", "value": "v"}], "sandboxes": [{"name": "b", "state": "stopped"}]});
    let sown = world.seed(seed).await.expect("sown");
    assert_eq!(
        (&sown["sandboxes"][0]["name"], api.get("/sandbox/b").await.1["state"].as_str()),
        (&json!("b"), Some("stopped"))
    );
    assert!(world.seed(json!({"sandboxes": [{"nam": "c"}]})).await.is_err());
    let changed = world.organization(json!({"suspended": {"reason": "late"}})).await.expect("changed");
    assert_eq!((&changed["suspended"], api.post("/sandbox", json!({})).await.0), (&json!(true), 403));
    world.organization(json!({"suspended": false, "quota": {"cpu": 3}})).await.expect("changed");
    assert!(world.organization(json!({"quota": {"wheels": 4}})).await.is_err());
    let hook = world.webhook(json!({"url": "http://127.0.0.1:1/"})).await.expect("a webhook");
    assert_eq!(world.webhooks()["endpoints"][0]["id"], hook["id"]);
    assert_eq!(world.deliveries(hook["id"].as_str().expect("an id")).expect("none yet")["items"], json!([]));
    let dies = json!({"match": {"sandbox": "a"}, "effect": {"type": "die"}});
    let id = world.fault(dies).await.expect("a fault");
    assert_ne!(api.get("/sandbox/a").await.1["state"], "started", "it is dead already");
    assert!(world.release_fault(&id) && !world.release_fault("none"));
    world.clear_faults();
    assert!(world.faults().is_empty());
    server.clock().freeze();
    let before = server.clock().now();
    server.advance(std::time::Duration::from_secs(60)).await;
    assert_eq!((server.clock().now() - before).num_seconds(), 60);
    world.reset().await.expect("a reset");
    assert_eq!(api.get("/sandbox").await.1["items"], json!([]));
    server.shutdown().await;
}
