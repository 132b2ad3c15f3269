//! What is acknowledged is kept, and what is refused has never happened: a store that says no, and SIGKILL in the
//! middle of everything.

use std::{collections::BTreeMap, path::Path};

use rand::RngExt;
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{
    api::Api,
    store::{Serving, open, serve},
};

const EVENTS: [&str; 3] = ["INSERT", "UPDATE", "DELETE"];

/// Lets the store of a running server refuse every change from now on, as a full disk would.
fn fill_up(data_dir: &Path) -> Connection {
    let db = Connection::open(data_dir.join("control.sqlite")).expect("the store");
    db.busy_timeout(std::time::Duration::from_secs(10)).expect("set");
    for event in EVENTS {
        let trigger = format!("CREATE TRIGGER full_{event} BEFORE {event} ON record");
        db.execute_batch(&format!("{trigger} BEGIN SELECT RAISE(FAIL, 'disk full'); END")).expect("a trigger");
    }
    db
}

fn make_room(db: &Connection) {
    for event in EVENTS {
        db.execute_batch(&format!("DROP TRIGGER full_{event}")).expect("dropped");
    }
}

#[tokio::test]
async fn what_the_store_refuses_has_never_happened() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (server, api) = open(dir.path(), &[]).await;
    api.named("s").await;
    let (_, signed) = api.get("/sandbox/s/ports/80/signed-preview-url?expiresInSeconds=3600").await;
    let token = signed["token"].as_str().expect("a token").to_owned();
    let (_, before) = api.get("/sandbox/s").await;
    let (_, keys) = api.get("/api-keys").await;
    let disk = fill_up(dir.path());
    let oops = "An unexpected error occurred.";
    for (method, path, body) in [
        ("POST", "/sandbox", json!({"name": "new"})),
        ("PUT", "/sandbox/s/labels", json!({"labels": {"a": "b"}})),
        ("POST", "/sandbox/s/public/true", Value::Null),
        ("POST", "/sandbox/s/autostop/99", Value::Null),
        ("POST", "/sandbox/s/network-settings", json!({"networkBlockAll": true})),
        ("POST", "/sandbox/s/signing-key/rotate", Value::Null),
        ("POST", "/sandbox/s/stop", Value::Null),
        ("DELETE", "/sandbox/s", Value::Null),
        ("GET", "/sandbox/s/ports/80/signed-preview-url", Value::Null),
        ("POST", &format!("/sandbox/s/ports/80/signed-preview-url/{token}/expire"), Value::Null),
        ("POST", "/api-keys", json!({"name": "k", "permissions": []})),
        ("DELETE", "/api-keys/default", Value::Null),
    ] {
        api.refused(method, path, body, 500, oops).await;
    }
    assert_eq!(api.control("POST", "/reset", Value::Null).await.0, 500);
    assert_eq!(api.control("POST", "/keys", Value::Null).await.0, 500);
    let check = async |api: &Api| {
        let (_, after) = api.get("/sandbox/s").await;
        for field in ["id", "name", "state", "desiredState", "labels", "public", "autoStopInterval", "networkBlockAll"]
        {
            assert_eq!(after[field], before[field], "{field}");
        }
        assert_eq!(api.get("/sandbox").await.1["items"].as_array().map(Vec::len), Some(1));
        let names = |keys: &Value| keys.as_array().expect("keys").iter().map(|k| k["name"].clone()).collect::<Vec<_>>();
        assert_eq!(names(&api.get("/api-keys").await.1), names(&keys));
        assert_eq!(api.get(&format!("/preview/{token}/80/sandbox-id")).await.0, 200);
    };
    check(&api).await;
    make_room(&disk);
    drop(disk);
    assert_eq!(api.put("/sandbox/s/labels", json!({"labels": {}})).await.0, 200, "it goes on");
    server.shutdown().await;
    let (server, api) = open(dir.path(), &[]).await;
    api.until("s", "started").await;
    check(&api).await;
    server.shutdown().await;
}

#[tokio::test]
async fn a_machine_that_started_is_there_whatever_the_store_says() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (server, api) = open(dir.path(), &[]).await;
    let disk = fill_up(dir.path());
    // Only what the runtime reports is refused: the record of a new sandbox gets in.
    let only_facts = "DROP TRIGGER full_INSERT; CREATE TRIGGER full_INSERT BEFORE INSERT ON record
        WHEN NEW.kind = 'sandbox' AND NEW.record NOT LIKE '%\"actualState\":\"unknown\"%' BEGIN SELECT RAISE(FAIL, 'disk full'); END";
    disk.execute_batch(only_facts).expect("a trigger");
    api.named("s").await;
    assert_eq!(api.get("/sandbox/s").await.1["state"], "started");
    make_room(&disk);
    drop(disk);
    server.shutdown().await;
    let (server, api) = open(dir.path(), &[]).await;
    api.until("s", "started").await;
    server.shutdown().await;
}

/// What a client was told and may rely on: a name for each fact, and its value.
pub type Facts = BTreeMap<String, Value>;

/// One client's view: what was acknowledged, and what it had asked for when the server died.
#[derive(Default)]
pub struct Witness {
    pub acknowledged: Facts,
    pub in_flight: Facts,
}

impl Witness {
    /// Runs one request that makes these facts true. False once the server is gone.
    pub async fn tell(&mut self, facts: &[(&str, &str, Value)], request: impl Future<Output = Option<bool>>) -> bool {
        let facts = facts.iter().map(|(kind, name, value)| (format!("{kind} {name}"), value.clone()));
        self.in_flight = facts.collect();
        if request.await.is_none() {
            return false;
        }
        self.acknowledged.append(&mut self.in_flight);
        true
    }
}

impl Witness {
    /// Asserts that what was acknowledged is there, or what was asked for on top of it.
    pub async fn compare(&self, observe: impl AsyncFn(&str) -> Value, after: usize) {
        for (fact, value) in &self.acknowledged {
            let now = observe(fact).await;
            let fine = now == *value || self.in_flight.get(fact) == Some(&now);
            assert!(fine, "killed after {after}: {fact} was {value}, is {now}");
        }
    }
}

/// One request; none if the server died meanwhile.
pub async fn ask(api: &Api, method: &str, path: &str, body: Value) -> Option<bool> {
    asked(api, method, path, body).await.map(|_| true)
}

/// The same with what is answered, if it is JSON.
pub async fn asked(api: &Api, method: &str, path: &str, body: Value) -> Option<Value> {
    let request = api.request(method, path);
    let request = if body.is_null() { request } else { request.json(&body) };
    let answer = request.send().await.ok()?;
    let status = answer.status();
    let text = answer.text().await.ok()?;
    assert!(status.is_success(), "{method} {path}: {status} {text}");
    Some(serde_json::from_str(&text).unwrap_or_default())
}

/// Lets workers work until so many things were acknowledged, and kills the server; what they know.
pub async fn killed_after(
    acknowledged: usize,
    serving: Serving,
    told: &mut mpsc::UnboundedReceiver<()>,
    workers: Vec<tokio::task::JoinHandle<Witness>>,
) -> Vec<Witness> {
    for _ in 0..acknowledged {
        told.recv().await.expect("they work");
    }
    serving.kill();
    let mut witnesses = Vec::new();
    for worker in workers {
        witnesses.push(worker.await.expect("a witness"));
    }
    witnesses
}

/// Writes a note into a sandbox, by an upload.
pub async fn note(api: &Api, name: &str, text: &str) -> Option<bool> {
    let sandbox: Value = api.request("GET", &format!("/sandbox/{name}")).send().await.ok()?.json().await.ok()?;
    let base = sandbox["toolboxProxyUrl"].as_str()?;
    let url = format!("{base}/{}/files/upload?path=note", sandbox["id"].as_str()?);
    let form = reqwest::multipart::Form::new().text("file", text.to_owned());
    let answer = api.client.post(url).bearer_auth(&api.key).multipart(form).send().await.ok()?;
    assert!(answer.status().is_success(), "{answer:?}");
    Some(true)
}

/// Creates, fills, relabels, stops and deletes until the server dies. Tells each acknowledgement.
async fn load(api: Api, worker: String, told: mpsc::UnboundedSender<()>) -> Witness {
    let mut witness = Witness::default();
    for round in 0.. {
        let name = format!("{worker}-{round}");
        let (path, key) = (format!("/sandbox/{name}"), format!("key-{name}"));
        let started = ("desired", name.as_str(), json!("started"));
        let create = json!({"name": name, "labels": {"step": "0"}});
        let made = [("labels", name.as_str(), json!({"step": "0"})), started];
        let relabelled = [("labels", name.as_str(), json!({"step": "1"}))];
        let gone =
            [("labels", name.as_str(), Value::Null), ("desired", &name, Value::Null), ("note", &name, Value::Null)];
        let ok = witness.tell(&made, ask(&api, "POST", "/sandbox", create)).await
            && told.send(()).is_ok()
            && witness.tell(&[("note", &name, json!(name))], note(&api, &name, &name)).await
            && told.send(()).is_ok()
            && witness
                .tell(&relabelled, ask(&api, "PUT", &format!("{path}/labels"), json!({"labels": {"step": "1"}})))
                .await
            && told.send(()).is_ok()
            && witness
                .tell(
                    &[("key", &key, json!(key))],
                    ask(&api, "POST", "/api-keys", json!({"name": key, "permissions": []})),
                )
                .await
            && told.send(()).is_ok()
            && match round % 3 {
                0 => {
                    let stopped = [("desired", name.as_str(), json!("stopped"))];
                    witness.tell(&stopped, ask(&api, "POST", &format!("{path}/stop?force=true"), json!({}))).await
                }
                1 => witness.tell(&gone, ask(&api, "DELETE", &path, json!({}))).await,
                _ => {
                    witness
                        .tell(
                            &[("key", &key, Value::Null)],
                            ask(&api, "DELETE", &format!("/api-keys/{key}"), json!({})),
                        )
                        .await
                }
            };
        if !ok || told.send(()).is_err() {
            break;
        }
    }
    witness
}

/// What is true of a fact now.
pub async fn observe(api: &Api, fact: &str) -> Value {
    let (kind, name) = fact.split_once(' ').expect("kind and name");
    if kind == "key" {
        return api.get(&format!("/api-keys/{name}")).await.1["name"].clone();
    }
    let (_, sandbox) = api.get(&format!("/sandbox/{name}")).await;
    match kind {
        "labels" => sandbox["labels"].clone(),
        "desired" => sandbox["desiredState"].clone(),
        _ if sandbox["id"].is_null() => Value::Null,
        _ => {
            if let Some(resting) = ["stopped", "archived"].iter().find(|state| sandbox["desiredState"] == **state) {
                api.until(name, resting).await;
                assert_eq!(api.post(&format!("/sandbox/{name}/start"), Value::Null).await.0, 200);
            }
            api.until(name, "started").await;
            let (base, id) = (sandbox["toolboxProxyUrl"].as_str().expect("url"), sandbox["id"].as_str().expect("id"));
            let url = format!("{base}/{id}/files/download?path=note");
            let answer = api.client.get(url).bearer_auth(&api.key).send().await.expect("answer");
            if answer.status() == 200 { json!(answer.text().await.expect("text")) } else { Value::Null }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigkill_under_load_loses_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().expect("temp dir");
    for attempt in 0..3 {
        let after = rand::rng().random_range(1..60);
        let serving = serve(dir.path()).await;
        let (told, mut acknowledgements) = mpsc::unbounded_channel();
        let workers: Vec<_> = (0..4)
            .map(|n| tokio::spawn(load(serving.api.with_key(&serving.api.key), format!("w{attempt}{n}"), told.clone())))
            .collect();
        for _ in 0..after {
            acknowledgements.recv().await.expect("they work");
        }
        serving.kill();
        let again = serve(dir.path()).await;
        for worker in workers {
            let witness = worker.await.expect("a witness");
            witness.compare(async |fact| observe(&again.api, fact).await, after).await;
        }
        again.api.control("POST", "/reset", Value::Null).await;
        again.kill();
    }
}
