//! Events: waits end at once, and a broken connection is made again.

use std::time::{Duration, Instant};

use serde_json::json;

use super::scenarios;
use crate::{
    judge::Call,
    sdk::{Cx, context::Shown},
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

async fn connected(cx: &Cx) -> Result {
    cx.connect().await?;
    let open = |call: &Call| call.websocket.as_ref().is_some_and(|socket| socket.open && socket.from_server.text > 1);
    // The server counts frames when the connection closes; that it is open is enough then.
    let any = |call: &Call| open(call) || call.status == Some(101);
    match cx.world.until("plane=events", 1, Duration::from_secs(5), any).await? {
        true => Ok(()),
        false => Err(Stop::not_applicable("the SDK makes no connection for events")),
    }
}

async fn end_a_wait(cx: Cx) -> Result {
    connected(&cx).await?;
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
    connected(&cx).await?;
    cx.world.fault(json!({"effect": {"type": "slow", "state": "creating", "seconds": 4}})).await?;
    let told = cx.call("create", json!({"timeout": 30})).await?;
    cx.check("returns").that(told.returned(), "the sandbox", Shown(&told));
    let looks = cx.world.journal("operation=getSandbox").await?.len();
    cx.check("looks").that(looks <= 10, "at most 10 looks in 4 s", looks);
    Ok(())
}

async fn are_not_needed(cx: Cx) -> Result {
    cx.world.fault(json!({"match": {"plane": "events"}, "effect": {"type": "status", "status": 503}})).await?;
    cx.connect().await?;
    cx.world.fault(json!({"effect": {"type": "slow", "state": "creating", "seconds": 2}})).await?;
    let told = cx.call("create", json!({"timeout": 30})).await?;
    cx.check("returns").that(told.returned(), "the sandbox", Shown(&told));
    Ok(())
}

async fn come_back(cx: Cx) -> Result {
    let close = json!({"type": "websocketClose", "code": 1006, "afterFrames": 3});
    cx.world.fault(json!({"match": {"plane": "events"}, "times": 1, "effect": close})).await?;
    connected(&cx).await?;
    // Frames for it to break at, and a reason for the SDK to want it.
    let sandbox = cx.sandbox().await?;
    cx.call("stop", json!({"sandbox": sandbox, "timeout": 30})).await?.ok()?;
    cx.call("start", json!({"sandbox": sandbox, "timeout": 30})).await?.ok()?;
    let broke = |call: &Call| call.websocket.as_ref().is_some_and(|socket| !socket.open);
    if !cx.world.until("plane=events", 1, SOON, broke).await? {
        return Err(Stop::untestable("the connection didn't break: no events came"));
    }
    let again = cx.world.until("plane=events", 2, SOON, |call| call.status == Some(101)).await?;
    cx.check("again").that(again, "a second connection", again);
    Ok(())
}

async fn no_storm(cx: Cx) -> Result {
    cx.world.fault(json!({"match": {"plane": "events"}, "effect": {"type": "status", "status": 503}})).await?;
    cx.connect().await?;
    cx.world.fault(json!({"effect": {"type": "slow", "state": "creating", "seconds": 4}})).await?;
    let told = cx.call("create", json!({"timeout": 30})).await?;
    cx.check("returns").that(told.returned(), "the sandbox", Shown(&told));
    let tries = cx.world.journal("plane=events").await?.len();
    cx.check("tries").that(tries <= 12, "at most 12 tries in 4 s", tries);
    Ok(())
}
