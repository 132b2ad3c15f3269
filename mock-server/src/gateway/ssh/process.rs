//! Channels with a program: its input, output, errors and exit.

use std::io;

use bytes::Bytes;
use russh::{ChannelWriteHalf, server::Msg};
use tokio::{
    io::{ReadHalf, WriteHalf},
    sync::{Mutex, Semaphore},
};

use super::channels::{Channel, Connection, opened};
use crate::{
    runtime::sys::stream::Stream,
    toolbox::ssh::wire::{self, CREDIT, Frame, Open, PIECE, Process, Reader},
};

/// What a shell answers for what can't be started.
const CANNOT_START: u32 = 126;

/// `EXTENDED_DATA_STDERR` of RFC 4254.
const ERRORS: u32 = 1;

/// Runs a program to its end, then closes the channel.
pub async fn run(connection: &Connection, channel: &Channel, to_client: &ChannelWriteHalf<Msg>, process: Process) {
    match start(connection, process).await {
        Ok(running) => running.serve(channel, to_client).await,
        Err(error) => {
            let text = format!("daytona-mock: it can't be started: {error}\r\n");
            _ = to_client.extended_data_bytes(ERRORS, text).await;
            _ = to_client.exit_status(CANNOT_START).await;
        }
    }
    _ = to_client.eof().await;
    _ = to_client.close().await;
}

struct Running {
    news: Reader<ReadHalf<Stream>>,
    orders: Mutex<WriteHalf<Stream>>,
    output: Reader<Stream>,
    credit: Semaphore,
}

async fn start(connection: &Connection, process: Process) -> io::Result<Running> {
    let [control, output] = connection.sandbox()?.ssh().await?;
    let (read, mut write) = tokio::io::split(control);
    wire::write(&mut write, &Frame::Open(Open::Process(process))).await?;
    let mut news = Reader::new(read);
    opened(news.next().await?)?;
    Ok(Running { news, orders: Mutex::new(write), output: Reader::new(output), credit: Semaphore::new(CREDIT) })
}

impl Running {
    async fn serve(self, channel: &Channel, to_client: &ChannelWriteHalf<Msg>) {
        let Running { news, orders, output, credit } = self;
        let ended = async {
            // Both end with the program and with the sandbox.
            tokio::join!(show(output, to_client), follow(news, to_client, &credit))
        };
        let input = async {
            _ = feed(channel, &orders, &credit).await;
            std::future::pending::<()>().await;
        };
        let ordered = async {
            _ = pass_orders(channel, &orders).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = ended => {}
            () = input => {}
            () = ordered => {}
        }
    }
}

async fn show(mut output: Reader<Stream>, to: &ChannelWriteHalf<Msg>) -> io::Result<()> {
    while let Some(frame) = output.next().await? {
        match frame {
            Frame::Output(bytes) => to.data_bytes(bytes).await,
            Frame::ErrorOutput(bytes) => to.extended_data_bytes(ERRORS, bytes).await,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
        .map_err(io::Error::other)?;
    }
    Ok(())
}

async fn follow(mut news: Reader<ReadHalf<Stream>>, to: &ChannelWriteHalf<Msg>, credit: &Semaphore) -> io::Result<()> {
    while let Some(frame) = news.next().await? {
        match frame {
            Frame::Taken(count) if credit.available_permits() + count as usize <= CREDIT => {
                credit.add_permits(count as usize);
            }
            Frame::Exit(code) => to.exit_status(code as u32).await.map_err(io::Error::other)?,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
    Ok(())
}

/// Gives the program as much input as it takes, so that orders always pass.
async fn feed(channel: &Channel, orders: &Mutex<WriteHalf<Stream>>, credit: &Semaphore) -> io::Result<()> {
    while let Some(mut bytes) = channel.inbox.data().await? {
        while !bytes.is_empty() {
            let piece = bytes.split_to(PIECE.min(bytes.len()));
            credit.acquire_many(piece.len() as u32).await.map_err(io::Error::other)?.forget();
            wire::write(&mut *orders.lock().await, &Frame::Input(piece)).await?;
        }
    }
    wire::write(&mut *orders.lock().await, &Frame::Input(Bytes::new())).await
}

async fn pass_orders(channel: &Channel, orders: &Mutex<WriteHalf<Stream>>) -> io::Result<()> {
    loop {
        let order = channel.inbox.next_order().await;
        wire::write(&mut *orders.lock().await, &order).await?;
    }
}
