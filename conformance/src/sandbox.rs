//! A sandbox, as scenarios use it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    client::{Answer, Client, Form, Request, WsRequest},
    contract::Plane,
    stop::{Result, Stop},
};

/// How long a change of state may take.
const STATE_TIMEOUT: Duration = Duration::from_secs(60);

/// A sandbox. Its `get`, `post`, … are requests to its toolbox; those of the control plane go through [`Sandbox::api`].
#[derive(Clone)]
pub struct Sandbox {
    pub id: String,
    pub name: String,
    /// The answer to its creation.
    pub created: Value,
    api: Client,
    toolbox: Client,
}

impl Sandbox {
    /// The sandbox that an answer describes.
    pub fn of(api: Client, answer: &Answer) -> Result<Self> {
        let (id, name) = (answer.string("/id")?, answer.string("/name")?);
        let proxy = answer.string("/toolboxProxyUrl")?;
        let toolbox = api.at(&format!("{}/{id}", proxy.trim_end_matches('/')), Some(Plane::Toolbox));
        Ok(Self { id, name, created: answer.json.clone(), api, toolbox })
    }

    /// The same sandbox for another scenario.
    pub(crate) fn by(&self, api: &Client) -> Self {
        let toolbox = api.at(self.toolbox.base(), Some(Plane::Toolbox));
        Self { api: api.clone(), toolbox, ..self.clone() }
    }

    /// The control plane.
    pub fn api(&self) -> &Client {
        &self.api
    }

    /// The toolbox.
    pub fn toolbox(&self) -> &Client {
        &self.toolbox
    }

    /// The toolbox by the path of SDKs before 0.113. Shapes are not checked there.
    pub fn old_toolbox(&self) -> Client {
        self.api.at(&format!("{}/toolbox/{}/toolbox", self.api.base(), self.id), Some(Plane::Toolbox)).unjudged()
    }

    pub fn get(&self, path: &str) -> Request {
        self.toolbox.get(path)
    }

    pub fn post(&self, path: &str) -> Request {
        self.toolbox.post(path)
    }

    pub fn put(&self, path: &str) -> Request {
        self.toolbox.put(path)
    }

    pub fn delete(&self, path: &str) -> Request {
        self.toolbox.delete(path)
    }

    pub fn ws(&self, path: &str) -> WsRequest {
        self.toolbox.ws(path)
    }

    /// A request of the control plane about this sandbox: `POST /sandbox/{id}{path}`.
    pub fn op(&self, method: reqwest::Method, path: &str) -> Request {
        self.api.request(method, &format!("/sandbox/{}{path}", self.id)).timeout(Duration::from_secs(90))
    }

    /// `getSandbox`.
    pub async fn read(&self) -> Result<Answer> {
        self.op(reqwest::Method::GET, "").send().await
    }

    pub async fn state(&self) -> Result<String> {
        self.read().await?.ok()?.string("/state")
    }

    /// Waits for a state; an error state on the way ends the wait.
    pub async fn wait_for(&self, state: &str) -> Result<Answer> {
        let deadline = tokio::time::Instant::now() + STATE_TIMEOUT;
        let mut pause = Duration::from_millis(10);
        loop {
            let answer = self.read().await?.ok()?;
            match answer.string("/state")?.as_str() {
                now if now == state => return Ok(answer),
                now @ ("error" | "build_failed") => {
                    return Err(Stop::untestable(format!("{now} instead of {state}: {}", answer["errorReason"])));
                }
                now if tokio::time::Instant::now() >= deadline => {
                    return Err(Stop::untestable(format!("still {now} after {STATE_TIMEOUT:?}, not {state}")));
                }
                _ => tokio::time::sleep(pause).await,
            }
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    /// Waits until the sandbox is answered 404.
    pub async fn wait_gone(&self) -> Result<Answer> {
        let deadline = tokio::time::Instant::now() + STATE_TIMEOUT;
        loop {
            let answer = self.read().await?;
            if answer.status == 404 {
                return Ok(answer);
            }
            if tokio::time::Instant::now() >= deadline {
                return Err(Stop::untestable(format!("still there after {STATE_TIMEOUT:?}: {}", answer.summary())));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Stops it and waits.
    pub async fn stop(&self) -> Result<Answer> {
        self.op(reqwest::Method::POST, "/stop").send().await?.ok()?;
        self.wait_for("stopped").await
    }

    /// Starts it and waits.
    pub async fn start(&self) -> Result<Answer> {
        self.op(reqwest::Method::POST, "/start").send().await?.ok()?;
        self.wait_for("started").await
    }

    /// `ExecuteCommand`.
    pub async fn exec(&self, command: &str) -> Result<Answer> {
        self.post("/process/execute").json(json!({ "command": command })).send().await
    }

    /// Output of a command that must succeed for the scenario to go on.
    pub async fn output(&self, command: &str) -> Result<String> {
        let answer = self.exec(command).await?.ok()?;
        if answer["exitCode"] != 0 {
            return Err(Stop::untestable(format!("`{command}`: {}", answer.summary())));
        }
        answer.string("/result")
    }

    /// How many processes of the sandbox have a marking number in their command line.
    pub async fn marked(&self, mark: u32) -> Result<usize> {
        // The search itself must not match.
        let mark = mark.to_string();
        let (first, rest) = mark.split_at(1);
        let command = format!("grep -l '[{first}]{rest}' /proc/[0-9]*/cmdline 2>/dev/null | wc -l");
        Ok(self.output(&command).await?.trim().parse().unwrap_or_default())
    }

    /// Is the program there? Otherwise what follows is not applicable.
    pub async fn needs_program(&self, name: &str) -> Result {
        let found = self.exec(&format!("command -v {name}")).await?.ok()?["exitCode"] == 0;
        if found { Ok(()) } else { Err(Stop::not_applicable(format!("the program {name} in sandboxes"))) }
    }

    /// Uploads one file as SDKs do: the path in one part, the bytes in the next.
    pub async fn upload(&self, path: &str, bytes: &[u8]) -> Result<Answer> {
        let form = Form::new().text("files[0].path", path).file("files[0].file", path, bytes);
        self.post("/files/bulk-upload").form(form).send().await
    }

    /// `DownloadFile`.
    pub async fn download(&self, path: &str) -> Result<Answer> {
        self.get("/files/download").query("path", path).send().await
    }
}
