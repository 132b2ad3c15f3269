//! The server name that a client asks for: SNI of a TLS hello (port 443), `Host` of an HTTP request (port 80).
//!
//! Read from the first bytes of a flow; the later requests of a plain HTTP connection are looked at by `requests.rs`.

use std::{io, time::Duration};

use tokio::net::TcpStream;

use super::{policy::normal, splice};

/// The longest hello or request head looked at.
pub const MAX_OPENING: usize = 16 * 1024;
/// The kind of TLS records that a hello is in.
const HANDSHAKE: u8 = 22;
/// How long a client may take to say the name.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What a client that may speak any protocol said first.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// A TLS hello, with the name in it.
    Hello(Option<String>),
    /// A request, to this host.
    Request(String),
    Other,
}

/// What a client said first.
pub struct Opening {
    pub name: String,
    /// All that was read, to be passed on.
    pub bytes: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
enum Found {
    Name(String),
    /// So far so good.
    More,
    /// There is no name, or more than one: not a client that this can check.
    Nothing,
}

/// Reads until the name is known. `PermissionDenied` when there is none.
pub async fn opening(client: &TcpStream, port: u16) -> io::Result<Opening> {
    tokio::time::timeout(TIMEOUT, read_opening(client, port)).await?
}

async fn read_opening(client: &TcpStream, port: u16) -> io::Result<Opening> {
    let mut bytes = Vec::with_capacity(2048);
    loop {
        client.readable().await?;
        match client.try_read_buf(&mut bytes) {
            Ok(0) => return Err(io::ErrorKind::PermissionDenied.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        match if port == 443 { tls_name(&bytes) } else { http_name(&bytes) } {
            Found::Name(name) => return Ok(Opening { name, bytes }),
            Found::More if bytes.len() < MAX_OPENING => bytes.reserve(2048),
            Found::More | Found::Nothing => return Err(io::ErrorKind::PermissionDenied.into()),
        }
    }
}

/// Reads until it is clear what a client speaks, and returns all that was read. What the server says meanwhile is passed
/// on: it is a protocol in which servers speak first.
pub async fn listen(client: &TcpStream, server: &TcpStream) -> io::Result<(Said, Vec<u8>)> {
    let (mut bytes, mut early) = (Vec::new(), Vec::new());
    loop {
        let said = tokio::select! {
            read = splice::read_more(client, &mut bytes) => match (read?, said(&bytes)) {
                (0, _) => Some(Said::Other),
                (_, None) if bytes.len() > MAX_OPENING => Some(Said::Other),
                (_, said) => said,
            },
            read = splice::read_more(server, &mut early) => {
                read?;
                splice::write_all(client, &early).await?;
                Some(Said::Other)
            }
        };
        if let Some(said) = said {
            return Ok((said, bytes));
        }
    }
}

/// `None` while it isn't clear.
fn said(bytes: &[u8]) -> Option<Said> {
    // Every version of TLS writes a 3 there.
    if bytes.first() == Some(&HANDSHAKE) && bytes.get(1).is_none_or(|major| *major == 3) {
        return match tls_name(bytes) {
            Found::Name(name) => Some(Said::Hello(Some(name))),
            Found::Nothing => Some(Said::Hello(None)),
            Found::More => None,
        };
    }
    if !starts_request(bytes)? {
        return Some(Said::Other);
    }
    match http_name(bytes) {
        Found::Name(name) => Some(Said::Request(name)),
        Found::Nothing => Some(Said::Other),
        Found::More => None,
    }
}

/// Whether these are the first bytes of an HTTP/1 request; `None` while they could be. Nobody else waits for more: in
/// other protocols of lines the server has to see the first one.
pub fn starts_request(bytes: &[u8]) -> Option<bool> {
    const LONGEST_METHOD: usize = 20;
    let method = bytes.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    let goes_on = bytes.get(method).is_none_or(|byte| *byte == b' ' && method > 0);
    if !goes_on || method > LONGEST_METHOD {
        return Some(false);
    }
    let line = &bytes[..memchr::memchr(b'\n', bytes)?];
    Some([&b" HTTP/1.1\r"[..], b" HTTP/1.0\r"].iter().any(|version| line.ends_with(version)))
}

/// The name in a ClientHello, which may be spread over several records (RFC 8446, sections 4.1.2 and 5.1).
fn tls_name(bytes: &[u8]) -> Found {
    let mut hello = Vec::new();
    let mut rest = bytes;
    while let Some((&kind, _)) = rest.split_first() {
        if kind != HANDSHAKE {
            return Found::Nothing;
        }
        let Some(length) = rest.get(3..5).map(|l| usize::from(u16::from_be_bytes([l[0], l[1]]))) else { break };
        let record = &rest[5..];
        hello.extend_from_slice(&record[..length.min(record.len())]);
        if let Some(found) = hello_name(&hello) {
            return found;
        }
        let Some(next) = record.get(length..) else { break };
        rest = next;
    }
    Found::More
}

/// `None` while the message is incomplete.
fn hello_name(message: &[u8]) -> Option<Found> {
    const CLIENT_HELLO: u8 = 1;
    if *message.first()? != CLIENT_HELLO {
        return Some(Found::Nothing);
    }
    let length = message.get(1..4)?.iter().fold(0, |sum, &b| sum << 8 | usize::from(b));
    let body = message.get(4..4 + length)?;
    Some(Fields(body).server_name().and_then(host_name).map_or(Found::Nothing, Found::Name))
}

/// Reads length-prefixed fields in order.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (field, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(field)
    }

    /// A number of `width` bytes.
    fn number(&mut self, width: usize) -> Option<usize> {
        Some(self.take(width)?.iter().fold(0, |sum, &b| sum << 8 | usize::from(b)))
    }

    /// A field behind its length, which has `width` bytes.
    fn sized(&mut self, width: usize) -> Option<&'a [u8]> {
        let length = self.number(width)?;
        self.take(length)
    }

    /// The first host name of the server name extension, of a ClientHello's body.
    fn server_name(mut self) -> Option<&'a [u8]> {
        const SERVER_NAME: usize = 0;
        const HOST_NAME: usize = 0;
        self.take(2 + 32)?; // version, random
        self.sized(1)?; // session
        self.sized(2)?; // cipher suites
        self.sized(1)?; // compression methods
        let mut extensions = Fields(self.sized(2)?);
        loop {
            let kind = extensions.number(2)?;
            let data = extensions.sized(2)?;
            if kind == SERVER_NAME {
                let mut names = Fields(Fields(data).sized(2)?);
                return (names.number(1)? == HOST_NAME).then(|| names.sized(2))?;
            }
        }
    }
}

/// The `Host` of a request whose head is complete.
fn http_name(bytes: &[u8]) -> Found {
    match http_head(bytes) {
        Ok(Some((_, head))) => Found::Name(head.host),
        Ok(None) => Found::More,
        Err(()) => Found::Nothing,
    }
}

/// What the head of a request says.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    pub host: String,
    /// Bytes of the body, unless it is chunked.
    pub length: u64,
    pub chunked: bool,
    /// It asks for another protocol.
    pub upgrade: bool,
}

/// A request's head and its length; none while it is incomplete. Refused is what names no host or two, what names one
/// elsewhere too, and what different servers read differently.
pub fn http_head(bytes: &[u8]) -> Result<Option<(usize, Head)>, ()> {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
        // A TLS hello or any other binary protocol needn't wait for the time-out.
        return if bytes.first().is_some_and(u8::is_ascii_uppercase) { Ok(None) } else { Err(()) };
    };
    let text = std::str::from_utf8(&bytes[..end]).map_err(drop)?;
    let mut lines = text.split("\r\n");
    let target = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    let (mut host, mut length, mut chunked, mut upgrade) = (None, None, false, false);
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(())?;
        let odd =
            name.is_empty() || name.contains(|c: char| c.is_ascii_whitespace()) || line.contains(['\r', '\n', '\0']);
        let value = value.trim();
        let twice = match name.to_ascii_lowercase().as_str() {
            "host" => host.replace(value).is_some(),
            "content-length" => length.replace(plain_number(value)?).is_some(),
            "transfer-encoding" => !value.eq_ignore_ascii_case("chunked") || std::mem::replace(&mut chunked, true),
            "upgrade" => std::mem::replace(&mut upgrade, true),
            _ => false,
        };
        if odd || twice {
            return Err(());
        }
    }
    let host = host.ok_or(())?;
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let fits =
        (target.starts_with('/') || target == "*") && !(chunked && length.is_some()) && !text.starts_with(['\r', '\n']);
    let host = host_name(name.as_bytes()).filter(|_| fits).ok_or(())?;
    Ok(Some((end + 4, Head { host, length: length.unwrap_or(0), chunked, upgrade })))
}

/// Digits and nothing else, not even a sign.
fn plain_number(text: &str) -> Result<u64, ()> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().map_err(drop) } else { Err(()) }
}

/// A name as policies compare it.
fn host_name(name: &[u8]) -> Option<String> {
    let plain = !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(b));
    plain.then(|| normal(&String::from_utf8_lossy(name)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hello(extensions: &[u8]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 1, 1, 0]);
        body.extend((extensions.len() as u16).to_be_bytes());
        body.extend(extensions);
        [&[1, 0, 0, body.len() as u8][..], &body].concat()
    }

    fn named(name: &str) -> Vec<u8> {
        let length = name.len() as u8;
        let other = [0, 43, 0, 3, 2, 3, 4];
        hello(&[&other[..], &[0, 0, 0, length + 5, 0, length + 3, 0, 0, length], name.as_bytes()].concat())
    }

    fn records(message: &[u8], size: usize) -> Vec<u8> {
        message.chunks(size).flat_map(|part| [&[22, 3, 1, 0, part.len() as u8][..], part].concat()).collect()
    }

    #[test]
    fn a_tls_name_is_found_in_one_record_or_many() {
        for size in [255, 20, 1] {
            let bytes = records(&named("API.example"), size);
            assert_eq!(tls_name(&bytes), Found::Name("api.example".into()));
            for cut in 0..bytes.len() {
                assert_eq!(tls_name(&bytes[..cut]), Found::More, "{cut} bytes in records of {size}");
            }
        }
        assert_eq!(tls_name(&records(&hello(&[]), 255)), Found::Nothing);
        assert_eq!(tls_name(&records(&named("a b"), 255)), Found::Nothing);
        assert_eq!(tls_name(b"SSH-2.0"), Found::Nothing);
    }

    #[test]
    fn an_http_name_is_found() {
        let name = |text: &str| http_name(text.as_bytes());
        assert_eq!(name("GET / HTTP/1.1\r\nhost: A.Example:80\r\n\r\n"), Found::Name("a.example".into()));
        assert_eq!(name("GET / HTTP/1.1\r\nHost: a.example\r\nX: y"), Found::More);
        for bad in [
            "GET / HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.example\r\nHost : b.example\r\n\r\n",
            "GET http://b.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "\x16\x03\x01",
        ] {
            assert_eq!(name(bad), Found::Nothing, "{bad}");
        }
    }

    #[test]
    fn only_requests_and_hellos_are_waited_for() {
        let request = b"GET /a HTTP/1.1\r\nHost: a.example\r\n\r\n";
        for cut in 0..request.len() {
            assert_eq!(said(&request[..cut]), None, "{cut}");
        }
        assert_eq!(said(request), Some(Said::Request("a.example".into())));
        let hello = records(&named("a.example"), 255);
        assert_eq!(said(&hello[..hello.len() - 1]), None);
        assert_eq!(said(&hello), Some(Said::Hello(Some("a.example".into()))));
        for other in
            ["PING\r\n", "EHLO me\r\n", "CONNECT\naccept-version:1.2\n", "*1\r\n", "SSH-2.0-x\r\n", " ", "a1 LOGIN"]
        {
            assert_eq!(said(other.as_bytes()), Some(Said::Other), "{other}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (tls_name(&bytes), http_name(&bytes), hello_name(&bytes), said(&bytes));
            let _ = tls_name(&records(&bytes, 50));
        }

        #[test]
        fn damaged_hellos_never_panic(at in 0usize..80, byte: u8) {
            let mut message = named("api.example");
            if let Some(place) = message.get_mut(at) { *place = byte; }
            let _ = tls_name(&records(&message, 255));
        }
    }
}
