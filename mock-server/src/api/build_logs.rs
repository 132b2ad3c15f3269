//! Logs of builds: the URL that SDKs follow, which is the proxy's, and the API's own routes of before.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use http::header;
use serde_json::json;
use tokio_util::io::ReaderStream;

use super::{
    auth::{Caller, Client},
    error::{ApiError, ApiResult, ok},
    query::Query,
    snapshots::by_id,
};
use crate::model::{
    ControlPlane, Identity, Sandbox, no_snapshot,
    snapshots::{Snapshot, SnapshotState},
};

/// `what` is how the message calls the sandbox.
fn built_sandbox(cp: &ControlPlane, caller: &Identity, id: &str, what: &str) -> ApiResult<Arc<Sandbox>> {
    let sandbox = cp.find(&caller.organization_id, id)?;
    let missing = || ApiError::not_found(format!("{what} {id} has no build info"));
    if sandbox.build.is_some() { Ok(sandbox) } else { Err(missing()) }
}

fn built_snapshot(cp: &ControlPlane, caller: &Identity, id: &str) -> ApiResult<Arc<Snapshot>> {
    let snapshot = cp.own_snapshot(&caller.organization_id, id).ok_or_else(|| no_snapshot(id))?;
    let missing = || ApiError::not_found(format!("Snapshot {id} has no build info"));
    if snapshot.build.is_some() { Ok(snapshot) } else { Err(missing()) }
}

/// `getBuildLogsUrl`.
pub async fn url_of_sandbox(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    client: Client,
    Path(id): Path<String>,
) -> ApiResult {
    let sandbox = built_sandbox(&cp, &caller.0, &id, "Sandbox")?;
    let proxy = client.origin.proxy(sandbox.inherited.proxy.as_deref());
    Ok(ok(&json!({"url": format!("{proxy}/sandboxes/{}/build-logs", sandbox.id)})))
}

/// `getSnapshotBuildLogsUrl`, by id.
pub async fn url_of_snapshot(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    client: Client,
    Path(id): Path<String>,
) -> ApiResult {
    by_id(&cp, &caller, &id)?;
    let snapshot = built_snapshot(&cp, &caller.0, &id)?;
    let region = cp.own_region(caller.organization(), &snapshot.region).ok();
    let proxy = client.origin.proxy(region.as_ref().and_then(|region| region.urls.proxy.as_deref()));
    Ok(ok(&json!({"url": format!("{proxy}/snapshots/{}/build-logs", snapshot.id)})))
}

/// `getBuildLogs`: the same text as at the proxy.
pub async fn of_sandbox(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path(id): Path<String>,
    query: Query,
) -> ApiResult {
    sandbox_log(&cp, &caller.0, &id, query.flag("follow") == Some(true)).await
}

/// `getSnapshotBuildLogs`: the same, but for a snapshot that is active, of which it knows nothing any more (observed).
pub async fn of_snapshot(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path(id): Path<String>,
    query: Query,
) -> ApiResult {
    if built_snapshot(&cp, &caller.0, &id)?.state == SnapshotState::Active {
        return Ok(Response::default());
    }
    snapshot_log(&cp, &caller.0, &id, query.flag("follow") == Some(true)).await
}

/// The log of a sandbox's build.
///
/// # Errors
/// 404 for those of others and for what wasn't built.
pub async fn sandbox_log(cp: &ControlPlane, caller: &Identity, id: &str, follow: bool) -> ApiResult {
    let sandbox = built_sandbox(cp, caller, id, "Sandbox with ID or name")?;
    Ok(log(cp, &sandbox.id, follow).await)
}

/// The log of a snapshot's build.
///
/// # Errors
/// 404 for those of others and for what wasn't built.
pub async fn snapshot_log(cp: &ControlPlane, caller: &Identity, id: &str, follow: bool) -> ApiResult {
    let snapshot = built_snapshot(cp, caller, id)?;
    Ok(log(cp, &snapshot.id, follow).await)
}

/// Plain text as a stream of bytes, as the real proxy sends it. The end of a followed log is the end of the build.
async fn log(cp: &ControlPlane, id: &str, follow: bool) -> Response {
    let body = match cp.running_log(id) {
        Some(log) => Body::from_stream(log.read(follow)),
        None => match tokio::fs::File::open(cp.log_path(id)).await {
            Ok(file) => Body::from_stream(ReaderStream::new(file)),
            Err(_) => Body::empty(),
        },
    };
    ([(header::CONTENT_TYPE, "application/octet-stream")], body).into_response()
}
