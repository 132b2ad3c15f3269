//! Telemetry without a collector behind it: the empty shapes (observed).

use std::sync::Arc;

use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::{
    auth::Caller,
    error::{ApiError, ApiResult, ok},
    query::{Query, parse_date},
};
use crate::model::ControlPlane;

fn empty(cp: &ControlPlane, caller: &Caller, id: &str, query: &Query, shape: &Value) -> ApiResult {
    caller.sandbox(cp, id)?;
    let bad = |name: &&str| query.get(name).and_then(parse_date).is_none();
    let problems =
        ["from", "to"].into_iter().filter(bad).map(|name| format!("{name} must be a valid ISO 8601 date string"));
    let problems: Vec<String> = problems.collect();
    if problems.is_empty() { Ok(ok(shape)) } else { Err(ApiError::bad_request(problems.join(", "))) }
}

/// `getSandboxMetrics`.
pub async fn metrics(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path(id): Path<String>,
    query: Query,
) -> ApiResult {
    empty(&cp, &caller, &id, &query, &json!({"series": []}))
}

/// `getSandboxLogs`, `getSandboxTraces`.
pub async fn pages(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path(id): Path<String>,
    query: Query,
) -> ApiResult {
    empty(&cp, &caller, &id, &query, &json!({"items": [], "total": 0, "page": 1, "totalPages": 0}))
}

/// `getSandboxTraceSpans`.
pub async fn spans(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path((id, _)): Path<(String, String)>,
) -> ApiResult {
    caller.sandbox(&cp, &id)?;
    Ok(ok(&json!([])))
}
