//! Where in a file there is anything, and files that share blocks.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

/// `FICLONE` of `linux/fs.h`: `_IOW(0x94, 9, int)`.
const CLONE: libc::c_ulong = 0x4004_9409;

/// Makes `target` have `source`'s content without copying it, on file systems that can (btrfs, xfs, …).
pub fn clone(target: BorrowedFd, source: BorrowedFd) -> io::Result<()> {
    // SAFETY: the argument is a descriptor, no pointer.
    let result = unsafe { libc::ioctl(target.as_raw_fd(), CLONE as _, source.as_raw_fd()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The parts of a file of this length that are no holes: start and end of each. Moves the file's position.
pub fn data(file: BorrowedFd, length: u64) -> io::Result<Vec<(u64, u64)>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < length {
        let Some(start) = seek(file, at, libc::SEEK_DATA)?.filter(|start| *start < length) else { break };
        let end = seek(file, start, libc::SEEK_HOLE)?.unwrap_or(length).min(length);
        found.push((start, end));
        at = end;
    }
    Ok(found)
}

/// `None` behind the last of what is looked for.
fn seek(file: BorrowedFd, from: u64, whence: libc::c_int) -> io::Result<Option<u64>> {
    let from = libc::off_t::try_from(from).map_err(io::Error::other)?;
    // SAFETY: no pointers.
    let position = unsafe { libc::lseek(file.as_raw_fd(), from, whence) };
    match io::Error::last_os_error() {
        _ if position >= 0 => Ok(Some(position as u64)),
        error if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
        error => Err(error),
    }
}
