//! What operators do to an organisation, and what its keys see of it: suspension, restricted networks, quotas. Only where a test
//! can do it (`/__control/organization`).

use crate::{client::Client, prelude::*};

scenarios! { "operators";
    /// A suspended organisation makes and starts nothing: 403 with the reason. What it has can be read, stopped and
    /// deleted; and afterwards all is as before. (observed)
    suspended_ones_make_nothing: Must,
        covers ["createSandbox", "startSandbox", "stopSandbox", "deleteSandbox", "createSnapshot", "createVolume"],
        needs [Operators];

    /// Where an organisation's network is restricted, a sandbox's own can't be opened: 400, in documented words.
    /// (observed)
    restricted_networks_stay: Must, covers ["updateNetworkSettings"], needs [Operators];

    /// What exceeds the organisation's quota is 400 and says which and how much; what stops frees CPU, and not disk.
    /// (observed)
    quotas_say_what_is_exceeded: Must,
        covers ["createSandbox", "startSandbox", "resizeSandbox", "createSnapshot", "createVolume"], needs [Operators];

    /// What one sandbox may not have is 400, too, whatever is left of the total. (observed)
    sandboxes_have_their_own_maximum: Must, covers ["createSandbox"], needs [Operators];
}

const RESTRICTED: &str = "Network access is restricted and cannot be overridden at the sandbox level. See \
                          https://www.daytona.io/docs/en/network-limits/#tier-based-network-restrictions";
const TIER: &str = "To increase concurrency limits, upgrade your organization's Tier by visiting ";
const HIGHER: &str = "Need higher resource limits per-sandbox? Contact us at support@daytona.io and let us know about \
                      your use case.";

/// Does it to an account's organisation.
async fn does(cx: &Cx, account: &Client, change: Value) -> Result {
    let control = account.at(&format!("{}/__control", cx.root().base()), None);
    control.patch("/organization").json(change).send().await?.ok().map(drop)
}

async fn started(cx: &Cx, account: &Client) -> Result<Sandbox> {
    let answer = account.post("/sandbox").json(cx.sandbox_body(json!({}))).send().await?.ok()?;
    let sandbox = Sandbox::of(account.clone(), &answer)?;
    sandbox.wait_for("started").await?;
    Ok(sandbox)
}

async fn suspended_ones_make_nothing(cx: Cx) -> Result {
    let account = cx.own_account().await?;
    let (stopped, running) = (started(&cx, &account).await?, started(&cx, &account).await?);
    stopped.stop().await?;
    does(&cx, &account, json!({"suspended": {"reason": "unpaid"}})).await?;
    let refused = "Organization is suspended: unpaid";
    let start = format!("/sandbox/{}/start", stopped.id);
    for (id, request) in [
        ("create", account.post("/sandbox").json(cx.sandbox_body(json!({})))),
        ("start", account.post(&start)),
        ("snapshot", account.post("/snapshots").json(json!({"name": cx.name("s"), "imageName": "debian:12.5"}))),
        ("volume", account.post("/volumes").json(json!({"name": cx.name("v")}))),
    ] {
        let answer = request.send().await?;
        if id == "volume" && answer.status == 503 {
            continue;
        }
        cx.check(id).error(&answer, 403, refused);
    }
    cx.check("read").json(&stopped.read().await?, "/state", "stopped");
    cx.check("list").status(&account.get("/sandbox").send().await?, 200);
    cx.check("stop").status(&account.post(&format!("/sandbox/{}/stop", running.id)).send().await?, 200);
    running.wait_for("stopped").await?;
    cx.check("delete").status(&account.delete(&format!("/sandbox/{}", running.id)).send().await?, 200);
    does(&cx, &account, json!({"suspended": true})).await?;
    cx.check("without-reason").error(&account.post(&start).send().await?, 403, "Organization is suspended");
    does(&cx, &account, json!({"suspended": false})).await?;
    cx.check("afterwards").status(&account.post(&start).send().await?, 200);
    Ok(())
}

async fn restricted_networks_stay(cx: Cx) -> Result {
    let account = cx.own_account().await?;
    let sandbox = started(&cx, &account).await?;
    let settings = format!("/sandbox/{}/network-settings", sandbox.id);
    let set = async |body: Value| account.post(&settings).json(body).send().await;
    does(&cx, &account, json!({"limitedNetworkEgress": true})).await?;
    for (id, body) in
        [("open", json!({"networkBlockAll": false})), ("allow", json!({"networkAllowList": "10.0.0.0/8"}))]
    {
        cx.check(id).error(&set(body).await?, 400, RESTRICTED);
    }
    cx.check("unchanged").json(
        &sandbox.read().await?,
        "/networkAllowList",
        sandbox.created["networkAllowList"].clone(),
    );
    does(&cx, &account, json!({"limitedNetworkEgress": false})).await?;
    cx.check("afterwards").status_in(&set(json!({"networkAllowList": "10.0.0.0/8"})).await?, &[200, 201]);
    Ok(())
}

async fn quotas_say_what_is_exceeded(cx: Cx) -> Result {
    let account = cx.own_account().await?;
    // Everybody has the general snapshot.
    let quota = json!({"cpu": 1, "memory": 1, "disk": 1000, "snapshots": 1, "volumes": 0, "maxCpuPerSandbox": 4});
    does(&cx, &account, json!({"quota": quota})).await?;
    let create = async |body: Value| account.post("/sandbox").json(cx.sandbox_body(body)).send().await;
    let build = |what: &str| json!({"buildInfo": {"dockerfileContent": "FROM debian:12.5\n"}, what: 2});
    let total = |answer: &crate::client::Answer, id: &str, text: &str| {
        let message = answer["message"].as_str().unwrap_or_default();
        let is_said = answer.status == 400 && message.starts_with(&format!("{text}\n{TIER}"));
        cx.check(id.to_owned()).on(answer).that(
            is_said,
            &format!("400 {text}, and where to get more"),
            answer.summary(),
        );
    };
    total(&create(build("cpu")).await?, "cpu", "Total CPU limit exceeded. Maximum allowed: 1.");
    total(&create(build("memory")).await?, "memory", "Total memory limit exceeded. Maximum allowed: 1GiB.");
    let first = started(&cx, &account).await?;
    total(&create(json!({})).await?, "used-up", "Total CPU limit exceeded. Maximum allowed: 1.");
    first.stop().await?;
    started(&cx, &account).await?;
    let start = account.post(&format!("/sandbox/{}/start", first.id)).send().await?;
    total(&start, "start", "Total CPU limit exceeded. Maximum allowed: 1.");
    let resize = account.post(&format!("/sandbox/{}/resize", first.id)).json(json!({"cpu": 9})).send().await?;
    let own = format!("CPU request 9 exceeds maximum allowed per sandbox (4).\n{HIGHER}");
    cx.check("resize").error(&resize, 400, &own);
    let snapshot = account.post("/snapshots").json(json!({"name": cx.name("s"), "imageName": "debian:12.5"}));
    cx.check("snapshots").error(&snapshot.send().await?, 400, "Snapshot quota exceeded. Maximum allowed: 1");
    let volume = account.post("/volumes").json(json!({"name": cx.name("v")})).send().await?;
    if volume.status != 503 {
        cx.check("volumes").error(&volume, 400, "Volume quota exceeded. Maximum allowed: 0");
    }
    Ok(())
}

async fn sandboxes_have_their_own_maximum(cx: Cx) -> Result {
    let account = cx.own_account().await?;
    let quota = json!({"maxCpuPerSandbox": 4, "maxMemoryPerSandbox": 8, "maxDiskPerSandbox": 10});
    does(&cx, &account, json!({"quota": quota})).await?;
    for (what, size, text) in [
        ("cpu", 5, "CPU request 5 exceeds maximum allowed per sandbox (4)."),
        ("memory", 9, "Memory request 9GB exceeds maximum allowed per sandbox (8GB)."),
        ("disk", 11, "Disk request 11GB exceeds maximum allowed per sandbox (10GB)."),
    ] {
        let body = json!({"buildInfo": {"dockerfileContent": "FROM debian:12.5\n"}, what: size});
        let answer = account.post("/sandbox").json(cx.sandbox_body(body)).send().await?;
        cx.check(what).error(&answer, 400, &format!("{text}\n{HIGHER}"));
    }
    Ok(())
}
