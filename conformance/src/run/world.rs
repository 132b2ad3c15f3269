//! What the scenarios of a run share.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::OnceCell;

use super::{Spent, plan::Plan, plan::Target, probe};
use crate::{
    client::{self, Client, Gate, Log, Parts, Secrets, Watch},
    context::Cx,
    contract::Plane,
    ledger::Ledger,
    sandbox::Sandbox,
    scenario::{Capability, Scenario},
    stop::{Result, Stop},
};

/// How long an answer may take where a scenario says nothing else.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// What is known of the server.
#[derive(Clone, Debug, Default)]
pub struct Server {
    pub version: String,
    /// What it says of itself in `/config`, if it is a mock.
    pub mock: Option<Value>,
    /// operationId → emulated, where the server publishes it.
    pub operations: HashMap<String, bool>,
}

/// One run against one server.
pub struct World {
    pub run_id: String,
    pub server: Server,
    pub(crate) target: Target,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) budget: Arc<Spent>,
    pub(crate) cases: u32,
    pub(crate) seed: u64,
    http: reqwest::Client,
    gate: Arc<Gate>,
    secrets: Secrets,
    shared: Mutex<HashMap<&'static str, Arc<OnceCell<Sandbox>>>>,
    capabilities: Mutex<HashMap<Capability, Arc<OnceCell<bool>>>>,
    second: OnceCell<String>,
    counter: AtomicU64,
}

impl World {
    /// Gets to know the server. An error is a usage error: there is no Daytona API at that URL, or the key is wrong.
    pub async fn open(plan: &Plan, target: Target) -> Result<Self> {
        let run_id = uuid::Uuid::new_v4().simple().to_string()[..10].to_owned();
        let base = reqwest::Url::parse(&target.api_url)
            .map_err(|error| Stop::harness(format!("{}: {error}", target.api_url)))?;
        let secrets = Secrets::default();
        secrets.add(&target.api_key);
        let ledger = if target.private { Ledger::none() } else { Ledger::create(&run_id, &target.api_url) };
        let mut world = Self {
            run_id,
            server: Server::default(),
            ledger: Arc::new(ledger),
            budget: Arc::new(Spent::new(plan.budget)),
            cases: plan.cases,
            seed: plan.seed,
            http: client::http(&base)?,
            gate: Arc::new(Gate::new(plan.budget.rps)),
            secrets,
            shared: Mutex::default(),
            capabilities: Mutex::default(),
            second: OnceCell::new(),
            counter: AtomicU64::new(0),
            target,
        };
        let server = probe::server(&world.client()).await;
        world.server = server.map_err(|stop| Stop::harness(world.secrets.text(&stop.to_string())))?;
        Ok(world)
    }

    /// A client with a log of its own.
    pub(crate) fn client(&self) -> Client {
        Client(Arc::new(Parts {
            http: self.http.clone(),
            base: self.target.api_url.clone(),
            key: Some(self.target.api_key.clone()),
            headers: Vec::new(),
            plane: Some(Plane::Api),
            judged: true,
            timeout: REQUEST_TIMEOUT,
            log: Arc::new(Log::default()),
            secrets: self.secrets.clone(),
            gate: self.gate.clone(),
            waits: Arc::default(),
            budget: self.budget.clone(),
            watch: Arc::new(Watch::new(self.ledger.clone())),
            began: Instant::now(),
        }))
    }

    pub(crate) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// A number that wasn't given before.
    pub(crate) fn number(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }

    /// The sandbox that the scenarios of an area share; the first to ask makes it.
    pub(crate) async fn shared(&self, cx: &Cx) -> Result<Sandbox> {
        // It lives as long as scenarios want it, which is what the minutes bound.
        self.budget.has_time()?;
        let cell = self.shared.lock().entry(cx.scenario.area()).or_default().clone();
        let make = async || {
            let sandbox = cx.sandbox().await?;
            cx.watch().forget(&format!("/sandbox/{}", sandbox.id));
            Ok::<_, Stop>(sandbox)
        };
        Ok(cell.get_or_try_init(make).await?.by(&cx.client))
    }

    /// The shared sandboxes, which nobody needs any more.
    pub(crate) fn take_shared(&self) -> Vec<Sandbox> {
        self.shared.lock().drain().filter_map(|(_, cell)| cell.get().cloned()).collect()
    }

    /// A key of another organisation.
    pub(crate) async fn second_key(&self, cx: &Cx) -> Result<String> {
        if let Some(key) = &self.target.second_key {
            return Ok(key.clone());
        }
        let mint = async || cx.root().post("/__control/keys").send().await?.ok()?.string("/apiKey");
        self.second.get_or_try_init(mint).await.cloned()
    }

    /// What the server lacks for a scenario; `None`: nothing. An error: there was no room to find out.
    pub(crate) async fn missing(self: &Arc<Self>, scenario: &'static Scenario) -> Result<Option<String>> {
        let version = probe::version(&self.server.version);
        if version < probe::version(scenario.since) {
            return Ok(Some(format!("server {} is older than {}", self.server.version, scenario.since)));
        }
        if scenario.until.is_some_and(|until| version >= probe::version(until)) {
            return Ok(Some(format!("server {} is newer than the rule, or no release", self.server.version)));
        }
        let refused = scenario.covers.iter().find(|id| self.server.operations.get(**id) == Some(&false));
        if let Some(operation) = refused {
            return Ok(Some(format!("operation {operation}, says the server")));
        }
        for capability in scenario.needs {
            let cell = self.capabilities.lock().entry(*capability).or_default().clone();
            let find_out = async || {
                let cx = Cx::new(self.clone(), scenario);
                let offered = probe::offers(&cx, *capability).await;
                cx.clean_up().await;
                offered
            };
            if !*cell.get_or_try_init(find_out).await? {
                return Ok(Some(format!("capability {capability:?}")));
            }
        }
        Ok(None)
    }
}
