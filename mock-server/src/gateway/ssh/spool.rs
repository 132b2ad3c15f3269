//! Input that a program hasn't read yet, beyond what is kept in memory. The library refills a client's window as soon as
//! data arrives, so that a program that doesn't read can't slow its client down; holding the connection back instead
//! would hold up everything else on it, and with what the client reads in its turn, for ever.
//!
//! Unnamed files, a few megabytes each: what was read is freed.

use std::{
    collections::VecDeque,
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;

/// A file's size when the next one begins.
const SEGMENT: u64 = 16 << 20;

/// Read at once.
const READ: usize = 256 << 10;

/// What all spools of a server may hold, in bytes.
pub struct Budget {
    left: AtomicUsize,
    directory: PathBuf,
}

impl Budget {
    pub fn new(bytes: usize, directory: PathBuf) -> Budget {
        Budget { left: AtomicUsize::new(bytes), directory }
    }

    pub fn take(&self, count: usize) -> io::Result<()> {
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(count));
        taken.map(drop).map_err(|_| io::Error::new(io::ErrorKind::QuotaExceeded, "too much unread input"))
    }

    pub fn give(&self, count: usize) {
        self.left.fetch_add(count, Ordering::Relaxed);
    }
}

/// First in, first out. Blocking.
#[derive(Default)]
pub struct Spool {
    segments: VecDeque<Segment>,
}

struct Segment {
    file: File,
    read: u64,
    written: u64,
}

impl Spool {
    pub fn push(&mut self, bytes: &[u8], budget: &Budget) -> io::Result<()> {
        if self.segments.back().is_none_or(|last| last.written >= SEGMENT) {
            let file = tempfile::tempfile_in(&budget.directory)?;
            self.segments.push_back(Segment { file, read: 0, written: 0 });
        }
        let Some(last) = self.segments.back_mut() else { return Ok(()) };
        last.file.write_all_at(bytes, last.written)?;
        last.written += bytes.len() as u64;
        Ok(())
    }

    /// What comes next; empty if nothing does.
    pub fn pop(&mut self) -> io::Result<Bytes> {
        let Some(first) = self.segments.front_mut() else { return Ok(Bytes::new()) };
        let mut bytes = vec![0; READ.min((first.written - first.read) as usize)];
        first.file.read_exact_at(&mut bytes, first.read)?;
        first.read += bytes.len() as u64;
        if first.read == first.written {
            self.segments.pop_front();
        }
        Ok(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_in_order() {
        let budget = Budget::new(1, std::env::temp_dir());
        let mut spool = Spool::default();
        assert!(spool.pop().expect("nothing").is_empty());
        let piece: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
        for _ in 0..40 {
            spool.push(&piece, &budget).expect("pushed");
        }
        let mut all = Vec::new();
        loop {
            let bytes = spool.pop().expect("popped");
            if bytes.is_empty() {
                break;
            }
            all.extend_from_slice(&bytes);
        }
        assert!(all == piece.repeat(40));
        assert!(spool.segments.is_empty());
    }

    #[test]
    fn budgets_are_kept() {
        let budget = Budget::new(10, std::env::temp_dir());
        budget.take(8).expect("room");
        budget.take(3).expect_err("no room");
        budget.give(8);
        budget.take(10).expect("room");
    }
}
