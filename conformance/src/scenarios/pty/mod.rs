//! Terminals.

pub mod connect;
pub mod create;
pub mod exit;
pub mod stream;

use crate::{
    client::{Answer, Message, Request, Socket, WsRequest},
    prelude::*,
};

/// Long enough for anything here, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// Asks for a frame with the exit code.
const EXIT_CONTROL: &str = "X-Daytona-Pty-Exit-Control";

fn create(sandbox: &Sandbox, body: Value) -> Request {
    sandbox.post("/process/pty").json(body)
}

async fn info(sandbox: &Sandbox, id: &str) -> Result<Answer> {
    sandbox.get(&format!("/process/pty/{id}")).send().await
}

fn resize(sandbox: &Sandbox, id: &str, cols: i64, rows: i64) -> Request {
    sandbox.post(&format!("/process/pty/{id}/resize")).json(json!({"cols": cols, "rows": rows}))
}

/// What SDKs of today make terminals with.
fn create_connect(sandbox: &Sandbox, id: &str) -> WsRequest {
    sandbox.ws("/process/pty/create-connect").query("id", id).query("cols", 80).query("rows", 24)
}

/// A client of a terminal: what it was told and shown.
struct Terminal {
    socket: Socket,
    output: Vec<u8>,
    controls: Vec<Value>,
    close: Option<(u16, String)>,
}

impl Terminal {
    /// Connects, whatever comes of it.
    async fn dial(request: WsRequest) -> Result<Self> {
        Ok(Self { socket: request.connect().await?, output: Vec::new(), controls: Vec::new(), close: None })
    }

    /// Connects and waits until it may be used.
    async fn open(request: WsRequest) -> Result<Self> {
        let mut terminal = Self::dial(request).await?;
        while terminal.controls.is_empty() {
            if !terminal.next().await? {
                return Err(Stop::untestable("the terminal's connection ended before it was connected"));
            }
        }
        match terminal.controls[0]["status"].as_str() {
            Some("connected") => Ok(terminal),
            _ => Err(Stop::untestable(format!("not connected: {}", terminal.controls[0]))),
        }
    }

    /// A terminal of this scenario's own whose shell is ready.
    async fn new(cx: &Cx) -> Result<(Self, Sandbox, String)> {
        let (sandbox, id) = (cx.shared().await?, cx.name("pty"));
        create(&sandbox, json!({"id": id, "cols": 80, "rows": 24})).send().await?.ok()?;
        let terminal = Self::connect(&sandbox, &id).await?;
        Ok((terminal, sandbox, id))
    }

    async fn connect(sandbox: &Sandbox, id: &str) -> Result<Self> {
        Self::open(sandbox.ws(&format!("/process/pty/{id}/connect"))).await
    }

    /// Takes a frame; false after the last.
    async fn next(&mut self) -> Result<bool> {
        match self.socket.next(PATIENCE).await? {
            Some(Message::Text(text)) => self.controls.push(serde_json::from_str(&text).unwrap_or_default()),
            Some(Message::Close(frame)) => {
                self.close = Some(frame.map_or((1005, String::new()), |f| (f.code.into(), f.reason.to_string())));
            }
            Some(message) => self.output.extend_from_slice(&message.into_data()),
            None => return Ok(false),
        }
        Ok(true)
    }

    async fn types(&mut self, text: &str) -> Result {
        self.socket.send_binary(text.as_bytes()).await
    }

    /// Reads until a text has been shown.
    async fn until(&mut self, text: &str) -> Result {
        while !self.shows(text) {
            if !self.next().await? {
                let tail: String = self.text().chars().rev().take(300).collect::<Vec<_>>().into_iter().rev().collect();
                return Err(Stop::untestable(format!("the terminal ended without {text:?}: {tail:?}")));
            }
        }
        Ok(())
    }

    /// Types a line to a shell that comes back from a signal, which may flush what was typed meanwhile: again until it
    /// is answered.
    async fn types_until(&mut self, line: &str, text: &str) -> Result {
        for _ in 0..8 {
            self.types(line).await?;
            if let Ok(shown) = tokio::time::timeout(PATIENCE / 8, self.until(text)).await {
                return shown;
            }
        }
        Err(Stop::untestable(format!("typed again and again, and never answered {text:?}")))
    }

    fn shows(&self, text: &str) -> bool {
        // What was there before the last frames has been looked at.
        let from = self.output.len().saturating_sub(text.len() + (128 << 10));
        self.output[from..].windows(text.len()).any(|window| window == text.as_bytes())
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }

    /// Code and reason of the close frame; 1006 without one.
    async fn closed(&mut self) -> Result<(u16, String)> {
        while self.next().await? {}
        Ok(self.close.clone().unwrap_or((1006, String::new())))
    }
}
