//! SSH access: tokens that open a sandbox to SSH clients for a while, one at a time for each sandbox.

use chrono::{DateTime, Duration, Utc};
use serde::{Deserialize, Serialize};

use super::{
    ControlPlane,
    error::ModelError,
    sandbox::Sandbox,
    store::{Kind, Write},
    tokens::{self, hash},
};

/// A hundred years.
const MAX_MINUTES: f64 = 52_560_000.0;

/// An access as the store keeps it, without its token.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SshAccess {
    pub id: String,
    pub token_hash: String,
    pub sandbox_id: String,
    pub created_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

impl SshAccess {
    fn delete(&self) -> Write {
        Write::Delete { kind: Kind::SshAccess, key: self.token_hash.clone() }
    }
}

impl ControlPlane {
    /// A new access for `minutes`, with its token; those before it end (observed). Fractions are fine (observed).
    pub async fn create_ssh_access(&self, sandbox: &Sandbox, minutes: f64) -> Result<(SshAccess, String), ModelError> {
        if minutes.is_nan() || minutes <= 0.0 {
            return Err(ModelError::bad_request("expiresInMinutes must be a positive number"));
        }
        if minutes > MAX_MINUTES {
            return Err(ModelError::bad_request(format!("expiresInMinutes must not be greater than {MAX_MINUTES}")));
        }
        let (token, created_at) = (tokens::ssh_token(), self.clock().now());
        let access = SshAccess {
            id: tokens::uuid(),
            token_hash: hash(&token),
            sandbox_id: sandbox.id.clone(),
            created_at,
            expires_at: created_at + Duration::milliseconds((minutes * 60_000.0) as i64),
        };
        let record = serde_json::to_string(&access).expect("an access is JSON");
        let (key, organization) = (access.token_hash.clone(), sandbox.organization_id.clone());
        let turn = self.store.turn().await;
        self.must_be_there(&sandbox.id)?;
        let old = self.ssh_accesses(&sandbox.id);
        let mut writes: Vec<Write> = old.iter().map(SshAccess::delete).collect();
        writes.push(Write::Put { kind: Kind::SshAccess, key, organization, record });
        let (world, new) = (self.world.clone(), access.clone());
        let apply = move || {
            let mut world = world.write();
            old.iter().for_each(|old| drop(world.ssh_accesses.remove(&old.token_hash)));
            world.ssh_accesses.insert(new.token_hash.clone(), new);
        };
        turn.commit(writes, apply).wait().await?;
        Ok((access, token))
    }

    /// Ends the access with this token, or all of the sandbox. Unknown ones are fine (observed). Connections that are
    /// open stay so.
    pub async fn revoke_ssh_access(&self, sandbox: &Sandbox, token: Option<&str>) -> Result<(), ModelError> {
        let turn = self.store.turn().await;
        let mut gone = self.ssh_accesses(&sandbox.id);
        if let Some(token) = token {
            gone.retain(|access| access.token_hash == hash(token));
        }
        if gone.is_empty() {
            return Ok(());
        }
        let writes = gone.iter().map(SshAccess::delete).collect();
        let world = self.world.clone();
        let apply = move || {
            let mut world = world.write();
            gone.iter().for_each(|gone| drop(world.ssh_accesses.remove(&gone.token_hash)));
        };
        turn.commit(writes, apply).wait().await
    }

    /// The sandbox that a token opens, until it expires.
    pub fn ssh_access(&self, token: &str) -> Option<String> {
        let world = self.world.read();
        let access = world.ssh_accesses.get(&hash(token))?;
        (access.expires_at > self.clock().now()).then(|| access.sandbox_id.clone())
    }

    fn ssh_accesses(&self, sandbox_id: &str) -> Vec<SshAccess> {
        let world = self.world.read();
        world.ssh_accesses.values().filter(|access| access.sandbox_id == sandbox_id).cloned().collect()
    }
}
