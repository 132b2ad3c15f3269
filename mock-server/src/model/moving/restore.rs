//! Restoring a world: what comes is put aside, checked, unpacked, and only then, in one commit, becomes the world's.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{FORMAT, MANIFEST, MAX_MANIFEST, Manifest, is_tree, plan::Plan};
use crate::{
    images::Policy,
    model::{
        ControlPlane, Identity, ModelError, State,
        lifecycle::apart,
        objects::Blob,
        pushed::Pushed,
        sandbox::{DesiredState, Sandbox},
        snapshots::SnapshotState,
    },
    runtime::{Budget, RuntimeError},
};

/// How long who restores waits for what ran to run again.
const PATIENCE: Duration = Duration::from_secs(30);

const NOT_EMPTY: &str = "This world has something in it: reset it first, or restore into the world of another key";

fn refused(error: impl std::fmt::Display) -> ModelError {
    ModelError::bad_request(format!("The archive can't be restored: {error}"))
}

fn failed(error: RuntimeError) -> ModelError {
    match error {
        RuntimeError::Io { ref source, .. } if source.kind() == io::ErrorKind::InvalidData => refused(error),
        error => ModelError::internal(error.to_string()),
    }
}

/// What was restored.
pub struct Restored {
    /// Ids and names here.
    pub value: Value,
}

/// What came, put aside.
struct Arrived {
    manifest: Manifest,
    /// Where its members are.
    members: HashMap<String, PathBuf>,
    _staging: TempDir,
}

/// Files that have no record yet. Objects go with the value; the rest is taken back, or goes at the next start.
#[derive(Default)]
struct Placed {
    sandboxes: Vec<String>,
    volumes: Vec<String>,
    layers: Vec<String>,
    objects: Vec<Blob>,
    /// Whose pushed images wait.
    pushed: Option<String>,
}

impl ControlPlane {
    /// Makes what is in an archive the caller's world, which must be empty. Sandboxes that ran run again when this returns,
    /// or are in `error`. Reading blocks, so it is done elsewhere.
    ///
    /// # Errors
    /// 400 for an archive that is damaged or asks for too much, 409 for a world that isn't empty. Nothing has changed then.
    pub async fn restore_world(
        self: &Arc<Self>,
        owner: &Identity,
        from: impl Read + Send + 'static,
    ) -> Result<Restored, ModelError> {
        let (cp, owner) = (self.clone(), owner.clone());
        apart(async move {
            let allowed = cp.must_have_roots("Saved worlds").and_then(|()| cp.check_active(&owner.organization_id));
            if let Err(error) = allowed.and_then(|()| cp.must_be_empty(&owner.organization_id)) {
                read_off(from, cp.config().limits.world_size as u64).await;
                return Err(error);
            }
            let _one = cp.moving.lock().await;
            cp.must_be_empty(&owner.organization_id)?;
            let arrived = cp.receive(from).await?;
            let plan = Plan::new(&cp, &owner, &arrived.manifest).map_err(refused)?;
            let mut placed = Placed::default();
            let made = match cp.place_all(&plan, &arrived, &mut placed).await {
                Ok(()) => cp.admit_all(plan, &mut placed).await,
                Err(error) => Err(error),
            };
            drop(arrived);
            if made.is_err() {
                cp.take_back(placed).await;
            }
            let (restored, sandboxes) = made?;
            cp.receive_pushed(&owner.organization_id).await;
            cp.go_on_with(&owner.organization_id, sandboxes).await;
            Ok(restored)
        })
        .await
    }

    fn must_be_empty(&self, organization_id: &str) -> Result<(), ModelError> {
        let empty = self.is_empty(organization_id) && self.pushed_images(organization_id).inventory().is_empty();
        if empty { Ok(()) } else { Err(ModelError::conflict(NOT_EMPTY)) }
    }

    /// Puts everything aside, and looks through all of it.
    async fn receive(&self, from: impl Read + Send + 'static) -> Result<Arrived, ModelError> {
        let runtime = self.runtime().clone();
        let most = self.config().limits.world_size as u64;
        let entries = self.config().limits.world_entries as u64;
        let work = move || {
            let mut from = from.take(most);
            let arrived = take_apart(&mut from, runtime.staging()?).inspect_err(|_| drain(&mut from))?;
            let mut budget = Budget { bytes: most, entries };
            for (name, path) in arrived.members.iter().filter(|(name, _)| is_tree(name)) {
                let looked = runtime.look_through(path, &mut budget);
                looked.map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))?;
            }
            Ok(arrived)
        };
        let done: Result<io::Result<Arrived>, _> = tokio::task::spawn_blocking(work).await;
        let done = done.map_err(|error| ModelError::internal(format!("restoring a world: {error}")))?;
        done.map_err(|error| match error.kind() {
            io::ErrorKind::StorageFull => ModelError::internal(format!("restoring a world: {error}")),
            _ => refused(error),
        })
    }

    /// Puts all files where they will be.
    async fn place_all(&self, plan: &Plan, arrived: &Arrived, placed: &mut Placed) -> Result<(), ModelError> {
        let member = |name: &String| {
            let path = arrived.members.get(name).cloned();
            path.ok_or_else(|| refused(format!("{name} is not in it")))
        };
        for (name, layer, of_image) in &plan.layers {
            placed.layers.push(layer.clone());
            let done = match of_image {
                true => self.runtime().restore_image_layer(layer, member(name)?).await,
                false => self.runtime().restore_layer(layer, member(name)?).await,
            };
            done.map_err(failed)?;
        }
        for (name, volume) in &plan.volumes {
            placed.volumes.push(volume.id.clone());
            self.runtime().restore_volume(&volume.id, member(name)?).await.map_err(failed)?;
        }
        for (name, sandbox) in &plan.sandboxes {
            placed.sandboxes.push(sandbox.id.clone());
            self.place_sandbox(sandbox, member(name)?).await?;
        }
        for (name, object) in &plan.objects {
            placed.objects.push(self.place_object(object.size, &member(name)?)?);
        }
        let files = plan
            .pushed_files
            .iter()
            .map(|(name, is_manifest, digest)| Ok((member(name)?, *is_manifest, digest.clone())));
        let files = files.collect::<Result<Vec<_>, ModelError>>()?;
        if !files.is_empty() {
            placed.pushed = Some(plan.organization_id.clone());
            self.place_pushed(&plan.organization_id, files, plan.pushed.clone()).await?;
        }
        Ok(())
    }

    /// Where they wait; other images there are of a restoration that failed.
    async fn place_pushed(
        &self,
        organization_id: &str,
        files: Vec<(PathBuf, bool, String)>,
        names: Vec<Pushed>,
    ) -> Result<(), ModelError> {
        self.drop_arrivals(organization_id).await;
        let images = self.pushed_images(organization_id).arrivals();
        let place = move || {
            for (from, is_manifest, digest) in files {
                if !images.take(&from, is_manifest, &digest)? {
                    let what = format!("a part of a pushed image is not {digest}");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, what));
                }
            }
            names.iter().try_for_each(|name| images.keep_name(name))
        };
        let placed = tokio::task::spawn_blocking(place).await.map_err(io::Error::other).flatten();
        placed.map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => refused(error),
            _ => ModelError::internal(format!("pushed images: {error}")),
        })
    }

    async fn place_sandbox(&self, sandbox: &Sandbox, from: PathBuf) -> Result<(), ModelError> {
        let placed = match sandbox.actual_state {
            State::Archived => self.runtime().restore_archive(&sandbox.id, &from),
            // It has no files before it is built.
            State::PendingBuild => Ok(()),
            _ => self.runtime().restore_sandbox(&sandbox.id, sandbox.runs_as(), sandbox.disk, from).await,
        };
        placed.map_err(failed)
    }

    fn place_object(&self, size: u64, from: &Path) -> Result<Blob, ModelError> {
        let io_failed = |error: io::Error| ModelError::internal(format!("an object: {error}"));
        if fs::metadata(from).map_err(io_failed)?.len() != size {
            return Err(refused("an object has another size than it says"));
        }
        let blob = self.new_blob().map_err(io_failed)?;
        fs::rename(from, blob.path()).map_err(io_failed)?;
        Ok(blob)
    }

    /// The one moment at which all of it becomes the world's.
    async fn admit_all(
        &self,
        mut plan: Plan,
        placed: &mut Placed,
    ) -> Result<(Restored, Vec<Arc<Sandbox>>), ModelError> {
        let turn = self.store.turn().await;
        self.must_be_empty(&plan.organization_id)?;
        if !plan.fits(&self.world.read()) {
            return Err(ModelError::conflict("Somebody restores the same world: try again"));
        }
        for ((_, object), blob) in plan.objects.iter_mut().zip(&placed.objects) {
            blob.name().clone_into(&mut object.file);
        }
        let restored = told(&plan);
        let sandboxes = plan.sandboxes.iter().map(|(_, one)| Arc::new(one.clone())).collect();
        let (world, writes) = (self.world.clone(), plan.writes());
        let blobs = std::mem::take(&mut placed.objects);
        let apply = move || {
            blobs.into_iter().for_each(Blob::keep);
            plan.apply(&mut world.write());
        };
        turn.commit(writes, apply).wait().await?;
        Ok((restored, sandboxes))
    }

    async fn take_back(&self, placed: Placed) {
        for id in placed.sandboxes {
            if let Err(error) = self.runtime().remove(&id).await {
                tracing::warn!(sandbox = id, %error, "what was not restored stays until the next start");
            }
        }
        for id in placed.volumes {
            if let Err(error) = self.runtime().remove_volume(&id).await {
                tracing::warn!(volume = id, %error, "what was not restored stays until the next start");
            }
        }
        for name in placed.layers {
            self.runtime().remove_layer(&name).await;
        }
        if let Some(organization_id) = placed.pushed {
            self.drop_arrivals(&organization_id).await;
        }
    }

    /// Goes on with what was under way when the world was saved, and waits a while for what ran.
    async fn go_on_with(self: &Arc<Self>, organization_id: &str, sandboxes: Vec<Arc<Sandbox>>) {
        let mut launches = tokio::task::JoinSet::new();
        for sandbox in sandboxes.into_iter().filter(|one| one.phase().is_pending()) {
            let (cp, waits) = (self.clone(), sandbox.desired_state == DesiredState::Started);
            let going = async move { cp.go_on(&sandbox).await };
            match waits {
                true => drop(launches.spawn(going)),
                false => drop(tokio::spawn(going)),
            }
        }
        for snapshot in self.own_snapshots(organization_id) {
            if snapshot.state == SnapshotState::Pending {
                tokio::spawn(self.clone().make_snapshot(snapshot.id.clone(), Policy::Fresh));
            }
        }
        for pool in self.warm_pools(organization_id) {
            self.tend(&pool.id);
        }
        let all = async { while launches.join_next().await.is_some() {} };
        _ = tokio::time::timeout(PATIENCE, all).await;
        // What takes longer goes on.
        launches.detach_all();
    }
}

/// Who still sends reads no answer.
fn drain(from: &mut impl Read) {
    // What it was doesn't matter, nor whether it came whole.
    _ = io::copy(from, &mut io::sink());
}

async fn read_off(from: impl Read + Send + 'static, most: u64) {
    _ = tokio::task::spawn_blocking(move || drain(&mut from.take(most))).await;
}

fn told(plan: &Plan) -> Restored {
    let of = |id: &String, name: &String| json!({"id": id, "name": name});
    let sandboxes: Vec<Value> = plan.sandboxes.iter().map(|(_, one)| of(&one.id, &one.name)).collect();
    let snapshots: Vec<Value> = plan.snapshots.iter().map(|one| of(&one.id, &one.name)).collect();
    let volumes: Vec<Value> = plan.volumes.iter().map(|(_, one)| of(&one.id, &one.name)).collect();
    let secrets: Vec<Value> = plan.secrets.iter().map(|one| of(&one.id, &one.name)).collect();
    let value = json!({
        "sandboxes": sandboxes,
        "snapshots": snapshots,
        "volumes": volumes,
        "secrets": secrets,
        "ids": plan.ids,
        "notes": plan.notes,
    });
    Restored { value }
}

/// Puts the members of an archive aside, each in a file with a name of ours. There must be just those that it says.
fn take_apart(from: impl Read, staging: TempDir) -> io::Result<Arrived> {
    let mut archive = tar::Archive::new(from);
    let mut entries = archive.entries()?.raw(true);
    let bad = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let first = entries.next().transpose().ok().flatten().filter(|entry| &*entry.path_bytes() == MANIFEST.as_bytes());
    let first = first.filter(|entry| entry.size() <= MAX_MANIFEST);
    let first = first.ok_or_else(|| bad(format!("it is no {FORMAT}")))?;
    let manifest: Manifest =
        serde_json::from_reader(io::BufReader::new(first)).map_err(|error| bad(format!("{MANIFEST}: {error}")))?;
    let mut wanted = manifest.members().into_iter().enumerate();
    let mut members = HashMap::new();
    for entry in entries {
        let mut entry = entry?;
        let (n, name) = wanted.next().ok_or_else(|| bad("there is more in it than it says".into()))?;
        let plain = entry.header().entry_type() == tar::EntryType::Regular;
        if !plain || *entry.path_bytes() != *name.as_bytes() {
            return Err(bad(format!("{name} was expected, not {}", String::from_utf8_lossy(&entry.path_bytes()))));
        }
        let path = staging.path().join(n.to_string());
        let (mut file, size) = (File::create_new(&path)?, entry.size());
        if io::copy(&mut entry, &mut file)? != size {
            return Err(bad("it ends early, or is larger than is allowed".into()));
        }
        members.insert(name, path);
    }
    match wanted.next() {
        None => Ok(Arrived { manifest, members, _staging: staging }),
        Some((_, name)) => Err(bad(format!("{name} is not in it"))),
    }
}
