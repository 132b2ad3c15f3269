//! Certificate authorities of our own: the server's, for its HTTPS (`gateway/tls.rs`), and those of sandboxes with secrets
//! (`runtime/net/certificates.rs`).

use std::io;

use chrono::{Datelike, Days, NaiveDate, Utc};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::{
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer},
    sign::CertifiedKey,
};
use sha2::{Digest, Sha256};

use crate::model::hex;

/// Days that a certificate lasts: less than what Apple's clients take at most. A server makes new ones at each start.
const DAYS: u64 = 390;

/// Who makes certificates for names.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Authority {
    /// An authority with this key whose own certificate was made before.
    pub fn of(key: KeyPair, certificate: CertificateDer<'static>) -> Authority {
        Authority { issuer: Issuer::new(params(&key), key), certificate }
    }

    /// A new one, and its certificate as PEM.
    pub fn generate() -> io::Result<(Authority, String)> {
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let certificate = own_certificate(&key)?;
        let pem = certificate.pem();
        Ok((Authority::of(key, certificate.der().clone()), pem))
    }

    /// A key and certificate for these names or addresses.
    pub fn issue(&self, names: Vec<String>, provider: &CryptoProvider) -> io::Result<CertifiedKey> {
        let mut params = CertificateParams::new(names).map_err(io::Error::other)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        params.distinguished_name = name("daytona-mock");
        let today = Utc::now().date_naive();
        let day = |day: NaiveDate| date_time_ymd(day.year(), day.month() as u8, day.day() as u8);
        params.not_before = day(today - Days::new(1));
        params.not_after = day(today + Days::new(DAYS));
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(io::Error::other)?;
        let chain = vec![certificate.der().clone(), self.certificate.clone()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(io::Error::other)?;
        CertifiedKey::from_der(chain, key, provider).map_err(io::Error::other)
    }
}

/// What people or sandboxes have to trust.
pub fn own_certificate(key: &KeyPair) -> io::Result<rcgen::Certificate> {
    params(key).self_signed(key).map_err(io::Error::other)
}

/// The same whenever they are made, so that certificates fit the authority's that was made before.
fn params(key: &KeyPair) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // Two authorities must not be taken for one.
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
