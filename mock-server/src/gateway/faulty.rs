//! Carries out what faults do to requests ([`crate::faults`]). Nothing of this is on the way of a request while there is
//! no fault.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::Body,
    response::{IntoResponse, Response},
};
use futures_util::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::{
    Gateway,
    bend::{Bend, End},
    bent_body::{Bending, BentBody},
    cors::Cors,
    error::ProxyError,
    forward::upgrade_protocol,
    hosts::Destination,
    skew,
    tap::Tap,
};
use crate::{
    api::{self, ApiError},
    faults::{
        Effect, Facts, Fault,
        effect::{Place, Resource},
    },
    journal::{Exchange, Plane, entry},
    model::ControlPlane,
    toolbox::ToolboxError,
};

/// Answers that are larger keep their times whatever the skew.
const SKEWED: usize = 4 << 20;

/// Marks what stands for an answer that never comes, in its extensions.
#[derive(Clone, Copy)]
pub struct CutOff;

/// The faults that act on a request; none for preflights, which are no request of a client's own.
pub fn acting(cp: &ControlPlane, exchange: &Exchange) -> Vec<Arc<Fault>> {
    let faults = cp.faults();
    if faults.is_idle() || exchange.method == Method::OPTIONS {
        return Vec::new();
    }
    let Some(world) = exchange.progress.lock().owner.as_ref().map(|owner| owner.organization_id.clone()) else {
        return Vec::new();
    };
    let named = exchange.place.sandbox.as_deref();
    let known = named.and_then(|named| cp.find(&world, named).ok());
    let upgrade = upgrade_protocol(&exchange.headers).is_some();
    let facts = Facts::of(exchange, known.as_ref().map(|known| (known.id.as_str(), known.name.as_str())), upgrade);
    if facts.operation == Some("getSandbox")
        && let Some(known) = &known
    {
        faults.polled(&world, &known.id);
    }
    let acting = faults.acting(&world, &facts);
    exchange.progress.lock().faults = acting.iter().map(|fault| fault.id.clone()).collect();
    acting
}

/// Lets faults act on a socket whose client has just said who it is.
pub fn bend_late(cp: &ControlPlane, exchange: &Exchange, tap: &Tap) {
    for fault in acting(cp, exchange) {
        let bend = match &fault.rule.effect {
            Effect::WebsocketClose { code, reason, after_frames } => {
                Bend::new(Some((*code, reason.clone(), *after_frames)), None)
            }
            Effect::SplitFrames { at } => Bend::new(None, Some(*at)),
            Effect::ClockSkew { seconds } => Bend::skewed(*seconds),
            _ => continue,
        };
        tap.bend(bend.late());
    }
}

/// Answers a request on which faults act.
pub async fn answer(
    gateway: &Gateway,
    faults: &[Arc<Fault>],
    exchange: &Exchange,
    tap: &Tap,
    destination: Destination,
    request: Request<Body>,
) -> Response {
    let (parts, body) = request.into_parts();
    let cors = if exchange.place.plane == Plane::Api { Cors::api(&parts) } else { Cors::proxy(&parts) };
    let request = Request::from_parts(parts, body);
    for (n, fault) in faults.iter().enumerate() {
        if let Some(mut instead) = before(gateway, fault, exchange, tap).await {
            // It is an answer like others to those before it.
            for earlier in &faults[..n] {
                instead = after(gateway, earlier, exchange, tap, instead).await;
            }
            return cors.apply(instead);
        }
    }
    let mut response = gateway.serve(destination, request).await;
    for fault in faults {
        response = after(gateway, fault, exchange, tap, response).await;
    }
    response
}

/// What happens before the request is looked at; an answer in its stead.
async fn before(gateway: &Gateway, fault: &Fault, exchange: &Exchange, tap: &Tap) -> Option<Response> {
    let clock = gateway.cp().clock();
    match &fault.rule.effect {
        Effect::Delay { seconds, at: Place::Head } => {
            clock.sleep(Duration::from_secs_f64(*seconds)).await;
            None
        }
        Effect::Hang {} => {
            fault.released().await;
            None
        }
        Effect::Reset { after_bytes: None } => {
            tap.reset();
            Some(no_answer())
        }
        Effect::Status { status, body, message, code, headers } => {
            let status = StatusCode::from_u16(*status).ok()?;
            let mut response = match body {
                Some(body) => plain(status, body),
                None => envelope(exchange, status, message.as_deref(), code.as_deref()),
            };
            add_headers(response.headers_mut(), headers);
            Some(response)
        }
        Effect::RateLimited { limit, retry_after } => {
            let own = || api::limit_of(exchange.method.as_str(), exchange.uri.path().strip_prefix("/api")?);
            let limit = limit.as_deref().or_else(own).unwrap_or("authenticated");
            let refusal = api::throttled(limit, *retry_after);
            Some(api::render_error(refusal, exchange.method.as_str(), &exchange.uri))
        }
        Effect::DiskFull {} => Some(disk_full(exchange)),
        Effect::Quota { resource, maximum } => Some(quota(exchange, *resource, *maximum)),
        Effect::Unreachable {} => {
            let error = ProxyError::bad_gateway("dial tcp: connect: connection refused");
            Some(error.response(&exchange.method, exchange.uri.path()))
        }
        _ => None,
    }
}

/// What happens to an answer that is there.
async fn after(gateway: &Gateway, fault: &Fault, exchange: &Exchange, tap: &Tap, response: Response) -> Response {
    let bend = |response: Response, bending| {
        let tap = tap.clone();
        response.map(|inner| Body::new(BentBody::new(inner, bending, tap)))
    };
    let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    match &fault.rule.effect {
        Effect::WebsocketClose { code, reason, after_frames } if upgraded => {
            tap.bend(Bend::new(Some((*code, reason.clone(), *after_frames)), None));
        }
        Effect::SplitFrames { at } if upgraded => tap.bend(Bend::new(None, Some(*at))),
        Effect::Delay { seconds, at: Place::Body } if upgraded => {
            let (clock, span) = (gateway.cp().clock().clone(), Duration::from_secs_f64(*seconds));
            tap.hold(Box::pin(async move { clock.sleep(span).await }));
        }
        Effect::CommitThenDrop { reset } => {
            if *reset {
                tap.reset()
            } else {
                tap.end()
            }
            return no_answer();
        }
        Effect::ClockSkew { seconds } if upgraded => tap.bend(Bend::skewed(*seconds)),
        Effect::Truncate { bytes } if upgraded => tap.bend(Bend::ended(*bytes, End::Closed)),
        Effect::Reset { after_bytes: Some(bytes) } if upgraded => tap.bend(Bend::ended(*bytes, End::Reset)),
        Effect::CommitThenFail { status, body } => return instead(exchange, tap, response, *status, body.as_ref()),
        Effect::Die {} => die(gateway, exchange).await,
        _ if upgraded => {}
        Effect::SplitFrames { at } => return bend(response, Bending::Split(*at)),
        Effect::Truncate { bytes } => return bend(response, Bending::End { after: *bytes, reset: false }),
        Effect::Reset { after_bytes: Some(bytes) } => {
            return bend(response, Bending::End { after: *bytes, reset: true });
        }
        Effect::Delay { seconds, at: Place::Body } => {
            let (clock, span) = (gateway.cp().clock().clone(), Duration::from_secs_f64(*seconds));
            return bend(response, Bending::Delay(Box::pin(async move { clock.sleep(span).await })));
        }
        Effect::ClockSkew { seconds } => return skewed(gateway, response, *seconds).await,
        _ => {}
    }
    response
}

/// The answer of a request that was carried out. An upgrade is refused by it, and what was connected is let go.
fn instead(exchange: &Exchange, tap: &Tap, response: Response, status: u16, body: Option<&Value>) -> Response {
    let Ok(status) = StatusCode::from_u16(status) else { return response };
    let mut refusal = match body {
        Some(body) => plain(status, body),
        None => envelope(exchange, status, None, None),
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        tap.straighten();
        // Who waits for the upgrade hears that there is none when the connection ends.
        refusal.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    refusal
}

/// Kills the sandbox that was asked.
async fn die(gateway: &Gateway, exchange: &Exchange) {
    let Some(named) = &exchange.place.sandbox else { return };
    let owner = exchange.progress.lock().owner.clone();
    if let Some(found) = owner.and_then(|owner| gateway.cp().find(&owner.organization_id, named).ok()) {
        gateway.cp().kill(&found.id).await;
    }
}

/// Stands for an answer of which not a byte is sent.
fn no_answer() -> Response {
    let mut nothing = Response::new(Body::empty());
    nothing.extensions_mut().insert(CutOff);
    nothing
}

fn plain(status: StatusCode, body: &Value) -> Response {
    match body {
        Value::String(text) => (status, text.clone()).into_response(),
        body => (status, Json(body)).into_response(),
    }
}

/// A failure in the envelope of its plane.
pub fn envelope(exchange: &Exchange, status: StatusCode, message: Option<&str>, code: Option<&str>) -> Response {
    let reason = status.canonical_reason().unwrap_or("Error");
    let message = message.unwrap_or(reason);
    if matches!(exchange.place.plane, Plane::Api | Plane::Events) {
        let error = ApiError { code: code.map(str::to_owned), ..ApiError::new(status, message) }.into_response();
        return api::render_error(error, exchange.method.as_str(), &exchange.uri);
    }
    let own = || reason.to_ascii_uppercase().replace([' ', '-'], "_");
    let body = json!({
        "statusCode": status.as_u16(),
        "message": message,
        "source": "DAYTONA_PROXY",
        "code": code.map_or_else(own, str::to_owned),
        "timestamp": crate::toolbox::error::timestamp(chrono::Utc::now()),
        "path": exchange.uri.path(),
        "method": exchange.method.as_str(),
    });
    (status, Json(body)).into_response()
}

fn add_headers(headers: &mut HeaderMap, added: &std::collections::BTreeMap<String, String>) {
    for (name, value) in added {
        // They were checked when the fault was made.
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    }
}

/// As the daemon says it (the words of `ENOSPC`).
fn disk_full(exchange: &Exchange) -> Response {
    let path = exchange.uri.path();
    let target = super::credentials::query_value(&exchange.uri, "path").unwrap_or_else(|| "/home/daytona".into());
    let verb = if path.ends_with("/files/folder") { "mkdir" } else { "write" };
    let error = ToolboxError::bad_request(format_args!("{verb} {target}: no space left on device"));
    (error.status, Json(error.body(entry::inner(path), exchange.method.as_str()))).into_response()
}

/// Observed, but for the disk's, which is documented.
fn quota(exchange: &Exchange, resource: Resource, maximum: u32) -> Response {
    let (what, unit) = match resource {
        Resource::Cpu => ("CPU", ""),
        Resource::Memory => ("memory", "GiB"),
        Resource::Disk => ("disk", "GiB"),
    };
    let host = exchange.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let text = format!(
        "Total {what} limit exceeded. Maximum allowed: {maximum}{unit}.\nTo increase concurrency limits, upgrade your \
         organization's Tier by visiting http://{host}/dashboard/limits."
    );
    let error = ApiError::bad_request(text).into_response();
    api::render_error(error, exchange.method.as_str(), &exchange.uri)
}

/// JSON is held back for that; of one that is too large the rest passes as it is.
async fn skewed(gateway: &Gateway, response: Response, seconds: i64) -> Response {
    let (mut parts, mut body) = response.into_parts();
    skew::shift_headers(&mut parts.headers, gateway.cp().clock().now(), seconds);
    if !crate::journal::exchange::is_json(&parts.headers) {
        return Response::from_parts(parts, body);
    }
    let mut text = Vec::new();
    while text.len() <= SKEWED {
        match body.frame().await {
            None => {
                let shifted = skew::shift(&String::from_utf8_lossy(&text), seconds);
                parts.headers.remove(header::CONTENT_LENGTH);
                return Response::from_parts(parts, Body::from(shifted));
            }
            Some(Ok(frame)) => text.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
            Some(Err(_)) => return StatusCode::BAD_GATEWAY.into_response(),
        }
    }
    let held = futures_util::stream::once(async move { Ok(bytes::Bytes::from(text)) });
    Response::from_parts(parts, Body::from_stream(held.chain(body.into_data_stream())))
}
