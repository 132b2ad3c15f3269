//! Members: users in an organisation, and what their keys there may.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{
    super::{ControlPlane, error::ModelError, sandbox::wire_enum},
    Organization, forbidden,
};

wire_enum! {
    /// `role` of the contract's `OrganizationUser`.
    MemberRole {
        Owner = "owner",
        Member = "member",
    }
}

/// A user in an organisation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    pub user_id: String,
    pub role: MemberRole,
    pub role_ids: Vec<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl Member {
    pub fn owner(user_id: &str, now: DateTime<Utc>) -> Member {
        Member {
            user_id: user_id.to_owned(),
            role: MemberRole::Owner,
            role_ids: Vec::new(),
            created_at: now,
            updated_at: now,
        }
    }
}

/// What a member, or who is invited, may.
#[derive(Clone, Debug)]
pub struct Access {
    pub role: MemberRole,
    pub role_ids: Vec<String>,
}

impl Access {
    /// 400 for roles that aren't there.
    pub(super) fn check(&self, organization: &Organization) -> Result<(), ModelError> {
        match self.role_ids.iter().find(|id| organization.role(id).is_none()) {
            Some(_) => Err(ModelError::bad_request("One or more role IDs are invalid")),
            None => Ok(()),
        }
    }
}

fn no_member(organization_id: &str, user_id: &str) -> ModelError {
    ModelError::not_found(format!("User with ID {user_id} not found in organization with ID {organization_id}"))
}

/// 403 where nobody would be left to decide (observed).
fn check_owners(organization: &Organization) -> Result<(), ModelError> {
    if organization.members.iter().any(|member| member.role == MemberRole::Owner) {
        return Ok(());
    }
    Err(forbidden(format!("Organization with ID {} must have at least one owner", organization.id)))
}

impl ControlPlane {
    /// Changes what a member may; its keys there lose what it may no longer.
    pub async fn set_access(
        &self,
        organization_id: &str,
        caller: &str,
        user_id: &str,
        access: Access,
    ) -> Result<Member, ModelError> {
        if caller == user_id {
            return Err(forbidden("You cannot update your own access"));
        }
        let now = self.clock().now();
        let edit = |organization: &mut Organization| {
            let id = organization.id.clone();
            if organization.member(user_id).is_none() {
                return Err(no_member(&id, user_id));
            }
            access.check(organization)?;
            let mut members = organization.members.iter_mut();
            let member = members.find(|member| member.user_id == user_id).ok_or_else(|| no_member(&id, user_id))?;
            (member.role, member.role_ids, member.updated_at) = (access.role, access.role_ids, now);
            let member = member.clone();
            check_owners(organization)?;
            Ok(member)
        };
        Ok(self.change_members(organization_id, edit).await?.1)
    }

    /// Takes a user out; its keys there are void from then on.
    pub async fn remove_member(&self, organization_id: &str, user_id: &str) -> Result<(), ModelError> {
        let edit = |organization: &mut Organization| {
            let before = organization.members.len();
            organization.members.retain(|member| member.user_id != user_id);
            if organization.members.len() == before {
                return Err(no_member(&organization.id, user_id));
            }
            check_owners(organization)
        };
        self.change_members(organization_id, edit).await.map(drop)
    }
}
