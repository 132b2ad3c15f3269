//! The new mount interface, as far as id-mapped clones and disks need it.

use std::{
    ffi::{CStr, CString, c_int},
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    ptr::null,
};

// Not in `libc` for every C library; from linux/mount.h.
const OPEN_TREE_CLONE: u32 = 1;
const MOVE_MOUNT_F_EMPTY_PATH: u32 = 4;
const FSOPEN_CLOEXEC: u32 = 1;
const FSMOUNT_CLOEXEC: u32 = 1;
const FSCONFIG_SET_FLAG: u32 = 0;
const FSCONFIG_SET_STRING: u32 = 1;
const FSCONFIG_CMD_CREATE: u32 = 6;
const MOUNT_ATTR_RDONLY: u64 = 0x1;
const MOUNT_ATTR_NOSUID: u64 = 0x2;
const MOUNT_ATTR_NODEV: u64 = 0x4;
const MOUNT_ATTR_NOATIME: u64 = 0x10;
const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;

#[repr(C)]
#[derive(Default)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// A detached mount of the file system on a device. Access times stay. A device that is mounted already shows the same.
pub fn of_device(kind: &CStr, device: &Path, flags: &[&CStr]) -> io::Result<OwnedFd> {
    let device = c_path(device)?;
    // SAFETY: all names are C strings that outlive the calls; the new descriptors are ours.
    unsafe {
        let fs = check(libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC))?;
        let fs = OwnedFd::from_raw_fd(fs as c_int);
        let configure = |command: u32, key: *const libc::c_char, value: *const libc::c_char| {
            check(libc::syscall(libc::SYS_fsconfig, fs.as_raw_fd(), command, key, value, 0))
        };
        configure(FSCONFIG_SET_STRING, c"source".as_ptr(), device.as_ptr())?;
        for flag in flags {
            configure(FSCONFIG_SET_FLAG, flag.as_ptr(), null())?;
        }
        configure(FSCONFIG_CMD_CREATE, null(), null())?;
        let attributes = MOUNT_ATTR_NOATIME | MOUNT_ATTR_NODEV;
        let mount = check(libc::syscall(libc::SYS_fsmount, fs.as_raw_fd(), FSMOUNT_CLOEXEC, attributes))?;
        Ok(OwnedFd::from_raw_fd(mount as c_int))
    }
}

/// A detached copy of the mount that shows `path`, with `path` as its root and, unless `recursive`, without the mounts below it.
pub fn clone_tree(path: &Path, recursive: bool) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC as u32 | if recursive { libc::AT_RECURSIVE as u32 } else { 0 };
    // SAFETY: the path is a C string; the new descriptor is ours.
    unsafe {
        let fd = check(libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags))?;
        Ok(OwnedFd::from_raw_fd(fd as c_int))
    }
}

/// A detached copy of the mount that shows an open directory, with that as its root, and of the mounts below it.
pub fn clone_directory(directory: BorrowedFd) -> io::Result<OwnedFd> {
    let flags = OPEN_TREE_CLONE | (libc::O_CLOEXEC | libc::AT_RECURSIVE | libc::AT_EMPTY_PATH) as u32;
    // SAFETY: the path is a C string; the new descriptor is ours.
    unsafe {
        let fd = check(libc::syscall(libc::SYS_open_tree, directory.as_raw_fd(), c"".as_ptr(), flags))?;
        Ok(OwnedFd::from_raw_fd(fd as c_int))
    }
}

fn set_attributes(mount: BorrowedFd, recursive: bool, attributes: &MountAttr) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the structure has the size that is told.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            attributes as *const MountAttr,
            size_of::<MountAttr>(),
        )
    };
    check(result).map(drop)
}

/// Shows the owners of a detached mount through the map of a user namespace.
pub fn set_idmap(mount: BorrowedFd, userns: BorrowedFd, recursive: bool) -> io::Result<()> {
    let attributes = MountAttr { set: MOUNT_ATTR_IDMAP, userns_fd: userns.as_raw_fd() as u64, ..Default::default() };
    set_attributes(mount, recursive, &attributes)
}

/// Makes a detached mount, and with `recursive` those below it, read-only; other flags stay.
pub fn set_read_only(mount: BorrowedFd, recursive: bool) -> io::Result<()> {
    set_attributes(mount, recursive, &MountAttr { set: MOUNT_ATTR_RDONLY, ..Default::default() })
}

/// Makes set-uid bits and device files of a detached mount, and those below it, mean nothing.
pub fn disarm(mount: BorrowedFd) -> io::Result<()> {
    let set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
    set_attributes(mount, true, &MountAttr { set, ..Default::default() })
}

/// Attaches a detached mount at `target`.
pub fn attach(mount: BorrowedFd, target: &Path) -> io::Result<()> {
    let target = c_path(target)?;
    // SAFETY: both paths are C strings.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    };
    check(result).map(drop)
}

/// Makes an attached mount, and those below it, read-only.
pub fn make_read_only(target: &Path) -> io::Result<()> {
    let path = c_path(target)?;
    let attributes = MountAttr { set: MOUNT_ATTR_RDONLY, ..Default::default() };
    // SAFETY: the path is a C string; the structure has the size that is told.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<MountAttr>(),
        )
    };
    check(result).map(drop)
}
