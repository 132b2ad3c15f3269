//! Tokens that open a sandbox without a key: signed preview tokens and signed file URLs.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Duration, Utc};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::{
    ControlPlane,
    error::ModelError,
    sandbox::Sandbox,
    store::{Table, Write},
    tokens,
};

/// A signed preview token as the store keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignedPreview {
    pub token: String,
    pub port: u16,
    pub sandbox_id: String,
    pub expires_at: DateTime<Utc>,
}

/// A sandbox has at most this many signed preview tokens; the one that ends first makes room.
const MAX_TOKENS: usize = 1000;

impl ControlPlane {
    /// A token that opens `port` of a sandbox for `seconds`.
    pub async fn sign_preview(&self, sandbox: &Sandbox, port: u16, seconds: i64) -> Result<String, ModelError> {
        if !(1..=86_400).contains(&seconds) {
            return Err(ModelError::bad_request("expiresInSeconds must be between 1 second and 24 hours"));
        }
        let now = self.clock().now();
        let token = tokens::signed_preview_token();
        let expires_at = now + Duration::seconds(seconds);
        let preview = SignedPreview { token: token.clone(), port, sandbox_id: sandbox.id.clone(), expires_at };
        let record = serde_json::to_string(&preview).expect("a token is JSON");
        let commit = {
            let mut world = self.world.write();
            let mine = world.signed_previews.values().filter(|p| p.sandbox_id == sandbox.id);
            let mut mine: Vec<_> = mine.map(|p| (p.expires_at, p.token.clone())).collect();
            mine.sort();
            let room = mine.len().saturating_sub(MAX_TOKENS - 1);
            for (i, (expires, old)) in mine.into_iter().enumerate() {
                if i < room || expires <= now {
                    world.signed_previews.remove(&old);
                    drop(self.store.write(Write::Delete { table: Table::SignedPreview, key: old }));
                }
            }
            world.signed_previews.insert(token.clone(), preview);
            let organization = String::new();
            self.store.write(Write::Put { table: Table::SignedPreview, key: token.clone(), organization, record })
        };
        commit.wait().await?;
        Ok(token)
    }

    /// The sandbox that a signed preview token opens on this port, until it expires.
    pub fn signed_preview(&self, port: u16, token: &str) -> Option<String> {
        let world = self.world.read();
        let preview = world.signed_previews.get(token)?;
        (preview.port == port && preview.expires_at > self.clock().now()).then(|| preview.sandbox_id.clone())
    }

    /// Ends a token of a sandbox before its time; unknown ones are fine (observed).
    pub async fn expire_preview(&self, sandbox: &Sandbox, port: u16, token: &str) -> Result<(), ModelError> {
        let commit = {
            let mut world = self.world.write();
            let known = world.signed_previews.get(token).is_some_and(|p| p.port == port && p.sandbox_id == sandbox.id);
            if !known {
                return Ok(());
            }
            world.signed_previews.remove(token);
            self.store.write(Write::Delete { table: Table::SignedPreview, key: token.into() })
        };
        commit.wait().await
    }

    /// Whether a signed file URL is good: `method` GET or POST, `path` as in the query (decoded), `expires` in unix
    /// seconds (0: never). The form is the SDKs' (`fileUrlSigning.ts`).
    pub fn verify_signed_file_url(
        &self,
        sandbox_id: &str,
        method: &str,
        path: &str,
        expires: u64,
        signature: &str,
    ) -> bool {
        let now = u64::try_from(self.clock().now().timestamp()).unwrap_or(0);
        let Some(signature) = signature.strip_prefix("v1_").and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()) else {
            return false;
        };
        let world = self.world.read();
        let Some(entry) = world.sandboxes.get(sandbox_id).filter(|_| expires == 0 || expires > now) else {
            return false;
        };
        let mut mac = Hmac::<Sha256>::new_from_slice(entry.record.signing_key.as_bytes()).expect("any length will do");
        mac.update(format!("v1:files:{method}:{path}:{expires}").as_bytes());
        mac.verify_slice(&signature).is_ok()
    }
}
