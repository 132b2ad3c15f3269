//! Watches the requests that a program sends over one plain HTTP connection under a policy of domains: each names its
//! host, and each host must be on the list. What isn't understood to the byte ends the connection, or a server might
//! read another request in it than was checked here.

use std::io;

use tokio::net::TcpStream;

use super::{
    sniff::{Head, MAX_OPENING, http_head},
    splice,
};

/// Where in a stream of requests we are.
#[derive(Debug, PartialEq, Eq)]
enum At {
    Head,
    /// In a body that has so many more bytes.
    Body(u64),
    /// Before the size of a chunk.
    Size,
    /// In a chunk, with so many more bytes.
    Chunk(u64),
    /// After a chunk's data.
    ChunkEnd,
    /// In the lines after the last chunk.
    Trailer,
}

/// What may be done with the bytes at hand.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// So many bytes belong to what was checked.
    Pass(usize),
    /// A head, so many bytes long.
    Head(usize, Head),
    More,
    Refuse,
}

#[derive(Debug)]
struct Requests(At);

impl Requests {
    /// Looks at bytes, of which there is at least one, and takes what it can.
    fn step(&mut self, bytes: &[u8]) -> Step {
        match self.0 {
            At::Head => self.head(bytes),
            At::Body(left) => self.data(bytes, left, At::Body, At::Head),
            At::Chunk(left) => self.data(bytes, left, At::Chunk, At::ChunkEnd),
            At::Size | At::ChunkEnd | At::Trailer => match memchr::memchr(b'\n', bytes) {
                Some(end) => self.line(&bytes[..=end]),
                None => Step::More,
            },
        }
    }

    fn head(&mut self, bytes: &[u8]) -> Step {
        match http_head(bytes) {
            Ok(Some((length, head))) => {
                self.0 = match (head.chunked, head.length) {
                    (true, _) => At::Size,
                    (false, 0) => At::Head,
                    (false, length) => At::Body(length),
                };
                Step::Head(length, head)
            }
            Ok(None) => Step::More,
            Err(()) => Step::Refuse,
        }
    }

    fn data(&mut self, bytes: &[u8], left: u64, within: fn(u64) -> At, after: At) -> Step {
        let taken = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let left = left - taken as u64;
        self.0 = if left == 0 { after } else { within(left) };
        Step::Pass(taken)
    }

    /// A whole line of the chunked coding, with its end.
    fn line(&mut self, line: &[u8]) -> Step {
        let Some(text) = line.strip_suffix(b"\r\n").filter(|text| !text.contains(&b'\r')) else { return Step::Refuse };
        self.0 = match self.0 {
            At::Size => match chunk_size(text) {
                Some(0) => At::Trailer,
                Some(size) => At::Chunk(size),
                None => return Step::Refuse,
            },
            At::ChunkEnd if text.is_empty() => At::Size,
            At::Trailer if text.is_empty() => At::Head,
            At::Trailer => At::Trailer,
            _ => return Step::Refuse,
        };
        Step::Pass(line.len())
    }
}

/// Hexadecimal digits, without extensions: no client sends any, and servers read them differently.
fn chunk_size(text: &[u8]) -> Option<u64> {
    let plain = (1..=15).contains(&text.len()) && text.iter().all(u8::is_ascii_hexdigit);
    plain.then(|| u64::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()).flatten()
}

/// Carries a connection whose client has said `bytes` so far. `admit` refuses hosts. Ends as [`splice::splice`] does.
pub async fn carry(
    local: &TcpStream,
    remote: &TcpStream,
    mut bytes: Vec<u8>,
    admit: impl Fn(&str) -> io::Result<()>,
) -> io::Result<()> {
    let mut requests = Requests(At::Head);
    // An upgrade can only be the first request: then the first answer says whether it happened.
    let first = next(&mut requests, local, remote, &mut bytes, &admit).await?;
    if first.is_some_and(|head| head.upgrade) && switches(local, remote).await? {
        splice::write_all(remote, &bytes).await?;
        return splice::splice(local, remote).await;
    }
    let requests = async {
        while next(&mut requests, local, remote, &mut bytes, &admit).await?.is_some() {}
        splice::end(remote);
        Ok(())
    };
    tokio::try_join!(requests, splice::pump(remote, local))?;
    Ok(())
}

/// Passes on everything up to the end of the next head, once its host is admitted; `None` at the stream's end.
async fn next(
    requests: &mut Requests,
    local: &TcpStream,
    remote: &TcpStream,
    bytes: &mut Vec<u8>,
    admit: impl Fn(&str) -> io::Result<()>,
) -> io::Result<Option<Head>> {
    loop {
        let step = if bytes.is_empty() { Step::More } else { requests.step(bytes) };
        match step {
            Step::Pass(length) => {
                splice::write_all(remote, &bytes[..length]).await?;
                bytes.drain(..length);
            }
            Step::Head(length, head) => {
                admit(&head.host)?;
                splice::write_all(remote, &bytes[..length]).await?;
                bytes.drain(..length);
                return Ok(Some(head));
            }
            Step::More if bytes.len() < MAX_OPENING => {
                if splice::read_more(local, bytes).await? == 0 {
                    return Ok(None);
                }
            }
            Step::More | Step::Refuse => return Err(io::ErrorKind::PermissionDenied.into()),
        }
    }
}

/// Passes on the beginning of the first answer, and says whether it is 101.
async fn switches(local: &TcpStream, remote: &TcpStream) -> io::Result<bool> {
    const SWITCHES: &[u8] = b"HTTP/1.1 101";
    let mut answer = Vec::new();
    while answer.len() < SWITCHES.len() && splice::read_more(remote, &mut answer).await? > 0 {}
    splice::write_all(local, &answer).await?;
    Ok(answer.starts_with(SWITCHES))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The hosts in a stream that comes in pieces of `size`, and whether it was refused in the end.
    fn hosts(stream: &[u8], size: usize) -> (Vec<String>, bool) {
        let (mut requests, mut bytes, mut hosts) = (Requests(At::Head), Vec::new(), Vec::new());
        for piece in stream.chunks(size) {
            bytes.extend_from_slice(piece);
            while !bytes.is_empty() {
                match requests.step(&bytes) {
                    Step::Pass(length) => drop(bytes.drain(..length)),
                    Step::Head(length, head) => {
                        hosts.push(head.host);
                        bytes.drain(..length);
                    }
                    Step::More => break,
                    Step::Refuse => return (hosts, true),
                }
            }
        }
        (hosts, false)
    }

    const STREAM: &[u8] = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n\
        POST / HTTP/1.1\r\nHost: b.example\r\nContent-Length: 36\r\n\r\nGET / HTTP/1.1\r\nHost: no.example\r\n\r\n\
        POST / HTTP/1.1\r\nHost: c.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1e\r\n\
        GET / HTTP/1.1\r\nHost: no\r\n\r\n\r\n\r\n0\r\nX: y\r\n\r\nGET / HTTP/1.1\r\nHost: d.example\r\n\r\n";

    #[test]
    fn each_request_names_its_host_and_bodies_are_none() {
        let all = ["a.example", "b.example", "c.example", "d.example"].map(String::from).to_vec();
        for size in [1, 2, 7, 1000] {
            assert_eq!(hosts(STREAM, size), (all.clone(), false), "pieces of {size}");
        }
    }

    #[test]
    fn what_servers_might_read_otherwise_is_refused() {
        for bad in [
            "Content-Length: 1\r\nTransfer-Encoding: chunked",
            "Content-Length: 1\r\nContent-Length: 2",
            "Content-Length: +1",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: xchunked",
            "X: a\nHost: b.example",
            "X: a\rHost: b.example",
            "X: a\r\n Host: b.example",
            "Content-Length : 1",
            "no colon",
        ] {
            let stream = format!("POST / HTTP/1.1\r\nHost: a.example\r\n{bad}\r\n\r\n");
            assert_eq!(hosts(stream.as_bytes(), 1000), (vec![], true), "{bad}");
        }
        for bad in ["3\nabc\r\n", "3;x\r\nabc\r\n", "\r\n", "-1\r\n", "3\r\nabcd\r\n", "fffffffffffffffff\r\n"] {
            let stream = format!("POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n{bad}");
            assert!(hosts(stream.as_bytes(), 1000).1, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_damage_is_survived(at in 0..STREAM.len(), byte: u8, size in 1usize..50) {
            let mut stream = STREAM.to_vec();
            stream[at] = byte;
            hosts(&stream, size);
        }
    }
}
