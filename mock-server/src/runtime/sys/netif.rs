//! Network interfaces.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

#[repr(C)]
struct FlagsRequest {
    name: [u8; libc::IFNAMSIZ],
    flags: libc::c_short,
    rest: [u8; 22],
}

/// Brings an interface of this network namespace up.
pub fn up(name: &str) -> io::Result<()> {
    let mut request =
        FlagsRequest { name: [0; libc::IFNAMSIZ], flags: (libc::IFF_UP | libc::IFF_RUNNING) as _, rest: [0; 22] };
    let length = name.len().min(libc::IFNAMSIZ - 1);
    request.name[..length].copy_from_slice(&name.as_bytes()[..length]);
    // SAFETY: the socket is ours; the request has the size of `struct ifreq` and outlives the call.
    let result = unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let socket = OwnedFd::from_raw_fd(fd);
        libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
