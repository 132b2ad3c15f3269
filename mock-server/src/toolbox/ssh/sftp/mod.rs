//! The SFTP subsystem, version 3 as OpenSSH speaks it (draft-ietf-secsh-filexfer-02), with those of its extensions that
//! its clients use. A thread of its own per client: requests come in order and are answered in order, and a file
//! system that hangs keeps up nobody else. Names are bytes; relative ones start at the work directory.

mod attributes;
mod files;
mod packet;

use std::{
    io::{self, Read, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
    thread,
};

use nix::sys::socket::{Shutdown, shutdown};
use tokio::sync::oneshot;

use self::files::Server;
use super::wire::{self, Frame, Opened};
use crate::{runtime::sys::stream::Stream, toolbox::Ctx};

/// The longest packet, and so the largest read or write with what surrounds it (as OpenSSH has it).
const MAX_PACKET: usize = 256 << 10;

const STACK: usize = 256 << 10;

/// Serves until the client or the sandbox ends it.
pub async fn run(ctx: &Ctx, mut control: Stream) -> io::Result<()> {
    wire::write(&mut control, &Frame::Opened(Opened::Ready)).await?;
    let socket = UnixStream::from(control.into_fd());
    socket.set_nonblocking(false)?;
    let _end = EndsReading(socket.try_clone()?);
    let (ended, end) = oneshot::channel();
    let mut server = Server::new(ctx.clone());
    thread::Builder::new().name("sftp".into()).stack_size(STACK).spawn(move || {
        // The client is gone, or speaks something else: either way it is over.
        let _ = serve(&socket, &mut server);
        let _ = ended.send(());
    })?;
    let _ = end.await;
    Ok(())
}

/// Ends the thread's wait for requests.
struct EndsReading(UnixStream);

impl Drop for EndsReading {
    fn drop(&mut self) {
        let _ = shutdown(self.0.as_raw_fd(), Shutdown::Both);
    }
}

fn serve(mut socket: &UnixStream, server: &mut Server) -> io::Result<()> {
    let mut from = io::BufReader::with_capacity(64 << 10, socket);
    let mut request = Vec::new();
    loop {
        let mut length = [0; 4];
        if from.read_exact(&mut length).is_err() {
            return Ok(());
        }
        let length = u32::from_be_bytes(length) as usize;
        if !(1..=MAX_PACKET).contains(&length) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        request.resize(length, 0);
        from.read_exact(&mut request)?;
        let answer = server.answer(&request)?;
        socket.write_all(&answer)?;
    }
}
