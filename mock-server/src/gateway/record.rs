//! Puts requests and their answers into the journal, counting bodies as they pass.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::{
    Gateway,
    bend::Bend,
    besides::Secure,
    credentials::{bearer, query_value},
    events,
    hosts::{Destination, Preview},
    legacy,
    lull::Lull,
    pool::TOOLBOX_PORT,
    tap::Tap,
};
use crate::{
    journal::{
        Exchange, Owner, Plane, Recording,
        exchange::{Place, append},
    },
    model::{ControlPlane, Identity},
};

/// Begins the record of a request; none for `/__control`, whose user knows what they do.
pub fn begin(
    gateway: &Gateway,
    destination: &Destination,
    mut request: Request<Body>,
) -> (Request<Body>, Option<Recording>) {
    let Some(mut place) = place(gateway.cp(), destination, request.uri().path()) else { return (request, None) };
    place.secure = gateway.tls().is_some() || request.extensions().get::<Secure>().is_some();
    let (cp, journal) = (gateway.cp(), gateway.journal());
    let owner = owner_of(cp, request.headers(), request.uri(), place.sandbox.as_deref());
    let exchange = Arc::new(Exchange::new(
        journal.next_id(),
        cp.clock().now(),
        place,
        request.method().clone(),
        request.uri().clone(),
        request.headers().clone(),
        owner,
    ));
    if exchange.place.plane == Plane::Events {
        // Whose it is comes later.
        request.extensions_mut().insert(exchange.clone());
    }
    if !request.body().is_end_stream() {
        let keep = exchange.keeps(request.headers());
        let exchange = exchange.clone();
        request = request.map(|inner| Body::new(Sent { inner, exchange, keep }));
    }
    (request, Some(Recording::new(exchange, journal.clone())))
}

/// Records the answer: its head now, its end when it comes.
pub fn answer(mut recording: Recording, response: Response, tap: &Tap, lull: &Lull) -> Response {
    recording.head(response.status(), response.headers());
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        if recording.exchange().place.plane == Plane::Events {
            tap.bend_unless_faulty(Bend::first_answer_first());
        }
        tap.open(recording);
        return response;
    }
    if response.body().is_end_stream() || recording.exchange().method == Method::HEAD {
        recording.end(0, Vec::new(), true);
        return response;
    }
    let keep = recording.exchange().keeps(response.headers());
    response.map(|inner| {
        let expected = inner.size_hint().exact();
        Body::new(Answered { inner, recording, expected, bytes: 0, kept: Vec::new(), keep, lull: lull.clone() })
    })
}

pub fn owner(identity: &Identity) -> Owner {
    Owner { organization_id: identity.organization_id.clone(), key_name: Some(identity.key_name.clone()) }
}

/// The holder of a good key, else whoever owns the sandbox.
fn owner_of(cp: &ControlPlane, headers: &HeaderMap, uri: &Uri, sandbox: Option<&str>) -> Option<Owner> {
    let given = |token: &str| cp.authenticate(token).as_ref().map(owner);
    let by_key = bearer(headers).and_then(given);
    let by_key = by_key.or_else(|| query_value(uri, "access_token").and_then(|token| given(&token)));
    by_key.or_else(|| {
        let organization_id = cp.owner_of(sandbox?)?;
        Some(Owner { organization_id, key_name: None })
    })
}

fn place(cp: &ControlPlane, destination: &Destination, path: &str) -> Option<Place> {
    let place = match destination {
        Destination::Preview(preview) => of_preview(cp, preview),
        Destination::Unknown(_) | Destination::Nowhere => {
            Place { plane: Plane::Server, sandbox: None, port: None, secure: false }
        }
        Destination::Main(_) => {
            let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
            let (plane, below) = match first {
                "__control" => return None,
                "toolbox" => (Plane::Toolbox, path.strip_prefix("/toolbox/")),
                "api" if path.starts_with(legacy::PREFIX) => (Plane::Toolbox, path.strip_prefix(legacy::PREFIX)),
                "api" if path.starts_with(events::PATH) => (Plane::Events, None),
                "api" => (Plane::Api, path.strip_prefix("/api/sandbox/")),
                "sandboxes" => (Plane::Server, path.strip_prefix("/sandboxes/")),
                _ => (Plane::Server, None),
            };
            let sandbox = below.and_then(|below| below.split('/').next()).filter(|id| !id.is_empty());
            let sandbox = sandbox.filter(|id| plane != Plane::Api || !matches!(*id, "paginated" | "for-runner"));
            Place { plane, sandbox: sandbox.map(str::to_owned), port: None, secure: false }
        }
    };
    Some(place)
}

fn of_preview(cp: &ControlPlane, preview: &Preview) -> Place {
    let signed = cp.signed_preview(preview.port, &preview.name);
    // A name that is neither may be a token that has ended.
    let known = || cp.owner_of(&preview.name).is_some().then(|| preview.name.clone());
    let plane = if preview.port == TOOLBOX_PORT { Plane::Toolbox } else { Plane::Preview };
    Place { plane, sandbox: signed.or_else(known), port: Some(preview.port), secure: false }
}

/// A request's body on its way in.
struct Sent {
    inner: Body,
    exchange: Arc<Exchange>,
    keep: bool,
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if let Some(data) = polled.as_ref().and_then(|frame| frame.as_ref().ok()).and_then(Frame::data_ref) {
            self.exchange.sent(data, self.keep);
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// An answer's body on its way out.
struct Answered {
    inner: Body,
    recording: Recording,
    expected: Option<u64>,
    bytes: u64,
    kept: Vec<u8>,
    keep: bool,
    lull: Lull,
}

impl Answered {
    fn end(&mut self, complete: bool) {
        let kept = std::mem::take(&mut self.kept);
        self.recording.end(self.bytes, kept, complete);
    }
}

impl HttpBody for Answered {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        let this = &mut *self;
        match &polled {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    this.bytes += data.len() as u64;
                    if this.keep {
                        append(&mut this.kept, data);
                    }
                }
                // The client may have it all before the end is asked for.
                if this.expected == Some(this.bytes) || this.inner.is_end_stream() {
                    this.end(true);
                }
            }
            Some(Err(_)) => this.end(false),
            None => this.end(true),
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Answered {
    fn drop(&mut self) {
        // The client went away in the middle.
        self.end(false);
        // What a long one needed isn't needed any more.
        self.lull.over();
    }
}
