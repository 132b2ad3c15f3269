//! Reading archives back. They are our own and no stranger's; a damaged one is refused all the same, before a path that
//! leads out.

use std::{
    ffi::{CString, OsStr},
    fs::{self, File, OpenOptions, Permissions},
    io::{self, BufReader, Read, Seek, SeekFrom, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown, lchown, symlink},
    },
    path::{Component, Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use nix::{
    sys::stat::{Mode, SFlag, UtimensatFlags, futimens, mknod, utimensat},
    sys::time::TimeSpec,
};
use tar::{Archive, Entry, EntryType};

use super::pack::{TARGET, XATTR};
use crate::runtime::sys::xattr;

/// Zeros of this length become holes again.
const HOLE: usize = 64 << 10;

/// Makes `to`, whose owner is that of the directory around it, and unpacks an archive into it.
pub fn unpack(archive: &Path, to: &Path) -> io::Result<()> {
    let file = BufReader::with_capacity(1 << 18, File::open(archive)?);
    let mut archive = Archive::new(zstd::Decoder::with_buffer(file)?);
    make_like(to, to.parent().unwrap_or(to))?;
    // Set last: a directory may be closed to its owner, and what is made in it changes its time.
    let mut directories = Vec::new();
    let mut buffer = vec![0; HOLE];
    for entry in archive.entries()? {
        let mut entry = entry?;
        let facts = Facts::of(&mut entry)?;
        let path = below(to, &entry.path_bytes())?;
        match entry.header().entry_type() {
            EntryType::Directory => {
                fs::create_dir(&path)?;
                facts.own(&path)?;
                directories.push((path, facts));
            }
            EntryType::Symlink => {
                symlink(link(&entry, &facts)?, &path)?;
                facts.own(&path)?;
                facts.touch(&path)?;
            }
            EntryType::Link => fs::hard_link(below(to, link(&entry, &facts)?.as_os_str().as_bytes())?, &path)?,
            EntryType::Char => {
                mknod(&path, SFlag::S_IFCHR, Mode::empty(), 0)?;
                facts.own(&path)?;
                facts.touch(&path)?;
            }
            EntryType::Fifo => {
                mknod(&path, SFlag::S_IFIFO, Mode::from_bits_truncate(facts.mode), 0)?;
                facts.own(&path)?;
                facts.touch(&path)?;
            }
            _ => write_file(&mut entry, &path, &facts, &mut buffer)?,
        }
    }
    for (path, facts) in directories.into_iter().rev() {
        fs::set_permissions(&path, Permissions::from_mode(facts.mode))?;
        facts.touch(&path)?;
    }
    Ok(())
}

/// Makes an empty directory with another one's owner, so that a sandbox which had no files can make its own in it.
pub fn make_like(dir: &Path, like: &Path) -> io::Result<()> {
    fs::create_dir(dir)?;
    let (made, like) = (fs::metadata(dir)?, fs::metadata(like)?);
    let (owner, group) = (like.uid(), like.gid());
    if (made.uid(), made.gid()) == (owner, group) { Ok(()) } else { lchown(dir, Some(owner), Some(group)) }
}

/// What an archive says about an entry.
struct Facts {
    mode: u32,
    uid: u32,
    gid: u32,
    modified: TimeSpec,
    attributes: Vec<(CString, Vec<u8>)>,
    /// Of a link whose target the header has no room for.
    target: Option<Vec<u8>>,
}

impl Facts {
    fn of<R: Read>(entry: &mut Entry<R>) -> io::Result<Facts> {
        let mut attributes = Vec::new();
        let (mut exact, mut target) = (None, None);
        for extension in entry.pax_extensions()?.into_iter().flatten() {
            let extension = extension?;
            let Ok(key) = extension.key() else { continue };
            if key == "mtime" {
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

    fn own(&self, path: &Path) -> io::Result<()> {
        self.set_attributes(path)?;
        lchown(path, Some(self.uid), Some(self.gid))
    }

    fn set_attributes(&self, path: &Path) -> io::Result<()> {
        xattr::set_all(path, self.attributes.iter().map(|(name, value)| (name.as_c_str(), value.as_slice())))
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
    fchown(&file, Some(facts.uid), Some(facts.gid))?;
    // After the owner, which takes capabilities and the set-uid bit away.
    facts.set_attributes(path)?;
    file.set_permissions(Permissions::from_mode(facts.mode))?;
    Ok(futimens(&file, &facts.modified, &facts.modified)?)
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

fn link<R: Read>(entry: &Entry<R>, facts: &Facts) -> io::Result<PathBuf> {
    let short = || entry.link_name_bytes().map(|target| target.into_owned());
    let target = facts.target.clone().or_else(short).ok_or_else(|| damaged("a link without a target"))?;
    Ok(PathBuf::from(OsStr::from_bytes(&target)))
}

fn decoded(text: &[u8]) -> io::Result<Vec<u8>> {
    STANDARD.decode(text).map_err(|_| damaged("a description"))
}

/// A path of the archive below the directory.
fn below(dir: &Path, name: &[u8]) -> io::Result<PathBuf> {
    let name = Path::new(OsStr::from_bytes(name));
    let plain = name.components().all(|part| matches!(part, Component::Normal(_)));
    if plain && name.components().next().is_some() { Ok(dir.join(name)) } else { Err(damaged("a path leads out")) }
}

fn parse_time(text: &str) -> Option<TimeSpec> {
    let (seconds, nanoseconds) = text.split_once('.')?;
    Some(TimeSpec::new(seconds.parse().ok()?, nanoseconds.parse().ok()?))
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the archive is damaged: {what}"))
}
