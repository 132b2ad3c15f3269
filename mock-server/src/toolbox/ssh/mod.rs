//! What happens inside for the SSH gateway: programs with and without terminals, SFTP, connections and listeners. The
//! gateway speaks SSH; here it only says what a channel is for (`wire`).
//!
//! Different from the original: a command with a terminal has one, and a program whose client vanishes is hung up on.

mod connect;
mod listen;
mod process;
mod sftp;
mod terminal;
pub mod wire;

use std::io;

use tokio::{
    io::{AsyncRead, AsyncWrite, WriteHalf},
    sync::watch,
};

use self::{
    listen::Waiting,
    wire::{Frame, Open, Opened, Reader},
};
use super::{Ctx, go_errors};
use crate::runtime::sys::stream::Stream;

/// What the SSH channels of an agent share.
#[derive(Default)]
pub struct State {
    waiting: Waiting,
}

/// A connection of any sort.
trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Connection for T {}

/// Serves one connection of the gateway to its end. A process has its output on a second one.
pub async fn serve(ctx: Ctx, control: Stream, output: Option<Stream>, stopping: watch::Receiver<bool>) {
    // The gateway is gone, or is about to find out itself.
    if let Err(error) = open(&ctx, control, output, stopping).await {
        tracing::debug!(%error, "ssh");
    }
}

async fn open(
    ctx: &Ctx,
    control: Stream,
    output: Option<Stream>,
    mut stopping: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut reader = Reader::new(control);
    let Some(Frame::Open(open)) = reader.next().await? else { return Err(io::ErrorKind::InvalidData.into()) };
    let control = reader.into_inner()?;
    match (open, output) {
        // Told to end, they end; what they say yet is passed on.
        (Open::Process(process), Some(output)) if process.terminal.is_some() => {
            terminal::run(ctx, control, output, &process).await
        }
        (Open::Process(process), Some(output)) => process::run(ctx, control, output, &process).await,
        (open, _) => tokio::select! {
            ended = without_process(ctx, control, open) => ended,
            _ = stopping.changed() => Ok(()),
        },
    }
}

async fn without_process(ctx: &Ctx, control: Stream, open: Open) -> io::Result<()> {
    match open {
        Open::Process(_) => Err(io::ErrorKind::InvalidData.into()),
        Open::Sftp => sftp::run(ctx, control).await,
        Open::Connect(address) => join(control, connect::to(ctx, &address).await).await,
        Open::Take(id) => join(control, ctx.ssh().waiting.take(id)).await,
        Open::Listen(address) => listen::at(ctx, control, &address).await,
        Open::ListenAgent => listen::for_agent(ctx, control).await,
    }
}

/// Passes bytes both ways until both ends have said all.
async fn join(mut control: Stream, to: io::Result<Box<dyn Connection>>) -> io::Result<()> {
    let mut to = match to {
        Ok(to) => to,
        Err(error) => return refuse(&mut control, &error).await,
    };
    wire::write(&mut control, &Frame::Opened(Opened::Ready)).await?;
    tokio::io::copy_bidirectional_with_sizes(&mut control, &mut to, wire::PIECE, wire::PIECE).await?;
    Ok(())
}

async fn refuse(control: &mut (impl AsyncWrite + Unpin), error: &io::Error) -> io::Result<()> {
    wire::write(control, &Frame::Refused(error.raw_os_error(), go_errors::text(error))).await
}

/// The gateway's end of a process: where output and news of it go.
type Output = WriteHalf<Stream>;
