//! Strict mode at the door: requests of strict worlds are judged before anything else looks at them.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{body::Body, response::Response};
use bytes::{Bytes, BytesMut};
use http::{Request, StatusCode, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;

use super::{Gateway, faulty::envelope, legacy};
use crate::{
    journal::{Exchange, Plane, entry, exchange::Violation},
    strict::{self, Strictness, Wants},
    toolbox::files::{is_multipart, part_names},
};

/// Of forms so much is looked at (the rest of an upload passes as it comes), and of what comes without a key.
const STRANGERS: usize = 1 << 20;
/// Larger bodies are judged where nobody waits for it.
const QUICK: usize = 256 << 10;

/// What was read of a body, for judging.
struct Look {
    has_body: bool,
    /// All of it.
    whole: Option<Bytes>,
    form: Option<Vec<String>>,
}

/// Judges a request, if its world wants it. `Err` is the refusal.
pub async fn check(
    gateway: &Gateway,
    exchange: &Arc<Exchange>,
    request: Request<Body>,
) -> Result<Request<Body>, Response> {
    if !gateway.cp().is_strict() || !matches!(exchange.place.plane, Plane::Api | Plane::Toolbox) {
        return Ok(request);
    }
    let owner = exchange.progress.lock().owner.as_ref().map(|owner| owner.organization_id.clone());
    let Some(strictness) = gateway.cp().strictness(owner.as_deref()) else { return Ok(request) };
    let (look, request) = look(gateway, exchange, request).await;
    let violations = if look.whole.as_ref().is_some_and(|bytes| bytes.len() > QUICK) {
        let exchange = exchange.clone();
        tokio::task::spawn_blocking(move || judge(&exchange, &look)).await.unwrap_or_default()
    } else {
        judge(exchange, &look)
    };
    if violations.is_empty() {
        return Ok(request);
    }
    let message = strict::message(&violations);
    let refused = is_legacy(exchange) || violations.iter().any(|violation| violation.rule != strict::DEPRECATED);
    exchange.progress.lock().violations = violations;
    match strictness {
        Strictness::Reject if refused => Err(envelope(exchange, StatusCode::BAD_REQUEST, Some(&message), None)),
        // What is only deprecated is answered by the service of today, and current SDKs and the CLI still ask for some.
        _ => Ok(request),
    }
}

fn is_legacy(exchange: &Exchange) -> bool {
    exchange.uri.path().starts_with(legacy::PREFIX)
}

fn below(exchange: &Exchange) -> &str {
    let path = exchange.uri.path();
    match exchange.place.plane {
        Plane::Api => path.strip_prefix("/api").unwrap_or(path),
        _ => entry::inner(path),
    }
}

fn judge(exchange: &Exchange, look: &Look) -> Vec<Violation> {
    let kind = exchange.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    strict::judge(&strict::Request {
        plane: exchange.place.plane,
        operation: entry::operation_id(exchange),
        method: exchange.method.as_str(),
        path: below(exchange),
        query: exchange.uri.query().unwrap_or_default(),
        content_type: kind.unwrap_or_default(),
        has_body: look.has_body,
        body: look.whole.as_deref(),
        form: look.form.as_deref(),
        legacy: is_legacy(exchange),
    })
}

/// Reads as much of a body as there is something to say of, and puts it back. What is larger than the server itself reads
/// is refused by it anyway.
async fn look(gateway: &Gateway, exchange: &Exchange, request: Request<Body>) -> (Look, Request<Body>) {
    let (plane, limits) = (exchange.place.plane, gateway.limits());
    let is_form = plane == Plane::Toolbox && is_multipart(&exchange.headers);
    let most = match strict::wants(plane, entry::operation_id(exchange), exchange.method.as_str(), below(exchange)) {
        Wants::Presence => 0,
        _ if is_form => STRANGERS,
        Wants::Nothing => return (Look { has_body: false, whole: None, form: None }, request),
        Wants::Json if plane == Plane::Api => limits.api_body,
        Wants::Json => limits.json_body,
    };
    let has_key = exchange.progress.lock().owner.as_ref().is_some_and(|owner| owner.key_name.is_some());
    let (parts, body) = request.into_parts();
    let (first, ended, body) = read(body, if has_key { most } else { most.min(STRANGERS) }).await;
    let form = is_form.then(|| part_names(&exchange.headers, first.clone()));
    let has_body = !first.is_empty() || !ended;
    (Look { has_body, whole: ended.then_some(first), form }, Request::from_parts(parts, body))
}

/// The first bytes of a body, up to a piece more than `most`, whether they are all of it, and the body as it was.
async fn read(mut body: Body, most: usize) -> (Bytes, bool, Body) {
    let mut read = BytesMut::new();
    let mut end = body.is_end_stream().then_some(None);
    while end.is_none() && read.len() <= most {
        match body.frame().await {
            Some(Ok(frame)) => read.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
            // A client that goes away in the middle gets no answer; who reads on meets the failure.
            Some(Err(error)) => end = Some(Some(error)),
            None => end = Some(None),
        }
    }
    let first = read.freeze();
    match end {
        Some(None) => (first.clone(), true, Body::from(first)),
        Some(Some(error)) => {
            let pieces = [Ok(first.clone()), Err(error)];
            (first, false, Body::from_stream(futures_util::stream::iter(pieces)))
        }
        None => (first.clone(), false, Body::new(Again { first: Some(first), rest: body })),
    }
}

/// A body whose beginning was read already.
struct Again {
    first: Option<Bytes>,
    rest: Body,
}

impl HttpBody for Again {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(Frame::data(first)))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (first, rest) = (self.first.as_ref().map_or(0, |first| first.len() as u64), self.rest.size_hint());
        let mut all = SizeHint::new();
        all.set_lower(rest.lower().saturating_add(first));
        if let Some(upper) = rest.upper() {
            all.set_upper(upper.saturating_add(first));
        }
        all
    }
}
