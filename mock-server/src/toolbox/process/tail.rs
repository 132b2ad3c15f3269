//! The last that a program says.

use tokio::io::{AsyncRead, AsyncReadExt};

/// Reads to the end, however much comes, and keeps the last `most` bytes of it; up to twice as many on the way.
pub async fn tail(from: Option<impl AsyncRead + Unpin>, most: usize, kept: &mut Vec<u8>) {
    let Some(mut from) = from else { return };
    while matches!(from.read_buf(kept).await, Ok(read) if read > 0) {
        if kept.len() > 2 * most {
            kept.drain(..kept.len() - most);
        }
    }
    kept.drain(..kept.len().saturating_sub(most));
}

#[cfg(test)]
mod tests {
    use super::tail;

    #[tokio::test]
    async fn the_end_is_kept() {
        for (said, expected) in [(&b"short"[..], &b"short"[..]), (b"a long story with an end", b"n end"), (b"", b"")] {
            let mut kept = Vec::new();
            tail(Some(said), 5, &mut kept).await;
            assert_eq!(kept, expected);
        }
    }
}
