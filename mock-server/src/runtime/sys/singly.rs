//! A program that is mapped page by page. When one page of a file is touched, the kernel maps those around it too, a
//! stretch of 64 KiB or more, as far as it has them in memory. Of a program that saves faults; but of one of 40 MB that runs
//! through a tenth of them, half then counts as its own.
//!
//! The kernel doesn't where somebody watches for writes (`userfaultfd`, Linux 6.7). Nobody writes to a program, so nothing ever
//! comes of this watch: it is of the sort that the kernel answers by itself.

use std::{
    io,
    ops::Range,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    sync::OnceLock,
};

/// `linux/userfaultfd.h`.
const UFFD_USER_MODE_ONLY: i32 = 1;
const UFFD_API: u64 = 0xAA;
const UFFD_FEATURE_WP_ASYNC: u64 = 1 << 15;
const UFFDIO_REGISTER_MODE_WP: u64 = 1 << 1;

#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

#[repr(C)]
struct Register {
    start: u64,
    len: u64,
    mode: u64,
    ioctls: u64,
}

nix::ioctl_readwrite!(uffdio_api, UFFD_API, 0x3F, Api);
nix::ioctl_readwrite!(uffdio_register, UFFD_API, 0x00, Register);

/// From now on only those of these pages are mapped that are touched. They must be of files, and mapped as long as the process
/// lives. Older kernels, and containers that forbid it, answer an error and go on as before.
pub fn map(pages: &[Range<usize>]) -> io::Result<()> {
    /// Closed, it would watch no more.
    static WATCH: OnceLock<OwnedFd> = OnceLock::new();
    // SAFETY: makes a descriptor, which is nobody else's.
    let watch = unsafe {
        let fd = libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | libc::O_NONBLOCK | UFFD_USER_MODE_ONLY);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(fd as i32)
    };
    let mut api = Api { api: UFFD_API, features: UFFD_FEATURE_WP_ASYNC, ioctls: 0 };
    // SAFETY: a structure of the kernel's, for it to read and write.
    unsafe { uffdio_api(watch.as_raw_fd(), &raw mut api) }?;
    for pages in pages {
        let (start, len) = (pages.start as u64, pages.len() as u64);
        let mut register = Register { start, len, mode: UFFDIO_REGISTER_MODE_WP, ioctls: 0 };
        // SAFETY: the same; no access to the pages ever waits for this process, as nothing of them is write-protected
        // by this watch, and the kernel resolves what were (`WP_ASYNC`).
        unsafe { uffdio_register(watch.as_raw_fd(), &raw mut register) }?;
    }
    _ = WATCH.set(watch);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use memmap2::Mmap;

    use super::*;

    /// How much of the mapping at this address counts as the process's.
    fn resident(address: usize) -> String {
        let all = std::fs::read_to_string("/proc/self/smaps").expect("smaps");
        let own = all.split(&format!("{address:08x}-")).nth(1).expect("the mapping");
        own.lines().find_map(|line| line.strip_prefix("Rss:")).expect("a line").trim().to_owned()
    }

    #[test]
    fn only_what_is_touched_is_mapped() {
        const PAGES: usize = 256;
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&vec![7; PAGES * 4096]).expect("written");
        // SAFETY: nobody else has the file.
        let mapping = unsafe { Mmap::map(&file) }.expect("mapped");
        let start = mapping.as_ptr() as usize;
        if let Err(error) = map(std::slice::from_ref(&(start..start + mapping.len()))) {
            return println!("skipped: only_what_is_touched_is_mapped: {error}");
        }
        assert_eq!((mapping[0], mapping[128 * 4096]), (7, 7));
        assert_eq!(resident(start), "8 kB");
        assert_eq!(mapping.iter().filter(|byte| **byte == 7).count(), PAGES * 4096);
        assert_eq!(resident(start), format!("{} kB", PAGES * 4));
    }
}
