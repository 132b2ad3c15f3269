//! Everything the model knows, in memory. Every change of a sandbox goes through [`ControlPlane::change`] (what somebody
//! asks for) or [`ControlPlane::note`] (what has happened): they keep the indexes, the store, the timers, the machine's
//! network and the events in step with its record.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use tokio::sync::{Notify, broadcast};

use super::{
    ControlPlane, EventKind, ModelEvent,
    error::ModelError,
    organization::Organization,
    preview::{PreviewPort, SignedPreview},
    registries::Registry,
    sandbox::{DesiredState, Sandbox, State},
    snapshots::Snapshot,
    store::{Kind, Write},
    timers,
};
use crate::runtime;

/// Everything behind one lock.
pub struct World {
    pub tenants: HashMap<String, Tenant>,
    pub sandboxes: HashMap<String, Entry>,
    /// Snapshots of organisations, by id.
    pub snapshots: HashMap<String, Arc<Snapshot>>,
    /// Registries of organisations, by id.
    pub registries: HashMap<String, Arc<Registry>>,
    pub signed_previews: HashMap<String, SignedPreview>,
    pub preview_ports: HashMap<u16, PreviewPort>,
    /// When which sandbox's timer is due, at the latest by what was known when it was set: activity since then postpones it.
    pub due: BTreeSet<(DateTime<Utc>, String)>,
    events: broadcast::Sender<ModelEvent>,
    /// Wakes the timers' task: there is a new nearest deadline.
    timer: Arc<Notify>,
}

/// An organisation and what it owns.
pub struct Tenant {
    pub organization: Organization,
    /// Name → id of the sandboxes that hold a name.
    pub names: HashMap<String, String>,
    pub ids: HashSet<String>,
}

impl Tenant {
    pub fn new(organization: Organization) -> Tenant {
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
    /// The activity that the store knows of.
    pub saved_activity: DateTime<Utc>,
}

impl World {
    pub fn new(events: broadcast::Sender<ModelEvent>, timer: Arc<Notify>) -> World {
        World {
            tenants: HashMap::new(),
            sandboxes: HashMap::new(),
            snapshots: HashMap::new(),
            registries: HashMap::new(),
            signed_previews: HashMap::new(),
            preview_ports: HashMap::new(),
            due: BTreeSet::new(),
            events,
            timer,
        }
    }

    /// Every layer that a sandbox or snapshot is made of.
    pub fn layers_in_use(&self) -> HashSet<&str> {
        let sandboxes = self.sandboxes.values().map(|entry| &entry.record.root);
        let snapshots = self.snapshots.values().map(|snapshot| &snapshot.root);
        sandboxes.chain(snapshots).flat_map(|root| root.layers.iter().map(String::as_str)).collect()
    }

    /// Puts a new sandbox in and tells it.
    fn add(&mut self, record: Arc<Sandbox>) {
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

    fn tell(&self, kind: EventKind, sandbox: &Arc<Sandbox>) {
        // Nobody listening is fine.
        let _ = self.events.send(ModelEvent { kind, sandbox: sandbox.clone() });
    }

    /// Puts a record in all indexes.
    pub fn insert(&mut self, record: Arc<Sandbox>) {
        if let Some(tenant) = self.tenants.get_mut(&record.organization_id) {
            tenant.names.insert(record.name.clone(), record.id.clone());
            tenant.ids.insert(record.id.clone());
        }
        let due = timers::deadline(&record).map(|(at, _)| at);
        self.due.extend(due.map(|at| (at, record.id.clone())));
        let saved_activity = record.last_activity_at;
        let entry = Entry { record: record.clone(), running: None, turn: Arc::default(), due, saved_activity };
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
        self.signed_previews.retain(|_, preview| preview.sandbox_id != id);
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

    pub fn organization(&self, id: &str) -> Option<Organization> {
        self.world.read().tenants.get(id).map(|tenant| tenant.organization.clone())
    }

    /// Adds a new sandbox and tells it. 409 if its name is taken.
    pub(super) async fn add(&self, record: Sandbox) -> Result<Arc<Sandbox>, ModelError> {
        let turn = self.store.turn().await;
        let taken = {
            let world = self.world.read();
            let tenant = world.tenants.get(&record.organization_id);
            tenant.is_none_or(|tenant| tenant.names.contains_key(&record.name))
        };
        if self.world.read().sandboxes.len() >= self.config().limits.sandboxes {
            return Err(ModelError::bad_request("No available runners"));
        }
        if taken {
            return Err(ModelError::conflict(format!("Sandbox with name {} already exists", record.name)));
        }
        let record = Arc::new(record);
        let (world, added) = (self.world.clone(), record.clone());
        turn.commit(vec![put(&record)], move || world.write().add(added)).wait().await?;
        Ok(record)
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
        let all = tokens.chain([(Kind::Sandbox, id.to_owned())]);
        turn.note(all.map(|(kind, key)| Write::Delete { kind, key }).collect());
        world.remove(id);
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
