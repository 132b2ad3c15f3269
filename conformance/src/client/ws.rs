//! WebSockets, with every message recorded.

use std::{borrow::Cow, time::Duration};

use futures_util::{SinkExt, StreamExt};
use reqwest::header::HeaderMap;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Error,
        handshake::{client::generate_key, derive_accept_key},
        protocol::{CloseFrame, Role, frame::coding::CloseCode},
    },
};

pub use tokio_tungstenite::tungstenite::Message;

use super::{Answer, Client, exchange, exchange::Exchange, exchange::Frame, request::chain};
use crate::{
    contract,
    stop::{Result, Stop},
};

/// A connection in the making.
#[must_use = "nothing is connected until `connect` or `dial`"]
pub struct WsRequest {
    client: Client,
    url: String,
    path: String,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    timeout: Duration,
}

/// What came of it.
pub enum Dial {
    Open(Box<Socket>),
    /// An answer other than 101.
    Refused(Box<Answer>),
}

impl WsRequest {
    pub(super) fn new(client: Client, path: &str) -> Self {
        let url = if path.contains("://") { path.to_owned() } else { format!("{}{path}", client.0.base) };
        let mut headers = client.0.headers.clone();
        if let Some(key) = &client.0.key {
            headers.push(("Authorization".to_owned(), format!("Bearer {key}")));
        }
        let timeout = client.0.timeout;
        Self { client, url, path: path.to_owned(), query: vec![], headers, timeout }
    }

    /// Adds a query parameter.
    pub fn query(mut self, name: &str, value: impl ToString) -> Self {
        self.query.push((name.to_owned(), value.to_string()));
        self
    }

    /// Sets a header; an earlier value is gone.
    pub fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    /// Without credentials.
    pub fn no_key(mut self) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case("authorization"));
        self
    }

    /// Offers sub-protocols, the first one first.
    pub fn protocols(self, offered: &[&str]) -> Self {
        self.header("Sec-WebSocket-Protocol", offered.join(", "))
    }

    /// Connects, or leaves the scenario untestable.
    pub async fn connect(self) -> Result<Socket> {
        let url = self.client.0.secrets.text(&self.url);
        match self.dial().await? {
            Dial::Open(socket) => Ok(*socket),
            Dial::Refused(answer) => {
                Err(Stop::untestable(format!("WebSocket {url} was refused with {}", answer.summary())))
            }
        }
    }

    /// Tries to connect; a 429 is waited out.
    pub async fn dial(self) -> Result<Dial> {
        let mut waited = Duration::ZERO;
        loop {
            match self.dial_once().await? {
                Dial::Refused(answer) if answer.status == 429 => {
                    self.client.0.waits.wait_out(&answer.headers, &mut waited).await?;
                }
                dialled => return Ok(dialled),
            }
        }
    }

    async fn dial_once(&self) -> Result<Dial> {
        let mut url = reqwest::Url::parse_with_params(&self.url, &self.query).map_err(Stop::harness)?;
        if self.query.is_empty() {
            url.set_query(reqwest::Url::parse(&self.url).map_err(Stop::harness)?.query());
        }
        let scheme = if matches!(url.scheme(), "https" | "wss") { "https" } else { "http" };
        let url = url.as_str().split_once("://").map_or_else(String::new, |(_, rest)| format!("{scheme}://{rest}"));
        let key = generate_key();
        let mut request = self.client.0.http.get(url);
        for (name, value) in [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")] {
            request = request.header(name, value);
        }
        request = request.header("Sec-WebSocket-Key", &key);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.build().map_err(Stop::harness)?;
        let exchange = self.exchange(&request);
        self.client.0.gate.pass(&self.client.0.waits).await;
        match tokio::time::timeout(self.timeout, self.client.0.http.execute(request)).await {
            Ok(Ok(answer)) if answer.status() == 101 => self.opened(exchange, answer, &key).await,
            Ok(Ok(answer)) => self.refused(exchange, answer).await,
            Ok(Err(error)) => Err(self.unanswered(exchange, &chain(&error))),
            Err(_) => Err(self.unanswered(exchange, &format!("no answer within {:?}", self.timeout))),
        }
    }

    async fn opened(&self, mut exchange: Exchange, answer: reqwest::Response, key: &str) -> Result<Dial> {
        exchange.status = Some(101);
        exchange.answer_headers = exchange::headers(answer.headers(), &self.client.0.secrets);
        let protocol = match self.accepted(answer.headers(), key) {
            Ok(protocol) => protocol,
            Err(why) => return Err(self.unanswered(exchange, &why)),
        };
        if let Some(operation) = exchange.operation {
            self.client.0.watch.saw(operation, true);
        }
        let upgraded = match answer.upgrade().await {
            Ok(upgraded) => upgraded,
            Err(error) => return Err(self.unanswered(exchange, &chain(&error))),
        };
        let exchange = self.client.0.log.exchange(exchange);
        let stream = WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await;
        Ok(Dial::Open(Box::new(Socket { stream, client: self.client.clone(), exchange, protocol })))
    }

    /// Is the answer's head as RFC 6455 wants it? The sub-protocol that the server selected.
    fn accepted(&self, answer: &HeaderMap, key: &str) -> Result<Option<String>, String> {
        let header = |name: &str| answer.get(name).and_then(|value| value.to_str().ok());
        if !header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket")) {
            return Err(format!("upgraded to {:?}, not to websocket", header("upgrade")));
        }
        if header("sec-websocket-accept") != Some(derive_accept_key(key.as_bytes()).as_str()) {
            return Err("Sec-WebSocket-Accept doesn't fit the key".to_owned());
        }
        let offered = self.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-protocol"));
        let selected = header("sec-websocket-protocol");
        match (offered, selected) {
            (None, None) => Ok(None),
            (Some((_, offered)), Some(selected)) if offered.split(',').any(|one| one.trim() == selected) => {
                Ok(Some(selected.to_owned()))
            }
            (offered, selected) => {
                let offered = offered.map(|(_, value)| value.as_str()).unwrap_or_default();
                Err(format!("of the sub-protocols {offered:?} the server selected {selected:?}"))
            }
        }
    }

    /// Its body is read to its end, in however many pieces it comes.
    async fn refused(&self, mut exchange: Exchange, answer: reqwest::Response) -> Result<Dial> {
        let secrets = &self.client.0.secrets;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        exchange.status = Some(status);
        exchange.answer_headers = exchange::headers(&headers, secrets);
        if let Some(operation) = exchange.operation {
            self.client.0.watch.saw(operation, false);
        }
        let body = match tokio::time::timeout(self.timeout, answer.bytes()).await {
            Ok(Ok(body)) => body,
            Ok(Err(error)) => {
                return Err(self.unanswered(exchange, &format!("the refusal broke off: {}", chain(&error))));
            }
            Err(_) => {
                return Err(self.unanswered(exchange, &format!("the refusal didn't end within {:?}", self.timeout)));
            }
        };
        exchange.answer_body = exchange::body(&body, secrets);
        let what = exchange.url.clone();
        let exchange = self.client.0.log.exchange(exchange);
        let json = serde_json::from_slice(&body).unwrap_or_default();
        Ok(Dial::Refused(Box::new(Answer { status, headers, body, json, exchange, took: Duration::ZERO, what })))
    }

    fn exchange(&self, request: &reqwest::Request) -> Exchange {
        let secrets = &self.client.0.secrets;
        let plane = self.client.0.plane.filter(|_| !self.path.contains("://"));
        Exchange {
            operation: plane.and_then(|plane| contract::resolve(plane, "GET", &self.path)).map(|found| found.id),
            method: "GET".to_owned(),
            url: secrets.text(request.url().as_str()),
            request_headers: exchange::headers(request.headers(), secrets),
            at: self.client.0.began.elapsed().as_millis() as u64,
            ..Exchange::default()
        }
    }

    fn unanswered(&self, mut exchange: Exchange, why: &str) -> Stop {
        exchange.error = Some(why.to_owned());
        let url = exchange.url.clone();
        self.client.0.log.exchange(exchange);
        Stop::untestable(format!("WebSocket {url}: {why}"))
    }
}

type Stream = WebSocketStream<reqwest::Upgraded>;

/// An open WebSocket. Dropping it closes the connection without a close frame.
pub struct Socket {
    stream: Stream,
    client: Client,
    /// Its place in the scenario's log.
    pub exchange: usize,
    /// The sub-protocol that the server selected.
    pub protocol: Option<String>,
}

impl Socket {
    pub async fn send_text(&mut self, text: &str) -> Result {
        self.send(Message::text(text)).await
    }

    pub async fn send_binary(&mut self, bytes: &[u8]) -> Result {
        self.send(Message::binary(bytes.to_vec())).await
    }

    /// Sends any message.
    pub async fn send(&mut self, message: Message) -> Result {
        self.record(true, &message);
        self.stream.send(message).await.map_err(|error| Stop::untestable(format!("the WebSocket broke: {error}")))
    }

    /// Closes it with a code; the other side's frame is still to come.
    pub async fn close(&mut self, code: u16, reason: &'static str) -> Result {
        let frame = CloseFrame { code: CloseCode::from(code), reason: reason.into() };
        self.send(Message::Close(Some(frame))).await
    }

    /// The next message, pings and pongs left out; `None` when the connection has ended. A close frame is a message.
    pub async fn next(&mut self, within: Duration) -> Result<Option<Message>> {
        let late = || Stop::untestable(format!("no WebSocket message within {within:?}"));
        let deadline = tokio::time::Instant::now() + within;
        loop {
            let next = tokio::time::timeout_at(deadline, self.stream.next()).await.map_err(|_| late())?;
            match next {
                None => return Ok(None),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(message)) => {
                    self.record(false, &message);
                    return Ok(Some(message));
                }
                Some(Err(Error::ConnectionClosed | Error::AlreadyClosed)) => return Ok(None),
                Some(Err(Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake))) => {
                    return Ok(None);
                }
                Some(Err(error)) => return Err(Stop::untestable(format!("the WebSocket broke: {error}"))),
            }
        }
    }

    /// The bytes of text and binary messages from now on, until `done` says that they are enough or the connection
    /// ends.
    pub async fn bytes_until(&mut self, within: Duration, done: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>> {
        let mut seen = Vec::new();
        let deadline = tokio::time::Instant::now() + within;
        while !done(&seen) {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            match self.next(left).await {
                Ok(Some(Message::Close(_)) | None) => break,
                Ok(Some(message)) => seen.extend_from_slice(&message.into_data()),
                Err(stop) => {
                    let tail = String::from_utf8_lossy(&seen[seen.len().saturating_sub(200)..]).into_owned();
                    return Err(Stop::untestable(format!("{stop}; {} bytes so far, at the end {tail:?}", seen.len())));
                }
            }
        }
        Ok(seen)
    }

    /// Waits for the close frame: its code and reason. (1005, "") is a frame without a code, (1006, "") no frame.
    pub async fn closed(&mut self, within: Duration) -> Result<(u16, String)> {
        let deadline = tokio::time::Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            match self.next(left).await? {
                None => return Ok((1006, String::new())),
                Some(Message::Close(None)) => return Ok((1005, String::new())),
                Some(Message::Close(Some(frame))) => return Ok((frame.code.into(), frame.reason.to_string())),
                Some(_) => {}
            }
        }
    }

    fn record(&self, sent: bool, message: &Message) {
        let (kind, content): (_, Cow<[u8]>) = match message {
            Message::Text(text) => ("text", text.as_bytes().into()),
            Message::Binary(bytes) => ("binary", bytes.as_ref().into()),
            Message::Ping(bytes) => ("ping", bytes.as_ref().into()),
            Message::Pong(bytes) => ("pong", bytes.as_ref().into()),
            Message::Close(None) => ("close", Cow::Borrowed(&[])),
            Message::Close(Some(frame)) => ("close", format!("{} {}", frame.code, frame.reason).into_bytes().into()),
            Message::Frame(_) => return,
        };
        let content = exchange::message(&content, &self.client.0.secrets);
        self.client.0.log.frame(self.exchange, Frame { sent, kind, content });
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::Arc,
        time::{Duration, Instant},
    };

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::Dial;
    use crate::{
        client::{Client, Gate, Log, Parts, Secrets, Watch, http},
        ledger::Ledger,
        run::{Budget, Spent},
    };

    fn client(base: String) -> Client {
        Client(Arc::new(Parts {
            http: http(&base.parse().unwrap()).unwrap(),
            base,
            key: None,
            headers: Vec::new(),
            plane: None,
            judged: true,
            timeout: Duration::from_secs(10),
            log: Arc::new(Log::default()),
            secrets: Secrets::default(),
            gate: Arc::new(Gate::new(None)),
            waits: Arc::default(),
            budget: Arc::new(Spent::new(Budget::default())),
            watch: Arc::new(Watch::new(Arc::new(Ledger::none()))),
            began: Instant::now(),
        }))
    }

    /// Answers one request with these pieces, a moment apart.
    async fn server(pieces: &'static [&'static str]) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            _ = stream.read(&mut [0; 4096]).await;
            for piece in pieces {
                stream.write_all(piece.as_bytes()).await.unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        client(base)
    }

    #[tokio::test]
    async fn a_refusal_that_comes_in_pieces_is_whole() {
        let head = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n";
        let client = server(Box::leak(Box::new([head, "{\"message\":", "\"no\"}"]))).await;
        let Dial::Refused(answer) = client.ws("/x").dial().await.unwrap() else { panic!("it was refused") };
        assert_eq!((answer.status, answer["message"].as_str()), (400, Some("no")));
    }

    #[tokio::test]
    async fn an_upgrade_that_does_not_fit_the_key_is_none() {
        let client = server(&[
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n",
        ])
        .await;
        assert!(client.ws("/x").dial().await.is_err_and(|stop| stop.to_string().contains("doesn't fit the key")));
    }
}
