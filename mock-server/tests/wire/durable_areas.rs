//! SIGKILL at random moments while volumes, secrets, registries, organisations, webhooks, warm pools, snapshots and archives
//! come and go: what was acknowledged is there afterwards.

use rand::RngExt;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{
    api::Api,
    durability::{Witness, ask, note, observe},
    images::has_images,
    store::serve,
};

/// One step: what it makes true, and the request that does.
struct Step {
    facts: Vec<(&'static str, String, Value)>,
    /// Below `/__control`.
    control: bool,
    method: &'static str,
    path: String,
    body: Value,
}

fn step(kind: &'static str, name: &str, value: Value, method: &'static str, path: String, body: Value) -> Step {
    Step { facts: vec![(kind, name.to_owned(), value)], control: false, method, path, body }
}

/// What has records only.
fn records(name: &str, organisations: bool) -> Vec<Step> {
    let hook = format!("http://127.0.0.1:9/{name}");
    let registry = json!({"name": name, "url": "r.example", "username": "u", "password": "p"});
    let mut steps = vec![
        step("volume", name, json!(name), "POST", "/volumes".into(), json!({"name": name})),
        step("secret", name, json!(name), "POST", "/secret".into(), json!({"name": name, "value": "v"})),
        step("registry", name, json!(name), "POST", "/docker-registry".into(), registry),
        Step {
            control: true,
            ..step(
                "webhook",
                &hook,
                json!(hook),
                "POST",
                "/webhooks".into(),
                json!({"url": hook, "eventTypes": ["volume.created"]}),
            )
        },
    ];
    if organisations {
        let body = json!({"name": name, "defaultRegionId": "us"});
        steps.push(step("organization", name, json!(name), "POST", "/organizations".into(), body));
    }
    steps
}

/// A sandbox with a note that is stopped.
fn rested(name: &str) -> [Step; 1] {
    let path = format!("/sandbox/{name}/stop?force=true");
    [step("desired", name, json!("stopped"), "POST", path, json!({}))]
}

struct Worker {
    api: Api,
    control: Api,
    witness: Witness,
    told: mpsc::UnboundedSender<()>,
}

impl Worker {
    /// False once the server is gone.
    async fn take(&mut self, step: Step) -> bool {
        let facts: Vec<_> =
            step.facts.iter().map(|(kind, name, value)| (*kind, name.as_str(), value.clone())).collect();
        let api = if step.control { &self.control } else { &self.api };
        let done = self.witness.tell(&facts, ask(api, step.method, &step.path, step.body)).await;
        done && self.told.send(()).is_ok()
    }

    async fn all(&mut self, steps: impl IntoIterator<Item = Step>) -> bool {
        for step in steps {
            if !self.take(step).await {
                return false;
            }
        }
        true
    }

    /// Makes a sandbox with a note in it, and stops it.
    async fn rest(&mut self, name: &str) -> bool {
        let made = step("desired", name, json!("started"), "POST", "/sandbox".into(), json!({"name": name}));
        self.take(made).await
            && self.witness.tell(&[("note", name, json!(name))], note(&self.api, name, name)).await
            && self.all(rested(name)).await
            && reached(&self.api, &format!("/sandbox/{name}"), "stopped").await.is_some()
    }

    /// A snapshot that was seen to be there, of a sandbox that goes on.
    async fn snapshot(&mut self, name: &str) -> bool {
        let api = self.api.with_key(&self.api.key);
        let (path, own) = (format!("/sandbox/{name}/snapshot"), name.to_owned());
        let make = async move {
            ask(&api, "POST", &path, json!({"name": own})).await?;
            reached(&api, &format!("/snapshots/{own}"), "active").await
        };
        self.witness.tell(&[("snapshot", name, json!("active"))], make).await && self.told.send(()).is_ok()
    }

    async fn work(mut self, worker: String, files: bool) -> Witness {
        for round in 0.. {
            let name = format!("{worker}-{round}");
            let ok = if !files {
                let pool = json!({"pool": round % 2});
                self.all(records(&name, round % 4 == 0)).await && self.resize_pool(pool).await && self.undo(&name).await
            } else if round % 2 == 0 {
                let path = format!("/sandbox/{name}/archive");
                self.rest(&name).await
                    && self.take(step("desired", &name, json!("archived"), "POST", path, json!({}))).await
            } else {
                self.rest(&name).await && self.snapshot(&name).await
            };
            if !ok {
                break;
            }
        }
        self.witness
    }

    /// The one pool of this worker's organisation that everybody resizes.
    async fn resize_pool(&mut self, size: Value) -> bool {
        let Ok(answer) = self.api.request("GET", "/warm-pools").send().await else { return false };
        let Ok(all) = answer.json::<Value>().await else { return false };
        let Some(id) = all[0]["id"].as_str() else { return true };
        let path = format!("/warm-pools/{id}");
        self.take(step("pool", id, size["pool"].clone(), "PATCH", path, size)).await
    }

    /// Every other record goes again.
    async fn undo(&mut self, name: &str) -> bool {
        let Ok(answer) = self.api.request("GET", "/secret").send().await else { return false };
        let Ok(all) = answer.json::<Value>().await else { return false };
        let own = all.as_array().into_iter().flatten().find(|secret| secret["name"] == name);
        let Some(id) = own.and_then(|secret| secret["id"].as_str()) else { return false };
        self.take(step("secret", name, Value::Null, "DELETE", format!("/secret/{id}"), json!({}))).await
    }
}

/// Waits for a state; none if the server died meanwhile.
async fn reached(api: &Api, path: &str, state: &str) -> Option<bool> {
    loop {
        let now: Value = api.request("GET", path).send().await.ok()?.json().await.ok()?;
        if now["state"] == state {
            return Some(true);
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// What is true of a fact of these areas now.
async fn look(api: &Api, control: &Api, fact: &str) -> Value {
    let (kind, name) = fact.split_once(' ').expect("kind and name");
    let list = async |api: &Api, path: &str| api.get(path).await.1;
    let named = |all: Value, field: &str| {
        let found = all.as_array().into_iter().flatten().find(|one| one[field] == name).cloned();
        found.unwrap_or(Value::Null)
    };
    match kind {
        "volume" => list(api, &format!("/volumes/by-name/{name}")).await["name"].clone(),
        "secret" => named(list(api, "/secret").await, "name")["name"].clone(),
        "registry" => named(list(api, "/docker-registry").await, "name")["name"].clone(),
        "organization" => named(list(api, "/organizations").await, "name")["name"].clone(),
        "webhook" => named(list(control, "/webhooks").await["endpoints"].clone(), "url")["url"].clone(),
        "pool" => named(list(api, "/warm-pools").await, "id")["pool"].clone(),
        "snapshot" => list(api, &format!("/snapshots/{name}")).await["state"].clone(),
        _ => observe(api, fact).await,
    }
}

fn control(api: &Api) -> Api {
    Api { url: api.url.replace("/api", "/__control"), key: api.key.clone(), client: api.client.clone() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigkill_loses_nothing_of_what_has_records_and_files_of_its_own() {
    let dir = tempfile::tempdir().expect("temp dir");
    for attempt in 0..3 {
        let after = rand::rng().random_range(1..70);
        let serving = serve(dir.path()).await;
        let pool = json!({"snapshot": "daytona-small", "pool": 1});
        serving.api.post("/warm-pools", pool).await;
        let (told, mut acknowledgements) = mpsc::unbounded_channel();
        let workers: Vec<_> = (0..4)
            // Two make what has files, where there are roots to keep.
            .map(|n| {
                let api = serving.api.with_key(&serving.api.key);
                let worker = Worker { control: control(&api), api, witness: Witness::default(), told: told.clone() };
                tokio::spawn(worker.work(format!("d{attempt}{n}"), n > 1 && has_images()))
            })
            .collect();
        for _ in 0..after {
            acknowledgements.recv().await.expect("they work");
        }
        serving.kill();
        let again = serve(dir.path()).await;
        let (api, control) = (&again.api, control(&again.api));
        let (mut acknowledged, mut in_flight) = (Vec::new(), Vec::new());
        for worker in workers {
            let mut witness = worker.await.expect("a witness");
            // Both resize one pool, so only together do they know what it may be.
            acknowledged.extend(witness.acknowledged.extract_if(.., |fact, _| fact.starts_with("pool ")));
            in_flight.extend(witness.in_flight.extract_if(.., |fact, _| fact.starts_with("pool ")));
            witness.compare(async |fact| look(api, &control, fact).await, after).await;
        }
        if let Some((fact, _)) = acknowledged.first() {
            let now = look(api, &control, fact).await;
            let values: Vec<_> = acknowledged.iter().chain(&in_flight).map(|(_, value)| value).collect();
            assert!(values.contains(&&now), "killed after {after}: {fact} is {now}, not of {values:?}");
        }
        api.control("POST", "/reset", Value::Null).await;
        again.kill();
    }
}
