//! Secrets of an organisation, and which sandboxes have them. Inside is nothing but a placeholder, which the sandbox's
//! gateway swaps for the value on the way out (`runtime/net/secrets.rs`); the value never leaves the server in an answer.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, LazyLock},
    time::Duration,
};

use chrono::{DateTime, Utc};
use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    ControlPlane,
    error::ModelError,
    lifecycle::apart,
    list,
    rules::Phase,
    sandbox::{DesiredState, Sandbox, State},
    store::{Kind, Write},
    tokens,
    world::put as put_sandbox,
};
use crate::runtime::net::OutboundSecret;

/// `Organization.secretQuota`.
pub const QUOTA: usize = 100;
/// `Organization.maxSecretsPerSandbox`.
pub const MAX_PER_SANDBOX: usize = 20;
/// Every placeholder begins like this (contract, example of `Secret.placeholder`).
pub const PLACEHOLDER: &str = "dtn_secret_";
/// The toolbox of a running sandbox has so long to take its new variables.
const PATIENCE: Duration = Duration::from_secs(5);

/// A secret as the store keeps it. Deliberately without `Debug`: the value is in no log.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Secret {
    pub id: String,
    pub organization_id: String,
    pub name: String,
    pub value: String,
    pub description: Option<String>,
    /// Where the value may go: host names in lower case, possibly with `*.` in front. Empty: anywhere.
    pub hosts: Vec<String>,
    pub placeholder: String,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// What a client gives; `None` leaves it as it is.
#[derive(Clone, Default)]
pub struct SecretChange {
    pub value: Option<String>,
    pub description: Option<String>,
    pub hosts: Option<Vec<String>>,
}

/// A sandbox's variable whose value is a secret's placeholder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    pub variable: String,
    pub secret_id: String,
}

/// What lists of secrets are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretOrder {
    Name,
    Created,
    Updated,
}

/// A page of secrets.
pub struct SecretPage {
    pub items: Vec<Arc<Secret>>,
    /// On all pages.
    pub total: usize,
    /// There is another page behind it.
    pub next: Option<String>,
}

static NAME: LazyLock<Regex> = LazyLock::new(|| Regex::new("^[a-zA-Z_][a-zA-Z0-9_-]*$").expect("a valid pattern"));
static VARIABLE: LazyLock<Regex> = LazyLock::new(|| Regex::new("^[a-zA-Z_][a-zA-Z0-9_]*$").expect("a valid pattern"));
static HOST: LazyLock<Regex> = LazyLock::new(|| {
    let label = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?";
    Regex::new(&format!(r"(?i)^(?:\*\.)?{label}(?:\.{label})*$")).expect("a valid pattern")
});

/// Letters, digits, `_` and `-`, no digit or `-` first (SDKs' documentation).
pub fn is_name(name: &str) -> bool {
    name.len() <= 255 && NAME.is_match(name)
}

/// Names of variables that can hold a placeholder.
pub(super) fn is_variable(name: &str) -> bool {
    name.len() <= 255 && VARIABLE.is_match(name)
}

/// A host name or `*.` and one; no scheme, port or path.
pub fn is_host(host: &str) -> bool {
    host.len() <= 253 && HOST.is_match(host)
}

fn put(secret: &Secret) -> Write {
    Write::Put {
        kind: Kind::Secret,
        key: secret.id.clone(),
        organization: secret.organization_id.clone(),
        record: serde_json::to_string(secret).expect("a secret is JSON"),
    }
}

fn no_secret(id: &str) -> ModelError {
    ModelError::not_found(format!("Secret with ID {id} not found"))
}

fn placeholder() -> String {
    format!("{PLACEHOLDER}{}", tokens::hex(&rand::random::<[u8; 16]>()))
}

impl Secret {
    /// As a gateway knows it.
    pub fn outbound(&self) -> OutboundSecret {
        OutboundSecret { placeholder: self.placeholder.clone(), value: self.value.clone(), hosts: self.hosts.clone() }
    }
}

impl SecretOrder {
    /// Sorts alike as text and as what it is.
    fn key(self, secret: &Secret) -> String {
        let time = |at: DateTime<Utc>| format!("{:016}", at.timestamp_micros().max(0));
        match self {
            SecretOrder::Name => secret.name.clone(),
            SecretOrder::Created => time(secret.created_at),
            SecretOrder::Updated => time(secret.updated_at),
        }
    }
}

impl ControlPlane {
    /// Newest first.
    pub fn secrets(&self, organization_id: &str) -> Vec<Arc<Secret>> {
        let world = self.world.read();
        let own = world.secrets.values().filter(|secret| secret.organization_id == organization_id);
        let mut own: Vec<_> = own.cloned().collect();
        own.sort_by(|a, b| (b.created_at, &b.id).cmp(&(a.created_at, &a.id)));
        own
    }

    /// Those whose name contains `name`, whatever the case, behind `cursor` (empty: from the first). 400 for a cursor that
    /// this server didn't make.
    pub fn list_secrets(
        &self,
        organization_id: &str,
        name: &str,
        (order, descending): (SecretOrder, bool),
        cursor: &str,
        limit: usize,
    ) -> Result<SecretPage, ModelError> {
        let name = name.to_lowercase();
        let found = self.secrets(organization_id).into_iter().filter(|one| one.name.to_lowercase().contains(&name));
        let mut found: Vec<_> = found.map(|secret| ((order.key(&secret), secret.id.clone()), secret)).collect();
        let total = found.len();
        found.sort_by(|(a, _), (b, _)| if descending { b.cmp(a) } else { a.cmp(b) });
        if !cursor.is_empty() {
            let invalid = || ModelError::bad_request(format!("Invalid cursor provided: {cursor}"));
            let after = list::open_cursor(cursor).ok_or_else(invalid)?;
            found.retain(|(key, _)| if descending { *key < after } else { *key > after });
        }
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|((key, id), _)| list::close_cursor(key, id));
        Ok(SecretPage { items: found.into_iter().map(|(_, secret)| secret).collect(), total, next })
    }

    pub fn secret(&self, organization_id: &str, id: &str) -> Result<Arc<Secret>, ModelError> {
        let found = self.world.read().secrets.get(id).cloned();
        found.filter(|secret| secret.organization_id == organization_id).ok_or_else(|| no_secret(id))
    }

    /// 409 if an organisation has one of this name.
    pub async fn add_secret(
        &self,
        organization_id: &str,
        name: String,
        new: SecretChange,
    ) -> Result<Arc<Secret>, ModelError> {
        let turn = self.store.turn().await;
        let others = self.secrets(organization_id);
        if others.iter().any(|other| other.name == name) {
            return Err(ModelError::conflict(format!("Secret with name {name} already exists")));
        }
        if others.len() >= QUOTA {
            return Err(ModelError::bad_request(format!("Secret quota exceeded. Maximum allowed: {QUOTA}")));
        }
        let now = self.clock().now();
        let secret = Arc::new(Secret {
            id: tokens::uuid(),
            organization_id: organization_id.to_owned(),
            name,
            value: new.value.unwrap_or_default(),
            description: new.description,
            hosts: new.hosts.unwrap_or_default(),
            placeholder: placeholder(),
            created_at: now,
            updated_at: now,
        });
        let (world, added) = (self.world.clone(), secret.clone());
        let apply = move || world.write().place_secret(added);
        turn.commit(vec![put(&secret)], apply).wait().await?;
        Ok(secret)
    }

    /// Sandboxes that have it notice nothing, as the placeholder stays; the next request out has the new value.
    pub async fn change_secret(
        &self,
        organization_id: &str,
        id: &str,
        new: SecretChange,
    ) -> Result<Arc<Secret>, ModelError> {
        let turn = self.store.turn().await;
        let old = self.secret(organization_id, id)?;
        let secret = Arc::new(Secret {
            value: new.value.unwrap_or_else(|| old.value.clone()),
            description: new.description.or_else(|| old.description.clone()),
            hosts: new.hosts.unwrap_or_else(|| old.hosts.clone()),
            updated_at: self.clock().now(),
            ..Secret::clone(&old)
        });
        let (world, changed) = (self.world.clone(), secret.clone());
        let apply = move || world.write().place_secret(changed);
        turn.commit(vec![put(&secret)], apply).wait().await?;
        Ok(secret)
    }

    /// Forgets a secret, and detaches it from the sandboxes that have it, in one step.
    pub async fn remove_secret(self: &Arc<Self>, organization_id: &str, id: &str) -> Result<(), ModelError> {
        let (cp, owner, id) = (self.clone(), organization_id.to_owned(), id.to_owned());
        apart(async move { cp.remove_own_secret(&owner, &id).await }).await
    }

    async fn remove_own_secret(self: &Arc<Self>, organization_id: &str, id: &str) -> Result<(), ModelError> {
        let turn = self.store.turn().await;
        self.secret(organization_id, id)?;
        let mut users = self.users_of_secret(id);
        for user in &mut users {
            user.secrets.retain(|one| one.secret_id != id);
        }
        let delete = Write::Delete { kind: Kind::Secret, key: id.to_owned() };
        let writes = users.iter().map(put_sandbox).chain([delete]).collect();
        let ids: Vec<String> = users.iter().map(|user| user.id.clone()).collect();
        let (world, gone, detached) = (self.world.clone(), id.to_owned(), ids.clone());
        let apply = move || {
            let mut world = world.write();
            world.secrets.remove(&gone);
            detached.iter().for_each(|id| world.detach(id, &gone));
        };
        turn.commit(writes, apply).wait().await?;
        for id in ids {
            tokio::spawn(self.clone().tell_secrets(id));
        }
        Ok(())
    }

    fn users_of_secret(&self, id: &str) -> Vec<Sandbox> {
        let world = self.world.read();
        let records = world.sandboxes.values().map(|entry| &entry.record);
        let users = records.filter(|record| record.secrets.iter().any(|one| one.secret_id == id));
        users.map(|record| Sandbox::clone(record)).collect()
    }

    /// Forgets an organisation's secrets, once it has no sandboxes.
    pub(super) async fn forget_secrets(self: &Arc<Self>, organization_id: &str) -> Result<(), ModelError> {
        for secret in self.secrets(organization_id) {
            match self.remove_secret(organization_id, &secret.id).await {
                Err(error) if error.kind != super::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// What pairs of variable and secret's name mean. 400 for a bad variable, one twice, or too many; 404 for a secret that
    /// there isn't.
    pub fn attachments(
        &self,
        organization_id: &str,
        pairs: &[(String, String)],
    ) -> Result<Vec<Attachment>, ModelError> {
        if pairs.len() > MAX_PER_SANDBOX {
            let text = format!("Too many secrets for one sandbox. Maximum allowed: {MAX_PER_SANDBOX}");
            return Err(ModelError::bad_request(text));
        }
        let (own, mut seen) = (self.secrets(organization_id), HashSet::new());
        let attach = |(variable, name): &(String, String)| {
            if !is_variable(variable) {
                return Err(ModelError::bad_request(format!("Invalid environment variable name: {variable}")));
            }
            if !seen.insert(variable.clone()) {
                return Err(ModelError::bad_request(format!("Duplicate environment variable: {variable}")));
            }
            let found = own.iter().find(|secret| secret.name == *name);
            let found = found.ok_or_else(|| ModelError::not_found(format!("Secret '{name}' not found")))?;
            Ok(Attachment { variable: variable.clone(), secret_id: found.id.clone() })
        };
        pairs.iter().map(attach).collect()
    }

    /// Gives a sandbox these secrets instead of those that it has. One that runs has the variables when this is answered.
    pub async fn set_secrets(
        self: &Arc<Self>,
        sandbox: &Sandbox,
        pairs: &[(String, String)],
    ) -> Result<Arc<Sandbox>, ModelError> {
        let (cp, id, pairs) = (self.clone(), sandbox.id.clone(), pairs.to_vec());
        // So that a client that goes away doesn't leave the variables behind.
        apart(async move {
            let set = |sandbox: &mut Sandbox| {
                // First: what is asked for may be nonsense whatever becomes of the sandbox.
                let attachments = cp.attachments(&sandbox.organization_id, &pairs)?;
                if sandbox.desired_state == DesiredState::Destroyed {
                    return Err(ModelError::no_sandbox(&sandbox.id));
                }
                sandbox.secrets = attachments;
                Ok(())
            };
            let changed = cp.change(&id, set).await?;
            let told = tokio::spawn(cp.clone().tell_secrets(id));
            if changed.phase() == (Phase { actual: State::Started, desired: DesiredState::Started }) {
                _ = told.await;
            }
            Ok(changed)
        })
        .await
    }

    /// Variable → placeholder.
    pub(super) fn placeholders(&self, sandbox: &Sandbox) -> BTreeMap<String, String> {
        let world = self.world.read();
        let find =
            |one: &Attachment| Some((one.variable.clone(), world.secrets.get(&one.secret_id)?.placeholder.clone()));
        sandbox.secrets.iter().filter_map(find).collect()
    }

    /// Tells a running sandbox its variables, in its turn: a launch that was under way had the old ones.
    async fn tell_secrets(self: Arc<Self>, id: String) {
        let Some(turn) = self.turn(&id) else { return };
        let _turn = turn.lock().await;
        self.tell_secrets_now(&id).await;
    }

    /// The same, for who has the turn. One that stands still hears it when it goes on.
    pub(super) async fn tell_secrets_now(&self, id: &str) {
        let found = self.world.read().sandboxes.get(id).map(|entry| (entry.record.clone(), entry.running.clone()));
        let Some((record, Some(machine))) = found else { return };
        if !matches!(record.actual_state, State::Started | State::Resuming) {
            return;
        }
        // What a placeholder covered comes back.
        let own = self.own_variables(&record);
        let mut set: BTreeMap<String, String> = own.into_iter().collect();
        set.extend(self.placeholders(&record));
        let body = json!({"set": set, "unsetValuePrefix": PLACEHOLDER});
        let told = tokio::time::timeout(PATIENCE, machine.post_json("/env", &body)).await;
        if let Err(error) = told.map_err(std::io::Error::other).flatten() {
            tracing::warn!(sandbox = id, %error, "the variables of its secrets could not be changed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_hosts() {
        for (name, fine) in [("A", true), ("_a-1", true), ("1a", false), ("-a", false), ("a b", false), ("", false)] {
            assert_eq!(is_name(name), fine, "{name}");
        }
        for (host, fine) in [
            ("api.example.com", true),
            ("*.example.com", true),
            ("LOCALHOST", true),
            ("a.example:443", false),
            ("https://a.example", false),
            ("*", false),
            ("a.*.example", false),
            ("a b", false),
            ("", false),
        ] {
            assert_eq!(is_host(host), fine, "{host}");
        }
    }

    #[test]
    fn placeholders_differ() {
        assert!(placeholder().starts_with(PLACEHOLDER));
        assert_ne!(placeholder(), placeholder());
    }
}
