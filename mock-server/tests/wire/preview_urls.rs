//! Preview links, signed ones, signing keys and the look-ups behind them.

use serde_json::{Value, json};

use daytona_mock::{MockServer, config::Config};

use crate::{
    api::{Api, answer},
    support::config,
};

/// A server whose previews are told apart by names, whatever this machine's resolver knows.
async fn by_names() -> (MockServer, Api) {
    let config = Config { preview_domain: Some("localhost".into()), ..config() };
    let server = MockServer::start(config).await.expect("the server starts");
    let api = Api { url: server.api_url.clone(), key: server.api_key.clone(), client: reqwest::Client::new() };
    (server, api)
}

#[tokio::test]
async fn preview_url() {
    let (server, api) = by_names().await;
    let id = api.named("p").await;
    let (status, link) = api.get("/sandbox/p/ports/3000/preview-url").await;
    assert_eq!((status, &link["sandboxId"]), (200, &json!(id)));
    assert_eq!(link["url"], format!("http://3000-{id}.localhost:{}", server.ready().listen.port()));
    assert_eq!(link["token"].as_str().map(str::len), Some(32));
    let spelled = [("x", "NaN"), ("80.5", "80.5"), ("22222", "22222"), ("3000.0", "3000"), ("3e3", "3000")];
    for (port, part) in spelled {
        let (status, link) = api.get(&format!("/sandbox/p/ports/{port}/preview-url")).await;
        assert!(status == 200 && link["url"].as_str().is_some_and(|url| url.contains(&format!("//{part}-"))), "{link}");
    }
    for port in ["0", "-1", "65536"] {
        api.refused("GET", &format!("/sandbox/p/ports/{port}/preview-url"), Value::Null, 400, "Invalid port").await;
    }
    server.shutdown().await;
}

#[tokio::test]
async fn signed_preview_url() {
    let (server, api) = by_names().await;
    let id = api.named("p").await;
    let (status, link) = api.get("/sandbox/p/ports/3000/signed-preview-url?expiresInSeconds=86400").await;
    assert_eq!((status, &link["sandboxId"], &link["port"]), (200, &json!(id), &json!(3000)));
    let token = link["token"].as_str().expect("a token");
    assert_eq!(token.len(), 16);
    assert!(link["url"].as_str().is_some_and(|url| url.contains(&format!("//3000-{token}."))));
    let look_up = async |port: u16| {
        let url = format!("{}/preview/{token}/{port}/sandbox-id", api.url);
        answer(api.client.get(url).send().await.expect("answer")).await
    };
    assert_eq!(look_up(3000).await, (200, json!(id)), "open to all, as text");
    assert_eq!(look_up(3001).await.1["message"], "Invalid or expired token");
    let expire = format!("/sandbox/p/ports/3000/signed-preview-url/{token}/expire");
    assert_eq!(api.post(&expire, Value::Null).await, (201, Value::Null));
    assert_eq!(api.post(&expire, Value::Null).await, (201, Value::Null));
    assert_eq!(look_up(3000).await.0, 403);
    let range = "expiresInSeconds must be between 1 second and 24 hours";
    for (seconds, message) in
        [("0", range), ("-1", range), ("86401", range), ("x", "expiresInSeconds must be an integer number")]
    {
        let path = format!("/sandbox/p/ports/3000/signed-preview-url?expiresInSeconds={seconds}");
        api.refused("GET", &path, Value::Null, 400, message).await;
    }
    for port in ["0", "-1", "65536", "80.5"] {
        api.refused("GET", &format!("/sandbox/p/ports/{port}/signed-preview-url"), Value::Null, 400, "Invalid port")
            .await;
    }
    assert_eq!(api.get("/sandbox/p/ports/3000.0/signed-preview-url").await.1["port"], 3000);
    let (status, nowhere) = api.get("/sandbox/p/ports/x/signed-preview-url").await;
    assert_eq!((status, &nowhere["port"]), (200, &Value::Null), "{nowhere}");
    let token = nowhere["token"].as_str().expect("a token");
    assert!(nowhere["url"].as_str().is_some_and(|url| url.contains(&format!("//NaN-{token}."))), "{nowhere}");
    let path = "/sandbox/p/ports/x/signed-preview-url?expiresInSeconds=0";
    api.refused("GET", path, Value::Null, 400, range).await;
    server.shutdown().await;
}

#[tokio::test]
async fn the_signing_key_is_raw_text_and_changes() {
    let api = Api::new().await;
    api.named("p").await;
    let key = async |method: &str, path: &str| {
        let res = api.request(method, path).send().await.expect("answer");
        assert_eq!(
            (res.status().as_u16(), res.headers()["content-type"].as_bytes()),
            (200, &b"text/html; charset=utf-8"[..])
        );
        res.text().await.expect("text")
    };
    let first = key("GET", "/sandbox/p/signing-key").await;
    assert!(first.len() > 32 && !first.starts_with('"'), "{first}");
    assert_eq!(key("GET", "/sandbox/p/signing-key").await, first);
    let second = key("POST", "/sandbox/p/signing-key/rotate").await;
    assert_ne!(first, second);
    assert_eq!(key("GET", "/sandbox/p/signing-key").await, second);
}

#[tokio::test]
async fn look_ups() {
    let api = Api::new().await;
    let id = api.named("p").await;
    let (status, body) =
        answer(api.request("GET", &format!("/preview/{id}/access")).send().await.expect("answer")).await;
    assert_eq!((status, body), (200, json!(true)));
    let missing = format!("Sandbox with ID {id} not found");
    Api::new().await.refused("GET", &format!("/preview/{id}/access"), Value::Null, 404, &missing).await;
    for path in ["public", "validate/x", "signing-key", "preview-warning"] {
        let path = format!("/preview/{id}/{path}");
        api.refused("GET", &path, Value::Null, 403, "Invalid authentication context").await;
        api.with_key("wrong").refused("GET", &path, Value::Null, 401, "Invalid credentials").await;
    }
}
