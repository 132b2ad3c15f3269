//! The control plane as a client with a key of its own sees it: an organisation that no other test touches.

use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::support::{eventually, server, within};

/// A key of the shared server.
pub struct Api {
    /// Ends in `/api`.
    pub url: String,
    pub key: String,
    pub client: Client,
}

impl Api {
    /// A key with an organisation of its own.
    pub async fn new() -> Api {
        let shared = server();
        let client = Client::new();
        let minted = client.post(format!("{}/__control/keys", shared.base_url)).bearer_auth(&shared.api_key);
        let minted: Value = minted.send().await.expect("answer").json().await.expect("JSON");
        let key = minted["apiKey"].as_str().expect("a key").to_owned();
        Api { url: shared.api_url.clone(), key, client }
    }

    /// Another key for the same server.
    pub fn with_key(&self, key: &str) -> Api {
        Api { url: self.url.clone(), key: key.to_owned(), client: self.client.clone() }
    }

    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        self.client.request(method, format!("{}{path}", self.url)).bearer_auth(&self.key)
    }

    /// Status and JSON body; null for an empty one, text for what isn't JSON.
    pub async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let request = self.request(method, path);
        let request = if body.is_null() { request } else { request.json(&body) };
        answer(request.send().await.expect("answer")).await
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.call("GET", path, Value::Null).await
    }

    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.call("POST", path, body).await
    }

    pub async fn put(&self, path: &str, body: Value) -> (u16, Value) {
        self.call("PUT", path, body).await
    }

    pub async fn delete(&self, path: &str) -> (u16, Value) {
        self.call("DELETE", path, Value::Null).await
    }

    /// Asserts a refusal: status and message.
    pub async fn refused(&self, method: &str, path: &str, body: Value, status: u16, message: &str) {
        let (got, answer) = self.call(method, path, body.clone()).await;
        assert_eq!((got, answer["message"].as_str()), (status, Some(message)), "{method} {path} {body}: {answer}");
    }

    /// A started sandbox.
    pub async fn sandbox(&self, body: Value) -> Value {
        let (status, sandbox) = self.post("/sandbox", body).await;
        assert_eq!(status, 200, "{sandbox}");
        sandbox
    }

    /// The id of a started sandbox with this name.
    pub async fn named(&self, name: &str) -> String {
        id(&self.sandbox(json!({"name": name})).await)
    }

    /// Waits until a sandbox is in a state; its object then.
    pub async fn until(&self, id: &str, state: &str) -> Value {
        let path = format!("/sandbox/{id}");
        let seen = std::cell::RefCell::default();
        let reached = async || {
            let (status, now) = self.get(&path).await;
            let reached = status == 200 && now["state"] == state;
            seen.replace(format!("{status} {} {}", now["state"], now["errorReason"]));
            reached.then_some(now)
        };
        within(|| format!("{id} is {state}, not {}", seen.borrow()), reached).await
    }

    /// Waits until a sandbox is gone; meanwhile it is nothing but `destroying`.
    pub async fn until_gone(&self, id: &str) {
        let path = format!("/sandbox/{id}");
        let gone = async || {
            let (status, sandbox) = self.get(&path).await;
            assert!(status == 404 || sandbox["state"] == "destroying", "{sandbox}");
            (status == 404).then_some(())
        };
        eventually("it is gone", gone).await;
    }

    /// A request below `/__control`.
    pub async fn control(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let base =
            Api { url: self.url.replace("/api", "/__control"), key: self.key.clone(), client: self.client.clone() };
        base.call(method, path, body).await
    }
}

/// Status and body of an answer.
pub async fn answer(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.expect("text");
    let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or(Value::String(text)) };
    (status, body)
}

pub fn id(sandbox: &Value) -> String {
    sandbox["id"].as_str().expect("an id").to_owned()
}

pub fn keys(object: &Value) -> Vec<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}

/// The names of a list's items.
pub fn names(page: &Value) -> Vec<&str> {
    page["items"].as_array().expect("items").iter().map(|item| item["name"].as_str().expect("a name")).collect()
}
