//! Warm pools: sandboxes of a snapshot that wait, started, for somebody who asks for just that; a creation takes one at
//! once. They belong to the organisation, and nobody is told of them before they are taken.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{
    ControlPlane, EventKind, Identity,
    create::NewSandbox,
    error::ModelError,
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

fn no_pool(id: &str) -> ModelError {
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
        self.waiting_in(pool).iter().filter(|sandbox| is_ready(sandbox)).count()
    }

    /// A pool's sandboxes, longest waiting first.
    fn waiting_in(&self, pool: &WarmPool) -> Vec<Arc<Sandbox>> {
        let world = self.world.read();
        let ids = world.tenants.get(&pool.organization_id).map(|tenant| tenant.ids.iter());
        let records = ids.into_iter().flatten().filter_map(|id| world.sandboxes.get(id)).map(|entry| &entry.record);
        let own = records.filter(|sandbox| sandbox.warm_pool_id.as_deref() == Some(&pool.id));
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
        let turn = self.store.turn().await;
        let name = pattern.snapshot.clone().unwrap_or_default();
        let taken = |pool: &Arc<WarmPool>| pool.snapshot == name && pool.target == pattern.target;
        if self.warm_pools(&caller.organization_id).iter().any(taken) {
            let text = format!("Warm pool for snapshot {name} in region {} already exists", pattern.target);
            return Err(ModelError::conflict(text));
        }
        self.check_warm(&caller.organization_id, "", size)?;
        let pool = Arc::new(WarmPool {
            id: tokens::uuid(),
            organization_id: caller.organization_id.clone(),
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
        self.check_warm(organization_id, id, size)?;
        let pool = self.change_pool(id, |pool| pool.size = size).await?;
        self.tend(id);
        Ok(pool)
    }

    async fn change_pool(&self, id: &str, edit: impl FnOnce(&mut WarmPool)) -> Result<Arc<WarmPool>, ModelError> {
        let turn = self.store.turn().await;
        let old = self.world.read().warm_pools.get(id).cloned().ok_or_else(|| no_pool(id))?;
        let mut next = WarmPool::clone(&old);
        edit(&mut next);
        next.updated_at = self.clock().now();
        let next = Arc::new(next);
        let (world, changed) = (self.world.clone(), next.clone());
        let apply = move || drop(world.write().warm_pools.insert(changed.id.clone(), changed));
        turn.commit(vec![put(&next)], apply).wait().await?;
        Ok(next)
    }

    /// Removes a pool; what waits in it goes.
    pub async fn delete_warm_pool(self: &Arc<Self>, organization_id: &str, id: &str) -> Result<(), ModelError> {
        let turn = self.store.turn().await;
        let pool = self.warm_pool(organization_id, id)?;
        let (world, gone) = (self.world.clone(), id.to_owned());
        let write = Write::Delete { kind: Kind::WarmPool, key: id.to_owned() };
        turn.commit(vec![write], move || drop(world.write().warm_pools.remove(&gone))).wait().await?;
        for sandbox in self.waiting_in(&pool) {
            // Somebody may have taken it just now.
            self.discard(&sandbox).await;
        }
        Ok(())
    }

    /// Deletes a sandbox that waits, unless somebody takes it first.
    async fn discard(self: &Arc<Self>, sandbox: &Sandbox) {
        if let Err(error) = self.begin(sandbox, Operation::Delete, true).await {
            tracing::debug!(sandbox = sandbox.id, %error, "a warm sandbox goes later, or is taken");
        }
    }

    /// Fills pools after a restart.
    pub(super) fn tend_all(self: &Arc<Self>) {
        let ids: Vec<String> = self.world.read().warm_pools.keys().cloned().collect();
        ids.iter().for_each(|id| self.tend(id));
    }

    /// Brings a pool to its size, soon. Cheap to ask for often: what is done is looked up when it is its turn.
    pub(super) fn tend(self: &Arc<Self>, id: &str) {
        let (cp, id) = (self.clone(), id.to_owned());
        tokio::spawn(async move {
            while let Err(error) = cp.fill(&id).await {
                tracing::warn!(pool = id, %error, "a warm pool can't be filled");
                let reason = Some(error.message);
                if cp.change_pool(&id, |pool| pool.error_reason = reason).await.is_err() {
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
        let Some(pool) = self.world.read().warm_pools.get(id).cloned() else { return Ok(()) };
        let waiting = self.waiting_in(&pool);
        // What doesn't run any more, or can't, makes room for another.
        let (fine, broken): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .partition(|one| one.desired_state == DesiredState::Started && one.state() != State::Error);
        for sandbox in &broken {
            self.discard(sandbox).await;
        }
        let size = pool.size as usize;
        for sandbox in fine.iter().skip(size) {
            self.discard(sandbox).await;
        }
        for _ in fine.len()..size {
            let record = self.warm_record(&pool)?;
            let record = self.add(record).await?;
            let launch = self.spawn_launch(&record.id);
            launch.await.map_err(|error| ModelError::internal(error.to_string()))??;
        }
        if pool.error_reason.is_some() {
            self.change_pool(id, |pool| pool.error_reason = None).await?;
        }
        Ok(())
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
        for waiting in self.waiting_in(&pool).iter().filter(|sandbox| is_ready(sandbox)) {
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
