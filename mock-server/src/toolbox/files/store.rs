//! Writing a stream of bytes to a file: gathered in memory while small, else batch by batch on blocking threads,
//! each batch written while the next one comes in.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use tokio::task::{JoinHandle, spawn_blocking};

use super::mutate::{make_dirs, remove_dirs};

/// What is gathered before a write; contents up to this size change nothing until they have come whole.
const BATCH: usize = 512 << 10;

/// Where contents come from.
pub trait Source {
    /// More bytes; `None` at the end; the words of what went wrong.
    fn chunk(&mut self) -> impl Future<Output = Result<Option<Bytes>, String>> + Send;
}

/// Why contents weren't stored.
#[derive(Debug)]
pub enum StoreError {
    /// The client's stream broke off or was malformed.
    Source(String),
    /// A parent directory, by its real path, couldn't be made.
    MakeDir(PathBuf, io::Error),
    Open(io::Error),
    Write(io::Error),
}

/// Creates or overwrites the file at `path` with all of `source`. Missing parents are made with `parent_mode`.
/// Returns the number of bytes.
pub async fn store(path: &Path, parent_mode: u32, source: &mut (impl Source + Send)) -> Result<u64, StoreError> {
    let mut writer = Writing::Idle(Box::new(Target::new(path, parent_mode)));
    let (mut batch, mut size, mut total) = (Vec::new(), 0, 0);
    while let Some(chunk) = source.chunk().await.map_err(StoreError::Source)? {
        size += chunk.len();
        total += chunk.len() as u64;
        batch.push(chunk);
        if size >= BATCH {
            let target = writer.idle().await?;
            let batch = std::mem::take(&mut batch);
            size = 0;
            writer = Writing::Busy(spawn_blocking(move || target.write(batch)));
        }
    }
    let target = writer.idle().await?;
    spawn_blocking(move || target.write(batch).and_then(|target| target.keep()))
        .await
        .map_err(|error| StoreError::Write(io::Error::other(error)))??;
    Ok(total)
}

enum Writing {
    Idle(Box<Target>),
    Busy(JoinHandle<Result<Box<Target>, StoreError>>),
}

impl Writing {
    async fn idle(self) -> Result<Box<Target>, StoreError> {
        match self {
            Writing::Idle(target) => Ok(target),
            Writing::Busy(task) => task.await.map_err(|error| StoreError::Write(io::Error::other(error)))?,
        }
    }
}

/// A file that is being written. What it created is removed again unless it is kept.
struct Target {
    path: PathBuf,
    parent_mode: u32,
    file: Option<File>,
    written: u64,
    /// Length before, of a regular file that was there already.
    old_length: u64,
    created: Option<Created>,
}

/// What is to be removed when an upload fails.
struct Created {
    file: PathBuf,
    parents: Vec<PathBuf>,
}

impl Target {
    fn new(path: &Path, parent_mode: u32) -> Target {
        Target { path: path.to_owned(), parent_mode, file: None, written: 0, old_length: 0, created: None }
    }

    fn write(mut self: Box<Self>, batch: Vec<Bytes>) -> Result<Box<Self>, StoreError> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.open()?,
        };
        for bytes in batch {
            file.write_all(&bytes).map_err(StoreError::Write)?;
            self.written += bytes.len() as u64;
        }
        self.file = Some(file);
        Ok(self)
    }

    /// Opens what exists, to be written over in place; creates what doesn't, with its parents.
    fn open(&mut self) -> Result<File, StoreError> {
        match options().open(&self.path).and_then(|file| Ok((file.metadata()?, file))) {
            Ok((metadata, file)) => {
                self.old_length = if metadata.is_file() { metadata.len() } else { 0 };
                return Ok(file);
            }
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(StoreError::Open(error)),
        }
        match self.create(Vec::new()) {
            Err(StoreError::Open(error)) if is_missing(&error) => {}
            result => return result,
        }
        let parent = self.path.parent().unwrap_or(Path::new("/"));
        let made = make_dirs(parent, self.parent_mode).map_err(|(path, error)| StoreError::MakeDir(path, error))?;
        self.create(made)
    }

    fn create(&mut self, parents: Vec<PathBuf>) -> Result<File, StoreError> {
        let created = match options().create_new(true).open(&self.path) {
            Ok(file) => {
                self.created = Some(Created { file: self.path.clone(), parents });
                return Ok(file);
            }
            // A dangling link is written through; and someone else may just have been faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                options().create(true).truncate(true).open(&self.path)
            }
            Err(error) => Err(error),
        };
        created.map_err(|error| {
            remove_dirs(&parents);
            StoreError::Open(error)
        })
    }

    /// Cuts off what is left of older, longer contents. Not truncated at the start: ext4 then writes the file out to
    /// the disk when it is closed, which costs milliseconds, and pages are given back only to be taken again.
    fn keep(mut self) -> Result<(), StoreError> {
        if let Some(file) = self.file.take().filter(|_| self.old_length > self.written) {
            file.set_len(self.written).map_err(StoreError::Write)?;
        }
        self.created = None;
        Ok(())
    }
}

/// Not waiting for the reader of a FIFO.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(libc::O_NONBLOCK);
    options
}

/// Missing, or below a file: making the parents tells which.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

impl Created {
    fn take_back(&self) {
        _ = fs::remove_file(&self.file);
        remove_dirs(&self.parents);
    }
}

impl Drop for Target {
    /// When the client vanishes this happens on an async thread, which the removal must not hold up.
    fn drop(&mut self) {
        let Some(created) = self.created.take() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || created.take_back());
        }
    }
}
