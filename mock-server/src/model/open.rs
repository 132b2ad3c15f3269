//! Opening the control plane: reads the store, admits the given keys, brings back what was running.

use std::{io, sync::Arc, time::Duration};

use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, Semaphore, broadcast};
use tokio_util::sync::CancellationToken;

use super::{
    Clock, ControlPlane, ModelConfig, OpenError,
    keys::{ApiKey, Keys},
    objects::Object,
    organization::{Organization, User},
    preview::{PreviewPort, SignedPreview},
    regions::Region,
    registries::Registry,
    sandbox::{DesiredState, Sandbox, State},
    secrets::Secret,
    snapshots::Snapshot,
    ssh::SshAccess,
    storage_keys::StorageKey,
    store::{Contents, Kind, Store},
    telemetry, timers, tokens,
    volumes::Volume,
    warm_pools::WarmPool,
    webhooks::{Delivery, Endpoint},
    world::World,
    worlds::{Strictnesses, WorldTerms},
};
use crate::{
    audit::{AuditLog, Bounds},
    data_dir::kept_secret,
    runtime::Runtime,
};

/// This many sandboxes are brought back at once.
const PARALLEL: usize = 8;
/// Opening waits this long for sandboxes to be back, so that after a restart they usually are; the rest come later.
const PATIENCE: Duration = Duration::from_secs(1);
/// Events that a slow receiver may be behind.
const EVENTS: usize = 1024;

/// Files that no record named when the server started. Nobody made new ones yet: those have no record for a moment, too.
struct Debris {
    sandboxes: Vec<String>,
    layers: Vec<String>,
}

impl ControlPlane {
    /// Opens the store below `config.data_dir` and starts again the sandboxes that were started when it was last
    /// closed (or killed).
    pub async fn open(
        config: ModelConfig,
        clock: Clock,
        runtime: Arc<Runtime>,
    ) -> Result<Arc<ControlPlane>, OpenError> {
        let path = config.data_dir.join("control.sqlite");
        let audit_path = config.data_dir.join("audit.sqlite");
        let bounds = Bounds { organization: config.limits.audit_entries, all: config.limits.all_audit_entries };
        let io_error = |what: &str| {
            let what = what.to_owned();
            |source| OpenError::Io { what, source }
        };
        let opened = tokio::task::spawn_blocking(move || {
            let reason = |reason| OpenError::Store { path: audit_path.clone(), reason };
            let audit = AuditLog::open(&audit_path, bounds).map_err(reason)?;
            Ok::<_, OpenError>((Store::open(&path)?, audit))
        });
        let opened = opened.await;
        let ((store, contents), audit) = opened.map_err(|e| io_error("the store")(io::Error::other(e)))??;
        let own_key = config
            .api_keys
            .is_empty()
            .then(|| kept_secret(&config.data_dir.join("api-key"), tokens::api_key))
            .transpose();
        let own_key = own_key.map_err(io_error("the file api-key in the data directory"))?;
        let first_key = own_key.as_ref().or(config.api_keys.first()).cloned().unwrap_or_default();
        let storage_key =
            StorageKey::open(&config.data_dir).map_err(io_error("the file storage-key in the data directory"))?;
        let (events, timer) = (broadcast::channel(EVENTS).0, Arc::new(Notify::new()));
        let cp = Arc::new(ControlPlane {
            runner_id: tokens::uuid(),
            first_key,
            clock,
            runtime,
            world: Arc::new(RwLock::new(World::new(events.clone(), timer.clone()))),
            events,
            keys: Arc::new(Keys::default()),
            store,
            storage_key,
            timer,
            firing: tokio::sync::Mutex::default(),
            busy: Default::default(),
            faults: Arc::default(),
            swept: broadcast::channel(EVENTS).0,
            strict: Strictnesses::new(config.strict),
            closing: CancellationToken::new(),
            audit,
            samples: telemetry::Samples::new(config.limits.metric_samples),
            tending: tokio::sync::Mutex::default(),
            offline_image: tokio::sync::Mutex::default(),
            moving: tokio::sync::Mutex::default(),
            claims: Default::default(),
            kept: Default::default(),
            logs: parking_lot::Mutex::default(),
            deactivating: parking_lot::Mutex::default(),
            config,
        });
        let worlds = cp.parse::<WorldTerms>(contents.of(Kind::WorldTerms))?;
        cp.load(contents)?;
        // Before anybody uploads: files without a record are taken for those of the dead.
        cp.tidy_objects();
        cp.revive_uploads();
        cp.tidy_pushed().await;
        let debris = cp.take_stock().await;
        worlds.into_iter().for_each(|terms| cp.keep_terms(terms));
        cp.admit_given(own_key.as_deref()).await?;
        cp.tidy_build_caches().await;
        let world = Arc::downgrade(&cp.world);
        cp.runtime.set_neighbours(Arc::new(move |id, name| world.upgrade()?.read().neighbour(id, name)));
        tokio::spawn(timers::run(Arc::downgrade(&cp)));
        tokio::spawn(telemetry::run(Arc::downgrade(&cp)));
        let revival = tokio::spawn(cp.clone().revive(debris));
        // What isn't back by then comes back while requests are served.
        _ = tokio::time::timeout(PATIENCE, revival).await;
        Ok(cp)
    }

    fn load(&self, contents: Contents) -> Result<(), OpenError> {
        let mut world = self.world.write();
        for organization in self.parse::<Organization>(contents.of(Kind::Organization))? {
            world.add_organization(Arc::new(organization.completed()));
        }
        for mut sandbox in self.parse::<Sandbox>(contents.of(Kind::Sandbox))? {
            // Its snapshot comes first.
            if sandbox.snapshotting_as.is_none() || sandbox.actual_state != State::Snapshotting {
                sandbox.set_phase(sandbox.phase().after_restart());
            }
            if let Some(resources) = sandbox.resizing_to {
                // It was promised, and nothing runs that would have to be told.
                sandbox.set_resources(resources);
            }
            if sandbox.actual_state != State::Archived {
                sandbox.runner_id = Some(self.runner_id.clone());
            }
            world.insert(Arc::new(sandbox));
        }
        for registry in self.parse::<Registry>(contents.of(Kind::Registry))? {
            world.registries.insert(registry.id.clone(), Arc::new(registry));
        }
        for volume in self.parse::<Volume>(contents.of(Kind::Volume))? {
            world.volumes.insert(volume.id.clone(), Arc::new(volume));
        }
        for object in self.parse::<Object>(contents.of(Kind::Object))? {
            world.objects.insert(object.key.clone(), Arc::new(object));
        }
        for region in self.parse::<Region>(contents.of(Kind::Region))? {
            world.regions.insert(region.id.clone(), Arc::new(region));
        }
        for secret in self.parse::<Secret>(contents.of(Kind::Secret))? {
            world.secrets.insert(secret.id.clone(), Arc::new(secret));
        }
        for pool in self.parse::<WarmPool>(contents.of(Kind::WarmPool))? {
            world.warm_pools.insert(pool.id.clone(), Arc::new(pool));
        }
        for endpoint in self.parse::<Endpoint>(contents.of(Kind::Webhook))? {
            world.webhooks.insert(endpoint.id.clone(), Arc::new(endpoint));
        }
        let mut deliveries = self.parse::<Delivery>(contents.of(Kind::WebhookDelivery))?;
        deliveries.sort_by_key(|delivery| delivery.created_at);
        for delivery in deliveries {
            world.place_delivery(Arc::new(delivery), usize::MAX);
        }
        for snapshot in self.parse::<Snapshot>(contents.of(Kind::Snapshot))? {
            world.snapshots.insert(snapshot.id.clone(), Arc::new(snapshot));
        }
        for preview in self.parse::<SignedPreview>(contents.of(Kind::SignedPreview))? {
            world.signed_previews.insert(preview.token.clone(), preview);
        }
        for access in self.parse::<SshAccess>(contents.of(Kind::SshAccess))? {
            world.ssh_accesses.insert(access.token_hash.clone(), access);
        }
        for port in self.parse::<PreviewPort>(contents.of(Kind::PreviewPort))? {
            world.preview_ports.insert(port.listener, port);
        }
        drop(world);
        let given: Vec<String> = self.config.api_keys.iter().map(|key| tokens::hash(key)).collect();
        let keys = self.parse::<ApiKey>(contents.of(Kind::ApiKey))?;
        self.keys.load(keys.into_iter().filter(|key| !key.given || given.contains(&key.hash)));
        Ok(())
    }

    fn parse<T: DeserializeOwned>(&self, records: &[String]) -> Result<Vec<T>, OpenError> {
        let parsed: serde_json::Result<Vec<T>> = records.iter().map(|record| serde_json::from_str(record)).collect();
        parsed.map_err(|error| OpenError::Store {
            path: self.config.data_dir.join("control.sqlite"),
            reason: format!("a record can't be read: {error}"),
        })
    }

    async fn admit_given(&self, own_key: Option<&str>) -> Result<(), OpenError> {
        let given = self.config.api_keys.iter().map(|key| (key.as_str(), true));
        for (key, given) in given.chain(own_key.map(|key| (key, false))) {
            if !self.knows_key(key) {
                let admitted = self.admit(key, "default", given, User::new(self.clock().now(), None, None)).await;
                let path = self.config.data_dir.join("control.sqlite");
                admitted.map_err(|error| OpenError::Store { path, reason: error.message })?;
            }
        }
        Ok(())
    }

    /// Starts what should be started, goes on deleting what was being deleted, removes files that nobody knows.
    async fn revive(self: Arc<Self>, debris: Debris) {
        let records: Vec<Arc<Sandbox>> =
            self.world.read().sandboxes.values().map(|entry| entry.record.clone()).collect();
        let tidying = self.moving.lock().await;
        self.clear(debris).await;
        self.tidy_archives().await;
        self.wipe_strays();
        self.revive_snapshots().await;
        self.revive_volumes().await;
        drop(tidying);
        let permits = Arc::new(Semaphore::new(PARALLEL));
        let mut tasks = tokio::task::JoinSet::new();
        for record in records.into_iter().filter(|record| record.phase().is_pending()) {
            let (cp, permits) = (self.clone(), permits.clone());
            tasks.spawn(async move {
                let _permit = permits.acquire().await;
                cp.go_on(&record).await;
            });
        }
        while tasks.join_next().await.is_some() {}
        self.reset_deleted().await;
        self.tend_all();
    }

    /// Goes on with what a sandbox was about.
    pub(super) async fn go_on(self: Arc<Self>, record: &Sandbox) {
        match record.desired_state {
            DesiredState::Destroyed => self.destroy(record.id.clone(), Duration::ZERO).await,
            DesiredState::Archived => self.store_away(record.id.clone()).await,
            _ if record.actual_state == State::Snapshotting => self.resume_snapshot(record).await,
            _ if record.actual_state == State::PendingBuild => self.build_sandbox(record.id.clone()).await,
            // A failure is in the record by now.
            _ => drop(self.spawn_launch(&record.id).await),
        }
    }

    /// Finds what there is to remove, and gives sandboxes back what was taken from them a moment before the end: nobody
    /// may start one before.
    async fn take_stock(&self) -> Debris {
        let mut sandboxes = self.runtime.known_ids().unwrap_or_else(|error| {
            tracing::warn!(%error, "the sandboxes' directory can't be read");
            Vec::new()
        });
        sandboxes.retain(|id| !self.world.read().sandboxes.contains_key(id));
        Debris { sandboxes, layers: self.orphaned_layers().await }
    }

    async fn clear(&self, debris: Debris) {
        for layer in debris.layers {
            self.runtime.remove_layer(&layer).await;
        }
        for id in debris.sandboxes {
            if let Err(error) = self.runtime.remove(&id).await {
                tracing::warn!(sandbox = id, %error, "files of an unknown sandbox could not be removed");
            }
        }
    }
}
