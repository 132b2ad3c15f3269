//! Answers whose bytes are a file that the sandbox lent ([`crate::runtime::lending`]).

use std::{
    io,
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use parking_lot::Mutex;

use super::{activity::Active, pool::TOOLBOX_PORT};
use crate::runtime::{
    Sandbox,
    lending::{self, Loan, Offer},
};

const LEND: HeaderName = HeaderName::from_static(lending::HEADER);

/// One read, and one frame on the wire.
const CHUNK: usize = 256 << 10;
/// Chunks read while an earlier one is being sent, and that one.
const AHEAD: usize = 2;

/// Offers the agent to read the file that the request asks for, if it does.
pub fn offer(sandbox: &Sandbox, port: u16, request: &mut Request<Body>) -> Option<Offer> {
    // A client's would be somebody else's number.
    request.headers_mut().remove(LEND);
    if port != TOOLBOX_PORT || request.method() != http::Method::GET || request.uri().path() != "/files/download" {
        return None;
    }
    let offer = sandbox.offer_to_read().ok()?;
    request.headers_mut().insert(LEND, HeaderValue::from(offer.id()));
    Some(offer)
}

/// Whether the answer takes the offer: the stretch of the file that it consists of.
pub fn taken(response: &mut Response<Incoming>) -> Option<Range<u64>> {
    lending::parse_stretch(response.headers_mut().remove(LEND)?.to_str().ok()?)
}

/// The answer's body, and its length in the head. `active` lives as long as it.
pub async fn body(offer: Offer, range: Range<u64>, headers: &mut HeaderMap, active: Active) -> io::Result<Body> {
    let loan = offer.file().await?;
    let left = range.end - range.start;
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(left));
    Ok(Body::new(Lent { chunks: chunks(loan, range).boxed(), left, _active: active }))
}

fn chunks(loan: Loan, range: Range<u64>) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let source = Arc::new((loan, Buffers::default()));
    let starts = range.clone().step_by(CHUNK);
    let reads = starts.map(move |start| {
        let source = source.clone();
        let length = usize::try_from(range.end - start).unwrap_or(CHUNK).min(CHUNK);
        let read = move || {
            let (loan, buffers) = &*source;
            let mut buffer = buffers.take();
            loan.read(&mut buffer.bytes[..length], start)?;
            Ok(Bytes::from_owner(buffer).slice(..length))
        };
        async { tokio::task::spawn_blocking(read).await.map_err(io::Error::other)? }
    });
    stream::iter(reads).buffered(AHEAD)
}

/// Knows its end: nobody asks a body for more than was promised.
struct Lent {
    chunks: BoxStream<'static, io::Result<Bytes>>,
    left: u64,
    _active: Active,
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let chunk = ready!(self.chunks.poll_next_unpin(cx));
        if let Some(Ok(chunk)) = &chunk {
            self.left -= chunk.len() as u64;
        }
        Poll::Ready(chunk.map(|chunk| chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// What the chunks of one answer are read into, again and again.
#[derive(Clone, Default)]
struct Buffers(Arc<Mutex<Vec<Box<[u8]>>>>);

impl Buffers {
    fn take(&self) -> Buffer {
        let bytes = self.0.lock().pop().unwrap_or_else(|| vec![0; CHUNK].into());
        Buffer { bytes, home: self.clone() }
    }
}

struct Buffer {
    bytes: Box<[u8]>,
    home: Buffers,
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.home.0.lock().push(std::mem::take(&mut self.bytes));
    }
}
