//! Socket.IO at `/api/socket.io/`, spoken frame by frame.

use futures_util::{SinkExt, StreamExt};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

use daytona_mock::MockServer;

use crate::support::{PATIENCE, Sandbox, client, config, new_key, server};

pub struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    async fn open() -> (Socket, Value) {
        let url = format!("{}/socket.io/?EIO=4&transport=websocket", server().api_url).replacen("http", "ws", 1);
        let mut socket = Socket(connect_async(url).await.expect("connects").0);
        let open = socket.next().await;
        let open = serde_json::from_str(open.strip_prefix('0').expect("an open packet")).expect("JSON");
        (socket, open)
    }

    /// Connected with a key.
    pub async fn with(key: &str) -> Socket {
        let (mut socket, _) = Socket::open().await;
        socket.send(&format!("40{}", json!({"token": key}))).await;
        let answer = socket.next().await;
        assert!(answer.starts_with("40{\"sid\":"), "{answer}");
        socket
    }

    async fn send(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.expect("sends");
    }

    /// The next packet that isn't a ping.
    async fn next(&mut self) -> String {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.0.next()).await.expect("in time");
            let text = message.expect("open").expect("a frame").into_text().expect("text").to_string();
            if text != "2" {
                return text;
            }
            self.send("3").await;
        }
    }

    pub async fn event(&mut self) -> (String, Value) {
        let text = self.next().await;
        let body = text.strip_prefix("42").unwrap_or_else(|| panic!("no event: {text}"));
        serde_json::from_str(body).expect("[name, payload]")
    }

    /// The code that the server closes with, after whatever it has to say.
    pub async fn close_code(&mut self) -> u16 {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.0.next()).await.expect("in time");
            if let Message::Close(frame) = message.expect("open").expect("a frame") {
                return frame.expect("a code").code.into();
            }
        }
    }

    /// `old>new` of the next event called `name`, which must be about this sandbox.
    async fn change(&mut self, name: &str, sandbox: &str) -> String {
        let (event, payload) = self.event().await;
        assert_eq!((event.as_str(), payload["sandbox"]["id"].as_str()), (name, Some(sandbox)));
        let what = if name == "sandbox.state.updated" { "State" } else { "DesiredState" };
        let state = |when: &str| payload[format!("{when}{what}")].as_str().expect("a state").to_owned();
        format!("{}>{}", state("old"), state("new"))
    }
}

#[tokio::test]
async fn the_open_packet_is_the_observed_one() {
    let (_, open) = Socket::open().await;
    assert!(open["sid"].is_string());
    let rest = (&open["upgrades"], &open["pingInterval"], &open["pingTimeout"], &open["maxPayload"]);
    assert_eq!(rest, (&json!([]), &json!(25000), &json!(20000), &json!(1_000_000)));
}

/// Clients that aren't the library's read the answer there and nothing else.
#[tokio::test]
async fn no_ping_comes_before_the_answer() {
    let key = new_key().await;
    for _ in 0..5 {
        let (mut socket, _) = Socket::open().await;
        socket.send(&format!("40{}", json!({"token": key}))).await;
        let mut frame = async || socket.0.next().await.expect("open").expect("a frame").into_text().expect("text");
        assert!(frame().await.starts_with("40{\"sid\":"));
        assert_eq!(frame().await, "2");
    }
}

#[tokio::test]
async fn a_server_ends_though_clients_left_while_they_were_let_in() {
    let server = MockServer::start(config()).await.expect("starts");
    let url = format!("{}/socket.io/?EIO=4&transport=websocket", server.api_url).replacen("http", "ws", 1);
    let hello = format!("40{}", json!({"token": server.api_key}));
    for _ in 0..50 {
        let mut socket = connect_async(&url).await.expect("connects").0;
        socket.send(Message::text(hello.clone())).await.expect("sends");
        drop(socket);
    }
    let _stays = connect_async(&url).await.expect("connects");
    tokio::time::timeout(PATIENCE, server.shutdown()).await.expect("it ends");
}

#[tokio::test]
async fn wrong_keys_are_unauthorized_and_the_socket_stays_open() {
    let key = new_key().await;
    let (mut socket, _) = Socket::open().await;
    for auth in ["40{\"token\":\"nope\"}", "40{\"token\":\"eyJh.eyJi.c\"}", "40{}", "40", "40{\"token\":5}"] {
        socket.send(auth).await;
        assert_eq!(socket.next().await, "44{\"message\":\"Unauthorized\"}", "{auth}");
    }
    socket.send(&format!("40{}", json!({"token": key}))).await;
    assert!(socket.next().await.starts_with("40{\"sid\":"));
}

#[tokio::test]
async fn a_life_is_told_in_order() {
    let key = new_key().await;
    let mut socket = Socket::with(&key).await;
    let client = client(&key);
    let create = client.post(format!("{}/sandbox", server().api_url)).json(&json!({})).send().await.expect("answer");
    let dto: Value = create.json().await.expect("JSON");
    let id = dto["id"].as_str().expect("id").to_owned();
    let sandbox = Sandbox { id: id.clone(), key, client };

    let (name, created) = socket.event().await;
    assert_eq!((name.as_str(), &created["id"], &created["state"]), ("sandbox.created", &dto["id"], &json!("creating")));
    assert_eq!(created["toolboxProxyUrl"], format!("{}/toolbox", server().base_url));
    let mut states = socket.change("sandbox.state.updated", &id).await;
    if states == "unknown>creating" {
        states = socket.change("sandbox.state.updated", &id).await;
    }
    assert_eq!(states, "creating>started");

    assert_eq!(sandbox.api(Method::POST, "/stop").await.0, 200);
    assert_eq!(socket.change("sandbox.desired-state.updated", &id).await, "started>stopped");
    assert_eq!(socket.change("sandbox.state.updated", &id).await, "started>stopping");
    assert_eq!(socket.change("sandbox.state.updated", &id).await, "stopping>stopped");

    assert_eq!(sandbox.api(Method::POST, "/start").await.0, 200);
    assert_eq!(socket.change("sandbox.desired-state.updated", &id).await, "stopped>started");
    assert_eq!(socket.change("sandbox.state.updated", &id).await, "stopped>starting");
    assert_eq!(socket.change("sandbox.state.updated", &id).await, "starting>started");

    assert_eq!(sandbox.api(Method::DELETE, "").await.0, 200);
    assert_eq!(socket.change("sandbox.desired-state.updated", &id).await, "started>destroyed");
    assert_eq!(socket.change("sandbox.state.updated", &id).await, "started>destroying");
    assert_eq!(socket.change("sandbox.state.updated", &id).await, "destroying>destroyed");
}

#[tokio::test]
async fn one_organisation_hears_nothing_of_another() {
    let (mine, theirs) = (new_key().await, new_key().await);
    let mut socket = Socket::with(&mine).await;
    let create = async |key: &str| {
        let request = client(key).post(format!("{}/sandbox", server().api_url)).json(&json!({}));
        request.send().await.expect("answer").json::<Value>().await.expect("JSON")["id"].clone()
    };
    create(&theirs).await;
    let id = create(&mine).await;
    let (name, first) = socket.event().await;
    assert_eq!((name.as_str(), &first["id"]), ("sandbox.created", &id));
}
