//! What happens to snapshots: made of images and Dockerfiles (of sandboxes: `capturing`); activated, deactivated, removed.

use std::{sync::Arc, time::Duration};

use super::{
    ControlPlane, Identity, ModelEvent, SnapshotEvent,
    building::Pulled,
    error::ModelError,
    lifecycle::apart,
    sandbox::{Class, Sandbox},
    snapshots::{self, BuildInfo, Snapshot, SnapshotState, Source},
    store::{Kind, Write},
    tokens,
};
use crate::{
    faults::{Hold, origin::carried},
    images::{Image, Policy, Progress as Told, Puller, parse_reference},
    runtime::Root,
};

/// A snapshot that is being removed can still be read this long.
const LINGER: Duration = Duration::from_millis(500);

/// A well-formed `CreateSnapshot`.
#[derive(Clone, Debug)]
pub struct NewSnapshot {
    pub name: String,
    pub made_of: MadeOf,
    pub entrypoint: Option<Vec<String>>,
    /// Where it is to be usable.
    pub region: String,
    pub cpu: Option<u32>,
    pub memory: Option<u32>,
    pub disk: Option<u32>,
    pub class: Class,
}

#[derive(Clone, Debug)]
pub enum MadeOf {
    Image(String),
    Build { dockerfile: String, context_hashes: Vec<String> },
}

fn put(record: &Snapshot) -> Write {
    Write::Put {
        kind: Kind::Snapshot,
        key: record.id.clone(),
        organization: record.organization_id.clone(),
        record: serde_json::to_string(record).expect("a snapshot is JSON"),
    }
}

/// How long a build can be seen at least. SDKs look at a snapshot once a second, and follow its log only if it is being
/// built at that moment (`Snapshot.ts`, `_sync/snapshot.py`): nobody would hear why a build failed at once.
const SEEN: Duration = Duration::from_millis(1250);

impl ControlPlane {
    /// Snapshots of an organisation, in no order.
    pub fn own_snapshots(&self, organization_id: &str) -> Vec<Arc<Snapshot>> {
        let world = self.world.read();
        world.snapshots.values().filter(|snapshot| snapshot.organization_id == organization_id).cloned().collect()
    }

    /// An organisation's own snapshot by id, else by name.
    pub fn own_snapshot(&self, organization_id: &str, id_or_name: &str) -> Option<Arc<Snapshot>> {
        let world = self.world.read();
        let own = |snapshot: &&Arc<Snapshot>| snapshot.organization_id == organization_id;
        let by_id = world.snapshots.get(id_or_name).filter(own);
        by_id.or_else(|| world.snapshots.values().filter(own).find(|snapshot| snapshot.name == id_or_name)).cloned()
    }

    /// Whether somebody has a snapshot with this id.
    pub fn is_snapshot(&self, id: &str) -> bool {
        self.world.read().snapshots.contains_key(id)
    }

    /// What a sandbox is to be made from, if it can be.
    pub(super) fn snapshot_for(&self, organization_id: &str, name: &str) -> Result<Source, ModelError> {
        if let Some(own) = self.own_snapshot(organization_id, name) {
            if own.state != SnapshotState::Active {
                return Err(ModelError::bad_request(format!("Snapshot {name} is {}", own.state.as_str())));
            }
            return Ok(Source::Own(own));
        }
        let found = snapshots::general(name).map(|general| Source::General(general, general.name.to_owned()));
        let found = found.or_else(|| Some(Source::General(snapshots::by_image(name)?, name.to_owned())));
        found.ok_or_else(|| no_source(name))
    }

    /// Registers a snapshot, and begins to make it. 409 if its name is taken.
    pub async fn create_snapshot(
        self: &Arc<Self>,
        caller: &Identity,
        new: NewSnapshot,
    ) -> Result<Arc<Snapshot>, ModelError> {
        let (cp, caller) = (self.clone(), caller.clone());
        apart(async move {
            let record = cp.register_snapshot(&caller, new).await?;
            tokio::spawn(cp.clone().make_snapshot(record.id.clone(), Policy::Fresh));
            Ok(record)
        })
        .await
    }

    /// The same, made when this returns; why it couldn't be is in the record.
    pub async fn create_snapshot_whole(
        self: &Arc<Self>,
        caller: &Identity,
        new: NewSnapshot,
    ) -> Result<Arc<Snapshot>, ModelError> {
        let (cp, caller) = (self.clone(), caller.clone());
        apart(async move {
            let record = cp.register_snapshot(&caller, new).await?;
            cp.clone().make_snapshot(record.id.clone(), Policy::Fresh).await;
            cp.own_snapshot(&caller.organization_id, &record.id).ok_or_else(|| no_snapshot(&record.name))
        })
        .await
    }

    async fn register_snapshot(&self, caller: &Identity, new: NewSnapshot) -> Result<Arc<Snapshot>, ModelError> {
        self.check_active(&caller.organization_id)?;
        let now = self.clock().now();
        let (image_name, build) = match new.made_of {
            MadeOf::Image(name) => (name, None),
            MadeOf::Build { dockerfile, context_hashes } => {
                (String::new(), Some(BuildInfo::new(dockerfile, context_hashes, now)))
            }
        };
        let record = Snapshot {
            id: tokens::uuid(),
            organization_id: caller.organization_id.clone(),
            name: new.name,
            image_name,
            state: SnapshotState::Pending,
            size: None,
            // A build says it when it is made; till then this (observed).
            entrypoint: if build.is_some() { Some(idle()) } else { new.entrypoint.filter(|words| !words.is_empty()) },
            cpu: new.cpu.unwrap_or(1),
            gpu: 0,
            memory: new.memory.unwrap_or(1),
            disk: new.disk.unwrap_or(3),
            error_reason: None,
            created_at: now,
            updated_at: now,
            last_used_at: None,
            build,
            reference: None,
            source_sandbox_id: None,
            region: new.region,
            root: Arc::default(),
            user: String::new(),
            class: new.class,
        };
        let record = self.add_snapshot(record).await?;
        if record.build.is_some() {
            // So that it can be followed at once; a failure ends the build with its reason.
            drop(self.log(&record.id));
        }
        Ok(record)
    }

    /// Notes that a sandbox was made from it.
    pub(super) async fn snapshot_used(&self, sandbox: &Sandbox) {
        let name = sandbox.snapshot.as_deref().unwrap_or_default();
        let Some(own) = self.own_snapshot(&sandbox.organization_id, name) else { return };
        let now = self.clock().now();
        let edit = |snapshot: &mut Snapshot| {
            snapshot.last_used_at = Some(now);
            Ok(())
        };
        // It may be going; that's no reason not to make the sandbox.
        drop(self.change_snapshot(&own.id, edit).await);
    }

    pub(super) async fn add_snapshot(&self, record: Snapshot) -> Result<Arc<Snapshot>, ModelError> {
        let turn = self.store.turn().await;
        let owner = record.organization_id.clone();
        if self.own_snapshots(&owner).iter().any(|snapshot| snapshot.name == record.name) {
            let text = format!("Snapshot with name \"{}\" already exists for this organization", record.name);
            return Err(ModelError::conflict(text));
        }
        self.check_snapshot_quota(&owner)?;
        if self.own_snapshots(&owner).len() >= self.config().limits.snapshots {
            let text = format!("Snapshot quota exceeded. Maximum allowed: {}", self.config().limits.snapshots);
            return Err(ModelError::bad_request(text));
        }
        let record = Arc::new(record);
        let (world, added) = (self.world.clone(), record.clone());
        let apply = move || world.write().place_snapshot(added);
        turn.commit(vec![put(&record)], apply).wait().await?;
        Ok(record)
    }

    /// Changes a snapshot. Nothing happens if `edit` refuses.
    pub(super) async fn change_snapshot(
        &self,
        id: &str,
        edit: impl FnOnce(&mut Snapshot) -> Result<(), ModelError>,
    ) -> Result<Arc<Snapshot>, ModelError> {
        let turn = self.store.turn().await;
        let old = self.world.read().snapshots.get(id).cloned().ok_or_else(|| no_snapshot(id))?;
        let mut next = Snapshot::clone(&old);
        edit(&mut next)?;
        next.updated_at = self.clock().now();
        let next = Arc::new(next);
        let (world, changed) = (self.world.clone(), next.clone());
        let apply = move || world.write().place_snapshot(changed);
        turn.commit(vec![put(&next)], apply).wait().await?;
        Ok(next)
    }

    /// Pulls or builds a pending snapshot; how that ended is in the record.
    pub(super) fn make_snapshot(
        self: Arc<Self>,
        id: String,
        policy: Policy,
    ) -> impl Future<Output = ()> + Send + use<> {
        let is_build = self.world.read().snapshots.get(&id).is_some_and(|snapshot| snapshot.build.is_some());
        let held = self.holding(&id, if is_build { Hold::BuildingSnapshot } else { Hold::PullingSnapshot });
        carried(async move {
            let working = |snapshot: &mut Snapshot| {
                if snapshot.state != SnapshotState::Pending {
                    return Err(ModelError::conflict("Snapshot was modified by another operation"));
                }
                let build = snapshot.build.is_some();
                snapshot.state = if build { SnapshotState::Building } else { SnapshotState::Pulling };
                Ok(())
            };
            // Deactivated or removed before it began.
            let Ok(snapshot) = self.change_snapshot(&id, working).await else { return };
            let began = (self.clock().now(), tokio::time::Instant::now());
            let made = match &snapshot.build {
                Some(build) => self.build(&snapshot.organization_id, &snapshot.id, build, &held).await,
                None => {
                    self.passed(&held, &id).await;
                    let told = Arc::new(|line| tracing::info!("{line}"));
                    let pulled = self.pull_image(&snapshot.organization_id, &snapshot.image_name, policy, told).await;
                    pulled.map(|pulled| pulled.root)
                }
            };
            if is_build {
                _ = self.closing.run_until_cancelled(self.be_seen(began)).await;
            }
            if self.closing.is_cancelled() {
                // The next start begins anew.
                return;
            }
            let size = match &made {
                Ok(root) => self.root_size(root).await,
                Err(_) => {
                    // Newer SDKs don't tell their callers why.
                    tracing::warn!(snapshot = id, log = %self.log_path(&id).display(), "a snapshot could not be made");
                    0
                }
            };
            let now = self.clock().now();
            let finish = |snapshot: &mut Snapshot| {
                if !matches!(snapshot.state, SnapshotState::Building | SnapshotState::Pulling) {
                    return Err(ModelError::conflict("Snapshot was modified by another operation"));
                }
                match made {
                    Ok(root) => activate(snapshot, root, size, now),
                    // Builds of sandboxes alone are `build_failed` (observed).
                    Err(reason) => (snapshot.state, snapshot.error_reason) = (SnapshotState::Error, Some(reason)),
                }
                Ok(())
            };
            if let Err(error) = self.change_snapshot(&id, finish).await {
                tracing::debug!(snapshot = id, %error, "made in vain");
            }
        })
    }

    /// Until a build that began then can have been seen: by this clock, in real time at the latest, and not at all while it
    /// stands still, since who stops the clock looks when they want to.
    async fn be_seen(&self, (at, instant): (chrono::DateTime<chrono::Utc>, tokio::time::Instant)) {
        if self.clock().is_frozen() {
            return;
        }
        tokio::select! {
            () = self.clock().sleep_until(at + SEEN) => {}
            () = tokio::time::sleep_until(instant + SEEN) => {}
        }
    }

    /// Pulls and unpacks an image; the root that it makes, or why there is none.
    pub(super) async fn pull_image(
        &self,
        organization_id: &str,
        name: &str,
        policy: Policy,
        told: Told,
    ) -> Result<Pulled, String> {
        if !self.runtime().has_roots() {
            return Err("images need a root file system of their own, which isolation process doesn't have".into());
        }
        let reference = parse_reference(name).map_err(|error| error.to_string())?;
        let runtime = self.runtime().clone();
        if let Some(pushed) = self.pushed_image(organization_id, &reference).await {
            let image = pushed.map_err(|error| error.to_string())?;
            runtime.unpack(&image).await.map_err(|error| error.to_string())?;
            let config = Some(image.config.clone());
            return Ok(Pulled { root: Root { image: Some(image), config, ..Root::default() }, substitute: false });
        }
        let puller = Puller::new(runtime.image_store(), self.registry_credentials(organization_id), told.clone());
        let image: Image = match puller.pull(&reference, policy, |layer| runtime.has_layer(layer)).await {
            Ok(image) => image,
            Err(error) => {
                let (root, line) = self.substitute(&reference, &error).await.unwrap_or(Err(error.to_string()))?;
                told(line);
                return Ok(Pulled { root, substitute: true });
            }
        };
        runtime.unpack(&image).await.map_err(|error| error.to_string())?;
        let config = image.config.clone();
        let root = Root { image: Some(image), config: Some(config), ..Root::default() };
        Ok(Pulled { root, substitute: false })
    }

    pub(super) async fn root_size(&self, root: &Root) -> u64 {
        let mut size = root.image.as_ref().map_or(0, Image::size);
        for layer in &root.layers {
            size += self.runtime().layer_size(layer).await;
        }
        size
    }

    /// Makes an inactive snapshot usable again.
    pub async fn activate_snapshot(self: &Arc<Self>, snapshot: &Snapshot) -> Result<Arc<Snapshot>, ModelError> {
        let edit = |snapshot: &mut Snapshot| match snapshot.state {
            SnapshotState::Inactive => {
                snapshot.state = SnapshotState::Pending;
                Ok(())
            }
            SnapshotState::Active => {
                Err(ModelError::bad_request(format!("Snapshot {} is already active", snapshot.id)))
            }
            state => Err(ModelError::bad_request(format!(
                "Snapshot {} cannot be activated - it is in {} state",
                snapshot.id,
                state.as_str()
            ))),
        };
        let (cp, id) = (self.clone(), snapshot.id.clone());
        apart(async move {
            let pending = cp.change_snapshot(&id, edit).await?;
            tokio::spawn(async move { cp.made_active(&id).await });
            Ok(pending)
        })
        .await
    }

    /// Ends the activation of a snapshot: its layers stayed.
    async fn made_active(&self, id: &str) {
        let now = self.clock().now();
        let edit = |snapshot: &mut Snapshot| {
            if snapshot.state == SnapshotState::Pending {
                (snapshot.state, snapshot.last_used_at) = (SnapshotState::Active, Some(now));
            }
            Ok(())
        };
        drop(self.change_snapshot(id, edit).await);
    }

    /// Idempotent. What was being made ends in `error` (observed).
    pub async fn deactivate_snapshot(&self, snapshot: &Snapshot) -> Result<(), ModelError> {
        let edit = |snapshot: &mut Snapshot| {
            match snapshot.state {
                SnapshotState::Active => snapshot.state = SnapshotState::Inactive,
                SnapshotState::Pending | SnapshotState::Pulling | SnapshotState::Building => {
                    snapshot.state = SnapshotState::Error;
                    snapshot.error_reason = Some("deactivated before it was ready".into());
                }
                _ => {}
            }
            Ok(())
        };
        self.change_snapshot(&snapshot.id, edit).await.map(drop)
    }

    /// Begins to remove a snapshot; sandboxes made of it stay whole.
    pub async fn remove_snapshot(self: &Arc<Self>, snapshot: &Snapshot) -> Result<(), ModelError> {
        let edit = |snapshot: &mut Snapshot| {
            snapshot.state = SnapshotState::Removing;
            Ok(())
        };
        let (cp, id) = (self.clone(), snapshot.id.clone());
        apart(async move {
            cp.change_snapshot(&id, edit).await?;
            tokio::spawn(async move {
                let gone = tokio::time::Instant::now() + LINGER;
                tokio::select! {
                    () = cp.clock().sleep(LINGER) => {}
                    () = tokio::time::sleep_until(gone) => {}
                }
                cp.forget_snapshot(&id).await;
            });
            Ok(())
        })
        .await
    }

    /// Forgets a snapshot, whatever its state; its files stay for who uses them.
    pub(crate) async fn forget_snapshot(&self, id: &str) {
        let turn = self.store.turn().await;
        let snapshot = {
            let mut world = self.world.write();
            let Some(snapshot) = world.snapshots.remove(id) else { return };
            world.send(ModelEvent::Snapshot { kind: SnapshotEvent::Removed, snapshot: snapshot.clone() });
            snapshot
        };
        turn.note(vec![Write::Delete { kind: Kind::Snapshot, key: id.to_owned() }]);
        self.forget_log(id);
        self.release(&snapshot.organization_id, &snapshot.root).await;
    }

    /// 400 in tier process.
    pub(super) fn must_have_roots(&self, what: &str) -> Result<(), ModelError> {
        if self.runtime().has_roots() {
            return Ok(());
        }
        let text = format!("{what} need a root file system of their own, which isolation process doesn't have");
        Err(ModelError::bad_request(text))
    }

    /// After a restart: goes on with what was being made or removed.
    pub(super) async fn revive_snapshots(self: &Arc<Self>) {
        let all: Vec<Arc<Snapshot>> = self.world.read().snapshots.values().cloned().collect();
        for snapshot in all {
            match snapshot.state {
                SnapshotState::Removing => self.forget_snapshot(&snapshot.id).await,
                SnapshotState::Pending | SnapshotState::Pulling | SnapshotState::Building => {
                    let again = |snapshot: &mut Snapshot| {
                        snapshot.state = SnapshotState::Pending;
                        Ok(())
                    };
                    drop(self.change_snapshot(&snapshot.id, again).await);
                    tokio::spawn(self.clone().make_snapshot(snapshot.id.clone(), Policy::Fresh));
                }
                SnapshotState::Active if snapshot.size.is_none() => {
                    tokio::spawn(self.clone().measure_snapshot(snapshot.id.clone()));
                }
                _ => {}
            }
        }
    }
}

/// What runs where nobody says.
fn idle() -> Vec<String> {
    vec!["sleep".into(), "infinity".into()]
}

fn activate(snapshot: &mut Snapshot, mut root: Root, size: u64, now: chrono::DateTime<chrono::Utc>) {
    let words = root.config.as_ref().map(|config| config.entrypoint.clone()).filter(|words| !words.is_empty());
    match &mut snapshot.build {
        Some(build) => {
            build.updated_at = now;
            snapshot.entrypoint = Some(words.unwrap_or_else(idle));
        }
        None => root.entrypoint.extend(snapshot.entrypoint.iter().flatten().cloned()),
    }
    let name = match &snapshot.build {
        Some(build) => build.snapshot_ref.clone(),
        None => root.image.as_ref().map_or_else(|| snapshot.image_name.clone(), |image| image.digest.replace(':', "-")),
    };
    snapshot.reference = Some(format!("daytona-mock/daytona/{name}"));
    snapshot.state = SnapshotState::Active;
    snapshot.size = Some(size);
    snapshot.last_used_at = Some(now);
    snapshot.root = Arc::new(root);
}

/// 400 of a creation.
pub(super) fn no_source(name: &str) -> ModelError {
    ModelError::bad_request(format!("Snapshot {name} not found. Did you add it through the Daytona Dashboard?"))
}

/// 404 of snapshot routes.
pub fn no_snapshot(id: &str) -> ModelError {
    ModelError::not_found(format!("Snapshot with name {id} not found"))
}
