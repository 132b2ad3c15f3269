//! How many descriptors the server may have. A sandbox costs it a handful, each of its connections two, and the usual
//! soft limit of 1024 exists only for the sake of programs that use `select`.

use std::{io, sync::OnceLock};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises this process's limit as far as it may, once. Returns what it was: programs in sandboxes keep that.
pub fn raise() -> io::Result<u64> {
    static BEFORE: OnceLock<u64> = OnceLock::new();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let before = *BEFORE.get_or_init(|| soft);
    // Refused only by an unusual `fs.nr_open`; then it stays as it is.
    let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    Ok(before)
}

/// Sets this process's limit to what [`raise`] returned elsewhere.
pub fn limit(soft: u64) -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, soft.min(hard), hard)?)
}
