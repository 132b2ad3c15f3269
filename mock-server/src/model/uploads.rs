//! Uploads in parts that aren't complete: a directory each, `<data_dir>/uploads/<id>`, with a description and a file per
//! part that is named by its number and digest. One rename makes a part, so they survive the server as they are.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::SystemTime,
};

use chrono::{DateTime, Duration, Utc};
use serde::{Deserialize, Serialize};

use super::{
    ControlPlane,
    objects::{Blob, Told},
    tokens,
};

/// Those that nobody completes go after this time.
const KEPT: Duration = Duration::hours(24);

const DESCRIPTION: &str = "upload.json";

/// An upload that was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Upload {
    pub id: String,
    /// Of the object that it is to become.
    pub key: String,
    #[serde(flatten)]
    pub told: Told,
    pub initiated: DateTime<Utc>,
}

/// A part that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub number: u32,
    /// MD5 in hex.
    pub etag: String,
    /// Bytes.
    pub size: u64,
    pub modified: SystemTime,
    path: PathBuf,
}

impl Part {
    /// `<number>-<MD5>`
    fn read(entry: &fs::DirEntry) -> Option<Part> {
        let name = entry.file_name().into_string().ok()?;
        let (number, etag) = name.split_once('-')?;
        let meta = entry.metadata().ok()?;
        Some(Part {
            number: number.parse().ok()?,
            etag: etag.to_owned(),
            size: meta.len(),
            modified: meta.modified().ok()?,
            path: entry.path(),
        })
    }
}

impl ControlPlane {
    fn uploads_dir(&self) -> PathBuf {
        self.config().data_dir.join("uploads")
    }

    fn upload_dir(&self, upload: &Upload) -> PathBuf {
        self.uploads_dir().join(&upload.id)
    }

    /// Begins an upload; `None` if its organisation has too many. Blocking, like everything here.
    pub fn begin_upload(self: &Arc<Self>, key: String, told: Told) -> io::Result<Option<Upload>> {
        let owner = format!("{}/", key.split('/').next().unwrap_or_default());
        if self.uploads(&owner).len() >= self.config().limits.uploads {
            return Ok(None);
        }
        let upload = Upload { id: tokens::uuid(), key, told, initiated: self.clock().now() };
        fs::create_dir_all(self.uploads_dir())?;
        // Complete before it has its name.
        let dir = tempfile::Builder::new().prefix("new-").tempdir_in(self.uploads_dir())?;
        fs::write(dir.path().join(DESCRIPTION), serde_json::to_vec(&upload)?)?;
        fs::rename(dir.path(), self.upload_dir(&upload))?;
        self.expire_later(upload.clone());
        Ok(Some(upload))
    }

    /// Uploads whose keys start with `prefix`, by key and time.
    pub fn uploads(&self, prefix: &str) -> Vec<Upload> {
        let entries = fs::read_dir(self.uploads_dir()).into_iter().flatten().flatten();
        let read = |dir: &Path| serde_json::from_slice(&fs::read(dir.join(DESCRIPTION)).ok()?).ok();
        let named = entries.filter(|entry| uuid::Uuid::parse_str(&entry.file_name().to_string_lossy()).is_ok());
        let all = named.filter_map(|entry| read(&entry.path()));
        let mut all: Vec<Upload> = all.filter(|upload: &Upload| upload.key.starts_with(prefix)).collect();
        all.sort_by(|a, b| a.key.cmp(&b.key).then_with(|| a.initiated.cmp(&b.initiated)));
        all
    }

    /// The upload of this id for this key.
    pub fn upload(&self, id: &str, key: &str) -> Option<Upload> {
        // The way the id was made, so that it is a name of ours.
        let id = uuid::Uuid::parse_str(id).ok()?.hyphenated().to_string();
        let text = fs::read(self.uploads_dir().join(id).join(DESCRIPTION)).ok()?;
        serde_json::from_slice(&text).ok().filter(|upload: &Upload| upload.key == key)
    }

    /// A file to fill with a part.
    pub fn new_part(&self, upload: &Upload) -> io::Result<tempfile::NamedTempFile> {
        tempfile::Builder::new().prefix("new-").tempfile_in(self.upload_dir(upload))
    }

    /// Makes a filled file the part of that number.
    pub fn keep_part(&self, upload: &Upload, number: u32, etag: &str, file: tempfile::TempPath) -> io::Result<()> {
        let dir = self.upload_dir(upload);
        file.persist(dir.join(format!("{number}-{etag}"))).map_err(|error| error.error)?;
        for old in self.parts(upload)?.iter().filter(|part| part.number == number && part.etag != etag) {
            _ = fs::remove_file(&old.path);
        }
        Ok(())
    }

    /// The parts that are there, by number.
    pub fn parts(&self, upload: &Upload) -> io::Result<Vec<Part>> {
        let entries = fs::read_dir(self.upload_dir(upload))?.flatten();
        let mut parts: Vec<Part> = entries.filter_map(|entry| Part::read(&entry)).collect();
        parts.sort_by_key(|part| part.number);
        Ok(parts)
    }

    /// A file with all these parts, one after the other.
    pub fn join_parts(&self, parts: &[Part]) -> io::Result<Blob> {
        let blob = self.new_blob()?;
        let mut whole = fs::OpenOptions::new().append(true).open(blob.path())?;
        for part in parts {
            io::copy(&mut fs::File::open(&part.path)?, &mut whole)?;
        }
        Ok(blob)
    }

    /// Removes an upload and its parts.
    pub fn end_upload(&self, upload: &Upload) {
        if let Err(error) = fs::remove_dir_all(self.upload_dir(upload))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "an upload could not be removed");
        }
    }

    /// Ends an upload when its time is up, unless it is complete by then.
    fn expire_later(self: &Arc<Self>, upload: Upload) {
        let (cp, clock): (Weak<ControlPlane>, _) = (Arc::downgrade(self), self.clock().clone());
        let end = upload.initiated.checked_add_signed(KEPT).unwrap_or(upload.initiated);
        let closing = self.closing.clone();
        tokio::spawn(async move {
            if closing.run_until_cancelled(clock.sleep_until(end)).await.is_none() {
                return;
            }
            let Some(cp) = cp.upgrade() else { return };
            let ended = tokio::task::spawn_blocking(move || {
                if cp.upload(&upload.id, &upload.key).is_some() {
                    tracing::info!("an upload that nobody completed is gone");
                    cp.end_upload(&upload);
                }
            });
            _ = ended.await;
        });
    }

    /// After a restart: what was half begun goes, the rest waits on.
    pub(super) fn revive_uploads(self: &Arc<Self>) {
        for entry in fs::read_dir(self.uploads_dir()).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with("new-") {
                _ = fs::remove_dir_all(entry.path());
            }
        }
        for upload in self.uploads("") {
            self.expire_later(upload);
        }
    }

    pub(super) async fn wipe_uploads(self: &Arc<Self>, organization_id: &str) {
        let (cp, prefix) = (self.clone(), format!("{organization_id}/"));
        let wipe = move || cp.uploads(&prefix).iter().for_each(|upload| cp.end_upload(upload));
        _ = tokio::task::spawn_blocking(wipe).await;
    }
}
