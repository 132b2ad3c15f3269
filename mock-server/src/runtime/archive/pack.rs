//! Writing archives: a tar in the format of pax, with what overlayfs sees as it is, compressed by zstd.

use std::{
    collections::HashMap,
    fs::{self, Metadata, OpenOptions},
    io::{self, BufWriter, Read, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use tar::{Builder, EntryType, Header};

use super::Owners;
use crate::runtime::{
    base::{Opened, open_to_read},
    sys::xattr,
};

/// Fast, and most of what can be gained.
const LEVEL: i32 = 1;

/// An extended attribute: its name, NUL, its value. In base64, because a record of pax can't hold every byte.
pub(super) const XATTR: &str = "DAYTONA.xattr";
/// A link's target that is too long for the header, in base64.
pub(super) const TARGET: &str = "DAYTONA.target";

/// In a global record: owners are those inside ([`Owners`]). Archives of earlier versions have those on disk.
pub(super) const OWNERS: &str = "DAYTONA.owners";
pub(super) const INSIDE: &str = "inside";

/// The longest target of a link that fits in a header.
const SHORT_LINK: usize = 99;

/// Writes everything below a directory to a file. A directory that isn't there makes an empty archive.
///
/// # Errors
/// `Interrupted` when `stopped` says so.
pub fn pack(from: &Path, to: &Path, owners: Owners, stopped: &dyn Fn() -> bool) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to)?;
    let mut builder = Builder::new(zstd::Encoder::new(BufWriter::with_capacity(1 << 18, file), LEVEL)?);
    say_owners(&mut builder)?;
    if fs::symlink_metadata(from).is_ok() {
        let (linked, opened) = (HashMap::new(), Opened::default());
        Packer { root: from, builder: &mut builder, owners, linked, opened }.walk(stopped)?;
    }
    builder.into_inner()?.finish()?.flush()
}

fn has_holes(meta: &Metadata) -> bool {
    meta.blocks() * 512 < meta.len()
}

fn say_owners(builder: &mut Builder<impl Write>) -> io::Result<()> {
    // The record's own length counts.
    let rest = format!(" {OWNERS}={INSIDE}\n");
    let record = format!("{}{rest}", rest.len() + 2);
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::XGlobalHeader);
    header.set_path("owners")?;
    header.set_mode(0o644);
    header.set_size(record.len() as u64);
    header.set_cksum();
    builder.append(&header, record.as_bytes())
}

struct Packer<'a, W: Write> {
    root: &'a Path,
    builder: &'a mut Builder<W>,
    owners: Owners,
    /// Files with several names, by inode: the first name.
    linked: HashMap<u64, PathBuf>,
    opened: Opened,
}

impl<W: Write> Packer<'_, W> {
    fn walk(&mut self, stopped: &dyn Fn() -> bool) -> io::Result<()> {
        let mut directories = vec![self.root.to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in self.entries(&directory)? {
                if stopped() {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                let (path, meta) = (entry.path(), entry.metadata()?);
                self.add(&path, &meta)?;
                if meta.is_dir() {
                    directories.push(path);
                }
            }
        }
        Ok(())
    }

    /// What is in a directory, which in tier single may be closed to its owner: us.
    fn entries(&mut self, directory: &Path) -> io::Result<Vec<fs::DirEntry>> {
        self.opened.open(directory, &fs::symlink_metadata(directory)?);
        fs::read_dir(directory)?.collect()
    }

    fn add(&mut self, path: &Path, meta: &Metadata) -> io::Result<()> {
        let (kind, name) = (meta.file_type(), path.strip_prefix(self.root).map_err(io::Error::other)?);
        if kind.is_file() && meta.nlink() > 1 {
            if let Some(first) = self.linked.get(&meta.ino()).cloned() {
                return self.add_link(name, meta, EntryType::Link, first.as_os_str().as_bytes());
            }
            self.linked.insert(meta.ino(), name.to_owned());
        }
        if kind.is_file() {
            self.describe(path, meta, None)?;
            return self.add_file(path, name, meta);
        }
        if kind.is_symlink() {
            return self.add_link(name, meta, EntryType::Symlink, fs::read_link(path)?.as_os_str().as_bytes());
        }
        let kind = match kind {
            kind if kind.is_dir() => EntryType::Directory,
            kind if kind.is_fifo() => EntryType::Fifo,
            // A whiteout; a sandbox can't make other devices.
            kind if kind.is_char_device() && meta.rdev() == 0 => EntryType::Char,
            _ => return Ok(()),
        };
        self.describe(path, meta, None)?;
        let mut header = self.header(kind, meta);
        self.builder.append_data(&mut header, name, io::empty())
    }

    fn add_file(&mut self, path: &Path, name: &Path, meta: &Metadata) -> io::Result<()> {
        let mut file = open_to_read(path, meta)?;
        if has_holes(meta) {
            return self.builder.append_file(name, &mut file);
        }
        let mut header = self.header(EntryType::Regular, meta);
        header.set_size(meta.len());
        // Just so long, whoever writes to it meanwhile.
        let exact = file.take(meta.len()).chain(io::repeat(0)).take(meta.len());
        self.builder.append_data(&mut header, name, exact)
    }

    fn add_link(&mut self, name: &Path, meta: &Metadata, kind: EntryType, target: &[u8]) -> io::Result<()> {
        let mut header = self.header(kind, meta);
        let long = (target.len() > SHORT_LINK).then_some(target);
        if kind == EntryType::Symlink || long.is_some() {
            // Links have no attributes that matter.
            self.describe(Path::new(""), meta, long)?;
        }
        // As it is: another way of writing it would be another link.
        header.set_link_name_literal(&target[..target.len().min(SHORT_LINK)])?;
        self.builder.append_data(&mut header, name, io::empty())
    }

    /// What doesn't fit in the header that follows: the exact time, attributes, a long target.
    fn describe(&mut self, path: &Path, meta: &Metadata, target: Option<&[u8]>) -> io::Result<()> {
        let time = format!("{}.{:09}", meta.mtime(), meta.mtime_nsec());
        let attributes = if path.as_os_str().is_empty() { Vec::new() } else { xattr::all(path)? };
        let attributes = attributes.into_iter().map(|(name, value)| {
            let value = self.owners.inside_value(&name, value);
            (XATTR, STANDARD.encode([name.as_bytes(), b"\0", value.as_slice()].concat()).into_bytes())
        });
        let target = target.map(|target| (TARGET, STANDARD.encode(target).into_bytes()));
        let (uid, gid) = self.owners.inside(meta.uid(), meta.gid());
        // The header of a file with holes is made of what is on disk.
        let owner = [("uid", uid), ("gid", gid)].into_iter().filter(|_| meta.is_file() && has_holes(meta));
        let owner = owner.map(|(key, id)| (key, id.to_string().into_bytes()));
        let all: Vec<_> =
            [("mtime", time.into_bytes())].into_iter().chain(owner).chain(attributes).chain(target).collect();
        let all = all.iter().map(|(key, value)| (*key, value.as_slice()));
        self.builder.append_pax_extensions(all)
    }

    fn header(&self, kind: EntryType, meta: &Metadata) -> Header {
        let mut header = Header::new_gnu();
        let (uid, gid) = self.owners.inside(meta.uid(), meta.gid());
        header.set_entry_type(kind);
        header.set_mode(meta.mode() & 0o7777);
        header.set_uid(uid.into());
        header.set_gid(gid.into());
        header.set_mtime(meta.mtime().max(0) as u64);
        header.set_size(0);
        header
    }
}
