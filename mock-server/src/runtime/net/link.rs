//! The wire between gateway and sandbox: whole IPv4 packets, in and out.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    os::fd::{AsFd, OwnedFd},
};

use nix::{
    errno::Errno,
    sys::{
        stat::{SFlag, fstat},
        uio::writev,
    },
};
use tokio::io::unix::AsyncFd;

use super::{sys::fdpass, veth};

/// Packets handled before other tasks get their turn.
const BATCH: usize = 64;

thread_local! {
    /// One buffer per thread instead of per sandbox or per flow: nobody holds it across an await.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; 128 * 1024].into());
}

/// Lends this thread's buffer. Not re-entrant.
pub fn with_scratch<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    SCRATCH.with_borrow_mut(|buffer| work(buffer))
}

/// What the sandbox's `eth0` is connected to: a TUN device, or the far end of a veth pair.
pub struct Link {
    fd: AsyncFd<OwnedFd>,
    /// The latter, where packets come in frames.
    framed: bool,
}

/// Which of the two a descriptor is.
pub fn is_veth(wire: impl AsFd) -> io::Result<bool> {
    let mode = SFlag::from_bits_truncate(fstat(wire)?.st_mode);
    Ok(mode & SFlag::S_IFMT == SFlag::S_IFSOCK)
}

/// How a sandbox gets out, for people; `wire` is what its first process opened.
pub fn describe(wire: impl AsFd) -> &'static str {
    match is_veth(wire) {
        Ok(true) => "a veth pair and a gateway in the server, as /dev/net/tun can't be opened",
        _ => "a TUN device and a gateway in the server",
    }
}

impl Link {
    pub fn new(fd: OwnedFd) -> io::Result<Link> {
        let framed = is_veth(&fd)?;
        Ok(Link { fd: fdpass::watch(fd)?, framed })
    }

    /// Sends one packet to the sandbox. A packet that the kernel doesn't take is lost, as packets are.
    pub fn send(&self, packet: &[u8]) {
        let _ = match self.framed {
            false => nix::unistd::write(self.fd.as_fd(), packet),
            true => writev(self.fd.as_fd(), &[IoSlice::new(&veth::HEADER), IoSlice::new(packet)]),
        };
    }

    /// Hands every packet that the sandbox sends to `take`, until the device is gone.
    pub async fn receive(&self, mut take: impl FnMut(&mut [u8])) -> io::Error {
        loop {
            let mut ready = match self.fd.readable().await {
                Ok(ready) => ready,
                Err(error) => return error,
            };
            match self.drain(&mut take) {
                Ok(()) => tokio::task::yield_now().await,
                Err(Errno::EAGAIN) => ready.clear_ready(),
                Err(error) => return error.into(),
            }
        }
    }

    /// Takes at most a batch of packets; `EAGAIN` when there are no more.
    fn drain(&self, take: &mut impl FnMut(&mut [u8])) -> Result<(), Errno> {
        let header = if self.framed { veth::HEADER.len() } else { 0 };
        with_scratch(|buffer| {
            for _ in 0..BATCH {
                match nix::unistd::read(self.fd.as_fd(), buffer) {
                    Ok(length) => take(buffer[..length].get_mut(header..).unwrap_or_default()),
                    Err(Errno::EINTR) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        })
    }
}
