//! Entries that can be asked for, bounded per world and overall; the oldest go first.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use tokio::sync::watch;

use super::{Kept, Plane, Scope, View};

pub struct Memory {
    worlds: HashMap<String, World>,
    /// World and id of every entry, in the order of arrival. What is gone already is stepped over.
    order: VecDeque<(String, u64)>,
    bytes: usize,
    most_entries: usize,
    most_bytes: usize,
    all: watch::Sender<u64>,
    changed: Vec<String>,
    pub lost: u64,
}

struct World {
    entries: BTreeMap<u64, Arc<Kept>>,
    evicted: u64,
    changed: watch::Sender<u64>,
}

/// Whose a socket of Socket.IO is shows only after it was entered as nobody's.
fn was_claimed(kept: &Kept) -> bool {
    kept.plane == Plane::Events && kept.organization_id.is_some()
}

/// The world of what belongs to nobody.
pub const NOBODY: &str = "";

impl Memory {
    pub fn new(most_entries: usize, most_bytes: usize) -> Memory {
        Memory {
            worlds: HashMap::new(),
            order: VecDeque::new(),
            bytes: 0,
            most_entries,
            most_bytes,
            all: watch::channel(0).0,
            changed: Vec::new(),
            lost: 0,
        }
    }

    /// Puts an entry in, in the place of its earlier form if there is one.
    pub fn put(&mut self, kept: Kept) {
        let name = kept.world().to_owned();
        if was_claimed(&kept)
            && let Some(nobodys) = self.worlds.get_mut(NOBODY)
            && let Some(earlier) = nobodys.entries.remove(&kept.id)
        {
            self.bytes -= earlier.size();
        }
        let world = self.worlds.entry(name.clone()).or_insert_with(World::new);
        let (id, size) = (kept.id, kept.size());
        self.bytes += size;
        match world.entries.insert(id, Arc::new(kept)) {
            Some(earlier) => self.bytes -= earlier.size(),
            None => self.order.push_back((name.clone(), id)),
        }
        if world.entries.len() > self.most_entries
            && let Some((_, gone)) = world.entries.pop_first()
        {
            self.bytes -= gone.size();
            world.evicted += 1;
        }
        while self.bytes > self.most_bytes && self.evict() {}
        if self.order.len() > 2 * self.most_entries.max(1024) {
            let worlds = &self.worlds;
            self.order.retain(|(name, id)| worlds.get(name).is_some_and(|world| world.entries.contains_key(id)));
        }
        if self.changed.last() != Some(&name) {
            self.changed.push(name);
        }
    }

    /// The oldest entry of all goes. False if there is none.
    fn evict(&mut self) -> bool {
        let Some((name, id)) = self.order.pop_front() else { return false };
        if let Some(world) = self.worlds.get_mut(&name)
            && let Some(gone) = world.entries.remove(&id)
        {
            self.bytes -= gone.size();
            world.evicted += 1;
        }
        true
    }

    /// Wakes who waits for what was put in.
    pub fn tell(&mut self) {
        if self.changed.is_empty() {
            return;
        }
        self.all.send_modify(|n| *n += 1);
        for name in self.changed.drain(..) {
            if let Some(world) = self.worlds.get(&name) {
                world.changed.send_modify(|n| *n += 1);
            }
        }
    }

    /// Whether somebody waits.
    pub fn is_watched(&self) -> bool {
        self.all.receiver_count() > 0 || self.worlds.values().any(|world| world.changed.receiver_count() > 0)
    }

    pub fn view(&mut self, scope: &Scope, revision: u64) -> View {
        let lost = self.lost;
        match scope {
            Scope::World(name) => {
                let world = self.worlds.entry(name.clone()).or_insert_with(World::new);
                let entries = world.entries.values().cloned().collect();
                View { entries, revision, evicted: world.evicted, lost, changed: world.changed.subscribe() }
            }
            Scope::All => {
                let all = self.worlds.values().flat_map(|world| world.entries.values().cloned());
                let mut entries: Vec<Arc<Kept>> = all.collect();
                entries.sort_by_key(|entry| entry.id);
                let evicted = self.worlds.values().map(|world| world.evicted).sum();
                View { entries, revision, evicted, lost, changed: self.all.subscribe() }
            }
        }
    }

    pub fn clear(&mut self, scope: &Scope) {
        let cleared = self.worlds.iter_mut().filter(|(name, _)| match scope {
            Scope::World(own) => *name == own,
            Scope::All => true,
        });
        for (_, world) in cleared {
            self.bytes -= world.entries.values().map(|entry| entry.size()).sum::<usize>();
            world.entries.clear();
            world.evicted = 0;
        }
        // Worlds that nobody waits for need nothing.
        self.worlds.retain(|_, world| !world.entries.is_empty() || world.changed.receiver_count() > 0);
    }
}

impl World {
    fn new() -> World {
        World { entries: BTreeMap::new(), evicted: 0, changed: watch::channel(0).0 }
    }
}
