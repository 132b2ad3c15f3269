//! What a scenario is given.

use std::{borrow::Cow, fmt::Display, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::{
    check::Pending,
    client::{Answer, Client, Log, MAKES_SANDBOX, Made, Request, Watch},
    ledger::{RUN_LABEL, SUITE_LABEL},
    run::{World, probe},
    sandbox::Sandbox,
    scenario::Scenario,
    stop::{Result, Stop},
};

/// A point in time that an answer tells.
pub fn time(value: &Value) -> Option<DateTime<Utc>> {
    value.as_str().and_then(|text| DateTime::parse_from_rfc3339(text).ok()).map(|at| at.to_utc())
}

/// The server under test, a place for verdicts, and sandboxes that go away by themselves. Cheap to clone.
#[derive(Clone)]
pub struct Cx {
    pub(crate) world: Arc<World>,
    pub(crate) scenario: &'static Scenario,
    pub(crate) client: Client,
}

impl Cx {
    pub(crate) fn new(world: Arc<World>, scenario: &'static Scenario) -> Self {
        let client = world.client();
        Self { world, scenario, client }
    }

    /// The control plane, with the run's key.
    pub fn api(&self) -> &Client {
        &self.client
    }

    pub fn get(&self, path: &str) -> Request {
        self.client.get(path)
    }

    pub fn post(&self, path: &str) -> Request {
        self.client.post(path)
    }

    pub fn put(&self, path: &str) -> Request {
        self.client.put(path)
    }

    pub fn delete(&self, path: &str) -> Request {
        self.client.delete(path)
    }

    /// The run's key, for requests that send it in other ways.
    pub fn key(&self) -> &str {
        &self.world.target.api_key
    }

    /// A verdict in the making. Ids are stable within their scenario; one that is given twice must pass each time.
    pub fn check(&self, id: impl Into<Cow<'static, str>>) -> Pending<'_> {
        Pending::new(self.log(), id.into())
    }

    /// The server's root, where `/health` and `/__control` are: the API's URL without `/api`.
    pub fn root(&self) -> Client {
        self.client.at(self.client.base().trim_end_matches("/api"), None)
    }

    /// A name that nothing else has, and that says which run it belongs to.
    pub fn name(&self, what: impl Display) -> String {
        format!("conformance-{}-{what}-{}", self.world.run_id, self.world.number())
    }

    /// A body for `createSandbox`: `body` with the run's labels and short intervals added where they aren't given.
    pub fn sandbox_body(&self, body: Value) -> Value {
        let mut body = body;
        let labels = body.get("labels").cloned().unwrap_or_else(|| json!({}));
        body["labels"] = self.labels(labels);
        for (name, minutes) in [("autoStopInterval", 15), ("autoDeleteInterval", 30)] {
            if body.get(name).is_none() {
                body[name] = minutes.into();
            }
        }
        body
    }

    /// Labels with the run's own: without them `sweep` finds nothing.
    pub fn labels(&self, labels: Value) -> Value {
        let mut labels = labels;
        labels[SUITE_LABEL] = "true".into();
        labels[RUN_LABEL] = self.world.run_id.clone().into();
        labels
    }

    /// A request that makes a sandbox; whatever it answers, the sandbox is deleted when the scenario ends.
    pub fn create(&self, body: Value) -> Result<Request> {
        self.world.budget.has_room()?;
        Ok(self.post("/sandbox").json(self.sandbox_body(body)).timeout(Duration::from_secs(90)))
    }

    /// A sandbox of this scenario's own, started.
    pub async fn sandbox(&self) -> Result<Sandbox> {
        self.sandbox_with(json!({})).await
    }

    /// The same, with fields of the request.
    pub async fn sandbox_with(&self, body: Value) -> Result<Sandbox> {
        let answer = self.create(body)?.send().await?.ok()?;
        let sandbox = Sandbox::of(self.client.clone(), &answer)?;
        sandbox.wait_for("started").await?;
        Ok(sandbox)
    }

    /// The started sandbox that the scenarios of this area share. Use names of your own in it ([`Cx::dir`]), and
    /// leave its state, labels and settings alone.
    pub async fn shared(&self) -> Result<Sandbox> {
        self.world.shared(self).await
    }

    /// A directory in a sandbox that nothing else uses, another one at each call; not made yet.
    pub fn dir(&self) -> String {
        format!("/home/daytona/{}-{}", self.scenario.id.replace('/', "-"), self.world.number())
    }

    /// The control plane with the key of another organisation. Needs `SecondAccount`.
    pub async fn second_account(&self) -> Result<Client> {
        self.world.second_key(self).await.map(|key| self.client.with_key(&key))
    }

    /// `/__control/clock`. Needs `Clock`, and the scenario must be of class `Alone`.
    pub async fn clock(&self, body: Value) -> Result {
        self.root().post("/__control/clock").json(body).send().await?.ok()?;
        Ok(())
    }

    /// The time that the server's own objects tell, and that it holds times of requests against: scenarios may have turned
    /// its clock, and ours may be another.
    pub async fn now(&self) -> DateTime<Utc> {
        let turned = match &self.world.server.mock {
            Some(_) => self.root().get("/__control/clock").send().await.ok(),
            None => None,
        };
        if let Some(now) = turned.and_then(|clock| time(&clock["now"])) {
            return now;
        }
        let dated = self.get("/config").no_key().unjudged().send().await.ok();
        dated.and_then(|answer| answer.date()).unwrap_or_else(Utc::now)
    }

    /// The control plane with the key of an organisation of this scenario's own. Needs `Operators`.
    pub async fn own_account(&self) -> Result<Client> {
        // On a server that stays it goes by itself.
        let minted = self.root().post("/__control/keys").json(json!({"ttlSeconds": 86_400})).send().await?.ok()?;
        Ok(self.client.with_key(&minted.string("/apiKey")?))
    }

    /// Whether the server doesn't say that it lacks an operation.
    pub(crate) fn offers(&self, operation: &str) -> bool {
        self.world.server.operations.get(operation) != Some(&false)
    }

    /// A check: what an answer tells as the time of what has just happened lies within minutes of now.
    pub async fn check_recent(&self, id: &str, answer: &Answer, pointer: &str) {
        let (told, now) = (answer.at(pointer), self.now().await);
        // Whose clock was turned may have some that weren't.
        let about = |at: DateTime<Utc>, now: DateTime<Utc>| (now - at).abs() < TimeDelta::minutes(10);
        let near = time(told).is_some_and(|at| about(at, now) || about(at, Utc::now()));
        self.check(id.to_owned()).on(answer).that(near, &format!("{pointer} is about {}", now.to_rfc3339()), told);
    }

    /// Checks: of these fields two descriptions of one thing say the same. What is absent counts as null.
    pub fn check_same(&self, id: &str, answer: &Answer, got: &Value, expected: &Value, fields: &[&str]) {
        for field in fields {
            self.check(format!("{id}-{field}")).on(answer).eq(&got[*field], &expected[*field]);
        }
    }

    /// Something that came into being without an answer that names it: removed when the scenario ends.
    pub fn removes(&self, operation: &'static str, path: &str) {
        self.watch().made(operation, path, self.client.0.key.as_deref());
    }

    /// Waits until `holds` gives a value, for what the server does on its own; asks again, less and less often.
    pub async fn eventually<T, F>(&self, what: &str, within: Duration, holds: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<Option<T>>>,
    {
        let deadline = tokio::time::Instant::now() + within;
        let mut pause = Duration::from_millis(20);
        loop {
            if let Some(value) = holds().await? {
                return Ok(value);
            }
            if tokio::time::Instant::now() >= deadline {
                return Err(Stop::untestable(format!("{what}: not within {within:?}")));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    /// Asks for a snapshot that is to be built, by the name in `body`, and waits for its end: good or bad.
    pub async fn built_snapshot(&self, body: Value, within: Duration) -> Result<Answer> {
        let name = body["name"].as_str().unwrap_or_default().to_owned();
        self.post("/snapshots").json(body).send().await?.ok()?;
        self.settled_snapshot(&name, within).await
    }

    /// Waits until a snapshot is no longer in the making. Not applicable where the server has nothing to build with.
    pub async fn settled_snapshot(&self, name: &str, within: Duration) -> Result<Answer> {
        let made = self.eventually("the snapshot is made", within, async || {
            let answer = self.get(&format!("/snapshots/{name}")).send().await?.ok()?;
            let state = answer["state"].as_str().unwrap_or_default();
            Ok(matches!(state, "active" | "inactive" | "error" | "build_failed").then_some(answer))
        });
        let made = made.await?;
        if made["errorReason"].as_str().is_some_and(|reason| reason.contains("isolation process")) {
            return Err(Stop::not_applicable("this server's isolation can't build"));
        }
        Ok(made)
    }

    /// The version that the server reports, for scenarios that differ in detail.
    pub fn server_version(&self) -> &str {
        &self.world.server.version
    }

    /// Is the server that new? For checks that not every server of their scenario can pass.
    pub fn is_since(&self, version: &str) -> bool {
        probe::version(self.server_version()) >= probe::version(version)
    }

    /// How many inputs a generated scenario tries, and the seed of this run.
    pub fn cases(&self) -> (u32, u64) {
        (self.world.cases, self.world.seed)
    }

    pub(crate) fn log(&self) -> &Log {
        &self.client.0.log
    }

    /// Time that it waited because it was told to, which is none of the server's.
    pub(crate) fn waited(&self) -> Duration {
        self.client.0.waits.total()
    }

    pub(crate) fn watch(&self) -> &Watch {
        &self.client.0.watch
    }

    /// Deletes what the scenario made; says what is still there. Never part of a verdict.
    pub(crate) async fn clean_up(&self) -> Vec<String> {
        let made = self.watch().take_made();
        let sandboxes = made.iter().filter(|made| MAKES_SANDBOX.contains(&made.operation)).count();
        // What they use can only go after them.
        let (first, then): (Vec<_>, Vec<_>) = made.into_iter().partition(|made| made.path.starts_with("/sandbox/"));
        let mut left = self.remove_all(first).await;
        left.extend(self.remove_all(then).await);
        self.world.budget.gone(u32::try_from(sandboxes).unwrap_or(u32::MAX));
        left
    }

    async fn remove_all(&self, made: Vec<Made>) -> Vec<String> {
        let removals = made.into_iter().map(|made| async move {
            let client = made.key.as_deref().map_or_else(|| self.client.clone(), |key| self.client.with_key(key));
            match crate::sweep::remove(&client, &made.path).await {
                Ok(()) => {
                    self.world.ledger.gone(&made.path);
                    None
                }
                Err(why) => Some(format!("{} ({}): {why}", made.path, made.operation)),
            }
        });
        futures_util::future::join_all(removals).await.into_iter().flatten().collect()
    }
}
