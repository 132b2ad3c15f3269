//! The reverse proxy: an HTTP/1.1 server on a port of its own that hands everything on to a good server, but for what
//! its mutant changes.
//!
//! It hands the `Host` on as it came, so that the URLs in answers lead to the proxy again. Previews that have ports of
//! their own get a listener each.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response, StatusCode,
    body::{Frame, Incoming},
    header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue, TRANSFER_ENCODING, UPGRADE},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};

use super::{
    Change, Mutant,
    edit::{Answered, Asked},
    socket,
};
use crate::{
    contract::{self, Plane},
    stop::{Result, Stop},
};

type Error = Box<dyn std::error::Error + Send + Sync>;
type Body = UnsyncBoxBody<Bytes, Error>;

/// Operations whose answers may name a port of its own for a preview.
const LINKS: &[&str] = &["getPortPreviewUrl", "getSignedPortPreviewUrl"];

/// A good server.
#[derive(Clone, Debug)]
pub struct Server {
    pub address: SocketAddr,
    /// A key that it takes.
    pub key: Arc<str>,
}

/// One running proxy. Dropping it ends it.
pub struct Proxy {
    /// The URL of the API, as SDKs take it.
    pub api_url: String,
    shared: Arc<Shared>,
}

struct Shared {
    mutant: Option<&'static Mutant>,
    server: Server,
    touched: AtomicUsize,
    hits: AtomicUsize,
    /// First answers, for [`Change::Stale`].
    first: Mutex<HashMap<String, Answered>>,
    /// Preview's port → the port of its listener here.
    previews: Mutex<HashMap<u16, u16>>,
    listeners: Mutex<Vec<AbortHandle>>,
}

/// Where a listener leads.
#[derive(Clone, Copy)]
struct Place {
    address: SocketAddr,
    preview: bool,
}

impl Proxy {
    /// Without a mutant it changes nothing. Runs on the current tokio runtime.
    pub fn start(server: Server, mutant: Option<&'static Mutant>) -> Result<Self> {
        let place = Place { address: server.address, preview: false };
        let shared = Arc::new(Shared {
            mutant,
            server,
            touched: AtomicUsize::new(0),
            hits: AtomicUsize::new(0),
            first: Mutex::default(),
            previews: Mutex::default(),
            listeners: Mutex::default(),
        });
        let port = shared.listen(place).map_err(Stop::harness)?;
        Ok(Self { api_url: format!("http://127.0.0.1:{port}/api"), shared })
    }

    /// How often the mutant changed something.
    pub fn hits(&self) -> usize {
        self.shared.hits.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.listeners.lock().drain(..).for_each(|listener| listener.abort());
    }
}

impl Shared {
    fn listen(self: &Arc<Self>, place: Place) -> io::Result<u16> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let port = listener.local_addr()?.port();
        // The listeners end with the proxy, and with them their connections.
        let shared = Arc::downgrade(self);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let stream = tokio::select! {
                    accepted = listener.accept() => accepted,
                    Some(_) = connections.join_next(), if !connections.is_empty() => continue,
                };
                let (Ok((stream, _)), Some(shared)) = (stream, shared.upgrade()) else { return };
                _ = stream.set_nodelay(true);
                connections.spawn(async move {
                    let service = service_fn(|request| {
                        let shared = shared.clone();
                        async move { Ok::<_, Infallible>(shared.handle(place, request).await) }
                    });
                    let connection = hyper::server::conn::http1::Builder::new()
                        .half_close(true)
                        .serve_connection(TokioIo::new(stream), service);
                    _ = connection.with_upgrades().await;
                });
            }
        });
        self.listeners.lock().push(task.abort_handle());
        Ok(port)
    }

    async fn handle(self: Arc<Self>, place: Place, request: Request<Incoming>) -> Response<Body> {
        self.exchange(place, request).await.unwrap_or_else(|error| {
            let mut response = Response::new(full(format!("the proxy: {error}").into_bytes()));
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        })
    }

    async fn exchange(self: &Arc<Self>, place: Place, mut request: Request<Incoming>) -> Result<Response<Body>, Error> {
        let mut asked = self.asked(place, &request);
        let mutant = self.mutant.filter(|mutant| mutant.touches(&asked));
        if mutant.is_some() {
            asked.number = self.touched.fetch_add(1, Ordering::Relaxed);
        }
        let upgrading = request.headers().contains_key(UPGRADE).then(|| hyper::upgrade::on(&mut request));
        let body = match mutant.map(|mutant| mutant.change) {
            Some(Change::Ignored(status, body)) => {
                request.into_body().collect().await?;
                return Ok(self.ignored(status, body)?);
            }
            Some(Change::Request(change)) => {
                asked.body = request.into_body().collect().await?.to_bytes().to_vec();
                self.change(&mut asked, change);
                full(std::mem::take(&mut asked.body))
            }
            _ => request.into_body().map_err(Into::into).boxed_unsync(),
        };
        let mut response = forward(place.address, &asked, body).await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS
            && let Some(client) = upgrading
        {
            let server = hyper::upgrade::on(&mut response);
            tokio::spawn(self.clone().tunnel(client, server, mutant));
            return Ok(response.map(|_| Empty::new().map_err(|never| match never {}).boxed_unsync()));
        }
        self.answer(&asked, mutant, response).await
    }

    fn asked(&self, place: Place, request: &Request<Incoming>) -> Asked {
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str()).to_owned();
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let preview = place.preview || host.split_once('-').is_some_and(|(port, _)| port.parse::<u16>().is_ok());
        let operation = operation(request.method().as_str(), &target).filter(|_| !preview);
        Asked {
            method: request.method().clone(),
            headers: request.headers().clone(),
            body: Vec::new(),
            number: 0,
            key: self.server.key.clone(),
            target,
            operation,
            preview,
        }
    }

    fn ignored(&self, status: u16, body: &str) -> Result<Response<Body>, hyper::http::Error> {
        self.hits.fetch_add(1, Ordering::Relaxed);
        let mut response = Response::builder().status(status);
        if !body.is_empty() {
            response = response.header(CONTENT_TYPE, "application/json; charset=utf-8");
        }
        response.body(full(body.as_bytes().to_vec()))
    }

    fn change(&self, asked: &mut Asked, change: fn(&mut Asked)) {
        let before = asked.clone();
        change(asked);
        if *asked != before {
            self.hits.fetch_add(1, Ordering::Relaxed);
        }
        asked.headers.remove(TRANSFER_ENCODING);
        if !asked.body.is_empty() || asked.headers.contains_key(CONTENT_LENGTH) {
            asked.headers.insert(CONTENT_LENGTH, HeaderValue::from(asked.body.len()));
        }
    }

    async fn answer(
        self: &Arc<Self>,
        asked: &Asked,
        mutant: Option<&Mutant>,
        response: Response<Incoming>,
    ) -> Result<Response<Body>, Error> {
        let change = mutant.map(|mutant| mutant.change).filter(|c| matches!(c, Change::Answer(_) | Change::Stale));
        let is_link = asked.operation.is_some_and(|id| LINKS.contains(&id)) && response.status().is_success();
        if change.is_none() && !is_link {
            return Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()));
        }
        let (mut head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes().to_vec();
        let mut answered = Answered { status: head.status, headers: head.headers, body, breaks_off: false };
        let length = answered.body.len();
        if is_link {
            self.lead_here(&mut answered)?;
        }
        let before = answered.clone();
        match change {
            Some(Change::Answer(change)) => change(asked, &mut answered),
            Some(Change::Stale) => {
                let key = format!("{} {}", asked.method, asked.target);
                answered = self.first.lock().entry(key).or_insert(answered).clone();
            }
            _ => {}
        }
        if answered != before {
            self.hits.fetch_add(1, Ordering::Relaxed);
        }
        // HEAD and 304 have the length of a body that isn't there.
        if answered.body.len() != length {
            answered.headers.remove(TRANSFER_ENCODING);
            answered.headers.insert(CONTENT_LENGTH, HeaderValue::from(answered.body.len()));
        }
        (head.status, head.headers) = (answered.status, answered.headers);
        let body = if answered.breaks_off { broken(answered.body) } else { full(answered.body) };
        Ok(Response::from_parts(head, body))
    }

    /// Previews at ports of their own are led through this proxy too.
    fn lead_here(self: &Arc<Self>, answered: &mut Answered) -> Result<(), Error> {
        let Ok(mut link) = serde_json::from_slice::<serde_json::Value>(&answered.body) else { return Ok(()) };
        let Some(url) = link["url"].as_str().and_then(|url| reqwest::Url::parse(url).ok()) else { return Ok(()) };
        let (Some("127.0.0.1"), Some(port)) = (url.host_str(), url.port()) else { return Ok(()) };
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut previews = self.previews.lock();
        let here = match previews.get(&port) {
            Some(here) => *here,
            None => self.listen(Place { address, preview: true })?,
        };
        previews.insert(port, here);
        let text = link["url"].as_str().unwrap_or_default().replacen(&format!(":{port}"), &format!(":{here}"), 1);
        link["url"] = text.into();
        answered.body = link.to_string().into_bytes();
        Ok(())
    }

    async fn tunnel(
        self: Arc<Self>,
        client: hyper::upgrade::OnUpgrade,
        server: hyper::upgrade::OnUpgrade,
        mutant: Option<&'static Mutant>,
    ) {
        let (Ok(client), Ok(server)) = (client.await, server.await) else { return };
        let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
        match mutant.map(|mutant| mutant.change) {
            Some(change @ (Change::Down(_) | Change::Up(_))) => {
                socket::bridge(client, server, change, &self.hits).await
            }
            _ => _ = tokio::io::copy_bidirectional(&mut client, &mut server).await,
        }
    }
}

/// A connection for each request: the server can't mix them up.
async fn forward(address: SocketAddr, asked: &Asked, body: Body) -> Result<Response<Incoming>, Error> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection.with_upgrades());
    let mut request = Request::builder().method(asked.method.clone()).uri(&asked.target).body(body)?;
    *request.headers_mut() = asked.headers.clone();
    Ok(sender.send_request(request).await?)
}

fn operation(method: &str, target: &str) -> Option<&'static str> {
    let (plane, path) = match target.strip_prefix("/api") {
        Some(path) => (Plane::Api, path),
        None => {
            let of_sandbox = target.strip_prefix("/toolbox/")?;
            (Plane::Toolbox, &of_sandbox[of_sandbox.find('/')?..])
        }
    };
    contract::resolve(plane, method, path).map(|operation| operation.id)
}

fn full(body: Vec<u8>) -> Body {
    Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync()
}

/// Half of it, and then the end of the connection.
fn broken(mut body: Vec<u8>) -> Body {
    body.truncate(body.len() / 2);
    let half = futures_util::stream::once(async move { Ok(Frame::data(Bytes::from(body))) });
    let end = futures_util::stream::once(async { Err(Error::from(io::Error::other("broken off on purpose"))) });
    StreamBody::new(half.chain(end)).boxed_unsync()
}
