//! `createSshAccess`, `revokeSshAccess`, `validateSshAccess`, and what `/config` says.

use base64::{Engine, engine::general_purpose::STANDARD};
use daytona_mock::{
    MockServer,
    config::{Config, SshListen},
};
use serde_json::{Value, json};

use super::text;
use crate::{
    api::Api,
    support::config,
    timers::{advance, frozen},
};

async fn valid(api: &Api, token: &str) -> Value {
    let (status, answer) = api.get(&format!("/sandbox/ssh-access/validate?token={token}")).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

fn nobody() -> Value {
    json!({"valid": false, "sandboxId": ""})
}

#[tokio::test]
async fn a_token_is_made_validated_replaced_and_revoked() {
    let api = Api::new().await;
    let id = api.named("reached").await;
    let (status, first) = api.post("/sandbox/reached/ssh-access", Value::Null).await;
    assert_eq!(status, 200, "{first}");
    let fields: Vec<&String> = first.as_object().expect("object").keys().collect();
    assert_eq!(fields, ["id", "sandboxId", "token", "expiresAt", "createdAt", "updatedAt", "sshCommand"]);
    let token = text(&first, "token");
    assert!(token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{token}");
    assert_eq!(first["sandboxId"], id.as_str());
    let command = text(&first, "sshCommand");
    assert!(command.starts_with("ssh -p ") && command.ends_with(&format!(" {token}@127.0.0.1")), "{command}");
    assert_eq!(valid(&api, &token).await, json!({"valid": true, "sandboxId": id}));

    let (_, second) = api.post("/sandbox/reached/ssh-access?expiresInMinutes=1.5", Value::Null).await;
    assert_eq!(valid(&api, &token).await, nobody(), "a new token replaces the old one");
    let times = ["createdAt", "expiresAt"].map(|name| text(&second, name).parse::<chrono::DateTime<chrono::Utc>>());
    let [Ok(from), Ok(to)] = times else { panic!("{second}") };
    assert_eq!((to - from).num_seconds(), 90);

    let token = text(&second, "token");
    let (status, sandbox) = api.delete("/sandbox/reached/ssh-access?token=nope").await;
    assert_eq!((status, &sandbox["id"]), (200, &json!(id)), "unknown tokens are fine");
    assert_eq!(valid(&api, &token).await["valid"], true);
    api.delete(&format!("/sandbox/reached/ssh-access?token={token}")).await;
    assert_eq!(valid(&api, &token).await, nobody());
    let (_, third) = api.post("/sandbox/reached/ssh-access", Value::Null).await;
    assert_eq!(api.delete("/sandbox/reached/ssh-access").await.0, 200);
    assert_eq!(valid(&api, &text(&third, "token")).await, nobody());
    assert_eq!(api.delete("/sandbox/reached/ssh-access").await.0, 200, "again");
}

/// Nobody looks at how many they are (observed).
#[tokio::test]
async fn any_number_of_minutes_is_taken() {
    let api = Api::new().await;
    api.named("any").await;
    for (minutes, opens) in [("0", false), ("-1", false), ("999999999", true), ("1e300", true), ("-1e300", false)] {
        let (status, access) =
            api.post(&format!("/sandbox/any/ssh-access?expiresInMinutes={minutes}"), Value::Null).await;
        assert_eq!(status, 200, "{minutes}: {access}");
        let end = text(&access, "expiresAt");
        assert!(end.parse::<chrono::DateTime<chrono::Utc>>().is_ok() && end.len() == 24, "{minutes}: {end}");
        assert_eq!(valid(&api, &text(&access, "token")).await["valid"], opens, "{minutes}");
    }
}

#[tokio::test]
async fn bad_input_strangers_and_missing_tokens_are_refused() {
    let api = Api::new().await;
    api.named("mine").await;
    for (minutes, message) in [
        ("x", "expiresInMinutes must be a number conforming to the specified constraints"),
        ("NaN", "expiresInMinutes must be a number conforming to the specified constraints"),
        ("inf", "expiresInMinutes must be a number conforming to the specified constraints"),
    ] {
        let path = format!("/sandbox/mine/ssh-access?expiresInMinutes={minutes}");
        api.refused("POST", &path, Value::Null, 400, message).await;
    }
    let unknown = "Sandbox with ID or name nope not found";
    api.refused("POST", "/sandbox/nope/ssh-access", Value::Null, 404, unknown).await;
    api.refused("DELETE", "/sandbox/nope/ssh-access", Value::Null, 404, unknown).await;
    assert_eq!(api.get("/sandbox/ssh-access/validate").await, (200, nobody()), "no token is none");
    let (_, access) = api.post("/sandbox/mine/ssh-access", Value::Null).await;
    let token = text(&access, "token");
    assert_eq!(valid(&Api::new().await, &token).await, nobody(), "another organisation learns nothing");
    api.with_key("dtn_wrong")
        .refused("GET", "/sandbox/ssh-access/validate", Value::Null, 401, "Invalid credentials")
        .await;
    let (_, key) = api.post("/api-keys", json!({"name": "reader", "permissions": []})).await;
    let reader = api.with_key(&text(&key, "value"));
    reader.refused("POST", "/sandbox/mine/ssh-access", Value::Null, 403, "Access denied").await;
    reader.refused("DELETE", "/sandbox/mine/ssh-access", Value::Null, 403, "Access denied").await;
    assert_eq!(valid(&reader, &token).await["valid"], true);
}

#[tokio::test]
async fn tokens_end_by_the_clock_and_with_their_sandbox() {
    let (server, api) = frozen().await;
    let id = api.named("brief").await;
    let (_, access) = api.post("/sandbox/brief/ssh-access?expiresInMinutes=5", Value::Null).await;
    let token = text(&access, "token");
    advance(&api, 4).await;
    assert_eq!(valid(&api, &token).await["valid"], true);
    advance(&api, 1).await;
    assert_eq!(valid(&api, &token).await, nobody());
    let (_, access) = api.post("/sandbox/brief/ssh-access", Value::Null).await;
    api.delete("/sandbox/brief").await;
    api.until_gone(&id).await;
    assert_eq!(valid(&api, &text(&access, "token")).await, nobody());
    server.shutdown().await;
}

#[tokio::test]
async fn tokens_and_the_host_key_outlive_the_server() {
    let dir = tempfile::tempdir().expect("temp dir");
    let config = || Config { data_dir: Some(dir.path().into()), ..config() };
    let of = |server: &MockServer| Api {
        url: server.api_url.clone(),
        key: server.api_key.clone(),
        client: reqwest::Client::new(),
    };
    let server = MockServer::start(config()).await.expect("starts");
    let api = of(&server);
    api.named("kept").await;
    let (_, access) = api.post("/sandbox/kept/ssh-access", Value::Null).await;
    let (_, before) = api.get("/config").await;
    server.shutdown().await;
    let stored = std::fs::read(dir.path().join("control.sqlite")).expect("the store");
    let token = text(&access, "token");
    assert!(!stored.windows(32).any(|window| window == token.as_bytes()), "only its hash is kept");
    let server = MockServer::start(config()).await.expect("starts again");
    let api = of(&server);
    assert_eq!(valid(&api, &token).await["valid"], true);
    let (_, after) = api.get("/config").await;
    assert_eq!(before["sshGatewayPublicKey"], after["sshGatewayPublicKey"]);
    let line = STANDARD.decode(text(&after, "sshGatewayPublicKey")).expect("Base64");
    assert!(line.starts_with(b"ssh-ed25519 AAAA"), "{after}");
    let port = server.ready().ssh_listen.expect("SSH is on").port();
    assert_eq!(after["sshGatewayCommand"], format!("ssh -p {port} {{{{TOKEN}}}}@127.0.0.1"));
    server.shutdown().await;
}

#[tokio::test]
async fn it_can_be_off_and_a_taken_port_is_told() {
    let off = Config { ssh_listen: Some(SshListen::Off), ..config() };
    let server = MockServer::start(off).await.expect("starts");
    let api = Api { url: server.api_url.clone(), key: server.api_key.clone(), client: reqwest::Client::new() };
    assert_eq!(server.ready().ssh_listen, None);
    assert!(api.get("/config").await.1.get("sshGatewayCommand").is_none());
    api.named("alone").await;
    let message = "SSH is switched off on this server (--ssh-listen off)";
    api.refused("POST", "/sandbox/alone/ssh-access", Value::Null, 503, message).await;
    server.shutdown().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let at = SshListen::At(taken.local_addr().expect("address"));
    let Err(error) = MockServer::start(Config { ssh_listen: Some(at), ..config() }).await else { panic!("it started") };
    assert!(error.to_string().contains("--ssh-listen"), "{error}");
}
