//! Halves of characters: JavaScript cuts text inside of them, and sends `"\ud83d"` for what is left. Go's decoder
//! puts a replacement character there, JavaScript's keeps it; serde_json refuses the whole.

use std::borrow::Cow;

const ESCAPE: usize = "\\uXXXX".len();

/// JSON in which each escaped half without its other is an escaped U+FFFD.
pub fn paired(json: &str) -> Cow<'_, str> {
    let mut mended = String::new();
    let (mut at, mut copied) = (0, 0);
    while let Some(found) = memchr::memchr(b'\\', &json.as_bytes()[at..]) {
        at += found;
        match (unit(json, at), unit(json, at + ESCAPE)) {
            (Some(0xD800..0xDC00), Some(0xDC00..0xE000)) => at += 2 * ESCAPE,
            (Some(0xD800..0xE000), _) => {
                mended.push_str(&json[copied..at]);
                mended.push_str("\\ufffd");
                at += ESCAPE;
                copied = at;
            }
            // What is escaped is skipped with its backslash.
            _ => at = (at + 2).min(json.len()),
        }
    }
    if copied == 0 {
        return Cow::Borrowed(json);
    }
    mended.push_str(&json[copied..]);
    Cow::Owned(mended)
}

/// The number in `\uXXXX`, where there is one.
fn unit(json: &str, at: usize) -> Option<u16> {
    let digits = json.get(at..at + ESCAPE)?.strip_prefix("\\u")?;
    u16::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn halves_without_the_other_are_replaced() {
        for (json, expected) in [
            (r#""\ud83d""#, r#""\ufffd""#),
            (r#""\ude00x\ud83d\ude00\uD83Dx""#, r#""\ufffdx\ud83d\ude00\ufffdx""#),
            (r#""\\ud83d \u00e4 \ud83""#, r#""\\ud83d \u00e4 \ud83""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
        ] {
            assert_eq!(paired(json), expected);
        }
    }

    proptest! {
        /// What JavaScript sends for any UTF-16 is read as Rust reads that.
        #[test]
        fn any_units_are_read(units in prop::collection::vec(prop_oneof![any::<u16>(), 0xD7F0u16..0xE010], 0..20)) {
            let escaped: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
            let read: String = serde_json::from_str(&paired(&format!("\"{escaped}\""))).expect("JSON");
            prop_assert_eq!(read, String::from_utf16_lossy(&units));
        }

        #[test]
        fn whole_text_stays(text in ".*") {
            let json = serde_json::to_string(&text).expect("JSON");
            prop_assert!(matches!(paired(&json), Cow::Borrowed(_)));
        }

        #[test]
        fn no_text_is_too_odd(text in r#"[\\u0-9d-fD"ä+]{0,40}"#) {
            paired(&text);
        }
    }
}
