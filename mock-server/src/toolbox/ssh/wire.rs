//! What the SSH gateway and the agent say to each other, one connection per SSH channel or listener. It comes in over
//! the control socket, where no client and nobody inside can speak.
//!
//! Everything is a frame: one byte what it is, four bytes how long (big endian), and that much. The server opens with
//! [`Frame::Open`]; the agent answers [`Frame::Opened`] or [`Frame::Refused`]. After that a process takes its input and
//! its orders from frames and writes its output to the second descriptor, as frames too, so that a client that doesn't
//! read can't keep an exit status or an order back; a listener announces connections; everything else is bytes.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest payload.
pub const MAX: usize = 256 << 10;

/// The longest piece of input or output.
pub const PIECE: usize = 32 << 10;

/// Input that may be on its way to a process that hasn't taken it.
pub const CREDIT: usize = 256 << 10;

/// What a connection is for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Open {
    /// A program, with orders on this connection and output on a second one.
    Process(Process),
    /// An SFTP server.
    Sftp,
    /// A connection to somewhere, as seen from inside.
    Connect(Address),
    /// Connections from inside, until this connection ends.
    Listen(Address),
    /// The same at a socket for an authentication agent, with a name that nobody can guess.
    ListenAgent,
    /// The connection that a listener announced under this number.
    Take(u64),
}

/// A program to start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// For `/bin/sh -c`; without one it is a shell.
    pub command: Option<Vec<u8>>,
    pub terminal: Option<TerminalSpec>,
    /// Added to the toolbox's environment.
    pub env: Vec<(String, String)>,
}

/// A pseudo-terminal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TerminalSpec {
    /// `TERM`.
    pub name: String,
    pub size: Size,
    /// Opcodes of RFC 4254, section 8, with their arguments.
    pub modes: Vec<(u8, u32)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    pub cols: u16,
    pub rows: u16,
    /// In pixels; 0 is unknown.
    pub width: u16,
    pub height: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Address {
    Tcp { host: String, port: u16 },
    Unix(String),
}

/// What was opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Opened {
    Ready,
    /// Where a listener listens: for TCP with the port that it got.
    Listening(Address),
}

/// A connection that a listener took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// For [`Open::Take`].
    pub id: u64,
    /// Where it comes from; empty for Unix sockets.
    pub host: String,
    pub port: u16,
}

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    Open(Open),
    Opened(Opened),
    /// Why not: an `errno` where there is one, and a text for people.
    Refused(Option<i32>, String),
    /// For a process; empty is the end.
    Input(Bytes),
    Resize(Size),
    /// By its name without `SIG`.
    Signal(String),
    Output(Bytes),
    ErrorOutput(Bytes),
    /// So much input was taken.
    Taken(u32),
    /// Its exit code.
    Exit(i32),
    Accepted(Accepted),
    /// Nobody will take the connection.
    Forget(u64),
}

impl Frame {
    fn kind(&self) -> u8 {
        match self {
            Frame::Open(_) => 1,
            Frame::Opened(_) => 2,
            Frame::Refused(..) => 3,
            Frame::Input(_) => 4,
            Frame::Resize(_) => 5,
            Frame::Signal(_) => 6,
            Frame::Output(_) => 7,
            Frame::ErrorOutput(_) => 8,
            Frame::Taken(_) => 9,
            Frame::Exit(_) => 10,
            Frame::Accepted(_) => 11,
            Frame::Forget(_) => 12,
        }
    }

    fn payload(&self) -> Bytes {
        match self {
            Frame::Open(open) => json(open),
            Frame::Opened(opened) => json(opened),
            Frame::Refused(errno, text) => json(&(errno, text)),
            Frame::Input(bytes) | Frame::Output(bytes) | Frame::ErrorOutput(bytes) => bytes.clone(),
            Frame::Resize(size) => json(size),
            Frame::Signal(name) => json(name),
            Frame::Taken(count) => json(count),
            Frame::Exit(code) => json(code),
            Frame::Accepted(accepted) => json(accepted),
            Frame::Forget(id) => json(id),
        }
    }

    fn parse(kind: u8, payload: Bytes) -> io::Result<Frame> {
        Ok(match kind {
            1 => Frame::Open(from_json(&payload)?),
            2 => Frame::Opened(from_json(&payload)?),
            3 => {
                let (errno, text) = from_json(&payload)?;
                Frame::Refused(errno, text)
            }
            4 => Frame::Input(payload),
            5 => Frame::Resize(from_json(&payload)?),
            6 => Frame::Signal(from_json(&payload)?),
            7 => Frame::Output(payload),
            8 => Frame::ErrorOutput(payload),
            9 => Frame::Taken(from_json(&payload)?),
            10 => Frame::Exit(from_json(&payload)?),
            11 => Frame::Accepted(from_json(&payload)?),
            12 => Frame::Forget(from_json(&payload)?),
            _ => return Err(invalid("an unknown frame")),
        })
    }
}

fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).map(Bytes::from).unwrap_or_default()
}

fn from_json<T: DeserializeOwned>(payload: &[u8]) -> io::Result<T> {
    Ok(serde_json::from_slice(payload)?)
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Reads frames.
pub struct Reader<R> {
    from: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub fn new(from: R) -> Reader<R> {
        Reader { from, buffer: BytesMut::new() }
    }

    /// The next one; `None` at the end. Cancel safe.
    pub async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(Some(frame));
            }
            self.buffer.reserve(4 << 10);
            if self.from.read_buf(&mut self.buffer).await? == 0 {
                let whole = self.buffer.is_empty();
                return if whole { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    fn take(&mut self) -> io::Result<Option<Frame>> {
        let Some((&kind, rest)) = self.buffer.split_first() else { return Ok(None) };
        let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        if length > MAX {
            return Err(invalid("a frame is too long"));
        }
        if rest.len() < length {
            self.buffer.reserve(5 + length - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(5);
        let payload = self.buffer.split_to(length).freeze();
        Frame::parse(kind, payload).map(Some)
    }

    /// The connection, for bytes from here on, and those that came with the last frame.
    pub fn into_parts(self) -> (R, Bytes) {
        (self.from, self.buffer.freeze())
    }

    /// The connection to somebody who waits for an answer. An error if they didn't.
    pub fn into_inner(self) -> io::Result<R> {
        if self.buffer.is_empty() { Ok(self.from) } else { Err(invalid("bytes came too early")) }
    }
}

/// Writes one frame. Not cancel safe.
pub async fn write(to: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> io::Result<()> {
    let payload = frame.payload();
    if payload.len() > MAX {
        return Err(invalid("a frame is too long"));
    }
    let mut head = [0; 5];
    (&mut head[..]).put_u8(frame.kind());
    head[1..].copy_from_slice(&(payload.len() as u32).to_be_bytes());
    let mut both = Buf::chain(head.as_slice(), payload);
    while both.has_remaining() {
        if to.write_buf(&mut both).await? == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_all(bytes: &[u8]) -> (Vec<Frame>, bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        runtime.block_on(async {
            let (mut reader, mut frames) = (Reader::new(bytes), Vec::new());
            loop {
                match reader.next().await {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => return (frames, true),
                    Err(_) => return (frames, false),
                }
            }
        })
    }

    fn frames() -> impl Strategy<Value = Frame> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from);
        prop_oneof![
            bytes().prop_map(Frame::Input),
            bytes().prop_map(Frame::ErrorOutput),
            any::<u32>().prop_map(Frame::Taken),
            any::<i32>().prop_map(Frame::Exit),
            (any::<Option<i32>>(), ".*").prop_map(|(errno, text)| Frame::Refused(errno, text)),
            ("\\PC*", any::<u16>()).prop_map(|(host, port)| Frame::Open(Open::Connect(Address::Tcp { host, port }))),
            bytes().prop_map(|command| {
                let terminal = TerminalSpec { name: "x".into(), size: Size::default(), modes: vec![(1, 3)] };
                let env = vec![("A".into(), "b".into())];
                Frame::Open(Open::Process(Process { command: Some(command.into()), terminal: Some(terminal), env }))
            }),
        ]
    }

    proptest! {
        #[test]
        fn frames_survive(sent in prop::collection::vec(frames(), 0..8)) {
            let mut bytes = Vec::new();
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
            for frame in &sent {
                runtime.block_on(write(&mut bytes, frame)).expect("written");
            }
            prop_assert_eq!(read_all(&bytes), (sent, true));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            read_all(&bytes);
        }
    }

    #[test]
    fn long_and_cut_frames_are_refused() {
        assert_eq!(read_all(&[7, 0xFF, 0, 0, 0, 1]), (vec![], false));
        assert_eq!(read_all(&[7, 0, 0, 0, 2, 1]), (vec![], false));
        assert_eq!(read_all(&[99, 0, 0, 0, 0]), (vec![], false));
        assert_eq!(read_all(&[7, 0, 0, 0, 1, 5]), (vec![Frame::Output(Bytes::from_static(&[5]))], true));
    }
}
