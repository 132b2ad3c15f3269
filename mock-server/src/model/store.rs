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
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread::JoinHandle,
};

use parking_lot::Mutex;
use rusqlite::{Connection, Transaction, params};
use tokio::sync::{OwnedMutexGuard, oneshot};

use super::{
    OpenError,
    error::{ErrorKind, ModelError},
};

/// Changes of the schema, oldest first; `user_version` counts the applied ones.
const MIGRATIONS: &[&str] = &[
    "CREATE TABLE organization (id TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
     CREATE TABLE api_key (hash TEXT PRIMARY KEY, organization_id TEXT NOT NULL, record TEXT NOT NULL) WITHOUT ROWID;
     CREATE TABLE sandbox (id TEXT PRIMARY KEY, organization_id TEXT NOT NULL, record TEXT NOT NULL) WITHOUT ROWID;
     CREATE TABLE signed_preview (token TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;",
    "CREATE TABLE preview_port (listener TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;",
    "CREATE TABLE snapshot (id TEXT PRIMARY KEY, organization_id TEXT NOT NULL, record TEXT NOT NULL) WITHOUT ROWID;",
    "CREATE TABLE registry (id TEXT PRIMARY KEY, organization_id TEXT NOT NULL, record TEXT NOT NULL) WITHOUT ROWID;",
    // One table for all kinds, so that a new kind needs no migration.
    "CREATE TABLE record (kind TEXT NOT NULL, key TEXT NOT NULL, organization_id TEXT NOT NULL, record TEXT NOT NULL,
         PRIMARY KEY (kind, key)) WITHOUT ROWID;
     INSERT INTO record SELECT 'organization', id, '', record FROM organization;
     INSERT INTO record SELECT 'api_key', hash, organization_id, record FROM api_key;
     INSERT INTO record SELECT 'sandbox', id, organization_id, record FROM sandbox;
     INSERT INTO record SELECT 'signed_preview', token, '', record FROM signed_preview;
     INSERT INTO record SELECT 'preview_port', listener, '', record FROM preview_port;
     INSERT INTO record SELECT 'snapshot', id, organization_id, record FROM snapshot;
     INSERT INTO record SELECT 'registry', id, organization_id, record FROM registry;
     DROP TABLE organization; DROP TABLE api_key; DROP TABLE sandbox; DROP TABLE signed_preview;
     DROP TABLE preview_port; DROP TABLE snapshot; DROP TABLE registry;",
];

/// A kind of record.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Organization,
    ApiKey,
    Sandbox,
    SignedPreview,
    PreviewPort,
    Snapshot,
    Registry,
    Region,
    WarmPool,
    Secret,
    Webhook,
    WebhookDelivery,
    SshAccess,
    Volume,
    Object,
    /// What a minted organisation has besides its key.
    WorldTerms,
}

impl Kind {
    /// Its name in the file.
    fn name(self) -> &'static str {
        match self {
            Kind::Organization => "organization",
            Kind::ApiKey => "api_key",
            Kind::Sandbox => "sandbox",
            Kind::SignedPreview => "signed_preview",
            Kind::PreviewPort => "preview_port",
            Kind::Snapshot => "snapshot",
            Kind::Registry => "registry",
            Kind::Region => "region",
            Kind::WarmPool => "warm_pool",
            Kind::Secret => "secret",
            Kind::Webhook => "webhook",
            Kind::WebhookDelivery => "webhook_delivery",
            Kind::SshAccess => "ssh_access",
            Kind::Volume => "volume",
            Kind::Object => "object",
            Kind::WorldTerms => "world_terms",
        }
    }
}

/// One change of one record.
#[derive(Debug)]
pub enum Write {
    /// Inserts or replaces. `organization` is empty where the record belongs to none.
    Put {
        kind: Kind,
        key: String,
        organization: String,
        record: String,
    },
    Delete {
        kind: Kind,
        key: String,
    },
    /// Every record that belongs to an organisation.
    DeleteOwned {
        organization: String,
    },
}

struct Job {
    writes: Vec<Write>,
    /// Told how it went, on the writer's thread.
    then: Box<dyn FnOnce(Result<(), ModelError>) + Send>,
}

/// Resolves when the change is committed and applied. Dropping it doesn't undo the change.
#[must_use = "an answer must wait for its commit"]
pub struct Commit(oneshot::Receiver<Result<(), ModelError>>);

impl Commit {
    pub async fn wait(self) -> Result<(), ModelError> {
        match self.0.await {
            Ok(done) => done,
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
        let then = Box::new(move |result: Result<(), ModelError>| {
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

/// Everything that the file held at start, as JSON texts by kind.
#[derive(Default)]
pub struct Contents(HashMap<String, Vec<String>>);

impl Contents {
    pub fn of(&self, kind: Kind) -> &[String] {
        self.0.get(kind.name()).map_or(&[], Vec::as_slice)
    }
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
    let mut contents = HashMap::<String, Vec<String>>::new();
    let mut statement = db.prepare("SELECT kind, record FROM record")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        contents.entry(row.get(0)?).or_default().push(row.get(1)?);
    }
    Ok(Contents(contents))
}

/// The writer thread.
fn write_all(mut db: Connection, jobs: &mpsc::Receiver<Job>) {
    while let Ok(Job { writes, then }) = jobs.recv() {
        then(commit(&mut db, &writes).map_err(|error| {
            tracing::error!(reason = error.to_string(), "the store refused a change");
            refusal(&error)
        }));
    }
}

fn refusal(error: &rusqlite::Error) -> ModelError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => ModelError::new(ErrorKind::Full, "The server's disk is full"),
        _ => ModelError::internal(format!("the store: {error}")),
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
        Write::Put { kind, key, organization, record } => tx
            .prepare_cached("INSERT OR REPLACE INTO record VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![kind.name(), key, organization, record]),
        Write::Delete { kind, key } => {
            tx.prepare_cached("DELETE FROM record WHERE kind = ?1 AND key = ?2")?.execute(params![kind.name(), key])
        }
        Write::DeleteOwned { organization } => {
            let statement = "DELETE FROM record WHERE organization_id = ?1 AND organization_id != ''";
            tx.prepare_cached(statement)?.execute(params![organization])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, record: &str) -> Write {
        Write::Put { kind: Kind::Sandbox, key: key.into(), organization: "o".into(), record: record.into() }
    }

    #[tokio::test]
    async fn what_is_committed_is_there_after_opening_again() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("control.sqlite");
        let (store, contents) = Store::open(&path).expect("opens");
        assert!(contents.of(Kind::Sandbox).is_empty());
        store.turn().await.note(vec![put("a", "1")]);
        store.turn().await.commit(vec![put("b", "2")], || ()).wait().await.expect("commits");
        let delete = Write::Delete { kind: Kind::Sandbox, key: "a".into() };
        store.turn().await.commit(vec![delete], || ()).wait().await.expect("commits");
        store.close();
        assert!(store.turn().await.commit(vec![put("c", "3")], || ()).wait().await.is_err(), "closed");
        assert_eq!(Store::open(&path).expect("opens again").1.of(Kind::Sandbox), ["2"]);
    }

    #[tokio::test]
    async fn what_is_refused_is_not_applied_and_half_of_it_is_not_written() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("control.sqlite");
        let (store, _) = Store::open(&path).expect("opens");
        let trigger =
            "CREATE TRIGGER full BEFORE INSERT ON record WHEN NEW.key = 'bad' BEGIN SELECT RAISE(FAIL, 'full'); END";
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
        assert_eq!(Store::open(&path).expect("opens again").1.of(Kind::Sandbox), ["3"]);
    }

    #[test]
    fn a_file_of_an_older_server_is_brought_up_to_date() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("control.sqlite");
        let old = Connection::open(&path).expect("opens");
        for migration in &MIGRATIONS[..4] {
            old.execute_batch(migration).expect("migrates");
        }
        old.execute_batch("PRAGMA user_version = 4; INSERT INTO sandbox VALUES ('a', 'o', '1')").expect("a record");
        drop(old);
        let (_, contents) = Store::open(&path).expect("opens");
        assert_eq!(contents.of(Kind::Sandbox), ["1"]);
        assert!(contents.of(Kind::Organization).is_empty());
    }

    #[test]
    fn a_file_of_a_newer_server_is_refused() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("control.sqlite");
        Connection::open(&path).expect("opens").pragma_update(None, "user_version", 99).expect("sets");
        let text = Store::open(&path).err().expect("refused").to_string();
        assert!(text.contains("newer"), "{text}");
    }

    #[test]
    fn a_full_disk_is_told_and_nothing_changes() {
        let mut db = Connection::open_in_memory().expect("a store");
        prepare(&mut db).expect("a store").expect("of ours");
        commit(&mut db, &[put("a", "small")]).expect("fits");
        let pages: i64 = db.pragma_query_value(None, "page_count", |row| row.get(0)).expect("a number");
        db.pragma_update(None, "max_page_count", pages).expect("set");
        let error = commit(&mut db, &[put("a", "changed"), put("b", &"x".repeat(1 << 20))]).expect_err("doesn't fit");
        assert_eq!(refusal(&error).kind, ErrorKind::Full, "{error}");
        let kept = read(&db).expect("read").0;
        assert_eq!(kept.values().flatten().collect::<Vec<_>>(), ["small"]);
    }
}
