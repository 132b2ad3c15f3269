use reqwest::Method;

use crate::{client::Answer, prelude::*};

scenarios! { "archives";
    /// A stopped sandbox is archived by way of `archiving`, then has a completed backup and no runner; a start brings its
    /// files back. (archiveSandbox, startSandbox; observed)
    archive_and_restore_keep_files: Must, covers ["archiveSandbox", "startSandbox"];

    /// A start of an archived sandbox is answered before its files are back: `archived`, but desired `started`. (observed)
    start_answers_before_the_restoration: Must, covers ["startSandbox", "archiveSandbox"];

    /// Only what is stopped and lasts is archived. (archiveSandbox; observed)
    only_stopped_ones: Must, covers ["archiveSandbox"];

    /// A start while it is archived, or a deletion, ends the archiving. (observed)
    start_or_delete_ends_it: Must, covers ["archiveSandbox", "startSandbox", "deleteSandbox"], classes [Racing];

    /// An archived sandbox refuses what needs files, keeps its links, and can be deleted. (observed)
    archived_ones_refuse: Must, covers ["stopSandbox", "archiveSandbox", "resizeSandbox", "deleteSandbox"];

    /// A stopped sandbox that nobody touches is archived by itself. (setAutoArchiveInterval)
    archived_by_itself: Must, covers ["setAutoArchiveInterval"], needs [Clock], classes [Alone];
}

async fn stopped(cx: &Cx) -> Result<Sandbox> {
    let sandbox = cx.sandbox().await?;
    sandbox.upload("/home/daytona/note.txt", b"kept").await?.ok()?;
    sandbox.output("chmod 751 note.txt; ln note.txt hard; ln -s note.txt soft; mkdir -p a/b").await?;
    sandbox.stop().await?;
    Ok(sandbox)
}

async fn archive(sandbox: &Sandbox) -> Result<Answer> {
    let answer = sandbox.op(Method::POST, "/archive").send().await?.ok()?;
    sandbox.wait_for("archived").await?;
    Ok(answer)
}

async fn archive_and_restore_keep_files(cx: Cx) -> Result {
    let sandbox = stopped(&cx).await?;
    let answer = archive(&sandbox).await?;
    cx.check("archiving").json(&answer, "/state", "archiving");
    let archived = sandbox.read().await?;
    cx.check("backup").json(&archived, "/backupState", "Completed");
    cx.check("no-runner").json(&archived, "/runnerId", Value::Null);
    sandbox.op(Method::POST, "/start").send().await?.ok()?;
    sandbox.wait_for("started").await?;
    let seen = sandbox.output("cat note.txt hard soft; stat -c '%a %h' note.txt; ls -d a/b").await?;
    cx.check("files").eq(seen, "keptkeptkept751 2\na/b\n");
    Ok(())
}

async fn start_answers_before_the_restoration(cx: Cx) -> Result {
    let sandbox = stopped(&cx).await?;
    archive(&sandbox).await?;
    let start = sandbox.op(Method::POST, "/start").send().await?;
    cx.check("status").status(&start, 200);
    cx.check("state").json(&start, "/state", "archived");
    cx.check("desired").json(&start, "/desiredState", "started");
    cx.check("started").json(&sandbox.wait_for("started").await?, "/state", "started");
    Ok(())
}

async fn only_stopped_ones(cx: Cx) -> Result {
    let started = cx.shared().await?;
    let refused = started.op(Method::POST, "/archive").send().await?;
    cx.check("started").error(&refused, 400, "Sandbox is not stopped");
    let unknown = cx.post("/sandbox/no-such-sandbox/archive").send().await?;
    cx.check("unknown").error(&unknown, 404, "Sandbox with ID or name no-such-sandbox not found");
    Ok(())
}

async fn start_or_delete_ends_it(cx: Cx) -> Result {
    let sandbox = stopped(&cx).await?;
    sandbox.op(Method::POST, "/archive").send().await?.ok()?;
    cx.check("start").status(&sandbox.op(Method::POST, "/start").send().await?, 200);
    sandbox.wait_for("started").await?;
    let file = sandbox.download("/home/daytona/note.txt").await?;
    cx.check("file").on(&file).eq(file.text(), "kept");
    sandbox.stop().await?;
    sandbox.op(Method::POST, "/archive").send().await?.ok()?;
    cx.check("delete").status(&sandbox.op(Method::DELETE, "").send().await?, 200);
    cx.check("gone").status(&sandbox.wait_gone().await?, 404);
    Ok(())
}

async fn archived_ones_refuse(cx: Cx) -> Result {
    let sandbox = stopped(&cx).await?;
    archive(&sandbox).await?;
    for (id, path, message) in [
        ("stop", "/stop", "Sandbox is not in a stoppable state"),
        ("archive", "/archive", "Sandbox is not stopped"),
        ("pause", "/pause", "Sandbox must be in started state to pause"),
    ] {
        cx.check(id).error(&sandbox.op(Method::POST, path).send().await?, 400, message);
    }
    let resize = sandbox.op(Method::POST, "/resize").json(json!({"cpu": 2})).send().await?;
    cx.check("resize").error(&resize, 400, "Sandbox must be in started or stopped state to resize");
    cx.check("toolbox").status(&sandbox.exec("true").await?, 400);
    cx.check("link").status(&sandbox.op(Method::GET, "/ports/3000/preview-url").send().await?, 200);
    cx.check("delete").status(&sandbox.op(Method::DELETE, "").send().await?, 200);
    cx.check("gone").status(&sandbox.wait_gone().await?, 404);
    Ok(())
}

async fn archived_by_itself(cx: Cx) -> Result {
    let sandbox = cx.sandbox_with(json!({"autoDeleteInterval": -1})).await?;
    sandbox.op(Method::POST, "/autoarchive/60").send().await?.ok()?;
    sandbox.stop().await?;
    cx.clock(json!({"freeze": true})).await?;
    let turned = async {
        cx.clock(json!({"advance": 3700})).await?;
        let archived = async || Ok((sandbox.state().await? == "archived").then_some(()));
        cx.eventually("archived", Duration::from_secs(30), archived).await
    };
    let archived = turned.await;
    cx.clock(json!({"run": true})).await?;
    cx.check("archived").that(archived.is_ok(), "archived after an hour", sandbox.state().await?);
    Ok(())
}
