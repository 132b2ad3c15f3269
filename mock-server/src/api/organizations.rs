//! Organisations, read-only for now: the caller's own.

use std::sync::Arc;

use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::{
    auth::Caller,
    error::{ApiError, ApiResult, ok, time},
};
use crate::model::{ControlPlane, Organization, REGION};

fn dto(organization: &Organization) -> Value {
    json!({
        "id": organization.id,
        "name": organization.name,
        "createdBy": organization.created_by,
        "personal": true,
        "createdAt": time(organization.created_at),
        "updatedAt": time(organization.created_at),
        "suspended": false,
        "suspensionReason": null,
        "suspendedAt": null,
        "suspendedUntil": null,
        "suspensionCleanupGracePeriodHours": 24,
        "maxCpuPerSandbox": 4,
        "maxMemoryPerSandbox": 8,
        "maxDiskPerSandbox": 10,
        "secretQuota": 100,
        "maxSecretsPerSandbox": 20,
        "snapshotDeactivationTimeoutMinutes": 20160,
        "defaultQueueTimeout": null,
        "sandboxLimitedNetworkEgress": false,
        "previewWarningEnabled": false,
        "ssoEnabled": false,
        "scimEnabled": false,
        "defaultRegionId": REGION,
        "authenticatedRateLimit": null,
        "sandboxCreateRateLimit": null,
        "sandboxLifecycleRateLimit": null,
        "experimentalConfig": {},
        "otelConfig": null,
        "authenticatedRateLimitTtlSeconds": null,
        "sandboxCreateRateLimitTtlSeconds": null,
        "sandboxLifecycleRateLimitTtlSeconds": null,
    })
}

/// `listOrganizations`.
pub async fn list(State(cp): State<Arc<ControlPlane>>, caller: Caller) -> ApiResult {
    let own: Vec<Value> = cp.organization(caller.organization()).iter().map(dto).collect();
    Ok(ok(&own))
}

/// `getOrganization`: 403 for all but the caller's own (observed).
pub async fn get(State(cp): State<Arc<ControlPlane>>, caller: Caller, Path(id): Path<String>) -> ApiResult {
    let own = cp.organization(&id).filter(|organization| organization.id == caller.organization());
    own.map(|organization| ok(&dto(&organization))).ok_or_else(ApiError::wrong_context)
}
