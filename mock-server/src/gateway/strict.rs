//! Strict mode at the door: requests of strict worlds are judged before anything else looks at them.

use axum::{body::Body, response::Response};
use http::{Request, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt;

use super::{Gateway, faulty::envelope, legacy};
use crate::{
    journal::{Exchange, Plane, entry, exchange::is_json},
    strict::{self, Strictness},
    toolbox::operations::CREATE_CONNECT,
};

/// Larger bodies pass without a look.
const LARGEST: u64 = 1 << 20;

/// Judges a request, if its world wants it. `Err` is the refusal.
pub async fn check(gateway: &Gateway, exchange: &Exchange, request: Request<Body>) -> Result<Request<Body>, Response> {
    if !gateway.cp().is_strict() || !matches!(exchange.place.plane, Plane::Api | Plane::Toolbox) {
        return Ok(request);
    }
    if exchange.place.plane == Plane::Toolbox && entry::inner(exchange.uri.path()) == CREATE_CONNECT {
        return Ok(request);
    }
    let owner = exchange.progress.lock().owner.as_ref().map(|owner| owner.organization_id.clone());
    let Some(strictness) = gateway.cp().strictness(owner.as_deref()) else { return Ok(request) };
    let (parts, body) = request.into_parts();
    let size = if body.is_end_stream() { Some(0) } else { body.size_hint().exact() };
    let small = is_json(&parts.headers) && size.is_some_and(|size| size > 0 && size <= LARGEST);
    let (bytes, body) = if small {
        // A client that goes away in the middle gets no answer anyway.
        let bytes = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        (bytes.clone(), Body::from(bytes))
    } else {
        (bytes::Bytes::new(), body)
    };
    let path = exchange.uri.path();
    let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let violations = strict::judge(&strict::Request {
        plane: exchange.place.plane,
        operation: entry::operation_id(exchange),
        method: exchange.method.as_str(),
        path: if exchange.place.plane == Plane::Api {
            path.strip_prefix("/api").unwrap_or(path)
        } else {
            entry::inner(path)
        },
        query: exchange.uri.query().unwrap_or_default(),
        content_type: kind.unwrap_or_default(),
        body: &bytes,
        body_size: size,
        legacy: path.starts_with(legacy::PREFIX),
    });
    if violations.is_empty() {
        return Ok(Request::from_parts(parts, body));
    }
    let message = strict::message(&violations);
    exchange.progress.lock().violations = violations;
    match strictness {
        Strictness::Journal => Ok(Request::from_parts(parts, body)),
        Strictness::Reject => Err(envelope(exchange, StatusCode::BAD_REQUEST, Some(&message), None)),
    }
}
