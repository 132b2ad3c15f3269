//! What a scenario is given: a client of the server under test and a place for its verdicts.

use std::fmt::Debug;

use reqwest::{Method, Response};
use serde::Serialize;
use serde_json::Value;

/// The harness could not go on: the server went away, or gave an answer without what the next request needs.
/// Not a verdict on the server: that is a [`Check`].
#[derive(Debug)]
pub struct HarnessError(pub String);

impl<E: std::error::Error> From<E> for HarnessError {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// One verdict. A failed check does not end its scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// Stable within the scenario.
    pub id: &'static str,
    pub passed: bool,
    pub expected: String,
    pub got: String,
}

/// The server under test, and what was found out about it.
pub struct Cx {
    api_url: String,
    api_key: String,
    http: reqwest::Client,
    checks: Vec<Check>,
    sandboxes: Vec<String>,
}

impl Cx {
    /// `api_url` without a trailing slash, as SDKs take it (`http://127.0.0.1:3986/api`).
    pub fn new(api_url: &str, api_key: &str) -> Self {
        let http = reqwest::Client::new();
        let api_url = api_url.trim_end_matches('/').to_owned();
        Self { api_url, api_key: api_key.to_owned(), http, checks: Vec::new(), sandboxes: Vec::new() }
    }

    /// A request of the control plane, with the key.
    pub async fn api(&self, method: Method, path: &str, body: Option<Value>) -> Result<Response, HarnessError> {
        self.send(method, &format!("{}{path}", self.api_url), body, Some(&self.api_key)).await
    }

    /// A request to any URL, with the key given, or with none.
    pub async fn send(
        &self,
        method: Method,
        url: &str,
        body: Option<Value>,
        key: Option<&str>,
    ) -> Result<Response, HarnessError> {
        let mut request = self.http.request(method, url);
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        Ok(request.send().await?)
    }

    /// The base URL of the server under test.
    pub fn api_url(&self) -> &str {
        &self.api_url
    }

    /// The toolbox of a fresh sandbox, which is deleted by [`Cx::clean_up`].
    pub async fn toolbox(&mut self) -> Result<Toolbox, HarnessError> {
        let answer = self.api(Method::POST, "/sandbox", Some(serde_json::json!({}))).await?;
        let status = answer.status();
        let sandbox: Value = answer.json().await?;
        let field = |name: &str| {
            let missing = || HarnessError(format!("create answered {status} without {name}: {sandbox}"));
            sandbox[name].as_str().map(str::to_owned).ok_or_else(missing)
        };
        let id = field("id")?;
        self.sandboxes.push(id.clone());
        let url = format!("{}/{id}", field("toolboxProxyUrl")?.trim_end_matches('/'));
        Ok(Toolbox { url, http: self.http.clone(), key: self.api_key.clone() })
    }

    /// Deletes what the scenario created.
    pub async fn clean_up(&mut self) -> Result<(), HarnessError> {
        for id in std::mem::take(&mut self.sandboxes) {
            self.api(Method::DELETE, &format!("/sandbox/{id}"), None).await?;
        }
        Ok(())
    }

    /// A verdict: `got` must be `expected`.
    pub fn check<T: PartialEq + Debug>(&mut self, id: &'static str, got: T, expected: T) {
        let passed = got == expected;
        let (expected, got) = (format!("{expected:?}"), format!("{got:?}"));
        self.checks.push(Check { id, passed, expected, got });
    }

    /// The verdicts so far, in order.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }
}

/// The toolbox of one sandbox.
pub struct Toolbox {
    url: String,
    http: reqwest::Client,
    key: String,
}

impl Toolbox {
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Response, HarnessError> {
        let url = reqwest::Url::parse_with_params(&format!("{}{path}", self.url), query)?;
        Ok(self.http.get(url).bearer_auth(&self.key).send().await?)
    }

    pub async fn post(&self, path: &str, body: Value) -> Result<Response, HarnessError> {
        Ok(self.http.post(format!("{}{path}", self.url)).bearer_auth(&self.key).json(&body).send().await?)
    }

    /// Uploads as SDKs do: the path in one part, the bytes in the next.
    pub async fn upload(&self, path: &str, bytes: &[u8]) -> Result<Response, HarnessError> {
        let file = reqwest::multipart::Part::bytes(bytes.to_vec()).file_name(path.to_owned());
        let form = reqwest::multipart::Form::new().text("files[0].path", path.to_owned()).part("files[0].file", file);
        let request = self.http.post(format!("{}/files/bulk-upload", self.url)).bearer_auth(&self.key);
        Ok(request.multipart(form).send().await?)
    }
}
