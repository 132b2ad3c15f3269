//! What limiters tell, where they are on.

use crate::{
    client::{Answer, Client},
    prelude::*,
};

scenarios! { "rate_limits";
    /// An answer says the limit that it counted for, what is left of it and when it begins anew: as the configuration has it,
    /// and one less with each request. (observed; SDKs hand the headers on)
    answers_say_what_is_left: Must, covers ["getSandbox", "ConfigController_getConfig"];

    /// Making a sandbox and changing its state count on their own. (observed)
    changes_count_apart: Must, covers ["createSandbox", "stopSandbox"];

    /// Who asks too often is refused with 429 and when to come back, in one header alone. (observed; SDKs: RateLimit errors)
    refusals_say_when: Must, covers ["getSandbox"], needs [Operators];
}

/// More requests than that are not made to get a refusal.
const FEW: u64 = 100;

/// What the configuration says of a limit; not applicable where it is off.
async fn configured(cx: &Cx, name: &str) -> Result<(u64, u64)> {
    let config = cx.get("/config").send().await?.ok()?;
    let entry = config.at(&format!("/rateLimit/{name}"));
    match (entry["limit"].as_u64(), entry["ttl"].as_u64()) {
        (Some(limit), Some(seconds)) => Ok((limit, seconds)),
        _ => Err(Stop::not_applicable(format!("the rate limit {name}"))),
    }
}

fn told(answer: &Answer, what: &str, limit: &str) -> Option<u64> {
    answer.header(&format!("x-ratelimit-{what}-{limit}")).parse().ok()
}

/// Checks: the three headers of a limit. What is left of it.
fn judge(cx: &Cx, answer: &Answer, limit: &str, (most, seconds): (u64, u64)) -> Option<u64> {
    // An organisation may have a limit of its own, which isn't in the configuration that everybody reads.
    cx.check(format!("{limit}-limit")).on(answer).should().eq(told(answer, "limit", limit), Some(most));
    let own = told(answer, "limit", limit);
    let left = told(answer, "remaining", limit);
    cx.check(format!("{limit}-remaining")).on(answer).that(left.is_some() && left < own, "less than the limit", left);
    let reset = told(answer, "reset", limit);
    let within = reset.is_some_and(|reset| reset <= seconds);
    cx.check(format!("{limit}-reset")).on(answer).that(within, "seconds of the window", reset);
    left
}

/// Who counts for nobody else, where there can be such an account.
async fn account(cx: &Cx) -> Result<(Client, bool)> {
    let alone = cx.own_account().await;
    Ok(alone.map_or_else(|_| (cx.api().clone(), false), |account| (account, true)))
}

async fn answers_say_what_is_left(cx: Cx) -> Result {
    let limit = configured(&cx, "authenticated").await?;
    let (account, alone) = account(&cx).await?;
    let ask = async || account.get("/sandbox/nobody").send().await;
    let first = judge(&cx, &ask().await?, "authenticated", limit);
    let second = judge(&cx, &ask().await?, "authenticated", limit);
    if alone && first > Some(0) {
        cx.check("one-less").eq(second, first.map(|left| left - 1));
    }
    let open = cx.get("/config").send().await?;
    cx.check("open").on(&open).eq(told(&open, "limit", "authenticated"), None);
    Ok(())
}

async fn changes_count_apart(cx: Cx) -> Result {
    let (create, lifecycle) = (configured(&cx, "sandboxCreate").await?, configured(&cx, "sandboxLifecycle").await?);
    let (account, _) = account(&cx).await?;
    // Neither makes nor changes a thing.
    for (limit, told_by, request) in [
        ("sandbox-create", create, account.post("/sandbox").json(json!({"name": 5}))),
        ("sandbox-lifecycle", lifecycle, account.post("/sandbox/nobody/stop")),
    ] {
        let answer = request.send().await?;
        judge(&cx, &answer, limit, told_by);
        cx.check(format!("{limit}-only")).on(&answer).eq(told(&answer, "limit", "authenticated"), None);
    }
    Ok(())
}

async fn refusals_say_when(cx: Cx) -> Result {
    let (most, seconds) = configured(&cx, "authenticated").await?;
    if most > FEW {
        return Err(Stop::not_applicable(format!("a limit that {FEW} requests exceed")));
    }
    let account = cx.own_account().await?;
    for _ in 0..most {
        account.get("/sandbox/nobody").impatient().send().await?;
    }
    let answer = account.get("/sandbox/nobody").impatient().send().await?;
    cx.check("refused").error(&answer, 429, "ThrottlerException: Too Many Requests");
    let after = answer.header("retry-after-authenticated").parse::<u64>().ok();
    cx.check("when").on(&answer).that(after.is_some_and(|after| (1..=seconds).contains(&after)), "seconds", after);
    cx.check("nothing-else").on(&answer).eq(told(&answer, "limit", "authenticated"), None);
    Ok(())
}
