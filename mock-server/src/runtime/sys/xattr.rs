//! Extended attributes.

use std::{
    ffi::{CStr, CString},
    io,
    os::unix::ffi::OsStrExt,
    path::Path,
};

/// Longer values there are not (`XATTR_SIZE_MAX`), nor longer lists of names.
const MAX: usize = 64 << 10;

/// What overlayfs notes about a layer's files for itself. Of that only the mark of an opaque directory changes what is
/// seen; the rest would be wrong in a copy.
const OVERLAY: &[u8] = b"user.overlay.";

/// An attribute of a file, a link itself included; `None` if it has none of that name.
pub fn get(path: &CStr, name: &str) -> Option<Vec<u8>> {
    value(path, &CString::new(name).ok()?)
}

/// Sets an attribute of a file, a link itself included.
pub fn set(path: &CStr, name: &str, value: &[u8]) -> io::Result<()> {
    set_value(path, &CString::new(name)?, value)
}

/// The attributes of a file that a copy of it should have, by name.
pub fn all(path: &Path) -> io::Result<Vec<(CString, Vec<u8>)>> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let names = names(&path)?;
    let wanted = |name: &CString| {
        !name.as_bytes().starts_with(OVERLAY) || name.as_bytes() == super::super::base::OPAQUE.as_bytes()
    };
    Ok(names.into_iter().filter(wanted).filter_map(|name| value(&path, &name).map(|value| (name, value))).collect())
}

/// Gives a file attributes. Those that can't be set here (labels of a security module, …) are left out.
pub fn set_all<'a>(path: &Path, all: impl IntoIterator<Item = (&'a CStr, &'a [u8])>) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    for (name, value) in all {
        match set_value(&path, name, value) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES | libc::EOPNOTSUPP)) => {}
            done => done?,
        }
    }
    Ok(())
}

/// Gives `to` the attributes of `from`.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let all = all(from)?;
    set_all(to, all.iter().map(|(name, value)| (name.as_c_str(), value.as_slice())))
}

fn names(path: &CStr) -> io::Result<Vec<CString>> {
    // Most files have none, and then no buffer is needed.
    // SAFETY: a C string; a length of 0 asks for the length.
    match unsafe { libc::llistxattr(path.as_ptr(), std::ptr::null_mut(), 0) } {
        0 => return Ok(Vec::new()),
        length if length < 0 => {
            let error = io::Error::last_os_error();
            return if error.raw_os_error() == Some(libc::EOPNOTSUPP) { Ok(Vec::new()) } else { Err(error) };
        }
        _ => {}
    }
    let mut list = vec![0_u8; MAX];
    // SAFETY: a C string, and a buffer with its length.
    let length = unsafe { libc::llistxattr(path.as_ptr(), list.as_mut_ptr().cast(), list.len()) };
    list.truncate(usize::try_from(length).map_err(|_| io::Error::last_os_error())?);
    Ok(list
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .filter_map(|name| CString::new(name).ok())
        .collect())
}

fn value(path: &CStr, name: &CStr) -> Option<Vec<u8>> {
    let mut value = vec![0; 256];
    loop {
        // SAFETY: two C strings, and a buffer with its length.
        let length = unsafe { libc::lgetxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
        if let Ok(length) = usize::try_from(length) {
            value.truncate(length);
            return Some(value);
        }
        if io::Error::last_os_error().raw_os_error() != Some(libc::ERANGE) || value.len() >= MAX {
            return None;
        }
        value.resize(MAX, 0);
    }
}

fn set_value(path: &CStr, name: &CStr, value: &[u8]) -> io::Result<()> {
    // SAFETY: two C strings, and a buffer with its length.
    let result = unsafe { libc::lsetxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
