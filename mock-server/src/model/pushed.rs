//! Images that clients push here to make snapshots of (`getTransientPushAccess`). An organisation's lie in
//! `<data_dir>/registry/<organisation>`: `blobs/<sha256>`, `manifests/<sha256>`, and in `names/<hash>` what a name means.
//! Each appears by a rename when it is whole, so what was acknowledged is there after a `kill -9`.

use std::{fs, io, path::PathBuf};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{ControlPlane, storage_keys::Refusal, tokens};
use crate::images::{Hashing, Image, ImageError, Reference};

/// Manifests are descriptions, not content.
pub const MAX_MANIFEST: usize = 4 << 20;

/// What a name of a repository means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pushed {
    /// `<organisation>/<anything>`.
    pub repository: String,
    /// A tag or a digest.
    pub reference: String,
    /// `sha256:…`, of the manifest.
    pub digest: String,
    pub media_type: String,
}

/// Credentials for the registry.
pub struct PushAccess {
    pub username: String,
    pub secret: String,
    pub expires_at: DateTime<Utc>,
}

/// The images of one organisation.
#[derive(Clone, Debug)]
pub struct PushedImages {
    dir: PathBuf,
}

impl PushedImages {
    /// The file of a blob; `None` if the digest is none that there can be.
    pub fn blob(&self, digest: &str) -> Option<PathBuf> {
        Some(self.dir.join("blobs").join(sha256_of(digest)?))
    }

    /// The file of an upload that goes on; `None` if the id is none of ours.
    pub fn upload(&self, id: &str) -> Option<PathBuf> {
        uuid::Uuid::try_parse(id).ok().map(|id| self.dir.join("uploads").join(id.to_string()))
    }

    /// Begins an upload; its id. At most `most` go on at a time.
    pub fn begin(&self, most: usize) -> io::Result<Option<String>> {
        let dir = self.make("uploads")?;
        if fs::read_dir(&dir)?.count() >= most {
            return Ok(None);
        }
        let id = tokens::uuid();
        fs::File::create_new(dir.join(&id))?;
        Ok(Some(id))
    }

    /// Makes an upload a blob if its content is what the digest says; else it is as it was. At most `most` blobs are kept.
    /// Blocking.
    pub fn finish(&self, id: &str, digest: &str, most: usize) -> io::Result<bool> {
        let (Some(from), Some(to)) = (self.upload(id), self.blob(digest)) else { return Ok(false) };
        let mut hash = Hashing::new(io::sink());
        io::copy(&mut fs::File::open(&from)?, &mut hash)?;
        if hash.digest() != digest {
            return Ok(false);
        }
        let dir = self.make("blobs")?;
        if !to.exists() && fs::read_dir(dir)?.count() >= most {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        fs::rename(from, to).map(|()| true)
    }

    /// Keeps a manifest under a name. Blocking.
    pub fn keep(&self, repository: &str, reference: &str, media_type: &str, bytes: &[u8]) -> io::Result<Pushed> {
        let digest = digest_of(bytes);
        let pushed = |reference: &str| Pushed {
            repository: repository.to_owned(),
            reference: reference.to_owned(),
            digest: digest.clone(),
            media_type: media_type.to_owned(),
        };
        let file = sha256_of(&digest).unwrap_or_default();
        self.write("manifests", &file, bytes)?;
        for name in [pushed(&digest), pushed(reference)] {
            self.write("names", &name_file(repository, &name.reference), &serde_json::to_vec(&name)?)?;
        }
        Ok(pushed(reference))
    }

    /// What a name means, with the manifest. Blocking.
    pub fn find(&self, repository: &str, reference: &str) -> Option<(Pushed, Vec<u8>)> {
        let name = fs::read(self.dir.join("names").join(name_file(repository, reference))).ok()?;
        let pushed: Pushed = serde_json::from_slice(&name).ok()?;
        let manifest = fs::read(self.dir.join("manifests").join(sha256_of(&pushed.digest)?)).ok()?;
        Some((pushed, manifest))
    }

    /// Tags of a repository, in order. Blocking.
    pub fn tags(&self, repository: &str) -> Vec<String> {
        let names = fs::read_dir(self.dir.join("names")).into_iter().flatten().flatten();
        let read = names.filter_map(|entry| serde_json::from_slice::<Pushed>(&fs::read(entry.path()).ok()?).ok());
        let own = read.filter(|name| name.repository == repository && sha256_of(&name.reference).is_none());
        let mut tags: Vec<String> = own.map(|name| name.reference).collect();
        tags.sort();
        tags
    }

    fn write(&self, dir: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
        let dir = self.make(dir)?;
        let mut file = tempfile::NamedTempFile::new_in(&dir)?;
        io::Write::write_all(&mut file, bytes)?;
        file.persist(dir.join(name)).map(drop).map_err(io::Error::from)
    }

    fn make(&self, name: &str) -> io::Result<PathBuf> {
        let dir = self.dir.join(name);
        fs::create_dir_all(&dir).map(|()| dir)
    }
}

impl ControlPlane {
    /// Credentials for an hour, which are those of the object storage: one look tells whose they are.
    pub fn push_access(&self, organization_id: &str) -> PushAccess {
        let credentials = self.storage_credentials(organization_id);
        PushAccess {
            expires_at: self.storage_end(&credentials.access_key).unwrap_or_default(),
            username: credentials.access_key,
            secret: credentials.secret,
        }
    }

    /// Whose images the holder of credentials may use.
    pub fn pusher(&self, username: &str, secret: &str) -> Result<String, Refusal> {
        // In constant time where it matters: what is compared is a hash of what was given.
        let known = self.storage_secret(username).filter(|known| tokens::hash(known) == tokens::hash(secret));
        known.ok_or(Refusal::Token)?;
        self.storage_owner_of(username)
    }

    pub fn pushed_images(&self, organization_id: &str) -> PushedImages {
        PushedImages { dir: self.registry_dir().join(organization_id) }
    }

    fn registry_dir(&self) -> PathBuf {
        self.config().data_dir.join("registry")
    }

    /// An image that the organisation pushed here, whatever host it is asked for by; `None` if there is none of that name.
    pub(super) async fn pushed_image(
        &self,
        organization_id: &str,
        reference: &Reference,
    ) -> Option<Result<Image, ImageError>> {
        let own = reference.repository().strip_prefix(organization_id).is_some_and(|rest| rest.starts_with('/'));
        if !own {
            return None;
        }
        let (images, runtime, reference) =
            (self.pushed_images(organization_id), self.runtime().clone(), reference.clone());
        let take = move || {
            let name = reference.digest().or(reference.tag()).unwrap_or("latest");
            images.find(reference.repository(), name)?;
            let find =
                |name: &str| images.find(reference.repository(), name).map(|(pushed, bytes)| (bytes, pushed.digest));
            let blob = |digest: &str| images.blob(digest);
            Some(runtime.image_store().import_pushed(&reference, name, &find, &blob))
        };
        tokio::task::spawn_blocking(take).await.ok()?
    }

    /// Forgets what an organisation pushed.
    pub(super) async fn wipe_pushed(&self, organization_id: &str) {
        remove(self.registry_dir().join(organization_id)).await;
    }

    /// After a restart: uploads that a killed server was getting begin anew.
    pub(super) async fn tidy_pushed(&self) {
        let all = fs::read_dir(self.registry_dir()).into_iter().flatten().flatten();
        for organization in all {
            remove(organization.path().join("uploads")).await;
        }
    }
}

async fn remove(dir: PathBuf) {
    if let Err(error) = tokio::fs::remove_dir_all(&dir).await
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(dir = %dir.display(), %error, "pushed images could not be removed");
    }
}

/// The digits of `sha256:…`.
fn sha256_of(digest: &str) -> Option<String> {
    let hex = digest.strip_prefix("sha256:")?;
    let fine = hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    fine.then(|| hex.to_owned())
}

/// `sha256:…`
pub fn digest_of(bytes: &[u8]) -> String {
    named(&Sha256::digest(bytes))
}

fn named(hash: &[u8]) -> String {
    format!("sha256:{}", tokens::hex(hash))
}

/// No name of a client's is ever a path.
fn name_file(repository: &str, reference: &str) -> String {
    tokens::hash(&format!("{repository}\n{reference}"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn images(dir: &Path) -> PushedImages {
        PushedImages { dir: dir.to_owned() }
    }

    #[test]
    fn only_what_is_whole_becomes_a_blob() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let images = images(dir.path());
        let id = images.begin(1).expect("begun").expect("an id");
        assert_eq!(images.begin(1).expect("counted"), None);
        fs::write(images.upload(&id).expect("a path"), "content").expect("written");
        let digest = named(&Sha256::digest("content"));
        for wrong in [named(&Sha256::digest("other")), "sha256:../../x".into(), String::new()] {
            assert!(!images.finish(&id, &wrong, 1).expect("read"), "{wrong}");
        }
        assert!(images.finish(&id, &digest, 1).expect("finished"));
        assert!(images.blob(&digest).expect("a path").is_file());
        assert!(images.upload("../x").is_none() && images.blob("sha256:AB").is_none());
        let id = images.begin(1).expect("begun").expect("an id");
        let empty = named(&Sha256::digest(""));
        assert_eq!(images.finish(&id, &empty, 1).expect_err("full").kind(), io::ErrorKind::QuotaExceeded);
    }

    #[test]
    fn a_manifest_is_found_by_tag_and_digest() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let images = images(dir.path());
        let kept = images.keep("o/a", "1", "type", b"{}").expect("kept");
        for name in ["1", kept.digest.as_str()] {
            let (found, bytes) = images.find("o/a", name).expect("found");
            assert_eq!(
                (found.digest.as_str(), found.media_type.as_str(), bytes.as_slice()),
                (kept.digest.as_str(), "type", b"{}".as_slice())
            );
        }
        assert!(images.find("o/b", "1").is_none() && images.find("o/a", "2").is_none());
        assert_eq!(images.tags("o/a"), ["1"]);
    }
}
