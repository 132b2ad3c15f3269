//! Linked sandboxes: ephemeral followers of another one. Their names resolve inside, both ways, and they go with it.

use std::sync::Arc;

use super::{
    ControlPlane,
    error::ModelError,
    sandbox::{DesiredState, Sandbox, State},
    world::World,
};

/// Whether a sandbox can have followers.
pub(super) fn check_owner(owner: &Sandbox) -> Result<(), ModelError> {
    if owner.linked_to.is_some() {
        let text =
            format!("Linked sandbox {} is itself linked to another sandbox; chained links are not allowed", owner.id);
        return Err(ModelError::bad_request(text));
    }
    if !matches!(owner.state(), State::Started | State::Stopped) {
        let text = format!("Linked sandbox {} must be in started or stopped state", owner.id);
        return Err(ModelError::bad_request(text));
    }
    Ok(())
}

impl ControlPlane {
    /// Lets everything go that is linked to a sandbox, whatever it is doing.
    pub(super) fn wipe_followers(self: &Arc<Self>, owner: &str) {
        let followers: Vec<String> = self.world.read().followers_of(owner).map(|record| record.id.clone()).collect();
        for id in followers {
            let cp = self.clone();
            tokio::spawn(async move {
                if let Err(error) = cp.wipe(id.clone()).await {
                    tracing::warn!(sandbox = id, %error, "did not go with the sandbox that it was linked to");
                }
            });
        }
    }

    /// After a restart: what followed a sandbox that is gone goes too.
    pub(super) fn wipe_strays(self: &Arc<Self>) {
        let owners: Vec<String> = {
            let world = self.world.read();
            let owners = world.sandboxes.values().filter_map(|entry| entry.record.linked_to.clone());
            let gone = |owner: &String| {
                let record = world.sandboxes.get(owner).map(|entry| &entry.record);
                record.is_none_or(|record| record.desired_state == DesiredState::Destroyed)
            };
            owners.filter(gone).collect()
        };
        owners.iter().for_each(|owner| self.wipe_followers(owner));
    }
}

impl World {
    /// The sandbox that a name (lower-case, as DNS asks) means to another one: itself, the one that it is linked to, or
    /// another one that is linked to the same.
    pub fn neighbour(&self, id: &str, name: &str) -> Option<String> {
        let own = &self.sandboxes.get(id)?.record;
        let owner = own.linked_to.as_deref().unwrap_or(id);
        let mut all = self.sandboxes.get(owner).map(|entry| &entry.record).into_iter().chain(self.followers_of(owner));
        // Alone it has no neighbours: then names are the resolver's matter.
        let linked = own.linked_to.is_some() || self.followers_of(owner).next().is_some();
        let called = |record: &&Arc<Sandbox>| record.name.eq_ignore_ascii_case(name);
        all.find(called).filter(|_| linked).map(|record| record.id.clone())
    }
}
