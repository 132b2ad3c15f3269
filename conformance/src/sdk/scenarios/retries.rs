//! What is sent again, and what isn't.

use std::time::Instant;

use serde_json::json;

use super::scenarios;
use crate::{
    sdk::{Cx, context::Shown},
    stop::Result,
};

scenarios! { "retries";
    /// A create that was answered 502 may have been carried out: it isn't sent again by itself. (createSandbox)
    create_after_502: Must;
    /// A create whose connection was closed without an answer may have been carried out: it isn't sent again by itself.
    /// (createSandbox; RFC 9110, 9.2.2)
    create_after_close: Must;
    /// A create whose connection was reset may have been carried out: it isn't sent again by itself. (createSandbox)
    create_after_reset: Must;
    /// A command whose connection was closed without an answer has run: it isn't run a second time. (ExecuteCommand)
    command_after_close: Must;
    /// A command whose connection was reset has run: it isn't run a second time. (ExecuteCommand)
    command_after_reset: Must;
    /// What only reads may be sent again, and is, when a connection breaks before the answer. (getSandbox; RFC 9110, 9.2.2)
    read_after_reset: Should;
    /// After a 429 nothing is sent again before the time that the server says is over. (Retry-After-*)
    rate_limit_is_obeyed: Must;
    /// A refusal is final: 400, 403, 404 and 409 are not sent again. (getSandbox, ExecuteCommand)
    refusals_are_final: Must;
}

/// Creates once under a fault; how often it was asked for, and how many there are.
async fn create_under(cx: Cx, effect: serde_json::Value) -> Result {
    cx.connect().await?;
    let rule = json!({"match": {"operation": "createSandbox"}, "nth": 1, "effect": effect});
    let fault = cx.world.fault(rule).await?;
    let told = cx.call("create", json!({"labels": {"once": "yes"}})).await?;
    cx.until_hit(&fault).await?;
    let asked = cx.world.journal("operation=createSandbox").await?.len();
    cx.check("asked-once").eq(asked, 1);
    cx.check("throws").that(told.thrown().is_some(), "an error", Shown(&told));
    Ok(())
}

async fn create_after_502(cx: Cx) -> Result {
    create_under(cx, json!({"type": "commitThenFail", "status": 502})).await
}

async fn create_after_close(cx: Cx) -> Result {
    create_under(cx, json!({"type": "commitThenDrop"})).await
}

async fn create_after_reset(cx: Cx) -> Result {
    create_under(cx, json!({"type": "commitThenDrop", "reset": true})).await
}

async fn run_under(cx: Cx, reset: bool) -> Result {
    cx.connect().await?;
    let sandbox = cx.sandbox().await?;
    let effect = json!({"type": "commitThenDrop", "reset": reset});
    cx.world.fault(json!({"match": {"operation": "ExecuteCommand"}, "nth": 1, "effect": effect})).await?;
    // Old ways to the toolbox have no shell of their own.
    let command = "sh -c 'echo ran >> runs.txt'";
    let told = cx.call("execute", json!({"sandbox": sandbox, "command": command})).await?;
    cx.world.mend().await?;
    cx.check("throws").that(told.thrown().is_some(), "an error", Shown(&told));
    let runs = cx.inside(&sandbox, "cat runs.txt | wc -l").await?;
    cx.check("ran-once").eq(runs.trim(), "1");
    Ok(())
}

async fn command_after_close(cx: Cx) -> Result {
    run_under(cx, false).await
}

async fn command_after_reset(cx: Cx) -> Result {
    run_under(cx, true).await
}

async fn read_after_reset(cx: Cx) -> Result {
    cx.connect().await?;
    let sandbox = cx.sandbox().await?;
    let rule = json!({"match": {"operation": "getSandbox"}, "nth": 1, "effect": {"type": "reset"}});
    cx.world.fault(rule).await?;
    let told = cx.call("get", json!({"sandbox": sandbox})).await?;
    cx.check("goes-on").that(told.returned(), "the sandbox", Shown(&told));
    Ok(())
}

async fn rate_limit_is_obeyed(cx: Cx) -> Result {
    cx.connect().await?;
    let sandbox = cx.sandbox().await?;
    let effect = json!({"type": "rateLimited", "retryAfter": 2});
    cx.world.fault(json!({"match": {"operation": "getSandbox"}, "times": 1, "effect": effect})).await?;
    let began = Instant::now();
    let told = cx.call("get", json!({"sandbox": sandbox})).await?;
    let calls = cx.world.journal("operation=getSandbox&status=429,200").await?;
    let limited = calls.iter().position(|call| call.status == Some(429));
    let again = limited.and_then(|at| Some(calls.get(at + 1)?.began() - calls[at].ended()));
    cx.check("waits").that(again.is_none_or(|waited| waited >= 1980), "2 s, or no second request", again);
    cx.check("is-told-or-waited-out").that(
        told.thrown().is_some() || began.elapsed().as_millis() >= 1980,
        "an error, or the answer after 2 s",
        Shown(&told),
    );
    Ok(())
}

async fn refusals_are_final(cx: Cx) -> Result {
    cx.connect().await?;
    let sandbox = cx.sandbox().await?;
    for status in [400, 403, 404, 409] {
        for (operation, op, args) in [
            ("getSandbox", "get", json!({"sandbox": sandbox})),
            ("ExecuteCommand", "execute", json!({"sandbox": sandbox, "command": "true"})),
        ] {
            let effect = json!({"type": "status", "status": status});
            let fault = cx.world.fault(json!({"match": {"operation": operation}, "effect": effect})).await?;
            cx.call(op, args).await?;
            cx.check(format!("{op}-{status}")).eq(cx.world.hits(&fault).await?, 1);
            cx.world.mend().await?;
        }
    }
    Ok(())
}
