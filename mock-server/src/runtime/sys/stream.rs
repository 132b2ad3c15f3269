//! A stream socket whose room for writing is asked after only while a write waits for it.
//!
//! A unix socket tells its writer of room each time the other end has read. Watched for both directions at once, as
//! tokio's own type is, every exchange wakes each side once more, for nothing: a quarter of all wake-ups between
//! gateway and agent.

use std::{
    io,
    mem::MaybeUninit,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    pin::Pin,
    task::{Context, Poll, ready},
};

use nix::sys::socket::{self, MsgFlags, Shutdown};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, unix::AsyncFd};

/// One end of a connection between the server and an agent. Needs a tokio runtime.
#[derive(Debug)]
pub struct Stream {
    reading: AsyncFd<OwnedFd>,
    /// A second descriptor of the same socket, while it is full.
    full: Option<AsyncFd<OwnedFd>>,
}

impl Stream {
    /// Takes over a connected stream socket.
    pub fn new(socket: OwnedFd) -> io::Result<Stream> {
        let socket = UnixStream::from(socket);
        socket.set_nonblocking(true)?;
        Ok(Stream { reading: register(socket.into(), Interest::READABLE)?, full: None })
    }

    /// The socket itself, non-blocking as it is.
    pub fn into_fd(self) -> OwnedFd {
        self.reading.into_inner()
    }

    fn poll_io<T>(
        &mut self,
        cx: &mut Context<'_>,
        attempt: impl Fn(BorrowedFd<'_>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            if let Some(full) = &self.full {
                ready!(full.poll_write_ready(cx))?.clear_ready();
            }
            match attempt(self.reading.as_fd()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.full.is_none() {
                        let again = self.reading.get_ref().try_clone()?;
                        self.full = Some(register(again, Interest::WRITABLE)?);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => {
                    self.full = None;
                    return Poll::Ready(result);
                }
            }
        }
    }
}

fn register(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd keeps its descriptor open, and the same, for as long as the AsyncFd owns it.
    unsafe { AsyncFd::register_with_interest(fd, interest) }.map_err(|error| error.into_parts().1)
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.reading.poll_read_ready(cx))?;
            // SAFETY: only written to.
            let room = unsafe { buf.unfilled_mut() };
            let wanted = room.len();
            match receive(guard.get_inner().as_fd(), room) {
                Ok(length) => {
                    // A short read has emptied the socket: what comes next is told anew.
                    if length > 0 && length < wanted {
                        guard.clear_ready();
                    }
                    // SAFETY: the kernel has written that many.
                    unsafe { buf.assume_init(length) };
                    buf.advance(length);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

fn receive(socket: BorrowedFd<'_>, room: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
    // SAFETY: writes at most `room.len()` bytes to `room`.
    let received = unsafe { libc::recv(socket.as_raw_fd(), room.as_mut_ptr().cast(), room.len(), 0) };
    usize::try_from(received).map_err(|_| io::Error::last_os_error())
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_io(cx, |fd| Ok(socket::send(fd.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL)?))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_io(cx, |fd| Ok(socket::sendmsg::<()>(fd.as_raw_fd(), bytes, &[], MsgFlags::MSG_NOSIGNAL, None)?))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match socket::shutdown(self.reading.as_raw_fd(), Shutdown::Write) {
            // The other end is gone already.
            Ok(()) | Err(nix::errno::Errno::ENOTCONN) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn pair() -> (Stream, Stream) {
        let (a, b) = UnixStream::pair().expect("pair");
        (Stream::new(a.into()).expect("stream"), Stream::new(b.into()).expect("stream"))
    }

    #[tokio::test]
    async fn more_than_fits_arrives_whole_and_the_end_is_seen() {
        let (mut a, mut b) = pair();
        let sent: Vec<u8> = (0..4_000_000u32).map(|n| n as u8).collect();
        let expected = sent.clone();
        let writer = tokio::spawn(async move {
            a.write_all(&sent).await.expect("written");
            a.shutdown().await.expect("shut down");
            // Still good for reading.
            let mut answer = String::new();
            a.read_to_string(&mut answer).await.expect("answer");
            assert!(a.full.is_none());
            answer
        });
        let mut received = Vec::new();
        b.read_to_end(&mut received).await.expect("read");
        assert!(received == expected);
        b.write_all(b"thanks").await.expect("written");
        drop(b);
        assert_eq!(writer.await.expect("finished"), "thanks");
    }

    #[tokio::test]
    async fn a_writer_learns_that_the_reader_is_gone() {
        let (mut a, b) = pair();
        let writer = tokio::spawn(async move { a.write_all(&vec![0; 4_000_000]).await });
        tokio::task::yield_now().await;
        drop(b);
        writer.await.expect("finished").expect_err("nobody reads");
    }
}
