//! Logs of builds: the URL that SDKs follow, and the text itself, while it grows and afterwards.

use std::{path::PathBuf, sync::Arc};

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
use crate::{
    builds::BuildLog,
    model::{ControlPlane, Sandbox, no_snapshot, snapshots::Snapshot},
};

/// `what` is how the message calls the sandbox.
fn built_sandbox(cp: &ControlPlane, caller: &Caller, id: &str, what: &str) -> ApiResult<Arc<Sandbox>> {
    let sandbox = caller.sandbox(cp, id)?;
    let missing = || ApiError::not_found(format!("{what} {id} has no build info"));
    if sandbox.build.is_some() { Ok(sandbox) } else { Err(missing()) }
}

fn built_snapshot(cp: &ControlPlane, caller: &Caller, id: &str) -> ApiResult<Arc<Snapshot>> {
    let snapshot = cp.own_snapshot(caller.organization(), id).ok_or_else(|| no_snapshot(id))?;
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
    let sandbox = built_sandbox(&cp, &caller, &id, "Sandbox")?;
    Ok(ok(&json!({"url": format!("{}/api/sandbox/{}/build-logs", client.origin.base(), sandbox.id)})))
}

/// `getSnapshotBuildLogsUrl`, by id.
pub async fn url_of_snapshot(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    client: Client,
    Path(id): Path<String>,
) -> ApiResult {
    by_id(&cp, &caller, &id)?;
    let snapshot = built_snapshot(&cp, &caller, &id)?;
    Ok(ok(&json!({"url": format!("{}/api/snapshots/{}/build-logs", client.origin.base(), snapshot.id)})))
}

/// `getBuildLogs`.
pub async fn of_sandbox(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path(id): Path<String>,
    query: Query,
) -> ApiResult {
    let sandbox = built_sandbox(&cp, &caller, &id, "Sandbox with ID or name")?;
    let follow = query.flag("follow").unwrap_or(false);
    Ok(answer(cp.running_log(&sandbox.id), cp.log_path(&sandbox.id), follow).await)
}

/// `getSnapshotBuildLogs`.
pub async fn of_snapshot(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path(id): Path<String>,
    query: Query,
) -> ApiResult {
    let snapshot = built_snapshot(&cp, &caller, &id)?;
    let follow = query.flag("follow").unwrap_or(false);
    Ok(answer(cp.running_log(&snapshot.id), cp.log_path(&snapshot.id), follow).await)
}

/// Plain text as a stream of bytes, as the real proxy sends it. The end of a followed log is the end of the build.
async fn answer(running: Option<Arc<BuildLog>>, path: PathBuf, follow: bool) -> Response {
    let body = match running {
        Some(log) => Body::from_stream(log.read(follow)),
        None => match tokio::fs::File::open(path).await {
            Ok(file) => Body::from_stream(ReaderStream::new(file)),
            Err(_) => Body::empty(),
        },
    };
    ([(header::CONTENT_TYPE, "application/octet-stream")], body).into_response()
}
