//! Lets through what clients send though HTTP forbids it: raw JSON in the query (`?labels={"a":"b"}`, observed).
//! The parser refuses a `"` there, so it is escaped in each request's first line before the parser sees it.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Says that the next bytes to be read start a request. Whoever handles requests sets it, since only then can
/// the bytes of a body never be taken for a request line.
#[derive(Clone, Default)]
pub struct AtHead(Arc<AtomicBool>);

impl AtHead {
    pub fn set(&self, at_head: bool) {
        self.0.store(at_head, Ordering::Relaxed);
    }
}

/// A connection whose request lines are mended.
pub struct Lenient<S> {
    stream: S,
    at_head: AtHead,
    /// Escaped bytes that did not fit into the reader's buffer.
    pending: Bytes,
}

impl<S> Lenient<S> {
    pub fn new(stream: S, at_head: AtHead) -> Self {
        at_head.set(true);
        Lenient { stream, at_head, pending: Bytes::new() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lenient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.pending.has_remaining() {
            let count = self.pending.len().min(buf.remaining());
            buf.put_slice(&self.pending.split_to(count));
            return Poll::Ready(Ok(()));
        }
        let start = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let read = &buf.filled()[start..];
        if read.is_empty() || !self.at_head.0.swap(false, Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        if let Some(mended) = mend(read) {
            let mut mended = Bytes::from(mended);
            buf.set_filled(start);
            let count = mended.len().min(buf.remaining());
            buf.put_slice(&mended.split_to(count));
            self.pending = mended;
        }
        Poll::Ready(Ok(()))
    }
}

/// `bytes` with the forbidden characters of the first line's query escaped; `None` when there are none.
fn mend(bytes: &[u8]) -> Option<Vec<u8>> {
    let line = &bytes[..memchr::memchr(b'\n', bytes).unwrap_or(bytes.len())];
    let method = line.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    line[method..].strip_prefix(b" /").filter(|_| method > 0)?;
    let query = memchr::memchr(b'?', line)?;
    memchr::memchr3(b'"', b'<', b'>', &line[query..])?;
    let mut mended = Vec::with_capacity(bytes.len() + 64);
    mended.extend_from_slice(&line[..query]);
    for &byte in &line[query..] {
        match byte {
            b'"' => mended.extend_from_slice(b"%22"),
            b'<' => mended.extend_from_slice(b"%3C"),
            b'>' => mended.extend_from_slice(b"%3E"),
            _ => mended.push(byte),
        }
    }
    mended.extend_from_slice(&bytes[line.len()..]);
    Some(mended)
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lenient<S> {
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
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[test]
    fn only_the_query_of_the_first_line_is_mended() {
        let mended = mend(b"GET /a?l={\"a\":1} HTTP/1.1\r\nX: \"?\r\n\r\n").expect("mended");
        assert_eq!(mended, b"GET /a?l={%22a%22:1} HTTP/1.1\r\nX: \"?\r\n\r\n");
        assert_eq!(mend(b"GET /a?l=1 HTTP/1.1\r\nX: \"?\r\n\r\n"), None);
        assert_eq!(mend(b"POST / HTTP/1.1\r\n\r\n?\"\n"), None);
    }

    #[tokio::test]
    async fn bodies_pass_untouched_and_small_buffers_lose_nothing() {
        let at_head = AtHead::default();
        let sent: &[u8] = b"GET /?\"\" HTTP/1.1\r\n\r\nGET /?\" \n";
        let mut reader = Lenient::new(sent, at_head.clone());
        let mut first = [0; 3];
        reader.read_exact(&mut first).await.expect("reads");
        assert_eq!(&first, b"GET");
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).await.expect("reads");
        // The first line came in pieces of three bytes: only a piece that starts a request is looked at.
        assert_eq!(rest, b" /?\"\" HTTP/1.1\r\n\r\nGET /?\" \n");

        let mut reader = Lenient::new(sent, at_head);
        let mut all = vec![0; 64];
        let count = reader.read(&mut all).await.expect("reads");
        assert_eq!(&all[..count], b"GET /?%22%22 HTTP/1.1\r\n\r\nGET /?\" \n");
    }
}
