//! Sessions: a shell that commands are given to, one after the other.

pub mod commands;
pub mod follow;
pub mod input;
pub mod logs;

use crate::{
    client::{Answer, Client, Request, WsRequest},
    prelude::*,
};

/// The header that says which client asks.
const VERSION: &str = "X-Daytona-SDK-Version";
/// A client of today.
const TODAY: &str = "0.216.0";
/// Long enough for anything here, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A session of this scenario's own, asked for by a client of some version.
struct Session {
    sandbox: Sandbox,
    client: Client,
    id: String,
}

impl Session {
    /// With a client of today.
    async fn new(cx: &Cx) -> Result<Self> {
        let sandbox = cx.shared().await?;
        let client = sandbox.toolbox().with_header(VERSION, TODAY);
        let id = cx.name("session");
        client.post("/process/session").json(json!({ "sessionId": id })).send().await?.ok()?;
        Ok(Self { sandbox, client, id })
    }

    /// The same session for another client; `None` says no version.
    fn by(&self, version: Option<&str>) -> Self {
        let plain = self.sandbox.toolbox().clone();
        let client = version.map_or(plain.clone(), |version| plain.with_header(VERSION, version));
        Self { sandbox: self.sandbox.clone(), client, id: self.id.clone() }
    }

    fn path(&self, rest: &str) -> String {
        format!("/process/session/{}{rest}", self.id)
    }

    fn get(&self, rest: &str) -> Request {
        self.client.get(&self.path(rest))
    }

    fn post(&self, rest: &str, body: Value) -> Request {
        self.client.post(&self.path(rest)).json(body)
    }

    fn ws(&self, rest: &str) -> WsRequest {
        self.client.ws(&self.path(rest))
    }

    async fn delete(&self) -> Result<Answer> {
        self.client.delete(&self.path("")).send().await
    }

    /// A command that is waited for.
    async fn exec(&self, command: &str) -> Result<Answer> {
        self.post("/exec", json!({ "command": command })).send().await
    }

    /// A command that isn't; its id.
    async fn start(&self, command: &str) -> Result<String> {
        let answer = self.post("/exec", json!({"command": command, "runAsync": true})).send().await?;
        answer.ok()?.string("/cmdId")
    }

    async fn input(&self, command: &str, data: &str) -> Result<Answer> {
        self.post(&format!("/command/{command}/input"), json!({ "data": data })).send().await
    }

    async fn logs(&self, command: &str) -> Result<Answer> {
        self.get(&format!("/command/{command}/logs")).send().await
    }

    /// Waits for a command's end: its exit code.
    async fn exit_code(&self, cx: &Cx, command: &str) -> Result<i64> {
        let path = format!("/command/{command}");
        let ended = async || Ok(self.get(&path).send().await?.ok()?["exitCode"].as_i64());
        cx.eventually("the command ends", PATIENCE, ended).await
    }

    /// Waits until its log has a text.
    async fn logged(&self, cx: &Cx, command: &str, text: &str) -> Result<Answer> {
        let has = async || {
            let logs = self.logs(command).await?.ok()?;
            Ok(logs["output"].as_str().is_some_and(|output| output.contains(text)).then_some(logs))
        };
        cx.eventually(&format!("the log has {text:?}"), PATIENCE, has).await
    }
}

/// Takes a marked log apart, as SDKs do: what went to standard output, and to standard error.
fn streams(log: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut out, mut err, mut at, mut to_err) = (Vec::new(), Vec::new(), 0, None);
    while at < log.len() {
        match log[at..] {
            [1, 1, 1, ..] => (to_err, at) = (Some(false), at + 3),
            [2, 2, 2, ..] => (to_err, at) = (Some(true), at + 3),
            _ => {
                match to_err {
                    Some(true) => err.push(log[at]),
                    Some(false) => out.push(log[at]),
                    // SDKs drop what comes before the first marker.
                    None => {}
                }
                at += 1;
            }
        }
    }
    (out, err)
}
