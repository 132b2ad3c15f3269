//! What a minted world has besides its key: an end, when it is swept with all that it owns (by the server's clock and
//! across restarts), and how strict the server is with it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use super::{
    ControlPlane, ModelError,
    organization::User,
    store::{Kind, Turn, Write},
};
use crate::strict::Strictness;

/// The longest life: a hundred years.
pub const MAX_LIFE: u64 = 100 * 365 * 86_400;
/// Between two attempts to sweep what the store didn't let go.
const RETRY: Duration = Duration::from_secs(10);

/// What was asked for when a world was minted, as the store keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorldTerms {
    pub organization_id: String,
    pub ends_at: Option<DateTime<Utc>>,
    pub strict: Strict,
}

/// How strict a world is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strict {
    /// As the server is told at start.
    #[default]
    Default,
    Off,
    Journal,
    Reject,
}

/// How strict the server is, and which worlds are otherwise.
#[derive(Default)]
pub struct Strictnesses {
    default: Option<Strictness>,
    worlds: RwLock<HashMap<String, Option<Strictness>>>,
    /// Whether some world is strict at all.
    any: AtomicBool,
}

impl Strictnesses {
    pub fn new(default: Option<Strictness>) -> Strictnesses {
        Strictnesses { default, any: AtomicBool::new(default.is_some()), ..Strictnesses::default() }
    }

    fn set(&self, organization_id: &str, strict: Strict) {
        let own = match strict {
            Strict::Default => return,
            Strict::Off => None,
            Strict::Journal => Some(Strictness::Journal),
            Strict::Reject => Some(Strictness::Reject),
        };
        self.worlds.write().insert(organization_id.to_owned(), own);
        self.any.fetch_or(own.is_some(), Ordering::Relaxed);
    }
}

impl ControlPlane {
    /// Says when an organisation ends, and how strict the server is with it. Answers when that is.
    pub async fn set_terms(
        self: &Arc<Self>,
        organization_id: &str,
        life: Option<Duration>,
        strict: Strict,
    ) -> Result<Option<DateTime<Utc>>, ModelError> {
        let end = |life| {
            let life = chrono::Duration::from_std(life).unwrap_or(chrono::Duration::MAX / 4);
            self.clock().now().checked_add_signed(life).unwrap_or(DateTime::<Utc>::MAX_UTC)
        };
        let ends_at = life.map(end);
        if ends_at.is_some() || strict != Strict::Default {
            let terms = WorldTerms { organization_id: organization_id.to_owned(), ends_at, strict };
            let record = serde_json::to_string(&terms).expect("terms are JSON");
            let organization = organization_id.to_owned();
            let write = Write::Put { kind: Kind::WorldTerms, key: organization.clone(), organization, record };
            self.store.turn().await.commit(vec![write], || ()).wait().await?;
            self.keep_terms(terms);
        }
        Ok(ends_at)
    }

    /// Puts the terms of a world in force.
    pub(super) fn keep_terms(self: &Arc<Self>, terms: WorldTerms) {
        self.strict.set(&terms.organization_id, terms.strict);
        if let Some(at) = terms.ends_at {
            tokio::spawn(end(Arc::downgrade(self), terms.organization_id, at));
        }
    }

    /// Whether any world is strict.
    pub fn is_strict(&self) -> bool {
        self.strict.any.load(Ordering::Relaxed)
    }

    /// How strict the server is with a world, or with what belongs to nobody.
    pub fn strictness(&self, organization_id: Option<&str>) -> Option<Strictness> {
        let own = organization_id.and_then(|id| self.strict.worlds.read().get(id).copied());
        own.unwrap_or(self.strict.default)
    }

    /// Worlds that were swept, from now on.
    pub fn swept(&self) -> broadcast::Receiver<String> {
        self.swept.subscribe()
    }

    /// The right to change something, at a moment when a world owns nothing: what was asked for before its keys were
    /// refused may come while it is emptied.
    async fn emptied(self: &Arc<Self>, organization_id: &str) -> Result<Turn<'_>, ModelError> {
        for _ in 0..3 {
            self.reset(organization_id).await?;
            let turn = self.store.turn().await;
            if self.is_empty(organization_id) {
                return Ok(turn);
            }
        }
        Err(ModelError::internal("there is always something new in it"))
    }

    /// Its keys are refused from now on, all that it owns goes, then its records.
    async fn sweep(self: &Arc<Self>, organization_id: &str) -> Result<(), ModelError> {
        self.keys.forget_organization(organization_id);
        let turn = self.emptied(organization_id).await?;
        let write = Write::DeleteOwned { organization: organization_id.to_owned() };
        let organization = Write::Delete { kind: Kind::Organization, key: organization_id.to_owned() };
        let (world, id) = (self.world.clone(), organization_id.to_owned());
        let apply = move || {
            let mut world = world.write();
            let gone = world.tenants.remove(&id);
            // Whom it was made for, unless others know them.
            let owner = gone.and_then(|tenant| tenant.organization.owner.clone());
            let known =
                |user: &User| world.tenants.values().any(|tenant| tenant.organization.member(&user.id).is_some());
            if let Some(owner) = owner.filter(|owner| !known(owner)) {
                world.users.remove(&owner.id);
            }
            // Told while it went.
            world.forget_deliveries(&id);
        };
        turn.commit(vec![write, organization], apply).wait().await?;
        self.strict.worlds.write().remove(organization_id);
        // Nobody may listen.
        _ = self.swept.send(organization_id.to_owned());
        Ok(())
    }
}

/// Sweeps an organisation when its time comes.
async fn end(cp: Weak<ControlPlane>, organization: String, at: DateTime<Utc>) {
    let Some((clock, closing)) = cp.upgrade().map(|cp| (cp.clock().clone(), cp.closing.clone())) else { return };
    tokio::select! {
        () = clock.sleep_until(at) => {}
        () = closing.cancelled() => return,
    }
    while let Some(strong) = cp.upgrade().filter(|_| !closing.is_cancelled()) {
        match strong.sweep(&organization).await {
            Ok(()) => return tracing::info!(organization, "swept at its end"),
            Err(error) => tracing::warn!(organization, %error, "could not be swept, comes again"),
        }
        drop(strong);
        // In real time: a full disk doesn't mend itself because the clock is turned.
        tokio::time::sleep(RETRY).await;
    }
}
