//! File names in `Content-Disposition`, for old clients in Latin-1 and for the others in UTF-8 (observed).

use axum::http::HeaderValue;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Everything but letters, digits and ``!#$&+-.^_`|~``.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// `<kind>; filename="<Latin-1>"; filename*=utf-8''<percent-encoded>` as bytes: the Latin-1 is sent raw.
pub fn with_filename(kind: &str, name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(kind.len() + name.len() * 3 + 32);
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"; filename=\"");
    for c in name.chars() {
        match c {
            '\r' | '\n' | '\0' => {}
            '"' | '\\' => out.extend([b'\\', c as u8]),
            c if c.is_control() || c > '\u{ff}' => out.push(b'_'),
            c => out.push(c as u8),
        }
    }
    out.extend_from_slice(b"\"; filename*=utf-8''");
    out.extend(utf8_percent_encode(name, ESCAPED).flat_map(str::bytes));
    out
}

pub fn attachment(name: &str) -> HeaderValue {
    HeaderValue::from_bytes(&with_filename("attachment", name)).expect("controls are escaped or dropped")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names() {
        let text = |name| with_filename("attachment", name);
        assert_eq!(text("a.txt"), b"attachment; filename=\"a.txt\"; filename*=utf-8''a.txt");
        let quoted = b"attachment; filename=\"a\\\"b\\\\c d\"; filename*=utf-8''a%22b%5Cc%20d";
        assert_eq!(text("a\"b\\c d"), quoted);
        assert_eq!(text("é你\n\t"), b"attachment; filename=\"\xE9__\"; filename*=utf-8''%C3%A9%E4%BD%A0%0A%09");
        assert_eq!(text("p/q~"), b"attachment; filename=\"p/q~\"; filename*=utf-8''p%2Fq~");
    }

    proptest! {
        #[test]
        fn any_name_is_a_header_and_comes_back(name in any::<String>()) {
            let value = attachment(&name);
            let bytes = value.as_bytes();
            // The last one: what follows it is escaped, what stands before it may be the name's own.
            let at = memchr::memmem::rfind(bytes, b"''").expect("marker") + 2;
            let encoded = std::str::from_utf8(&bytes[at..]).expect("ASCII");
            let decoded = percent_encoding::percent_decode_str(encoded).decode_utf8().expect("UTF-8");
            prop_assert_eq!(decoded, name);
        }
    }
}
