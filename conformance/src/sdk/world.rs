//! A world of a scenario's own in the mock: its key, its faults, its journal. Over HTTP: no type is shared with the mock.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    judge::Call,
    stop::{Result, Stop},
};

/// Begins the `User-Agent` of the suite's own requests, which the journal has too.
const AGENT: &str = "daytona-conformance/";

/// Of the toolbox's answers to the suite itself.
const GENERATION: &str = "0.205.1";

/// The mock, with its own key.
#[derive(Clone)]
pub struct Server {
    http: reqwest::Client,
    pub api_url: String,
    key: String,
}

/// One world. [`World::end`] removes what is in it.
#[derive(Clone)]
pub struct World {
    server: Server,
    pub key: String,
}

impl Server {
    pub fn new(api_url: &str, key: &str) -> Result<Self> {
        let http = crate::client::http(&reqwest::Url::parse(api_url)?)?;
        Ok(Self { http, api_url: api_url.trim_end_matches('/').to_owned(), key: key.to_owned() })
    }

    /// A world whose requests are held against the contract, too.
    pub async fn world(&self) -> Result<World> {
        let body = json!({"strict": "journal", "ttlSeconds": 1800});
        let made = self.control(&self.key, Method::POST, "/keys", Some(body)).await?;
        let key = made["apiKey"].as_str().ok_or_else(|| Stop::harness("a minted key has no apiKey"))?;
        Ok(World { server: self.clone(), key: key.to_owned() })
    }

    async fn control(&self, key: &str, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        let root = self.api_url.trim_end_matches("/api");
        self.request(key, method, &format!("{root}/__control{path}"), body).await
    }

    async fn request(&self, key: &str, method: Method, url: &str, body: Option<Value>) -> Result<Value> {
        let request =
            self.http.request(method.clone(), url).bearer_auth(key).header("X-Daytona-SDK-Version", GENERATION);
        let request = if let Some(body) = &body { request.json(body) } else { request };
        let answer = request.send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        if !status.is_success() {
            return Err(Stop::harness(format!("{method} {url}: {status} {text}")));
        }
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }
}

impl World {
    pub fn api_url(&self) -> &str {
        &self.server.api_url
    }

    /// Adds a fault (`mock-server/README.md`, "Break things"); its id.
    pub async fn fault(&self, rule: Value) -> Result<String> {
        let made = self.server.control(&self.key, Method::POST, "/faults", Some(rule)).await?;
        made["id"].as_str().map(str::to_owned).ok_or_else(|| Stop::harness("a fault has no id"))
    }

    /// How often a fault acted.
    pub async fn hits(&self, fault: &str) -> Result<u64> {
        let shown = self.server.control(&self.key, Method::GET, &format!("/faults/{fault}"), None).await?;
        Ok(shown["hits"].as_u64().unwrap_or_default())
    }

    /// Removes all faults, which lets go what they hold.
    pub async fn mend(&self) -> Result {
        self.server.control(&self.key, Method::DELETE, "/faults", None).await.map(drop)
    }

    /// A request to the API, as the suite itself.
    pub async fn api(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        self.server.request(&self.key, method, &format!("{}{path}", self.server.api_url), body).await
    }

    /// Runs a command inside, as the suite itself.
    pub async fn execute(&self, sandbox: &str, command: &str) -> Result<Value> {
        let url = format!("{}/toolbox/{sandbox}/process/execute", self.server.api_url.trim_end_matches("/api"));
        self.server.request(&self.key, Method::POST, &url, Some(json!({"command": command}))).await
    }

    /// A sandbox that the suite makes; its id.
    pub async fn sandbox(&self, name: &str) -> Result<String> {
        let body = json!({"name": name, "labels": {"code-toolbox-language": "python"}});
        let made = self.api(Method::POST, "/sandbox", Some(body)).await?;
        let id = made["id"].as_str().ok_or_else(|| Stop::harness("a sandbox has no id"))?.to_owned();
        self.until_state(&id, "started").await?;
        Ok(id)
    }

    /// Waits for a state, as the suite itself.
    pub async fn until_state(&self, sandbox: &str, state: &str) -> Result {
        for _ in 0..600 {
            let now = self.api(Method::GET, &format!("/sandbox/{sandbox}"), None).await?;
            if now["state"] == state {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(Stop::harness(format!("the sandbox isn't {state} after 30 s")))
    }

    /// What clients did, without the suite's own requests. `query`: filters, as `operation=createSandbox`.
    pub async fn journal(&self, query: &str) -> Result<Vec<Call>> {
        let path = format!("/journal?limit=10000&{query}");
        calls(self.server.control(&self.key, Method::GET, &path, None).await?)
    }

    /// What clients did without a key that is known, so that it is in nobody's journal; and the `since` that goes on.
    pub async fn strays(&self, since: u64) -> Result<(Vec<Call>, u64)> {
        let path = format!("/journal?all=true&limit=10000&plane=api,toolbox&since={since}");
        let page = self.server.control(&self.server.key, Method::GET, &path, None).await?;
        let next = page["next"].as_u64().unwrap_or(since);
        Ok((calls(page)?.into_iter().filter(|call| call.organization_id.is_none()).collect(), next))
    }

    /// Waits until so many of the SDK's calls match; `false` if they don't come in time.
    pub async fn until(
        &self,
        query: &str,
        count: usize,
        limit: Duration,
        fits: impl Fn(&Call) -> bool,
    ) -> Result<bool> {
        let began = std::time::Instant::now();
        loop {
            let found = self.journal(query).await?.iter().filter(|call| fits(call)).count();
            if found >= count {
                return Ok(true);
            }
            if began.elapsed() > limit {
                return Ok(false);
            }
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    }

    /// Destroys what is in it.
    pub async fn end(&self) -> Result {
        self.server.control(&self.key, Method::POST, "/reset", Some(json!({}))).await.map(drop)
    }
}

fn calls(page: Value) -> Result<Vec<Call>> {
    let entries = page.get("entries").cloned().unwrap_or_default();
    let all: Vec<Call> = serde_json::from_value(entries)?;
    let own = |call: &Call| call.client.user_agent.as_deref().is_some_and(|agent| agent.starts_with(AGENT));
    Ok(all.into_iter().filter(|call| call.plane != "server" && !own(call)).collect())
}
