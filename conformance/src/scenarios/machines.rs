use reqwest::Method;

use crate::{client::Answer, prelude::*};

scenarios! { "machines";
    /// A sandbox of a virtual machine's snapshot is one: its class is that of the snapshot, and it pauses when it is idle
    /// instead of stopping. (createSandbox)
    class_comes_from_the_snapshot: Must, covers ["createSandbox", "getAllSnapshots"], since "0.200";

    /// A machine pauses with its memory: processes stand still, the toolbox is refused, and a start goes on with what was
    /// there. (pauseSandbox, startSandbox)
    pause_keeps_memory: Must, covers ["pauseSandbox", "startSandbox"], since "0.200";

    /// A paused machine is stopped or deleted as it is; everything else is refused. (pauseSandbox, observed texts)
    paused_ones_refuse: Must, covers ["pauseSandbox", "stopSandbox", "forkSandbox", "resizeSandbox", "archiveSandbox"],
        since "0.200";

    /// At most one of auto-stop and auto-pause is on, and ephemeral machines don't pause by themselves. (CreateSandbox)
    auto_pause_excludes_auto_stop: Must, covers ["createSandbox", "setAutoPauseInterval"], since "0.200";

    /// A fork has the files of its origin and the origin's labels, and each goes its own way. (forkSandbox)
    fork_copies_files: Must, covers ["forkSandbox"], since "0.200";

    /// Forks, parents and ancestors tell the family, oldest ancestor first. (getSandboxForks, getSandboxParent,
    /// getSandboxAncestors)
    family_is_told: Must, covers ["getSandboxForks", "getSandboxParent", "getSandboxAncestors"], since "0.200";

    /// Who has forks can't be deleted before them. (deleteSandbox)
    parents_outlive_forks: Must, covers ["deleteSandbox"], since "0.200";

    /// A fork's name must be free and plain, and the origin started. (forkSandbox)
    fork_refuses: Must, covers ["forkSandbox"], since "0.200";
}

/// The name of a general snapshot of a virtual machine.
async fn snapshot(cx: &Cx) -> Result<String> {
    let snapshots = cx.get("/snapshots").send().await?.ok()?;
    let is_machine =
        |one: &&Value| one["sandboxClass"] == "linux-vm" && one["general"] == true && one["state"] == "active";
    let found = snapshots.array("/items")?.iter().find(is_machine);
    let name = found.and_then(|one| one["name"].as_str()).map(str::to_owned);
    name.ok_or_else(|| Stop::not_applicable("a general snapshot of class linux-vm"))
}

async fn machine(cx: &Cx) -> Result<Sandbox> {
    let snapshot = snapshot(cx).await?;
    // Intervals of its own: those that the suite adds are for containers.
    cx.sandbox_with(json!({"snapshot": snapshot, "autoStopInterval": 15, "autoPauseInterval": 0})).await
}

async fn pause(sandbox: &Sandbox) -> Result<Answer> {
    let answer = sandbox.op(Method::POST, "/pause").send().await?.ok()?;
    sandbox.wait_for("paused").await?;
    Ok(answer)
}

/// A started fork.
async fn fork(cx: &Cx, of: &Sandbox, body: Value) -> Result<Sandbox> {
    let answer = of.op(Method::POST, "/fork").json(body).send().await?.ok()?;
    let fork = Sandbox::of(cx.api().clone(), &answer)?;
    fork.wait_for("started").await?;
    of.wait_for("started").await?;
    Ok(fork)
}

/// Where no snapshot is said to be of a machine, none may make one: a list that hides them would leave all of this unjudged.
async fn no_snapshot_hides_a_machine(cx: &Cx) -> Result {
    const MOST: usize = 8;
    let snapshots = cx.get("/snapshots").send().await?.ok()?;
    let items = snapshots.array("/items")?;
    let ready = items.iter().filter(|one| one["state"] == "active" && one["sandboxClass"].is_string());
    // What scenarios of this suite keep are containers; and there are many.
    let others = ready.filter(|one| !one["name"].as_str().unwrap_or_default().starts_with("conformance-"));
    for one in others.take(MOST) {
        let made = cx.create(json!({"snapshot": one["name"]}))?.send().await?;
        if made.is_ok() {
            cx.check("class-as-listed").on(&made).eq(&made["sandboxClass"], &one["sandboxClass"]);
            cx.delete(&format!("/sandbox/{}", made.string("/id")?)).send().await?;
        }
    }
    Ok(())
}

async fn class_comes_from_the_snapshot(cx: Cx) -> Result {
    let name = match snapshot(&cx).await {
        Err(stop @ Stop::NotApplicable(_)) => {
            no_snapshot_hides_a_machine(&cx).await?;
            return Err(stop);
        }
        found => found?,
    };
    let mut body = cx.sandbox_body(json!({"snapshot": name}));
    // Not even what the suite adds.
    if let Some(body) = body.as_object_mut() {
        body.remove("autoStopInterval");
    }
    let made = cx.create(json!({}))?.json(body).send().await?;
    cx.check("made").status(&made, 200);
    cx.check("class").json(&made, "/sandboxClass", "linux-vm");
    cx.check("pauses").json(&made, "/autoPauseInterval", 60);
    cx.check("does-not-stop").json(&made, "/autoStopInterval", 0);
    Ok(())
}

async fn pause_keeps_memory(cx: Cx) -> Result {
    let sandbox = machine(&cx).await?;
    sandbox.post("/process/session").json(json!({"sessionId": "s"})).send().await?.ok()?;
    let run =
        async |command: &str| sandbox.post("/process/session/s/exec").json(json!({"command": command})).send().await;
    run("KEPT=memory").await?.ok()?;
    let answer = pause(&sandbox).await?;
    let state = answer["state"].as_str().unwrap_or_default();
    cx.check("pausing").on(&answer).that(matches!(state, "pausing" | "paused"), "pausing or paused", state);
    cx.check("toolbox").status_in(&sandbox.exec("true").await?, &[400, 404]);
    let start = sandbox.op(Method::POST, "/start").send().await?;
    cx.check("start").status(&start, 200);
    sandbox.wait_for("started").await?;
    let kept = run("echo $KEPT").await?;
    let output = kept["output"].as_str().unwrap_or_default();
    cx.check("memory").on(&kept).contains(output, "memory");
    Ok(())
}

async fn paused_ones_refuse(cx: Cx) -> Result {
    let sandbox = machine(&cx).await?;
    pause(&sandbox).await?;
    for (id, path, message) in [
        ("pause", "/pause", "Sandbox must be in started state to pause"),
        ("archive", "/archive", "Sandbox is not stopped"),
        ("fork", "/fork", "Sandbox must be in started state to fork"),
    ] {
        cx.check(id).error(&sandbox.op(Method::POST, path).json(json!({})).send().await?, 400, message);
    }
    let resize = sandbox.op(Method::POST, "/resize").json(json!({"cpu": 2})).send().await?;
    cx.check("resize").error(&resize, 400, "Sandbox must be in started or stopped state to resize");
    cx.check("still-paused").eq(sandbox.state().await?, "paused");
    let stop = sandbox.op(Method::POST, "/stop").send().await?;
    cx.check("stop").status(&stop, 200);
    cx.check("stopped").json(&sandbox.wait_for("stopped").await?, "/state", "stopped");
    Ok(())
}

async fn auto_pause_excludes_auto_stop(cx: Cx) -> Result {
    let name = snapshot(&cx).await?;
    for (id, body) in [
        ("both", json!({"snapshot": name, "autoStopInterval": 5, "autoPauseInterval": 5})),
        (
            "ephemeral",
            json!({"snapshot": name, "autoStopInterval": 0, "autoPauseInterval": 5, "autoDeleteInterval": 0}),
        ),
    ] {
        cx.check(id).status(&cx.create(body)?.send().await?, 400);
    }
    let sandbox = machine(&cx).await?;
    cx.check("on-top").status(&sandbox.op(Method::POST, "/autopause/5").send().await?, 400);
    sandbox.op(Method::POST, "/autostop/0").send().await?.ok()?;
    let set = sandbox.op(Method::POST, "/autopause/5").send().await?.ok()?;
    cx.check("instead").json(&set, "/autoPauseInterval", 5);
    Ok(())
}

async fn fork_copies_files(cx: Cx) -> Result {
    let sandbox = machine(&cx).await?;
    sandbox.upload("/home/daytona/note.txt", b"both").await?.ok()?;
    let name = cx.name("fork");
    let answer = sandbox.op(Method::POST, "/fork").json(json!({"name": name})).send().await?.ok()?;
    cx.check("name").json(&answer, "/name", name.as_str());
    cx.check("another").on(&answer).ne(&answer["id"], &json!(sandbox.id));
    cx.check("labels").on(&answer).eq(&answer["labels"], &sandbox.created["labels"]);
    let fork = Sandbox::of(cx.api().clone(), &answer)?;
    fork.wait_for("started").await?;
    sandbox.wait_for("started").await?;
    let file = fork.download("/home/daytona/note.txt").await?;
    cx.check("file").on(&file).eq(file.text(), "both");
    fork.upload("/home/daytona/note.txt", b"fork").await?.ok()?;
    let file = sandbox.download("/home/daytona/note.txt").await?;
    cx.check("apart").on(&file).eq(file.text(), "both");
    Ok(())
}

async fn family_is_told(cx: Cx) -> Result {
    let sandbox = machine(&cx).await?;
    let child = fork(&cx, &sandbox, json!({})).await?;
    let grandchild = fork(&cx, &child, json!({})).await?;
    let ids = |answer: &Answer| {
        let all = answer.json.as_array().cloned().unwrap_or_default();
        all.iter().filter_map(|one| one["id"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let forks = sandbox.op(Method::GET, "/forks").send().await?;
    cx.check("forks").on(&forks).eq(ids(&forks), vec![child.id.clone()]);
    let parent = grandchild.op(Method::GET, "/parent").send().await?;
    cx.check("parent").json(&parent, "/id", child.id.as_str());
    let ancestors = grandchild.op(Method::GET, "/ancestors").send().await?;
    cx.check("ancestors").on(&ancestors).eq(ids(&ancestors), vec![sandbox.id.clone(), child.id.clone()]);
    let none = sandbox.op(Method::GET, "/parent").send().await?;
    cx.check("no-parent").error(&none, 404, &format!("Parent sandbox not found for sandbox {}", sandbox.id));
    Ok(())
}

async fn parents_outlive_forks(cx: Cx) -> Result {
    let sandbox = machine(&cx).await?;
    let child = fork(&cx, &sandbox, json!({})).await?;
    let message = "Cannot delete sandbox which has active fork children. The forks must be deleted first.";
    cx.check("refused").error(&sandbox.op(Method::DELETE, "").send().await?, 400, message);
    child.op(Method::DELETE, "").send().await?.ok()?;
    child.wait_gone().await?;
    cx.check("deleted").status(&sandbox.op(Method::DELETE, "").send().await?, 200);
    Ok(())
}

async fn fork_refuses(cx: Cx) -> Result {
    let sandbox = machine(&cx).await?;
    let asked = async |name: Value| sandbox.op(Method::POST, "/fork").json(json!({"name": name})).send().await;
    cx.check("taken").error(&asked(json!(sandbox.name)).await?, 409, "Sandbox with this name already exists");
    cx.check("unsafe").status(&asked(json!("<b>")).await?, 400);
    sandbox.stop().await?;
    let stopped = asked(json!(cx.name("late"))).await?;
    cx.check("stopped").error(&stopped, 400, "Sandbox must be in started state to fork");
    Ok(())
}
