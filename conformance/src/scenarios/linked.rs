use reqwest::Method;

use crate::prelude::*;

scenarios! { "linked";
    /// A linked sandbox says what it is linked to, reaches the other one by its name, and is reached by its own.
    /// (createSandbox; observed)
    names_resolve_both_ways: Must, covers ["createSandbox"];

    /// Who is linked goes with the other one. (observed)
    followers_go_with_the_owner: Must, covers ["deleteSandbox"];

    /// Links are for ephemeral sandboxes, to one that is there and isn't linked itself. (observed)
    links_are_checked: Must, covers ["createSandbox"];
}

const SERVE: &str = "mkdir -p www && hostname > www/who && cd www && \
    (setsid python3 -m http.server 3000 >/dev/null 2>&1 </dev/null &)";

/// An owner and a sandbox that is linked to it.
async fn pair(cx: &Cx) -> Result<(Sandbox, Sandbox)> {
    let owner = cx.sandbox_with(json!({"name": cx.name("owner")})).await?;
    let body = json!({"name": cx.name("follower"), "linkedSandbox": owner.name, "autoDeleteInterval": 0});
    let follower = cx.sandbox_with(body).await?;
    Ok((owner, follower))
}

async fn names_resolve_both_ways(cx: Cx) -> Result {
    let (owner, follower) = pair(&cx).await?;
    let read = follower.read().await?;
    cx.check("linked").json(&read, "/linkedSandboxId", owner.id.as_str());
    for (id, to, from) in [("to-the-owner", &owner, &follower), ("to-the-follower", &follower, &owner)] {
        to.needs_program("python3").await?;
        from.needs_program("curl").await?;
        to.output(SERVE).await?;
        let command = format!("curl -s --retry 20 --retry-connrefused --retry-delay 1 http://{}:3000/who", to.name);
        cx.check(id).eq(from.output(&command).await?, to.output("hostname").await?);
    }
    Ok(())
}

async fn followers_go_with_the_owner(cx: Cx) -> Result {
    let (owner, follower) = pair(&cx).await?;
    owner.op(Method::DELETE, "").send().await?.ok()?;
    cx.check("owner").status(&owner.wait_gone().await?, 404);
    cx.check("follower").status(&follower.wait_gone().await?, 404);
    Ok(())
}

async fn links_are_checked(cx: Cx) -> Result {
    let (owner, follower) = pair(&cx).await?;
    let lasting = cx.create(json!({"linkedSandbox": owner.name}))?.send().await?;
    let text = "Linked sandboxes must be ephemeral (set autoDeleteInterval to 0)";
    cx.check("lasting").error(&lasting, 400, text);
    let unknown = cx.create(json!({"linkedSandbox": "no-such-sandbox", "autoDeleteInterval": 0}))?.send().await?;
    cx.check("unknown").error(&unknown, 404, "Sandbox with ID or name no-such-sandbox not found");
    let chained = cx.create(json!({"linkedSandbox": follower.name, "autoDeleteInterval": 0}))?.send().await?;
    let text =
        format!("Linked sandbox {} is itself linked to another sandbox; chained links are not allowed", follower.id);
    cx.check("chained").error(&chained, 400, &text);
    let build = json!({"buildInfo": {"dockerfileContent": "FROM x:1"}, "linkedSandbox": owner.name});
    let built = cx.create(build)?.send().await?;
    let text = "linkedSandbox is not supported with declarative builds. Create a sandbox from a snapshot";
    cx.check("built").error(&built, 400, text);
    Ok(())
}
