//! Copies bytes between two sockets, both ways, half-closes included.
//!
//! Like `tokio::io::copy_bidirectional`, but with large reads into a buffer that all flows of a thread share: an idle
//! flow holds no buffer at all, and a busy one moves 128 KiB per system call.

use std::{
    io::{self, ErrorKind},
    os::fd::AsRawFd,
};

use nix::sys::socket::{Shutdown, shutdown};
use tokio::net::TcpStream;

use super::link::with_scratch;

/// Ends when both directions have ended, or at the first error of either.
pub async fn splice(a: &TcpStream, b: &TcpStream) -> io::Result<()> {
    tokio::try_join!(pump(a, b), pump(b, a))?;
    Ok(())
}

/// One direction, until `from` ends; then `to` sees the end too.
pub async fn pump(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    loop {
        from.readable().await?;
        match step(from, to) {
            Ok(Step::Moved) => tokio::task::coop::consume_budget().await,
            Ok(Step::Left(rest)) => write_all(to, &rest).await?,
            Ok(Step::End) => {
                end(to);
                return Ok(());
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Tells `to` that nothing more comes.
pub fn end(to: &TcpStream) {
    // An error means that it is gone, which its own direction reports.
    let _ = shutdown(to.as_raw_fd(), Shutdown::Write);
}

/// Appends what comes next; 0 at the end.
pub async fn read_more(from: &TcpStream, bytes: &mut Vec<u8>) -> io::Result<usize> {
    loop {
        from.readable().await?;
        bytes.reserve(16 << 10);
        match from.try_read_buf(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            result => return result,
        }
    }
}

enum Step {
    Moved,
    /// What `to` had no room for.
    Left(Vec<u8>),
    End,
}

fn step(from: &TcpStream, to: &TcpStream) -> io::Result<Step> {
    with_scratch(|buffer| {
        let length = from.try_read(buffer)?;
        if length == 0 {
            return Ok(Step::End);
        }
        let written = match to.try_write(&buffer[..length]) {
            Ok(written) => written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        Ok(if written == length { Step::Moved } else { Step::Left(buffer[written..length].to_vec()) })
    })
}

/// Writes all of it, waiting for room.
pub async fn write_all(to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
