//! Invitations: an owner's view of them, and that of who is invited.

use std::sync::Arc;

use axum::extract::{Path, State};
use http::StatusCode;
use serde_json::{Value, json};

use super::{
    super::{
        auth::Caller,
        body::Body,
        error::{ApiError, ApiResult, created, ok, time},
        query::parse_date,
        validate::Checks,
    },
    members::{access, roles},
};
use crate::model::{
    ControlPlane,
    organization::{Invitation, NewInvitation, Organization},
};

/// `OrganizationInvitation` of the contract.
fn dto(organization: &Organization, invitation: &Invitation) -> Value {
    json!({
        "id": invitation.id,
        "email": invitation.email,
        "invitedBy": invitation.invited_by,
        "organizationId": organization.id,
        "organizationName": organization.name,
        "expiresAt": time(invitation.expires_at),
        "status": invitation.status,
        "role": invitation.role,
        "assignedRoles": roles(organization, &invitation.role_ids),
        "createdAt": time(invitation.created_at),
        "updatedAt": time(invitation.updated_at),
    })
}

/// Something like `name@domain.tld`.
fn is_email(text: &str) -> bool {
    let Some((name, domain)) = text.rsplit_once('@') else { return false };
    let plain =
        |part: &str| !part.is_empty() && part.len() <= 253 && !part.contains(|c: char| c.is_whitespace() || c == '@');
    plain(name) && plain(domain) && domain.split('.').count() > 1 && domain.split('.').all(|label| !label.is_empty())
}

fn expiry(checks: &mut Checks) -> Option<chrono::DateTime<chrono::Utc>> {
    let at = checks.given("expiresAt").map(|at| at.as_str().and_then(parse_date));
    if at == Some(None) {
        checks.problem("expiresAt must be a Date instance");
    }
    at.flatten()
}

/// `createOrganizationInvitation`. No mail is sent: who has the address as its user finds it by asking.
pub async fn create(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path(id): Path<String>,
    Body(body): Body,
) -> ApiResult {
    let organization = caller.owner_of(&cp, &id)?;
    let user = caller.person(&cp)?;
    let mut checks = Checks::new(&body);
    let email = checks.given("email");
    if !email.and_then(Value::as_str).is_some_and(is_email) {
        checks.problem("email must be an email");
    }
    if !email.is_some_and(Value::is_string) {
        checks.problem("email must be a string");
    }
    let (access, expires_at) = (access(&mut checks), expiry(&mut checks));
    checks.finish()?;
    let email = email.and_then(Value::as_str).unwrap_or_default().to_owned();
    let (organization, invitation) =
        cp.invite(&organization.id, &user, NewInvitation { email, access, expires_at }).await?;
    Ok(created(&dto(&organization, &invitation)))
}

/// `listOrganizationInvitations`: those that are open.
pub async fn list(State(cp): State<Arc<ControlPlane>>, caller: Caller, Path(id): Path<String>) -> ApiResult {
    let organization = caller.owner_of(&cp, &id)?;
    let all = cp.open_invitations(&organization);
    Ok(ok(&all.iter().map(|invitation| dto(&organization, invitation)).collect::<Vec<_>>()))
}

/// `updateOrganizationInvitation`.
pub async fn update(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path((id, invitation)): Path<(String, String)>,
    Body(body): Body,
) -> ApiResult {
    let organization = caller.owner_of(&cp, &id)?;
    let mut checks = Checks::new(&body);
    let (access, expires_at) = (access(&mut checks), expiry(&mut checks));
    checks.finish()?;
    let (organization, invitation) = cp.update_invitation(&organization.id, &invitation, access, expires_at).await?;
    Ok(ok(&dto(&organization, &invitation)))
}

/// `cancelOrganizationInvitation`: 201 without a body.
pub async fn cancel(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path((id, invitation)): Path<(String, String)>,
) -> ApiResult<StatusCode> {
    let organization = caller.owner_of(&cp, &id)?;
    cp.cancel_invitation(&organization.id, &invitation).await?;
    Ok(StatusCode::CREATED)
}

/// `listOrganizationInvitationsForAuthenticatedUser`.
pub async fn mine(State(cp): State<Arc<ControlPlane>>, caller: Caller) -> ApiResult {
    let all = cp.invitations_to(&caller.person(&cp)?);
    Ok(ok(&all.iter().map(|(organization, invitation)| dto(organization, invitation)).collect::<Vec<_>>()))
}

/// `getOrganizationInvitationsCountForAuthenticatedUser`: a bare number (observed).
pub async fn count(State(cp): State<Arc<ControlPlane>>, caller: Caller) -> ApiResult {
    Ok(ok(&cp.invitations_to(&caller.person(&cp)?).len()))
}

/// `acceptOrganizationInvitation`: 201 (observed).
pub async fn accept(State(cp): State<Arc<ControlPlane>>, caller: Caller, Path(id): Path<String>) -> ApiResult {
    let (organization, invitation) = cp.answer_invitation(&caller.person(&cp)?, &id, true).await?;
    Ok(created(&dto(&organization, &invitation)))
}

/// `declineOrganizationInvitation`: 201 without a body.
pub async fn decline(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    cp.answer_invitation(&caller.person(&cp)?, &id, false).await?;
    Ok(StatusCode::CREATED)
}

#[cfg(test)]
mod tests {
    use super::is_email;

    #[test]
    fn emails() {
        for good in ["a@b.c", "first.last+tag@sub.example.com"] {
            assert!(is_email(good), "{good}");
        }
        for bad in ["", "x", "@b.c", "a@", "a@b", "a b@c.d", "a@b..c", "a@@b.c"] {
            assert!(!is_email(bad), "{bad}");
        }
    }
}
