use http::{HeaderMap, Method, StatusCode};
use serde_json::Value;

use super::{exchange::Place, *};

struct World {
    journal: Journal,
    dir: tempfile::TempDir,
}

fn world(entries: usize, memory: usize) -> World {
    let dir = tempfile::tempdir().expect("temp dir");
    let limits = Limits { journal_entries: entries, journal_memory: memory, journal_file: 4000, ..Limits::default() };
    World { journal: Journal::new(dir.path().join("journal"), &limits).expect("starts"), dir }
}

impl World {
    fn begin(&self, organization: &str, path: &str) -> Recording {
        let place = Place { plane: Plane::Api, sandbox: None, port: None, secure: false };
        let owner = Owner { organization_id: organization.into(), key_name: None };
        let (method, uri) = (Method::GET, path.parse().expect("a path"));
        let id = self.journal.next_id();
        let exchange = Exchange::new(id, chrono::Utc::now(), place, method, uri, HeaderMap::new(), Some(owner));
        Recording::new(Arc::new(exchange), self.journal.clone())
    }

    fn done(&self, organization: &str, path: &str) {
        let mut recording = self.begin(organization, path);
        recording.head(StatusCode::OK, &HeaderMap::new());
        recording.end(3, Vec::new(), true);
    }

    async fn paths(&self, organization: &str) -> Vec<String> {
        let view = self.journal.read(&Scope::World(organization.into())).await.expect("a view");
        view.entries.iter().map(|entry| entry.path.clone()).collect()
    }
}

#[tokio::test]
async fn what_is_over_is_there_at_once_in_the_order_of_its_beginning() {
    let world = world(100, 1 << 20);
    let first = world.begin("a", "/api/sandbox/1");
    world.done("a", "/api/sandbox/2");
    world.done("b", "/api/sandbox/3");
    assert_eq!(world.paths("a").await, ["/api/sandbox/2"]);
    drop(first);
    let view = world.journal.read(&Scope::World("a".into())).await.expect("a view");
    let entries: Vec<Value> =
        view.entries.iter().map(|entry| serde_json::from_str(&entry.json).expect("JSON")).collect();
    assert_eq!((&entries[0]["path"], &entries[0]["aborted"]), (&"/api/sandbox/1".into(), &true.into()));
    assert_eq!((&entries[1]["operationId"], &entries[1]["status"]), (&"getSandbox".into(), &200.into()));
    assert!(entries[0]["revision"].as_u64() > entries[1]["revision"].as_u64(), "it was over later");
    assert_eq!(world.journal.read(&Scope::All).await.expect("a view").entries.len(), 3);
}

#[tokio::test]
async fn memory_is_bounded_and_says_what_it_lost() {
    let many = world(3, 1 << 20);
    for n in 0..5 {
        many.done("a", &format!("/api/{n}"));
    }
    many.done("b", "/api/b");
    assert_eq!(many.paths("a").await, ["/api/2", "/api/3", "/api/4"]);
    assert_eq!(many.journal.read(&Scope::World("a".into())).await.expect("a view").evicted, 2);
    let small = world(1000, 5000);
    for n in 0..100 {
        small.done(if n % 2 == 0 { "a" } else { "b" }, &format!("/api/{n}"));
    }
    let view = small.journal.read(&Scope::All).await.expect("a view");
    assert!(view.entries.len() < 20 && view.entries.len() as u64 + view.evicted == 100, "{}", view.entries.len());
    assert_eq!(view.entries.last().expect("one").path, "/api/99", "the oldest went");
}

#[tokio::test]
async fn one_world_is_forgotten_and_not_the_other() {
    let world = world(100, 1 << 20);
    world.done("a", "/api/1");
    world.done("b", "/api/2");
    world.journal.clear(&Scope::World("a".into())).await;
    assert!(world.paths("a").await.is_empty());
    assert_eq!(world.paths("b").await, ["/api/2"]);
    world.done("a", "/api/3");
    assert_eq!(world.paths("a").await, ["/api/3"]);
    world.journal.close();
    let line = |name: &str| std::fs::read_to_string(world.dir.path().join("journal").join(name)).expect("a file");
    assert!(line("a.jsonl").contains("/api/3") && !line("a.jsonl").contains("/api/1"));
    assert!(line("b.jsonl").contains("/api/2"));
}

#[tokio::test]
async fn files_are_rotated() {
    let world = world(100, 1 << 20);
    for n in 0..200 {
        world.done("a", &format!("/api/{n}"));
        if n % 10 == 0 {
            // Each batch is a write.
            world.journal.read(&Scope::All).await.expect("a view");
            world.journal.0.wake.notify_one();
        }
    }
    world.journal.close();
    let dir = world.dir.path().join("journal");
    let sizes: Vec<u64> = ["a.jsonl", "a.1.jsonl"].map(|name| dir.join(name).metadata().map_or(0, |m| m.len())).into();
    assert!(sizes[1] > 4000, "{sizes:?}");
    let text = std::fs::read_to_string(dir.join("a.1.jsonl")).expect("a file");
    assert!(text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
}

#[tokio::test]
async fn waiting_ends_with_the_entry_or_the_patience() {
    let world = world(100, 1 << 20);
    let (scope, mut filter) = (Scope::World("a".into()), Filter::default());
    filter.set("operation", "getSandbox").expect("a filter");
    let waiting = tokio::spawn({
        let (journal, scope, filter) = (world.journal.clone(), scope.clone(), filter.clone());
        async move { journal.until(&scope, &filter, 2, Duration::from_secs(20)).await.map(|view| view.entries.len()) }
    });
    for path in ["/api/sandbox/1", "/api/config", "/api/sandbox/2"] {
        tokio::task::yield_now().await;
        world.done("a", path);
    }
    assert_eq!(waiting.await.expect("no panic").ok(), Some(2));
    let late = world.journal.until(&scope, &filter, 3, Duration::from_millis(20)).await;
    assert_eq!(late.err().flatten().map(|view| view.entries.len()), Some(2));
}

#[test]
fn inner_paths_of_the_toolbox() {
    assert_eq!(entry::inner("/toolbox/x/process/execute"), "/process/execute");
    assert_eq!(entry::inner("/api/toolbox/x/toolbox/files/info"), "/files/info");
    assert_eq!(entry::inner("/process/pty"), "/process/pty");
    assert_eq!(entry::inner("/toolbox/x"), "/toolbox/x");
}
