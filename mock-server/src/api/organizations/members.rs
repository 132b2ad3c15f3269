//! Members of an organisation and their roles.

use std::sync::Arc;

use axum::extract::{Path, State};
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::super::{
    auth::Caller,
    body::Body,
    error::{ApiResult, created, json_response, ok, time},
    validate::Checks,
};
use crate::model::{
    ControlPlane,
    keys::PERMISSIONS,
    organization::{Access, Member, MemberRole, NewRole, Organization, Role, global_roles},
};

/// `OrganizationUser` of the contract.
fn dto(cp: &ControlPlane, organization: &Organization, member: &Member) -> Value {
    let user = cp.user(&member.user_id);
    json!({
        "organizationId": organization.id,
        "userId": member.user_id,
        "role": member.role,
        "createdAt": time(member.created_at),
        "updatedAt": time(member.updated_at),
        "assignedRoles": roles(organization, &member.role_ids),
        "name": user.as_ref().map_or("", |user| &user.name),
        "email": user.as_ref().map_or("", |user| &user.email),
    })
}

/// Roles by id, as in members and invitations.
pub fn roles(organization: &Organization, ids: &[String]) -> Vec<Value> {
    ids.iter().filter_map(|id| organization.role(id)).map(|role| role_dto(&role)).collect()
}

/// `OrganizationRole` of the contract.
fn role_dto(role: &Role) -> Value {
    json!({
        "id": role.id,
        "name": role.name,
        "description": role.description,
        "permissions": role.permissions,
        "isGlobal": role.is_global,
        "createdAt": time(role.created_at),
        "updatedAt": time(role.updated_at),
    })
}

/// `listOrganizationMembers`, oldest first.
pub async fn list(State(cp): State<Arc<ControlPlane>>, caller: Caller, Path(id): Path<String>) -> ApiResult {
    let organization = caller.member_of(&cp, &id)?;
    let all = organization.members.iter().map(|member| dto(&cp, &organization, member));
    Ok(ok(&all.collect::<Vec<_>>()))
}

/// `updateAccessForOrganizationMember`: 201 (observed).
pub async fn set_access(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path((id, user)): Path<(String, String)>,
    Body(body): Body,
) -> ApiResult {
    let organization = caller.owner_of(&cp, &id)?;
    let mut checks = Checks::new(&body);
    let access = access(&mut checks);
    checks.finish()?;
    let member = cp.set_access(&organization.id, &caller.0.user_id, &user, access).await?;
    Ok(json_response(StatusCode::CREATED, &dto(&cp, &organization, &member)))
}

/// `deleteOrganizationMember`: 200 without a body (observed).
pub async fn delete(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path((id, user)): Path<(String, String)>,
) -> ApiResult<()> {
    let organization = caller.owner_of(&cp, &id)?;
    Ok(cp.remove_member(&organization.id, &user).await?)
}

/// `role` and `assignedRoleIds` of a body.
pub fn access(checks: &mut Checks) -> Access {
    let role = checks.given("role").and_then(Value::as_str);
    let role = MemberRole::ALL.iter().copied().find(|one| Some(one.as_str()) == role);
    if role.is_none() {
        checks.problem("role must be one of the following values: owner, member");
    }
    let ids = checks.given("assignedRoleIds");
    let texts = |items: &Vec<Value>| items.iter().map(|id| id.as_str().map(String::from)).collect::<Option<Vec<_>>>();
    let role_ids = ids.and_then(Value::as_array).and_then(texts);
    if role_ids.is_none() {
        checks.problem("each value in assignedRoleIds must be a string");
    }
    if !ids.is_some_and(Value::is_array) {
        checks.problem("assignedRoleIds must be an array");
    }
    Access { role: role.unwrap_or(MemberRole::Member), role_ids: role_ids.unwrap_or_default() }
}

/// `listOrganizationRoles`: the global ones, then its own.
pub async fn list_roles(State(cp): State<Arc<ControlPlane>>, caller: Caller, Path(id): Path<String>) -> ApiResult {
    let organization = caller.member_of(&cp, &id)?;
    let all = global_roles().into_iter().chain(organization.roles.iter().cloned());
    Ok(ok(&all.map(|role| role_dto(&role)).collect::<Vec<_>>()))
}

/// `createOrganizationRole`.
pub async fn create_role(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path(id): Path<String>,
    Body(body): Body,
) -> ApiResult {
    let organization = caller.owner_of(&cp, &id)?;
    let role = cp.create_role(&organization.id, read_role(&body)?).await?;
    Ok(created(&role_dto(&role)))
}

/// `updateOrganizationRole`.
pub async fn update_role(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path((id, role)): Path<(String, String)>,
    Body(body): Body,
) -> ApiResult {
    let organization = caller.owner_of(&cp, &id)?;
    let role = cp.update_role(&organization.id, &role, read_role(&body)?).await?;
    Ok(ok(&role_dto(&role)))
}

/// `deleteOrganizationRole`: 200 without a body (observed).
pub async fn delete_role(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path((id, role)): Path<(String, String)>,
) -> ApiResult<()> {
    let organization = caller.owner_of(&cp, &id)?;
    Ok(cp.delete_role(&organization.id, &role).await?)
}

fn read_role(body: &Map<String, Value>) -> ApiResult<NewRole> {
    let mut checks = Checks::new(body);
    let mut text = |name: &str| {
        if checks.given(name).is_none() {
            checks.problem(format!("{name} must be a string"));
        }
        checks.name(name).unwrap_or_default()
    };
    let (name, description) = (text("name"), text("description"));
    let permissions = checks.permissions();
    if checks.given("permissions").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        checks.problem("permissions should not be empty");
    }
    checks.finish()?;
    let known = |one: &&str| permissions.iter().any(|own| own == one);
    let permissions = PERMISSIONS.iter().filter(|one| known(one)).map(|one| (*one).to_owned()).collect();
    Ok(NewRole { name, description, permissions })
}
