use proptest::prelude::*;

use super::*;

/// Feeds `body` in chunks that end at `cuts` and gathers the parts' names and contents.
fn read(boundary: &str, body: &[u8], cuts: &[usize]) -> Result<Vec<(String, Vec<u8>)>, MultipartError> {
    let mut parser = Parser::new(boundary);
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (body.len() + 1)).collect();
    cuts.sort_unstable();
    let (mut cuts, mut at) = (cuts.into_iter(), 0);
    let mut parts: Vec<(String, Vec<u8>)> = Vec::new();
    loop {
        match parser.next()? {
            Event::Part(part) => parts.push((part.name, Vec::new())),
            Event::Data(bytes) => {
                assert!(!bytes.is_empty());
                parts.last_mut().expect("data belongs to a part").1.extend_from_slice(&bytes);
            }
            Event::PartEnd => {}
            Event::End => return Ok(parts),
            Event::NeedMore if at == body.len() => parser.end(),
            Event::NeedMore => {
                let cut = cuts.next().unwrap_or(body.len());
                parser.push(Bytes::copy_from_slice(&body[at..cut]));
                at = cut;
            }
        }
    }
}

fn write(boundary: &str, parts: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, contents) in parts {
        let name = name.replace('\\', "\\\\").replace('"', "\\\"");
        let head = format!(
            "--{boundary}\r\nContent-Type: text/x\r\ncontent-disposition: form-data; filename=\"a;b\"; name=\"{name}\"\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(contents);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    body
}

/// Contents full of what looks like a boundary; the real one is `-b-9`.
fn contents() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"\r\n".to_vec()),
        Just(b"--".to_vec()),
        Just(b"\r\n---b-".to_vec()),
        Just(b"\r\n---b-9x".to_vec()),
        Just(b"\r\n---b-9 x".to_vec()),
        Just(b"\r\n---b-9\r\r\n".to_vec()),
        Just(b"\r\n---b-9-x".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..20),
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| {
        let mut bytes = pieces.concat();
        // Two pieces may happen to make a real boundary.
        while let Some(at) = memmem::find(&bytes, b"\r\n---b-9").filter(|at| {
            let after = bytes[at + 8..].trim_ascii_start();
            after.len() < bytes[at + 8..].len() || after.starts_with(b"--") || after.is_empty()
        }) {
            bytes.remove(at);
        }
        bytes
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_however_it_is_cut(
        parts in proptest::collection::vec(("[a-z\\[\\]\"\\\\ é.]{0,12}", contents()), 0..4),
        cuts in proptest::collection::vec(any::<usize>(), 0..12),
        preamble in "([a-z]{1,9}\r\n)?",
    ) {
        let body = [preamble.into_bytes(), write("-b-9", &parts), b"epilogue".to_vec()].concat();
        prop_assert_eq!(read("-b-9", &body, &cuts).expect("well-formed"), parts);
    }

    #[test]
    fn a_truncated_body_is_an_error(data in contents(), cut in any::<usize>()) {
        let body = write("-b-9", &[("f".into(), data)]);
        // Up to and with the first dash of the closing boundary.
        let cut = cut % (body.len() - 3);
        prop_assert_eq!(read("-b-9", &body[..cut], &[]), Err(MultipartError::Truncated));
    }

    #[test]
    fn no_input_panics(body in proptest::collection::vec(any::<u8>(), 0..200), cuts in proptest::collection::vec(any::<usize>(), 0..9)) {
        _ = read("b", &body, &cuts);
        _ = read("b", &[b"--b\r\n".to_vec(), body].concat(), &cuts);
    }
}

#[test]
fn limits() {
    let long = [b"--b\r\nX: ".to_vec(), vec![b'y'; MAX_HEADERS]].concat();
    assert_eq!(read("b", &long, &[]), Err(MultipartError::TooLarge));
    let mut many = b"--b".repeat(0);
    for _ in 0..=crate::limits::inside().parts {
        many.extend_from_slice(b"--b\r\n\r\n\r\n");
    }
    assert_eq!(read("b", &many, &[]), Err(MultipartError::TooLarge));
    assert_eq!(read("b", b"--b\r\nno colon\r\n\r\nx\r\n--b--", &[]), Err(MultipartError::Header));
}

#[test]
fn boundaries_of_requests() {
    let of = |value: &str| {
        let pairs = [(header::CONTENT_TYPE, value.parse().expect("value"))];
        boundary(&pairs.into_iter().collect())
    };
    assert_eq!(of("multipart/form-data; boundary=abc").as_deref(), Some("abc"));
    assert_eq!(of("Multipart/Form-Data; charset=utf-8; Boundary=\"a;b\"").as_deref(), Some("a;b"));
    for bad in [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/mixed; boundary=a",
        "text/plain; boundary=a",
    ] {
        assert_eq!(of(bad), None, "{bad}");
    }
    assert_eq!(of(&format!("multipart/form-data; boundary={}", "x".repeat(71))), None);
}
