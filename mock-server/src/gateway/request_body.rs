//! The bodies of requests: where they end, and what becomes of what nobody reads.
//!
//! An answer may be there before the body is (a key that is refused, a sandbox that is stopped). Clients that keep
//! connections send the rest all the same, and then their next request, which must not meet a closed connection that
//! nobody told them about (observed: Python's urllib3 fails).

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use parking_lot::Mutex;

use super::lenient::AtHead;

/// What is read for nobody.
const MOST: u64 = 256 << 10;

/// How long the answer waits for that.
const PATIENCE: Duration = Duration::from_secs(2);

/// A body that says when it ends, and that can be read on when its reader drops it.
pub struct Watched {
    /// `None` only while it is dropped.
    inner: Option<Incoming>,
    at_head: AtHead,
    dropped: Arc<Mutex<Option<Incoming>>>,
}

/// Where a dropped body is found.
pub struct Rest {
    at_head: AtHead,
    dropped: Arc<Mutex<Option<Incoming>>>,
}

/// A body, and what can be done when it is not read.
pub fn watch(inner: Incoming, at_head: AtHead) -> (Watched, Rest) {
    let dropped = Arc::default();
    let rest = Rest { at_head: at_head.clone(), dropped: Arc::clone(&dropped) };
    (Watched { inner: Some(inner), at_head, dropped }, rest)
}

impl Rest {
    /// Reads a dropped body to its end. False when there is too much of it: then the connection can't be kept.
    pub async fn drain(self) -> bool {
        let Some(mut body) = self.dropped.lock().take() else { return true };
        if body.size_hint().lower() > MOST {
            return false;
        }
        let all = async {
            let mut read = 0;
            while let Some(frame) = body.frame().await {
                read += frame.ok()?.data_ref().map_or(0, |data| data.len() as u64);
                if read > MOST {
                    return None;
                }
            }
            Some(())
        };
        let drained = matches!(tokio::time::timeout(PATIENCE, all).await, Ok(Some(())));
        if drained {
            self.at_head.set(true);
        }
        drained
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(&mut *inner).poll_frame(cx));
        if frame.is_none() || inner.is_end_stream() {
            self.at_head.set(true);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take().filter(|inner| !inner.is_end_stream()) {
            *self.dropped.lock() = Some(inner);
        }
    }
}
