//! What a connection carries once it is a WebSocket, for the journal. It looks at the bytes at the socket itself, so it
//! sees the same whoever talks: a sandbox through a tunnel, or Socket.IO.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::Scanner;
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
}

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
        self.close = scanner.close().map(|(code, reason)| Close { by, code, reason });
    }
}

/// A connection with a tap.
pub struct Tapped<S> {
    stream: S,
    tap: Tap,
}

impl<S> Tapped<S> {
    pub fn new(stream: S, tap: Tap) -> Self {
        Tapped { stream, tap }
    }
}

impl<S> Drop for Tapped<S> {
    fn drop(&mut self) {
        self.tap.close();
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tapped<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let start = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.tap.received(&buf.filled()[start..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tapped<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.tap.sent(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
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
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
