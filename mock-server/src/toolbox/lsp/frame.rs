//! Messages on a byte stream: `Content-Length: N`, an empty line, N bytes of JSON.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

use crate::limits;

/// Header lines of one message, together.
const MAX_HEADER: u64 = 4096;

/// `body` as a message.
pub fn encode(body: &[u8]) -> Vec<u8> {
    let mut message = format!("Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    message.extend_from_slice(body);
    message
}

/// The next message's body; `None` at the end of the stream between messages.
///
/// # Errors
/// What isn't a message, one that is too large, an end in the middle.
pub async fn read(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let Some(length) = read_header(from).await? else { return Ok(None) };
    if length > limits::inside().lsp_message {
        return Err(broken(format!("a message of {length} bytes")));
    }
    // Grows as bytes come: the length alone is only a claim.
    let mut body = Vec::new();
    from.take(length as u64).read_to_end(&mut body).await?;
    if body.len() < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(Some(body)) }
}

async fn read_header(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<usize>> {
    let (mut header, mut length) = (AsyncReadExt::take(from, MAX_HEADER), None);
    let mut first = true;
    loop {
        let mut line = Vec::new();
        header.read_until(b'\n', &mut line).await?;
        if line.is_empty() && first {
            return Ok(None);
        }
        first = false;
        let Some(text) = line.strip_suffix(b"\n") else { return Err(broken("a header without an end".into())) };
        let text = String::from_utf8_lossy(text.strip_suffix(b"\r").unwrap_or(text)).into_owned();
        if text.is_empty() {
            return length.map(Some).ok_or_else(|| broken("a header without Content-Length".into()));
        }
        let Some((name, value)) = text.split_once(':') else { return Err(broken(format!("{text:?} in its header"))) };
        if name.trim().eq_ignore_ascii_case("content-length") {
            let value = value.trim().parse().map_err(|_| broken(format!("{text:?} in its header")))?;
            length = Some(value);
        }
    }
}

fn broken(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::BufReader;

    use super::*;

    fn read_all(bytes: &[u8]) -> (Vec<Vec<u8>>, Option<io::ErrorKind>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            // A small buffer, so that messages come in pieces.
            let (mut reader, mut found) = (BufReader::with_capacity(7, bytes), Vec::new());
            loop {
                match read(&mut reader).await {
                    Ok(Some(body)) => found.push(body),
                    Ok(None) => return (found, None),
                    Err(error) => return (found, Some(error.kind())),
                }
            }
        })
    }

    #[test]
    fn messages_and_what_is_none() {
        let two = b"Content-Length: 2\r\nContent-Type: x\r\n\r\n{}content-length:3\n\n[1]";
        assert_eq!(read_all(two), (vec![b"{}".to_vec(), b"[1]".to_vec()], None));
        for broken in [
            &b"hello\r\n"[..],
            b"\r\n",
            b"Content-Length: -1\r\n\r\n",
            b"Content-Length: 99999999999\r\n\r\n",
            b"Content-Le",
        ] {
            assert_eq!(read_all(broken).1, Some(io::ErrorKind::InvalidData));
        }
        assert_eq!(read_all(&[b'x'; 9000]).1, Some(io::ErrorKind::InvalidData));
        assert_eq!(read_all(b"Content-Length: 5\r\n\r\n{}").1, Some(io::ErrorKind::UnexpectedEof));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..99), 0..5)) {
            let stream: Vec<u8> = bodies.iter().flat_map(|body| encode(body)).collect();
            prop_assert_eq!(read_all(&stream), (bodies, None));
        }

        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            _ = read_all(&bytes);
        }
    }
}
