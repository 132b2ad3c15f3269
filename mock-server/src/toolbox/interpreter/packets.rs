//! What goes over the channel between the agent and a worker, a `SOCK_SEQPACKET` socket: each packet arrives whole or
//! not at all, so neither an interrupt nor a process that user code forked can garble the stream.
//!
//! To the worker: pieces of a JSON request, each after a byte `M` (more follows) or `R` (the last).
//!
//! From the worker: the execution's number (4 bytes, big endian), a kind, a payload.
//! `O`, `E`: bytes of stdout and stderr. `N`, `V`, `T`, then `X`: an exception's name, value and traceback in pieces,
//! and its end. `D`: over, `completed` or `interrupted`. The rest is ignored: user code can write there, too.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::toolbox::{json::to_vec, utf8::Joiner};

/// The longest packet from a worker, with some room.
pub const MAX_PACKET: usize = 64 << 10;

/// A piece of a request.
const PIECE: usize = 32 << 10;

/// What is kept of each part of an exception.
const MAX_PART: usize = 4 << 20;

/// Code to run.
#[derive(Serialize)]
pub struct Order<'a> {
    pub number: u32,
    pub code: &'a str,
    pub envs: &'a BTreeMap<String, String>,
}

impl Order<'_> {
    pub fn packets(&self) -> Vec<Vec<u8>> {
        let json = to_vec(self);
        let pieces = json.chunks(PIECE);
        let last = pieces.len() - 1;
        pieces.enumerate().map(|(at, piece)| [if at == last { b"R" } else { b"M" }, piece].concat()).collect()
    }
}

/// A text frame for the client. All five keys are always there (observed).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Chunk {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub text: String,
    pub name: String,
    pub value: String,
    pub traceback: String,
}

impl Chunk {
    fn text(kind: &'static str, text: String) -> Chunk {
        Chunk { kind, text, ..Chunk::default() }
    }
}

/// Makes chunks of one execution's packets.
pub struct Assembler {
    number: u32,
    stdout: Joiner,
    stderr: Joiner,
    name: Vec<u8>,
    value: Vec<u8>,
    traceback: Vec<u8>,
}

impl Assembler {
    pub fn new(number: u32) -> Assembler {
        let (stdout, stderr) = (Joiner::default(), Joiner::default());
        Assembler { number, stdout, stderr, name: Vec::new(), value: Vec::new(), traceback: Vec::new() }
    }

    /// Hands out what a packet completes. True at the end of the execution.
    pub fn feed(&mut self, packet: &[u8], mut emit: impl FnMut(Chunk)) -> bool {
        let Some((number, [kind, payload @ ..])) = packet.split_first_chunk() else { return false };
        if u32::from_be_bytes(*number) != self.number {
            return false;
        }
        let mut output = |kind, text: String| {
            if !text.is_empty() {
                emit(Chunk::text(kind, text))
            }
        };
        match kind {
            b'O' => output("stdout", self.stdout.feed(payload)),
            b'E' => output("stderr", self.stderr.feed(payload)),
            b'N' => append(&mut self.name, payload),
            b'V' => append(&mut self.value, payload),
            b'T' => append(&mut self.traceback, payload),
            b'X' => emit(self.error()),
            b'D' => {
                output("stdout", self.stdout.finish());
                output("stderr", self.stderr.finish());
                let outcome = if payload == b"interrupted" { "interrupted" } else { "completed" };
                emit(Chunk::text("control", outcome.to_owned()));
                return true;
            }
            _ => {}
        }
        false
    }

    fn error(&mut self) -> Chunk {
        let part = |part: &mut Vec<u8>| String::from_utf8_lossy(&std::mem::take(part)).into_owned();
        let (name, value, traceback) = (part(&mut self.name), part(&mut self.value), part(&mut self.traceback));
        Chunk { kind: "error", text: String::new(), name, value, traceback }
    }
}

fn append(part: &mut Vec<u8>, piece: &[u8]) {
    let room = MAX_PART.saturating_sub(part.len());
    part.extend_from_slice(&piece[..piece.len().min(room)]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(number: u32, kind: u8, payload: &[u8]) -> Vec<u8> {
        [&number.to_be_bytes()[..], &[kind], payload].concat()
    }

    /// The chunks, and whether the end was seen.
    fn assemble<'a>(number: u32, packets: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Chunk>, bool) {
        let (mut assembler, mut chunks) = (Assembler::new(number), Vec::new());
        let over = packets.into_iter().any(|packet| assembler.feed(packet, |chunk| chunks.push(chunk)));
        (chunks, over)
    }

    #[test]
    fn an_exception_comes_in_pieces() {
        let parts: [(u8, &[u8]); 6] =
            [(b'N', b"Value"), (b'N', b"Error"), (b'V', b"v"), (b'T', b"t1"), (b'T', b"t2"), (b'X', b"")];
        let packets = parts.map(|(kind, payload)| packet(7, kind, payload));
        let (chunks, over) = assemble(7, packets.iter().map(Vec::as_slice));
        let json = to_vec(&chunks);
        let expected = r#"[{"type":"error","text":"","name":"ValueError","value":"v","traceback":"t1t2"}]"#;
        assert_eq!((String::from_utf8_lossy(&json).as_ref(), over), (expected, false));
    }

    #[test]
    fn an_endless_exception_is_cut() {
        let piece = packet(1, b'V', &[b'x'; 1 << 20]);
        let mut packets = vec![piece.as_slice(); 6];
        let end = packet(1, b'X', b"");
        packets.push(&end);
        assert_eq!(assemble(1, packets).0[0].value.len(), MAX_PART);
    }

    #[test]
    fn a_large_request_is_cut_into_packets() {
        let code = "x = 'é'\n".repeat(20_000);
        let envs = BTreeMap::from([("A".to_owned(), "<b>".to_owned())]);
        let packets = Order { number: 3, code: &code, envs: &envs }.packets();
        let (last, rest) = packets.split_last().expect("some");
        assert!(rest.iter().all(|packet| packet[0] == b'M') && last[0] == b'R' && !rest.is_empty());
        assert!(packets.iter().all(|packet| packet.len() <= PIECE + 1));
        let json = packets.iter().flat_map(|packet| packet[1..].to_vec()).collect::<Vec<_>>();
        let value: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
        assert_eq!(value, serde_json::json!({"number": 3, "code": code, "envs": {"A": "<b>"}}));
    }

    proptest! {
        #[test]
        fn each_stream_gets_its_text(
            writes in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..20)), 0..20),
            cut in 1usize..5,
            interrupted in any::<bool>(),
        ) {
            let mut wrote = [Vec::new(), Vec::new()];
            let mut packets = Vec::new();
            for (stderr, bytes) in &writes {
                wrote[usize::from(*stderr)].extend_from_slice(bytes);
                let kind = if *stderr { b'E' } else { b'O' };
                packets.extend(bytes.chunks(cut).map(|piece| packet(9, kind, piece)));
                // Left over from an earlier execution.
                packets.push(packet(8, kind, b"stale"));
            }
            let outcome = if interrupted { "interrupted" } else { "completed" };
            packets.push(packet(9, b'D', outcome.as_bytes()));
            let (chunks, over) = assemble(9, packets.iter().map(Vec::as_slice));
            let text = |kind| chunks.iter().filter(|c| c.kind == kind).map(|c| c.text.as_str()).collect::<String>();
            prop_assert!(over);
            prop_assert_eq!(text("stdout"), String::from_utf8_lossy(&wrote[0]).into_owned());
            prop_assert_eq!(text("stderr"), String::from_utf8_lossy(&wrote[1]).into_owned());
            prop_assert_eq!(text("control"), outcome);
            prop_assert_eq!(chunks.last().map(|chunk| chunk.kind), Some("control"));
        }

        #[test]
        fn any_packet_is_taken(packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..12), 0..20)) {
            let number = packets.first().and_then(|p| p.first_chunk()).map_or(0, |n| u32::from_be_bytes(*n));
            let (chunks, _) = assemble(number, packets.iter().map(Vec::as_slice));
            prop_assert!(chunks.iter().all(|chunk| ["stdout", "stderr", "error", "control"].contains(&chunk.kind)));
        }
    }
}
