//! Things made once and shared: `<cache_dir>/bases/<key>`, put there whole by a rename, and leased while in use.

use std::{
    collections::HashMap,
    fs::{self, File, Permissions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use sha2::{Digest, Sha256};

use super::{at, shift};
use crate::runtime::RuntimeError;

/// Raise this when the layout or content of what is made changes.
const FORMAT: u32 = 2;

/// Entries that no server used for this long are removed when something new is made.
const KEEP_UNUSED: Duration = Duration::from_secs(14 * 24 * 3600);

/// So are those that are not among the newest of their kind; every build of this program makes one.
const KEEP_NEWEST: usize = 4;
const KEEP_RECENT: Duration = Duration::from_secs(3600);

/// Layers of images, which snapshots and their sandboxes need as long as they exist.
pub(super) const LAYER: &str = "layer";
const KEEP_UNUSED_LAYERS: Duration = Duration::from_secs(90 * 24 * 3600);

/// Holds a shared lock on an entry's lock file; as long as it lives nobody removes the entry.
#[derive(Debug)]
pub(crate) struct Lease {
    _lock: File,
}

/// A finished entry.
pub(crate) struct Entry {
    pub path: PathBuf,
    pub lease: Arc<Lease>,
}

/// Builds a key from what the entry depends on.
pub(crate) struct Key {
    name: &'static str,
    hash: Sha256,
}

impl Key {
    pub fn new(name: &'static str) -> Key {
        Key { name, hash: Sha256::new() }.with(FORMAT.to_string())
    }

    pub fn with(mut self, part: impl AsRef<[u8]>) -> Key {
        self.hash.update((part.as_ref().len() as u64).to_le_bytes());
        self.hash.update(part.as_ref());
        self
    }

    /// Mixes in what a file or directory was when it last changed; one that is missing counts as well.
    pub fn with_stamp(self, path: &Path) -> Key {
        let stamp = fs::metadata(path).ok().map(|meta| (meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()));
        self.with(format!("{}{stamp:?}", path.display()))
    }

    fn finish(self) -> String {
        let hash = self.hash.finalize();
        // A layer's content is a stranger's choice, so its name must not be a matter of a few billion tries.
        let length = if self.name == LAYER { 20 } else { 8 };
        let hex: String = hash.iter().take(length).map(|byte| format!("{byte:02x}")).collect();
        format!("{}-{hex}", self.name)
    }
}

/// Where entries are, and how their owners lie on disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub cache_dir: &'a Path,
    /// Every owner is moved into the sandboxes' range once an entry is made.
    pub shifted: bool,
}

impl Place<'_> {
    fn path(self, key: Key) -> PathBuf {
        let key = if self.shifted { key.with("shifted") } else { key };
        self.cache_dir.join("bases").join(key.finish())
    }

    /// The entry of this key if it is made already.
    pub fn find(self, key: Key) -> Option<Entry> {
        let path = self.path(key);
        find(&path, &path.with_extension("lock"))
    }

    /// Makes the directory of all entries. The server's user has to, not an id of its user namespace.
    pub fn make_dir(self) -> Result<PathBuf, RuntimeError> {
        let bases = self.cache_dir.join("bases");
        fs::create_dir_all(&bases).map_err(at("cannot make", &bases))?;
        fs::set_permissions(&bases, Permissions::from_mode(0o700)).map_err(at("cannot protect", &bases))?;
        Ok(bases)
    }

    /// Finds the entry of this key or calls `make` with the empty directory to fill.
    pub fn find_or_make(
        self,
        key: Key,
        make: impl FnOnce(&Path) -> Result<(), RuntimeError>,
    ) -> Result<Entry, RuntimeError> {
        let path = self.path(key);
        let lock_path = path.with_extension("lock");
        if let Some(entry) = find(&path, &lock_path) {
            return Ok(entry);
        }
        let bases = self.make_dir()?;
        // Two locks: who makes it waits for nobody who uses it.
        let making = path.with_extension("making");
        let _turn = hold(&making, File::lock).map_err(at("cannot lock", &making))?;
        let lock = hold(&lock_path, File::lock_shared).map_err(at("cannot lock", &lock_path))?;
        if !path.is_dir() {
            make_whole(&path, |dir| {
                make(dir)?;
                if self.shifted { shift::shift_tree(dir).map_err(at("cannot shift owners in", dir)) } else { Ok(()) }
            })?;
            remove_unused(&bases);
        }
        Ok(Entry { path, lease: Arc::new(Lease { _lock: lock }) })
    }
}

fn find(path: &Path, lock_path: &Path) -> Option<Entry> {
    if !path.is_dir() {
        return None;
    }
    let lock = hold(lock_path, File::lock_shared).ok()?;
    // Says when it was used last, for `remove_unused`.
    let _ = lock.set_modified(SystemTime::now());
    // It may have been removed between the two looks.
    path.is_dir().then(|| Entry { path: path.to_owned(), lease: Arc::new(Lease { _lock: lock }) })
}

fn open_lock(path: &Path) -> io::Result<File> {
    match File::options().create(true).truncate(false).read(true).write(true).open(path) {
        // Made in the user namespace, so it is another id's; a lock needs no right to write.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => File::open(path),
        opened => opened,
    }
}

/// Opens and locks a lock file. Who removes entries removes their lock files, too, while holding them: what was locked must
/// still be what is called so.
fn hold<E>(path: &Path, lock: impl Fn(&File) -> Result<(), E>) -> io::Result<File>
where
    io::Error: From<E>,
{
    loop {
        let file = open_lock(path)?;
        lock(&file)?;
        if is_at(&file, path)? {
            return Ok(file);
        }
    }
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let id = |meta: fs::Metadata| (meta.dev(), meta.ino());
    match fs::metadata(path) {
        Ok(there) => Ok(id(there) == id(file.metadata()?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn make_whole(path: &Path, make: impl FnOnce(&Path) -> Result<(), RuntimeError>) -> Result<(), RuntimeError> {
    let partial = path.with_extension("partial");
    // Left behind by a server that was killed; the lock says that nobody works on it.
    remove_tree(&partial).map_err(at("cannot remove", &partial))?;
    fs::create_dir(&partial).map_err(at("cannot make", &partial))?;
    if let Err(error) = make(&partial) {
        if let Err(error) = remove_tree(&partial) {
            tracing::warn!(path = %partial.display(), %error, "an unfinished base stays behind");
        }
        return Err(error);
    }
    fs::rename(&partial, path).map_err(at("cannot rename to", path))
}

/// Removes entries that nobody leased for long, and what is left of entries that are gone. What can't be removed, or is being
/// made or used, is left for the next time.
fn remove_unused(bases: &Path) {
    for lock_path in superseded(bases).into_iter().chain(orphaned(bases)) {
        match remove_entry(&lock_path) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                tracing::debug!(path = %lock_path.display(), %error, "an old base stays behind");
            }
            _ => {}
        }
    }
}

/// Removes an entry with its lock files; `WouldBlock` while somebody makes or uses it.
fn remove_entry(lock_path: &Path) -> io::Result<()> {
    let making = lock_path.with_extension("making");
    let _turn = hold(&making, File::try_lock)?;
    let _lock = hold(lock_path, File::try_lock)?;
    remove_tree(&lock_path.with_extension(""))?;
    fs::remove_file(lock_path)?;
    fs::remove_file(&making)
}

/// Lock files (`.lock`, there or not) of entries that aren't there.
fn orphaned(bases: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(bases).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_lock =
        |path: &PathBuf| path.extension().is_some_and(|extension| extension == "lock" || extension == "making");
    let mut left: Vec<PathBuf> = paths.filter(is_lock).map(|path| path.with_extension("lock")).collect();
    left.retain(|path| !path.with_extension("").is_dir());
    left.sort();
    left.dedup();
    left
}

/// Lock files of entries that are old, or old enough and not among the newest of their kind.
fn superseded(bases: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<(Duration, PathBuf)> = fs::read_dir(bases)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension().is_some_and(|extension| extension == "lock") && path.with_extension("").is_dir()
        })
        .filter_map(|path| Some((fs::metadata(&path).ok()?.modified().ok()?.elapsed().ok()?, path)))
        .collect();
    entries.sort();
    let mut newer: HashMap<String, usize> = HashMap::new();
    entries.retain(|(age, path)| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let kind = name.split('-').next().unwrap_or_default().to_owned();
        let rank = newer.entry(kind).or_default();
        *rank += 1;
        if name.starts_with(LAYER) {
            return *age > KEEP_UNUSED_LAYERS;
        }
        *age > KEEP_UNUSED || *rank > KEEP_NEWEST && *age > KEEP_RECENT
    });
    entries.into_iter().map(|(_, path)| path).collect()
}

/// `remove_dir_all` that also enters directories whose mode forbids it, as those of a base and overlayfs's `work` do.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        done => return done,
    }
    let mut directories = vec![path.to_owned()];
    while let Some(directory) = directories.pop() {
        fs::set_permissions(&directory, Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                directories.push(entry.path());
            }
        }
    }
    fs::remove_dir_all(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_a_kind_and_what_is_in_use_are_kept() {
        let cache = tempfile::tempdir().expect("a temporary directory");
        let bases = cache.path().join("bases");
        let make = |name, n: usize| {
            let place = Place { cache_dir: cache.path(), shifted: false };
            place.find_or_make(Key::new(name).with(n.to_string()), |_| Ok(()))
        };
        let entries: Vec<Entry> = (0..7).map(|n| make("sudo", n).expect("an entry")).collect();
        let host = make("host", 0).expect("an entry");
        for (n, entry) in entries.iter().chain([&host]).enumerate() {
            let old = SystemTime::now() - Duration::from_secs(7200 + n as u64);
            let lock = open_lock(&entry.path.with_extension("lock")).expect("the lock");
            lock.set_modified(old).expect("a time");
        }
        let paths: Vec<PathBuf> = entries.iter().map(|entry| entry.path.clone()).collect();
        remove_unused(&bases);
        assert!(paths.iter().all(|path| path.is_dir()), "something in use is gone");
        drop(entries);
        remove_unused(&bases);
        let left: Vec<bool> = paths.iter().map(|path| path.is_dir()).collect();
        assert_eq!(left, [true, true, true, true, false, false, false]);
        assert!(host.path.is_dir());
        let files = fs::read_dir(&bases).expect("bases").count();
        assert_eq!(files, 3 * 5, "each entry with its two lock files, and none of those that are gone");
    }

    #[test]
    fn locks_without_an_entry_go_unless_somebody_holds_them() {
        let bases = tempfile::tempdir().expect("a temporary directory");
        let (held, gone) = (bases.path().join("host-a.making"), bases.path().join("host-b"));
        let turn = hold(&held, File::lock).expect("held");
        for extension in ["lock", "making"] {
            fs::write(gone.with_extension(extension), "").expect("left behind");
        }
        remove_unused(bases.path());
        assert!(held.exists() && !gone.with_extension("lock").exists() && !gone.with_extension("making").exists());
        drop(turn);
        remove_unused(bases.path());
        assert_eq!(fs::read_dir(bases.path()).expect("bases").count(), 0);
    }

    #[test]
    fn a_lock_that_was_removed_meanwhile_is_no_lock() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("x.lock");
        let removed = std::cell::Cell::new(false);
        let lock = hold(&path, |file| {
            if !removed.replace(true) {
                fs::remove_file(&path)?;
            }
            file.lock()
        });
        assert!(is_at(&lock.expect("locked"), &path).expect("there"));
    }
}
