//! Random ids, keys and tokens in the shapes that clients know.

use rand::RngExt;
use sha2::{Digest, Sha256};

const PREVIEW: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789_-";
const SIGNED: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";

const SSH: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

fn text(alphabet: &[u8], length: usize) -> String {
    let mut rng = rand::rng();
    (0..length).map(|_| char::from(alphabet[rng.random_range(0..alphabet.len())])).collect()
}

/// A sandbox's preview token: 32 of `[a-z0-9_-]` (observed).
pub fn preview_token() -> String {
    text(PREVIEW, 32)
}

/// A signed preview token: 16 lower-case alphanumerics (observed). It becomes a part of a host name.
pub fn signed_preview_token() -> String {
    text(SIGNED, 16)
}

/// An SSH token: 32 alphanumerics (observed). It is the user name of a connection.
pub fn ssh_token() -> String {
    text(SSH, 32)
}

/// A key that signs file URLs. Never all digits: TypeScript clients would parse it as a JSON number.
pub fn signing_key() -> String {
    format!("sk_{}", hex(&rand::random::<[u8; 32]>()))
}

/// An API key: `dtn_` and 64 hex digits (observed).
pub fn api_key() -> String {
    format!("dtn_{}", hex(&rand::random::<[u8; 32]>()))
}

/// SHA-256 in hex: the only form in which keys are kept.
pub fn hash(key: &str) -> String {
    hex(&Sha256::digest(key.as_bytes()))
}

/// UUID v4.
pub fn uuid() -> String {
    uuid::Uuid::new_v4().to_string()
}

pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [b >> 4, b & 15]).map(|n| char::from(DIGITS[usize::from(n)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes() {
        assert_eq!(preview_token().len(), 32);
        assert!(signed_preview_token().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
        assert_eq!(api_key().len(), 68);
        assert_eq!(hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
