//! What a server does by itself after a while, waited for in real time: for servers whose clock nobody can turn.
//! `settings`, `archives` and `ssh` have the same by the clock.

use crate::prelude::*;

scenarios! { "timers";
    /// A sandbox that nobody uses stops after `autoStopInterval` minutes, and not at once. (SDKs: autoStopInterval)
    auto_stop_comes: Must, covers ["createSandbox"], classes [Slow];

    /// A stopped sandbox is deleted after `autoDeleteInterval` minutes, and not at once. (SDKs: autoDeleteInterval)
    auto_delete_comes: Must, covers ["createSandbox", "stopSandbox"], classes [Slow];

    /// A sandbox ends after `ttlMinutes`, and not at once. (SDKs: ttlMinutes)
    ttl_comes: Must, covers ["createSandbox"], since "0.200", classes [Slow];

    /// Access over SSH is valid for as many minutes as were asked for. (createSshAccess: expiresInMinutes)
    ssh_access_runs_out: Must, covers ["createSshAccess", "validateSshAccess"], classes [Slow];
}

/// The shortest interval is a minute; no timer may act before.
const TOO_EARLY: Duration = Duration::from_secs(45);

/// Servers look at their timers every so often.
const LATEST: Duration = Duration::from_secs(300);

/// Looks on until it is no longer too early: whether `holds` held all the time.
async fn meanwhile<F>(cx: &Cx, id: &'static str, holds: impl Fn() -> F) -> Result
where
    F: Future<Output = Result<bool>>,
{
    let end = tokio::time::Instant::now() + TOO_EARLY;
    let mut held = true;
    while held && tokio::time::Instant::now() < end {
        tokio::time::sleep(Duration::from_secs(5)).await;
        held = holds().await?;
    }
    cx.check(id).eq(held, true);
    Ok(())
}

async fn stays(cx: &Cx, sandbox: &Sandbox, state: &str) -> Result {
    meanwhile(cx, "not-before", || async move { Ok(sandbox.state().await? == state) }).await
}

async fn goes(cx: &Cx, sandbox: &Sandbox) -> Result {
    let gone = || async move { Ok(Some(sandbox.read().await?).filter(|answer| answer.status == 404)) };
    let answer = cx.eventually("gone", LATEST, gone).await?;
    cx.check("gone").status(&answer, 404);
    Ok(())
}

async fn auto_stop_comes(cx: Cx) -> Result {
    let sandbox = &cx.sandbox_with(json!({"autoStopInterval": 1, "autoDeleteInterval": 60})).await?;
    stays(&cx, sandbox, "started").await?;
    let stopped = || async move {
        let answer = sandbox.read().await?.ok()?;
        Ok(Some(answer).filter(|answer| answer["state"] == "stopped"))
    };
    let answer = cx.eventually("stopped", LATEST, stopped).await?;
    cx.check("stopped").json(&answer, "/desiredState", "stopped");
    Ok(())
}

async fn auto_delete_comes(cx: Cx) -> Result {
    let sandbox = cx.sandbox_with(json!({"autoDeleteInterval": 1})).await?;
    sandbox.stop().await?;
    stays(&cx, &sandbox, "stopped").await?;
    goes(&cx, &sandbox).await
}

async fn ttl_comes(cx: Cx) -> Result {
    let sandbox = cx.sandbox_with(json!({"ttlMinutes": 1, "autoStopInterval": 0})).await?;
    stays(&cx, &sandbox, "started").await?;
    goes(&cx, &sandbox).await
}

async fn ssh_access_runs_out(cx: Cx) -> Result {
    let sandbox = cx.sandbox_with(json!({"autoStopInterval": 0})).await?;
    let path = format!("/sandbox/{}/ssh-access?expiresInMinutes=1", sandbox.id);
    let token = &cx.post(&path).send().await?.ok()?.string("/token")?;
    meanwhile(&cx, "valid", || is_valid(&cx, token)).await?;
    let over = || async { Ok((!is_valid(&cx, token).await?).then_some(())) };
    cx.eventually("no longer valid", LATEST, over).await
}

async fn is_valid(cx: &Cx, token: &str) -> Result<bool> {
    let answer = cx.get(&format!("/sandbox/ssh-access/validate?token={token}")).send().await?;
    if answer.status == 403 {
        return Err(Stop::not_applicable("keys of users may not validate SSH tokens here"));
    }
    Ok(answer.ok()?["valid"] == true)
}
