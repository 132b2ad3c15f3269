//! What a scenario has in its hands: a driver, a world, and verdicts to give.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    driver::{Driver, Told, Under},
    protocol::{Event, Thrown},
    world::World,
};
use crate::{
    check::Pending,
    client::Log,
    stop::{Result, Stop},
};

/// Calls that nothing holds up are over by then, also on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Cheap to clone.
#[derive(Clone)]
pub struct Cx {
    pub driver: Arc<Driver>,
    pub world: World,
    pub(super) log: Arc<Log>,
    /// The command that a driver of one's own is started with.
    pub(super) command: Arc<str>,
}

/// Output that was collected from events.
#[derive(Debug, Default, PartialEq)]
pub struct Output {
    pub stdout: String,
    pub stderr: String,
    pub data: Vec<u8>,
    pub progress: u64,
}

impl Cx {
    /// A verdict with an id that is stable within the scenario.
    pub fn check(&self, id: impl Into<Cow<'static, str>>) -> Pending<'_> {
        Pending::new(&self.log, id.into())
    }

    /// Makes the SDK's client for this world, as the SDK does by default.
    pub async fn connect(&self) -> Result {
        self.connect_with(json!({})).await
    }

    /// The same with options: `polling`, `requestTimeout`, `apiUrl`, `apiKey`.
    pub async fn connect_with(&self, options: Value) -> Result {
        let told = self.driver.call("connect", self.connection(options), PATIENCE).await?;
        told.ok().map(drop)
    }

    pub(super) fn connection(&self, options: Value) -> Value {
        let mut args = json!({"apiUrl": self.api_url(), "apiKey": self.world.key, "target": "us"});
        if let (Value::Object(args), Value::Object(options)) = (&mut args, options) {
            args.extend(options);
        }
        args
    }

    pub fn api_url(&self) -> &str {
        self.world.api_url()
    }

    /// A started sandbox that the suite made, and the SDK knows.
    pub async fn sandbox(&self) -> Result<String> {
        let id = self.world.sandbox("subject").await?;
        self.call("get", json!({"sandbox": id})).await?.ok()?;
        Ok(id)
    }

    /// Calls the SDK, and waits for what it tells.
    pub async fn call(&self, op: &str, args: Value) -> Result<Told> {
        self.driver.call(op, args, PATIENCE).await
    }

    /// The same with patience of its own.
    pub async fn call_within(&self, op: &str, args: Value, limit: Duration) -> Result<Told> {
        self.driver.call(op, args, limit).await
    }

    /// Calls the SDK and goes on.
    pub async fn begin(&self, op: &str, args: Value) -> Result<Under> {
        self.driver.begin(op, args).await
    }

    /// What became of a call.
    pub async fn end(&self, under: &mut Under, limit: Duration) -> Result<Told> {
        self.driver.end(under, limit).await
    }

    /// A call that must throw: what it threw. A failed check says so if it doesn't.
    pub async fn throws(&self, check: &'static str, op: &str, args: Value) -> Result<Option<Thrown>> {
        let told = self.call(op, args).await?;
        self.check(check).that(told.thrown().is_some(), "an error", Shown(&told));
        Ok(told.thrown().cloned())
    }

    /// Waits until the SDK has asked the server for something, and a fault keeps it waiting for the answer.
    pub async fn until_hit(&self, fault: &str) -> Result {
        for _ in 0..400 {
            if self.world.hits(fault).await? > 0 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        Err(Stop::untestable("the SDK didn't send the request that the fault is for"))
    }

    /// What a command writes inside, found out without the SDK.
    pub async fn inside(&self, sandbox: &str, command: &str) -> Result<String> {
        let ran = self.world.execute(sandbox, command).await?;
        Ok(ran["result"].as_str().unwrap_or_default().to_owned())
    }
}

/// Takes the events that came until now.
pub fn drain(under: &mut Under, output: &mut Output) {
    while let Ok(event) = under.events.try_recv() {
        output.add(event);
    }
}

/// Takes events until the output is as wanted; `false` if it isn't in time.
pub async fn until(under: &mut Under, output: &mut Output, limit: Duration, is: impl Fn(&Output) -> bool) -> bool {
    let end = Instant::now() + limit;
    while !is(output) {
        let left = end.saturating_duration_since(Instant::now());
        match tokio::time::timeout(left, under.events.recv()).await {
            Ok(Some(event)) => output.add(event),
            Ok(None) | Err(_) => return false,
        }
    }
    true
}

impl Output {
    fn add(&mut self, event: Event) {
        match event {
            Event::Stdout(text) => self.stdout.push_str(&text),
            Event::Stderr(text) => self.stderr.push_str(&text),
            Event::Data(bytes) => self.data.extend_from_slice(&bytes),
            Event::Progress(bytes) => self.progress = bytes,
        }
    }

    /// What a terminal wrote, as text.
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.data).into_owned()
    }
}

/// Shows something as people read it, where `Debug` is asked for.
pub struct Shown<T>(pub T);

impl<T: std::fmt::Display> std::fmt::Debug for Shown<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
