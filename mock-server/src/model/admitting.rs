//! The moment at which a sandbox begins to be. Who makes one looks around without having the store's turn, so what it found
//! is looked at again here: it may be gone by now.

use std::sync::Arc;

use super::{
    ControlPlane, REGION,
    error::ModelError,
    linking, organization, regions,
    sandbox::{DesiredState, Sandbox},
    snapshotting,
    world::{World, put},
};

impl ControlPlane {
    /// Adds a new sandbox and tells it. 409 if its name is taken.
    pub(super) async fn add(&self, mut record: Sandbox) -> Result<Arc<Sandbox>, ModelError> {
        let turn = self.store.turn().await;
        self.world.read().check_new(&record, self.config().limits.sandboxes)?;
        self.check_quota(None, &record)?;
        record.inherited = self.world.read().inherited(&record);
        let record = Arc::new(record);
        let (world, added) = (self.world.clone(), record.clone());
        turn.commit(vec![put(&record)], move || world.write().add(added)).wait().await?;
        Ok(record)
    }
}

impl World {
    /// Whether there is room for a new sandbox, and everything that it is made of, with and for.
    fn check_new(&self, record: &Sandbox, most: usize) -> Result<(), ModelError> {
        let owner = &record.organization_id;
        let tenant = self.tenants.get(owner).filter(|tenant| !tenant.organization.deleted);
        let tenant = tenant.ok_or_else(|| organization::no_organization(owner))?;
        if self.sandboxes.len() >= most {
            return Err(ModelError::bad_request("No available runners"));
        }
        if tenant.names.contains_key(&record.name) {
            return Err(ModelError::conflict(format!("Sandbox with name {} already exists", record.name)));
        }
        self.check_region(record)?;
        if record.root.layers.iter().any(|layer| !self.is_layer_in_use(layer)) {
            return Err(snapshotting::no_source(record.snapshot.as_deref().unwrap_or_default()));
        }
        if let Some(gone) = record.secrets.iter().find(|one| !self.secrets.contains_key(&one.secret_id)) {
            return Err(ModelError::not_found(format!("The secret for {} is gone", gone.variable)));
        }
        self.check_relations(record)?;
        self.check_mounts(&record.volumes)
    }

    fn check_region(&self, record: &Sandbox) -> Result<(), ModelError> {
        let own = self.regions.get(&record.target);
        let own = own.is_some_and(|region| region.organization_id.as_ref() == Some(&record.organization_id));
        if own || record.target == REGION { Ok(()) } else { Err(regions::no_region()) }
    }

    /// Those that it follows, comes from or waits in.
    fn check_relations(&self, record: &Sandbox) -> Result<(), ModelError> {
        let lives = |id: &String| {
            let found = self.sandboxes.get(id).map(|entry| &entry.record);
            let found = found.filter(|record| record.desired_state != DesiredState::Destroyed);
            found.ok_or_else(|| ModelError::no_sandbox(id))
        };
        if let Some(owner) = &record.linked_to {
            linking::check_owner(lives(owner)?)?;
        }
        record.forked_from.as_ref().map(lives).transpose()?;
        match &record.warm_pool_id {
            Some(pool) if !self.warm_pools.contains_key(pool) => Err(super::warm_pools::no_pool(pool)),
            _ => Ok(()),
        }
    }
}
