//! Volumes: directories of an organisation that several sandboxes can mount at once. Their records stay when they are
//! deleted, under another name (observed).

use std::{path::PathBuf, sync::Arc};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{
    ControlPlane, Identity, ModelEvent, VolumeEvent,
    error::ModelError,
    lifecycle::apart,
    sandbox::{DesiredState, Sandbox, wire_enum},
    store::{Kind, Write},
    tokens,
    world::World,
};
use crate::runtime::VolumeMount;

wire_enum! {
    /// `VolumeState` of the contract.
    VolumeState {
        Creating = "creating",
        Ready = "ready",
        PendingCreate = "pending_create",
        PendingDelete = "pending_delete",
        Deleting = "deleting",
        Deleted = "deleted",
        Error = "error",
    }
}

/// A volume as the store keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    pub id: String,
    pub organization_id: String,
    /// Unique among the volumes that aren't deleted.
    pub name: String,
    pub state: VolumeState,
    pub error_reason: Option<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// When a sandbox last got it; unset until one does.
    pub last_used_at: Option<DateTime<Utc>>,
}

impl Volume {
    pub(super) fn is_deleted(&self) -> bool {
        self.state == VolumeState::Deleted
    }
}

/// Where a sandbox has a volume. Checked when the sandbox was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// What of the volume; empty is all of it. First, as observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subpath: Option<String>,
    /// The id, whatever the client said.
    pub volume_id: String,
    /// Absolute path inside.
    pub mount_path: String,
}

/// Where nothing is mounted (observed).
const SYSTEM: [&str; 9] = ["/proc", "/sys", "/dev", "/boot", "/etc", "/bin", "/sbin", "/lib", "/lib64"];

/// Longest mount path and subpath that the kernel takes.
const MAX_PATH: usize = 4095;
/// Longest part of a path that file systems take.
const MAX_NAME: usize = 255;

impl Mount {
    /// Checks the paths, in the observed order.
    pub fn check(&self) -> Result<(), ModelError> {
        let bad = |why: Option<&str>, what: &str, path: &str| match why {
            Some(why) => Err(ModelError::bad_request(format!("Invalid {what} {path} ({why})"))),
            None => Ok(()),
        };
        bad(mount_path_problem(&self.mount_path), "mount path", &self.mount_path)?;
        let subpath = self.subpath.as_deref().unwrap_or_default();
        bad(subpath_problem(subpath), "subpath", &format!("\"{subpath}\""))
    }
}

fn mount_path_problem(path: &str) -> Option<&'static str> {
    let components = || path.split('/');
    let within = |system: &str| path.strip_prefix(system).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if !path.starts_with('/') {
        return Some("must be absolute");
    }
    if path.bytes().all(|byte| byte == b'/') {
        return Some("cannot mount to the root directory");
    }
    if components().any(|part| part == "." || part == "..") {
        return Some("cannot contain relative path components");
    }
    if path.contains("//") {
        return Some("cannot contain consecutive slashes");
    }
    if SYSTEM.into_iter().any(within) {
        return Some("cannot mount to system directory");
    }
    length_problem(path)
}

fn subpath_problem(path: &str) -> Option<&'static str> {
    if path.starts_with('/') {
        return Some("S3 key prefixes cannot start with /");
    }
    if path.contains("..") {
        return Some("cannot contain .. for security");
    }
    if path.contains("//") {
        return Some("cannot contain consecutive slashes");
    }
    length_problem(path)
}

/// What no file system takes. (The original fails later.)
fn length_problem(path: &str) -> Option<&'static str> {
    let long = path.len() > MAX_PATH || path.split('/').any(|part| part.len() > MAX_NAME);
    (long || path.contains('\0')).then_some("cannot be a path")
}

fn no_volume(id: &str) -> ModelError {
    ModelError::not_found(format!("Volume with ID {id} not found"))
}

fn put(record: &Volume) -> Write {
    Write::Put {
        kind: Kind::Volume,
        key: record.id.clone(),
        organization: record.organization_id.clone(),
        record: serde_json::to_string(record).expect("a volume is JSON"),
    }
}

impl World {
    /// A sandbox that keeps a volume from being deleted; a stopped one does (observed).
    fn user_of(&self, volume: &Volume) -> Option<&Sandbox> {
        let sandboxes = self.sandboxes.values().map(|entry| &*entry.record);
        let mut own = sandboxes.filter(|sandbox| {
            sandbox.organization_id == volume.organization_id && sandbox.desired_state != DesiredState::Destroyed
        });
        own.find(|sandbox| sandbox.volumes.iter().any(|mount| mount.volume_id == volume.id))
    }

    /// Why a sandbox can't have what it wants to mount, now.
    pub fn check_mounts(&self, mounts: &[Mount]) -> Result<(), ModelError> {
        let volume = |mount: &Mount| self.volumes.get(&mount.volume_id).ok_or_else(|| missing(&mount.volume_id));
        mounts.iter().try_for_each(|mount| usable(&mount.volume_id, volume(mount)?))
    }

    /// How many volumes an organisation has that aren't deleted.
    pub fn volumes_of(&self, organization_id: &str) -> usize {
        let own = self.volumes.values().filter(|volume| volume.organization_id == organization_id);
        own.filter(|volume| volume.state != VolumeState::Deleted).count()
    }

    fn place_volume(&mut self, next: Arc<Volume>) {
        let old = self.volumes.insert(next.id.clone(), next.clone());
        let kind = match old {
            None => VolumeEvent::Created,
            Some(old) if old.state != next.state => VolumeEvent::State { old: old.state, new: next.state },
            Some(old) if old.last_used_at != next.last_used_at => VolumeEvent::Used,
            Some(_) => return,
        };
        self.send(ModelEvent::Volume { kind, volume: next });
    }
}

fn missing(name: &str) -> ModelError {
    ModelError::not_found(format!("Volume '{name}' not found"))
}

fn usable(name: &str, volume: &Volume) -> Result<(), ModelError> {
    if volume.state == VolumeState::Ready {
        return Ok(());
    }
    let state = volume.state.as_str();
    Err(ModelError::bad_request(format!("Volume '{name}' is not in a ready state. Current state: {state}")))
}

impl ControlPlane {
    /// Volumes of an organisation: last used first, those never used last, then newest first (observed).
    pub fn volumes(&self, organization_id: &str, deleted_too: bool) -> Vec<Arc<Volume>> {
        let world = self.world.read();
        let own = world.volumes.values().filter(|volume| volume.organization_id == organization_id);
        let mut own: Vec<_> = own.filter(|one| deleted_too || one.state != VolumeState::Deleted).cloned().collect();
        own.sort_by(|a, b| {
            let newest = b.last_used_at.cmp(&a.last_used_at).then_with(|| b.created_at.cmp(&a.created_at));
            newest.then_with(|| a.id.cmp(&b.id))
        });
        own
    }

    /// A volume by id, never by name; deleted ones too (observed).
    pub fn volume(&self, organization_id: &str, id: &str) -> Result<Arc<Volume>, ModelError> {
        let found = self.world.read().volumes.get(id).cloned();
        found.filter(|volume| volume.organization_id == organization_id).ok_or_else(|| no_volume(id))
    }

    /// A volume by name that isn't deleted.
    pub fn volume_by_name(&self, organization_id: &str, name: &str) -> Result<Arc<Volume>, ModelError> {
        let found = self.volumes(organization_id, false).into_iter().find(|volume| volume.name == name);
        found.ok_or_else(|| ModelError::not_found(format!("Volume with name {name} not found")))
    }

    /// Registers a volume and makes it. The answer is the record from before, `pending_create` (observed); when it
    /// comes the volume is ready, so that clients that use it at once needn't wait as for the original (5 s and more).
    pub async fn create_volume(self: &Arc<Self>, caller: &Identity, name: String) -> Result<Arc<Volume>, ModelError> {
        self.check_active(&caller.organization_id)?;
        let (id, now) = (tokens::uuid(), self.clock().now());
        let record = Volume {
            name: Some(name).filter(|name| !name.is_empty()).unwrap_or_else(|| id.clone()),
            id,
            organization_id: caller.organization_id.clone(),
            state: VolumeState::PendingCreate,
            error_reason: None,
            created_at: now,
            updated_at: now,
            last_used_at: None,
        };
        let cp = self.clone();
        let made = tokio::spawn(async move {
            let record = cp.add_volume(record).await?;
            cp.make_volume(&record.id).await;
            Ok(record)
        });
        made.await.map_err(|error| ModelError::internal(format!("a volume: {error}")))?
    }

    async fn add_volume(&self, record: Volume) -> Result<Arc<Volume>, ModelError> {
        let turn = self.store.turn().await;
        let own = self.volumes(&record.organization_id, false);
        if own.iter().any(|volume| volume.name == record.name) {
            return Err(ModelError::bad_request(format!("Volume with name {} already exists", record.name)));
        }
        let most = self.volume_quota(&record.organization_id).min(self.config().limits.volumes);
        if own.len() >= most {
            return Err(ModelError::bad_request(format!("Volume quota exceeded. Maximum allowed: {most}")));
        }
        let record = Arc::new(record);
        let (world, added) = (self.world.clone(), record.clone());
        turn.commit(vec![put(&record)], move || world.write().place_volume(added)).wait().await?;
        Ok(record)
    }

    /// Changes a volume. Nothing happens if `edit` refuses.
    async fn change_volume(
        &self,
        id: &str,
        edit: impl FnOnce(&mut Volume) -> Result<(), ModelError>,
    ) -> Result<Arc<Volume>, ModelError> {
        let turn = self.store.turn().await;
        let old = self.world.read().volumes.get(id).cloned().ok_or_else(|| no_volume(id))?;
        let mut next = Volume::clone(&old);
        edit(&mut next)?;
        next.updated_at = self.clock().now();
        let next = Arc::new(next);
        let (world, changed) = (self.world.clone(), next.clone());
        turn.commit(vec![put(&next)], move || world.write().place_volume(changed)).wait().await?;
        Ok(next)
    }

    async fn move_volume(&self, id: &str, from: &[VolumeState], to: VolumeState) -> Result<Arc<Volume>, ModelError> {
        let edit = |volume: &mut Volume| {
            if !from.contains(&volume.state) {
                return Err(ModelError::conflict("Volume was modified by another operation"));
            }
            volume.state = to;
            Ok(())
        };
        self.change_volume(id, edit).await
    }

    /// Makes the directory of a pending volume; how that ended is in the record.
    async fn make_volume(&self, id: &str) {
        use VolumeState::{Creating, PendingCreate};
        if let Err(error) = self.move_volume(id, &[PendingCreate, Creating], Creating).await {
            return tracing::warn!(volume = id, %error, "it isn't made");
        }
        let made = self.runtime().make_volume(id).await;
        let edit = |volume: &mut Volume| {
            volume.state = if made.is_ok() { VolumeState::Ready } else { VolumeState::Error };
            volume.error_reason = made.err().map(|error| error.to_string());
            Ok(())
        };
        if let Err(error) = self.change_volume(id, edit).await {
            tracing::warn!(volume = id, %error, "the next start makes it");
        }
    }

    /// Begins to delete a volume: its files go, its record stays under another name. 409 while a sandbox has it.
    pub async fn delete_volume(self: &Arc<Self>, volume: &Volume) -> Result<(), ModelError> {
        let (cp, id) = (self.clone(), volume.id.clone());
        apart(async move {
            cp.begin_deletion(&id).await?;
            tokio::spawn(async move { cp.unmake_volume(&id).await });
            Ok(())
        })
        .await
    }

    async fn begin_deletion(&self, id: &str) -> Result<(), ModelError> {
        let edit = |volume: &mut Volume| {
            if !matches!(volume.state, VolumeState::Ready | VolumeState::Error) {
                let text = "Volume must be in 'ready' or 'error' state in order to be deleted";
                return Err(ModelError::bad_request(text));
            }
            if let Some(sandbox) = self.world.read().user_of(volume) {
                let name = &sandbox.name;
                let text =
                    format!("Volume cannot be deleted because it is in use by one or more sandboxes (e.g. {name})");
                return Err(ModelError::conflict(text));
            }
            volume.state = VolumeState::PendingDelete;
            Ok(())
        };
        self.change_volume(id, edit).await.map(drop)
    }

    async fn unmake_volume(&self, id: &str) {
        use VolumeState::{Deleting, PendingDelete};
        let removed = match self.move_volume(id, &[PendingDelete, Deleting], Deleting).await {
            Ok(volume) => {
                let _may = self.may_remove(&volume.organization_id).await;
                self.runtime().remove_volume(id).await
            }
            Err(error) => return tracing::warn!(volume = id, %error, "the next start deletes it"),
        };
        let edit = |volume: &mut Volume| {
            match removed {
                Ok(()) => {
                    volume.state = VolumeState::Deleted;
                    volume.name = format!("{}-deleted", volume.name);
                }
                Err(error) => (volume.state, volume.error_reason) = (VolumeState::Error, Some(error.to_string())),
            }
            Ok(())
        };
        if let Err(error) = self.change_volume(id, edit).await {
            tracing::warn!(volume = id, %error, "the next start deletes it");
        }
    }

    /// What a new sandbox is to mount, with ids for names. An unknown volume is told before any bad path (observed).
    pub(super) fn mounts(&self, organization_id: &str, wanted: Vec<Mount>) -> Result<Vec<Mount>, ModelError> {
        let find = |mount: Mount| {
            let by_id = self.volume(organization_id, &mount.volume_id);
            let found = by_id.or_else(|_| self.volume_by_name(organization_id, &mount.volume_id));
            let volume = found.map_err(|_| missing(&mount.volume_id))?;
            usable(&mount.volume_id, &volume)?;
            Ok(Mount { volume_id: volume.id.clone(), ..mount })
        };
        let mounts: Vec<Mount> = wanted.into_iter().map(find).collect::<Result<_, _>>()?;
        mounts.iter().try_for_each(Mount::check)?;
        if !mounts.is_empty() && !self.runtime().has_roots() {
            let text = "Volumes need a root file system of the sandbox's own, which isolation process doesn't have";
            return Err(ModelError::bad_request(text));
        }
        Ok(mounts)
    }

    /// Notes that a sandbox has got its volumes.
    pub(super) async fn volumes_used(&self, sandbox: &Sandbox) {
        let now = self.clock().now();
        for mount in &sandbox.volumes {
            let edit = |volume: &mut Volume| {
                volume.last_used_at = Some(now);
                Ok(())
            };
            if let Err(error) = self.change_volume(&mount.volume_id, edit).await {
                tracing::warn!(volume = mount.volume_id, %error, "its use isn't noted");
            }
        }
    }

    /// The mounts of a sandbox as the runtime wants them: parents before what lies below them.
    pub(super) fn volume_mounts(&self, sandbox: &Sandbox) -> Vec<VolumeMount> {
        let mount = |mount: &Mount| VolumeMount {
            volume: mount.volume_id.clone(),
            subpath: PathBuf::from(mount.subpath.as_deref().unwrap_or_default()),
            target: PathBuf::from(&mount.mount_path),
        };
        let mut mounts: Vec<_> = sandbox.volumes.iter().map(mount).collect();
        mounts.sort_by_key(|mount| mount.target.components().count());
        mounts
    }

    /// Goes on with what a killed server was making or deleting, and removes directories that no record names.
    pub(super) async fn revive_volumes(&self) {
        let all: Vec<Arc<Volume>> = self.world.read().volumes.values().cloned().collect();
        for volume in &all {
            match volume.state {
                VolumeState::PendingCreate | VolumeState::Creating => self.make_volume(&volume.id).await,
                VolumeState::PendingDelete | VolumeState::Deleting => self.unmake_volume(&volume.id).await,
                _ => {}
            }
        }
        for id in self.runtime().volume_ids() {
            let known = self.world.read().volumes.contains_key(&id);
            if !known && let Err(error) = self.runtime().remove_volume(&id).await {
                tracing::warn!(volume = id, %error, "files of an unknown volume could not be removed");
            }
        }
    }

    /// Forgets the volumes of an organisation, records and files. Its sandboxes are gone by then.
    pub(super) async fn wipe_volumes(&self, organization_id: &str) -> Result<(), ModelError> {
        for volume in self.volumes(organization_id, true) {
            self.wipe_volume(organization_id, &volume.id).await?;
        }
        Ok(())
    }

    /// Forgets a volume that no sandbox has, whatever its state.
    pub(crate) async fn wipe_volume(&self, organization_id: &str, id: &str) -> Result<(), ModelError> {
        let turn = self.store.turn().await;
        let (world, gone) = (self.world.clone(), id.to_owned());
        let write = Write::Delete { kind: Kind::Volume, key: id.to_owned() };
        turn.commit(vec![write], move || drop(world.write().volumes.remove(&gone))).wait().await?;
        let _may = self.may_remove(organization_id).await;
        if let Err(error) = self.runtime().remove_volume(id).await {
            // The next start does, which knows them by having no record.
            tracing::warn!(volume = id, %error, "its files could not be removed");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn problem(mount_path: &str, subpath: &str) -> String {
        let subpath = Some(subpath.to_owned());
        let mount = Mount { volume_id: "v".into(), mount_path: mount_path.into(), subpath };
        mount.check().err().map(|error| error.message).unwrap_or_default()
    }

    #[test]
    fn paths_are_refused_as_observed() {
        for (path, text) in [
            ("data", "Invalid mount path data (must be absolute)"),
            ("", "Invalid mount path  (must be absolute)"),
            ("/", "Invalid mount path / (cannot mount to the root directory)"),
            ("/a/../b", "Invalid mount path /a/../b (cannot contain relative path components)"),
            ("/a/./b", "Invalid mount path /a/./b (cannot contain relative path components)"),
            ("/a//b", "Invalid mount path /a//b (cannot contain consecutive slashes)"),
            ("/etc/x", "Invalid mount path /etc/x (cannot mount to system directory)"),
            ("/lib64", "Invalid mount path /lib64 (cannot mount to system directory)"),
        ] {
            assert_eq!(problem(path, ""), text);
        }
        for good in ["/data", "/data/", "/etcetera", "/usr/share/x", "/home/daytona/v"] {
            assert_eq!(problem(good, ""), "");
        }
        for (subpath, text) in [
            ("/a", "Invalid subpath \"/a\" (S3 key prefixes cannot start with /)"),
            ("a/../b", "Invalid subpath \"a/../b\" (cannot contain .. for security)"),
            ("a//b", "Invalid subpath \"a//b\" (cannot contain consecutive slashes)"),
        ] {
            assert_eq!(problem("/data", subpath), text);
        }
        assert_eq!(problem("/data", "users/a b/"), "");
    }

    proptest! {
        #[test]
        fn what_passes_stays_where_it_belongs(path in "[/a-c.]{0,12}", subpath in "[/a-c.]{0,12}") {
            if problem(&path, &subpath).is_empty() {
                use std::path::Component::{CurDir, Normal, RootDir};
                let mut parts = std::path::Path::new(&path).components();
                prop_assert_eq!(parts.next(), Some(RootDir));
                prop_assert!(parts.clone().count() > 0 && parts.all(|part| matches!(part, Normal(_))));
                let mut parts = std::path::Path::new(&subpath).components();
                prop_assert!(parts.all(|part| matches!(part, Normal(_) | CurDir)));
            }
        }
    }
}
