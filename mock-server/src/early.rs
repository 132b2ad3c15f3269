//! Answers that come before the request was read: who gives one may close the connection at once, and what is still being
//! sent then fails, with the answer already there.

use std::{
    io::{self, ErrorKind, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection whose other side may stop listening: what is sent to nobody counts as sent, so that the answer is read.
pub struct Patient<S> {
    inner: S,
    deaf: bool,
}

impl<S> Patient<S> {
    pub fn new(inner: S) -> Patient<S> {
        Patient { inner, deaf: false }
    }

    /// `length` bytes went to the other side, or to nobody.
    fn sent(&mut self, result: io::Result<usize>, length: usize) -> io::Result<usize> {
        match result {
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                self.deaf = true;
                Ok(length)
            }
            other => other,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.deaf {
            return Poll::Ready(Ok(bytes.len()));
        }
        let result = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes));
        Poll::Ready(self.sent(result, bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = slices.iter().map(|slice| slice.len()).sum();
        if self.deaf {
            return Poll::Ready(Ok(length));
        }
        let result = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, slices));
        Poll::Ready(self.sent(result, length))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.deaf { Poll::Ready(Ok(())) } else { Pin::new(&mut self.inner).poll_flush(cx) }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.deaf { Poll::Ready(Ok(())) } else { Pin::new(&mut self.inner).poll_shutdown(cx) }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use hyper::{Request, StatusCode, client::conn::http1};
    use hyper_util::rt::TokioIo;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::UnixStream,
    };

    use super::*;

    /// Reads a little, answers and leaves.
    async fn hasty(mut stream: UnixStream) {
        let mut some = [0; 10];
        stream.read_exact(&mut some).await.expect("a request");
        stream.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno").await.expect("answered");
    }

    #[tokio::test]
    async fn an_answer_before_the_end_of_the_request_is_read() {
        for size in [1_000, 100_000, 10_000_000] {
            let (ours, theirs) = UnixStream::pair().expect("a pair");
            tokio::spawn(hasty(theirs));
            let (mut sender, connection) = http1::handshake(TokioIo::new(Patient::new(ours))).await.expect("open");
            tokio::spawn(connection);
            let request = Request::post("/").body(Body::from(vec![7; size])).expect("a request");
            let response = sender.send_request(request).await.expect("an answer");
            assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
            let body = axum::body::to_bytes(Body::new(response.into_body()), 10).await.expect("whole");
            assert_eq!(&body[..], b"no");
        }
    }
}
