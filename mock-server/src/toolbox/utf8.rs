//! Text that arrives in pieces.

/// Joins UTF-8 that is cut anywhere. All pieces together give what `String::from_utf8_lossy` makes of the whole.
#[derive(Default)]
pub struct Joiner {
    /// The beginning of a character: three bytes at most.
    held: Vec<u8>,
}

impl Joiner {
    /// The text so far, without an unfinished character at its end.
    pub fn feed(&mut self, bytes: &[u8]) -> String {
        if self.held.is_empty() {
            return self.take(bytes);
        }
        let joined = [std::mem::take(&mut self.held), bytes.to_vec()].concat();
        self.take(&joined)
    }

    /// At the end: what an unfinished character becomes.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.held)).into_owned()
    }

    fn take(&mut self, bytes: &[u8]) -> String {
        let (whole, rest) = bytes.split_at(bytes.len() - unfinished(bytes));
        self.held.extend_from_slice(rest);
        String::from_utf8_lossy(whole).into_owned()
    }
}

/// How many bytes at the end could begin a character.
fn unfinished(bytes: &[u8]) -> usize {
    let tail = &bytes[bytes.len().saturating_sub(3)..];
    // A character's first byte is no continuation of another.
    let start = tail.iter().rposition(|byte| byte & 0xC0 != 0x80).map_or(tail, |at| &tail[at..]);
    match std::str::from_utf8(start) {
        Err(error) if error.error_len().is_none() => start.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn join(pieces: &[&[u8]]) -> Vec<String> {
        let mut joiner = Joiner::default();
        let mut texts: Vec<_> = pieces.iter().map(|piece| joiner.feed(piece)).collect();
        texts.push(joiner.finish());
        texts
    }

    #[test]
    fn characters_are_never_cut() {
        let crab = "🦀".as_bytes();
        assert_eq!(join(&[b"a\xc3", b"\xa9b", &crab[..1], &crab[1..3], &crab[3..]]), ["a", "éb", "", "", "🦀", ""]);
        assert_eq!(join(&[b"\xe2\x82", b"x"]), ["", "\u{fffd}x", ""]);
        assert_eq!(join(&[b"x\xff", b"\xe2"]), ["x\u{fffd}", "", "\u{fffd}"]);
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            bytes in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..40),
                prop::collection::vec(prop::sample::select(&b"a\x80\xbf\xc2\xc3\xe0\xe2\x82\xed\xa0\xf0\x9f\xa6\xf4\x90\xff"[..]), 0..40),
                ".*".prop_map(String::into_bytes),
            ],
            cut in 1usize..7,
        ) {
            let pieces: Vec<&[u8]> = bytes.chunks(cut).collect();
            prop_assert_eq!(join(&pieces).concat(), String::from_utf8_lossy(&bytes).into_owned());
        }
    }
}
