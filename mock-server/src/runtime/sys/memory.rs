//! Memory that a burst of work leaves behind, and whether a file is in memory.

use std::{
    fs::File,
    io,
    ops::Range,
    os::fd::AsRawFd,
    ptr,
    sync::atomic::{AtomicBool, Ordering},
};

use memmap2::{Advice, Mmap, MmapOptions};

use super::singly;

/// The process is the server's alone.
static OWN: AtomicBool = AtomicBool::new(false);

/// For the process that is the server's alone, and not a test's that has one inside: it is kept small. Keeps the C library from
/// giving each thread a heap of its own, of which each would keep its largest extent, and the kernel from mapping parts of the
/// program that nobody needs.
pub fn keep_small() {
    OWN.store(true, Ordering::Relaxed);
    if let Err(error) = singly::map(&program()) {
        tracing::debug!(%error, "the program is mapped in large pieces");
    }
    // What has run until here was.
    give_program_back();
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a number.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}

/// Whether [`keep_small`] was said.
pub fn is_kept_small() -> bool {
    OWN.load(Ordering::Relaxed)
}

/// Gives free memory back to the system. Takes a millisecond or so.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes the allocator's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Gives the pages of the program itself back: the system has them anyway, and what runs again finds them there for a fault of
/// a microsecond each.
pub fn give_program_back() {
    for pages in program() {
        // SAFETY: pages of a private mapping of the program's file that nobody can have changed: the next access reads
        // the same from the file.
        unsafe { libc::madvise(pages.start as *mut libc::c_void, pages.len(), libc::MADV_DONTNEED) };
    }
}

/// The main program's segments that were never writable, so that the file still has every byte of them: their addresses, in
/// whole pages.
fn program() -> Vec<Range<usize>> {
    let mut pages = Vec::new();
    // SAFETY: the callback fits, and what it takes lives until it is done.
    unsafe {
        libc::dl_iterate_phdr(Some(note_program), (&raw mut pages).cast());
    }
    pages
}

/// For the first program that the loader names, which is the main one.
unsafe extern "C" fn note_program(info: *mut libc::dl_phdr_info, _: usize, pages: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the loader gives the headers of a program that is loaded, and for as long as this runs; `pages` is what
    // `program` gave.
    let (base, headers, pages) = unsafe {
        let info = &*info;
        let headers = std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum));
        (info.dlpi_addr as usize, headers, &mut *pages.cast::<Vec<Range<usize>>>())
    };
    for header in headers.iter().filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0) {
        let (start, end) = (base + header.p_vaddr as usize, base + (header.p_vaddr + header.p_filesz) as usize);
        // The last page may be shared with what follows.
        let (start, end) = (start.next_multiple_of(page_size()), end - end % page_size());
        if start < end {
            pages.push(start..end);
        }
    }
    1
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
    fn a_program_runs_on_without_its_pages() {
        let resident = || {
            let status = std::fs::read_to_string("/proc/self/status").expect("status");
            let line = status.lines().find_map(|line| line.strip_prefix("RssFile:")).expect("a line").trim();
            line.strip_suffix(" kB").and_then(|size| size.parse::<usize>().ok()).expect("a size")
        };
        let before = resident();
        give_program_back();
        assert!(resident() < before, "{} of {before} kB", resident());
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
