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
    store::{Kind, Write},
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

/// A port of this machine that leads to a port of a sandbox, as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PreviewPort {
    /// Of this machine.
    pub listener: u16,
    pub sandbox_id: String,
    /// Inside.
    pub port: u16,
    /// The signed token that opens it without more.
    pub token: Option<String>,
}

fn check_seconds(seconds: i64) -> Result<(), ModelError> {
    if (1..=86_400).contains(&seconds) {
        return Ok(());
    }
    Err(ModelError::bad_request("expiresInSeconds must be between 1 second and 24 hours"))
}

/// A token for a port that is no number: it opens nothing, so nobody keeps it.
pub fn sign_nothing(seconds: i64) -> Result<String, ModelError> {
    check_seconds(seconds)?;
    Ok(tokens::signed_preview_token())
}

impl ControlPlane {
    /// A token that opens `port` of a sandbox for `seconds`.
    pub async fn sign_preview(&self, sandbox: &Sandbox, port: u16, seconds: i64) -> Result<String, ModelError> {
        check_seconds(seconds)?;
        let now = self.clock().now();
        let token = tokens::signed_preview_token();
        let expires_at = now + Duration::seconds(seconds);
        let preview = SignedPreview { token: token.clone(), port, sandbox_id: sandbox.id.clone(), expires_at };
        let record = serde_json::to_string(&preview).expect("a token is JSON");
        let organization = String::new();
        let mut writes = vec![Write::Put { kind: Kind::SignedPreview, key: token.clone(), organization, record }];
        let turn = self.store.turn().await;
        self.must_be_there(&sandbox.id)?;
        let gone = self.superfluous_previews(&sandbox.id, now);
        writes.extend(gone.iter().map(|old| Write::Delete { kind: Kind::SignedPreview, key: old.clone() }));
        let world = self.world.clone();
        let apply = move || {
            let mut world = world.write();
            let previews = &mut world.signed_previews;
            for old in &gone {
                previews.remove(old);
            }
            previews.insert(preview.token.clone(), preview);
        };
        turn.commit(writes, apply).wait().await?;
        Ok(token)
    }

    /// The tokens of a sandbox that go when it gets one more: expired ones, and those that end first of too many.
    fn superfluous_previews(&self, sandbox_id: &str, now: DateTime<Utc>) -> Vec<String> {
        let world = self.world.read();
        let mut mine: Vec<_> = world.signed_previews.values().filter(|p| p.sandbox_id == sandbox_id).collect();
        mine.sort_by_key(|p| p.expires_at);
        let room = mine.len().saturating_sub(self.config().limits.signed_previews - 1);
        let gone = mine.into_iter().enumerate().filter(|(i, p)| *i < room || p.expires_at <= now);
        gone.map(|(_, p)| p.token.clone()).collect()
    }

    /// The sandbox that a signed preview token opens on this port, until it expires.
    pub fn signed_preview(&self, port: u16, token: &str) -> Option<String> {
        let world = self.world.read();
        let preview = world.signed_previews.get(token)?;
        (preview.port == port && preview.expires_at > self.clock().now()).then(|| preview.sandbox_id.clone())
    }

    /// Ends a token of a sandbox before its time; unknown ones are fine (observed).
    pub async fn expire_preview(&self, sandbox: &Sandbox, port: u16, token: &str) -> Result<(), ModelError> {
        let turn = self.store.turn().await;
        let known = |p: &SignedPreview| p.port == port && p.sandbox_id == sandbox.id;
        if !self.world.read().signed_previews.get(token).is_some_and(known) {
            return Ok(());
        }
        let write = Write::Delete { kind: Kind::SignedPreview, key: token.into() };
        let (world, token) = (self.world.clone(), token.to_owned());
        turn.commit(vec![write], move || drop(world.write().signed_previews.remove(&token))).wait().await
    }

    /// What was kept by [`ControlPlane::keep_preview_port`].
    pub fn preview_ports(&self) -> Vec<PreviewPort> {
        self.world.read().preview_ports.values().cloned().collect()
    }

    /// Remembers a port, so that it can be the same after a restart.
    pub async fn keep_preview_port(&self, port: &PreviewPort) -> Result<(), ModelError> {
        let record = serde_json::to_string(port).expect("a port is JSON");
        let (key, organization) = (port.listener.to_string(), String::new());
        let write = Write::Put { kind: Kind::PreviewPort, key, organization, record };
        let (world, port) = (self.world.clone(), port.clone());
        let apply = move || drop(world.write().preview_ports.insert(port.listener, port));
        self.store.turn().await.commit(vec![write], apply).wait().await
    }

    /// Forgets ports that are closed.
    pub async fn forget_preview_ports(&self, listeners: Vec<u16>) {
        if listeners.is_empty() {
            return;
        }
        let delete = |listener: &u16| Write::Delete { kind: Kind::PreviewPort, key: listener.to_string() };
        let writes = listeners.iter().map(delete).collect();
        let turn = self.store.turn().await;
        self.world.write().preview_ports.retain(|listener, _| !listeners.contains(listener));
        turn.note(writes);
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
