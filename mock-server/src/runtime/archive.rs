//! Archives of stopped sandboxes: `<data_dir>/archive/<id>.tar.zst`, from which a start brings the files back.
//!
//! Files are at every moment whole in at least one place. An archive is renamed to its name when it is whole, and only
//! then, and when the record says so, the files go. What is unpacked gets its name when it is whole, and only then
//! the archive goes. So whoever finds files has all, and whoever finds none has the archive.

mod guard;
mod owners;
mod pack;
mod unpack;

use std::{fs, io, path::PathBuf, sync::Arc};

pub use guard::{Budget, is_portable, look_through};
pub use owners::Owners;
pub use pack::pack;
use tokio_util::sync::CancellationToken;
pub use unpack::{make_like, unpack};

use super::{
    Runtime, RuntimeError,
    disks::{Disk, IMAGE},
    files::{self, Files, PLAIN},
    manager::{blocking, names_in, prepare_dir},
    userns,
};

const SUFFIX: &str = ".tar.zst";

/// A restoration that isn't whole yet, beside `up`.
const UNFINISHED: &str = "new";

impl Runtime {
    /// Puts the files of a stopped sandbox into an archive; they stay besides. Nothing has happened if it is stopped.
    pub async fn archive(&self, id: &str, stop: CancellationToken) -> Result<(), RuntimeError> {
        let (dir, archive) = (self.dir(id)?, self.archive_path(id)?);
        let isolation = self.info().isolation;
        let result = async {
            // Nobody may run over them.
            let own = dir.clone();
            let _lock = blocking(move || prepare_dir(&own, isolation)).await?;
            let files = self.files(id, None).await?;
            if archive.exists() && files.is_none() {
                // From before the server was killed.
                return Ok(());
            }
            let files = files.unwrap_or(Files::Plain(dir.join(PLAIN)));
            let unfinished = archive.with_extension("tmp");
            let packed = self.pack(files.path(), unfinished.clone(), self.owners(), stop).await;
            let placed = packed.and_then(|()| fs::rename(&unfinished, &archive));
            placed.inspect_err(|_| drop(fs::remove_file(&unfinished)))
        };
        result.await.map_err(|source| RuntimeError::Io { what: format!("archive {id}"), source })
    }

    /// Brings the files back that are only in an archive, on a disk of so many GiB where there are disks; the caller has
    /// the sandbox's lock. The disk stays in use as long as the returned value.
    pub(super) async fn bring_back(&self, id: &str, gib: Option<u32>) -> io::Result<Option<Arc<Disk>>> {
        let archive = self.archive_path(id).map_err(io::Error::other)?;
        let dir = self.dir(id).map_err(io::Error::other)?;
        let mut disk = None;
        if !files::are_there(&dir) {
            let new = dir.join(UNFINISHED);
            // What an earlier server didn't finish: a disk, or a directory.
            if fs::remove_file(&new).is_err() {
                userns::remove_tree(&self.config.binary, &self.idmap, new.clone()).await?;
            }
            disk = self.new_disk(new.clone(), gib).await?;
            let (to, name) = disk.as_ref().map_or((new.clone(), PLAIN), |disk| (disk.up(), IMAGE));
            self.unpack_tree(archive.clone(), to, self.owners()).await?;
            userns::rename(&self.config.binary, &self.idmap, new, dir.join(name)).await?;
        }
        fs::remove_file(&archive)?;
        Ok(disk)
    }

    /// Whose files sandboxes' own are.
    pub(super) fn owners(&self) -> Owners {
        Owners::of(&self.idmap)
    }

    pub(super) async fn pack(
        &self,
        from: PathBuf,
        to: PathBuf,
        owners: Owners,
        stop: CancellationToken,
    ) -> io::Result<()> {
        userns::pack(&self.config.binary, &self.idmap, from, to, owners, stop).await
    }

    pub(super) async fn unpack_tree(&self, archive: PathBuf, to: PathBuf, owners: Owners) -> io::Result<()> {
        userns::unpack(&self.config.binary, &self.idmap, archive, to, owners).await
    }

    /// Whether there is an archive.
    pub fn has_archive(&self, id: &str) -> bool {
        self.archive_path(id).is_ok_and(|path| path.exists())
    }

    /// Removes an archive, if there is one.
    pub fn remove_archive(&self, id: &str) -> Result<(), RuntimeError> {
        match fs::remove_file(self.archive_path(id)?) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(RuntimeError::Io { what: format!("remove the archive of {id}"), source })
            }
            _ => Ok(()),
        }
    }

    /// Ids that have archives; removes those that a killed server didn't finish.
    pub fn archived_ids(&self) -> io::Result<Vec<String>> {
        let names = names_in(&self.archives())?;
        let (whole, broken): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| name.ends_with(SUFFIX));
        for name in broken {
            fs::remove_file(self.archives().join(name))?;
        }
        Ok(whole.iter().filter_map(|name| name.strip_suffix(SUFFIX)).map(str::to_owned).collect())
    }

    fn archives(&self) -> PathBuf {
        self.config.data_dir.join("archive")
    }

    pub(super) fn archive_path(&self, id: &str) -> Result<PathBuf, RuntimeError> {
        // Checks the id, too.
        self.dir(id)?;
        Ok(self.archives().join(format!("{id}{SUFFIX}")))
    }
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the archive is damaged: {what}"))
}

#[cfg(test)]
mod tests;
