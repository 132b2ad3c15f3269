//! Unpacking a root file system, or a layer of one, from an archive that nobody vouches for.

use std::{
    ffi::{CString, OsStr},
    fs::{self, File, Permissions},
    io::{self, BufReader, Read},
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, PermissionsExt, lchown},
    },
    path::{Component, Path, PathBuf},
};

use indicatif::{ProgressBar, ProgressStyle};
use nix::sys::stat::{Mode, SFlag, mknod};
use sha2::{Digest, Sha256};
use tar::{Archive, Entry, EntryType};

use super::{
    layer::{Owners, seen_by_others},
    tree::OPAQUE,
};
use crate::{
    images::decompressed,
    runtime::{idmap, sys::xattr},
};

/// What the names of whiteouts start with (OCI image layer specification).
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE_WHITEOUT: &[u8] = b".wh..wh..opq";

/// Who owns what belongs to an id that sandboxes don't have.
const NOBODY: u64 = 65_534;

/// What an archive is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A whole root file system: at least one entry.
    Root,
    /// Changes to those below: may be empty, names with `.wh.` hide.
    Layer,
}

/// Bounds on what an archive may unpack to.
const MAX_ENTRIES: u64 = 2_000_000;
const MAX_BYTES: u64 = 64 << 30;

/// Unpacks a `.tar`, `.tar.gz` or `.tar.zst` file into the empty directory `dir`. Device nodes, FIFOs and sockets are
/// skipped: the runtime makes those that a sandbox gets.
///
/// # Errors
/// `InvalidData` for names and links that lead out of `dir`, for what exceeds the bounds and for what is no archive.
pub(super) fn unpack_file(file: &Path, dir: &Path, owners: Owners) -> io::Result<()> {
    let file = File::open(file)?;
    let style =
        ProgressStyle::with_template("unpacking the base {bar:30} {bytes}/{total_bytes}").map_err(io::Error::other)?;
    let bar = ProgressBar::new(file.metadata()?.len()).with_style(style);
    let reader = decompressed(BufReader::with_capacity(1 << 18, bar.wrap_read(file)))?;
    unpack(reader, dir, owners, Kind::Root)?;
    bar.finish_and_clear();
    Ok(())
}

/// Unpacks a layer of an image, plain or compressed, and checks the digest of what was in it.
///
/// # Errors
/// As [`unpack_file`], and when the digest is another one.
pub(super) fn unpack_layer(file: &Path, dir: &Path, owners: Owners, diff_id: &str) -> io::Result<()> {
    let reader = decompressed(BufReader::with_capacity(1 << 18, File::open(file)?))?;
    let mut reader = Hashed { reader: reader.take(MAX_BYTES), hash: Sha256::new() };
    unpack(&mut reader, dir, owners, Kind::Layer)?;
    // What follows the end of the archive is part of the digest.
    io::copy(&mut reader, &mut io::sink())?;
    let hash = reader.hash.finalize();
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    if diff_id.strip_prefix("sha256:") != Some(&hex) {
        return Err(invalid(&format!("a layer's content has the digest sha256:{hex}, not {diff_id}")));
    }
    Ok(())
}

/// Hashes what is read through it.
struct Hashed<R> {
    reader: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.reader.read(buffer)?;
        self.hash.update(&buffer[..length]);
        Ok(length)
    }
}

fn unpack(reader: impl Read, dir: &Path, owners: Owners, kind: Kind) -> io::Result<()> {
    let dir = dir.canonicalize()?;
    let mut archive = Archive::new(reader.take(MAX_BYTES));
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(false);
    let mut directories = Vec::new();
    let (mut count, mut bytes) = (0, 0_u64);
    for entry in archive.entries()? {
        let mut entry = entry?;
        count += 1;
        bytes = bytes.saturating_add(entry.size());
        if count > MAX_ENTRIES || bytes > MAX_BYTES {
            return Err(invalid("larger than a root file system may be"));
        }
        if kind == Kind::Root || !hide(&entry.path()?, &dir)? {
            unpack_entry(&mut entry, &dir, owners, &mut directories)?;
        }
    }
    if count == 0 && kind == Kind::Root {
        return Err(invalid("an empty archive"));
    }
    // Last, for a directory may be closed to its own owner; children before parents.
    for (path, mode) in directories.into_iter().rev() {
        let inside = path.canonicalize().is_ok_and(|real| real.starts_with(&dir));
        if inside && path.symlink_metadata()?.is_dir() {
            fs::set_permissions(&path, Permissions::from_mode(mode))?;
        }
    }
    Ok(())
}

fn unpack_entry<R: Read>(
    entry: &mut Entry<R>,
    dir: &Path,
    owners: Owners,
    directories: &mut Vec<(PathBuf, u32)>,
) -> io::Result<()> {
    let path = plain_name(&entry.path()?)?;
    let (mode, uid) = (entry.header().mode()? & 0o7777, entry.header().uid()?);
    let wanted = if owners == Owners::Mine && uid == 0 { seen_by_others(mode) } else { mode };
    match entry.header().entry_type() {
        EntryType::Link => drop(entry.link_name()?.map(|name| plain_name(&name)).transpose()?),
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => entry.set_mask(mode & !wanted),
        EntryType::Symlink | EntryType::Directory => {}
        _ => return Ok(()),
    }
    if path.as_os_str().is_empty() {
        return Ok(());
    }
    uncover(&dir.join(&path), entry.header().entry_type())?;
    if !entry.unpack_in(dir)? {
        return Err(invalid(&format!("{} leads out of the archive", path.display())));
    }
    let kind = entry.header().entry_type();
    if owners == Owners::Real && kind != EntryType::Link {
        own(&dir.join(&path), uid, entry.header().gid()?, (kind != EntryType::Symlink).then_some(wanted))?;
    }
    if entry.header().entry_type().is_dir() {
        let target = dir.join(&path);
        // A link of that name may be there already, and a mode is set on what it points to.
        if !target.symlink_metadata()?.is_dir() {
            return Err(invalid(&format!("{} is a link and a directory", path.display())));
        }
        fs::set_permissions(&target, Permissions::from_mode(wanted | 0o700))?;
        directories.push((target, wanted));
    }
    Ok(())
}

/// Removes a whiteout that came before what replaces it.
fn uncover(path: &Path, kind: EntryType) -> io::Result<()> {
    let covered = fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_char_device());
    if covered {
        fs::remove_file(path)?;
        if kind.is_dir() {
            fs::create_dir(path)?;
            xattr::set(&CString::new(path.as_os_str().as_bytes())?, OPAQUE, b"y")?;
        }
    }
    Ok(())
}

/// Gives an entry that was just made its owner, and its mode again: a chown clears the set-uid bit.
fn own(path: &Path, uid: u64, gid: u64, mode: Option<u32>) -> io::Result<()> {
    let known = |id: u64| if id < u64::from(idmap::COUNT) { id as u32 } else { NOBODY as u32 };
    lchown(path, Some(known(uid)), Some(known(gid)))?;
    // A link of that name may have been there before; its target is not ours to change.
    match mode {
        Some(mode) if mode & 0o6000 != 0 && !path.is_symlink() => {
            fs::set_permissions(path, Permissions::from_mode(mode))
        }
        _ => Ok(()),
    }
}

/// Turns a whiteout of a layer's archive into overlayfs's form; false if it is none.
fn hide(name: &Path, dir: &Path) -> io::Result<bool> {
    let name = plain_name(name)?;
    let Some(last) = name.file_name().filter(|last| last.as_bytes().starts_with(WHITEOUT)) else { return Ok(false) };
    let parent = make_plain_dirs(dir, name.parent().unwrap_or(Path::new("")))?;
    if last.as_bytes() == OPAQUE_WHITEOUT {
        let path = CString::new(parent.as_os_str().as_bytes())?;
        return xattr::set(&path, OPAQUE, b"y").map(|()| true);
    }
    let hidden = OsStr::from_bytes(&last.as_bytes()[WHITEOUT.len()..]);
    // `.wh..wh.plnk` and the like are another file system's book-keeping.
    if hidden.is_empty() || hidden == "." || hidden == ".." || hidden.as_bytes().starts_with(WHITEOUT) {
        return Ok(true);
    }
    let path = parent.join(hidden);
    match fs::symlink_metadata(&path) {
        // The same layer has it, so nothing below shows through a file; a directory merges with what is below.
        Ok(meta) if meta.is_dir() => {
            xattr::set(&CString::new(path.as_os_str().as_bytes())?, OPAQUE, b"y")?;
        }
        Ok(_) => {}
        Err(_) => mknod(&path, SFlag::S_IFCHR, Mode::empty(), 0)?,
    }
    Ok(true)
}

/// Sees to it that every part of a path is a directory, not a link, and makes those that are missing.
fn make_plain_dirs(dir: &Path, relative: &Path) -> io::Result<PathBuf> {
    let mut path = dir.to_owned();
    for part in relative.components() {
        path.push(part);
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return Err(invalid(&format!("{} is no directory", relative.display()))),
            Err(_) => fs::create_dir(&path)?,
        }
    }
    Ok(path)
}

/// The name without `./`; empty for the root itself.
fn plain_name(path: &Path) -> io::Result<PathBuf> {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => plain.push(name),
            Component::CurDir => {}
            _ => return Err(invalid(&format!("{} leads out of the archive", path.display()))),
        }
    }
    Ok(plain)
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn entry(name: &str, kind: EntryType, link: &str, content: &[u8]) -> Vec<u8> {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(if kind.is_dir() { 0o555 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(content.len() as u64);
        let (name, link) = (name.as_bytes(), link.as_bytes());
        // By hand: the crate refuses to write what we have to refuse to read.
        let bytes = header.as_mut_bytes();
        bytes[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
        bytes[157..157 + link.len()].copy_from_slice(link);
        header.set_cksum();
        let mut block = header.as_bytes().to_vec();
        block.extend(content);
        block.resize(block.len().next_multiple_of(512), 0);
        block
    }

    fn unpack_all(entries: &[Vec<u8>]) -> (tempfile::TempDir, io::Result<()>) {
        unpack_as(Kind::Root, entries)
    }

    fn unpack_as(kind: Kind, entries: &[Vec<u8>]) -> (tempfile::TempDir, io::Result<()>) {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let dir = temp.path().join("root");
        fs::create_dir(&dir).expect("the root");
        let mut bytes = entries.concat();
        bytes.extend([0; 1024]);
        let owners = if nix::unistd::geteuid().is_root() { Owners::Real } else { Owners::Mine };
        let done = unpack(bytes.as_slice(), &dir, owners, kind);
        (temp, done)
    }

    #[test]
    fn a_small_root_is_unpacked_with_closed_directories() {
        let (temp, done) = unpack_all(&[
            entry("./", EntryType::Directory, "", b""),
            entry("etc/", EntryType::Directory, "", b""),
            entry("etc/passwd", EntryType::Regular, "", b"root:x:0:0::/root:/bin/sh\n"),
            entry("dev-null", EntryType::Char, "", b""),
            entry("bin", EntryType::Symlink, "/usr/bin", b""),
            entry("again", EntryType::Link, "etc/passwd", b""),
        ]);
        done.expect("unpacked");
        let root = temp.path().join("root");
        assert_eq!(fs::metadata(root.join("etc")).expect("etc").mode() & 0o777, 0o555);
        assert_eq!(fs::read_link(root.join("bin")).expect("bin"), Path::new("/usr/bin"));
        assert_eq!(fs::metadata(root.join("again")).expect("again").nlink(), 2);
        assert!(!root.join("dev-null").exists());
    }

    #[test]
    fn hostile_entries_are_refused() {
        let out = |name| vec![entry(name, EntryType::Regular, "", b"x")];
        let through = vec![entry("a", EntryType::Symlink, "..", b""), entry("a/out", EntryType::Regular, "", b"x")];
        let absolute = vec![entry("a", EntryType::Symlink, "/tmp", b""), entry("a/out", EntryType::Regular, "", b"x")];
        let hard = vec![entry("a", EntryType::Link, "../../etc/passwd", b"")];
        let hard_absolute = vec![entry("a", EntryType::Link, "/etc/passwd", b"")];
        let mode = vec![entry("a", EntryType::Symlink, "..", b""), entry("a/", EntryType::Directory, "", b"")];
        for entries in
            [mode, out("/etc/x"), out("../x"), out("a/../../x"), through, absolute, hard, hard_absolute, vec![]]
        {
            let (temp, done) = unpack_all(&entries);
            assert!(done.is_err());
            assert_eq!(fs::read_dir(temp.path()).expect("the directory").count(), 1, "something came out");
            assert_ne!(fs::metadata(temp.path()).expect("the directory").mode() & 0o777, 0o555, "a mode came out");
        }
    }

    #[test]
    fn whiteouts_become_overlayfs_s_own() {
        let (temp, done) = unpack_as(
            Kind::Layer,
            &[
                entry("a/.wh.gone", EntryType::Regular, "", b""),
                entry("a/.wh.back", EntryType::Regular, "", b""),
                entry("a/back", EntryType::Regular, "", b"new"),
                entry("a/.wh.dir", EntryType::Regular, "", b""),
                entry("a/dir/", EntryType::Directory, "", b""),
                entry("b/", EntryType::Directory, "", b""),
                entry("b/.wh..wh..opq", EntryType::Regular, "", b""),
                entry(".wh..wh.plnk", EntryType::Regular, "", b""),
            ],
        );
        done.expect("unpacked");
        let root = temp.path().join("root");
        let opaque = |name: &str| {
            let path = CString::new(root.join(name).as_os_str().as_bytes()).expect("a path");
            xattr::get(&path, OPAQUE).is_some()
        };
        assert!(fs::symlink_metadata(root.join("a/gone")).expect("there").file_type().is_char_device());
        assert_eq!(fs::read(root.join("a/back")).expect("read"), b"new");
        assert!(opaque("b") && opaque("a/dir") && !opaque("a"));
        assert_eq!(fs::read_dir(&root).expect("root").count(), 2);
    }

    #[test]
    fn whiteouts_lead_nowhere_either() {
        let white = |name| entry(name, EntryType::Regular, "", b"");
        let through = vec![entry("a", EntryType::Symlink, "..", b""), white("a/.wh.root")];
        let opaque = vec![entry("a", EntryType::Symlink, "/tmp", b""), white("a/.wh..wh..opq")];
        for entries in [through, opaque, vec![white("../.wh.root")], vec![white("/.wh.tmp")]] {
            let (temp, done) = unpack_as(Kind::Layer, &entries);
            assert!(done.is_err());
            assert_eq!(fs::read_dir(temp.path()).expect("the directory").count(), 1, "something came out");
            assert!(temp.path().join("root").is_dir());
        }
        for harmless in [".wh..", ".wh...", ".wh."] {
            unpack_as(Kind::Layer, &[white(harmless)]).1.expect("ignored");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_name_leads_out(name in "[a./]{1,40}", link in "[a./]{1,40}", kind in 0..3_usize) {
            let kind = [EntryType::Regular, EntryType::Symlink, EntryType::Link][kind];
            let entries = [entry(&name, kind, &link, b""), entry("a/a", EntryType::Regular, "", b"x"),
                entry("a/.wh.b", EntryType::Regular, "", b"")];
            let (temp, _) = unpack_as(Kind::Layer, &entries);
            let count = fs::read_dir(temp.path()).expect("the directory").count();
            proptest::prop_assert_eq!(count, 1);
        }

        #[test]
        fn plain_names_are_relative_and_normal(name: String) {
            if let Ok(plain) = plain_name(Path::new(&name)) {
                proptest::prop_assert!(plain.components().all(|part| matches!(part, Component::Normal(_))));
            }
        }
    }
}
