//! The format of a session command's log: every line begins with three bytes that name its stream.

/// Begins a line of standard output.
pub const STDOUT: [u8; 3] = [1; 3];
/// Begins a line of standard error.
pub const STDERR: [u8; 3] = [2; 3];

/// A line longer than this is written in pieces; readers put them together, as the marker is the same.
const LONGEST_LINE: usize = 64 << 10;

/// Turns what one stream delivers into marked lines; text after the last newline waits for more. NUL bytes stay: the
/// original loses them (observed), and with them what `grep -Z` and `find -print0` separate, as PyPI `langchain-daytona`
/// 0.0.9 does.
pub struct Marking {
    marker: [u8; 3],
    line: Vec<u8>,
    /// A piece of the current line was written already.
    begun: bool,
}

impl Marking {
    pub fn new(marker: [u8; 3]) -> Marking {
        Marking { marker, line: Vec::new(), begun: false }
    }

    /// Appends the lines that `bytes` completes to `into`.
    pub fn feed(&mut self, bytes: &[u8], into: &mut Vec<u8>) {
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.line.extend_from_slice(part);
            let ended = part.ends_with(b"\n");
            if ended || self.line.len() >= LONGEST_LINE {
                self.flush(into);
                self.begun = !ended;
            }
        }
    }

    /// At the end of the stream: an unfinished line gets its newline (observed).
    pub fn finish(&mut self, into: &mut Vec<u8>) {
        if self.begun || !self.line.is_empty() {
            self.line.push(b'\n');
            self.flush(into);
            self.begun = false;
        }
    }

    fn flush(&mut self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.marker);
        into.append(&mut self.line);
    }
}

/// Takes a log apart again, in chunks that may end anywhere.
#[derive(Default)]
pub struct Demux {
    current: Option<Stream>,
    /// Bytes that may be the beginning of a marker: at most two, all alike.
    held: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Demux {
    /// Hands out the text of each stream in order. What comes before the first marker belongs to none (as SDKs see it).
    pub fn feed(&mut self, bytes: &[u8], mut emit: impl FnMut(Stream, &[u8])) {
        let joined;
        let mut rest = match self.held.is_empty() {
            true => bytes,
            false => {
                joined = [std::mem::take(&mut self.held), bytes.to_vec()].concat();
                &joined
            }
        };
        while let Some((at, stream)) = find(rest) {
            self.hand_out(&rest[..at], &mut emit);
            self.current = Some(stream);
            rest = &rest[at + 3..];
        }
        let keep = unfinished(rest);
        self.hand_out(&rest[..rest.len() - keep], &mut emit);
        self.held = rest[rest.len() - keep..].to_vec();
    }

    /// At the end: what was held back is text after all.
    pub fn finish(&mut self, mut emit: impl FnMut(Stream, &[u8])) {
        let held = std::mem::take(&mut self.held);
        self.hand_out(&held, &mut emit);
    }

    fn hand_out(&self, text: &[u8], emit: &mut impl FnMut(Stream, &[u8])) {
        if let (Some(stream), false) = (self.current, text.is_empty()) {
            emit(stream, text);
        }
    }
}

fn find(bytes: &[u8]) -> Option<(usize, Stream)> {
    let mut from = 0;
    while let Some(at) = memchr::memchr2(1, 2, &bytes[from..]).map(|at| from + at) {
        match bytes[at..].first_chunk() {
            Some(&STDOUT) => return Some((at, Stream::Stdout)),
            Some(&STDERR) => return Some((at, Stream::Stderr)),
            _ => from = at + 1,
        }
    }
    None
}

/// How many bytes at the end could begin a marker.
fn unfinished(bytes: &[u8]) -> usize {
    match bytes {
        [.., a @ (1 | 2), b] if a == b => 2,
        [.., 1 | 2] => 1,
        _ => 0,
    }
}

/// Standard output and standard error of a whole log.
pub fn split(log: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut emit = |stream, text: &[u8]| match stream {
        Stream::Stdout => stdout.extend_from_slice(text),
        Stream::Stderr => stderr.extend_from_slice(text),
    };
    let mut demux = Demux::default();
    demux.feed(log, &mut emit);
    demux.finish(&mut emit);
    (stdout, stderr)
}

/// A whole log without its markers.
pub fn strip(log: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(log.len());
    let mut demux = Demux::default();
    demux.feed(log, |_, part| text.extend_from_slice(part));
    demux.finish(|_, part| text.extend_from_slice(part));
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_are_marked_and_the_last_one_ended() {
        let mut marking = Marking::new(STDERR);
        let mut log = Vec::new();
        marking.feed(b"a\nb\0", &mut log);
        assert_eq!(log, b"\x02\x02\x02a\n");
        marking.feed(b"c", &mut log);
        marking.finish(&mut log);
        marking.finish(&mut log);
        assert_eq!(log, b"\x02\x02\x02a\n\x02\x02\x02b\0c\n");
    }

    #[test]
    fn a_log_is_taken_apart() {
        let log = b"lost\x01\x01\x01out\n\x02\x02\x02err\x01\x01\n\x01\x01\x01more\n\x01";
        assert_eq!(split(log), (b"out\nmore\n\x01".to_vec(), b"err\x01\x01\n".to_vec()));
        assert_eq!(strip(log), b"out\nerr\x01\x01\nmore\n\x01");
    }

    /// What a stream becomes: with a newline at the end.
    fn expected(bytes: &[u8]) -> Vec<u8> {
        let mut text = bytes.to_vec();
        if text.last().is_some_and(|&byte| byte != b'\n') {
            text.push(b'\n');
        }
        text
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop_oneof![Just(b'\n'), Just(0), 3u8.., Just(b'x')], 0..80)
    }

    proptest! {
        #[test]
        fn each_stream_gets_what_it_wrote(writes in prop::collection::vec((any::<bool>(), text()), 0..12), cut in 1usize..9) {
            let (mut out, mut err) = (Marking::new(STDOUT), Marking::new(STDERR));
            let (mut log, mut wrote) = (Vec::new(), [Vec::new(), Vec::new()]);
            for (to_stderr, bytes) in &writes {
                wrote[usize::from(*to_stderr)].extend_from_slice(bytes);
                (if *to_stderr { &mut err } else { &mut out }).feed(bytes, &mut log);
            }
            out.finish(&mut log);
            err.finish(&mut log);
            let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
            let mut demux = Demux::default();
            let mut emit = |stream, text: &[u8]| match stream {
                Stream::Stdout => stdout.extend_from_slice(text),
                Stream::Stderr => stderr.extend_from_slice(text),
            };
            log.chunks(cut).for_each(|chunk| demux.feed(chunk, &mut emit));
            demux.finish(&mut emit);
            prop_assert_eq!(stdout, expected(&wrote[0]));
            prop_assert_eq!(stderr, expected(&wrote[1]));
        }

        #[test]
        fn chunks_make_no_difference(log in prop::collection::vec(0u8..4, 0..60), cut in 1usize..9) {
            let mut pieces = Vec::new();
            let mut demux = Demux::default();
            log.chunks(cut).for_each(|chunk| demux.feed(chunk, |_, text| pieces.extend_from_slice(text)));
            demux.finish(|_, text| pieces.extend_from_slice(text));
            prop_assert_eq!(pieces, strip(&log));
        }
    }
}
