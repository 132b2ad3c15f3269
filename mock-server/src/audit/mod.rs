//! The audit log: who did what to what, and how it ended; failed attempts too. It is kept in a file of its own, behind one
//! thread that writes in batches, so that no request waits for it. A query goes through the same thread and sees
//! everything that was noted before it.

pub mod actions;
mod filter;

use std::{
    collections::HashSet,
    path::Path,
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    thread::JoinHandle,
};

use chrono::{DateTime, SecondsFormat, Utc};
use parking_lot::Mutex;
use rusqlite::{Connection, params, params_from_iter};
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;

pub use self::filter::{Condition, Field, Test};

/// Entries and queries that wait for the thread; what comes on top is lost, which is logged.
const QUEUE: usize = 8192;
/// Entries of one transaction at most.
const BATCH: usize = 512;
/// After so many new entries old ones beyond the limits go.
const TIDY: usize = 1024;

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS entry (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, organization TEXT NOT NULL, at INTEGER NOT NULL, id TEXT NOT NULL,
        actor TEXT NOT NULL, email TEXT NOT NULL, key_prefix TEXT, key_suffix TEXT, action TEXT NOT NULL,
        target_type TEXT, target TEXT, status INTEGER, record TEXT NOT NULL);
    CREATE INDEX IF NOT EXISTS in_order ON entry (organization, at, seq);";

/// Who did it: a key's user, or the server by itself.
#[derive(Clone, Debug, Default)]
pub struct Actor {
    pub id: String,
    pub email: String,
    /// The first and last three characters of the key.
    pub key: Option<(String, String)>,
}

/// Something that was done, or refused.
#[derive(Clone, Debug)]
pub struct Entry {
    pub actor: Actor,
    pub organization_id: String,
    pub action: &'static str,
    pub target_type: &'static str,
    pub target_id: Option<String>,
    pub status: Option<u16>,
    pub error: Option<String>,
    pub ip: Option<String>,
    pub user_agent: Option<String>,
    pub source: Option<String>,
    pub metadata: Map<String, Value>,
    pub at: DateTime<Utc>,
}

/// `AuditLog` of the contract, in the observed order.
fn dto(id: &str, entry: &Entry) -> Value {
    let key = |part: fn(&(String, String)) -> &String| entry.actor.key.as_ref().map(part);
    json!({
        "id": id,
        "actorId": entry.actor.id,
        "actorEmail": entry.actor.email,
        "actorApiKeyPrefix": key(|key| &key.0),
        "actorApiKeySuffix": key(|key| &key.1),
        "organizationId": entry.organization_id,
        "action": entry.action,
        "targetType": entry.target_type,
        "targetId": entry.target_id,
        "statusCode": entry.status,
        "errorMessage": entry.error,
        "ipAddress": entry.ip,
        "userAgent": entry.user_agent,
        "source": entry.source,
        "metadata": entry.metadata,
        "createdAt": entry.at.to_rfc3339_opts(SecondsFormat::Millis, true),
    })
}

/// How many entries are kept.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub organization: usize,
    pub all: usize,
}

/// Milliseconds since 1970, and the number of an entry: what happened at once is told apart by the order in which it ended.
pub type Place = (i64, i64);

/// A page of entries, newest first by when their requests came.
#[derive(Debug, Default)]
pub struct Page {
    /// Of the contract.
    pub items: Vec<Value>,
    pub total: u64,
    /// Where the next page begins, if there is one: time and number of the last entry.
    pub next: Option<Place>,
}

/// Which page.
#[derive(Debug)]
pub struct Wanted {
    pub organization_id: String,
    pub conditions: Vec<Condition>,
    /// From 1; counts for nothing with `after`.
    pub page: u32,
    pub limit: u32,
    /// A `next` of an earlier page.
    pub after: Option<Place>,
}

enum Job {
    Note(Box<Entry>),
    Find(Box<Wanted>, oneshot::Sender<rusqlite::Result<Page>>),
    Forget(String, oneshot::Sender<()>),
}

/// Notes and finds entries.
pub struct AuditLog {
    queue: Mutex<Option<SyncSender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl AuditLog {
    /// Opens or makes the file. Blocking.
    pub fn open(path: &Path, bounds: Bounds) -> Result<AuditLog, String> {
        let db = Connection::open(path).and_then(prepare).map_err(|error| error.to_string())?;
        let (queue, jobs) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new().name("audit".into()).stack_size(256 * 1024);
        let thread = thread.spawn(move || work(db, &jobs, bounds)).map_err(|error| error.to_string())?;
        Ok(AuditLog { queue: Mutex::new(Some(queue)), thread: Mutex::new(Some(thread)) })
    }

    /// Notes something, soon. Never waits.
    pub fn note(&self, entry: Entry) {
        let queue = self.queue.lock().clone();
        if let Some(Err(TrySendError::Full(_))) = queue.map(|queue| queue.try_send(Job::Note(Box::new(entry)))) {
            tracing::warn!("the audit log can't keep up: an entry is lost");
        }
    }

    /// Entries of an organisation; `None` if the log is closed, too busy or broken.
    pub async fn find(&self, wanted: Wanted) -> Option<Page> {
        let (told, answer) = oneshot::channel();
        self.queue.lock().as_ref()?.try_send(Job::Find(Box::new(wanted), told)).ok()?;
        answer.await.ok()?.inspect_err(|error| tracing::error!(%error, "the audit log can't be read")).ok()
    }

    /// Removes an organisation's entries.
    pub async fn forget(&self, organization_id: &str) {
        let (told, answer) = oneshot::channel();
        let sent = self.queue.lock().as_ref().map(|queue| queue.try_send(Job::Forget(organization_id.into(), told)));
        if matches!(sent, Some(Ok(()))) {
            // A closed log forgets nothing.
            let _ = answer.await;
        }
    }

    /// Writes what is queued and closes the file. Blocking.
    pub fn close(&self) {
        self.queue.lock().take();
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the audit log's thread panicked");
        }
    }
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        self.close();
    }
}

fn prepare(db: Connection) -> rusqlite::Result<Connection> {
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "OFF")?;
    db.pragma_update(None, "cache_size", -256)?;
    db.execute_batch(SCHEMA)?;
    Ok(db)
}

fn work(mut db: Connection, jobs: &Receiver<Job>, bounds: Bounds) {
    let (mut fresh, mut whose) = (0, HashSet::new());
    while let Ok(first) = jobs.recv() {
        let batch: Vec<Job> = std::iter::once(first).chain(jobs.try_iter().take(BATCH - 1)).collect();
        let mut noted = Vec::new();
        for job in batch {
            match job {
                Job::Note(entry) => noted.push(*entry),
                Job::Find(wanted, told) => {
                    write(&mut db, &mut noted, &mut fresh, &mut whose);
                    // Who asked may be gone.
                    let _ = told.send(find(&db, &wanted));
                }
                Job::Forget(organization, told) => {
                    write(&mut db, &mut noted, &mut fresh, &mut whose);
                    let gone = db.execute("DELETE FROM entry WHERE organization = ?1", params![organization]);
                    report(gone.map(drop));
                    let _ = told.send(());
                }
            }
        }
        write(&mut db, &mut noted, &mut fresh, &mut whose);
        if fresh >= TIDY {
            report(tidy(&db, bounds, &whose));
            fresh = 0;
            whose.clear();
        }
    }
}

fn report(result: rusqlite::Result<()>) {
    if let Err(error) = result {
        tracing::error!(%error, "the audit log refused a change");
    }
}

fn write(db: &mut Connection, noted: &mut Vec<Entry>, fresh: &mut usize, whose: &mut HashSet<String>) {
    if noted.is_empty() {
        return;
    }
    *fresh += noted.len();
    whose.extend(noted.iter().map(|entry| entry.organization_id.clone()));
    report(insert(db, noted));
    noted.clear();
}

fn insert(db: &mut Connection, entries: &[Entry]) -> rusqlite::Result<()> {
    let tx = db.transaction()?;
    for entry in entries {
        let id = uuid::Uuid::new_v4().to_string();
        let record = dto(&id, entry).to_string();
        let (prefix, suffix) = entry.actor.key.clone().unzip();
        tx.prepare_cached(
            "INSERT INTO entry (organization, at, id, actor, email, key_prefix, key_suffix, action, target_type, target, \
             status, record) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?
        .execute(params![
            entry.organization_id,
            entry.at.timestamp_millis(),
            id,
            entry.actor.id,
            entry.actor.email,
            prefix,
            suffix,
            entry.action,
            entry.target_type,
            entry.target_id,
            entry.status,
            record,
        ])?;
    }
    tx.commit()
}

fn tidy(db: &Connection, bounds: Bounds, whose: &HashSet<String>) -> rusqlite::Result<()> {
    let most = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let beyond = "SELECT seq FROM entry WHERE organization = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2";
    let statement = format!("DELETE FROM entry WHERE organization = ?1 AND seq <= ({beyond})");
    for organization in whose {
        db.prepare_cached(&statement)?.execute(params![organization, most(bounds.organization)])?;
    }
    let all = "DELETE FROM entry WHERE seq <= (SELECT seq FROM entry ORDER BY seq DESC LIMIT 1 OFFSET ?1)";
    db.execute(all, params![most(bounds.all)]).map(drop)
}

fn find(db: &Connection, wanted: &Wanted) -> rusqlite::Result<Page> {
    let (mut clause, mut values) = ("organization = ?".to_owned(), vec![wanted.organization_id.clone().into()]);
    for condition in &wanted.conditions {
        clause.push_str(" AND ");
        condition.write(&mut clause, &mut values);
    }
    let count = format!("SELECT count(*) FROM entry WHERE {clause}");
    let total: i64 = db.prepare(&count)?.query_row(params_from_iter(&values), |row| row.get(0))?;
    let skip = match wanted.after {
        Some((at, seq)) => {
            clause.push_str(" AND (at, seq) < (?, ?)");
            values.extend([rusqlite::types::Value::from(at), seq.into()]);
            0
        }
        None => i64::from(wanted.page.saturating_sub(1)) * i64::from(wanted.limit),
    };
    let limit = i64::from(wanted.limit);
    values.extend([rusqlite::types::Value::from(limit + 1), skip.into()]);
    let select =
        format!("SELECT at, seq, record FROM entry WHERE {clause} ORDER BY at DESC, seq DESC LIMIT ? OFFSET ?");
    let mut statement = db.prepare(&select)?;
    let rows = statement.query_map(params_from_iter(&values), |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?;
    let mut rows: Vec<(Place, String)> = rows.collect::<rusqlite::Result<_>>()?;
    let more = rows.len() as i64 > limit;
    rows.truncate(wanted.limit as usize);
    let next = rows.last().map(|(place, _)| *place).filter(|_| more);
    let items = rows.iter().filter_map(|(_, record)| serde_json::from_str(record).ok()).collect();
    Ok(Page { items, total: u64::try_from(total).unwrap_or(0), next })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(organization: &str, action: &'static str, status: u16) -> Entry {
        Entry {
            actor: Actor { id: "u".into(), email: "u@example.com".into(), key: Some(("dtn".into(), "abc".into())) },
            organization_id: organization.into(),
            action,
            target_type: "sandbox",
            target_id: Some("x".into()),
            status: Some(status),
            error: None,
            ip: None,
            user_agent: None,
            source: None,
            metadata: Map::new(),
            at: DateTime::UNIX_EPOCH,
        }
    }

    fn wanted(conditions: Vec<Condition>, page: u32, limit: u32) -> Wanted {
        Wanted { organization_id: "a".into(), conditions, page, limit, after: None }
    }

    #[tokio::test]
    async fn entries_are_found_in_pages_after_a_restart_too() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("audit.sqlite");
        let bounds = Bounds { organization: 100, all: 1000 };
        let log = AuditLog::open(&path, bounds).expect("opens");
        for status in 200..205 {
            log.note(entry("a", "start", status));
        }
        log.note(entry("b", "start", 200));
        log.close();
        assert!(log.find(wanted(Vec::new(), 1, 2)).await.is_none(), "closed");
        let log = AuditLog::open(&path, bounds).expect("opens again");
        let page = log.find(wanted(Vec::new(), 1, 2)).await.expect("a page");
        assert_eq!((page.total, page.items.len(), &page.items[0]["statusCode"]), (5, 2, &json!(204)));
        let next = Wanted { after: page.next, ..wanted(Vec::new(), 1, 10) };
        let rest = log.find(next).await.expect("a page");
        assert_eq!((rest.items.len(), rest.next, &rest.items[0]["statusCode"]), (3, None, &json!(202)));
        let two = vec![Condition::new(Field::Status, Test::In(vec![200.into(), 203.into()]))];
        assert_eq!(log.find(wanted(two, 1, 10)).await.expect("a page").total, 2);
        log.forget("a").await;
        assert_eq!(log.find(wanted(Vec::new(), 1, 10)).await.expect("a page").total, 0);
    }

    #[tokio::test]
    async fn old_entries_make_room() {
        let dir = tempfile::tempdir().expect("temp dir");
        let log = AuditLog::open(&dir.path().join("a"), Bounds { organization: 10, all: 1000 }).expect("opens");
        for _ in 0..TIDY {
            log.note(entry("a", "stop", 200));
        }
        let kept = log.find(wanted(Vec::new(), 1, 1)).await.expect("a page");
        let later = log.find(wanted(Vec::new(), 1, 1)).await.expect("a page");
        assert!(kept.total <= TIDY as u64 && later.total == 10, "{} then {}", kept.total, later.total);
    }
}
