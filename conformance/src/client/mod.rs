//! The suite's own client: plain HTTP and WebSocket, never an SDK. Every exchange is recorded, secrets taken out, and
//! every answer to an operation of the contract is checked for its shape.

mod answer;
pub(crate) mod exchange;
mod form;
mod gate;
mod log;
mod open;
mod redact;
mod request;
mod watch;
mod ws;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::Method;

pub use answer::Answer;
pub use exchange::{Exchange, Frame};
pub use form::Form;
pub use gate::{Gate, Waits};
pub use log::Log;
pub use open::Open;
pub use redact::Secrets;
pub(crate) use request::MAKES_SANDBOX;
pub use request::Request;
pub(crate) use watch::{Made, Seen, Watch};
pub use ws::{Dial, Message, Socket, WsRequest};

use crate::{contract::Plane, run::Spent, stop::Result};

/// Paths are below the client's base URL; a path with `://` in it is a whole URL. Cheap to clone.
#[derive(Clone)]
pub struct Client(pub(crate) Arc<Parts>);

#[derive(Clone)]
pub(crate) struct Parts {
    pub http: reqwest::Client,
    /// Without a slash at its end.
    pub base: String,
    pub key: Option<String>,
    pub headers: Vec<(String, String)>,
    pub plane: Option<Plane>,
    /// Answers are checked for their shape.
    pub judged: bool,
    pub timeout: Duration,
    pub log: Arc<Log>,
    pub secrets: Secrets,
    pub gate: Arc<Gate>,
    pub waits: Arc<Waits>,
    pub budget: Arc<Spent>,
    pub watch: Arc<Watch>,
    pub began: Instant,
}

impl Client {
    pub fn get(&self, path: &str) -> Request {
        self.request(Method::GET, path)
    }

    pub fn post(&self, path: &str) -> Request {
        self.request(Method::POST, path)
    }

    pub fn put(&self, path: &str) -> Request {
        self.request(Method::PUT, path)
    }

    pub fn patch(&self, path: &str) -> Request {
        self.request(Method::PATCH, path)
    }

    pub fn delete(&self, path: &str) -> Request {
        self.request(Method::DELETE, path)
    }

    /// A request with any method.
    pub fn request(&self, method: Method, path: &str) -> Request {
        Request::new(self.clone(), method, path)
    }

    /// A WebSocket; `path` as everywhere, `ws` or `wss` follow from it.
    pub fn ws(&self, path: &str) -> WsRequest {
        WsRequest::new(self.clone(), path)
    }

    /// The same client for another base URL.
    pub fn at(&self, base: &str, plane: Option<Plane>) -> Self {
        self.with(|parts| {
            parts.base = base.trim_end_matches('/').to_owned();
            parts.plane = plane;
        })
    }

    /// The same client; shapes of answers are not checked.
    pub fn unjudged(&self) -> Self {
        self.with(|parts| parts.judged = false)
    }

    /// The same client with another key.
    pub fn with_key(&self, key: &str) -> Self {
        self.0.secrets.add(key);
        self.with(|parts| parts.key = Some(key.to_owned()))
    }

    /// The same client, each request with this header.
    pub fn with_header(&self, name: &str, value: &str) -> Self {
        self.with(|parts| parts.headers.push((name.to_owned(), value.to_owned())))
    }

    /// The base URL.
    pub fn base(&self) -> &str {
        &self.0.base
    }

    fn with(&self, change: impl FnOnce(&mut Parts)) -> Self {
        let mut parts = Parts::clone(&self.0);
        change(&mut parts);
        Self(Arc::new(parts))
    }
}

/// The HTTP client that a whole run shares: no redirects followed, no proxy to a server on this machine.
pub(crate) fn http(base: &reqwest::Url) -> Result<reqwest::Client> {
    // A second call finds it installed.
    _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    if matches!(base.host_str(), Some("localhost" | "127.0.0.1" | "[::1]")) {
        builder = builder.no_proxy();
    }
    Ok(builder.user_agent(concat!("daytona-conformance/", env!("CARGO_PKG_VERSION"))).build()?)
}
