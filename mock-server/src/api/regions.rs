//! Regions: the one shared by all, and an organisation's own.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::Response,
};
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{
    auth::Caller,
    body::Body,
    error::{ApiError, ApiResult, created, ok, time},
    organizations::required,
    validate::Checks,
};
use crate::model::{
    ControlPlane,
    regions::{Credential, Region, RegionUrls, SNAPSHOT_MANAGER_USER},
};

/// `Region` of the contract.
fn dto(region: &Region) -> Value {
    let mut dto = json!({
        "id": region.id,
        "name": region.name,
        "organizationId": region.organization_id,
        "regionType": if region.organization_id.is_some() { "custom" } else { "shared" },
        "createdAt": time(region.created_at),
        "updatedAt": time(region.updated_at),
        "proxyUrl": region.urls.proxy,
        "sshGatewayUrl": region.urls.ssh_gateway,
        "snapshotManagerUrl": region.urls.snapshot_manager,
    });
    if let Some(endpoint) = &region.urls.otel_endpoint {
        dto["otelEndpoint"] = json!(endpoint);
    }
    dto
}

/// `listAvailableRegions`: own ones, then the shared one.
pub async fn available(State(cp): State<Arc<ControlPlane>>, caller: Caller) -> Response {
    ok(&cp.regions(caller.organization()).iter().map(|region| dto(region)).collect::<Vec<_>>())
}

/// `listSharedRegions`: open to all.
pub async fn list_shared(State(cp): State<Arc<ControlPlane>>) -> Response {
    ok(&cp.regions("").iter().map(|region| dto(region)).collect::<Vec<_>>())
}

/// `getRegionById`: shared ones are not readable by id (observed).
pub async fn get(State(cp): State<Arc<ControlPlane>>, caller: Caller, Path(id): Path<String>) -> ApiResult {
    Ok(ok(&dto(&*cp.own_region(caller.organization(), &id)?)))
}

/// A URL with a host, of HTTP unless `any`: for the SSH gateway `host:port` will do.
fn url(checks: &mut Checks, name: &str, any: bool) -> Option<String> {
    let text = checks.string(name)?;
    let (scheme, rest) = text.split_once("://").unwrap_or(("", &text));
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let fine = (any || matches!(scheme, "http" | "https"))
        && !host.is_empty()
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b));
    if !text.is_empty() && (!fine || text.len() > 2048) {
        checks.problem(format!("{name} must be a URL address"));
    }
    Some(text).filter(|text| !text.is_empty())
}

fn urls(checks: &mut Checks) -> RegionUrls {
    RegionUrls {
        proxy: url(checks, "proxyUrl", false),
        ssh_gateway: url(checks, "sshGatewayUrl", true),
        snapshot_manager: url(checks, "snapshotManagerUrl", false),
        otel_endpoint: url(checks, "otelEndpoint", false),
    }
}

/// `createRegion`: 201 with its id and what nobody can read again, a key for each part that it names.
pub async fn create(State(cp): State<Arc<ControlPlane>>, caller: Caller, Body(body): Body) -> ApiResult {
    let mut checks = Checks::new(&body);
    let name = required(&mut checks, "name");
    let urls = urls(&mut checks);
    checks.finish()?;
    let (region, keys) = cp.create_region(caller.organization(), name, urls).await?;
    let given = [
        ("proxyApiKey", keys.proxy),
        ("sshGatewayApiKey", keys.ssh_gateway),
        ("snapshotManagerUsername", keys.snapshot_manager.as_ref().map(|_| SNAPSHOT_MANAGER_USER.to_owned())),
        ("snapshotManagerPassword", keys.snapshot_manager),
    ];
    let given = given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), Value::String(value?))));
    let all: Map<String, Value> = [("id".to_owned(), json!(region.id))].into_iter().chain(given).collect();
    Ok(created(&all))
}

/// `updateRegion`: 200 without a body (observed). What isn't named stays; null removes it.
pub async fn update(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path(id): Path<String>,
    Body(body): Body,
) -> ApiResult<()> {
    let region = cp.own_region(caller.organization(), &id)?;
    let mut checks = Checks::new(&body);
    let new = urls(&mut checks);
    checks.finish()?;
    let edit = |region: &mut Region| {
        let urls = &mut region.urls;
        let fields = [
            ("proxyUrl", &mut urls.proxy, new.proxy),
            ("sshGatewayUrl", &mut urls.ssh_gateway, new.ssh_gateway),
            ("snapshotManagerUrl", &mut urls.snapshot_manager, new.snapshot_manager),
            ("otelEndpoint", &mut urls.otel_endpoint, new.otel_endpoint),
        ];
        for (name, own, given) in fields {
            if body.contains_key(name) {
                *own = given;
            }
        }
    };
    cp.change_region(caller.organization(), &region.id, edit).await?;
    Ok(())
}

/// `deleteRegion`.
pub async fn delete(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<StatusCode> {
    cp.delete_region(caller.organization(), &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `regenerateProxyApiKey`.
pub async fn proxy_key(State(cp): State<Arc<ControlPlane>>, caller: Caller, Path(id): Path<String>) -> ApiResult {
    let region = cp.own_region(caller.organization(), &id)?;
    Ok(ok(&json!({"apiKey": cp.regenerate(&region, Credential::Proxy).await?})))
}

/// `regenerateSshGatewayApiKey`.
pub async fn ssh_key(State(cp): State<Arc<ControlPlane>>, caller: Caller, Path(id): Path<String>) -> ApiResult {
    let region = cp.own_region(caller.organization(), &id)?;
    Ok(ok(&json!({"apiKey": cp.regenerate(&region, Credential::SshGateway).await?})))
}

/// `regenerateSnapshotManagerCredentials`.
pub async fn snapshot_manager(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path(id): Path<String>,
) -> ApiResult {
    let region = cp.own_region(caller.organization(), &id)?;
    let password = cp.regenerate(&region, Credential::SnapshotManager).await?;
    Ok(ok(&json!({"username": SNAPSHOT_MANAGER_USER, "password": password})))
}

/// `createRunner`, `listRunners`, …: runners of users are out of this server's reach, which answers as an original that
/// has them switched off (observed).
pub async fn no_runners(method: http::Method, uri: axum::extract::OriginalUri, _: Caller) -> ApiError {
    ApiError::not_found(format!("Cannot {method} {}", uri.path()))
}
