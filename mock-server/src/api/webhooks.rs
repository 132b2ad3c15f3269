//! Webhooks of an organisation. Endpoints are managed on a page of this server, as the original's are on Svix's: access to it
//! is what `app-portal-access` gives.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, State},
};
use chrono::{DateTime, Utc};
use http::StatusCode;
use serde_json::{Value, json};

use super::{
    auth::{Caller, Client},
    error::{ApiError, ApiResult, created, ok, time},
};
use crate::{
    gateway::{portal, seal::Seal},
    model::ControlPlane,
};

/// `WebhookInitializationStatus` of the contract.
fn status(organization_id: &str, since: DateTime<Utc>) -> Value {
    json!({
        "organizationId": organization_id,
        "svixApplicationId": format!("app_{organization_id}"),
        "lastError": null,
        "retryCount": 0,
        "createdAt": time(since),
        "updatedAt": time(since),
    })
}

/// `WebhookController_getInitializationStatus`: 404 until it was initialised.
pub async fn get_status(State(cp): State<Arc<ControlPlane>>, caller: Caller, Path(id): Path<String>) -> ApiResult {
    let organization = caller.member_of(&cp, &id)?;
    let since = organization.webhooks_since.ok_or_else(uninitialized)?;
    Ok(ok(&status(&organization.id, since)))
}

fn uninitialized() -> ApiError {
    ApiError::not_found("Webhook initialization status not found")
}

/// `WebhookController_initializeWebhooks`: 201; once is enough.
pub async fn initialize(State(cp): State<Arc<ControlPlane>>, caller: Caller, Path(id): Path<String>) -> ApiResult {
    let organization = caller.owner_of(&cp, &id)?;
    let since = cp.initialize_webhooks(&organization.id).await?;
    Ok(created(&status(&organization.id, since)))
}

/// `WebhookController_refreshEndpoints`: nothing is kept that could be out of date.
pub async fn refresh(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<StatusCode> {
    let organization = caller.owner_of(&cp, &id)?;
    organization.webhooks_since.map(|_| StatusCode::NO_CONTENT).ok_or_else(uninitialized)
}

/// `WebhookController_getAppPortalAccess`: 201 with a token, and the URL of a page that it opens.
pub async fn portal_access(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    client: Client,
    Extension(seal): Extension<Arc<Seal>>,
    Path(id): Path<String>,
) -> ApiResult {
    let organization = caller.owner_of(&cp, &id)?;
    cp.initialize_webhooks(&organization.id).await?;
    let token = portal::token(&seal, &organization.id, cp.clock().now());
    // Behind the `#` no server and no log sees it.
    let url = format!("{}{}#key={token}", client.origin.base(), portal::PATH);
    Ok(created(&json!({"token": token, "url": url})))
}
