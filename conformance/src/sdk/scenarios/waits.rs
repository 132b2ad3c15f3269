//! Waiting for a sandbox.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::scenarios;
use crate::{
    sdk::{
        Cx,
        context::{PATIENCE, Shown},
        middle::Middle,
    },
    stop::Result,
};

scenarios! { "waits";
    /// A sandbox that can't be started ends create with an error, long before the time-out. (state `error`)
    create_ends_on_error: Must;
    /// The error of a failed create says why: the reason that the server has. (errorReason)
    create_says_why: Should;
    /// A sandbox that fails to start again ends start with an error, long before the time-out. (state `error`)
    start_ends_on_error: Must;
    /// A sandbox that is deleted by somebody else ends the wait for its start. (state `destroyed`, 404)
    start_ends_when_deleted: Must;
    /// One failed look at the state doesn't end a wait: the sandbox is being made all the same, and would be lost. (502 of getSandbox)
    one_failed_look_is_no_end: Should;
    /// Waiting without events asks for the state again and again, but not more than ten times a second. (useDeprecatedPolling)
    polling_is_bounded: Must;
    /// Without events no event connection is made. (useDeprecatedPolling)
    polling_has_no_events: Must;
    /// Delete with waiting returns when the sandbox is gone. (deleteSandbox, 404)
    delete_waits: Must;
    /// After create, start and stop the SDK's own object has the state that the sandbox has. (state)
    state_is_fresh: Must;
}

/// What an error must not take longer than.
const SOON: Duration = Duration::from_secs(10);
const REASON: &str = "rehearsed: no runner has room";

async fn create_under_failure(cx: &Cx) -> Result<(crate::sdk::driver::Told, Duration)> {
    cx.connect().await?;
    // Held for a moment, so that create is answered and the failure comes while the SDK waits.
    cx.world.fault(json!({"effect": {"type": "slow", "state": "creating", "seconds": 1.5}})).await?;
    cx.world.fault(json!({"effect": {"type": "startFailure", "reason": REASON}})).await?;
    let began = Instant::now();
    let told = cx.call_within("create", json!({"timeout": 30}), PATIENCE).await?;
    Ok((told, began.elapsed()))
}

async fn create_ends_on_error(cx: Cx) -> Result {
    let (told, took) = create_under_failure(&cx).await?;
    cx.check("throws").that(told.thrown().is_some(), "an error", Shown(&told));
    cx.check("soon").that(took < SOON, "an end within 10 s", took);
    Ok(())
}

async fn create_says_why(cx: Cx) -> Result {
    let (told, _) = create_under_failure(&cx).await?;
    let message = told.thrown().map(|thrown| thrown.message.clone()).unwrap_or_default();
    cx.check("reason").contains(&message, REASON);
    Ok(())
}

async fn stopped(cx: &Cx) -> Result<String> {
    let sandbox = cx.sandbox().await?;
    cx.call("stop", json!({"sandbox": sandbox})).await?.ok()?;
    cx.world.until_state(&sandbox, "stopped").await?;
    Ok(sandbox)
}

async fn start_ends_on_error(cx: Cx) -> Result {
    cx.connect().await?;
    let sandbox = stopped(&cx).await?;
    cx.world.fault(json!({"effect": {"type": "slow", "state": "starting", "seconds": 1.5}})).await?;
    cx.world.fault(json!({"effect": {"type": "startFailure", "reason": REASON}})).await?;
    let began = Instant::now();
    let told = cx.call_within("start", json!({"sandbox": sandbox, "timeout": 30}), PATIENCE).await?;
    cx.check("throws").that(told.thrown().is_some(), "an error", Shown(&told));
    cx.check("soon").that(began.elapsed() < SOON, "an end within 10 s", began.elapsed());
    Ok(())
}

async fn start_ends_when_deleted(cx: Cx) -> Result {
    cx.connect().await?;
    let sandbox = stopped(&cx).await?;
    cx.world.fault(json!({"effect": {"type": "slow", "state": "starting"}})).await?;
    let mut under = cx.begin("start", json!({"sandbox": sandbox, "timeout": 60})).await?;
    cx.world.until("operation=startSandbox", 1, SOON, |call| call.status.is_some()).await?;
    cx.world.until_state(&sandbox, "starting").await?;
    // Whatever is under way: everything in the world goes.
    cx.world.end().await?;
    let told = cx.end(&mut under, SOON).await?;
    cx.check("throws").that(told.thrown().is_some(), "an error", Shown(&told));
    Ok(())
}

async fn one_failed_look_is_no_end(cx: Cx) -> Result {
    cx.connect().await?;
    cx.world.fault(json!({"effect": {"type": "slow", "state": "creating", "seconds": 3}})).await?;
    let rule = json!({"match": {"operation": "getSandbox"}, "nth": 1, "effect": {"type": "status", "status": 502}});
    let fault = cx.world.fault(rule).await?;
    let told = cx.call("create", json!({"timeout": 30})).await?;
    if cx.world.hits(&fault).await? == 0 {
        return Err(crate::stop::Stop::not_applicable("the SDK doesn't look at the state while it waits"));
    }
    cx.check("goes-on").that(told.returned(), "the sandbox", Shown(&told));
    Ok(())
}

async fn polling_is_bounded(cx: Cx) -> Result {
    cx.connect_with(json!({"polling": true})).await?;
    cx.world.fault(json!({"effect": {"type": "slow", "state": "creating", "seconds": 3}})).await?;
    let told = cx.call("create", json!({"timeout": 30})).await?;
    cx.check("returns").that(told.returned(), "the sandbox", Shown(&told));
    let polls = cx.world.journal("operation=getSandbox").await?.len();
    cx.check("polls").that((1..=36).contains(&polls), "1 to 36 looks in 3 s", polls);
    Ok(())
}

async fn polling_has_no_events(cx: Cx) -> Result {
    let middle = Middle::start(cx.api_url(), false).await?;
    cx.connect_with(json!({"polling": true, "apiUrl": middle.api_url})).await?;
    let told = cx.call("create", json!({})).await?;
    cx.check("returns").that(told.returned(), "the sandbox", Shown(&told));
    // A connection that is made besides takes a moment.
    tokio::time::sleep(Duration::from_millis(500)).await;
    cx.check("connections").eq(middle.events(), 0);
    Ok(())
}

async fn delete_waits(cx: Cx) -> Result {
    cx.connect().await?;
    let sandbox = cx.sandbox().await?;
    cx.world.fault(json!({"effect": {"type": "slow", "state": "destroying", "seconds": 2}})).await?;
    let told = cx.call("delete", json!({"sandbox": sandbox, "wait": true, "timeout": 30})).await?;
    cx.check("returns").that(told.returned(), "no error", Shown(&told));
    let gone = cx.world.api(Method::GET, &format!("/sandbox/{sandbox}"), None).await;
    let state = gone.ok().map(|there| there["state"].clone());
    cx.check("gone").that(state.as_ref().is_none_or(|state| state == "destroyed"), "no sandbox", state);
    Ok(())
}

async fn state_is_fresh(cx: Cx) -> Result {
    cx.connect().await?;
    let made = cx.call("create", json!({})).await?.ok()?;
    cx.check("created").eq(made.get("state").cloned().unwrap_or(Value::Null), json!("started"));
    let sandbox = made["sandbox"].clone();
    let told = cx.call("stop", json!({"sandbox": sandbox})).await?;
    cx.check("stopped").eq(told.field("state"), json!("stopped"));
    let told = cx.call("start", json!({"sandbox": sandbox})).await?;
    cx.check("started").eq(told.field("state"), json!("started"));
    Ok(())
}
