//! Preview links, signed ones, signing keys, and the look-ups behind them.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, State},
};
use http::StatusCode;
use serde_json::json;

use super::{
    auth::{Caller, Client},
    error::{ApiError, ApiResult, ok, text},
    query::{Query, number_of},
};
use crate::{
    gateway::links::Links,
    model::{ControlPlane, preview::sign_nothing},
};

/// As the original's number: `NaN` where it is none.
fn port_text(port: &str) -> ApiResult<String> {
    match number_of(port) {
        number if (1.0..=65535.0).contains(&number) => Ok(number.to_string()),
        number if number.is_finite() => Err(ApiError::bad_request("Invalid port")),
        _ => Ok("NaN".to_owned()),
    }
}

fn port_number(port: &str) -> ApiResult<u16> {
    let number = number_of(port);
    let fits = number.fract() == 0.0 && (1.0..=65535.0).contains(&number);
    if fits { Ok(number as u16) } else { Err(ApiError::bad_request("Invalid port")) }
}

/// No port of this machine is left for the link.
fn no_link(error: std::io::Error) -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, format!("No port for the preview: {error}"))
}

/// `getPortPreviewUrl`. A port that isn't a number gives a link that leads nowhere (observed).
pub async fn url(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    client: Client,
    Extension(links): Extension<Arc<Links>>,
    Path((id, port)): Path<(String, String)>,
) -> ApiResult {
    let sandbox = caller.sandbox(&cp, &id)?;
    let url = links.url(&cp, &client.origin, &sandbox.id, &port_text(&port)?, None).await.map_err(no_link)?;
    Ok(ok(&json!({"sandboxId": sandbox.id, "url": url, "token": sandbox.preview_token})))
}

/// `getSignedPortPreviewUrl`. A port that isn't a number is null, and its link leads nowhere (observed).
pub async fn signed_url(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    client: Client,
    Extension(links): Extension<Arc<Links>>,
    Path((id, port)): Path<(String, String)>,
    query: Query,
) -> ApiResult {
    let sandbox = caller.sandbox(&cp, &id)?;
    let number = if number_of(&port).is_finite() { Some(port_number(&port)?) } else { None };
    let seconds = match query.get("expiresInSeconds") {
        Some(text) => text.parse().map_err(|_| ApiError::bad_request("expiresInSeconds must be an integer number"))?,
        None => 60,
    };
    let token = match number {
        Some(port) => cp.sign_preview(&sandbox, port, seconds).await?,
        None => sign_nothing(seconds)?,
    };
    let port = number.map_or_else(|| "NaN".to_owned(), |port| port.to_string());
    let url = links.url(&cp, &client.origin, &sandbox.id, &port, Some(&token)).await.map_err(no_link)?;
    Ok(ok(&json!({"sandboxId": sandbox.id, "port": number, "token": token, "url": url})))
}

/// `expireSignedPortPreviewUrl`: 201 without a body, for unknown tokens too (observed).
pub async fn expire(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path((id, port, token)): Path<(String, String, String)>,
) -> ApiResult<StatusCode> {
    let sandbox = caller.sandbox(&cp, &id)?;
    cp.expire_preview(&sandbox, port_number(&port)?, &token).await?;
    Ok(StatusCode::CREATED)
}

/// `getSandboxSigningKey`: raw text.
pub async fn signing_key(State(cp): State<Arc<ControlPlane>>, caller: Caller, Path(id): Path<String>) -> ApiResult {
    Ok(text(caller.sandbox(&cp, &id)?.signing_key.clone()))
}

/// `rotateSigningKey`: raw text.
pub async fn rotate(State(cp): State<Arc<ControlPlane>>, caller: Caller, Path(id): Path<String>) -> ApiResult {
    let sandbox = caller.sandbox(&cp, &id)?;
    Ok(text(cp.rotate_signing_key(&sandbox).await?))
}

/// `hasSandboxAccess`: `true`, or 404 for sandboxes of others.
pub async fn access(State(cp): State<Arc<ControlPlane>>, caller: Caller, Path(id): Path<String>) -> ApiResult {
    let own = cp.toolbox_target(&id).filter(|target| target.organization_id == caller.organization());
    own.map(|_| text("true".into())).ok_or_else(|| ApiError::not_found(format!("Sandbox with ID {id} not found")))
}

/// `isSandboxPublic`, `isValidAuthToken`, `getSigningKey`, …: for the proxy only; a user's key gets 403 (observed).
pub async fn proxy_only(_: Caller) -> ApiError {
    ApiError::wrong_context()
}

/// `getSandboxIdFromSignedPreviewUrlToken`: open to all, the token is the key.
pub async fn sandbox_id(State(cp): State<Arc<ControlPlane>>, Path((token, port)): Path<(String, String)>) -> ApiResult {
    let id = port.parse().ok().and_then(|port| cp.signed_preview(port, &token));
    id.map(text).ok_or_else(|| ApiError::new(StatusCode::FORBIDDEN, "Invalid or expired token"))
}
