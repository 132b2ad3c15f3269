//! SSH access to sandboxes: tokens that are the user names of SSH connections (`gateway/ssh`).

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, State},
};
use http::StatusCode;
use serde_json::json;

use super::{
    auth::{Caller, Client},
    error::{ApiError, ApiResult, ok, time},
    query::Query,
    sandboxes::full,
};
use crate::{gateway::ssh::Public, model::ControlPlane};

/// What access lasts unless told otherwise, in minutes (observed).
const DEFAULT_MINUTES: f64 = 60.0;

/// `createSshAccess`. Any number will do, also a negative one (observed); to what is none the original answers 500.
pub async fn create(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    client: Client,
    Extension(ssh): Extension<Arc<Public>>,
    Path(id): Path<String>,
    query: Query,
) -> ApiResult {
    let sandbox = caller.sandbox(&cp, &id)?;
    let minutes = match query.get("expiresInMinutes") {
        Some(text) => text.parse().ok().filter(|minutes: &f64| minutes.is_finite()).ok_or_else(|| {
            ApiError::bad_request("expiresInMinutes must be a number conforming to the specified constraints")
        })?,
        None => DEFAULT_MINUTES,
    };
    let off =
        || ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "SSH is switched off on this server (--ssh-listen off)");
    let port = ssh.port.ok_or_else(off)?;
    let (access, token) = cp.create_ssh_access(&sandbox, minutes).await?;
    Ok(ok(&json!({
        "id": access.id,
        "sandboxId": access.sandbox_id,
        "token": token,
        "expiresAt": time(access.expires_at),
        "createdAt": time(access.created_at),
        "updatedAt": time(access.created_at),
        "sshCommand": client.origin.ssh_command(port, &token),
    })))
}

/// `revokeSshAccess`: one token, or all. Answers the sandbox, for unknown tokens too (observed).
pub async fn revoke(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    client: Client,
    Path(id): Path<String>,
    query: Query,
) -> ApiResult {
    let sandbox = caller.sandbox(&cp, &id)?;
    cp.revoke_ssh_access(&sandbox, query.get("token")).await?;
    Ok(full(&client.view(&sandbox), &client))
}

/// `validateSshAccess`. The original answers its own gateway only; the SDKs offer it to everybody. Tokens of other
/// organisations are unknown. `sandboxId` is a text in any case: Python clients can't read the original's `null`.
pub async fn validate(State(cp): State<Arc<ControlPlane>>, caller: Caller, query: Query) -> ApiResult {
    let id = query.get("token").and_then(|token| cp.ssh_access(token));
    let own = id.filter(|id| caller.sandbox(&cp, id).is_ok());
    Ok(ok(&json!({"valid": own.is_some(), "sandboxId": own.unwrap_or_default()})))
}
