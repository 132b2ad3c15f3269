//! Docker registries: their credentials are used when images are pulled. Passwords go in and never out.

use std::sync::Arc;

use axum::extract::{Path, State};
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{
    auth::{Caller, Client},
    body::Body,
    error::{ApiResult, created, ok, time},
    query::Query,
    validate::Checks,
};
use crate::model::{ControlPlane, Registry, RegistryChange};

/// `DockerRegistry` of the contract.
fn dto(registry: &Registry) -> Value {
    json!({
        "id": registry.id,
        "name": registry.name,
        "url": registry.url,
        "username": registry.username,
        "project": registry.project,
        "registryType": "organization",
        "createdAt": time(registry.created_at),
        "updatedAt": time(registry.updated_at),
    })
}

/// A password is needed at first, a project never.
fn read(body: &Map<String, Value>, new: bool) -> ApiResult<RegistryChange> {
    let mut checks = Checks::new(body);
    let text = |checks: &mut Checks, name: &str, required: bool| {
        if required && checks.given(name).is_none() {
            checks.problem(format!("{name} must be a string"));
        }
        if name == "name" { checks.name(name) } else { checks.string(name) }
    };
    let name = text(&mut checks, "name", true);
    let url = checks.given("url").and_then(Value::as_str).filter(|url| is_url(url)).map(str::to_owned);
    if url.is_none() {
        checks.problem("url must be a URL address");
    }
    let (username, password) = (text(&mut checks, "username", true), text(&mut checks, "password", new));
    let project = text(&mut checks, "project", false);
    checks.finish()?;
    Ok(RegistryChange { name, url, username, password, project })
}

/// With or without a scheme.
fn is_url(text: &str) -> bool {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or_default();
    !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b))
}

/// `createRegistry`.
pub async fn create(State(cp): State<Arc<ControlPlane>>, caller: Caller, Body(body): Body) -> ApiResult {
    let registry = cp.add_registry(caller.organization(), read(&body, true)?).await?;
    Ok(created(&dto(&registry)))
}

/// `listRegistries`, newest first.
pub async fn list(State(cp): State<Arc<ControlPlane>>, caller: Caller) -> ApiResult {
    let all = cp.registries(caller.organization());
    Ok(ok(&all.iter().map(|registry| dto(registry)).collect::<Vec<_>>()))
}

/// What the server's own registry is called (of the contract: any id).
const OWN: &str = "5d2f6b0a-0101-4d61-8f00-da7700000001";

/// `getTransientPushAccess`: credentials for an hour for the registry at `/v2`, where everybody has a project of their own.
pub async fn push_access(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    client: Client,
    query: Query,
) -> ApiResult {
    if let Some(region) = query.get("regionId").filter(|region| !region.is_empty()) {
        cp.region(caller.organization(), region)?;
    }
    let access = cp.push_access(caller.organization());
    Ok(ok(&json!({
        "username": access.username,
        "secret": access.secret,
        "registryId": OWN,
        "registryUrl": client.origin.authority,
        "project": caller.organization(),
        "expiresAt": time(access.expires_at),
    })))
}

/// `getRegistry`.
pub async fn get(State(cp): State<Arc<ControlPlane>>, caller: Caller, Path(id): Path<String>) -> ApiResult {
    Ok(ok(&dto(&*cp.registry(caller.organization(), &id)?)))
}

/// `updateRegistry`.
pub async fn update(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path(id): Path<String>,
    Body(body): Body,
) -> ApiResult {
    cp.registry(caller.organization(), &id)?;
    let registry = cp.change_registry(caller.organization(), &id, read(&body, false)?).await?;
    Ok(ok(&dto(&registry)))
}

/// `deleteRegistry`.
pub async fn delete(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<StatusCode> {
    let registry = cp.registry(caller.organization(), &id)?;
    cp.remove_registry(&registry).await?;
    Ok(StatusCode::NO_CONTENT)
}
