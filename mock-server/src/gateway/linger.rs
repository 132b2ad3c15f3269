//! Connections that close in the middle of a request. Who is answered early and sends on (an upload with a key that isn't known)
//! loses the answer if its bytes meet a closed connection: so they are read for a while, for nobody. (Go's `net/http`
//! takes a failed write for the end, whatever has come; its server waits half a second here.)

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// What is read for nobody.
const MOST: usize = 64 << 20;
/// How long a client may take for that.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of one read.
const PIECE: usize = 16 << 10;
/// Before others have their turn.
const PIECES: usize = 16;

/// Says that the request on a connection that will be closed isn't read to its end.
#[derive(Clone, Default)]
pub struct Unread(Arc<AtomicBool>);

impl Unread {
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A connection that is closed in two steps, if it must: it says its end, and reads that of the other side.
pub struct Lingering<S> {
    stream: S,
    unread: Unread,
    closing: Option<Closing>,
}

struct Closing {
    deadline: Pin<Box<Sleep>>,
    read: usize,
}

impl<S> Lingering<S> {
    pub fn new(stream: S, unread: Unread) -> Lingering<S> {
        Lingering { stream, unread, closing: None }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Lingering<S> {
    /// Ready when nothing more comes, or enough has.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let begin = || Closing { deadline: Box::pin(sleep(PATIENCE)), read: 0 };
        let closing = self.closing.get_or_insert_with(begin);
        for _ in 0..PIECES {
            let mut piece = [0; PIECE];
            let mut piece = ReadBuf::new(&mut piece);
            match Pin::new(&mut self.stream).poll_read(cx, &mut piece) {
                Poll::Ready(Ok(())) if !piece.filled().is_empty() && closing.read < MOST => {
                    closing.read += piece.filled().len();
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return closing.deadline.as_mut().poll(cx),
            }
        }
        cx.waker().wake_by_ref();
        closing.deadline.as_mut().poll(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closing.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        }
        if self.unread.0.load(Ordering::Relaxed) {
            ready!(self.poll_rest(cx));
        }
        Poll::Ready(Ok(()))
    }
}
