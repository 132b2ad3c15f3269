//! Copies of what sandboxes wrote.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::{
        fd::AsFd,
        unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown, lchown, symlink},
    },
    path::{Path, PathBuf},
};

use nix::{
    sys::stat::{Mode, SFlag, UtimensatFlags, futimens, mknod, utimensat},
    sys::time::TimeSpec,
};

use crate::runtime::sys::{files, xattr};

/// Copies a whole tree with owners, modes, times, attributes, hard links and holes; sockets and devices but whiteouts are
/// left out. Nothing below another mount is copied. Files share their blocks where the file system can do that.
pub(crate) fn copy_whole(source: &Path, target: &Path) -> io::Result<()> {
    let mut linked: HashMap<u64, PathBuf> = HashMap::new();
    let mut opened = Opened::default();
    // Set last: in tier single a directory may be closed to its owner, and what is made in it changes its time.
    let mut directories = Vec::new();
    let mut waiting = vec![(source.to_owned(), target.to_owned())];
    let device = fs::symlink_metadata(source)?.dev();
    while let Some((from, to)) = waiting.pop() {
        let meta = fs::symlink_metadata(&from)?;
        if meta.nlink() > 1 && meta.is_file() {
            if let Some(first) = linked.get(&meta.ino()) {
                fs::hard_link(first, &to)?;
                continue;
            }
            linked.insert(meta.ino(), to.clone());
        }
        if meta.is_dir() {
            opened.open(&from, &meta);
        }
        copy_entry(&from, &to, &meta)?;
        if meta.is_dir() {
            if meta.dev() == device {
                let entries: io::Result<Vec<_>> = fs::read_dir(&from)?.collect();
                waiting.extend(entries?.iter().map(|entry| (entry.path(), to.join(entry.file_name()))));
            }
            directories.push((to, meta));
        }
    }
    for (directory, meta) in directories.into_iter().rev() {
        fs::set_permissions(&directory, Permissions::from_mode(meta.mode() & 0o7777))?;
        set_times(&directory, &meta)?;
    }
    Ok(())
}

fn copy_entry(from: &Path, to: &Path, meta: &fs::Metadata) -> io::Result<()> {
    let kind = meta.file_type();
    if kind.is_file() {
        return copy_file(from, to, meta);
    }
    if kind.is_dir() {
        match fs::create_dir(to) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    } else if kind.is_symlink() {
        symlink(fs::read_link(from)?, to)?;
    } else if kind.is_fifo() {
        mknod(to, SFlag::S_IFIFO, Mode::from_bits_truncate(meta.mode() & 0o7777), 0)?;
    } else if kind.is_char_device() && meta.rdev() == 0 {
        mknod(to, SFlag::S_IFCHR, Mode::empty(), 0)?;
    } else {
        return Ok(());
    }
    lchown(to, Some(meta.uid()), Some(meta.gid()))?;
    if kind.is_dir() {
        xattr::copy(from, to)?;
    } else if kind.is_symlink() {
        set_times(to, meta)?;
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path, meta: &fs::Metadata) -> io::Result<()> {
    let mut source = open_to_read(from, meta)?;
    let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    if meta.len() > 0 && files::clone(target.as_fd(), source.as_fd()).is_err() {
        copy_data(&mut source, &mut target, meta)?;
    }
    xattr::copy(from, to)?;
    fchown(&target, Some(meta.uid()), Some(meta.gid()))?;
    // After the owner: a chown clears the set-uid bit.
    target.set_permissions(Permissions::from_mode(meta.mode() & 0o7777))?;
    let (accessed, modified) = times(meta);
    Ok(futimens(&target, &accessed, &modified)?)
}

/// Leaves holes where they are.
fn copy_data(source: &mut File, target: &mut File, meta: &fs::Metadata) -> io::Result<()> {
    const BLOCK: u64 = 512;
    if meta.blocks() * BLOCK >= meta.len() {
        return io::copy(source, target).map(drop);
    }
    for (start, end) in files::data(source.as_fd(), meta.len())? {
        io::Seek::seek(source, io::SeekFrom::Start(start))?;
        io::Seek::seek(target, io::SeekFrom::Start(start))?;
        io::copy(&mut io::Read::take(&mut *source, end - start), target)?;
    }
    target.set_len(meta.len())
}

/// Directories that their own owner had closed to himself, in tier single to us: open for as long as this is kept.
#[derive(Default)]
pub(crate) struct Opened(Vec<(PathBuf, u32)>);

impl Opened {
    /// Opens one, if it is closed and can be opened.
    pub fn open(&mut self, directory: &Path, meta: &fs::Metadata) {
        let mode = meta.mode() & 0o7777;
        if mode & 0o500 != 0o500 && fs::set_permissions(directory, Permissions::from_mode(mode | 0o500)).is_ok() {
            self.0.push((directory.to_owned(), mode));
        }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        for (path, mode) in self.0.drain(..).rev() {
            let _ = fs::set_permissions(path, Permissions::from_mode(mode));
        }
    }
}

/// Opens a file that its own owner may have closed to himself: in tier single that is who we are.
pub(crate) fn open_to_read(path: &Path, meta: &fs::Metadata) -> io::Result<File> {
    let open = || OpenOptions::new().read(true).custom_flags(nix::libc::O_NOFOLLOW).open(path);
    match open() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let mode = meta.mode() & 0o7777;
            fs::set_permissions(path, Permissions::from_mode(mode | 0o400))?;
            let opened = open();
            fs::set_permissions(path, Permissions::from_mode(mode))?;
            opened
        }
        opened => opened,
    }
}

fn times(meta: &fs::Metadata) -> (TimeSpec, TimeSpec) {
    (TimeSpec::new(meta.atime(), meta.atime_nsec()), TimeSpec::new(meta.mtime(), meta.mtime_nsec()))
}

fn set_times(path: &Path, meta: &fs::Metadata) -> io::Result<()> {
    let (accessed, modified) = times(meta);
    Ok(utimensat(nix::fcntl::AT_FDCWD, path, &accessed, &modified, UtimensatFlags::NoFollowSymlink)?)
}
