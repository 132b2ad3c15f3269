//! Warm pools: sandboxes of a snapshot that wait, started, for somebody who asks for just that; a creation takes one at
//! once. They belong to the organisation, and nobody is told of them before they are taken.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{
    ControlPlane, EventKind, Identity,
    create::NewSandbox,
    error::ModelError,
    lifecycle::apart,
    rules::Operation,
    sandbox::{DesiredState, Sandbox, State},
    settings,
    store::{Kind, Write},
    tokens,
};

/// After a failure a pool is filled again so much later.
const RETRY: Duration = Duration::from_secs(30);

/// A pool as the store keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WarmPool {
    pub id: String,
    pub organization_id: String,
    /// Name of the snapshot.
    pub snapshot: String,
    /// Region id.
    pub target: String,
    /// Sandboxes that should wait.
    pub size: u32,
    pub cpu: u32,
    /// GiB.
    pub memory: u32,
    /// GiB.
    pub disk: u32,
    pub user: String,
    /// Why it can't be filled.
    pub error_reason: Option<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

fn put(pool: &WarmPool) -> Write {
    Write::Put {
        kind: Kind::WarmPool,
        key: pool.id.clone(),
        organization: pool.organization_id.clone(),
        record: serde_json::to_string(pool).expect("a pool is JSON"),
    }
}

pub(super) fn no_pool(id: &str) -> ModelError {
    ModelError::not_found(format!("Warm pool with ID {id} not found"))
}

fn is_ready(sandbox: &Sandbox) -> bool {
    (sandbox.actual_state, sandbox.desired_state) == (State::Started, DesiredState::Started)
}

impl ControlPlane {
    /// Oldest first.
    pub fn warm_pools(&self, organization_id: &str) -> Vec<Arc<WarmPool>> {
        let world = self.world.read();
        let mut own: Vec<_> =
            world.warm_pools.values().filter(|pool| pool.organization_id == organization_id).cloned().collect();
        own.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        own
    }

    pub fn warm_pool(&self, organization_id: &str, id: &str) -> Result<Arc<WarmPool>, ModelError> {
        let found = self.world.read().warm_pools.get(id).cloned();
        found.filter(|pool| pool.organization_id == organization_id).ok_or_else(|| no_pool(id))
    }

    /// How many sandboxes of a pool can be taken now.
    pub fn ready_in(&self, pool: &WarmPool) -> usize {
        self.waiting_in(&pool.id).iter().filter(|sandbox| is_ready(sandbox)).count()
    }

    /// A pool's sandboxes, longest waiting first.
    fn waiting_in(&self, pool: &str) -> Vec<Arc<Sandbox>> {
        let world = self.world.read();
        let records = world.sandboxes.values().map(|entry| &entry.record);
        let own = records.filter(|sandbox| sandbox.warm_pool_id.as_deref() == Some(pool));
        let mut own: Vec<_> = own.filter(|one| one.desired_state != DesiredState::Destroyed).cloned().collect();
        own.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        own
    }

    /// 400 where an organisation would have more waiting than it may.
    fn check_warm(&self, organization_id: &str, besides: &str, size: u32) -> Result<(), ModelError> {
        let most = self.config().limits.warm_sandboxes;
        let others = self.warm_pools(organization_id).into_iter().filter(|pool| pool.id != besides);
        let all = others.map(|pool| u64::from(pool.size)).sum::<u64>() + u64::from(size);
        if usize::try_from(all).is_ok_and(|all| all <= most) {
            return Ok(());
        }
        Err(ModelError::bad_request(format!("Warm pool quota exceeded. Maximum allowed: {most}")))
    }

    pub async fn create_warm_pool(
        self: &Arc<Self>,
        caller: &Identity,
        snapshot: String,
        target: Option<String>,
        size: u32,
    ) -> Result<Arc<WarmPool>, ModelError> {
        self.check_active(&caller.organization_id)?;
        let pattern = self.draft(caller, NewSandbox { snapshot: Some(snapshot), target, ..NewSandbox::default() })?;
        let now = self.clock().now();
        let cp = self.clone();
        apart(async move { cp.add_warm_pool(pattern, size, now).await }).await
    }

    async fn add_warm_pool(
        self: &Arc<Self>,
        pattern: Sandbox,
        size: u32,
        now: DateTime<Utc>,
    ) -> Result<Arc<WarmPool>, ModelError> {
        let turn = self.store.turn().await;
        let owner = pattern.organization_id;
        let name = pattern.snapshot.clone().unwrap_or_default();
        let taken = |pool: &Arc<WarmPool>| pool.snapshot == name && pool.target == pattern.target;
        if self.warm_pools(&owner).iter().any(taken) {
            let text = format!("Warm pool for snapshot {name} in region {} already exists", pattern.target);
            return Err(ModelError::conflict(text));
        }
        self.check_warm(&owner, "", size)?;
        let pool = Arc::new(WarmPool {
            id: tokens::uuid(),
            organization_id: owner,
            snapshot: name,
            target: pattern.target,
            size,
            cpu: pattern.cpu,
            memory: pattern.memory,
            disk: pattern.disk,
            user: pattern.user,
            error_reason: None,
            created_at: now,
            updated_at: now,
        });
        let (world, added) = (self.world.clone(), pool.clone());
        let apply = move || drop(world.write().warm_pools.insert(added.id.clone(), added));
        turn.commit(vec![put(&pool)], apply).wait().await?;
        self.tend(&pool.id);
        Ok(pool)
    }

    /// Sets how many should wait; 0 drains the pool.
    pub async fn resize_warm_pool(
        self: &Arc<Self>,
        organization_id: &str,
        id: &str,
        size: u32,
    ) -> Result<Arc<WarmPool>, ModelError> {
        self.warm_pool(organization_id, id)?;
        let (cp, id) = (self.clone(), id.to_owned());
        apart(async move {
            let resize = |pool: &mut WarmPool| {
                cp.check_warm(&pool.organization_id, &pool.id, size)?;
                pool.size = size;
                Ok(())
            };
            let pool = cp.change_pool(&id, resize).await?;
            cp.tend(&id);
            Ok(pool)
        })
        .await
    }

    async fn change_pool(
        &self,
        id: &str,
        edit: impl FnOnce(&mut WarmPool) -> Result<(), ModelError>,
    ) -> Result<Arc<WarmPool>, ModelError> {
        let turn = self.store.turn().await;
        let old = self.world.read().warm_pools.get(id).cloned().ok_or_else(|| no_pool(id))?;
        let mut next = WarmPool::clone(&old);
        edit(&mut next)?;
        next.updated_at = self.clock().now();
        let next = Arc::new(next);
        let (world, changed) = (self.world.clone(), next.clone());
        let apply = move || drop(world.write().warm_pools.insert(changed.id.clone(), changed));
        turn.commit(vec![put(&next)], apply).wait().await?;
        Ok(next)
    }

    /// Removes a pool; what waits in it goes.
    pub async fn delete_warm_pool(self: &Arc<Self>, organization_id: &str, id: &str) -> Result<(), ModelError> {
        let (cp, owner, id) = (self.clone(), organization_id.to_owned(), id.to_owned());
        apart(async move {
            let turn = cp.store.turn().await;
            cp.warm_pool(&owner, &id)?;
            let (world, gone) = (cp.world.clone(), id.clone());
            let write = Write::Delete { kind: Kind::WarmPool, key: id.clone() };
            turn.commit(vec![write], move || drop(world.write().warm_pools.remove(&gone))).wait().await?;
            for sandbox in cp.waiting_in(&id) {
                // Somebody may have taken it just now.
                cp.discard(&sandbox).await;
            }
            // What is just being launched goes once it is.
            cp.tend(&id);
            Ok(())
        })
        .await
    }

    /// Deletes a sandbox that waits, unless somebody takes it first.
    async fn discard(self: &Arc<Self>, sandbox: &Sandbox) {
        if let Err(error) = self.begin(sandbox, Operation::Delete, true).await {
            tracing::debug!(sandbox = sandbox.id, %error, "a warm sandbox goes later, or is taken");
        }
    }

    /// Fills pools after a restart, and discards what waits in those that were deleted just before.
    pub(super) fn tend_all(self: &Arc<Self>) {
        let ids: BTreeSet<String> = {
            let world = self.world.read();
            let named = world.sandboxes.values().filter_map(|entry| entry.record.warm_pool_id.clone());
            world.warm_pools.keys().cloned().chain(named).collect()
        };
        ids.iter().for_each(|id| self.tend(id));
    }

    /// Brings a pool to its size, soon. Cheap to ask for often: what is done is looked up when it is its turn.
    pub(super) fn tend(self: &Arc<Self>, id: &str) {
        let (cp, id) = (self.clone(), id.to_owned());
        tokio::spawn(async move {
            while let Err(error) = cp.fill(&id).await {
                tracing::warn!(pool = id, %error, "a warm pool can't be filled");
                let reason = Some(error.message);
                let failed = |pool: &mut WarmPool| {
                    pool.error_reason = reason;
                    Ok(())
                };
                if cp.change_pool(&id, failed).await.is_err() {
                    return;
                }
                tokio::select! {
                    () = cp.clock().sleep(RETRY) => {}
                    () = cp.closing.cancelled() => return,
                }
            }
        });
    }

    async fn fill(self: &Arc<Self>, id: &str) -> Result<(), ModelError> {
        let _one = self.tending.lock().await;
        let mut missing = self.trim(id).await;
        while let Some(pool) = missing {
            let record = self.warm_record(&pool)?;
            let record = self.add(record).await?;
            let launch = self.spawn_launch(&record.id);
            launch.await.map_err(|error| ModelError::internal(error.to_string()))??;
            // Others resize it, delete it and take from it meanwhile.
            missing = self.trim(id).await;
        }
        let failed = self.world.read().warm_pools.get(id).is_some_and(|pool| pool.error_reason.is_some());
        if failed {
            let mended = |pool: &mut WarmPool| {
                pool.error_reason = None;
                Ok(())
            };
            self.change_pool(id, mended).await?;
        }
        Ok(())
    }

    /// Discards what a pool has too much of, which is all if it is gone. The pool, if it has too little.
    async fn trim(self: &Arc<Self>, id: &str) -> Option<Arc<WarmPool>> {
        let pool = self.world.read().warm_pools.get(id).cloned();
        let size = pool.as_ref().map_or(0, |pool| pool.size as usize);
        // What doesn't run any more, or can't, makes room for another.
        let (fine, broken): (Vec<_>, Vec<_>) = self
            .waiting_in(id)
            .into_iter()
            .partition(|one| one.desired_state == DesiredState::Started && one.state() != State::Error);
        for sandbox in broken.iter().chain(fine.iter().skip(size)) {
            self.discard(sandbox).await;
        }
        pool.filter(|_| fine.len() < size)
    }

    fn warm_record(&self, pool: &WarmPool) -> Result<Sandbox, ModelError> {
        let caller = Identity {
            organization_id: pool.organization_id.clone(),
            user_id: String::new(),
            key_name: String::new(),
            permissions: Arc::new([]),
        };
        let new = NewSandbox {
            snapshot: Some(pool.snapshot.clone()),
            target: Some(pool.target.clone()),
            // It waits as long as it takes.
            auto_stop_interval: Some(0),
            auto_pause_interval: Some(0),
            ..NewSandbox::default()
        };
        let mut record = self.draft(&caller, new)?;
        record.warm_pool_id = Some(pool.id.clone());
        Ok(record)
    }

    /// The pool that serves a new sandbox, if there is one: that snapshot and region, the snapshot's user, and nothing of
    /// its own inside.
    fn pool_for(&self, wanted: &Sandbox) -> Option<Arc<WarmPool>> {
        let snapshot = wanted.snapshot.as_deref().filter(|_| wanted.build.is_none() && wanted.has_nothing_inside())?;
        let world = self.world.read();
        let mut own = world.warm_pools.values().filter(|pool| pool.organization_id == wanted.organization_id);
        let fits = |pool: &&Arc<WarmPool>| {
            pool.snapshot == snapshot && pool.target == wanted.target && pool.user == wanted.user
        };
        own.find(fits).cloned()
    }

    /// Whether a new sandbox would come from a pool.
    pub(super) fn is_warm(&self, wanted: &Sandbox) -> bool {
        wanted.warm_pool_id.is_none() && self.pool_for(wanted).is_some_and(|pool| self.ready_in(&pool) > 0)
    }

    /// Takes a waiting sandbox for a new one, if there is one that fits. 409 if its name is taken.
    pub(super) async fn take_warm(self: &Arc<Self>, wanted: &Sandbox) -> Result<Option<Arc<Sandbox>>, ModelError> {
        let Some(pool) = self.pool_for(wanted) else { return Ok(None) };
        for waiting in self.waiting_in(&pool.id).iter().filter(|sandbox| is_ready(sandbox)) {
            let taken = self.change(&waiting.id, |sandbox| self.claim(sandbox, wanted)).await;
            match taken {
                Ok(sandbox) => {
                    self.world.read().tell(EventKind::Created, &sandbox);
                    self.tend(&pool.id);
                    return Ok(Some(sandbox));
                }
                // Somebody else was faster, or it has just died: the next one.
                Err(error) if error.message == GONE || error.kind == super::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Makes a waiting sandbox the wanted one.
    fn claim(&self, sandbox: &mut Sandbox, wanted: &Sandbox) -> Result<(), ModelError> {
        if sandbox.warm_pool_id.is_none() || !is_ready(sandbox) {
            return Err(ModelError::conflict(GONE));
        }
        // Who names none is called by the id.
        let name = if wanted.name == wanted.id { sandbox.id.clone() } else { wanted.name.clone() };
        let world = self.world.read();
        let names = world.tenants.get(&sandbox.organization_id).map(|tenant| &tenant.names);
        if name != sandbox.name && names.is_some_and(|names| names.contains_key(&name)) {
            return Err(ModelError::conflict(format!("Sandbox with name {name} already exists")));
        }
        let now = self.clock().now();
        *sandbox = Sandbox {
            id: sandbox.id.clone(),
            name,
            warm_pool_id: None,
            actual_state: sandbox.actual_state,
            desired_state: sandbox.desired_state,
            daemon_version: sandbox.daemon_version.clone(),
            runner_id: sandbox.runner_id.clone(),
            root: sandbox.root.clone(),
            preview_token: tokens::preview_token(),
            inherited: sandbox.inherited.clone(),
            auto_archive_interval: settings::clamp_archive(wanted.auto_archive_interval),
            created_at: now,
            updated_at: now,
            last_activity_at: now,
            ..wanted.clone()
        };
        Ok(())
    }
}

/// What the loser of a race for a sandbox is told; it tries the next one.
const GONE: &str = "This warm sandbox is taken";
