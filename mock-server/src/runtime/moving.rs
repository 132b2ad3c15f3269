//! What a saved world needs of the disk: each tree as an archive that another server can read, and back. Nothing of a
//! restoration has a record before all of it is there, so what a killed server leaves is removed at its next start.

use std::{
    fs, io,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::{
    Isolation, Runtime, RuntimeError,
    archive::{self, Budget, Owners},
    files::{Files, PLAIN},
    idmap::{IdMap, SHIFT},
    manager::{blocking, prepare_dir},
};
use crate::images::Image;

fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> RuntimeError {
    let what = what.into();
    |source| RuntimeError::Io { what, source }
}

impl Runtime {
    /// An empty directory that goes with the value, or with the next start.
    pub fn staging(&self) -> io::Result<TempDir> {
        tempfile::Builder::new().prefix("world-").tempdir_in(self.config.data_dir.join("trash"))
    }

    /// Where the base's parts are inside: a sandbox's own files lie in just as many.
    pub fn base_targets(&self) -> Vec<PathBuf> {
        self.base.overlays.iter().map(|overlay| overlay.target.clone()).collect()
    }

    /// Packs what a sandbox wrote, in the name of its user. It stands still, or doesn't run.
    pub async fn save_sandbox(
        &self,
        id: &str,
        user: &str,
        to: PathBuf,
        stop: CancellationToken,
    ) -> Result<(), RuntimeError> {
        let (none, archive) = (Files::Plain(self.dir(id)?.join(PLAIN)), self.archive_path(id)?);
        let owners = self.owners_for(user);
        let result = async {
            let files = self.files(id, None).await?;
            if files.is_some() || !archive.exists() {
                return self.pack(files.unwrap_or(none).path(), to, owners, stop).await;
            }
            blocking(move || {
                if !archive::is_portable(&archive)? {
                    return Err(io::Error::other("its archive is of an earlier version: start it once"));
                }
                fs::copy(archive, to).map(drop)
            })
            .await
        };
        result.await.map_err(failed(format!("save the files of {id}")))
    }

    /// In tier single the one id inside is the user's.
    fn owners_for(&self, user: &str) -> Owners {
        match self.owners() {
            Owners::One { mut uid, mut gid } if user == "root" => {
                (uid.inside, gid.inside) = (0, 0);
                Owners::One { uid, gid }
            }
            owners => owners,
        }
    }

    pub async fn save_layer(&self, name: &str, to: PathBuf, stop: CancellationToken) -> Result<(), RuntimeError> {
        let gone = || RuntimeError::Unavailable(format!("the layer {name} is gone"));
        let files = self.layer_files(name).await?;
        let packed = self.pack(files.path(), to, self.owners(), stop).await;
        packed.map_err(failed(format!("save the layer {name}")))?;
        // Its last user may have gone meanwhile.
        if self.has_own_layer(name) { Ok(()) } else { Err(gone()) }
    }

    /// Where the layers of an image are, lowest first.
    pub async fn image_layers(&self, image: &Image) -> Result<Vec<PathBuf>, RuntimeError> {
        self.unpack(image).await?;
        let unpacked = self.images.lock().get(&image.digest).cloned();
        let topmost_first = unpacked.map(|unpacked| unpacked.layers.clone()).unwrap_or_default();
        Ok(topmost_first.into_iter().rev().collect())
    }

    /// Packs a layer of an image.
    pub async fn save_image_layer(
        &self,
        layer: PathBuf,
        to: PathBuf,
        stop: CancellationToken,
    ) -> Result<(), RuntimeError> {
        let owners = match &self.idmap {
            // Such are mapped when they are mounted.
            IdMap::Shifted if !self.base.shifted => Owners::Same,
            _ => self.owners(),
        };
        self.pack(layer, to, owners, stop).await.map_err(failed("save a layer of an image"))
    }

    pub async fn save_volume(&self, id: &str, to: PathBuf, stop: CancellationToken) -> Result<(), RuntimeError> {
        let packed = self.pack(self.volume_dir(id)?, to, self.owners(), stop).await;
        packed.map_err(failed(format!("save the files of volume {id}")))
    }

    /// Looks through an archive that somebody sent; what is in it is taken from the budget.
    ///
    /// # Errors
    /// With what is wrong with it.
    pub fn look_through(&self, archive: &Path, budget: &mut Budget) -> io::Result<()> {
        archive::look_through(archive, budget)
    }

    /// Makes an archive the files of a sandbox that isn't there yet, on a disk of so many GiB where there are disks.
    pub async fn restore_sandbox(&self, id: &str, user: &str, gib: u32, from: PathBuf) -> Result<(), RuntimeError> {
        let (dir, isolation, owners) = (self.dir(id)?, self.info().isolation, self.owners_for(user));
        let result = async {
            let prepared = dir.clone();
            let _lock = blocking(move || prepare_dir(&prepared, isolation)).await?;
            let files = self.new_files(&dir, Some(gib)).await?;
            self.unpack_tree(from, files.path(), owners).await
        };
        result.await.map_err(failed(format!("restore the files of {id}")))
    }

    /// Makes an archive that of an archived sandbox.
    pub fn restore_archive(&self, id: &str, from: &Path) -> Result<(), RuntimeError> {
        fs::rename(from, self.archive_path(id)?).map_err(failed(format!("restore the archive of {id}")))
    }

    pub async fn restore_layer(&self, name: &str, from: PathBuf) -> Result<(), RuntimeError> {
        let restored = self.unpack_tree(from, self.layer_dir(name)?, self.owners()).await;
        restored.map_err(failed("restore a layer"))
    }

    /// Makes the archive of an image's layer one of our own.
    pub async fn restore_image_layer(&self, name: &str, from: PathBuf) -> Result<(), RuntimeError> {
        let (dir, isolation) = (self.layer_dir(name)?, self.info().isolation);
        let result = async {
            let root = dir.join("0");
            blocking(move || {
                fs::create_dir(&dir)?;
                fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))
            })
            .await?;
            self.unpack_tree(from, root.clone(), self.owners()).await?;
            match isolation {
                Isolation::Root => blocking(move || chown(&root, Some(SHIFT), Some(SHIFT))).await,
                _ => Ok(()),
            }
        };
        result.await.map_err(failed("restore a layer of an image"))
    }

    pub async fn restore_volume(&self, id: &str, from: PathBuf) -> Result<(), RuntimeError> {
        let restored = self.unpack_tree(from, self.volume_dir(id)?, self.owners()).await;
        restored.map_err(failed(format!("restore the files of volume {id}")))?;
        self.make_volume(id).await
    }
}
