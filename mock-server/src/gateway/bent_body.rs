//! What faults do to the body of an answer: it comes late, in bad pieces, or not to its end.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::{bend::pieces, tap::Tap};
use crate::faults::effect::Cut;

/// Between two pieces, in real time: long enough that the client reads them one by one, and before a reset what came.
pub const PAUSE: Duration = Duration::from_millis(20);

type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

pub enum Bending {
    Split(Cut),
    /// The connection ends after so many bytes.
    End {
        after: u64,
        reset: bool,
    },
    /// Nothing comes before this is over.
    Delay(Wait),
}

/// A body that a fault acts on.
pub struct BentBody {
    inner: Body,
    bending: Bending,
    tap: Tap,
    queue: VecDeque<Bytes>,
    wait: Option<Wait>,
    sent: u64,
    begun: bool,
}

impl BentBody {
    pub fn new(inner: Body, bending: Bending, tap: Tap) -> BentBody {
        BentBody { inner, bending, tap, queue: VecDeque::new(), wait: None, sent: 0, begun: false }
    }

    /// What was read, as the client is to get it.
    fn take(&mut self, data: Bytes) {
        match &self.bending {
            Bending::Split(cut) => self.queue.extend(pieces(&data, *cut).into_iter().map(|range| data.slice(range))),
            _ => self.queue.push_back(data),
        }
    }

    /// The end that the fault brings; what was sent before has a moment to get out.
    fn cut_off(&mut self, reset: bool) -> axum::Error {
        if reset {
            self.tap.reset();
        }
        axum::Error::new(io::Error::other("cut off by a fault"))
    }

    fn next(&mut self) -> Option<Bytes> {
        let mut piece = self.queue.pop_front()?;
        if let Bending::End { after, .. } = self.bending {
            let room = usize::try_from(after - self.sent).unwrap_or(usize::MAX);
            piece.truncate(room);
        } else if !self.queue.is_empty() {
            self.wait = Some(Box::pin(tokio::time::sleep(PAUSE)));
        }
        self.sent += piece.len() as u64;
        Some(piece)
    }
}

impl HttpBody for BentBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        loop {
            if let Some(wait) = &mut this.wait {
                ready!(wait.as_mut().poll(cx));
                this.wait = None;
            }
            match &mut this.bending {
                Bending::Delay(wait) if !this.begun => {
                    ready!(wait.as_mut().poll(cx));
                    this.begun = true;
                }
                Bending::End { after, reset } if this.sent >= *after => {
                    if !std::mem::replace(&mut this.begun, true) {
                        this.wait = Some(Box::pin(tokio::time::sleep(PAUSE)));
                        continue;
                    }
                    let reset = *reset;
                    return Poll::Ready(Some(Err(this.cut_off(reset))));
                }
                _ => {}
            }
            if let Some(piece) = this.next() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.take(data),
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => return Poll::Ready(end),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        // The end is a fault's, or comes late.
        false
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
