use proptest::prelude::*;
use reqwest::Method;

use crate::prelude::*;

scenarios! { "lifecycle";
    /// A stopped sandbox keeps its files and comes back started over them; its processes are gone. (stopSandbox,
    /// startSandbox)
    stop_and_start_keep_files: Must, covers ["stopSandbox", "startSandbox"];

    /// Stop answers `stopping` or `stopped` at once, start answers `started`; both describe the whole sandbox, whose `updatedAt`
    /// moves. (observed)
    answers_name_the_new_state: Must, covers ["stopSandbox", "startSandbox", "getSandbox"];

    /// What can't be done in a state is refused with the documented status and text, and changes nothing: here for
    /// `started`. (observed)
    illegal_when_started: Must, covers ["startSandbox", "pauseSandbox", "recoverSandbox", "forkSandbox"];

    /// The same for `stopped`. (observed)
    illegal_when_stopped: Must, covers ["stopSandbox", "pauseSandbox", "recoverSandbox", "forkSandbox"];

    /// A sandbox that is being deleted is beyond every other change: each is refused, and nothing brings it back.
    /// (observed)
    illegal_when_deleted: Must, covers ["startSandbox", "stopSandbox", "pauseSandbox", "recoverSandbox", "forkSandbox"],
        classes [Racing];

    /// While a sandbox is starting or stopping, what would cut across is refused with 409, or finds it done; the change
    /// under way is completed. (observed)
    illegal_while_changing: Must, covers ["pauseSandbox", "recoverSandbox", "forkSandbox", "stopSandbox", "startSandbox"],
        classes [Racing];

    /// While a state is changing, further changes are 409 `Sandbox state change in progress`, or they find it done.
    /// (observed)
    changes_exclude_each_other: Must, covers ["stopSandbox", "startSandbox"], classes [Racing];

    /// Of several stops at once one succeeds; the others are 409, or 400 once it is done. (observed)
    one_of_many_stops_wins: Must, covers ["stopSandbox"], classes [Racing];

    /// Delete answers the sandbox as `destroying` under a name that frees its own; soon it is 404. (observed)
    delete_goes_through_destroying: Must, covers ["deleteSandbox", "getSandbox"], classes [Racing];

    /// A deleted sandbox's name can be given again at once. (observed)
    delete_frees_the_name: Must, covers ["deleteSandbox", "createSandbox"];

    /// Of several deletes at once one succeeds; the others are 409 or 404. (observed)
    one_of_many_deletes_wins: Must, covers ["deleteSandbox"], classes [Racing];

    /// A sandbox can be deleted by its name, when it is stopped, and while it is starting it is deleted or 409.
    /// (observed)
    delete_in_other_states: Must, covers ["deleteSandbox"], classes [Racing];

    /// A sandbox that is to be deleted when it stops (interval 0) is gone after a stop. (observed)
    ephemeral_is_gone_after_stop: Must, covers ["stopSandbox", "createSandbox"];

    /// A stopped sandbox's toolbox is answered 400, and works again after a start. (observed)
    toolbox_of_a_stopped_sandbox: Must, covers ["ExecuteCommand", "stopSandbox"];

    /// `force` stops a sandbox whose processes don't listen to signals. (stopSandbox)
    force_stops: Must, covers ["stopSandbox"];

    /// Each operation on an unknown sandbox is 404 with the same text. (observed)
    unknown_sandbox_is_not_found: Must,
        covers ["getSandbox", "startSandbox", "stopSandbox", "deleteSandbox", "replaceLabels", "updatePublicStatus",
            "setAutostopInterval", "setAutoDeleteInterval", "setAutoArchiveInterval", "getPortPreviewUrl",
            "getSignedPortPreviewUrl", "updateLastActivity", "recoverSandbox", "getToolboxProxyUrl", "pauseSandbox"];

    /// A started sandbox that was never backed up has no forks, no ancestors and no parent. (observed)
    no_family: Must, covers ["getSandboxForks", "getSandboxAncestors", "getSandboxParent"];

    /// Backups are accepted and change nothing that a client sees. (createBackup; observed)
    backup_is_accepted: Should, covers ["createBackup"];

    /// Whatever is asked in whatever order: each answer is 200 or a documented refusal, each state a documented one, and
    /// in the end the sandbox can be deleted. (createSandbox, startSandbox, stopSandbox; observed)
    any_sequence_stays_in_the_table: Must, covers ["startSandbox", "stopSandbox", "pauseSandbox", "recoverSandbox"],
        classes [Generated, Racing];
}

const CHANGING: &str = "Sandbox state change in progress";
const MODIFIED: &str = "Sandbox was modified by another operation";

async fn stop_and_start_keep_files(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    sandbox.upload("/home/daytona/note.txt", b"kept").await?.ok()?;
    sandbox.output("(setsid sleep 12345 >/dev/null 2>&1 &)").await?;
    let stopped = sandbox.stop().await?;
    cx.check("stopped").json(&stopped, "/desiredState", "stopped");
    let started = sandbox.start().await?;
    cx.check("started").json(&started, "/desiredState", "started");
    let file = sandbox.download("/home/daytona/note.txt").await?;
    cx.check("file-kept").on(&file).eq(file.text(), "kept");
    let processes = sandbox.exec("pgrep -f 'sleep 1234[5]'").await?.ok()?;
    cx.check("processes-gone").json(&processes, "/result", "");
    Ok(())
}

async fn answers_name_the_new_state(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    let stop = sandbox.op(Method::POST, "/stop").send().await?;
    cx.check("stop").status(&stop, 200);
    let state = stop["state"].as_str().unwrap_or_default();
    cx.check("stopping").on(&stop).that(matches!(state, "stopping" | "stopped"), "stopping or stopped", state);
    let before = sandbox.wait_for("stopped").await?;
    let start = sandbox.op(Method::POST, "/start").send().await?;
    cx.check("start").status(&start, 200);
    cx.check("started").json(&start, "/state", "started");
    for (id, answer, desired) in [("stop", &stop, "stopped"), ("start", &start, "started")] {
        cx.check(format!("{id}-desired")).json(answer, "/desiredState", desired);
        cx.check_same(id, answer, &answer.json, &sandbox.created, WHOSE);
    }
    let (stopped, answered) = (time(&before["updatedAt"]), time(&start["updatedAt"]));
    cx.check("start-updated").on(&start).that(answered >= stopped, "not before it was stopped", &start["updatedAt"]);
    let after = sandbox.read().await?;
    let times = [&sandbox.created, &before.json, &after.json].map(|one| time(&one["updatedAt"]));
    cx.check("updated").that(times.is_sorted() && times[0] < times[2], "a later updatedAt", times);
    Ok(())
}

/// What says which sandbox it is, in the answer to every change.
const WHOSE: &[&str] =
    &["id", "name", "organizationId", "labels", "snapshot", "cpu", "memory", "disk", "createdAt", "toolboxProxyUrl"];

async fn illegal_when_started(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let again = sandbox.op(Method::POST, "/start").send().await?;
    cx.check("start-is-a-no-op").json(&again, "/state", "started");
    for (id, path, status, message) in [
        ("pause", "/pause", 422, "Pausing is not supported for this sandbox"),
        ("recover", "/recover", 400, "Sandbox is not in a recoverable state"),
    ] {
        cx.check(id).error(&sandbox.op(Method::POST, path).send().await?, status, message);
    }
    let fork = sandbox.op(Method::POST, "/fork").json(json!({"name": cx.name("fork")})).send().await?;
    cx.check("fork").error(&fork, 422, "Forking is not supported for this sandbox");
    cx.check("still-started").eq(sandbox.state().await?, "started");
    Ok(())
}

async fn illegal_when_stopped(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    sandbox.stop().await?;
    for (id, path, status, message) in [
        ("stop", "/stop", 400, "Sandbox is not in a stoppable state"),
        ("force", "/stop?force=true", 400, "Sandbox is not in a stoppable state"),
        ("pause", "/pause", 400, "Sandbox must be in started state to pause"),
        ("recover", "/recover", 400, "Sandbox is not in a recoverable state"),
    ] {
        cx.check(id).error(&sandbox.op(Method::POST, path).send().await?, status, message);
    }
    let fork = sandbox.op(Method::POST, "/fork").json(json!({"name": cx.name("fork")})).send().await?;
    cx.check("fork").error(&fork, 422, "Forking is not supported for this sandbox");
    cx.check("still-stopped").eq(sandbox.state().await?, "stopped");
    Ok(())
}

async fn illegal_when_deleted(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    sandbox.op(Method::DELETE, "").send().await?.ok()?;
    // The first round may find it `destroying`, the second finds nothing.
    for round in ["at-once", "gone"] {
        for path in ["/start", "/stop", "/stop?force=true", "/pause", "/recover", "/fork"] {
            let answer = sandbox.op(Method::POST, path).json(json!({})).send().await?;
            let refusals: &[u16] = if round == "gone" { &[404] } else { &[400, 404, 409, 422] };
            cx.check(format!("{path}-{round}")).status_in(&answer, refusals);
        }
        sandbox.wait_gone().await?;
    }
    cx.check("stays-gone").status(&sandbox.read().await?, 404);
    Ok(())
}

async fn illegal_while_changing(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    for (change, done, other) in [("/stop", "stopped", "/stop"), ("/start", "started", "/start")] {
        sandbox.op(Method::POST, change).send().await?.ok()?;
        for path in ["/pause", "/recover", "/fork", other] {
            let answer = sandbox.op(Method::POST, path).json(json!({})).send().await?;
            // Starting what is started is done already.
            let fits = matches!(answer.status, 400 | 409 | 422) || path == "/start" && answer.status == 200;
            cx.check(format!("{path} during {change}")).on(&answer).that(fits, "a refusal", answer.summary());
        }
        cx.check(format!("{change} is completed")).json(&sandbox.wait_for(done).await?, "/state", done);
    }
    Ok(())
}

async fn changes_exclude_each_other(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    let stop = sandbox.op(Method::POST, "/stop").send().await?.ok()?;
    let start = sandbox.op(Method::POST, "/start").send().await?;
    let fits = start.is_ok() || (start.status == 409 && start["message"] == CHANGING);
    cx.check("start-while-stopping").on(&start).that(fits, "409, or started if it had stopped", start.summary());
    cx.check("stop").status(&stop, 200);
    let last = if start.is_ok() { "started" } else { "stopped" };
    cx.check("ends-as-answered").json(&sandbox.wait_for(last).await?, "/state", last);
    Ok(())
}

async fn one_of_many_stops_wins(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    let answers = futures_util::future::try_join_all((0..5).map(|_| sandbox.op(Method::POST, "/stop").send())).await?;
    let won = answers.iter().filter(|answer| answer.is_ok()).count();
    cx.check("one-wins").eq(won, 1);
    for answer in answers.iter().filter(|answer| !answer.is_ok()) {
        let message = answer["message"].as_str().unwrap_or_default();
        let fits = match answer.status {
            409 => message == CHANGING || message == MODIFIED,
            400 => message == "Sandbox is not in a stoppable state",
            _ => false,
        };
        cx.check("others-are-refused").on(answer).that(fits, "409, or 400 once it has stopped", answer.summary());
    }
    sandbox.wait_for("stopped").await?;
    Ok(())
}

async fn delete_goes_through_destroying(cx: Cx) -> Result {
    let name = cx.name("gone");
    let sandbox = cx.sandbox_with(json!({"name": name})).await?;
    let deleted = sandbox.op(Method::DELETE, "").send().await?;
    cx.check("status").status(&deleted, 200);
    cx.check("destroying").json(&deleted, "/state", "destroying");
    cx.check("desired").json(&deleted, "/desiredState", "destroyed");
    let new_name = deleted["name"].as_str().unwrap_or_default();
    cx.check("name-freed").on(&deleted).that(
        new_name.starts_with(&format!("DESTROYED_{name}_")),
        "DESTROYED_<name>_…",
        new_name,
    );
    let by_name = cx.get(&format!("/sandbox/{name}")).send().await?;
    cx.check("by-name").error(&by_name, 404, &format!("Sandbox with ID or name {name} not found"));
    let gone = sandbox.wait_gone().await?;
    cx.check("gone").error(&gone, 404, &format!("Sandbox with ID or name {} not found", sandbox.id));
    cx.check("again").status(&sandbox.op(Method::DELETE, "").send().await?, 404);
    let list = cx.get("/sandbox").query("id", &sandbox.id).send().await?;
    cx.check("not-listed").json(&list, "/items", json!([]));
    cx.check("toolbox").status_in(&sandbox.exec("true").await?, &[400, 401, 404]);
    Ok(())
}

async fn delete_frees_the_name(cx: Cx) -> Result {
    let name = cx.name("again");
    let first = cx.sandbox_with(json!({"name": name})).await?;
    first.op(Method::DELETE, "").send().await?.ok()?;
    let second = cx.create(json!({"name": name}))?.send().await?;
    cx.check("made").status(&second, 200);
    cx.check("another").on(&second).ne(&second["id"], &json!(first.id));
    Ok(())
}

async fn one_of_many_deletes_wins(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    let answers = futures_util::future::try_join_all((0..5).map(|_| sandbox.op(Method::DELETE, "").send())).await?;
    cx.check("one-wins").eq(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    for answer in answers.iter().filter(|answer| !answer.is_ok()) {
        cx.check("others-are-refused").status_in(answer, &[404, 409]);
    }
    cx.check("gone").status(&sandbox.wait_gone().await?, 404);
    Ok(())
}

async fn delete_in_other_states(cx: Cx) -> Result {
    let stopped = cx.sandbox_with(json!({"name": cx.name("by-name")})).await?;
    stopped.stop().await?;
    let deleted = cx.delete(&format!("/sandbox/{}", stopped.name)).send().await?;
    cx.check("stopped-by-name").status(&deleted, 200);
    cx.check("gone").status(&stopped.wait_gone().await?, 404);
    let starting = cx.sandbox().await?;
    starting.stop().await?;
    let (start, delete) =
        tokio::try_join!(starting.op(Method::POST, "/start").send(), starting.op(Method::DELETE, "").send())?;
    cx.check("delete-while-starting").status_in(&delete, &[200, 409]);
    cx.check("start-while-deleting").status_in(&start, &[200, 400, 404, 409]);
    Ok(())
}

async fn ephemeral_is_gone_after_stop(cx: Cx) -> Result {
    let sandbox = cx.sandbox_with(json!({"autoDeleteInterval": 0})).await?;
    let stop = sandbox.op(Method::POST, "/stop").send().await?;
    cx.check("stop").status(&stop, 200);
    cx.check("destroying").json(&stop, "/state", "destroying");
    cx.check("gone").status(&sandbox.wait_gone().await?, 404);
    Ok(())
}

async fn toolbox_of_a_stopped_sandbox(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    sandbox.stop().await?;
    let refused = sandbox.exec("true").await?;
    cx.check("refused").status(&refused, 400);
    let message = refused["message"].as_str().unwrap_or_default();
    cx.check("message").on(&refused).contains(message, "Is the Sandbox started?");
    cx.check("unchanged").eq(sandbox.state().await?, "stopped");
    sandbox.start().await?;
    cx.check("works-again").json(&sandbox.exec("true").await?, "/exitCode", 0);
    Ok(())
}

async fn force_stops(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    sandbox.output("(trap '' TERM INT HUP; setsid sleep 12346 >/dev/null 2>&1 &)").await?;
    let stop = sandbox.op(Method::POST, "/stop?force=true").send().await?;
    cx.check("accepted").status(&stop, 200);
    cx.check("stopped").json(&sandbox.wait_for("stopped").await?, "/state", "stopped");
    Ok(())
}

async fn unknown_sandbox_is_not_found(cx: Cx) -> Result {
    let get = [
        "",
        "/ports/3000/preview-url",
        "/ports/3000/signed-preview-url",
        "/toolbox-proxy-url",
        "/forks",
        "/ancestors",
        "/parent",
        "/build-logs-url",
        "/signing-key",
    ];
    let post = [
        "/start",
        "/stop",
        "/pause",
        "/recover",
        "/public/true",
        "/autostop/5",
        "/autodelete/5",
        "/autoarchive/5",
        "/last-activity",
        "/ttl/5",
        "/backup",
        "/signing-key/rotate",
    ];
    let message = "Sandbox with ID or name no-such-sandbox not found";
    for (method, paths) in [(Method::GET, &get[..]), (Method::POST, &post[..]), (Method::DELETE, &[""][..])] {
        for path in paths {
            let answer = cx.api().request(method.clone(), &format!("/sandbox/no-such-sandbox{path}")).send().await?;
            cx.check(format!("{method}{path}")).error(&answer, 404, message);
        }
    }
    let labels = cx.put("/sandbox/no-such-sandbox/labels").json(json!({"labels": {}})).send().await?;
    cx.check("PUT/labels").error(&labels, 404, message);
    Ok(())
}

async fn no_family(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    for path in ["/forks", "/ancestors"] {
        cx.check(path).json(&sandbox.op(Method::GET, path).send().await?, "", json!([]));
    }
    let parent = sandbox.op(Method::GET, "/parent").send().await?;
    cx.check("parent").error(&parent, 404, &format!("Parent sandbox not found for sandbox {}", sandbox.id));
    Ok(())
}

async fn backup_is_accepted(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    let backup = sandbox.op(Method::POST, "/backup").send().await?;
    cx.check("accepted").status_in(&backup, &[200, 201]);
    cx.check("state").json(&backup, "/state", "started");
    cx.check("backup").on(&backup).ne(&backup["backupState"], &json!("Error"));
    Ok(())
}

/// The table's states that a client can see here.
const STATES: &[&str] = &["creating", "started", "stopping", "stopped", "starting"];

const STEPS: &[&str] = &["/start", "/stop", "/stop?force=true", "/pause", "/recover", "/public/true"];

async fn any_sequence_stays_in_the_table(cx: Cx) -> Result {
    let sequences = prop::collection::vec(0..STEPS.len(), 1..7);
    cx.law("table", "answers and states of the documented table", sequences, |cx, steps| async move {
        let sandbox = cx.sandbox().await?;
        for path in steps.into_iter().map(|step| STEPS[step]) {
            let answer = sandbox.op(Method::POST, path).send().await?;
            if !matches!(answer.status, 200 | 201 | 400 | 409 | 422) {
                return Ok(Some(format!("{path}: {}", answer.summary())));
            }
            let state = sandbox.state().await?;
            if !STATES.contains(&state.as_str()) {
                return Ok(Some(format!("{path}: state {state}")));
            }
        }
        crate::sweep::remove(cx.api(), &format!("/sandbox/{}", sandbox.id)).await.map_err(Stop::untestable)?;
        Ok(None)
    })
    .await
}
