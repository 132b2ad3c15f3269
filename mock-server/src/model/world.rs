//! Everything the model knows, in memory. Every change of a sandbox goes through [`ControlPlane::change`] (what somebody
//! asks for) or [`ControlPlane::note`] (what has happened): they keep the indexes, the store, the timers, the machine's
//! network and the events in step with its record.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;

use super::{
    ControlPlane, EventKind, ModelEvent, SnapshotEvent,
    error::ModelError,
    objects::Object,
    organization::{Organization, User},
    preview::{PreviewPort, SignedPreview},
    regions::Region,
    registries::Registry,
    sandbox::{DesiredState, Inherited, Sandbox, State},
    secrets::Secret,
    snapshots::Snapshot,
    ssh::SshAccess,
    store::{Kind, Write},
    timers,
    volumes::Volume,
    warm_pools::WarmPool,
    webhooks::{Delivery, Endpoint},
};
use crate::runtime::{self, Root, net::OutboundSecret};

/// Everything behind one lock.
pub struct World {
    pub tenants: HashMap<String, Tenant>,
    /// Whom personal organisations were made for, by id.
    pub users: HashMap<String, User>,
    pub sandboxes: HashMap<String, Entry>,
    /// Snapshots of organisations, by id.
    pub snapshots: HashMap<String, Arc<Snapshot>>,
    /// Which sandboxes were forked from which.
    forks: Relation,
    /// Which sandboxes are linked to which.
    links: Relation,
    /// Registries of organisations, by id.
    pub registries: HashMap<String, Arc<Registry>>,
    /// Regions of organisations, by id.
    pub regions: HashMap<String, Arc<Region>>,
    /// Secrets of organisations, by id.
    pub secrets: HashMap<String, Arc<Secret>>,
    /// Warm pools of organisations, by id.
    pub warm_pools: HashMap<String, Arc<WarmPool>>,
    /// Endpoints, by id.
    pub webhooks: HashMap<String, Arc<Endpoint>>,
    /// What they were told, oldest first, by their ids.
    pub deliveries: HashMap<String, VecDeque<Arc<Delivery>>>,
    /// Volumes of organisations, by id; deleted ones too.
    pub volumes: HashMap<String, Arc<Volume>>,
    /// Objects of the object storage, by key.
    pub objects: BTreeMap<String, Arc<Object>>,
    pub signed_previews: HashMap<String, SignedPreview>,
    pub preview_ports: HashMap<u16, PreviewPort>,
    /// By the hash of the token.
    pub ssh_accesses: HashMap<String, SshAccess>,
    /// When which sandbox's timer is due, at the latest by what was known when it was set: activity since then postpones it.
    pub due: BTreeSet<(DateTime<Utc>, String)>,
    events: broadcast::Sender<ModelEvent>,
    /// Wakes the timers' task: there is a new nearest deadline.
    timer: Arc<Notify>,
}

/// An organisation and what it owns.
pub struct Tenant {
    pub organization: Arc<Organization>,
    /// Name → id of the sandboxes that hold a name.
    pub names: HashMap<String, String>,
    pub ids: HashSet<String>,
}

/// Many sandboxes to one.
#[derive(Default)]
struct Relation(HashMap<String, HashSet<String>>);

impl Relation {
    fn insert(&mut self, one: Option<&String>, of_many: &str) {
        if let Some(one) = one {
            self.0.entry(one.clone()).or_default().insert(of_many.to_owned());
        }
    }

    fn remove(&mut self, one: Option<&String>, of_many: &str) {
        let Some(many) = one.and_then(|one| self.0.get_mut(one)) else { return };
        many.remove(of_many);
        if many.is_empty()
            && let Some(one) = one
        {
            self.0.remove(one);
        }
    }

    fn of(&self, one: &str) -> impl Iterator<Item = &String> {
        self.0.get(one).into_iter().flatten()
    }
}

impl Tenant {
    pub fn new(organization: Arc<Organization>) -> Tenant {
        Tenant { organization, names: HashMap::new(), ids: HashSet::new() }
    }
}

/// A sandbox: its record, and its machine while it has one.
pub struct Entry {
    pub record: Arc<Sandbox>,
    pub running: Option<Arc<runtime::Sandbox>>,
    /// Held while the runtime works on this sandbox, so that its launch, stop and removal don't overlap.
    pub turn: Arc<tokio::sync::Mutex<()>>,
    pub due: Option<DateTime<Utc>>,
    /// Ends the archiving that is under way.
    pub archiving: Option<CancellationToken>,
    /// The activity that the store knows of.
    pub saved_activity: DateTime<Utc>,
}

impl World {
    pub fn new(events: broadcast::Sender<ModelEvent>, timer: Arc<Notify>) -> World {
        World {
            tenants: HashMap::new(),
            users: HashMap::new(),
            sandboxes: HashMap::new(),
            snapshots: HashMap::new(),
            forks: Relation::default(),
            links: Relation::default(),
            registries: HashMap::new(),
            regions: HashMap::new(),
            secrets: HashMap::new(),
            warm_pools: HashMap::new(),
            webhooks: HashMap::new(),
            deliveries: HashMap::new(),
            volumes: HashMap::new(),
            objects: BTreeMap::new(),
            signed_previews: HashMap::new(),
            preview_ports: HashMap::new(),
            ssh_accesses: HashMap::new(),
            due: BTreeSet::new(),
            events,
            timer,
        }
    }

    /// Puts an organisation in, with the user whom it was made for.
    pub fn add_organization(&mut self, organization: Arc<Organization>) {
        self.users.extend(organization.owner.iter().map(|user| (user.id.clone(), user.clone())));
        self.tenants.insert(organization.id.clone(), Tenant::new(organization));
    }

    /// Puts a changed organisation in the place of the old one.
    pub fn replace_organization(&mut self, next: Arc<Organization>) {
        let id = next.id.clone();
        if let Some(tenant) = self.tenants.get_mut(&id) {
            let same = tenant.organization.limited_egress == next.limited_egress;
            tenant.organization = next;
            if !same {
                self.inherit_anew(&id);
            }
        }
    }

    /// What a sandbox has from its organisation and region.
    pub(super) fn inherited(&self, sandbox: &Sandbox) -> Inherited {
        let tenant = self.tenants.get(&sandbox.organization_id);
        Inherited {
            limited_egress: tenant.is_some_and(|tenant| tenant.organization.limited_egress),
            proxy: self.regions.get(&sandbox.target).and_then(|region| region.urls.proxy.clone()),
        }
    }

    /// Hands on to an organisation's sandboxes what has changed about it or its regions, to those that run at once.
    pub fn inherit_anew(&mut self, organization_id: &str) {
        let ids: Vec<String> =
            self.tenants.get(organization_id).map(|tenant| tenant.ids.iter().cloned().collect()).unwrap_or_default();
        for id in ids {
            let Some(record) = self.sandboxes.get(&id).map(|entry| entry.record.clone()) else { continue };
            let inherited = self.inherited(&record);
            let Some(entry) = self.sandboxes.get_mut(&id).filter(|_| inherited != record.inherited) else { continue };
            Arc::make_mut(&mut entry.record).inherited = inherited;
            if let Some(machine) = entry.running.as_ref().filter(|_| !entry.record.same_network(&record)) {
                machine.set_network_policy(entry.record.network_policy());
            }
        }
    }

    /// Takes a secret that is gone from a sandbox.
    pub fn detach(&mut self, id: &str, secret_id: &str) {
        if let Some(entry) = self.sandboxes.get_mut(id) {
            Arc::make_mut(&mut entry.record).secrets.retain(|one| one.secret_id != secret_id);
        }
        self.hand_secrets(id);
    }

    /// Puts a new or changed secret in, for the sandboxes that have it at once.
    pub fn place_secret(&mut self, secret: Arc<Secret>) {
        let id = secret.id.clone();
        self.secrets.insert(id.clone(), secret);
        let has = |record: &Sandbox| record.secrets.iter().any(|one| one.secret_id == id);
        let users = self.sandboxes.iter().filter(|(_, entry)| entry.running.is_some() && has(&entry.record));
        users.for_each(|(id, _)| self.hand_secrets(id));
    }

    /// Tells a sandbox's machine, if there is one, what its secrets are.
    pub fn hand_secrets(&self, id: &str) {
        let Some(entry) = self.sandboxes.get(id) else { return };
        if let Some(machine) = &entry.running {
            machine.set_secrets(self.outbound_secrets(&entry.record));
        }
    }

    /// A sandbox's secrets as its gateway knows them.
    pub fn outbound_secrets(&self, sandbox: &Sandbox) -> Vec<OutboundSecret> {
        sandbox.secrets.iter().filter_map(|one| Some(self.secrets.get(&one.secret_id)?.outbound())).collect()
    }

    /// Every layer that a sandbox or snapshot is made of.
    pub fn layers_in_use(&self) -> HashSet<&str> {
        let sandboxes = self.sandboxes.values().map(|entry| &entry.record.root);
        let snapshots = self.snapshots.values().map(|snapshot| &snapshot.root);
        sandboxes.chain(snapshots).flat_map(|root| root.layers.iter().map(String::as_str)).collect()
    }

    /// Whether a sandbox or snapshot is made of a layer.
    pub fn is_layer_in_use(&self, layer: &str) -> bool {
        let made_of = |root: &Root| root.layers.iter().any(|own| own == layer);
        self.snapshots.values().any(|snapshot| made_of(&snapshot.root))
            || self.sandboxes.values().any(|entry| made_of(&entry.record.root))
    }

    /// Puts a new sandbox in and tells it.
    pub(super) fn add(&mut self, record: Arc<Sandbox>) {
        self.insert(record.clone());
        self.tell(EventKind::Created, &record);
        self.timer.notify_one();
    }

    /// Puts a changed record in the place of the old one: tells what changed in the observed order (desired state, then
    /// state), frees the name of what is deleted.
    fn place(&mut self, mut next: Arc<Sandbox>) {
        let Some(entry) = self.sandboxes.get_mut(&next.id) else { return };
        let old = entry.record.clone();
        if old.last_activity_at > next.last_activity_at {
            // Touched while the change was written.
            Arc::make_mut(&mut next).last_activity_at = old.last_activity_at;
        }
        entry.record = next.clone();
        entry.saved_activity = next.last_activity_at;
        if let Some(machine) = entry.running.as_ref().filter(|_| !next.same_network(&old)) {
            machine.set_network_policy(next.network_policy());
        }
        if next.secrets != old.secrets {
            self.hand_secrets(&next.id);
        }
        if next.name != old.name
            && let Some(tenant) = self.tenants.get_mut(&old.organization_id)
        {
            tenant.names.remove(&old.name);
            tenant.names.insert(next.name.clone(), next.id.clone());
        }
        self.reschedule(&next.id);
        self.tell_changes(&old, &next);
    }

    fn tell_changes(&self, old: &Sandbox, next: &Arc<Sandbox>) {
        if next.desired_state != old.desired_state {
            self.tell(EventKind::DesiredState { old: old.desired_state, new: next.desired_state }, next);
        }
        // A new sandbox is told as `creating` and then moves from `unknown` to `creating` (observed).
        let before = if old.actual_state == State::Unknown { State::Unknown } else { old.state() };
        if next.state() != before && next.actual_state != State::Unknown {
            self.tell(EventKind::State { old: before, new: next.state() }, next);
        }
    }

    /// Nothing is told of those that wait in a warm pool.
    pub fn tell(&self, kind: EventKind, sandbox: &Arc<Sandbox>) {
        if sandbox.warm_pool_id.is_some() {
            return;
        }
        self.send(ModelEvent::Sandbox { kind, sandbox: sandbox.clone() });
    }

    pub fn send(&self, event: ModelEvent) {
        // Nobody listening is fine.
        let _ = self.events.send(event);
    }

    /// Puts a new or changed snapshot in and tells it.
    pub fn place_snapshot(&mut self, next: Arc<Snapshot>) {
        let old = self.snapshots.insert(next.id.clone(), next.clone());
        let kind = match old {
            None => SnapshotEvent::Created,
            Some(old) if old.state != next.state => SnapshotEvent::State { old: old.state, new: next.state },
            Some(_) => return,
        };
        self.send(ModelEvent::Snapshot { kind, snapshot: next });
    }

    /// Puts a record in all indexes.
    pub fn insert(&mut self, mut record: Arc<Sandbox>) {
        let inherited = self.inherited(&record);
        if inherited != record.inherited {
            Arc::make_mut(&mut record).inherited = inherited;
        }
        if let Some(tenant) = self.tenants.get_mut(&record.organization_id) {
            tenant.names.insert(record.name.clone(), record.id.clone());
            tenant.ids.insert(record.id.clone());
        }
        self.forks.insert(record.forked_from.as_ref(), &record.id);
        self.links.insert(record.linked_to.as_ref(), &record.id);
        let due = timers::deadline(&record).map(|(at, _)| at);
        self.due.extend(due.map(|at| (at, record.id.clone())));
        let saved_activity = record.last_activity_at;
        let turn = Arc::default();
        let entry = Entry { record: record.clone(), running: None, turn, due, archiving: None, saved_activity };
        self.sandboxes.insert(record.id.clone(), entry);
    }

    /// Takes a record out of all indexes.
    pub fn remove(&mut self, id: &str) {
        let Some(entry) = self.sandboxes.remove(id) else { return };
        if let Some(at) = entry.due {
            self.due.remove(&(at, id.to_owned()));
        }
        if let Some(tenant) = self.tenants.get_mut(&entry.record.organization_id) {
            tenant.names.remove(&entry.record.name);
            tenant.ids.remove(id);
        }
        self.forks.remove(entry.record.forked_from.as_ref(), id);
        self.links.remove(entry.record.linked_to.as_ref(), id);
        if let Some(parent) = &entry.record.forked_from {
            // Its time may have come while it couldn't go before its forks.
            self.reschedule(parent);
        }
        self.ssh_accesses.retain(|_, access| access.sandbox_id != id);
        self.signed_previews.retain(|_, preview| preview.sandbox_id != id);
    }

    /// What was forked from a sandbox and is there.
    pub fn forks_of(&self, id: &str) -> impl Iterator<Item = &Arc<Sandbox>> {
        self.forks.of(id).filter_map(|id| self.sandboxes.get(id)).map(|entry| &entry.record)
    }

    /// What is linked to a sandbox and is there.
    pub fn followers_of(&self, id: &str) -> impl Iterator<Item = &Arc<Sandbox>> {
        self.links.of(id).filter_map(|id| self.sandboxes.get(id)).map(|entry| &entry.record)
    }

    pub fn has_live_forks(&self, id: &str) -> bool {
        self.forks_of(id).any(|fork| fork.desired_state != DesiredState::Destroyed)
    }

    /// A sandbox that clients can see, by id first, then by name. Exact: case matters (observed).
    pub fn find(&self, organization_id: &str, id_or_name: &str) -> Option<&Entry> {
        let visible =
            |entry: &&Entry| !entry.record.phase().is_errored_deleted() && entry.record.state() != State::Destroyed;
        let own = |entry: &&Entry| entry.record.organization_id == organization_id;
        let by_id = self.sandboxes.get(id_or_name).filter(own).filter(visible);
        by_id.or_else(|| {
            let id = self.tenants.get(organization_id)?.names.get(id_or_name)?;
            self.sandboxes.get(id).filter(visible)
        })
    }

    /// Sets the timer of a sandbox anew.
    pub fn reschedule(&mut self, id: &str) {
        let Some(entry) = self.sandboxes.get_mut(id) else { return };
        let due = timers::deadline(&entry.record).map(|(at, _)| at);
        if due == entry.due {
            return;
        }
        if let Some(old) = entry.due.take() {
            self.due.remove(&(old, id.to_owned()));
        }
        entry.due = due;
        let Some(at) = due else { return };
        self.due.insert((at, id.to_owned()));
        if self.due.first().is_some_and(|(first, _)| *first == at) {
            self.timer.notify_one();
        }
    }
}

/// A record in the store's form.
pub fn put(record: &Sandbox) -> Write {
    let text = serde_json::to_string(record).expect("a sandbox is JSON");
    Write::Put {
        kind: Kind::Sandbox,
        key: record.id.clone(),
        organization: record.organization_id.clone(),
        record: text,
    }
}

impl ControlPlane {
    /// A sandbox of an organisation by id or name.
    pub fn find(&self, organization_id: &str, id_or_name: &str) -> Result<Arc<Sandbox>, ModelError> {
        let world = self.world.read();
        let entry = world.find(organization_id, id_or_name).ok_or_else(|| ModelError::no_sandbox(id_or_name))?;
        Ok(entry.record.clone())
    }

    /// For who has the store's turn: 404 if the sandbox is gone since it was looked at.
    pub(super) fn must_be_there(&self, id: &str) -> Result<(), ModelError> {
        if self.world.read().sandboxes.contains_key(id) { Ok(()) } else { Err(ModelError::no_sandbox(id)) }
    }

    /// Does to a sandbox what somebody asks for. Nothing happens if `edit` or the store refuses.
    pub(super) async fn change(
        &self,
        id: &str,
        edit: impl FnOnce(&mut Sandbox) -> Result<(), ModelError>,
    ) -> Result<Arc<Sandbox>, ModelError> {
        let turn = self.store.turn().await;
        let old = self.world.read().sandboxes.get(id).map(|entry| entry.record.clone());
        let old = old.ok_or_else(|| ModelError::no_sandbox(id))?;
        let next = Arc::new(self.edited(&old, edit)?);
        self.check_quota(Some(&old), &next)?;
        let (world, changed) = (self.world.clone(), next.clone());
        turn.commit(vec![put(&next)], move || world.write().place(changed)).wait().await?;
        Ok(next)
    }

    /// Notes what has happened to a sandbox, and which machine it has since. Memory follows the facts whatever the store
    /// says: each write is the whole record, so the next one makes up for a refused one, and so does the next start.
    pub(super) async fn note(
        &self,
        id: &str,
        edit: impl FnOnce(&mut Sandbox, &mut Option<Arc<runtime::Sandbox>>) -> Result<(), ModelError>,
    ) -> Result<Arc<Sandbox>, ModelError> {
        let turn = self.store.turn().await;
        let next = {
            let mut world = self.world.write();
            let entry = world.sandboxes.get_mut(id).ok_or_else(|| ModelError::no_sandbox(id))?;
            let old = entry.record.clone();
            let next = Arc::new(self.edited(&old, |sandbox| edit(sandbox, &mut entry.running))?);
            world.place(next.clone());
            next
        };
        turn.note(vec![put(&next)]);
        Ok(next)
    }

    fn edited(
        &self,
        old: &Sandbox,
        edit: impl FnOnce(&mut Sandbox) -> Result<(), ModelError>,
    ) -> Result<Sandbox, ModelError> {
        let mut next = Sandbox::clone(old);
        edit(&mut next)?;
        let now = self.clock().now();
        next.updated_at = now;
        if next.phase() != old.phase() {
            // Every change of state counts as activity (observed).
            next.last_activity_at = now;
        }
        if next.desired_state == DesiredState::Destroyed && old.desired_state != DesiredState::Destroyed {
            next.name = format!("DESTROYED_{}_{}", old.name, now.timestamp_millis());
        }
        Ok(next)
    }

    /// Forgets a sandbox for good.
    pub(super) async fn forget(&self, id: &str) {
        let turn = self.store.turn().await;
        let mut world = self.world.write();
        let tokens = world.signed_previews.values().filter(|preview| preview.sandbox_id == id);
        let tokens = tokens.map(|preview| (Kind::SignedPreview, preview.token.clone()));
        let accesses = world.ssh_accesses.values().filter(|access| access.sandbox_id == id);
        let accesses = accesses.map(|access| (Kind::SshAccess, access.token_hash.clone()));
        let all = tokens.chain(accesses).chain([(Kind::Sandbox, id.to_owned())]);
        turn.note(all.map(|(kind, key)| Write::Delete { kind, key }).collect());
        world.remove(id);
        self.samples.forget(id);
    }

    /// Notes activity: postpones auto-stop and moves `lastActivityAt`. Cheap enough for every request: it writes at
    /// most once a second, and to the store every ten.
    pub fn touch(&self, sandbox_id: &str) {
        let now = self.clock().now();
        let stale = |at: DateTime<Utc>, seconds| now - at >= chrono::Duration::seconds(seconds);
        let recent = |entry: &Entry| !stale(entry.record.last_activity_at, 1);
        if self.world.read().sandboxes.get(sandbox_id).is_none_or(recent) {
            return;
        }
        let mut world = self.world.write();
        let Some(entry) = world.sandboxes.get_mut(sandbox_id) else { return };
        Arc::make_mut(&mut entry.record).last_activity_at = now;
        if stale(entry.saved_activity, 10)
            && let Some(turn) = self.store.try_turn()
        {
            entry.saved_activity = now;
            turn.note(vec![put(&entry.record)]);
        }
    }
}
