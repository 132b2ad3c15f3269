//! Two upgraded connections as one: bytes pass unread, so frames, close codes and reasons do too. A tunnel that is
//! idle holds no buffer, one whose reader is slow holds the last read of its writer and reads no more.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy, sink, split};

/// Of each thread; the largest read.
const BUFFER: usize = 64 * 1024;
/// Reads in a row before others have their turn.
const TURN: usize = 32;
/// How long a client may take to close after the sandbox did. Closing at once, with something of the client's unread,
/// would reset the connection and could take the last frame from it.
const LINGER: Duration = Duration::from_secs(5);

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER].into_boxed_slice());
}

/// Carries bytes both ways until the sandbox's side ends, or the client's fails.
pub async fn join(client: Upgraded, agent: Upgraded) {
    let (mut from_client, mut to_client) = split(TokioIo::new(client));
    let (mut from_agent, mut to_agent) = split(TokioIo::new(agent));
    let agent_ended = {
        let up = async { carry(&mut from_client, &mut to_agent).await.is_err() };
        let down = carry(&mut from_agent, &mut to_client);
        tokio::pin!(up, down);
        tokio::select! {
            ended = &mut down => ended.is_ok(),
            // The client may have said all it has and still listen.
            failed = &mut up => !failed && down.await.is_ok(),
        }
    };
    if agent_ended {
        _ = tokio::time::timeout(LINGER, copy(&mut from_client, &mut sink())).await;
    }
}

async fn carry(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let mut left = Vec::new();
    poll_fn(|cx| poll_carry(Pin::new(&mut *from), Pin::new(&mut *to), &mut left, cx)).await?;
    to.shutdown().await
}

/// Ready at the end of `from`. `left` is what `to` hasn't taken yet.
fn poll_carry<R: AsyncRead, W: AsyncWrite>(
    mut from: Pin<&mut R>,
    mut to: Pin<&mut W>,
    left: &mut Vec<u8>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    if !left.is_empty() {
        let (count, result) = write_some(to.as_mut(), left, cx);
        left.drain(..count);
        ready!(result)?;
        *left = Vec::new();
    }
    for _ in 0..TURN {
        let more = SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(from.as_mut().poll_read(cx, &mut buffer))?;
            let (count, result) = write_some(to.as_mut(), buffer.filled(), cx);
            if result.is_pending() {
                left.extend_from_slice(&buffer.filled()[count..]);
            }
            ready!(result)?;
            Poll::Ready(io::Result::Ok(!buffer.filled().is_empty()))
        });
        if !ready!(more)? {
            return Poll::Ready(Ok(()));
        }
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// Writes until all is written or `to` takes no more: how much, and which of the two.
fn write_some<W: AsyncWrite>(mut to: Pin<&mut W>, bytes: &[u8], cx: &mut Context<'_>) -> (usize, Poll<io::Result<()>>) {
    let mut done = 0;
    while done < bytes.len() {
        match to.as_mut().poll_write(cx, &bytes[done..]) {
            Poll::Ready(Ok(0)) => return (done, Poll::Ready(Err(io::ErrorKind::WriteZero.into()))),
            Poll::Ready(Ok(count)) => done += count,
            Poll::Ready(Err(error)) => return (done, Poll::Ready(Err(error))),
            Poll::Pending => return (done, Poll::Pending),
        }
    }
    (done, Poll::Ready(Ok(())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, duplex};

    use super::*;

    proptest! {
        /// Whatever the sizes of pipes and pieces, the same bytes come out, in order, and then the end.
        #[test]
        fn every_byte_passes(pieces in prop::collection::vec(1usize..100_000, 0..20), pipe in 1usize..5000, read in 1usize..3000) {
            let sent: Vec<u8> = (0..pieces.iter().sum::<usize>()).map(|n| (n * 7 + n / 251) as u8).collect();
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
            let received = runtime.block_on(async {
                let ((mut writer, mut from), (mut to, mut reader)) = (duplex(pipe), duplex(pipe));
                let (text, mut received) = (sent.clone(), Vec::new());
                let write = async move {
                    let mut rest = text.as_slice();
                    for size in pieces {
                        let (piece, after) = rest.split_at(size);
                        writer.write_all(piece).await.expect("writes");
                        rest = after;
                    }
                };
                let take = async {
                    let mut buffer = vec![0; read];
                    loop {
                        match reader.read(&mut buffer).await.expect("reads") {
                            0 => return,
                            count => received.extend_from_slice(&buffer[..count]),
                        }
                    }
                };
                let (carried, (), ()) = tokio::join!(carry(&mut from, &mut to), write, take);
                carried.expect("carries");
                received
            });
            prop_assert!(received == sent);
        }
    }
}
