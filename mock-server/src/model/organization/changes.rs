//! How organisations come, change and go.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::{
    super::{
        ControlPlane,
        error::ModelError,
        lifecycle::apart,
        quota::Quota,
        store::Write,
        world::{Tenant, World},
    },
    Organization, Otel, Suspension, User, forbidden, no_organization,
};

/// Organisations that one user may have made.
const MOST: usize = 100;

/// One thing about an organisation that can be set.
#[derive(Clone, Debug)]
pub enum Settings {
    PreviewWarning(bool),
    LimitedEgress(bool),
    Experimental(Map<String, Value>),
    Otel(Option<Otel>),
    Quota(Option<Quota>),
    /// Reason and end.
    Suspended(Option<(Option<String>, Option<DateTime<Utc>>)>),
}

impl ControlPlane {
    /// An organisation; `None` for one that is gone, too.
    pub fn organization(&self, id: &str) -> Option<Arc<Organization>> {
        let world = self.world.read();
        world.tenants.get(id).map(|tenant| tenant.organization.clone()).filter(|organization| !organization.deleted)
    }

    /// An organisation that a user is in. 404 if it is gone; `None` for strangers.
    pub fn organization_of(&self, user_id: &str, id: &str) -> Result<Option<Arc<Organization>>, ModelError> {
        let found = self.world.read().tenants.get(id).map(|tenant| tenant.organization.clone());
        let Some(own) = found.filter(|organization| organization.member(user_id).is_some()) else { return Ok(None) };
        if own.deleted { Err(no_organization(id)) } else { Ok(Some(own)) }
    }

    /// Those that a user is in, oldest first.
    pub fn organizations_of(&self, user_id: &str) -> Vec<Arc<Organization>> {
        let world = self.world.read();
        let all = world.tenants.values().map(|tenant| &tenant.organization);
        let mut own: Vec<_> = all.filter(|one| !one.deleted && one.member(user_id).is_some()).cloned().collect();
        own.sort_by(|a, b| (!a.personal, a.created_at, &a.id).cmp(&(!b.personal, b.created_at, &b.id)));
        own
    }

    pub fn user(&self, id: &str) -> Option<User> {
        self.world.read().users.get(id).cloned()
    }

    pub(in crate::model) fn user_with_email(&self, email: &str) -> Option<User> {
        self.world.read().users.values().find(|user| user.email.eq_ignore_ascii_case(email)).cloned()
    }

    pub async fn create_organization(
        &self,
        user_id: &str,
        name: String,
        region: &str,
    ) -> Result<Arc<Organization>, ModelError> {
        let turn = self.store.turn().await;
        let made = |world: &World| {
            let all = world.tenants.values().map(|tenant| &tenant.organization);
            all.filter(|one| one.created_by == user_id && !one.personal && !one.deleted).count()
        };
        if made(&self.world.read()) >= MOST {
            return Err(forbidden("You have reached the maximum number of created organizations"));
        }
        self.check_room()?;
        let organization = Arc::new(Organization::new(name, user_id, region, self.clock().now()));
        let (world, added) = (self.world.clone(), organization.clone());
        let apply = move || drop(world.write().tenants.insert(added.id.clone(), Tenant::new(added)));
        turn.commit(vec![organization.put()], apply).wait().await?;
        Ok(organization)
    }

    /// 400 where the server has as many as it may.
    pub(in crate::model) fn check_room(&self) -> Result<(), ModelError> {
        let most = self.config().limits.organizations;
        if self.world.read().tenants.len() < most {
            return Ok(());
        }
        Err(ModelError::bad_request(format!("Organization quota exceeded. Maximum allowed: {most}")))
    }

    /// Destroys what an organisation owns, and itself and its keys.
    pub async fn delete_organization(self: &Arc<Self>, id: &str) -> Result<(), ModelError> {
        if self.organization(id).is_some_and(|organization| organization.personal) {
            return Err(forbidden("Cannot delete personal organization"));
        }
        let (cp, id) = (self.clone(), id.to_owned());
        apart(async move {
            cp.reset(&id).await?;
            let edit = |organization: &mut Organization| {
                organization.deleted = true;
                // What its members are told needs nothing else.
                (organization.roles, organization.invitations) = (Vec::new(), Vec::new());
                Ok(())
            };
            cp.change_members(&id, edit).await?;
            // Nothing comes any more; what came meanwhile goes.
            cp.reset(&id).await
        })
        .await
    }

    /// After a restart: what organisations that were deleted just before still own.
    pub(in crate::model) async fn reset_deleted(self: &Arc<Self>) {
        let deleted: Vec<String> = {
            let world = self.world.read();
            let all = world.tenants.values().map(|tenant| &tenant.organization);
            all.filter(|one| one.deleted).map(|one| one.id.clone()).collect()
        };
        for id in deleted.iter().filter(|id| !self.is_empty(id)) {
            if let Err(error) = self.reset(id).await {
                tracing::warn!(organization = id, %error, "is deleted, but not all that it owned");
            }
        }
    }

    /// Its region, once. 409 when it has one (observed).
    pub async fn set_default_region(&self, id: &str, region: &str) -> Result<(), ModelError> {
        let edit = |organization: &mut Organization| {
            if organization.default_region.is_some() {
                return Err(ModelError::conflict("Organization already has a default region set"));
            }
            organization.default_region = Some(region.to_owned());
            Ok(())
        };
        self.change_organization(id, edit).await.map(drop)
    }

    pub async fn set_organization(&self, id: &str, settings: Settings) -> Result<Arc<Organization>, ModelError> {
        let now = self.clock().now();
        let edit = |organization: &mut Organization| {
            match settings {
                Settings::PreviewWarning(on) => organization.preview_warning = on,
                Settings::LimitedEgress(on) => organization.limited_egress = on,
                Settings::Experimental(config) => organization.experimental = config,
                Settings::Otel(otel) => organization.otel = otel,
                Settings::Quota(quota) => organization.quota = quota,
                Settings::Suspended(how) => {
                    organization.suspension = how.map(|(reason, until)| Suspension { reason, since: now, until });
                }
            }
            Ok(())
        };
        Ok(self.change_organization(id, edit).await?.0)
    }

    /// Changes an organisation. Nothing happens if `edit` or the store refuses.
    pub(in crate::model) async fn change_organization<T>(
        &self,
        id: &str,
        edit: impl FnOnce(&mut Organization) -> Result<T, ModelError>,
    ) -> Result<(Arc<Organization>, T), ModelError> {
        self.edit_organization(id, edit, |_| (Vec::new(), Box::new(|| ()))).await
    }

    /// The same where members or roles change: keys lose what their users may no longer.
    pub(in crate::model) async fn change_members<T>(
        &self,
        id: &str,
        edit: impl FnOnce(&mut Organization) -> Result<T, ModelError>,
    ) -> Result<(Arc<Organization>, T), ModelError> {
        self.edit_organization(id, edit, |next| self.keys.prune(next)).await
    }

    async fn edit_organization<T>(
        &self,
        id: &str,
        edit: impl FnOnce(&mut Organization) -> Result<T, ModelError>,
        besides: impl FnOnce(&Organization) -> (Vec<Write>, Box<dyn FnOnce() + Send>),
    ) -> Result<(Arc<Organization>, T), ModelError> {
        let turn = self.store.turn().await;
        let old = self.organization(id).ok_or_else(|| no_organization(id))?;
        let mut next = Organization::clone(&old);
        let told = edit(&mut next)?;
        next.updated_at = Some(self.clock().now());
        let next = Arc::new(next);
        let (mut writes, also) = besides(&next);
        writes.push(next.put());
        let (world, changed) = (self.world.clone(), next.clone());
        let apply = move || {
            also();
            world.write().replace_organization(changed);
        };
        turn.commit(writes, apply).wait().await?;
        Ok((next, told))
    }
}
