//! API keys. Only their SHA-256 is kept; a key belongs to one organisation and acts as its owner.

use std::{collections::HashMap, sync::Arc};

use chrono::{DateTime, Utc};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use super::{
    ControlPlane, Identity,
    error::{ErrorKind, ModelError},
    organization::{Organization, User},
    store::{Kind, Write},
    tokens,
};

/// Every permission of the contract, in its order.
pub const PERMISSIONS: [&str; 21] = [
    "write:registries",
    "delete:registries",
    "write:snapshots",
    "delete:snapshots",
    "write:sandboxes",
    "delete:sandboxes",
    "read:volumes",
    "write:volumes",
    "delete:volumes",
    "write:regions",
    "delete:regions",
    "read:runners",
    "write:runners",
    "delete:runners",
    "read:audit_logs",
    "manage:api_keys",
    "manage:secrets",
    "read:limits",
    "manage:sso",
    "read:billing",
    "manage:billing",
];

/// `lastUsedAt` is written at most this often (observed).
const USE_EVERY: chrono::Duration = chrono::Duration::seconds(10);

/// A key as the store keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKey {
    /// SHA-256 of the key in hex.
    pub hash: String,
    /// First and last three characters with stars between, for listings.
    pub masked: String,
    pub organization_id: String,
    pub user_id: String,
    /// Unique among its user's in its organisation.
    pub name: String,
    pub permissions: Arc<[String]>,
    pub created_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    pub last_used_at: Option<DateTime<Utc>>,
    /// Came from `--api-key`: good only while it is given.
    pub given: bool,
}

/// The keys that are good, by hash.
#[derive(Default)]
pub struct Keys {
    by_hash: Arc<RwLock<HashMap<String, ApiKey>>>,
}

impl Keys {
    pub fn load(&self, keys: impl IntoIterator<Item = ApiKey>) {
        self.by_hash.write().extend(keys.into_iter().map(|key| (key.hash.clone(), key)));
    }

    /// What becomes of an organisation's keys when its members or roles have changed: they lose what their users may no
    /// longer, and go with their users.
    pub fn prune(&self, next: &Organization) -> (Vec<Write>, Box<dyn FnOnce() + Send>) {
        let (mut writes, mut changed, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        for mut key in self.of(&next.id) {
            let allowed = next.permissions_of(&key.user_id).filter(|_| !next.deleted);
            let Some(allowed) = allowed else {
                writes.push(Write::Delete { kind: Kind::ApiKey, key: key.hash.clone() });
                gone.push(key.hash);
                continue;
            };
            if key.permissions.iter().any(|own| !allowed.contains(own)) {
                key.permissions = key.permissions.iter().filter(|own| allowed.contains(own)).cloned().collect();
                writes.push(put(&key));
                changed.push(key);
            }
        }
        let by_hash = self.by_hash.clone();
        let apply = move || {
            let mut keys = by_hash.write();
            gone.iter().for_each(|hash| drop(keys.remove(hash)));
            keys.extend(changed.into_iter().map(|key| (key.hash.clone(), key)));
        };
        (writes, Box::new(apply))
    }

    /// Keys of an organisation are good no more.
    pub fn forget_organization(&self, organization_id: &str) {
        self.by_hash.write().retain(|_, key| key.organization_id != organization_id);
    }

    fn of(&self, organization_id: &str) -> Vec<ApiKey> {
        let mut keys: Vec<ApiKey> =
            self.by_hash.read().values().filter(|key| key.organization_id == organization_id).cloned().collect();
        keys.sort_by(|a, b| (b.created_at, &a.name).cmp(&(a.created_at, &b.name)));
        keys
    }
}

/// A key from nowhere, and whose it is.
pub struct Minted {
    pub value: String,
    pub organization_id: String,
    pub user: User,
}

/// What a new key is asked to be.
pub struct NewKey {
    pub name: String,
    pub permissions: Vec<String>,
    pub expires_at: Option<DateTime<Utc>>,
}

fn mask(key: &str) -> String {
    let chars: Vec<char> = key.chars().collect();
    let (head, tail) = (&chars[..chars.len().min(3)], &chars[chars.len().saturating_sub(3)..]);
    format!("{}{}{}", head.iter().collect::<String>(), "*".repeat(20), tail.iter().collect::<String>())
}

/// 403 for permissions that aren't among those that may be given.
fn check_beyond(wanted: &[String], allowed: &[String]) -> Result<(), ModelError> {
    let beyond: Vec<&str> = wanted.iter().filter(|one| !allowed.contains(one)).map(String::as_str).collect();
    if beyond.is_empty() {
        return Ok(());
    }
    let text = format!("Insufficient permissions for assigning: {}", beyond.join(", "));
    Err(ModelError::new(ErrorKind::Forbidden, text))
}

fn strangers(organization_id: &str, user_id: &str) -> ModelError {
    let text = format!("User with ID {user_id} is not in organization with ID {organization_id}");
    ModelError::new(ErrorKind::Forbidden, text)
}

fn put(key: &ApiKey) -> Write {
    let record = serde_json::to_string(key).expect("a key is JSON");
    Write::Put { kind: Kind::ApiKey, key: key.hash.clone(), organization: key.organization_id.clone(), record }
}

impl ControlPlane {
    /// Who an API key belongs to; `None` for unknown and expired ones, and for none at all. Only hashes are compared and kept.
    pub fn authenticate(&self, token: &str) -> Option<Identity> {
        if token.is_empty() {
            return None;
        }
        let hash = tokens::hash(token);
        let now = self.clock().now();
        let keys = self.keys.by_hash.read();
        let key = keys.get(&hash).filter(|key| key.expires_at.is_none_or(|at| at > now))?;
        let identity = Identity {
            organization_id: key.organization_id.clone(),
            user_id: key.user_id.clone(),
            key_name: key.name.clone(),
            permissions: key.permissions.clone(),
        };
        let stale = key.last_used_at.is_none_or(|at| now - at >= USE_EVERY);
        drop(keys);
        if stale {
            self.note_use(&hash, now);
        }
        Some(identity)
    }

    fn note_use(&self, hash: &str, now: DateTime<Utc>) {
        let turn = self.store.try_turn();
        if let Some(key) = self.keys.by_hash.write().get_mut(hash) {
            key.last_used_at = Some(now);
            if let Some(turn) = turn {
                turn.note(vec![put(key)]);
            }
        }
    }

    /// Keys of an organisation, newest first.
    pub fn api_keys(&self, organization_id: &str) -> Vec<ApiKey> {
        self.keys.of(organization_id)
    }

    /// Makes a key of a user for an organisation; answers it with its value, which nobody can read again. It may at most
    /// what is `allowed`.
    pub async fn create_key(
        &self,
        organization_id: &str,
        user_id: &str,
        allowed: &[String],
        new: NewKey,
    ) -> Result<(ApiKey, String), ModelError> {
        check_beyond(&new.permissions, allowed)?;
        let value = tokens::api_key();
        let key = self.describe(&value, organization_id, user_id, new);
        let turn = self.store.turn().await;
        // Its user may have become less, or a stranger, since the caller looked.
        let now = self.organization(organization_id).and_then(|own| own.permissions_of(user_id));
        check_beyond(&key.permissions, &now.ok_or_else(|| strangers(organization_id, user_id))?)?;
        let (others, most) = (self.keys.of(organization_id), self.config().limits.api_keys);
        if others.iter().any(|other| other.name == key.name && other.user_id == user_id) {
            return Err(ModelError::conflict("API key with this name already exists"));
        }
        if others.len() >= most {
            return Err(ModelError::bad_request(format!("API key quota exceeded. Maximum allowed: {most}")));
        }
        let (keys, made) = (self.keys.clone(), key.clone());
        turn.commit(vec![put(&key)], move || keys.load([made])).wait().await?;
        Ok((key, value))
    }

    fn describe(&self, value: &str, organization_id: &str, user_id: &str, new: NewKey) -> ApiKey {
        ApiKey {
            hash: tokens::hash(value),
            masked: mask(value),
            organization_id: organization_id.into(),
            user_id: user_id.into(),
            name: new.name,
            permissions: new.permissions.into(),
            created_at: self.clock().now(),
            expires_at: new.expires_at,
            last_used_at: None,
            given: false,
        }
    }

    /// Removes a user's key by name: it is refused from this moment on.
    pub async fn delete_key(&self, organization_id: &str, user_id: &str, name: &str) -> Result<(), ModelError> {
        let turn = self.store.turn().await;
        let mut own = self.keys.of(organization_id).into_iter();
        let found = own.find(|key| key.name == name && key.user_id == user_id);
        let hash = found.ok_or_else(|| ModelError::not_found("API key not found"))?.hash;
        let (keys, gone) = (self.keys.clone(), hash.clone());
        let write = Write::Delete { kind: Kind::ApiKey, key: hash };
        let commit = turn.commit(vec![write], move || drop(keys.by_hash.write().remove(&gone)));
        commit.wait().await
    }

    /// The organisation of who runs this server: the first key's, while there is one.
    pub fn operator(&self) -> Option<String> {
        let keys = self.keys.by_hash.read();
        keys.get(&tokens::hash(self.first_key())).map(|key| key.organization_id.clone())
    }

    /// Makes a user, with a personal organisation and a key that may do everything there.
    pub async fn mint(&self, name: Option<String>, email: Option<String>) -> Result<Minted, ModelError> {
        let value = tokens::api_key();
        // The journal shows it with each request.
        let key = name.clone().unwrap_or_else(|| "default".into());
        let user = User::new(self.clock().now(), name, email);
        let organization = self.admit(&value, &key, false, user.clone()).await?;
        Ok(Minted { value, organization_id: organization.id.clone(), user })
    }

    /// Makes a key of a member for an organisation, which may all that its user may there.
    pub async fn mint_there(&self, user: User, organization: &Organization) -> Result<Minted, ModelError> {
        let permissions = organization.permissions_of(&user.id).unwrap_or_default();
        let name = format!("minted-{}", &tokens::uuid()[..8]);
        let new = NewKey { name, permissions: permissions.clone(), expires_at: None };
        let (_, value) = self.create_key(&organization.id, &user.id, &permissions, new).await?;
        Ok(Minted { value, organization_id: organization.id.clone(), user })
    }

    /// Makes a key value good, with a user and an organisation of its own.
    pub(super) async fn admit(
        &self,
        value: &str,
        name: &str,
        given: bool,
        user: User,
    ) -> Result<Arc<Organization>, ModelError> {
        let organization = Arc::new(Organization::personal(user.clone()));
        let permissions = PERMISSIONS.map(String::from).to_vec();
        let new = NewKey { name: name.into(), permissions, expires_at: None };
        let mut key = self.describe(value, &organization.id, &user.id, new);
        key.given = given;
        let turn = self.store.turn().await;
        self.check_room()?;
        if self.user_with_email(&user.email).is_some() {
            return Err(ModelError::conflict(format!("There is a user with the email {} already", user.email)));
        }
        let writes = vec![organization.put(), put(&key)];
        let (world, keys, made) = (self.world.clone(), self.keys.clone(), organization.clone());
        let apply = move || {
            world.write().add_organization(made);
            keys.load([key]);
        };
        turn.commit(writes, apply).wait().await?;
        Ok(organization)
    }

    pub(super) fn knows_key(&self, value: &str) -> bool {
        self.keys.by_hash.read().contains_key(&tokens::hash(value))
    }
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn masks() {
        assert_eq!(mask("dtn_0123456789"), "dtn********************789");
        assert_eq!(mask("ab"), "ab********************ab");
    }
}
