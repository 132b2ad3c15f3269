//! What happens by itself, on a server whose clock the test turns.

use daytona_mock::MockServer;
use serde_json::{Value, json};

use crate::{
    api::Api,
    support::{config, eventually},
};

pub async fn frozen() -> (MockServer, Api) {
    let server = MockServer::start(config()).await.expect("the server starts");
    let api = Api { url: server.api_url.clone(), key: server.api_key.clone(), client: reqwest::Client::new() };
    freeze(&api).await;
    (server, api)
}

pub async fn freeze(api: &Api) {
    let (status, clock) = api.control("POST", "/clock", json!({"freeze": true})).await;
    assert_eq!((status, &clock["frozen"]), (200, &json!(true)));
}

pub async fn advance(api: &Api, minutes: u32) {
    assert_eq!(api.control("POST", "/clock", json!({"advance": minutes * 60})).await.0, 200);
}

#[tokio::test]
async fn idle_sandboxes_stop_and_stopped_ones_go() {
    let (server, api) = frozen().await;
    let id = api.named("idle").await;
    api.post("/sandbox/idle/autodelete/30", Value::Null).await;
    advance(&api, 14).await;
    assert_eq!(api.get("/sandbox/idle").await.1["state"], "started");
    api.post("/sandbox/idle/last-activity", Value::Null).await;
    advance(&api, 14).await;
    assert_eq!(api.get("/sandbox/idle").await.1["state"], "started", "activity postpones");
    advance(&api, 1).await;
    api.until(&id, "stopped").await;
    advance(&api, 29).await;
    assert_eq!(api.get("/sandbox/idle").await.1["state"], "stopped");
    advance(&api, 1).await;
    api.until_gone(&id).await;
    server.shutdown().await;
}

#[tokio::test]
async fn a_sandbox_that_somebody_uses_is_not_idle_however_far_the_clock_is_turned() {
    let (server, api) = frozen().await;
    for (round, request) in ["touch in; read wait < fifo", "touch in; read wait < fifo; exit 3"].iter().enumerate() {
        let name = format!("used-{round}");
        let sandbox = api.sandbox(json!({"name": name})).await;
        let url = |path: &str| {
            let text = |field: &str| sandbox[field].as_str().expect("text").to_owned();
            format!("{}/{}{path}", text("toolboxProxyUrl"), text("id"))
        };
        let run = |command: &str| {
            let body = json!({"command": command, "timeout": 60});
            api.client.post(url("/process/execute")).bearer_auth(&api.key).json(&body).send()
        };
        run("mkfifo fifo").await.expect("answer");
        let open = tokio::spawn(run(request));
        eventually("it runs", async || {
            let asked = api.client.get(url("/files/info?path=in")).bearer_auth(&api.key).send().await;
            asked.ok().filter(|answer| answer.status() == 200)
        })
        .await;
        for minutes in [15, 16, 1000] {
            advance(&api, minutes).await;
            assert_eq!(api.get(&format!("/sandbox/{name}")).await.1["state"], "started", "{minutes}");
        }
        run("echo > fifo").await.expect("answer");
        assert_eq!(open.await.expect("no panic").expect("answer").status(), 200);
        advance(&api, 16).await;
        api.until(&name, "stopped").await;
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_time_to_live_ends_whatever_happens_and_0_never_stops() {
    let (server, api) = frozen().await;
    let sandbox = api.sandbox(json!({"name": "short", "ttlMinutes": 10, "autoStopInterval": 0})).await;
    api.sandbox(json!({"name": "forever", "autoStopInterval": 0})).await;
    advance(&api, 9).await;
    assert_eq!(api.get("/sandbox/short").await.1["state"], "started");
    advance(&api, 1).await;
    api.until_gone(sandbox["id"].as_str().expect("id")).await;
    advance(&api, 100_000).await;
    assert_eq!(api.get("/sandbox/forever").await.1["state"], "started");
    server.shutdown().await;
}

#[tokio::test]
async fn an_ephemeral_sandbox_is_deleted_instead_of_stopped() {
    let (server, api) = frozen().await;
    let sandbox = api.sandbox(json!({"autoDeleteInterval": 0, "autoStopInterval": 1})).await;
    advance(&api, 1).await;
    api.until_gone(sandbox["id"].as_str().expect("id")).await;
    assert_eq!(api.control("POST", "/clock", json!({"run": true})).await.1["frozen"], false);
    server.shutdown().await;
}

#[tokio::test]
async fn signed_links_end_by_the_same_clock() {
    let (server, api) = frozen().await;
    api.named("p").await;
    let (_, link) = api.get("/sandbox/p/ports/80/signed-preview-url?expiresInSeconds=60").await;
    let path = format!("/preview/{}/80/sandbox-id", link["token"].as_str().expect("a token"));
    assert_eq!(api.get(&path).await.0, 200);
    advance(&api, 1).await;
    api.refused("GET", &path, Value::Null, 403, "Invalid or expired token").await;
    server.shutdown().await;
}
