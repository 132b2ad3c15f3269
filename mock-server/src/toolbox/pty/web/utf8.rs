//! Bytes as text: what a terminal shows ends anywhere, also within a character.

/// Turns pieces of UTF-8 into text. The beginning of a character waits for its end; what can't be one is replaced.
#[derive(Default)]
pub struct Repair {
    held: Vec<u8>,
}

impl Repair {
    pub fn push(&mut self, bytes: &[u8]) -> String {
        let joined;
        let bytes = match self.held.is_empty() {
            true => bytes,
            false => {
                joined = [&std::mem::take(&mut self.held), bytes].concat();
                &joined
            }
        };
        let complete = bytes.len() - unfinished(bytes);
        self.held = bytes[complete..].to_vec();
        String::from_utf8_lossy(&bytes[..complete]).into_owned()
    }

    /// What was held back and never came to an end.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.held)).into_owned()
    }
}

/// How many bytes at the end may be the beginning of a character.
fn unfinished(bytes: &[u8]) -> usize {
    let tail = &bytes[bytes.len().saturating_sub(3)..];
    let begins = |&at: &usize| {
        std::str::from_utf8(&tail[at..]).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    };
    (0..tail.len()).find(begins).map_or(0, |at| tail.len() - at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn characters_are_never_cut() {
        let mut repair = Repair::default();
        assert_eq!(repair.push(b"a\xe2\x82"), "a");
        assert_eq!(repair.push(b"\xac\xf0\x9f"), "€");
        assert_eq!(repair.push(b"x\xff\xc3"), "\u{fffd}x\u{fffd}");
        assert_eq!(repair.finish(), "\u{fffd}");
        assert_eq!(repair.finish(), "");
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            bytes in prop_oneof![any::<Vec<u8>>(), ".*".prop_map(String::into_bytes)], cut in 1usize..5
        ) {
            let mut repair = Repair::default();
            let mut text: String = bytes.chunks(cut).map(|piece| repair.push(piece)).collect();
            text.push_str(&repair.finish());
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn little_is_held_back(bytes in any::<Vec<u8>>()) {
            let mut repair = Repair::default();
            repair.push(&bytes);
            prop_assert!(repair.held.len() <= 3);
        }
    }
}
