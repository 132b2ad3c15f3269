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

use chrono::{Datelike, Days, Utc};
use parking_lot::Mutex;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;

use crate::{
    config::{Config, Tls},
    model::hex,
};

/// Certificates that are kept; with one more, all are made anew.
const MAX_KEPT: usize = 1_000;
/// Days that a certificate lasts: less than what Apple's clients take at most. A server makes new ones at each start.
const DAYS: u64 = 390;

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
            let authority = Authority::open(&data_dir.join("tls"))?;
            let path = authority.path.clone();
            let names = Names { known: known_names(config, listening), authority, provider, made: Mutex::default() };
            (builder.with_cert_resolver(Arc::new(names)), Some(path))
        }
    };
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
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

/// A certificate authority of this server's own.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    path: PathBuf,
}

impl Authority {
    fn open(dir: &Path) -> io::Result<Authority> {
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
        let params = authority_params(&key);
        if !path.exists() {
            let certificate = params.self_signed(&key).map_err(io::Error::other)?;
            write_whole(&path, &certificate.pem(), 0o644)?;
        }
        let certificate = CertificateDer::from_pem_file(&path).map_err(|error| at(&path, error))?;
        Ok(Authority { issuer: Issuer::new(params, key), certificate, path })
    }

    fn issue(&self, names: Vec<String>, provider: &CryptoProvider) -> io::Result<CertifiedKey> {
        let mut params = CertificateParams::new(names).map_err(io::Error::other)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        params.distinguished_name = name("daytona-mock");
        let today = Utc::now().date_naive();
        let day = |day: chrono::NaiveDate| date_time_ymd(day.year(), day.month() as u8, day.day() as u8);
        params.not_before = day(today - Days::new(1));
        params.not_after = day(today + Days::new(DAYS));
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(io::Error::other)?;
        let chain = vec![certificate.der().clone(), self.certificate.clone()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(io::Error::other)?;
        CertifiedKey::from_der(chain, key, provider).map_err(io::Error::other)
    }
}

/// The same at each start, so that certificates fit the one that people trust.
fn authority_params(key: &KeyPair) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // Two servers' authorities must not be taken for one.
    params.distinguished_name = name(&format!("daytona-mock {}", &hex(&Sha256::digest(key.public_key_raw()))[..8]));
    params.not_before = date_time_ymd(2025, 1, 1);
    params.not_after = date_time_ymd(2045, 1, 1);
    params
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
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
