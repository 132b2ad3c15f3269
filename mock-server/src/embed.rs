//! The test controls as methods of [`MockServer`], for Rust tests that embed it: what `/__control` offers over HTTP.

use std::{path::Path, sync::Arc, time::Duration};

use serde_json::{Map, Value};

use crate::{
    MockServer,
    control::{organization, webhooks},
    faults::{Fault, Rule},
    journal::{Filter, Kept, Scope, har},
    model::{Clock, Identity, ModelError, Strict},
    seed::Seed,
};

/// Why a control did nothing.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("this API key is none of this server's")]
    UnknownKey,
    #[error("{0}")]
    Invalid(String),
    #[error("what was waited for did not come")]
    TooLate,
    #[error("{0}")]
    Model(#[from] ModelError),
}

/// A key with a world of its own.
#[derive(Clone, Debug)]
pub struct MintedKey {
    pub organization_id: String,
    /// The key itself, which nobody can read again.
    pub api_key: String,
}

/// A world as its key sees it, for tests.
///
/// ```no_run
/// # async fn test() -> Result<(), Box<dyn std::error::Error>> {
/// use daytona_mock::{MockServer, config::Config};
/// use serde_json::json;
///
/// let server = MockServer::start(Config::default()).await?;
/// let key = server.mint().await?;
/// let world = server.world(&key.api_key)?;
/// // The first create is carried out and then answered 502, as after a proxy's time-out.
/// world.fault(json!({
///     "match": {"operation": "createSandbox"}, "nth": 1, "effect": {"type": "commitThenFail"},
/// })).await?;
/// // … the application under test runs here, with server.api_url and key.api_key …
/// let creates = world.journal(&[("operation", "createSandbox")]).await?;
/// assert_eq!(creates.len(), 1, "it must look before it creates again");
/// world.reset().await?;
/// server.shutdown().await;
/// # Ok(())
/// # }
/// ```
pub struct World<'a> {
    server: &'a MockServer,
    identity: Identity,
}

impl MockServer {
    /// A key with a world of its own.
    pub async fn mint(&self) -> Result<MintedKey, ControlError> {
        self.mint_with(None, Strict::Default).await
    }

    /// The same with an end of its own, and a strictness.
    pub async fn mint_with(&self, life: Option<Duration>, strict: Strict) -> Result<MintedKey, ControlError> {
        let minted = self.cp.mint(None, None).await?;
        self.cp.set_terms(&minted.organization_id, life, strict).await?;
        Ok(MintedKey { organization_id: minted.organization_id, api_key: minted.value })
    }

    /// The world that a key opens.
    pub fn world(&self, api_key: &str) -> Result<World<'_>, ControlError> {
        let identity = self.cp.authenticate(api_key).ok_or(ControlError::UnknownKey)?;
        Ok(World { server: self, identity })
    }

    /// The clock that everything here waits by: freeze it, then [`MockServer::advance`].
    pub fn clock(&self) -> &Clock {
        self.cp.clock()
    }

    /// Moves time forward; what is due then has begun when this returns.
    pub async fn advance(&self, by: Duration) {
        self.cp.clock().advance(by);
        self.cp.do_what_is_due().await;
    }
}

impl World<'_> {
    fn scope(&self) -> Scope {
        Scope::World(self.identity.organization_id.clone())
    }

    /// The entries that fit the filters (`[("status", "4xx")]`, [`crate::journal::filter`]), as the JSON of
    /// [`crate::journal::entry`], in the order in which the exchanges began.
    pub async fn journal(&self, filters: &[(&str, &str)]) -> Result<Vec<Value>, ControlError> {
        Ok(values(&self.entries(filters).await?))
    }

    async fn entries(&self, filters: &[(&str, &str)]) -> Result<Vec<Arc<Kept>>, ControlError> {
        let filter = filter(filters)?;
        let mut view = self.server.journal.read(&self.scope()).await.ok_or(ControlError::TooLate)?;
        view.entries.retain(|entry| filter.matches(entry));
        Ok(view.entries)
    }

    /// Waits until so many entries fit, for at most `patience` of real time.
    pub async fn until(
        &self,
        filters: &[(&str, &str)],
        count: usize,
        patience: Duration,
    ) -> Result<Vec<Value>, ControlError> {
        let waited = self.server.journal.until(&self.scope(), &filter(filters)?, count, patience).await;
        waited.map(|view| values(&view.entries)).map_err(|_| ControlError::TooLate)
    }

    /// The same as an archive for browsers' developer tools (HAR 1.2).
    pub async fn har(&self, filters: &[(&str, &str)]) -> Result<Value, ControlError> {
        Ok(har::archive(&self.entries(filters).await?))
    }

    /// Forgets what clients did so far, and nothing else.
    pub async fn clear_journal(&self) {
        self.server.journal.clear(&self.scope()).await;
    }

    /// Makes what a seed describes ([`crate::seed`]), or nothing; names and ids of what was made.
    pub async fn seed(&self, seed: Value) -> Result<Value, ControlError> {
        let seed: Seed = serde_json::from_value(seed).map_err(|error| ControlError::Invalid(error.to_string()))?;
        seed.sow(&self.server.cp, &self.identity).await.map_err(|error| ControlError::Invalid(error.to_string()))
    }

    /// The organisation and its quota, after what operators of the real product do to it: some of
    /// `suspended: {reason, until} | false`, `limitedNetworkEgress`, `quota: {cpu, memory, …} | null`; all or nothing.
    pub async fn organization(&self, changes: Value) -> Result<Value, ControlError> {
        let id = &self.identity.organization_id;
        let organization = self.server.cp.organization(id).ok_or(ControlError::UnknownKey)?;
        let changed = organization::change(&self.server.cp, organization, &object(changes)?).await;
        changed.map_err(|error| ControlError::Invalid(error.message))
    }

    /// Adds a webhook `{url, eventTypes, secret}`; what was made, with its secret.
    pub async fn webhook(&self, new: Value) -> Result<Value, ControlError> {
        let made = webhooks::new_endpoint(&self.server.cp, &self.identity.organization_id, &object(new)?).await;
        made.map_err(|error| ControlError::Invalid(error.message))
    }

    /// `{endpoints, eventTypes}`.
    pub fn webhooks(&self) -> Value {
        webhooks::endpoints(&self.server.cp, &self.identity.organization_id)
    }

    /// What a webhook was told, newest first: `{items: [{eventType, payload, state, attempts, …}]}`.
    pub fn deliveries(&self, webhook: &str) -> Result<Value, ControlError> {
        let told = webhooks::told(&self.server.cp, &self.identity.organization_id, webhook);
        told.map_err(|error| ControlError::Invalid(error.message))
    }

    /// Adds a fault by its JSON; its id. What dies at once is dead when this returns.
    pub async fn fault(&self, rule: Value) -> Result<String, ControlError> {
        let rule: Rule = serde_json::from_value(rule).map_err(|error| ControlError::Invalid(error.to_string()))?;
        let added = self.server.cp.add_fault(&self.identity.organization_id, rule).await;
        added.map(|fault| fault.id.clone()).map_err(ControlError::Invalid)
    }

    /// The faults of this world, oldest first.
    pub fn faults(&self) -> Vec<Arc<Fault>> {
        self.server.cp.faults().list(&self.identity.organization_id)
    }

    /// What a fault holds goes on, now and later. False if there is none of this id.
    pub fn release_fault(&self, id: &str) -> bool {
        let found = self.server.cp.faults().get(&self.identity.organization_id, id);
        found.inspect(|fault| fault.release()).is_some()
    }

    /// Takes all faults away.
    pub fn clear_faults(&self) {
        self.server.cp.faults().clear(&self.identity.organization_id);
    }

    /// Takes a fault away. False if there is none of this id.
    pub fn remove_fault(&self, id: &str) -> bool {
        self.server.cp.faults().remove(&self.identity.organization_id, id)
    }

    /// Writes all that is in this world to a new file: sandboxes with their files, snapshots, volumes, settings. Values of
    /// secrets only if `secrets` says so. Sandboxes stand still meanwhile.
    pub async fn save(&self, to: &Path, secrets: bool) -> Result<(), ControlError> {
        let mut from = self.server.cp.save_world(&self.identity.organization_id, secrets).await?;
        let to = to.to_owned();
        let copied = tokio::task::spawn_blocking(move || {
            let mut file = std::fs::File::create_new(&to)?;
            std::io::copy(&mut from, &mut file)
        });
        let copied = copied.await.map_err(std::io::Error::other).flatten();
        copied.map(drop).map_err(|error| ControlError::Invalid(error.to_string()))
    }

    /// Makes what a file of [`World::save`] has in it this world's, which must be empty. `{sandboxes: [{id, name}], …,
    /// ids: {old: new}, notes}`; what ran runs again.
    pub async fn restore(&self, from: &Path) -> Result<Value, ControlError> {
        let file = std::fs::File::open(from).map_err(|error| ControlError::Invalid(error.to_string()))?;
        Ok(self.server.cp.restore_world(&self.identity, file).await?.value)
    }

    /// Destroys all that is in this world, and forgets its faults and its journal.
    pub async fn reset(&self) -> Result<(), ControlError> {
        self.server.cp.reset(&self.identity.organization_id).await?;
        self.server.journal.clear(&self.scope()).await;
        Ok(())
    }
}

fn object(value: Value) -> Result<Map<String, Value>, ControlError> {
    match value {
        Value::Object(fields) => Ok(fields),
        _ => Err(ControlError::Invalid("an object is needed".into())),
    }
}

fn filter(filters: &[(&str, &str)]) -> Result<Filter, ControlError> {
    let mut filter = Filter::default();
    filters.iter().try_for_each(|(name, value)| filter.set(name, value)).map_err(ControlError::Invalid)?;
    Ok(filter)
}

fn values(entries: &[Arc<Kept>]) -> Vec<Value> {
    entries.iter().filter_map(|entry| serde_json::from_str(&entry.json).ok()).collect()
}
