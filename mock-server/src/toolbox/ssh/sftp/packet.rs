//! Reading requests and writing answers.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::unix::ffi::{OsStrExt, OsStringExt},
};

/// Codes of answers.
pub const VERSION: u8 = 2;
pub const STATUS: u8 = 101;
pub const HANDLE: u8 = 102;
pub const DATA: u8 = 103;
pub const NAME: u8 = 104;
pub const ATTRS: u8 = 105;
pub const EXTENDED_REPLY: u8 = 201;

/// Codes of [`STATUS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Status {
    Ok = 0,
    Eof = 1,
    NoSuchFile = 2,
    PermissionDenied = 3,
    Failure = 4,
    BadMessage = 5,
    Unsupported = 8,
}

/// Takes a request apart.
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    pub fn u8(&mut self) -> io::Result<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    pub fn u32(&mut self) -> io::Result<u32> {
        self.take().map(u32::from_be_bytes)
    }

    pub fn u64(&mut self) -> io::Result<u64> {
        self.take().map(u64::from_be_bytes)
    }

    pub fn bytes(&mut self) -> io::Result<&'a [u8]> {
        let length = self.u32()? as usize;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(io::ErrorKind::InvalidData)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// A file name.
    pub fn name(&mut self) -> io::Result<OsString> {
        self.bytes().map(|bytes| OsString::from_vec(bytes.to_vec()))
    }

    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(io::ErrorKind::InvalidData)?;
        self.0 = rest;
        Ok(*taken)
    }
}

/// Puts an answer together.
pub struct Answer(Vec<u8>);

impl Answer {
    pub fn new(kind: u8) -> Answer {
        // The length comes last.
        Answer(vec![0, 0, 0, 0, kind])
    }

    /// The answer to a request with this number.
    pub fn to(kind: u8, id: u32) -> Answer {
        Answer::new(kind).u32(id)
    }

    pub fn status(id: u32, status: Status, text: &str) -> Answer {
        Answer::to(STATUS, id).u32(status as u32).bytes(text.as_bytes()).bytes(b"en")
    }

    pub fn u32(mut self, value: u32) -> Answer {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn u64(mut self, value: u64) -> Answer {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn bytes(mut self, bytes: &[u8]) -> Answer {
        self.0.extend((bytes.len() as u32).to_be_bytes());
        self.0.extend(bytes);
        self
    }

    pub fn name(self, name: &OsStr) -> Answer {
        self.bytes(name.as_bytes())
    }

    pub fn raw(mut self, bytes: &[u8]) -> Answer {
        self.0.extend(bytes);
        self
    }

    /// With its length.
    pub fn finish(mut self) -> Vec<u8> {
        let length = (self.0.len() - 4) as u32;
        self.0[..4].copy_from_slice(&length.to_be_bytes());
        self.0
    }
}
