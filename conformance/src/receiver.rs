//! A small HTTP server for what servers send by themselves: webhooks.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Method, Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    net::TcpListener,
    sync::{Mutex, mpsc},
    task::JoinHandle,
};

use crate::stop::{Result, Stop};

/// What came.
#[derive(Debug)]
pub struct Received {
    pub method: Method,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Received {
    /// A header's value, or the empty string.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body, where it is JSON; null otherwise.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Answers every request with one status, and keeps it. Ends when it is dropped.
pub struct Receiver {
    /// Where it listens, on this machine only.
    pub url: String,
    status: Arc<AtomicU16>,
    got: Mutex<mpsc::UnboundedReceiver<Received>>,
    task: JoinHandle<()>,
}

impl Receiver {
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/hook", listener.local_addr()?);
        let (status, (tell, got)) = (Arc::new(AtomicU16::new(200)), mpsc::unbounded_channel());
        let task = tokio::spawn(listen(listener, status.clone(), tell));
        Ok(Self { url, status, got: Mutex::new(got), task })
    }

    /// What it answers from now on.
    pub fn answer(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    /// The next request that came, or will come in time.
    pub async fn next(&self, within: Duration) -> Option<Received> {
        tokio::time::timeout(within, async { self.got.lock().await.recv().await }).await.ok().flatten()
    }

    /// The same, without which the scenario can't go on.
    pub async fn expect(&self, within: Duration) -> Result<Received> {
        let missing = || Stop::untestable(format!("nothing came to {} within {within:?}", self.url));
        self.next(within).await.ok_or_else(missing)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(listener: TcpListener, status: Arc<AtomicU16>, tell: mpsc::UnboundedSender<Received>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (status, tell) = (status.clone(), tell.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| take(request, &status, &tell));
            _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn take(
    request: Request<Incoming>,
    status: &AtomicU16,
    tell: &mpsc::UnboundedSender<Received>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    // Nobody may be waiting any more.
    _ = tell.send(Received { method: head.method, headers: head.headers, body });
    let mut response = Response::new(Full::new(Bytes::from_static(b"heard")));
    *response.status_mut() = hyper::StatusCode::from_u16(status.load(Ordering::Relaxed)).unwrap_or_default();
    Ok(response)
}
