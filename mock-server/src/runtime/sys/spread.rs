//! Where a file system puts new directories.

use std::{fs::File, io, os::fd::AsRawFd, path::Path};

/// `FS_TOPDIR_FL` of `linux/fs.h`.
const TOPDIR: libc::c_long = 0x0002_0000;

/// Lets ext4 spread the directories that are made in this one over its block groups (`chattr +T`). In one group, it looks at
/// every inode that was deleted in the last minutes before it makes a file: then ten thousand files take many seconds.
///
/// # Errors
/// Where the file system has no such flag.
pub fn spread(directory: &Path) -> io::Result<()> {
    let directory = File::open(directory)?;
    let mut flags: libc::c_long = 0;
    // SAFETY: the descriptor is open, and the kernel writes an int or a long to `flags`, which has room for both.
    if unsafe { libc::ioctl(directory.as_raw_fd(), libc::FS_IOC_GETFLAGS, &raw mut flags) } != 0 {
        return Err(io::Error::last_os_error());
    }
    flags |= TOPDIR;
    // SAFETY: as above, but it reads.
    if unsafe { libc::ioctl(directory.as_raw_fd(), libc::FS_IOC_SETFLAGS, &raw const flags) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
