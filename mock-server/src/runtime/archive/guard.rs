//! Looks through an archive before anything of it is written: paths, owners and attributes, how much it is. An archive
//! that somebody uploads may be anybody's.

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs::File,
    io::{self, BufReader, Read},
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tar::{Archive, EntryType, GnuHeader, Header};

use super::{damaged, unpack::Facts};

/// Bytes of what describes an entry: long names, attributes.
const LONGEST: u64 = 4 << 20;

const BLOCK: usize = 512;
/// Blocks with places of a file's holes.
const MOST_MAPS: usize = 64 << 10;
/// Where such a block says that another follows (GNU tar's `struct sparse_header`).
const IS_EXTENDED: usize = 504;

/// What archives may still hold, together.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Budget {
    /// Of files' contents, holes included.
    pub bytes: u64,
    /// Files, directories, links.
    pub entries: u64,
}

impl Budget {
    fn pay(&mut self, bytes: u64, entries: u64) -> io::Result<()> {
        let too_much = || io::Error::new(io::ErrorKind::FileTooLarge, "there is more in the archive than is allowed");
        self.bytes = self.bytes.checked_sub(bytes).ok_or_else(too_much)?;
        self.entries = self.entries.checked_sub(entries).ok_or_else(too_much)?;
        Ok(())
    }
}

/// Where entries may be: below directories that the archive itself has made, so that no link leads out.
#[derive(Default)]
pub struct Guard(HashSet<PathBuf>);

impl Guard {
    /// The path of an entry, relative to where it is unpacked. A directory's is known from now on.
    pub fn admit(&mut self, name: &[u8], kind: EntryType) -> io::Result<PathBuf> {
        let path = self.known(name)?;
        if kind == EntryType::Directory {
            self.0.insert(path.clone());
        }
        Ok(path)
    }

    /// A path whose directory the archive has made.
    pub fn known(&self, name: &[u8]) -> io::Result<PathBuf> {
        let path = Path::new(OsStr::from_bytes(name));
        let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
        let path: PathBuf = path.components().collect();
        let parent = path.parent().filter(|_| plain).ok_or_else(|| damaged("a path leads out"))?;
        if !parent.as_os_str().is_empty() && !self.0.contains(parent) {
            return Err(damaged("a path leads through no directory"));
        }
        Ok(path)
    }
}

/// Everything about an archive that can be wrong, without writing anything.
///
/// # Errors
/// `InvalidData` for one that isn't ours or leads out, `FileTooLarge` for one that the budget is too small for.
pub fn look_through(archive: &Path, budget: &mut Budget) -> io::Result<()> {
    measure(archive, budget)?;
    let (mut guard, mut ours) = (Guard::default(), false);
    for entry in open(archive)?.entries()? {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            ours |= super::unpack::says_inside(&mut entry)?;
            continue;
        }
        if !ours {
            return Err(damaged("it doesn't say whose files these are"));
        }
        let facts = Facts::of(&mut entry)?;
        facts.check(kind)?;
        guard.admit(&entry.path_bytes(), kind)?;
        if kind == EntryType::Link {
            guard.known(&facts.link(&entry)?)?;
        }
        if kind == EntryType::GNUSparse {
            // Its holes.
            budget.pay(entry.size(), 0)?;
        }
    }
    if ours { Ok(()) } else { Err(damaged("it is none of this server's")) }
}

/// Whether its owners are those inside.
pub fn is_portable(archive: &Path) -> io::Result<bool> {
    let mut archive = open(archive)?;
    match archive.entries()?.next() {
        Some(entry) => super::unpack::says_inside(&mut entry?),
        None => Ok(false),
    }
}

/// How much is in it as it is written there, before anything of it is kept in memory.
fn measure(archive: &Path, budget: &mut Budget) -> io::Result<()> {
    let mut from = decoder(archive)?;
    let mut block = [0; BLOCK];
    while read_block(&mut from, &mut block)? {
        let header = Header::from_byte_slice(&block);
        let (kind, size) = (header.entry_type(), header.entry_size()?);
        let describes = matches!(
            kind,
            EntryType::XHeader | EntryType::XGlobalHeader | EntryType::GNULongName | EntryType::GNULongLink
        );
        if describes && size > LONGEST {
            return Err(damaged("a description is too long"));
        }
        let mut more = kind == EntryType::GNUSparse && header.as_gnu().is_some_and(GnuHeader::is_extended);
        for _ in 0..MOST_MAPS {
            if !more || !read_block(&mut from, &mut block)? {
                break;
            }
            more = block[IS_EXTENDED] == 1;
        }
        if more {
            return Err(damaged("a file has too many holes"));
        }
        budget.pay(size, u64::from(!describes))?;
        let whole = size.checked_next_multiple_of(BLOCK as u64).ok_or_else(|| damaged("a size"))?;
        if io::copy(&mut (&mut from).take(whole), &mut io::sink())? < whole {
            return Err(damaged("it ends early"));
        }
    }
    Ok(())
}

/// False at the end.
fn read_block(from: &mut impl Read, block: &mut [u8; BLOCK]) -> io::Result<bool> {
    match from.read_exact(block) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| block.iter().any(|byte| *byte != 0)),
    }
}

pub fn open(archive: &Path) -> io::Result<Archive<impl Read>> {
    decoder(archive).map(Archive::new)
}

fn decoder(archive: &Path) -> io::Result<impl Read> {
    zstd::Decoder::with_buffer(BufReader::with_capacity(1 << 18, File::open(archive)?))
}
