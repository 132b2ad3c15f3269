//! JSON as the daemon writes it: compact, with `<`, `>`, `&`, U+2028 and U+2029 escaped (observed).

use std::io::{self, Write};

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::ser::Formatter;

/// A successful answer: `Content-Type: application/json; charset=utf-8`.
pub struct GoJson<T>(pub T);

impl<T: Serialize> IntoResponse for GoJson<T> {
    fn into_response(self) -> Response {
        let content_type = (header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        ([content_type], to_vec(&self.0)).into_response()
    }
}

/// The bytes that Go's encoder would write for `value`.
pub fn to_vec<T: Serialize>(value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, GoFormatter);
    value.serialize(&mut serializer).expect("wire types have string keys and writing to memory can't fail");
    out
}

struct GoFormatter;

impl Formatter for GoFormatter {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment.as_bytes();
        while let Some((at, escape, length)) = next_escape(rest) {
            writer.write_all(&rest[..at])?;
            writer.write_all(escape)?;
            rest = &rest[at + length..];
        }
        writer.write_all(rest)
    }
}

/// The next place that needs an escape beyond JSON's own: offset, replacement, bytes replaced.
fn next_escape(text: &[u8]) -> Option<(usize, &'static [u8], usize)> {
    let html = memchr::memchr3(b'<', b'>', b'&', text);
    let line = memchr::memchr(0xE2, &text[..html.unwrap_or(text.len())]).and_then(|first| {
        let separator = memchr::memmem::find(&text[first..], b"\xE2\x80\xA8").map(|at| (first + at, &b"\\u2028"[..]));
        let paragraph = memchr::memmem::find(&text[first..], b"\xE2\x80\xA9").map(|at| (first + at, &b"\\u2029"[..]));
        [separator, paragraph].into_iter().flatten().min_by_key(|(at, _)| *at)
    });
    match (line, html) {
        (Some((at, escape)), html) if html.is_none_or(|html| at < html) => Some((at, escape, 3)),
        (_, Some(at)) => {
            let escape: &[u8] = match text[at] {
                b'<' => b"\\u003c",
                b'>' => b"\\u003e",
                _ => b"\\u0026",
            };
            Some((at, escape, 1))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(text: &str) -> String {
        String::from_utf8(to_vec(&text)).expect("UTF-8")
    }

    #[test]
    fn escapes_what_go_escapes() {
        assert_eq!(encoded("a<b>&\"\\\n"), r#""a\u003cb\u003e\u0026\"\\\n""#);
        assert_eq!(encoded("x\u{2028}y\u{2029}z\u{2027}<"), "\"x\\u2028y\\u2029z\u{2027}\\u003c\"");
        assert_eq!(encoded("\u{1}\u{7f}é漢"), "\"\\u0001\u{7f}é漢\"");
    }

    proptest! {
        #[test]
        fn any_text_survives(text in "(\\PC|[<>&\u{2028}\u{2029}\"\\\\\n])*") {
            let json = to_vec(&text);
            prop_assert!(!json.iter().any(|byte| b"<>&".contains(byte)));
            prop_assert_eq!(serde_json::from_slice::<String>(&json).expect("JSON"), text);
        }
    }
}
