//! Events: waits end at once, and a broken connection is made again.

use std::time::{Duration, Instant};

use serde_json::json;

use super::scenarios;
use crate::{
    sdk::{Cx, context::Shown, middle::Middle},
    stop::{Result, Stop},
};

scenarios! { "events";
    /// With events a wait ends when the state changes, not at the next look. (sandbox.state.updated)
    end_a_wait: Should;
    /// With events the state is looked at rarely: at most twice a second. (getSandbox)
    save_looks: Should;
    /// Without a connection for events a wait ends all the same. (Socket.IO is blocked by many proxies)
    are_not_needed: Must;
    /// A connection for events that breaks is made again. (Socket.IO)
    come_back: Should;
    /// A server that refuses the connection for events isn't asked again and again without a pause. (Socket.IO)
    no_storm: Must;
}

const SOON: Duration = Duration::from_secs(10);

/// A client whose connection for events is there. What is returned is to be held: without it no connection is made any more.
async fn connected(cx: &Cx) -> Result<Middle> {
    let middle = Middle::start(cx.api_url(), false).await?;
    cx.connect_with(json!({"apiUrl": middle.api_url})).await?;
    if !seen(&middle, 1).await {
        return Err(Stop::not_applicable("the SDK makes no connection for events"));
    }
    // It says whose it is, and is one then.
    tokio::time::sleep(Duration::from_millis(500)).await;
    Ok(middle)
}

/// Waits until so many connections were tried.
async fn seen(middle: &Middle, count: usize) -> bool {
    let began = Instant::now();
    while middle.events() < count && began.elapsed() < SOON {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    middle.events() >= count
}

async fn end_a_wait(cx: Cx) -> Result {
    let _middle = connected(&cx).await?;
    let fault = cx.world.fault(json!({"effect": {"type": "slow", "state": "creating"}})).await?;
    let mut under = cx.begin("create", json!({"timeout": 60})).await?;
    cx.until_hit(&fault).await?;
    // Off the beat of looks that come once a second.
    tokio::time::sleep(Duration::from_millis(2300)).await;
    cx.world.mend().await?;
    let began = Instant::now();
    let told = cx.end(&mut under, SOON).await?;
    cx.check("returns").that(told.returned(), "the sandbox", Shown(&told));
    let calls = cx.world.journal("operation=getSandbox").await?;
    let took = began.elapsed();
    cx.check("at-once").that(took < Duration::from_millis(450), "an end within 450 ms", (took, calls.len()));
    Ok(())
}

async fn save_looks(cx: Cx) -> Result {
    let _middle = connected(&cx).await?;
    cx.world.fault(json!({"effect": {"type": "slow", "state": "creating", "seconds": 4}})).await?;
    let told = cx.call("create", json!({"timeout": 30})).await?;
    cx.check("returns").that(told.returned(), "the sandbox", Shown(&told));
    let looks = cx.world.journal("operation=getSandbox").await?.len();
    cx.check("looks").that(looks <= 10, "at most 10 looks in 4 s", looks);
    Ok(())
}

async fn are_not_needed(cx: Cx) -> Result {
    let middle = Middle::start(cx.api_url(), true).await?;
    cx.connect_with(json!({"apiUrl": middle.api_url})).await?;
    cx.world.fault(json!({"effect": {"type": "slow", "state": "creating", "seconds": 2}})).await?;
    let told = cx.call("create", json!({"timeout": 30})).await?;
    cx.check("returns").that(told.returned(), "the sandbox", Shown(&told));
    Ok(())
}

async fn come_back(cx: Cx) -> Result {
    let middle = connected(&cx).await?;
    // A sandbox in use is a reason to want events.
    let sandbox = cx.sandbox().await?;
    cx.call("stop", json!({"sandbox": sandbox, "timeout": 30})).await?.ok()?;
    middle.cut();
    cx.check("again").that(seen(&middle, 2).await, "a second connection", middle.events());
    let told = cx.call("start", json!({"sandbox": sandbox, "timeout": 30})).await?;
    cx.check("works").that(told.returned(), "no error", Shown(&told));
    Ok(())
}

async fn no_storm(cx: Cx) -> Result {
    let middle = Middle::start(cx.api_url(), true).await?;
    cx.connect_with(json!({"apiUrl": middle.api_url})).await?;
    cx.world.fault(json!({"effect": {"type": "slow", "state": "creating", "seconds": 4}})).await?;
    let told = cx.call("create", json!({"timeout": 30})).await?;
    cx.check("returns").that(told.returned(), "the sandbox", Shown(&told));
    let tries = middle.events();
    if tries == 0 {
        return Err(Stop::not_applicable("the SDK makes no connection for events"));
    }
    cx.check("tries").that(tries <= 12, "at most 12 tries in 4 s", tries);
    Ok(())
}
