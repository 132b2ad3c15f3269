//! Images that clients push here to make snapshots of (`getTransientPushAccess`). An organisation's lie in
//! `<data_dir>/registry/<organisation>`: `blobs/<sha256>`, `manifests/<sha256>`, and in `names/<hash>` what a name means.
//! Each appears by a rename when it is whole, so what was acknowledged is there after a `kill -9`.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Clock, ControlPlane, storage_keys::Refusal, tokens};
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

/// Everything that an organisation pushed, for a saved world.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Inventory {
    pub names: Vec<Pushed>,
    /// Digests of manifests and of blobs.
    pub manifests: Vec<String>,
    pub blobs: Vec<String>,
}

impl Inventory {
    pub fn is_empty(&self) -> bool {
        *self == Inventory::default()
    }

    /// What has a file each, in order: whether it is a manifest, and its digest.
    pub fn files(&self) -> impl Iterator<Item = (bool, &String)> {
        let manifests = self.manifests.iter().map(|digest| (true, digest));
        manifests.chain(self.blobs.iter().map(|digest| (false, digest)))
    }
}

/// Credentials for the registry.
pub struct PushAccess {
    pub username: String,
    pub secret: String,
    pub expires_at: DateTime<Utc>,
}

/// An upload to which nothing came for so long is over.
const FORGOTTEN: Duration = Duration::from_secs(60 * 60);

/// Whether nobody has written to an upload for long, by the clock that its times are of.
fn is_forgotten(path: &Path, clock: &Clock) -> bool {
    let written = fs::metadata(path).and_then(|meta| meta.modified());
    let now = SystemTime::from(clock.now());
    written.is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age > FORGOTTEN))
}

/// Files of uploads that some request has.
pub(super) type Claims = Arc<Mutex<HashSet<PathBuf>>>;

/// The images of one organisation.
#[derive(Clone, Debug)]
pub struct PushedImages {
    dir: PathBuf,
    claims: Claims,
    clock: Clock,
}

/// An upload in the hands of one request: nobody else appends to it or finishes it. Dropped, it is as it was before.
#[derive(Debug)]
pub struct Upload {
    file: fs::File,
    path: PathBuf,
    before: u64,
    length: u64,
    claims: Claims,
    clock: Clock,
}

impl Upload {
    /// Bytes that are there.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Blocking.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        io::Write::write_all(&mut self.file, bytes)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// What came stays. Blocking.
    pub fn keep(mut self) -> u64 {
        self.before = self.length;
        self.length
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.length != self.before || self.file.metadata().is_ok_and(|meta| meta.len() != self.before) {
            // A failed request changes nothing. One that can't be cut has another digest than it should, which is noticed.
            _ = self.file.set_len(self.before);
        }
        // By the server's clock; where that fails it is forgotten by the machine's.
        _ = self.file.set_modified(self.clock.now().into());
        self.claims.lock().remove(&self.path);
    }
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

    /// Begins an upload; its id. At most `most` go on at a time; those that nobody goes on with end here. Blocking.
    pub fn begin(&self, most: usize) -> io::Result<Option<String>> {
        let dir = self.make("uploads")?;
        // Held to the end, so that no more begin at once than may.
        let claims = self.claims.lock();
        let mut going = 0;
        for path in fs::read_dir(&dir)?.flatten().map(|entry| entry.path()) {
            if claims.contains(&path) || !is_forgotten(&path, &self.clock) || fs::remove_file(&path).is_err() {
                going += 1;
            }
        }
        if going >= most {
            return Ok(None);
        }
        let id = tokens::uuid();
        fs::File::create_new(dir.join(&id))?.set_modified(self.clock.now().into())?;
        Ok(Some(id))
    }

    /// Takes an upload for one request. `ResourceBusy` if another has it, `NotFound` if there is none (any more).
    pub fn claim(&self, id: &str) -> io::Result<Upload> {
        let path = self.upload(id).ok_or(io::ErrorKind::NotFound)?;
        if !self.claims.lock().insert(path.clone()) {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        let open = || {
            let file = fs::File::options().append(true).open(&path)?;
            let length = file.metadata()?.len();
            Ok((file, length))
        };
        match open() {
            Ok((file, length)) => {
                let (claims, clock) = (self.claims.clone(), self.clock.clone());
                Ok(Upload { file, path, before: length, length, claims, clock })
            }
            Err(error) => {
                self.claims.lock().remove(&path);
                Err(error)
            }
        }
    }

    /// Makes an upload a blob if its content is what the digest says; else it is as it was. At most `most` blobs are kept.
    /// Blocking.
    pub fn finish(&self, upload: Upload, digest: &str, most: usize) -> io::Result<bool> {
        let Some(to) = self.blob(digest) else { return Ok(false) };
        let mut hash = Hashing::new(io::sink());
        io::copy(&mut fs::File::open(&upload.path)?, &mut hash)?;
        if hash.digest() != digest {
            return Ok(false);
        }
        self.place(&upload.path, &to, most)?;
        upload.keep();
        Ok(true)
    }

    /// Moves a blob to its place, one at a time: no more than `most` may be there.
    fn place(&self, from: &Path, to: &Path, most: usize) -> io::Result<()> {
        let dir = self.make("blobs")?;
        let _turn = self.claims.lock();
        if !to.exists() && fs::read_dir(dir)?.count() >= most {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        fs::rename(from, to)
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
        let read = self.files("names").filter_map(|path| read_name(&path));
        let own = read.filter(|name| name.repository == repository && sha256_of(&name.reference).is_none());
        let mut tags: Vec<String> = own.map(|name| name.reference).collect();
        tags.sort();
        tags
    }

    /// What is there. Names come first, so that what they mean is in it. Blocking.
    pub(super) fn inventory(&self) -> Inventory {
        let mut names: Vec<Pushed> = self.files("names").filter_map(|path| read_name(&path)).collect();
        names.sort_by(|a, b| (&a.repository, &a.reference).cmp(&(&b.repository, &b.reference)));
        let digests = |dir: &str| {
            let mut all: Vec<String> = self.files(dir).filter_map(|path| digest_of_file(&path)).collect();
            all.sort();
            all
        };
        Inventory { names, manifests: digests("manifests"), blobs: digests("blobs") }
    }

    /// The file of something in an inventory; `None` if the digest is none.
    pub(super) fn file(&self, is_manifest: bool, digest: &str) -> Option<PathBuf> {
        let dir = self.dir.join(if is_manifest { "manifests" } else { "blobs" });
        Some(dir.join(sha256_of(digest)?))
    }

    /// Where images of a saved world wait until the world is there.
    pub(super) fn arrivals(&self) -> PushedImages {
        PushedImages { dir: self.dir.with_extension(ARRIVING), claims: self.claims.clone(), clock: self.clock.clone() }
    }

    /// Takes a file that is what its digest says; false if it isn't. Blocking.
    pub(super) fn take(&self, from: &Path, is_manifest: bool, digest: &str) -> io::Result<bool> {
        let Some(to) = self.file(is_manifest, digest) else { return Ok(false) };
        let mut hash = Hashing::new(io::sink());
        io::copy(&mut fs::File::open(from)?, &mut hash)?;
        if hash.digest() != digest {
            return Ok(false);
        }
        self.make(if is_manifest { "manifests" } else { "blobs" })?;
        fs::rename(from, to).map(|()| true)
    }

    /// Keeps what a name means, whose manifest is there. Blocking.
    pub(super) fn keep_name(&self, name: &Pushed) -> io::Result<()> {
        self.write("names", &name_file(&name.repository, &name.reference), &serde_json::to_vec(name)?)
    }

    /// What waited is the organisation's from here on: names last, so that they always mean something. Blocking.
    pub(super) fn arrive(&self) -> io::Result<()> {
        let arrivals = self.arrivals();
        for dir in ["blobs", "manifests", "names"] {
            for path in arrivals.files(dir) {
                if let Some(name) = path.file_name() {
                    fs::rename(&path, self.make(dir)?.join(name))?;
                }
            }
        }
        match fs::remove_dir_all(&arrivals.dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn files(&self, dir: &str) -> impl Iterator<Item = PathBuf> + use<> {
        fs::read_dir(self.dir.join(dir)).into_iter().flatten().flatten().map(|entry| entry.path())
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
        let (dir, clock) = (self.registry_dir().join(organization_id), self.clock().clone());
        PushedImages { dir, claims: self.claims.clone(), clock }
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
        let _may = self.may_remove(organization_id).await;
        remove(self.registry_dir().join(organization_id)).await;
    }

    /// Images of a world that was just restored. What fails here is done at the next start.
    pub(super) async fn receive_pushed(&self, organization_id: &str) {
        let images = self.pushed_images(organization_id);
        let done = tokio::task::spawn_blocking(move || images.arrive()).await;
        if let Err(error) = done.map_err(io::Error::other).flatten() {
            tracing::error!(%error, "pushed images could not be restored");
        }
    }

    /// Those of a world that was not restored.
    pub(super) async fn drop_arrivals(&self, organization_id: &str) {
        remove(self.pushed_images(organization_id).arrivals().dir).await;
    }

    /// After a restart: uploads that a killed server was getting begin anew, and images of a world that is gone go. What
    /// waited for a world becomes its own if the world was restored before the kill.
    pub(super) async fn tidy_pushed(&self) {
        let all = fs::read_dir(self.registry_dir()).into_iter().flatten().flatten();
        for path in all.map(|entry| entry.path()) {
            let waits = path.extension().is_some_and(|extension| extension == ARRIVING);
            match path.file_stem().and_then(|stem| stem.to_str()) {
                Some(organization) if waits && !self.is_empty(organization) => self.receive_pushed(organization).await,
                Some(organization) if waits => self.drop_arrivals(organization).await,
                Some(organization) if self.organization(organization).is_none() => self.wipe_pushed(organization).await,
                _ => remove(path.join("uploads")).await,
            }
        }
    }
}

/// Extension of directories of images that wait; ids of organisations have none.
const ARRIVING: &str = "arriving";

fn read_name(path: &Path) -> Option<Pushed> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// What the name of a file of ours stands for.
fn digest_of_file(path: &Path) -> Option<String> {
    let digest = format!("sha256:{}", path.file_name()?.to_str()?);
    sha256_of(&digest).map(|_| digest)
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
    use super::*;

    fn images(dir: &Path) -> PushedImages {
        PushedImages { dir: dir.to_owned(), claims: Claims::default(), clock: Clock::default() }
    }

    #[test]
    fn only_what_is_whole_becomes_a_blob() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let images = images(dir.path());
        let id = images.begin(1).expect("begun").expect("an id");
        assert_eq!(images.begin(1).expect("counted"), None);
        let mut upload = images.claim(&id).expect("claimed");
        upload.append(b"con").expect("written");
        assert_eq!(images.claim(&id).expect_err("busy").kind(), io::ErrorKind::ResourceBusy);
        assert_eq!(upload.keep(), 3);
        let digest = named(&Sha256::digest("content"));
        for wrong in [named(&Sha256::digest("other")), "sha256:../../x".into(), String::new()] {
            let mut upload = images.claim(&id).expect("claimed");
            upload.append(b"tent").expect("written");
            assert!(!images.finish(upload, &wrong, 1).expect("read"), "{wrong}");
            assert_eq!(images.claim(&id).expect("claimed").length(), 3, "it is as it was");
        }
        let mut upload = images.claim(&id).expect("claimed");
        upload.append(b"tent").expect("written");
        assert!(images.finish(upload, &digest, 1).expect("finished"));
        assert_eq!(images.claim(&id).expect_err("gone").kind(), io::ErrorKind::NotFound);
        assert!(images.blob(&digest).expect("a path").is_file());
        assert!(images.upload("../x").is_none() && images.blob("sha256:AB").is_none());
        let id = images.begin(1).expect("begun").expect("an id");
        let empty = named(&Sha256::digest(""));
        let upload = images.claim(&id).expect("claimed");
        assert_eq!(images.finish(upload, &empty, 1).expect_err("full").kind(), io::ErrorKind::QuotaExceeded);
    }

    #[test]
    fn uploads_that_nobody_goes_on_with_end() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let images = images(dir.path());
        let [old, held] = [(); 2].map(|()| images.begin(2).expect("begun").expect("an id"));
        let claimed = images.claim(&held).expect("claimed");
        images.clock.freeze();
        images.clock.advance(2 * FORGOTTEN);
        assert!(images.begin(2).expect("begun").is_some(), "in the place of the forgotten one");
        assert_eq!(images.claim(&old).expect_err("gone").kind(), io::ErrorKind::NotFound);
        assert_eq!(images.begin(2).expect("counted"), None, "it began by the same clock");
        drop(claimed);
        images.claim(&held).expect("still there");
    }

    #[test]
    fn no_more_begin_at_once_than_may() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let images = images(dir.path());
        let begin = || images.begin(3).expect("begun").is_some();
        let begun = std::thread::scope(|scope| {
            let all = [(); 16].map(|()| scope.spawn(begin));
            all.into_iter().map(|one| one.join().expect("no panic")).filter(|begun| *begun).count()
        });
        assert_eq!(begun, 3);
    }

    #[test]
    fn what_arrives_is_what_its_digest_says() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (from, to) = (images(&dir.path().join("a")), images(&dir.path().join("b")));
        let kept = from.keep("o/a", "1", "type", b"{}").expect("kept");
        let told = from.inventory();
        assert_eq!((told.names.len(), &told.manifests, told.blobs.len()), (2, &vec![kept.digest.clone()], 0));
        let file = from.file(true, &kept.digest).expect("a path");
        let other = named(&Sha256::digest("other"));
        for wrong in [other.as_str(), "sha256:../x", ""] {
            assert!(!to.arrivals().take(&file, true, wrong).expect("read"), "{wrong}");
        }
        assert!(to.arrivals().take(&file, true, &kept.digest).expect("taken"));
        told.names.iter().for_each(|name| to.arrivals().keep_name(name).expect("kept"));
        assert!(to.inventory().is_empty(), "it waits");
        to.arrive().expect("there");
        assert_eq!((to.inventory(), to.arrivals().inventory().is_empty()), (told, true));
        to.arrive().expect("nothing more");
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
