//! `/proxy/{port}/…`.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

use crate::support::{Toolbox, eventually, toolbox};

/// A sandbox with servers as someone would run them in it: `echo.py` and `ws.py`, with their ports.
async fn serving() -> (Toolbox, u16, u16) {
    let tb = toolbox().await;
    // At random: in tier process all sandboxes have the host's ports.
    let port = 10_000 + (uuid::Uuid::new_v4().as_u128() % 20_000) as u16;
    for (name, program, port) in [("echo", include_str!("echo.py"), port), ("ws", include_str!("ws.py"), port + 1)] {
        let start = format!(
            "cat > {name}.py <<'EOF'\n{program}\nEOF\nsetsid python3 {name}.py {port} >/dev/null 2>&1 </dev/null &"
        );
        tb.run(&start).await;
        eventually("it listens", async || (tb.get(&format!("/proxy/{port}/")).await.status() == 200).then_some(()))
            .await;
    }
    (tb, port, port + 1)
}

#[tokio::test]
async fn a_request_arrives_as_it_was_sent() {
    let (tb, port, _) = serving().await;
    let url = format!("{}/proxy/{port}/a%2Fb/c%20d?x=%41&y", tb.url);
    let request = tb.client.put(url).header("X-Some", "v").body(vec![0; 3 << 20]);
    let res = request.send().await.expect("answer");
    assert_eq!((res.status().as_u16(), &res.headers()["x-own"]), (418, &"1".parse().expect("value")));
    assert!(res.headers().contains_key("x-request-id"));
    let seen: Value = res.json().await.expect("JSON");
    assert_eq!(
        (&seen["method"], &seen["path"], &seen["size"]),
        (&"PUT".into(), &"/a%2Fb/c%20d?x=%41&y".into(), &(3 << 20).into())
    );
    let headers = seen["headers"].as_array().expect("headers").iter();
    let headers: Vec<_> = headers.map(|pair| format!("{}: {}", pair[0], pair[1]).to_lowercase()).collect();
    for expected in [
        format!("\"host\": \"localhost:{port}\""),
        "\"x-some\": \"v\"".into(),
        "\"x-forwarded-for\": \"127.0.0.1\"".into(),
    ] {
        assert!(headers.contains(&expected), "{expected} in {headers:?}");
    }
}

#[tokio::test]
async fn whoever_asked_before_is_still_told() {
    let (tb, port, _) = serving().await;
    let request = tb.client.get(format!("{}/proxy/{port}/", tb.url));
    let request = request.header("X-Forwarded-For", "10.1.1.1").header("X-Forwarded-For", "10.2.2.2, 10.3.3.3");
    let seen: Value = request.send().await.expect("answer").json().await.expect("JSON");
    let headers = seen["headers"].as_array().expect("headers").iter();
    let told: Vec<_> = headers
        .filter(|pair| pair[0].as_str().is_some_and(|name| name.eq_ignore_ascii_case("x-forwarded-for")))
        .collect();
    assert_eq!(told.len(), 1, "{seen}");
    assert_eq!(told[0][1], "10.1.1.1, 10.2.2.2, 10.3.3.3, 127.0.0.1");
}

#[tokio::test]
async fn the_root_head_and_the_missing_slash() {
    let (tb, port, _) = serving().await;
    let seen: Value = tb.get(&format!("/proxy/{port}/?q")).await.json().await.expect("JSON");
    assert_eq!(seen["path"], "/?q");
    let head = tb.client.head(format!("{}/proxy/{port}/x", tb.url)).send().await.expect("answer");
    assert_eq!(head.status(), 418);
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("client");
    let request = client.get(format!("{}/proxy/{port}", tb.url)).bearer_auth(tb.key.as_deref().expect("a key"));
    let res = request.send().await.expect("answer");
    let path = reqwest::Url::parse(&tb.url).expect("an URL").path().to_owned();
    assert_eq!(
        (res.status().as_u16(), &res.headers()["location"]),
        (301, &format!("{path}/proxy/{port}/").parse().expect("value"))
    );
}

#[tokio::test]
async fn answers_are_streamed() {
    let (tb, port, _) = serving().await;
    let mut res = tb.get(&format!("/proxy/{port}/trickle")).await;
    let first = tokio::time::timeout(Duration::from_secs(10), res.chunk()).await.expect("in time").expect("chunk");
    assert_eq!(first.as_deref(), Some(&b"first\n"[..]));
}

#[tokio::test]
async fn nothing_listens() {
    let tb = toolbox().await;
    for port in ["9", "70000"] {
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
    let (tb, _, port) = serving().await;
    let url = format!("{}/proxy/{port}/echo", tb.url.replace("http", "ws"));
    let mut request = url.into_client_request().expect("request");
    let key = format!("Bearer {}", tb.key.as_deref().expect("a key"));
    request.headers_mut().insert("authorization", key.parse().expect("value"));
    request.headers_mut().insert("sec-websocket-protocol", "one, two".parse().expect("value"));
    let (mut socket, response) = tokio_tungstenite::connect_async(request).await.expect("upgrade");
    assert_eq!(response.headers()["sec-websocket-protocol"], "two");
    for i in 0..3 {
        socket.send(Message::text(format!("{i}"))).await.expect("send");
        let answer = socket.next().await.expect("frame").expect("frame");
        assert_eq!(answer, Message::text(format!("{i}")));
    }
    socket.close(None).await.expect("close");
}

#[tokio::test]
async fn an_answer_before_the_body_arrives() {
    let tb = toolbox().await;
    for _ in 0..10 {
        let request = tb.client.delete(format!("{}/files?path=nope", tb.url)).body(vec![b'x'; 1 << 20]);
        assert_eq!(request.send().await.expect("an answer").status(), 404);
    }
    let (tb, port, _) = serving().await;
    let hasty = "import socket,sys\ns=socket.create_server(('127.0.0.1',int(sys.argv[1])))\nwhile True:\n c,_=s.accept()\n c.recv(100)\n \
        c.sendall(b'HTTP/1.1 413 Too Large\\r\\nContent-Length: 2\\r\\n\\r\\nno')\n c.close()\n";
    let start =
        format!("cat > h.py <<'EOF'\n{hasty}\nEOF\nsetsid python3 h.py {} >/dev/null 2>&1 </dev/null &", port + 2);
    tb.run(&start).await;
    let url = format!("{}/proxy/{}/", tb.url, port + 2);
    eventually("it listens", async || (tb.client.get(&url).send().await.ok()?.status() == 413).then_some(())).await;
    for _ in 0..10 {
        let res = tb.client.post(&url).body(vec![b'x'; 3 << 20]).send().await.expect("an answer");
        assert_eq!(res.status(), 413);
    }
}
