//! Logs of session commands, over HTTP and followed by WebSocket.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{
    self, Message,
    client::IntoClientRequest,
    handshake::client::Response,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use crate::session::{Session, session};

type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn connect(s: &Session, path: &str, headers: &[(&'static str, &str)]) -> tungstenite::Result<(Socket, Response)> {
    let url = format!("{}/process/session/{path}", s.tb.url.replace("http", "ws"));
    let mut request = url.into_client_request().expect("request");
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().expect("value"));
    }
    if let Some(key) = &s.tb.key {
        request.headers_mut().insert("authorization", format!("Bearer {key}").parse().expect("value"));
    }
    tokio_tungstenite::connect_async(request).await
}

/// All data, and the close frame.
async fn read_to_end(mut socket: Socket) -> (Vec<u8>, Option<CloseFrame>) {
    let mut data = Vec::new();
    while let Some(message) = tokio::time::timeout(Duration::from_secs(20), socket.next()).await.expect("in time") {
        match message.expect("frame") {
            Message::Binary(bytes) => data.extend_from_slice(&bytes),
            Message::Close(frame) => return (data, frame),
            other => panic!("{other:?}"),
        }
    }
    (data, None)
}

const MARKED: &str = "\u{1}\u{1}\u{1}out\n\u{2}\u{2}\u{2}err\n";
const VERSION: &str = "x-daytona-sdk-version";

async fn finished(version: Option<&'static str>) -> (Session, String) {
    let s = session(version).await;
    let run = s.exec("echo out; sleep 0.05; echo err >&2").await;
    let id = run["cmdId"].as_str().expect("id").to_owned();
    (s, id)
}

#[tokio::test]
async fn http_by_sdk_version() {
    let (s, id) = finished(Some("0.216.0")).await;
    let path = format!("{}/process/session/s/command/{id}/logs", s.tb.url);
    // Without an upgrade there is nothing to follow (observed).
    for path in [path.clone(), format!("{path}?follow=true")] {
        let get = |version: Option<&'static str>, split: bool| {
            let mut request = s.tb.client.get(&path);
            if let Some(version) = version {
                request = request.header(VERSION, version);
            }
            if split {
                request = request.header("X-Daytona-Split-Output", "true");
            }
            async move {
                let res = request.send().await.expect("answer");
                let kind = res.headers()["content-type"].to_str().expect("text").to_owned();
                (kind, res.text().await.expect("text"))
            }
        };
        let (kind, body) = get(Some("0.167.0"), false).await;
        assert_eq!(kind, "application/json; charset=utf-8");
        let body: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(body, json!({"output": MARKED, "stdout": "out\n", "stderr": "err\n"}));
        let plain = "text/plain; charset=utf-8".to_owned();
        assert_eq!(get(Some("0.108.0"), false).await, (plain.clone(), MARKED.to_owned()));
        assert_eq!(get(None, true).await, (plain.clone(), MARKED.to_owned()));
        assert_eq!(get(None, false).await, (plain.clone(), "out\nerr\n".to_owned()));
        assert_eq!(get(Some("0.26.0"), false).await, (plain, "out\nerr\n".to_owned()));
    }
}

#[tokio::test]
async fn a_running_command_has_a_log_already() {
    let s = session(Some("0.216.0")).await;
    let id = s.start("echo begun; read x").await;
    let path = format!("/command/{id}/logs");
    let deadline = Instant::now() + Duration::from_secs(20);
    while s.call("GET", &path, json!(null)).await.1["stdout"] != "begun\n" {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(s.call("DELETE", "", json!(null)).await.0, 204);
}

#[tokio::test]
async fn very_old_sdks_follow_over_http() {
    let s = session(Some("0.100.0")).await;
    let id = s.start("echo a; sleep 0.2; echo b").await;
    let request = s.tb.client.get(format!("{}/process/session/s/command/{id}/logs?follow=true", s.tb.url));
    let text = request.header(VERSION, "0.100.0").send().await.expect("answer").text().await.expect("text");
    assert_eq!(text, "\u{1}\u{1}\u{1}a\n\u{1}\u{1}\u{1}b\n");
}

#[tokio::test]
async fn following_ends_promptly_with_the_command() {
    let s = session(Some("0.216.0")).await;
    let id = s.start("echo out; sleep 0.3; echo err >&2").await;
    let path = format!("s/command/{id}/logs?follow=true");
    let (mut socket, _) = connect(&s, &path, &[(VERSION, "0.216.0")]).await.expect("upgrade");
    let first = socket.next().await.expect("frame").expect("frame");
    assert_eq!(first.into_data(), "\u{1}\u{1}\u{1}out\n");
    let start = Instant::now();
    let (rest, close) = read_to_end(socket).await;
    assert_eq!(rest, b"\x02\x02\x02err\n");
    let close = close.expect("close frame");
    assert_eq!((close.code, close.reason.as_str()), (CloseCode::Normal, ""));
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_snapshot_by_web_socket() {
    let s = session(Some("0.216.0")).await;
    let id = s.start("echo out; read x").await;
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let (socket, _) = connect(&s, &format!("s/command/{id}/logs"), &[(VERSION, "0.216.0")]).await.expect("upgrade");
        let (data, close) = read_to_end(socket).await;
        assert_eq!(close.expect("close frame").code, CloseCode::Normal);
        if data == b"\x01\x01\x01out\n" {
            break;
        }
        assert!(Instant::now() < deadline);
    }
}

#[tokio::test]
async fn markers_are_for_those_who_know_them() {
    let (s, id) = finished(Some("0.216.0")).await;
    let path = format!("s/command/{id}/logs?follow=true");
    for (headers, expected) in [
        (&[(VERSION, "0.108.0")][..], MARKED),
        (&[("sec-websocket-protocol", "X-Daytona-SDK-Version~0.216.0")], MARKED),
        (&[(VERSION, "0.26.0")], "out\nerr\n"),
        (&[], "out\nerr\n"),
    ] {
        let (socket, _) = connect(&s, &path, headers).await.expect("upgrade");
        assert_eq!(String::from_utf8(read_to_end(socket).await.0).expect("UTF-8"), expected);
    }
}

#[tokio::test]
async fn the_sub_protocol_is_selected_among_those_offered() {
    let (s, id) = finished(Some("0.216.0")).await;
    let path = format!("s/command/{id}/logs?follow=true");
    let offered = [("sec-websocket-protocol", "other, X-Daytona-SDK-Version~0.216.0")];
    let (_, response) = connect(&s, &path, &offered).await.expect("upgrade");
    assert_eq!(response.headers()["sec-websocket-protocol"], "X-Daytona-SDK-Version~0.216.0");
    let (_, response) = connect(&s, &path, &[(VERSION, "0.216.0")]).await.expect("upgrade");
    assert!(!response.headers().contains_key("sec-websocket-protocol"));
}

#[tokio::test]
async fn unknown_ids_are_404_before_the_upgrade() {
    let (s, id) = finished(Some("0.216.0")).await;
    for path in [format!("nope/command/{id}/logs"), "s/command/nope/logs?follow=true".to_owned()] {
        match connect(&s, &path, &[]).await {
            Err(tungstenite::Error::Http(response)) => assert_eq!(response.status(), 404),
            other => panic!("{:?}", other.map(|_| ())),
        }
    }
}

#[tokio::test]
async fn deleting_the_session_ends_followers() {
    let s = session(Some("0.216.0")).await;
    let id = s.start("echo out; sleep 60.606").await;
    let path = format!("s/command/{id}/logs?follow=true");
    let (mut socket, _) = connect(&s, &path, &[(VERSION, "0.216.0")]).await.expect("upgrade");
    assert!(socket.next().await.expect("frame").is_ok());
    assert_eq!(s.call("DELETE", "", json!(null)).await.0, 204);
    assert_eq!(read_to_end(socket).await.1.expect("close frame").code, CloseCode::Normal);
}

#[tokio::test]
async fn several_followers_get_all_of_a_long_log() {
    let s = session(Some("0.216.0")).await;
    let id = s.start("seq 20000; sleep 0.1; seq 20001 40000").await;
    let path = format!("s/command/{id}/logs?follow=true");
    let expected: String = (1..=40000).map(|i| format!("{i}\n")).collect();
    let followers = (0..3).map(|_| async {
        let (socket, _) = connect(&s, &path, &[]).await.expect("upgrade");
        String::from_utf8(read_to_end(socket).await.0).expect("UTF-8")
    });
    for text in futures_util::future::join_all(followers).await {
        assert!(text == expected, "{} bytes", text.len());
    }
}

#[tokio::test]
async fn a_follower_that_sends_rubbish_or_never_reads_hurts_nobody() {
    let s = session(Some("0.216.0")).await;
    let id = s.start("read x; seq 300000").await;
    let path = format!("s/command/{id}/logs?follow=true");
    let (mut rude, _) = connect(&s, &path, &[]).await.expect("upgrade");
    let (silent, _) = connect(&s, &path, &[]).await.expect("upgrade");
    let (good, _) = connect(&s, &path, &[]).await.expect("upgrade");
    let stream = rude.get_mut();
    // Reserved bits.
    tokio::io::AsyncWriteExt::write_all(stream, &[0xf2, 0x80, 0, 0, 0, 0]).await.expect("sent");
    while let Some(Ok(_)) = rude.next().await {}
    assert_eq!(s.call("POST", &format!("/command/{id}/input"), json!({"data": "go"})).await.0, 204);
    let (text, close) = read_to_end(good).await;
    assert_eq!(close.expect("close frame").code, CloseCode::Normal);
    assert!(text.ends_with(b"300000\n"));
    assert_eq!(s.exit_code(&id).await, 0);
    drop(silent);
    assert_eq!(s.call("DELETE", "", json!(null)).await.0, 204);
}
