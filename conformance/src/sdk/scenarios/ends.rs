//! Programs end.

use std::time::Duration;

use serde_json::{Value, json};

use super::scenarios;
use crate::{
    sdk::{Cx, driver::Driver, middle::Middle},
    stop::Result,
};

scenarios! { "ends";
    /// A program that closes its client ends by itself. (Symbol.asyncDispose; Daytona.close)
    after_close: Must;
    /// A program that just comes to its end does end: nothing of the SDK keeps it. (Node: open handles; Python: threads)
    without_close: Should;
    /// A program whose server takes no events ends, too. (Socket.IO: reconnecting)
    without_events: Should;
}

const SOON: Duration = Duration::from_secs(10);

/// A program of its own that made a client and used it, and whose input is over.
async fn program(cx: &Cx, close: bool, options: Value) -> Result<bool> {
    let mut driver = Driver::start(&cx.command).await?;
    driver.call("connect", cx.connection(options), SOON).await?.ok()?;
    let sandbox = cx.world.sandbox("subject").await?;
    driver.call("get", json!({"sandbox": sandbox}), SOON).await?.ok()?;
    driver.call("stop", json!({"sandbox": sandbox}), SOON * 2).await?.ok()?;
    if close {
        driver.call("close", json!({}), SOON).await?.ok()?;
    }
    Ok(driver.finish(SOON).await)
}

async fn after_close(cx: Cx) -> Result {
    let ended = program(&cx, true, json!({})).await?;
    cx.check("ends").that(ended, "an end within 10 s", ended);
    Ok(())
}

async fn without_close(cx: Cx) -> Result {
    let ended = program(&cx, false, json!({})).await?;
    cx.check("ends").that(ended, "an end within 10 s", ended);
    Ok(())
}

async fn without_events(cx: Cx) -> Result {
    let middle = Middle::start(cx.api_url(), true).await?;
    let ended = program(&cx, false, json!({"apiUrl": middle.api_url})).await?;
    cx.check("ends").that(ended, "an end within 10 s", ended);
    Ok(())
}
