//! Organisations. The original keeps these routes for people who are signed in; here a key stands for its user if it may
//! all that its user may ([`Caller::person`]).

pub mod invitations;
pub mod members;
pub mod settings;
pub mod usage;

use std::sync::Arc;

use axum::extract::{Path, State};
use chrono::{DateTime, Utc};
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{
    auth::Caller,
    body::Body,
    error::{ApiError, ApiResult, created, ok, time},
    validate::Checks,
};
use crate::model::{
    ControlPlane,
    organization::{Organization, Otel},
    secrets,
};

/// `Organization` of the contract.
pub fn dto(organization: &Organization, now: DateTime<Utc>) -> Value {
    let suspension = organization.suspended(now);
    json!({
        "id": organization.id,
        "name": organization.name,
        "createdBy": organization.created_by,
        "personal": organization.personal,
        "createdAt": time(organization.created_at),
        "updatedAt": time(organization.updated_at()),
        "suspended": suspension.is_some(),
        "suspensionReason": suspension.and_then(|suspension| suspension.reason.clone()),
        "suspendedAt": suspension.map(|suspension| time(suspension.since)),
        "suspendedUntil": suspension.and_then(|suspension| suspension.until).map(time),
        "suspensionCleanupGracePeriodHours": 24,
        "maxCpuPerSandbox": 4,
        "maxMemoryPerSandbox": 8,
        "maxDiskPerSandbox": 10,
        "secretQuota": secrets::QUOTA,
        "maxSecretsPerSandbox": secrets::MAX_PER_SANDBOX,
        "snapshotDeactivationTimeoutMinutes": 20160,
        "defaultQueueTimeout": null,
        "sandboxLimitedNetworkEgress": organization.limited_egress,
        "previewWarningEnabled": organization.preview_warning,
        "ssoEnabled": false,
        "scimEnabled": false,
        "defaultRegionId": organization.default_region,
        "authenticatedRateLimit": null,
        "sandboxCreateRateLimit": null,
        "sandboxLifecycleRateLimit": null,
        "experimentalConfig": organization.experimental,
        "otelConfig": organization.otel.as_ref().map(otel),
        "authenticatedRateLimitTtlSeconds": null,
        "sandboxCreateRateLimitTtlSeconds": null,
        "sandboxLifecycleRateLimitTtlSeconds": null,
    })
}

fn otel(otel: &Otel) -> Value {
    json!({"endpoint": otel.endpoint, "headers": otel.headers})
}

/// `listOrganizations`: the user's, the personal one first; a key that doesn't stand for its user sees its own.
pub async fn list(State(cp): State<Arc<ControlPlane>>, caller: Caller) -> ApiResult {
    let now = cp.clock().now();
    let mut all = cp.organizations_of(&caller.0.user_id);
    if caller.person(&cp).is_err() {
        all.retain(|organization| organization.id == caller.organization());
    }
    Ok(ok(&all.iter().map(|organization| dto(organization, now)).collect::<Vec<_>>()))
}

/// `getOrganization`.
pub async fn get(State(cp): State<Arc<ControlPlane>>, caller: Caller, Path(id): Path<String>) -> ApiResult {
    Ok(ok(&dto(&*caller.member_of(&cp, &id)?, cp.clock().now())))
}

/// `createOrganization`; the user owns it. Names needn't differ (observed).
pub async fn create(State(cp): State<Arc<ControlPlane>>, caller: Caller, Body(body): Body) -> ApiResult {
    let user = caller.person(&cp)?;
    let mut checks = Checks::new(&body);
    let name = required_name(&mut checks);
    let region = required(&mut checks, "defaultRegionId");
    checks.finish()?;
    let region = cp.region(caller.organization(), &region)?;
    let organization = cp.create_organization(&user.id, name, &region).await?;
    Ok(created(&dto(&organization, cp.clock().now())))
}

/// A name that must be there; the messages' order is the observed one.
fn required_name(checks: &mut Checks) -> String {
    match checks.given("name") {
        Some(name) if name != "" => checks.name("name").unwrap_or_default(),
        _ => required(checks, "name"),
    }
}

/// A text that must be there and not empty.
pub fn required(checks: &mut Checks, name: &str) -> String {
    match checks.given(name) {
        Some(Value::String(text)) if !text.is_empty() => return text.clone(),
        Some(Value::String(_)) => checks.problem(format!("{name} should not be empty")),
        Some(_) => checks.problem(format!("{name} must be a string")),
        None => {
            checks.problem(format!("{name} should not be empty"));
            checks.problem(format!("{name} must be a string"));
        }
    }
    String::new()
}

/// `deleteOrganization`: 200 without a body (observed), when all that it owned is gone.
pub async fn delete(State(cp): State<Arc<ControlPlane>>, caller: Caller, Path(id): Path<String>) -> ApiResult<()> {
    let organization = caller.owner_of(&cp, &id)?;
    Ok(cp.delete_organization(&organization.id).await?)
}

/// `setOrganizationDefaultRegion`: once.
pub async fn set_default_region(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path(id): Path<String>,
    Body(body): Body,
) -> ApiResult<StatusCode> {
    let organization = caller.owner_of(&cp, &id)?;
    let mut checks = Checks::new(&body);
    let region = required(&mut checks, "defaultRegionId");
    checks.finish()?;
    let region = cp.region(&organization.id, &region)?;
    cp.set_default_region(&organization.id, &region).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `leaveOrganization`: 201 as the other actions; the last owner can't.
pub async fn leave(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<StatusCode> {
    let user = caller.person(&cp)?;
    let organization = caller.member_of(&cp, &id)?;
    cp.remove_member(&organization.id, &user.id).await?;
    Ok(StatusCode::CREATED)
}

/// A body's boolean that must be there.
fn switch(body: &Map<String, Value>, name: &str) -> ApiResult<bool> {
    let on = body.get(name).and_then(Value::as_bool);
    on.ok_or_else(|| ApiError::bad_request(format!("{name} must be a boolean value")))
}
