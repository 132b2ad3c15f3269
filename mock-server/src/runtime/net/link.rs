//! The wire between gateway and sandbox: whole IPv4 packets, in and out.

use std::{
    cell::RefCell,
    io,
    os::fd::{AsFd, OwnedFd},
};

use nix::errno::Errno;
use tokio::io::unix::AsyncFd;

use super::sys::fdpass;

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

/// The TUN device whose other side is the sandbox's `eth0`.
pub struct Link {
    fd: AsyncFd<OwnedFd>,
}

impl Link {
    pub fn new(fd: OwnedFd) -> io::Result<Link> {
        Ok(Link { fd: fdpass::watch(fd)? })
    }

    /// Sends one packet to the sandbox. A packet that the kernel doesn't take is lost, as packets are.
    pub fn send(&self, packet: &[u8]) {
        let _ = nix::unistd::write(self.fd.as_fd(), packet);
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
        with_scratch(|buffer| {
            for _ in 0..BATCH {
                match nix::unistd::read(self.fd.as_fd(), buffer) {
                    Ok(length) => take(&mut buffer[..length]),
                    Err(Errno::EINTR) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        })
    }
}
