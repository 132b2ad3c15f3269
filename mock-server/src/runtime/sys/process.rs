//! Making, marking and ending processes.

use std::{
    ffi::c_int,
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use nix::{
    sched::CloneFlags,
    sys::signal::Signal,
    unistd::{Gid, Pid, Uid, setgroups, setresgid, setresuid},
};

/// Which side of a fork this is.
pub enum Fork<T> {
    Child,
    Parent(T),
}

/// The parent's view of a cloned child.
pub struct Cloned {
    pub pid: Pid,
    pub pidfd: OwnedFd,
}

/// `fork` into new namespaces. Only for a single-threaded process: C library locks are not taken.
pub fn clone_into(namespaces: CloneFlags) -> io::Result<Fork<Cloned>> {
    let flags = i64::from(namespaces.bits() | libc::CLONE_PIDFD | libc::SIGCHLD);
    let mut pidfd: c_int = -1;
    // SAFETY: without CLONE_VM this is a fork; the child goes on with its own copy of the stack. Stack and TLS pointers
    // are null, so they are kept; the third argument is where the kernel stores the pidfd on every architecture.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, &raw mut pidfd, 0, 0) };
    match pid {
        0 => Ok(Fork::Child),
        pid if pid > 0 => {
            // SAFETY: the kernel made this descriptor for us.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Fork::Parent(Cloned { pid: Pid::from_raw(pid as i32), pidfd }))
        }
        _ => Err(io::Error::last_os_error()),
    }
}

/// An ordinary fork of a single-threaded process.
pub fn fork() -> io::Result<Fork<Pid>> {
    // SAFETY: our callers have one thread, so the child may do anything.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Child => Ok(Fork::Child),
        nix::unistd::ForkResult::Parent { child } => Ok(Fork::Parent(child)),
    }
}

/// Ends this process without running exit handlers: they belong to the process that we were forked from.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: always sound.
    unsafe { libc::_exit(code) }
}

/// A descriptor that becomes readable when the process ends.
pub fn pidfd_open(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel made this descriptor for us, close-on-exec.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Signals the process behind a pidfd; a dead one is fine.
pub fn signal_pidfd(pidfd: BorrowedFd, signal: Signal) -> io::Result<()> {
    // SAFETY: no pointers but a null siginfo.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal as c_int, 0, 0) };
    match io::Error::last_os_error() {
        _ if result == 0 => Ok(()),
        error if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        error => Err(error),
    }
}

/// Undoes what `nohup`, or a script's `&`, did to the server: a shell can't give its children back a signal that was
/// ignored when it started, so Ctrl-C would do nothing in a sandbox.
pub fn default_signals() {
    for signal in
        [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU]
    {
        // SAFETY: no handler is installed.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Closes every descriptor from `first` on.
pub fn close_from(first: RawFd) {
    // SAFETY: only used where nothing above `first` is owned by a live value.
    unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
}

/// Takes over descriptor 0 and leaves `/dev/null` in its place: how the server hands its socket to a zygote.
pub fn take_stdin() -> io::Result<OwnedFd> {
    use std::os::fd::AsFd;
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    let null = std::fs::File::open("/dev/null")?;
    // SAFETY: both descriptors are open, and nothing here owns descriptor 0.
    match unsafe { libc::dup2(null.as_raw_fd(), 0) } {
        0 => Ok(socket),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A command runs with these ids, its supplementary groups among them, which the standard library can't set.
pub fn change_ids(command: &mut std::process::Command, uid: u32, gid: u32, groups: Vec<u32>) {
    use std::os::unix::process::CommandExt;
    let groups: Vec<Gid> = groups.into_iter().map(Gid::from_raw).collect();
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let change = move || -> io::Result<()> {
        setgroups(&groups)?;
        setresgid(gid, gid, gid)?;
        Ok(setresuid(uid, uid, uid)?)
    };
    // SAFETY: between fork and exec these are system calls on memory that was made before; nothing is allocated.
    unsafe { command.pre_exec(change) };
}

/// Gives up every capability of this process (a user with one id keeps them all after `clone`, as no id changes).
pub fn drop_capabilities() -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    let header = Header { version: 0x2008_0522, pid: 0 };
    let none = [0u32; 6];
    // SAFETY: version 3 reads two triples of u32.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
