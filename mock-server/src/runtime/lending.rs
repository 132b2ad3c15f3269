//! Files of a sandbox that the server reads itself. What is large leaves a sandbox faster by half when its agent passes the
//! opened file instead of its bytes (measured).
//!
//! The server offers it in a request's head, by a number ([`HEADER`]). An agent that takes it sends the descriptor over the
//! control socket and answers without a body, with the stretch of the file in the same header. A loan ends with the
//! sandbox: nothing of it stays open then.

use std::{
    collections::HashMap,
    fs::File,
    io,
    ops::Range,
    os::{fd::AsFd, unix::fs::FileExt},
    sync::Arc,
};

use parking_lot::Mutex;

use super::ctrl::{Awaited, Channel, Event};

/// In a request the number of the offer, in its answer `start-end`, the bytes of the file that it consists of.
pub const HEADER: &str = "x-daytona-mock-lend";

/// An agent's way to take an offer; an extension of the request.
#[derive(Clone)]
pub struct Lender {
    channel: Arc<Channel>,
    id: u32,
}

impl Lender {
    /// For the request that has this value of [`HEADER`].
    pub(super) fn new(channel: &Arc<Channel>, header: &[u8]) -> Option<Lender> {
        let id = std::str::from_utf8(header).ok()?.parse().ok()?;
        Some(Lender { channel: channel.clone(), id })
    }

    /// Passes the file. Where it can't, the answer has to carry the bytes.
    pub async fn lend(&self, file: &File) -> io::Result<()> {
        self.channel.send(&Event::Lent { id: self.id }, &[file.as_fd()]).await
    }
}

/// The server's side of an offer.
pub struct Offer {
    awaited: Awaited,
    loans: Loans,
}

impl Offer {
    pub(super) fn new(awaited: Awaited, loans: Loans) -> Offer {
        Offer { awaited, loans }
    }

    /// For the request.
    pub fn id(&self) -> u32 {
        self.awaited.id
    }

    /// The file, for an answer that says it comes. An error unless it is a regular one: nothing else may be read here, as
    /// whoever is root inside could make that wait for ever.
    pub async fn file(self) -> io::Result<Loan> {
        let file = File::from(self.awaited.descriptor().await?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it lent something else than a file"));
        }
        self.loans.take(file)
    }
}

/// What one sandbox has lent. Cheap to clone.
#[derive(Clone)]
pub(super) struct Loans(Arc<Mutex<State>>);

/// `None` once the sandbox is gone.
type State = Option<HashMap<u32, Arc<File>>>;

impl Default for Loans {
    fn default() -> Loans {
        Loans(Arc::new(Mutex::new(Some(HashMap::new()))))
    }
}

impl Loans {
    /// Closes all files but those that are being read this very moment.
    pub(super) fn end(&self) {
        self.0.lock().take();
    }

    fn take(self, file: File) -> io::Result<Loan> {
        let id = {
            let mut state = self.0.lock();
            let files = state.as_mut().ok_or(io::ErrorKind::NotConnected)?;
            let id = (0..).find(|id| !files.contains_key(id)).ok_or(io::ErrorKind::OutOfMemory)?;
            files.insert(id, Arc::new(file));
            id
        };
        Ok(Loan { loans: self, id })
    }
}

/// A file of a sandbox; given back when dropped.
pub struct Loan {
    loans: Loans,
    id: u32,
}

impl Loan {
    /// Fills the buffer with a stretch of the file. Blocking. `NotConnected` once the sandbox is gone, `UnexpectedEof` if the
    /// file has become shorter.
    pub fn read(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let file = self.loans.0.lock().as_ref().and_then(|files| files.get(&self.id).cloned());
        file.ok_or(io::ErrorKind::NotConnected)?.read_exact_at(buffer, at)
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some(files) = self.loans.0.lock().as_mut() {
            files.remove(&self.id);
        }
    }
}

/// `start-end`, for [`HEADER`].
pub fn stretch(range: &Range<u64>) -> String {
    format!("{}-{}", range.start, range.end)
}

/// What [`stretch`] wrote.
pub fn parse_stretch(text: &str) -> Option<Range<u64>> {
    let (start, end) = text.split_once('-')?;
    let range = start.parse().ok()?..end.parse().ok()?;
    (range.start <= range.end).then_some(range)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn lent(contents: &[u8]) -> (Loans, Loan) {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(contents).expect("written");
        let loans = Loans::default();
        let loan = loans.clone().take(file).expect("taken");
        (loans, loan)
    }

    #[test]
    fn a_loan_ends_with_the_sandbox_or_its_reader() {
        let (loans, loan) = lent(b"0123456789");
        let mut some = [0; 4];
        loan.read(&mut some, 3).expect("there");
        assert_eq!(&some, b"3456");
        assert_eq!(loan.read(&mut some, 8).expect_err("too far").kind(), io::ErrorKind::UnexpectedEof);
        let other = loans.clone().take(tempfile::tempfile().expect("a file")).expect("taken");
        drop(other);
        assert_eq!(loans.0.lock().as_ref().map(HashMap::len), Some(1));
        loans.end();
        assert_eq!(loan.read(&mut some, 0).expect_err("gone").kind(), io::ErrorKind::NotConnected);
        assert!(loans.take(tempfile::tempfile().expect("a file")).is_err());
    }

    #[test]
    fn stretches_are_read_as_written() {
        for range in [0..0, 5..5, 3..u64::MAX] {
            assert_eq!(parse_stretch(&stretch(&range)), Some(range));
        }
        for text in ["", "-", "1", "1-", "-1", "2-1", "1-2-3", "a-b", "1 - 2"] {
            assert_eq!(parse_stretch(text), None, "{text}");
        }
    }
}
