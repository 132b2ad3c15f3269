//! Channels that are bytes both ways: connections, forwarded ones, SFTP.

use std::{io, time::Duration};

use bytes::{Bytes, BytesMut};
use russh::{ChannelWriteHalf, server::Msg};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

use super::channels::Channel;
use crate::{runtime::sys::stream::Stream, toolbox::ssh::wire::PIECE};

/// How long what a client sent before it closed may take to arrive.
const LAST: Duration = Duration::from_secs(10);

/// Passes bytes until both sides have said all, or one is gone; then the channel is closed.
pub async fn run(channel: &Channel, to_client: &ChannelWriteHalf<Msg>, (inside, first): (Stream, Bytes), exits: bool) {
    let (read, write) = tokio::io::split(inside);
    let up = async {
        let late = async {
            channel.closed.cancelled().await;
            tokio::time::sleep(LAST).await;
        };
        tokio::select! {
            sent = up(channel, write) => sent,
            () = late => Err(io::ErrorKind::TimedOut.into()),
        }
    };
    let down = async {
        // Nobody listens any more, but what was sent before is on its way.
        channel.closed.run_until_cancelled(down(to_client, first, read)).await.unwrap_or(Ok(()))
    };
    tokio::pin!(up, down);
    tokio::select! {
        // The other direction may go on.
        sent = &mut up => if sent.is_ok() {
            _ = down.await;
        },
        // A subsystem that ends is over. Of a connection the client may use what is left.
        received = &mut down => if received.is_ok() && (!exits || channel.closed.is_cancelled()) {
            _ = up.await;
        },
    }
    if exits {
        _ = to_client.exit_status(0).await;
    }
    _ = to_client.close().await;
}

async fn up(channel: &Channel, mut to: WriteHalf<Stream>) -> io::Result<()> {
    while let Some(bytes) = channel.inbox.data().await? {
        to.write_all(&bytes).await?;
    }
    to.shutdown().await
}

async fn down(to: &ChannelWriteHalf<Msg>, first: Bytes, mut from: ReadHalf<Stream>) -> io::Result<()> {
    to.data_bytes(first).await.map_err(io::Error::other)?;
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(PIECE);
        if from.read_buf(&mut buffer).await? == 0 {
            return to.eof().await.map_err(io::Error::other);
        }
        to.data_bytes(buffer.split().freeze()).await.map_err(io::Error::other)?;
    }
}
