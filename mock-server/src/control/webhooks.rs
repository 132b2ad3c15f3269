//! `/__control/webhooks`: the endpoints of an organisation, for its owner's key or a token of the portal.
//!
//! * `GET`: `{endpoints: [{id, url, eventTypes, source, createdAt}], eventTypes}`; `POST {url, eventTypes, secret}`: 201 with the
//!   secret.
//! * `DELETE /{id}`; `GET /{id}/secret`: `{key}`.
//! * `GET /{id}/deliveries`: newest first, `{items: [{id, messageId, eventType, payload, state, attempts, nextAttemptAt,
//!   createdAt}]}`; `POST /{id}/deliveries/{delivery}/replay`: 202, and one more attempt.

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::{FromRequestParts, Path, State},
    response::Response,
    routing::{delete, get, post},
};
use http::{StatusCode, request::Parts};
use serde_json::{Map, Value, json};

use crate::{
    api::{ApiError, ApiResult, Body, Caller, created, ok, time, token},
    gateway::{portal, seal::Seal},
    model::{
        ControlPlane,
        webhooks::{Delivery, EVENTS, Endpoint, NewEndpoint},
    },
    webhooks::Webhooks,
};

pub fn routes() -> Router<Arc<ControlPlane>> {
    Router::new()
        .route("/webhooks", get(list).post(add))
        .route("/webhooks/{id}", delete(remove))
        .route("/webhooks/{id}/secret", get(secret))
        .route("/webhooks/{id}/deliveries", get(deliveries))
        .route("/webhooks/{id}/deliveries/{delivery}/replay", post(replay))
}

/// The organisation whose webhooks it is about.
struct Whose(String);

impl FromRequestParts<Arc<ControlPlane>> for Whose {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, cp: &Arc<ControlPlane>) -> ApiResult<Whose> {
        let seal = parts.extensions.get::<Arc<Seal>>().cloned();
        let given = token(&parts.headers, &parts.uri).unwrap_or_default();
        let opened = seal.and_then(|seal| portal::organization(&seal, &given, cp.clock().now()));
        if let Some(organization) = opened.filter(|id| cp.organization(id).is_some()) {
            return Ok(Whose(organization));
        }
        let caller = Caller::from_request_parts(parts, cp).await?;
        Ok(Whose(caller.owner_of(cp, caller.organization())?.id.clone()))
    }
}

fn dto(endpoint: &Endpoint) -> Value {
    json!({
        "id": endpoint.id,
        "url": endpoint.url,
        "eventTypes": endpoint.events,
        "source": if endpoint.organization_id.is_some() { "organization" } else { "server" },
        "createdAt": time(endpoint.created_at),
    })
}

fn delivery_dto(delivery: &Delivery) -> Value {
    let told = delivery.attempts.iter().any(|attempt| attempt.succeeded());
    let state = match delivery.next_at {
        _ if told => "delivered",
        Some(_) => "pending",
        None => "failed",
    };
    json!({
        "id": delivery.id,
        "messageId": delivery.message_id,
        "eventType": delivery.event,
        "payload": delivery.body,
        "state": state,
        "attempts": delivery.attempts,
        "nextAttemptAt": delivery.next_at.map(time),
        "createdAt": time(delivery.created_at),
    })
}

async fn list(State(cp): State<Arc<ControlPlane>>, Whose(id): Whose) -> Response {
    ok(&endpoints(&cp, &id))
}

pub(crate) fn endpoints(cp: &ControlPlane, organization_id: &str) -> Value {
    let all: Vec<Value> = cp.webhooks(organization_id).iter().map(|endpoint| dto(endpoint)).collect();
    json!({"endpoints": all, "eventTypes": EVENTS})
}

async fn add(State(cp): State<Arc<ControlPlane>>, Whose(id): Whose, Body(body): Body) -> ApiResult {
    Ok(created(&new_endpoint(&cp, &id, &body).await?))
}

/// Adds one; what was made, with its secret.
pub(crate) async fn new_endpoint(cp: &ControlPlane, id: &str, body: &Map<String, Value>) -> ApiResult<Value> {
    let text = |name: &str| body.get(name).and_then(Value::as_str).map(String::from);
    let events = match body.get("eventTypes") {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(all)) => all.iter().map(|event| event.as_str().map(String::from)).collect(),
        Some(_) => None,
    };
    let events = events.ok_or_else(|| ApiError::bad_request("eventTypes must be an array of strings"))?;
    let new = NewEndpoint { url: text("url").unwrap_or_default(), events, secret: text("secret") };
    let endpoint = cp.add_webhook(id, new).await?;
    let mut answer = dto(&endpoint);
    answer["secret"] = json!(endpoint.secret);
    Ok(answer)
}

async fn remove(
    State(cp): State<Arc<ControlPlane>>,
    Whose(id): Whose,
    Path(endpoint): Path<String>,
) -> ApiResult<StatusCode> {
    cp.remove_webhook(&id, &endpoint).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Not that of the server's own endpoints, which is for whoever runs it.
async fn secret(State(cp): State<Arc<ControlPlane>>, Whose(id): Whose, Path(endpoint): Path<String>) -> ApiResult {
    let endpoint = cp.webhook(&id, &endpoint)?;
    match endpoint.organization_id {
        Some(_) => Ok(ok(&json!({"key": endpoint.secret}))),
        None => Err(ApiError::denied()),
    }
}

async fn deliveries(State(cp): State<Arc<ControlPlane>>, Whose(id): Whose, Path(endpoint): Path<String>) -> ApiResult {
    Ok(ok(&told(&cp, &id, &endpoint)?))
}

/// What an endpoint was told, newest first.
pub(crate) fn told(cp: &ControlPlane, organization_id: &str, endpoint: &str) -> ApiResult<Value> {
    let endpoint = cp.webhook(organization_id, endpoint)?;
    let all = cp.deliveries(organization_id, &endpoint.id);
    Ok(json!({"items": all.iter().map(|one| delivery_dto(one)).collect::<Vec<_>>()}))
}

async fn replay(
    State(cp): State<Arc<ControlPlane>>,
    Extension(webhooks): Extension<Arc<Webhooks>>,
    Whose(id): Whose,
    Path((endpoint, delivery)): Path<(String, String)>,
) -> ApiResult<StatusCode> {
    let all = cp.deliveries(&id, &cp.webhook(&id, &endpoint)?.id);
    let missing = || ApiError::not_found(format!("Webhook delivery with ID {delivery} not found"));
    webhooks.replay(all.iter().find(|one| one.id == delivery).ok_or_else(missing)?);
    Ok(StatusCode::ACCEPTED)
}
