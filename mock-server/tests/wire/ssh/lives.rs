//! How long connections live: with their sandbox, not with their token; and what they keep alive.

use std::time::Duration;

use daytona_mock::{MockServer, config::Config, limits::Limits};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use super::{
    access,
    client::{connect, exec, finish, log_in},
    port, text,
};
use crate::{
    api::Api,
    support::{PATIENCE, config, eventually},
    timers::{advance, freeze},
};

#[tokio::test]
async fn a_revoked_token_ends_what_is_new_and_a_stop_ends_all() {
    let access = access().await;
    let client = log_in(&access).await;
    access.sandbox.api(Method::DELETE, "/ssh-access").await;
    assert_eq!(finish(&mut exec(&client, "echo still").await).await.0, "still\n");
    let mut late = connect(access.port).await;
    assert!(!late.authenticate_none(&access.token).await.expect("answered").success());
    let (token, _) = super::token(&access.sandbox).await;
    let mut running = exec(&client, "sleep 1000").await;
    access.sandbox.api(Method::POST, "/stop").await;
    finish(&mut running).await;
    eventually("the connection is closed", async || client.is_closed().then_some(())).await;
    access.sandbox.until("stopped").await;
    let mut stopped = connect(access.port).await;
    assert!(!stopped.authenticate_none(&token).await.expect("answered").success());
    access.sandbox.api(Method::POST, "/start").await;
    let mut again = connect(access.port).await;
    assert!(again.authenticate_none(&token).await.expect("answered").success(), "tokens outlive a stop");
}

#[tokio::test]
async fn an_idle_connection_ends_with_a_deleted_sandbox() {
    let access = access().await;
    let client = log_in(&access).await;
    let sftp = client.channel_open_session().await.expect("a channel");
    sftp.request_subsystem(true, "sftp").await.expect("asked");
    access.sandbox.api(Method::DELETE, "").await;
    eventually("the connection is closed", async || client.is_closed().then_some(())).await;
}

#[tokio::test]
async fn an_open_connection_is_activity() {
    let server = MockServer::start(config()).await.expect("the server starts");
    let api = Api { url: server.api_url.clone(), key: server.api_key.clone(), client: reqwest::Client::new() };
    let sandbox = api.sandbox(json!({"name": "busy", "autoStopInterval": 2})).await;
    let (_, access) = api.post("/sandbox/busy/ssh-access", Value::Null).await;
    freeze(&api).await;
    let mut client = connect(port(&access)).await;
    assert!(client.authenticate_none(text(&access, "token")).await.expect("answered").success());
    for _ in 0..5 {
        let before = api.get("/sandbox/busy").await.1["lastActivityAt"].clone();
        advance(&api, 1).await;
        eventually("activity is noted", async || {
            (api.get("/sandbox/busy").await.1["lastActivityAt"] != before).then_some(())
        })
        .await;
    }
    assert_eq!(api.get("/sandbox/busy").await.1["state"], "started");
    drop(client);
    let id = sandbox["id"].as_str().expect("id").to_owned();
    eventually("it stops", async || {
        advance(&api, 1).await;
        (api.get(&format!("/sandbox/{id}")).await.1["state"] == "stopped").then_some(())
    })
    .await;
    server.shutdown().await;
}

#[tokio::test]
async fn connections_and_channels_are_bounded() {
    let limits = Limits { ssh_connections: 2, ssh_channels: 3, ssh_unread: 1 << 20, ..Limits::default() };
    let server = MockServer::start(Config { limits, ..config() }).await.expect("the server starts");
    let api = Api { url: server.api_url.clone(), key: server.api_key.clone(), client: reqwest::Client::new() };
    api.named("small").await;
    let (_, access) = api.post("/sandbox/small/ssh-access", Value::Null).await;
    let (port, token) = (port(&access), text(&access, "token"));
    let mut client = connect(port).await;
    assert!(client.authenticate_none(&token).await.expect("answered").success());
    let mut channels = Vec::new();
    for _ in 0..3 {
        channels.push(exec(&client, "sleep 1000").await);
    }
    client.channel_open_session().await.expect_err("one too many");
    channels[0].close().await.expect("closed");
    eventually("there is room again", async || client.channel_open_session().await.ok()).await;
    // Two more connections: the second waits for its turn, and gets it.
    let _second = connect(port).await;
    let mut third = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("connected");
    let mut hello = [0; 8];
    tokio::time::timeout(Duration::from_millis(300), third.read_exact(&mut hello)).await.expect_err("not yet");
    // One that sends more than the server holds loses its connection.
    // This client's send may not notice.
    tokio::select! {
        _ = channels[1].data_bytes(vec![0; 8 << 20]) => {}
        () = eventually("it is cut", async || client.is_closed().then_some(())) => {}
    }
    eventually("it is cut", async || client.is_closed().then_some(())).await;
    tokio::time::timeout(PATIENCE, third.read_exact(&mut hello)).await.expect("in time").expect("a greeting");
    assert_eq!(&hello, b"SSH-2.0-");
    server.shutdown().await;
}
