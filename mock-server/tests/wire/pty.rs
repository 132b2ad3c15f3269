//! `/process/pty`: terminals over HTTP and WebSockets.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use futures_util::{SinkExt, StreamExt, future::join_all};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{
    self, Message,
    client::IntoClientRequest,
    handshake::client::Response,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use crate::support::{PATIENCE, Toolbox, eventually, toolbox};

pub type Stream = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

pub const EXIT_CONTROL: &str = "X-Daytona-Pty-Exit-Control";

pub async fn upgrade(tb: &Toolbox, path: &str, protocols: &str) -> tungstenite::Result<(Stream, Response)> {
    let url = format!("{}/process/pty/{path}", tb.url.replacen("http", "ws", 1));
    let mut request = url.into_client_request().expect("request");
    if !protocols.is_empty() {
        request.headers_mut().insert("sec-websocket-protocol", protocols.parse().expect("value"));
    }
    if let Some(key) = &tb.key {
        request.headers_mut().insert("authorization", format!("Bearer {key}").parse().expect("value"));
    }
    tokio_tungstenite::connect_async(request).await
}

/// A client of a terminal.
pub struct Terminal {
    pub stream: Stream,
    /// Bytes of no character are replaced at the end of each frame.
    pub output: String,
    pub controls: Vec<Value>,
    pub close: Option<CloseFrame>,
}

/// Connects and waits for the first frame.
pub async fn terminal(tb: &Toolbox, path: &str, protocols: &str) -> Terminal {
    let (stream, _) = upgrade(tb, path, protocols).await.expect("upgrade");
    let mut terminal = Terminal { stream, output: String::new(), controls: Vec::new(), close: None };
    assert!(terminal.next().await);
    terminal
}

/// One that is ready for commands.
pub async fn connected(tb: &Toolbox, path: &str, protocols: &str) -> Terminal {
    let terminal = terminal(tb, path, protocols).await;
    assert_eq!(terminal.controls, [json!({"type": "control", "status": "connected"})]);
    terminal
}

impl Terminal {
    /// Takes a frame; false after the last.
    pub async fn next(&mut self) -> bool {
        let message = tokio::time::timeout(PATIENCE, self.stream.next()).await;
        match message.unwrap_or_else(|_| panic!("silent after {:?}", self.output)) {
            Some(Ok(Message::Binary(bytes))) => self.output.push_str(&String::from_utf8_lossy(&bytes)),
            Some(Ok(Message::Text(text))) => self.controls.push(serde_json::from_str(&text).expect("JSON")),
            Some(Ok(Message::Close(frame))) => self.close = frame,
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return false,
        }
        true
    }

    pub async fn type_in(&mut self, text: &str) {
        self.stream.send(Message::Binary(text.to_owned().into())).await.expect("sent");
    }

    pub async fn until(&mut self, text: &str) {
        while !self.output.contains(text) {
            assert!(self.next().await, "ended without {text:?}: {:?}", self.output);
        }
    }

    /// Code and reason of the close frame.
    pub async fn closed(&mut self) -> (CloseCode, String) {
        while self.next().await {}
        let close = self.close.take().unwrap_or_else(|| panic!("no close frame: {:?}", self.output));
        (close.code, close.reason.as_str().to_owned())
    }
}

pub async fn answer(res: reqwest::Response) -> (u16, Value) {
    let status = res.status().as_u16();
    (status, res.json().await.expect("JSON"))
}

pub fn closing(code: CloseCode, reason: &str) -> (CloseCode, String) {
    (code, reason.to_owned())
}

pub async fn gone(tb: &Toolbox, id: &str) {
    let path = format!("/process/pty/{id}");
    eventually("the session is gone", async || (tb.get(&path).await.status() == 404).then_some(())).await;
}

#[tokio::test]
async fn a_terminal_in_a_sandbox() {
    let tb = toolbox().await;
    let mut pty = connected(&tb, "create-connect?id=p&cols=100&rows=30", EXIT_CONTROL).await;
    pty.until("@").await;
    pty.type_in("stty size; echo a$((40 + 2))b; exit 5\n").await;
    let reason = r#"{"exitCode":5,"exitReason":"non-zero exit"}"#;
    assert_eq!(pty.closed().await, closing(CloseCode::Error, reason));
    assert!(pty.output.contains("30 100") && pty.output.contains("a42b"), "{:?}", pty.output);
    let exited = json!({"type": "control", "status": "exited", "exitCode": 5, "exitReason": "non-zero exit"});
    assert_eq!(pty.controls[1..], [exited]);
    assert_eq!(answer(tb.get("/process/pty").await).await, (200, json!({"sessions": []})));
    let mut pty = connected(&tb, "create-connect?id=p", "").await;
    pty.type_in("exit\n").await;
    assert_eq!(pty.closed().await, closing(CloseCode::Normal, r#"{"exitCode":0}"#));
    assert_eq!(pty.controls.len(), 1);
}

#[tokio::test]
async fn a_killed_shell_and_a_deleted_one() {
    let tb = toolbox().await;
    let mut pty = connected(&tb, "create-connect?id=p", "").await;
    pty.type_in("kill -9 $$\n").await;
    let killed = r#"{"exitCode":-1,"exitReason":"non-zero exit"}"#;
    assert_eq!(pty.closed().await, closing(CloseCode::Error, killed));
    let mut pty = connected(&tb, "create-connect?id=p", EXIT_CONTROL).await;
    pty.type_in("echo re''ady; sleep 100\n").await;
    pty.until("ready").await;
    let deleted = answer(tb.delete("/process/pty/p").await).await;
    assert_eq!(deleted, (200, json!({"message": "PTY session deleted"})));
    assert_eq!(pty.closed().await, closing(CloseCode::Error, r#"{"exitCode":137,"exitReason":"SIGKILL"}"#));
    assert_eq!(pty.controls[1]["exitCode"], 137);
    let (status, error) = answer(tb.delete("/process/pty/p").await).await;
    assert_eq!((status, &error["message"]), (404, &json!("PTY session not found")));
}

#[tokio::test]
async fn a_lazy_session_starts_with_its_first_client() {
    let tb = toolbox().await;
    let body = json!({"id": "p", "lazyStart": true, "envs": {"A": "1"}, "rows": 0, "cols": 1000});
    assert_eq!(answer(tb.post("/process/pty", body).await).await, (201, json!({"sessionId": "p"})));
    let (_, mut info) = answer(tb.get("/process/pty/p").await).await;
    assert!(info["createdAt"].take().as_str().expect("text").ends_with('Z'));
    let (_, work_dir) = answer(tb.get("/work-dir").await).await;
    let expected = json!({"id": "p", "cwd": work_dir["dir"], "envs": {"A": "1", "TERM": "xterm-256color"}, "cols": 1000,
        "rows": 0, "createdAt": null, "active": false, "lazyStart": true});
    assert_eq!(info, expected);
    let (status, error) = answer(tb.post("/process/pty/p/resize", json!({"cols": 1, "rows": 1})).await).await;
    assert_eq!((status, &error["message"]), (500, &json!("cannot resize inactive PTY session")));
    let mut pty = connected(&tb, "p/connect", "").await;
    pty.type_in("echo [$A:$TERM]\n").await;
    pty.until("[1:xterm-256color]").await;
    assert_eq!(answer(tb.get("/process/pty/p").await).await.1["active"], true);
}

#[tokio::test]
async fn a_lazy_session_that_cannot_start_stays() {
    let tb = toolbox().await;
    assert_eq!(tb.post("/process/pty", json!({"id": "p", "lazyStart": true, "cwd": "later"})).await.status(), 201);
    let mut pty = terminal(&tb, "p/connect", "").await;
    let (code, reason) = pty.closed().await;
    assert!(code == CloseCode::Error && reason.starts_with("Failed to connect to PTY session: "), "{reason}");
    assert_eq!((&pty.controls[0]["status"], &pty.controls[0]["error"]), (&json!("error"), &json!(reason)));
    assert_eq!(answer(tb.get("/process/pty/p").await).await.1["active"], false);
    tb.run("mkdir later").await;
    let mut pty = connected(&tb, "p/connect", "").await;
    pty.type_in("pwd\n").await;
    pty.until("/home/daytona/later\r\n").await;
    assert_eq!(tb.post("/process/pty", json!({"id": "q", "lazyStart": true})).await.status(), 201);
    assert_eq!(tb.delete("/process/pty/q").await.status(), 200);
    gone(&tb, "q").await;
}

#[tokio::test]
async fn clients_share_a_terminal_and_may_leave() {
    let tb = toolbox().await;
    assert_eq!(tb.post("/process/pty", json!({"id": "p"})).await.status(), 201);
    let (mut one, mut two) = (connected(&tb, "p/connect", "").await, connected(&tb, "p/connect", "").await);
    one.type_in("echo o''ne\n").await;
    two.until("one").await;
    one.until("one").await;
    drop(one);
    two.type_in("echo t''wo\n").await;
    two.until("two").await;
    drop(two);
    let mut three = connected(&tb, "p/connect", "").await;
    three.type_in("exit 130\n").await;
    assert_eq!(three.closed().await, closing(CloseCode::Error, r#"{"exitCode":130,"exitReason":"Ctrl+C"}"#));
    gone(&tb, "p").await;
}

#[tokio::test]
async fn resizing() {
    let tb = toolbox().await;
    let mut pty = connected(&tb, "create-connect?id=p", "").await;
    let (status, info) = answer(tb.post("/process/pty/p/resize", json!({"cols": 123, "rows": 45})).await).await;
    assert_eq!((status, &info["cols"], &info["rows"]), (200, &json!(123), &json!(45)));
    pty.type_in("stty size\n").await;
    pty.until("45 123").await;
    let (status, error) = answer(tb.post("/process/pty/p/resize", json!({"cols": 1001, "rows": 45})).await).await;
    assert_eq!((status, &error["message"]), (400, &json!("cols must be less than 1000")));
    let (status, error) = answer(tb.post("/process/pty/x/resize", json!({"cols": 1, "rows": 1})).await).await;
    assert_eq!((status, &error["message"]), (410, &json!("PTY session x not found")));
    let empty = tb.client.post(format!("{}/process/pty/p/resize", tb.url)).send().await.expect("answer");
    assert_eq!(answer(empty).await.1["cols"], 0);
}

#[tokio::test]
async fn bad_requests() {
    let tb = toolbox().await;
    assert_eq!(tb.post("/process/pty", json!({"id": "p", "lazyStart": true})).await.status(), 201);
    for (body, status, message) in [
        (json!({}), 400, "session ID is required"),
        (json!({"id": "p"}), 409, "PTY session with ID 'p' already exists"),
        (json!({"id": "q", "cols": 1001}), 400, "invalid value for cols - must be less than 1000"),
        (json!({"id": "q", "cwd": "/no/such"}), 500, "failed to start PTY session"),
    ] {
        let (is, error) = answer(tb.post("/process/pty", body).await).await;
        assert_eq!((is, &error["message"]), (status, &json!(message)));
    }
    assert_eq!(tb.post("/process/pty", json!({"id": "q", "cols": -1})).await.status(), 400);
    assert_eq!(tb.get("/process/pty/q").await.status(), 404);
    for (query, status, message) in [
        ("", 400, "session ID is required (query param 'id')"),
        ("?id=p", 409, "PTY session with ID 'p' already exists"),
        ("?id=q&cols=x", 400, "cols must be an integer between 0 and 65535"),
        ("?id=q&cols=1&rows=1001", 400, "cols and rows must be less than 1000"),
    ] {
        let refused = upgrade(&tb, &format!("create-connect{query}"), "").await;
        let Err(tungstenite::Error::Http(response)) = refused else { panic!("{refused:?}") };
        let error: Value = serde_json::from_slice(response.body().as_deref().expect("body")).expect("JSON");
        assert_eq!((response.status().as_u16(), &error["message"]), (status, &json!(message)), "{query}");
    }
    for path in ["/process/pty/p/connect", "/process/pty/create-connect?id=q"] {
        let res = tb.get(path).await;
        assert_eq!(res.status(), 400);
        assert!(res.headers()["content-type"].to_str().expect("text").starts_with("text/plain"));
        assert_eq!(res.text().await.expect("text"), "Bad Request\n");
    }
}

#[tokio::test]
async fn failures_after_the_upgrade() {
    let tb = toolbox().await;
    let mut pty = terminal(&tb, "x/connect", "").await;
    let error = "Failed to connect to PTY session: PTY session x not found";
    assert_eq!(pty.closed().await, closing(CloseCode::Error, error));
    assert_eq!(pty.controls, [json!({"type": "control", "status": "error", "error": error})]);
    let mut pty = terminal(&tb, "create-connect?id=q&cwd=/no/such", "").await;
    let (code, reason) = pty.closed().await;
    assert!(code == CloseCode::Error && reason.starts_with("Failed to start PTY session: "), "{reason}");
    assert_eq!(tb.get("/process/pty/q").await.status(), 404);
}

#[tokio::test]
async fn sub_protocols() {
    let tb = toolbox().await;
    let envs = format!("X-Daytona-Pty-Envs~{}", BASE64_URL_SAFE_NO_PAD.encode(r#"{"GREETING":"hi there"}"#));
    let offered = format!("X-Daytona-SDK-Version~0.216.0, {EXIT_CONTROL}, {envs}");
    let (stream, response) = upgrade(&tb, "create-connect?id=p", &offered).await.expect("upgrade");
    assert_eq!(response.headers()["sec-websocket-protocol"], "X-Daytona-SDK-Version~0.216.0");
    let mut pty = Terminal { stream, output: String::new(), controls: Vec::new(), close: None };
    pty.type_in("echo [$GREETING]\n").await;
    pty.until("[hi there]").await;
    for bad in ["%", &BASE64_URL_SAFE_NO_PAD.encode(r#"{"A=B":"1"}"#)] {
        let refused = upgrade(&tb, "create-connect?id=q", &format!("X-Daytona-Pty-Envs~{bad}")).await;
        let Err(tungstenite::Error::Http(response)) = refused else { panic!("{refused:?}") };
        let error: Value = serde_json::from_slice(response.body().as_deref().expect("body")).expect("JSON");
        assert!(error["message"].as_str().expect("text").starts_with("invalid envs subprotocol: "), "{error}");
    }
}

#[tokio::test]
async fn all_output_comes_before_the_end() {
    let tb = toolbox().await;
    let mut pty = connected(&tb, "create-connect?id=p", "").await;
    pty.type_in("seq 100000; exit\n").await;
    assert_eq!(pty.closed().await.0, CloseCode::Normal);
    assert!(pty.output.contains("\n99999\r\n100000\r\n"));
}

#[tokio::test]
async fn any_bytes_in_any_pieces() {
    let tb = toolbox().await;
    let mut pty = connected(&tb, "create-connect?id=p", "").await;
    pty.until("@").await;
    // One character in three frames, the first of them text.
    pty.stream.send(Message::Text("echo i''n-".into())).await.expect("sent");
    for piece in [&b"\xe2\x82"[..], b"\xac", b"\n"] {
        pty.stream.send(Message::Binary(piece.to_vec().into())).await.expect("sent");
    }
    pty.until("in-€\r\n").await;
    // The other way each byte has a frame of its own, so it can't be read as text alone.
    pty.type_in("printf '\\342'; sleep 0.2; printf '\\202'; sleep 0.2; printf '\\254'; printf '\\n%s\\n' do''ne\n")
        .await;
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"done\r\n") && !String::from_utf8_lossy(&bytes).contains("\ndone") {
        match pty.stream.next().await.expect("frame").expect("frame") {
            Message::Binary(chunk) => bytes.extend_from_slice(&chunk),
            other => panic!("{other:?}"),
        }
    }
    assert!(String::from_utf8_lossy(&bytes).contains("€\r\ndone"), "{:?}", String::from_utf8_lossy(&bytes));
}

#[tokio::test]
async fn the_shell_is_gone_when_delete_answers() {
    let tb = toolbox().await;
    let mut pty = connected(&tb, "create-connect?id=p", "").await;
    pty.type_in("trap '' HUP TERM INT; echo pid=$$; sleep 77.707\n").await;
    eventually("it sleeps", async || {
        tb.run("pgrep -f '[s]leep 77.707' || true").await.contains(char::is_numeric).then_some(())
    })
    .await;
    assert_eq!(tb.delete("/process/pty/p").await.status(), 200);
    assert_eq!(tb.run("pgrep -f '[s]leep 77.707' || true").await, "");
    assert_eq!(answer(tb.get("/process/pty").await).await.1, json!({"sessions": []}));
    assert_eq!(pty.closed().await.0, CloseCode::Error);
    // The id is free at once.
    connected(&tb, "create-connect?id=p", "").await;
}

#[tokio::test]
async fn two_hundred_at_once_in_one_sandbox() {
    let tb = toolbox().await;
    join_all((0..200).map(async |n| {
        let mut pty = connected(&tb, &format!("create-connect?id=p{n}"), "").await;
        pty.type_in(&format!("echo $((1000 + {n})); read; exit {}\n", n % 100)).await;
        pty.until(&format!("{}\r\n", 1000 + n)).await;
        if n == 199 {
            let (_, list) = answer(tb.get("/process/pty").await).await;
            assert!(!list["sessions"].as_array().expect("list").is_empty());
        }
        pty.type_in("\n").await;
        let (_, reason) = pty.closed().await;
        assert!(reason.starts_with(&format!("{{\"exitCode\":{}", n % 100)), "{reason}");
    }))
    .await;
    assert_eq!(answer(tb.get("/process/pty").await).await.1, json!({"sessions": []}));
}

#[tokio::test]
async fn a_close_frame_is_answered() {
    let tb = toolbox().await;
    assert_eq!(tb.post("/process/pty", json!({"id": "t"})).await.status(), 201);
    let mut pty = connected(&tb, "t/connect", "").await;
    pty.type_in("echo so''me\n").await;
    pty.until("some").await;
    let frame = CloseFrame { code: CloseCode::Normal, reason: "done".into() };
    pty.stream.send(Message::Close(Some(frame.clone()))).await.expect("sent");
    while pty.next().await {}
    assert_eq!(pty.close, Some(frame));
    let mut other = connected(&tb, "t/connect", "").await;
    other.type_in("echo sti''ll\n").await;
    other.until("still").await;
}
