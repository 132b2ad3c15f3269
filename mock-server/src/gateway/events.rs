//! Socket.IO at `/api/socket.io/`: SDKs wait here for a sandbox to change, instead of asking again and again
//! (`EventDispatcher` of the SDKs). WebSocket transport only, one room per organisation.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::Body,
    response::{IntoResponse, Response},
};
use http::{Request, StatusCode};
use serde::Deserialize;
use serde_json::json;
use socketioxide::{
    SocketIo, TransportType,
    extract::{SocketRef, TryData},
    handler::ConnectHandler,
    service::SocketIoService,
};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tower::ServiceExt;

use super::{credentials::query_value, faulty, origin::Origin, record::owner, tap::Tap};
use crate::{
    api,
    journal::Exchange,
    model::{ControlPlane, Identity, ModelEvent},
};

pub const PATH: &str = "/api/socket.io";
const PING_INTERVAL: Duration = Duration::from_secs(25);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
const MAX_PAYLOAD: u64 = 1_000_000;
/// The longest that events wait for one client that is being let in.
const LETTING_IN: Duration = Duration::from_millis(100);
/// How long clients may take to hear that the server ends.
const CLOSING: Duration = Duration::from_secs(1);

/// The Socket.IO server. Cheap to clone.
#[derive(Clone)]
pub struct Events {
    service: SocketIoService<Router>,
    io: SocketIo,
}

/// What a client sends when it connects.
#[derive(Default, Deserialize)]
struct Handshake {
    #[serde(default)]
    token: String,
}

#[derive(Debug, thiserror::Error)]
#[error("Unauthorized")]
struct Unauthorized;

impl Events {
    pub fn new(cp: &Arc<ControlPlane>) -> Events {
        let (service, io) = SocketIo::builder()
            .req_path(PATH)
            .ping_interval(PING_INTERVAL)
            .ping_timeout(PING_TIMEOUT)
            .max_payload(MAX_PAYLOAD)
            .transports([TransportType::Websocket])
            .build_with_inner_svc(Router::new());
        // Weak: the control plane ends its events when it goes, which this handler must not prevent.
        let weak = Arc::downgrade(cp);
        let authenticate = async move |socket: SocketRef, TryData(auth): TryData<Handshake>| {
            let identity = identify(&weak, &auth.unwrap_or_default()).ok_or(Unauthorized)?;
            let known = &socket.req_parts().extensions;
            if let Some(exchange) = known.get::<Arc<Exchange>>()
                && exchange.belongs_to(owner(&identity))
                && let (Some(cp), Some(tap)) = (weak.upgrade(), known.get::<Tap>())
            {
                faulty::bend_late(&cp, exchange, tap);
                tap.claimed();
            }
            // Here and not in the connect handler, which runs after the client was told that it is connected: it
            // would miss what it causes at once.
            socket.join(identity.organization_id);
            Ok::<_, Unauthorized>(())
        };
        io.ns("/", connected.with(authenticate));
        tokio::spawn(publish(io.clone(), cp.events(), cp.runner_id().to_owned()));
        Events { service, io }
    }

    /// Answers a request below [`PATH`], which carries its [`Origin`].
    pub async fn answer(&self, request: Request<Body>) -> Response {
        if query_value(request.uri(), "transport").as_deref() != Some("websocket") {
            // The library writes the code as text; the original as a number (observed).
            return (StatusCode::BAD_REQUEST, Json(json!({"code": 0, "message": "Transport unknown"}))).into_response();
        }
        let answer = self.service.clone().oneshot(request).await;
        answer.unwrap_or_else(|never| match never {}).map(Body::new)
    }

    /// Disconnects every client. The library waits for ever for one that left while it was being let in: it keeps that
    /// one's socket, whose end has been.
    pub async fn close(&self) {
        _ = tokio::time::timeout(CLOSING, self.io.close()).await;
    }
}

fn identify(cp: &Weak<ControlPlane>, handshake: &Handshake) -> Option<Identity> {
    cp.upgrade()?.authenticate(&handshake.token)
}

/// Nothing is left to do for a client that was let in.
async fn connected(_: SocketRef) {}

/// Sends what happens to whom it concerns, in order, until the control plane is gone.
async fn publish(io: SocketIo, mut events: Receiver<ModelEvent>, runner: String) {
    loop {
        match events.recv().await {
            Ok(event) => send(&io, &event, &runner).await,
            Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "events were lost: clients fall back to asking"),
            Err(RecvError::Closed) => return,
        }
    }
}

/// Each client gets URLs that start where it reached this server.
async fn send(io: &SocketIo, event: &ModelEvent, runner: &str) {
    // None once the server has closed its sockets.
    let Some(namespace) = io.of("/") else { return };
    let mut last = None;
    for socket in namespace.to(event.organization_id().to_owned()).sockets() {
        let Some(origin) = socket.req_parts().extensions.get::<Origin>() else { continue };
        let payload = match last.take() {
            Some((of, payload)) if of == *origin => payload,
            _ => api::events::payload(event, origin, runner),
        };
        let_in(&socket).await;
        // A client that doesn't read loses events and finds out by asking.
        _ = socket.emit(event.name(), &payload);
        last = Some((origin.clone(), payload));
    }
}

/// The library refuses to send to a client until a moment after it has told it that it is connected, and tells nobody
/// when that is over. A client that is faster would miss the first event.
async fn let_in(socket: &SocketRef) {
    let until = Instant::now() + LETTING_IN;
    while !socket.connected() && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
