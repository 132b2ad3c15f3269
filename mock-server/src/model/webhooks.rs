//! Webhooks: where an organisation wants to be told what happens, and what became of telling it. [`crate::webhooks`] does
//! the telling.

use std::{collections::VecDeque, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{
    ControlPlane,
    error::ModelError,
    organization::Organization,
    store::{Kind, Write},
    tokens,
    world::World,
};

/// `WebhookEvent` of the contract.
pub const EVENTS: [&str; 7] = [
    "sandbox.created",
    "sandbox.state.updated",
    "snapshot.created",
    "snapshot.state.updated",
    "snapshot.removed",
    "volume.created",
    "volume.state.updated",
];

const PREFIX: &str = "whsec_";
const MAX_URL: usize = 2048;

/// A place to tell, as the store keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// `ep_…`
    pub id: String,
    /// `None`: the server was told to tell everything of everybody (`--webhook`).
    pub organization_id: Option<String>,
    pub url: String,
    /// Empty: all.
    pub events: Vec<String>,
    /// Signs what is sent: `whsec_` and base64.
    pub secret: String,
    pub created_at: DateTime<Utc>,
}

impl Endpoint {
    pub fn wants(&self, event: &str) -> bool {
        self.events.is_empty() || self.events.iter().any(|own| own == event)
    }

    /// The secret's bytes.
    pub fn key(&self) -> Vec<u8> {
        secret_bytes(&self.secret).unwrap_or_default()
    }
}

fn secret_bytes(secret: &str) -> Option<Vec<u8>> {
    let bytes = STANDARD.decode(secret.strip_prefix(PREFIX)?).ok()?;
    (16..=75).contains(&bytes.len()).then_some(bytes)
}

/// A secret nobody has yet.
pub fn new_secret() -> String {
    format!("{PREFIX}{}", STANDARD.encode(rand::random::<[u8; 24]>()))
}

/// An id that no endpoint has yet.
pub(super) fn new_id() -> String {
    format!("ep_{}", tokens::uuid().replace('-', ""))
}

/// What a new endpoint is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewEndpoint {
    pub url: String,
    pub events: Vec<String>,
    pub secret: Option<String>,
}

impl NewEndpoint {
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        let uri: Option<http::Uri> = self.url.parse().ok().filter(|_| self.url.len() <= MAX_URL);
        let fine = uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some());
        if !fine {
            return Err("url must be an http or https URL".into());
        }
        if let Some(unknown) = self.events.iter().find(|event| !EVENTS.contains(&event.as_str())) {
            return Err(format!("no event is called {unknown}: there are {}", EVENTS.join(", ")));
        }
        if self.secret.as_deref().is_some_and(|secret| secret_bytes(secret).is_none()) {
            return Err("secret must be whsec_ and 16 to 75 bytes in base64".into());
        }
        Ok(())
    }

    /// Of the whole server, the `nth` that it was told.
    pub fn of_server(self, nth: usize, secret: &str) -> Endpoint {
        Endpoint {
            id: format!("ep_server_{nth}"),
            organization_id: None,
            url: self.url,
            events: self.events,
            secret: secret.to_owned(),
            created_at: DateTime::UNIX_EPOCH,
        }
    }
}

/// `URL[,event…]`, as `--webhook` has it.
impl std::str::FromStr for NewEndpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<NewEndpoint, String> {
        let mut parts = text.split(',').map(|part| part.trim().to_owned());
        let endpoint = NewEndpoint { url: parts.next().unwrap_or_default(), events: parts.collect(), secret: None };
        endpoint.check().map(|()| endpoint)
    }
}

/// One attempt to tell.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    pub at: DateTime<Utc>,
    /// Of the answer, if there was one.
    pub status: Option<u16>,
    /// The beginning of the answer's body, or why there was none.
    pub answer: String,
    pub milliseconds: u64,
}

impl Attempt {
    pub fn succeeded(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

/// A message to an endpoint, and what became of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    pub id: String,
    pub endpoint_id: String,
    pub organization_id: String,
    /// `msg_…`: the same for each endpoint that is told, and each attempt.
    pub message_id: String,
    pub event: String,
    pub body: String,
    pub created_at: DateTime<Utc>,
    pub attempts: Vec<Attempt>,
    /// When the next attempt is due; `None`: it was told, or given up.
    pub next_at: Option<DateTime<Utc>>,
}

fn put<T: Serialize>(kind: Kind, key: &str, organization: Option<&str>, record: &T) -> Write {
    Write::Put {
        kind,
        key: key.to_owned(),
        organization: organization.unwrap_or_default().to_owned(),
        record: serde_json::to_string(record).expect("plain data is JSON"),
    }
}

fn no_endpoint(id: &str) -> ModelError {
    ModelError::not_found(format!("Webhook endpoint with ID {id} not found"))
}

impl World {
    /// Nothing was ever told of an organisation.
    pub fn forget_deliveries(&mut self, organization_id: &str) {
        self.deliveries.values_mut().for_each(|all| all.retain(|one| one.organization_id != organization_id));
        self.deliveries.retain(|_, all| !all.is_empty());
    }

    /// Puts a new or changed delivery in; answers those that made room for it.
    pub fn place_delivery(&mut self, next: Arc<Delivery>, most: usize) -> Vec<String> {
        let all: &mut VecDeque<_> = self.deliveries.entry(next.endpoint_id.clone()).or_default();
        match all.iter_mut().find(|delivery| delivery.id == next.id) {
            Some(old) => *old = next,
            None => all.push_back(next),
        }
        let beyond = all.len().saturating_sub(most);
        all.drain(..beyond).map(|delivery| delivery.id.clone()).collect()
    }
}

impl ControlPlane {
    /// Endpoints of an organisation, oldest first, after those of the whole server.
    pub fn webhooks(&self, organization_id: &str) -> Vec<Arc<Endpoint>> {
        let world = self.world.read();
        let own =
            world.webhooks.values().filter(|one| one.organization_id.as_deref().is_none_or(|id| id == organization_id));
        let mut all: Vec<_> = own.cloned().collect();
        all.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        all
    }

    /// An endpoint that an organisation sees.
    pub fn webhook(&self, organization_id: &str, id: &str) -> Result<Arc<Endpoint>, ModelError> {
        let all = self.webhooks(organization_id);
        all.into_iter().find(|endpoint| endpoint.id == id).ok_or_else(|| no_endpoint(id))
    }

    pub async fn add_webhook(&self, organization_id: &str, new: NewEndpoint) -> Result<Arc<Endpoint>, ModelError> {
        new.check().map_err(ModelError::bad_request)?;
        self.initialize_webhooks(organization_id).await?;
        let (now, most) = (self.clock().now(), self.config().limits.webhooks);
        let turn = self.store.turn().await;
        let own = self.webhooks(organization_id).iter().filter(|one| one.organization_id.is_some()).count();
        if own >= most {
            return Err(ModelError::bad_request(format!("Webhook endpoint quota exceeded. Maximum allowed: {most}")));
        }
        let endpoint = Arc::new(Endpoint {
            id: new_id(),
            organization_id: Some(organization_id.to_owned()),
            url: new.url,
            events: new.events,
            secret: new.secret.unwrap_or_else(new_secret),
            created_at: now,
        });
        let write = put(Kind::Webhook, &endpoint.id, Some(organization_id), &*endpoint);
        let (world, added) = (self.world.clone(), endpoint.clone());
        let apply = move || drop(world.write().webhooks.insert(added.id.clone(), added));
        turn.commit(vec![write], apply).wait().await?;
        Ok(endpoint)
    }

    /// Tells an endpoint nothing more, and forgets what it was told.
    pub async fn remove_webhook(&self, organization_id: &str, id: &str) -> Result<(), ModelError> {
        let turn = self.store.turn().await;
        let endpoint = self.webhook(organization_id, id)?;
        if endpoint.organization_id.is_none() {
            return Err(ModelError::bad_request("This endpoint is the server's (--webhook): it can't be removed"));
        }
        let told: Vec<String> = {
            let world = self.world.read();
            world.deliveries.get(id).into_iter().flatten().map(|delivery| delivery.id.clone()).collect()
        };
        let told = told.into_iter().map(|key| Write::Delete { kind: Kind::WebhookDelivery, key });
        let writes = told.chain([Write::Delete { kind: Kind::Webhook, key: id.to_owned() }]).collect();
        let (world, id) = (self.world.clone(), id.to_owned());
        let apply = move || {
            let mut world = world.write();
            world.webhooks.remove(&id);
            world.deliveries.remove(&id);
        };
        turn.commit(writes, apply).wait().await
    }

    /// Removes an organisation's own endpoints.
    pub(super) async fn reset_webhooks(&self, organization_id: &str) -> Result<(), ModelError> {
        for endpoint in self.webhooks(organization_id).iter().filter(|one| one.organization_id.is_some()) {
            self.remove_webhook(organization_id, &endpoint.id).await?;
        }
        // What the server's own endpoints were told of it.
        let turn = self.store.turn().await;
        let told: Vec<String> = {
            let world = self.world.read();
            let all = world.deliveries.values().flatten().filter(|one| one.organization_id == organization_id);
            all.map(|one| one.id.clone()).collect()
        };
        let writes = told.into_iter().map(|key| Write::Delete { kind: Kind::WebhookDelivery, key }).collect();
        let (world, id) = (self.world.clone(), organization_id.to_owned());
        let apply = move || world.write().forget_deliveries(&id);
        turn.commit(writes, apply).wait().await
    }

    /// The endpoints of the whole server, for as long as it runs.
    pub fn set_server_webhooks(&self, endpoints: Vec<Endpoint>) {
        let mut world = self.world.write();
        world.webhooks.extend(endpoints.into_iter().map(|one| (one.id.clone(), Arc::new(one))));
    }

    /// What an endpoint was told of an organisation, newest first.
    pub fn deliveries(&self, organization_id: &str, endpoint_id: &str) -> Vec<Arc<Delivery>> {
        let world = self.world.read();
        let all = world.deliveries.get(endpoint_id).into_iter().flatten().rev();
        all.filter(|delivery| delivery.organization_id == organization_id).cloned().collect()
    }

    /// All that is still to be told, oldest first.
    pub fn undelivered(&self) -> Vec<Arc<Delivery>> {
        let world = self.world.read();
        let all = world.deliveries.values().flatten().filter(|delivery| delivery.next_at.is_some());
        let mut all: Vec<_> = all.cloned().collect();
        all.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        all
    }

    /// Notes a new or changed delivery. Nobody waits: what the store refuses is told all the same.
    pub async fn note_delivery(&self, delivery: Arc<Delivery>) {
        let turn = self.store.turn().await;
        let gone = {
            let mut world = self.world.write();
            // Its endpoint may have gone meanwhile.
            if !world.webhooks.contains_key(&delivery.endpoint_id) {
                return;
            }
            world.place_delivery(delivery.clone(), self.config().limits.webhook_deliveries)
        };
        let gone = gone.into_iter().map(|key| Write::Delete { kind: Kind::WebhookDelivery, key });
        let organization = Some(delivery.organization_id.as_str());
        let own = put(Kind::WebhookDelivery, &delivery.id, organization, &*delivery);
        turn.note([own].into_iter().chain(gone).collect());
    }

    /// Makes an organisation one that can be told things; answers since when it is. Once is enough.
    pub async fn initialize_webhooks(&self, organization_id: &str) -> Result<DateTime<Utc>, ModelError> {
        let organization = self.organization(organization_id);
        if let Some(since) = organization.and_then(|organization| organization.webhooks_since) {
            return Ok(since);
        }
        let now = self.clock().now();
        let edit = |organization: &mut Organization| Ok(*organization.webhooks_since.get_or_insert(now));
        Ok(self.change_organization(organization_id, edit).await?.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_parsed() {
        let one: NewEndpoint = "http://localhost:1/x".parse().expect("fine");
        assert_eq!((one.url.as_str(), one.events.len()), ("http://localhost:1/x", 0));
        let two: NewEndpoint = "https://a.b, sandbox.created,volume.created".parse().expect("fine");
        assert_eq!(two.events, ["sandbox.created", "volume.created"]);
        for bad in ["", "x", "/x", "ftp://a.b", "http://", "http://a.b,nope", "http://a.b,"] {
            assert!(bad.parse::<NewEndpoint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn secrets_have_bytes() {
        assert_eq!(secret_bytes(&new_secret()).map(|bytes| bytes.len()), Some(24));
        for bad in ["", "whsec_", "whsec_!!!", "whsec_AAAA", "AAAAAAAAAAAAAAAAAAAAAAAA"] {
            assert_eq!(secret_bytes(bad), None, "{bad}");
        }
    }
}
