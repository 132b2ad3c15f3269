//! TLS besides plain HTTP on a port, for clients that take nothing else: the Python SDKs upload build contexts over
//! `https` only. The first byte of a connection tells which it is. The certificates are those that `--tls self-signed`
//! would serve, made when they are first asked for; `GET /authority.pem` is whom to trust, and `daytona-mock trusted
//! PROGRAM` makes one program do so.

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::tls::{self, Https};
use crate::config::{Config, Tls};

/// Where the authority's certificate is.
pub const AUTHORITY: &str = "/authority.pem";

/// How every TLS client begins: a record with a handshake.
const HANDSHAKE: u8 = 0x16;

/// Request extension: the client came by TLS, though the server speaks HTTP.
#[derive(Clone, Copy, Debug)]
pub struct Secure;

/// What TLS is spoken with, once somebody does.
pub struct Besides {
    config: Config,
    listening: SocketAddr,
    data_dir: PathBuf,
    https: OnceLock<Option<Https>>,
}

impl Besides {
    pub fn new(config: &Config, listening: SocketAddr, data_dir: PathBuf) -> Arc<Besides> {
        let given = matches!(config.tls, Some(Tls::Given { .. }));
        let tls = if given { config.tls.clone() } else { Some(Tls::SelfSigned) };
        Arc::new(Besides { config: Config { tls, ..config.clone() }, listening, data_dir, https: OnceLock::new() })
    }

    /// Whether a client that just connected speaks TLS. Resolves when it has said something, or is gone.
    pub async fn is_spoken(stream: &TcpStream) -> bool {
        let mut first = [0];
        matches!(stream.peek(&mut first).await, Ok(1)) && first[0] == HANDSHAKE
    }

    pub async fn acceptor(self: &Arc<Self>) -> Option<TlsAcceptor> {
        self.look(|https| Some(https.acceptor.clone())).await
    }

    /// The authority's certificate as PEM; `None` where the certificate was given.
    pub async fn authority(self: &Arc<Self>) -> Option<String> {
        self.look(|https| std::fs::read_to_string(https.authority.as_ref()?).ok()).await
    }

    /// Keys and files: a blocking matter, the first time.
    async fn look<T: Send + 'static>(
        self: &Arc<Self>,
        what: impl FnOnce(&Https) -> Option<T> + Send + 'static,
    ) -> Option<T> {
        let this = self.clone();
        let look = move || this.https.get_or_init(|| this.open()).as_ref().and_then(what);
        tokio::task::spawn_blocking(look).await.ok().flatten()
    }

    fn open(&self) -> Option<Https> {
        let opened: io::Result<Option<Https>> = tls::open(&self.config, self.listening, &self.data_dir);
        opened.inspect_err(|error| tracing::error!(%error, "no TLS")).ok().flatten()
    }
}
