//! Organisations, who is in them and what they may. Every key minted from outside has a user and a personal
//! organisation of its own; users make more, and invite each other there.

mod changes;
mod invitations;
mod members;
mod roles;

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    REGION,
    error::{ErrorKind, ModelError},
    keys::PERMISSIONS,
    quota::Quota,
    store::{Kind, Write},
    tokens,
};

pub use self::{
    changes::Settings,
    invitations::{Invitation, InvitationStatus, NewInvitation},
    members::{Access, Member, MemberRole},
    roles::{NewRole, Role, global_roles},
};

/// An organisation as the store keeps it, with its members, roles and invitations: each change is one record's.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Organization {
    pub id: String,
    pub name: String,
    /// User id of who made it.
    pub created_by: String,
    pub created_at: DateTime<Utc>,
    #[serde(default)]
    pub updated_at: Option<DateTime<Utc>>,
    /// Who it was made for, if it is the one that came with a user.
    #[serde(default)]
    pub owner: Option<User>,
    #[serde(default = "yes")]
    pub personal: bool,
    #[serde(default = "shared_region")]
    pub default_region: Option<String>,
    #[serde(default)]
    pub members: Vec<Member>,
    /// Its own; the global ones come on top.
    #[serde(default)]
    pub roles: Vec<Role>,
    #[serde(default)]
    pub invitations: Vec<Invitation>,
    #[serde(default)]
    pub suspension: Option<Suspension>,
    /// Its sandboxes reach essential services only.
    #[serde(default)]
    pub limited_egress: bool,
    /// Browsers see a warning before a preview.
    #[serde(default)]
    pub preview_warning: bool,
    #[serde(default)]
    pub experimental: Map<String, Value>,
    #[serde(default)]
    pub otel: Option<Otel>,
    /// What it may use, where that isn't as for all.
    #[serde(default)]
    pub quota: Option<Quota>,
    /// Since when it can be told things.
    #[serde(default)]
    pub webhooks_since: Option<DateTime<Utc>>,
    /// Gone; kept so that its members are told so (observed: 404, where strangers get 403).
    #[serde(default)]
    pub deleted: bool,
}

fn yes() -> bool {
    true
}

fn shared_region() -> Option<String> {
    Some(REGION.into())
}

/// Somebody: each minted key acts as one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    pub id: String,
    pub name: String,
    /// Unique; invitations go there.
    pub email: String,
    pub created_at: DateTime<Utc>,
}

impl User {
    pub fn new(now: DateTime<Utc>, name: Option<String>, email: Option<String>) -> User {
        Self::with_id(tokens::uuid(), now, name, email)
    }

    fn with_id(id: String, now: DateTime<Utc>, name: Option<String>, email: Option<String>) -> User {
        let short = id.get(..8).unwrap_or(&id);
        let email = email.unwrap_or_else(|| format!("{short}@example.com"));
        let name = name.unwrap_or_else(|| email.split('@').next().unwrap_or_default().to_owned());
        User { name, email, created_at: now, id }
    }
}

/// Why it may make nothing new.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Suspension {
    pub reason: Option<String>,
    pub since: DateTime<Utc>,
    pub until: Option<DateTime<Utc>>,
}

/// Where its telemetry is to go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Otel {
    pub endpoint: String,
    pub headers: Option<Map<String, Value>>,
}

impl Organization {
    /// The one that comes with a user.
    pub fn personal(user: User) -> Organization {
        let now = user.created_at;
        Organization {
            owner: Some(user.clone()),
            personal: true,
            ..Self::new("Personal".into(), &user.id, REGION, now)
        }
    }

    pub fn new(name: String, created_by: &str, region: &str, now: DateTime<Utc>) -> Organization {
        Organization {
            id: tokens::uuid(),
            name,
            created_by: created_by.to_owned(),
            created_at: now,
            updated_at: Some(now),
            owner: None,
            personal: false,
            default_region: Some(region.to_owned()),
            members: vec![Member::owner(created_by, now)],
            roles: Vec::new(),
            invitations: Vec::new(),
            suspension: None,
            limited_egress: false,
            preview_warning: false,
            experimental: Map::new(),
            otel: None,
            quota: None,
            webhooks_since: None,
            deleted: false,
        }
    }

    /// A record of a server that knew nothing of users and members has its owner.
    pub(super) fn completed(mut self) -> Organization {
        if self.personal && self.owner.is_none() {
            self.owner = Some(User::with_id(self.created_by.clone(), self.created_at, None, None));
        }
        if self.members.is_empty() && !self.deleted {
            self.members.push(Member::owner(&self.created_by, self.created_at));
        }
        self
    }

    pub fn updated_at(&self) -> DateTime<Utc> {
        self.updated_at.unwrap_or(self.created_at)
    }

    pub fn member(&self, user_id: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.user_id == user_id)
    }

    /// What a user may here: owners everything, members what their roles say; `None` for strangers.
    pub fn permissions_of(&self, user_id: &str) -> Option<Vec<String>> {
        let member = self.member(user_id)?;
        if member.role == MemberRole::Owner {
            return Some(PERMISSIONS.map(String::from).to_vec());
        }
        let roles = member.role_ids.iter().filter_map(|id| self.role(id));
        let held: BTreeSet<String> = roles.flat_map(|role| role.permissions).collect();
        Some(PERMISSIONS.iter().filter(|one| held.contains(**one)).map(|one| (*one).to_owned()).collect())
    }

    /// A role that can be given here, by id.
    pub fn role(&self, id: &str) -> Option<Role> {
        self.roles.iter().find(|role| role.id == id).cloned().or_else(|| roles::global(id))
    }

    /// The suspension in force.
    pub fn suspended(&self, now: DateTime<Utc>) -> Option<&Suspension> {
        self.suspension.as_ref().filter(|suspension| suspension.until.is_none_or(|until| until > now))
    }

    /// 403 while it is suspended (observed).
    pub fn check_active(&self, now: DateTime<Utc>) -> Result<(), ModelError> {
        let Some(suspension) = self.suspended(now) else { return Ok(()) };
        let reason = suspension.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        Err(forbidden(format!("Organization is suspended{reason}")))
    }

    /// Its record in the store's form.
    pub(super) fn put(&self) -> Write {
        let record = serde_json::to_string(self).expect("an organisation is JSON");
        Write::Put { kind: Kind::Organization, key: self.id.clone(), organization: String::new(), record }
    }
}

fn forbidden(message: impl Into<String>) -> ModelError {
    ModelError::new(ErrorKind::Forbidden, message)
}

pub(super) fn no_organization(id: &str) -> ModelError {
    ModelError::not_found(format!("Organization with ID {id} not found"))
}
