//! API keys of the caller's organisation. The original keeps most of these for people who are signed in; here a key
//! with `manage:api_keys` may use them.

use std::sync::Arc;

use axum::extract::{Path, State};
use http::StatusCode;
use serde_json::{Value, json};

use super::{
    auth::{Caller, MANAGE_API_KEYS},
    body::Body,
    error::{ApiError, ApiResult, created, ok, time},
    query::parse_date,
    validate::Checks,
};
use crate::model::{
    ControlPlane,
    keys::{ApiKey, NewKey, PERMISSIONS},
};

fn dto(key: &ApiKey) -> Value {
    json!({
        "name": key.name,
        "value": key.masked,
        "createdAt": time(key.created_at),
        "permissions": key.permissions,
        "lastUsedAt": key.last_used_at.map(time),
        "expiresAt": key.expires_at.map(time),
        "userId": key.user_id,
        "organizationId": key.organization_id,
    })
}

/// `listApiKeys`: newest first.
pub async fn list(State(cp): State<Arc<ControlPlane>>, caller: Caller) -> ApiResult {
    caller.must(MANAGE_API_KEYS)?;
    Ok(ok(&cp.api_keys(caller.organization()).iter().map(dto).collect::<Vec<_>>()))
}

/// `getCurrentApiKey`: the one that asks.
pub async fn current(State(cp): State<Arc<ControlPlane>>, caller: Caller) -> ApiResult {
    find(&cp, &caller, &caller.0.key_name)
}

/// `getApiKey`.
pub async fn get(State(cp): State<Arc<ControlPlane>>, caller: Caller, Path(name): Path<String>) -> ApiResult {
    find(&cp, caller.must(MANAGE_API_KEYS)?, &name)
}

fn find(cp: &ControlPlane, caller: &Caller, name: &str) -> ApiResult {
    let keys = cp.api_keys(caller.organization());
    let key = keys.iter().find(|key| key.name == name);
    key.map(|key| ok(&dto(key))).ok_or_else(|| ApiError::not_found("API key not found"))
}

/// `createApiKey`: 201 with the value, which nobody can read again.
pub async fn create(State(cp): State<Arc<ControlPlane>>, caller: Caller, Body(body): Body) -> ApiResult {
    caller.must(MANAGE_API_KEYS)?;
    let new = read(&body)?;
    let (key, value) = cp.create_key(&caller.0, new).await?;
    Ok(created(&json!({
        "name": key.name,
        "value": value,
        "createdAt": time(key.created_at),
        "permissions": key.permissions,
        "expiresAt": key.expires_at.map(time),
    })))
}

fn read(body: &serde_json::Map<String, Value>) -> ApiResult<NewKey> {
    let mut checks = Checks::new(body);
    let name = checks.name("name");
    if name.is_none() && checks.given("name").is_none() {
        checks.problem("name must be a string");
    }
    if checks.given("name").is_none_or(|name| name == "") {
        checks.problem("name should not be empty");
    }
    let permissions = permissions(&mut checks);
    let expires_at = checks.given("expiresAt").map(|at| at.as_str().and_then(parse_date));
    if expires_at == Some(None) {
        checks.problem("expiresAt must be a Date instance");
    }
    checks.finish()?;
    Ok(NewKey { name: name.unwrap_or_default(), permissions, expires_at: expires_at.flatten() })
}

fn permissions(checks: &mut Checks) -> Vec<String> {
    let items = checks.given("permissions").and_then(Value::as_array);
    let known = |item: &Value| item.as_str().filter(|text| PERMISSIONS.contains(text)).map(String::from);
    let found: Option<Vec<String>> = items.and_then(|items| items.iter().map(known).collect());
    if found.is_none() {
        let all = PERMISSIONS.join(", ");
        checks.problem(format!("each value in permissions must be one of the following values: {all}"));
    }
    if items.is_none() {
        checks.problem("permissions must be an array");
    }
    found.unwrap_or_default()
}

/// `deleteApiKey`: it is refused from this moment on.
pub async fn delete(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path(name): Path<String>,
) -> ApiResult<StatusCode> {
    caller.must(MANAGE_API_KEYS)?;
    cp.delete_key(caller.organization(), &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `deleteApiKeyForUser`.
pub async fn delete_for_user(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path((user, name)): Path<(String, String)>,
) -> ApiResult<StatusCode> {
    caller.must(MANAGE_API_KEYS)?;
    if user != caller.0.user_id {
        return Err(ApiError::not_found("API key not found"));
    }
    cp.delete_key(caller.organization(), &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
