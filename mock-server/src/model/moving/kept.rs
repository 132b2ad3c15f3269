//! What is deleted while a world is saved: its record goes at once, its files when the save is over, so that an archive
//! holds all that was there when the save began.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::model::ControlPlane;

/// By organisation: shared by those who remove files, whole for a save.
#[derive(Default)]
pub(in crate::model) struct Kept(Mutex<HashMap<String, Weak<RwLock<()>>>>);

impl Kept {
    pub fn of(&self, organization_id: &str) -> Arc<RwLock<()>> {
        let mut all = self.0.lock();
        if let Some(lock) = all.get(organization_id).and_then(Weak::upgrade) {
            return lock;
        }
        all.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::default();
        all.insert(organization_id.to_owned(), Arc::downgrade(&lock));
        lock
    }
}

impl ControlPlane {
    /// The right to remove files of an organisation, which a save may hold up. For who has taken away the record already:
    /// a save that begins later doesn't know the files. Never with the store's turn, for it can take long.
    pub(in crate::model) async fn may_remove(&self, organization_id: &str) -> OwnedRwLockReadGuard<()> {
        self.kept.of(organization_id).read_owned().await
    }

    /// No file of an organisation goes while this is held. After the turns of its sandboxes, which whoever removes files
    /// may have.
    pub(super) async fn keep_files(&self, organization_id: &str) -> OwnedRwLockWriteGuard<()> {
        self.kept.of(organization_id).write_owned().await
    }
}
