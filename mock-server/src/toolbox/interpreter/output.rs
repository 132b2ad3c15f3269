//! The way of one execution's output from the worker to the client. A client that is slow makes the code wait.

use std::{collections::VecDeque, io, time::Duration};

use axum::extract::ws::{Message, WebSocket};
use futures_util::{SinkExt, stream::SplitSink};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{
    packets::{Assembler, Chunk},
    worker::Channel,
};
use crate::toolbox::json::to_vec;

/// For a client to take a piece of output once there is hurry.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Packets passed on before they are flushed, and other tasks get their turn.
const BATCH: usize = 64;

pub type Sink = SplitSink<WebSocket, Message>;

pub struct Output<'a> {
    assembler: Assembler,
    sink: &'a mut Sink,
    /// What the client has yet to take of the last packet.
    waiting: VecDeque<Message>,
    /// Set when the client may not keep the code waiting any more.
    hurry: CancellationToken,
    /// The client takes nothing more.
    lost: bool,
    over: bool,
}

impl<'a> Output<'a> {
    pub fn new(number: u32, sink: &'a mut Sink, hurry: CancellationToken) -> Output<'a> {
        let assembler = Assembler::new(number);
        Output { assembler, sink, waiting: VecDeque::new(), hurry, lost: false, over: false }
    }

    /// Passes everything on until the execution is over; an error when the worker is gone before.
    pub async fn pass_on(&mut self, channel: &Channel) -> io::Result<()> {
        let mut batch = 0;
        while !self.over {
            let packet = match channel.try_recv() {
                Ok(packet) if batch < BATCH => packet,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                ready => {
                    self.flush().await;
                    batch = 0;
                    tokio::task::yield_now().await;
                    match ready {
                        Ok(packet) => packet,
                        Err(_) => channel.recv().await?,
                    }
                }
            };
            if packet.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            batch += 1;
            self.take(&packet);
            self.deliver().await;
        }
        self.flush().await;
        Ok(())
    }

    /// What was left when the worker ended.
    pub async fn rest(&mut self, packets: Vec<Vec<u8>>) {
        self.deliver().await;
        for packet in packets {
            self.take(&packet);
            self.deliver().await;
        }
        self.flush().await;
    }

    fn take(&mut self, packet: &[u8]) {
        let waiting = &mut self.waiting;
        self.over |= self.assembler.feed(packet, |chunk| waiting.push_back(frame(&chunk)));
    }

    /// Cancelled, it loses nothing.
    async fn deliver(&mut self) {
        while let Some(message) = self.waiting.front().filter(|_| !self.lost) {
            self.lost = !in_time(&self.hurry, self.sink.feed(message.clone())).await;
            self.waiting.pop_front();
        }
        self.waiting.clear();
    }

    async fn flush(&mut self) {
        self.lost = self.lost || !in_time(&self.hurry, self.sink.flush()).await;
    }
}

/// Whether it was sent.
async fn in_time<E>(hurry: &CancellationToken, sending: impl Future<Output = Result<(), E>>) -> bool {
    let late = async {
        hurry.cancelled().await;
        sleep(LAST_WORDS).await;
    };
    tokio::select! {
        biased;
        sent = sending => sent.is_ok(),
        () = late => false,
    }
}

fn frame(chunk: &Chunk) -> Message {
    Message::Text(String::from_utf8_lossy(&to_vec(chunk)).as_ref().into())
}
