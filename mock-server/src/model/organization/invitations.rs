//! Invitations: they go to an e-mail address, and wait there until its user accepts or declines.

use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use serde::{Deserialize, Serialize};

use super::{
    super::{ControlPlane, error::ModelError, sandbox::wire_enum, tokens},
    Access, Member, MemberRole, Organization, User, forbidden,
};

/// How long one is good, if nobody says.
const DAYS: i64 = 7;

wire_enum! {
    /// `status` of the contract's `OrganizationInvitation`.
    InvitationStatus {
        Pending = "pending",
        Accepted = "accepted",
        Declined = "declined",
        Cancelled = "cancelled",
    }
}

/// An invitation as its organisation keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Invitation {
    pub id: String,
    pub email: String,
    /// E-mail address of who invited.
    pub invited_by: String,
    pub role: MemberRole,
    pub role_ids: Vec<String>,
    pub status: InvitationStatus,
    pub expires_at: DateTime<Utc>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl Invitation {
    fn is_open(&self, now: DateTime<Utc>) -> bool {
        self.status == InvitationStatus::Pending && self.expires_at > now
    }

    fn is_for(&self, email: &str) -> bool {
        self.email.eq_ignore_ascii_case(email)
    }

    /// 403 with what became of it (observed).
    fn check_open(&self, now: DateTime<Utc>) -> Result<(), ModelError> {
        match self.status {
            InvitationStatus::Pending if self.expires_at > now => Ok(()),
            InvitationStatus::Pending => Err(forbidden(format!("Invitation with ID {} is expired", self.id))),
            status => Err(forbidden(format!("Invitation with ID {} is already {}", self.id, status.as_str()))),
        }
    }
}

/// What an invitation is to be.
#[derive(Clone, Debug)]
pub struct NewInvitation {
    pub email: String,
    pub access: Access,
    pub expires_at: Option<DateTime<Utc>>,
}

/// With the organisation that it leads to.
type Told = (Arc<Organization>, Invitation);

fn no_invitation(id: &str) -> ModelError {
    ModelError::not_found(format!("Organization invitation with ID {id} not found"))
}

fn find<'a>(organization: &'a mut Organization, id: &str) -> Result<&'a mut Invitation, ModelError> {
    organization.invitations.iter_mut().find(|invitation| invitation.id == id).ok_or_else(|| no_invitation(id))
}

impl ControlPlane {
    pub async fn invite(&self, organization_id: &str, by: &User, new: NewInvitation) -> Result<Told, ModelError> {
        let (now, most) = (self.clock().now(), self.config().limits.invitations);
        let invited = self.user_with_email(&new.email);
        let invitation = Invitation {
            id: tokens::uuid(),
            email: new.email,
            invited_by: by.email.clone(),
            role: new.access.role,
            role_ids: new.access.role_ids.clone(),
            status: InvitationStatus::Pending,
            expires_at: new.expires_at.unwrap_or(now + Duration::days(DAYS)),
            created_at: now,
            updated_at: now,
        };
        let edit = |organization: &mut Organization| {
            if organization.personal {
                return Err(forbidden("Cannot invite users to personal organization"));
            }
            let email = &invitation.email;
            if invited.is_some_and(|user| organization.member(&user.id).is_some()) {
                let text = format!("User with email \"{email}\" is already associated with this organization");
                return Err(ModelError::conflict(text));
            }
            if organization.invitations.iter().any(|other| other.is_open(now) && other.is_for(email)) {
                let text = format!("User with email \"{email}\" already invited to this organization");
                return Err(ModelError::conflict(text));
            }
            new.access.check(organization)?;
            // What is settled makes room; what is open doesn't.
            if organization.invitations.len() >= most {
                organization.invitations.retain(|other| other.is_open(now));
            }
            if organization.invitations.len() >= most {
                return Err(ModelError::bad_request(format!("Invitation quota exceeded. Maximum allowed: {most}")));
            }
            organization.invitations.push(invitation.clone());
            Ok(invitation)
        };
        self.change_organization(organization_id, edit).await
    }

    /// Changes one that is open.
    pub async fn update_invitation(
        &self,
        organization_id: &str,
        id: &str,
        access: Access,
        expires_at: Option<DateTime<Utc>>,
    ) -> Result<Told, ModelError> {
        let now = self.clock().now();
        let edit = |organization: &mut Organization| {
            find(organization, id)?.check_open(now)?;
            access.check(organization)?;
            let invitation = find(organization, id)?;
            (invitation.role, invitation.role_ids) = (access.role, access.role_ids);
            (invitation.expires_at, invitation.updated_at) = (expires_at.unwrap_or(invitation.expires_at), now);
            Ok(invitation.clone())
        };
        self.change_organization(organization_id, edit).await
    }

    pub async fn cancel_invitation(&self, organization_id: &str, id: &str) -> Result<Told, ModelError> {
        let now = self.clock().now();
        let edit = |organization: &mut Organization| {
            let invitation = find(organization, id)?;
            invitation.check_open(now)?;
            (invitation.status, invitation.updated_at) = (InvitationStatus::Cancelled, now);
            Ok(invitation.clone())
        };
        self.change_organization(organization_id, edit).await
    }

    /// Open invitations of an organisation, oldest first.
    pub fn open_invitations(&self, organization: &Organization) -> Vec<Invitation> {
        let now = self.clock().now();
        organization.invitations.iter().filter(|invitation| invitation.is_open(now)).cloned().collect()
    }

    /// Open invitations to a user, oldest first.
    pub fn invitations_to(&self, user: &User) -> Vec<Told> {
        let now = self.clock().now();
        let world = self.world.read();
        let all = world.tenants.values().map(|tenant| &tenant.organization).filter(|one| !one.deleted);
        let own = all.flat_map(|organization| {
            let fitting = organization.invitations.iter().filter(|one| one.is_for(&user.email) && one.is_open(now));
            fitting.map(move |invitation| (organization.clone(), invitation.clone()))
        });
        let mut own: Vec<Told> = own.collect();
        own.sort_by(|(_, a), (_, b)| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        own
    }

    /// A user's answer: with it the user is a member. 404 for invitations to others.
    pub async fn answer_invitation(&self, user: &User, id: &str, accept: bool) -> Result<Told, ModelError> {
        let organization_id = {
            let world = self.world.read();
            let mut all = world.tenants.values().map(|tenant| &tenant.organization).filter(|one| !one.deleted);
            let leads = |organization: &&Arc<Organization>| {
                organization.invitations.iter().any(|one| one.id == id && one.is_for(&user.email))
            };
            all.find(leads).map(|organization| organization.id.clone()).ok_or_else(|| no_invitation(id))?
        };
        let now = self.clock().now();
        let edit = |organization: &mut Organization| {
            let invitation = find(organization, id)?;
            invitation.check_open(now)?;
            invitation.status = if accept { InvitationStatus::Accepted } else { InvitationStatus::Declined };
            invitation.updated_at = now;
            let invitation = invitation.clone();
            if accept && organization.member(&user.id).is_none() {
                organization.members.push(Member {
                    user_id: user.id.clone(),
                    role: invitation.role,
                    role_ids: invitation.role_ids.clone(),
                    created_at: now,
                    updated_at: now,
                });
            }
            Ok(invitation)
        };
        self.change_organization(&organization_id, edit).await
    }
}
