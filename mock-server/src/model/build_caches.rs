//! What `RUN --mount=type=cache` keeps: of each organisation apart, as what one build left there another one runs.

use std::{collections::HashSet, path::PathBuf};

use sha2::{Digest, Sha256};

use super::ControlPlane;

impl ControlPlane {
    fn all_build_caches(&self) -> PathBuf {
        self.config().data_dir.join("build-cache")
    }

    /// Where an organisation's are.
    pub(super) fn build_caches(&self, organization_id: &str) -> PathBuf {
        self.all_build_caches().join(name(organization_id))
    }

    /// Forgets what an organisation's builds left.
    pub(super) async fn wipe_build_caches(&self, organization_id: &str) {
        if let Err(error) = self.runtime().empty_all(self.build_caches(organization_id)).await {
            tracing::warn!(%error, "the caches of builds could not be removed");
        }
    }

    /// Removes those of nobody: of organisations that are gone.
    pub(super) async fn tidy_build_caches(&self) {
        let known: HashSet<String> = self.world.read().tenants.keys().map(|id| name(id)).collect();
        let all = std::fs::read_dir(self.all_build_caches()).into_iter().flatten().flatten();
        let gone = all.filter(|entry| !entry.file_name().to_str().is_some_and(|name| known.contains(name)));
        for entry in gone {
            if let Err(error) = self.runtime().remove_foreign(entry.path()).await {
                tracing::warn!(%error, "the caches of builds could not be removed");
            }
        }
    }
}

fn name(organization_id: &str) -> String {
    Sha256::digest(organization_id).iter().take(12).map(|byte| format!("{byte:02x}")).collect()
}
