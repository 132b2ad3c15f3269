//! HTTPS: with a certificate that is given, or with ones of an authority that the server makes at its first such start
//! and keeps, for people to trust once. Those are made for each name as it is asked for: many clients don't take a
//! wildcard directly below `localhost`.

use std::{
    collections::HashMap,
    fs,
    io::{self, Write},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use rcgen::KeyPair;
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    authority::{Authority, own_certificate},
    config::{Config, Tls},
};

/// Certificates that are kept; with one more, all are made anew.
const MAX_KEPT: usize = 1_000;

/// What TLS is served with.
pub struct Https {
    pub acceptor: TlsAcceptor,
    /// What clients have to trust, if it is our own.
    pub authority: Option<PathBuf>,
}

/// As it is configured; `None` without TLS. Blocking.
pub fn open(config: &Config, listening: SocketAddr, data_dir: &Path) -> io::Result<Option<Https>> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions().map_err(io::Error::other)?.with_no_client_auth();
    let (mut server, authority) = match &config.tls {
        None => return Ok(None),
        Some(Tls::Given { certificate, key }) => {
            let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
            let chain: Vec<_> = chain.map_err(|error| at(certificate, error))?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| at(key, error))?;
            (builder.with_single_cert(chain, key).map_err(|error| at(certificate, error))?, None)
        }
        Some(Tls::SelfSigned) => {
            let (authority, path) = own_authority(&data_dir.join("tls"))?;
            let names = Names { known: known_names(config, listening), authority, provider, made: Mutex::default() };
            (builder.with_cert_resolver(Arc::new(names)), Some(path))
        }
    };
    // Who offers neither of these offers none, or is refused; old clients offer the old one alone.
    server.alpn_protocols = vec![b"http/1.1".to_vec(), b"http/1.0".to_vec()];
    Ok(Some(Https { acceptor: TlsAcceptor::from(Arc::new(server)), authority }))
}

fn at(path: &Path, error: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {error}", path.display()))
}

/// The server's own names and addresses. What is below a name of these is a preview's.
fn known_names(config: &Config, listening: SocketAddr) -> Vec<String> {
    let host = |authority: &str| super::origin::host(authority).trim_matches(['[', ']']).to_ascii_lowercase();
    let public = config.public_url.as_deref().and_then(|url| url.split("://").nth(1)).map(host);
    let previews = config.preview_domain.as_deref().filter(|domain| *domain != "none").map(host);
    let own = ["localhost", "127.0.0.1", "::1"].into_iter().map(str::to_owned);
    let listening = (!listening.ip().is_unspecified()).then(|| listening.ip().to_string());
    let allowed = config.allow_hosts.iter().map(|name| name.to_ascii_lowercase());
    let mut all: Vec<String> = own.chain(listening).chain(public).chain(previews).chain(allowed).collect();
    all.sort();
    all.dedup();
    all
}

/// The server's own authority, and where its certificate is.
fn own_authority(dir: &Path) -> io::Result<(Authority, PathBuf)> {
    let (path, key_path) = (dir.join("ca.pem"), dir.join("ca.key"));
    fs::create_dir_all(dir)?;
    let key = match fs::read_to_string(&key_path) {
        Ok(text) => KeyPair::from_pem(&text).map_err(|error| at(&key_path, error))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = KeyPair::generate().map_err(io::Error::other)?;
            write_whole(&key_path, &key.serialize_pem(), 0o600)?;
            // It belongs to another key.
            _ = fs::remove_file(&path);
            key
        }
        Err(error) => return Err(error),
    };
    if !path.exists() {
        write_whole(&path, &own_certificate(&key)?.pem(), 0o644)?;
    }
    let certificate = CertificateDer::from_pem_file(&path).map_err(|error| at(&path, error))?;
    Ok((Authority::of(key, certificate), path))
}

/// Whole or not at all.
fn write_whole(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let partial = path.with_extension("new");
    _ = fs::remove_file(&partial);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&partial)?;
    file.write_all(text.as_bytes())?;
    fs::rename(&partial, path)
}

/// Finds or makes the certificate for the name that a client asks for.
struct Names {
    known: Vec<String>,
    authority: Authority,
    provider: Arc<CryptoProvider>,
    /// By name; the server's own are under the empty one.
    made: Mutex<HashMap<String, Arc<CertifiedKey>>>,
}

impl Names {
    fn certificate(&self, asked: &str) -> io::Result<Arc<CertifiedKey>> {
        let preview = asked.split_once('.').filter(|(_, domain)| self.known.iter().any(|known| known == domain));
        let wanted = preview.map_or("", |_| asked);
        let mut made = self.made.lock();
        if let Some(found) = made.get(wanted) {
            return Ok(found.clone());
        }
        let names = if wanted.is_empty() { self.known.clone() } else { vec![wanted.to_owned()] };
        let certificate = Arc::new(self.authority.issue(names, &self.provider)?);
        if made.len() >= MAX_KEPT {
            made.clear();
        }
        made.insert(wanted.to_owned(), certificate.clone());
        Ok(certificate)
    }
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").field("known", &self.known).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = hello.server_name().unwrap_or_default().to_ascii_lowercase();
        let certificate = self.certificate(&asked);
        certificate.inspect_err(|error| tracing::warn!(%error, "no certificate")).ok()
    }
}
