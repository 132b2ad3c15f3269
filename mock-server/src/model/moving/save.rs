//! Saving a world: its sandboxes stand still while their files and its volumes are packed, so that all are of one
//! moment, and what is deleted meanwhile stays until it is packed.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

use super::{FORMAT, MANIFEST, Manifest, Terms, VERSION, member, object, pushed};
use crate::{
    images::Image,
    model::{
        ControlPlane, ModelError, State,
        sandbox::{DesiredState, Sandbox},
        secrets::Secret,
        snapshots::{Snapshot, SnapshotState},
        volumes::VolumeState,
        webhooks::Endpoint,
    },
    runtime::{Root, RuntimeError},
};

type Turns = BTreeMap<String, OwnedMutexGuard<()>>;

fn failed(error: RuntimeError) -> ModelError {
    ModelError::internal(error.to_string())
}

fn io_failed(error: io::Error) -> ModelError {
    ModelError::internal(format!("saving a world: {error}"))
}

impl ControlPlane {
    /// Everything that an organisation owns as an archive, at its beginning. The file has no name any more.
    ///
    /// # Errors
    /// 400 in tier process.
    pub async fn save_world(self: &Arc<Self>, organization_id: &str, secrets: bool) -> Result<File, ModelError> {
        self.must_have_roots("Saved worlds")?;
        let _one = self.moving.lock().await;
        let stop = CancellationToken::new();
        // Who asked may go away.
        let _stop = stop.clone().drop_guard();
        let turns = self.turns_of(organization_id).await;
        let _kept = self.keep_files(organization_id).await;
        let (manifest, images) = self.manifest(organization_id, &turns, secrets).await?;
        let staging = self.runtime().staging().map_err(io_failed)?;
        let mut archive = Archive::begin(staging.path(), &manifest).await.map_err(io_failed)?;
        self.save_files(&manifest, &mut archive, &stop).await?;
        // What follows never changes.
        drop(turns);
        for name in manifest.layers() {
            self.runtime().save_layer(name, archive.scratch(), stop.clone()).await.map_err(failed)?;
            archive.add(member("layers", name)).await.map_err(io_failed)?;
        }
        for (n, layer) in images.into_iter().enumerate() {
            self.runtime().save_image_layer(layer, archive.scratch(), stop.clone()).await.map_err(failed)?;
            archive.add(member("images", &n.to_string())).await.map_err(io_failed)?;
        }
        for (n, one) in manifest.objects.iter().enumerate() {
            archive.add_file(object(n), self.object_path(one)).await.map_err(io_failed)?;
        }
        let images = self.pushed_images(organization_id);
        for (n, (is_manifest, digest)) in manifest.pushed.files().enumerate() {
            let file = images.file(is_manifest, digest).ok_or_else(|| io_failed(io::ErrorKind::InvalidData.into()))?;
            archive.add_file(pushed(n), file).await.map_err(io_failed)?;
        }
        archive.finish().await.map_err(io_failed)
    }

    /// From now on nothing launches, stops or removes an organisation's sandboxes. In order of their ids, as only this
    /// takes more than one turn.
    async fn turns_of(&self, organization_id: &str) -> Turns {
        let mut ids: Vec<String> = {
            let world = self.world.read();
            world.tenants.get(organization_id).map(|tenant| tenant.ids.iter().cloned().collect()).unwrap_or_default()
        };
        ids.sort();
        let mut turns = Turns::new();
        for id in ids {
            if let Some(turn) = self.turn(&id) {
                turns.insert(id, turn.lock_owned().await);
            }
        }
        turns
    }

    /// The records, and where the layers of images are.
    async fn manifest(
        &self,
        organization_id: &str,
        turns: &Turns,
        secrets: bool,
    ) -> Result<(Manifest, Vec<PathBuf>), ModelError> {
        let mut manifest = self.records(organization_id, turns, secrets)?;
        let roots = manifest.sandboxes.iter().map(|one| &one.root);
        let roots: Vec<Arc<Root>> = roots.chain(manifest.snapshots.iter().map(|one| &one.root)).cloned().collect();
        let mut places: Vec<PathBuf> = Vec::new();
        for image in roots.iter().filter_map(|root| root.image.as_ref()) {
            if !manifest.images.contains_key(&image.digest) {
                let layers = self.layers_of(image, &mut places).await?;
                manifest.images.insert(image.digest.clone(), layers);
            }
        }
        let pushed = self.pushed_images(organization_id);
        manifest.pushed = blocking(move || Ok(pushed.inventory())).await.map_err(io_failed)?;
        Ok((manifest, places))
    }

    async fn layers_of(&self, image: &Image, places: &mut Vec<PathBuf>) -> Result<Vec<usize>, ModelError> {
        let layers = self.runtime().image_layers(image).await.map_err(failed)?;
        let mut place = |layer: PathBuf| {
            let known = places.iter().position(|place| *place == layer);
            known.unwrap_or_else(|| {
                places.push(layer);
                places.len() - 1
            })
        };
        Ok(layers.into_iter().map(&mut place).collect())
    }

    fn records(&self, organization_id: &str, turns: &Turns, with_secrets: bool) -> Result<Manifest, ModelError> {
        let world = self.world.read();
        let tenant = world.tenants.get(organization_id).ok_or_else(|| ModelError::not_found("no such world"))?;
        let own = |id: &str| id == organization_id;
        let entries = turns.keys().filter_map(|id| world.sandboxes.get(id)).map(|entry| &entry.record);
        let kept = entries.filter(|one| one.desired_state != DesiredState::Destroyed && one.warm_pool_id.is_none());
        let bare = |text: &str| if with_secrets { text.to_owned() } else { String::new() };
        let sandbox = |one: &Arc<Sandbox>| {
            let mut one = Sandbox::clone(one);
            (one.preview_token, one.signing_key) = (String::new(), bare(&one.signing_key));
            let proxy = &mut one.outward.outbound_proxy_url;
            // Credentials stand before an @.
            *proxy = proxy.take().filter(|url| with_secrets || !url.contains('@'));
            Arc::new(one)
        };
        let snapshots = world.snapshots.values().filter(|one| own(&one.organization_id));
        let volumes = world.volumes.values().filter(|one| own(&one.organization_id));
        let registries = world.registries.values().filter(|one| own(&one.organization_id));
        let secrets = world.secrets.values().filter(|one| own(&one.organization_id));
        let regions = world.regions.values().filter(|one| one.organization_id.as_deref().is_some_and(own));
        let pools = world.warm_pools.values().filter(|one| own(&one.organization_id));
        let webhooks = world.webhooks.values().filter(|one| one.organization_id.as_deref().is_some_and(own));
        let prefix = format!("{organization_id}/");
        let objects = world.objects.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix));
        Ok(Manifest {
            format: FORMAT.into(),
            version: VERSION,
            server: env!("CARGO_PKG_VERSION").into(),
            saved_at: self.clock().now(),
            base: self.runtime().info().base.clone(),
            base_targets: self.runtime().base_targets(),
            with_secrets,
            organization: Terms {
                default_region: tenant.organization.default_region.clone(),
                limited_egress: tenant.organization.limited_egress,
                preview_warning: tenant.organization.preview_warning,
            },
            sandboxes: kept.map(sandbox).collect(),
            snapshots: snapshots.filter(|one| one.state != SnapshotState::Removing).map(made).collect(),
            volumes: volumes
                .filter(|one| matches!(one.state, VolumeState::Ready | VolumeState::Error))
                .cloned()
                .collect(),
            registries: registries
                .map(|one| {
                    let mut one = (**one).clone();
                    one.password = bare(&one.password);
                    one
                })
                .collect(),
            secrets: secrets.map(|one| Secret { value: bare(&one.value), ..Secret::clone(one) }).collect(),
            regions: regions.cloned().collect(),
            warm_pools: pools.cloned().collect(),
            webhooks: webhooks.map(|one| Endpoint { secret: bare(&one.secret), ..Endpoint::clone(one) }).collect(),
            objects: objects.map(|(_, one)| one.clone()).collect(),
            images: BTreeMap::new(),
            pushed: Default::default(),
        })
    }

    /// The files of sandboxes and volumes, while nothing of it moves.
    async fn save_files(
        &self,
        manifest: &Manifest,
        archive: &mut Archive,
        stop: &CancellationToken,
    ) -> Result<(), ModelError> {
        let mut still = Vec::new();
        for sandbox in manifest.sandboxes.iter().filter(|one| one.actual_state != State::Paused) {
            if let Some(machine) = self.machine(&sandbox.id) {
                still.push(machine.stand_still().await);
            }
        }
        for one in &manifest.sandboxes {
            self.runtime()
                .save_sandbox(&one.id, one.runs_as(), archive.scratch(), stop.clone())
                .await
                .map_err(failed)?;
            archive.add(member("sandboxes", &one.id)).await.map_err(io_failed)?;
        }
        for one in &manifest.volumes {
            self.runtime().save_volume(&one.id, archive.scratch(), stop.clone()).await.map_err(failed)?;
            archive.add(member("volumes", &one.id)).await.map_err(io_failed)?;
        }
        Ok(())
    }
}

/// One that is being made has nothing yet.
fn made(snapshot: &Arc<Snapshot>) -> Arc<Snapshot> {
    let mut snapshot = snapshot.clone();
    if matches!(snapshot.state, SnapshotState::Pulling | SnapshotState::Building) {
        Arc::make_mut(&mut snapshot).state = SnapshotState::Pending;
    }
    snapshot
}

/// The archive as it grows. Work on it blocks, so it is done elsewhere.
struct Archive {
    builder: Option<tar::Builder<File>>,
    scratch: PathBuf,
}

impl Archive {
    async fn begin(staging: &Path, manifest: &Manifest) -> io::Result<Archive> {
        let (path, scratch) = (staging.join("world.tar"), staging.join("member"));
        let text = serde_json::to_vec(manifest)?;
        let begin = move || {
            let options = &mut File::options();
            let mut builder = tar::Builder::new(options.read(true).write(true).create_new(true).open(path)?);
            builder.append_data(&mut header(text.len() as u64), MANIFEST, text.as_slice())?;
            Ok(builder)
        };
        Ok(Archive { builder: Some(blocking(begin).await?), scratch })
    }

    /// Where the next member is written before it is added.
    fn scratch(&self) -> PathBuf {
        self.scratch.clone()
    }

    /// Adds what is there.
    async fn add(&mut self, name: String) -> io::Result<()> {
        self.add_file(name, self.scratch.clone()).await?;
        let path = self.scratch.clone();
        blocking(move || std::fs::remove_file(path)).await
    }

    async fn add_file(&mut self, name: String, path: PathBuf) -> io::Result<()> {
        let mut builder = self.builder.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let add = move || {
            let file = File::open(path)?;
            builder.append_data(&mut header(file.metadata()?.len()), name, file)?;
            Ok(builder)
        };
        self.builder = Some(blocking(add).await?);
        Ok(())
    }

    async fn finish(self) -> io::Result<File> {
        let builder = self.builder.ok_or(io::ErrorKind::BrokenPipe)?;
        blocking(move || {
            let mut file = builder.into_inner()?;
            file.seek(SeekFrom::Start(0))?;
            Ok(file)
        })
        .await
    }
}

fn header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o600);
    header.set_size(size);
    header
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
