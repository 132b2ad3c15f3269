//! Operating-system errors in the words of the original daemon, which clients and their tests match on (observed).

use std::{fmt::Display, io};

use nix::errno::Errno;

/// The words of Go's `syscall` package, e.g. `no such file or directory`.
pub fn text(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => errno_text(Errno::from_raw(number)),
        // The standard library refuses NUL bytes itself; the system call would have said this.
        None if error.kind() == io::ErrorKind::InvalidInput => "invalid argument".into(),
        None => error.to_string(),
    }
}

/// `open /a/b: permission denied`, the shape of Go's `PathError`.
pub fn path_error(operation: &str, path: impl Display, error: &io::Error) -> String {
    format!("{operation} {path}: {}", text(error))
}

fn errno_text(errno: Errno) -> String {
    const WORDS: &[(Errno, &str)] = &[
        (Errno::ENOENT, "no such file or directory"),
        (Errno::EACCES, "permission denied"),
        (Errno::EPERM, "operation not permitted"),
        (Errno::ENOTDIR, "not a directory"),
        (Errno::EISDIR, "is a directory"),
        (Errno::EEXIST, "file exists"),
        (Errno::ENOTEMPTY, "directory not empty"),
        (Errno::ENAMETOOLONG, "file name too long"),
        (Errno::ELOOP, "too many levels of symbolic links"),
        (Errno::EINVAL, "invalid argument"),
        (Errno::ENOSPC, "no space left on device"),
        (Errno::EDQUOT, "disk quota exceeded"),
        (Errno::EROFS, "read-only file system"),
        (Errno::EXDEV, "invalid cross-device link"),
        (Errno::EFBIG, "file too large"),
        (Errno::ETXTBSY, "text file busy"),
        (Errno::EBUSY, "device or resource busy"),
        (Errno::EMFILE, "too many open files"),
        (Errno::ENFILE, "too many open files in system"),
        (Errno::ENXIO, "no such device or address"),
        (Errno::ENODEV, "no such device"),
        (Errno::ENOEXEC, "exec format error"),
        (Errno::ENOMEM, "cannot allocate memory"),
        (Errno::EAGAIN, "resource temporarily unavailable"),
        (Errno::EIO, "input/output error"),
        (Errno::EMLINK, "too many links"),
        (Errno::E2BIG, "argument list too long"),
        (Errno::EPIPE, "broken pipe"),
        (Errno::EBADF, "bad file descriptor"),
        (Errno::ESRCH, "no such process"),
        (Errno::ECHILD, "no child processes"),
        (Errno::EOPNOTSUPP, "operation not supported"),
        (Errno::ECONNREFUSED, "connection refused"),
        (Errno::ECONNRESET, "connection reset by peer"),
        (Errno::ETIMEDOUT, "connection timed out"),
        (Errno::EHOSTUNREACH, "no route to host"),
        (Errno::ENETUNREACH, "network is unreachable"),
        (Errno::EADDRINUSE, "address already in use"),
    ];
    match WORDS.iter().find(|(known, _)| *known == errno) {
        Some((_, words)) => (*words).into(),
        None => errno.desc().to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speaks_go() {
        let missing = std::fs::metadata("/nope/x").expect_err("missing");
        assert_eq!(path_error("stat", "/nope/x", &missing), "stat /nope/x: no such file or directory");
        let nul = std::fs::metadata("a\0b").expect_err("NUL");
        assert_eq!(text(&nul), "invalid argument");
        assert_eq!(text(&io::Error::from_raw_os_error(libc::ENOTTY)), "not a typewriter");
    }
}
