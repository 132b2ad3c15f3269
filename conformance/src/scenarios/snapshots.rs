use reqwest::Method;

use crate::{client::Answer, prelude::*};

scenarios! { "snapshots";
    /// Names, images and builds are checked, each problem with its own message; nothing is made. (observed)
    input_is_validated: Must, covers ["createSnapshot"];

    /// A snapshot of a sandbox becomes active, and sandboxes made of it have its files. (createSandboxSnapshot; SDKs)
    a_sandbox_is_kept: Must, covers ["createSandboxSnapshot", "getSnapshot", "getAllSnapshots", "createSandbox"];

    /// What is asked for is answered at once: image, entrypoint, sizes, region; and it is pending. (createSnapshot)
    what_was_asked_is_answered: Must, covers ["createSnapshot"];

    /// A Dockerfile is built: the snapshot becomes active, its log can be read, and sandboxes of it have what was built.
    /// (createSnapshot, getSnapshotBuildLogs)
    a_dockerfile_is_built: Must,
        covers ["createSnapshot", "getSnapshotBuildLogsUrl", "getSnapshotBuildLogs", "createSandbox"];

    /// Stages, arguments, work directories, users and here-documents do in a build what they do in Docker.
    /// (createSnapshot; SDKs: Image.dockerfileCommands)
    dockerfiles_mean_what_they_say: Must, covers ["createSnapshot"];

    /// A build that fails ends in an error state with a reason. (observed)
    a_failing_build_says_why: Must, covers ["createSnapshot"];

    /// An inactive snapshot makes no sandboxes; deactivating twice is the same as once. (deactivateSnapshot; observed)
    deactivated_is_out_of_use: Must, covers ["deactivateSnapshot", "createSandbox"];

    /// Names are no ids: activating, deactivating and deleting by name is 400; an unknown id is 404. (observed)
    changes_need_an_id: Must, covers ["activateSnapshot", "deactivateSnapshot", "removeSnapshot"];

    /// A snapshot that everybody has can't be deleted. (observed)
    general_ones_stay: Must, covers ["removeSnapshot"], classes [Racing];

    /// A deleted snapshot is gone from reads and lists, and its name is free. (removeSnapshot)
    deleted_is_gone: Must, covers ["removeSnapshot", "getSnapshot", "getAllSnapshots"];

    /// What wasn't built has no build logs: 404. (observed)
    no_build_no_logs: Must, covers ["getSnapshotBuildLogsUrl", "getSnapshotBuildLogs"];
}

const WITHIN: Duration = Duration::from_secs(40);
const SOON: Duration = Duration::from_secs(5);

/// A snapshot of a small sandbox: its name and id.
async fn kept(cx: &Cx) -> Result<(String, String)> {
    let sandbox = cx.sandbox().await?;
    kept_of(cx, &sandbox).await
}

async fn kept_of(cx: &Cx, sandbox: &Sandbox) -> Result<(String, String)> {
    sandbox.upload("/home/daytona/kept.txt", b"kept").await?.ok()?;
    let name = cx.name("kept");
    let asked = sandbox.op(Method::POST, "/snapshot").json(json!({"name": name})).send().await?.ok()?;
    cx.check("snapshotting").json(&asked, "/state", "snapshotting");
    cx.check("of-the-sandbox").json(&asked, "/id", sandbox.id.as_str());
    let found = cx.eventually("the snapshot is there", WITHIN, async || {
        let answer = cx.get(&format!("/snapshots/{name}")).unjudged().send().await?;
        Ok((answer["state"] == "active").then_some(answer))
    });
    let id = found.await?.string("/id")?;
    cx.removes("createSnapshot", &format!("/snapshots/{id}"));
    // Its size may follow; who compares two servers has seen it on both then.
    let sized = cx.eventually("its size is known", SOON, async || {
        let answer = cx.get(&format!("/snapshots/{name}")).unjudged().send().await?;
        Ok(answer["size"].is_number().then_some(()))
    });
    drop(sized.await);
    Ok((name, id))
}

async fn input_is_validated(cx: Cx) -> Result {
    let name = cx.name("bad");
    for (id, body, message) in [
        ("no-name", json!({"imageName": "debian:12"}), "name must be a string"),
        ("bad-name", json!({"name": "a b!", "imageName": "debian:12"}), "Invalid snapshot name format"),
        ("no-image", json!({"name": name}), "Must specify an image name when not using a build info entry"),
        ("latest", json!({"name": name, "imageName": "debian:latest"}), "Images with tag \":latest\" are not allowed"),
        ("no-tag", json!({"name": name, "imageName": "debian"}), "Image name must include a tag"),
        ("bad-image", json!({"name": name, "imageName": "Debian Linux:12"}), "Invalid image name format"),
        (
            "both",
            json!({"name": name, "imageName": "debian:12", "buildInfo": {"dockerfileContent": "FROM debian:12"}}),
            "Cannot specify an image name when using a build info entry",
        ),
    ] {
        let answer = cx.post("/snapshots").json(body).send().await?;
        cx.check(format!("{id}-status")).status(&answer, 400);
        cx.check(id).on(&answer).contains(answer["message"].as_str().unwrap_or_default(), message);
    }
    cx.check("nothing-made").status(&cx.get(&format!("/snapshots/{name}")).send().await?, 404);
    Ok(())
}

async fn a_sandbox_is_kept(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    let (name, id) = kept_of(&cx, &sandbox).await?;
    let read = cx.get(&format!("/snapshots/{name}")).send().await?;
    cx.check("active").json(&read, "/state", "active");
    cx.check("not-general").json(&read, "/general", false);
    is_complete(&cx, &read).await;
    cx.check("size").should().on(&read).that(read["size"].is_number(), "a number", &read["size"]);
    for (mine, of) in [("cpu", "cpu"), ("mem", "memory"), ("disk", "disk")] {
        cx.check(mine).on(&read).eq(read[mine].as_f64(), sandbox.created[of].as_f64());
    }
    is_listed(&cx, &read, &sandbox).await?;
    let copy = cx.sandbox_with(json!({"snapshot": name})).await?;
    cx.check("file").eq(copy.download("/home/daytona/kept.txt").await?.text(), "kept");
    let used = cx.get(&format!("/snapshots/{id}")).send().await?;
    cx.check("last-used").on(&used).that(time(&used["lastUsedAt"]).is_some(), "a time", &used["lastUsedAt"]);
    Ok(())
}

async fn what_was_asked_is_answered(cx: Cx) -> Result {
    let region = cx.get("/regions").send().await?.ok()?.string("/0/id")?;
    let entrypoint = json!(["sleep", "1234"]);
    let body = json!({"name": cx.name("asked"), "imageName": "debian:12.5", "entrypoint": entrypoint, "cpu": 2, "memory": 3,
        "disk": 4, "regionId": region});
    let made = cx.post("/snapshots").json(body.clone()).send().await?;
    cx.check("status").status(&made, 200);
    for (field, value) in [
        ("name", body["name"].clone()),
        ("imageName", json!("debian:12.5")),
        ("state", json!("pending")),
        ("entrypoint", entrypoint),
        ("regionIds", json!([region])),
        ("general", json!(false)),
    ] {
        cx.check(field).json(&made, &format!("/{field}"), value);
    }
    for (field, value) in [("cpu", 2.0), ("mem", 3.0), ("disk", 4.0)] {
        cx.check(field).on(&made).eq(made[field].as_f64(), Some(value));
    }
    cx.check_recent("created-at", &made, "/createdAt").await;
    Ok(())
}

/// What every active snapshot tells.
async fn is_complete(cx: &Cx, read: &Answer) {
    cx.check("no-error").json(read, "/errorReason", Value::Null);
    let regions = read["regionIds"].as_array().map_or(0, Vec::len);
    cx.check("regions").on(read).that(regions > 0, "at least one region", &read["regionIds"]);
    let reference = read["ref"].as_str().unwrap_or_default();
    cx.check("ref").on(read).that(!reference.is_empty(), "where its image is", &read["ref"]);
    cx.check_recent("created-at", read, "/createdAt").await;
    cx.check("updated-at").on(read).that(
        time(&read["updatedAt"]) >= time(&read["createdAt"]),
        "a time after createdAt",
        &read["updatedAt"],
    );
}

/// Lists have it as a read has it, and those that everybody has come after those of the account.
async fn is_listed(cx: &Cx, read: &Answer, of: &Sandbox) -> Result {
    const FIELDS: &[&str] =
        &["id", "name", "state", "general", "cpu", "mem", "disk", "imageName", "createdAt", "sandboxClass"];
    let name = read.string("/name")?;
    let named = cx.get("/snapshots").query("name", &name).send().await?.ok()?;
    cx.check_same("item", &named, named.at("/items/0"), &read.json, FIELDS);
    let all = cx.get("/snapshots").query("limit", 100).send().await?.ok()?;
    let general: Vec<bool> = all.array("/items")?.iter().map(|one| one["general"] == true).collect();
    cx.check("general-last").on(&all).that(general.is_sorted(), "general ones last", &general);
    if cx.is_since("0.200") {
        let made = cx.get("/snapshots").query("sourceSandboxId", &of.id).send().await?;
        let ids: Vec<_> = made["items"].as_array().into_iter().flatten().map(|one| one["id"].clone()).collect();
        cx.check("by-source").should().on(&made).eq(ids, vec![read["id"].clone()]);
    }
    Ok(())
}

async fn a_dockerfile_is_built(cx: Cx) -> Result {
    let name = cx.name("built");
    let dockerfile =
        "FROM debian:12-slim\nENV BUILT=yes\nRUN echo conformance-says-hello > /built.txt && cat /built.txt\n";
    let body = json!({"name": name, "buildInfo": {"dockerfileContent": dockerfile}, "cpu": 2, "memory": 2, "disk": 4});
    let made = cx.post("/snapshots").json(body).send().await?;
    cx.check("accepted").status(&made, 200);
    cx.check("pending").json(&made, "/state", "pending");
    let id = made.ok()?.string("/id")?;
    let done = cx.settled_snapshot(&name, WITHIN).await?;
    if !cx.check("active").json(&done, "/state", "active") {
        return Ok(());
    }
    is_complete(&cx, &done).await;
    for (field, value) in [("cpu", 2.0), ("mem", 2.0), ("disk", 4.0)] {
        cx.check(field).on(&done).eq(done[field].as_f64(), Some(value));
    }
    cx.check("image-name").json(&done, "/imageName", "");
    cx.check("entrypoint").json(&done, "/entrypoint", json!(["sleep", "infinity"]));
    let url = cx.get(&format!("/snapshots/{id}/build-logs-url")).send().await?;
    cx.check("logs-url").status(&url, 200);
    let link = url.string("/url")?;
    let at_proxy = link.ends_with(&format!("/snapshots/{id}/build-logs")) && !link.contains("/api/");
    cx.check("logs-path").on(&url).that(at_proxy, "/snapshots/{id}/build-logs of the proxy", &link);
    let logs = cx.get(&link).send().await?;
    cx.check("logs").on(&logs).contains(&logs.text(), "conformance-says-hello");
    let closed = cx.get(&link).no_key().send().await?;
    cx.check("logs-need-a-key").status(&closed, 401);
    cx.check("logs-need-a-key-message").json(&closed, "/message", "Invalid credentials");
    cx.check("old-logs").status(&cx.get(&format!("/snapshots/{id}/build-logs")).send().await?, 200);
    let sandbox = cx.sandbox_with(json!({"snapshot": name})).await?;
    cx.check("file").eq(sandbox.output("cat /built.txt").await?, "conformance-says-hello\n");
    cx.check("environment").eq(sandbox.output("printf %s \"$BUILT\"").await?, "yes");
    Ok(())
}

const FEATURES: &str = "ARG BASE=debian:12-slim
FROM $BASE AS maker
ARG WORD=default
RUN mkdir /out && echo \"made with $WORD\" > /out/made.txt && echo not this > /out/left.txt
FROM $BASE
COPY --from=maker /out/made.txt /made.txt
WORKDIR /srv/app
RUN pwd > where.txt
RUN <<EOF
echo first > lines.txt
echo second >> lines.txt
EOF
ENV ONE=1 TWO=\"2 and ${BASE:-nothing}\"
RUN mkdir -m 777 /open
USER nobody
RUN id -un > /open/who.txt
USER root
";

async fn dockerfiles_mean_what_they_say(cx: Cx) -> Result {
    let body = json!({"name": cx.name("features"), "buildInfo": {"dockerfileContent": FEATURES}});
    let made = cx.built_snapshot(body, Duration::from_secs(90)).await?;
    if !cx.check("active").json(&made, "/state", "active") {
        return Ok(());
    }
    let sandbox = cx.sandbox_with(json!({"snapshot": made.string("/name")?})).await?;
    let look =
        "cat /made.txt; ls /out 2>/dev/null; cd /srv/app; cat where.txt lines.txt /open/who.txt; echo \"$ONE $TWO\"";
    let said = sandbox.output(look).await?;
    let expected = ["made with default", "/srv/app", "first", "second", "nobody", "1 2 and nothing", ""];
    for (check, (said, expected)) in ["stages", "workdir", "heredoc", "heredoc-goes-on", "user", "variables"]
        .iter()
        .zip(said.split('\n').zip(expected))
    {
        cx.check(*check).eq(said, expected);
    }
    Ok(())
}

async fn a_failing_build_says_why(cx: Cx) -> Result {
    let name = cx.name("broken");
    let body = json!({"name": name, "buildInfo": {"dockerfileContent": "FROM debian:12-slim\nRUN exit 7\n"}});
    let done = cx.built_snapshot(body, WITHIN).await?;
    let state = done["state"].as_str().unwrap_or_default();
    cx.check("state").on(&done).that(matches!(state, "error" | "build_failed"), "error or build_failed", state);
    let reason = done["errorReason"].as_str().unwrap_or_default();
    cx.check("reason").on(&done).that(!reason.is_empty(), "a reason", reason);
    let refused = cx.create(json!({"snapshot": name}))?.send().await?;
    cx.check("makes-nothing").error(&refused, 400, &format!("Snapshot {name} is {state}"));
    Ok(())
}

async fn deactivated_is_out_of_use(cx: Cx) -> Result {
    let (name, id) = kept(&cx).await?;
    for check in ["deactivate", "again"] {
        cx.check(check).status(&cx.post(&format!("/snapshots/{id}/deactivate")).send().await?, 204);
    }
    let read = cx.get(&format!("/snapshots/{name}")).send().await?;
    cx.check("inactive").json(&read, "/state", "inactive");
    let refused = cx.create(json!({"snapshot": name}))?.send().await?;
    cx.check("refused").error(&refused, 400, &format!("Snapshot {name} is inactive"));
    let activated = cx.post(&format!("/snapshots/{id}/activate")).send().await?;
    cx.check("activated").status_in(&activated, &[200, 201]);
    let active = async || {
        let read = cx.get(&format!("/snapshots/{name}")).send().await?.ok()?;
        Ok((read["state"] == "active").then_some(read))
    };
    cx.check("active-again").json(&cx.eventually("active again", WITHIN, active).await?, "/state", "active");
    Ok(())
}

async fn changes_need_an_id(cx: Cx) -> Result {
    let (name, id) = kept(&cx).await?;
    let unknown = "00000000-0000-4000-8000-000000000000";
    for (check, method, path) in [
        ("activate", Method::POST, "/activate"),
        ("deactivate", Method::POST, "/deactivate"),
        ("delete", Method::DELETE, ""),
    ] {
        let by_name = cx.api().request(method.clone(), &format!("/snapshots/{name}{path}")).send().await?;
        cx.check(format!("{check}-by-name")).error(&by_name, 400, "Validation failed (uuid is expected)");
        let unknown = cx.api().request(method, &format!("/snapshots/{unknown}{path}")).send().await?;
        cx.check(format!("{check}-unknown")).status(&unknown, 404);
    }
    let again = cx.post(&format!("/snapshots/{id}/activate")).send().await?;
    cx.check("active-already").status(&again, 400);
    cx.check("active-already-message")
        .on(&again)
        .contains(again["message"].as_str().unwrap_or_default(), "is already active");
    Ok(())
}

async fn general_ones_stay(cx: Cx) -> Result {
    let list = cx.get("/snapshots").send().await?.ok()?;
    let general = list.array("/items")?.iter().find(|snapshot| snapshot["general"] == true).cloned();
    let Some(general) = general else { return Err(Stop::not_applicable("a general snapshot")) };
    let id = general["id"].as_str().unwrap_or_default();
    cx.check("refused").status_in(&cx.delete(&format!("/snapshots/{id}")).send().await?, &[403, 404]);
    cx.check("still-there").status(&cx.get(&format!("/snapshots/{id}")).send().await?, 200);
    Ok(())
}

async fn deleted_is_gone(cx: Cx) -> Result {
    let (name, id) = kept(&cx).await?;
    cx.check("delete").status(&cx.delete(&format!("/snapshots/{id}")).send().await?, 200);
    let gone = async || {
        let answer = cx.get(&format!("/snapshots/{name}")).send().await?;
        Ok((answer.status == 404).then_some(answer))
    };
    cx.check("gone").status(&cx.eventually("the snapshot is gone", WITHIN, gone).await?, 404);
    let list = cx.get("/snapshots").query("name", &name).send().await?;
    cx.check("not-listed").json(&list, "/items", json!([]));
    let refused = cx.create(json!({"snapshot": name}))?.send().await?;
    cx.check("makes-nothing").status(&refused, 400);
    Ok(())
}

async fn no_build_no_logs(cx: Cx) -> Result {
    let (_, id) = kept(&cx).await?;
    let url = cx.get(&format!("/snapshots/{id}/build-logs-url")).send().await?;
    cx.check("url").status(&url, 404);
    cx.check("url-message").on(&url).contains(url["message"].as_str().unwrap_or_default(), "has no build info");
    let logs = cx.get(&format!("/snapshots/{id}/build-logs")).send().await?;
    cx.check("logs").status_in(&logs, &[200, 404]);
    Ok(())
}
