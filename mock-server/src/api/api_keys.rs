//! API keys of the caller's organisation. The original keeps most of these for people who are signed in; here a key
//! with `manage:api_keys` may use them.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path, State};
use http::{StatusCode, request::Parts};
use serde_json::{Value, json};

use super::{
    auth::Caller,
    body::Body,
    error::{ApiError, ApiResult, created, ok, time},
    query::parse_date,
    validate::Checks,
};
use crate::model::{
    ControlPlane,
    keys::{ApiKey, NewKey},
    organization::MemberRole,
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

/// Whose keys it is about. The header that chooses an organisation counts where the original wants somebody who is signed
/// in: a key that stands for its user may manage keys of all of the user's organisations. Elsewhere it is ignored.
pub struct Scope {
    organization_id: String,
    user_id: String,
    owner: bool,
    /// What a new key may have at most.
    allowed: Arc<[String]>,
}

impl FromRequestParts<Arc<ControlPlane>> for Scope {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, cp: &Arc<ControlPlane>) -> ApiResult<Scope> {
        let caller = Caller::from_request_parts(parts, cp).await?;
        let header = parts.headers.get("x-daytona-organization-id").and_then(|id| id.to_str().ok());
        let asked = header.filter(|id| !id.is_empty()).unwrap_or(caller.organization());
        let organization = caller.member_of(cp, asked)?;
        let user_id = caller.0.user_id.clone();
        let owner = organization.member(&user_id).is_some_and(|member| member.role == MemberRole::Owner);
        let allowed = if organization.id == caller.organization() {
            caller.0.permissions
        } else {
            organization.permissions_of(&user_id).unwrap_or_default().into()
        };
        Ok(Scope { organization_id: organization.id.clone(), user_id, owner, allowed })
    }
}

/// `listApiKeys`: newest first; owners see everybody's (observed).
pub async fn list(State(cp): State<Arc<ControlPlane>>, scope: Scope) -> ApiResult {
    let mut all = cp.api_keys(&scope.organization_id);
    all.retain(|key| scope.owner || key.user_id == scope.user_id);
    Ok(ok(&all.iter().map(dto).collect::<Vec<_>>()))
}

/// `getCurrentApiKey`: the one that asks.
pub async fn current(State(cp): State<Arc<ControlPlane>>, caller: Caller) -> ApiResult {
    find(&cp, caller.organization(), &caller.0.user_id, &caller.0.key_name)
}

/// `getApiKey`.
pub async fn get(State(cp): State<Arc<ControlPlane>>, scope: Scope, Path(name): Path<String>) -> ApiResult {
    find(&cp, &scope.organization_id, &scope.user_id, &name)
}

fn find(cp: &ControlPlane, organization_id: &str, user_id: &str, name: &str) -> ApiResult {
    let keys = cp.api_keys(organization_id);
    let key = keys.iter().find(|key| key.name == name && key.user_id == user_id);
    key.map(|key| ok(&dto(key))).ok_or_else(|| ApiError::not_found("API key not found"))
}

/// `createApiKey`: 201 with the value, which nobody can read again.
pub async fn create(State(cp): State<Arc<ControlPlane>>, scope: Scope, Body(body): Body) -> ApiResult {
    let new = read(&body)?;
    let (key, value) = cp.create_key(&scope.organization_id, &scope.user_id, &scope.allowed, new).await?;
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
    let permissions = checks.permissions();
    let expires_at = checks.given("expiresAt").map(|at| at.as_str().and_then(parse_date));
    if expires_at == Some(None) {
        checks.problem("expiresAt must be a Date instance");
    }
    checks.finish()?;
    Ok(NewKey { name: name.unwrap_or_default(), permissions, expires_at: expires_at.flatten() })
}

/// `deleteApiKey`: it is refused from this moment on.
pub async fn delete(
    State(cp): State<Arc<ControlPlane>>,
    scope: Scope,
    Path(name): Path<String>,
) -> ApiResult<StatusCode> {
    cp.delete_key(&scope.organization_id, &scope.user_id, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `deleteApiKeyForUser`: another's for owners only.
pub async fn delete_for_user(
    State(cp): State<Arc<ControlPlane>>,
    scope: Scope,
    Path((user, name)): Path<(String, String)>,
) -> ApiResult<StatusCode> {
    if user != scope.user_id && !scope.owner {
        return Err(ApiError::denied());
    }
    cp.delete_key(&scope.organization_id, &user, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
