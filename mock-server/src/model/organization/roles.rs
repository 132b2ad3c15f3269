//! Roles: what members may. Eight are given, the rest are an organisation's own.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{
    super::{ControlPlane, error::ModelError, keys::PERMISSIONS, tokens},
    Organization,
};

/// `OrganizationRole` of the contract, as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Role {
    pub id: String,
    pub name: String,
    pub description: String,
    pub permissions: Vec<String>,
    pub is_global: bool,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// What a new or changed role is to be.
#[derive(Clone, Debug)]
pub struct NewRole {
    pub name: String,
    pub description: String,
    pub permissions: Vec<String>,
}

const ADMIN: &str = "Grants admin access to";

/// Name, description and permissions of the global roles, in their observed order. Everything, where none is named.
const GLOBAL: [(&str, &str, &[&str]); 8] = [
    ("Developer", "Grants the ability to create sandboxes and keys", &["write:sandboxes"]),
    ("Sandboxes Admin", "sandboxes", &["write:sandboxes", "delete:sandboxes"]),
    ("Snapshots Admin", "snapshots", &["write:snapshots", "delete:snapshots"]),
    ("Registries Admin", "registries", &["write:registries", "delete:registries"]),
    ("Super Admin", "Grants full access to all resources", &PERMISSIONS),
    ("Volumes Admin", "volumes", &["read:volumes", "write:volumes", "delete:volumes"]),
    ("Auditor", "Grants access to audit logs", &["read:audit_logs"]),
    (
        "Infrastructure Admin",
        "infrastructure",
        &["write:regions", "delete:regions", "read:runners", "write:runners", "delete:runners"],
    ),
];

/// The roles that every organisation has.
pub fn global_roles() -> Vec<Role> {
    (0..GLOBAL.len()).map(nth).collect()
}

fn nth(at: usize) -> Role {
    let (name, text, permissions) = GLOBAL[at];
    let what = if text.starts_with("Grants") { text.to_owned() } else { format!("{ADMIN} {text}") };
    Role {
        // The first is the contract's default of `assignedRoleIds`.
        id: format!("00000000-0000-0000-0000-{:012}", at + 1),
        name: name.into(),
        description: format!("{what} in the organization"),
        permissions: permissions.iter().map(|one| (*one).to_owned()).collect(),
        is_global: true,
        created_at: DateTime::UNIX_EPOCH,
        updated_at: DateTime::UNIX_EPOCH,
    }
}

pub(super) fn global(id: &str) -> Option<Role> {
    let at: usize = id.strip_prefix("00000000-0000-0000-0000-")?.parse().ok()?;
    (1..=GLOBAL.len()).contains(&at).then(|| nth(at - 1)).filter(|role| role.id == id)
}

fn no_role(id: &str) -> ModelError {
    ModelError::not_found(format!("Organization role with ID {id} not found"))
}

impl ControlPlane {
    pub async fn create_role(&self, organization_id: &str, new: NewRole) -> Result<Role, ModelError> {
        let (now, most) = (self.clock().now(), self.config().limits.organization_roles);
        let role = Role {
            id: tokens::uuid(),
            name: new.name,
            description: new.description,
            permissions: new.permissions,
            is_global: false,
            created_at: now,
            updated_at: now,
        };
        let added = role.clone();
        let add = move |organization: &mut Organization| {
            if organization.roles.len() >= most {
                return Err(ModelError::bad_request(format!("Role quota exceeded. Maximum allowed: {most}")));
            }
            organization.roles.push(added);
            Ok(())
        };
        self.change_organization(organization_id, add).await?;
        Ok(role)
    }

    /// Changes an own role, for all who have it.
    pub async fn update_role(&self, organization_id: &str, id: &str, new: NewRole) -> Result<Role, ModelError> {
        let now = self.clock().now();
        let edit = |organization: &mut Organization| {
            let role = organization.roles.iter_mut().find(|role| role.id == id).ok_or_else(|| no_role(id))?;
            (role.name, role.description, role.permissions) = (new.name, new.description, new.permissions);
            role.updated_at = now;
            Ok(role.clone())
        };
        Ok(self.change_members(organization_id, edit).await?.1)
    }

    /// Removes an own role, and takes it from all who have it.
    pub async fn delete_role(&self, organization_id: &str, id: &str) -> Result<(), ModelError> {
        let edit = |organization: &mut Organization| {
            let before = organization.roles.len();
            organization.roles.retain(|role| role.id != id);
            if organization.roles.len() == before {
                return Err(no_role(id));
            }
            organization.members.iter_mut().for_each(|member| member.role_ids.retain(|own| own != id));
            organization.invitations.iter_mut().for_each(|invited| invited.role_ids.retain(|own| own != id));
            Ok(())
        };
        self.change_members(organization_id, edit).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn global_roles_are_found_by_their_ids_only() {
        let all = global_roles();
        assert_eq!(all[0].description, "Grants the ability to create sandboxes and keys in the organization");
        assert_eq!(all[1].description, "Grants admin access to sandboxes in the organization");
        for role in &all {
            assert_eq!(global(&role.id).as_ref(), Some(role));
        }
        for id in ["", "1", "00000000-0000-0000-0000-000000000000", "00000000-0000-0000-0000-000000000009"] {
            assert_eq!(global(id), None, "{id}");
        }
        assert_eq!(global("00000000-0000-0000-0000-1"), None);
    }
}
