//! What faults do to bytes on their way to a client: a WebSocket that closes in the middle, messages cut where clients
//! join them badly.

use std::ops::Range;

use super::skew;
use crate::faults::effect::Cut;

/// A frame that is larger passes as it is.
const LARGEST: usize = 16 << 20;
/// A piece of data is cut into at most so many.
const PIECES: usize = 64;
/// Of an answer's head.
const HEAD_END: &[u8; 4] = b"\r\n\r\n";

/// What is done to the frames that a server sends. Bytes in, bytes out.
pub struct Bend {
    /// Code, reason, after how many data frames.
    pub close: Option<(u16, String, u64)>,
    pub cut: Option<Cut>,
    /// Times in text messages are later by so many seconds.
    skew: Option<i64>,
    /// Nothing more comes after so many bytes of the server's, and how that is.
    end: Option<(u64, End)>,
    /// Bytes of those that went out.
    sent: u64,
    head: usize,
    waiting: Vec<u8>,
    frames: u64,
    closed: bool,
    /// Bytes of a frame that passes as it is.
    passing: usize,
    /// A message in fragments of the server's own is under way.
    fragments: bool,
    /// Frames that wait for the first message of Socket.IO, while that is to come.
    held: Option<Vec<u8>>,
}

/// How a connection ends that no close frame ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Closed,
    Reset,
}

impl Bend {
    pub fn new(close: Option<(u16, String, u64)>, cut: Option<Cut>) -> Bend {
        Bend {
            close,
            cut,
            skew: None,
            end: None,
            sent: 0,
            head: 0,
            waiting: Vec::new(),
            frames: 0,
            closed: false,
            passing: 0,
            fragments: false,
            held: None,
        }
    }

    /// Socket.IO as the original speaks it: the answer to who connects comes next after the open packet. Our library
    /// pings before, and SDKs with a client of their own (Go, Ruby) expect nothing else there.
    pub fn first_answer_first() -> Bend {
        Bend { held: Some(Vec::new()), ..Bend::new(None, None) }
    }

    /// It ends after so many bytes behind the answer's head.
    pub fn ended(after: u64, end: End) -> Bend {
        Bend { end: Some((after, end)), ..Bend::new(None, None) }
    }

    pub fn skewed(seconds: i64) -> Bend {
        Bend { skew: Some(seconds), ..Bend::new(None, None) }
    }

    /// Does what another one does, too, from now on; the other one's way where both want the same.
    pub fn also(&mut self, other: Bend) {
        if other.close.is_some() {
            (self.close, self.frames) = (other.close, 0);
        }
        if other.end.is_some() {
            (self.end, self.sent) = (other.end, 0);
        }
        self.cut = other.cut.or(self.cut);
        self.skew = match (self.skew, other.skew) {
            (Some(own), Some(more)) => Some(own.saturating_add(more)),
            (own, more) => more.or(own),
        };
    }

    /// The answer's head was sent already.
    pub fn late(self) -> Bend {
        Bend { head: HEAD_END.len(), ..self }
    }

    /// How it ends, where nothing more comes and no close frame was sent.
    pub fn abrupt(&self) -> Option<End> {
        let cut_off = self.end.filter(|(after, _)| self.head == HEAD_END.len() && self.sent >= *after);
        match (&self.close, cut_off) {
            (_, Some((_, end))) if self.closed => Some(end),
            (Some((1006, ..)), _) if self.closed => Some(End::Closed),
            _ => None,
        }
    }

    /// Takes what the server sends and adds what the client gets to `out`.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.closed {
            return;
        }
        self.waiting.extend_from_slice(bytes);
        let data = std::mem::take(&mut self.waiting);
        let mut rest = self.skip_head(&data, out);
        let behind_head = out.len();
        self.close_if_due(out);
        while !self.closed && !rest.is_empty() {
            if self.passing > 0 {
                let count = self.passing.min(rest.len());
                out.extend_from_slice(&rest[..count]);
                self.passing -= count;
                rest = &rest[count..];
                continue;
            }
            let Some((header, size)) = measure(rest) else { break };
            if size > LARGEST {
                self.passing = header.saturating_add(size);
                continue;
            }
            if rest.len() < header + size {
                break;
            }
            let (frame, after) = rest.split_at(header + size);
            self.frame(frame, header, out);
            rest = after;
            self.close_if_due(out);
        }
        self.end_if_due(behind_head, out);
        if !self.closed {
            self.waiting = rest.to_vec();
        }
    }

    /// Cuts off what is too much of what was just added from `start` on.
    fn end_if_due(&mut self, start: usize, out: &mut Vec<u8>) {
        let Some((after, _)) = self.end.filter(|_| self.head == HEAD_END.len()) else { return };
        let (room, added) = (after - self.sent, (out.len() - start) as u64);
        if added >= room {
            out.truncate(start + room as usize);
            self.closed = true;
        }
        self.sent += added.min(room);
    }

    fn skip_head<'a>(&mut self, data: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        for (i, byte) in data.iter().enumerate() {
            if self.head == HEAD_END.len() {
                out.extend_from_slice(&data[..i]);
                return &data[i..];
            }
            self.head = match *byte {
                byte if byte == HEAD_END[self.head] => self.head + 1,
                b'\r' => 1,
                _ => 0,
            };
        }
        out.extend_from_slice(data);
        &[]
    }

    fn close_if_due(&mut self, out: &mut Vec<u8>) {
        let Some((code, reason, after)) = &self.close else { return };
        if self.closed || self.head < HEAD_END.len() || self.frames < *after {
            return;
        }
        self.closed = true;
        if *code != 1006 {
            let payload = [&code.to_be_bytes()[..], reason.as_bytes()].concat();
            write(0x88, &payload, out);
        }
    }

    fn frame(&mut self, frame: &[u8], header: usize, out: &mut Vec<u8>) {
        let (first, payload) = (frame[0], &frame[header..]);
        if let Some(held) = &mut self.held
            && payload == b"2"
        {
            return held.extend_from_slice(frame);
        }
        let late = if payload.starts_with(b"4") { self.held.take() } else { None };
        if let Some(late) = late {
            out.extend_from_slice(frame);
            return out.extend_from_slice(&late);
        }
        let (last, opcode) = (first & 0x80 != 0, first & 0x0f);
        self.frames += u64::from(opcode < 8);
        let plain = first & 0x70 == 0 && last && !self.fragments && matches!(opcode, 1 | 2);
        if opcode < 8 {
            self.fragments = !last;
        }
        let seconds = self.skew.filter(|_| plain && opcode == 1);
        let text = seconds.and_then(|seconds| Some(skew::shift(std::str::from_utf8(payload).ok()?, seconds)));
        let payload = text.as_ref().map_or(payload, |text| text.as_bytes());
        let cuts = self.cut.filter(|_| plain).map(|cut| pieces(payload, cut)).unwrap_or_default();
        if cuts.len() < 2 {
            return match text {
                Some(_) => write(0x81, payload, out),
                None => out.extend_from_slice(frame),
            };
        }
        let count = cuts.len();
        for (i, piece) in cuts.into_iter().enumerate() {
            let end = if i + 1 == count { 0x80 } else { 0 };
            let head = match (opcode, i) {
                // A message each: whoever joins bytes of a stream must not decode them one by one.
                (2, _) => 0x82,
                (_, 0) => 0x01 | end,
                _ => end,
            };
            write(head, &payload[piece], out);
        }
    }
}

/// Lengths of the header and the payload, once both are known.
fn measure(bytes: &[u8]) -> Option<(usize, usize)> {
    let second = *bytes.get(1)?;
    let mask = if second & 0x80 != 0 { 4 } else { 0 };
    match second & 0x7f {
        126 => Some((4 + mask, usize::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?)))),
        127 => {
            let size = u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
            Some((10 + mask, usize::try_from(size).unwrap_or(usize::MAX)))
        }
        size => Some((2 + mask, size.into())),
    }
}

fn write(first: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(first);
    match payload.len() {
        size @ ..126 => out.push(size as u8),
        size @ ..65536 => {
            out.push(126);
            out.extend((size as u16).to_be_bytes());
        }
        size => {
            out.push(127);
            out.extend((size as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

/// Where data is cut: inside characters, inside markers.
pub fn pieces(data: &[u8], cut: Cut) -> Vec<Range<usize>> {
    let utf8 = |i: usize| matches!(cut, Cut::Utf8 | Cut::Both) && data[i - 1] >= 0xc2 && data[i] & 0xc0 == 0x80;
    let marker = |i: usize| {
        let starts = matches!(data[i - 1], 1 | 2) && data[i] == data[i - 1] && data.get(i + 1) == Some(&data[i]);
        matches!(cut, Cut::Marker | Cut::Both) && starts && (i < 2 || data[i - 2] != data[i - 1])
    };
    let behind = |i: usize| cut == Cut::AfterMarker && matches!(data[..i], [.., 1, 1, 1] | [.., 2, 2, 2]);
    let mut starts = vec![0];
    starts.extend((1..data.len()).filter(|i| utf8(*i) || marker(*i) || behind(*i)).take(PIECES - 1));
    let ends = starts.iter().skip(1).copied().chain([data.len()]);
    starts.iter().copied().zip(ends).map(|(start, end)| start..end).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEAD: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";

    fn sent(bend: &mut Bend, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        bytes.chunks(3).for_each(|piece| bend.feed(piece, &mut out));
        out
    }

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write(first, payload, &mut out);
        out
    }

    #[test]
    fn a_close_frame_comes_after_the_data_and_nothing_after_it() {
        let stream =
            [HEAD, &frame(0x82, b"one"), &frame(0x89, b""), &frame(0x82, b"two"), &frame(0x82, b"three")].concat();
        let mut bend = Bend::new(Some((1011, "oh".into(), 2)), None);
        let got = sent(&mut bend, &stream);
        let wanted = [HEAD, &frame(0x82, b"one"), &frame(0x89, b""), &frame(0x82, b"two"), &frame(0x88, b"\x03\xf3oh")];
        assert!(got == wanted.concat() && bend.abrupt().is_none());
        let mut bend = Bend::new(Some((1006, String::new(), 0)), None);
        assert_eq!(sent(&mut bend, &stream), HEAD);
        assert_eq!(bend.abrupt(), Some(End::Closed));
    }

    #[test]
    fn it_ends_in_the_middle_of_a_frame() {
        let stream = [HEAD, &frame(0x82, b"one"), &frame(0x82, b"two")].concat();
        for (after, end) in [(0, End::Closed), (1, End::Reset), (7, End::Reset), (10, End::Closed)] {
            let mut bend = Bend::ended(after, end);
            assert_eq!(sent(&mut bend, &stream), stream[..HEAD.len() + after as usize]);
            assert_eq!(bend.abrupt(), Some(end), "{after}");
        }
        let mut more = Bend::ended(11, End::Reset);
        assert_eq!(sent(&mut more, &stream), stream);
        assert_eq!(more.abrupt(), None);
    }

    #[test]
    fn a_ping_waits_for_the_first_answer() {
        let [open, ping, answer] = [&b"0{}"[..], b"2", b"40{}"].map(|payload| frame(0x81, payload));
        let mut bend = Bend::first_answer_first();
        let got = sent(&mut bend, &[HEAD, &open, &ping, &answer, &ping].concat());
        assert_eq!(got, [HEAD, &open, &answer, &ping, &ping].concat());
    }

    #[test]
    fn times_in_text_messages_are_shifted() {
        let stream = [HEAD, &frame(0x81, br#"42["e",{"at":"2026-01-01T00:00:00Z"}]"#), &frame(0x82, b"\x01")].concat();
        let wanted = [HEAD, &frame(0x81, br#"42["e",{"at":"2026-01-01T00:01:00Z"}]"#), &frame(0x82, b"\x01")].concat();
        assert_eq!(sent(&mut Bend::skewed(60), &stream), wanted);
    }

    #[test]
    fn several_ways_go_together() {
        let stream = [HEAD, &frame(0x81, "é \"2026-01-01T00:00:00Z\"".as_bytes()), &frame(0x82, b"more")].concat();
        let mut bend = Bend::new(Some((4000, String::new(), 1)), None);
        bend.also(Bend::new(None, Some(Cut::Utf8)));
        bend.also(Bend::skewed(60));
        let cut = [frame(0x01, b"\xc3"), frame(0x80, b"\xa9 \"2026-01-01T00:01:00Z\"")].concat();
        assert_eq!(sent(&mut bend, &stream), [HEAD, &cut, &frame(0x88, b"\x0f\xa0")].concat());
    }

    #[test]
    fn messages_are_cut_inside_characters_and_markers() {
        let cut = |first: u8, payload: &[u8], cut| {
            let mut bend = Bend::new(None, Some(cut));
            sent(&mut bend, &[HEAD, &frame(first, payload)].concat())[HEAD.len()..].to_vec()
        };
        assert_eq!(cut(0x82, "aé".as_bytes(), Cut::Utf8), [frame(0x82, b"a\xc3"), frame(0x82, b"\xa9")].concat());
        assert_eq!(cut(0x81, "aé".as_bytes(), Cut::Both), [frame(0x01, b"a\xc3"), frame(0x80, b"\xa9")].concat());
        assert_eq!(
            cut(0x82, b"\x01\x01\x01x", Cut::Marker),
            [frame(0x82, b"\x01"), frame(0x82, b"\x01\x01x")].concat()
        );
        assert_eq!(
            cut(0x82, b"\x02\x02\x02x", Cut::AfterMarker),
            [frame(0x82, b"\x02\x02\x02"), frame(0x82, b"x")].concat()
        );
        assert_eq!(cut(0x82, b"plain", Cut::Both), frame(0x82, b"plain"));
    }

    proptest! {
        /// Cut or not, the bytes of the messages are the same.
        #[test]
        fn no_byte_is_lost(texts in prop::collection::vec("[aé€\u{1}\u{2}]{0,300}", 0..5)) {
            let stream = texts.iter().flat_map(|text| frame(0x82, text.as_bytes())).collect::<Vec<u8>>();
            let out = sent(&mut Bend::new(None, Some(Cut::Both)), &[HEAD, &stream].concat());
            let (mut rest, mut payloads) = (&out[HEAD.len()..], Vec::new());
            while let Some((header, size)) = measure(rest) {
                payloads.extend_from_slice(&rest[header..header + size]);
                rest = &rest[header + size..];
            }
            prop_assert_eq!(payloads, texts.concat().into_bytes());
        }
    }
}
