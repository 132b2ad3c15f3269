//! Volumes. All routes by id take ids only, never names (observed).

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::Response,
};
use serde_json::{Value, json};

use super::{
    auth::Caller,
    body::Body,
    error::{ApiResult, ok, time},
    query::Query,
    validate::Checks,
};
use crate::model::{ControlPlane, Volume};

/// `VolumeDto` of the contract. `lastUsedAt` is absent until a sandbox gets the volume (observed).
pub(super) fn dto(volume: &Volume) -> Value {
    let mut dto = json!({
        "id": volume.id,
        "name": volume.name,
        "organizationId": volume.organization_id,
        "state": volume.state,
        "createdAt": time(volume.created_at),
        "updatedAt": time(volume.updated_at),
    });
    if let Some(at) = volume.last_used_at {
        dto["lastUsedAt"] = time(at).into();
    }
    dto["errorReason"] = json!(volume.error_reason);
    dto
}

/// `listVolumes`: a bare array.
pub async fn list(State(cp): State<Arc<ControlPlane>>, caller: Caller, query: Query) -> ApiResult {
    let deleted_too = query.get("includeDeleted").is_some_and(|text| text == "true");
    let all = cp.volumes(caller.organization(), deleted_too);
    Ok(ok(&all.iter().map(|volume| dto(volume)).collect::<Vec<_>>()))
}

/// `createVolume`. An empty name becomes the id (observed).
pub async fn create(State(cp): State<Arc<ControlPlane>>, caller: Caller, Body(body): Body) -> ApiResult {
    let mut checks = Checks::new(&body);
    if checks.given("name").is_none() {
        checks.problem("name must be a string");
    }
    let name = checks.name("name").unwrap_or_default();
    checks.finish()?;
    Ok(ok(&dto(&*cp.create_volume(&caller.0, name).await?)))
}

/// `getVolume`.
pub async fn get(State(cp): State<Arc<ControlPlane>>, caller: Caller, Path(id): Path<String>) -> ApiResult {
    Ok(ok(&dto(&*cp.volume(caller.organization(), &id)?)))
}

/// `getVolumeByName`.
pub async fn by_name(State(cp): State<Arc<ControlPlane>>, caller: Caller, Path(name): Path<String>) -> ApiResult {
    Ok(ok(&dto(&*cp.volume_by_name(caller.organization(), &name)?)))
}

/// `deleteVolume`: 200 without a body.
pub async fn delete(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<Response> {
    let volume = cp.volume(caller.organization(), &id)?;
    cp.delete_volume(&volume).await?;
    Ok(Response::default())
}
