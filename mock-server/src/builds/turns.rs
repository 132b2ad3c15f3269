//! Whose turn it is with the caches of `RUN --mount=type=cache` that only one step may have at a time.

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, Weak},
};

use parking_lot::Mutex;
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

/// Held as long as the step runs.
pub type Held = OwnedMutexGuard<()>;

/// Of this process, as a data directory is: by the directories of caches.
static TURNS: LazyLock<Mutex<HashMap<PathBuf, Weak<Turn<()>>>>> = LazyLock::new(Mutex::default);

/// Waits for all of them. In the order of their names, so that no two steps wait for each other.
pub async fn wait(places: BTreeSet<PathBuf>) -> Vec<Held> {
    let mut held = Vec::with_capacity(places.len());
    for place in places {
        held.push(turn(&place).lock_owned().await);
    }
    held
}

/// Takes one if nobody has it.
pub fn take(place: &Path) -> Option<Held> {
    turn(place).try_lock_owned().ok()
}

fn turn(place: &Path) -> Arc<Turn<()>> {
    let mut turns = TURNS.lock();
    turns.retain(|_, turn| turn.strong_count() > 0);
    if let Some(turn) = turns.get(place).and_then(Weak::upgrade) {
        return turn;
    }
    let turn = Arc::default();
    turns.insert(place.to_owned(), Arc::downgrade(&turn));
    turn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_has_it_and_the_next_one_after_that() {
        let places: BTreeSet<PathBuf> = ["/turns/a", "/turns/b"].map(PathBuf::from).into();
        let held = wait(places.clone()).await;
        assert!(take(Path::new("/turns/b")).is_none() && take(Path::new("/turns/c")).is_some());
        let next = tokio::spawn(wait(places));
        drop(held);
        drop(next.await.expect("its turn"));
        assert!(take(Path::new("/turns/a")).is_some());
    }
}
