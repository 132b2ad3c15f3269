//! Snapshots: the general ones and the organisation's own.

use std::{cmp::Ordering, sync::Arc};

use axum::extract::{Path, State};
use chrono::{DateTime, Utc};
use http::StatusCode;
use serde_json::{Value, json};

use super::{
    auth::Caller,
    dto::build_info,
    error::{ApiError, ApiResult, ok, time},
    query::Query,
};
use crate::model::{
    ControlPlane, ModelError, REGION,
    list::is_like,
    no_snapshot,
    snapshots::{self, GENERAL, GeneralSnapshot, Snapshot, SnapshotState},
};

/// Whose the general snapshots are: who runs this server (observed).
fn operator(cp: &ControlPlane, caller: &Caller) -> String {
    cp.operator().unwrap_or_else(|| caller.organization().to_owned())
}

fn general_dto(snapshot: &GeneralSnapshot, runner: &str, organization: &str) -> Value {
    let since = time(DateTime::<Utc>::UNIX_EPOCH);
    json!({
        "id": snapshot.id,
        "organizationId": organization,
        "general": true,
        "name": snapshot.name,
        "imageName": snapshot.name,
        "enabled": true,
        "skipValidation": false,
        "state": "active",
        "size": 0.1,
        "entrypoint": null,
        "cpu": snapshot.cpu,
        "gpu": 0,
        "mem": snapshot.memory,
        "disk": snapshot.disk,
        "errorReason": null,
        "createdAt": since,
        "updatedAt": since,
        "lastUsedAt": since,
        "regionIds": [REGION],
        "initialRunnerId": runner,
        "ref": format!("daytona-mock/{}:daytona", snapshot.name),
        "sourceSandboxId": null,
        "sandboxClass": snapshot.class,
    })
}

/// `SnapshotDto` of the contract; sizes are in GB.
pub(super) fn dto(snapshot: &Snapshot, runner: &str) -> Value {
    let gigabytes = |bytes: u64| (bytes as f64 / 1e9 * 1000.0).ceil() / 1000.0;
    let mut dto = json!({
        "id": snapshot.id,
        "organizationId": snapshot.organization_id,
        "general": false,
        "name": snapshot.name,
        "imageName": snapshot.image_name,
        // Only the Python models of 0.21 still ask for it.
        "enabled": snapshot.state != SnapshotState::Inactive,
        // Those of 0.116 to 0.123 for this.
        "skipValidation": false,
        "state": snapshot.state,
        "size": snapshot.size.map(gigabytes),
        "entrypoint": snapshot.entrypoint,
        "cpu": snapshot.cpu,
        "gpu": snapshot.gpu,
        "mem": snapshot.memory,
        "disk": snapshot.disk,
        "errorReason": snapshot.error_reason,
        "createdAt": time(snapshot.created_at),
        "updatedAt": time(snapshot.updated_at),
        "lastUsedAt": snapshot.last_used_at.map(time),
    });
    if let Some(build) = &snapshot.build {
        dto["buildInfo"] = build_info(build);
    }
    dto["regionIds"] = json!([snapshot.region]);
    dto["initialRunnerId"] = runner.into();
    dto["ref"] = json!(snapshot.reference);
    dto["sourceSandboxId"] = json!(snapshot.source_sandbox_id);
    dto["sandboxClass"] = json!(snapshot.class);
    dto
}

/// `getAllSnapshots`. The name is a case-insensitive part of the snapshot's, or a pattern
/// of SQL; general ones come last (observed).
pub async fn list(State(cp): State<Arc<ControlPlane>>, caller: Caller, mut query: Query) -> ApiResult {
    let page = query.page();
    let limit = query.number("limit", Some(200), true).unwrap_or(100) as usize;
    let name = format!("%{}", query.text("name"));
    let sorts = ["name", "state", "lastUsedAt", "createdAt"].map(|sort| (sort, sort));
    let sort = query.word("sort", &sorts, "lastUsedAt");
    let descending = query.word("order", &[("asc", false), ("desc", true)], true);
    query.check()?;
    let source = query.get("sourceSandboxId").map(str::to_owned);
    let mut own = cp.own_snapshots(caller.organization());
    own.retain(|snapshot| {
        is_like(&name, &snapshot.name)
            && source.as_ref().is_none_or(|id| snapshot.source_sandbox_id.as_ref() == Some(id))
    });
    own.sort_by(|a, b| directed(compare(a, b, sort), descending).then_with(|| a.id.cmp(&b.id)));
    let mut general: Vec<_> = GENERAL.iter().filter(|s| source.is_none() && is_like(&name, s.name)).collect();
    if sort == "name" {
        general.sort_by(|a, b| directed(a.name.cmp(b.name), descending));
    }
    let total = own.len() + general.len();
    let all = own.iter().map(|snapshot| dto(snapshot, cp.runner_id()));
    let operator = operator(&cp, &caller);
    let all = all.chain(general.iter().map(|general| general_dto(general, cp.runner_id(), &operator)));
    let items: Vec<Value> =
        all.skip(usize::try_from(page - 1).unwrap_or(usize::MAX).saturating_mul(limit)).take(limit).collect();
    Ok(ok(&json!({"items": items, "total": total, "page": page, "totalPages": total.div_ceil(limit)})))
}

fn directed(ordering: Ordering, descending: bool) -> Ordering {
    if descending { ordering.reverse() } else { ordering }
}

fn compare(a: &Snapshot, b: &Snapshot, sort: &str) -> Ordering {
    let place = |state: SnapshotState| SnapshotState::ALL.iter().position(|one| *one == state);
    match sort {
        "name" => a.name.cmp(&b.name),
        "state" => place(a.state).cmp(&place(b.state)),
        "createdAt" => a.created_at.cmp(&b.created_at),
        _ => a.last_used_at.cmp(&b.last_used_at).then_with(|| a.created_at.cmp(&b.created_at)),
    }
}

/// `getSnapshot`, by id or name.
pub async fn get(State(cp): State<Arc<ControlPlane>>, caller: Caller, Path(id): Path<String>) -> ApiResult {
    if let Some(own) = cp.own_snapshot(caller.organization(), &id) {
        return Ok(ok(&dto(&own, cp.runner_id())));
    }
    let general = snapshots::general(&id);
    if let Some(general) = general {
        return Ok(ok(&general_dto(general, cp.runner_id(), &operator(&cp, &caller))));
    }
    let general = snapshots::by_image(&id).ok_or_else(|| unknown(&cp, &id))?;
    let mut dto = general_dto(general, cp.runner_id(), &operator(&cp, &caller));
    (dto["name"], dto["imageName"]) = (id.clone().into(), id.into());
    Ok(ok(&dto))
}

/// An own snapshot for a route that takes ids only: an unknown one is told first, then that a name is no id (observed).
pub(super) fn by_id(cp: &ControlPlane, caller: &Caller, id: &str) -> ApiResult<Arc<Snapshot>> {
    let own = cp.own_snapshot(caller.organization(), id);
    if own.is_none() && snapshots::general(id).is_none() {
        return Err(unknown(cp, id).into());
    }
    if uuid::Uuid::parse_str(id).is_err() {
        return Err(ApiError::bad_request("Validation failed (uuid is expected)"));
    }
    own.ok_or_else(|| not_own(id).into())
}

fn unknown(cp: &ControlPlane, id: &str) -> ModelError {
    if cp.is_snapshot(id) { not_own(id) } else { no_snapshot(id) }
}

/// Of somebody else, or everybody's (observed).
fn not_own(id: &str) -> ModelError {
    ModelError::not_found(format!("Snapshot with ID or name {id} not found"))
}

/// `removeSnapshot`. Not even its owner can remove a general one; to others it isn't there (observed).
pub async fn delete(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<StatusCode> {
    let is_general = snapshots::general(&id).is_some_and(|general| general.id == id);
    if is_general && cp.operator().as_deref() == Some(caller.organization()) {
        return Err(ApiError::new(StatusCode::FORBIDDEN, "You cannot delete a general snapshot"));
    }
    let snapshot = by_id(&cp, &caller, &id)?;
    cp.remove_snapshot(&snapshot).await?;
    Ok(StatusCode::OK)
}

/// `activateSnapshot`.
pub async fn activate(State(cp): State<Arc<ControlPlane>>, caller: Caller, Path(id): Path<String>) -> ApiResult {
    let snapshot = by_id(&cp, &caller, &id)?;
    let snapshot = cp.activate_snapshot(&snapshot).await?;
    Ok(ok(&dto(&snapshot, cp.runner_id())))
}

/// `deactivateSnapshot`: 204, as often as one likes.
pub async fn deactivate(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<StatusCode> {
    let snapshot = by_id(&cp, &caller, &id)?;
    cp.deactivate_snapshot(&snapshot).await?;
    Ok(StatusCode::NO_CONTENT)
}
