//! Descriptors that one child inherits, and no other.

use std::{
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    process::Command,
};

/// Above every number that a child is given, so that handing one over can't overwrite the next.
const KEPT_FROM: RawFd = 256;

/// The child of `command` gets `fd` as its descriptor `number`, which is below 256 and none of its standard streams.
pub fn pass(command: &mut Command, fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    // SAFETY: no pointers.
    let kept = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, KEPT_FROM) };
    if kept < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel made this descriptor for us.
    let kept = unsafe { OwnedFd::from_raw_fd(kept) };
    let hand_over = move || {
        // SAFETY: no pointers. The new descriptor isn't closed on exec.
        if unsafe { libc::dup2(kept.as_raw_fd(), number) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: between fork and exec this makes one system call and allocates nothing.
    unsafe { command.pre_exec(hand_over) };
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write, pipe},
        os::fd::AsFd,
    };

    use super::*;

    #[test]
    fn only_this_child_has_it() {
        let (mut read, write) = pipe().expect("a pipe");
        let mut told = Command::new("sh");
        told.args(["-c", "echo hello >/proc/self/fd/77"]);
        pass(&mut told, write.as_fd(), 77).expect("passed");
        assert!(told.status().expect("sh runs").success());
        let other = Command::new("sh").args(["-c", "test -e /proc/self/fd/77"]).status().expect("sh runs");
        assert!(!other.success());
        drop(told);
        (&write).write_all(b"!").expect("written");
        drop(write);
        let mut said = String::new();
        read.read_to_string(&mut said).expect("it ends");
        assert_eq!(said, "hello\n!");
    }
}
