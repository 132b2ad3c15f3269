//! Telemetry: metrics from our own samples. There is no collector behind it, so logs and traces are the empty shapes
//! (observed).

use std::sync::Arc;

use axum::extract::{Path, State};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{
    auth::Caller,
    error::{ApiError, ApiResult, ok, time},
    query::{Query, parse_date},
};
use crate::model::{ControlPlane, Sandbox, telemetry::NAMES};

/// The sandbox and the span of time that are asked for.
fn asked(
    cp: &ControlPlane,
    caller: &Caller,
    id: &str,
    query: &Query,
) -> ApiResult<(Arc<Sandbox>, DateTime<Utc>, DateTime<Utc>)> {
    let sandbox = caller.sandbox(cp, id)?;
    let dates = ["from", "to"].map(|name| query.get(name).and_then(parse_date));
    let [Some(from), Some(to)] = dates else {
        let missing = ["from", "to"].into_iter().zip(dates).filter(|(_, date)| date.is_none());
        let problems: Vec<String> =
            missing.map(|(name, _)| format!("{name} must be a valid ISO 8601 date string")).collect();
        return Err(ApiError::bad_request(problems.join(", ")));
    };
    Ok((sandbox, from, to))
}

/// `getSandboxMetrics`: a series for each metric, or for each that is asked for by name. Bytes, processors and percent.
pub async fn metrics(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path(id): Path<String>,
    query: Query,
) -> ApiResult {
    let (sandbox, from, to) = asked(&cp, &caller, &id, &query)?;
    let wanted: Vec<String> =
        query.array("metricNames").iter().flat_map(|names| names.split(',')).map(str::to_owned).collect();
    let samples = cp.samples(&sandbox, from, to).await;
    let names = NAMES
        .iter()
        .enumerate()
        .filter(|(_, (name, _))| !samples.is_empty() && (wanted.is_empty() || wanted.iter().any(|one| one == name)));
    let series = names.map(|(n, (name, _))| {
        let points = samples.iter().map(|one| json!({"timestamp": time(one.at), "value": one.values[n]}));
        json!({"metricName": name, "dataPoints": points.collect::<Vec<Value>>()})
    });
    Ok(ok(&json!({"series": series.collect::<Vec<Value>>()})))
}

/// `getSandboxLogs`, `getSandboxTraces`.
pub async fn pages(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path(id): Path<String>,
    mut query: Query,
) -> ApiResult {
    asked(&cp, &caller, &id, &query)?;
    let page = query.page();
    query.number("limit", None, true);
    query.check()?;
    Ok(ok(&json!({"items": [], "total": 0, "page": page, "totalPages": 0})))
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
