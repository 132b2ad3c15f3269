//! Temporary credentials of the object storage. An access key says whose it is and until when; secret and session token are
//! made from it with a secret of this server, so none is kept, and all survive a restart.

use std::{io, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, Duration, Utc};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{ControlPlane, tokens};

/// How long they last (observed).
const LIFE: Duration = Duration::hours(1);

const PREFIX: &str = "DTNMOCK";

/// What a client signs requests with.
#[derive(Clone, PartialEq, Eq)]
pub struct StorageCredentials {
    pub access_key: String,
    pub secret: String,
    pub session_token: String,
}

/// What is wrong with credentials whose secret was right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The session token isn't the access key's.
    Token,
    Expired,
}

/// The secret that all credentials are made with.
pub(super) struct StorageKey([u8; 32]);

impl StorageKey {
    /// Of the file in the data directory, made at the first start.
    pub fn open(data_dir: &Path) -> io::Result<StorageKey> {
        let path = data_dir.join("storage-key");
        match std::fs::read(&path) {
            Ok(bytes) if bytes.len() == 32 => {
                return Ok(StorageKey(bytes.try_into().expect("32 bytes")));
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let key: [u8; 32] = rand::random();
        let mut file = tempfile::NamedTempFile::new_in(data_dir)?;
        io::Write::write_all(&mut file, &key)?;
        file.persist(path)?;
        Ok(StorageKey(key))
    }

    fn derive(&self, what: &str, access_key: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("any length");
        mac.update(what.as_bytes());
        mac.update(access_key.as_bytes());
        STANDARD.encode(mac.finalize().into_bytes())
    }
}

/// Owner and end of an access key: `DTNMOCK`, 32 digits of the organisation's id, 10 of the time, 16 of chance.
fn read(access_key: &str) -> Option<(String, DateTime<Utc>)> {
    let rest = access_key.strip_prefix(PREFIX).filter(|rest| rest.len() == 58 && rest.is_ascii())?;
    let organization = uuid::Uuid::try_parse(&rest[..32]).ok()?.hyphenated().to_string();
    let end = i64::from_str_radix(&rest[32..42], 16).ok()?;
    Some((organization, DateTime::from_timestamp(end, 0)?))
}

impl ControlPlane {
    /// New credentials for the objects of an organisation.
    pub fn storage_credentials(&self, organization_id: &str) -> StorageCredentials {
        let owner = organization_id.replace('-', "");
        let end = self.clock().now() + LIFE;
        let chance = &tokens::uuid().replace('-', "")[..16];
        let access_key = format!("{PREFIX}{owner}{:010x}{chance}", end.timestamp().max(0)).to_uppercase();
        StorageCredentials {
            secret: self.storage_key.derive("secret", &access_key),
            session_token: self.storage_key.derive("session", &access_key),
            access_key,
        }
    }

    /// The secret that belongs to an access key of ours.
    pub fn storage_secret(&self, access_key: &str) -> Option<String> {
        let (organization_id, _) = read(access_key)?;
        self.organization(&organization_id)?;
        Some(self.storage_key.derive("secret", access_key))
    }

    /// When an access key ends.
    pub(super) fn storage_end(&self, access_key: &str) -> Option<DateTime<Utc>> {
        read(access_key).map(|(_, end)| end)
    }

    /// Whose an access key is, unless it has ended. Its secret was checked.
    pub fn storage_owner_of(&self, access_key: &str) -> Result<String, Refusal> {
        let (organization_id, end) = read(access_key).ok_or(Refusal::Token)?;
        if end <= self.clock().now() { Err(Refusal::Expired) } else { Ok(organization_id) }
    }

    /// Whose objects the holder of an access key may use. Its signature was checked.
    pub fn storage_owner(&self, access_key: &str, session_token: &str) -> Result<String, Refusal> {
        if self.storage_key.derive("session", access_key) != session_token {
            return Err(Refusal::Token);
        }
        self.storage_owner_of(access_key)
    }
}
