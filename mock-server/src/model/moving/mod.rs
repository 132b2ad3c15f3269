//! Worlds that are saved and restored: everything that an organisation owns in one archive, for this server or another.
//!
//! The archive is a tar. Its first member is `world.json` ([`Manifest`]): the records, as the store has them. Then come
//! the files, each tree a `.tar.zst` of its own as [`crate::runtime`] archives them, with owners as sandboxes see them:
//! `sandboxes/<id>`, `volumes/<id>`, `layers/<name>` (what snapshots and builds wrote), `images/<n>` (layers of pulled
//! images, so that it can be restored offline), and `objects/<n>` and `pushed/<n>` (manifests and blobs of pushed images)
//! as they are.
//!
//! Not in it: API keys, tokens of links and of SSH, deliveries of webhooks, the audit log, faults and the journal.
//! Values of secrets, passwords of registries and signing keys only if that was asked for.

mod kept;
mod plan;
mod restore;
mod save;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub(super) use self::kept::Kept;
pub use self::restore::Restored;
use super::{
    objects::Object, pushed::Inventory, regions::Region, registries::Registry, sandbox::Sandbox, secrets::Secret,
    snapshots::Snapshot, volumes::Volume, warm_pools::WarmPool, webhooks::Endpoint,
};

const FORMAT: &str = "daytona-mock world";
const VERSION: u32 = 1;
const MANIFEST: &str = "world.json";
/// Bytes of it, at most.
const MAX_MANIFEST: u64 = 64 << 20;

/// What is in the archive of a world.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    format: String,
    version: u32,
    /// Of the server that saved it, for people.
    server: String,
    saved_at: DateTime<Utc>,
    /// What sandboxes of no image stand on, for people.
    base: String,
    /// Where its parts are inside.
    base_targets: Vec<PathBuf>,
    /// Values of secrets are in it.
    with_secrets: bool,
    organization: Terms,
    sandboxes: Vec<Arc<Sandbox>>,
    snapshots: Vec<Arc<Snapshot>>,
    volumes: Vec<Arc<Volume>>,
    registries: Vec<Registry>,
    secrets: Vec<Secret>,
    regions: Vec<Arc<Region>>,
    warm_pools: Vec<Arc<WarmPool>>,
    webhooks: Vec<Endpoint>,
    /// The n-th has its bytes in `objects/<n>`.
    objects: Vec<Arc<Object>>,
    /// Digest of an image → its layers in `images/<n>`, lowest first.
    images: BTreeMap<String, Vec<usize>>,
    /// The n-th of its files is in `pushed/<n>`.
    #[serde(default, skip_serializing_if = "Inventory::is_empty")]
    pushed: Inventory,
}

/// What of an organisation's settings sandboxes notice.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Terms {
    default_region: Option<String>,
    limited_egress: bool,
    preview_warning: bool,
}

impl Manifest {
    /// Names of its members besides itself, in order.
    fn members(&self) -> Vec<String> {
        let sandboxes = self.sandboxes.iter().map(|one| member("sandboxes", &one.id));
        let volumes = self.volumes.iter().map(|one| member("volumes", &one.id));
        let layers = self.layers().into_iter().map(|name| member("layers", name));
        let images: std::collections::BTreeSet<usize> = self.images.values().flatten().copied().collect();
        let images = images.into_iter().map(|n| member("images", &n.to_string()));
        let objects = (0..self.objects.len()).map(object);
        let pushed = (0..self.pushed.files().count()).map(pushed);
        sandboxes.chain(volumes).chain(layers).chain(images).chain(objects).chain(pushed).collect()
    }

    /// Our own layers that something in it is made of.
    fn layers(&self) -> std::collections::BTreeSet<&str> {
        let sandboxes = self.sandboxes.iter().map(|one| &one.root);
        let snapshots = self.snapshots.iter().map(|one| &one.root);
        sandboxes.chain(snapshots).flat_map(|root| root.layers.iter().map(String::as_str)).collect()
    }
}

fn member(kind: &str, name: &str) -> String {
    format!("{kind}/{name}.tar.zst")
}

fn object(n: usize) -> String {
    format!("objects/{n}")
}

fn pushed(n: usize) -> String {
    format!("pushed/{n}")
}

/// Whether a member is a tree, packed.
fn is_tree(name: &str) -> bool {
    !name.starts_with("objects/") && !name.starts_with("pushed/")
}
