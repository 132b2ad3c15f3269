//! Regions: the shared one, and those that organisations make. This server runs the sandboxes of all of them; what a
//! region has of its own are URLs, by which its sandboxes are reached.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{
    ControlPlane, REGION,
    error::{ErrorKind, ModelError},
    organization::Organization,
    store::{Kind, Write},
    tokens,
};

/// A region as the store keeps it. Of its keys only hashes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Region {
    pub id: String,
    /// `None`: shared by all.
    pub organization_id: Option<String>,
    /// Unique in the organisation.
    pub name: String,
    pub urls: RegionUrls,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub proxy_key_hash: Option<String>,
    pub ssh_key_hash: Option<String>,
    pub snapshot_manager_hash: Option<String>,
}

/// Where a region's parts are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegionUrls {
    pub proxy: Option<String>,
    pub ssh_gateway: Option<String>,
    pub snapshot_manager: Option<String>,
    pub otel_endpoint: Option<String>,
}

/// One of a region's credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    Proxy,
    SshGateway,
    SnapshotManager,
}

/// What nobody can read again: the keys of a new region's parts.
#[derive(Clone, Debug, Default)]
pub struct RegionKeys {
    pub proxy: Option<String>,
    pub ssh_gateway: Option<String>,
    pub snapshot_manager: Option<String>,
}

/// User name of a region's snapshot manager.
pub const SNAPSHOT_MANAGER_USER: &str = "snapshot-manager";

impl Region {
    fn shared() -> Region {
        let since = DateTime::UNIX_EPOCH;
        Region {
            id: REGION.into(),
            organization_id: None,
            name: REGION.into(),
            urls: RegionUrls::default(),
            created_at: since,
            updated_at: since,
            proxy_key_hash: None,
            ssh_key_hash: None,
            snapshot_manager_hash: None,
        }
    }

    fn put(&self) -> Write {
        Write::Put {
            kind: Kind::Region,
            key: self.id.clone(),
            organization: self.organization_id.clone().unwrap_or_default(),
            record: serde_json::to_string(self).expect("a region is JSON"),
        }
    }
}

/// An id that no region has yet, as far as chance goes.
pub(super) fn new_id(name: &str) -> String {
    format!("{name}_{}", &tokens::signed_preview_token()[..4])
}

pub(super) fn no_region() -> ModelError {
    ModelError::not_found("Region not found")
}

pub(super) fn check_name(name: &str) -> Result<(), ModelError> {
    if name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)) {
        return Ok(());
    }
    let text = "Region name must contain only letters, numbers, underscores, periods, and hyphens";
    Err(ModelError::bad_request(text))
}

impl ControlPlane {
    /// An organisation's own regions by name, then the shared one (observed order).
    pub fn regions(&self, organization_id: &str) -> Vec<Arc<Region>> {
        let world = self.world.read();
        let own = world.regions.values().filter(|region| region.organization_id.as_deref() == Some(organization_id));
        let mut all: Vec<Arc<Region>> = own.cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all.push(Arc::new(Region::shared()));
        all
    }

    /// An organisation's own region by id.
    pub fn own_region(&self, organization_id: &str, id: &str) -> Result<Arc<Region>, ModelError> {
        let found = self.world.read().regions.get(id).cloned();
        found.filter(|region| region.organization_id.as_deref() == Some(organization_id)).ok_or_else(no_region)
    }

    /// The id of the region that an organisation calls so: an own one by its name, the shared one, an own one by its id.
    pub fn region(&self, organization_id: &str, name: &str) -> Result<String, ModelError> {
        let all = self.regions(organization_id);
        let named = all.iter().find(|region| region.name == name);
        let found = named.or_else(|| all.iter().find(|region| region.id == name));
        found.map(|region| region.id.clone()).ok_or_else(no_region)
    }

    /// The URL of a preview in a region with a proxy of its own; `host_part` is a sandbox's id or a signed token.
    pub fn region_preview(&self, sandbox_id: &str, port: &str, host_part: &str) -> Option<String> {
        let proxy = self.world.read().sandboxes.get(sandbox_id)?.record.inherited.proxy.clone()?;
        let (scheme, rest) = proxy.split_once("://").unwrap_or(("http", &proxy));
        Some(format!("{scheme}://{port}-{host_part}.{}", rest.trim_end_matches('/')))
    }

    /// Whether a region of somebody has its proxy at this host.
    pub fn is_region_host(&self, host: &str) -> bool {
        let world = self.world.read();
        let mut proxies = world.regions.values().filter_map(|region| region.urls.proxy.as_deref());
        proxies.any(|proxy| proxy_host(proxy).is_some_and(|own| own.eq_ignore_ascii_case(host)))
    }

    pub async fn create_region(
        &self,
        organization_id: &str,
        name: String,
        urls: RegionUrls,
    ) -> Result<(Arc<Region>, RegionKeys), ModelError> {
        check_name(&name)?;
        let (now, most) = (self.clock().now(), self.config().limits.regions);
        let turn = self.store.turn().await;
        let all = self.regions(organization_id);
        if all.iter().any(|region| region.name == name && region.organization_id.is_some()) {
            return Err(ModelError::conflict(format!("Region with name {name} already exists")));
        }
        if all.len() > most {
            return Err(ModelError::bad_request(format!("Region quota exceeded. Maximum allowed: {most}")));
        }
        let key = |url: &Option<String>| url.as_ref().map(|_| tokens::api_key());
        let keys = RegionKeys {
            proxy: key(&urls.proxy),
            ssh_gateway: key(&urls.ssh_gateway),
            snapshot_manager: key(&urls.snapshot_manager),
        };
        let hash = |key: &Option<String>| key.as_deref().map(tokens::hash);
        let region = Arc::new(Region {
            id: new_id(&name),
            organization_id: Some(organization_id.to_owned()),
            name,
            urls,
            created_at: now,
            updated_at: now,
            proxy_key_hash: hash(&keys.proxy),
            ssh_key_hash: hash(&keys.ssh_gateway),
            snapshot_manager_hash: hash(&keys.snapshot_manager),
        });
        let (world, added) = (self.world.clone(), region.clone());
        let apply = move || drop(world.write().regions.insert(added.id.clone(), added));
        turn.commit(vec![region.put()], apply).wait().await?;
        Ok((region, keys))
    }

    pub async fn change_region(
        &self,
        organization_id: &str,
        id: &str,
        edit: impl FnOnce(&mut Region),
    ) -> Result<Arc<Region>, ModelError> {
        let turn = self.store.turn().await;
        let mut next = Region::clone(&*self.own_region(organization_id, id)?);
        edit(&mut next);
        next.updated_at = self.clock().now();
        let next = Arc::new(next);
        let (world, changed) = (self.world.clone(), next.clone());
        let owner = organization_id.to_owned();
        let apply = move || {
            let mut world = world.write();
            world.regions.insert(changed.id.clone(), changed);
            world.inherit_anew(&owner);
        };
        turn.commit(vec![next.put()], apply).wait().await?;
        Ok(next)
    }

    /// A new key for a part of a region; the old one is void. 400 for a part that the region doesn't have.
    pub async fn regenerate(&self, region: &Region, which: Credential) -> Result<String, ModelError> {
        let (url, what) = match which {
            Credential::Proxy => (&region.urls.proxy, "a proxy URL"),
            Credential::SshGateway => (&region.urls.ssh_gateway, "an SSH gateway URL"),
            Credential::SnapshotManager => (&region.urls.snapshot_manager, "a snapshot manager URL"),
        };
        if url.is_none() {
            return Err(ModelError::bad_request(format!("Region does not have {what} configured")));
        }
        let value = tokens::api_key();
        let hash = Some(tokens::hash(&value));
        let edit = |region: &mut Region| match which {
            Credential::Proxy => region.proxy_key_hash = hash,
            Credential::SshGateway => region.ssh_key_hash = hash,
            Credential::SnapshotManager => region.snapshot_manager_hash = hash,
        };
        self.change_region(region.organization_id.as_deref().unwrap_or_default(), &region.id, edit).await?;
        Ok(value)
    }

    /// Removes an organisation's regions, once it has no sandboxes. It is in the shared one then.
    pub(super) async fn reset_regions(&self, organization_id: &str) -> Result<(), ModelError> {
        let own = self.regions(organization_id).into_iter().filter(|region| region.organization_id.is_some());
        let own: Vec<Arc<Region>> = own.collect();
        let chosen = self.organization(organization_id).and_then(|organization| organization.default_region.clone());
        if own.iter().any(|region| Some(&region.id) == chosen.as_ref()) {
            let shared = |organization: &mut Organization| {
                organization.default_region = Some(REGION.into());
                Ok(())
            };
            self.change_organization(organization_id, shared).await?;
        }
        for region in own {
            match self.delete_region(organization_id, &region.id).await {
                Err(error) if error.kind != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes a region that has no sandboxes.
    pub async fn delete_region(&self, organization_id: &str, id: &str) -> Result<(), ModelError> {
        let turn = self.store.turn().await;
        self.own_region(organization_id, id)?;
        let used = {
            let world = self.world.read();
            let ids = world.tenants.get(organization_id).map(|tenant| tenant.ids.iter());
            let mut sandboxes = ids.into_iter().flatten().filter_map(|id| world.sandboxes.get(id));
            sandboxes.any(|entry| entry.record.target == id)
        };
        if used {
            return Err(ModelError::bad_request("Cannot delete region which has sandboxes associated with it"));
        }
        let (world, gone) = (self.world.clone(), id.to_owned());
        let write = Write::Delete { kind: Kind::Region, key: id.to_owned() };
        turn.commit(vec![write], move || drop(world.write().regions.remove(&gone))).wait().await
    }
}

/// The host of a proxy's URL.
fn proxy_host(proxy: &str) -> Option<&str> {
    let rest = proxy.split_once("://").map_or(proxy, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    Some(host).filter(|host| !host.is_empty())
}
