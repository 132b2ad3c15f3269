//! Counts the frames of a WebSocket in the bytes of one direction, in whatever pieces they come, and keeps the close
//! frame. Payloads are stepped over unread.

use crate::journal::exchange::Frames;

/// The largest payload of a control frame.
const CONTROL: usize = 125;

/// One direction of a connection.
#[derive(Default)]
pub struct Scanner {
    counts: Frames,
    state: State,
    /// The header under way: at most 2 + 8 + 4 bytes.
    header: [u8; 14],
    have: usize,
    /// What is left of the payload.
    left: u64,
    close: Option<CloseFrame>,
    /// The close frame's payload is being read.
    closing: bool,
}

#[derive(Default)]
struct CloseFrame {
    mask: [u8; 4],
    payload: Vec<u8>,
}

#[derive(Default, PartialEq)]
enum State {
    /// The answer's head goes first; how much of its end was seen.
    Head(usize),
    #[default]
    Header,
    Payload,
}

impl Scanner {
    /// For the direction in which the 101 comes first.
    pub fn after_head() -> Scanner {
        Scanner { state: State::Head(0), ..Scanner::default() }
    }

    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let used = match self.state {
                State::Head(seen) => self.head(seen, bytes),
                State::Header => self.header(bytes),
                State::Payload => self.payload(bytes),
            };
            bytes = &bytes[used..];
        }
    }

    pub fn counts(&self) -> Frames {
        self.counts
    }

    pub fn has_closed(&self) -> bool {
        self.close.is_some()
    }

    /// Code and reason of the close frame, once there was one.
    pub fn close(&self) -> Option<(Option<u16>, String)> {
        let frame = self.close.as_ref()?;
        let plain: Vec<u8> = frame.payload.iter().enumerate().map(|(i, byte)| byte ^ frame.mask[i % 4]).collect();
        let code = plain.first_chunk::<2>().map(|code| u16::from_be_bytes(*code));
        Some((code, String::from_utf8_lossy(plain.get(2..).unwrap_or_default()).into_owned()))
    }

    fn head(&mut self, mut seen: usize, bytes: &[u8]) -> usize {
        const END: &[u8; 4] = b"\r\n\r\n";
        for (i, byte) in bytes.iter().enumerate() {
            seen = match *byte {
                byte if byte == END[seen] => seen + 1,
                b'\r' => 1,
                _ => 0,
            };
            if seen == END.len() {
                self.state = State::Header;
                return i + 1;
            }
        }
        self.state = State::Head(seen);
        bytes.len()
    }

    fn header(&mut self, bytes: &[u8]) -> usize {
        let mut used = 0;
        while used < bytes.len() {
            self.header[self.have] = bytes[used];
            self.have += 1;
            used += 1;
            if self.have >= 2 && self.have == length(self.header[1]) {
                self.begin();
                break;
            }
        }
        used
    }

    /// The header is complete.
    fn begin(&mut self) {
        let [first, second] = [self.header[0], self.header[1]];
        let (extended, masked) = (&self.header[2..], second & 0x80 != 0);
        let (size, mask_at) = match second & 0x7f {
            126 => (u64::from(u16::from_be_bytes([extended[0], extended[1]])), 4),
            127 => (u64::from_be_bytes(*extended.first_chunk::<8>().unwrap_or(&[0; 8])), 10),
            size => (u64::from(size), 2),
        };
        let counted = match first & 0x0f {
            0 => Some(&mut self.counts.continuation),
            1 => Some(&mut self.counts.text),
            2 => Some(&mut self.counts.binary),
            9 => Some(&mut self.counts.ping),
            10 => Some(&mut self.counts.pong),
            _ => None,
        };
        match counted {
            Some(count) => *count += 1,
            None if first & 0x0f == 8 && self.close.is_none() => {
                let mask = if masked { self.header[mask_at..].first_chunk::<4>().copied() } else { None };
                self.close = Some(CloseFrame { mask: mask.unwrap_or_default(), payload: Vec::new() });
                self.closing = true;
            }
            None => {}
        }
        if !self.closing {
            self.counts.bytes = self.counts.bytes.saturating_add(size);
        }
        self.have = 0;
        self.left = size;
        self.state = if size > 0 { State::Payload } else { State::Header };
        self.closing &= size > 0;
    }

    fn payload(&mut self, bytes: &[u8]) -> usize {
        let used = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        if let Some(close) = self.close.as_mut().filter(|_| self.closing) {
            let room = CONTROL.saturating_sub(close.payload.len());
            close.payload.extend_from_slice(&bytes[..used.min(room)]);
        }
        self.left -= used as u64;
        if self.left == 0 {
            self.state = State::Header;
            self.closing = false;
        }
        used
    }
}

/// Of a header whose second byte this is.
fn length(second: u8) -> usize {
    let extended = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    2 + extended + if second & 0x80 != 0 { 4 } else { 0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(opcode: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
        let masked = if mask.is_some() { 0x80 } else { 0 };
        let mut bytes = vec![0x80 | opcode];
        match payload.len() {
            size @ ..126 => bytes.push(size as u8 | masked),
            size @ ..65536 => {
                bytes.push(126 | masked);
                bytes.extend((size as u16).to_be_bytes());
            }
            size => {
                bytes.push(127 | masked);
                bytes.extend((size as u64).to_be_bytes());
            }
        }
        bytes.extend(mask.unwrap_or_default().iter().filter(|_| mask.is_some()));
        let key = mask.unwrap_or_default();
        bytes.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]));
        bytes
    }

    #[test]
    fn a_close_frame_is_read() {
        let mut scanner = Scanner::after_head();
        scanner.feed(b"HTTP/1.1 101 Switching Protocols\r\nA: b\r\n\r");
        scanner.feed(b"\n");
        scanner.feed(&frame(1, b"hello", None));
        let payload = [&1001u16.to_be_bytes()[..], b"going"].concat();
        scanner.feed(&frame(8, &payload, Some([1, 2, 3, 4])));
        assert_eq!(scanner.close(), Some((Some(1001), "going".into())));
        assert_eq!(scanner.counts(), Frames { text: 1, bytes: 5, ..Frames::default() });
        let mut empty = Scanner::default();
        empty.feed(&frame(8, b"", None));
        assert_eq!(empty.close(), Some((None, String::new())));
    }

    proptest! {
        /// The counts are the same however the bytes are cut.
        #[test]
        fn frames_are_counted_in_any_pieces(
            frames in prop::collection::vec((prop::sample::select(vec![0u8, 1, 2, 9, 10]), 0usize..70_000, any::<Option<[u8; 4]>>()), 0..6),
            cuts in prop::collection::vec(1usize..5000, 1..8),
        ) {
            let mut bytes = Vec::new();
            let mut expected = Frames::default();
            for (opcode, size, mask) in &frames {
                bytes.extend(frame(*opcode, &vec![7; *size], *mask));
                expected.bytes += *size as u64;
                *match opcode {
                    0 => &mut expected.continuation,
                    1 => &mut expected.text,
                    2 => &mut expected.binary,
                    9 => &mut expected.ping,
                    _ => &mut expected.pong,
                } += 1;
            }
            let mut scanner = Scanner::default();
            let (mut rest, mut sizes) = (bytes.as_slice(), cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at((*sizes.next().expect("a cycle")).min(rest.len()));
                scanner.feed(piece);
                rest = after;
            }
            prop_assert_eq!(scanner.counts(), expected);
        }

        #[test]
        fn junk_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut scanner = Scanner::default();
            scanner.feed(&bytes);
            scanner.close();
        }
    }
}
