//! Flows of a sandbox that has secrets: what a program says first tells whether they are for a server that a secret may
//! go to. Only then do we stand between the two; everything else passes unread, as without secrets.

use std::io;

use http::Request;
use hyper::body::Incoming;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};

use super::{
    certificates::HTTP1,
    exchange,
    secrets::{OutboundSecret, Secrets, swap},
    sniff::{MAX_OPENING, starts_request},
    wire::{Prefixed, Wire},
};

/// A program's connection and the one to its server.
pub struct Ends {
    pub program: Wire,
    pub server: Wire,
}

/// Plain HTTP that began with `bytes`. `admit` refuses hosts; `proved` says whether a host's name resolved to the server
/// that was dialled.
pub async fn http(
    secrets: &Secrets,
    ends: Ends,
    bytes: Vec<u8>,
    admit: impl Fn(&str) -> io::Result<()>,
    proved: impl Fn(&str) -> bool,
) -> io::Result<()> {
    let prepare = |request: &mut Request<Incoming>| {
        let host = exchange::host(request);
        admit(host.as_deref().unwrap_or_default())?;
        let known = host.filter(|host| proved(host));
        swap(request.headers_mut(), &secrets.now(), |secret| match &known {
            Some(host) => secret.may_go_to(host),
            None => secret.is_for_all(),
        });
        Ok(())
    };
    exchange::carry(Prefixed::new(bytes, ends.program), ends.server, prepare).await
}

/// TLS that began with `hello`, for a server named `name`. Gives `hello` back if the server doesn't prove that name: then it
/// has to pass as it is, over another connection, and the program sees for itself whom it talks to.
pub async fn tls(
    secrets: &Secrets,
    ends: Ends,
    offer: Offer,
    hello: Vec<u8>,
    name: &str,
) -> io::Result<Option<Vec<u8>>> {
    let mut server = match secrets.trust.connect(name, ends.server, offer == Offer::Http1).await {
        Ok(server) => server,
        Err(error) => {
            tracing::warn!(host = name, %error, "not intercepted, so secrets stay placeholders");
            return Ok(Some(hello));
        }
    };
    let mut program = secrets.certificates.accept(name, Prefixed::new(hello, ends.program)).await.inspect_err(
        |error| tracing::warn!(host = name, %error, "a program in a sandbox with secrets doesn't take our certificate"),
    )?;
    let mut bytes = Vec::new();
    if offer == Offer::Nothing && !speaks_http(&mut program, &mut server, &mut bytes).await? {
        server.write_all(&bytes).await?;
        return copy_bidirectional(&mut program, &mut server).await.map(|_| None);
    }
    let prepare = |request: &mut Request<Incoming>| {
        let host = exchange::host(request);
        let fits = |host: &str, secret: &OutboundSecret| secret.may_go_to(name) && secret.may_go_to(host);
        swap(request.headers_mut(), &secrets.now(), |secret| host.as_ref().is_some_and(|host| fits(host, secret)));
        Ok(())
    };
    exchange::carry(Prefixed::new(bytes, program), server, prepare).await.map(|()| None)
}

/// Which protocols a program offers (ALPN), as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    Http1,
    /// It doesn't say.
    Nothing,
}

impl Offer {
    /// `None` where it takes others only, or where it isn't TLS at all.
    pub fn of(mut hello: &[u8]) -> Option<Offer> {
        let mut acceptor = Acceptor::default();
        let accepted = loop {
            if acceptor.read_tls(&mut hello).ok()? == 0 {
                return None;
            }
            if let Some(accepted) = acceptor.accept().ok()? {
                break accepted;
            }
        };
        let offered = accepted.client_hello().alpn().map(|mut offered| offered.any(|protocol| protocol == HTTP1));
        match offered {
            Some(false) => None,
            Some(true) => Some(Offer::Http1),
            None => Some(Offer::Nothing),
        }
    }
}

/// Whether a program's first words are a request. They are in `bytes` then; what the server says first is passed on.
async fn speaks_http(
    program: &mut (impl AsyncRead + AsyncWrite + Unpin),
    server: &mut (impl AsyncRead + Unpin),
    bytes: &mut Vec<u8>,
) -> io::Result<bool> {
    let mut early = Vec::new();
    loop {
        tokio::select! {
            read = program.read_buf(bytes) => match (read?, starts_request(bytes)) {
                (0, _) => return Ok(false),
                (_, Some(answer)) => return Ok(answer),
                (_, None) if bytes.len() > MAX_OPENING => return Ok(false),
                _ => {}
            },
            read = server.read_buf(&mut early) => {
                read?;
                program.write_all(&early).await?;
                return Ok(false);
            }
        }
    }
}
