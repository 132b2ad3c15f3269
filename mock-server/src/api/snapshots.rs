//! Snapshots, read-only for now: the general ones, which SDKs list and look up.

use std::sync::Arc;

use axum::extract::{Path, State};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{
    auth::Caller,
    error::{ApiError, ApiResult, ok, time},
    query::Query,
};
use crate::model::{
    ControlPlane, REGION,
    snapshots::{self, GENERAL, GeneralSnapshot},
};

fn dto(snapshot: &GeneralSnapshot, runner: &str, organization: &str) -> Value {
    let since = time(DateTime::<Utc>::UNIX_EPOCH);
    json!({
        "id": snapshot.id,
        "organizationId": organization,
        "general": true,
        "name": snapshot.name,
        "imageName": snapshot.name,
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
        "sandboxClass": "container",
    })
}

/// `getAllSnapshots`. The name is a case-insensitive part of the snapshot's (observed).
pub async fn list(State(cp): State<Arc<ControlPlane>>, caller: Caller, mut query: Query) -> ApiResult {
    let page = query.number("page", None, true).unwrap_or(1) as usize;
    let limit = query.number("limit", Some(200), true).unwrap_or(100) as usize;
    let name = query.text("name").to_lowercase();
    let sorts = ["name", "state", "lastUsedAt", "createdAt"].map(|sort| (sort, sort));
    let by_name = query.word("sort", &sorts, "lastUsedAt") == "name";
    let descending = query.word("order", &[("asc", false), ("desc", true)], true);
    query.check()?;
    let from_sandbox = query.get("sourceSandboxId").is_some();
    let mut found: Vec<_> = GENERAL.iter().filter(|s| !from_sandbox && s.name.contains(&name)).collect();
    if by_name {
        found.sort_by_key(|snapshot| snapshot.name);
        if descending {
            found.reverse();
        }
    }
    let total = found.len();
    let shown = found.into_iter().skip((page - 1).saturating_mul(limit)).take(limit);
    let items: Vec<Value> = shown.map(|snapshot| dto(snapshot, cp.runner_id(), caller.organization())).collect();
    Ok(ok(&json!({"items": items, "total": total, "page": page, "totalPages": total.div_ceil(limit)})))
}

/// `getSnapshot`, by id or name.
pub async fn get(State(cp): State<Arc<ControlPlane>>, caller: Caller, Path(id): Path<String>) -> ApiResult {
    let snapshot = snapshots::general(&id);
    let snapshot = snapshot.ok_or_else(|| ApiError::not_found(format!("Snapshot with name {id} not found")))?;
    Ok(ok(&dto(snapshot, cp.runner_id(), caller.organization())))
}
