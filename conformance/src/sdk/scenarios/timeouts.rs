//! Time-outs are honoured, and told.

use std::time::{Duration, Instant};

use serde_json::json;

use super::scenarios;
use crate::{
    sdk::{
        Cx, Thrown,
        context::{PATIENCE, Shown},
        driver::Told,
    },
    stop::Result,
};

scenarios! { "timeouts";
    /// A command that takes longer than its time-out ends the call with an error that says so. (ExecuteCommand: timeout, 408)
    command: Must;
    /// A server that never answers: the call ends after the client's request time-out with an error that says so.
    /// (requestTimeoutMs; request_timeout)
    request: Must;
    /// A sandbox that isn't started in time: create ends after its time-out with an error that says so. (create: timeout)
    create: Must;
    /// Who runs into the time-out of create learns which sandbox it was, or it is gone: else it is left behind. (create: timeout)
    create_names_the_sandbox: Should;
    /// A start that takes too long ends after its time-out with an error that says so. (start: timeout)
    start: Must;
    /// After a time-out the SDK doesn't go on asking for the state. (getSandbox)
    quiet_afterwards: Must;
    /// A download that stops in the middle ends after its time-out. (download: timeout)
    download: Must;
}

/// The call took as long as its time-out says, give or take, and the error says that it was one.
fn judge(cx: &Cx, told: &Told, took: Duration, seconds: u64) {
    cx.check("throws").that(told.thrown().is_some(), "an error", Shown(told));
    // Some add a few seconds to what they ask of the server, and whole seconds are the least.
    let (least, most) = (Duration::from_millis(seconds * 1000 - 200), Duration::from_secs(seconds + 7));
    cx.check("in-time").that((least..=most).contains(&took), &format!("an end after {seconds} s"), took);
    if let Some(thrown) = told.thrown() {
        cx.check("says-so").that(says_so(thrown), "an error that speaks of a time-out", Shown(thrown));
    }
}

fn says_so(thrown: &Thrown) -> bool {
    let all = format!("{} {} {}", thrown.class, thrown.classes.join(" "), thrown.message).to_lowercase();
    ["timeout", "timed out", "time out", "time-out", "deadline"].iter().any(|word| all.contains(word))
}

async fn command(cx: Cx) -> Result {
    cx.connect().await?;
    let sandbox = cx.sandbox().await?;
    let began = Instant::now();
    let told = cx.call("execute", json!({"sandbox": sandbox, "command": "sleep 60", "timeout": 1})).await?;
    judge(&cx, &told, began.elapsed(), 1);
    Ok(())
}

async fn request(cx: Cx) -> Result {
    cx.connect_with(json!({"requestTimeout": 2})).await?;
    cx.world.fault(json!({"match": {"operation": "getSandbox"}, "effect": {"type": "hang"}})).await?;
    let began = Instant::now();
    let told = cx.call("get", json!({"sandbox": "any", "timeout": 2})).await?;
    judge(&cx, &told, began.elapsed(), 2);
    Ok(())
}

async fn create(cx: Cx) -> Result {
    cx.connect().await?;
    cx.world.fault(json!({"effect": {"type": "slow", "state": "creating"}})).await?;
    let began = Instant::now();
    let told = cx.call("create", json!({"timeout": 2})).await?;
    judge(&cx, &told, began.elapsed(), 2);
    Ok(())
}

async fn create_names_the_sandbox(cx: Cx) -> Result {
    cx.connect().await?;
    cx.world.fault(json!({"effect": {"type": "slow", "state": "creating"}})).await?;
    let Some(thrown) = cx.throws("throws", "create", json!({"timeout": 2})).await? else { return Ok(()) };
    let calls = cx.world.journal("operation=createSandbox").await?;
    let id = calls.iter().find_map(|call| call.answered("id")).unwrap_or_default();
    let deleted = cx.world.journal("operation=deleteSandbox").await?;
    let known = thrown.sandbox.as_deref() == Some(id) || thrown.message.contains(id) && !id.is_empty();
    cx.check("is-told").that(known || !deleted.is_empty(), "the sandbox's id, or its deletion", Shown(thrown));
    Ok(())
}

async fn start(cx: Cx) -> Result {
    cx.connect().await?;
    let sandbox = cx.sandbox().await?;
    cx.call("stop", json!({"sandbox": sandbox})).await?.ok()?;
    cx.world.until_state(&sandbox, "stopped").await?;
    cx.world.fault(json!({"effect": {"type": "slow", "state": "starting"}})).await?;
    let began = Instant::now();
    let told = cx.call("start", json!({"sandbox": sandbox, "timeout": 2})).await?;
    judge(&cx, &told, began.elapsed(), 2);
    Ok(())
}

async fn quiet_afterwards(cx: Cx) -> Result {
    cx.connect().await?;
    cx.world.fault(json!({"effect": {"type": "slow", "state": "creating"}})).await?;
    let told = cx.call("create", json!({"timeout": 2})).await?;
    cx.check("throws").that(told.thrown().is_some(), "an error", Shown(&told));
    // One may be on its way.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = cx.world.journal("operation=getSandbox").await?.len();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let after = cx.world.journal("operation=getSandbox").await?.len();
    cx.check("quiet").eq(after - before, 0);
    Ok(())
}

async fn download(cx: Cx) -> Result {
    cx.connect().await?;
    let sandbox = cx.sandbox().await?;
    cx.inside(&sandbox, "head -c 1000 /dev/zero > a.bin").await?;
    let operations = ["DownloadFile", "DownloadFiles"];
    let effect = json!({"type": "delay", "seconds": 3600, "at": "body"});
    cx.world.fault(json!({"match": {"operation": operations}, "effect": effect})).await?;
    let began = Instant::now();
    let told = cx.call_within("download", json!({"sandbox": sandbox, "path": "a.bin", "timeout": 2}), PATIENCE).await?;
    judge(&cx, &told, began.elapsed(), 2);
    Ok(())
}
