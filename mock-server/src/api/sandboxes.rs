//! A sandbox's life: read, start, stop, pause, archive, resize, fork, delete.

use std::sync::Arc;

use axum::extract::{Path, State};
use http::StatusCode;
use serde_json::json;

use super::{
    auth::{Caller, Client},
    body::Body,
    dto::{self, Full, Shape},
    error::{ApiError, ApiResult, created, ok},
    query::Query,
    validate::Checks,
};
use crate::model::{ControlPlane, NewSize, Sandbox, State as SandboxState, rules::Operation};

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

/// `startSandbox`: waits until it is started; an archived one is answered at once, like an ended one (observed).
pub async fn start(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    client: Client,
    Path(id): Path<String>,
) -> ApiResult {
    let sandbox = caller.sandbox(&cp, &id)?;
    let sandbox = cp.start(&sandbox).await?;
    let shape = if sandbox.state() == SandboxState::Archived { Shape::Ended } else { Shape::Full };
    Ok(ok(&Full { sandbox: &sandbox, origin: &client.origin, shape }))
}

/// `stopSandbox?force=`: answers at once, `stopping`.
pub async fn stop(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    client: Client,
    Path(id): Path<String>,
    query: Query,
) -> ApiResult {
    let sandbox = caller.sandbox(&cp, &id)?;
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
    let sandbox = caller.sandbox(&cp, &id)?;
    let sandbox = cp.delete(&sandbox).await?;
    Ok(ok(&Full { sandbox: &sandbox, origin: &client.origin, shape: Shape::Ended }))
}

/// `pauseSandbox`: answers at once, `pausing`; never possible for containers.
pub async fn pause(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    client: Client,
    Path(id): Path<String>,
) -> ApiResult {
    let sandbox = caller.sandbox(&cp, &id)?;
    Ok(full(&cp.pause(&sandbox).await?, &client))
}

/// `recoverSandbox?skipStart=`: waits until it is started, or answers at once that it was in error (observed).
pub async fn recover(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    client: Client,
    Path(id): Path<String>,
    query: Query,
) -> ApiResult {
    let sandbox = caller.sandbox(&cp, &id)?;
    Ok(full(&cp.recover(&sandbox, query.flag("skipStart") == Some(true)).await?, &client))
}

/// `archiveSandbox`: answers at once, `archiving`.
pub async fn archive(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    client: Client,
    Path(id): Path<String>,
) -> ApiResult {
    let sandbox = caller.sandbox(&cp, &id)?;
    Ok(full(&cp.archive(&sandbox).await?, &client))
}

/// `resizeSandbox`: answers at once, `resizing` with the numbers from before.
pub async fn resize(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    client: Client,
    Path(id): Path<String>,
    Body(body): Body,
) -> ApiResult {
    let sandbox = caller.sandbox(&cp, &id)?;
    let mut checks = Checks::new(&body);
    let [cpu, memory, disk] = ["cpu", "memory", "disk"].map(|name| checks.size(name));
    checks.finish()?;
    Ok(full(&cp.resize(&sandbox, NewSize { cpu, memory, disk }).await?, &client))
}

/// `createSandboxSnapshot`.
pub async fn snapshot(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    client: Client,
    Path(id): Path<String>,
    Body(body): Body,
) -> ApiResult {
    let sandbox = caller.sandbox(&cp, &id)?;
    let mut checks = Checks::new(&body);
    if checks.given("name").is_none() {
        checks.problem("name must be a string");
    }
    let name = checks.string("name").unwrap_or_default();
    let memory = checks.boolean("includeMemory").unwrap_or(false);
    checks.finish()?;
    cp.check(&sandbox, Operation::Snapshot)?;
    if memory {
        return Err(ApiError::bad_request("includeMemory is only supported for Windows sandboxes"));
    }
    let sandbox = cp.snapshot_sandbox(&sandbox, name).await?;
    Ok(ok(&Full { sandbox: &sandbox, origin: &client.origin, shape: Shape::Full }))
}

/// `forkSandbox`: answers the new sandbox, `creating`; never possible for containers. A bad name is told first (observed).
pub async fn fork(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    client: Client,
    Path(id): Path<String>,
    Body(body): Body,
) -> ApiResult {
    let sandbox = caller.sandbox(&cp, &id)?;
    let mut checks = Checks::new(&body);
    let name = checks.name("name");
    checks.finish()?;
    let fork = cp.fork(&sandbox, name.filter(|name| !name.is_empty())).await?;
    Ok(ok(&Full { sandbox: &fork, origin: &client.origin, shape: Shape::Created }))
}

/// `createBackup`: documented to do nothing.
pub async fn backup(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    client: Client,
    Path(id): Path<String>,
) -> ApiResult {
    let sandbox = caller.sandbox(&cp, &id)?;
    if sandbox.is_ephemeral() {
        return Err(ApiError::bad_request("Ephemeral sandboxes cannot be backed up"));
    }
    cp.check(&sandbox, Operation::Backup)?;
    Ok(created(&Full { sandbox: &sandbox, origin: &client.origin, shape: Shape::Full }))
}

/// Sandboxes as a list of full objects.
fn all(sandboxes: &[Arc<Sandbox>], client: &Client) -> axum::response::Response {
    let views: Vec<Arc<Sandbox>> = sandboxes.iter().map(|sandbox| client.view(sandbox)).collect();
    let full = |sandbox| Full { sandbox, origin: &client.origin, shape: Shape::Full };
    ok(&views.iter().map(|sandbox| full(sandbox)).collect::<Vec<_>>())
}

/// `getSandboxForks?includeDestroyed=`.
pub async fn forks(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    client: Client,
    Path(id): Path<String>,
    query: Query,
) -> ApiResult {
    let sandbox = caller.sandbox(&cp, &id)?;
    Ok(all(&cp.forks(&sandbox, query.flag("includeDestroyed") == Some(true)), &client))
}

/// `getSandboxAncestors`: oldest first.
pub async fn ancestors(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    client: Client,
    Path(id): Path<String>,
) -> ApiResult {
    let sandbox = caller.sandbox(&cp, &id)?;
    Ok(all(&cp.ancestors(&sandbox), &client))
}

/// `getSandboxParent`.
pub async fn parent(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    client: Client,
    Path(id): Path<String>,
) -> ApiResult {
    let sandbox = caller.sandbox(&cp, &id)?;
    let parent = cp.fork_parent(&sandbox);
    let text = || format!("Parent sandbox not found for sandbox {}", sandbox.id);
    Ok(full(&client.view(&parent.ok_or_else(|| ApiError::not_found(text()))?), &client))
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
