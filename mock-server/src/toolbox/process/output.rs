//! `{"exitCode", "result"}` with any bytes in `result`, as the original's encoder writes them.

use axum::{
    body::{Body, Bytes},
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::stream;

/// Larger results are encoded piece by piece while they are sent.
const PIECE: usize = 256 << 10;

/// A part of a JSON body.
pub enum Part {
    /// JSON as it is.
    Json(Vec<u8>),
    /// Goes between quotes that the JSON parts hold.
    Text(Bytes),
}

impl From<&str> for Part {
    fn from(json: &str) -> Part {
        Part::Json(json.as_bytes().to_vec())
    }
}

impl From<Vec<u8>> for Part {
    fn from(output: Vec<u8>) -> Part {
        Part::Text(output.into())
    }
}

impl Part {
    fn len(&self) -> usize {
        match self {
            Part::Json(json) => json.len(),
            Part::Text(text) => text.len(),
        }
    }

    /// Encoded, at most [`PIECE`] of text at a time.
    fn pieces(self) -> impl Iterator<Item = Bytes> {
        let (json, text) = match self {
            Part::Json(json) => (Some(Bytes::from(json)), Bytes::new()),
            Part::Text(text) => (None, text),
        };
        let encoded = Pieces { output: text }.map(|piece| {
            let mut encoded = Vec::with_capacity(piece.len() + piece.len() / 16);
            escape(&piece, &mut encoded);
            Bytes::from(encoded)
        });
        json.into_iter().chain(encoded)
    }
}

/// Answers 200 with these parts, one after the other.
pub fn respond(parts: Vec<Part>) -> Response {
    let content_type = [(header::CONTENT_TYPE, "application/json; charset=utf-8")];
    let length: usize = parts.iter().map(Part::len).sum();
    let pieces = parts.into_iter().flat_map(Part::pieces);
    if length <= PIECE {
        let body = pieces.fold(Vec::with_capacity(length + length / 16), |mut body, piece| {
            body.extend_from_slice(&piece);
            body
        });
        return (content_type, body).into_response();
    }
    let body = Body::from_stream(stream::iter(pieces.map(Ok::<_, std::convert::Infallible>)));
    (content_type, body).into_response()
}

/// Cuts between characters.
struct Pieces {
    output: Bytes,
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.output.is_empty() {
            return None;
        }
        let mut end = PIECE.min(self.output.len());
        // A character has at most three continuation bytes; in anything else every cut is as good.
        for _ in 0..3 {
            if end < self.output.len() && self.output[end] & 0xC0 == 0x80 {
                end -= 1;
            }
        }
        Some(self.output.split_to(end))
    }
}

/// Appends `bytes` as the inside of a JSON string. Each invalid byte becomes U+FFFD; `<`, `>`, `&`, U+2028 and U+2029
/// are escaped (observed).
pub fn escape(bytes: &[u8], into: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        escape_text(chunk.valid(), into);
        for _ in chunk.invalid() {
            into.extend_from_slice(b"\\ufffd");
        }
    }
}

fn escape_text(text: &str, into: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let mut from = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let separator = byte == 0xE2 && matches!(bytes[at..], [_, 0x80, 0xA8 | 0xA9, ..]);
        if byte >= 0x20 && !matches!(byte, b'"' | b'\\' | b'<' | b'>' | b'&') && !separator {
            continue;
        }
        into.extend_from_slice(&bytes[from..at]);
        from = at + if separator { 3 } else { 1 };
        match byte {
            b'"' => into.extend_from_slice(b"\\\""),
            b'\\' => into.extend_from_slice(b"\\\\"),
            b'\n' => into.extend_from_slice(b"\\n"),
            b'\r' => into.extend_from_slice(b"\\r"),
            b'\t' => into.extend_from_slice(b"\\t"),
            0x08 => into.extend_from_slice(b"\\b"),
            0x0C => into.extend_from_slice(b"\\f"),
            0xE2 => into.extend_from_slice(if bytes[at + 2] == 0xA8 { b"\\u2028" } else { b"\\u2029" }),
            other => into.extend_from_slice(format!("\\u{other:04x}").as_bytes()),
        }
    }
    into.extend_from_slice(&bytes[from..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn escaped(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        escape(bytes, &mut out);
        String::from_utf8(out).expect("escaped text is UTF-8")
    }

    #[test]
    fn odd_bytes_are_written_as_observed() {
        assert_eq!(escaped(b"a\0b\x1b<>&\"\\\n\t\r"), r#"a\u0000b\u001b\u003c\u003e\u0026\"\\\n\t\r"#);
        assert_eq!(escaped(b"\xff\xe2\x82x"), r"\ufffd\ufffd\ufffdx");
        assert_eq!(escaped("a\u{2028}é\u{2029}\u{20ac}".as_bytes()), "a\\u2028é\\u2029€");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn text_survives(text in ".*") {
            let json = format!("\"{}\"", escaped(text.as_bytes()));
            prop_assert_eq!(serde_json::from_str::<String>(&json).expect("JSON"), text);
        }

        #[test]
        fn any_bytes_are_valid_json_in_pieces_or_whole(bytes in prop::collection::vec(any::<u8>(), 0..200), copies in 1usize..3000) {
            let whole = bytes.repeat(copies);
            let mut pieces = Vec::new();
            Pieces { output: Bytes::from(whole.clone()) }.for_each(|piece| escape(&piece, &mut pieces));
            let text = String::from_utf8(pieces).expect("UTF-8");
            prop_assert_eq!(&text, &escaped(&whole));
            serde_json::from_str::<String>(&format!("\"{text}\"")).expect("JSON");
        }
    }
}
