//! Registries of an organisation: where its images come from, and who it is there.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{
    ControlPlane,
    error::ModelError,
    store::{Kind, Turn, Write},
    tokens,
};
use crate::images::Credentials;

/// Registries of one organisation (observed).
pub(super) const MAX: usize = 100;

/// A registry as the store keeps it. The password is in no answer and no log.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Registry {
    pub id: String,
    pub organization_id: String,
    pub name: String,
    pub url: String,
    pub username: String,
    pub password: String,
    pub project: String,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// What a client gives; `None` leaves it as it is.
#[derive(Clone, Default)]
pub struct RegistryChange {
    pub name: Option<String>,
    pub url: Option<String>,
    pub username: Option<String>,
    pub password: Option<String>,
    pub project: Option<String>,
}

impl ControlPlane {
    /// Newest first.
    pub fn registries(&self, organization_id: &str) -> Vec<Arc<Registry>> {
        let world = self.world.read();
        let own = world.registries.values().filter(|registry| registry.organization_id == organization_id);
        let mut own: Vec<_> = own.cloned().collect();
        own.sort_by(|a, b| b.created_at.cmp(&a.created_at).then_with(|| a.id.cmp(&b.id)));
        own
    }

    pub fn registry(&self, organization_id: &str, id: &str) -> Result<Arc<Registry>, ModelError> {
        let found = self.world.read().registries.get(id).cloned();
        let own = found.filter(|registry| registry.organization_id == organization_id);
        own.ok_or_else(|| ModelError::not_found(format!("Docker registry with ID {id} not found")))
    }

    pub async fn add_registry(&self, organization_id: &str, new: RegistryChange) -> Result<Arc<Registry>, ModelError> {
        let turn = self.store.turn().await;
        if self.registries(organization_id).len() >= MAX {
            return Err(ModelError::bad_request("You have reached the maximum number of registries"));
        }
        let now = self.clock().now();
        let empty = Registry {
            id: tokens::uuid(),
            organization_id: organization_id.to_owned(),
            name: String::new(),
            url: String::new(),
            username: String::new(),
            password: String::new(),
            project: String::new(),
            created_at: now,
            updated_at: now,
        };
        self.put_registry(turn, changed(empty, new)).await
    }

    pub async fn change_registry(
        &self,
        organization_id: &str,
        id: &str,
        new: RegistryChange,
    ) -> Result<Arc<Registry>, ModelError> {
        let turn = self.store.turn().await;
        let old = self.registry(organization_id, id)?;
        // A project that isn't named is dropped (observed).
        let old = Registry { project: String::new(), updated_at: self.clock().now(), ..Registry::clone(&old) };
        self.put_registry(turn, changed(old, new)).await
    }

    async fn put_registry(&self, turn: Turn<'_>, registry: Registry) -> Result<Arc<Registry>, ModelError> {
        let registry = Arc::new(registry);
        let write = Write::Put {
            kind: Kind::Registry,
            key: registry.id.clone(),
            organization: registry.organization_id.clone(),
            record: serde_json::to_string(&*registry).expect("a registry is JSON"),
        };
        let (world, added) = (self.world.clone(), registry.clone());
        let apply = move || drop(world.write().registries.insert(added.id.clone(), added));
        turn.commit(vec![write], apply).wait().await?;
        Ok(registry)
    }

    pub async fn remove_registry(&self, registry: &Registry) -> Result<(), ModelError> {
        let turn = self.store.turn().await;
        let (world, id) = (self.world.clone(), registry.id.clone());
        let write = Write::Delete { kind: Kind::Registry, key: id.clone() };
        turn.commit(vec![write], move || drop(world.write().registries.remove(&id))).wait().await
    }

    /// Who an organisation is to registries.
    pub(super) fn registry_credentials(&self, organization_id: &str) -> Vec<Credentials> {
        let own = self.registries(organization_id);
        own.iter()
            .map(|registry| Credentials {
                registry: registry.url.clone(),
                username: registry.username.clone(),
                password: registry.password.clone(),
            })
            .collect()
    }
}

fn changed(old: Registry, new: RegistryChange) -> Registry {
    Registry {
        name: new.name.unwrap_or(old.name),
        url: new.url.unwrap_or(old.url),
        username: new.username.unwrap_or(old.username),
        password: new.password.unwrap_or(old.password),
        project: new.project.unwrap_or(old.project),
        ..old
    }
}
