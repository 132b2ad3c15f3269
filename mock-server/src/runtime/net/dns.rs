//! DNS for the sandbox: the policy is asked first, then the host's resolvers.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use super::{
    DNS_PORT, HOST, Resolvers,
    dns_message::{self as message, Code, Question},
    gateway::Shared,
    link::with_scratch,
    udp,
    wire::Wire,
};

/// Names of the host's loopback; the second is what Docker's users know.
pub const HOST_NAMES: [&str; 2] = ["host.internal", "host.docker.internal"];
/// Resolvers asked in turn, as libc does.
const MAX_RESOLVERS: usize = 3;
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(2);
/// A DNS connection without a query for this long is closed (RFC 7766, section 6.2.3).
const STREAM_IDLE: Duration = Duration::from_secs(10);
/// Life of answers that don't come from a resolver.
const OWN_TTL: Duration = Duration::from_secs(60);

const PEER_TTL: Duration = Duration::from_secs(5);

/// How a query came, and so how it is passed on: an answer too large for UDP is truncated by the resolver itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// Answers one query. `None` for what isn't one.
pub async fn answer(shared: &Shared, query: &[u8], transport: Transport) -> Option<Vec<u8>> {
    let Some(question) = message::question(query) else { return message::malformed(query) };
    if let Some(peer) = shared.peers.resolve(&question.name) {
        return Some(peer_answer(query, &question, peer));
    }
    if !shared.policy.resolves(&question.name) {
        return Some(message::reply(query, &question, Code::NoSuchName, &[]));
    }
    if HOST_NAMES.contains(&question.name.as_str()) {
        return Some(own_answer(shared, query, &question, &[HOST]));
    }
    let resolvers = shared.resolvers.list().await;
    if resolvers.is_empty() {
        return Some(by_getaddrinfo(shared, query, &question).await);
    }
    for resolver in resolvers.into_iter().take(MAX_RESOLVERS) {
        let exchange = async {
            match transport {
                Transport::Udp => over_udp(resolver, query).await,
                Transport::Tcp => over_tcp(resolver, query).await,
            }
        };
        match timeout(EXCHANGE_TIMEOUT, exchange).await {
            Ok(Ok(answer)) => {
                pin(shared, &question, &answer);
                return Some(answer);
            }
            Ok(Err(error)) => tracing::debug!(%resolver, %error, "a resolver fails"),
            Err(_) => tracing::debug!(%resolver, "a resolver doesn't answer"),
        }
    }
    Some(message::reply(query, &question, Code::ServerFailure, &[]))
}

/// Serves a connection to port 53: queries one after the other, each behind its length.
pub async fn serve_stream(shared: &Shared, stream: &mut Wire) -> io::Result<()> {
    loop {
        let length = match timeout(STREAM_IDLE, stream.read_u16()).await {
            Ok(Ok(length)) => length,
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Err(_) => return Ok(()),
        };
        let mut query = vec![0; length.into()];
        timeout(STREAM_IDLE, stream.read_exact(&mut query)).await??;
        let Some(answer) = answer(shared, &query, Transport::Tcp).await else { return Ok(()) };
        stream.write_all(&framed(&answer)).await?;
    }
}

/// Opens what an allowed name resolved to.
fn pin(shared: &Shared, question: &Question, answer: &[u8]) {
    for (address, ttl) in message::addresses(answer) {
        shared.policy.pin(&question.name, address, ttl);
    }
}

/// A linked sandbox's. Its life is short, as such sandboxes come and go.
fn peer_answer(query: &[u8], question: &Question, peer: Ipv4Addr) -> Vec<u8> {
    let records = [(peer, PEER_TTL)];
    let records = if question.wants_addresses() { &records[..] } else { &[] };
    message::reply(query, question, Code::NoError, records)
}

fn own_answer(shared: &Shared, query: &[u8], question: &Question, addresses: &[Ipv4Addr]) -> Vec<u8> {
    let records: Vec<_> = match question.wants_addresses() {
        true => addresses.iter().map(|address| (*address, OWN_TTL)).collect(),
        false => Vec::new(),
    };
    for (address, ttl) in &records {
        shared.policy.pin(&question.name, *address, *ttl);
    }
    message::reply(query, question, Code::NoError, &records)
}

/// What the host's libc knows, from `/etc/hosts` or any other source of its own.
async fn by_getaddrinfo(shared: &Shared, query: &[u8], question: &Question) -> Vec<u8> {
    let found = match timeout(EXCHANGE_TIMEOUT, tokio::net::lookup_host((question.name.as_str(), 0))).await {
        Ok(Ok(found)) => found,
        Ok(Err(_)) => return message::reply(query, question, Code::NoSuchName, &[]),
        Err(_) => return message::reply(query, question, Code::ServerFailure, &[]),
    };
    let mut addresses: Vec<_> = found
        .filter_map(|address| match address.ip() {
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(_) => None,
        })
        .collect();
    addresses.dedup();
    own_answer(shared, query, question, &addresses)
}

async fn over_udp(resolver: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = if resolver.is_ipv4() { [0; 4].into() } else { [0u16; 8].into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(resolver).await?;
    socket.send(query).await?;
    loop {
        udp::readable(&socket).await?;
        let received = with_scratch(|buffer| socket.try_recv(buffer).map(|length| buffer[..length].to_vec()));
        match received {
            Ok(answer) if message::answers(query, &answer) => return Ok(answer),
            // Somebody guesses, or a late answer to an earlier user of this port.
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

async fn over_tcp(resolver: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(resolver).await?;
    stream.write_all(&framed(query)).await?;
    let mut answer = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut answer).await?;
    if message::answers(query, &answer) { Ok(answer) } else { Err(io::ErrorKind::InvalidData.into()) }
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes(), &message[..length.into()]].concat()
}

impl Resolvers {
    async fn list(&self) -> Vec<SocketAddr> {
        match self {
            Resolvers::Fixed(all) => all.clone(),
            Resolvers::Host => match tokio::fs::read_to_string("/etc/resolv.conf").await {
                Ok(text) => name_servers(&text),
                Err(_) => Vec::new(),
            },
        }
    }
}

/// The name servers of a `resolv.conf`, in order.
fn name_servers(text: &str) -> Vec<SocketAddr> {
    let words = text.lines().map(str::split_whitespace);
    words
        .filter_map(|mut words| (words.next() == Some("nameserver")).then(|| words.next()).flatten())
        .filter_map(|address| address.parse::<IpAddr>().ok())
        .map(|address| SocketAddr::new(address, DNS_PORT))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_read_as_libc_does() {
        let text = "# generated\nsearch example\nnameserver 127.0.0.53\n nameserver  ::1 \nnameserver fe80::1%eth0\noptions edns0\nnameserver\n";
        let expected: Vec<SocketAddr> =
            ["127.0.0.53:53", "[::1]:53"].map(|address| address.parse().expect("address")).into();
        assert_eq!(name_servers(text), expected);
    }
}
