//! Answers made of pieces: bytes in memory and stretches of files, read ahead on blocking threads.

use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Read},
    ops::Range,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};

use crate::runtime::sys::memory;

/// Files up to this size are read whole, in the same hop that opens them.
const SMALL: u64 = 256 << 10;
/// Files up to this size are read without any hop, if that can't block.
const CACHED: u64 = 16 << 10;
/// Most that is taken of a file that says it is empty, as those in `/proc` do.
const PROC: u64 = 1 << 20;
/// One read, and one frame on the wire.
const CHUNK: u64 = 512 << 10;
/// Stretches from this size on are sent from where the kernel has them; smaller ones are copied sooner than mapped.
const MAPPED: u64 = 128 << 10;
/// Chunks read while an earlier one is being sent, and that one.
const AHEAD: usize = 2;

/// The contents of an opened regular file.
#[derive(Clone)]
pub enum Content {
    Memory(Bytes),
    OnDisk(Arc<File>, u64),
}

/// Opens a small file whose name and contents the kernel has in memory, which takes less time than a word to another
/// thread; `None` if that can't be known, or it can't be opened.
pub fn open_cached(path: &Path) -> Option<(Metadata, Content)> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::from_bits_retain(libc::RESOLVE_CACHED));
    let file = File::from(openat2(AT_FDCWD, path, how).ok()?);
    let metadata = file.metadata().ok().filter(|metadata| metadata.is_file())?;
    let at_once = (1..=CACHED).contains(&metadata.len());
    if !at_once || !memory::is_cached(&file, metadata.len() as usize).unwrap_or(false) {
        return None;
    }
    contents(file, metadata).ok()
}

/// Opens a file for download. Blocking.
pub fn open(path: &Path) -> io::Result<(Metadata, Content)> {
    // A FIFO must not wait for its writer.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !metadata.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    contents(file, metadata)
}

fn contents(file: File, metadata: Metadata) -> io::Result<(Metadata, Content)> {
    if metadata.len() > SMALL {
        let size = metadata.len();
        return Ok((metadata, Content::OnDisk(Arc::new(file), size)));
    }
    let limit = if metadata.len() == 0 { PROC } else { metadata.len() };
    let mut contents = Vec::with_capacity(metadata.len() as usize);
    file.take(limit).read_to_end(&mut contents)?;
    Ok((metadata, Content::Memory(contents.into())))
}

impl Content {
    pub fn size(&self) -> u64 {
        match self {
            Content::Memory(bytes) => bytes.len() as u64,
            Content::OnDisk(_, size) => *size,
        }
    }

    /// A stretch of it; `range` lies within [`Content::size`].
    pub fn slice(&self, range: Range<u64>) -> Segment {
        match self {
            Content::Memory(bytes) => Segment::Bytes(bytes.slice(range.start as usize..range.end as usize)),
            Content::OnDisk(file, _) => Segment::File(file.clone(), range),
        }
    }

    pub fn whole(&self) -> Segment {
        self.slice(0..self.size())
    }
}

/// A piece of an answer.
pub enum Segment {
    Bytes(Bytes),
    File(Arc<File>, Range<u64>),
}

impl Segment {
    pub fn length(&self) -> u64 {
        match self {
            Segment::Bytes(bytes) => bytes.len() as u64,
            Segment::File(_, range) => range.end - range.start,
        }
    }

    fn chunks(self) -> impl Iterator<Item = Segment> {
        let (bytes, stretch) = match self {
            Segment::Bytes(bytes) => (Some(Segment::Bytes(bytes)), None),
            Segment::File(file, range) => (None, Some((file, range))),
        };
        let pieces = stretch.into_iter().flat_map(|(file, range)| {
            let starts = range.clone().step_by(CHUNK as usize);
            starts.map(move |start| Segment::File(file.clone(), start..range.end.min(start + CHUNK)))
        });
        bytes.into_iter().chain(pieces)
    }

    async fn load(self) -> io::Result<Bytes> {
        let (file, range) = match self {
            Segment::Bytes(bytes) => return Ok(bytes),
            Segment::File(file, range) => (file, range),
        };
        tokio::task::spawn_blocking(move || read(&file, range)).await.map_err(io::Error::other)?
    }
}

/// Blocking. A file that shrank meanwhile is an error, and breaks the connection: its size has been promised.
fn read(file: &File, range: Range<u64>) -> io::Result<Bytes> {
    // Nobody looks at these bytes but the kernel, which sends them.
    if range.end - range.start >= MAPPED
        && let Ok(mapping) = memory::map(file, range.clone())
    {
        return Ok(Bytes::from_owner(mapping));
    }
    let mut chunk = vec![0; (range.end - range.start) as usize];
    file.read_exact_at(&mut chunk, range.start)?;
    Ok(chunk.into())
}

/// The bytes of some segments, one after the other.
pub fn stream(
    segments: impl IntoIterator<Item = Segment, IntoIter: Send> + Send,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::iter(segments.into_iter().flat_map(Segment::chunks).map(Segment::load)).buffered(AHEAD)
}
