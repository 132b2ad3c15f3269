//! Warm pools of an organisation.

use std::sync::Arc;

use axum::extract::{Path, State};
use http::StatusCode;
use serde_json::{Value, json};

use super::{
    auth::Caller,
    body::Body,
    error::{ApiResult, created, ok, time},
    validate::Checks,
};
use crate::model::{ControlPlane, USER, warm_pools::WarmPool};

/// `WarmPool` of the contract.
fn dto(cp: &ControlPlane, pool: &WarmPool) -> Value {
    json!({
        "id": pool.id,
        "organizationId": pool.organization_id,
        "snapshot": pool.snapshot,
        "target": pool.target,
        "pool": pool.size,
        "currentSize": cp.ready_in(pool),
        "cpu": pool.cpu,
        "mem": pool.memory,
        "disk": pool.disk,
        "osUser": if pool.user.is_empty() { USER } else { &pool.user },
        "env": {},
        "errorReason": pool.error_reason,
        "createdAt": time(pool.created_at),
        "updatedAt": time(pool.updated_at),
    })
}

/// `pool`: a whole number from `least`.
fn size(checks: &mut Checks, least: u32) -> u32 {
    let number = checks.given("pool").and_then(Value::as_f64);
    let number = number.unwrap_or(f64::NAN);
    if number.is_nan() || number < f64::from(least) {
        checks.problem(format!("pool must not be less than {least}"));
    }
    if number.is_nan() || number.fract() != 0.0 {
        checks.problem("pool must be an integer number");
    }
    // What is more than there can be is refused as too many.
    number.clamp(0.0, f64::from(u32::MAX)) as u32
}

/// `listWarmPools`.
pub async fn list(State(cp): State<Arc<ControlPlane>>, caller: Caller) -> ApiResult {
    let all = cp.warm_pools(caller.organization());
    Ok(ok(&all.iter().map(|pool| dto(&cp, pool)).collect::<Vec<_>>()))
}

/// `createWarmPool`: 201; it is filled from now on.
pub async fn create(State(cp): State<Arc<ControlPlane>>, caller: Caller, Body(body): Body) -> ApiResult {
    let mut checks = Checks::new(&body);
    let snapshot = checks.string("snapshot");
    if snapshot.as_deref().is_none_or(str::is_empty) && checks.given("snapshot").is_none_or(Value::is_string) {
        checks.problem("snapshot should not be empty");
    }
    let (size, target) = (size(&mut checks, 1), checks.string("target"));
    checks.finish()?;
    let pool = cp.create_warm_pool(&caller.0, snapshot.unwrap_or_default(), target, size).await?;
    Ok(created(&dto(&cp, &pool)))
}

/// `updateWarmPool`: 0 drains it.
pub async fn update(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path(id): Path<String>,
    Body(body): Body,
) -> ApiResult {
    cp.warm_pool(caller.organization(), &id)?;
    let mut checks = Checks::new(&body);
    let size = size(&mut checks, 0);
    checks.finish()?;
    let pool = cp.resize_warm_pool(caller.organization(), &id, size).await?;
    Ok(ok(&dto(&cp, &pool)))
}

/// `deleteWarmPool`.
pub async fn delete(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<StatusCode> {
    cp.delete_warm_pool(caller.organization(), &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
