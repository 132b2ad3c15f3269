//! Memory that a burst of work leaves behind, and whether a file is in memory.

use std::{fs::File, io, ops::Range, os::fd::AsRawFd, ptr};

use memmap2::{Advice, Mmap, MmapOptions};

/// Keeps the C library from giving each thread a heap of its own, of which each would keep its largest extent.
pub fn share_heaps() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a number.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}

/// Gives free memory back to the system. Takes a millisecond or so.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes the allocator's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Whether the first `length` bytes of a file can be read without waiting for a disk, as far as the kernel tells: of files
/// that this process may not write it says so always.
pub fn is_cached(file: &File, length: usize) -> io::Result<bool> {
    if length == 0 {
        return Ok(true);
    }
    // SAFETY: a fresh mapping that nobody reads and that is taken down again; `pages` has a byte for each page.
    unsafe {
        let mut pages = vec![0u8; length.div_ceil(page_size())];
        let address = libc::mmap(ptr::null_mut(), length, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0);
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let result = libc::mincore(address, length, pages.as_mut_ptr());
        let known = if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) };
        libc::munmap(address, length);
        known.map(|()| pages.iter().all(|page| page & 1 == 1))
    }
}

/// A stretch of a file as the kernel has it in memory, for the kernel to read: sending it copies it once less. Reads it
/// from the disk where it must. An error where it ends before the stretch, or can't be mapped.
///
/// The file may change, or shrink, while it is mapped. So only system calls may read what this returns: they answer
/// `EFAULT` for what has gone, where the program itself would be killed by SIGBUS.
pub fn map(file: &File, range: Range<u64>) -> io::Result<Mmap> {
    let length = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
    // SAFETY: nothing here reads it, see above.
    let mapping = unsafe { MmapOptions::new().offset(range.start).len(length).map(file)? };
    mapping.advise(Advice::PopulateRead)?;
    Ok(mapping)
}

fn page_size() -> usize {
    // SAFETY: reads a number.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_was_just_written_is_cached() {
        let mut file = tempfile::tempfile().expect("file");
        file.write_all(&[1; 10_000]).expect("written");
        assert!(is_cached(&file, 10_000).expect("known"));
        assert!(is_cached(&file, 0).expect("known"));
    }

    #[test]
    fn what_has_gone_from_a_file_is_an_error_and_not_the_end() {
        let mut file = tempfile::tempfile().expect("file");
        file.write_all(&[1; 100_000]).expect("written");
        assert!(map(&file, 50_000..300_000).is_err());
        let mapping = map(&file, 5_000..100_000).expect("mapped");
        let mut other = tempfile::tempfile().expect("file");
        other.write_all(&mapping).expect("all there");
        file.set_len(10_000).expect("cut");
        let error = other.write_all(&mapping[20_000..]).expect_err("gone");
        assert_eq!(error.raw_os_error(), Some(libc::EFAULT));
    }
}
