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

/// What is read for nobody before the answer.
const MOST: u64 = 256 << 10;

/// How long the answer waits for that.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is read for nobody after the answer: who was answered early has sent some of it already.
const MOST_LATER: u64 = 64 << 20;

/// How long a client may take for that.
const PATIENCE_LATER: Duration = Duration::from_secs(10);

/// A body that says when it ends, and that can be read on when its reader drops it.
pub struct Watched {
    /// `None` only while it is dropped.
    inner: Option<Incoming>,
    at_head: AtHead,
    fate: Arc<Mutex<Fate>>,
}

/// What became of a body.
#[derive(Default)]
enum Fate {
    /// Somebody has it.
    #[default]
    Read,
    Dropped(Incoming),
    /// The answer went out while somebody had it.
    Answered,
}

/// Where a dropped body is found.
pub struct Rest {
    at_head: AtHead,
    fate: Arc<Mutex<Fate>>,
}

/// A body, and what can be done when it is not read.
pub fn watch(inner: Incoming, at_head: AtHead) -> (Watched, Rest) {
    let fate = Arc::default();
    let rest = Rest { at_head: at_head.clone(), fate: Arc::clone(&fate) };
    (Watched { inner: Some(inner), at_head, fate }, rest)
}

impl Rest {
    /// Reads a dropped body to its end. False when there is too much of it: then the connection can't be kept. One that
    /// somebody still has is read on when it is dropped later.
    pub async fn drain(self) -> bool {
        let fate = std::mem::replace(&mut *self.fate.lock(), Fate::Answered);
        match fate {
            Fate::Dropped(body) => drain(body, MOST, PATIENCE, &self.at_head).await,
            Fate::Read | Fate::Answered => true,
        }
    }
}

/// Whether a body came to its end within bounds.
async fn drain(mut body: Incoming, most: u64, patience: Duration, at_head: &AtHead) -> bool {
    if body.size_hint().lower() > most {
        return false;
    }
    let all = async {
        let mut read = 0;
        while let Some(frame) = body.frame().await {
            read += frame.ok()?.data_ref().map_or(0, |data| data.len() as u64);
            if read > most {
                return None;
            }
        }
        Some(())
    };
    let drained = matches!(tokio::time::timeout(patience, all).await, Ok(Some(())));
    if drained {
        at_head.set(true);
    }
    drained
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
        let Some(inner) = self.inner.take().filter(|inner| !inner.is_end_stream()) else { return };
        let mut fate = self.fate.lock();
        match *fate {
            Fate::Read | Fate::Dropped(_) => *fate = Fate::Dropped(inner),
            Fate::Answered => {
                let at_head = self.at_head.clone();
                if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                    runtime.spawn(async move { drain(inner, MOST_LATER, PATIENCE_LATER, &at_head).await });
                }
            }
        }
    }
}
