//! `/proxy/{port}/…`.

use std::time::Duration;

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, WebSocketUpgrade, ws::Message as ServerMessage},
    response::Response,
    routing::{any, get},
};
use futures_util::{SinkExt, StreamExt, stream};
use serde_json::Value;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

use crate::support::local_toolbox as toolbox;

/// A server as someone would run it in the sandbox; its port.
async fn server() -> u16 {
    async fn echo(request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let headers: Vec<_> =
            parts.headers.iter().map(|(k, v)| format!("{k}: {}", v.to_str().unwrap_or("?"))).collect();
        let body = axum::body::to_bytes(body, usize::MAX).await.expect("body");
        let answer = serde_json::json!({"method": parts.method.as_str(), "uri": parts.uri.to_string(), "headers": headers, "size": body.len()});
        Response::builder().status(418).header("x-own", "1").body(Body::from(answer.to_string())).expect("response")
    }
    async fn trickle() -> Body {
        let first = stream::once(async { Ok::<_, std::io::Error>(Bytes::from("first\n")) });
        Body::from_stream(first.chain(stream::pending()))
    }
    async fn ws(upgrade: WebSocketUpgrade) -> Response {
        upgrade.protocols(["two"]).on_upgrade(|mut socket| async move {
            while let Some(Ok(ServerMessage::Text(text))) = socket.recv().await {
                let _ = socket.send(ServerMessage::Text(format!("echo {text}").into())).await;
            }
        })
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = listener.local_addr().expect("address").port();
    let app = Router::new().route("/trickle", get(trickle)).route("/ws", get(ws)).fallback(any(echo));
    tokio::spawn(async move { axum::serve(listener, app).await });
    port
}

#[tokio::test]
async fn a_request_arrives_as_it_was_sent() {
    let (tb, port) = (toolbox().await, server().await);
    let url = format!("{}/proxy/{port}/a%2Fb/c%20d?x=%41&y", tb.url);
    let request = tb.client.put(url).header("Authorization", "Bearer t").header("X-Some", "v").body(vec![0; 3 << 20]);
    let res = request.send().await.expect("answer");
    assert_eq!((res.status().as_u16(), &res.headers()["x-own"]), (418, &"1".parse().expect("value")));
    assert!(res.headers().contains_key("x-request-id"));
    let seen: Value = res.json().await.expect("JSON");
    assert_eq!(
        (&seen["method"], &seen["uri"], &seen["size"]),
        (&"PUT".into(), &"/a%2Fb/c%20d?x=%41&y".into(), &(3 << 20).into())
    );
    let headers: Vec<_> = seen["headers"].as_array().expect("headers").iter().filter_map(Value::as_str).collect();
    for expected in
        [&format!("host: localhost:{port}"), "authorization: Bearer t", "x-some: v", "x-forwarded-for: 127.0.0.1"]
    {
        assert!(headers.contains(&expected), "{expected} in {headers:?}");
    }
}

#[tokio::test]
async fn the_root_head_and_the_missing_slash() {
    let (tb, port) = (toolbox().await, server().await);
    let seen: Value = tb.get(&format!("/proxy/{port}/?q")).await.json().await.expect("JSON");
    assert_eq!(seen["uri"], "/?q");
    let head = tb.client.head(format!("{}/proxy/{port}/x", tb.url)).send().await.expect("answer");
    assert_eq!(head.status(), 418);
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("client");
    let res = client.get(format!("{}/proxy/{port}", tb.url)).send().await.expect("answer");
    assert_eq!(
        (res.status().as_u16(), &res.headers()["location"]),
        (301, &format!("/proxy/{port}/").parse().expect("value"))
    );
}

#[tokio::test]
async fn answers_are_streamed() {
    let (tb, port) = (toolbox().await, server().await);
    let mut res = tb.get(&format!("/proxy/{port}/trickle")).await;
    let first = tokio::time::timeout(Duration::from_secs(10), res.chunk()).await.expect("in time").expect("chunk");
    assert_eq!(first.as_deref(), Some(&b"first\n"[..]));
}

#[tokio::test]
async fn nothing_listens() {
    let tb = toolbox().await;
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind").local_addr().expect("address").port();
    for port in [free.to_string(), "70000".into()] {
        let res = tb.get(&format!("/proxy/{port}/")).await;
        assert_eq!((res.status().as_u16(), res.text().await.expect("text").as_str()), (502, ""));
    }
}

#[tokio::test]
async fn no_port() {
    let tb = toolbox().await;
    for port in ["abc", "80x", "-1"] {
        let res = tb.get(&format!("/proxy/{port}/x")).await;
        assert_eq!(res.status(), 400);
        let error: Value = res.json().await.expect("JSON");
        assert!(error["message"].as_str().expect("text").starts_with("bad request: failed to parse target URL: "));
    }
}

#[tokio::test]
async fn web_sockets_with_their_sub_protocols() {
    let (tb, port) = (toolbox().await, server().await);
    let url = format!("{}/proxy/{port}/ws", tb.url.replace("http", "ws"));
    let mut request = url.into_client_request().expect("request");
    request.headers_mut().insert("sec-websocket-protocol", "one, two".parse().expect("value"));
    let (mut socket, response) = tokio_tungstenite::connect_async(request).await.expect("upgrade");
    assert_eq!(response.headers()["sec-websocket-protocol"], "two");
    for i in 0..3 {
        socket.send(Message::text(format!("{i}"))).await.expect("send");
        let answer = socket.next().await.expect("frame").expect("frame");
        assert_eq!(answer, Message::text(format!("echo {i}")));
    }
    socket.close(None).await.expect("close");
}
