//! Extended attributes, as far as overlayfs needs them.

use std::{
    ffi::{CStr, CString},
    io,
};

/// Longer values are none of ours.
const MAX_VALUE: usize = 256;

/// An attribute of a file, a link itself included; `None` if it has none of that name.
pub fn get(path: &CStr, name: &str) -> Option<Vec<u8>> {
    let name = CString::new(name).ok()?;
    let mut value = vec![0; MAX_VALUE];
    // SAFETY: two C strings, and a buffer with its length.
    let length = unsafe { libc::lgetxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    value.truncate(usize::try_from(length).ok()?);
    Some(value)
}

/// Sets an attribute of a file, a link itself included.
pub fn set(path: &CStr, name: &str, value: &[u8]) -> io::Result<()> {
    let name = CString::new(name)?;
    // SAFETY: two C strings, and a buffer with its length.
    let result = unsafe { libc::lsetxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
