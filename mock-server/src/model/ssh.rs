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

/// The last moment that every client can read (Python's dates end here).
const END: DateTime<Utc> = DateTime::from_timestamp(253_402_300_799, 0).expect("a time");

/// When an access for so many minutes from `now` on ends: between the beginning of time and its end.
fn end(now: DateTime<Utc>, minutes: f64) -> DateTime<Utc> {
    let span = Duration::try_milliseconds((minutes * 60_000.0) as i64);
    let at = span.and_then(|span| now.checked_add_signed(span));
    let beyond = if minutes > 0.0 { END } else { DateTime::UNIX_EPOCH };
    at.unwrap_or(beyond).clamp(DateTime::UNIX_EPOCH, END)
}

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
    /// A new access for `minutes`, with its token; those before it end (observed). Any number is fine: of 0 and less it
    /// is over at once (observed).
    pub async fn create_ssh_access(&self, sandbox: &Sandbox, minutes: f64) -> Result<(SshAccess, String), ModelError> {
        let (token, created_at) = (tokens::ssh_token(), self.clock().now());
        let access = SshAccess {
            id: tokens::uuid(),
            token_hash: hash(&token),
            sandbox_id: sandbox.id.clone(),
            created_at,
            expires_at: end(created_at, minutes),
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ends_are_times_that_clients_can_read(minutes in any::<f64>(), now in 0_i64..253_402_300_799) {
            let now = DateTime::from_timestamp(now, 0).expect("a time");
            let end = end(now, minutes);
            prop_assert!((DateTime::UNIX_EPOCH..=END).contains(&end));
            let in_order = if minutes > 0.0 { end >= now } else { end <= now };
            prop_assert!(in_order || minutes.is_nan());
        }
    }

    #[test]
    fn minutes_are_minutes() {
        let now = DateTime::from_timestamp(1_000_000, 0).expect("a time");
        let seconds = |minutes: f64| (end(now, minutes) - now).num_seconds();
        assert_eq!((seconds(1.5), seconds(0.0), seconds(-1.0)), (90, 0, -60));
        assert_eq!(seconds(999_999_999.0), 59_999_999_940);
        assert_eq!((end(now, f64::MAX), end(now, -f64::MAX)), (END, DateTime::UNIX_EPOCH));
    }
}
