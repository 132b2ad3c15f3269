//! Layers that records are made of: named after whose they were, removed when nobody has them any more.

use super::{ControlPlane, tokens};
use crate::runtime::Root;

impl ControlPlane {
    /// Removes the layers of a record that is gone, but those that others are made of, and what builds may use again.
    pub(super) async fn release(&self, organization_id: &str, root: &Root) {
        let _may = self.may_remove(organization_id).await;
        let unused: Vec<&String> = {
            let world = self.world.read();
            let used = world.layers_in_use();
            root.layers.iter().filter(|layer| !used.contains(layer.as_str()) && !is_cached(layer)).collect()
        };
        for layer in unused {
            self.runtime().remove_layer(layer).await;
        }
    }

    /// After a restart: layers that no record names, but those that builds may use again. What was a sandbox's files a
    /// moment before the end is that again.
    pub(super) async fn orphaned_layers(&self) -> Vec<String> {
        let names = self.runtime().own_layers().unwrap_or_default();
        let orphans: Vec<String> = {
            let world = self.world.read();
            let used = world.layers_in_use();
            names.into_iter().filter(|name| !used.contains(name.as_str())).collect()
        };
        let mut left = Vec::new();
        for name in orphans {
            let owner = owner_of(&name).filter(|id| self.world.read().sandboxes.contains_key(*id));
            match owner {
                Some(id) if self.runtime().give_back(&name, id).await.is_ok() => {}
                _ if is_cached(&name) && !self.runtime().is_stale(&name) => {}
                _ => left.push(name),
            }
        }
        left
    }
}

/// Layers of builds, which another build may use again.
pub(super) fn is_cached(layer: &str) -> bool {
    layer.starts_with("b-")
}

/// The name of a sandbox's files as a layer; says whose they were.
pub(super) fn layer_name(sandbox_id: &str) -> String {
    format!("s-{sandbox_id}-{}", &tokens::uuid()[..8])
}

fn owner_of(layer: &str) -> Option<&str> {
    Some(layer.strip_prefix("s-")?.rsplit_once('-')?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_knows_whose_it_was() {
        let id = tokens::uuid();
        assert_eq!(owner_of(&layer_name(&id)), Some(id.as_str()));
        assert_eq!(owner_of("b-0123"), None);
        assert!(is_cached("b-0123") && !is_cached(&layer_name(&id)));
    }
}
