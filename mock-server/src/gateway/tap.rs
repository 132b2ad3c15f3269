//! What a connection carries once it is a WebSocket, for the journal. It looks at the bytes at the socket itself, so it
//! sees the same whoever talks: a sandbox through a tunnel, or Socket.IO. Faults that concern the connection itself act
//! here too: a reset, a WebSocket that is bent.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    task::{Context, Poll, ready},
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use super::{
    bend::{Bend, End},
    bent_body::PAUSE,
    frames::Scanner,
};
use crate::journal::{
    Recording,
    exchange::{Close, Socket},
};

/// The tap of one connection. Cheap to clone; shut until the connection is upgraded.
#[derive(Clone, Default)]
pub struct Tap(Arc<Inner>);

#[derive(Default)]
struct Inner {
    open: AtomicBool,
    state: Mutex<Option<Open>>,
    fault: AtomicU8,
    bend: Mutex<Option<Bend>>,
    wait: Mutex<Option<Wait>>,
}

/// What is over when frames may go on.
pub type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Values of `fault`.
const NONE: u8 = 0;
const BENT: u8 = 1;
const RESET: u8 = 2;
const ENDED: u8 = 3;

struct Open {
    recording: Recording,
    up: Scanner,
    down: Scanner,
    close: Option<Close>,
}

impl Tap {
    /// From now on the connection is an upgraded one; the answer's head is still to be sent.
    pub fn open(&self, recording: Recording) {
        recording.upgraded();
        let open = Open { recording, up: Scanner::default(), down: Scanner::after_head(), close: None };
        *self.0.state.lock() = Some(open);
        self.0.open.store(true, Ordering::Release);
    }

    /// From the next byte on, which starts the answer's head, frames are bent, in this way too.
    pub fn bend(&self, bend: Bend) {
        match &mut *self.0.bend.lock() {
            Some(waiting) => waiting.also(bend),
            none => *none = Some(bend),
        }
        self.0.fault.store(BENT, Ordering::Release);
    }

    /// The answer's head is sent, the first frame not before this is over.
    pub fn hold(&self, wait: Wait) {
        *self.0.wait.lock() = Some(wait);
        self.bend(Bend::new(None, None));
    }

    /// What was to be bent won't be: there is no upgrade after all.
    pub fn straighten(&self) {
        *self.0.bend.lock() = None;
        *self.0.wait.lock() = None;
        // What ends the connection still does.
        _ = self.0.fault.compare_exchange(BENT, NONE, Ordering::AcqRel, Ordering::Acquire);
    }

    /// The connection is closed at the next write.
    pub fn end(&self) {
        self.0.fault.store(ENDED, Ordering::Release);
    }

    /// The same, unless a fault does something else to it.
    pub fn bend_unless_faulty(&self, bend: Bend) {
        if self.fault() == NONE {
            self.bend(bend);
        }
    }

    /// The connection ends with a reset at the next write, or when it is dropped.
    pub fn reset(&self) {
        self.0.fault.store(RESET, Ordering::Release);
    }

    fn fault(&self) -> u8 {
        self.0.fault.load(Ordering::Acquire)
    }

    /// Whose the connection is was found out: its entry is theirs from now on, not only when it closes.
    pub fn claimed(&self) {
        self.look(|open| open.recording.again());
    }

    fn look(&self, look: impl FnOnce(&mut Open)) {
        if self.0.open.load(Ordering::Acquire)
            && let Some(open) = &mut *self.0.state.lock()
        {
            look(open);
        }
    }

    fn received(&self, bytes: &[u8]) {
        self.look(|open| {
            open.up.feed(bytes);
            open.note_close();
        });
    }

    fn sent(&self, bytes: &[u8]) {
        self.look(|open| {
            open.down.feed(bytes);
            open.note_close();
        });
    }

    fn close(&self) {
        if let Some(Open { mut recording, up, down, close }) = self.0.state.lock().take() {
            let socket = Socket { open: false, from_client: up.counts(), from_server: down.counts(), close };
            recording.closed(socket);
        }
    }
}

impl Open {
    /// The first one counts; a close frame may still be incomplete when its other half comes.
    fn note_close(&mut self) {
        let by = match &self.close {
            Some(close) => close.by,
            None if self.down.has_closed() => "server",
            None if self.up.has_closed() => "client",
            None => return,
        };
        let scanner = if by == "server" { &self.down } else { &self.up };
        let now = || self.recording.exchange().elapsed().as_millis() as u64;
        let at_ms = self.close.as_ref().map_or_else(now, |close| close.at_ms);
        self.close = scanner.close().map(|(code, reason)| Close { by, code, reason, at_ms });
    }
}

/// A connection that can end with a reset.
pub trait Resets {
    /// Closing it resets it from now on.
    fn reset_at_close(&self);
}

impl Resets for TcpStream {
    fn reset_at_close(&self) {
        // Closed the ordinary way, then.
        _ = self.set_zero_linger();
    }
}

impl Resets for TlsStream<TcpStream> {
    fn reset_at_close(&self) {
        self.get_ref().0.reset_at_close();
    }
}

/// A connection with a tap.
pub struct Tapped<S: Resets> {
    stream: S,
    tap: Tap,
    bent: Option<Bent>,
}

struct Bent {
    bend: Bend,
    /// What the client is still to get.
    out: Vec<u8>,
    /// Nothing goes out after the head before this is over.
    wait: Option<Wait>,
    /// The head, which is a write of its own, is out.
    head: bool,
    /// Before a reset, which takes away what the client hasn't read yet.
    pause: Option<Wait>,
}

impl<S: Resets> Tapped<S> {
    pub fn new(stream: S, tap: Tap) -> Self {
        Tapped { stream, tap, bent: None }
    }

    fn reset(&self) -> io::Error {
        self.stream.reset_at_close();
        io::ErrorKind::ConnectionReset.into()
    }
}

impl<S: AsyncWrite + Resets + Unpin> Tapped<S> {
    /// Writes what is bent and not yet sent.
    fn poll_bent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(bent) = &mut self.bent else { return Poll::Ready(Ok(())) };
        while !bent.out.is_empty() {
            if let Some(wait) = bent.wait.as_mut().filter(|_| bent.head) {
                ready!(wait.as_mut().poll(cx));
                bent.wait = None;
            }
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, &bent.out))?;
            self.tap.sent(&bent.out[..count]);
            bent.out.drain(..count);
        }
        bent.head = true;
        match bent.bend.abrupt() {
            None => return Poll::Ready(Ok(())),
            Some(End::Closed) => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Some(End::Reset) => {}
        }
        let pause = bent.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(PAUSE)));
        ready!(pause.as_mut().poll(cx));
        self.tap.reset();
        Poll::Ready(Err(self.reset()))
    }

    fn write_bent(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.bent.is_none() {
            let bend = self.tap.0.bend.lock().take();
            let wait = self.tap.0.wait.lock().take();
            self.bent = bend.map(|bend| Bent { bend, out: Vec::new(), wait, head: false, pause: None });
        } else {
            ready!(self.poll_bent(cx))?;
        }
        // Somebody wants it bent otherwise since.
        let more = self.tap.0.bend.lock().take();
        if let (Some(more), Some(bent)) = (more, &mut self.bent) {
            bent.bend.also(more);
        }
        if let Some(bent) = &mut self.bent {
            bent.bend.feed(bytes, &mut bent.out);
        }
        // What can't be sent now goes with the next write, read or flush. An abrupt end is one at once: nobody may come
        // by again.
        match self.poll_bent(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(bytes.len())),
        }
    }
}

impl<S: Resets> Drop for Tapped<S> {
    fn drop(&mut self) {
        if self.tap.fault() == RESET {
            self.reset();
        }
        self.tap.close();
    }
}

impl<S: AsyncRead + AsyncWrite + Resets + Unpin> AsyncRead for Tapped<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.bent.is_some()
            && let Poll::Ready(Err(error)) = self.poll_bent(cx)
        {
            return Poll::Ready(Err(error));
        }
        let start = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.tap.received(&buf.filled()[start..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Resets + Unpin> AsyncWrite for Tapped<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.tap.fault() {
            NONE => {}
            RESET => return Poll::Ready(Err(self.reset())),
            ENDED => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            _ => return self.write_bent(cx, bytes),
        }
        let count = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.tap.sent(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.tap.fault() != NONE {
            let first = bytes.iter().find(|piece| !piece.is_empty()).map_or(&[][..], |piece| piece);
            return self.poll_write(cx, first);
        }
        let count = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bytes))?;
        let mut left = count;
        for piece in bytes {
            let size = piece.len().min(left);
            self.tap.sent(&piece[..size]);
            left -= size;
            if left == 0 {
                break;
            }
        }
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_bent(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.tap.fault() == RESET {
            // An orderly end would be seen before it.
            self.stream.reset_at_close();
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
