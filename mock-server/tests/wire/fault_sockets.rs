//! Faults on WebSockets: they close, end, come late or in pieces, and the next one is fine.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

use crate::{
    faults::{fault, hits, of},
    journal::entries,
    pty::{Stream, upgrade},
    support::{PATIENCE, Sandbox, Toolbox, sandbox, server},
};

async fn pty(sandbox: &Sandbox) -> Toolbox {
    let mut tb = Toolbox::new(sandbox.url(""), sandbox.client.clone());
    tb.key = Some(sandbox.key.clone());
    tb.post("/process/pty", json!({"id": "p", "cols": 80, "rows": 24})).await;
    tb
}

/// The messages until the end.
async fn messages(mut stream: Stream) -> Vec<tokio_tungstenite::tungstenite::Result<Message>> {
    let mut all = Vec::new();
    while let Some(message) = tokio::time::timeout(PATIENCE, stream.next()).await.expect("in time") {
        let end = message.is_err();
        all.push(message);
        if end {
            break;
        }
    }
    all
}

#[tokio::test]
async fn web_sockets_close_in_the_middle() {
    let sandbox = sandbox().await;
    let (api, tb) = (of(&sandbox), pty(&sandbox).await);
    let close = json!({"type": "websocketClose", "code": 4123, "reason": "enough", "afterFrames": 1});
    fault(&api, json!({"match": {"operation": "ConnectPtySession"}, "times": 1, "effect": close})).await;
    let (stream, _) = upgrade(&tb, "p/connect", "").await.expect("upgrade");
    let all = messages(stream).await;
    let Some(Ok(Message::Close(Some(frame)))) = all.iter().find(|m| matches!(m, Ok(Message::Close(_)))) else {
        panic!("{all:?}")
    };
    assert_eq!((u16::from(frame.code), frame.reason.as_str()), (4123, "enough"));
    let entry = entries(&api, "operation=ConnectPtySession&open=false&until=1").await.pop().expect("one");
    let close = &entry["websocket"]["close"];
    assert_eq!((&close["by"], &close["code"], &close["reason"]), (&json!("server"), &json!(4123), &json!("enough")));
    assert!(close["atMs"].as_f64() <= entry["timing"]["endMs"].as_f64(), "{entry}");
    let abrupt = json!({"type": "websocketClose", "code": 1006});
    let id = fault(&api, json!({"match": {"operation": "ConnectPtySession"}, "times": 1, "effect": abrupt})).await;
    let (stream, _) = upgrade(&tb, "p/connect", "").await.expect("upgrade");
    let all = messages(stream).await;
    assert!(!all.iter().any(|message| matches!(message, Ok(Message::Close(_)))), "{all:?}");
    assert_eq!(hits(&api, &id).await, 1);
    let mut fine = crate::pty::connected(&tb, "p/connect", "").await;
    fine.type_in("echo b-$((1+1))\n").await;
    fine.until("b-2").await;
}

/// What comes of an upgrade after the answer's head, and whether a reset ended it.
async fn raw_socket(sandbox: &Sandbox, path: &str) -> (Vec<u8>, bool) {
    let address = server().base_url.trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("connects");
    let url = sandbox.url(path);
    let target = url.strip_prefix(&server().base_url).expect("a path");
    let head = format!(
        "GET {target} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\nconnection: upgrade\r\nupgrade: \
         websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        sandbox.key
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut got = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut got)).await.expect("in time");
    assert!(got.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&got));
    let end = got.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    (got[end..].to_vec(), read.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset))
}

#[tokio::test]
async fn web_sockets_end_are_refused_and_kill() {
    let sandbox = sandbox().await;
    let (api, tb) = (of(&sandbox), pty(&sandbox).await);
    let on_connect = async |effect: Value| {
        fault(&api, json!({"match": {"operation": "ConnectPtySession"}, "times": 1, "effect": effect})).await
    };
    for (effect, bytes, reset) in [
        (json!({"type": "truncate", "bytes": 5}), 5, false),
        (json!({"type": "truncate"}), 0, false),
        (json!({"type": "reset", "afterBytes": 7}), 7, true),
    ] {
        let id = on_connect(effect.clone()).await;
        let (got, was_reset) = raw_socket(&sandbox, "/process/pty/p/connect").await;
        assert_eq!((got.len(), was_reset, hits(&api, &id).await), (bytes, reset, 1), "{effect}");
    }
    let id = on_connect(json!({"type": "commitThenFail", "status": 503})).await;
    match upgrade(&tb, "create-connect?id=q&cols=80&rows=24", "").await {
        Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => assert_eq!(answer.status(), 503),
        other => panic!("{other:?}"),
    }
    assert_eq!(hits(&api, &id).await, 1);
    let listed = sandbox.client.get(sandbox.url("/process/pty")).send().await.expect("answer");
    let listed: Value = listed.json().await.expect("JSON");
    assert!(listed["sessions"].as_array().is_some_and(|all| all.iter().any(|one| one["id"] == "q")), "{listed}");
    let mut fine = crate::pty::connected(&tb, "p/connect", "").await;
    fine.type_in("echo b-$((1+1))\n").await;
    fine.until("b-2").await;
    let id = on_connect(json!({"type": "die"})).await;
    drop(upgrade(&tb, "p/connect", "").await);
    api.until(&sandbox.id, "stopped").await;
    assert_eq!(hits(&api, &id).await, 1);
}

#[tokio::test]
async fn streams_are_cut_inside_characters_and_lose_nothing() {
    let sandbox = sandbox().await;
    let (api, tb) = (of(&sandbox), pty(&sandbox).await);
    let id = fault(&api, json!({"match": {"plane": "toolbox"}, "effect": {"type": "splitFrames", "at": "utf8"}})).await;
    let (mut stream, _) = upgrade(&tb, "p/connect", "").await.expect("upgrade");
    futures_util::SinkExt::send(&mut stream, Message::Binary("printf '<%s>' 'é€'\n".into())).await.expect("sent");
    let (mut bytes, mut broken) = (Vec::new(), false);
    while !String::from_utf8_lossy(&bytes).contains("<é€>") {
        let message =
            tokio::time::timeout(PATIENCE, stream.next()).await.expect("in time").expect("open").expect("a frame");
        if let Message::Binary(piece) = message {
            broken |= std::str::from_utf8(&piece).is_err();
            bytes.extend_from_slice(&piece);
        }
    }
    assert!(broken, "no frame ended inside a character");
    assert_eq!(sandbox.run("printf 'é€ü'").await, "é€ü", "bodies come in pieces, whole");
    let acted = hits(&api, &id).await;
    assert!(acted >= 2);
    api.control("DELETE", "/faults", Value::Null).await;
    let (mut stream, _) = upgrade(&tb, "p/connect", "").await.expect("upgrade");
    futures_util::SinkExt::send(&mut stream, Message::Binary("printf '<%s>' 'ü€'\n".into())).await.expect("sent");
    let mut text = String::new();
    while !text.contains("<ü€>") {
        let message =
            tokio::time::timeout(PATIENCE, stream.next()).await.expect("in time").expect("open").expect("a frame");
        if let Message::Binary(piece) = message {
            text.push_str(std::str::from_utf8(&piece).expect("nothing is cut without a fault"));
        }
    }
}

#[tokio::test]
async fn frames_come_late_and_end_with_markers() {
    let sandbox = sandbox().await;
    let (api, tb) = (of(&sandbox), pty(&sandbox).await);
    let late = json!({"type": "delay", "seconds": 0.5, "at": "body"});
    fault(&api, json!({"match": {"operation": "ConnectPtySession"}, "times": 1, "effect": late})).await;
    let begun = Instant::now();
    let (mut stream, _) = upgrade(&tb, "p/connect", "").await.expect("upgrade");
    let opened = begun.elapsed();
    tokio::time::timeout(PATIENCE, stream.next()).await.expect("in time").expect("open").expect("a frame");
    assert!(begun.elapsed() >= Duration::from_millis(500), "{opened:?} {:?}", begun.elapsed());
    fault(&api, json!({"match": {"plane": "toolbox"}, "effect": {"type": "splitFrames", "at": "afterMarker"}})).await;
    tb.post("/process/session", json!({"sessionId": "s"})).await;
    let run = tb.post("/process/session/s/exec", json!({"command": "echo out", "runAsync": true})).await;
    let run: Value = run.json().await.expect("JSON");
    let path = format!("/process/session/s/command/{}/logs?follow=true", run["cmdId"].as_str().expect("an id"));
    let url = format!("{}{path}", tb.url.replacen("http", "ws", 1));
    let mut request = IntoClientRequest::into_client_request(url).expect("a request");
    let key = format!("Bearer {}", sandbox.key).parse().expect("a value");
    request.headers_mut().insert("authorization", key);
    request.headers_mut().insert("x-daytona-sdk-version", "0.216.0".parse().expect("a value"));
    let (stream, _) = tokio_tungstenite::connect_async(request).await.expect("upgrade");
    let data = messages(stream).await.into_iter().filter_map(|message| match message {
        Ok(Message::Binary(bytes)) => Some(bytes.to_vec()),
        _ => None,
    });
    let data: Vec<Vec<u8>> = data.collect();
    assert_eq!(data.concat(), b"\x01\x01\x01out\n");
    assert_eq!(data[0], b"\x01\x01\x01", "a message of its own: {data:?}");
}
