//! TLS on both sides of the gateway: certificates that a sandbox trusts, and whom the gateway trusts.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, pem::PemObject},
    sign::SingleCertAndKey,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::OnceCell,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use crate::authority::Authority;

/// What clients and servers call HTTP/1.1 in their handshakes.
pub const HTTP1: &[u8] = b"http/1.1";
/// Names of one sandbox whose certificates are kept; with one more, all are made anew.
const MAX_KEPT: usize = 256;
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(20);

/// Certificates in the names of servers, by an authority that one sandbox trusts and whose key exists only here.
pub struct Certificates {
    authority: Authority,
    provider: Arc<CryptoProvider>,
    made: Mutex<HashMap<String, Arc<ServerConfig>>>,
}

impl Certificates {
    /// The second is the authority's certificate, as PEM.
    pub fn new() -> io::Result<(Certificates, String)> {
        let (authority, pem) = Authority::generate()?;
        let provider = Arc::new(ring::default_provider());
        Ok((Certificates { authority, provider, made: Mutex::default() }, pem))
    }

    /// Takes a program's connection in the name of its server.
    pub async fn accept<S>(&self, name: &str, stream: S) -> io::Result<server::TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let acceptor = TlsAcceptor::from(self.of(name)?);
        timeout(HANDSHAKE, acceptor.accept(stream)).await?
    }

    fn of(&self, name: &str) -> io::Result<Arc<ServerConfig>> {
        if let Some(made) = self.made.lock().get(name) {
            return Ok(made.clone());
        }
        let certificate = self.authority.issue(vec![name.to_owned()], &self.provider)?;
        let builder = ServerConfig::builder_with_provider(self.provider.clone());
        let builder = builder.with_safe_default_protocol_versions().map_err(io::Error::other)?.with_no_client_auth();
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certificate)));
        config.alpn_protocols = vec![HTTP1.to_vec()];
        let (config, mut made) = (Arc::new(config), self.made.lock());
        if made.len() >= MAX_KEPT {
            made.clear();
        }
        made.insert(name.to_owned(), config.clone());
        Ok(config)
    }
}

/// Whom the gateway trusts: the system's authorities and some more. All sandboxes share it.
#[derive(Default)]
pub struct Trust {
    more: Vec<CertificateDer<'static>>,
    config: OnceCell<ClientConfig>,
}

impl Trust {
    /// With the authorities in these PEM files. Blocking.
    pub fn with(files: &[PathBuf]) -> io::Result<Trust> {
        let mut more = Vec::new();
        for file in files {
            let found = certificates(file).map_err(|error| io::Error::other(format!("{}: {error}", file.display())))?;
            more.extend(found);
        }
        Ok(Trust { more, config: OnceCell::new() })
    }

    /// Connects to a server that proves its name, an address among them; else an error. Asks for HTTP/1.1 if the program did.
    pub async fn connect<S>(&self, name: &str, stream: S, http1: bool) -> io::Result<client::TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut config = self.config.get_or_try_init(|| self.open()).await?.clone();
        if http1 {
            config.alpn_protocols = vec![HTTP1.to_vec()];
        }
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        timeout(HANDSHAKE, TlsConnector::from(Arc::new(config)).connect(name, stream)).await?
    }

    /// The system's authorities are in files: a blocking matter, the first time.
    async fn open(&self) -> io::Result<ClientConfig> {
        let more = self.more.clone();
        tokio::task::spawn_blocking(|| client_config(more)).await.map_err(io::Error::other)?
    }
}

fn client_config(more: Vec<CertificateDer<'static>>) -> io::Result<ClientConfig> {
    let system = rustls_native_certs::load_native_certs();
    for error in system.errors {
        tracing::warn!(%error, "some of the system's certificate authorities can't be read");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(system.certs);
    for certificate in more {
        roots.add(certificate).map_err(io::Error::other)?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(io::Error::other)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn certificates(file: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let text = fs::read(file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found.map_err(io::Error::other)? {
        none if none.is_empty() => Err(io::Error::other("no certificate in it")),
        found => Ok(found),
    }
}
