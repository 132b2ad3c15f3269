//! The accept loop: HTTP/1.1 with keep-alive and upgrades, bounded heads, and a graceful end.

use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::body::Body;
use http::{HeaderValue, Request, header};
use http_body::Body as _;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Gateway,
    besides::{Besides, Secure},
    lenient::{AtHead, Lenient},
    linger::{Lingering, Unread},
    preview_ports::Opened,
    request_body::{self, Rest},
    tap::{Resets, Tap, Tapped},
};
use crate::{api::Peer, model::PreviewPort};

/// Longest request head, and largest read of a request body. Uploads are as fast as this is large.
const READ_BUFFER: usize = 512 * 1024;
/// How long a client may take over a request's head. Idle keep-alive connections are dropped after it, too.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// How long answers may take to finish once the server ends.
const DRAIN: Duration = Duration::from_secs(1);

/// Serves until `stop`; then refuses new connections at once and gives open answers a moment.
pub async fn serve(listener: TcpListener, gateway: Gateway, stop: CancellationToken) {
    let open = TaskTracker::new();
    let slots = Arc::new(Semaphore::new(gateway.limits().connections.min(Semaphore::MAX_PERMITS)));
    let door = Door { gateway, slots, open: open.clone(), stop };
    tokio::join!(door.admit(&listener, None), door.admit_previews());
    drop(listener);
    open.close();
    _ = tokio::time::timeout(DRAIN, open.wait()).await;
}

/// What every listener of the server shares.
#[derive(Clone)]
struct Door {
    gateway: Gateway,
    slots: Arc<Semaphore>,
    open: TaskTracker,
    stop: CancellationToken,
}

impl Door {
    /// Serves what connects to `listener` until the server ends.
    async fn admit(&self, listener: &TcpListener, leads: Option<Arc<PreviewPort>>) {
        while let Some((stream, slot)) = accept(listener, &self.slots, &self.stop).await {
            self.open.spawn(connection(stream, slot, self.gateway.clone(), leads.clone(), self.stop.clone()));
        }
    }

    /// Serves the listeners of previews, each until it is closed.
    async fn admit_previews(&self) {
        let ports = &self.gateway.links().ports;
        let Some(mut opened) = ports.take_opened() else { return };
        while let Some(Some(Opened { listener, leads, close })) = self.stop.run_until_cancelled(opened.recv()).await {
            let (door, ports) = (self.clone(), ports.clone());
            self.open.spawn(async move {
                close.run_until_cancelled(door.admit(&listener, Some(leads.clone()))).await;
                ports.closed(listener, &leads);
            });
        }
    }
}

/// The next connection; `None` once the server ends.
pub async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let mut told = false;
    loop {
        let next = async {
            let slot = slots.clone().acquire_owned().await.ok()?;
            Some((listener.accept().await, slot))
        };
        match stop.run_until_cancelled(next).await?? {
            (Ok((stream, _)), slot) => return Some((stream, slot)),
            (Err(error), _) => {
                // Out of descriptors, or the client is gone already: either passes.
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(%error, "accept");
                }
                stop.run_until_cancelled(tokio::time::sleep(Duration::from_millis(20))).await?;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    slot: OwnedSemaphorePermit,
    gateway: Gateway,
    leads: Option<Arc<PreviewPort>>,
    stop: CancellationToken,
) {
    let Ok(mut local) = stream.local_addr() else { return };
    local.set_ip(local.ip().to_canonical());
    let Ok(peer) = stream.peer_addr().map(|address| Peer(address.ip().to_canonical())) else { return };
    _ = stream.set_nodelay(true);
    let mut from = Ends { local, peer, leads, secure: None };
    let mut tls = gateway.tls().cloned();
    if tls.is_none() && from.leads.is_none() {
        let spoken = tokio::time::timeout(HEAD_TIMEOUT, Besides::is_spoken(&stream));
        if let Some(Ok(true)) = stop.run_until_cancelled(spoken).await {
            (tls, from.secure) = (gateway.besides().acceptor().await, Some(Secure));
        }
    }
    match tls {
        None => requests(stream, from, gateway, stop).await,
        Some(tls) => {
            // A client that doesn't speak it is no event here.
            let handshake = tokio::time::timeout(HEAD_TIMEOUT, tls.accept(stream));
            if let Some(Ok(Ok(stream))) = stop.run_until_cancelled(handshake).await {
                requests(stream, from, gateway, stop).await;
            }
        }
    }
    drop(slot);
}

/// Where a connection comes from and goes to.
struct Ends {
    local: SocketAddr,
    peer: Peer,
    leads: Option<Arc<PreviewPort>>,
    /// It came by TLS, though the server speaks HTTP.
    secure: Option<Secure>,
}

/// Answers what comes on a connection, encrypted or not, to its end.
async fn requests(
    stream: impl AsyncRead + AsyncWrite + Resets + Unpin + Send + 'static,
    Ends { local, peer, leads, secure }: Ends,
    gateway: Gateway,
    stop: CancellationToken,
) {
    let (at_head, tap, unread) = (AtHead::default(), Tap::default(), Unread::default());
    let service = service_fn(|request: Request<Incoming>| {
        let (gateway, leads, (mut request, rest)) = (gateway.clone(), leads.clone(), watched(request, &at_head));
        let (tap, unread) = (tap.clone(), unread.clone());
        request.extensions_mut().insert(peer);
        if let Some(secure) = secure {
            request.extensions_mut().insert(secure);
        }
        async move {
            let mut response = gateway.handle(request, local, leads.as_deref(), &tap).await;
            if let Some(rest) = rest
                && !rest.drain().await
            {
                unread.set();
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let stream = Lingering::new(Tapped::new(stream, tap.clone()), unread.clone());
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(READ_BUFFER)
        .serve_connection(TokioIo::new(Lenient::new(stream, at_head.clone())), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = match stop.run_until_cancelled(connection.as_mut()).await {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection");
    }
}

/// The request, and word to the connection about where the next one starts.
fn watched(request: Request<Incoming>, at_head: &AtHead) -> (Request<Body>, Option<Rest>) {
    if request.body().is_end_stream() {
        at_head.set(!request.headers().contains_key(header::UPGRADE));
        return (request.map(Body::new), None);
    }
    let (head, body) = request.into_parts();
    let (body, rest) = request_body::watch(body, at_head.clone());
    (Request::from_parts(head, Body::new(body)), Some(rest))
}
