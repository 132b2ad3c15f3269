//! What survives the server: an SQLite file behind one writer thread.
//!
//! Every acknowledged change is committed before its answer. `synchronous=OFF` with a write-ahead log means: it
//! survives the server's SIGKILL (the kernel has the pages), a power loss is not promised. Records are JSON in one
//! column: everything is read once at start, all questions are answered from memory.
//!
//! Writes come first, memory follows: whoever wants to change something takes a [`Turn`], decides by what it reads,
//! commits, and what is committed is applied to memory by the writer itself, so that a client that goes away can't
//! part the two. A change that the store refuses (a full disk) has never happened.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread::JoinHandle,
};

use parking_lot::Mutex;
use rusqlite::{Connection, Transaction, params};
use tokio::sync::{OwnedMutexGuard, oneshot};

use super::{OpenError, error::ModelError};

/// Changes of the schema, oldest first; `user_version` counts the applied ones.
const MIGRATIONS: &[&str] = &[
    "CREATE TABLE organization (id TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
     CREATE TABLE api_key (hash TEXT PRIMARY KEY, organization_id TEXT NOT NULL, record TEXT NOT NULL) WITHOUT ROWID;
     CREATE TABLE sandbox (id TEXT PRIMARY KEY, organization_id TEXT NOT NULL, record TEXT NOT NULL) WITHOUT ROWID;
     CREATE TABLE signed_preview (token TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;",
    "CREATE TABLE preview_port (listener TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;",
    "CREATE TABLE snapshot (id TEXT PRIMARY KEY, organization_id TEXT NOT NULL, record TEXT NOT NULL) WITHOUT ROWID;",
    "CREATE TABLE registry (id TEXT PRIMARY KEY, organization_id TEXT NOT NULL, record TEXT NOT NULL) WITHOUT ROWID;",
];

/// A kind of record.
#[derive(Clone, Copy, Debug)]
pub enum Table {
    Organization,
    ApiKey,
    Sandbox,
    SignedPreview,
    PreviewPort,
    Snapshot,
    Registry,
}

/// One change of one record.
#[derive(Debug)]
pub enum Write {
    /// Inserts or replaces. `organization` is a column of keys and sandboxes.
    Put {
        table: Table,
        key: String,
        organization: String,
        record: String,
    },
    Delete {
        table: Table,
        key: String,
    },
}

struct Job {
    writes: Vec<Write>,
    /// Told how it went, on the writer's thread.
    then: Box<dyn FnOnce(Result<(), String>) + Send>,
}

/// Resolves when the change is committed and applied. Dropping it doesn't undo the change.
#[must_use = "an answer must wait for its commit"]
pub struct Commit(oneshot::Receiver<Result<(), String>>);

impl Commit {
    pub async fn wait(self) -> Result<(), ModelError> {
        match self.0.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(reason)) => Err(ModelError::internal(format!("the store: {reason}"))),
            Err(_) => Err(ModelError::internal("the store is closed")),
        }
    }
}

/// Hands changes to the writer thread.
pub struct Store {
    queue: Mutex<Option<mpsc::Sender<Job>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    turns: Arc<tokio::sync::Mutex<()>>,
}

/// The right to change something. One at a time has it, so that what its holder reads stays true until its change is
/// committed and applied. It ends with that, or when it is dropped.
pub struct Turn<'a> {
    store: &'a Store,
    guard: OwnedMutexGuard<()>,
}

impl Turn<'_> {
    /// Commits all writes or none, then runs `apply` if they were committed. Both happen even if nobody waits.
    pub fn commit(self, writes: Vec<Write>, apply: impl FnOnce() + Send + 'static) -> Commit {
        let (done, commit) = oneshot::channel();
        let guard = self.guard;
        let then = Box::new(move |result: Result<(), String>| {
            if result.is_ok() {
                apply();
            }
            drop(guard);
            // Nobody waits for what is only noted; that's fine.
            let _ = done.send(result);
        });
        if let Some(queue) = &*self.store.queue.lock() {
            // A writer that is gone drops `done`, which the commit reports.
            let _ = queue.send(Job { writes, then });
        }
        Commit(commit)
    }

    /// Writes what is true already and nobody waits for. A refusal is logged; the next write of the record makes up for it.
    pub fn note(self, writes: Vec<Write>) {
        drop(self.commit(writes, || ()));
    }
}

/// Everything that the file held at start, as JSON texts.
#[derive(Default)]
pub struct Contents {
    pub organizations: Vec<String>,
    pub api_keys: Vec<String>,
    pub sandboxes: Vec<String>,
    pub signed_previews: Vec<String>,
    pub preview_ports: Vec<String>,
    pub snapshots: Vec<String>,
    pub registries: Vec<String>,
}

impl Store {
    /// Opens or makes the file, brings its schema up to date and reads it. Blocking.
    pub fn open(path: &Path) -> Result<(Store, Contents), OpenError> {
        let error = |reason: String| OpenError::Store { path: PathBuf::from(path), reason };
        let mut db = Connection::open(path).map_err(|e| error(e.to_string()))?;
        prepare(&mut db).map_err(|e| error(e.to_string()))?.map_err(error)?;
        let contents = read(&db).map_err(|e| error(e.to_string()))?;
        let (queue, jobs) = mpsc::channel();
        let writer = std::thread::Builder::new()
            .name("store".into())
            .stack_size(256 * 1024)
            .spawn(move || write_all(db, &jobs))
            .map_err(|source| OpenError::Io { what: "the store's thread".into(), source })?;
        let (queue, writer) = (Mutex::new(Some(queue)), Mutex::new(Some(writer)));
        Ok((Store { queue, writer, turns: Arc::default() }, contents))
    }

    /// Waits, in the order of the calls, for the right to change something.
    pub async fn turn(&self) -> Turn<'_> {
        Turn { store: self, guard: self.turns.clone().lock_owned().await }
    }

    /// The right to change something, if nobody else is at it: for what can as well be written the next time.
    pub fn try_turn(&self) -> Option<Turn<'_>> {
        Some(Turn { store: self, guard: self.turns.clone().try_lock_owned().ok()? })
    }

    /// Commits what is queued and closes the file. Blocking.
    pub fn close(&self) {
        self.queue.lock().take();
        if let Some(writer) = self.writer.lock().take()
            && writer.join().is_err()
        {
            tracing::error!("the store's writer panicked");
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

/// Brings the schema up to date; the inner error says why this server can't.
fn prepare(db: &mut Connection) -> rusqlite::Result<Result<(), String>> {
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "OFF")?;
    // One process owns the file; 512 KiB of cache are plenty for a write-through store.
    db.pragma_update(None, "cache_size", -512)?;
    let done: usize = db.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))?.try_into().unwrap_or(0);
    if done > MIGRATIONS.len() {
        let known = MIGRATIONS.len();
        return Ok(Err(format!("made by a newer daytona-mock (schema {done}, this one knows {known})")));
    }
    for (i, migration) in MIGRATIONS.iter().enumerate().skip(done) {
        let tx = db.transaction()?;
        tx.execute_batch(migration)?;
        tx.pragma_update(None, "user_version", (i + 1) as i64)?;
        tx.commit()?;
    }
    Ok(Ok(()))
}

fn read(db: &Connection) -> rusqlite::Result<Contents> {
    let all = |table: &str| -> rusqlite::Result<Vec<String>> {
        db.prepare(&format!("SELECT record FROM {table}"))?.query_map([], |row| row.get(0))?.collect()
    };
    Ok(Contents {
        organizations: all("organization")?,
        api_keys: all("api_key")?,
        sandboxes: all("sandbox")?,
        signed_previews: all("signed_preview")?,
        preview_ports: all("preview_port")?,
        snapshots: all("snapshot")?,
        registries: all("registry")?,
    })
}

/// The writer thread.
fn write_all(mut db: Connection, jobs: &mpsc::Receiver<Job>) {
    while let Ok(Job { writes, then }) = jobs.recv() {
        let result = commit(&mut db, &writes).map_err(|e| e.to_string());
        if let Err(reason) = &result {
            tracing::error!(reason, "the store refused a change");
        }
        then(result);
    }
}

fn commit(db: &mut Connection, writes: &[Write]) -> rusqlite::Result<()> {
    let tx = db.transaction()?;
    for write in writes {
        apply(&tx, write)?;
    }
    tx.commit()
}

fn apply(tx: &Transaction, write: &Write) -> rusqlite::Result<usize> {
    match write {
        Write::Put { table, key, organization, record } => {
            match table {
                Table::Organization => tx
                    .prepare_cached("INSERT OR REPLACE INTO organization VALUES (?1, ?2)")?
                    .execute(params![key, record]),
                Table::SignedPreview => tx
                    .prepare_cached("INSERT OR REPLACE INTO signed_preview VALUES (?1, ?2)")?
                    .execute(params![key, record]),
                Table::PreviewPort => tx
                    .prepare_cached("INSERT OR REPLACE INTO preview_port VALUES (?1, ?2)")?
                    .execute(params![key, record]),
                Table::ApiKey => tx
                    .prepare_cached("INSERT OR REPLACE INTO api_key VALUES (?1, ?2, ?3)")?
                    .execute(params![key, organization, record]),
                Table::Registry => tx
                    .prepare_cached("INSERT OR REPLACE INTO registry VALUES (?1, ?2, ?3)")?
                    .execute(params![key, organization, record]),
                Table::Snapshot => tx
                    .prepare_cached("INSERT OR REPLACE INTO snapshot VALUES (?1, ?2, ?3)")?
                    .execute(params![key, organization, record]),
                Table::Sandbox => tx
                    .prepare_cached("INSERT OR REPLACE INTO sandbox VALUES (?1, ?2, ?3)")?
                    .execute(params![key, organization, record]),
            }
        }
        Write::Delete { table, key } => {
            let statement = match table {
                Table::Organization => "DELETE FROM organization WHERE id = ?1",
                Table::ApiKey => "DELETE FROM api_key WHERE hash = ?1",
                Table::Registry => "DELETE FROM registry WHERE id = ?1",
                Table::Snapshot => "DELETE FROM snapshot WHERE id = ?1",
                Table::Sandbox => "DELETE FROM sandbox WHERE id = ?1",
                Table::SignedPreview => "DELETE FROM signed_preview WHERE token = ?1",
                Table::PreviewPort => "DELETE FROM preview_port WHERE listener = ?1",
            };
            tx.prepare_cached(statement)?.execute(params![key])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, record: &str) -> Write {
        Write::Put { table: Table::Sandbox, key: key.into(), organization: "o".into(), record: record.into() }
    }

    #[tokio::test]
    async fn what_is_committed_is_there_after_opening_again() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("control.sqlite");
        let (store, contents) = Store::open(&path).expect("opens");
        assert!(contents.sandboxes.is_empty());
        store.turn().await.note(vec![put("a", "1")]);
        store.turn().await.commit(vec![put("b", "2")], || ()).wait().await.expect("commits");
        let delete = Write::Delete { table: Table::Sandbox, key: "a".into() };
        store.turn().await.commit(vec![delete], || ()).wait().await.expect("commits");
        store.close();
        assert!(store.turn().await.commit(vec![put("c", "3")], || ()).wait().await.is_err(), "closed");
        assert_eq!(Store::open(&path).expect("opens again").1.sandboxes, ["2"]);
    }

    #[tokio::test]
    async fn what_is_refused_is_not_applied_and_half_of_it_is_not_written() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("control.sqlite");
        let (store, _) = Store::open(&path).expect("opens");
        let trigger =
            "CREATE TRIGGER full BEFORE INSERT ON sandbox WHEN NEW.id = 'bad' BEGIN SELECT RAISE(FAIL, 'full'); END";
        Connection::open(&path).expect("opens").execute_batch(trigger).expect("a trigger");
        let applied = Arc::new(Mutex::new(0));
        let count = || {
            let applied = applied.clone();
            move || *applied.lock() += 1
        };
        let refused = store.turn().await.commit(vec![put("good", "1"), put("bad", "2")], count()).wait().await;
        assert!(refused.is_err_and(|error| error.message.contains("full")));
        // Its turn is over all the same; nobody waits for the next one, and it is applied.
        drop(store.turn().await.commit(vec![put("later", "3")], count()));
        drop(store.turn().await);
        assert_eq!(*applied.lock(), 1);
        store.close();
        assert_eq!(Store::open(&path).expect("opens again").1.sandboxes, ["3"]);
    }

    #[test]
    fn a_file_of_a_newer_server_is_refused() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("control.sqlite");
        Connection::open(&path).expect("opens").pragma_update(None, "user_version", 99).expect("sets");
        let text = Store::open(&path).err().expect("refused").to_string();
        assert!(text.contains("newer"), "{text}");
    }
}
