//! Reading archives back. Those of strangers were looked through before ([`super::guard`]); a path that leads out is
//! refused here all the same.

use std::{
    ffi::{CString, OsStr},
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown, lchown, symlink},
    },
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use nix::{
    sys::stat::{Mode, SFlag, UtimensatFlags, futimens, mknod, utimensat},
    sys::time::TimeSpec,
};
use tar::{Entry, EntryType, PaxExtensions, Unpacked};

use super::{
    Owners, damaged,
    guard::{self, Guard},
    owners,
    pack::{INSIDE, OWNERS, TARGET, XATTR},
};
use crate::runtime::sys::xattr;

/// Zeros of this length become holes again.
const HOLE: usize = 64 << 10;

/// Bytes of a global record that are looked at.
const SHORT: u64 = 4096;

/// Makes `to`, whose owner is that of the directory around it, and unpacks an archive into it.
pub fn unpack(archive: &Path, to: &Path, owners: Owners) -> io::Result<()> {
    let mut archive = guard::open(archive)?;
    make_like(to, to.parent().unwrap_or(to))?;
    let mut unpacker =
        Unpacker { to, owners: None, guard: Guard::default(), buffer: vec![0; HOLE], closed: Vec::new() };
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.header().entry_type() == EntryType::XGlobalHeader {
            unpacker.owners = says_inside(&mut entry)?.then_some(owners);
            continue;
        }
        unpacker.add(&mut entry)?;
    }
    unpacker.close()
}

/// Whether a global record says that owners are those inside.
pub(super) fn says_inside<R: Read>(entry: &mut Entry<R>) -> io::Result<bool> {
    if entry.header().entry_type() != EntryType::XGlobalHeader {
        return Ok(false);
    }
    let mut text = Vec::new();
    entry.take(SHORT).read_to_end(&mut text)?;
    let mut records = PaxExtensions::new(&text).filter_map(Result::ok);
    Ok(records.any(|record| record.key() == Ok(OWNERS) && record.value_bytes() == INSIDE.as_bytes()))
}

struct Unpacker<'a> {
    to: &'a Path,
    /// `None`: the archive has the owners on disk.
    owners: Option<Owners>,
    guard: Guard,
    buffer: Vec<u8>,
    /// Directories get their modes last: one may be closed to its owner, and what is made in it changes its time.
    closed: Vec<(PathBuf, Facts)>,
}

impl Unpacker<'_> {
    fn add<R: Read>(&mut self, entry: &mut Entry<R>) -> io::Result<()> {
        let kind = entry.header().entry_type();
        let facts = Facts::of(entry)?.on_disk(self.owners)?;
        let path = self.to.join(self.guard.admit(&entry.path_bytes(), kind)?);
        match kind {
            EntryType::Directory => {
                fs::create_dir(&path)?;
                facts.own(&path)?;
                self.closed.push((path, facts));
                return Ok(());
            }
            EntryType::Symlink => symlink(OsStr::from_bytes(&facts.link(entry)?), &path)?,
            EntryType::Link => {
                return fs::hard_link(self.to.join(self.guard.known(&facts.link(entry)?)?), &path);
            }
            EntryType::Char => mknod(&path, SFlag::S_IFCHR, Mode::empty(), 0)?,
            EntryType::Fifo => mknod(&path, SFlag::S_IFIFO, Mode::from_bits_truncate(facts.mode), 0)?,
            // The holes of its map are sought over: reading them takes as long as they are large.
            EntryType::GNUSparse => {
                entry.set_preserve_mtime(false);
                let Unpacked::File(file) = entry.unpack(&path)? else { return Err(damaged("a file")) };
                return facts.finish(&file, &path);
            }
            _ => return write_file(entry, &path, &facts, &mut self.buffer),
        }
        facts.own(&path)?;
        facts.touch(&path)
    }

    fn close(self) -> io::Result<()> {
        for (path, facts) in self.closed.into_iter().rev() {
            fs::set_permissions(&path, Permissions::from_mode(facts.mode))?;
            facts.touch(&path)?;
        }
        Ok(())
    }
}

/// Makes an empty directory with another one's owner, so that a sandbox which had no files can make its own in it.
pub fn make_like(dir: &Path, like: &Path) -> io::Result<()> {
    fs::create_dir(dir)?;
    let (made, like) = (fs::metadata(dir)?, fs::metadata(like)?);
    let (owner, group) = (like.uid(), like.gid());
    if (made.uid(), made.gid()) == (owner, group) { Ok(()) } else { lchown(dir, Some(owner), Some(group)) }
}

/// What an archive says about an entry.
pub(super) struct Facts {
    mode: u32,
    uid: u32,
    gid: u32,
    modified: TimeSpec,
    attributes: Vec<(CString, Vec<u8>)>,
    /// Of a link whose target the header has no room for.
    target: Option<Vec<u8>>,
}

impl Facts {
    pub(super) fn of<R: Read>(entry: &mut Entry<R>) -> io::Result<Facts> {
        let mut attributes = Vec::new();
        let (mut exact, mut target) = (None, None);
        for extension in entry.pax_extensions()?.into_iter().flatten() {
            let extension = extension?;
            let Ok(key) = extension.key() else { continue };
            if key == "size" {
                // Never ours; whoever looks for the next header must not be told two places.
                return Err(damaged("a description"));
            } else if key == "mtime" {
                exact = extension.value().ok().and_then(parse_time);
            } else if key == XATTR {
                let attribute = decoded(extension.value_bytes())?;
                let end = attribute.iter().position(|byte| *byte == 0).ok_or_else(|| damaged("an attribute"))?;
                attributes.push((CString::new(&attribute[..end])?, attribute[end + 1..].to_owned()));
            } else if key == TARGET {
                target = Some(decoded(extension.value_bytes())?);
            }
        }
        let header = entry.header();
        let id = |id: u64| u32::try_from(id).map_err(io::Error::other);
        Ok(Facts {
            mode: header.mode()? & 0o7777,
            uid: id(header.uid()?)?,
            gid: id(header.gid()?)?,
            modified: exact.unwrap_or(TimeSpec::new(header.mtime()? as i64, 0)),
            attributes,
            target,
        })
    }

    /// Whether it is one that [`super::pack`] writes.
    pub(super) fn check(&self, kind: EntryType) -> io::Result<()> {
        use EntryType::{Char, Directory, Fifo, GNUSparse, Link, Regular, Symlink};
        if !matches!(kind, Regular | GNUSparse | Directory | Symlink | Link | Char | Fifo) {
            return Err(damaged("an entry of a kind that isn't ours"));
        }
        if !self.attributes.iter().all(|(name, _)| owners::is_known(name)) {
            return Err(damaged("an attribute"));
        }
        if kind != Link {
            Owners::Same.outside(self.uid, self.gid)?;
        }
        Ok(())
    }

    /// The same with what is inside translated to what is on this disk.
    fn on_disk(mut self, owners: Option<Owners>) -> io::Result<Facts> {
        let Some(owners) = owners else { return Ok(self) };
        (self.uid, self.gid) = owners.outside(self.uid, self.gid)?;
        let attributes = self.attributes.into_iter();
        self.attributes = attributes.map(|(name, value)| (name.clone(), owners.outside_value(&name, value))).collect();
        Ok(self)
    }

    /// The target of a link.
    pub(super) fn link<R: Read>(&self, entry: &Entry<R>) -> io::Result<Vec<u8>> {
        let short = || entry.link_name_bytes().map(|target| target.into_owned());
        self.target.clone().or_else(short).ok_or_else(|| damaged("a link without a target"))
    }

    fn own(&self, path: &Path) -> io::Result<()> {
        self.set_attributes(path)?;
        lchown(path, Some(self.uid), Some(self.gid))
    }

    fn set_attributes(&self, path: &Path) -> io::Result<()> {
        xattr::set_all(path, self.attributes.iter().map(|(name, value)| (name.as_c_str(), value.as_slice())))
    }

    /// The rest of a file whose content is there.
    fn finish(&self, file: &File, path: &Path) -> io::Result<()> {
        fchown(file, Some(self.uid), Some(self.gid))?;
        // After the owner, which takes capabilities and the set-uid bit away.
        self.set_attributes(path)?;
        file.set_permissions(Permissions::from_mode(self.mode))?;
        Ok(futimens(file, &self.modified, &self.modified)?)
    }

    fn touch(&self, path: &Path) -> io::Result<()> {
        let flags = UtimensatFlags::NoFollowSymlink;
        Ok(utimensat(nix::fcntl::AT_FDCWD, path, &self.modified, &self.modified, flags)?)
    }
}

fn write_file(entry: &mut impl Read, path: &Path, facts: &Facts, buffer: &mut [u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let (mut length, mut ends_in_hole) = (0, false);
    loop {
        let read = read_full(entry, buffer)?;
        if read == 0 {
            break;
        }
        let bytes = &buffer[..read];
        ends_in_hole = read == HOLE && bytes.iter().all(|byte| *byte == 0);
        if ends_in_hole {
            file.seek(SeekFrom::Current(read as i64))?;
        } else {
            file.write_all(bytes)?;
        }
        length += read as u64;
    }
    // Not for every file: ext4 makes each truncation wait for its journal.
    if ends_in_hole {
        file.set_len(length)?;
    }
    facts.finish(&file, path)
}

/// Reads until the buffer is full or nothing is left.
fn read_full(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

fn decoded(text: &[u8]) -> io::Result<Vec<u8>> {
    STANDARD.decode(text).map_err(|_| damaged("a description"))
}

fn parse_time(text: &str) -> Option<TimeSpec> {
    let (seconds, nanoseconds) = text.split_once('.')?;
    Some(TimeSpec::new(seconds.parse().ok()?, nanoseconds.parse().ok()?))
}
