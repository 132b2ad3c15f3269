//! A sandbox's life: read, start, stop, delete, and what can only be refused here.

use std::sync::Arc;

use axum::extract::{Path, State};
use http::StatusCode;
use serde_json::json;

use super::{
    auth::{Caller, Client, DELETE_SANDBOXES, WRITE_SANDBOXES},
    body::Body,
    dto::{self, Full, Shape},
    error::{ApiError, ApiResult, created, ok},
    query::Query,
    validate::Checks,
};
use crate::model::{ControlPlane, ErrorKind, Sandbox, rules::Operation};

/// 200 with the full object.
pub fn full(sandbox: &Arc<Sandbox>, client: &Client) -> axum::response::Response {
    ok(&Full { sandbox, origin: &client.origin, shape: Shape::Full })
}

/// `getSandbox`.
pub async fn get(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    client: Client,
    Path(id): Path<String>,
) -> ApiResult {
    let sandbox = caller.sandbox(&cp, &id)?;
    Ok(full(&client.view(&sandbox), &client))
}

/// `startSandbox`: waits until it is started.
pub async fn start(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    client: Client,
    Path(id): Path<String>,
) -> ApiResult {
    let sandbox = caller.must(WRITE_SANDBOXES)?.sandbox(&cp, &id)?;
    Ok(full(&cp.start(&sandbox).await?, &client))
}

/// `stopSandbox?force=`: answers at once, `stopping`.
pub async fn stop(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    client: Client,
    Path(id): Path<String>,
    query: Query,
) -> ApiResult {
    let sandbox = caller.must(WRITE_SANDBOXES)?.sandbox(&cp, &id)?;
    let sandbox = cp.stop(&sandbox, query.flag("force") == Some(true)).await?;
    Ok(ok(&Full { sandbox: &sandbox, origin: &client.origin, shape: Shape::Ended }))
}

/// `deleteSandbox`: answers at once, `destroying`; its name is free at once too.
pub async fn delete(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    client: Client,
    Path(id): Path<String>,
) -> ApiResult {
    let sandbox = caller.must(DELETE_SANDBOXES)?.sandbox(&cp, &id)?;
    let sandbox = cp.delete(&sandbox).await?;
    Ok(ok(&Full { sandbox: &sandbox, origin: &client.origin, shape: Shape::Ended }))
}

/// `pauseSandbox`: never possible for containers.
pub async fn pause(State(cp): State<Arc<ControlPlane>>, caller: Caller, Path(id): Path<String>) -> ApiResult {
    refuse(&cp, &caller, &id, Operation::Pause)
}

/// `recoverSandbox`: no error here is recoverable.
pub async fn recover(State(cp): State<Arc<ControlPlane>>, caller: Caller, Path(id): Path<String>) -> ApiResult {
    refuse(&cp, &caller, &id, Operation::Recover)
}

/// `archiveSandbox`: refused where the state refuses it, else 501.
pub async fn archive(State(cp): State<Arc<ControlPlane>>, caller: Caller, Path(id): Path<String>) -> ApiResult {
    refuse(&cp, &caller, &id, Operation::Archive)
}

/// `resizeSandbox`: refused where the state refuses it, else 501.
pub async fn resize(State(cp): State<Arc<ControlPlane>>, caller: Caller, Path(id): Path<String>) -> ApiResult {
    refuse(&cp, &caller, &id, Operation::Resize)
}

/// `createSandboxSnapshot`.
pub async fn snapshot(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    client: Client,
    Path(id): Path<String>,
    Body(body): Body,
) -> ApiResult {
    let sandbox = caller.must(WRITE_SANDBOXES)?.sandbox(&cp, &id)?;
    let mut checks = Checks::new(&body);
    if !body.get("name").is_some_and(serde_json::Value::is_string) {
        checks.problem("name must be a string");
    }
    let memory = checks.boolean("includeMemory").unwrap_or(false);
    let name = checks.string("name").unwrap_or_default();
    checks.finish()?;
    cp.check(&sandbox, Operation::Snapshot)?;
    if memory {
        return Err(ApiError::bad_request("includeMemory is only supported for Windows sandboxes"));
    }
    let sandbox = cp.snapshot_sandbox(&sandbox, name).await?;
    Ok(ok(&Full { sandbox: &sandbox, origin: &client.origin, shape: Shape::Full }))
}

/// `forkSandbox`: never possible for containers; a bad name is told first (observed).
pub async fn fork(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path(id): Path<String>,
    Body(body): Body,
) -> ApiResult {
    let check = |checks: &mut Checks| drop(checks.name("name"));
    refuse_checked(&cp, &caller, &id, Operation::Fork, Checks::new(&body), check)
}

/// The sandbox's refusal, then the body's, then the state's, or 501.
fn refuse_checked<'a>(
    cp: &ControlPlane,
    caller: &Caller,
    id: &str,
    operation: Operation,
    mut checks: Checks<'a>,
    check: impl FnOnce(&mut Checks<'a>),
) -> ApiResult {
    caller.must(WRITE_SANDBOXES)?.sandbox(cp, id)?;
    check(&mut checks);
    checks.finish()?;
    refuse(cp, caller, id, operation)
}

/// The state's refusal, or 501 for what the state allows.
fn refuse(cp: &ControlPlane, caller: &Caller, id: &str, operation: Operation) -> ApiResult {
    let sandbox = caller.must(WRITE_SANDBOXES)?.sandbox(cp, id)?;
    match cp.check(&sandbox, operation) {
        Err(error) if error.kind != ErrorKind::NotEmulated => Err(error.into()),
        _ => Err(ApiError::not_emulated()),
    }
}

/// `createBackup`: documented to do nothing.
pub async fn backup(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    client: Client,
    Path(id): Path<String>,
) -> ApiResult {
    let sandbox = caller.must(WRITE_SANDBOXES)?.sandbox(&cp, &id)?;
    if sandbox.is_ephemeral() {
        return Err(ApiError::bad_request("Ephemeral sandboxes cannot be backed up"));
    }
    cp.check(&sandbox, Operation::Backup)?;
    Ok(created(&Full { sandbox: &sandbox, origin: &client.origin, shape: Shape::Full }))
}

/// `getSandboxForks`, `getSandboxAncestors`: nothing here was forked.
pub async fn no_relatives(State(cp): State<Arc<ControlPlane>>, caller: Caller, Path(id): Path<String>) -> ApiResult {
    caller.sandbox(&cp, &id)?;
    Ok(ok(&json!([])))
}

/// `getSandboxParent`.
pub async fn parent(State(cp): State<Arc<ControlPlane>>, caller: Caller, Path(id): Path<String>) -> ApiResult {
    let sandbox = caller.sandbox(&cp, &id)?;
    Err(ApiError::not_found(format!("Parent sandbox not found for sandbox {}", sandbox.id)))
}

/// `updateLastActivity`: 201 without a body.
pub async fn last_activity(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<StatusCode> {
    let sandbox = caller.sandbox(&cp, &id)?;
    cp.touch(&sandbox.id);
    Ok(StatusCode::CREATED)
}

/// `getToolboxProxyUrl`.
pub async fn toolbox_proxy_url(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    client: Client,
    Path(id): Path<String>,
) -> ApiResult {
    let sandbox = caller.sandbox(&cp, &id)?;
    Ok(ok(&json!({"url": dto::toolbox_proxy_url(&sandbox, &client.origin)})))
}
